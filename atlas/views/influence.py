"""Influence: who made a token what it is, through all layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, TypeVar

import holoviews as hv
import numpy as np
import panel as pn
import panel_material_ui as pmui

from atlas.components.bar_list import BarList, Press
from atlas.patches.panes import Markup
from atlas.plots.colours import BLUE, CIRCLE, SKY, Category
from atlas.plots.frame import number
from atlas.plots.influence import (
    BESIDE,
    EMBEDDED,
    FED,
    GRAPH_HEIGHT,
    NODES,
    STATE,
    STRIP_HEIGHT,
    GraphDrawing,
    StripRow,
    influence_graph,
    influence_strip,
    tapped,
)
from atlas.state.influence import GRAPH, TREE, InfluenceLens, Shown, method_name
from atlas.state.outcome_line import percent
from atlas.state.workspace import Workspace
from atlas.trace import Trace
from atlas.tracing.influence import CONTRIBUTION, ROLLOUT, NodeKey, NodePart
from atlas.tracing.mixing import offered, without_method
from atlas.tracing.zeroing import VALUE_ZEROING
from atlas.views.base import TIGHT, Export, View, bind_rule, gesture
from atlas.views.colour_key import key_markup
from atlas.views.events import on_tap
from atlas.views.plain import plain
from atlas.views.shows import Shows

Drawn = TypeVar("Drawn")

ORIGIN = "influence"

METHODS = {"contribution (ALTI)": CONTRIBUTION, "attention rollout": ROLLOUT, "value zeroing": VALUE_ZEROING}
FORMS = {"graph": GRAPH, "tree": TREE}

TREE_ROW = 420
"""Pixels a row of the tree needs."""

INDENT = "  "

LETTERS = 44
"""Letters of a row of the tree: the indent of 12 layers and a token."""

KEY = (
    "Upwards: layers; across: tokens. A path into the top token is as strong as the product of the shares along it. Size and "
    "width: share of what is shown. Below: influence of every input token along all paths; line across a bar: uniform attention; "
    "grey: may not reach the token."
)


class InfluenceView(View):
    """The strongest paths into one token through all layers, and the influence of every input token on it."""

    key: ClassVar = "influence"
    title: ClassVar = "Influence"
    question: ClassVar = "Which tokens made this one what it is?"
    help: ClassVar = (
        "The graph is rooted in the first selected token that looks, else in the last token of a causal text, in the mask, or in "
        "the token in the middle; it shows the state of this token after the last layer. Every edge is the share of a token "
        "before a layer in a token after it; the residual stream is the edge of a token to itself, but has no "
        "share by value zeroing, where this edge is what heads read of the token itself. Of the edges of a layer the "
        "strongest are shown, so that the paths carry what the slider says; shares are then rescaled to sum to 1. Feed-forward "
        "blocks change each token by itself, so they pass shares on; the share of a token that its feed-forward block wrote, and "
        "those of its embeddings, are nodes of their own shapes. The decoder of an encoder-decoder is followed through "
        "cross-attention into the encoder. Tap a token to select it: it becomes the root. Tap an edge to show the head that "
        "makes most of it. The tree opens one path after the other: press a row to open or close it, "
        "with Shift to select its token."
    )
    defines: ClassVar = ("influence_contribution", "influence_part", "influence_rollout", "influence_zeroing")
    lens_type: ClassVar = InfluenceLens
    influence = Shows(InfluenceLens)
    wide: ClassVar = True
    beside: ClassVar = 300

    def __init__(self, workspace: Workspace, **params: Any) -> None:
        super().__init__(workspace, **params)
        self.bars = BarList(dark=self.param.dark, width_of_group=TREE_ROW, letters=LETTERS)
        self.bars.on_press(self._pressed)
        self._hears = [on_tap(self._tapped)]
        self._strip_hears = [on_tap(self._tapped_strip)]
        self._paths: dict[str, tuple[tuple[int, int], ...]] = {}
        self._nodes: dict[str, NodeKey] = {}
        self._last: tuple[Trace | None, dict[str, Any]] = (None, {})

    @classmethod
    def fits(cls, trace: Trace) -> str:
        """A stream of tokens must run through the layers."""
        reasons = [without_method(trace, ROLLOUT, kind) for kind in ("encoder", "decoder")]
        return "" if any(offered(trace, kind) for kind in ("encoder", "decoder")) else reasons[0]

    def tools(self) -> list[Any]:
        """How shares are measured, how much is shown, and in which form."""
        choices = self.influence.choices.param
        return [
            pmui.Select.from_param(choices.method, label="Shares by", options=METHODS, size="small", margin=TIGHT, width=190),
            pmui.Select.from_param(choices.form, label="Form", options=FORMS, size="small", margin=TIGHT, width=100),
            pmui.FloatSlider.from_param(choices.mass, label="Influence shown", size="small", margin=TIGHT, width=200),
            pmui.Switch.from_param(choices.parts, label="Embeddings and feed-forward", size="small", margin=TIGHT),
        ]

    def body(self) -> Any:
        """The graph or the tree, then the strip."""
        streams = [self.follows(self.visibility, ["revision"]), self.follows(self, ["dark"])]
        graph = hv.DynamicMap(self.drawing(self._graph, no_graph), streams=streams)
        strip = hv.DynamicMap(self.drawing(self._strip, no_strip), streams=streams)
        form = self.influence.choices.param.form
        wide: dict[str, Any] = {"sizing_mode": "stretch_width"}
        graph_pane = self.plot_pane(graph, height=GRAPH_HEIGHT, css_classes=["aa-influence"], **wide)
        # Around the pane, because Panel hands all properties of a HoloViews pane that is hidden to the figure, which has others.
        graph_box = pn.Column(graph_pane, margin=0, visible=bind_rule(form, _is(GRAPH)), **wide)
        tree = pn.Column(self.bars, scroll=True, height=GRAPH_HEIGHT, margin=0, visible=bind_rule(form, _is(TREE)), **wide)
        strip_pane = self.plot_pane(strip, height=STRIP_HEIGHT, css_classes=["aa-influence-strip"], **wide)
        note = self.bound(lambda _: self.influence.note(), self.visibility.param.revision)
        shapes = Markup(
            self.bound(self._shapes, self.visibility.param.revision, self.param.dark), sizing_mode="stretch_width", margin=(0, 8)
        )
        self.visibility.follow_revision(self._grow)
        self._grow()
        return pn.Column(
            graph_box, tree, shapes, plain(note, "aa-influence-note"), strip_pane, plain(KEY, "aa-influence-key"),
            sizing_mode="stretch_width", margin=0,
        )  # fmt: skip

    def export(self) -> Export:
        """The edges and the totals."""
        return Export("influence", self.influence.table(), self._graph())

    # -- graph ---------------------------------------------------------------------------------------------------------

    def graph(self) -> tuple[GraphDrawing, list[NodeKey]]:
        """The graph as the plot takes it, and the token of every node."""
        found = self.influence.shown()
        return (NOTHING, []) if found is None else self._drawn(found)

    def _drawn(self, shown: Shown) -> tuple[GraphDrawing, list[NodeKey]]:
        graph, lens = shown.graph, self.influence
        rows = graph.nodes()
        nodes = [node for node, *_ in rows]
        index = {node: at for at, node in enumerate(nodes)}
        column, names = self._columns(nodes, list(graph.starts))
        below = {kind: sum(step.kind != kind for step in graph.steps) if at else 0 for at, kind in enumerate(graph.starts)}
        ends = [graph.ends(edge) for edge in range(len(graph.paths.edges.to))]
        edges = graph.paths.edges
        two = len(graph.starts) > 1
        abouts = [
            f"{lens.token_name(node)} {_level(node, named=two)}\n"
            f"{percent(share)} of what is shown\n{percent(exact)} along all paths"
            for node, share, exact in rows
        ]
        edge_abouts = [
            f"{lens.token_name(to)} from {lens.token_name(fro)}\n{'cross-attention, ' if graph.crosses(edge) else ''}layer "
            f"{graph.steps[int(edges.step[edge])].layer}\nshare {number(float(edges.share[edge]))}, "
            f"{percent(float(edges.flow[edge]))} of what is shown"
            for edge, (to, fro) in enumerate(ends)
        ]
        x = np.array([column[node.kind, node.token] for node in nodes], dtype=float)
        y = np.array([below[node.kind] + node.level for node in nodes], dtype=float)
        beside = _beside(shown.parts)
        to = np.array([*(index[to] for to, _ in ends), *(index[part.node] for part in shown.parts)], dtype=np.int64)
        about = [self._about_part(part, named=two) for part in shown.parts]
        drawing = GraphDrawing(
            np.append(x, [x[index[part.node]] + aside for part, (aside, _) in zip(shown.parts, beside, strict=True)]),
            np.append(y, [y[index[part.node]] + down for part, (_, down) in zip(shown.parts, beside, strict=True)]),
            np.array([*(share for _, share, _ in rows), *(part.flow for part in shown.parts)]),
            [*abouts, *about],
            index[graph.root],
            to,
            np.array([*(index[fro] for _, fro in ends), *range(len(nodes), len(nodes) + len(about))], dtype=np.int64),
            np.append(edges.flow.astype(float), [part.flow for part in shown.parts]),
            [*edge_abouts, *about],
            names,
            _rows(graph.steps[0].kind, [step.kind for step in graph.steps]),
            [*[STATE] * len(nodes), *(part.part for part in shown.parts)],
        )
        return drawing, nodes + [part.node for part in shown.parts]

    def _about_part(self, part: NodePart, *, named: bool) -> str:
        layer = f" of layer {part.node.level - 1}" if part.node.level else ""
        return (
            f"{part.part}{layer}\nshare {number(part.share)} of {self.influence.token_name(part.node)} "
            f"{_level(part.node, named=named)}, {percent(part.flow)} of what is shown"
        )

    def _shapes(self, *_: Any) -> str:
        """The kinds of node in the graph."""
        found = self.influence.shown() if self.influence.choices.form != TREE else None
        if found is None or not found.parts:
            return ""
        kinds = {STATE, *(part.part for part in found.parts)}
        token = Category(SKY if self.dark else BLUE, CIRCLE)
        return key_markup([(kind, token if kind == STATE else how) for kind, how in NODES.items() if kind in kinds])

    def _columns(self, nodes: list[NodeKey], streams: list[str]) -> tuple[dict[tuple[str, int], int], list[str]]:
        """The column of every token that is in the graph, and the names of the columns; a gap is between streams."""
        column: dict[tuple[str, int], int] = {}
        names: list[str] = []
        for stream in streams:
            if names:
                names.append("")
            every = self.influence.names(stream)
            for token in sorted({node.token for node in nodes if node.kind == stream}):
                column[stream, token] = len(names)
                names.append(every[token])
        return column, names

    def _graph(self, **_: Any) -> hv.Overlay:
        drawing = self._kept("graph", lambda: self.graph()[0], NOTHING)
        return influence_graph(drawing, dark=self.dark, hooks=self.faults.hooks(self._hears))

    def _kept(self, name: str, make: Callable[[], Drawn], otherwise: Drawn) -> Drawn:
        """What is drawn; while the shares of other layers of the same text are measured, what was drawn last stays."""
        trace = self.workspace.trace
        if trace is not self._last[0]:
            self._last = trace, {}
        if self.influence.shown() is not None or not self.lens.busy:
            self._last[1][name] = make()
        drawn: Drawn = self._last[1].get(name, otherwise)
        return drawn

    @gesture
    def _tapped(self, x: float, y: float, *, additive: bool = False) -> None:  # noqa: ARG002  (what Bokeh reports)
        drawing, nodes = self.graph()
        node, edge = tapped(drawing, x, y)
        if node >= 0:
            self.influence.select(nodes[node], ORIGIN)
        elif 0 <= edge < len(drawing.flow) - sum(kind != STATE for kind in drawing.kinds):
            self.influence.focus_edge(edge, ORIGIN)
        elif edge >= 0:
            self.influence.select(nodes[drawing.edge_from[edge]], ORIGIN)

    # -- strip ---------------------------------------------------------------------------------------------------------

    def strip(self) -> tuple[list[StripRow], list[str], list[NodeKey | None]]:
        """The rows of the strip, the names of its tokens, and the token of every place; None in the gap between streams."""
        found = self.influence.shown()
        if found is None:
            return [], [], []
        names: list[str] = []
        places: list[NodeKey | None] = []
        for kind in found.graph.starts:
            gap = bool(names)
            every = self.influence.names(kind)
            names += [*([""] if gap else []), *every]
            places += [*([None] if gap else []), *(NodeKey(kind, 0, token) for token in range(len(every)))]
        rows = [
            StripRow(method_name(method), _joined([each.influence for each in parts]), _joined([each.even for each in parts]))
            for method, parts in found.totals.items()
        ]
        return rows[::-1], names, places

    def _strip(self, **_: Any) -> hv.Overlay:
        def found() -> tuple[list[StripRow], list[str], int]:
            rows, names, places = self.strip()
            shown = self.influence.shown()
            return rows, names, -1 if shown is None else places.index(shown.graph.root._replace(level=0))

        nothing: tuple[list[StripRow], list[str], int] = ([], [], -1)
        drawn = self._kept("strip", found, nothing)
        return influence_strip(*drawn, dark=self.dark, hooks=self.faults.hooks(self._strip_hears))

    @gesture
    def _tapped_strip(self, x: float, _: float, *, additive: bool = False) -> None:  # noqa: ARG002
        places = self.strip()[2]
        node = places[round(x)] if 0 <= round(x) < len(places) else None
        if node is not None:
            self.influence.select(node, ORIGIN)

    # -- tree ----------------------------------------------------------------------------------------------------------

    def _grow(self) -> None:
        """Show the rows of the tree that are open."""
        if self.influence.choices.form != TREE:
            self.bars.groups = []
            return
        found = self.influence.shown()
        two = found is not None and len(found.graph.starts) > 1
        rows: list[dict[str, Any]] = []
        self._paths, self._nodes = {}, {}
        for branch in self.influence.tree():
            indent = INDENT * (len(branch.path) - 1)
            row: dict[str, Any] = {
                "shares": [branch.share], "number": percent(branch.share), "note": f"{percent(branch.influence)} of the root"
            }  # fmt: skip
            if branch.node is None:
                rows.append({"label": f"{indent}  … and {branch.weaker:,} weaker ones", **row})
                continue
            key = " ".join(f"{level}.{position}" for level, position in branch.path)
            self._paths[key], self._nodes[key] = branch.path, branch.node
            sign = "▾" if branch.opened else "▸" if branch.closed else " "
            rows.append({
                "key": key,
                "label": f"{indent}{sign} {self.influence.token_name(branch.node)} {_level(branch.node, named=two)}",
                **row,
            })  # fmt: skip
        self.bars.groups = [{"name": "Share of the row above it", "rows": rows}] if rows else []

    @gesture
    def _pressed(self, press: Press) -> None:
        if press["shift"]:
            self.influence.select(self._nodes[press["key"]], ORIGIN)
        else:
            self.influence.toggle(self._paths[press["key"]])
            self._grow()


NOTHING = GraphDrawing(
    np.empty(0), np.empty(0), np.empty(0), [], -1, np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0), [], [], []
)


def no_graph() -> hv.Overlay:
    """No token at all."""
    return influence_graph(NOTHING)


def no_strip() -> hv.Overlay:
    """No token at all."""
    return influence_strip([], [], -1)


def _beside(parts: Sequence[NodePart]) -> list[tuple[float, float]]:
    """Where the node of every part is, from its token: embeddings in a row below it, a feed-forward block beside it."""
    order = list(NODES)
    embeddings: dict[NodeKey, list[str]] = {}
    for part in parts:
        if not part.node.level:
            embeddings.setdefault(part.node, []).append(part.part)

    def place(part: NodePart) -> tuple[float, float]:
        if part.node.level:
            return FED
        every = sorted(embeddings[part.node], key=order.index)
        return (every.index(part.part) - (len(every) - 1) / 2) * BESIDE, EMBEDDED

    return [place(part) for part in parts]


def _is(form: str) -> Any:
    return lambda chosen: chosen == form


def _joined(parts: list[Any]) -> Any:
    """The values of all streams, with a gap between them."""
    return np.concatenate([part for each in parts for part in ([np.nan], each)][1:]).astype(float)


def _level(node: NodeKey, *, named: bool) -> str:
    """'after layer 3', 'as input'; with the stream where there are two."""
    stream = f" of the {node.kind}" if named else ""
    return f"as input{stream}" if node.level == 0 else f"after layer {node.level - 1}{stream}"


def _rows(first: str, kinds: list[str]) -> list[str]:
    """Names of the levels upwards: the input, then the layers."""
    if len(set(kinds)) == 1:
        return ["input", *(f"L{layer}" for layer in range(len(kinds)))]
    n_first = kinds.count(first)
    names = ["input", *(f"encoder L{layer}" for layer in range(n_first - 1)), f"encoder L{n_first - 1} / decoder input"]
    return [*names, *(f"decoder L{layer}" for layer in range(len(kinds) - n_first))]
