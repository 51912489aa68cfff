"""What gpt-mini reads at every step: stories, books and encyclopedia in fixed shares, and rows with repeated spans.

The repeated rows (one in four) are there so that induction heads form within the budget: half of them are random tokens
repeated, half are text in which a span comes back. The model card says so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from .streams import StoryStream, Stream
from .training import Batch

IGNORE = -100
TOKENS_PER_STEP = 2048
SHORT, LONG = 256, 512
LONG_EVERY = 4  # one step in four has rows of 512, so that every position is trained
BEGINNING = ((0, 32), (1000, 64), (1800, 128))
"""From which step on rows are how short, before those of 256 and 512: a head that looks at the token before is found among 32
places, each seen eight times as often as of 256, and induction needs such a head."""
FULL = 2400  # from this step on rows of 256 and 512; a multiple of LONG_EVERY
SHORTEST_PERIOD = 8
SHORTEST_SPAN, LONGEST_SPAN = 8, 64


@dataclass(frozen=True)
class Shares:
    """Sixteenths of a step: even ones, so that rows of 256 fit into them."""

    stories: int = 6
    repeats: int = 4
    corpora: tuple[int, ...] = (4, 2)


LONG_SHARES = Shares(stories=8, repeats=4, corpora=(4, 0))
"""Multiples of four, so that rows of 512 fit."""


def row_length(step: int) -> int:
    """Short rows in the beginning; then rows of 256, and of 512 every fourth step."""
    if step < FULL:
        return [length for first, length in BEGINNING if step >= first][-1]
    return LONG if step % LONG_EVERY == LONG_EVERY - 1 else SHORT


def repeated_random(
    draw: np.random.Generator, length: int, vocabulary: int, first_word: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Random tokens over and over; what cannot be foreseen (the first round and the first token of the second) is not scored."""
    period = int(draw.integers(SHORTEST_PERIOD, length // 2 + 1))
    row = np.resize(draw.integers(first_word, vocabulary, period), length)
    labels = row.copy()
    labels[: period + 1] = IGNORE
    return row, labels


def repeated_span(draw: np.random.Generator, row: np.ndarray) -> np.ndarray:
    """A stretch of the text comes back later in the row, once or twice."""
    row = row.copy()
    for _ in range(int(draw.integers(1, 3))):
        span = int(draw.integers(SHORTEST_SPAN, min(LONGEST_SPAN, len(row) // 3) + 1))
        start = int(draw.integers(0, len(row) - 2 * span))
        to = int(draw.integers(start + span, len(row) - span + 1))
        row[to : to + span] = row[start : start + span]
    return row


def batch_rule(
    stories: StoryStream | Stream, corpora: Sequence[Stream], vocabulary: int, seed: int, shares: Shares | None = None
) -> Callable[[int], Batch]:
    """The batch of a step, from the step alone."""
    unit = TOKENS_PER_STEP // 16
    streams = [stories, *corpora]
    short, long = shares or Shares(), shares or LONG_SHARES
    per_stream = list(zip(streams, (short.stories, *short.corpora), (long.stories, *long.corpora), strict=False))

    def rule(step: int) -> Batch:
        draw = np.random.default_rng((seed, step))
        length = row_length(step)
        here = long if length == LONG else short
        early, late = min(step, FULL), max(0, step - FULL)
        rounds, within = divmod(late, LONG_EVERY)
        rows = []
        for stream, in_short, in_long in per_stream:
            read_before = (early + within) * in_short + rounds * ((LONG_EVERY - 1) * in_short + in_long)
            share = in_long if length == LONG else in_short
            rows.append(stream.take(read_before * unit, share * unit).reshape(-1, length).astype(np.int64))
        ids = np.concatenate(rows)
        labels = ids.copy()
        more, more_labels = [], []
        for number in range(here.repeats * unit // length):
            if (number + step) % 2:
                row, label = repeated_random(draw, length, vocabulary)
            else:
                row = label = repeated_span(draw, ids[int(draw.integers(len(ids)))])
            more.append(row)
            more_labels.append(label)
        if more:
            ids, labels = np.concatenate([ids, more]), np.concatenate([labels, more_labels])
        return {"input_ids": torch.from_numpy(ids), "labels": torch.from_numpy(labels)}

    return rule
