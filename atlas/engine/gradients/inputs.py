"""Contributions of tokens by gradients with respect to their vectors, and by masking them one at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from captum.attr import IntegratedGradients

from atlas.engine.gradients.completeness import GAP, MOST_STEPS, STEPS, until_complete
from atlas.engine.gradients.embeddings import Vectors, has_mean, mean_vector
from atlas.engine.gradients.subject import Subject, token_taps
from atlas.engine.running.recorder import to_numpy
from atlas.errors import NotCaptured, UnknownName
from atlas.numbers import three
from atlas.tracing.explained import AUTO, MASK, MEAN, NO_TOKEN, PAD, ZERO

if TYPE_CHECKING:
    from atlas.engine.model import Model

Report = Callable[[int, int], None]
"""(texts run, all texts)"""

NORMS = {"l2": 2.0, "l1": 1.0}


@dataclass(frozen=True)
class Scores:
    """Scores of the tokens by side, and what was found beside them."""

    values: Mapping[str, np.ndarray]
    delta: float | None = None
    notes: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)


class Baseline(NamedTuple):
    """The text without its contents."""

    name: str
    vectors: Vectors


def saliency(subject: Subject, report: Report | None = None, *, norm: str = "l2") -> Scores:
    """Length of the gradient of the target with respect to each token's vector."""
    if norm not in NORMS:
        msg = f"The length of a gradient is its {' or '.join(NORMS)} norm, not {norm!r}."
        raise UnknownName(msg)
    _, gradients = _gradients(subject)
    _tell(report, 1, 1)
    values = {side: to_numpy(gradient.float().norm(p=NORMS[norm], dim=-1)) for side, gradient in gradients.items()}
    return Scores(values, facts={"norm": norm})


def input_x_gradient(subject: Subject, report: Report | None = None) -> Scores:
    """Each token's vector times the gradient of the target with respect to it."""
    vectors, gradients = _gradients(subject)
    _tell(report, 1, 1)
    return Scores({side: to_numpy((vectors[side][0] * gradient).float().sum(dim=-1)) for side, gradient in gradients.items()})


def integrated_gradients(
    subject: Subject,
    report: Report | None = None,
    *,
    baseline: str = AUTO,
    steps: int = STEPS,
    most_steps: int = MOST_STEPS,
    gap: float = GAP,
    keep_specials: bool = True,
) -> Scores:
    """Captum's integrated gradients from a baseline to the text.

    The steps are doubled until the scores add up to the difference of the target within `gap`, until doubling no longer helps, or
    until `most_steps`; the smallest gap counts.
    """
    away, sides = baseline_of(subject, baseline, keep_specials=keep_specials), tuple(subject.sides)
    at = subject.vectors()
    with subject.held(gradients=False):
        value, empty = float(subject.value(vectors=at)[0]), float(subject.value(vectors=away.vectors)[0])
    difference = value - empty
    limit = subject.rows_at_once(gradients=True)

    def along(count: int, tried: int) -> dict[str, np.ndarray]:
        return _along(subject, at, away.vectors, sides, count, limit, _offset(report, tried, tried + count))

    def total(values: Mapping[str, np.ndarray]) -> float:
        return sum(float(each.sum()) for each in values.values())

    found, share, used, tried = until_complete(along, total, difference, steps, most_steps, gap)
    note = f"Scores add up to the target within {three(100 * share)} % at {used} steps, from a baseline of {NO_TOKEN[away.name]}."
    if share > gap:
        note += f" The gap did not close: it is more than {100 * gap:.3g} % after {tried} steps in all, so read scores with care."
    facts = {
        "baseline": away.name, "steps": used, "value": value, "baseline_value": empty, "keep_specials": keep_specials,
    }  # fmt: skip
    return Scores(found, share, (note,), facts)


def occlusion(subject: Subject, report: Report | None = None, *, replace: str = AUTO, keep_specials: bool = True) -> Scores:
    """How much the target falls when a token's vector is replaced by that of no token, one token at a time."""
    away = baseline_of(subject, replace, keep_specials=keep_specials)
    at = subject.vectors()
    places = [(side, position) for side in subject.sides for position in _occluded(subject, side, keep_specials=keep_specials)]
    values = {side: np.zeros(size) for side, size in subject.sides.items()}
    size = subject.rows_at_once()
    with subject.held(gradients=False):
        whole = float(subject.value(vectors=at)[0])
        for start in range(0, len(places), size):
            _tell(report, start, len(places))
            batch = places[start : start + size]
            rows = {side: vectors.repeat(len(batch), 1, 1) for side, vectors in at.items()}
            for row, (side, position) in enumerate(batch):
                rows[side][row, position] = away.vectors[side][0, position]
            for (side, position), changed in zip(batch, to_numpy(subject.value(len(batch), vectors=rows)), strict=True):
                values[side][position] = whole - float(changed)
    notes = (f"A token that is taken out is replaced by {NO_TOKEN[away.name]}.",)
    return Scores(values, None, notes, {"replace": away.name, "keep_specials": keep_specials})


def baseline_of(subject: Subject, name: str, *, keep_specials: bool) -> Baseline:
    """The token vectors of a text without contents; special tokens keep theirs.

    'auto' is the mask token where the tokenizer has one, else the padding token, else the mean vector.
    """
    if name == AUTO:
        name = usual_baseline(subject.model)
    if name not in NO_TOKEN:
        msg = f"A baseline is one of {', '.join(NO_TOKEN)} or {AUTO}, not {name!r}."
        raise UnknownName(msg)
    reason = without_baseline(subject.model, name)
    if reason:
        msg = f"{reason} Take another baseline: {'zero or pad' if name == MEAN else 'zero or mean'}."
        raise NotCaptured(msg)
    at, ids = subject.vectors(), _ids(subject.model)
    if name in ids:
        away = subject.vectors({side: np.full(size, ids[name], dtype=np.int64) for side, size in subject.sides.items()})
    else:
        away = {side: _even(subject, side, vectors, name) for side, vectors in at.items()}
    if keep_specials:
        for side, vectors in away.items():
            kept = torch.as_tensor(special_of(subject, side), device=vectors.device)
            vectors[:, kept] = at[side][:, kept]
    return Baseline(name, away)


def usual_baseline(model: Model) -> str:
    """What 'auto' is for a model."""
    return next((name for name, known in _ids(model).items() if known is not None), MEAN)


def without_baseline(model: Model, name: str) -> str:
    """Why a model cannot have a baseline; empty: it can."""
    ids = _ids(model)
    if name in ids and ids[name] is None:
        return f"The tokenizer of {model.name} has no {name} token."
    if name == MEAN and not all(has_mean(model, tap) for tap in token_taps(model).values()):
        return f"The token vectors of {model.name} are no rows of one table, so they have no mean."
    return ""


def _ids(model: Model) -> dict[str, int | None]:
    return {name: getattr(model.tokenizer, f"{name}_token_id", None) for name in (MASK, PAD)}


def special_of(subject: Subject, side: str) -> np.ndarray:
    """Which tokens of a side are special; a mask that is filled is one of them."""
    # A copy, because torch warns about arrays that cannot be written to.
    return np.array(subject.trace.token_tables[side]["special"], dtype=bool)


def _occluded(subject: Subject, side: str, *, keep_specials: bool) -> np.ndarray:
    special = special_of(subject, side)
    return np.flatnonzero(~special) if keep_specials else np.arange(len(special))


def _even(subject: Subject, side: str, vectors: torch.Tensor, name: str) -> torch.Tensor:
    if name == ZERO:
        return torch.zeros_like(vectors)
    return mean_vector(subject.model, subject.taps[side]).to(vectors).expand_as(vectors).clone()


def _gradients(subject: Subject) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """(1, position, width) vectors, and the (position, width) gradients of the target with respect to them."""
    subject.graph_bytes()
    vectors = {side: values.requires_grad_() for side, values in subject.vectors().items()}
    with subject.held(gradients=True):
        found = torch.autograd.grad(subject.value(vectors=vectors).sum(), list(vectors.values()), materialize_grads=True)
    detached = {side: values.detach() for side, values in vectors.items()}
    return detached, {side: gradient[0] for side, gradient in zip(vectors, found, strict=True)}


def _along(
    subject: Subject,
    at: Vectors,
    away: Vectors,
    sides: tuple[str, ...],
    steps: int,
    limit: int,
    report: Report | None,
) -> dict[str, np.ndarray]:
    """Captum's attributions of all tokens, summed over the width of their vectors."""
    run = 0

    def value(*inputs: torch.Tensor) -> torch.Tensor:
        nonlocal run
        run += len(inputs[0])
        found = subject.value(len(inputs[0]), vectors=dict(zip(sides, inputs, strict=True)))
        _tell(report, min(run, steps), steps)
        return found

    with subject.held(gradients=True):
        found = IntegratedGradients(value).attribute(
            tuple(at[side].detach() for side in sides),
            baselines=tuple(away[side] for side in sides),
            n_steps=steps,
            internal_batch_size=min(limit, steps),
        )
    return {side: to_numpy(values[0].detach().float().sum(dim=-1)) for side, values in zip(sides, found, strict=True)}


def _tell(report: Report | None, done: int, of: int) -> None:
    if report is not None:
        report(done, of)


def _offset(report: Report | None, before: int, of: int) -> Report | None:
    """Report steps of one round among those of all rounds so far."""
    return None if report is None else lambda done, _: report(before + done, of)
