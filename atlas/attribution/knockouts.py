"""Attention knockout: by how much a prediction changes when some tokens are hidden from those that look, window by window."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import t as student

from atlas.attribution.statistics import false_discovery
from atlas.errors import NotCaptured, UnknownName
from atlas.ids import HeadId, as_heads
from atlas.tracing.explained import LOG_PROBABILITY, LOGIT, Target
from atlas.tracing.knockout import (
    CHOSEN,
    DRAWS,
    KNOCKOUT,
    Group,
    Knockout,
    Plan,
    Setting,
    groups_of,
    plan_of,
    queries_of,
    quoted,
    without_knockout,
)
from atlas.tracing.predictions import SCORE

if TYPE_CHECKING:
    from atlas.engine.running.interventions import Cut, Intervention
    from atlas.ids import Headlike
    from atlas.trace import Trace

Tell = Callable[[str, float], None]
"""(message, share done)"""

Array = np.ndarray

ROUNDING = 1e-5
"""Nats by which two runs of one text may differ, because rows of a batch are rounded otherwise."""


def knockout(
    trace: Trace,
    target: Target | None = None,
    groups: Mapping[str, Iterable[int]] | Sequence[Iterable[int]] | None = None,
    window: int | None = None,
    heads: Iterable[Headlike] | None = None,
    *,
    queries: Iterable[int] | None = None,
    kind: str | None = None,
    draws: int = DRAWS,
    seed: int = 0,
    progress: Tell | None = None,
) -> Knockout:
    """By how much a prediction changes when nobody looks at a group of tokens in some layers (Geva et al. 2023).

    Around every layer, attention from the queries to one group is cut before the softmax in a window of consecutive layers, so
    that its mass goes to the other tokens. Beside it the same with random sets of as many other tokens.

    Parameters
    ----------
    trace
        A trace whose model is here.
    target
        What is explained; by default the likeliest outcome at the usual position.
    groups
        Positions of tokens, by name or without names. By default every sentence, or word, that can be seen; the special tokens;
        the first token of a model that looks back; the position itself; and everything else.
    window
        Layers that are cut at once; by default a third of them.
    heads
        The heads that are cut, of the kind; by default all.
    queries
        Positions that no longer look. By default the one that predicts; all where the prediction is read elsewhere (a
        classifier of texts, the encoder of an encoder-decoder).
    kind
        'encoder', 'decoder' or 'cross'; by default that of the heads, or the last of the model.
    draws, seed
        How many random sets a group is held against, and their seed.
    progress
        Called with a message and the share done.

    Returns
    -------
    `.table` has a row for each group and layer, and one with layer NaN where all layers are cut: change of the outcome's
    log-probability in nats (of its difference to `target.against`; of the model's number where it has no probabilities), the
    probability after, chance_lo, chance_mean and chance_hi of the random sets, q (corrected for all groups and windows) and
    beyond_chance.
    """
    reason = without_knockout(trace)
    if reason:
        raise NotCaptured(reason)
    target = target or Target()
    chosen = as_heads(heads, trace.kinds) if heads is not None else ()
    kind = kind or (chosen[0].kind if chosen else trace.kinds[-1])
    if kind not in trace.kinds or any(head.kind != kind for head in chosen):
        msg = f"Heads of one kind are cut at a time; this model has {', '.join(trace.kinds)}."
        raise UnknownName(msg)
    looking = tuple(sorted(queries)) if queries is not None else queries_of(trace, kind, target)
    named = groups_of(trace, kind, looking) if groups is None else _named(trace, kind, groups)
    setting = Setting(kind, looking, tuple(chosen), window or 0)
    return knockout_of(trace, target, setting, named, draws, seed, progress)


def knockout_of(
    trace: Trace,
    target: Target,
    setting: Setting,
    groups: Sequence[Group],
    draws: int = DRAWS,
    seed: int = 0,
    progress: Tell | None = None,
) -> Knockout:
    """The same for groups that have been made."""
    from atlas.engine.gradients.heads import before_and_after
    from atlas.engine.gradients.subject import Subject

    plan = plan_of(trace, setting, groups, draws, seed)
    subject = Subject(trace, target)
    of = LOGIT if subject.form == SCORE else LOG_PROBABILITY
    runs = plan.runs()
    changes = [_changed(trace, subject.change, setting, keys, window) for keys, (*window,) in runs]

    def report(done: int, every: int) -> None:
        if progress is not None:
            progress("Cutting attention", done / max(every, 1))

    before, after = before_and_after(subject, changes, [window[0] for _, window in runs], report)
    whole = subject.measured(before.double(), of)
    found = (subject.measured(after.double(), of) - whole).cpu().numpy() if runs else np.zeros(0)
    known = dict(zip(runs, found.tolist(), strict=True))

    def of_sets(sets: Sequence[tuple[int, ...]]) -> Array:
        columns = (*plan.windows, plan.everywhere)
        rows = [[0.0 if (run := plan.run(keys, window)) is None else known[run] for window in columns] for keys in sets]
        return np.array(rows, dtype=float).reshape(len(sets), len(columns))

    change = of_sets([group.keys for group in plan.groups])
    random = tuple(of_sets(sets) for sets in plan.drawn)
    return Knockout(subject.target, of, plan, change, random, corrected(plan, change, random))


def corrected(plan: Plan, change: Array, random: Sequence[Array]) -> Array:
    """(group, layer) q: how likely as large a difference from the random sets is by chance, corrected for all that was tried."""
    p = np.full(change.shape, np.nan)
    for at, (group, draws) in enumerate(zip(plan.groups, random, strict=True)):
        if len(draws):
            p[at] = against_few(change[at], draws, len(group.keys), plan.others[at])
    # A window that several layers share is one test.
    windows = (*plan.windows, plan.everywhere)
    first = [windows.index(window) for window in windows]
    tests = sorted(set(first))
    q = np.full(p.shape, np.nan)
    q[:, tests] = false_discovery(p[:, tests].ravel()).reshape(len(p), len(tests))
    return q[:, first]


def against_few(values: Array, draws: Array, size: int, others: int) -> Array:
    """(column,) two-sided p of values against few draws of each (draw, column): Crawford & Howell's t for a single case.

    Draws of `size` tokens from so many others share tokens, so they differ less from each other than from a set of other
    tokens; the factor makes up for that where the effects of tokens add up. One token each, it is Crawford & Howell's.
    """
    free = min(len(draws), others) - 1
    overlap = np.sqrt((others + size) / (others - size)) if others > size else np.inf
    spread = np.maximum(draws.std(axis=0, ddof=1), ROUNDING)
    p: Array = 2 * student.sf(np.abs(values - draws.mean(axis=0)) / (spread * overlap), free)
    return p


def _named(trace: Trace, kind: str, groups: Mapping[str, Iterable[int]] | Sequence[Iterable[int]]) -> tuple[Group, ...]:
    side, count = trace.side(kind, "key"), trace.attention_of(kind).n_keys
    pairs = groups.items() if isinstance(groups, Mapping) else ((None, each) for each in groups)
    found = []
    for name, positions in pairs:
        keys = tuple(sorted({int(position) for position in positions}))
        if not keys or not 0 <= keys[0] <= keys[-1] < count:
            msg = f"A group is one token or several of the {count} that are looked at, counted from 0, not {list(keys)}."
            raise UnknownName(msg)
        found.append(Group(quoted(trace, side, keys) if name is None else str(name), keys, CHOSEN))
    return tuple(found)


def _changed(
    trace: Trace, own: Intervention | None, setting: Setting, keys: tuple[int, ...], window: Sequence[int]
) -> Intervention:
    """What the trace's own run changed, and the cut."""
    from dataclasses import replace

    from atlas.engine.running.interventions import Cut, Intervention

    cuts: list[Cut] = []
    for layer in range(window[0], window[-1] + 1):
        all_heads = [HeadId(setting.kind, layer, head) for head in range(trace.n_heads(setting.kind))]
        heads = tuple(head.head for head in all_heads if not setting.heads or head in setting.heads)
        if heads:
            cuts.append(Cut(setting.kind, layer, heads, setting.queries, keys))
    before = own or Intervention()
    return replace(before, knock_out=(*before.knock_out, *cuts))


TASKS: Mapping[str, Callable[..., Any]] = {KNOCKOUT: knockout_of}
"""Work with the model that views may request, by name."""
