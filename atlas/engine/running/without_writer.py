"""The weights of one query of one head when what its block reads for the query, or for the keys, is changed: the block runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from atlas.engine.running.attention import scores_of, softmax
from atlas.engine.running.attention_block import block_of, wide

if TYPE_CHECKING:
    from atlas.trace import Trace


def weights_from(
    trace: Trace, kind: str, layer: int, head: int, query: int, side: str, rows: np.ndarray, taken: Sequence[np.ndarray]
) -> list[np.ndarray]:
    """(key,) weights of a query for each change: `taken` (row, width) is subtracted at some rows of what the block reads.

    On side 'q' the changed states make the queries alone, on 'k' the keys alone: the block runs on both, and the queries of one
    run meet the keys of the other.
    """
    attention = trace.attention_of(kind)
    cut = attention.layers[layer].cut_cells(head, attention.n_queries, attention.n_keys, np.array([query]))
    found = []
    with block_of(trace, kind, layer) as block, torch.no_grad():
        given = block.sides(attention.n_keys)[side == "k"]
        plain = block.terms({})
        for change in taken:
            state = given.clone()
            state[0, torch.as_tensor(rows, device=state.device)] -= torch.as_tensor(change).to(state)
            changed = block.terms({id(given): state})
            mixed = replace(plain, query=changed.query) if side == "q" else replace(plain, key=changed.key)
            one = slice(head, head + 1)
            scores = scores_of(mixed, one)
            if cut is not None:
                lost = torch.as_tensor(cut[0], device=scores.device)
                scores[0, 0, query] = scores[0, 0, query].masked_fill(lost, torch.finfo(scores.dtype).min)
            found.append(wide(softmax(scores, mixed, one)[0, 0, query]))
    return found
