"""How a component gets its script and its style sheet: both are files under assets/, so nothing comes from a network."""

from __future__ import annotations

from pathlib import Path

from atlas.resources import asset


def script(name: str) -> Path:
    """Return the ES module of a component."""
    return asset("js", f"{name}.js")


def style(name: str) -> str:
    """Return the style sheet of a component, as text.

    Panel serves a style sheet given as a path by its path relative to the module; for a file outside the package that would be
    a URL with `..` in it, which browsers fold away.
    """
    return asset("css", f"{name}.css").read_text(encoding="utf-8")
