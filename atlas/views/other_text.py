"""The field of the other text, whose outputs stand in for those of the text on screen."""

from __future__ import annotations

from typing import Any

import panel_material_ui as pmui

from atlas.state.other_text import LONGEST_OWN
from atlas.views.base import TIGHT


def other_text_input(own: Any, **look: Any) -> pmui.TextInput:
    """The field of a choice; empty, an example stands in."""
    return pmui.TextInput.from_param(
        own, label="The other text", placeholder="empty: an example", width=300, max_length=LONGEST_OWN, size="small",
        margin=TIGHT, css_classes=["aa-other-text"], **look,
    )  # fmt: skip
