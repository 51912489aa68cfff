"""The panel of a guided tour: what to look for, the way on and back, and a frame around the card it speaks of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import param
from panel.custom import JSComponent

from atlas.components.assets import script, style

ASKED = ("back", "next", "again", "leave")
"""What the reader can ask for."""


class TourPanel(JSComponent):
    """All texts are plain text. Without a tour the panel takes no room."""

    tour = param.String(default="", doc="Key of the tour, as the address names it; empty: none.")
    title = param.String(default="", doc="Title of the tour.")
    step = param.Integer(default=0, doc="The step, from 1.")
    of = param.Integer(default=0, doc="How many steps there are.")
    words = param.String(default="", doc="What to look for.")
    note = param.String(default="", doc="What is awaited, or why the words are not shown.")
    away = param.Boolean(default=False, doc="Whether there is a button that brings the step back.")
    card = param.String(default="", doc="CSS class of the card that is scrolled to and framed.")
    dark = param.Boolean(default=False, doc="Whether the page is dark.")

    _esm = script("tour_panel")
    _stylesheets: ClassVar[list[str]] = [style("tour_panel")]

    def __init__(self, **params: Any) -> None:
        super().__init__(**{"sizing_mode": "stretch_width", "margin": 0, **params})
        self._answers: Mapping[str, Callable[[], object]] = {}

    def on_ask(self, **answers: Callable[[], object]) -> None:
        """Call these with what the reader asks for, by the names of ASKED."""
        self._answers = answers

    def _handle_msg(self, data: Any) -> None:
        answer = self._answers.get(data) if isinstance(data, str) and data in ASKED else None
        if answer is not None:
            answer()
