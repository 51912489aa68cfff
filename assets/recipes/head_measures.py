"""What the heads of a language model do: previous and next token, induction, first position, separators; arrays (layer, head)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

PERIOD = 64  # of the repeated random tokens
SEQUENCES = 24
SEED = 5


def attentions(model: PreTrainedModel, ids: torch.Tensor) -> np.ndarray:
    """(layer, item, head, query, key), the library's own weights."""
    model.set_attn_implementation("eager")
    with torch.no_grad():
        found = model(input_ids=ids, output_attentions=True).attentions
    return np.stack([layer.float().numpy() for layer in found])


def diagonal(weights: np.ndarray, offset: int, first_query: int = 0) -> np.ndarray:
    """Mean weight from query i to key i + offset, over items and queries from `first_query` on: (layer, head)."""
    length = weights.shape[-1]
    queries = np.arange(max(first_query, -offset, 0), min(length, length - offset))
    taken: np.ndarray = weights[..., queries, queries + offset].mean(axis=(1, 3))
    return taken


def induction(model: PreTrainedModel, first_word: int, vocabulary: int) -> tuple[np.ndarray, float]:
    """On random tokens said twice: weight from a token to the one after its first occurrence, and the uniform weight."""
    draw = np.random.default_rng(SEED)
    once = draw.integers(first_word, vocabulary, (SEQUENCES, PERIOD))
    weights = attentions(model, torch.from_numpy(np.concatenate([once, once], axis=1)))
    chance = float(np.mean(1.0 / (np.arange(PERIOD, 2 * PERIOD - 1) + 1)))
    return diagonal(weights[..., : 2 * PERIOD - 1, : 2 * PERIOD - 1], 1 - PERIOD, first_query=PERIOD), chance


def _best(table: np.ndarray) -> dict[str, object]:
    layer, head = np.unravel_index(int(table.argmax()), table.shape)
    return {"best": round(float(table.max()), 4), "head": f"L{layer} H{head}", "heads_above_0.4": int((table >= 0.4).sum())}


def causal_heads(model: PreTrainedModel, held_out: np.ndarray, vocabulary: int) -> dict[str, object]:
    """Scores of a decoder's heads on held-out text (rows of equal length) and on repeated random tokens."""
    weights = attentions(model, torch.from_numpy(held_out))
    found, chance = induction(model, 1, vocabulary)
    return {
        "previous token": _best(diagonal(weights, -1)),
        "first position (sink)": _best(weights[..., 1:, 0].mean(axis=(1, 3))),
        "self": _best(diagonal(weights, 0)),
        "induction": {**_best(found), "chance": round(chance, 5), "times_chance": round(float(found.max()) / chance, 1)},
    }


def _resting(weights: np.ndarray, ids: np.ndarray, on: Sequence[int]) -> dict[str, object]:
    """The head with the most weight on some tokens, and what it would have if it looked at all alike."""
    there = np.isin(ids, on)
    mass = (weights * there[None, :, None, None, :]).sum(-1).mean(axis=(1, 3))
    return {**_best(mass), "if even": round(float(there.mean()), 4)}


def masked_heads(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, held_out: np.ndarray) -> dict[str, object]:
    """Scores of an encoder's heads on held-out rows [CLS] ... [SEP]."""
    ids = np.concatenate(
        [np.full((len(held_out), 1), tokenizer.cls_token_id), held_out, np.full((len(held_out), 1), tokenizer.sep_token_id)],
        axis=1,
    )
    weights = attentions(model, torch.from_numpy(ids))
    return {
        "previous token": _best(diagonal(weights, -1)),
        "next token": _best(diagonal(weights, 1)),
        "self": _best(diagonal(weights, 0)),
        "separators [CLS] [SEP]": _resting(weights, ids, [tokenizer.cls_token_id, tokenizer.sep_token_id]),
        "sentence ends . ! ?": _resting(weights, ids, tokenizer.convert_tokens_to_ids(list(".!?"))),
        "first position (sink)": _best(weights[..., 1:, 0].mean(axis=(1, 3))),
    }
