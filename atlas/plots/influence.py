"""Influence as a layered graph (tokens across, layers upwards) and as bars over the text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import holoviews as hv
import numpy as np
import numpy.typing as npt
import pandas as pd
from bokeh.models import FixedTicker

from atlas.plots.colours import (
    BLUE,
    CIRCLE,
    DIAMOND,
    GREEN,
    GREY,
    INVERTED_TRIANGLE,
    ORANGE,
    PLUS,
    PURPLE,
    SKY,
    SQUARE,
    TRIANGLE,
    YELLOW,
    Category,
    coloured,
    sequential,
    theme,
)
from atlas.plots.frame import Hook, frame, tooltip
from atlas.plots.oklab import mixed

Floats = npt.NDArray[np.float64]

GRAPH_HEIGHT, STRIP_HEIGHT = 430, 190
"""Pixels."""

NODE_SIZES = (4.0, 22.0)
"""Diameters in pixels of a token without influence and of one that has all of it; the area grows with the share."""

EDGE_WIDTHS = (0.6, 9.0)
"""Pixels, in proportion to what passes."""

FAINTEST = 0.18
"""Colour of the faintest edge on the scale of magnitude, which begins at the colour of the paper."""

MOST_NAMES = 56
"""Names along an axis; with more tokens every k-th has one."""

SLANT = 1.05
"""Angle of names, in radians."""

ASPECT = 2.6
"""Width of the graph by its height, about; a tap is measured in shares of the height."""

NODE_REACH, EDGE_REACH = 0.035, 0.03
"""How far from a token or an edge a tap may be, as a share of the height: some 14 pixels."""

BAR, ROW = 0.8, 1.0
"""Width of a bar in tokens; height of a row of bars, of which the longest bar takes `BAR`."""


STATE = "token"

NODES: Mapping[str, Category] = MappingProxyType({
    STATE: Category(BLUE, CIRCLE),
    "feed-forward": Category(GREEN, SQUARE),
    "token embedding": Category(ORANGE, TRIANGLE),
    "position embedding": Category(PURPLE, DIAMOND),
    "segment embedding": Category(YELLOW, INVERTED_TRIANGLE),
    "embedding": Category(ORANGE, INVERTED_TRIANGLE),
    "biases": Category(GREY, PLUS),
})  # fmt: skip
"""Kinds of node: a token after a layer, and what may write a part of it."""

EMBEDDED, FED = -0.68, (0.3, -0.36)
"""Where the nodes of embeddings are below their token, and that of a feed-forward block is beside it, in rows and columns."""

BESIDE = 0.24
"""Distance between the embeddings of one token, in columns."""


class GraphDrawing(NamedTuple):
    """A graph as plain numbers. A token is a column, a level a row, the last layer at the top."""

    node_x: Floats
    node_y: Floats
    share: Floats
    """Of the shown influence, of every node."""
    node_about: Sequence[str]
    """Two lines: whose node it is, and its numbers."""
    root: int
    """Index of the node that the others influence."""
    edge_to: npt.NDArray[np.int64]
    """Index of the upper node of every edge."""
    edge_from: npt.NDArray[np.int64]
    flow: Floats
    """Share of the shown influence that passes an edge."""
    edge_about: Sequence[str]
    columns: Sequence[str]
    """Names of the tokens across, '' for a gap."""
    rows: Sequence[str]
    """Names of the levels upwards."""
    kinds: Sequence[str] = ()
    """The kind of every node, of those in `NODES`; empty: all are tokens."""


class StripRow(NamedTuple):
    """The influence of all input tokens by one method; NaN for tokens that may not reach the root."""

    title: str
    values: Floats
    even: Floats
    """For uniform attention."""


def influence_graph(drawing: GraphDrawing, *, dark: bool = False, hooks: Sequence[Hook] = ()) -> hv.Overlay:
    """The graph; `hooks` are hooks of the nodes."""
    around, ramp = theme(dark=dark), sequential(dark=dark)
    shared = frame(
        dark=dark,
        x_label="",
        y_label="",
        x_range=(-0.8, max(len(drawing.columns), 2) - 0.2),
        y_range=(-1.0 if set(drawing.kinds) - {STATE} else -0.45, max(len(drawing.rows), 2) - 0.55),
        height=GRAPH_HEIGHT,
    )
    edges = edge_columns(drawing, ramp)
    kinds = drawing.kinds or [STATE] * len(drawing.share)
    fill = {kind: how.colour for kind, how in NODES.items()} | {STATE: SKY if dark else BLUE}
    nodes = pd.DataFrame({
        "x": drawing.node_x,
        "y": drawing.node_y,
        "size": NODE_SIZES[0] + (NODE_SIZES[1] - NODE_SIZES[0]) * np.sqrt(drawing.share),
        "colour": [around.accent if at == drawing.root else fill[kind] for at, kind in enumerate(kinds)],
        "marker": [NODES[kind].marker for kind in kinds],
        "label": [about.partition("\n")[0] for about in drawing.node_about],
        "about": [about.partition("\n")[2] for about in drawing.node_about],
    })  # fmt: skip
    edges = with_column_of(edges, ["x0", "y0", "x1", "y1"], width=EDGE_WIDTHS, colour=(ramp[0], ramp[-1]))
    nodes = with_column_of(
        nodes, ["x", "y"], size=NODE_SIZES, colour=(around.accent, around.muted), marker=(CIRCLE.marker, SQUARE.marker)
    )
    lines = hv.Segments(edges, ["x0", "y0", "x1", "y1"], ["width", "colour", "upper", "lower"]).opts(
        color="colour", line_width="width", line_cap="round", tools=["hover"], hover_tooltips=tooltip("upper", "lower"),
        **shared,
    )  # fmt: skip
    points = hv.Points(nodes, ["x", "y"], ["size", "colour", "marker", "label", "about"]).opts(
        color="colour", marker="marker", size="size", line_color=around.paper, line_width=1.0, tools=["hover"],
        hover_tooltips=tooltip("label", "about"), **(shared | {"hooks": [*shared["hooks"], *hooks]}),
    )  # fmt: skip
    columns, rows = _names(drawing.columns), dict(enumerate(drawing.rows))
    return hv.Overlay([lines, points]).opts(
        **(
            shared
            | {
                "hooks": [*shared["hooks"], named(columns, {float(at): name for at, name in rows.items()})],
                "default_tools": ["pan", "reset"],
            }
        ),
        show_legend=False,
    )


def edge_columns(drawing: GraphDrawing, ramp: Sequence[str]) -> pd.DataFrame:
    """The columns of the edges, the strongest last, so that it is drawn on top."""
    order = np.argsort(drawing.flow, kind="stable")
    to, fro, flow = drawing.edge_to[order], drawing.edge_from[order], drawing.flow[order]
    strength = FAINTEST + (1 - FAINTEST) * np.sqrt(flow)
    about = [drawing.edge_about[at].partition("\n") for at in order]
    return pd.DataFrame({
        "x0": drawing.node_x[fro].astype(np.float32),
        "y0": drawing.node_y[fro].astype(np.float32),
        "x1": drawing.node_x[to].astype(np.float32),
        "y1": drawing.node_y[to].astype(np.float32),
        "width": (EDGE_WIDTHS[0] + (EDGE_WIDTHS[1] - EDGE_WIDTHS[0]) * flow).astype(np.float32),
        "colour": coloured(strength, (0.0, 1.0), ramp, ramp[0]),
        "upper": [each[0] for each in about],
        "lower": [each[2] for each in about],
    })  # fmt: skip


def with_column_of(data: pd.DataFrame, place: Sequence[str], **styles: tuple[Any, Any]) -> pd.DataFrame:
    """The marks, and two that are nowhere and differ in every style.

    HoloViews makes no column for a style that is the same in all marks; a plot that was drawn with such a column, or without
    marks, then looks for it in vain when the data change.
    """
    nowhere = pd.DataFrame({name: list(styles.get(name, ("", ""))) for name in data.columns if name not in place})
    nowhere = nowhere.assign(**{name: np.float32(np.nan) for name in place})[list(data.columns)]
    return nowhere if not len(data) else pd.concat([nowhere, data], ignore_index=True)


def tapped(drawing: GraphDrawing, x: float, y: float) -> tuple[int, int]:
    """(node, edge) at a place on the plot, -1 for none; a node hides the edges under it."""
    if not len(drawing.node_x):
        return -1, -1
    wide, high = ASPECT / max(len(drawing.columns), 2), 1 / max(len(drawing.rows), 2)
    node_x, node_y, at = drawing.node_x * wide, drawing.node_y * high, np.array([x * wide, y * high])
    away = np.hypot(node_x - at[0], node_y - at[1])
    if away.min() <= NODE_REACH:
        return int(away.argmin()), -1
    if not len(drawing.flow):
        return -1, -1
    start = np.stack([node_x[drawing.edge_from], node_y[drawing.edge_from]], axis=1)
    along = np.stack([node_x[drawing.edge_to], node_y[drawing.edge_to]], axis=1) - start
    share = np.clip(((at - start) * along).sum(axis=1) / np.maximum((along**2).sum(axis=1), 1e-12), 0, 1)
    away = np.linalg.norm(start + share[:, None] * along - at, axis=1)
    near = np.flatnonzero(away <= away.min() + EDGE_REACH / 6)
    # Of several edges that cross there, the one that is drawn on top.
    best = int(near[drawing.flow[near].argmax()])
    return (-1, best) if away.min() <= EDGE_REACH else (-1, -1)


def influence_strip(
    rows: Sequence[StripRow], names: Sequence[str], root: int, *, dark: bool = False, hooks: Sequence[Hook] = ()
) -> hv.Overlay:
    """Bars over the text, a row for each method; a short line across each bar: uniform attention. `root` has another colour."""
    around = theme(dark=dark)
    shared = frame(
        dark=dark, x_label="", y_label="", x_range=(-0.8, max(len(names), 2) - 0.2), y_range=(-0.06, max(len(rows), 1) * ROW),
        height=STRIP_HEIGHT,
    )  # fmt: skip
    bars, chance, out = strip_columns(rows, names)
    fill = SKY if dark else BLUE
    bars["colour"] = [around.accent if at == root else fill for at in bars["token"]]
    bars = with_column_of(bars.drop(columns="token"), ["x0", "y0", "x1", "y1"], colour=(around.accent, around.muted))
    drawn = hv.Rectangles(bars, ["x0", "y0", "x1", "y1"], ["colour", "label", "about"]).opts(
        color="colour", line_alpha=0.0, tools=["hover"], hover_tooltips=tooltip("label", "about"),
        **(shared | {"hooks": [*shared["hooks"], *hooks]}),
    )  # fmt: skip
    shade = mixed(around.paper, around.muted, 0.12)
    outside = hv.Rectangles(out, ["x0", "y0", "x1", "y1"]).opts(color=shade, line_alpha=0.0, **shared)
    even = hv.Segments(chance, ["x0", "y0", "x1", "y1"]).opts(color=around.ink, line_width=1.5, **shared)
    titles = {at * ROW + ROW / 2: row.title for at, row in enumerate(rows)}
    hook = named(_names(names), titles)
    return hv.Overlay([outside, drawn, even]).opts(
        **(shared | {"hooks": [*shared["hooks"], hook], "default_tools": ["reset"]}), show_legend=False
    )


def strip_columns(rows: Sequence[StripRow], names: Sequence[str]) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Bars, chance lines, and the cells of tokens that may not reach the root. All rows have one scale."""
    known = np.concatenate([np.append(row.values, row.even) for row in rows] or [np.zeros(1)])
    known = known[np.isfinite(known)]
    top = float(known.max()) if len(known) and known.max() > 0 else 1.0
    bars, chance, out = [], [], []
    for at, row in enumerate(rows):
        base = at * ROW
        for token, (value, even, name) in enumerate(zip(row.values, row.even, names, strict=True)):
            if not name:
                continue
            low, high = token - BAR / 2, token + BAR / 2
            if np.isnan(value):
                out.append((token - 0.5, base, token + 0.5, base + BAR * ROW))
                continue
            about = f"{row.title} {value:.3g}\nuniform attention {even:.3g}"
            bars.append((low, base, high, base + BAR * ROW * value / top, token, name, about))
            chance.append((low, base + BAR * ROW * even / top, high, base + BAR * ROW * even / top))
    box = ["x0", "y0", "x1", "y1"]
    return (
        pd.DataFrame(bars, columns=[*box, "token", "label", "about"]),
        pd.DataFrame(chance, columns=box, dtype=float),
        pd.DataFrame(out, columns=box, dtype=float),
    )


def named(across: dict[float, str], upwards: dict[float, str]) -> Hook:
    """HoloViews hook: names on both axes. HoloViews sets the ticks of an overlay only once; these follow the data."""

    def hook(plot: Any, _: Any) -> None:
        figure = plot.state
        figure.xaxis.major_label_orientation = SLANT
        for axis, names in ((figure.xaxis[0], across), (figure.yaxis[0], upwards)):
            if not isinstance(axis.ticker, FixedTicker) or list(axis.ticker.ticks) != list(names):
                axis.ticker = FixedTicker(ticks=list(names))
            if axis.major_label_overrides != names:
                axis.major_label_overrides = names

    return hook


def _names(names: Sequence[str]) -> dict[float, str]:
    """The names of every k-th token."""
    step = max(1, -(-len(names) // MOST_NAMES))
    return {at: name if len(name) <= 12 else f"{name[:11]}…" for at, name in enumerate(names) if name and at % step == 0}
