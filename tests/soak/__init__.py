"""A crowd of readers at one server for a chosen time: `make soak`."""
