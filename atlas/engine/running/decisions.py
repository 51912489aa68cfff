"""A decision as one number, without sets of heads: labels at some tokens, or which of two texts is likelier."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from atlas.engine.loading.examine import alone_in_a_batch
from atlas.engine.running.capture import is_multi_label
from atlas.engine.running.predict import BATCH_BYTES, logits_at, row_bytes, with_ablated
from atlas.errors import BadIntervention, NotCaptured
from atlas.tracing.predictions import MASKED

if TYPE_CHECKING:
    from atlas.engine.model import Model
    from atlas.engine.running.capture import Rerun
    from atlas.engine.running.encode import Encoded
    from atlas.engine.running.interventions import Ablation
    from atlas.ids import HeadId

ROWS_AT_ONCE = 48
"""Runs in one batch: larger batches are no faster on a processor, and progress is reported after each."""

SIGMOID, SOFTMAX, LOG = "sigmoid", "softmax", "log"

Report = Callable[[int, int], None]
"""(runs done, all runs)"""


class Question(NamedTuple):
    """One run of the model, and what is read from it: a weighted sum over places."""

    encoded: Encoded
    places: tuple[int, ...]
    outcomes: tuple[tuple[int, ...], ...]
    """Of each place; of several the likeliest counts."""
    read: str
    """The probability of an outcome by itself ('sigmoid') or among all ('softmax'), or its logarithm among all ('log')."""
    weight: float


Decision = tuple[Question, ...]
"""What is decided is the sum of the answers."""


def label_decision(live: Rerun, wanted: Sequence[tuple[int, str]]) -> Decision:
    """The mean probability of labels at tokens: of B and I of a label the larger one; `wanted` has (token, label)."""
    model = live.model
    names = [str(name) for name in model.outcome_names(np.arange(model.size.n_outcomes))]
    ids = [tuple(at for at, name in enumerate(names) if name in {label, f"B-{label}", f"I-{label}"}) for _, label in wanted]
    read = SIGMOID if is_multi_label(model.hf.config) else SOFTMAX
    return (Question(live.encoded, tuple(token for token, _ in wanted), tuple(ids), read, 1 / len(wanted)),)


def likelihood_decision(live: Rerun, other: Encoded, pairs: Sequence[tuple[int, int]]) -> Decision:
    """The log-likelihood of some tokens in the traced text minus that of the same tokens in another; `pairs` has their places.

    A masked model is asked with each token alone masked, a causal one after the tokens before it.
    """
    own = [(one, two) for one, two in pairs if _asked(live, live.encoded, one) and _asked(live, other, two)]
    first = _likelihood(live, live.encoded, [one for one, _ in own], 1.0)
    return (*first, *_likelihood(live, other, [two for _, two in own], -1.0))


def _asked(live: Rerun, encoded: Encoded, at: int) -> bool:
    """Whether a token has a likelihood: the first one of a causal model has none, and special ones are not masked."""
    return not encoded.tokens["special"].iloc[at] if live.model.task == MASKED else at > 0


def _likelihood(live: Rerun, encoded: Encoded, places: Sequence[int], weight: float) -> Decision:
    if not places:
        return ()
    ids = encoded.inputs["input_ids"]
    if live.model.task != MASKED:
        return (Question(encoded, tuple(at - 1 for at in places), tuple((int(ids[at]),) for at in places), LOG, weight),)
    mask = getattr(live.model.tokenizer, "mask_token_id", None)
    if mask is None:
        msg = f"The tokenizer of {live.model.name} has no mask token, so no token can be masked."
        raise NotCaptured(msg)
    made = []
    for at in places:
        changed = ids.copy()
        changed[at] = mask
        masked = replace(encoded, inputs=encoded.inputs | {"input_ids": changed})
        made.append(Question(masked, (at,), ((int(ids[at]),),), LOG, weight))
    return tuple(made)


def decided_without(
    live: Rerun, decision: Decision, sets: Sequence[Sequence[HeadId]], how: Ablation = "zero", report: Report | None = None
) -> np.ndarray:
    """(set,) what the model decides with all heads of a set switched off together, under the interventions of the trace."""
    model = live.model
    if not model.interface:
        msg = f"{model.name} does not use transformers' attention interface, so its heads cannot be switched off."
        raise BadIntervention(msg)
    changes = [with_ablated(live.change, heads, model.kinds, how) for heads in sets]
    rows = [(at, question) for at in range(len(sets)) for question in decision]
    found = np.zeros(len(sets))
    done = 0
    for batch in _batches(model, rows):
        if report is not None:
            report(done, len(rows))
        texts, places = [question.encoded for _, question in batch], [question.places for _, question in batch]
        for (at, question), logits in zip(batch, logits_at(model, texts, places, [changes[at] for at, _ in batch]), strict=True):
            found[at] += _answer(question, logits)
        done += len(batch)
    return found


def _batches(model: Model, rows: Sequence[tuple[int, Question]]) -> Iterator[Sequence[tuple[int, Question]]]:
    size = ROWS_AT_ONCE
    if alone_in_a_batch(model.hf, model.task, model.kinds):
        size = 1
    elif rows:
        longest = max((question.encoded for _, question in rows), key=lambda encoded: encoded.n_source)
        size = max(1, min(size, BATCH_BYTES // row_bytes(model, longest)))
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def _answer(question: Question, logits: torch.Tensor) -> float:
    values = torch.sigmoid(logits) if question.read == SIGMOID else logits.double().log_softmax(dim=-1)
    if question.read == SOFTMAX:
        values = values.exp()
    read = [float(row[list(ids)].max()) for row, ids in zip(values, question.outcomes, strict=True)]
    return question.weight * sum(read)
