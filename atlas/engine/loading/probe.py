"""The probe: a short input that every model accepts. It shows at load where a model attends and whether captures are right."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from atlas.engine.running.encode import start_token

SOURCE, TARGET = 11, 7
"""Different lengths of source and target, so that the shapes tell encoder, decoder and cross-attention apart."""


def probe_of(hf: Any, tokenizer: Any, limit: int | None, *, same_length: bool = False) -> dict[str, torch.Tensor]:
    """Token ids from the middle of the vocabulary: specials sit at its ends, and padding would shift RoBERTa's positions."""
    embedding = hf.get_input_embeddings().weight
    device = embedding.device
    plain = _plain_ids(tokenizer, embedding.shape[0])
    n_source = min(SOURCE, limit or SOURCE)
    ids = [plain[i % len(plain)] for i in range(n_source)]
    end = _end_token(hf)
    if end is not None:
        # BART's classifier reads the state at the end token, and fails without one.
        ids[-1] = end
    inputs = {"input_ids": torch.tensor([ids]), "attention_mask": torch.ones(1, n_source, dtype=torch.long)}
    if hf.config.is_encoder_decoder:
        n_target = n_source if same_length else TARGET
        target = [start_token(hf), *(plain[(i + 3) % len(plain)] for i in range(n_target - 1))]
        if end is not None:
            target[-1] = end
        inputs["decoder_input_ids"] = torch.tensor([target])
    return {name: tensor.to(device) for name, tensor in inputs.items()}


def _plain_ids(tokenizer: Any, rows: int) -> list[int]:
    special = set(tokenizer.all_special_ids)
    middle = rows // 2
    found = [(middle + i) % rows for i in range(rows) if (middle + i) % rows not in special]
    return found[:SOURCE] or list(range(rows))


def _end_token(hf: Any) -> int | None:
    end = getattr(hf.config, "eos_token_id", None)
    end = end[0] if isinstance(end, list) and end else end
    rows = hf.get_input_embeddings().weight.shape[0]
    return end if isinstance(end, int) and 0 <= end < rows else None


def outputs_by_kind(outputs: Any, kinds: tuple[str, ...]) -> dict[str, tuple[torch.Tensor, ...]]:
    """A model's own attention weights by kind, read by name, because the position of a field differs between models."""
    names: Mapping[str, str] = {"encoder": "encoder_attentions", "decoder": "decoder_attentions", "cross": "cross_attentions"}
    if len(kinds) == 1:
        own = getattr(outputs, "attentions", None)
        return {kinds[0]: tuple(own)} if own else {}
    return {kind: tuple(own) for kind in kinds if (own := getattr(outputs, names[kind], None))}
