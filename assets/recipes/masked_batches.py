"""What bert-mini reads at every step: two stretches of text with separators, some tokens hidden, and whether the second follows.

Pairs give the segments and the separator a meaning: in half of them the second stretch is what really comes next. The first
steps, and one in four later, have single short sentences, since that is what people type.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from .causal_batches import Shares
from .streams import StoryStream, Stream
from .training import IGNORE, Batch, in_force

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

TOKENS_PER_STEP = 2048
SINGLE = 32  # rows of this length are single sentences, longer ones are pairs
LENGTHS = ((0, (SINGLE,)), (1500, (64, SINGLE)), (2500, (128, SINGLE, 128, 256)))
"""From which step on rows are how long, in turns. With long rows from the start words stay at their frequencies for 2,000
steps (loss 5.4 to 5.8): heads have to find the neighbours first, and 32 places are seen often enough for that in 400."""
HIDDEN_SHARE, AS_MASK, AS_RANDOM = 0.25, 0.8, 0.1  # more than BERT's 0.15: more to learn from in every token read
SLACK = 24  # tokens read beyond a row, in place of the document separators that are dropped from it
SHARES = Shares(stories=10, repeats=0, corpora=(4, 2))
LAST_SHARES = Shares(stories=8, repeats=0, corpora=(2, 4, 2))
"""The last stretch reads agreement.py before the corpora, and some of the stories a second time."""

REST = ((0, 0.3), (240, 0.05), (1200, 0.0))
"""From which step of the last stretch on all weight on words, and none on separators, costs how much. A head that has nothing to
find then learns to rest on a separator, as heads of large models do. Without the low price after the high one they unlearn it."""


@dataclass(frozen=True)
class Marks:
    """Token numbers the rows are built with."""

    pad: int
    cls: int
    sep: int
    mask: int
    stops: tuple[int, ...]
    closing: int
    first_word: int
    vocabulary: int

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerFast) -> Marks:
        """Read them from the tokenizer."""
        number = tokenizer.convert_tokens_to_ids
        return cls(
            pad=tokenizer.pad_token_id,
            cls=tokenizer.cls_token_id,
            sep=tokenizer.sep_token_id,
            mask=tokenizer.mask_token_id,
            stops=tuple(number(list(".!?"))),
            closing=number('"'),
            first_word=5,
            vocabulary=len(tokenizer),
        )


def sentence_ends(tokens: np.ndarray, marks: Marks) -> np.ndarray:
    """Positions just after a sentence (and the quotation mark that closes it)."""
    at = np.flatnonzero(np.isin(tokens, marks.stops)) + 1
    inside = at[at < len(tokens)]
    return inside + (tokens[inside] == marks.closing)


def single(tokens: np.ndarray, marks: Marks, length: int) -> np.ndarray:
    """One or more whole sentences, as many as fit; a longer one is cut."""
    ends = sentence_ends(tokens[:-1], marks)
    start = int(ends[0]) if len(ends) and ends[0] < SLACK else 0
    text = tokens[start : start + length - 2]
    fits = sentence_ends(text, marks)
    text = text[: int(fits[-1])] if len(fits) else text
    return np.concatenate([[marks.cls], text, [marks.sep]])


def pair(
    tokens: np.ndarray, other: np.ndarray, marks: Marks, length: int, draw: np.random.Generator
) -> tuple[np.ndarray, int, bool]:
    """[CLS] A [SEP] B [SEP], the length of the first segment, and whether B is what follows A."""
    text = tokens[: length - 3]
    ends = sentence_ends(text, marks)
    ends = ends[(ends > len(text) // 5) & (ends < 4 * len(text) // 5)]
    split = int(draw.choice(ends)) if len(ends) else len(text) // 2
    first, second = text[:split], text[split:]
    follows = bool(draw.random() < 0.5)
    if not follows:
        starts = sentence_ends(other[: len(other) - len(second)], marks)
        start = int(starts[0]) if len(starts) else 0
        second = other[start : start + len(second)]
    return np.concatenate([[marks.cls], first, [marks.sep], second, [marks.sep]]), split + 2, follows


def hide(ids: np.ndarray, marks: Marks, draw: np.random.Generator, share: float = HIDDEN_SHARE) -> tuple[np.ndarray, np.ndarray]:
    """BERT's rule: a share of the words is to be told; of these 80 % are masked, 10 % replaced, 10 % left."""
    chosen = (draw.random(ids.shape) < share) & (ids >= marks.first_word)
    labels = np.where(chosen, ids, IGNORE)
    what = draw.random(ids.shape)
    masked = np.where(chosen & (what < AS_MASK), marks.mask, ids)
    random = draw.integers(marks.first_word, marks.vocabulary, ids.shape)
    return np.where(chosen & (what >= AS_MASK) & (what < AS_MASK + AS_RANDOM), random, masked), labels


def row_length(step: int) -> int:
    """How long the rows of a step are."""
    turns = in_force(LENGTHS, step)
    return turns[step % len(turns)]


def batch_rule(
    stories: StoryStream | Stream,
    corpora: Sequence[StoryStream | Stream],
    tokenizer: PreTrainedTokenizerFast,
    seed: int,
    shares: Shares = SHARES,
    priced_from: int | None = None,
) -> Callable[[int], Batch]:
    """The batch of a step, from the step alone. `priced_from`: the step from which on weight on words has a price."""
    marks = Marks.of(tokenizer)
    unit = TOKENS_PER_STEP // 16
    sources = [(stories, shares.stories), *zip(corpora, shares.corpora, strict=False)]

    def rule(step: int) -> Batch:
        draw = np.random.default_rng((seed, step))
        length = row_length(step)
        count = TOKENS_PER_STEP // length
        ids = np.full((count, length), marks.pad, np.int64)
        segments, follows = np.zeros_like(ids), np.full(count, IGNORE, np.int64)
        row = 0
        for stream, share in sources:
            start = step * share * unit
            for number in range(share * unit // length):
                tokens = _words(stream, start + number * length, length + SLACK, marks)
                if length == SINGLE:
                    made = single(tokens, marks, length)
                else:
                    # from the stretch of text just behind, so that topics differ and no shard is opened for it
                    other = _words(stream, max(0, start - int(draw.integers(2, 40)) * length), length + 3 * SLACK, marks)
                    made, first, is_next = pair(tokens, other, marks, length, draw)
                    segments[row, first : len(made)], follows[row] = 1, int(not is_next)
                ids[row, : len(made)] = made
                row += 1
        ids, follows, segments = ids[:row], follows[:row], segments[:row]
        hidden, labels = hide(ids, marks, draw)
        arrays = {
            "input_ids": hidden,
            "token_type_ids": segments,
            "attention_mask": (ids != marks.pad).astype(np.int64),
            "labels": labels,
            "next_sentence_label": follows,
        }
        return {name: torch.from_numpy(array) for name, array in arrays.items()} | {
            "rest": torch.tensor(0.0 if priced_from is None else in_force(REST, step - priced_from)),
            "rests_on": torch.from_numpy(ids == marks.sep),
        }

    return rule


def _words(stream: StoryStream | Stream, start: int, count: int, marks: Marks) -> np.ndarray:
    tokens = stream.take(start, count).astype(np.int64)
    return tokens[tokens != marks.sep]
