"""Attention flow: how much can flow from where a prediction is read to each token, links of attention being pipes.

Every token of every layer is a node, and a link of the layer's mixture (half attention, half residual stream) is a pipe as wide
as its weight. The flow to a token is the largest that these pipes carry there (Abnar & Zuidema 2020), one maximum flow a token.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_flow

from atlas.attribution.flows import Floats, half

RESOLUTION = 1 << 30
"""Whole units of a capacity of 1: scipy counts flow in 32-bit integers, and everything that leaves the source is 1 at most."""

FLOW_TOKENS = 256
"""One maximum flow a token over all links of all layers: of 12 layers a quarter of a second at 64 tokens, 10 seconds at 256, and
more than 2 minutes at 512."""

Report = Callable[[int, int], None]
"""(tokens done, all tokens)"""


class Pipes(NamedTuple):
    """A network of pipes, from one source to the tokens of the text."""

    size: int
    """Nodes; the last of them is the source."""
    start: npt.NDArray[np.int32]
    end: npt.NDArray[np.int32]
    capacity: npt.NDArray[np.float64]
    own: npt.NDArray[np.int32]
    """The nodes of the tokens of the side that predicts."""
    source: npt.NDArray[np.int32]
    """Those of the source, where the predicting stream is a decoder that reads one."""


class _Laying:
    """Pipes while they are laid."""

    def __init__(self) -> None:
        self.size = 0
        self.starts: list[npt.NDArray[np.int32]] = []
        self.ends: list[npt.NDArray[np.int32]] = []
        self.capacities: list[Floats] = []

    def nodes(self, count: int) -> npt.NDArray[np.int32]:
        """New nodes."""
        self.size += count
        return np.arange(self.size - count, self.size, dtype=np.int32)

    def lay(self, starts: npt.NDArray[np.int32], ends: npt.NDArray[np.int32], widths: Floats) -> None:
        """A pipe from each start to each end, (start, end) wide; none where the width is 0."""
        at, to = np.nonzero(widths)
        self.starts.append(starts[at])
        self.ends.append(ends[to])
        self.capacities.append(widths[at, to])

    def stacked(self, below: npt.NDArray[np.int32], step: Floats) -> npt.NDArray[np.int32]:
        """The nodes of the next level, each with pipes down to this one."""
        above = self.nodes(len(step))
        self.lay(above, below, step)
        return above


def pipes(rows: Floats, own: Sequence[Floats], cross: Sequence[Floats] = (), encoder: Sequence[Floats] = ()) -> Pipes:
    """The network over the mean weights of the layers, with a source that feeds position i of the last layer with `rows[i]`.

    The mixture of a layer is that of rollout: half of its attention, and half, and what a row of attention leaves over, from the
    position itself.
    """
    laying = _Laying()
    tokens = top = laying.nodes(len(rows))
    read = ends = laying.nodes(len(encoder[0]) if encoder else 0)
    for weights in encoder:
        ends = laying.stacked(ends, half(weights))
    for layer, weights in enumerate(own):
        top = laying.stacked(top, half(weights))
        if encoder:
            given = cross[layer] / 2
            top = laying.stacked(top, np.diag(1 - given.sum(axis=1)))
            laying.lay(top, ends, given)
    laying.lay(laying.nodes(1), top, np.asarray(rows, dtype=float)[None])
    starts, ends, widths = (np.concatenate(laying.starts), np.concatenate(laying.ends), np.concatenate(laying.capacities))
    return Pipes(laying.size, starts, ends, widths.astype(float), tokens, read)


def flows_to(network: Pipes, sinks: npt.NDArray[np.int32], report: Report | None = None) -> Floats:
    """The maximum flow from the source to each of some nodes, each by itself; `RESOLUTION` says how exact."""
    units = np.round(network.capacity * RESOLUTION).astype(np.int32)
    graph = csr_array((units, (network.start, network.end)), shape=(network.size, network.size))
    found = np.zeros(len(sinks))
    for at, sink in enumerate(sinks.tolist()):
        found[at] = maximum_flow(graph, network.size - 1, sink).flow_value / RESOLUTION
        if report is not None:
            report(at + 1, len(sinks))
    return found
