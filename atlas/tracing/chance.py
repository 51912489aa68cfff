"""From where on something is called more than chance."""

from __future__ import annotations

BEYOND = 0.05
"""Largest corrected p (q): of what is called beyond chance, one in twenty is expected to be there by chance."""
