"""Models outside transformers' attention interface: Atlas reads the weights that they return, and nothing else.

There are no queries and keys, no interventions and no scores. All weights exist at once, so memory bounds the length of texts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from atlas.engine.loading.probe import outputs_by_kind
from atlas.engine.running.recorder import TextShape, own_array
from atlas.errors import UnsupportedModel
from atlas.ids import KINDS
from atlas.tracing.record import Attention, Layer, Mask, simplified
from atlas.tracing.statistics import statistics_of, thumbnails_of

if TYPE_CHECKING:
    import pandas as pd

LACKS = "queries, keys, values, scores and interventions"


def kinds_from_outputs(hf: Any, outputs: Any, probe: Mapping[str, torch.Tensor]) -> tuple[str, ...]:
    """The kinds of attention that the model returned on the probe; raises unless each has a weight for every query and key."""
    if hf.config.is_encoder_decoder:
        found = outputs_by_kind(outputs, KINDS)
    else:
        own = outputs_by_kind(outputs, ("encoder",)).get("encoder", ())
        one = "decoder" if own and all(map(_is_causal, own)) else "encoder"
        found = {one: own} if own and own[0] is not None else {}
    if not found:
        msg = (
            f"{type(hf).__name__} computes its attention outside transformers' attention interface and does not return its "
            "weights either, so there is nothing to show. Some such models have a setting that makes them (BigBird: "
            "attention_type='original_full'). Models of other families work; `atlas models` lists some."
        )
        raise UnsupportedModel(msg)
    shape = TextShape(probe["input_ids"].shape[1], probe["decoder_input_ids"].shape[1] if "decoder_input_ids" in probe else 0)
    for kind, layers in found.items():
        expected = shape.queries(kind), shape.keys(kind)
        other = next((tuple(layer.shape[-2:]) for layer in layers if tuple(layer.shape[-2:]) != expected), None)
        if other is not None:
            msg = (
                f"{type(hf).__name__} returns {kind} weights of shape {other} for {expected[0]} queries and {expected[1]} keys "
                "(bands, or pooled tokens), which are no weights between tokens. Models of other families work."
            )
            raise UnsupportedModel(msg)
    return tuple(kind for kind in KINDS if kind in found)


def _is_causal(weights: torch.Tensor) -> bool:
    future = torch.ones(weights.shape[-2:], dtype=torch.bool, device=weights.device).triu(1)
    return weights.shape[-2] == weights.shape[-1] and not bool(weights[..., future].any())


def attentions(
    outputs: Any, kinds: tuple[str, ...], row: int, shape: TextShape, tables: Mapping[str, pd.DataFrame]
) -> dict[str, Attention]:
    """The record of one text, made of the model's outputs."""
    own = outputs_by_kind(outputs, kinds)
    found = {}
    for kind in kinds:
        n_queries, n_keys = shape.queries(kind), shape.keys(kind)
        layers = [own_array(weights[row, :, :n_queries, :n_keys]) for weights in own[kind]]
        found[kind] = _attention(kind, layers, tables)
    return found


def _attention(kind: str, weights: Sequence[np.ndarray], tables: Mapping[str, pd.DataFrame]) -> Attention:
    n_heads, n_queries, n_keys = weights[0].shape
    masks: dict[bytes, Mask] = {}
    layers = []
    for layer in weights:
        visible = _visible(layer, causal=kind == "decoder")
        mask = masks.setdefault(visible.tobytes(), simplified(visible))
        layers.append(Layer(n_heads=n_heads, mask=mask, weights=layer))
    bare = Attention(kind, n_heads, n_queries, n_keys, tuple(layers))
    return replace(bare, stats=statistics_of(bare, tables), small={"maximum": thumbnails_of(bare)})


def _visible(weights: np.ndarray, *, causal: bool) -> np.ndarray:
    """The cells that the model's mask leaves visible, inferred from the weights.

    Masked cells are exactly 0 in every head, outside a band around the query. Zeros that form no band are very small weights.
    """
    seen = (weights != 0).any(axis=0)
    n_queries, n_keys = seen.shape
    if n_queries != n_keys:
        return np.ones_like(seen)
    if causal:
        seen &= np.tri(n_queries, dtype=bool)
    first, last = seen.argmax(axis=1), n_keys - 1 - seen[:, ::-1].argmax(axis=1)
    places = np.arange(n_keys)
    band = (places >= first[:, None]) & (places <= last[:, None])
    if not causal:
        return band if np.array_equal(band, seen) and seen.diagonal().all() else np.ones_like(seen)
    return band if np.array_equal(band, seen) and seen.diagonal().all() else np.tri(n_queries, dtype=bool)
