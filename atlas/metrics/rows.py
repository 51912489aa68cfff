"""Statistics of attention rows in one sweep: the same code for numpy arrays and, inside a model's pass, torch tensors.

The sweep goes through the rows in slabs that stay in the processor's cache and works in one scratch array, so that the
dozen reductions below read the matrix from memory about once and allocate nothing of its size: temporaries of the size of
the matrix would cost more than the attention itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from array_api_compat import array_namespace, size

from atlas.metrics.plan import NEAR, Array, RowPlan

__all__ = ["RowPlan", "row_statistics"]

SLAB_BYTES = 4 * 1024 * 1024
"""Weights handled at a time on a CPU: of 0.5, 1, 2, 4 and 8 MB the quickest at 2,048 tokens (2 MB of cache per core)."""

ROUNDING = 8.0
"""Weights within this many machine epsilons of 1/n count as uniform: softmax of equal scores misses 1/n by that much."""

TINY = 1e-30
"""Weights below this add nothing to an entropy in float32, but their logarithm would be infinite at 0."""


@dataclass(frozen=True, eq=False)
class _Slab:
    """Some rows of all heads at hand."""

    xp: Any
    plan: RowPlan
    rows: slice
    weights: Array
    """(..., row, key) in single precision or better."""
    scratch: Array
    """The same shape, to be written over: numpy and torch both take `out=`."""

    def dot(self, other: Array) -> Array:
        """Sum over the keys of weight times `other`."""
        return self.xp.sum(self.xp.multiply(self.weights, other, out=self.scratch), axis=-1)

    def like(self, operand: Array) -> Array:
        """An operand of the plan in the weights' precision."""
        return self.xp.astype(operand, self.weights.dtype, copy=False)


def row_statistics(weights: Array, plan: RowPlan) -> dict[str, Array]:
    """Reduce attention to numbers per query and per key.

    Parameters
    ----------
    weights
        (..., query, key), exactly 0 where masked. Rows of a model with learned sinks may sum to less than 1.
    plan
        Mask and tokens; its operands on the device of `weights` (`RowPlan.to`).

    Returns
    -------
    dict
        Per query (..., query), NaN where the row has nothing to measure: entropy (nats, of the row's weights scaled to
        sum to 1), maximum, mass (the row's sum), square_sum, below_uniform (visible cells under 1/n), special, and for
        queries and keys on one axis self, previous, next, distance, long_range, and induction, duplicate where the text
        has candidates. Per key (..., key): received, received_informative.
    """
    xp: Any = array_namespace(weights)
    weights = _detached(weights)
    step = _slab_rows(weights)
    precise = _precise(xp, weights[..., :0, :]).dtype
    scratch = xp.empty((*weights.shape[:-2], step, plan.n_keys), dtype=precise, device=weights.device)
    parts: list[Array] = []
    received: Array = None
    for start in range(0, plan.n_queries, step):
        rows = slice(start, min(start + step, plan.n_queries))
        here = scratch[..., : rows.stop - start, :]
        slab = _Slab(xp, plan, rows, weights=_precise(xp, weights[..., rows, :]), scratch=here)
        parts.append(_statistics(slab))
        arrived = xp.matmul(slab.like(plan.operands.receive[:, rows]), slab.weights)
        received = arrived if received is None else received + arrived
    table = parts[0] if len(parts) == 1 else xp.concat(parts, axis=-1)
    statistics = {name: table[..., place, :] for place, name in enumerate(plan.names)}
    return statistics | {"received": received[..., 0, :], "received_informative": received[..., 1, :]}


def _statistics(slab: _Slab) -> Array:
    """(..., statistic, row) in the order of `plan.names`."""
    xp, plan = slab.xp, slab.plan
    mass = xp.sum(slab.weights, axis=-1)
    # A row that gave everything to a learned sink has no distribution over tokens: not a number, rather than 0.
    scale = xp.where(mass > 0, mass, xp.nan)
    found: dict[str, Array] = {
        "entropy": _entropy(slab, scale),
        "maximum": xp.max(slab.weights, axis=-1),
        "mass": mass,
        "square_sum": xp.linalg.vector_norm(slab.weights, axis=-1) ** 2,
        "below_uniform": _below_uniform(slab),
        "special": xp.sum(xp.take(slab.weights, plan.operands.special_keys, axis=-1), axis=-1),
    }
    if plan.same_axis:
        found |= _neighbourhood(slab, mass)
        found |= dict(zip(plan.template_names, _by_template(slab), strict=True))
        found["distance"] = found["distance"] / scale
    table = xp.stack([found[name] for name in plan.names], axis=-2)
    return xp.where(plan.operands.defined[:, slab.rows], table, xp.nan)


def _entropy(slab: _Slab, scale: Array) -> Array:
    """Entropy of the rows scaled to sum to 1: H(p / m) = -(sum p ln p) / m + ln m.

    From the weights alone: the log-sum-exp less the mean score is the same number without a logarithm, but at scores of
    thousands that difference of two large numbers has no digit left.
    """
    xp = slab.xp
    # The scratch array holds the logarithms first and then, cell by cell, their products.
    logarithms = xp.log(_at_least_tiny(slab), out=slab.scratch)
    # A tiny negative entropy is rounding.
    return xp.clip(-slab.dot(logarithms) / scale + xp.log(scale), min=0.0)


def _at_least_tiny(slab: _Slab) -> Array:
    floor = slab.xp.asarray(TINY, dtype=slab.weights.dtype, device=slab.weights.device)
    return slab.xp.maximum(slab.weights, floor, out=slab.scratch)


def _below_uniform(slab: _Slab) -> Array:
    """Visible cells under 1/n: masked cells are 0 and counted too, so they are taken off again.

    The comparison is written as floats: as booleans it takes torch four times as long, and counting them four times again.
    """
    xp = slab.xp
    n_visible = slab.like(slab.plan.operands.n_visible[slab.rows])
    share = (1.0 - ROUNDING * float(xp.finfo(slab.weights.dtype).eps)) / xp.clip(n_visible, min=1.0)
    below = xp.sum(xp.less(slab.weights, share[:, None], out=slab.scratch), axis=-1)
    return below - (slab.plan.n_keys - n_visible)


def _neighbourhood(slab: _Slab, mass: Array) -> dict[str, Array]:
    """Masses on the diagonals around the query; what is not near is long-range."""
    xp = slab.xp
    places, exists = (part[slab.rows, :] for part in (slab.plan.operands.near_keys, slab.plan.operands.near_exists))
    places = xp.broadcast_to(places, (*slab.weights.shape[:-2], *places.shape))
    near = xp.take_along_axis(slab.weights, places, axis=-1) * slab.like(exists)
    return {
        "self": near[..., NEAR],
        "previous": near[..., NEAR - 1],
        "next": near[..., NEAR + 1],
        "long_range": xp.clip(mass - xp.sum(near, axis=-1), min=0.0),
    }


def _by_template(slab: _Slab) -> list[Array]:
    """Sum of weight times template over the keys, for each template: a small matrix product per query, all heads at once."""
    xp, shape = slab.xp, slab.weights.shape
    templates = slab.like(slab.plan.operands.templates[slab.rows, ...])
    by_query = xp.permute_dims(xp.reshape(slab.weights, (-1, *shape[-2:])), (1, 0, 2))
    sums = xp.permute_dims(xp.matmul(by_query, xp.matrix_transpose(templates)), (2, 1, 0))
    return [xp.reshape(sums[place, ...], shape[:-1]) for place in range(templates.shape[1])]


def _precise(xp: Any, values: Array) -> Array:
    """Half-precision input in float32: distances and sums of thousands of weights do not fit half precision."""
    return values if xp.finfo(values.dtype).bits >= 32 else xp.astype(values, xp.float32)


def _detached(values: Array) -> Array:
    """Outside the gradient graph: statistics are looked at, not trained on, and `out=` has no gradient."""
    return values.detach() if hasattr(values, "detach") else values


def _slab_rows(weights: Array) -> int:
    """Rows that fit a slab; a GPU takes all at once."""
    n_rows = max(int(weights.shape[-2]), 1)
    if str(weights.device).partition(":")[0] != "cpu":
        return n_rows
    row_bytes = 4 * (size(weights) or 1) // n_rows
    return min(n_rows, max(1, SLAB_BYTES // max(row_bytes, 1)))
