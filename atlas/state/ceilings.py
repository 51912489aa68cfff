"""Where a colour scale ends: the largest weight, with or without the tokens attention is parked on."""

from __future__ import annotations

import numpy as np

from atlas.trace import Trace

Array = np.ndarray

SAMPLED_ROWS = 16
"""Rows a head whose weights are looked at for a scale: all of a short text, spread over a long one."""

SAMPLED_CELLS = 4_000_000
"""Weights looked at for a scale in all: a twentieth of a second."""


def hides_sinks(setting: str, kind: str) -> bool:
    """Whether sinks are left out of the scale; by default in causal models, whose first token takes most of everything."""
    return setting == "hidden" or (setting == "auto" and kind == "decoder")


def colour_ceiling(values: Array, sinks: Array | None, setting: str, kind: str) -> float:
    """The largest of the values, outside sink columns where these are hidden; 1 where nothing is left."""
    if sinks is not None and hides_sinks(setting, kind) and not sinks.all():
        values = values[..., ~sinks]
    known = values[np.isfinite(values)]
    top = float(known.max()) if known.size else 0.0
    return top if top > 0 else 1.0


def sample_of(trace: Trace, kind: str) -> Array:
    """(head, row, key) weights of all heads of a kind at a few rows spread over the text; made once for a trace."""
    made: Array = trace.once(f"sample {kind}", lambda: _sampled(trace, kind))
    return made


def _sampled(trace: Trace, kind: str) -> Array:
    attention = trace.attention_of(kind)
    heads = len(attention.layers) * attention.n_heads
    rows = max(1, min(SAMPLED_ROWS, attention.n_queries, SAMPLED_CELLS // max(1, heads * attention.n_keys)))
    # Spread over the text, the last row among them: in a causal text it is the one that sees everything.
    chosen = np.unique(np.linspace(attention.n_queries - 1, 0, rows).round().astype(int))
    blocks = [attention.block(layer, head, chosen) for layer in range(len(attention.layers)) for head in range(attention.n_heads)]
    made = np.stack(blocks)
    made.setflags(write=False)
    return made
