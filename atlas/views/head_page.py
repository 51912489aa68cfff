"""The head page: what one head does over many texts."""

from __future__ import annotations

from typing import Any, ClassVar

import holoviews as hv
import panel as pn
import panel_material_ui as pmui

from atlas.components.bar_list import BarList, Press
from atlas.plots.corpus import HEIGHT, Spread, distances, height_of, spreads
from atlas.plots.frame import number
from atlas.state.corpora import name_of
from atlas.state.head_page import SIDES, SPREADS, HeadPageLens, decile_words, inside, link_words
from atlas.state.heads import title_of
from atlas.state.prediction_words import outcome_labels
from atlas.state.workspace import Workspace
from atlas.views.base import TIGHT, Export, gesture
from atlas.views.corpus_choice import CorpusView
from atlas.views.plain import plain
from atlas.views.shows import Shows

LETTERS = 64
"""Letters of a text in the list of examples: its strongest links need the rest of the line."""

KEY = (
    "Orange: the mean and its 95 % interval; box: half of the texts; line: nine of ten; dashed: attention spread evenly over the "
    "same texts."
)


class HeadPageView(CorpusView):
    """One head over many texts."""

    key: ClassVar = "head_page"
    title: ClassVar = "Head page"
    question: ClassVar = "What does this head do over many texts?"
    help: ClassVar = (
        "The head in focus, measured over a corpus that was read before. A role is named only where it is earned: the whole "
        "interval more than half of the way from chance to everything. Left: how its shares of attention spread over the texts; "
        "right: how far it looks, in tokens (negative: back). Tokens: which get most of its attention over the corpus, and which "
        "give most of theirs to other than special and first tokens; a bar is the sum, the number the mean of an occurrence. "
        "Examples: the text with the most of a role and one text drawn from every tenth of the texts, because a head "
        "that looks single-minded at the top may do it nowhere else. Press an example to open it as the text of the Atlas, with "
        "this head in focus."
    )
    defines: ClassVar = ("corpus_mean", "corpus_role", "excess")
    has_groups: ClassVar = False
    lens_type: ClassVar = HeadPageLens
    page = Shows(HeadPageLens)
    needs_corpus: ClassVar = False  # without one it says how one is made
    wide: ClassVar = True

    def __init__(self, workspace: Workspace, **params: Any) -> None:
        super().__init__(workspace, **params)
        self.tokens = BarList(dark=self.param.dark, width_of_group=360, letters=24, css_classes=["aa-head-tokens"])
        self.examples = BarList(dark=self.param.dark, width_of_group=900, letters=LETTERS, css_classes=["aa-head-examples"])
        self.examples.on_press(self._pressed)
        self.metric = pmui.Select(label="Examples of", options={}, size="small", margin=TIGHT, width=200)
        self.metric.param.watch(self._chosen, "value")
        self.results = pn.Column(sizing_mode="stretch_width", margin=0)
        self.distances = pn.Column(sizing_mode="stretch_width", margin=0)
        """A place for the plot that can be hidden: a plot itself cannot (Panel 1.9 tells its figure of a design it has not)."""
        self._spreads: Any = None
        self._away: Any = None
        self._echo = False

    def tools(self) -> list[Any]:
        """Which corpus, and examples of what."""
        return [self.corpus, self.metric]

    def body(self) -> Any:
        """Words, numbers, tokens, examples."""
        self._draw()
        self.visibility.follow_revision(self._draw)
        streams = [self.follows(self.visibility, ["revision"]), self.follows(self, ["dark"])]
        look: dict[str, Any] = {"sizing_mode": "stretch_width"}
        self._spreads = self.plot_pane(
            hv.DynamicMap(self.drawing(self._drawn_spreads, no_spreads), streams=streams), height=self._needed(),
            css_classes=["aa-head-spreads"], **look,
        )  # fmt: skip
        self._away = self.plot_pane(
            hv.DynamicMap(self.drawing(self._drawn_distances, no_distances), streams=streams), height=HEIGHT,
            css_classes=["aa-head-distances"], **look,
        )  # fmt: skip
        self.distances.objects = [self._away]
        words = self.bound(lambda _: self.page.words(), self.visibility.param.revision)
        self.results.objects = [
            plain(words, "aa-head-words"),
            pn.Row(
                pn.Column(self._spreads, plain(KEY, "aa-head-key"), sizing_mode="stretch_width"),
                pn.Column(self.distances, self.tokens, sizing_mode="stretch_width"),
                sizing_mode="stretch_width",
            ),
            self.examples,
        ]
        return self.results

    def export(self) -> Export:
        """The metrics of the head, and their plot."""
        return Export(f"head_{self.page.head}".replace(" ", "_"), self.page.table(), self._drawn_spreads())

    # -- drawing -------------------------------------------------------------------------------------------------------

    def rows(self) -> list[Spread]:
        """The metrics as the plot takes them."""
        return [
            Spread(title_of(row.metric), row.mean, row.lo, row.hi, row.uniform, row.quantiles, row.n)  # type: ignore[arg-type]
            for row in self.page.spreads()
        ]

    def _drawn_spreads(self, **_: Any) -> hv.Overlay:
        return spreads(self.rows(), dark=self.dark)

    def _drawn_distances(self, **_: Any) -> hv.Overlay:
        found = self.page.distances()
        return distances(list(found["name"]), found["mass"], found["mass_uniform"], dark=self.dark)

    def _has_distances(self) -> bool:
        """Between two texts there are none."""
        return bool(self.page.distances()["mass"].notna().any())

    def _needed(self) -> int:
        return height_of(len(self.page.spreads()) if name_of(self.workspace) else len(SPREADS))

    def _draw(self) -> None:
        page = self.page
        page.words()
        self.results.visible = bool(name_of(self.workspace))
        if not self.results.visible:
            self.metric.visible = False
            return
        metrics = {title_of(metric): metric for metric in page.example_metrics()}
        self._echo = True
        try:
            self.metric.param.update(options=metrics, value=page.metric() or None, visible=bool(metrics))
        finally:
            self._echo = False
        self.tokens.groups = [self._tokens(side) for side in SIDES]
        self.examples.groups = self._examples()
        self.set_height(self._needed(), self._spreads)
        self.distances.visible = self._has_distances()

    def _tokens(self, side: str) -> dict[str, Any]:
        found = self.page.tokens(side)
        most = float(found["mass"].max()) if len(found) else 1.0
        rows = [
            {
                "label": label,
                "shares": [mass / most],
                "number": number(each),
                "note": f"{number(mass)} in {count:,}",
            }
            for label, (mass, count, each) in zip(
                outcome_labels(list(map(str, found["token"]))),
                found[["mass", "count", "each"]].itertuples(index=False, name=None),
                strict=True,
            )
        ]
        return {"name": SIDES[side], "note": "mean; sum (the bar) in how many", "rows": rows}

    def _examples(self) -> list[dict[str, Any]]:
        rows = [
            {
                "key": each.key,
                "label": shortened(each.text),
                "number": number(each.value),
                "note": f"{decile_words(each.decile)} · {link_words(each.links)}",
                "state": "chosen" if self._on_screen(each.text) else "",
            }
            for each in self.page.examples()
        ]
        name = f"Examples of {inside(title_of(self.page.metric()))}: press one to open it"
        return [{"name": name, "rows": rows}] if rows else []

    def _on_screen(self, text: str) -> bool:
        trace = self.workspace.trace
        return trace is not None and trace.texts.text == text

    # -- gestures ------------------------------------------------------------------------------------------------------

    @gesture
    def _chosen(self, event: Any) -> None:
        if event.new and not self._echo:
            self.page.choices.exemplars = event.new

    @gesture
    def _pressed(self, press: Press) -> None:
        self.page.open(press["key"])


def shortened(text: str) -> str:
    """The beginning of a text in one line."""
    line = " ".join(text.split())
    return line if len(line) <= LETTERS else f"{line[: LETTERS - 1]}…"


def no_spreads() -> hv.Overlay:
    """No metrics."""
    return spreads([])


def no_distances() -> hv.Overlay:
    """No distances."""
    return distances([], [], [])
