"""Text on the page: plain, whatever it holds, in the page's own letters."""

from __future__ import annotations

from html import escape
from typing import Any

import panel as pn

_LOOK = """
:host { color: inherit; }
pre { font: inherit; font-size: 0.8rem; line-height: 1.35; margin: 0; white-space: pre-wrap;
  overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
"""

_ONE_LINE = "pre { white-space: pre; overflow: hidden; text-overflow: ellipsis; }"


class _ContentAlone:
    """A pane that sends what it shows when that changes; Panel's own send all style sheets again, in a notebook as addresses."""

    def _update(self, _: str, model: Any) -> None:
        model.update(**self._process_param_change({"object": self.object}))  # type: ignore[attr-defined]


class Plain(_ContentAlone, pn.pane.Str):
    """A string shown letter by letter. Panel's own Str puts `<pre>`, the string and `</pre>` on the page as HTML: tags work."""

    def _transform_object(self, obj: Any) -> dict[str, Any]:
        found: dict[str, Any] = super()._transform_object(escape("" if obj is None else str(obj)))
        return found


class Markup(_ContentAlone, pn.pane.HTML):
    """HTML of our own making; no word of a reader's may be in it."""


def plain(text: Any, name: str = "", *, one_line: bool = False, **look: Any) -> Any:
    """A pane that shows a string, or what a Param holds, as it is: never as HTML, never as Markdown."""
    sheets = [_LOOK, *([_ONE_LINE] if one_line else [])]
    return Plain(
        text, css_classes=[name] if name else [], stylesheets=sheets, **{"sizing_mode": "stretch_width", "margin": (2, 6), **look}
    )
