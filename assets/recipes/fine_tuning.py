"""What the two classifiers on bert-mini share: its finished weights, batches by epochs that depend on the step alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from transformers import BertConfig, PreTrainedTokenizerFast

from . import language_models, vocabularies
from .places import EMBEDDED
from .training import Batch

Item = TypeVar("Item")
DROPOUT = 0.1  # a few thousand sentences are read many times, unlike the text of the language models


def finished_encoder(work: Path) -> Path:
    """The folder of bert-mini: as it was just trained, else as it is shipped."""
    for folder in (work / "final" / language_models.BERT, EMBEDDED / language_models.BERT):
        if (folder / "model.safetensors").exists():
            return folder
    message = f"there is no finished {language_models.BERT} in {work / 'final'} or {EMBEDDED}; build it first"
    raise FileNotFoundError(message)


def classifier(kind: type[Any], encoder: Path, labels: Sequence[str], seed: int, **settings: Any) -> Any:
    """A model of the class `kind` on the encoder's weights, its own head drawn by the seed."""
    torch.manual_seed(seed)
    config = BertConfig.from_pretrained(
        encoder,
        num_labels=len(labels),
        id2label=dict(enumerate(labels)),
        label2id={label: number for number, label in enumerate(labels)},
        hidden_dropout_prob=DROPOUT,
        attention_probs_dropout_prob=DROPOUT,
        **settings,
    )
    return kind.from_pretrained(encoder, config=config, dtype=torch.float32)


def tokenizer_of(encoder: Path) -> PreTrainedTokenizerFast:
    """The encoder's tokenizer."""
    return vocabularies.load(encoder)


def by_epochs(
    items: Sequence[Item], size: int, seed: int, encode: Callable[[list[Item]], Batch], length: Callable[[Item], int]
) -> Callable[[int], Batch]:
    """Batches of `size` items of like length, every item once an epoch; the batch of a step from the step alone.

    Of like length, because a batch is as wide as its longest item: half of what is computed was padding.
    """
    steps = max(1, len(items) // size)  # what does not fill a batch waits for another epoch's order
    lengths = np.array([length(item) for item in items])

    def rule(step: int) -> Batch:
        epoch, place = divmod(step, steps)
        draw = np.random.default_rng((seed, epoch))
        order = draw.permutation(len(items))[: steps * size]
        order = order[np.argsort(lengths[order], kind="stable")]
        start = int(draw.permutation(steps)[place]) * size
        return encode([items[number] for number in order[start : start + size]])

    return rule
