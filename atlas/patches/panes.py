"""Panes of Panel (1.9): access to their plots, and the data they send when their text changes."""

from __future__ import annotations

from html import escape
from typing import Any

import panel as pn

from atlas.patches.private import private


def plots_of(pane: Any) -> list[Any]:
    """The HoloViews plots that a pane has drawn, one for each page. Panel has no public access to them.

    They are needed to change a plot's height with its card, and to free plots when the reader leaves: HoloViews lists the
    callbacks of plots on a class, and Panel looks for the plots in the models of the page after Bokeh has emptied those.
    """
    return [plot for plot, _ in private(pane, "_plots", "panes").values()]


class _TextAlone:
    """A pane that sends only its text when that changes. Panel's own sends all style sheets again, in a notebook as addresses."""

    def _update(self, _: str, model: Any) -> None:
        model.update(**private(self, "_process_param_change", "panes")({"object": self.object}))  # type: ignore[attr-defined]


class PlainText(_TextAlone, pn.pane.Str):
    """A string shown as plain text. Panel's own Str puts the string between `<pre>` and `</pre>` as HTML, so tags take effect."""

    def _transform_object(self, obj: Any) -> dict[str, Any]:
        found: dict[str, Any] = super()._transform_object(escape("" if obj is None else str(obj)))
        return found


class OneLine(PlainText):
    """Plain text that a page may cut off at its end; the browser shows the whole of it under the pointer."""

    def _transform_object(self, obj: Any) -> dict[str, Any]:
        text = "" if obj is None else escape(str(obj))
        return {"object": escape(f'<pre title="{text}">{text or " "}</pre>')}


class Markup(_TextAlone, pn.pane.HTML):
    """HTML that the app wrote. It must not contain text from a reader."""
