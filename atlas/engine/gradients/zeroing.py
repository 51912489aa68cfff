"""Value zeroing: what a layer makes of every token when the value vectors of one key are zero in all of its heads.

One row of a batch is the plain run; every other row zeroes another key. Behind each layer the states of all rows are compared
with the plain ones and then set back to them, so one pass gives all layers: a change in a layer is seen behind it alone.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from atlas.engine.gradients.at_tap import AtTap, hooked
from atlas.engine.running.capture import fitting, stacked
from atlas.engine.running.context import AttentionSite, Call, Terms, Watcher, running
from atlas.engine.running.interventions import LayerInterventions, by_layer
from atlas.engine.running.recorder import BLOCK_BYTES, TextShape, to_numpy
from atlas.errors import NotCaptured
from atlas.ids import stream_of

if TYPE_CHECKING:
    from atlas.engine.anatomy.records import Tap
    from atlas.engine.model import Model
    from atlas.engine.running.encode import Encoded
    from atlas.engine.running.interventions import Intervention

Report = Callable[[int, int], None]
"""(keys done, all keys)"""

ZEROING_BYTES = 128 << 20
"""Bytes of the states of all rows of a batch inside a layer, at most: rows beyond them wait for the next pass. Ten rows of a
GPT-2 of 256 tokens fit; others may run the model between two passes."""

WIDE = 16
"""States of a row inside a layer, in widths of the stream: queries, keys, values, and a gated feed-forward block."""

ROUNDING = 2
"""Cosine distances below (this × the dtype's step)² / 2 are rounding, because a batch of other size sums in another order."""

SAME = 64
"""Rows that were set back may differ by this × the dtype's step, as a share of the largest number."""


class _Done(Exception):
    """The last layer has been compared; the rest of the pass is not needed."""


def without_zeroing(model: Model) -> str:
    """Why the values of a model cannot be zeroed layer by layer; empty where they can."""
    if not model.interface:
        return f"{model.name} does not use transformers' attention interface, so what its heads read cannot be changed."
    for kind in model.kinds:
        if kind != "cross" and not _taps(model, kind):
            return f"The states between all layers of {model.name} were not found."
    return ""


def _taps(model: Model, stream: str) -> list[Tap]:
    """Where the states behind each layer of a stream pass; empty where some were not found."""
    taps = sorted(
        (tap for tap in model.anatomy.taps if (tap.name, tap.kind) == ("hidden", stream) and tap.layer), key=lambda tap: tap.layer
    )
    found = len(taps) == model.anatomy.streams.get(stream) and all(tap.layout == "plain" and not tap.columns for tap in taps)
    return taps if found else []


def zeroed(
    model: Model, encoded: Encoded, change: Intervention | None, kind: str, report: Report | None = None
) -> tuple[np.ndarray, ...]:
    """(query, key) cosine distance of each layer's states from the plain ones when a key's values are zero, layer by layer.

    Heads that the run replaces write what they wrote in the plain run, so they move nothing of a key.
    """
    reason = without_zeroing(model)
    if reason:
        raise NotCaptured(reason)
    shape = TextShape(encoded.n_source, encoded.n_target)
    n_queries, n_keys = shape.queries(kind), shape.keys(kind)
    found = tuple(np.zeros((n_queries, n_keys)) for _ in _taps(model, stream_of(kind)))
    size = max(1, min(n_keys, ZEROING_BYTES // _row_bytes(model, kind, shape) - 1))
    for first in range(0, n_keys, size):
        if report is not None:
            report(first, n_keys)
        keys = range(first, min(first + size, n_keys))
        with model.held():
            passed = _pass(model, encoded, change, kind, keys)
        for layer, distances in enumerate(passed):
            found[layer][:, keys.start : keys.stop] = distances.T
    return found


def _row_bytes(model: Model, kind: str, shape: TextShape) -> int:
    """Bytes of one row in a layer; the scores of a few heads at a time are bounded apart."""
    stream = stream_of(kind)
    return (
        WIDE
        * model.anatomy.widths[stream]
        * max(shape.queries(kind), shape.keys(kind))
        * next(model.hf.parameters()).element_size()
    )


def _pass(model: Model, encoded: Encoded, change: Intervention | None, kind: str, keys: range) -> list[np.ndarray]:
    """(key, query) distances of each layer for some keys."""
    rows, taps = 1 + len(keys), _taps(model, stream_of(kind))
    shape = fitting(model, TextShape(encoded.n_source, encoded.n_target))
    changes = by_layer([change] * rows, [shape] * rows, model.device) if change else {}
    watcher = _Zeroing(kind, keys, changes)
    call = Call(sites=model.sites, watcher=watcher, interventions=changes)
    found: list[np.ndarray] = []

    def compare(state: torch.Tensor) -> torch.Tensor:
        found.append(_distances(state))
        if len(found) == len(taps):
            raise _Done
        # A copy, because a model may write into its stream in place.
        return state[:1].expand_as(state).clone()

    with ExitStack() as stack:
        for tap in taps:
            stack.enter_context(hooked(model, AtTap(call, tap, compare)))
        with suppress(_Done), torch.no_grad(), running(call):
            model.forward(stacked(model, [encoded] * rows))
    if len(found) != len(taps):
        msg = f"The pass of {model.name} showed {len(found)} of {len(taps)} layers."
        raise NotCaptured(msg)
    return found


def _distances(state: torch.Tensor) -> np.ndarray:
    """(row - 1, position) 1 - cosine of every state with that of the first row, exact for small angles."""
    unit = torch.nn.functional.normalize(state.double(), dim=-1)
    apart = (unit[1:] - unit[:1]).square().sum(dim=-1) / 2
    apart[apart < (ROUNDING * torch.finfo(state.dtype).eps) ** 2 / 2] = 0
    return to_numpy(apart)


@dataclass
class _Zeroing(Watcher):
    """Zeroes the value vectors of one key in every row but the first, in one kind of attention."""

    kind: str
    keys: range
    changes: dict[tuple[str, int], LayerInterventions]

    def block_of_heads(self, site: AttentionSite, terms: Terms) -> int:  # noqa: ARG002 - the protocol's signature
        """As many as fit into BLOCK_BYTES."""
        one = terms.query.shape[0] * terms.query.shape[2] * terms.key.shape[2] * terms.query.element_size()
        return max(1, BLOCK_BYTES // one)

    def saw_terms(self, site: AttentionSite, terms: Terms) -> None:
        """Zero the values, if the rows enter the layer alike."""
        if site.kind != self.kind:
            return
        query = terms.query
        allowed = SAME * torch.finfo(query.dtype).eps
        if bool((query[1:] - query[:1]).abs().max() > allowed * query.abs().max()):
            msg = f"The states of {site.kind} layer {site.layer} could not be set back to those of the plain run."
            raise NotCaptured(msg)
        value = terms.value.clone()
        value[torch.arange(1, 1 + len(self.keys)), :, torch.tensor(self.keys)] = 0
        terms.value = value

    def saw_output(self, site: AttentionSite, output: torch.Tensor) -> None:
        """Replaced heads write what they wrote in the plain run, also where that is a mean of what they read."""
        change = self.changes.get((site.kind, site.layer), {}).get(0)
        if site.kind == self.kind and change is not None and change.replaced:
            heads = list(change.replaced)
            output[1:, heads] = output[:1, heads]
