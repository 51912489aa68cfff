"""Whether a configuration declares a model that its files can hold, looked at before anything of that size is built."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from atlas.engine.loading.files import CONFIG
from atlas.errors import BrokenFiles

LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "encoder_layers", "decoder_layers", "num_decoder_layers")

SIZES = ("vocab_size", "hidden_size", "n_embd", "d_model", "dim", "intermediate_size", "n_inner", "d_ff", "num_attention_heads",
         "n_head", "num_heads", "n_heads", "max_position_embeddings", "n_positions")  # fmt: skip
"""Names that model families give to their sizes; `null` stands for a default."""

MOST_LAYERS = 1_000
"""Layers of a model; the deepest in use have 126."""

MORE_THAN_STORED, SPARE = 4, 10_000_000
"""How many times more parameters a model may declare than its files hold, and how many beyond: heads that are made up and left
out, and positions that some families fill themselves."""


def check_settings(folder: Path, settings: Mapping[str, Any]) -> None:
    """Refuse settings that are of another type than transformers expects, and layers without end."""
    for name in (*LAYERS, *SIZES):
        value = settings.get(name)
        if value is not None and (type(value) is not int or value < 0):
            raise _broken(folder, f"says {name} is {str(value)[:40]!r}, which is no whole number")
    deepest = max((settings.get(name) or 0 for name in LAYERS), default=0)
    if deepest > MOST_LAYERS:
        raise _broken(folder, f"declares {deepest:,} layers, more than any model has ({MOST_LAYERS:,})")
    kind, classes = settings.get("model_type"), settings.get("architectures")
    if not isinstance(kind, str | None):
        raise _broken(folder, f"says the model type is {str(kind)[:40]!r}, which is no name")
    if classes is not None and not (isinstance(classes, list) and all(isinstance(name, str) for name in classes)):
        raise _broken(folder, f"says the class is {str(classes)[:40]!r}, which is no list of names")
    for inner in settings.values():  # models of two parts describe each
        if isinstance(inner, dict) and "model_type" in inner:
            check_settings(folder, inner)


def check_parameters(folder: Path, config: Any, weights: Iterable[Path]) -> None:
    """Refuse a configuration of a model many times larger than its weights, because the rest would be made up in memory."""
    import torch
    from safetensors import safe_open
    from transformers import MODEL_MAPPING, AutoModel

    stored = widest = 0
    for path in weights:
        with safe_open(path, framework="np") as file:
            for name in file.keys():  # noqa: SIM118  (not a dict)
                shape = file.get_slice(name).get_shape()
                widest = max([widest, *shape])
                stored += math.prod(shape)
    declared = [value for value in config.to_dict().values() if type(value) is int]
    # Built only where a number is larger than every stored matrix is wide: in the others nothing larger can be made of it.
    if type(config) not in MODEL_MAPPING or max(declared, default=0) <= widest:
        return
    with torch.device("meta"):
        size = sum(each.numel() for each in AutoModel.from_config(config).parameters())
    if size > MORE_THAN_STORED * stored + SPARE:
        raise _broken(folder, f"declares a model of {size:,} parameters, and its files hold {stored:,}")


def _broken(folder: Path, why: str) -> BrokenFiles:
    return BrokenFiles(f"{folder / CONFIG} {why}. Get the file again; do not use this model if that does not help.")
