"""Pure functions from plain values to HoloViews elements."""
