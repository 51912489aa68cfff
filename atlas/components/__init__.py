"""Browser components Panel lacks; their JS and CSS live in assets/."""
