"""Runs drills: how much of a head's attention goes where a drill wants it, and which word of a list a head raises most."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from atlas.engine.running.encode import ids_table, start_token
from atlas.errors import NotCaptured
from atlas.tracing.head_readings import without_readings
from atlas.tracing.vectors import output_projection

if TYPE_CHECKING:
    from atlas.engine.model import Model
    from atlas.engine.running.encode import Encoded
    from atlas.trace import Trace

BATCH_BYTES = 256 << 20
"""Weights of a batch."""

AT_ONCE = 16
"""Drills of a batch at most."""

MASS, COPY = "mass", "copy"
"""The share of a row's attention on the wanted keys; whether the key with the most attention is a wanted one."""


class Wanted(NamedTuple):
    """Where a drill wants the heads of a kind to look."""

    queries: np.ndarray
    keys: np.ndarray
    """(row, key) whether the key is wanted."""


class Drill(NamedTuple):
    """One text as ids, and what is wanted of each kind of attention."""

    source: tuple[int, ...]
    wanted: Mapping[str, Wanted]
    decoder: tuple[int, ...] | None = None
    """What the decoder of an encoder-decoder reads after its start token."""


def attended(model: Model, drills: Sequence[Drill], rule: str, done: Callable[[int], None]) -> dict[str, np.ndarray]:
    """Kind -> (drill, head) scores by a rule; `done` is called with the number of drills that were run.

    Drills of one text share its run, whatever they want of it.
    """
    alike: dict[tuple[Any, Any], list[int]] = {}
    for at, drill in enumerate(drills):
        alike.setdefault((drill.source, drill.decoder), []).append(at)
    found: dict[str, dict[int, np.ndarray]] = {}
    for batch in _batches(model, drills, list(alike.values())):
        encoded = [_encoded(model, drills[places[0]]) for places in batch]
        for places, trace in zip(batch, model.traced(encoded, [None] * len(batch), "weights", ()), strict=True):
            for at in places:
                for kind, wanted in drills[at].wanted.items():
                    found.setdefault(kind, {})[at] = _scores(trace, kind, wanted, rule)
        done(sum(map(len, batch)))
    return {kind: np.stack([rows[at] for at in sorted(rows)]) for kind, rows in found.items()}


def _batches(model: Model, drills: Sequence[Drill], alike: list[list[int]]) -> Iterator[list[list[int]]]:
    longest = max((len(drill.source) + len(drill.decoder or ()) for drill in drills), default=1)
    heads = sum(kind.n_layers * kind.n_heads for kind in model.size.kinds)
    size = max(1, min(AT_ONCE, BATCH_BYTES // (4 * heads * longest**2)))
    for start in range(0, len(alike), size):
        yield alike[start : start + size]


def _encoded(model: Model, drill: Drill) -> Encoded:
    encoded = model.encode(list(drill.source))
    if "cross" not in model.kinds:
        return encoded
    ids = np.array([start_token(model.hf), *(drill.decoder or ())], dtype=np.int64)
    return replace(encoded, decoder_ids=ids, target_tokens=ids_table(model.tokenizer, ids, start=True))


def _scores(trace: Trace, kind: str, wanted: Wanted, rule: str) -> np.ndarray:
    """(head,) mean over the rows."""
    attention, found = trace.attention_of(kind), []
    for layer in range(trace.n_layers(kind)):
        for head in range(trace.n_heads(kind)):
            rows = np.nan_to_num(attention.block(layer, head, wanted.queries), nan=-1.0)  # a masked key is never the largest
            if rule == MASS:
                found.append(np.where(wanted.keys, np.maximum(rows, 0.0), 0.0).sum(axis=-1).mean())
            else:
                found.append(wanted.keys[np.arange(len(rows)), rows.argmax(axis=-1)].mean())
    return np.array(found, dtype=float)


def without_raised(model: Model, kind: str, around: tuple[Sequence[int], Sequence[int]], token: int) -> str:
    """Why it is not known what heads of a kind raise; empty: it is."""
    reason = without_readings(_alone(model, around, token), kind)
    return "" if not reason else f"What its heads write cannot be read as tokens: {reason}"


def raised(
    model: Model,
    kind: str,
    around: tuple[Sequence[int], Sequence[int]],
    tokens: Sequence[int],
    others: Sequence[Sequence[int]],
) -> np.ndarray:
    """(token, head) the one of `others` (of each token) that a head raises most for the token, as its id.

    The token stands alone between the special tokens, so that a head's value is of the token alone.
    """
    found, writes = [], {}
    for token, among in zip(tokens, others, strict=True):
        trace = _alone(model, around, token)
        at, chosen, rows = _place(trace, kind, token), trace.attention_of(kind), []
        for layer, here in enumerate(chosen.layers):
            if here.value is None:
                msg = "This model's run holds no value vectors, so what heads write is not known."
                raise NotCaptured(msg)
            if layer not in writes:
                writes[layer] = output_projection(trace, kind, layer).astype(np.float32)
            values = np.stack([here.value[here.key_head(head)][at] for head in range(chosen.n_heads)]).astype(np.float32)
            written = np.einsum("hv,hvd->hd", values, writes[layer])
            # Against nothing at all, because the biases of norm and unembedding are no head's.
            logits = model.unembedded(torch.tensor(np.concatenate([written, np.zeros_like(written[:1])])))
            change = (logits[:-1] - logits[-1])[:, list(among)]
            rows.append(np.asarray(among)[change.argmax(dim=-1).cpu().numpy()])
        found.append(np.concatenate(rows))
    return np.stack(found)


def _alone(model: Model, around: tuple[Sequence[int], Sequence[int]], token: int) -> Trace:
    before, after = around
    encoded = _encoded(model, Drill((*before, token, *after), {}, (token,)))
    (trace,) = model.traced([encoded], [None], "weights", ())
    return trace


def _place(trace: Trace, kind: str, token: int) -> int:
    ids = trace.token_tables[trace.side(kind, "key")]["id"].to_numpy()
    return int(np.flatnonzero(ids == token)[0])
