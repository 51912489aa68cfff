"""Rows of random tokens in which what comes next can be told from what came before: induction heads are learnt from these.

Two kinds. A row of rounds says a few tokens over and over; a row of coined words says a few made-up words of two to four tokens
in any order. Rounds alone are learnt by comparing whole stretches, with attention that is spread thin; in coined words only the
token right after the last occurrence helps.

A decoder of this width does not find that among 8,000 tokens in long rows within this budget (after 7.5 million tokens of text
with a quarter of such rows: nothing). Among 64 tokens, in rows of 16, it does in 300 steps, where it has also to say which token
stood before (BEFORE); and it keeps it while rows become longer and tokens more. That is the beginning of a run.
"""

from __future__ import annotations

import numpy as np

from .training import IGNORE, in_force

LENGTHS = ((0, 16), (400, 32), (700, 64))
"""From which step on rows are how long."""
SHORTEST_PERIOD = 3
FEWEST_WORDS, TOKENS_A_WORD = 2, 5  # a word has three tokens, more or less: most of them come at least twice
SHORTEST_WORD, LONGEST_WORD = 2, 4

FIRST_ALPHABET = 64
ALONE = 800  # steps with the first alphabet only
DOUBLED_EVERY = 80  # steps in which the alphabet then doubles

BEFORE = 0.5
"""Weight of a second loss during the drills: the first layer has to tell which token stood before. Such a head is what induction
is made of; without it, in rows of 64, 500 steps brought none."""


def alphabet(step: int, vocabulary: int) -> int:
    """How many tokens there are to draw from."""
    return min(vocabulary, int(FIRST_ALPHABET * 2 ** (max(0, step - ALONE) / DOUBLED_EVERY)))


def row_length(step: int) -> int:
    """How long rows are."""
    return in_force(LENGTHS, step)


def rounds(draw: np.random.Generator, length: int, tokens: int) -> tuple[np.ndarray, np.ndarray]:
    """Random tokens over and over; what cannot be foreseen (the first round and the first token of the second) is not scored."""
    period = int(draw.integers(SHORTEST_PERIOD, length // 2 + 1))
    row = np.resize(draw.integers(1, tokens, period), length)
    labels = row.copy()
    labels[: period + 1] = IGNORE
    return row, labels


def coined_words(draw: np.random.Generator, length: int, tokens: int) -> tuple[np.ndarray, np.ndarray]:
    """Words of random tokens in any order; scored is what follows within a word that was there before."""
    count = int(np.exp(draw.uniform(np.log(FEWEST_WORDS), np.log(length // TOKENS_A_WORD + 1))))
    words = [draw.integers(1, tokens, int(draw.integers(SHORTEST_WORD, LONGEST_WORD + 1))) for _ in range(count)]
    order = draw.integers(0, count, length)  # more than enough: a word has two tokens at least
    known = [word in order[:place] for place, word in enumerate(order[: length // SHORTEST_WORD])]
    row = np.concatenate([words[word] for word in order[: len(known)]])[:length]
    told = np.concatenate([np.arange(len(words[word])) * seen > 0 for word, seen in zip(order, known, strict=False)])[:length]
    return row, np.where(told, row, IGNORE)


def batch(seed: int, step: int, tokens: int, vocabulary: int) -> tuple[np.ndarray, np.ndarray, int]:
    """The rows of a step of the beginning, what of them is scored, and how many tokens there were to draw from."""
    draw = np.random.default_rng((seed, step))
    among = alphabet(step, vocabulary)
    length = row_length(step)
    rows, labels = zip(*((rounds, coined_words)[row % 2](draw, length, among) for row in range(tokens // length)), strict=True)
    return np.stack(rows), np.stack(labels), among
