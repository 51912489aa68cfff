"""Text on the page: plain, whatever it holds, in the page's own letters."""

from __future__ import annotations

from typing import Any

from atlas.patches.panes import OneLine, PlainText

_LOOK = """
:host { color: inherit; }
pre { font: inherit; font-size: 0.8rem; line-height: 1.35; margin: 0; white-space: pre-wrap;
  overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
"""

_ONE_LINE = "pre { white-space: pre; overflow: hidden; text-overflow: ellipsis; }"


NO_TITLE = ".bk-slider-title { display: none; }"
"""For a slider whose words stand beside it: its title is its name for a screen reader alone."""


def plain(text: Any, name: str = "", *, one_line: bool = False, **look: Any) -> Any:
    """A pane that shows a string, or what a Param holds, as it is: never as HTML, never as Markdown."""
    sheets = [_LOOK, *([_ONE_LINE] if one_line else [])]
    pane = OneLine if one_line else PlainText
    return pane(
        text, css_classes=[name] if name else [], stylesheets=sheets, **{"sizing_mode": "stretch_width", "margin": (2, 6), **look}
    )
