"""What the reader's system prefers: a light page or a dark one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from panel.custom import JSComponent

from atlas.components.assets import script


class Scheme(JSComponent):
    """Asks the browser; nothing of it is seen."""

    _esm = script("scheme")
    _stylesheets: ClassVar[list[str]] = [":host { display: none; }"]

    def __init__(self, **params: Any) -> None:
        super().__init__(**{"margin": 0, **params})
        self._callbacks: list[Callable[[bool], object]] = []

    def on_scheme(self, callback: Callable[[bool], object]) -> None:
        """Call back with whether the system prefers dark: once at the start, and when that changes."""
        self._callbacks.append(callback)

    def _handle_msg(self, data: Any) -> None:
        if isinstance(data.get("dark"), bool):
            for callback in self._callbacks:
                callback(data["dark"])
