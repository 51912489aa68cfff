"""Texts in rows, of which a press chooses one; above them the steps to the text before and after, below them the pages."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, ClassVar, NamedTuple

import param

from atlas.components.assets import script, style
from atlas.patches.one_way import OneWay

LONGEST = 200
"""Letters of a text that are sent: a row shows 50 of them, and its title the others."""


class TextRow(NamedTuple):
    """One row."""

    key: str
    number: str
    text: str
    note: str = ""
    now: bool = False
    """Whether this text is the one asked for."""
    marks: tuple[tuple[int, int], ...] = ()
    """Where marked words begin and end, in order."""


class TextRows(OneWay):
    """Rows as buttons, in plain text. A press only calls the callbacks; Python says which row is the one shown."""

    rows = param.List(default=[], doc="The rows in order, each a `TextRow`; keys are unique.")
    label = param.String(default="", doc="What the list is called for a screen reader.")
    where = param.String(default="", doc="Which text of how many is shown; empty: there is nothing to step through.")
    page = param.Integer(default=1, doc="The page of the list that is shown.")
    pages = param.Integer(default=1, doc="How many pages it has; the buttons for them are there where it has several.")

    one_way = frozenset({"rows", "where", "page", "pages"})
    _esm = script("text_rows")
    _stylesheets: ClassVar[list[str]] = [style("text_rows")]

    def __init__(self, **params: Any) -> None:
        super().__init__(**{"sizing_mode": "stretch_width", "margin": (4, 10), **params})
        self._press_callbacks: list[Callable[[str], object]] = []
        self._step_callbacks: list[Callable[[int], object]] = []
        self._turn_callbacks: list[Callable[[int], object]] = []

    def on_press(self, callback: Callable[[str], object]) -> None:
        """Call `callback` with the key of a row that is pressed."""
        self._press_callbacks.append(callback)

    def on_step(self, callback: Callable[[int], object]) -> None:
        """Call `callback` with 1 for the next text, -1 for the one before."""
        self._step_callbacks.append(callback)

    def on_turn(self, callback: Callable[[int], object]) -> None:
        """Call `callback` with 1 for the next page, -1 for the one before."""
        self._turn_callbacks.append(callback)

    def to_browser(self, params: dict[str, Any]) -> dict[str, Any]:
        """Send the beginning of each text, on one line."""
        if "rows" in params:
            params["rows"] = [_sent(row) for row in params["rows"]]
        return params

    def _handle_msg(self, data: Any) -> None:
        """Handle a press; a row that no longer exists is ignored."""
        if not isinstance(data, dict):
            return
        key = data.get("key")
        if isinstance(key, str) and any(row.key == key for row in self.rows):
            _call(self._press_callbacks, key)
        for name, callbacks in (("step", self._step_callbacks), ("turn", self._turn_callbacks)):
            if type(data.get(name)) is int and data[name] in {1, -1}:
                _call(callbacks, data[name])


def _call(callbacks: Sequence[Callable[[Any], object]], value: Any) -> None:
    for callback in callbacks:
        callback(value)


def _sent(row: TextRow) -> dict[str, Any]:
    sent = row._asdict() | {"text": _one_line(row.text[: 2 * LONGEST])[:LONGEST]}
    del sent["marks"]
    return sent | {"parts": _parts(row)} if row.marks else sent


def _parts(row: TextRow) -> list[str]:
    """The beginning of a text in turns outside of marks and inside, beginning outside."""
    ends = [min(end, 2 * LONGEST) for mark in row.marks for end in mark]
    edges = [0, *ends, min(len(row.text), 2 * LONGEST)]
    room, parts = LONGEST, []
    for start, end in pairwise(edges):
        part = re.sub(r"\s+", " ", row.text[start:end])
        parts.append(part[:room])
        room -= len(parts[-1])
    return parts


def _one_line(text: str) -> str:
    return " ".join(text.split())
