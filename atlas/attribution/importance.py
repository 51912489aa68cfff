"""How important each head is for a prediction, by one backward pass and by its removal; how few heads it needs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from atlas.attribution.effects import GRADIENT, INTEGRATED, UNIFORM, Report, head_effects_of_trace, read
from atlas.attribution.statistics import spearman
from atlas.errors import UnknownName
from atlas.ids import HeadId, as_heads
from atlas.trace import Trace
from atlas.tracing.explained import Target
from atlas.tracing.pruning import ABLATION, ORDERS, POINTS, PRUNING, RANDOM, Pruning

if TYPE_CHECKING:
    from atlas.engine.model import Model
    from atlas.ids import Headlike

Tell = Callable[[str, float], None]
"""(message, share done)"""


def head_importance(
    model: Model,
    text: str | Trace | Any,
    target: Target | None = None,
    how: str | None = "zero",
    *,
    method: str = GRADIENT,
    baseline: str = UNIFORM,
    other: str | Trace | Any = None,
    pair: str | None = None,
    decoder: str | None = None,
    seed: int = 0,
    progress: Report | None = None,
) -> pd.DataFrame:
    """The importance of every head for one prediction: by gradients, and beside it what its removal does.

    Parameters
    ----------
    model, text, target
        As in `head_effects`. Michel, Levy & Neubig differentiate the loss: `Target(of='log-probability')` is minus that.
    how
        What the output of a removed head is replaced by, as in `head_effects`; None: none is removed, which saves a pass a head.
    method
        'gradient', from one backward pass; or 'integrated_gradients' on the weights of one layer after the other, from
        `baseline`, as in `head_effects`: its scores of a layer add up to f minus f with the weights of this layer replaced.
    baseline, other, pair, decoder, seed, progress
        As in `head_effects`.

    Returns
    -------
    kind, layer, head, gradient (Σ A · ∂f/∂A over the weights A of the head, to the first order f minus f without the head),
    importance (the size of the method's score), normalised (divided by the length of those of its layer), effect (f before minus
    after; NaN where no head is removed). With 'integrated_gradients' also integrated (the score), explained (f minus f with the
    weights of the layer replaced) and gap (how far the scores of the layer are from adding up to it, as a share of it). Where
    heads are removed, `attrs['agreement']` has rho, lo, hi and n: Spearman's correlation of importance and the size of the
    effect.
    """
    if method not in (GRADIENT, INTEGRATED):
        msg = f"Heads are weighed by {GRADIENT!r} or {INTEGRATED!r}, not by {method!r}."
        raise UnknownName(msg)
    trace = text if isinstance(text, Trace) else model.trace(text, pair, decoder, capture=("predictions",))
    found = head_effects_of_trace(trace, target, GRADIENT).rename(columns={"effect": "gradient"})
    integrated = None
    if method == INTEGRATED:
        integrated = head_effects_of_trace(trace, target, INTEGRATED, baseline=baseline)
    score = found["gradient"] if integrated is None else integrated["effect"]
    table = found[["kind", "layer", "head", "gradient"]].assign(importance=score.abs())
    length = table.groupby(["kind", "layer"])["importance"].transform(lambda values: np.sqrt((values**2).sum()))
    table["normalised"] = (table["importance"] / length.where(length > 0)).astype(float)
    removed = None if how is None else head_effects_of_trace(trace, target, how, None, other, progress, seed)
    table["effect"] = np.nan if removed is None else removed["effect"].to_numpy()
    table.attrs = found.attrs | {"how": how, "method": method}
    if integrated is not None:
        layers = pd.DataFrame(integrated.attrs["layers"])
        table = table.assign(integrated=score).merge(layers[["kind", "layer", "explained", "gap"]], on=["kind", "layer"])
        table.attrs |= {"baseline": baseline}
    if removed is not None:
        rank = spearman(table[["importance"]].to_numpy(dtype=float).T, table["effect"].abs(), permutations=0)
        table.attrs["agreement"] = {"rho": float(rank.rho[0]), "lo": float(rank.lo[0]), "hi": float(rank.hi[0]), "n": len(table)}
    return table


def prune(
    trace: Trace,
    target: Target | None = None,
    how: str = "zero",
    heads: Iterable[Headlike] | None = None,
    *,
    points: int = POINTS,
    orders: int = ORDERS,
    integrated: bool = False,
    other: str | Trace | Any = None,
    seed: int = 0,
    progress: Tell | None = None,
) -> Pruning:
    """What is left of a prediction when heads are removed together, from the least important on, and in random orders.

    Parameters
    ----------
    trace
        A trace whose model is here.
    target
        What is explained; by default the likeliest outcome at the last position.
    how, other
        What the output of removed heads is replaced by: 'zero', 'mean', or 'resample' with `other`, a text or a trace.
    heads
        The heads that are removed; by default all.
    points
        Points of a curve at most, besides that of all heads.
    orders, seed
        How many random orders, and their seed.
    integrated
        Whether heads also go in the order of integrated gradients on their weights, which takes many more passes.
    progress
        Called with a message and the share done.
    """
    from atlas.engine.gradients.heads import effects_of_sets
    from atlas.engine.gradients.subject import Subject

    chosen = as_heads(heads, trace.kinds) if heads is not None else trace.head_ids
    other = read(trace, other)
    importance = head_effects_of_trace(trace, target, GRADIENT, chosen)
    alone = head_effects_of_trace(trace, target, how, chosen, other, _share(progress, "Removing one head at a time"), seed)
    by_name = {GRADIENT: _rising(chosen, importance), ABLATION: _rising(chosen, alone)}
    if integrated:
        tell = _share(progress, "Integrating gradients on attention weights")
        by_name[INTEGRATED] = _rising(chosen, head_effects_of_trace(trace, target, INTEGRATED, chosen, report=tell))
    random = np.random.default_rng(seed)
    every = [(name, 0, order) for name, order in by_name.items()]
    every += [(RANDOM, run, tuple(chosen[at] for at in random.permutation(len(chosen)))) for run in range(orders)]
    counts = np.unique(np.linspace(0, len(chosen), min(points, len(chosen)) + 1).round().astype(int))[1:].tolist()
    sets = [tuple(sorted(order[:count])) for _, _, order in every for count in counts]
    subject = Subject(trace, target)
    effects = effects_of_sets(subject, sets, how, other, _share(progress, "Removing heads together"), seed)
    whole = {"value": subject.target.value, "probability": subject.target.probability, "kl": 0.0}
    rows = []
    for at, (name, run, _) in enumerate(every):
        place = slice(at * len(counts), (at + 1) * len(counts))
        left = {
            "value": subject.target.value - effects.effect[place],
            "probability": subject.target.probability * np.exp(-effects.log_probability[place]),
            "kl": effects.kl[place],
        }
        whole_first = {measure: [whole[measure], *values] for measure, values in left.items()}
        rows.append(pd.DataFrame({"order": name, "run": run, "removed": [0, *counts], **whole_first}))
    table = pd.concat(rows, ignore_index=True)
    table.insert(3, "kept", len(chosen) - table["removed"])
    return Pruning(subject.target, table, MappingProxyType(by_name), how)


def _rising(heads: Sequence[HeadId], table: pd.DataFrame) -> tuple[HeadId, ...]:
    """Heads by the size of their effect, the least first."""
    return tuple(heads[at] for at in np.argsort(table["effect"].abs().to_numpy(), kind="stable"))


def _share(progress: Tell | None, message: str) -> Report | None:
    return None if progress is None else lambda done, of: progress(message, done / max(of, 1))


TASKS: Mapping[str, Callable[..., Any]] = {PRUNING: prune}
"""Work with the model that views may request, by name."""
