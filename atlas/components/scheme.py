"""The colour scheme of the page: the reader's last choice in this browser, else the system's preference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import param
from panel.custom import JSComponent

from atlas.components.assets import script


class Scheme(JSComponent):
    """An invisible component that asks the browser, and stores the reader's choice in its localStorage."""

    dark = param.Boolean(default=False, doc="Whether the page is dark now; the browser stores it where the reader changed it.")

    _esm = script("scheme")
    _stylesheets: ClassVar[list[str]] = [":host { display: none; }"]

    def __init__(self, **params: Any) -> None:
        super().__init__(**{"margin": 0, **params})
        self._callbacks: list[Callable[[bool], object]] = []

    def on_scheme(self, callback: Callable[[bool], object]) -> None:
        """Call `callback` with whether the page should be dark: once at the start, and when the system's preference changes."""
        self._callbacks.append(callback)

    def _handle_msg(self, data: Any) -> None:
        if isinstance(data.get("dark"), bool):
            for callback in self._callbacks:
                callback(data["dark"])
