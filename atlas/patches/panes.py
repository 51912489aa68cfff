"""Panes of Panel (1.9): the plots they hold, and what they send when their text changes."""

from __future__ import annotations

from html import escape
from typing import Any

import panel as pn

from atlas.patches.private import private


def plots_of(pane: Any) -> list[Any]:
    """The HoloViews plots that a pane has drawn, one a page. Panel has no public way to them.

    Wanted to give a plot another height with its card, and to let go of plots when the reader leaves: HoloViews lists the
    callbacks of plots on a class, and Panel asks the models of the page what is inside them after Bokeh has emptied those.
    """
    return [plot for plot, _ in private(pane, "_plots", "panes").values()]


class _TextAlone:
    """A pane that sends its text when that changes; Panel's own sends all style sheets again, in a notebook as addresses."""

    def _update(self, _: str, model: Any) -> None:
        model.update(**private(self, "_process_param_change", "panes")({"object": self.object}))  # type: ignore[attr-defined]


class PlainText(_TextAlone, pn.pane.Str):
    """A string shown letter by letter. Panel's own Str puts `<pre>`, the string and `</pre>` on the page as HTML: tags work."""

    def _transform_object(self, obj: Any) -> dict[str, Any]:
        found: dict[str, Any] = super()._transform_object(escape("" if obj is None else str(obj)))
        return found


class Markup(_TextAlone, pn.pane.HTML):
    """HTML of our own making; no word of a reader's may be in it."""
