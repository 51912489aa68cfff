"""Catalog entries of the models shipped in `assets/models/`, read from the model files so that the two always agree."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

from atlas.engine.loading.catalog import BOTH, DECODER, ENCODER, Entry
from atlas.engine.loading.files import CONFIG, check_weights, read_config, weight_files
from atlas.errors import AtlasError

CARD = "MODEL_CARD.md"

# The names that model families use for the same figure in their config.json, the usual one first.
_LAYERS = ("num_hidden_layers", "n_layer", "encoder_layers", "num_layers", "n_layers")
_HEADS = ("num_attention_heads", "n_head", "encoder_attention_heads", "num_heads", "n_heads")
_HIDDEN = ("hidden_size", "n_embd", "d_model", "dim")
_FFN = ("intermediate_size", "n_inner", "encoder_ffn_dim", "d_ff", "hidden_dim")
_POSITIONS = ("max_position_embeddings", "n_positions")
_DECODER_LAYERS = ("decoder_layers", "num_decoder_layers")

_TASKS = (
    ("ForMaskedLM", "masked-lm"),
    ("ForPreTraining", "masked-lm"),
    ("ForCausalLM", "causal-lm"),
    ("LMHeadModel", "causal-lm"),
    ("ForConditionalGeneration", "seq2seq"),
    ("MTModel", "seq2seq"),
    ("ForTokenClassification", "token-classification"),
    ("ForSequenceClassification", "sequence-classification"),
    ("ForQuestionAnswering", "question-answering"),
    ("ForImageClassification", "image-classification"),
)
"""Task by the ending of the architecture's name. The loader asks transformers instead, which is too slow for a listing."""


def embedded(models: Path | None = None) -> tuple[Entry, ...]:
    """Every model in the folder `models` (default: Atlas' assets), by name; none where there is no such folder."""
    if models is None:
        from atlas.resources import assets

        models = assets() / "models"
    if not models.is_dir():
        return ()
    found = []
    for path in sorted(models.glob(f"*/{CONFIG}")):
        try:
            found.append(_entry(path.parent, path.stat().st_mtime_ns))
        except AtlasError as error:
            # A warning, not an error, because all other models can still be loaded.
            warnings.warn(f"{path.parent.name} is left out of the catalog. {error}", stacklevel=2)
    return tuple(found)


@lru_cache(maxsize=64)
def _entry(folder: Path, changed: int) -> Entry:  # noqa: ARG001  (part of the cache's key, so that a retrained model is read again)
    config = read_config(folder)
    architecture = next(iter(config.get("architectures") or [""]))
    two_stacks = bool(config.get("is_encoder_decoder"))
    task = next((task for ending, task in _TASKS if architecture.endswith(ending)), "base")
    card = _front_matter(folder / CARD)
    hidden = int(_first(config, _HIDDEN, 0))
    return Entry(
        name=folder.name,
        family=str(config.get("model_type", "unknown")),
        kinds=BOTH if two_stacks else DECODER if _is_decoder(config, task) else ENCODER,
        layers=int(_first(config, _LAYERS, 0)),
        decoder_layers=int(_first(config, _DECODER_LAYERS, _first(config, _LAYERS, 0))) if two_stacks else None,
        heads=int(_first(config, _HEADS, 0)),
        hidden=hidden,
        ffn=int(_first(config, _FFN, 4 * hidden)),  # GPT-2 writes n_inner only where it is not four times the width
        vocabulary=int(config.get("vocab_size", 0)),
        parameters=_stored_parameters(folder),
        task=task,
        positions=int(positions) if (positions := _first(config, _POSITIONS, None)) else None,
        licence=card.get("license", "unknown"),
        good_for=card.get("good_for", f"Shipped with Atlas; see {CARD}."),
        embedded=True,
        path=folder,
    )


def _is_decoder(config: dict[str, Any], task: str) -> bool:
    return task == "causal-lm" or bool(config.get("is_decoder")) or config.get("model_type") in {"gpt2", "gpt_neox", "llama"}


def _first(config: dict[str, Any], names: Iterable[str], otherwise: Any) -> Any:
    return next((config[name] for name in names if config.get(name) is not None), otherwise)


def _stored_parameters(folder: Path) -> int:
    """The number of parameters in the weight files, which store tied weights once."""
    from safetensors import safe_open

    count = 0
    for path in weight_files(folder):
        check_weights(path)
        with safe_open(path, framework="np") as file:
            count += sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118  (not a dict)
    return count


def _front_matter(card: Path) -> dict[str, str]:
    """The plain `key: value` lines between the first two `---` of a model card."""
    if not card.is_file():
        return {}
    lines = card.read_text(encoding="utf-8").splitlines()
    if not lines or lines[0].strip() != "---":
        return {}
    block: list[str] = []
    for line in lines[1:]:
        if line.strip() == "---":
            break
        block.append(line)
    pairs = (line.partition(":") for line in block if ":" in line and not line.startswith((" ", "-", "#")))
    return {key.strip(): value.strip().strip("'\"") for key, _, value in pairs}
