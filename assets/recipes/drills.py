"""Rows of random tokens in which what comes next can be told from what came before: induction heads are learnt from these.

Two kinds. A row of rounds says a few tokens over and over; a row of coined words says a few made-up words of two to four tokens
in any order. From rounds it is learnt quickly, but by looking at about the right place; in coined words only the token right
after the last occurrence helps.

A decoder of this width does not find it among 8,000 tokens within this budget (after 7.5 million tokens of text with a quarter of
such rows: nothing). Among 64 tokens it does in 400 steps, and keeps it while they become more: that is the beginning of a run.
"""

from __future__ import annotations

import numpy as np

IGNORE = -100
LENGTH = 64
SHORTEST_PERIOD = 6
FEWEST_WORDS, MOST_WORDS = 3, 12
SHORTEST_WORD, LONGEST_WORD = 2, 4

FIRST_ALPHABET = 64
ALONE = 350  # steps with rounds of the first alphabet only: coined words are not learnt from nothing
DOUBLED_EVERY = 110  # steps in which the alphabet doubles


def alphabet(step: int, vocabulary: int) -> int:
    """How many tokens there are to draw from."""
    return min(vocabulary, int(FIRST_ALPHABET * 2 ** (max(0, step - ALONE) / DOUBLED_EVERY)))


def rounds(draw: np.random.Generator, length: int, tokens: int) -> tuple[np.ndarray, np.ndarray]:
    """Random tokens over and over; what cannot be foreseen (the first round and the first token of the second) is not scored."""
    period = int(draw.integers(SHORTEST_PERIOD, length // 2 + 1))
    row = np.resize(draw.integers(1, tokens, period), length)
    labels = row.copy()
    labels[: period + 1] = IGNORE
    return row, labels


def coined_words(draw: np.random.Generator, length: int, tokens: int) -> tuple[np.ndarray, np.ndarray]:
    """Words of random tokens in any order; scored is what follows within a word that was there before."""
    count = int(np.exp(draw.uniform(np.log(FEWEST_WORDS), np.log(MOST_WORDS + 1))))
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
    rules = (rounds, rounds if step < ALONE else coined_words)
    rows, labels = zip(*(rules[row % 2](draw, LENGTH, among) for row in range(tokens // LENGTH)), strict=True)
    return np.stack(rows), np.stack(labels), among
