"""A circuit as a layered graph: heads where the Map has their columns, layers upwards, and a line for each edge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import holoviews as hv
import numpy as np
import numpy.typing as npt
import pandas as pd
from bokeh.core.properties import field

from atlas.plots.arrows import DASHES
from atlas.plots.colours import BLUE, CIRCLE, SKY, Category, diverging, theme
from atlas.plots.frame import Hook, frame, tooltip
from atlas.plots.influence import NODES, named
from atlas.plots.signed_bars import STRONG

Floats = npt.NDArray[np.float64]

HEIGHT = 460
"""Pixels."""

EVERY_LAYER = 12
"""Layers up to which each has its row, drawn or not; of more, only those with a node."""

NAMED_COLUMNS = 12
"""Heads a layer up to which nodes are named; more names would touch."""

MOST_TICKS = 25

DASH_OF = {"query": DASHES["q"], "key": DASHES["k"], "value": DASHES["v"]}
"""Input -> how its line is broken, as arrows on the Map are."""

BENDS = {"query": -1.0, "key": 0.35, "value": 1.0}
"""Input -> to which side its line bends: two heads may be joined by all three."""

BEND, BEND_OF_LAYER = 0.018, 0.022
"""How far, as a share of the plot's width: of every line, and more for each layer that it passes, whose heads lie in its way."""

POINTS = 9
"""Points of a line."""

WIDTHS = (1.0, 7.0)
"""Pixels of the weakest and of the strongest edge."""

FAINT, CLEAR = 0.12, 0.85
"""How opaque an edge is that does not belong to the selected heads, and one that does."""

END = 0.22
"""How far from the middle of its node a line ends, in rows."""

NODE, BACKING = 13.0, 20.0
"""Pixels of a node, and of the frame of the one shown large."""

BELOW = 0.3
"""How far below its node a name stands, in rows."""

FED = 0.5
"""How far above its heads the feed-forward block of a layer stands, in rows."""

ASPECT = 2.2
"""Width of the plot by its height, about; a tap is measured in shares of the height."""

NODE_REACH, EDGE_REACH = 0.035, 0.03
"""How far from a node or an edge a tap may be, as a share of the height: some 15 pixels."""

HEAD = "head"

NO_LINE = {"colour": "#000000", "width": 1.0, "alpha": 0.0, "dash": "", "sign": "", "name": "", "about": ""}
"""Where nothing is drawn: HoloViews sends an empty column of numbers for colours, with which a browser stops drawing the page."""


class Node(NamedTuple):
    """One part of the model."""

    what: str
    """'embedding', 'head' or 'feed-forward'."""
    layer: int
    """-1 of the embeddings."""
    head: int
    name: str
    about: str


class Edge(NamedTuple):
    """From one node to another, by their places in the list."""

    start: int
    end: int
    into: str
    effect: float
    name: str
    about: str


class Drawing(NamedTuple):
    """The graph and where its nodes are."""

    nodes: Sequence[Node]
    edges: Sequence[Edge]
    x: Floats
    y: Floats
    columns: int
    """Heads of a layer."""
    rows: Mapping[float, str]
    """Height -> the layer there."""

    @property
    def top(self) -> float:
        """The highest row."""
        return max([1.0, *self.rows, *self.y])


def placed(nodes: Sequence[Node], edges: Sequence[Edge], n_layers: int, n_heads: int) -> Drawing:
    """A head stands in the column that the Map has it in; embeddings and feed-forward blocks in the middle."""
    used = sorted({node.layer for node in nodes if node.layer >= 0})
    shown = list(range(n_layers)) if n_layers <= EVERY_LAYER else used
    row = {layer: at + 1.0 for at, layer in enumerate(shown)} | {-1: 0.0}
    middle = (n_heads - 1) / 2
    x = np.array([node.head if node.what == HEAD else middle for node in nodes], dtype=float)
    y = np.array([row[node.layer] + (FED if node.what == "feed-forward" else 0.0) for node in nodes], dtype=float)
    rows = {0.0: "input"} | {row[layer]: f"L{layer}" for layer in shown}
    return Drawing(nodes, edges, x, y, n_heads, rows)


def lines(drawing: Drawing) -> Floats:
    """(edge, point, 2) the line of every edge."""
    start, end = ([getattr(edge, name) for edge in drawing.edges] for name in ("start", "end"))
    first, last = (np.stack([drawing.x[at], drawing.y[at]], axis=1).reshape(-1, 2) for at in (start, end))
    wide = max(drawing.columns, 2)
    high = np.maximum(last[:, 1] - first[:, 1], 0.5)
    side = np.array([BENDS[edge.into] for edge in drawing.edges])
    bend = (first + last) / 2
    bend[:, 0] += side * wide * (BEND + BEND_OF_LAYER * high) * 2
    # Across, a column is as many rows wide as the plot's shape makes it, or level lines would end far from their nodes.
    length = np.hypot((last[:, 0] - first[:, 0]) * ASPECT * (drawing.top + 1) / wide, high)
    until = 1 - END / np.maximum(length, 2 * END)
    t = until[:, None] * np.linspace(0, 1, POINTS)
    t = t[..., None]
    found: Floats = (1 - t) ** 2 * first[:, None] + 2 * t * (1 - t) * bend[:, None] + t**2 * last[:, None]
    return found


def circuit_graph(
    drawing: Drawing, lit: Sequence[bool], marks: Mapping[str, Sequence[Any]], *, dark: bool = False,
    hooks: Mapping[str, Sequence[Hook]] | None = None,
) -> hv.Overlay:  # fmt: skip
    """The graph; `lit`: which edges stand out, `marks`: columns of `node_marks`, `hooks`: of 'edges', 'ends' and 'nodes'."""
    around, hear = theme(dark=dark), hooks or {}
    low = -0.45 if any(node.layer < 0 for node in drawing.nodes) else 0.45
    shared = frame(
        dark=dark, x_label="head", y_label="layer", x_range=(-0.7, max(drawing.columns, 2) - 0.3),
        y_range=(low, drawing.top + 0.55), height=HEIGHT,
    )  # fmt: skip
    order = np.argsort([abs(edge.effect) for edge in drawing.edges], kind="stable")
    paths, columns = lines(drawing)[order], edge_columns(drawing, lit, dark=dark)
    hover: dict[str, Any] = {"tools": ["hover"], "hover_tooltips": tooltip("name", "about")}

    def look(name: str, *hooks: Hook) -> dict[str, Any]:
        return shared | hover | {"hooks": [*shared["hooks"], *hooks, *hear.get(name, ())]}

    drawn_lines = [
        {"x": path[:, 0].astype(np.float32), "y": path[:, 1].astype(np.float32)}
        | {name: values[at] for name, values in columns.items()}
        for at, path in enumerate(paths)
    ]
    # Not `hv.Path`, which makes a line of its own of every piece where lines have values.
    drawn = hv.Contours(
        drawn_lines or [{"x": [np.nan, np.nan], "y": [np.nan, np.nan], **NO_LINE}],
        ["x", "y"],
        list(columns),
    ).opts(**look("edges", _look_of_edges), show_legend=False)
    tips = paths[:, -1] if len(paths) else np.empty((0, 2))
    at_end = {name: columns[name] for name in ("colour", "alpha", "sign", "name", "about")}
    ends = hv.Points(_table(tips[:, 0], tips[:, 1], at_end), ["x", "y"], list(at_end)).opts(**look("ends", _look_of_ends))
    nodes = node_columns(drawing, dark=dark) | {name: list(values) for name, values in marks.items()}
    points = hv.Points(_table(drawing.x, drawing.y, nodes), ["x", "y"], list(nodes)).opts(**look("nodes", _look_of_nodes))
    words = [(x, y - BELOW, node.name) for x, y, node in zip(drawing.x, drawing.y, drawing.nodes, strict=True)]
    words = words if drawing.columns <= NAMED_COLUMNS else []
    names = hv.Labels(pd.DataFrame(words, columns=["x", "y", "text"]), ["x", "y"], "text").opts(
        text_color=around.muted, text_font_size="8pt", **shared
    )
    ticks = {float(at): str(at) for at in range(0, drawing.columns, max(1, -(-drawing.columns // MOST_TICKS)))}
    axes = [*shared["hooks"], named(ticks, dict(drawing.rows)), _upright]
    tools = ["pan", "wheel_zoom", "reset"]
    return hv.Overlay([drawn, ends, points, names]).opts(**shared | {"hooks": axes, "default_tools": tools}, show_legend=False)


def _table(x: Floats, y: Floats, columns: Mapping[str, Sequence[Any]]) -> pd.DataFrame:
    """Marks with their columns; as objects, because a browser takes no empty column of numbers for colours."""
    return pd.DataFrame({"x": x, "y": y} | {name: pd.Series(list(values), dtype=object) for name, values in columns.items()})


def node_columns(drawing: Drawing, *, dark: bool = False) -> dict[str, list[Any]]:
    """Colour, shape and words of the nodes."""
    fill = {kind: how.colour for kind, how in NODES.items()} | {HEAD: SKY if dark else BLUE}
    return {
        "colour": [fill[node.what] for node in drawing.nodes],
        "marker": [(CIRCLE if node.what == HEAD else NODES[node.what].mark).marker for node in drawing.nodes],
        "name": [node.name for node in drawing.nodes],
        "about": [node.about for node in drawing.nodes],
    }


def sign_colours(*, dark: bool) -> tuple[str, str]:
    """Of effects below and above 0."""
    colours = diverging(dark=dark)
    at = int(STRONG * len(colours))
    return colours[at], colours[-1 - at]


def edge_columns(drawing: Drawing, lit: Sequence[bool], *, dark: bool = False) -> dict[str, list[Any]]:
    """The columns of the edges, the strongest last, so that it is drawn on top."""
    against, speaks = sign_colours(dark=dark)
    order = sorted(range(len(drawing.edges)), key=lambda at: abs(drawing.edges[at].effect))
    edges = [drawing.edges[at] for at in order]
    largest = max((abs(edge.effect) for edge in edges), default=1.0) or 1.0
    widths = [WIDTHS[0] + (WIDTHS[1] - WIDTHS[0]) * abs(edge.effect) / largest for edge in edges]
    return {
        "colour": [speaks if edge.effect > 0 else against for edge in edges],
        "width": widths,
        "alpha": [CLEAR if lit[at] else FAINT for at in order],
        "dash": [
            " ".join(str(max(2, round(part * width))) for part in DASH_OF[edge.into])
            for edge, width in zip(edges, widths, strict=True)
        ],
        "sign": ["triangle" if edge.effect > 0 else "dash" for edge in edges],
        "name": [edge.name for edge in edges],
        "about": [edge.about for edge in edges],
    }


def node_marks(selected: Sequence[bool], focused: Sequence[bool], *, dark: bool = False) -> dict[str, list[Any]]:
    """Columns of the nodes: a selected head has a thick frame, the one shown large is larger, too."""
    around = theme(dark=dark)
    return {
        "rim": [around.accent if each else around.paper for each in selected],
        "thick": [3.0 if each else 1.0 for each in selected],
        "size": [BACKING if each else NODE for each in focused],
    }


def _look_of_edges(plot: Any, _: Any) -> None:
    renderer = plot.handles["glyph_renderer"]
    # By `field`, because Bokeh takes a plain string here for a pattern.
    renderer.glyph.update(line_color="colour", line_width="width", line_alpha="alpha", line_dash=field("dash"), line_cap="butt")


def _look_of_ends(plot: Any, _: Any) -> None:
    plot.handles["glyph_renderer"].glyph.update(
        fill_color="colour", line_color="colour", fill_alpha="alpha", line_alpha="alpha", marker=field("sign"), size=11.0,
        line_width=3.0,
    )  # fmt: skip


def _look_of_nodes(plot: Any, _: Any) -> None:
    plot.handles["glyph_renderer"].glyph.update(
        fill_color="colour", line_color="rim", line_width="thick", marker=field("marker"), size="size"
    )


def _upright(plot: Any, _: Any) -> None:
    plot.state.xaxis.major_label_orientation = 0.0


def tapped(drawing: Drawing, x: float, y: float) -> tuple[int, int]:
    """(node, edge) at a place on the plot, -1 for none; a node hides the edges under it."""
    if not len(drawing.x):
        return -1, -1
    scale = np.array([ASPECT / max(drawing.columns, 2), 1 / (drawing.top + 1)])
    at = np.array([x, y]) * scale
    away = np.hypot(*(np.stack([drawing.x, drawing.y], axis=1) * scale - at).T)
    if away.min() <= NODE_REACH:
        return int(away.argmin()), -1
    if not drawing.edges:
        return -1, -1
    paths = lines(drawing) * scale
    start, along = paths[:, :-1], np.diff(paths, axis=1)
    share = np.clip(((at - start) * along).sum(-1) / np.maximum((along**2).sum(-1), 1e-12), 0, 1)
    away = np.linalg.norm(start + share[..., None] * along - at, axis=-1).min(axis=1)
    near = np.flatnonzero(away <= away.min() + EDGE_REACH / 6)
    # Of several edges that cross there, the one that is drawn on top.
    best = max(near.tolist(), key=lambda at: abs(drawing.edges[at].effect))
    return (-1, best) if away.min() <= EDGE_REACH else (-1, -1)


def key_of_parts(kinds: set[str], *, dark: bool = False) -> list[tuple[str, Category]]:
    """The marks of the kinds of node that are drawn."""
    every = {HEAD: Category(SKY if dark else BLUE, CIRCLE)} | {what: NODES[what] for what in ("feed-forward", "embedding")}
    return [(what, how) for what, how in every.items() if what in kinds]
