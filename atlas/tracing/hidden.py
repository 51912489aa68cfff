"""The states of the tokens of a trace in the residual stream: their principal components and how alike they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from atlas.errors import TooLarge
from atlas.ids import stream_of
from atlas.metrics.geometry import cosines_with, mean_cosine, project
from atlas.metrics.keysets import key_sets

if TYPE_CHECKING:
    from atlas.trace import Trace

Array = np.ndarray

NAME = "hidden"

JOINT_NUMBERS = 40_000_000
"""Numbers of all layers that are projected together: 320 MB in double precision, a few seconds. GPT-2-small has 20 million at
2,048 tokens."""

SPECIAL, OTHER = "special tokens", "other tokens"
CLASSES = {"content_words": "content words", "function_words": "function words", "punctuation": "punctuation"}
"""Classes of tokens, as their colours are named."""


class Cloud(NamedTuple):
    """The tokens of one side at one layer, or at all of them."""

    positions: Array
    """(layer, token, 2); one layer where each layer has axes of its own."""
    explained: tuple[float, float]
    cosine: Array
    """(layer,) mean cosine between two tokens, of every layer."""
    cosine_centred: Array
    """The same after the mean state of the layer is taken away."""


def without_hidden(trace: Trace) -> str:
    """Why a trace has no states; empty: it has, or its model can give them."""
    if are_held(trace):
        return ""
    if trace.live is None:
        return "it holds no hidden states, and its model is not here to make them."
    return "" if trace.live.group_of(NAME) is not None else trace.live.reason(NAME)


def are_held(trace: Trace) -> bool:
    """Whether the states are there without a run of the model."""
    return NAME in trace.held_arrays()


def capture(trace: Trace) -> bool:
    """Run the model once more for the states, where they are not there."""
    return bool(trace.captured(NAME))


def n_states(trace: Trace, kind: str) -> int:
    """States of a token: one enters each layer, and one leaves the last."""
    return trace.n_layers(stream_of(kind)) + 1


def work_of(trace: Trace, kind: str, *, joint: bool) -> int:
    """Multiplications that a cloud takes, roughly."""
    states = _states(trace, kind)
    n_tokens, width = states[0].shape
    rows = n_tokens * len(states) if joint else n_tokens
    return rows * width * min(rows, width) + len(states) * n_tokens * width


def cloud(trace: Trace, kind: str, layer: int | None, *, unit: bool = False) -> Cloud:
    """The tokens' states at one layer on their principal components; layer None: one projection of all layers."""
    states = _states(trace, kind)
    if layer is None:
        _check_size(states)
        found = project(np.concatenate(states), unit=unit)
        positions = found.positions.reshape(len(states), -1, found.positions.shape[1])
    else:
        found = project(states[layer], unit=unit)
        positions = found.positions[None]
    raw, centred = trace.once(f"cosines of states {stream_of(kind)}", lambda: _cosines(states))
    return Cloud(positions, found.explained, raw, centred)


def nearest(trace: Trace, kind: str, layer: int, token: int, count: int) -> list[tuple[int, float]]:
    """The tokens whose states point most in the direction of one token's, with the cosine after the mean state is taken away."""
    cosines = cosines_with(_states(trace, kind)[layer], token)
    cosines[token] = np.nan
    order = np.argsort(-np.nan_to_num(cosines, nan=-np.inf), kind="stable")
    return [(int(at), float(cosines[at])) for at in order[:count] if np.isfinite(cosines[at])]


def token_classes(trace: Trace, side: str) -> list[str]:
    """The class of every token; without a tagger words are 'other tokens'."""
    tokens = trace.reading(side).table
    sets = key_sets(tokens)
    found = np.full(len(tokens), OTHER, dtype=object)
    for name, words in CLASSES.items():
        members = sets[name]
        if members is not None:
            found[members] = words
    found[tokens["special"].to_numpy(bool)] = SPECIAL
    return [str(name) for name in found]


def _states(trace: Trace, kind: str) -> list[Array]:
    """(token, width) for each layer that a state enters, and the one that leaves the last."""
    places = trace.captured(NAME)
    own = sorted((place[1], place) for place in places if place is not None and place[0] == stream_of(kind))
    return [places[place] for _, place in own]


def _check_size(states: list[Array]) -> None:
    size = sum(state.size for state in states)
    if size > JOINT_NUMBERS:
        msg = (
            f"One projection of {len(states)} layers of {len(states[0]):,} tokens would read {size / 1e6:,.0f} million numbers, "
            f"and at most {JOINT_NUMBERS / 1e6:.0f} million are read at once. Switch 'One PCA for all layers' off."
        )
        raise TooLarge(msg)


def _cosines(states: list[Array]) -> tuple[Array, Array]:
    return (
        np.array([mean_cosine(state) for state in states]),
        np.array([mean_cosine(state, centred=True) for state in states]),
    )
