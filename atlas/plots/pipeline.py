"""A model as blocks from left to right: a row a stream, one of its layers in full, and a strip of all its layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import holoviews as hv
from bokeh.core.properties import value

from atlas.plots.colours import FONT, theme
from atlas.plots.frame import Hook, frame

ROW_HEIGHT = 215
"""Pixels of a stream."""

TRACK_HEIGHT = 85
"""Pixels of a second block beside the first."""

WIDTHS = {"norm": 0.72, "add": 0.34, "qkv": 1.25, "attention": 1.15, "ffn": 1.35, "embedding": 1.2, "quiet": 1.2, "out": 1.3}
"""Widths of blocks, in a unit of some 80 pixels."""

HALF = 0.5
"""Half of a block's height; a row is a unit of its own."""

TWO_LINES = 0.56
"""Height of a table in which two lines stand."""

GAP, ROW, TRACK = 0.24, 3.0, 1.25
ARC = 0.72
"""Height of the line that carries the stream past a block."""

FRAME = (-0.68, 0.9)
"""Bottom and top of the frame of a layer."""

STRIP = (1.08, 1.42)
"""Bottom and top of the strip of layers."""

CELL = 0.42
"""Largest width of a layer in the strip."""

LEAST_CELL = 0.3
"""Smaller ones are not all numbered: two digits need so much."""


class Shape(NamedTuple):
    """One block."""

    key: str
    role: str
    text: str
    track: int = 0


class Lane(NamedTuple):
    """One stream."""

    kind: str
    head: Sequence[Shape]
    layer: Sequence[Shape]
    tail: Sequence[Shape]
    n_layers: int
    at: int


class Box(NamedTuple):
    """A block where it stands."""

    key: str
    role: str
    x0: float
    y0: float
    x1: float
    y1: float
    text: str

    @property
    def middle(self) -> tuple[float, float]:
        """Its middle."""
        return (self.x0 + self.x1) / 2, (self.y0 + self.y1) / 2


Line = tuple[float, float, float, float]


class Placed(NamedTuple):
    """Everything that is drawn."""

    boxes: list[Box]
    lines: list[Line]
    titles: list[tuple[float, float, str]]
    width: float
    low: float
    high: float


def placed(lanes: Sequence[Lane]) -> Placed:
    """Where everything stands: the first stream at the top."""
    found, ends = Placed([], [], [], 0.0, 0.0, 0.0), []
    y = 0.0
    for lane in lanes:
        ends.append(_Lane(lane, y, found).end())
        y -= ROW + TRACK * _tracks(lane)
    for box in [box for box in found.boxes if box.key.endswith("cross.qkv")]:
        (x, top), (across, _) = ends[0], box.middle
        level = top - HALF - 0.42
        found.lines.extend([(x, top, x + GAP, top), (x + GAP, top, x + GAP, level), (x + GAP, level, across, level)])
        found.lines.append((across, level, across, box.y1))
    right = max((box.x1 for box in found.boxes), default=1.0)
    return found._replace(width=right + 2 * GAP, low=y + ROW - 1.0, high=STRIP[1] + 0.35)


def _tracks(lane: Lane) -> int:
    return max((shape.track for shape in lane.layer), default=0)


def plot_height(lanes: Sequence[Lane]) -> int:
    """Pixels of the diagram."""
    return ROW_HEIGHT * max(len(lanes), 1) + TRACK_HEIGHT * sum(map(_tracks, lanes))


class _Lane:
    """Places one stream."""

    def __init__(self, lane: Lane, y: float, found: Placed) -> None:
        self.lane, self.y, self.found = lane, y, found
        self.x = 0.0

    def end(self) -> tuple[float, float]:
        """Place all blocks; where the stream ends."""
        lane = self.lane
        tables = [shape for shape in lane.head if shape.role != "norm"]
        self._stack(tables)
        before = self.x
        for shape in lane.head[len(tables) :]:
            before = self._after(shape, before)
        start = before + 2 * GAP
        self.found.lines.append((before, self.y, start, self.y))
        stop = self._layer(start)
        self._around(start, stop)
        after = stop + GAP
        self.found.lines.append((stop, self.y, after, self.y))
        for shape in lane.tail:
            after = self._after(shape, after)
        return after, self.y

    def _stack(self, shapes: Sequence[Shape]) -> None:
        """The tables that are added up, one above the other."""
        high = max(2 * (HALF + 0.15) / max(len(shapes), 1), TWO_LINES)
        top = self.y + high * len(shapes) / 2
        for at, shape in enumerate(shapes):
            y1 = top - at * high
            self.found.boxes.append(Box(shape.key, shape.role, 0.0, y1 - high + 0.05, WIDTHS["embedding"], y1, shape.text))
        self.x = WIDTHS["embedding"]

    def _after(self, shape: Shape, x: float, track: int = 0) -> float:
        """Place a block and the line that leads to it; where it ends."""
        y, wide = self.y - TRACK * track, WIDTHS[shape.role]
        self.found.lines.append((x, y, x + GAP, y))
        half = 0.17 if shape.role == "add" else HALF
        self.found.boxes.append(Box(shape.key, shape.role, x + GAP, y - half, x + GAP + wide, y + half, shape.text))
        return x + GAP + wide

    def _layer(self, start: float) -> float:
        """The blocks of the layer, and the lines that carry the stream past them."""
        found, branch = self.found, start
        ends = [start, start]
        below = False
        for shape in self.lane.layer:
            if shape.role == "add":
                at = max(ends)
                if below:
                    low = self.y - TRACK
                    found.lines.append((ends[0], self.y, at, self.y))
                    found.lines.extend(
                        [(ends[1], low, at + GAP + 0.17, low), (at + GAP + 0.17, low, at + GAP + 0.17, self.y - 0.17)]
                    )
                ends = [self._after(shape, at)] * 2
                middle, top = at + GAP + 0.17, self.y + ARC
                left = branch + GAP / 3
                found.lines.extend([(left, self.y, left, top), (left, top, middle, top), (middle, top, middle, self.y + 0.17)])
                branch = ends[0]
            else:
                if shape.track and not below:
                    below, low = True, self.y - TRACK
                    left = start + GAP / 3
                    found.lines.extend([(left, self.y, left, low), (left, low, start + GAP, low)])
                ends[shape.track] = self._after(shape, ends[shape.track], shape.track)
                # The norm after an addition changes the stream itself: the next line past a block begins after it.
                branch = ends[0] if shape.key.endswith(".after") else branch
        return max(ends) + GAP / 2

    def _around(self, start: float, stop: float) -> None:
        """The frame of the layer, the strip of all layers, and its title."""
        lane, found = self.lane, self.found
        tracks = TRACK * _tracks(lane)
        found.boxes.insert(0, Box("", "frame", start - GAP / 3, self.y + FRAME[0] - tracks, stop, self.y + FRAME[1], ""))
        wide = min(CELL, (stop - start) / lane.n_layers)
        every = max(1, -int(-LEAST_CELL // wide))
        bottom, top = self.y + STRIP[0], self.y + STRIP[1]
        for layer in range(lane.n_layers):
            x = start + layer * wide
            role = "here" if layer == lane.at else "other"
            text = str(layer) if layer % every == 0 else ""
            found.boxes.append(Box(f"layer {lane.kind} {layer}", role, x, bottom, x + wide, top, text))
        found.titles.append((0.0, (bottom + top) / 2, f"{lane.kind}, L{lane.at} of {lane.n_layers} layers"))


def at_point(placed_: Placed, x: float, y: float) -> str:
    """Key of the block at a point; empty where there is none."""
    return next((box.key for box in placed_.boxes[::-1] if box.key and box.x0 <= x <= box.x1 and box.y0 <= y <= box.y1), "")


def pipeline_plot(
    lanes: Sequence[Lane], chosen: str = "", *, dark: bool = False, hooks: Mapping[str, Sequence[Hook]] | None = None
) -> hv.Overlay:
    """The diagram; `hooks` are hooks of single elements, by name."""
    around, found, listening = theme(dark=dark), placed(lanes), hooks or {}
    x_range, y_range = (-0.15, found.width), (found.low, found.high)
    shared = frame(dark=dark, x_label="", y_label="", x_range=x_range, y_range=y_range, height=plot_height(lanes))
    shared |= {"xaxis": None, "yaxis": None, "default_tools": [], "toolbar": None}
    fills = {"norm": around.paper, "quiet": around.paper, "other": around.paper, "frame": around.paper, "add": around.paper}
    edges = {"frame": around.rule, "quiet": around.rule, "other": around.rule, "here": around.accent}

    def looks(box: Box) -> tuple[str, str, float]:
        here = bool(box.key) and box.key == chosen
        edge = around.accent if here else edges.get(box.role, around.muted)
        return fills.get(box.role, around.rule), edge, 2.5 if here or box.role == "here" else 1.0

    marks = [(*box[2:6], *looks(box)) for box in found.boxes]
    words = [(*box.middle, box.text) for box in found.boxes if box.text]
    text = {"text_color": around.ink, "text_font": value(FONT), "text_font_size": "10px", "text_baseline": "middle"}
    drawn = {
        "boxes": hv.Rectangles(marks, ["x0", "y0", "x1", "y1"], ["fill", "edge", "thick"]).opts(
            color="fill", line_color="edge", line_width="thick"
        ),
        "lines": hv.Segments(found.lines, ["x0", "y0", "x1", "y1"]).opts(color=around.muted, line_width=1.2),
        "words": hv.Labels(words, ["x", "y"], "text").opts(text_align="center", **text),
        "titles": hv.Labels(found.titles, ["x", "y"], "text").opts(text_align="left", **text),
    }
    parts = [
        element.opts(**(shared | {"hooks": [*shared["hooks"], *listening.get(name, ())]})) for name, element in drawn.items()
    ]
    return hv.Overlay(parts).opts(**shared, show_legend=False)
