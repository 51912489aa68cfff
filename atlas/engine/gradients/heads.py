"""What heads do for a prediction: each, or each set of heads together, is switched off or replaced in a run of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from atlas.engine.gradients.forking import can_fork, forked
from atlas.engine.gradients.subject import Subject
from atlas.engine.running.context import AttentionSite, Watcher
from atlas.engine.running.interventions import ABLATIONS, Intervention, Output
from atlas.engine.running.recorder import to_numpy
from atlas.errors import BadIntervention
from atlas.ids import HeadId, as_head, as_heads
from atlas.tracing.explained import LOG_PROBABILITY, Resolved, Target
from atlas.tracing.predictions import SCORE, SIGMOID

if TYPE_CHECKING:
    from atlas.ids import Headlike
    from atlas.trace import Trace

Report = Callable[[int, int], None]
"""(runs done, all of them)"""

ZERO, MEAN, RESAMPLE, PATCH = "zero", "mean", "resample", "patch"
HOW = (ZERO, MEAN, RESAMPLE, PATCH)
"""What a head's output is replaced by: zero; its mean over the text; its output in another text; its output in a text of the same
length, position by position."""

ROWS_AT_ONCE = 48
"""Runs in one batch: larger batches were no faster on a CPU, and progress is reported after each."""

SAME = 1e-3
"""How far the first row of a batch may be from the run of the trace, in units of the largest logit."""


HeadSet = tuple[HeadId, ...]


class Effects(NamedTuple):
    """What each set of heads does for the target."""

    sets: tuple[HeadSet, ...]
    effect: np.ndarray
    """The explained number before minus after: above 0, the heads speak for the target."""
    log_probability: np.ndarray
    """The same of the outcome's log-probability; NaN for a regression."""
    kl: np.ndarray
    """KL divergence of the outcomes after from those before, in nats; NaN for a regression."""
    target: Resolved


class _Outputs(Watcher):
    """Keeps the outputs of all heads."""

    def __init__(self) -> None:
        self.found: dict[tuple[str, int], np.ndarray] = {}

    def saw_output(self, site: AttentionSite, output: torch.Tensor) -> None:
        """Keep (head, query, width) of a layer."""
        self.found[site.kind, site.layer] = to_numpy(output[0].float()).copy()


def head_effects(
    trace: Trace,
    target: Target | None = None,
    how: str = ZERO,
    heads: Iterable[Headlike] | None = None,
    other: Trace | None = None,
    report: Report | None = None,
    seed: int = 0,
) -> Effects:
    """The effect of each head on the target of a trace, each in a run of its own."""
    subject = Subject(trace, target)
    chosen = as_heads(heads, subject.model.kinds) if heads is not None else trace.head_ids
    return effects_of_sets(subject, [(head,) for head in chosen], how, other, report, seed)


def effects_of_sets(
    subject: Subject,
    sets: Sequence[HeadSet],
    how: str = ZERO,
    other: Trace | None = None,
    report: Report | None = None,
    seed: int = 0,
) -> Effects:
    """The effect of replacing all heads of a set together, each set in a run of its own; an empty set changes nothing."""
    model = subject.model
    if not model.interface:
        msg = f"{model.name} does not use transformers' attention interface, so its heads cannot be switched off."
        raise BadIntervention(msg)
    heads = tuple(sorted({head for each in sets for head in each}))
    values = dict(zip(heads, replacements(subject, heads, how, other, seed), strict=True))
    changes = [_changed(subject, {head: values[head] for head in each}) for each in sets]
    layers = [min((head.layer for head in each), default=0) for each in sets]
    before, after = before_and_after(subject, changes, layers, report)
    effect = to_numpy((subject.measured(before) - subject.measured(after)).double())
    return Effects(tuple(sets), effect, *_on_output(subject, before, after), subject.target)


def before_and_after(
    subject: Subject, changes: Sequence[Intervention], layers: Sequence[int], report: Report | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """(1, outcome) logits as the trace was made and (row, outcome) those of each change, which acts first in its layer."""
    size = min(ROWS_AT_ONCE, subject.rows_at_once())
    parts: list[torch.Tensor] = []
    with subject.held(gradients=False):
        before = subject.logits()
        batches = batches_of(layers, size)
        for rows in batches:
            parts.append(_run(subject, before, [changes[at] for at in rows], [layers[at] for at in rows]))
            if report is not None:
                report(sum(map(len, parts)), len(changes))
    done = [at for rows in batches for at in rows]
    return before, torch.cat(parts)[torch.as_tensor(np.argsort(done))] if parts else before[:0]


def batches_of(layers: Sequence[int], size: int) -> list[list[int]]:
    """The runs in batches, each sorted by the layer in which its runs differ first.

    Every batch has runs of all layers: one of early layers alone would save nothing of their shared way.
    """
    order = sorted(range(len(layers)), key=lambda at: layers[at])
    count = max(1, -(-len(order) // size))
    return [order[start::count] for start in range(count) if order[start::count]]


def _run(subject: Subject, before: torch.Tensor, changes: Sequence[Intervention], layers: Sequence[int]) -> torch.Tensor:
    """(row, outcome) logits of a batch of changed runs."""
    if can_fork(subject.model) and len(changes) > 1:
        found = forked(subject, changes, layers)
        # Compared with the run of the trace, because a model may mix the rows of a batch.
        if float((found[:1] - before).abs().max()) <= SAME * float(before.abs().max()):
            return found[1:]
    return subject.logits(changes=changes)


def _on_output(subject: Subject, before: torch.Tensor, after: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """(log-probability before minus after, KL divergence) of each row."""
    if subject.form == SCORE:
        return np.full(len(after), np.nan), np.full(len(after), np.nan)
    before, after = before.double(), after.double()
    first, second = (subject.measured_all(logits, LOG_PROBABILITY) for logits in (before, after))
    at = subject.target.outcome_id
    terms = first.exp() * (first - second)
    if subject.form == SIGMOID:  # each label is a distribution of its own over yes and no
        no = [torch.nn.functional.logsigmoid(-logits) for logits in (before, after)]
        terms = terms + no[0].exp() * (no[0] - no[1])
    return to_numpy(first[:, at] - second[:, at]), to_numpy(terms.sum(dim=-1).clamp_min(0))


# -- what heads are replaced by --------------------------------------------------------------------------------------------


def replacements(subject: Subject, heads: Sequence[HeadId], how: str, other: Trace | None, seed: int) -> list[str | np.ndarray]:
    """For each head 'zero', 'mean', or the output that is put in its place."""
    if how not in HOW:
        msg = f"A head is replaced by {', '.join(HOW)}, not by {how!r}."
        raise BadIntervention(msg)
    if how in ABLATIONS:
        return [how] * len(heads)
    if other is None:
        msg = f"how={how!r} takes the outputs of heads from another text; give it with other=."
        raise BadIntervention(msg)
    another = Subject(other)
    theirs = outputs_of(another)
    sizes = {"this text": subject.sides, "the other": another.sides}
    if how == PATCH and sizes["this text"] != sizes["the other"]:
        said = "; ".join(f"{name} has {' and '.join(map(str, counts.values()))}" for name, counts in sizes.items())
        msg = f"Patching goes position by position, so both texts need as many tokens: {said}. how='resample' does not need that."
        raise BadIntervention(msg)
    own = {kind: subject.trace.attention_of(kind).n_queries for kind in subject.trace.kinds}
    random = np.random.default_rng(seed)
    rows = {}
    for kind, count in own.items():
        length = theirs[kind, 0].shape[1]
        drawn = random.integers(length, size=max(0, count - length))
        rows[kind] = np.concatenate([np.arange(min(count, length)), drawn])
    return [theirs[head.kind, head.layer][head.head][rows[head.kind]] for head in heads]


def outputs_of(subject: Subject) -> Mapping[tuple[str, int], np.ndarray]:
    """(head, query, width) outputs of every layer of a run."""
    watcher = _Outputs()
    with subject.held(gradients=False):
        subject.logits(watcher=watcher)
    return watcher.found


def _changed(subject: Subject, values: Mapping[HeadId, str | np.ndarray]) -> Intervention:
    """The changes of the trace's own run, and on top of them those of these heads."""
    own, kinds = subject.change or Intervention(), subject.model.kinds
    modes = own.ablate if isinstance(own.ablate, Mapping) else dict.fromkeys(own.ablate, ABLATIONS[0])
    ablate: dict[Any, Any] = {name: mode for name, mode in modes.items() if as_head(name, kinds) not in values}
    patch: dict[Any, Any] = {name: other for name, other in (own.patch or {}).items() if as_head(name, kinds) not in values}
    for head, value in values.items():
        if isinstance(value, str):
            ablate[head] = value
        else:
            patch[head] = Output(value)
    return Intervention(ablate, own.knock_out, patch or None)
