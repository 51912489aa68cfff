"""A circuit: which heads pass on what the prediction needs, as the strongest edges between them."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import holoviews as hv
import numpy as np
import panel as pn
import panel_material_ui as pmui

from atlas.components.bar_list import BarList, Press
from atlas.numbers import three
from atlas.patches.panes import Markup
from atlas.plots.arrows import SIGNS
from atlas.plots.circuit import (
    HEIGHT,
    Drawing,
    Edge,
    Node,
    circuit_graph,
    edge_columns,
    key_of_parts,
    node_marks,
    placed,
    sign_colours,
    tapped,
)
from atlas.plots.colours import DASH, TRIANGLE, Category
from atlas.plots.frame import Hook
from atlas.state.circuit import ALL, LISTED, CircuitLens, Part, Shown
from atlas.state.circuit import INTO as IN_WORDS
from atlas.state.workspace import Workspace
from atlas.trace import Trace
from atlas.tracing.circuit import INPUTS, without_circuit
from atlas.views.base import TIGHT, Export, View, gesture
from atlas.views.colour_key import key_markup
from atlas.views.events import on_tap
from atlas.views.glyph import Glyph
from atlas.views.other_text import other_text_input
from atlas.views.plain import plain
from atlas.views.shows import Shows

ORIGIN = "circuit"

INTO = {"all inputs": ALL} | {IN_WORDS[name]: name for name in INPUTS}

COLUMN = 340
"""Pixels of a column of the list."""

LETTERS = 34
"""Letters of a row of the list: two parts and an arrow."""


class CircuitView(View):
    """The strongest edges from writers into later heads, for one prediction."""

    key: ClassVar = "circuit"
    title: ClassVar = "Circuit"
    question: ClassVar = "Which heads pass on what the prediction needs?"
    help: ClassVar = (
        "Two texts of as many tokens are compared, best ones that differ in one word which the prediction hangs on: type the "
        "other text beside Run. An edge leads from a part that writes into the residual stream (embeddings, a head, a "
        "feed-forward block) to what a later head reads there for its queries, its keys or its values, and through nothing "
        "between. Its effect: what the prediction loses if this head alone reads what that part writes in the other text. "
        "Orange, with an arrow: the edge speaks for the prediction; purple, with a bar: against it. The thicker, the larger. "
        "Effects are estimates from gradients, for all edges at once; edges drawn at random and the strongest ones are also "
        "measured by path patching, and both numbers stand beside each other. Where they are far apart, believe what was "
        "measured. Only parts on a shown edge are drawn, heads in the column that they have on the Map. Effects of edges along "
        "one path overlap, so they do not add up. The sentence below says what is left when only the heads shown read this "
        "text, beside random sets of as many. It is one pair of texts and no statement about the model. Click a head to show "
        "and select it, with Shift to add it; an edge, or its row in the list, to show the head that reads and select both "
        "ends. Edges of selected heads stand out. Nothing runs until you press Run, for this prediction and this pair of texts."
    )
    defines: ClassVar = ("edge_attribution_patching", "circuit_kept")
    lens_type: ClassVar = CircuitLens
    circuit = Shows(CircuitLens)
    wide: ClassVar = True
    beside: ClassVar = 330

    def __init__(self, workspace: Workspace, **params: Any) -> None:
        super().__init__(workspace, **params)
        look: dict[str, Any] = {"size": "small", "margin": TIGHT}
        self.run = pmui.Button(label="Run", color="primary", variant="contained", css_classes=["aa-circuit-run"], **look)
        self.run.on_click(lambda _: self._run())
        self.select = pmui.Button(
            label="Select the heads of this circuit", variant="outlined", css_classes=["aa-circuit-select"], size="small",
            margin=(4, 8),
        )  # fmt: skip
        self.select.on_click(lambda _: self._select())
        self.bars = BarList(dark=self.param.dark, width_of_group=COLUMN, letters=LETTERS, css_classes=["aa-circuit-list"])
        self.bars.on_press(self._pressed)
        self.results = pn.Column(sizing_mode="stretch_width", margin=0, visible=False)
        self._hears = [on_tap(self._tapped)]
        self._edges, self._ends, self._nodes = Glyph(), Glyph(), Glyph()

    @classmethod
    def fits(cls, trace: Trace) -> str:
        """It takes a model here whose heads write straight into one stream."""
        return without_circuit(trace)

    def tools(self) -> list[Any]:
        """The other text, which edges, how many, and the press."""
        choices, look = self.circuit.choices.param, {"size": "small", "margin": TIGHT}
        return [
            other_text_input(choices.own),
            pmui.Select.from_param(choices.into, label="Edges into", options=INTO, width=120, **look),
            pmui.IntSlider.from_param(choices.edges, label="Strongest edges", width=190, **look),
            # Here and not in the body, which is hidden while there is a problem: it is the way out of one.
            self.run,
        ]

    def body(self) -> Any:
        """The graph, its key, what can be believed, and the strongest edges with what was measured."""
        changes = self.visibility
        drawn = hv.DynamicMap(
            self.drawing(self._graph, lambda: circuit_graph(NOTHING, [], node_marks([], []), dark=self.dark)),
            streams=[self.follows(changes, ["revision"]), self.follows(self, ["dark"])],
        )
        pane = self.plot_pane(drawn, sizing_mode="stretch_width", height=HEIGHT, css_classes=["aa-circuit"])
        key = Markup(self.bound(self._key, changes.param.revision, self.param.dark), sizing_mode="stretch_width", margin=(0, 8))
        notes = self.bound(lambda _: "\n".join(self.circuit.notes()), changes.param.revision)
        changes.follow_revision(self._list)
        changes.follow_marks(self._mark)
        self.circuit.param.watch(lambda _: self.circuit.attempt_drawing(self._free), ["busy", "problem"])
        self.results.objects = [pane, key, self.select, plain(notes, "aa-circuit-notes"), self.bars]
        self._list()
        return self.results

    def export(self) -> Export:
        """The edges on screen, and the graph."""
        return Export("circuit", self.circuit.table(), self._graph())

    # -- graph -------------------------------------------------------------------------------------------------------------

    def graph(self) -> tuple[Drawing, list[Part]]:
        """The graph as the plot takes it, and the part of every node."""
        shown = self.circuit.shown()
        return (NOTHING, []) if shown is None else self._drawn(shown)

    def _drawn(self, shown: Shown) -> tuple[Drawing, list[Part]]:
        parts = sorted({part for edge in shown.edges for part in (edge.start, edge.end)}, key=lambda part: part[1:])
        place, kind = {part: at for at, part in enumerate(parts)}, self.circuit.trace.kinds[0]
        nodes = [Node(*part, str(part), self._about(part, shown)) for part in parts]
        edges = [
            Edge(place[edge.start], place[edge.end], edge.into, edge.effect, str(edge),
                 f"effect, estimated: {three(edge.effect)}\n{_measured(edge.patched)}")
            for edge in shown.edges
        ]  # fmt: skip
        trace = self.circuit.trace
        return placed(nodes, edges, trace.n_layers(kind), trace.n_heads(kind)), parts

    @staticmethod
    def _about(part: Part, shown: Shown) -> str:
        writes, reads = (
            sum(abs(edge.effect) for edge in shown.edges if end(edge) == part)
            for end in (lambda edge: edge.start, lambda edge: edge.end)
        )
        return f"|effect| of its edges here:\nwrites {three(writes)}, reads {three(reads)}"

    def _graph(self, **_: Any) -> hv.Overlay:
        drawing, parts = self.graph()
        shown = self.circuit.shown()
        lit = [] if shown is None else list(map(self.circuit.stands_out, shown.edges))
        hooks: dict[str, list[Hook]] = {
            "edges": [self._edges.hook], "ends": [self._ends.hook], "nodes": [self._nodes.hook, *self.faults.hooks(self._hears)]
        }  # fmt: skip
        return circuit_graph(drawing, lit, self._marks(parts), dark=self.dark, hooks=hooks)

    def _marks(self, parts: list[Part]) -> dict[str, list[Any]]:
        selection, heads = self.workspace.selection, [self.circuit.head_of(part) for part in parts]
        return node_marks(
            [head in selection.heads for head in heads],
            [head is not None and head == selection.focus for head in heads],
            dark=self.dark,
        )

    def _mark(self) -> None:
        """Mark the selected heads, and let their edges stand out."""
        shown = self.circuit.shown()
        if shown is None:
            return
        drawing, parts = self._drawn(shown)
        alpha = edge_columns(drawing, list(map(self.circuit.stands_out, shown.edges)), dark=self.dark)["alpha"]
        self._edges.mark({"alpha": alpha})
        self._ends.mark({"alpha": alpha})
        self._nodes.mark(self._marks(parts))

    def _key(self, *_: object) -> str:
        """What the marks and lines mean."""
        shown = self.circuit.shown() if self.workspace.trace is not None else None
        if shown is None:
            return ""
        kinds = {part.what for edge in shown.edges for part in edge[:2]}
        against, speaks = sign_colours(dark=self.dark)
        signs = [("speaks for the prediction", Category(speaks, TRIANGLE)), ("against it", Category(against, DASH))]
        into = "; ".join(f"{SIGNS[name[0]]} into {name}" for name in INPUTS)
        return key_markup([*key_of_parts(kinds, dark=self.dark), *signs], after=f"{into}; width: size of the effect")

    # -- list --------------------------------------------------------------------------------------------------------------

    def _list(self, *_: object) -> None:
        shown = self.circuit.shown() if self.workspace.trace is not None else None
        self.results.visible = shown is not None
        self.bars.groups = [] if shown is None else self._groups(shown)
        self._free()

    @staticmethod
    def _groups(shown: Shown) -> list[dict[str, Any]]:
        """Of each input its strongest edges, the estimate above what was measured."""
        known = [abs(value) for edge in shown.edges for value in (edge.effect, edge.patched) if math.isfinite(value)]
        largest = max(known, default=1.0) or 1.0
        groups = []
        for into in INPUTS:
            own = [(at, edge) for at, edge in enumerate(shown.edges) if edge.into == into]
            rows = [
                {
                    "key": str(at),
                    "label": f"{edge.start} → {edge.end}",
                    "shares": [abs(edge.effect) / largest, abs(edge.patched) / largest],
                    "number": three(edge.effect),
                    "note": three(edge.patched) if math.isfinite(edge.patched) else "–",  # the heading says what it is
                }
                for at, edge in own[:LISTED]
            ]
            if len(own) > LISTED:
                rows.append({"label": f"… and {len(own) - LISTED:,} weaker ones"})
            if rows:
                groups.append({"name": f"Into {IN_WORDS[into]}: estimate, measured", "rows": rows})
        return groups

    def _free(self) -> None:
        """Whether the button can be pressed."""
        self.run.disabled = not self.circuit.can_start

    # -- gestures ----------------------------------------------------------------------------------------------------------

    @gesture
    def _run(self) -> None:
        self.circuit.start()

    @gesture
    def _select(self) -> None:
        self.circuit.select_circuit(ORIGIN)

    @gesture
    def _pressed(self, press: Press) -> None:
        shown = self.circuit.shown()
        if shown is not None:
            self.circuit.pick_edge(shown.edges[int(press["key"])], ORIGIN)

    @gesture
    def _tapped(self, x: float, y: float, *, additive: bool = False) -> None:
        shown = self.circuit.shown()
        if shown is None:
            return
        drawing, parts = self._drawn(shown)
        node, edge = tapped(drawing, x, y)
        if node >= 0:
            self.circuit.pick(parts[node], ORIGIN, additive=additive)
        elif edge >= 0:
            self.circuit.pick_edge(shown.edges[edge], ORIGIN)


NOTHING = Drawing([], [], np.empty(0), np.empty(0), 1, {})


def _measured(patched: float) -> str:
    return f"measured {three(patched)}" if math.isfinite(patched) else "not measured"
