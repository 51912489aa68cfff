"""How a model's parts add up: attention sites, residual streams, feed-forward blocks, found once at load."""
