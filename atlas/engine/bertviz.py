"""Traces as BertViz takes them: lists of torch tensors. The way back is `atlas.from_attention`."""

from __future__ import annotations

from typing import Any

import torch

from atlas.trace import Trace
from atlas.tracing.exchange import bertviz_arrays


def to_bertviz(trace: Trace) -> dict[str, Any]:
    """Arguments for BertViz: `head_view(**atlas.to_bertviz(trace))`.

    `attention` and `tokens`; for an encoder-decoder `encoder_attention`, `decoder_attention`, `cross_attention`,
    `encoder_tokens` and `decoder_tokens`. Each attention is a list over layers of tensors (1, head, query, key), in which
    masked weights are 0.
    """
    found = bertviz_arrays(trace)
    tensors = {name: [torch.from_numpy(layer) for layer in found[name]] for name in found if name.endswith("attention")}
    return found | tensors
