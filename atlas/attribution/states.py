"""Patched states: where, and how deep, is what a prediction needs? Activation patching between two texts, beside chance."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import norm, t

from atlas.attribution.patching import of_as_many_tokens, other_of
from atlas.errors import BadIntervention, NotCaptured, TooLarge, UnknownName
from atlas.trace import Trace
from atlas.tracing.explained import MOST_TOKENS_RUN, Target
from atlas.tracing.patched_states import (
    DIRECTIONS,
    DRAWS,
    FAMILY,
    LEAST_DIFFERENCE,
    MOST_TOGETHER,
    PARTS,
    PATCHED_STATES,
    RESTORE,
    RUNS_BESIDE,
    SAMPLED,
    STREAM,
    PatchedStates,
    cells_run,
    streams,
    too_many,
    without_part,
)

if TYPE_CHECKING:
    import pandas as pd

    from atlas.engine.gradients.subject import Subject
    from atlas.engine.model import Model

Tell = Callable[[str, float], None]
"""(message, share done)"""

ROUNDING = 1e-4
"""A share that is never called beyond chance: less than this is rounding."""


def patch_states(
    model: Model,
    text: str | Trace | Any,
    other: str | Trace | Any,
    part: str = STREAM,
    direction: str = RESTORE,
    target: Target | None = None,
    positions: Collection[int] | None = None,
    *,
    kind: str | None = None,
    together: int = 1,
    draws: int = DRAWS,
    pair: str | None = None,
    decoder: str | None = None,
    seed: int = 0,
    progress: Tell | None = None,
) -> pd.DataFrame:
    """Put single states of one text into the run of another (Vig et al. 2020; Meng et al. 2022; Zhang & Nanda 2024).

    One row a layer and position: layer (unknown: the embeddings), position, token, other_token, share, chance, beyond. `share` is
    how far the target goes from its value in the text that is run (0) to that in the text whose state is put in (1). `chance`:
    19 in 20 changes of the same length in random directions do less. `beyond`: the share is beyond chance, corrected for the
    number of cells. `attrs` say the target in both texts, part and direction.

    Parameters
    ----------
    model
        The model, as `atlas.load` gives it.
    text
        The text, a ready encoding, or a trace of the model.
    other
        Another text or trace of as many tokens. An encoder-decoder reads it with the same decoder text.
    part
        'stream', the state after a layer; 'attention' or 'ffn', what that block puts out.
    direction
        'denoising': the other text is run, and this text's state put in; 'noising': this one is run, and the other's put in.
    target
        What is explained; by default the likeliest outcome at the last position.
    positions
        The positions; by default all.
    kind
        The stream of an encoder-decoder: 'encoder' (by default) or 'decoder'.
    together
        Neighbouring layers, around that of the row, whose 'attention' or 'ffn' is exchanged at once.
    draws
        Random directions at each of the cells drawn at random; 0: no chance is worked out, and nothing is beyond it.
    pair, decoder
        A second segment; the text that the decoder of an encoder-decoder reads.
    seed
        Of the random directions and the cells they are put in at.
    progress
        Called with a message and the share done.
    """
    trace = text if isinstance(text, Trace) else model.trace(text, pair, decoder, capture=("predictions",))
    found = patched_states(
        trace, target, other, part, direction, positions, kind=kind, together=together, draws=draws, seed=seed, progress=progress
    )
    table = found.table(trace.token_tables[trace.side(found.kind, "query")]["token"].iloc[list(found.positions)])
    table.attrs = {
        "target": found.target.words, "here": found.target.value, "there": found.there, "kind": found.kind, "part": found.part,
        "direction": found.direction,
    }  # fmt: skip
    return table


def patched_states(
    trace: Trace,
    target: Target | None = None,
    other: str | Trace | Any = None,
    part: str = STREAM,
    direction: str = RESTORE,
    positions: Collection[int] | None = None,
    *,
    kind: str | None = None,
    together: int = 1,
    draws: int = DRAWS,
    fit: bool = False,
    seed: int = 0,
    progress: Tell | None = None,
) -> PatchedStates:
    """The same for a trace whose model is here; `fit` cuts `other`, a text, to as many tokens, or repeats it."""
    from atlas.engine.gradients import states as engine

    stream = kind or streams(trace)[0]
    _check(trace, stream, part, direction, together)
    subject, there = _both(trace, target, other, fit=fit)
    base, giver = (there, subject) if direction == RESTORE else (subject, there)
    difference = giver.target.value - base.target.value
    if abs(difference) < LEAST_DIFFERENCE:
        msg = (
            "The explained number is the same in both texts, so no state carries a difference. Type another text "
            "that differs in what the prediction needs, or explain another prediction."
        )
        raise NotCaptured(msg)
    n_tokens = len(trace.token_tables[trace.side(stream, "query")])
    where = _positions(positions, n_tokens)
    taps = engine.taps_of(base, stream, part)
    if cells_run(len(taps), len(where)) * sum(subject.sides.values()) > MOST_TOKENS_RUN:
        raise TooLarge(too_many(len(taps), len(where), sum(subject.sides.values())))
    first = _first_difference(trace, there.trace)
    states, moves = engine.states_at(base, taps), engine.states_at(giver, taps)
    given = moves.clone()
    moves = moves.float() - states.float()
    rows = [(row, at) for row in range(len(taps)) for at in range(len(where)) if where[at] >= first]
    every = [engine.Cell(_window(row, len(taps), together), where[at]) for row, at in rows]
    live = [n for n, cell in enumerate(every) if any(moves[layer, cell.position].any() for layer in cell.layers)]
    cells, runs = [every[n] for n in live], draws * min(SAMPLED, len(live))
    told = _parts(progress, len(cells), runs)
    values = engine.values_with(base, taps, cells, lambda n, layer: given[layer, cells[n].position], told(0))
    share = np.zeros((len(taps), len(where)))
    chance, beyond = np.zeros_like(share), np.zeros(share.shape, dtype=bool)
    at = tuple(np.array([rows[n] for n in live], dtype=int).reshape(-1, 2).T)
    share[at] = (values - base.target.value) / difference
    sampled = 0
    if draws and cells:
        spread = engine.spread_of(engine.gradients_at(base, taps), moves, cells) / abs(difference)
        drawn = _drawn(spread, seed)
        sampled = len(drawn)
        chosen = [cells[n] for n in drawn]
        random = engine.random_values(base, taps, chosen, states, moves, draws, seed, told(len(cells)))
        low, bound = bounds((random - base.target.value) / difference / spread[drawn, None], len(cells))
        chance[at] = low * spread
        beyond[at] = np.abs(share[at]) > np.maximum(bound * spread, ROUNDING)
    else:
        chance[:] = np.nan
    layers = tuple(row - 1 if row else None for row in range(len(taps))) if part == STREAM else tuple(range(len(taps)))
    tokens = there.trace.token_tables[trace.side(stream, "query")]["token"]
    return PatchedStates(
        subject.target, there.target.value, part, direction, stream, layers, where,
        tuple(str(tokens.iloc[each]) for each in where), share, chance, beyond, sampled, len(cells) + runs + RUNS_BESIDE,
    )  # fmt: skip


def bounds(random: np.ndarray, cells: int) -> tuple[float, float]:
    """How many spreads 95 % of random changes stay within, and all of so many cells but in one plane of twenty.

    `random` has what random directions did, (cell, draw), in units of the spread of each cell. There are as many degrees of
    freedom as cells: how far the first order is off is a matter of the cell, and draws at one cell say it over again.
    """
    if not random.size:
        return float("nan"), float("inf")
    scale, free = float(np.sqrt(np.mean(random**2))), max(1, len(random) - 1)
    return scale * float(norm.ppf(0.975)), scale * float(t.ppf(1 - FAMILY / (2 * max(1, cells)), free))


def _drawn(spread: np.ndarray, seed: int) -> np.ndarray:
    """Cells at which random directions are put in; where the gradient is 0 they would say nothing."""
    known = np.flatnonzero(spread > 0)
    return np.sort(np.random.default_rng(seed).permutation(known)[:SAMPLED])


def _check(trace: Trace, kind: str, part: str, direction: str, together: int) -> None:
    for name, value, known in (
        ("part", part, tuple(PARTS)), ("direction", direction, DIRECTIONS), ("kind", kind, streams(trace))
    ):  # fmt: skip
        if value not in known:
            msg = f"There is no {name} {value!r}; there are {', '.join(map(repr, known))}."
            raise UnknownName(msg)
    if not 1 <= together <= MOST_TOGETHER or (part == STREAM and together > 1):
        msg = f"From 1 to {MOST_TOGETHER} layers of 'attention' or 'ffn' are exchanged together; of the stream one state is."
        raise BadIntervention(msg)
    reason = without_part(trace, kind, part)
    if reason:
        raise NotCaptured(reason)


def _both(trace: Trace, target: Target | None, other: str | Trace | Any, *, fit: bool) -> tuple[Subject, Subject]:
    """The text and the other one, with the number of the same outcome at the same position."""
    from atlas.engine.gradients.subject import Subject

    if fit:
        other = of_as_many_tokens(trace, str(other))
    found = other_of(trace, other, of_heads=False)
    subject, there = Subject(trace, target), Subject(found)
    if subject.sides != there.sides:
        sizes = {"this text": subject.sides, "the other": there.sides}
        said = "; ".join(f"{name} has {' and '.join(map(str, counts.values()))}" for name, counts in sizes.items())
        msg = f"States are put in position by position, so both texts need as many tokens: {said}."
        raise BadIntervention(msg)
    own = subject.target
    return subject, Subject(found, Target(own.position, own.outcome_id, own.against_id, own.of))


def _positions(positions: Collection[int] | None, count: int) -> tuple[int, ...]:
    where = tuple(range(count)) if positions is None else tuple(sorted(set(positions)))
    wrong = [at for at in where if not 0 <= at < count]
    if wrong or not where:
        msg = f"There is no position {wrong[0] if wrong else 'given'}: the text has {count}, counted from 0."
        raise UnknownName(msg)
    return where


def _first_difference(trace: Trace, other: Trace) -> int:
    """The first position whose state may differ: where the model looks back only, that of the first token that does."""
    from atlas.engine.gradients.subject import model_of

    if trace.kinds != ("decoder",):
        return 0
    own, theirs = (model_of(each).encoded.inputs["input_ids"].reshape(-1) for each in (trace, other))
    differ = np.flatnonzero(np.asarray(own) != np.asarray(theirs))
    return int(differ[0]) if len(differ) else len(own)


def _window(row: int, count: int, together: int) -> tuple[int, ...]:
    """The layers around one, cut at both ends of the model."""
    start = max(0, row - (together - 1) // 2)
    return tuple(range(start, min(count, row + together // 2 + 1)))


def _parts(progress: Tell | None, cells: int, random: int) -> Callable[[int], Callable[[int, int], None] | None]:
    """Reports of the two parts of the work, as shares of all of it."""

    def part(before: int) -> Callable[[int, int], None] | None:
        if progress is None:
            return None
        message = f"Putting in random directions ({random:,} runs)" if before else f"Putting in states ({cells:,} runs)"
        return lambda done, of: progress(message, (before + done) / max(cells + random, 1))  # noqa: ARG005

    return part


TASKS: Mapping[str, Callable[..., Any]] = {PATCHED_STATES: patched_states}
"""Work with the model that views may request, by name."""
