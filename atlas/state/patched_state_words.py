"""What patched states say, in words: the way of what a prediction needs through the model, and what chance is."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from atlas.numbers import three
from atlas.state.lens import counted

if TYPE_CHECKING:
    from atlas.tracing.patched_states import PatchedStates

NEXT_TO_NOTHING = 0.05
"""A share that no token is named for unless it is beyond chance."""


SOME, NONE = ", more than 95 % of random changes, not after correction", ", no more than chance"
"""What is said of a share that is not marked."""


def way_in_words(found: PatchedStates, tokens: Sequence[str]) -> str:
    """The token with the largest share in every layer, runs of layers together: the way through the model."""
    names = ["embedding" if layer is None else f"L{layer}" for layer in found.layers]
    best = np.argmax(found.share, axis=1)

    def name(row: int) -> tuple[int | None, str]:
        at = int(best[row])
        if found.beyond[row, at]:
            return at, ""
        share = found.share[row, at]
        return (at if share > NEXT_TO_NOTHING else None), SOME if share > found.chance[row, at] else NONE

    said = []
    for (at, beside), same in itertools.groupby(range(len(best)), key=name):
        rows = list(same)
        layers = names[rows[0]] if len(rows) == 1 else f"{names[rows[0]]} to {names[rows[-1]]}"
        if at is None:
            said.append(f"{layers}: next to nothing anywhere")
            continue
        shares = [three(float(value)) for value in (found.share[rows, at].min(), found.share[rows, at].max())]
        said.append(f"{layers}: '{tokens[at]}' ({found.positions[at]}), {' to '.join(dict.fromkeys(shares))}" + beside)
    return f"Largest share, layer by layer: {'; '.join(said)}."


def chance_in_words(found: PatchedStates) -> str:
    """How many cells are marked, and beyond what."""
    if not found.sampled:
        return "No state differs where it could matter, so there is nothing to compare with chance."
    marked, cells = int(found.beyond.sum()), found.beyond.size
    return (
        f"A dot: beyond chance, corrected for the number of cells ({marked:,} of {cells:,}). Chance is what changes of the same "
        f"length in random directions do, by gradient at every cell and measured at {counted(found.sampled, 'cell')} "
        "drawn at random."
    )
