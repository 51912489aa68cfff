"""A warm start: the first run and the first drawing made before anybody waits for them."""

from __future__ import annotations

from atlas.plots.raster import Viewport
from atlas.plots.sheet import mosaic, overview
from atlas.state.ceilings import sample_of
from atlas.state.opening import Opening
from atlas.state.pipeline import Ticket, Work
from atlas.trace import Trace

PIXELS = 4
"""Pixels a head is drawn with: fewer than its thumbnail has cells, so that it is Datashader that draws and is compiled."""


def warmed(work: Work, first: Opening) -> Trace:
    """Run what pages open with, and draw every kind of it once: models are loaded and drawing compiled from then on."""
    trace = work(first.job(), Ticket())
    for kind in trace.kinds:
        layers, heads = trace.n_layers(kind), trace.n_heads(kind)
        small = trace.attention_of(kind).thumbnails
        if small is not None:
            overview(mosaic(small), Viewport(0.0, heads, 0.0, layers, PIXELS * heads, PIXELS * layers))
        sample_of(trace, kind)
    return trace
