"""The anatomy of a model, found once at load: attention sites, residual streams, feed-forward blocks, and how they add up."""
