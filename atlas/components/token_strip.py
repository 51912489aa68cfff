"""The text as running text with one element for each token: painted, marked, and picked by pointer or keyboard."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, TypedDict

import param

from atlas.components.assets import script, style
from atlas.patches.one_way import OneWay

LIMIT = 16_384
"""Most tokens shown, each as one element. At this number the browser lays out the text in a quarter of a second and repaints it
in an eighth; at twice the number both feel slow. The number of tokens beyond the limit is shown under the text."""

STEPS = 1000
"""A weight is sent as a whole number from 0 to this, which is short and finer than a palette of at most 256 colours."""

CLICK_MODES = ("replace", "toggle", "extend")
DIRECTIONS = ("auto", "ltr", "rtl")
AXES = ("both", "from", "to")


class Pick(TypedDict):
    """The request of a gesture.

    `mode` 'replace': select exactly these positions (none: clear); 'toggle': select or deselect each of them; 'extend': select
    the whole range from where the gesture began instead of the previous selection. `clear` is True for Escape.
    """

    positions: list[int]
    mode: str
    clear: bool


class TokenStrip(OneWay):
    """A text whose tokens can be picked.

    Set Params that belong together (a new text and its weights) by one `param.update(...)`, for one message and one repaint.
    """

    tokens = param.List(
        default=[],
        item_type=dict,
        doc="One dict for each token: position (int), text (its slice of the text, or its name), gap (the text between the "
        "previous token and this one), word (int, -1: none), special (bool), pos, entity (str, empty: none), sentence (int, -1: "
        "none).",
    )
    weights = param.List(
        default=[], doc="0..1 for each token, painted with the palette; None: unknown (hatched). Empty: unpainted."
    )
    meaning = param.String(default="", doc="What a value is, in a word or two; shown before the value.")
    values = param.List(default=[], item_type=str, doc="The weight of each token as text, for its tooltip.")
    notes = param.List(
        default=[], item_type=str, doc="What else is said of each token, for its tooltip; where something is, it is underlined."
    )
    palette = param.List(default=[], item_type=str, doc="Colours from low to high, as #rrggbb.")
    selected_from = param.List(default=[], item_type=int, doc="Positions that attend (queries): a bar above.")
    selected_to = param.List(default=[], item_type=int, doc="Positions that are attended to (keys): a bar below.")
    axis = param.Selector[str](
        default="both", objects=list(AXES), doc="What a pick selects; a pick of the only selected token deselects it."
    )
    direction = param.Selector[str](
        default="auto", objects=list(DIRECTIONS), doc="Reading direction; 'auto': of each paragraph by its first letter."
    )
    lines = param.Integer(default=5, bounds=(1, None), doc="Height in lines of text; longer text scrolls.")
    folded = param.Boolean(default=False, doc="Whether one line of the text is shown, which scrolls sideways.")
    foldable = param.Boolean(default=False, doc="Whether there is a button that folds and unfolds the text.")
    label = param.String(default="Tokens", doc="The name of the text for screen readers.")
    busy = param.Boolean(default=False, doc="Whether what is painted is about to change.")
    dark = param.Boolean(default=False, doc="Whether the page is dark.")
    left_out = param.Integer(default=0, doc="The number of tokens beyond the limit; computed from `tokens`.")

    one_way = frozenset({"tokens", "weights", "values", "notes", "left_out"})
    _esm = script("token_strip")
    _stylesheets: ClassVar[list[str]] = [style("token_strip")]

    def __init__(self, **params: Any) -> None:
        super().__init__(**{"sizing_mode": "stretch_width", **params})
        self._pick_callbacks: list[Callable[[Pick], object]] = []

    def on_pick(self, callback: Callable[[Pick], object]) -> None:
        """Call `callback` whenever tokens are picked, or the selection is cleared with Escape."""
        self._pick_callbacks.append(callback)

    def to_browser(self, params: dict[str, Any]) -> dict[str, Any]:
        """Send a token as a short list instead of a dict, which takes a third of the bytes."""
        if "tokens" in params:
            tokens = params["tokens"]
            params |= {"tokens": [_row(token) for token in tokens[:LIMIT]], "left_out": max(len(tokens) - LIMIT, 0)}
        if "weights" in params:
            params["weights"] = _in_steps(params["weights"][:LIMIT])
        for name in ("values", "notes"):
            if name in params:
                params[name] = params[name][:LIMIT]
        return params

    def _handle_msg(self, data: Any) -> None:
        """Handle a pick; positions that do not exist, or no longer exist, are ignored."""
        known = {token["position"] for token in self.tokens}
        mode = data.get("mode")
        if mode not in CLICK_MODES:
            msg = f"The token strip received the mode {mode!r}, which is none of {', '.join(CLICK_MODES)}."
            raise ValueError(msg)
        positions = [position for position in data.get("positions", []) if position in known]
        if data.get("positions") and not positions:
            return  # the text changed while the pick was on its way
        pick = Pick(positions=positions, mode=mode, clear=data.get("clear") is True)
        for callback in self._pick_callbacks:
            callback(pick)


def _row(token: Mapping[str, Any]) -> list[Any]:
    """A token as a list in the order that token_strip.js reads."""
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
    """Weights as whole numbers up to STEPS; None for unknown ones."""
    return [None if weight is None or math.isnan(weight) else round(float(weight) * STEPS) for weight in weights]
