"""The tabs of the page as a row of buttons, without the contents of the tabs."""

from __future__ import annotations

from typing import Any, ClassVar

import param
from panel.custom import JSComponent

from atlas.components.assets import script, style


class TabBar(JSComponent):
    """One button for each tab. Arrow keys move between them, as in every tab list."""

    tabs = param.List(default=[], item_type=dict, doc="Tabs in order, each with 'key' and 'title'.")
    active = param.String(default="", doc="Key of the open tab; a click sets it.")
    dark = param.Boolean(default=False, doc="Whether the page is dark.")

    _esm = script("tab_bar")
    _stylesheets: ClassVar[list[str]] = [style("tab_bar")]

    def __init__(self, **params: Any) -> None:
        super().__init__(**{"sizing_mode": "stretch_width", "margin": 0, **params})
