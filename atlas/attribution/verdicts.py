"""What the attention of some heads is worth for one prediction: a sentence that follows from numbers by stated rules."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from atlas.attribution.agreement import looked_at, received_by
from atlas.attribution.compare import kept_attribution
from atlas.attribution.effects import read
from atlas.attribution.head_sets import Alternatives, HeadSet, alternatives, number_of_alternatives
from atlas.attribution.methods import METHODS
from atlas.attribution.statistics import chance_of_spearman, share_at_least, spearman
from atlas.errors import NotCaptured, TooLarge, UnknownName
from atlas.ids import as_heads
from atlas.tracing.explained import Attribution, Target
from atlas.tracing.verdict import BOUNDS, VERDICT, VERDICT_COST, Bounds, Verdict, judge

if TYPE_CHECKING:
    from atlas.ids import Headlike
    from atlas.trace import Trace
    from atlas.tracing.explained import Resolved

Tell = Callable[[str, float], None]
"""(message, share done)"""

GRADIENTS, BESIDE, OCCLUSION = "integrated_gradients", "input_x_gradient", "occlusion"
"""What heads are held against, the second gradient method for the ceiling, and what needs no gradient."""

DRAWS = 199
"""Random sets of heads: p is known to half a per cent."""


def verdict(
    trace: Trace,
    target: Target | None = None,
    heads: Iterable[Headlike] = (),
    *,
    queries: Collection[int] = (),
    method: str = GRADIENTS,
    beside: str = BESIDE,
    how: str = "zero",
    draws: int = DRAWS,
    permutations: int = 999,
    seed: int = 0,
    other: str | Trace | Any = None,
    progress: Tell | None = None,
) -> Verdict:
    """One sentence on what the attention of some heads is worth for one prediction, and the numbers it follows from.

    Parameters
    ----------
    trace
        A trace whose model is here.
    target
        What is explained; by default the likeliest outcome at the last position.
    heads
        Heads of one kind; by default all of the only kind.
    queries
        Positions whose attention counts, of those that can have made the prediction; by default all of them.
    method, beside
        The gradient method that the attention is held against, and a second one: how far the two agree is the ceiling.
    how
        What the output of removed heads is replaced by: 'zero', 'mean', or 'resample' with `other`.
    draws
        Random sets of as many heads, of the same layers where these have 19 other sets or more, else of any layer of their kind.
    permutations, seed
        Of the null of the correlations; the seed also draws the sets.
    other
        Another text or trace, for 'resample'.
    progress
        Called with a message and the share done.

    Returns
    -------
    .sentence, .rules (those that fired, in order; all of them are `atlas.tracing.verdict.RULES`), .numbers, .notes (cautions, and
    why a number is not known), .target.

    Notes
    -----
    The numbers, by name: heads, layers (that have one of them), n (tokens compared: no special ones, none after the target of a
    model that looks back); for 'gradients', 'occlusion' and 'ceiling' NAME_rho, NAME_lo and NAME_hi (95 %), NAME_p and
    NAME_chance (which one permutation in twenty exceeds); floor_rho (mean of random sets with the gradients), floor_lo and
    floor_hi (95 % of the sets), floor_p (sets that agree as much); effect (the target before minus after), log_probability, kl,
    random_effect (median size over random sets), random_high (95 % of them are smaller), removal_p (two-sided), sets,
    same_layers (1 or 0).
    """
    from atlas.engine.gradients.heads import effects_of_sets
    from atlas.engine.gradients.subject import Subject

    chosen, every = _compared(trace, heads)
    sets = alternatives(chosen, every, draws, seed)
    subject = Subject(trace, target)
    found, notes = _attributions(trace, target or Target(), (method, beside, OCCLUSION), progress)
    gradients, other_gradients, occlusion = found
    numbers = {"heads": float(len(chosen)), "layers": float(len({head.layer for head in chosen}))}
    scores, pair = {"gradients": gradients, "occlusion": occlusion}, (gradients, other_gradients)
    numbers |= _agreement(trace, subject.target, chosen, sets, scores, pair, queries, permutations, seed)

    def report(done: int, of: int) -> None:
        if progress is not None:
            progress(f"Removing {of:,} sets of heads", done / of)

    effects = effects_of_sets(subject, [chosen, *sets.sets], how, read(trace, other), report, seed)
    sizes = np.abs(effects.effect)
    numbers |= {
        "effect": float(effects.effect[0]),
        "log_probability": float(effects.log_probability[0]),
        "kl": float(effects.kl[0]),
        "random_effect": float(np.median(sizes[1:])) if len(sizes) > 1 else math.nan,
        "random_high": float(np.quantile(sizes[1:], 0.95)) if len(sizes) > 1 else math.nan,
        "removal_p": share_at_least(float(sizes[0]), sizes[1:]),
        "sets": float(len(sets.sets)),
        "same_layers": float(sets.same_layers),
    }
    return judge(numbers, subject.target, notes)


def agreement_bounds(
    trace: Trace,
    target: Target | None = None,
    heads: Iterable[Headlike] = (),
    *,
    method: str = GRADIENTS,
    pair: tuple[str, str] = (GRADIENTS, BESIDE),
    draws: int = DRAWS,
    permutations: int = 999,
    seed: int = 0,
    progress: Tell | None = None,
) -> Bounds:
    """How far some heads agree with any method, between the ceiling and the floor of a verdict: nothing is removed.

    `pair` are the two gradient methods of the ceiling; the other parameters are those of `verdict`. The numbers are named as
    there, but for 'scores', which is what the heads are held against.
    """
    chosen, every = _compared(trace, heads)
    sets = alternatives(chosen, every, draws, seed)
    found, notes = _attributions(trace, target or Target(), (method, *pair), progress)
    made = [each for each in found if each is not None]
    if not made:
        raise NotCaptured(" ".join(notes))
    numbers = _agreement(trace, made[0].target, chosen, sets, {"scores": found[0]}, (found[1], found[2]), (), permutations, seed)
    counts = {"heads": float(len(chosen)), "sets": float(len(sets.sets)), "same_layers": float(sets.same_layers)}
    return Bounds(counts | numbers, notes)


def verdict_cost(trace: Trace, heads: Iterable[Headlike] = (), method: str = GRADIENTS, draws: int = DRAWS) -> int:
    """Texts that a verdict runs through the model at most; a backward pass counts as two."""
    sets = number_of_alternatives(*_compared(trace, heads), draws)
    tokens = sum(map(len, trace.token_tables.values()))
    return 2 + sets + sum(METHODS[each].passes(tokens) for each in (method, BESIDE, OCCLUSION))


def _compared(trace: Trace, heads: Iterable[Headlike]) -> tuple[HeadSet, HeadSet]:
    """The heads that are judged, and all those they are drawn from."""
    chosen = as_heads(heads, trace.kinds)
    kinds = {head.kind for head in chosen} or set(trace.kinds)
    if len(kinds) > 1:
        msg = (
            f"These heads are of several kinds ({', '.join(sorted(kinds))}), whose attention has no mean; name heads of one kind."
        )
        raise UnknownName(msg)
    every = tuple(head for head in trace.head_ids if head.kind in kinds)
    there = set(every)
    unknown = [head for head in chosen if head not in there]
    if unknown:
        msg = f"There is no head {unknown[0].label(trace.kinds)} in this trace."
        raise UnknownName(msg)
    return chosen or every, every


def _attributions(
    trace: Trace, target: Target, methods: Sequence[str], progress: Tell | None
) -> tuple[list[Attribution | None], tuple[str, ...]]:
    """Attributions by all methods; where the model cannot have one, None and the reason."""
    found: list[Attribution | None] = []
    notes = []
    for method in methods:
        try:
            found.append(kept_attribution(trace, target, method, progress))
        except (NotCaptured, TooLarge) as error:
            found.append(None)
            notes.append(f"{METHODS[method].title}: {error}")
    return found, tuple(dict.fromkeys(notes))


def _agreement(
    trace: Trace,
    target: Resolved,
    chosen: HeadSet,
    sets: Alternatives,
    found: Mapping[str, Attribution | None],
    pair: tuple[Attribution | None, Attribution | None],
    given: Collection[int],
    permutations: int,
    seed: int,
) -> dict[str, float]:
    """`found` is what the heads are held against, by name, and random heads against the first; `pair` makes the ceiling."""
    kind = chosen[0].kind
    queries, keys = looked_at(trace, target, kind)
    if given:
        queries = queries[np.isin(queries, list(given))]
        # A key that none of them may see has no attention to compare.
        keys = keys[_seen(trace, kind, queries, keys)] if len(queries) else keys[:0]
    side = trace.side(kind, "key")

    def sizes(each: Attribution | None) -> np.ndarray | None:
        return None if each is None or not len(keys) else np.abs(each.side(side)[keys])

    scores = {name: sizes(each) for name, each in found.items()}
    first = next(iter(scores))
    numbers = {"n": float(len(keys))}
    received = _mean_received(trace, [chosen, *sets.sets], queries, keys) if len(keys) else np.empty((1 + len(sets.sets), 0))
    pairs = {**{name: (received[0], vector) for name, vector in scores.items()}, "ceiling": (sizes(pair[1]), sizes(pair[0]))}
    for name, (row, vector) in pairs.items():
        numbers |= {f"{name}_{end}": value for end, value in _correlation(row, vector, permutations, seed).items()}
    held = scores[first]
    random = np.full(len(sets.sets), np.nan) if held is None else spearman(received[1:], held, permutations=0).rho
    known = random[np.isfinite(random)]
    low, high = np.quantile(known, [0.025, 0.975]) if len(known) else (math.nan, math.nan)
    return numbers | {
        "floor_rho": float(known.mean()) if len(known) else math.nan,
        "floor_lo": float(low),
        "floor_hi": float(high),
        "floor_p": share_at_least(numbers[f"{first}_rho"], random),
    }


def _seen(trace: Trace, kind: str, queries: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Whether some of these queries may see a key, in some layer."""
    if not len(keys):
        return np.zeros(0, dtype=bool)
    at = {"queries": queries.tolist(), "keys": keys.tolist()}
    layers = [trace.attention(kind, layer, [0], **at).to_numpy() for layer in range(trace.n_layers(kind))]
    return np.asarray(np.isfinite(layers).any(axis=(0, 1, 2)))


def _correlation(row: np.ndarray | None, vector: np.ndarray | None, permutations: int, seed: int) -> dict[str, float]:
    if row is None or vector is None:
        return dict.fromkeys(("rho", "lo", "hi", "p", "chance"), math.nan)
    found = spearman(row[None], vector, permutations=permutations, seed=seed)
    numbers = {name: float(values[0]) for name, values in found._asdict().items()}
    return numbers | {"chance": chance_of_spearman(row, vector, permutations=permutations, seed=seed)}


def _mean_received(trace: Trace, sets: Sequence[HeadSet], queries: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """(set, key) mean attention that tokens receive from the heads of each set."""
    kind = sets[0][0].kind
    layers = sorted({head.layer for each in sets for head in each})
    rows = {layer: received_by(trace, kind, layer, queries, keys) for layer in layers}
    return np.array([np.mean([rows[head.layer][head.head] for head in each], axis=0) for each in sets])


TASKS: Mapping[str, Callable[..., Any]] = {VERDICT: verdict, VERDICT_COST: verdict_cost, BOUNDS: agreement_bounds}
"""Work with the model that views may request, by name."""
