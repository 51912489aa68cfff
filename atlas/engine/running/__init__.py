"""One run of a model: the attention function, what observes it, what changes it, and the service all sessions share."""
