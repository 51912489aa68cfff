"""gus-mini: bert-mini taught to mark generalisations, unfair language and stereotypes, several at once, word by word.

Seven labels as GUS-Net has them, each a yes or no of its own: sigmoids, and a threshold a label, kept in the configuration.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional
from transformers import BertForTokenClassification, PreTrainedTokenizerFast

from . import fine_tuning
from .gus_baselines import baselines
from .gus_data import DATA, LABELS, Sentence, parted, report, sentences, stacked, tuned
from .shipping import ship
from .training import Batch, Outcome, Plan, train

NAME = "gus-mini"
BATCH = 32
PLAN = Plan(steps=900, learning_rate=1e-3, warmup_steps=80, decay_share=0.6, weight_decay=0.01, seed=51)  # twelve epochs
HIDDEN = 0.15  # of the pieces, while learning: two thousand sentences are soon known by heart, their neighbours are not
IGNORE = -1.0
AT_ONCE = 64
INSIDE = [LABELS.index(f"I-{label[2:]}") if label.startswith("B-") else place for place, label in enumerate(LABELS)]
# BertForTokenClassification's own loss is of one label a word: the configuration says that its outputs are not to be softmaxed.
SETTINGS = {"problem_type": "multi_label_classification"}


def continued(labels: np.ndarray) -> np.ndarray:
    """The labels of a word's later pieces: where the word begins a span they are inside it."""
    found = np.zeros_like(labels)
    for place, inside in enumerate(INSIDE):
        found[..., inside] = np.maximum(found[..., inside], labels[..., place])
    return found


def encode(tokenizer: PreTrainedTokenizerFast, found: Sequence[Sentence]) -> Batch:
    """Tokens, and seven labels for each; those of [CLS], [SEP] and padding are not scored. `first` marks a word's first piece."""
    batch = tokenizer(
        [list(sentence.words) for sentence in found],
        is_split_into_words=True,
        padding=True,
        truncation=True,
        return_tensors="pt",
    )
    shape = batch["input_ids"].shape
    labels = np.full((*shape, len(LABELS)), IGNORE, np.float32)
    first = np.zeros(shape, bool)
    for row, sentence in enumerate(found):
        before = None
        for column, word in enumerate(batch.word_ids(row)):
            if word is not None:
                first[row, column] = word != before
                labels[row, column] = sentence.labels[word] if word != before else continued(sentence.labels[word])
            before = word
    return {**batch, "labels": torch.from_numpy(labels), "first": torch.from_numpy(first)}


def partly_hidden(batch: Batch, mask: int, seed: int, step: int) -> Batch:
    """The same with some scored pieces masked, drawn by the step alone: what is hidden has to be told from what is around."""
    drawn = torch.from_numpy(np.random.default_rng((seed, step)).random(batch["input_ids"].shape))
    chosen = (drawn < HIDDEN) & (batch["labels"][..., 0] != IGNORE)
    return batch | {"input_ids": batch["input_ids"].masked_fill(chosen, mask)}


def several_at_once(model: BertForTokenClassification, batch: Batch) -> torch.Tensor:
    """Binary cross-entropy of every label of every scored piece."""
    logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    told = batch["labels"][..., 0] != IGNORE
    return functional.binary_cross_entropy_with_logits(logits[told].float(), batch["labels"][told])


def scores(model: BertForTokenClassification, tokenizer: PreTrainedTokenizerFast, found: Sequence[Sentence]) -> np.ndarray:
    """Probability of every label for every word, read at its first piece; 0 for words beyond the model's reach or without one."""
    rows = []
    for start in range(0, len(found), AT_ONCE):
        part = found[start : start + AT_ONCE]
        batch = encode(tokenizer, part)
        with torch.no_grad():
            told = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits.float().sigmoid().numpy()
        encoded = tokenizer([list(sentence.words) for sentence in part], is_split_into_words=True, padding=True, truncation=True)
        for row, sentence in enumerate(part):
            mine = np.zeros((len(sentence.words), len(LABELS)), np.float32)
            for column in np.flatnonzero(batch["first"][row].numpy()):
                mine[encoded.word_ids(row)[column]] = told[row, column]
            rows.append(mine)
    return np.concatenate(rows)


def train_stretch(
    work: Path, minutes: float | None, device: str, plan: Plan = PLAN, log: Callable[[str], None] = print, data: Path = DATA
) -> Outcome:
    """Train on from the last checkpoint; when done, tune the thresholds on what was not learnt from."""
    encoder = fine_tuning.finished_encoder(work)
    tokenizer = fine_tuning.tokenizer_of(encoder)
    learn, tune = parted(sentences("train", data))
    model = fine_tuning.classifier(BertForTokenClassification, encoder, LABELS, plan.seed, **SETTINGS)
    plain = fine_tuning.by_epochs(
        learn, BATCH, plan.seed, lambda items: encode(tokenizer, items), lambda sentence: len(sentence.words)
    )

    def rule(step: int) -> Batch:
        return partly_hidden(plain(step), tokenizer.mask_token_id, plan.seed, step)

    outcome = train(
        model, rule, work / NAME / "checkpoints", plan,
        minutes=minutes, device=device, autocast=True, log=log, loss_rule=several_at_once,
    )  # fmt: skip
    if outcome.finished:
        model = model.half().float().cpu().eval()  # as it will be stored
        found = tuned(scores(model, tokenizer, tune), stacked(tune))
        model.config.thresholds = dict(zip(LABELS, found.tolist(), strict=True))
        ship(model, tokenizer, work / "final" / NAME)
    return outcome


def measures(model: BertForTokenClassification, tokenizer: PreTrainedTokenizerFast, data: Path = DATA) -> dict[str, object]:
    """F1 on dev beside the three baselines, words as units."""
    learn, tune = parted(sentences("train", data))
    test = sentences("dev", data)
    thresholds = np.array([model.config.thresholds[label] for label in LABELS])
    mine = report(scores(model.float().eval(), tokenizer, test) >= thresholds, stacked(test))
    return {
        "words": len(stacked(test)),
        "thresholds": dict(model.config.thresholds),
        "F1 on dev": {NAME: mine, **baselines(learn, tune, test)},
    }
