"""Heads, bias and performance: what a model gains and loses on a benchmark without each head."""

from __future__ import annotations

from typing import Any, ClassVar

import holoviews as hv
import pandas as pd
import panel as pn
import panel_material_ui as pmui

from atlas.ids import HeadId
from atlas.patches.panes import Markup
from atlas.plots.frame import number
from atlas.plots.heads import ScatterConfig, colour_key
from atlas.plots.tradeoff import MOST_INTERVALS, Heads, tradeoff_scatter
from atlas.state.benchmark import ENDINGS, without_likelihoods
from atlas.state.lens import counted
from atlas.state.readers_file import MOST_BYTES
from atlas.state.tradeoff import NAMES, RANKS, TradeoffLens
from atlas.state.workspace import Workspace
from atlas.trace import Trace
from atlas.tracing.benchmarks import KINDS
from atlas.tracing.tradeoff import ATTENTION, FAIRNESS, LOG_RATIO, PARTS, PERFORMANCE, SCORE
from atlas.tracing.verdict import p_words
from atlas.views.base import TIGHT, Export, View, gesture
from atlas.views.benchmark import NOTICE
from atlas.views.colour_key import key_markup
from atlas.views.events import on_select
from atlas.views.head_effects import BECOME
from atlas.views.plain import plain
from atlas.views.shows import Shows
from atlas.views.table import rows_table
from atlas.views.upload import file_input

ORIGIN = "tradeoff"

HINT = (
    "No results yet. Choose a benchmark and its file here or in the card 'Benchmark' (both read the same one), then press Run. "
    "The model is asked about every example once with all heads and once without each, which takes a minute or more; the button "
    "says how long."
)

MEASURED = {"the benchmark's scores": SCORE, "log-likelihoods": LOG_RATIO}

Y_LABEL = {SCORE: "bias removed (points closer to 50)", LOG_RATIO: "bias removed (closer to a log-ratio of 0)"}

FRONT_LABEL = "on the front, share of samples"

TITLES = {
    "name": "Head", "composite": "Composite", RANKS[ATTENTION]: "Attention × bias", RANKS[PERFORMANCE]: "Performance",
    RANKS[FAIRNESS]: "Fairness",
    "bias_removed": "Bias removed", "score_change": "Score change", "score_change_q": "q of score",
    "performance_change": "Performance change", "performance_change_q": "q of performance", "front_share": "On the front",
}  # fmt: skip
"""Columns of the table, and what they are called."""

ROWS = 8
"""Heads of a page."""


class TradeoffView(View):
    """Both effects of every head, the front, the composite, and a test of selected heads."""

    key: ClassVar = "tradeoff"
    title: ClassVar = "Heads, bias and performance"
    question: ClassVar = "Which heads carry bias, and what do they cost?"
    help: ClassVar = (
        "Every point is a head that was switched off by itself while the model was asked about the same examples. Upwards: how "
        "much closer the stereotype score comes to 50 without it (by likelihoods, which also move where no example changes "
        "sides: the mean preference to none). To the right: how performance changes without it, so a head "
        "left of 0 costs performance when it goes. The cross is the model with all heads. The line is the Pareto front: no other "
        "head removes as much bias at as little cost. The darker (on a dark page: the brighter) a point, the more bootstrap "
        "samples of the examples have it on the front; a front always has heads on it, also where nothing but chance made it. "
        "Grey band: 95 % of all heads where it is chance which sentence of an example is the stereotype; dashed: the best of all "
        "heads stays below that in 95 % of such draws. Intervals of selected heads are drawn (95 %, over target terms or pairs). "
        "Tap a point or draw a lasso to select heads, then test them on held-out examples: these are of other target terms, and "
        "random heads of the same layers stand beside. The table ranks heads by a composite whose weights are yours; it is a "
        "rank among heads and no evidence. A benchmark says how a model does on its examples, many of which are debatable."
    )
    defines: ClassVar = ("head_tradeoff", "pareto_front", "bias_composite", "held_out_heads")
    lens_type: ClassVar = TradeoffLens
    tradeoff = Shows(TradeoffLens)
    wide: ClassVar = True
    beside: ClassVar = 480

    def __init__(self, workspace: Workspace, **params: Any) -> None:
        super().__init__(workspace, **params)
        look: dict[str, Any] = {"size": "small", "margin": TIGHT}
        self._hears = [on_select(self._picked)]
        self.upload = file_input(ENDINGS, MOST_BYTES, "aa-tradeoff-file")
        self.start = pmui.Button(label="Run", color="primary", variant="contained", css_classes=["aa-tradeoff-run"], **look)
        self.test = pmui.Button(
            label="Test on held-out examples", color="primary", variant="outlined", css_classes=["aa-tradeoff-test"], **look
        )
        numbers = list(TITLES.values())[1:]
        self.table = rows_table(self._rows(), "aa-tradeoff-table", numbers, size=ROWS, pagination="local")
        self.hint = plain(HINT, "aa-tradeoff-hint")
        self.sentence = plain("", "aa-tradeoff-sentence")
        self.results = pn.Column(sizing_mode="stretch_width", margin=0)
        self.upload.param.watch(lambda _: self._taken(), "value")
        self.start.on_click(lambda _: self._run())
        self.test.on_click(lambda _: self._test())
        self.table.on_click(self._clicked)

    @classmethod
    def fits(cls, trace: Trace) -> str:
        """A model without likelihoods has no scores."""
        return without_likelihoods(trace)

    def tools(self) -> list[Any]:
        """Which benchmark, its file, how many examples, what a head becomes; run."""
        choices, look = self.tradeoff.choices.param, {"size": "small", "margin": TIGHT}
        titles = {kind.title: name for name, kind in KINDS.items()}
        return [
            plain(NOTICE, "aa-tradeoff-notice"),
            pmui.Select.from_param(
                self.tradeoff.files.choices.param.benchmark, label="Benchmark", options=titles, width=270, **look
            ),
            self.upload,
            pmui.IntInput.from_param(choices.limit, label="Examples at most", step=100, width=150, **look),
            pmui.Select.from_param(choices.by, label="Measured by", options=MEASURED, width=220, **look),
            pmui.Select.from_param(choices.how, label="Removed heads become", options=BECOME, width=160, **look),
            self.start,
        ]

    def body(self) -> Any:
        """The scatter, the ranking, and the test."""
        self.visibility.follow_revision(self._draw)
        self.visibility.follow_marks(self._free)
        self.tradeoff.param.watch(lambda _: self.tradeoff.attempt_drawing(self._free), "busy")
        own = self.visibility.param
        drawn = hv.DynamicMap(
            self.drawing(self._scatter, lambda: no_heads(dark=self.dark)),
            streams=[self.follows(self.visibility, ["revision", "marks"]), self.follows(self, ["dark"])],
        )
        pane = self.plot_pane(drawn, sizing_mode="stretch_width", height=420, css_classes=["aa-tradeoff-plot"])
        choices = self.tradeoff.choices.param
        weights = [
            pmui.FloatSlider.from_param(
                choices[part], label=f"Weight of {NAMES[part]}", step=0.05, size="small", margin=TIGHT, width=270
            )
            for part in PARTS
        ]
        self.results.objects = [
            pane,
            Markup(self.bound(self._key, own.revision, own.marks, self.param.dark), sizing_mode="stretch_width", margin=(0, 8)),
            plain(self.bound(lambda _: self.tradeoff.notes(), own.revision), "aa-tradeoff-notes"),
            pn.FlexBox(self.test, sizing_mode="stretch_width", margin=(10, 0, 0, 0)),
            self.sentence,
            pn.FlexBox(
                *weights, gap="24px", sizing_mode="stretch_width", margin=(12, 0, 0, 0), css_classes=["aa-tradeoff-weights"]
            ),
            plain(self.bound(lambda _: self.tradeoff.composite_words(), own.revision), "aa-tradeoff-composite"),
            self.table,
        ]
        self._draw()
        return pn.Column(self.hint, self.results, sizing_mode="stretch_width")

    def export(self) -> Export:
        """Every head with all its numbers, and the scatter."""
        return Export("heads_bias_performance", self.tradeoff.table(), self._scatter())

    # -- drawing -------------------------------------------------------------------------------------------------------

    def heads(self) -> Heads | None:
        """The heads as the plot draws them."""
        found = self.tradeoff.shown()
        if found is None:
            return None
        points = self.tradeoff.points()
        points = points.rename(columns={
            "performance_change": "x", "bias_removed": "y", "performance_change_lo": "x_lo", "performance_change_hi": "x_hi",
            "bias_removed_lo": "y_lo", "bias_removed_hi": "y_hi", "front_share": "value",
        })  # fmt: skip
        kinds = sorted(set(points["kind"]))
        points["label"] = [HeadId(*row).label(kinds) for row in points[["kind", "layer", "head"]].itertuples(index=False)]
        rows: list[dict[Any, Any]] = points.to_dict("records")
        points["about"] = [
            f"score without it {number(row['score'])} (change {number(row['score_change'])}, "
            f"q {p_words(row['score_change_q'])})\nq of the change of performance {p_words(row['performance_change_q'])}"
            for row in rows
        ]
        chance = found.chance
        return Heads(points, points["front"].to_numpy(dtype=bool), (chance.lo, chance.hi, chance.best))

    def _x_label(self) -> str:
        found = self.tradeoff.shown()
        return f"change of the {found.measures.performance}" if found is not None else ""

    def _scatter(self, **_: Any) -> hv.Overlay:
        return tradeoff_scatter(
            self.heads(), x_label=self._x_label(), y_label=Y_LABEL[self.tradeoff.choices.by], colour_label=FRONT_LABEL,
            dark=self.dark, hooks=self.faults.hooks(self._hears),
        )  # fmt: skip

    def _key(self, *_: object) -> str:
        found = self.heads()
        if found is None:
            return ""
        entries = colour_key(found.table, **ScatterConfig(dark=self.dark, colour_limits=(0.0, 1.0)))
        many = int(found.table["selected"].sum()) > MOST_INTERVALS
        without = f" · intervals are drawn of {MOST_INTERVALS} heads at most" if many else ""
        return key_markup(
            entries, f"{FRONT_LABEL}:", f"line: front · grey: chance · dashed: the best of all heads by chance{without}"
        )

    def _rows(self) -> pd.DataFrame:
        """The heads as the table shows them."""
        found = self.tradeoff.ranking()
        if found.empty:
            found = pd.DataFrame(columns=list(TITLES))
        else:
            kinds = sorted(set(found["kind"]))
            found["name"] = [HeadId(*row).label(kinds) for row in found[["kind", "layer", "head"]].itertuples(index=False)]
        return found[list(TITLES)].rename(columns=TITLES)

    def _draw(self) -> None:
        lens = self.tradeoff
        found = lens.shown()
        tested = lens.tested()
        self.sentence.param.update(object="" if tested is None else tested.sentence, visible=tested is not None)
        rows = self._rows()
        if not rows.equals(self.table.value):
            self.table.param.update(value=rows, page=1)
        self.results.visible, self.hint.visible = found is not None, found is None
        self._free()

    def _free(self) -> None:
        """Whether the buttons can be pressed, and what that costs."""
        if self.workspace.trace is None:
            return
        lens, cost = self.tradeoff, self.tradeoff.cost()
        label = "Run" if cost is None else f"Run ({cost.passes:,} passes, about {max(1, round(cost.seconds)):,} s)"
        self.start.param.update(label=label, disabled=not lens.can_start)
        heads = lens.chosen()
        which = counted(len(heads), "selected head") if heads else "selected heads"
        self.test.param.update(label=f"Switch {which} off on held-out examples", disabled=not lens.can_test)

    # -- gestures ------------------------------------------------------------------------------------------------------

    @gesture
    def _taken(self) -> None:
        if isinstance(self.upload.value, bytes):
            self.tradeoff.files.take(str(self.upload.filename), self.upload.value)

    @gesture
    def _run(self) -> None:
        self.tradeoff.start()

    @gesture
    def _test(self) -> None:
        self.tradeoff.test()

    @gesture
    def _picked(self, rows: list[int]) -> None:
        chosen = self.tradeoff.at(rows)
        selection = self.workspace.selection
        if set(chosen) != set(selection.heads):
            selection.select_heads(chosen, origin=ORIGIN, label="heads by bias and performance" if len(chosen) > 1 else "")

    @gesture
    def _clicked(self, event: Any) -> None:
        row = self.tradeoff.ranking().iloc[event.row]
        self.workspace.selection.pick(HeadId(str(row["kind"]), int(row["layer"]), int(row["head"])), origin=ORIGIN)


def no_heads(*, dark: bool = False) -> hv.Overlay:
    """No results."""
    return tradeoff_scatter(None, x_label="", y_label="", colour_label=FRONT_LABEL, dark=dark)
