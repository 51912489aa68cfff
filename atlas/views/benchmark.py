"""Benchmark: how a model scores on a file of stereotypes, and all of its examples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import holoviews as hv
import panel as pn
import panel_material_ui as pmui

from atlas.components.bar_list import BarList, Press
from atlas.patches.panes import Markup
from atlas.plots.benchmark import Score, height_of, key_of_measures, score_points, spread
from atlas.plots.frame import number
from atlas.state.benchmark import ALL, ENDINGS, MEASURES, BenchmarkLens, Row, in_words, without_likelihoods
from atlas.state.readers_file import MOST_BYTES
from atlas.state.workspace import Workspace
from atlas.trace import Trace
from atlas.tracing.benchmarks import KINDS
from atlas.views.base import TIGHT, Export, View, gesture
from atlas.views.plain import plain
from atlas.views.shows import Shows
from atlas.views.table import rows_table
from atlas.views.upload import file_input

if TYPE_CHECKING:
    import pandas as pd

NOTICE = (
    "The sentences of these data sets hurt: they quote stereotypes of gender, race, religion and more on purpose, to measure how "
    "likely a model finds them."
)

HINT = (
    "No results yet. Choose a benchmark and its file, then press Run. StereoSet is read from its authors' dev.json, CrowS-Pairs "
    'from its authors\' CSV, and pairs of sentences from JSONL with a line a pair: {"more": "the stereotyped sentence", '
    '"less": "the other", "category": "gender"}, where "target" and "id" may be given too.'
)

ROWS = 10
"""Examples of a page."""

LETTERS = 160
"""Letters of a sentence at most."""

DIFFERENCE = "Log ratio"

TITLES = {"id": "Id", "category": "Category", "target": "Target", "text": "Example", "difference": DIFFERENCE}

WIDE = {"Id": 110, "Category": 120, "Target": 130, DIFFERENCE: 90, "Example": 520}

SPREAD = {
    True: "log of how much likelier the stereotype is than the anti-stereotype",
    False: "log-likelihood of the more stereotyped sentence minus the other",
}


class BenchmarkView(View):
    """Scores with intervals, their distribution, and an explorer of all examples."""

    key: ClassVar = "benchmark"
    title: ClassVar = "Benchmark"
    question: ClassVar = "How often does the model prefer the stereotype?"
    help: ClassVar = (
        "Choose a file of examples (none comes with Atlas) and which benchmark it is, then run it: the model on screen is asked "
        "how likely it finds every sentence, without the heads that are switched off. Left: scores by category, or by target "
        "once a category is chosen. Bars are 95 % intervals: of StereoSet's categories a bootstrap over target terms, else "
        "Wilson's. Dashed: no preference; an interval that contains it gives no evidence of one. Right: by how much examples "
        "prefer the stereotype; right of the dashed line it is the likelier one. Below are all examples: click one to open its "
        "first sentence as the text of the Atlas, and under the table another of its sentences. A run that was stopped goes on "
        "from there. A score says how a model does on these examples, many of which are debatable, and not what it does in use."
    )
    defines: ClassVar = ("stereoset", "crows_pairs")
    lens_type: ClassVar = BenchmarkLens
    benchmark = Shows(BenchmarkLens)
    wide: ClassVar = True

    def __init__(self, workspace: Workspace, **params: Any) -> None:
        super().__init__(workspace, **params)
        look: dict[str, Any] = {"size": "small", "margin": TIGHT}
        self._echo = False
        self._plots: list[Any] = []
        self.upload = file_input(ENDINGS, MOST_BYTES, "aa-benchmark-file")
        self.start = pmui.Button(label="Run", color="primary", variant="contained", css_classes=["aa-benchmark-run"], **look)
        # Not from_param: what a link names is no option before there are results, and such a value would be dropped.
        self.category = pmui.Select(label="Category", options=[ALL], value=ALL, width=170, **look)
        self.target = pmui.Select(label="Target", options=[ALL], value=ALL, width=170, **look)
        self.table = rows_table(self._rows(), "aa-benchmark-table", [DIFFERENCE], size=ROWS, pagination="remote", widths=WIDE)
        self.hint = plain(HINT, "aa-benchmark-hint")
        self.results = pn.Column(sizing_mode="stretch_width", margin=0)
        self.bars = BarList(dark=self.param.dark, width_of_group=900, letters=LETTERS, css_classes=["aa-benchmark-sentences"])
        self.upload.param.watch(lambda _: self._taken(), "value")
        self.start.on_click(lambda _: self._run())
        self.category.param.watch(lambda event: self._chosen("category", event.new), "value")
        self.target.param.watch(lambda event: self._chosen("target", event.new), "value")
        self.table.on_click(self._clicked)
        self.bars.on_press(self._pressed)

    @classmethod
    def fits(cls, trace: Trace) -> str:
        """A model without likelihoods has no scores."""
        return without_likelihoods(trace)

    def tools(self) -> list[Any]:
        """Which benchmark, its file, how many examples; run."""
        choices, look = self.benchmark.choices.param, {"size": "small", "margin": TIGHT}
        titles = {kind.title: name for name, kind in KINDS.items()}
        return [
            plain(NOTICE, "aa-benchmark-notice"),
            pmui.Select.from_param(choices.benchmark, label="Benchmark", options=titles, width=270, **look),
            self.upload,
            pmui.IntInput.from_param(choices.limit, label="Examples (0: all)", step=100, width=165, **look),
            self.start,
        ]

    def body(self) -> Any:
        """The scores, the distribution, and the examples."""
        self._draw()
        self.visibility.follow_revision(self._draw)
        self.benchmark.param.watch(lambda _: self.benchmark.attempt_drawing(self._free), "busy")
        streams = [self.follows(self.visibility, ["revision"]), self.follows(self, ["dark"])]
        look = {"sizing_mode": "stretch_width", "height": self._needed()}
        scores = self.plot_pane(
            hv.DynamicMap(self.drawing(self._scores, no_scores), streams=streams), css_classes=["aa-benchmark-scores"], **look
        )
        distribution = self.plot_pane(
            hv.DynamicMap(self.drawing(self._spread, no_spread), streams=streams), css_classes=["aa-benchmark-spread"], **look
        )
        shapes = self.bound(lambda _: key_of_measures(self.benchmark.measures(), MEASURES), self.visibility.param.revision)
        notes = self.bound(lambda _: self.benchmark.notes(), self.visibility.param.revision)
        self._plots = [scores, distribution]
        self.results.objects = [
            pn.Row(*self._plots, sizing_mode="stretch_width"),
            Markup(shapes, sizing_mode="stretch_width", margin=(0, 8)),
            plain(notes, "aa-benchmark-notes"),
            pn.FlexBox(self.category, self.target, sizing_mode="stretch_width", margin=(12, 0, 0, 0)),
            self.table,
            self.bars,
        ]
        self._free()
        return pn.Column(self.hint, self.results, sizing_mode="stretch_width")

    def export(self) -> Export:
        """Every example shown, and the plot of scores."""
        return Export("benchmark", self.benchmark.table(), self._scores())

    # -- drawing -------------------------------------------------------------------------------------------------------

    def scores(self) -> list[Score]:
        """The points of the plot."""
        return [
            Score(at, measure, *value, f"{row.name}: {MEASURES[measure]}", f"{in_words(*value)}\n{row.n:,} examples")
            for at, row in enumerate(self.benchmark.rows())
            for measure, value in row.values.items()
        ]

    def _scores(self, **_: Any) -> hv.Overlay:
        rows, measures = self.benchmark.rows(), self.benchmark.measures()
        return score_points([row.name for row in rows], list(map(_said, rows)), self.scores(), measures, dark=self.dark)

    def _spread(self, **_: Any) -> hv.Overlay:
        label = SPREAD[self.benchmark.kind_of.triples]
        return spread(self.benchmark.differences(), label=label, height=self._needed(), dark=self.dark)

    def _rows(self) -> pd.DataFrame:
        """The examples as the table shows them."""
        found = self.benchmark.examples()
        first = found.get("more", found["context"])
        text = first.where(found["context"] == "", found["context"])
        return found.assign(text=text)[list(TITLES)].rename(columns=TITLES)

    def _draw(self) -> None:
        lens = self.benchmark
        lens.shown()
        self._echo = True
        try:
            self.category.param.update(options=lens.categories(), value=lens.category)
            self.target.param.update(options=lens.targets(), value=lens.target)
        finally:
            self._echo = False
        rows = self._rows()
        if not rows.equals(self.table.value):
            self.table.param.update(value=rows, page=1)
        self.set_height(self._needed(), *self._plots)
        self._show_picked()
        self._free()

    def _needed(self) -> int:
        """Pixels of the plots: as many as the rows of scores need."""
        return height_of(len(self.benchmark.rows()))

    def _show_picked(self) -> None:
        found = self.benchmark.sentences()
        rows = [
            {
                "key": column,
                "label": text,
                "number": number(score),
                "note": name,
                "state": "chosen" if self._on_screen(text) else "",
            }
            for column, name, text, score in found
        ]
        groups = [{"name": "Sentences of this example: click one to open it", "rows": rows}] if rows else []
        self.bars.param.update(groups=groups, visible=bool(groups))

    def _on_screen(self, text: str) -> bool:
        trace = self.workspace.trace
        return trace is not None and trace.texts.text == text

    def _free(self) -> None:
        """Whether the button can be pressed, and what it does."""
        found = self.benchmark.found()
        begun = found is not None
        self.results.visible, self.hint.visible = begun, not begun
        goes_on = found is not None and not found.complete
        self.start.param.update(disabled=not self.benchmark.can_run, label="Go on" if goes_on else "Run")

    # -- gestures ------------------------------------------------------------------------------------------------------

    @gesture
    def _taken(self) -> None:
        if isinstance(self.upload.value, bytes):
            self.benchmark.take(str(self.upload.filename), self.upload.value)

    @gesture
    def _chosen(self, name: str, value: str | None) -> None:
        if value is not None and not self._echo:
            setattr(self.benchmark.choices, name, value)

    @gesture
    def _run(self) -> None:
        self.benchmark.run()

    @gesture
    def _clicked(self, event: Any) -> None:
        self.benchmark.open(str(self.table.value["Id"].iloc[event.row]))

    @gesture
    def _pressed(self, press: Press) -> None:
        self.benchmark.open(self.benchmark.picked, press["key"])


def _said(row: Row) -> str:
    """The first measure of a row, and of how many examples it is."""
    return f"{in_words(*next(iter(row.values.values())))}  n {row.n:,}"


def no_scores() -> hv.Overlay:
    """No rows."""
    return score_points((), (), (), ())


def no_spread() -> hv.Overlay:
    """No examples."""
    return spread((), label="")
