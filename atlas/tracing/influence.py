"""Who influenced a token through all layers: the strongest paths into it as a graph, and the influence of every input token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from atlas.errors import NotCaptured, TooLarge, UnknownName
from atlas.ids import stream_of
from atlas.metrics import influence as formulas
from atlas.metrics.influence import Paths, Step, reached, strongest_heads, strongest_paths, trace_back
from atlas.tracing.mixing import (
    CONTRIBUTION,
    METHODS,
    ROLLOUT,
    Report,
    attention_block,
    steps,
    streams_of,
    tokens_of,
)
from atlas.tracing.state_parts import block_shares
from atlas.tracing.stream_writes import FEED_FORWARD

if TYPE_CHECKING:
    import pandas as pd

    from atlas.trace import Trace

Array = np.ndarray

NO_HEAD = formulas.NO_HEAD
"""For those who may not import the metrics."""

EDGES_A_LAYER = 2_000
"""Edges of a layer in a graph at most: more than a reader can follow, and all of them for texts of up to 44 tokens."""

__all__ = [
    "CONTRIBUTION",
    "METHODS",
    "ROLLOUT",
    "Graph",
    "Influence",
    "NodeKey",
    "NodePart",
    "graph",
    "head_of_edge",
    "influence",
    "node_parts",
    "totals",
]


class NodeKey(NamedTuple):
    """A token at a level of a stream: level 0 is before the first layer."""

    kind: str
    level: int
    token: int


class NodePart(NamedTuple):
    """What no other token wrote of a token of a graph: an embedding, or the feed-forward block of the layer before it."""

    node: NodeKey
    part: str
    share: float
    """Of the token at this level."""
    flow: float
    """`share` times the token's share of the influence that is shown."""


@dataclass(frozen=True, eq=False)
class Graph:
    """The strongest paths into a token, and where its parts are among the tokens of all streams."""

    method: str
    root: NodeKey
    steps: tuple[Step, ...]
    starts: dict[str, int]
    """Stream -> position of its first token among those of all streams."""
    paths: Paths
    exact: Array
    """(level, position): influence of every token on the root along all paths, kept or not."""

    def node(self, level: int, position: int) -> NodeKey:
        """The token at a position, at the level of all layers together."""
        kind = max((stream for stream in self.starts if self.starts[stream] <= position), key=self.starts.__getitem__)
        return NodeKey(kind, self.level_in_stream(kind, level), position - self.starts[kind])

    def level_in_stream(self, kind: str, level: int) -> int:
        """A level of all layers together as a level of one stream: an encoder's last states wait while the decoder reads them."""
        first = next(at for at, step in enumerate(self.steps) if step.kind == kind)
        n_layers = sum(step.kind == kind for step in self.steps)
        return min(max(level - first, 0), n_layers)

    def nodes(self) -> list[tuple[NodeKey, float, float]]:
        """(node, share of the shown influence, influence along all paths), from the root down; every token of a level once."""
        found: dict[NodeKey, tuple[float, float]] = {}
        levels = self.paths.levels
        for level in range(len(levels) - 1, -1, -1):
            for position in np.flatnonzero(levels[level]):
                # The states of a stream that waits grow, from level to level, until its own layers begin.
                found[self.node(level, int(position))] = float(levels[level, position]), float(self.exact[level, position])
        return [(node, *shares) for node, shares in found.items()]

    def ends(self, edge: int) -> tuple[NodeKey, NodeKey]:
        """Where an edge leads to, and where it comes from."""
        edges = self.paths.edges
        at = int(edges.step[edge])
        return self.node(at + 1, int(edges.to[edge])), self.node(at, int(edges.fro[edge]))

    def crosses(self, edge: int) -> bool:
        """Whether an edge reads the source through cross-attention."""
        edges = self.paths.edges
        return bool(edges.fro[edge] < self.steps[int(edges.step[edge])].start)


@dataclass(frozen=True, eq=False)
class Influence:
    """Who influenced a token.

    Attributes
    ----------
    root
        The token: kind, level (the number of layers) and position.
    nodes
        kind, layer (0: before the first), token, share (of the influence that is shown; a layer sums to 1) and influence (along
        all paths, shown or not).
    edges
        kind, layer, from, to, share (of what `to` is made of, rescaled so that the kept edges of a `to` sum to 1), contribution
        (the same before that), flow (share of the shown influence that passes here) and head (the strongest; -1: none).
    tokens
        side, token, influence (along all paths; the column sums to 1) and influence_uniform (the same where every token takes
        evenly from all it may look at). NaN for tokens that may not reach the root.
    kept
        Influence that the shown paths carry, of 1.
    left_out
        Edges that are not shown.
    notes
        What to know when reading the numbers.
    """

    method: str
    root: NodeKey
    nodes: pd.DataFrame
    edges: pd.DataFrame
    parts: pd.DataFrame
    tokens: pd.DataFrame
    kept: float
    left_out: int
    notes: tuple[str, ...]


def influence(
    trace: Trace,
    token: int,
    method: str = CONTRIBUTION,
    kind: str | None = None,
    mass: float = 0.8,
    most: int = EDGES_A_LAYER,
) -> Influence:
    """Who made a token what it is after the last layer, through all layers, the residual stream included.

    Parameters
    ----------
    trace
        One run of a model.
    token
        Position of the token; negative positions count from the end.
    method
        'contribution' (ALTI, Ferrando et al. 2022), 'rollout' (Abnar & Zuidema 2020) or 'value_zeroing' (Mohebbi et al. 2023,
        which runs the text once for every token).
    kind
        Whose token it is: 'encoder', 'decoder', or 'cross' for the decoder's. It may be left out where there is one kind. The
        decoder of an encoder-decoder is followed through its cross-attention into the encoder.
    mass
        Share of the influence that the shown paths carry, up to 1.
    most
        Edges of a layer at most; where they do not carry `mass`, `kept` says how much they do.
    """
    stream = stream_of(trace.attention_of(kind).kind)
    found = graph(trace, token, method, stream, mass, most)
    notes = list(notes_of(found))
    try:
        parts = node_parts(trace, found)
    except (NotCaptured, TooLarge) as error:
        parts = []
        notes.append(str(error))
    return Influence(
        method,
        found.root,
        nodes_table(found),
        edges_table(trace, found),
        parts_table(parts),
        tokens_table(trace, found),
        found.paths.kept,
        int(found.paths.left_out.sum()),
        tuple(notes),
    )


def graph(
    trace: Trace,
    token: int,
    method: str = CONTRIBUTION,
    stream: str = "decoder",
    mass: float = 0.8,
    most: int = EDGES_A_LAYER,
    report: Report | None = None,
) -> Graph:
    """The strongest paths into a token of a stream."""
    if not 0 < mass <= 1:
        msg = f"mass= is the share of the influence to show, above 0 and up to 1, not {mass!r}."
        raise UnknownName(msg)
    made = steps(trace, method, stream, report)
    starts, size = _starts(trace, stream)
    at = _position(token, tokens_of(trace, stream))
    root = starts[stream] + at
    paths = strongest_paths(made, root, size, mass=mass, most=most)
    return Graph(method, NodeKey(stream, trace.n_layers(stream), at), made, starts, paths, trace_back(made, root, size))


class Totals(NamedTuple):
    """Influence of the input tokens of one stream on the root."""

    kind: str
    influence: Array
    """(token,); NaN where the masks let nothing of a token reach the root."""
    even: Array
    """The same for uniform attention."""


def totals(trace: Trace, token: int, method: str, stream: str, report: Report | None = None) -> tuple[Totals, ...]:
    """Influence of every input token on a token after the last layer, of every stream that takes part."""
    made = steps(trace, method, stream, report)
    starts, size = _starts(trace, stream)
    root = starts[stream] + _position(token, tokens_of(trace, stream))
    exact, even = trace_back(made, root, size)[0], trace_back(made, root, size, even=True)[0]
    could = reached(made, root, size)[0]
    parts = {kind: slice(start, start + tokens_of(trace, kind)) for kind, start in starts.items()}
    return tuple(
        Totals(kind, np.where(could[part], exact[part], np.nan), np.where(could[part], even[part], np.nan))
        for kind, part in parts.items()
    )


def head_of_edge(trace: Trace, found: Graph, edge: int) -> tuple[str, int, int]:
    """(kind, layer, head) of the head that makes most of an edge; `NO_HEAD` where no head looks there."""
    edges = found.paths.edges
    step = found.steps[int(edges.step[edge])]
    kind = "cross" if found.crosses(edge) else step.kind
    heads = _heads(trace, found, kind, step, np.array([edge]))
    return kind, step.layer, int(heads[0])


def node_parts(trace: Trace, found: Graph) -> list[NodePart]:
    """The embeddings and feed-forward blocks of the tokens of a graph, the largest first; none by weights alone."""
    if found.method != CONTRIBUTION:
        return []
    shares = block_shares(trace, tuple(found.starts))
    parts = []
    for node, shown, _ in found.nodes():
        own = {FEED_FORWARD: shares.feed_forward[node.kind, node.level - 1]} if node.level else shares.inputs[node.kind]
        parts += [NodePart(node, part, float(each[node.token]), float(each[node.token]) * shown) for part, each in own.items()]
    return sorted(parts, key=lambda part: -part.flow)


def parts_table(parts: list[NodePart]) -> pd.DataFrame:
    """The same as a table."""
    import pandas as pd

    rows = [(*each.node, each.part, each.share, each.flow) for each in parts]
    return pd.DataFrame(rows, columns=["kind", "layer", "token", "part", "share", "flow"])


def nodes_table(found: Graph) -> pd.DataFrame:
    """The tokens of the graph, from the root down."""
    import pandas as pd

    rows = [(node.kind, node.level, node.token, share, exact) for node, share, exact in found.nodes()]
    return pd.DataFrame(rows, columns=["kind", "layer", "token", "share", "influence"])


def edges_table(trace: Trace, found: Graph) -> pd.DataFrame:
    """The edges of the graph, from the last layer to the first, each with its strongest head."""
    import pandas as pd

    edges = found.paths.edges
    starts = np.array([step.start for step in found.steps])[edges.step]
    crosses = edges.fro < starts
    kinds = np.array([step.kind for step in found.steps], dtype=object)[edges.step]
    table = pd.DataFrame(
        {
            "kind": np.where(crosses, "cross", kinds),
            "layer": np.array([step.layer for step in found.steps])[edges.step],
            "from": edges.fro - np.where(crosses, 0, starts),
            "to": edges.to - starts,
            "share": edges.share,
            "contribution": edges.contribution,
            "flow": edges.flow,
            "head": NO_HEAD,
        }
    )
    for at, step in enumerate(found.steps):
        for kind, mine in ((step.kind, ~crosses), ("cross", crosses)):
            rows = np.flatnonzero((edges.step == at) & mine)
            if len(rows):
                table.loc[rows, "head"] = _heads(trace, found, kind, step, rows)
    return table


def tokens_table(trace: Trace, found: Graph) -> pd.DataFrame:
    """The influence of every input token, by side."""
    import pandas as pd

    parts = []
    for each in totals(trace, found.root.token, found.method, found.root.kind):
        side = trace.side(each.kind, "query")
        columns = {"side": side, "token": np.arange(len(each.influence)), "influence": each.influence}
        parts.append(pd.DataFrame(columns | {"influence_uniform": each.even}))
    return pd.concat(parts, ignore_index=True)


def notes_of(found: Graph) -> tuple[str, ...]:
    """What to know when reading the numbers of a graph."""
    left_out = int(found.paths.left_out.sum())
    notes = []
    if left_out:
        notes.append(
            f"The paths that are shown carry {found.paths.kept:.3g} of the influence; {left_out:,} weaker edges are left out, "
            "and the shares of each token are rescaled to sum to 1 without them."
        )
    if found.method == CONTRIBUTION:
        notes.append(
            "Feed-forward blocks change each token by itself, so they pass on its shares as they are; `parts` says how much of a "
            "token they wrote."
        )
    return tuple(notes)


def _heads(trace: Trace, found: Graph, kind: str, step: Step, rows: Array) -> Array:
    edges = found.paths.edges
    to, fro = edges.to[rows] - step.start, edges.fro[rows] - (0 if kind == "cross" else step.start)
    if found.method == CONTRIBUTION:
        block = attention_block(trace, kind, step.layer)
        return strongest_heads(block.weights, block.values, block.projection, block.output, to, fro)
    attention = trace.attention_of(kind)
    best, heaviest = np.full(len(rows), NO_HEAD, dtype=np.int64), np.zeros(len(rows), dtype=np.float32)
    for head in range(attention.n_heads):
        if head not in attention.layers[step.layer].replaced:
            weights = np.nan_to_num(attention.block(step.layer, head)[to, fro])
            best, heaviest = np.where(weights > heaviest, head, best), np.maximum(weights, heaviest)
    return best


def _starts(trace: Trace, stream: str) -> tuple[dict[str, int], int]:
    """Where each stream's tokens begin among those of all streams, and how many there are."""
    starts, size = {}, 0
    for each in streams_of(trace, stream):
        starts[each], size = size, size + tokens_of(trace, each)
    return starts, size


def _position(token: int, size: int) -> int:
    if not isinstance(token, int | np.integer) or not -size <= token < size:
        msg = f"There is no token {token!r}: there are {size}, counted from 0."
        raise UnknownName(msg)
    return int(token) % size
