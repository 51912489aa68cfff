"""What is known of the units of a feed-forward block."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from atlas.trace import Trace

Array = np.ndarray

FEED_FORWARD_UNITS = "feed-forward units"
"""Name of the task that finds which units fire and what they write."""

TOP_UNITS = 8
"""Units shown of a layer."""

TOP_TOKENS = 4
"""Tokens shown that a unit promotes, and that it suppresses."""

HELD = 0.9
"""Share of all activation whose fewest units are counted."""


class FeedForwardUnits(NamedTuple):
    """The units of one layer that fire most, and how many fire in every layer; means over some positions."""

    kind: str
    layer: int
    positions: tuple[int, ...]
    function: str
    """Name of the activation function; empty where none that is known gives these activations"""
    gated: bool
    n_units: int
    firing: Array
    """(layer,) share of units whose pre-activation is above 0"""
    holding: Array
    """(layer,) share of units that hold `HELD` of all |activation| of a position"""
    units: Array
    """(rank,) the units with the largest |mean activation|"""
    activations: Array
    """(rank,) their mean activation"""
    lengths: Array
    """(rank,) length of what each writes at activation 1"""
    promotes: tuple[tuple[str, ...], ...]
    """For each, the tokens whose logit what it writes raises most, through the final norm and the unembedding; empty: not read"""
    suppresses: tuple[tuple[str, ...], ...]


def without_units(trace: Trace) -> str:
    """Why nothing is known of the units; empty: it is."""
    if trace.live is None:
        return "it needs the model, and the model of this trace is not here."
    return "" if trace.live.group_of("ffn_act") is not None else trace.live.reason("ffn_act")


def holding_share(activations: Array) -> float:
    """Mean over positions of the share of units that hold `HELD` of Σ|activation| between them."""
    sizes = -np.sort(-np.abs(activations.astype(np.float64)), axis=-1)
    total = sizes.sum(-1, keepdims=True)
    known = total[:, 0] > 0
    needed = (np.cumsum(sizes[known], axis=-1) < HELD * total[known]).sum(-1) + 1
    return float(needed.mean() / sizes.shape[-1]) if known.any() else np.nan
