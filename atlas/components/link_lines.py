"""Two columns of tokens and lines between them, a colour for each head; pointing at a token isolates its lines in the browser."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any, ClassVar, TypedDict

import numpy as np
import numpy.typing as npt
import param

from atlas.components.assets import script, style
from atlas.patches.one_way import OneWay

SIDES = ("left", "right")
ACTIONS = ("toggle", "only", "select", "all")
"""Of a head: draw it or no longer, draw it alone, select it; and draw all of them."""


class Pick(TypedDict):
    """A token that was clicked."""

    side: str
    """'left' or 'right'."""
    at: int
    additive: bool
    """With Shift or Control (Command on a Mac) held."""


class LinkLines(OneWay):
    """Lines between tokens. A click only calls the callbacks; Python sets what is drawn and marked."""

    left = param.List(default=[], item_type=str, doc="Names of the tokens that look.")
    right = param.List(default=[], item_type=str, doc="Names of the tokens that are looked at.")
    left_at = param.List(default=[], item_type=str, doc="Positions of the tokens of each name at the left; empty: its place.")
    right_at = param.List(default=[], item_type=str, doc="The same at the right.")
    links = param.Dict(
        default={}, doc="'left', 'right', 'head' (whole numbers) and 'weight', one value a line, the strongest first: `packed`."
    )
    heads = param.List(
        default=[], item_type=dict, doc="One dict a head: head (int), colour, dash (list of pixels), drawn, selected (bool)."
    )
    selected_left = param.List(default=[], item_type=int, doc="Selected tokens of the left column.")
    selected_right = param.List(default=[], item_type=int, doc="Selected tokens of the right column.")
    colours = param.Dict(default={}, doc="'ink', 'muted', 'paper', 'left', 'right': colours of names and of selected tokens.")
    label = param.String(default="Lines between tokens", doc="The name of the plot for screen readers.")
    dark = param.Boolean(default=False, doc="Whether the page is dark.")

    one_way = frozenset({"left", "right", "left_at", "right_at", "links", "heads", "selected_left", "selected_right", "colours"})
    _esm = script("link_lines")
    _stylesheets: ClassVar[list[str]] = [style("link_lines")]

    def __init__(self, **params: Any) -> None:
        super().__init__(**{"sizing_mode": "stretch_width", **params})
        self._token_callbacks: list[Callable[[Pick], object]] = []
        self._head_callbacks: list[Callable[[int, str], object]] = []

    def on_token(self, callback: Callable[[Pick], object]) -> None:
        """Call `callback` whenever a token is clicked."""
        self._token_callbacks.append(callback)

    def on_head(self, callback: Callable[[int, str], object]) -> None:
        """Call `callback(head, action)` whenever a head is clicked; the action is one of `ACTIONS`."""
        self._head_callbacks.append(callback)

    def _handle_msg(self, data: Any) -> None:
        """Handle a click; a token or a head that no longer exists is ignored."""
        action, side = data.get("action"), data.get("side")
        if action in ACTIONS:
            head = data.get("head")
            if action == "all" or head in {each["head"] for each in self.heads}:
                for on_head in self._head_callbacks:
                    on_head(-1 if action == "all" else head, action)
        elif side in SIDES:
            at = data.get("at")
            if isinstance(at, int) and 0 <= at < len(getattr(self, side)):
                for on_token in self._token_callbacks:
                    on_token(Pick(side=side, at=at, additive=data.get("additive") is True))


def packed(
    left: npt.NDArray[Any], right: npt.NDArray[Any], head: npt.NDArray[Any], weight: npt.NDArray[Any]
) -> dict[str, str | int]:
    """Lines as bytes, written in base64: ten bytes each, exact weights."""
    columns = {"left": (left, "<u2"), "right": (right, "<u2"), "head": (head, "<u2"), "weight": (weight, "<f4")}
    found: dict[str, str | int] = {
        name: base64.b64encode(np.ascontiguousarray(values, dtype).tobytes()).decode("ascii")
        for name, (values, dtype) in columns.items()
    }
    return found | {"count": len(weight)}
