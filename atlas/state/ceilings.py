"""Where a colour scale ends: at the largest weight, with or without the sinks."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from atlas.trace import Trace

Array = np.ndarray

SAMPLED_ROWS = 16
"""Rows of a head that are sampled for a scale: all rows of a short text, rows spread over a long one."""

SAMPLED_CELLS = 4_000_000
"""Weights sampled for a scale, all heads together: reading them takes a twentieth of a second."""

SPREAD_CELLS = 100_000
"""Weights whose ranks make the equalised scale: 400 a colour; ranking millions would cost every redraw a tenth of a second."""


SEEN = 1.02
"""Times as high a scale must end for its colours to look different."""


def hides_sinks(setting: str, kind: str) -> bool:
    """Whether sinks are left out of the scale; by default in causal models, whose first token receives most of the attention."""
    return setting == "hidden" or (setting == "auto" and kind == "decoder")


def colour_ceiling(values: Array, sinks: Array | None, setting: str, kind: str) -> float:
    """The largest of the values, outside sink columns where these are hidden; 1 where nothing is left."""
    if sinks is not None and hides_sinks(setting, kind) and not sinks.all():
        values = values[..., ~sinks]
    known = values[np.isfinite(values)]
    top = float(known.max()) if known.size else 0.0
    return top if top > 0 else 1.0


class Ceiling(NamedTuple):
    """Where a scale ends."""

    shown: float
    note: str = ""
    """What hiding the sinks has changed, or why it has changed nothing; empty where they are not hidden."""


def ceiling_of(values: Array, sinks: Array, setting: str, kind: str) -> Ceiling:
    """`colour_ceiling`, and what to say of the sinks that are hidden."""
    shown = colour_ceiling(values, sinks, setting, kind)
    if not hides_sinks(setting, kind):
        return Ceiling(shown)
    if not sinks.any():
        return Ceiling(shown, "no sinks in this text: nothing is hidden")
    if sinks.all():
        return Ceiling(shown, "every token is a sink: none is hidden")
    whole = colour_ceiling(values, None, setting, kind)
    if whole > SEEN * shown:
        return Ceiling(shown, f"sinks hidden: with them the scale would end at {whole:.2g}")
    return Ceiling(shown, "hiding the sinks changes no colour: other weights are as large")


def sample_of(trace: Trace, kind: str) -> Array:
    """(head, row, key) weights of all heads of a kind at a few rows spread over the text; made once for a trace."""
    made: Array = trace.once(f"sample {kind}", lambda: _sampled(trace, kind))
    return made


def _sampled(trace: Trace, kind: str) -> Array:
    attention = trace.attention_of(kind)
    heads = len(attention.layers) * attention.n_heads
    rows = max(1, min(SAMPLED_ROWS, attention.n_queries, SAMPLED_CELLS // max(1, heads * attention.n_keys)))
    # Spread over the text, with the last row among them, because in a causal text only that row sees every token.
    chosen = np.unique(np.linspace(attention.n_queries - 1, 0, rows).round().astype(int))
    every = np.arange(attention.n_heads)
    made = np.concatenate([attention.blocks(layer, every, chosen, slice(None)) for layer in range(len(attention.layers))])
    made.setflags(write=False)
    return made


def spread_of(trace: Trace, kind: str) -> Array:
    """Weights as a reader meets them, for the equalised scale: of single cells, and of whole blocks where a text is long.

    Zoomed out a pixel is the largest of many weights. Ranked among single ones all pixels would have the strongest colour.
    """
    made: Array = trace.once(f"spread {kind}", lambda: _spread(trace, kind))
    return made


def _spread(trace: Trace, kind: str) -> Array:
    attention, cells = trace.attention_of(kind), sample_of(trace, kind)
    parts, blocks = [_thinned(cells)], attention.thumbnails
    if blocks is not None and blocks.shape[2:] != (attention.n_queries, attention.n_keys):
        parts.append(_thinned(blocks))
    fewest = min(map(len, parts))
    made = np.concatenate([_thinned(part, fewest) for part in parts])
    made.setflags(write=False)
    return made


def _thinned(values: Array, count: int = SPREAD_CELLS) -> Array:
    """Up to `count` of the known values, evenly spread."""
    known = values[np.isfinite(values)]
    return known[np.linspace(0, len(known) - 1, min(count, len(known))).round().astype(int)]
