"""Measured side by side in one run, as ratios and sizes: `make bench`. They report; they do not fail a build."""
