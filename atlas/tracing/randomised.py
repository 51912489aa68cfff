"""How far attributions stay the same when the weights of the model are drawn anew: plain records without torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

import numpy as np
import pandas as pd

from atlas.tracing.explained import without_model

if TYPE_CHECKING:
    from atlas.trace import Trace
    from atlas.tracing.explained import Resolved

RANDOMISED, ESTIMATE, BYTES = "randomised weights", "passes of randomised weights", "bytes of randomised weights"
"""Names of the tasks that draw weights, and that say what it takes."""

CASCADE, ALONE = "cascade", "alone"
ORDERS = (CASCADE, ALONE)
"""Whether all parts from the output down to one are drawn, or that one alone."""

SCORES, SIZES = "scores", "sizes"
RANKED = (SCORES, SIZES)
"""What is ranked: scores with their sign, or their size."""

TRUE, ALL = "as it is", "all"
"""The step before any weight is drawn; the step with all of them, where parts are drawn one at a time."""

SEEDS = 5
"""Draws of the weights. Their mean is shown, with the lowest and the highest."""


class Ranks(NamedTuple):
    """Spearman's correlation with the attribution of the true model."""

    rho: np.ndarray
    """(step, draw); NaN where all scores are equal."""
    low: np.ndarray
    high: np.ndarray
    """(step,) where the mean over draws lies in 95 % of shuffled orders."""
    p: np.ndarray
    """(step,) two-sided, of that mean among those of shuffled orders."""

    @property
    def mean(self) -> np.ndarray:
        """(step,) over the draws that have a correlation."""
        known = np.isfinite(self.rho)
        total = np.where(known, self.rho, 0.0).sum(axis=1)
        return np.divide(total, known.sum(axis=1), out=np.full(len(total), np.nan), where=known.any(axis=1))

    @property
    def lowest(self) -> np.ndarray:
        """(step,) of the draws that have a correlation."""
        return np.fmin.reduce(self.rho, axis=1)

    @property
    def highest(self) -> np.ndarray:
        """(step,) of the draws that have a correlation."""
        return np.fmax.reduce(self.rho, axis=1)


class Kept(NamedTuple):
    """What is kept of the attribution of one method."""

    name: str
    scores: Ranks | None
    sizes: Ranks | None
    """The same of the sizes of the scores; equal where scores have no sign."""
    random: np.ndarray
    """(token,) mean rank over draws when all weights are drawn, 0 to 1, the highest for the first token."""
    reason: str = ""
    """Why the model cannot have this method; the rest is then empty."""

    def ranks(self, ranked: str) -> Ranks:
        """One of the two."""
        found = self.scores if ranked == SCORES else self.sizes
        assert found is not None
        return found


class Randomised(NamedTuple):
    """Some methods for one target of one text."""

    target: Resolved
    steps: tuple[str, ...]
    """'as it is', then the parts from the output to the input; alone, 'all' comes after them. The last step draws all weights."""
    numbers: tuple[int, ...]
    """Weights that are drawn at each step."""
    places: tuple[tuple[str, int], ...]
    """(side, position) of the tokens that are ranked."""
    found: tuple[Kept, ...]
    probability: np.ndarray
    """(step, draw) of the outcome; NaN where outcomes have none."""
    order: str
    """'cascade' or 'alone'."""
    passes: int
    """Texts run, a backward pass as two."""

    @property
    def table(self) -> pd.DataFrame:
        """One row for each method, ranking and step: mean, lowest and highest rho over the draws, chance, p, probability."""
        parts = [
            pd.DataFrame({
                "method": kept.name,
                "ranked": ranked,
                "step": self.steps,
                "weights": self.numbers,
                "rho": kept.ranks(ranked).mean,
                "lowest": kept.ranks(ranked).lowest,
                "highest": kept.ranks(ranked).highest,
                "chance_lo": kept.ranks(ranked).low,
                "chance_hi": kept.ranks(ranked).high,
                "p": kept.ranks(ranked).p,
                "draws": kept.ranks(ranked).rho.shape[1],
                "tokens": len(self.places),
                "probability": self.probability.mean(axis=1),
            })
            for kept in self.found
            if not kept.reason
            for ranked in RANKED
        ]  # fmt: skip
        return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame({"method": [], "step": []})


@runtime_checkable
class Copies(Protocol):
    """A model behind a trace that can be copied."""

    def without_twin(self) -> str:
        """Why its weights cannot be drawn anew."""


def without_weights(trace: Trace) -> str:
    """Why the weights of a trace's model cannot be drawn anew; empty: they can."""
    reason = without_model(trace)
    if reason:
        return reason
    return trace.live.without_twin() if isinstance(trace.live, Copies) else "the weights of its model are not here."
