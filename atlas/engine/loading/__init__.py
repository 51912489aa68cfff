"""Loading a model by name: catalog, hub, files, construction, and the checks made at load."""
