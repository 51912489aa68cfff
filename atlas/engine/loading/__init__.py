"""From a name to a model that can be trusted: catalog, hub, files, construction, and what is checked at load."""
