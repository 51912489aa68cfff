"""What the app knows, as Param classes; nothing here draws."""
