"""Two attributions of one prediction beside each other, and how far they agree."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from atlas.attribution.agreement import TOP, agreement, looks_back, mean_by_layer
from atlas.attribution.attribute import attribute_trace
from atlas.attribution.methods import METHODS
from atlas.attribution.statistics import spearman
from atlas.errors import NotCaptured, TooLarge
from atlas.tracing.explained import (
    AGREEMENT,
    BASELINES,
    COMPARE,
    NO_TOKEN,
    PASSES,
    Agreement,
    Attribution,
    Baselines,
    Comparison,
    Rank,
    Resolved,
    Target,
)
from atlas.tracing.levels import LEVELS, TOKEN, Grouped, grouped, has_words

if TYPE_CHECKING:
    from atlas.trace import Trace

Tell = Callable[[str, float], None]
"""(message, share done)"""


def compare(
    trace: Trace,
    target: Target,
    methods: Sequence[str],
    tell: Tell | None = None,
    options: Mapping[str, Mapping[str, str]] | None = None,
) -> Comparison:
    """Attributions of a trace by two methods, each kept on the trace, and their rank correlation.

    `options` are those of a method, by its name. What a model cannot have stands as its reason, so that the other method is shown
    all the same.
    """
    given = options or {}
    found = tuple(_found(trace, target, method, tell, given.get(method, {})) for method in methods)
    attributions = [each for each in found if isinstance(each, Attribution)]
    if len(attributions) != len(methods) or len(set(methods)) < len(methods):
        return Comparison(found)
    signed = all(METHODS[method].signed for method in methods)
    scores = [each.tokens["score"].to_numpy(dtype=float) for each in attributions]
    may = may_count(trace, attributions[0].target)
    # Of both levels, so that the switch between them asks for no work.
    levels = [level for level in LEVELS if level == TOKEN or has_words(trace)]
    return Comparison(found, {level: _rank(grouped(trace, level), scores, may, signed=signed) for level in levels}, signed)


def _rank(units: Grouped, scores: Sequence[np.ndarray], may: np.ndarray, *, signed: bool) -> Rank:
    """The correlation between two methods over tokens or words; a word counts of which a token does."""
    kept = units.summed(may) > 0
    first, second = (units.summed(each)[kept] for each in scores)
    if not kept.any():
        return Rank()
    if not signed:
        first, second = np.abs(first), np.abs(second)
    rho, low, high, p = (float(value[0]) for value in spearman(first[None], second))
    return Rank(rho, low, high, p, int(kept.sum()))


def may_count(trace: Trace, target: Resolved) -> np.ndarray:
    """Which tokens of all sides are compared: not the special ones, nor those after the target of a model that only looks back.

    Both would agree by themselves: special tokens are kept by every baseline, and later tokens have the score 0 in every method.
    """
    ends = {}
    if looks_back(trace) and target.position >= 0:
        ends["target" if "cross" in trace.kinds else "source"] = target.position + 1
    return np.concatenate(
        [
            ~table["special"].to_numpy(dtype=bool) & (np.arange(len(table)) < ends.get(side, len(table)))
            for side, table in trace.token_tables.items()
        ]
    )


def heads_agree(trace: Trace, target: Target, method: str, tell: Tell | None = None) -> Agreement:
    """How far every head attends to the tokens that a method says matter; the attribution is kept on the trace."""
    made = kept_attribution(trace, target, method, tell)
    if tell is not None:
        tell("Comparing all heads", 1.0)
    table = agreement(trace, made)
    return Agreement(made.target, table, TOP, mean_by_layer(table))


def _found(trace: Trace, target: Target, method: str, tell: Tell | None, options: Mapping[str, str]) -> Attribution | str:
    try:
        return kept_attribution(trace, target, method, tell, options)
    except (NotCaptured, TooLarge) as error:
        return str(error)


def kept_attribution(
    trace: Trace, target: Target, method: str, tell: Tell | None = None, options: Mapping[str, str] | None = None
) -> Attribution:
    """An attribution, kept on the trace for whoever asks for it next."""
    title = METHODS[method].title

    def report(done: int, of: int) -> None:
        if tell is not None:
            tell(title, done / max(of, 1))

    given = options or {}
    chosen = "".join(f" {name} {value}" for name, value in sorted(given.items()))
    made: Attribution = trace.once(
        f"attribution {method}{chosen} {target}", lambda: attribute_trace(trace, target, method, report, **given)
    )
    return made


def baselines(trace: Trace) -> Baselines:
    """What may stand for a token that is not there, in the model of a trace; nothing where the model is not here."""
    from atlas.engine.gradients.inputs import usual_baseline, without_baseline
    from atlas.engine.running.capture import Rerun

    if not isinstance(trace.live, Rerun):
        return Baselines()
    model = trace.live.model
    missing = {name: without_baseline(model, name) for name in NO_TOKEN}
    return Baselines(usual_baseline(model), {name: reason for name, reason in missing.items() if reason})


def passes(trace: Trace, methods: Sequence[str]) -> int:
    """Passes of the text of a trace that these attributions take at most."""
    return sum(METHODS[name].passes(sum(map(len, trace.token_tables.values()))) for name in methods)


TASKS: Mapping[str, Callable[..., Any]] = {COMPARE: compare, AGREEMENT: heads_agree, PASSES: passes, BASELINES: baselines}
"""Work with the model that views may request, by name."""
