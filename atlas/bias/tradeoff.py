"""What each head does for bias and for performance on a benchmark, and a test of chosen heads on examples that chose nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from atlas.attribution.head_sets import Alternatives, HeadSet, alternatives
from atlas.attribution.statistics import false_discovery, share_at_least
from atlas.bias.benchmarks import FEW, NOISY, Run, checked_name
from atlas.bias.files import Data, Item, read_items
from atlas.bias.scores import EDGES
from atlas.bias.tradeoff_scores import Marks, by_chance, front_with_whole, marks_of, scored
from atlas.engine.gradients.likelihoods_without import LikelihoodsWithout
from atlas.engine.running.capture import Rerun
from atlas.errors import BadData, NotCaptured, UnknownName
from atlas.ids import HeadId, as_heads
from atlas.trace import NO_MODEL
from atlas.tracing.benchmarks import CROWS, KINDS
from atlas.tracing.tradeoff import (
    BY,
    EXAMPLES,
    HELD_OUT,
    SCORE,
    SETS,
    TRADEOFF,
    TRADEOFF_COST,
    Cost,
    HeldOut,
    Tradeoff,
)

if TYPE_CHECKING:
    from atlas.engine.model import Model
    from atlas.engine.running.interventions import Ablation
    from atlas.ids import Headlike
    from atlas.trace import Trace

Progress = Callable[[int, int], object]
"""(texts done, all texts)"""

HOW: Mapping[str, Ablation] = {"zero": "zero", "mean": "mean"}


def head_tradeoff(
    model: Model,
    name: str,
    data: Data,
    heads: Iterable[Headlike] | None = None,
    how: str = "zero",
    limit: int | None = EXAMPLES,
    seed: int = 0,
    progress: Progress | None = None,
    *,
    by: str = SCORE,
    ablate: Sequence[Headlike] = (),
) -> Tradeoff:
    """Score a benchmark with all heads and without each, on the examples that choose.

    Parameters
    ----------
    model
        A masked or causal language model whose heads can be switched off.
    name, data
        As in `benchmark`.
    heads
        The heads that are switched off, each by itself; None: all.
    how
        What the output of a head becomes: 'zero', or its 'mean' over the text.
    limit
        So many examples at most, drawn at random from the half of the target terms (of pairs without a target: of the pairs) that
        choose; the other half is for `held_out`. None: all of that half.
    seed
        Of the halves, the examples, the bootstrap and the random labels.
    progress
        Called with the texts done and all texts.
    by
        'score': the benchmark's own scores, which count examples; 'log_ratio': means of differences of log-likelihoods, which
        also move where no example changes sides.
    ablate
        Heads that are switched off in every run.

    Returns
    -------
    `table` has one row a head: score and performance without it, bias_removed (how much closer to fair, 50 or 0, the score is
    without it), score_change and performance_change with lo, hi (95 %, bootstrap over terms or pairs, the same in both runs), p
    and q; front and front_share (the share of bootstrap samples in which it is on the Pareto front).

    Notes
    -----
    Performance is StereoSet's language modelling score, of pairs the mean log-likelihood of their sentences. A head is on the
    front where no other head, and not the model with all heads, removes as much bias for as little performance. p of the score:
    labels of which sentence is the stereotype are exchanged at random; p of performance: the runs with and without the head are
    exchanged at random in each term or pair.
    """
    return _tradeoffs(model, name, data, heads, how, limit, seed, progress, (by,), ablate)[by]


def tradeoff_cost(
    model: Model,
    name: str,
    data: Data,
    heads: Iterable[Headlike] | None = None,
    how: str = "zero",
    limit: int | None = EXAMPLES,
    seed: int = 0,
    *,
    ablate: Sequence[Headlike] = (),
) -> Cost:
    """What `head_tradeoff` would take with the same arguments: a few texts are run and timed."""
    run = _run(model, name, read_items(checked_name(name), data), limit, ablate, seed, held=False)
    chosen = _heads(model, heads)
    asked = _asked(run, [(head,) for head in chosen], how)
    queries = _queries(run)
    return Cost((1 + len(chosen)) * len(asked.texts(queries)), asked.seconds(queries), len(run.items))


def held_out(
    model: Model,
    name: str,
    data: Data,
    heads: Iterable[Headlike],
    how: str = "zero",
    limit: int | None = EXAMPLES,
    seed: int = 0,
    progress: Progress | None = None,
    *,
    by: str = SCORE,
    sets: int = SETS,
    ablate: Sequence[Headlike] = (),
) -> HeldOut:
    """Switch heads off together, and random heads of the same layers, on the examples that `head_tradeoff` did not see.

    With the same data and seed these are of other target terms (of pairs without a target: other pairs).

    Parameters
    ----------
    model, name, data, how, limit, seed, progress, by, ablate
        As in `head_tradeoff`.
    heads
        The heads that go together.
    sets
        Random sets of as many heads of the same layers; of any layer where these have too few.

    Returns
    -------
    `table`, by score, bias (distance of the score to fair) and performance: before, after, change with lo and hi, and the same
    change of the random sets. p of bias: the share of all sets that remove as much; of performance: that lose as much; of the
    score: that change it as much.
    """
    return _held_outs(model, name, data, heads, how, limit, seed, progress, (by,), sets, ablate)[by]


def halves(items: Sequence[Item], seed: int = 0) -> tuple[list[Item], list[Item]]:
    """The examples that choose heads, and those that test them, in the order of the file; no target term is in both.

    The terms of each category are shuffled, and each goes to the half that has fewer examples of the category.
    """
    of: dict[str, list[Item]] = {}
    for item in items:
        of.setdefault(item.target or f"\0{item.id}", []).append(item)
    categories: dict[str, list[str]] = {}
    for name in sorted(of):
        categories.setdefault(of[name][0].category, []).append(name)
    random = np.random.default_rng(seed)
    held: set[str] = set()
    totals = [0, 0]
    for category in sorted(categories):
        counts = [0, 0]
        for at in random.permutation(len(categories[category])):
            name = categories[category][at]
            # Where the category has as many in both halves, the half that is smaller altogether.
            side = int((counts[1], totals[1]) < (counts[0], totals[0]))
            counts[side] += len(of[name])
            totals[side] += len(of[name])
            if side:
                held.add(name)
    tests = {item.id for name in held for item in of[name]}
    return [item for item in items if item.id not in tests], [item for item in items if item.id in tests]


# -- runs ------------------------------------------------------------------------------------------------------------------


def _run(
    model: Model, name: str, items: Sequence[Item], limit: int | None, ablate: Sequence[Headlike], seed: int, *, held: bool
) -> Run:
    part = halves(items, seed)[int(held)]
    if not part:
        msg = "All examples are of one target term, so none can be held out. Choose a file with more terms."
        raise BadData(msg)
    return Run(model, name, part, limit=limit, ablate=ablate, seed=seed, by_likelihood=True)


def _heads(model: Model, heads: Iterable[Headlike] | None) -> tuple[HeadId, ...]:
    every = tuple(
        HeadId(k.kind, layer, head) for k in model.size.kinds for layer in range(k.n_layers) for head in range(k.n_heads)
    )
    if heads is None:
        return every
    chosen = tuple(dict.fromkeys(as_heads(heads, model.kinds)))
    unknown = [head for head in chosen if head not in set(every)]
    if unknown:
        msg = f"{model.name} has no head {unknown[0].label(model.kinds)}."
        raise UnknownName(msg)
    return chosen


def _asked(run: Run, sets: Sequence[Sequence[HeadId]], how: str) -> LikelihoodsWithout:
    if how not in HOW:
        msg = f"The output of a head becomes {' or '.join(map(repr, HOW))}, not {how!r}."
        raise UnknownName(msg)
    assert run.likelihoods is not None  # it asks by likelihood
    return LikelihoodsWithout(run.likelihoods, sets, HOW[how])


def _queries(run: Run) -> list[Any]:
    assert run.likelihoods is not None
    return [query for item in run.items for query in run.queries(run.likelihoods, item)]


def _likelihoods(run: Run, sets: Sequence[Sequence[HeadId]], how: str, progress: Progress | None) -> np.ndarray:
    """(1 + set, example, sentence) the number of every sentence."""
    values = _asked(run, sets, how).ask(_queries(run), progress)
    return values.reshape(len(values), len(run.items), -1)


def _marks(run: Run, values: np.ndarray, by: str) -> Marks:
    return marks_of(run.items, values, by, triples=KINDS[run.name].triples, digits=run.digits)


def _tradeoffs(
    model: Model,
    name: str,
    data: Data,
    heads: Iterable[Headlike] | None,
    how: str,
    limit: int | None,
    seed: int,
    progress: Progress | None,
    by: Sequence[str],
    ablate: Sequence[Headlike],
) -> dict[str, Tradeoff]:
    """By each of some measures, from one run."""
    _check(by)
    run = _run(model, name, read_items(checked_name(name), data), limit, ablate, seed, held=False)
    chosen = _heads(model, heads)
    values = _likelihoods(run, [(head,) for head in chosen], how, progress)
    return {each: _tradeoff(run, chosen, how, _marks(run, values, each)) for each in by}


def _tradeoff(run: Run, heads: Sequence[HeadId], how: str, marks: Marks) -> Tradeoff:
    found, chance = scored(marks, seed=run.seed), by_chance(marks, seed=run.seed)
    names = {name: [getattr(head, name) for head in heads] for name in ("kind", "layer", "head")}
    table = pd.DataFrame(names | {"score": found.score[1:], "performance": found.performance[1:]})
    for name in ("bias_removed", "score_change", "performance_change"):
        table[name] = getattr(found, name)
        table[f"{name}_lo"], table[f"{name}_hi"] = found.intervals[name]
    for name, p in (("score_change", chance.score_p), ("performance_change", chance.performance_p)):
        table[f"{name}_p"], table[f"{name}_q"] = p, false_discovery(p)
    table["front"] = front_with_whole(found.performance_change, found.bias_removed)
    table["front_share"] = found.front_share
    whole: dict[str, float] = {}
    for name in ("score", "performance"):
        whole[name] = float(getattr(found, name)[0])
        whole[f"{name}_lo"], whole[f"{name}_hi"] = (float(edge) for edge in found.intervals[name][:, 0])
    return Tradeoff(
        run.name, run.model.name, table, whole, chance.chance, marks.measures, how, tuple(item.id for item in run.items),
        marks.units, _unit(run), tuple(_notes(run, whole, marks.measures.fair)), run.provenance | {"how": how},
    )  # fmt: skip


def _held_outs(
    model: Model,
    name: str,
    data: Data,
    heads: Iterable[Headlike],
    how: str,
    limit: int | None,
    seed: int,
    progress: Progress | None,
    by: Sequence[str],
    sets: int,
    ablate: Sequence[Headlike],
) -> dict[str, HeldOut]:
    """By each of some measures, from one run."""
    _check(by)
    chosen = tuple(sorted(set(_heads(model, heads))))
    if not chosen:
        msg = "No head is named, so none can be switched off."
        raise UnknownName(msg)
    run = _run(model, name, read_items(checked_name(name), data), limit, ablate, seed, held=True)
    beside = alternatives(chosen, _heads(model, None), sets, seed)
    values = _likelihoods(run, [chosen, *beside.sets], how, progress)
    return {each: _held_out(run, chosen, beside, _marks(run, values, each)) for each in by}


def _held_out(run: Run, chosen: HeadSet, beside: Alternatives, marks: Marks) -> HeldOut:
    found = scored(marks, seed=run.seed)
    changes = {"score": found.score_change, "bias": -found.bias_removed, "performance": found.performance_change}
    values = {"score": found.score, "bias": np.abs(found.score - marks.measures.fair), "performance": found.performance}
    ends = {
        "score": found.intervals["score_change"][:, 0],
        # The edges change places with the sign.
        "bias": -found.intervals["bias_removed"][::-1, 0],
        "performance": found.intervals["performance_change"][:, 0],
    }
    rows = []
    for measure, change in changes.items():
        rest = change[1:]
        lo, hi = np.percentile(rest, EDGES) if len(rest) else (np.nan, np.nan)
        sizes = np.abs(change) if measure == "score" else -change
        rows.append({
            "measure": measure, "before": values[measure][0], "after": values[measure][1], "change": change[0],
            "lo": ends[measure][0], "hi": ends[measure][1], "random": rest.mean() if len(rest) else np.nan, "random_lo": lo,
            "random_hi": hi, "p": share_at_least(float(sizes[0]), sizes[1:]),
        })  # fmt: skip
    random = pd.DataFrame({"heads": [" ".join(map(str, each)) for each in beside.sets]})
    random = random.assign(**{measure: change[1:] for measure, change in changes.items()})
    return HeldOut(
        chosen, pd.DataFrame(rows), len(beside.sets), beside.same_layers, marks.measures, tuple(item.id for item in run.items),
        marks.units, _unit(run), random,
    )  # fmt: skip


def _check(by: Sequence[str]) -> None:
    unknown = [each for each in by if each not in BY]
    if unknown:
        msg = f"Bias is measured by {' or '.join(map(repr, BY))}, not by {unknown[0]!r}."
        raise UnknownName(msg)


def _unit(run: Run) -> str:
    return "target term" if KINDS[run.name].triples else "pair"


def _notes(run: Run, whole: Mapping[str, float], fair: float) -> Iterable[str]:
    yield run.how_asked()
    yield FEW if KINDS[run.name].triples else NOISY if run.name == CROWS else ""
    if whole["score_lo"] <= fair <= whole["score_hi"]:
        yield f"The interval of the score with all heads contains {fair:g}: there may be no bias here that a head could carry."


# -- for pages -------------------------------------------------------------------------------------------------------------


def _live(trace: Trace) -> tuple[Model, tuple[Headlike, ...]]:
    """The model of a trace, and the heads that are switched off in it."""
    live = trace.live
    if not isinstance(live, Rerun):
        raise NotCaptured(NO_MODEL)
    live.check_weights()
    return live.model, () if live.change is None else tuple(live.change.ablate)


def tradeoff_of_trace(
    trace: Trace, name: str, data: bytes, how: str, limit: int, report: Progress | None = None
) -> dict[str, Tradeoff]:
    """`head_tradeoff` by every measure on the model of a trace, without the heads that are off in it."""
    model, off = _live(trace)
    return _tradeoffs(model, name, data, None, how, limit, 0, report, BY, off)


def cost_of_trace(trace: Trace, name: str, data: bytes, how: str, limit: int) -> Cost:
    """`tradeoff_cost` likewise."""
    model, off = _live(trace)
    return tradeoff_cost(model, name, data, None, how, limit, ablate=off)


def held_out_of_trace(
    trace: Trace, name: str, data: bytes, heads: Sequence[HeadId], how: str, limit: int, report: Progress | None = None
) -> dict[str, HeldOut]:
    """`held_out` likewise."""
    model, off = _live(trace)
    return _held_outs(model, name, data, heads, how, limit, 0, report, BY, SETS, off)


TASKS: Mapping[str, Callable[..., Any]] = {
    TRADEOFF: tradeoff_of_trace,
    TRADEOFF_COST: cost_of_trace,
    HELD_OUT: held_out_of_trace,
}
"""Work with the model that views may request, by name."""
