"""Every correction of a library, each with its reason and the versions it is for."""
