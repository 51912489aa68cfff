"""What gpt-mini reads at every step: first rows of random tokens (drills.py), then stories, books and encyclopedia.

One row in four stays one with repeats: a third of these are rounds, a third coined words, and a third text in which a span comes
back. They are there so that induction heads form within the budget, and stay; the model card says so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from . import drills
from .streams import StoryStream, Stream
from .training import Batch, in_force

TOKENS_PER_STEP = 2048
LONG = 512
LONG_EVERY = 4  # one step in four has rows of 512, so that every position is trained
DRILLS = 1500  # steps before the first word of text
LENGTHS = ((DRILLS, 64), (2200, 128), (2900, 256), (4700, 64))
"""From which step on the other rows are how short. A head that looks at the token before is found among 64 places, each seen four
times as often as of 256. Back to 64: in long rows, where names and words come back, copying pays more than grammar does."""
FULL = 2900  # from this step on there are rows of 512
SHORTEST_SPAN, LONGEST_SPAN = 8, 64


@dataclass(frozen=True)
class Shares:
    """Sixteenths of a step: even ones where rows are of 256, multiples of four where they are of 512."""

    stories: int = 6
    repeats: int = 4
    corpora: tuple[int, ...] = (4, 2)


SHARES = (Shares(), Shares(stories=8, repeats=4, corpora=(4, 0)))
"""Of steps with short rows, and of those with rows of 512."""
LAST_SHARES = (Shares(corpora=(3, 2, 1)), Shares(stories=8, repeats=4, corpora=(4, 0, 0)))
"""The last stretch reads agreement.py before the corpora. Its stories go on where the others ended."""


def row_length(step: int) -> int:
    """Of text."""
    if step >= FULL and step % LONG_EVERY == LONG_EVERY - 1:
        return LONG
    return in_force(LENGTHS, step)


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
    stories: StoryStream | Stream,
    corpora: Sequence[StoryStream | Stream],
    vocabulary: int,
    seed: int,
    shares: tuple[Shares, Shares] = SHARES,
) -> Callable[[int], Batch]:
    """The batch of a step, from the step alone."""
    unit = TOKENS_PER_STEP // 16
    streams = [stories, *corpora]
    short, long = shares
    per_stream = list(zip(streams, (short.stories, *short.corpora), (long.stories, *long.corpora), strict=False))

    def rule(step: int) -> Batch:
        if step < DRILLS:
            return _batch(*drills.batch(seed, step, TOKENS_PER_STEP, vocabulary), before=drills.BEFORE)
        draw = np.random.default_rng((seed, step))
        length = row_length(step)
        here = long if length == LONG else short
        early, late = min(step, FULL) - DRILLS, max(0, step - FULL)
        rounds, within = divmod(late, LONG_EVERY)
        rows = []
        for stream, in_short, in_long in per_stream:
            read_before = (early + within) * in_short + rounds * ((LONG_EVERY - 1) * in_short + in_long)
            share = in_long if length == LONG else in_short
            rows.append(stream.take(read_before * unit, share * unit).reshape(-1, length).astype(np.int64))
        text = np.concatenate(rows)
        more = [_with_repeats(draw, number + step, text, length, vocabulary) for number in range(here.repeats * unit // length)]
        ids = np.concatenate([text, *(row[None] for row, _ in more)])
        labels = np.concatenate([text, *(told[None] for _, told in more)])
        return _batch(ids, labels, vocabulary)

    return rule


def _with_repeats(
    draw: np.random.Generator, number: int, text: np.ndarray, length: int, vocabulary: int
) -> tuple[np.ndarray, np.ndarray]:
    """A row of each of the three kinds in turn."""
    if number % 3 == 0:
        row = repeated_span(draw, text[int(draw.integers(len(text)))])
        return row, row
    return (drills.rounds if number % 3 == 1 else drills.coined_words)(draw, length, vocabulary)


def _batch(ids: np.ndarray, labels: np.ndarray, among: int, before: float = 0.0) -> Batch:
    """`among`: how many tokens, from the first on, there were to choose from. `before`: the weight of the token before."""
    numbers = {"among": torch.tensor(among), "before": torch.tensor(before)}
    return {"input_ids": torch.from_numpy(ids), "labels": torch.from_numpy(labels), **numbers}
