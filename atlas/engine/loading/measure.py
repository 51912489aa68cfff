"""Measures the sizes of a model that decide how much memory a run needs."""

from __future__ import annotations

from typing import Any

import torch

from atlas.engine.anatomy.attention_sites import layers_of
from atlas.engine.anatomy.records import GROUPS, PROJECTIONS, Anatomy
from atlas.engine.anatomy.stream_norms import norm_numbers
from atlas.engine.loading.probe import outputs_by_kind
from atlas.engine.running.budget import KindSize, ModelSize
from atlas.engine.running.context import AttentionSites

SMALLEST = 2
"""Fewest bytes of a number, because quantised weights compute in half precision."""


def measure(hf: Any, sites: AttentionSites, kinds: tuple[str, ...], anatomy: Anatomy, outputs: Any = None) -> ModelSize:
    """The sizes of an examined model. A model outside the interface needs `outputs`, of a pass that returned attentions."""
    item = max(torch.finfo(hf.dtype).bits // 8, SMALLEST)
    if sites:
        sizes = tuple(_from_sites(sites, kind, item) for kind in kinds)
    else:
        own = outputs_by_kind(outputs, kinds)
        sizes = tuple(KindSize(kind, len(own[kind]), own[kind][0].shape[1], 0, 0, item) for kind in kinds)
    projections = sum(int(layer.module.get_parameter("weight").numel()) for layer in anatomy.projections.values())
    weights = projections + norm_numbers(anatomy)
    return ModelSize(sizes, n_outcomes(hf), group_widths(anatomy), {"head_outputs": weights, PROJECTIONS: weights})


def group_widths(anatomy: Anatomy) -> dict[str, int]:
    """Capture group -> numbers that it keeps for one token, over all layers."""
    return {
        group: sum(anatomy.tap_widths.get((tap.kind, tap.name), 0) for tap in anatomy.taps if tap.name in names)
        for group, names in GROUPS.items()
    }


def _from_sites(sites: AttentionSites, kind: str, item: int) -> KindSize:
    layers = layers_of(sites, kind)
    first = layers[0]
    return KindSize(kind, len(layers), first.n_heads, first.key_heads, first.width, item)


def n_outcomes(hf: Any) -> int:
    """The number of outcomes at a position: the size of the vocabulary, or the number of a classifier's labels."""
    head = hf.get_output_embeddings()
    if head is not None and hasattr(head, "weight"):
        return int(head.weight.shape[0])
    return int(hf.config.num_labels) if "Classification" in type(hf).__name__ else 0
