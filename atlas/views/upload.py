"""The button with which a reader hands a file to a view."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import panel_material_ui as pmui

from atlas.patches.inputs import limit_upload
from atlas.views.base import TIGHT


def file_input(endings: Iterable[str], most: int, name: str) -> Any:
    """Takes one file of at most so many bytes, in pieces that fit a message; the server holds to both."""
    upload = pmui.FileInput(
        label="Choose a file", accept=",".join(endings), max_file_size=most, variant="outlined", size="small", margin=TIGHT,
        css_classes=[name],
    )  # fmt: skip
    limit_upload(upload, most)
    return upload
