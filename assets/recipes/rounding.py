"""How far the stored half-precision weights are from the trained ones, as the largest difference of a logit.

Two answers. The last stretch of training runs through the rounding (training.rounded_to_half), so the weights it computed with
are those of float16: `to the weights trained with`. The optimiser keeps float32 copies, which take up its small steps: `to the
optimiser's float32 copies`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from . import number_words, t5_dates
from .streams import HELD_OUT_STORY_SEED, story_texts

TEXTS = 32
LONGEST = 128  # tokens: a difference grows with depth, not with length


def inputs(tokenizer: Any, *, two_sided: bool) -> Iterator[dict[str, torch.Tensor]]:
    """Something to read: held-out stories, or phrases with their digits for a model that has two sides."""
    if two_sided:
        items: list[number_words.Example] = t5_dates.examples(t5_dates.HELD_OUT_SEED, TEXTS)
        batch = t5_dates.encode(tokenizer, items)
        batch.pop("said_by")
        yield batch
        return
    for text in itertools.islice(story_texts(HELD_OUT_STORY_SEED, TEXTS), TEXTS):
        yield dict(tokenizer(text, truncation=True, max_length=LONGEST, return_tensors="pt"))


def largest_differences(kind: type[Any], shipped: Path, checkpoint: Path, tokenizer: Any) -> dict[str, float]:
    """The two differences between a shipped model and a checkpoint of the same run, both loaded as float32."""
    stored = kind.from_pretrained(shipped, dtype=torch.float32).eval()
    exact = kind.from_pretrained(checkpoint, dtype=torch.float32, config=stored.config).eval()
    rounded = kind.from_pretrained(checkpoint, dtype=torch.float32, config=stored.config).half().float().eval()
    found = {"to the weights trained with": 0.0, "to the optimiser's float32 copies": 0.0}
    for batch in inputs(tokenizer, two_sided=bool(stored.config.is_encoder_decoder)):
        with torch.no_grad():
            logits = stored(**batch).logits
            for title, other in zip(found, (rounded, exact), strict=True):
                found[title] = max(found[title], float((other(**batch).logits - logits).abs().max()))
    return {title: round(value, 5) for title, value in found.items()}
