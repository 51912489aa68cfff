"""The matrix: one head large, or the selected heads together."""

from __future__ import annotations

from typing import Any, ClassVar

import panel as pn
import panel_material_ui as pmui

from atlas.state.matrix import MatrixLens
from atlas.views.base import TIGHT
from atlas.views.plane import PlaneView
from atlas.views.shows import Shows


class MatrixView(PlaneView):
    """Every weight of what is selected, with the numbers it is made of."""

    key: ClassVar = "matrix"
    title: ClassVar = "Matrix"
    question: ClassVar = "Who looks at whom?"
    help: ClassVar = (
        "Rows are the tokens that look (queries), columns the tokens that are looked at (keys); a row sums to 1. "
        "weight = softmax(mask(q·k × scaling + bias)). Column share: each column divided by its sum (0 for a key "
        "that receives nothing). Rollout: product over layers of (mean over heads + identity) / 2 (Abnar & Zuidema 2020). Moved: "
        "weight × ‖v Wₒ‖, the length of what is written for it (Kobayashi et al. 2020). Hatched: the query may not look there. "
        "Where a pixel covers several cells it shows the largest."
    )

    defines: ClassVar = ("word_weight",)
    lens_type: ClassVar = MatrixLens
    matrix = Shows(MatrixLens)

    def tools(self) -> list[Any]:
        """Layer and head of the one shown large; reading and aggregate."""
        display, space = self.workspace.display, self.workspace
        # Several heads are shown together, whichever of them is the one in focus.
        several = pn.bind(lambda _: len(self.matrix.heads()) > 1, self.visibility.param.revision)
        look: dict[str, Any] = {
            "width": 50, "height": 40, "sizing_mode": "fixed", "margin": (4, 6, 4, 2), "tooltips": False, "disabled": several,
        }  # fmt: skip
        return [
            pn.widgets.IntSlider.from_param(space.layer.param.layer, label="Layer", css_classes=["aa-layer"], **look),
            pn.widgets.IntSlider.from_param(space.head.param.head, label="Head", css_classes=["aa-head"], **look),
            pmui.Select.from_param(display.param.mode, label="Reading", size="small", margin=TIGHT, width=104),
            pmui.Select.from_param(display.param.aggregate, label="Together", size="small", margin=TIGHT, width=88),
        ]
