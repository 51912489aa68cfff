"""What a place says when it does not show what it is for: a problem, what to do, what was left out, what is awaited."""

from __future__ import annotations

from typing import Any, ClassVar

import param
from panel.custom import JSComponent

from atlas.components.assets import script, style


class Notice(JSComponent):
    """Sentences as plain text; an empty one takes no room.

    Not pmui.Alert or pmui.Typography: both put their text on the page as HTML, and a sentence here may quote what a user typed.
    """

    problem = param.String(default="", doc="What happened and what to do; read out at once, and the only thing shown.")
    empty = param.String(default="", doc="What to do to see something here.")
    note = param.String(default="", doc="What was left out, and how to get it.")
    waiting = param.String(default="", doc="What is happening, and how long it may take; floats over what follows.")
    dark = param.Boolean(default=False, doc="Whether the page is dark.")

    _esm = script("notice")
    _stylesheets: ClassVar[list[str]] = [style("notice")]

    def __init__(self, **params: Any) -> None:
        super().__init__(**{"sizing_mode": "stretch_width", "margin": 0, **params})
