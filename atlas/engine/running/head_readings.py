"""What a head writes for a token it looks at, read through the final norm and the unembedding."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from atlas.engine.running.capture import Rerun
from atlas.engine.running.recorder import to_numpy
from atlas.errors import NotCaptured
from atlas.trace import NO_MODEL
from atlas.tracing.head_readings import HEAD_READINGS, TOP_PROMOTED, TOP_SUPPRESSED, HeadReadings, without_readings
from atlas.tracing.vectors import output_projection

if TYPE_CHECKING:
    from atlas.ids import HeadId
    from atlas.trace import Trace


def head_readings(trace: Trace, head: HeadId, keys: Sequence[int]) -> HeadReadings:
    """The tokens that a head promotes and suppresses for each of some keys, by their values in this run."""
    reason, live = without_readings(trace, head.kind), trace.live
    if reason:
        msg = f"What this head writes cannot be read as tokens: {reason}"
        raise NotCaptured(msg)
    if not isinstance(live, Rerun):
        raise NotCaptured(NO_MODEL)
    here = trace.attention_of(head.kind).layers[head.layer]
    if here.value is None:
        msg = "This trace holds no value vectors, so what heads write is not known."
        raise NotCaptured(msg)
    live.check_weights()
    model, at = live.model, list(keys)
    values = here.value[here.key_head(head.head)][at].astype(np.float32)
    written = values @ output_projection(trace, head.kind, head.layer)[head.head].astype(np.float32)
    # Against nothing at all, because the biases of norm and unembedding are no head's.
    logits = model.unembedded(torch.tensor(np.concatenate([written, np.zeros_like(written[:1])])))
    change = logits[:-1] - logits[-1]
    raised, promoted = change.topk(min(TOP_PROMOTED, change.shape[-1]), dim=-1)
    suppressed = change.topk(min(TOP_SUPPRESSED, change.shape[-1]), dim=-1, largest=False).indices
    own = torch.tensor(trace.token_tables[trace.side(head.kind, "key")]["id"].to_numpy()[at].astype(np.int64)).to(change.device)
    mine = change.gather(1, own.clamp(max=change.shape[-1] - 1)[:, None])
    rank = torch.where(own < change.shape[-1], 1 + (change > mine).sum(dim=-1), torch.nan)
    return HeadReadings(
        head, tuple(at), np.linalg.norm(written, axis=-1), model.outcome_names(to_numpy(promoted)), to_numpy(raised),
        model.outcome_names(to_numpy(suppressed)), to_numpy(rank), int(change.shape[-1]),
    )  # fmt: skip


TASKS: Mapping[str, Callable[..., Any]] = {HEAD_READINGS: head_readings}
"""Work with the model that views may request, by name."""
