"""Reads the state after every layer through the model's own unembedding, in chunks of positions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from atlas.engine.running.capture import Rerun
from atlas.engine.running.recorder import to_numpy
from atlas.errors import NotCaptured, TooLarge, UnknownName
from atlas.trace import NO_MODEL
from atlas.tracing.logit_lens import LENS_LOGITS, LOGIT_LENS, TOP, LogitLens, lens_logits, stream_kind, without_lens

if TYPE_CHECKING:
    from atlas.trace import Trace

CHUNK_BYTES = 64 << 20
"""Logits in memory at a time. The softmax and its logarithm are as large again."""


def logit_lens(
    trace: Trace,
    positions: Sequence[int] = (),
    report: Callable[[int, int], None] | None = None,
    *,
    change: Callable[[int, torch.Tensor], torch.Tensor] | None = None,
) -> LogitLens:
    """Predictions of every layer at some positions (none given: at all) of the stream that the unembedding reads.

    `report` is called with the number of rows read so far and the number of all rows, `change` with the number of a row and its
    states (position, width): it gives the states that are read in their place.
    """
    reason, live = without_lens(trace), trace.live
    if reason:
        msg = f"There is no logit lens: {reason}"
        raise NotCaptured(msg)
    if not isinstance(live, Rerun):
        raise NotCaptured(NO_MODEL)
    kind = stream_kind(trace)
    places = trace.captured("hidden")
    rows = [places[kind, layer] for layer in range(trace.n_layers(kind) + 1)]
    here = tuple(positions) or tuple(range(len(rows[0])))
    wrong = [at for at in here if not 0 <= at < len(rows[0])]
    if wrong:
        msg = f"There is no position {wrong[0]}: this text has {len(rows[0])}, counted from 0."
        raise UnknownName(msg)
    size = lens_logits(trace, len(here))
    if size > LENS_LOGITS:
        msg = f"That is {size / 1e6:,.0f} million logits, and {LENS_LOGITS / 1e6:,.0f} million are the most. Give some positions."
        raise TooLarge(msg)
    live.check_weights()
    step = max(1, CHUNK_BYTES // (4 * live.vocabulary))
    chunks = [slice(start, start + step) for start in range(0, len(here), step)]
    # The last row first, because every other row is asked for the token that the model predicts in the end.
    found: list[list[tuple[torch.Tensor, ...]]] = [[] for _ in rows]
    final: list[torch.Tensor] = []
    done = 0
    for row in range(len(rows) - 1, -1, -1):
        for at, chunk in enumerate(chunks):
            if report is not None:
                report(done, len(rows) * len(chunks))
            state = torch.tensor(rows[row][list(here[chunk])])
            logits = live.model.unembedded(state if change is None else change(row, state))
            if row == len(rows) - 1:
                final.append(logits.argmax(-1))
            found[row].append(_read(logits, final[at]))
            done += 1
    ids, probabilities, chance, rank, entropy = (
        np.stack([to_numpy(torch.cat([part[item] for part in parts])) for parts in found]) for item in range(5)
    )
    chosen = to_numpy(torch.cat(final))
    names = live.model.outcome_names
    return LogitLens(
        here, live.vocabulary, ids, names(ids), probabilities, chosen, names(chosen), chance, rank, entropy
    )  # fmt: skip


def _read(logits: torch.Tensor, final: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """The likeliest tokens and their probabilities, probability and rank of the final token, entropy; each by position."""
    logs = logits.log_softmax(-1)
    top = logs.topk(min(TOP, logs.shape[-1]), dim=-1)
    own = logs.gather(-1, final[:, None])
    entropy = -(logs.exp() * logs).nan_to_num(0.0).sum(-1)
    return top.indices, top.values.exp(), own[:, 0].exp(), (logs > own).sum(-1) + 1, entropy


TASKS: Mapping[str, Callable[..., Any]] = {LOGIT_LENS: logit_lens}
"""Work with the model that views may request, by name."""
