"""The units of a feed-forward block: which fire, by which function, and what each writes, read through the unembedding."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers.activations import ACT2FN

from atlas.engine.running.capture import Rerun
from atlas.engine.running.recorder import to_numpy
from atlas.errors import NotCaptured
from atlas.trace import NO_MODEL
from atlas.tracing.feed_forward import (
    FEED_FORWARD_UNITS,
    TOP_TOKENS,
    TOP_UNITS,
    FeedForwardUnits,
    holding_share,
    without_units,
)
from atlas.tracing.logit_lens import stream_kind, without_lens

if TYPE_CHECKING:
    from atlas.engine.model import Model
    from atlas.trace import Trace

SAME = 1e-3
"""Largest difference, as a share of the largest activation, between a function of the pre-activations and the activations."""

Tokens = tuple[tuple[str, ...], ...]


def feed_forward_units(trace: Trace, kind: str, layer: int, positions: Sequence[int]) -> FeedForwardUnits:
    """The units of a layer that fire most at some positions, and how many fire in every layer of its stream."""
    reason, live = without_units(trace), trace.live
    if reason:
        msg = f"The units of the feed-forward blocks are not known: {reason}"
        raise NotCaptured(msg)
    if not isinstance(live, Rerun):
        raise NotCaptured(NO_MODEL)
    here, layers = list(positions), range(trace.n_layers(kind))
    after, before, gate = (_places(trace, name) for name in ("ffn_act", "ffn_pre", "ffn_up"))
    if any((kind, at) not in after for at in layers):
        msg = f"The activations of the {kind}'s feed-forward blocks were not found."
        raise NotCaptured(msg)
    live.check_weights()
    model = live.model
    acts = [after[kind, at][here] for at in layers]
    firing = [before[kind, at][here] if (kind, at) in before else acts[at] for at in layers]
    mean = acts[layer].astype(np.float64).mean(0)
    units = np.argsort(-np.abs(mean), kind="stable")[:TOP_UNITS]
    written = model.unit_writes(kind, layer, units.tolist())
    tokens = _tokens(trace, model, kind, written * torch.tensor(np.sign(mean[units]))[:, None].to(written))
    return FeedForwardUnits(
        kind, layer, tuple(here), _function(model, before.get((kind, layer)), gate.get((kind, layer)), after[kind, layer]),
        (kind, layer) in gate, len(mean), np.array([(each > 0).mean() for each in firing]),
        np.array([holding_share(each) for each in acts]), units, mean[units], to_numpy(written.norm(dim=-1)), *tokens,
    )  # fmt: skip


def _places(trace: Trace, name: str) -> Mapping[Any, np.ndarray]:
    assert trace.live is not None
    return trace.captured(name) if trace.live.group_of(name) is not None else {}


def _tokens(trace: Trace, model: Model, kind: str, written: torch.Tensor) -> tuple[Tokens, Tokens]:
    """The tokens that each direction promotes and suppresses; none where the unembedding does not read this stream."""
    if without_lens(trace) or kind != stream_kind(trace):
        return (), ()
    # Against no direction at all: the biases of norm and unembedding are nobody's either.
    logits = model.unembedded(torch.cat([written, torch.zeros_like(written[:1])]))
    change = logits[:-1] - logits[-1]
    promoted, suppressed = (change.topk(TOP_TOKENS, dim=-1, largest=largest).indices for largest in (True, False))
    return tuple(
        tuple(tuple(str(name) for name in row) for row in model.outcome_names(to_numpy(ids))) for ids in (promoted, suppressed)
    )  # type: ignore[return-value]


def _function(model: Model, before: np.ndarray | None, gate: np.ndarray | None, after: np.ndarray) -> str:
    """The activation function of the configuration that gives just these activations."""
    if before is None:
        return ""
    settings = model.hf.config.to_dict().values()
    for name in dict.fromkeys(value for value in settings if isinstance(value, str) and value in ACT2FN):
        made = to_numpy(ACT2FN[name](torch.tensor(before).float())) * (1.0 if gate is None else gate)
        if np.abs(made - after).max() <= SAME * max(float(np.abs(after).max()), 1e-6):
            return name
    return ""


TASKS: Mapping[str, Callable[..., Any]] = {FEED_FORWARD_UNITS: feed_forward_units}
"""Work with the model that views may request, by name."""
