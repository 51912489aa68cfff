"""Rows of small buttons under the text: parts of speech, entities, sentences."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, TypedDict

import param

from atlas.components.assets import script, style
from atlas.patches.one_way import OneWay

LIMIT = 200
"""Most chips of a group. A long text has thousands of sentences, which are of no use as buttons."""


class Press(TypedDict):
    """A chip that was pressed; `additive` where Control, Command or Shift was held."""

    key: str
    additive: bool


class Chips(OneWay):
    """Groups of buttons that are pressed or not. A click only calls the callbacks; Python sets which buttons are pressed."""

    groups = param.List(
        default=[],
        item_type=dict,
        doc="One dict a row: name, and chips, a list of dicts: key (str, unique), label (str) and, where wanted, count (int), "
        "active (bool), title (str, the tooltip).",
    )
    inline = param.Boolean(default=False, doc="Whether groups share a row; otherwise each has its own.")
    dark = param.Boolean(default=False, doc="Whether the page is dark.")

    one_way = frozenset({"groups"})
    _esm = script("chips")
    _stylesheets: ClassVar[list[str]] = [style("chips")]

    def __init__(self, **params: Any) -> None:
        super().__init__(**{"sizing_mode": "stretch_width", **params})
        self._chip_callbacks: list[Callable[[Press], object]] = []

    def on_chip(self, callback: Callable[[Press], object]) -> None:
        """Call `callback` whenever a chip is pressed."""
        self._chip_callbacks.append(callback)

    def to_browser(self, params: dict[str, Any]) -> dict[str, Any]:
        """Send the groups that have chips, each with at most LIMIT chips."""
        if "groups" in params:
            params["groups"] = [_group(group) for group in params["groups"] if group["chips"]]
        return params

    def _handle_msg(self, data: Any) -> None:
        """Handle a press; a chip that no longer exists is ignored."""
        key = data.get("key")
        if any(chip["key"] == key for group in self.groups for chip in group["chips"]):
            for callback in self._chip_callbacks:
                callback(Press(key=key, additive=data.get("additive") is True))


def _group(group: Mapping[str, Any]) -> dict[str, Any]:
    """A group as chips.js reads it, with all fields and at most LIMIT chips."""
    chips = [
        {
            "key": str(chip["key"]),
            "label": str(chip["label"]),
            "count": str(chip.get("count", "")),
            "active": bool(chip.get("active", False)),
            "title": str(chip.get("title", "")),
        }
        for chip in group["chips"][:LIMIT]
    ]
    return {"name": str(group["name"]), "chips": chips, "left_out": max(len(group["chips"]) - LIMIT, 0)}
