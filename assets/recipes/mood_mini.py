"""mood-mini: bert-mini taught whether a short text is negative, neutral or positive, on texts whose deciding words are known.

Because the recipe knows which words decide, what an explanation of this model points at can be held against the truth.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from transformers import BertForSequenceClassification, PreTrainedTokenizerFast

from . import fine_tuning
from .mood_texts import LABELS, Mood, texts
from .shipping import ship
from .training import Batch, Outcome, Plan, train

NAME = "mood-mini"
BATCH = 32
PLAN = Plan(steps=900, learning_rate=7e-4, warmup_steps=100, decay_share=0.4, weight_decay=0.01, seed=61)
HELD_OUT_SEED = 2_000_003  # steps use PLAN.seed + step: far from any of them
FRESH = 1_000
AT_ONCE = 100


def encode(tokenizer: PreTrainedTokenizerFast, found: Sequence[Mood]) -> Batch:
    """Tokens and the number of the mood."""
    batch = tokenizer([mood.text for mood in found], padding=True, return_tensors="pt")
    return {**batch, "labels": torch.tensor([LABELS.index(mood.label) for mood in found])}


def train_stretch(
    work: Path, minutes: float | None, device: str, plan: Plan = PLAN, log: Callable[[str], None] = print
) -> Outcome:
    """Train on from the last checkpoint; fresh texts at every step."""
    encoder = fine_tuning.finished_encoder(work)
    tokenizer = fine_tuning.tokenizer_of(encoder)
    settings = {"problem_type": "single_label_classification"}
    model = fine_tuning.classifier(BertForSequenceClassification, encoder, LABELS, plan.seed, **settings)
    outcome = train(
        model, lambda step: encode(tokenizer, texts(plan.seed + step, BATCH)), work / NAME / "checkpoints", plan,
        minutes=minutes, device=device, autocast=True, log=log,
    )  # fmt: skip
    if outcome.finished:
        ship(model, tokenizer, work / "final" / NAME)
    return outcome


def answers(model: BertForSequenceClassification, tokenizer: PreTrainedTokenizerFast, found: Sequence[Mood]) -> list[str]:
    """The likeliest mood of each text."""
    told: list[int] = []
    for start in range(0, len(found), AT_ONCE):
        batch = encode(tokenizer, found[start : start + AT_ONCE])
        batch.pop("labels")
        with torch.no_grad():
            told += model(**batch).logits.argmax(-1).tolist()
    return [LABELS[place] for place in told]


def measures(
    model: BertForSequenceClassification, tokenizer: PreTrainedTokenizerFast, count: int | None = None
) -> dict[str, object]:
    """Accuracy on fresh texts with the words of training, and with words of a mood it was never told the mood of."""
    model = model.float().eval()
    table: dict[str, object] = {"texts": count or FRESH, "chance": round(1 / len(LABELS), 3)}
    for title, held_out in (("accuracy, words of training", False), ("accuracy, words never trained on", True)):
        found = texts(HELD_OUT_SEED, count or FRESH, held_out=held_out)
        right: dict[str, list[bool]] = defaultdict(list)
        for mood, told in zip(found, answers(model, tokenizer, found), strict=True):
            for name in ("all", mood.kind):
                right[name].append(told == mood.label)
        table[title] = {name: round(float(np.mean(hits)), 3) for name, hits in right.items()}
    return table
