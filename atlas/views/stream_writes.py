"""The residual stream: what attention and feed-forward add to it, layer by layer."""

from __future__ import annotations

from typing import Any, ClassVar

import holoviews as hv
import numpy as np
import panel as pn
import panel_material_ui as pmui

from atlas.ids import HeadId
from atlas.patches.panes import Markup
from atlas.plots.lines import Line, depth_lines, key_of_parts
from atlas.state.stream_writes import CHANGE, COSINE, StreamWritesLens
from atlas.trace import Trace
from atlas.tracing.stream_writes import STREAM, StreamWrites, without_stream
from atlas.views.base import TIGHT, Export, View, gesture
from atlas.views.events import on_tap
from atlas.views.plain import plain
from atlas.views.shows import Shows

ORIGIN = "stream"

SHOWN = {"cosine to the stream": COSINE, "change by add & norm": CHANGE}

LABELS = {COSINE: "cosine to the stream", CHANGE: "‖out − in‖ / ‖in‖"}

HEIGHT = 215
"""Pixels of each of the two plots."""


class StreamWritesView(View):
    """How long what a layer adds is, where it points, and how much of the state it changes."""

    key: ClassVar = "stream"
    title: ClassVar = "Residual stream"
    question: ClassVar = "What does each layer add?"
    help: ClassVar = (
        "Above: the length of the residual stream as it enters each layer (at 'end' as it leaves the last), and of what "
        "attention and feed-forward add. Below: its cosine to the state it is added to, or how much the addition and the norm "
        "that may follow it change the state. In a post-norm model (BERT) the norm gives all states nearly one length. Means "
        "over the selected tokens; without any, over all but special tokens and, in a decoder, the first. Click a layer to "
        "select its heads."
    )
    defines: ClassVar = ("stream_length", "stream_cosine", "stream_change")
    lens_type: ClassVar = StreamWritesLens
    writes = Shows(StreamWritesLens)

    def __init__(self, *given: Any, **params: Any) -> None:
        super().__init__(*given, **params)
        self._hears = [on_tap(self._tapped)]

    @classmethod
    def fits(cls, trace: Trace) -> str:
        """A trace with the states of its stream, or with its model."""
        return without_stream(trace)

    def tools(self) -> list[Any]:
        """What the lower plot shows."""
        show = self.writes.choices.param.show
        return [pmui.Select.from_param(show, label="Below", options=SHOWN, size="small", margin=TIGHT, width=230)]

    def body(self) -> Any:
        """The two plots, what their colours mean, and what is not known."""
        panes = [
            self.plot_pane(
                hv.DynamicMap(
                    self.drawing(draw, no_lines),
                    streams=[self.follows(self.visibility, ["revision"]), self.follows(self, ["dark"])],
                ),
                sizing_mode="stretch_width", height=HEIGHT, css_classes=[f"aa-stream-{name}"],
            )
            for name, draw in (("lengths", self._lengths), ("below", self._below))
        ]  # fmt: skip
        changes = self.visibility.param.revision
        key = Markup(self.bound(self._key, changes), sizing_mode="stretch_width", margin=(0, 8))
        note = self.bound(lambda _: self._notes(), changes)
        return pn.Column(panes[0], key, panes[1], plain(note, "aa-stream-note"), sizing_mode="stretch_width")

    def export(self) -> Export:
        """Every number of every layer, and both plots."""
        return Export("residual_stream", self.writes.table(), hv.Layout([self._lengths(), self._below()]).cols(1))

    def _lengths(self, **_: Any) -> hv.Overlay:
        found = self.writes.found()
        if found is None:
            return no_lines()
        n = len(found.stream) - 1
        names = [*(f"L{layer}: {STREAM}" for layer in range(n)), f"end: {STREAM}"]
        lines = [Line(STREAM, np.arange(n + 1.0), found.stream, names), *lines_of(found.lengths)]
        return depth_lines(lines, n_layers=n, label="length", dark=self.dark, height=HEIGHT, hooks=self.faults.hooks(self._hears))

    def _below(self, **_: Any) -> hv.Overlay:
        found, show = self.writes.found(), self.writes.choices.show
        if found is None:
            return no_lines()
        lines, reference = lines_of(found.cosines if show == COSINE else found.changes), 0.0 if show == COSINE else np.nan
        return depth_lines(
            lines, n_layers=len(found.stream) - 1, label=LABELS[show], reference=reference, dark=self.dark, height=HEIGHT,
            hooks=self.faults.hooks(self._hears),
        )  # fmt: skip

    def _key(self, _: object) -> str:
        """What the colours mean."""
        found = self.writes.found() if self.workspace.trace is not None else None
        if found is None:
            return ""
        whole = f"{STREAM} (below: the whole layer)" if self.writes.choices.show == CHANGE else STREAM
        return key_of_parts({STREAM: whole, **{block: block for block in found.lengths}})

    def _notes(self) -> str:
        found: StreamWrites | None = self.writes.found() if self.workspace.trace is not None else None
        return "" if found is None else "\n".join(found.notes)

    @gesture
    def _tapped(self, x: float, _: float, *, additive: bool = False) -> None:
        lens, selection, layer = self.writes, self.workspace.selection, round(x)
        kind = lens.kind
        if not 0 <= layer < lens.trace.n_layers(kind):
            return
        heads = [HeadId(kind, layer, head) for head in range(lens.trace.n_heads(kind))]
        if additive:
            selection.toggle_heads(heads, origin=ORIGIN)
        elif set(heads) == set(selection.heads):
            selection.clear("heads", origin=ORIGIN)
        else:
            selection.select_heads(heads, origin=ORIGIN, label=f"layer {layer}")


def lines_of(numbers: Any) -> list[Line]:
    """One line for each part, from the first layer to the last."""
    return [
        Line(part, np.arange(float(len(values))), values, [f"L{layer}: {part}" for layer in range(len(values))])
        for part, values in numbers.items()
    ]


def no_lines() -> hv.Overlay:
    """No lines at all."""
    return depth_lines([], n_layers=1, label="length", height=HEIGHT)
