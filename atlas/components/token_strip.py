"""The text itself as running text, one element a token: painted, marked, and picked by pointer or keyboard."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, TypedDict

import param

from atlas.components.assets import script, style
from atlas.patches.sending import OneWay

LIMIT = 16_384
"""Most tokens shown. Each is one element: at this many the browser still lays the text out in a quarter of a second and repaints
it in an eighth, at twice as many neither feels like an answer. What is beyond is counted under the text."""

STEPS = 1000
"""A weight is sent as one of so many whole numbers, which are short; a palette has at most 256 colours."""

CLICK_MODES = ("replace", "toggle", "extend")
DIRECTIONS = ("auto", "ltr", "rtl")
AXES = ("both", "from", "to")


class Pick(TypedDict):
    """What a gesture asks for.

    `mode` 'replace': exactly these positions are to be selected (none: let go); 'toggle': each of them changes; 'extend': the
    whole range from where it began, to be selected instead of what was. `clear` is True for Escape.
    """

    positions: list[int]
    mode: str
    clear: bool


class TokenStrip(OneWay):
    """A text that can be pointed at.

    Fields that belong together (a new text and its weights) go in one `param.update(...)`: one message, one repaint.
    """

    tokens = param.List(
        default=[],
        item_type=dict,
        doc="One dict a token: position (int), text (its slice of the text, or its name), gap (the text between the token before "
        "and this one), word (int, -1: none), special (bool), pos, entity (str, empty: none), sentence (int, -1: none).",
    )
    weights = param.List(
        default=[], doc="0..1 for each token, painted with the palette; None: not known (hatched). Empty: unpainted."
    )
    meaning = param.String(default="", doc="What a value is, in a word or two: said before it.")
    values = param.List(default=[], item_type=str, doc="What the tooltip of each token says of its weight.")
    palette = param.List(default=[], item_type=str, doc="Colours from low to high, as #rrggbb.")
    selected_from = param.List(default=[], item_type=int, doc="Positions that look (queries): a bar above.")
    selected_to = param.List(default=[], item_type=int, doc="Positions that are looked at (keys): a bar below.")
    axis = param.Selector[str](
        default="both", objects=list(AXES), doc="What a pick selects; a pick of the only token selected there lets go of it."
    )
    direction = param.Selector[str](
        default="auto", objects=list(DIRECTIONS), doc="Reading direction; 'auto': of each paragraph by its first letter."
    )
    lines = param.Integer(default=5, bounds=(1, None), doc="Height in lines of text; what is beyond scrolls.")
    folded = param.Boolean(default=False, doc="Whether one line of the text is shown, which scrolls sideways.")
    foldable = param.Boolean(default=False, doc="Whether there is a button that folds and unfolds the text.")
    label = param.String(default="Tokens", doc="What a screen reader calls the text.")
    busy = param.Boolean(default=False, doc="Whether what is painted is about to change.")
    dark = param.Boolean(default=False, doc="Whether the page is dark.")
    left_out = param.Integer(default=0, doc="How many tokens are beyond the limit; follows from `tokens`.")

    one_way = frozenset({"tokens", "weights", "values", "left_out"})
    _esm = script("token_strip")
    _stylesheets: ClassVar[list[str]] = [style("token_strip")]

    def __init__(self, **params: Any) -> None:
        super().__init__(**{"sizing_mode": "stretch_width", **params})
        self._pick_callbacks: list[Callable[[Pick], object]] = []

    def on_pick(self, callback: Callable[[Pick], object]) -> None:
        """Call back whenever tokens are picked, or let go of with Escape."""
        self._pick_callbacks.append(callback)

    def to_browser(self, params: dict[str, Any]) -> dict[str, Any]:
        """Send a token as a short list instead of a dict: a third of the bytes."""
        if "tokens" in params:
            tokens = params["tokens"]
            params |= {"tokens": [_row(token) for token in tokens[:LIMIT]], "left_out": max(len(tokens) - LIMIT, 0)}
        if "weights" in params:
            params["weights"] = _in_steps(params["weights"][:LIMIT])
        if "values" in params:
            params["values"] = params["values"][:LIMIT]
        return params

    def _handle_msg(self, data: Any) -> None:
        """Take a pick from the browser; what it names may be gone by now, or be made up."""
        known = {token["position"] for token in self.tokens}
        mode = data.get("mode")
        if mode not in CLICK_MODES:
            msg = f"The token strip was sent {mode!r}, which is none of {', '.join(CLICK_MODES)}."
            raise ValueError(msg)
        positions = [position for position in data.get("positions", []) if position in known]
        if data.get("positions") and not positions:
            return  # the text changed while the pick was on its way
        pick = Pick(positions=positions, mode=mode, clear=data.get("clear") is True)
        for callback in self._pick_callbacks:
            callback(pick)


def _row(token: Mapping[str, Any]) -> list[Any]:
    """A token in the order token_strip.js reads."""
    return [
        int(token["position"]),
        str(token["text"]),
        str(token.get("gap", "")),
        int(token.get("word", -1)),
        int(bool(token.get("special", False))),
        str(token.get("pos") or ""),
        str(token.get("entity") or ""),
        int(token.get("sentence", -1)),
    ]


def _in_steps(weights: Iterable[float | None]) -> list[int | None]:
    """Short numbers; NaN is what nobody knows."""
    return [None if weight is None or math.isnan(weight) else round(float(weight) * STEPS) for weight in weights]
