"""Whether attributions depend on what a model has learnt: they are made again on a copy whose weights are drawn anew."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import rankdata

from atlas.attribution.attribute import attribute_trace
from atlas.attribution.compare import kept_attribution, may_count
from atlas.attribution.methods import METHODS
from atlas.attribution.statistics import LEAST, chance_of_mean, standard_ranks
from atlas.errors import NotCaptured, TooLarge, UnknownName
from atlas.tracing.explained import Attribution, Resolved, Target
from atlas.tracing.predictions import WHOLE_TEXT
from atlas.tracing.randomised import (
    ALL,
    ALONE,
    BYTES,
    CASCADE,
    ESTIMATE,
    ORDERS,
    RANDOMISED,
    SEEDS,
    TRUE,
    Kept,
    Randomised,
    Ranks,
)

if TYPE_CHECKING:
    from atlas.engine.running.capture import Rerun
    from atlas.engine.running.twin import Part, Twin
    from atlas.trace import Trace

Tell = Callable[[str, float], None]
"""(message, share done)"""

MOST_RUN = 4_000_000
"""Tokens through the copies at most, by the most that a method takes: integrated gradients mostly take a tenth of it."""

OUTSIDE = 2
"""Parts of a model that are no layers."""


def randomised(
    trace: Trace,
    target: Target | None = None,
    methods: Sequence[str] = ("integrated_gradients",),
    order: str = CASCADE,
    seeds: int = SEEDS,
    *,
    seed: int = 0,
    progress: Tell | None = None,
) -> Randomised:
    """How attributions change when the weights of the model are drawn anew, part by part (Adebayo et al. 2018).

    The model itself is only read: a copy of it is changed. Every tensor of a part, gains and biases of norms too, keeps its own
    numbers in random places.

    Parameters
    ----------
    trace
        A trace whose model is here.
    target
        What is explained; by default the likeliest outcome at the last position. The copies are asked for the same outcome.
    methods
        Names in `METHODS`. What the model cannot have stands as its reason.
    order
        'cascade': the output first, then one more part at each step, down to the embeddings. 'alone': one part at a time, and at
        last all of them.
    seeds, seed
        How many times the weights are drawn; draw i has the seed `seed + i`.
    progress
        Called with a message and the share done.

    Returns
    -------
    `.table` has a row for each method, ranking ('scores' or their 'sizes') and step: rho (the mean over draws), lowest, highest,
    chance_lo and chance_hi (where 95 % of the means of shuffled orders lie), p, and the probability of the outcome.
    """
    from atlas.engine.gradients.subject import model_of
    from atlas.engine.running.twin import check_twin, twin_of

    if order not in ORDERS:
        msg = f"Weights are drawn in the order {' or '.join(map(repr, ORDERS))}, not {order!r}."
        raise UnknownName(msg)
    live, target = model_of(trace), target or Target()
    check_twin(live.model)
    length = sum(map(len, trace.token_tables.values()))
    rows = estimate(trace, methods, order, seeds)
    if rows * length > MOST_RUN:
        msg = (
            f"Attributions of all these copies take up to {rows:,} passes of {length:,} tokens, and {MOST_RUN:,} tokens are "
            "the most. Choose methods that take fewer passes, or shorten the text."
        )
        raise TooLarge(msg)
    true = {name: _attributed(trace, target, name, progress) for name in methods}
    known = {name: made for name, made in true.items() if isinstance(made, Attribution)}
    if not known:
        raise NotCaptured(next(str(reason) for reason in true.values()))
    resolved = next(iter(known.values())).target
    counted = may_count(trace, resolved)
    if counted.sum() < LEAST:
        msg = f"Only {counted.sum()} tokens can be ranked here, and a correlation needs {LEAST}. Type a longer text."
        raise NotCaptured(msg)
    probability = [[resolved.probability] * seeds]
    with twin_of(live.model, live.encoded) as twin:
        steps = _steps(twin.parts, order)
        made = np.empty((len(known), len(steps), seeds, int(counted.sum())))
        chances = np.empty((len(steps), seeds))
        passes = sum(each.provenance["passes"] for each in known.values())
        for run in range(seeds):
            live.check_weights()
            for at, _ in enumerate(_drawn(twin, steps, order, seed + run)):
                share = (run * len(steps) + at) / (seeds * len(steps))
                found = _on_copy(twin, live, resolved, known, f"Draw {run + 1} of {seeds}, {steps[at][0]}", share, progress)
                made[:, at, run] = [each.tokens["score"].to_numpy(dtype=float)[counted] for each in found]
                chances[at, run] = found[0].target.probability
                passes += 1 + sum(each.provenance["passes"] for each in found)
    scores = {name: each.tokens["score"].to_numpy(dtype=float)[counted] for name, each in known.items()}
    kept = dict(zip(known, made, strict=True))
    sides = [(str(side), int(at)) for side, at in next(iter(known.values())).tokens[["side", "position"]].to_numpy()[counted]]
    weights = {name: parameter.numel() for name, parameter in live.model.hf.named_parameters(remove_duplicate=False)}
    numbers = [sum(weights[name] for part in parts for name in part.weights) for _, parts in steps]
    return Randomised(
        resolved, (TRUE, *(name for name, _ in steps)), (0, *numbers), tuple(sides),
        tuple(_kept(name, scores[name], kept[name], seed) if name in known else _nothing(name, str(true[name])) for name in true),
        np.concatenate([probability, chances]), order, passes,
    )  # fmt: skip


def _steps(parts: Sequence[Part], order: str) -> list[tuple[str, tuple[Part, ...]]]:
    """The name of each step, and the parts that are drawn at it."""
    if order == ALONE:
        return [*((part.name, (part,)) for part in parts), (ALL, tuple(parts))]
    return [(part.name, tuple(parts[: at + 1])) for at, part in enumerate(parts)]


def _drawn(twin: Twin, steps: Sequence[tuple[str, tuple[Part, ...]]], order: str, seed: int) -> Iterator[None]:
    """Bring the copy from step to step."""
    twin.restore(twin.parts)
    for _, parts in steps:
        for part in parts if order == ALONE else parts[-1:]:
            twin.draw(part, seed)
        yield
        if order == ALONE:
            twin.restore(parts)


def _on_copy(
    twin: Twin, live: Rerun, resolved: Resolved, methods: Mapping[str, Any], said: str, share: float, tell: Tell | None
) -> list[Attribution]:
    """The attributions of the same outcome by the copy as it is now."""
    position = -1 if resolved.position == WHOLE_TEXT else resolved.position
    target = Target(position, resolved.outcome_id, resolved.against_id, resolved.of)
    trace = twin.trace(live.encoded, live.change)

    def report(done: int, of: int) -> None:  # noqa: ARG001 (a share within a step is not worth its number)
        if tell is not None:
            tell(said, share)

    report(0, 1)
    return [attribute_trace(trace, target, name, report) for name in methods]


def _attributed(trace: Trace, target: Target, name: str, tell: Tell | None) -> Attribution | str:
    try:
        return kept_attribution(trace, target, name, tell)
    except (NotCaptured, TooLarge) as error:
        return str(error)


def _kept(name: str, true: np.ndarray, made: np.ndarray, seed: int) -> Kept:
    places = (rankdata(made[-1], axis=-1).mean(axis=0) - 1) / (made.shape[-1] - 1)
    return Kept(name, _ranks(true, made, seed), _ranks(np.abs(true), np.abs(made), seed), places)


def _ranks(true: np.ndarray, made: np.ndarray, seed: int) -> Ranks:
    """Of (step, draw, token) scores; the first step, the model as it is, stands before them."""
    own = np.broadcast_to(true, (1, *made.shape[1:]))
    every = np.concatenate([own, made])
    rho = np.clip(standard_ranks(every) @ standard_ranks(true), -1, 1)
    chance = np.array([chance_of_mean(rows, true, seed=seed) for rows in made])
    low, high, p = np.concatenate([np.full((1, 3), np.nan), chance]).T
    return Ranks(rho, low, high, p)


def _nothing(name: str, reason: str) -> Kept:
    return Kept(name, None, None, np.empty(0), reason)


def estimate(trace: Trace, methods: Sequence[str], order: str = CASCADE, seeds: int = SEEDS) -> int:
    """About how many passes of the text it takes, on the model and its copies."""
    from atlas.engine.gradients.subject import model_of

    layers = sum(kind.n_layers for kind in model_of(trace).model.size.kinds if kind.kind != "cross")
    length = sum(map(len, trace.token_tables.values()))
    copies = seeds * (layers + OUTSIDE + (order == ALONE))
    return copies + (1 + copies) * sum(METHODS[name].passes(length) for name in methods)


def bytes_of(trace: Trace) -> int:
    """Bytes of the copy."""
    from atlas.engine.gradients.subject import model_of
    from atlas.engine.running.twin import twin_bytes

    return twin_bytes(model_of(trace).model)


TASKS: Mapping[str, Callable[..., Any]] = {RANDOMISED: randomised, ESTIMATE: estimate, BYTES: bytes_of}
"""Work with the model that views may request, by name."""
