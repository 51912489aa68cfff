"""How a prediction falls as tokens are taken out of the text: plain records without torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np

    from atlas.tracing.explained import Resolved

CURVES, ESTIMATE = "faithfulness curves", "passes of faithfulness curves"
"""Names of the tasks that work them out, and that say what it takes."""

RANDOM, BEST, WORST = "random", "best order", "worst order"
"""What methods are held against: tokens in random order, and the orders whose deletion falls the most and the least."""

COMPREHENSIVENESS, SUFFICIENCY = "comprehensiveness", "sufficiency"

MASK, DELETE, ATTENTION = "mask", "delete", "attention"
REMOVALS = (MASK, DELETE, ATTENTION)
"""What is done with a token that is taken out: replaced by no token, deleted, hidden from attention."""

BINS = (0.01, 0.05, 0.1, 0.2, 0.5)
"""Shares of the tokens that are taken out, or kept (DeYoung et al. 2020)."""


class Curve(NamedTuple):
    """The target's number along one order of the tokens."""

    name: str
    """The method."""
    order: tuple[int, ...]
    """Places of the removable tokens, the most important first."""
    deletion: np.ndarray
    """(step,) without the first tokens of the order."""
    insertion: np.ndarray
    """(step,) with nothing but the first tokens of the order."""
    comprehensiveness: float
    sufficiency: float
    reason: str = ""
    """Why the model cannot have this method; the rest is then empty."""


class Curves(NamedTuple):
    """Several orders of the tokens of one text, for one target."""

    target: Resolved
    places: tuple[tuple[str, int], ...]
    """(side, position) of the tokens that are taken out."""
    steps: tuple[int, ...]
    """Tokens taken out, or put in, at each point of a curve; from 0 to all of them."""
    found: tuple[Curve, ...]
    random: tuple[Curve, ...]
    """Random orders."""
    bounds: tuple[Curve, ...]
    """The orders whose deletion falls the most and the least; empty where they were not searched."""
    searched: str
    """How the bounds were found, or why not."""
    removal: str
    """What is done with a token that is taken out."""
    of: str
    """What of the target is measured."""
    passes: int
    """Texts run for different sets of tokens."""
