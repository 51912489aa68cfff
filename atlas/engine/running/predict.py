"""Predicts the outcomes of a traced text with masked tokens or ablated heads; the trace itself stays unchanged."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from atlas.engine.running.capture import (
    OUTCOMES_KEPT,
    Rerun,
    fitting,
    is_multi_label,
    logits_where_known,
    stacked,
)
from atlas.engine.running.context import Call, running
from atlas.engine.running.interventions import ABLATIONS, Ablation, Intervention, by_layer
from atlas.engine.running.recorder import TextShape, to_numpy
from atlas.errors import BadIntervention, NotCaptured, UnknownName
from atlas.ids import as_head
from atlas.trace import NO_MODEL
from atlas.tracing.outcomes import CLASSIFIES_TEXT
from atlas.tracing.predictions import PREDICT_AGAIN, WHOLE_TEXT, Distribution, form_of

if TYPE_CHECKING:
    from atlas.engine.model import Model
    from atlas.engine.running.encode import Encoded
    from atlas.ids import HeadId, Headlike
    from atlas.trace import Trace

BATCH_BYTES = 512 << 20
"""Most bytes for the texts of one pass, without the model. Larger batches are no faster on a CPU, and four texts of 512 tokens of
a BERT-base, with logits of 60 MB each, fit into it."""

SCORES_ALIVE = 3
"""Score blocks of a layer that exist at once if a head is ablated: scores, their masked copy, weights."""

ACTIVATIONS_ALIVE = 12
"""Memory of a token within a layer, in widths of the residual stream: stream, queries, keys, values, and a feed-forward block
that is four times as wide, before and after its nonlinearity."""

Report = Callable[[int, int], None]
"""(runs done, all runs)"""


def predict_again(
    trace: Trace,
    positions: Sequence[int] = (),
    masks: Sequence[Iterable[int]] = (),
    heads: Sequence[HeadId] = (),
    report: Report | None = None,
) -> tuple[Distribution, ...]:
    """Run the text of a trace again and give the outcomes at some positions.

    Parameters
    ----------
    trace
        The trace whose text is run again by its model, under the trace's interventions.
    positions
        Positions whose outcomes are returned; empty: all. A classifier of texts has one distribution for the whole text.
    masks
        Each entry is a separate run with these positions masked; the outcomes are those at these positions, not at `positions`.
    heads
        Heads that are ablated in a second run; each outcome then has its logit in both runs.
    report
        Called with the number of finished runs and the number of all runs.
    """
    live = trace.live
    if not isinstance(live, Rerun):
        raise NotCaptured(NO_MODEL)
    live.check_weights()
    model, change = live.model, live.change
    if heads and not model.interface:
        msg = f"{model.name} does not use transformers' attention interface, so its heads cannot be switched off."
        raise BadIntervention(msg)
    places = [tuple(sorted(set(mask))) for mask in masks] or [tuple(positions)]
    texts = [_masked(model, live.encoded, mask) for mask in places] if masks else [live.encoded]
    changes = [change, with_ablated(change, heads, model.kinds)] if heads else [change]
    size = max(1, BATCH_BYTES // row_bytes(model, live.encoded))
    found: list[Distribution] = []
    done = 0
    for start in range(0, len(texts), size):
        batch, where = texts[start : start + size], places[start : start + size]
        logits = []
        for each in changes:
            if report is not None:
                report(done, len(texts) * len(changes))
            logits.append(logits_at(model, batch, where, each))
            done += len(batch)
        for row, at in enumerate(where):
            before, after = logits[0][row], logits[1][row] if heads else None
            named = (WHOLE_TEXT,) if model.task == CLASSIFIES_TEXT else at or range(len(before))
            found += [
                _distribution(model, position, before[i], None if after is None else after[i]) for i, position in enumerate(named)
            ]
    return tuple(found)


def row_bytes(model: Model, encoded: Encoded) -> int:
    """Bytes of one text in a pass that records nothing."""
    shape = TextShape(encoded.n_source, encoded.n_target)
    tokens = max(shape.n_source, shape.n_target)
    scores = max(kind.n_heads * shape.queries(kind.kind) * shape.keys(kind.kind) for kind in model.size.kinds)
    width = max(kind.n_heads * kind.width for kind in model.size.kinds)
    return 4 * (tokens * (model.size.n_outcomes + ACTIVATIONS_ALIVE * width) + SCORES_ALIVE * scores)


def _masked(model: Model, encoded: Encoded, positions: Sequence[int]) -> Encoded:
    mask = getattr(model.tokenizer, "mask_token_id", None)
    if mask is None:
        msg = f"The tokenizer of {model.name} has no mask token, so no token can be masked."
        raise NotCaptured(msg)
    wrong = [at for at in positions if not 0 <= at < encoded.n_source]
    if wrong or not positions:
        msg = f"There is no token {wrong[0] if wrong else ''} to mask: this text has {encoded.n_source}, counted from 0."
        raise UnknownName(msg)
    ids = encoded.inputs["input_ids"].copy()
    ids[list(positions)] = mask
    return replace(encoded, inputs=encoded.inputs | {"input_ids": ids})


def with_ablated(
    change: Intervention | None, heads: Sequence[HeadId], kinds: Sequence[str], mode: Ablation = ABLATIONS[0]
) -> Intervention:
    """The changes of a run with more heads ablated; patches of these heads are removed."""
    own = change or Intervention()
    modes = own.ablate if isinstance(own.ablate, Mapping) else dict.fromkeys(own.ablate, ABLATIONS[0])
    ablated: dict[Headlike, Ablation] = {as_head(head, kinds): mode for head, mode in modes.items()}
    patch = {head: patch for head, patch in (own.patch or {}).items() if as_head(head, kinds) not in set(heads)}
    return Intervention({**ablated, **dict.fromkeys(heads, mode)}, own.knock_out, patch or None)


def logits_at(
    model: Model, texts: Sequence[Encoded], places: Sequence[Sequence[int]], change: Intervention | Sequence[Intervention] | None
) -> list[torch.Tensor]:
    """(position, outcome) logits of each text of a batch at its places; those of other positions are freed.

    `change` is that of all texts, or has one for each.
    """
    shapes = [TextShape(encoded.n_source, encoded.n_target) for encoded in texts]
    each = [change] * len(texts) if change is None or isinstance(change, Intervention) else list(change)
    changes = by_layer(each, [fitting(model, shape) for shape in shapes], model.device)
    with model.held(), torch.no_grad(), running(Call(sites=model.sites, interventions=changes)):
        logits = logits_where_known(model, model.forward(stacked(model, texts)))
    if logits is None:
        raise NotCaptured(model.reason("predictions"))
    if model.task == CLASSIFIES_TEXT:
        return [row.float().reshape(1, -1) for row in logits]
    return [row[list(at)].float() if at else row.float() for row, at in zip(logits, places, strict=True)]


def _distribution(model: Model, position: int, logits: torch.Tensor, changed: torch.Tensor | None) -> Distribution:
    """The likeliest outcomes before and after the change, sorted by their logits before it."""
    kept = min(OUTCOMES_KEPT, len(logits))
    ids = logits.topk(kept).indices
    if changed is not None:
        ids = torch.unique(torch.cat([ids, changed.topk(kept).indices]))
        ids = ids[logits[ids].argsort(descending=True, stable=True)]
    numbers = to_numpy(ids)
    multi_label = model.task.endswith("classification") and is_multi_label(model.hf.config)
    return Distribution(
        position, numbers, model.outcome_names(numbers), to_numpy(logits[ids]), float(logits.logsumexp(-1)), len(logits), kept,
        form_of(len(logits), multi_label=multi_label),
        None if changed is None else to_numpy(changed[ids]),
        np.nan if changed is None else float(changed.logsumexp(-1)),
    )  # fmt: skip


TASKS: Mapping[str, Callable[..., Any]] = {PREDICT_AGAIN: predict_again}
"""Work with the model that views may request, by name."""
