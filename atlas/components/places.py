"""The places of the cards of a tab that are not made yet; the browser says which of them are on screen."""

from __future__ import annotations

from typing import Any, ClassVar

import param
from panel.custom import JSComponent

from atlas.components.assets import script, style


class Places(JSComponent):
    """Headings in frames, each where its card will be. They lie in the grid of the cards as if they were cards themselves."""

    places = param.List(
        default=[],
        item_type=dict,
        doc="Places with 'key', 'title', 'question', 'wide' and 'order', the order in the grid. All of it is plain text.",
    )
    seen = param.List(default=[], item_type=str, doc="Keys of the places that are on screen; the browser sets it.")

    _esm = script("places")
    _stylesheets: ClassVar[list[str]] = [style("places")]

    def __init__(self, **params: Any) -> None:
        super().__init__(**{"margin": 0, **params})
