"""How well t5-mini reads numbers, and whether its cross attention points at the words it reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from .number_words import Example
from .t5_dates import HELD_OUT_SEED, LONGEST_OUTPUT, encode, examples

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast, T5ForConditionalGeneration

FRESH = 1000


def written(model: T5ForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, items: list[Example]) -> list[str]:
    """What the model writes, greedily."""
    batch = encode(tokenizer, items)
    with torch.no_grad():
        made = model.generate(
            input_ids=batch["input_ids"],
            attention_mask=batch["attention_mask"],
            max_new_tokens=LONGEST_OUTPUT,
            do_sample=False,
            num_beams=1,
        )
    texts: list[str] = tokenizer.batch_decode(made, skip_special_tokens=True)
    return texts


def pointing(model: T5ForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, items: list[Example]) -> np.ndarray:
    """Share of spoken output digits whose row has its maximum at the word that says the digit: (layer, head).

    The row of a digit is the decoder position that predicts it. Digits nothing says (the zero of "four hundred and six") are
    not counted. A last row and a last column are of the means over layers and over heads.
    """
    batch = encode(tokenizer, items)
    said_by = batch.pop("said_by")
    model.set_attn_implementation("eager")
    with torch.no_grad():
        cross = torch.stack(model(**batch, output_attentions=True).cross_attentions, dim=1)  # item, layer, head, target, source
    cross = torch.cat([cross, cross.mean(2, keepdim=True)], dim=2)
    cross = torch.cat([cross, cross.mean(1, keepdim=True)], dim=1)
    spoken = said_by.any(-1)
    tops = cross.argmax(-1)
    right = said_by[:, None, None].expand(*cross.shape).gather(-1, tops[..., None])[..., 0]
    table: np.ndarray = (right & spoken[:, None, None]).sum((0, 3)).numpy() / int(spoken.sum())
    return table


def measures(
    model: T5ForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, count: int | None = None
) -> dict[str, object]:
    """Exact match on fresh examples and where the cross attention points."""
    count = count or FRESH
    model = model.float().eval()
    items = examples(HELD_OUT_SEED, count)
    made = written(model, tokenizer, items)
    table = pointing(model, tokenizer, items)
    layers, heads = table.shape[0] - 1, table.shape[1] - 1
    best = np.unravel_index(table[:layers, :heads].argmax(), (layers, heads))
    return {
        "examples": count,
        "exact_match": sum(text == item.target for text, item in zip(made, items, strict=True)) / count,
        "cross_argmax_best_head": round(float(table[best]), 4),
        "best_head": f"L{best[0]} H{best[1]}",
        "cross_argmax_mean_of_heads": round(float(table[layers, heads]), 4),
        "cross_argmax_by_head": table.round(4).tolist(),
        "mistakes": [
            f"{item.source} -> {text} (is {item.target})" for text, item in zip(made, items, strict=True) if text != item.target
        ][:20],
    }
