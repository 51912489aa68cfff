"""The three lists of views that hold up to three methods of attribution beside each other."""

from __future__ import annotations

from typing import Any

import panel_material_ui as pmui

from atlas.state.chosen_methods import NO_METHOD
from atlas.views.attribution import TITLES
from atlas.views.base import TIGHT

NONE = {"none": NO_METHOD}


def method_selects(choices: Any) -> list[Any]:
    """A list for each method; the second and the third may be none. `choices`: the Params of some `ChosenMethods`."""
    look: dict[str, Any] = {"size": "small", "margin": TIGHT, "width": 245}
    return [
        pmui.Select.from_param(choices.first, label="Method", options=TITLES, **look),
        pmui.Select.from_param(choices.second, label="Beside it", options=NONE | TITLES, **look),
        pmui.Select.from_param(choices.third, label="And", options=NONE | TITLES, **look),
    ]
