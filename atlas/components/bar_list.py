"""Groups of rows, each with a name, bars for its shares, a number and a note; rows and headings can be pressed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NotRequired, TypedDict

import param

from atlas.components.assets import script, style
from atlas.patches.sending import OneWay

LIMIT = 500
"""Most rows sent, all groups together: a screen shows 40 of them, and a vocabulary has 50,000."""

STEPS = 1000
"""A share is sent as one of so many whole numbers, which are short; a bar has fewer pixels."""

STATES = ("", "chosen", "against")
"""What a row can be: not pressed, the chosen one, the one that it is held against."""


class Row(TypedDict):
    """One row. Without a key it cannot be pressed; without shares it has no bar."""

    key: NotRequired[str]
    label: str
    shares: NotRequired[Sequence[float]]
    """0 to 1: one bar each, the second in another colour; NaN: not known, no bar."""
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
    """A row or heading that was pressed, and the keys held meanwhile (`control` is Command on a Mac)."""

    key: str
    shift: bool
    control: bool


class BarList(OneWay):
    """Groups of rows with bars. It only tells what is pressed; what is chosen is set from Python."""

    groups = param.List(default=[], item_type=dict, doc="The groups in order, each as `Group` describes it; keys are unique.")
    width_of_group = param.Integer(
        default=280, bounds=(120, None), doc="Pixels below which groups are not put beside each other."
    )
    dark = param.Boolean(default=False, doc="Whether the page is dark.")

    one_way = frozenset({"groups"})
    _esm = script("bar_list")
    _stylesheets: ClassVar[list[str]] = [style("bar_list")]

    def __init__(self, **params: Any) -> None:
        super().__init__(**{"sizing_mode": "stretch_width", **params})
        self._press_callbacks: list[Callable[[Press], object]] = []

    def on_press(self, callback: Callable[[Press], object]) -> None:
        """Call back whenever a row or a heading is pressed."""
        self._press_callbacks.append(callback)

    def to_browser(self, params: dict[str, Any]) -> dict[str, Any]:
        """Send groups with every field there, and no more rows than fit."""
        if "groups" in params:
            room, sent = LIMIT, []
            for group in params["groups"]:
                sent.append(_group(group, room))
                room -= len(sent[-1]["rows"])
            params["groups"] = sent
        return params

    def _handle_msg(self, data: Any) -> None:
        """Take a press from the browser; what was pressed may be gone by now."""
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
    """A short number; None where the share is not known."""
    return None if share != share else round(STEPS * min(max(float(share), 0.0), 1.0))  # noqa: PLR0124  (NaN alone differs)
