"""Groups of rows, each row with a name, bars for its shares, a number and a note; rows and headings are buttons."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NotRequired, TypedDict

import param

from atlas.components.assets import script, style
from atlas.patches.one_way import OneWay

LIMIT = 500
"""Most rows sent in all groups together. A screen shows 40 of them, and a vocabulary has 50,000."""

STEPS = 1000
"""A share is sent as a whole number from 0 to this, which is short; a bar has fewer pixels."""

STATES = ("", "chosen", "against")
"""States of a row: neither, the chosen one, the one that it is compared with."""


class Row(TypedDict):
    """One row. Without a key it cannot be pressed; without shares it has no bar."""

    key: NotRequired[str]
    label: str
    shares: NotRequired[Sequence[float]]
    """0 to 1: one bar for each, the second in another colour; NaN: unknown, no bar."""
    number: NotRequired[str]
    note: NotRequired[str]
    state: NotRequired[str]
    """One of `STATES`."""


class Group(TypedDict):
    """Rows under a heading. With a key the heading can be pressed."""

    name: str
    rows: Sequence[Row]
    key: NotRequired[str]
    note: NotRequired[str]
    pressed: NotRequired[bool]


class Press(TypedDict):
    """A row or heading that was pressed, and the modifier keys (`control` is Command on a Mac)."""

    key: str
    shift: bool
    control: bool


class BarList(OneWay):
    """Groups of rows with bars. A click only calls the callbacks; Python sets the states of the rows."""

    groups = param.List(default=[], item_type=dict, doc="The groups in order, each as `Group` describes it; keys are unique.")
    width_of_group = param.Integer(
        default=280, bounds=(120, None), doc="Pixels below which groups are not put beside each other."
    )
    letters = param.Integer(default=13, bounds=(1, None), doc="Letters of a label at most; longer ones are cut.")
    dark = param.Boolean(default=False, doc="Whether the page is dark.")

    one_way = frozenset({"groups"})
    _esm = script("bar_list")
    _stylesheets: ClassVar[list[str]] = [style("bar_list")]

    def __init__(self, **params: Any) -> None:
        super().__init__(**{"sizing_mode": "stretch_width", **params})
        self._press_callbacks: list[Callable[[Press], object]] = []

    def on_press(self, callback: Callable[[Press], object]) -> None:
        """Call `callback` whenever a row or a heading is pressed."""
        self._press_callbacks.append(callback)

    def to_browser(self, params: dict[str, Any]) -> dict[str, Any]:
        """Send groups with all fields, and at most LIMIT rows."""
        if "groups" in params:
            room, sent = LIMIT, []
            for group in params["groups"]:
                sent.append(_group(group, room))
                room -= len(sent[-1]["rows"])
            params["groups"] = sent
        return params

    def _handle_msg(self, data: Any) -> None:
        """Handle a press; a row or heading that no longer exists is ignored."""
        key = data.get("key")
        known = {each.get("key") for group in self.groups for each in (group, *group["rows"])}
        if isinstance(key, str) and key and key in known:
            press = Press(key=key, shift=data.get("shift") is True, control=data.get("control") is True)
            for callback in self._press_callbacks:
                callback(press)


def _group(group: Mapping[str, Any], room: int) -> dict[str, Any]:
    rows = group["rows"][:room]
    return {
        "key": str(group.get("key", "")),
        "name": str(group["name"]),
        "note": str(group.get("note", "")),
        "pressed": bool(group.get("pressed", False)),
        "rows": [_row(row) for row in rows],
        "left_out": len(group["rows"]) - len(rows),
    }


def _row(row: Mapping[str, Any]) -> dict[str, Any]:
    state = str(row.get("state", ""))
    if state not in STATES:
        msg = f"{state!r} is no state of a row; there are {', '.join(map(repr, STATES))}."
        raise ValueError(msg)
    return {
        "key": str(row.get("key", "")),
        "label": str(row["label"]),
        "shares": [_step(share) for share in row.get("shares", ())],
        "number": str(row.get("number", "")),
        "note": str(row.get("note", "")),
        "state": state,
    }


def _step(share: float) -> int | None:
    """A share as a whole number up to STEPS; None for an unknown one."""
    return None if share != share else round(STEPS * min(max(float(share), 0.0), 1.0))  # noqa: PLR0124  (NaN alone differs)
