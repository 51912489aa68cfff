"""Internals of a model: where they are (found once, checked by arithmetic) and the permanent hooks that show them to a call.

Nothing here knows a model by name. One probe pass is recorded, layers are the calls around each attention, and what is added
to what is tried until the sums come out; what does not come out is absent, with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from atlas.engine.anatomy import ALL_TAPS, GROUPS, Anatomy, Sum, Tap
from atlas.engine.context import Sites
from atlas.engine.embedding import PARTS, find_embedding
from atlas.engine.heads import find_projections, head_parts, output_bias, value_gram
from atlas.engine.hooks import install
from atlas.engine.layers import Layer, broken_between, find_layers
from atlas.engine.recording import BATCH, Event, Recording, Seen, record
from atlas.engine.streams import describe_layers
from atlas.engine.taps import Taps
from atlas.engine.unembedding import final_norm, find_unembedding, unembed

__all__ = [
    "ALL_TAPS",
    "GROUPS",
    "Anatomy",
    "Sum",
    "Tap",
    "find_anatomy",
    "head_parts",
    "install",
    "output_bias",
    "unembed",
    "value_gram",
]

NO_LAYERS = "no layers were found that hand a stream of states from one to the next"
