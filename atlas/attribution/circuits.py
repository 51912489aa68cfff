"""The circuit of a prediction: its strongest edges, checked by path patching, and what the heads on them keep of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from atlas.attribution.head_sets import alternatives
from atlas.attribution.patching import (
    CHECKED,
    PATCH,
    EdgeArrays,
    agreement_with_patching,
    drawn_rows,
    edge_arrays,
    edge_rows,
    of_as_many_tokens,
    other_of,
)
from atlas.attribution.statistics import chance_of_spearman
from atlas.tracing.circuit import (
    CIRCUIT,
    CIRCUIT_COST,
    CIRCUIT_KEPT,
    INPUTS,
    MEASURED,
    MEASURED_OF_INPUT,
    MOST_SHOWN,
    SETS,
    Circuit,
    KeptByHeads,
)
from atlas.tracing.explained import Target

if TYPE_CHECKING:
    from atlas.engine.gradients.subject import Subject
    from atlas.ids import HeadId
    from atlas.trace import Trace

Tell = Callable[[str, float], None]
"""(message, share done)"""

PERMUTATIONS = 999

OTHER_PASSES = 8
"""Passes beside those of edges: both texts with their outputs and states, the gradient."""


def circuit(
    trace: Trace,
    target: Target | None = None,
    other: str | Trace | Any = None,
    *,
    fit: bool = False,
    check: int = CHECKED,
    seed: int = 0,
    progress: Tell | None = None,
) -> Circuit:
    """The strongest edges into heads, estimated as by `edge_attribution_patching`, with some of them measured.

    Parameters
    ----------
    trace
        A trace whose model is here.
    target
        What is explained; by default the likeliest outcome at the last position.
    other
        The text or trace that outputs are taken from. It needs as many tokens.
    fit
        Cut `other`, a text, to as many tokens, or say it over and over up to as many.
    check, seed
        Edges drawn at random that are measured, and their seed.
    progress
        Called with a message and the share done.
    """
    from atlas.engine.gradients.edges import Edge, edge_estimates, path_effects

    subject, there = _both(trace, target, other, fit=fit)
    found = edge_estimates(subject, there, 1, _share(progress, "Differentiating by what every head reads"))
    edges = edge_arrays(found)
    strongest = _strongest(edges)
    drawn = drawn_rows(len(edges.effect), check, seed)
    patched = np.unique(np.concatenate([drawn, *(_first(edges, strongest, each, many) for each, many in _measured())]))
    places = (each[patched].tolist() for each in edges[:4])
    wanted = [Edge(writer, layer, head, INPUTS[into]) for writer, layer, head, into in zip(*places, strict=True)]
    effects = path_effects(subject, there, wanted, _share(progress, f"Patching {len(wanted)} edges one by one"))
    measured = pd.Series(effects, patched)
    checked = pd.DataFrame({"effect": edges.effect[drawn], "patched": measured[drawn].to_numpy()})
    # Of ranks alone: one large edge among small ones makes Pearson's r near 1, and the r of shuffled pairs near 0.
    chance = chance_of_spearman(checked["effect"], checked["patched"], permutations=PERMUTATIONS, seed=seed)
    (kind,) = trace.kinds
    sizes = trace.n_heads(kind), trace.n_layers(kind)
    table = edge_rows(edges, strongest, kind, *sizes).assign(patched=measured.reindex(strongest).to_numpy())
    by_input = {name: np.abs(edges.effect[edges.into == at]) for at, name in enumerate(INPUTS)}
    return Circuit(
        subject.target,
        there.target.value,
        table,
        {name: float(sizes.sum()) for name, sizes in by_input.items()},
        {name: len(sizes) for name, sizes in by_input.items()},
        checked,
        {str(name): value for name, value in agreement_with_patching(checked).items()} | {"spearman_chance": chance},
    )


def _measured() -> list[tuple[int | None, int]]:
    return [(None, MEASURED), *((at, MEASURED_OF_INPUT) for at in range(len(INPUTS)))]


def _first(edges: EdgeArrays, rows: np.ndarray, into: int | None, count: int) -> np.ndarray:
    return (rows if into is None else rows[edges.into[rows] == into])[:count]


def _strongest(edges: EdgeArrays) -> np.ndarray:
    """Rows of the strongest edges of each input, the strongest first."""
    size = np.abs(edges.effect)
    rows = []
    for into in range(len(INPUTS)):
        own = np.flatnonzero(edges.into == into)
        rows.append(own[np.argsort(-size[own], kind="stable")[:MOST_SHOWN]])
    every = np.concatenate(rows)
    return every[np.argsort(-size[every], kind="stable")]


def kept_by_heads(
    trace: Trace,
    target: Target | None,
    other: str | Trace | Any,
    heads: Sequence[HeadId],
    *,
    fit: bool = False,
    sets: int = SETS,
    seed: int = 0,
    progress: Tell | None = None,
) -> KeptByHeads:
    """The target where only `heads` read this text: all others put out, at every position, what they do in the other text.

    Beside it the same with random sets of as many heads, of the same layers where these have enough. Other parameters are those
    of `circuit`.
    """
    from atlas.engine.gradients.heads import effects_of_sets

    subject, there = _both(trace, target, other, fit=fit)
    every = trace.head_ids
    random = alternatives(heads, every, sets, seed)
    kept = [(), tuple(heads), *random.sets]
    out = [tuple(sorted(set(every) - set(each))) for each in kept]
    found = effects_of_sets(subject, out, PATCH, there.trace, _share(progress, "Keeping a few heads at a time"), seed)
    left = subject.target.value - found.effect
    return KeptByHeads(subject.target.value, float(left[0]), float(left[1]), left[2:], random.same_layers)


def circuit_cost(trace: Trace) -> tuple[int, int]:
    """(passes of the text, bytes beside them) that a circuit takes at most."""
    from atlas.engine.gradients.edges import difference_bytes
    from atlas.engine.gradients.subject import model_of

    (kind,) = trace.kinds
    measured = CHECKED + MEASURED + len(INPUTS) * MEASURED_OF_INPUT
    # Each head's reads are carried back by themselves, through a third of the layer at most.
    return 2 * measured + trace.n_heads(kind) + OTHER_PASSES, difference_bytes(model_of(trace).model, len(trace.tokens()))


def _both(trace: Trace, target: Target | None, other: str | Trace | Any, *, fit: bool) -> tuple[Subject, Subject]:
    """The text and the other one, whose number is that of the same outcome."""
    from atlas.engine.gradients.subject import Subject

    if fit:
        other = of_as_many_tokens(trace, str(other))
    there = other_of(trace, other)
    subject = Subject(trace, target)
    own = subject.target
    if len(there.tokens()) == len(trace.tokens()):
        return subject, Subject(there, Target(own.position, own.outcome_id, own.against_id, own.of))
    return subject, Subject(there)  # refused by whoever compares them, in words


def _share(progress: Tell | None, message: str) -> Callable[[int, int], None] | None:
    return None if progress is None else lambda done, of: progress(message, done / max(of, 1))


TASKS: Mapping[str, Callable[..., Any]] = {CIRCUIT: circuit, CIRCUIT_COST: circuit_cost, CIRCUIT_KEPT: kept_by_heads}
"""Work with the model that views may request, by name."""
