"""Cutting one writer from what a head reads: the prediction of `why`, confirmed or refuted by running the block without it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from atlas.attribution.score_parts import why
from atlas.errors import NotCaptured, UnknownName
from atlas.tracing.why import CUT, Cut, trail_of

if TYPE_CHECKING:
    from atlas.trace import Trace


def cut_writer(
    trace: Trace, layer: int, head: int, query: int, key: int, writer: str, side: str = "k", kind: str | None = None
) -> Cut:
    """Run the attention block of a head without what one writer gave to its query ('q') or to every key of the row ('k').

    The model runs up to the block, and the block twice on states without the contribution: with the norms between the writer
    and the head at their sizes, as `why` predicts it, and with these norms computed again. Only the direct way is cut: what
    other heads and feed-forward blocks made of the writer's contribution stays.
    """
    if side not in ("q", "k"):
        msg = f"side={side!r} is neither 'q', the query, nor 'k', the keys."
        raise UnknownName(msg)
    found = why(trace, layer, head, query, key, kind)
    from atlas.engine.running.edge_map import edge_map
    from atlas.engine.running.without_writer import weights_from

    maps = edge_map(trace, found.kind, layer, head, query, key)
    here, size = trace.attention_of(found.kind).layers[layer], trace.attention_of(found.kind).n_keys
    if head in here.patterns:
        msg = f"This run replaced the weights of {found.kind} L{layer} H{head}, so no writer made them."
        raise NotCaptured(msg)
    state, rows = (maps.query, np.array([query])) if side == "q" else (maps.key, np.arange(size))
    trail = trail_of(trace, found.kind, layer, state, maps.norms, rows, writer)
    weights = weights_from(trace, found.kind, layer, head, query, side, rows, [trail.held(), trail.anew()])
    margin = (found.q if side == "q" else found.k).set_index("writer")["weight_without"]
    return Cut(writer, side, found.weight, float(margin[writer]), *(float(row[key]) for row in weights))


TASKS: Mapping[str, Callable[..., Any]] = {CUT: cut_writer}
"""Work with the model that views may request, by name."""
