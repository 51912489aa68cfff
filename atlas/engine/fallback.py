"""Models outside transformers' attention interface: their own eager weights, and nothing else.

No queries and keys, no interventions, no scores; all weights exist at once, so long texts are bounded by memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from atlas.engine.probe import outputs_by_kind
from atlas.engine.recorder import TextShape, own_array
from atlas.errors import UnsupportedModel
from atlas.ids import KINDS
from atlas.tracing.record import NO_MASK, Attention, Layer, Mask
from atlas.tracing.statistics import statistics_of, thumbnails_of

if TYPE_CHECKING:
    import pandas as pd

LACKS = "queries, keys, values, scores and interventions"


def kinds_from_outputs(hf: Any, forward: Any, probe: Mapping[str, torch.Tensor]) -> tuple[str, ...]:
    """Which kinds of attention the model returns; the caller holds the model with eager attention."""
    with torch.no_grad():
        outputs = forward(probe, output_attentions=True)
    if hf.config.is_encoder_decoder:
        found = outputs_by_kind(outputs, KINDS)
        kinds: tuple[str, ...] = tuple(kind for kind in KINDS if kind in found)
    else:
        own = outputs_by_kind(outputs, ("encoder",)).get("encoder", ())
        one = "decoder" if own and all(map(_is_causal, own)) else "encoder"
        kinds = (one,) if own and own[0] is not None else ()
    if not kinds:
        msg = (
            f"{type(hf).__name__} computes its attention outside transformers' attention interface and does not return its "
            "weights either, so there is nothing to show. Models of other families work; `atlas models` lists some."
        )
        raise UnsupportedModel(msg)
    return kinds


def _is_causal(weights: torch.Tensor) -> bool:
    future = torch.ones(weights.shape[-2:], dtype=torch.bool, device=weights.device).triu(1)
    return weights.shape[-2] == weights.shape[-1] and not bool(weights[..., future].any())


def attentions(
    outputs: Any, kinds: tuple[str, ...], row: int, shape: TextShape, tables: Mapping[str, pd.DataFrame]
) -> dict[str, Attention]:
    """The record of one text from what the model returned."""
    own = outputs_by_kind(outputs, kinds)
    found = {}
    for kind in kinds:
        n_queries, n_keys = shape.queries(kind), shape.keys(kind)
        layers = [own_array(weights[row, :, :n_queries, :n_keys], batch=len(weights)) for weights in own[kind]]
        found[kind] = _attention(kind, layers, tables)
    return found


def _attention(kind: str, weights: Sequence[np.ndarray], tables: Mapping[str, pd.DataFrame]) -> Attention:
    n_heads, n_queries, n_keys = weights[0].shape
    # What a mask hides is exactly 0 after a softmax; what is merely small is not.
    causal = kind == "decoder" and n_queries == n_keys and not any(w[:, ~np.tri(n_queries, dtype=bool)].any() for w in weights)
    mask = Mask(causal=True) if causal else NO_MASK
    layers = tuple(Layer(n_heads=n_heads, mask=mask, weights=layer) for layer in weights)
    bare = Attention(kind, n_heads, n_queries, n_keys, layers)
    queries = tables["source"] if kind == "encoder" or "target" not in tables else tables["target"]
    stats = statistics_of(bare, queries, tables["source"] if kind == "cross" else None)
    return Attention(kind, n_heads, n_queries, n_keys, layers, stats, thumbnails_of(bare))
