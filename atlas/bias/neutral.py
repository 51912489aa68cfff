"""Neutral swaps: words that name no identity, at the same places and of the same kind and length as a counterfactual's."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from atlas.bias.lexicon import neutral
from atlas.bias.swaps import made_of
from atlas.text.inflect import cased
from atlas.text.segment import word_spans
from atlas.tracing.counterfactual import Counterfactual, Swap

LEAST = 8
"""Fewest neutral swaps that a reaction is held against."""

TRIES = 6
"""Texts made for each that is needed, because some have another number of tokens."""


class NeutralSwaps(NamedTuple):
    """Neutral counterparts of a text."""

    found: tuple[Counterfactual, ...]
    note: str
    """What is to be known of them; empty: all have as many tokens as the counterfactual."""


def neutral_swaps(text: str, given: Counterfactual, length: Callable[[str], int], most: int, seed: int = 0) -> NeutralSwaps:
    """Texts with other words where a counterfactual has its own; `length` says how many tokens a text has.

    Equal words are replaced by equal words. Where too few have the number of tokens of the counterfactual, those with another
    one are taken too, and the note says so.
    """
    known = neutral()
    without = sorted({swap.old for swap in given.swaps if not known.get(swap.kind) or not swap.new})
    if without or not given.swaps:
        return NeutralSwaps((), f"There are no neutral words for {', '.join(f'“{word}”' for word in without)}.")
    used = {text[start:end].lower() for start, end in word_spans(text)} | {swap.new.lower() for swap in given.swaps}
    slots = list(dict.fromkeys((swap.old.lower(), swap.kind) for swap in given.swaps))
    words = [[word for word in known[kind] if word.lower() not in used] for _, kind in slots]
    wanted = length(given.text)
    fitting: list[Counterfactual] = []
    others: list[Counterfactual] = []
    for choice in _choices([len(each) for each in words], TRIES * most, np.random.default_rng(seed)):
        picked = {slot: each[at] for slot, each, at in zip(slots, words, choice, strict=True)}
        made = made_of(
            text, "neutral", [_in_place(text, swap, picked[swap.old.lower(), swap.kind]) for swap in given.swaps], ("", "")
        )
        (fitting if length(made.text) == wanted else others).append(made)
        if len(fitting) == most:
            break
    if len(fitting) >= LEAST:
        return NeutralSwaps(tuple(fitting), "")
    every = [*fitting, *others][:most]
    if len(every) < LEAST:
        return NeutralSwaps((), f"There are {len(every)} neutral swaps of this kind, and {LEAST} are the fewest to compare with.")
    return NeutralSwaps(tuple(every), f"{len(fitting)} of {len(every)} have as many tokens as the counterfactual.")


def _in_place(text: str, swap: Swap, word: str) -> Swap:
    usual = swap.old.lower() if len(swap.old) > 1 and swap.old.isupper() else swap.old
    return swap._replace(new=cased(word, swap.old, usual, text[: swap.start]))


def _choices(sizes: list[int], most: int, random: np.random.Generator) -> list[tuple[int, ...]]:
    """Different combinations, in random order: all of them where there are few."""
    total = 1
    for size in sizes:
        total *= size
    if total <= most:
        chosen = random.permutation(total)
    else:
        chosen = (
            random.choice(min(total, 1 << 40), size=most, replace=False)
            if total < 1 << 20
            else random.integers(0, min(total, 1 << 62), most)
        )
    return [tuple(map(int, np.unravel_index(int(at), sizes))) for at in dict.fromkeys(chosen.tolist())]
