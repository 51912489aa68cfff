"""The size of the reader's window, which only the browser knows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from panel.custom import JSComponent

from atlas.components.assets import script


class WindowSize(JSComponent):
    """An invisible component that asks the browser for the size of its window."""

    _esm = script("window_size")
    _stylesheets: ClassVar[list[str]] = [":host { display: none; }"]

    def __init__(self, **params: Any) -> None:
        super().__init__(**{"margin": 0, **params})
        self._callbacks: list[Callable[[int, int], object]] = []

    def on_size(self, callback: Callable[[int, int], object]) -> None:
        """Call `callback` with width and height in pixels: once at the start, and whenever the window is resized."""
        self._callbacks.append(callback)

    def _handle_msg(self, data: Any) -> None:
        size = data.get("width"), data.get("height")
        if all(type(side) is int and side > 0 for side in size):
            for callback in self._callbacks:
                callback(*size)
