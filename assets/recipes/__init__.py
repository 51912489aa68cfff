"""Recipes that rebuild the embedded models from text: `python -m assets.recipes.build --help`."""
