"""Probes by depth: how well each label can be read from the residual stream of the model on screen."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, ClassVar

import holoviews as hv
import numpy as np
import panel as pn
import panel_material_ui as pmui

from atlas.patches.panes import Markup
from atlas.plots.lines import Line, Ranges, depth_lines, key_of_parts
from atlas.state.detection import FIELDS, TITLES
from atlas.state.probes import ProbesLens, interval, without_stream
from atlas.state.readers_file import MOST_BYTES, TEXT_ENDINGS
from atlas.state.workspace import Workspace
from atlas.trace import Trace
from atlas.views.base import TIGHT, Export, View, gesture
from atlas.views.events import on_tap
from atlas.views.plain import plain
from atlas.views.shows import Shows
from atlas.views.upload import file_input

if TYPE_CHECKING:
    import pandas as pd

ORIGIN = "probes"

HEIGHT = 240
"""Pixels of a plot."""

CHANCE = 0.5

PROBE, CONTROL = "probe", "control task"

HINT = (
    "No probes yet. Choose a file of texts (.csv or .json with a column of texts, .jsonl, or .txt with a text a line), then "
    "press Fit probes. Some dozens of texts at least: a label needs 30 flagged words in 5 texts. Up to 500 texts are read here, "
    "more by `atlas audit --depth`."
)


class ProbesView(View):
    """The rank quality of linear probes over the layers, beside their control task."""

    key: ClassVar = "probes"
    title: ClassVar = "Probes by depth"
    question: ClassVar = "In which layers can each label be read from the model's states?"
    help: ClassVar = (
        "Every text of your file is labelled by the detector (the model on screen where it is one, else gus-mini, at the "
        "thresholds of 'Biased words') and run through the model on screen. At every depth a linear probe learns to tell words "
        "with a label from others by their state in the residual stream; each text is judged by a probe that has not seen it. "
        "Blue: how often the probe ranks a flagged word above another one, with a 95 % interval (texts resampled). Grey: the "
        "same for a control task, labels given to spellings at random. Only what the blue line has above the grey one and above "
        "0.5 (dashed, chance) is more than knowing the words. At the left what enters a layer, at the end what leaves the last. "
        "That a label can be read there does not say that the model uses it, and the labels are the detector's, not the truth. "
        "Click a layer to select its heads."
    )
    defines: ClassVar = ("decodability", "bias_label")
    lens_type: ClassVar = ProbesLens
    probes = Shows(ProbesLens)
    wide: ClassVar = True

    def __init__(self, workspace: Workspace, **params: Any) -> None:
        super().__init__(workspace, **params)
        look: dict[str, Any] = {"size": "small", "margin": TIGHT}
        self.upload = file_input(TEXT_ENDINGS, MOST_BYTES, "aa-probes-file")
        self.start = pmui.Button(label="Fit probes", color="primary", variant="contained", css_classes=["aa-probes-run"], **look)
        self.upload.param.watch(lambda _: self._taken(), "value")
        self.start.on_click(lambda _: self._run())
        self.hint = plain(HINT, "aa-probes-hint")
        self.notes = plain("", "aa-probes-notes")
        self.results = pn.Column(sizing_mode="stretch_width", margin=0)
        self._columns: dict[str, pn.Column] = {}
        self._hears = [on_tap(self._tapped)]

    @classmethod
    def fits(cls, trace: Trace) -> str:
        """Probes run the model on the texts of a file."""
        return without_stream(trace)

    def tools(self) -> list[Any]:
        """The file, its column, and the press."""
        column = self.probes.choices.param.column
        return [
            self.upload,
            pmui.TextInput.from_param(column, label="Column of texts", width=150, size="small", margin=TIGHT),
            # Here and not in the body, which is hidden while there is a problem: it is the way out of one.
            self.start,
        ]

    def body(self) -> Any:
        """A plot a label, and what is missing."""
        self._columns = {label: self._plot(label) for label in FIELDS}
        key = key_of_parts({PROBE: PROBE, CONTROL: CONTROL}, "bars: 95 % intervals; dashed: chance")
        marks = Markup(key, sizing_mode="stretch_width", margin=(0, 8))
        self.results.objects = [pn.Row(*self._columns.values(), sizing_mode="stretch_width", margin=0), marks]
        self._draw()
        self.visibility.follow_revision(self._draw)
        self.probes.param.watch(lambda _: self.probes.attempt_drawing(self._free), ["busy", "problem"])
        return pn.Column(self.hint, self.notes, self.results, sizing_mode="stretch_width", margin=0)

    def export(self) -> Export:
        """Every label and layer, and the plots beside each other."""
        drawn = [self._lines(label).opts(title=TITLES[label]) for label in FIELDS if self.probes.of_label(label) is not None]
        return Export("probes", self.probes.table(), hv.Layout(drawn) if drawn else None)

    def _plot(self, label: str) -> pn.Column:
        streams = [self.follows(self.visibility, ["revision"]), self.follows(self, ["dark"])]
        drawn = hv.DynamicMap(self.drawing(functools.partial(self._lines, label), no_probes), streams=streams)
        pane = self.plot_pane(drawn, sizing_mode="stretch_width", height=HEIGHT, css_classes=["aa-probes"])
        return pn.Column(plain(TITLES[label], "aa-probes-title"), pane, sizing_mode="stretch_width", margin=0)

    def _lines(self, label: str, **_: Any) -> hv.Overlay:
        return probe_lines(self.probes.of_label(label), dark=self.dark, hooks=self.faults.hooks(self._hears))

    def _draw(self) -> None:
        shown = self.probes.shown() is not None
        for label, column in self._columns.items():
            column.visible = shown and self.probes.of_label(label) is not None
        notes = self.probes.notes()
        self.notes.param.update(object=notes, visible=bool(notes))
        self.hint.visible, self.results.visible = not shown, any(column.visible for column in self._columns.values())
        self._free()

    def _free(self) -> None:
        """Whether the button can be pressed."""
        self.start.disabled = not self.probes.can_start

    @gesture
    def _taken(self) -> None:
        if isinstance(self.upload.value, bytes):
            self.probes.take(str(self.upload.filename), self.upload.value)

    @gesture
    def _run(self) -> None:
        self.probes.start()

    @gesture
    def _tapped(self, x: float, y: float, *, additive: bool = False) -> None:  # noqa: ARG002  (a tap has no other meaning)
        self.probes.select_layer(round(x), ORIGIN)


def probe_lines(table: pd.DataFrame | None, *, dark: bool = False, hooks: Any = ()) -> hv.Overlay:
    """The probes of a label over the layers with their intervals, beside the control task and chance."""
    rows = [] if table is None else table.to_dict("records")
    x, auc, low, high, control = ([float(row[name]) for row in rows] for name in ("layer", "auc", "lo", "hi", "control"))
    names = [f"what enters layer {row['layer']}" for row in rows[:-1]] + ["what leaves the last layer"] * bool(rows)
    return depth_lines(
        [
            Line(CONTROL, np.array(x), np.array(control), [f"{name}: control task" for name in names]),
            Line(PROBE, np.array(x), np.array(auc), [f"{name}{interval(row)}" for name, row in zip(names, rows, strict=True)]),
        ],
        n_layers=max(1, len(rows) - 1),
        label="share of pairs ranked rightly (AUC)",
        reference=CHANCE,
        ranges=Ranges(PROBE, np.array(x), np.array(low), np.array(high)),
        dark=dark,
        height=HEIGHT,
        hooks=hooks,
    )


def no_probes() -> hv.Overlay:
    """No probes."""
    return probe_lines(None)
