"""The sizes of a model that decide what a run of it holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from atlas.engine.budget import KindSize, ModelSize
from atlas.engine.context import Sites
from atlas.engine.probe import outputs_by_kind
from atlas.engine.sites import layers_of

D_MODEL = ("hidden_size", "d_model", "n_embd", "dim", "n_embed")
D_FFN = ("intermediate_size", "d_ff", "encoder_ffn_dim", "ffn_dim", "n_inner", "hidden_dim", "ffn_hidden_size")
USUAL_RATIO = 4
"""Feed-forward width to model width where a configuration names none (GPT-2's n_inner is None)."""


def measure(hf: Any, sites: Sites, kinds: tuple[str, ...], outputs: Any = None) -> ModelSize:
    """Sizes from what was found; `outputs` of a pass with attentions where the model is outside the interface."""
    item = torch.finfo(hf.dtype).bits // 8
    if sites:
        sizes = tuple(_from_sites(sites, kind, max(item, 2)) for kind in kinds)
    else:
        own = outputs_by_kind(outputs, kinds)
        sizes = tuple(KindSize(kind, len(own[kind]), own[kind][0].shape[1], 0, 0, max(item, 2)) for kind in kinds)
    d_model = _first(hf.config, D_MODEL) or hf.get_input_embeddings().weight.shape[1]
    return ModelSize(sizes, d_model, _first(hf.config, D_FFN) or USUAL_RATIO * d_model, n_outcomes(hf))


def _from_sites(sites: Sites, kind: str, item: int) -> KindSize:
    layers = layers_of(sites, kind)
    first = layers[0]
    return KindSize(kind, len(layers), first.n_heads, first.key_heads, first.width, item)


def n_outcomes(hf: Any) -> int:
    """How many outcomes a position has: the vocabulary, or a classifier's labels."""
    head = hf.get_output_embeddings()
    if head is not None and hasattr(head, "weight"):
        return int(head.weight.shape[0])
    return int(hf.config.num_labels) if "Classification" in type(hf).__name__ else 0


def _first(config: Any, names: tuple[str, ...]) -> int:
    known: Mapping[str, Any] = {name: getattr(config, name, None) for name in names}
    return next((int(value) for value in known.values() if isinstance(value, int) and value > 0), 0)
