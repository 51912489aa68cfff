"""The script and the style sheet of a component, both files under assets/, so that nothing is loaded from a network."""

from __future__ import annotations

from pathlib import Path

from atlas.resources import asset


def script(name: str) -> Path:
    """Return the ES module of a component."""
    return asset("js", f"{name}.js")


def style(name: str) -> str:
    """Return the style sheet of a component, as text.

    Not as a path, because Panel serves such a file by its path relative to the module. Outside the package that is a URL with
    `..` in it, which browsers remove.
    """
    return asset("css", f"{name}.css").read_text(encoding="utf-8")
