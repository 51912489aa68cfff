"""Running a model: the attention function, its recorder and interventions, and the service that all sessions share."""
