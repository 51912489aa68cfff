"""Counterfactuals over many texts: every text beside its counterfactuals, and what a model makes of them."""

from __future__ import annotations

from typing import Any, ClassVar

import holoviews as hv
import pandas as pd
import panel as pn
import panel_material_ui as pmui

from atlas.components.bar_list import BarList, Press
from atlas.plots.benchmark import height_of
from atlas.plots.swap_audit import Change, mean_changes, spread_of_changes
from atlas.state.swap_audit import SwapAuditLens
from atlas.state.validate import LONGEST_NAME
from atlas.state.workspace import Workspace
from atlas.tracing.swap_audit import ATTENDED, CATEGORIES, DETECTED, EVERY, MEASURES, PREDICTED
from atlas.views.base import Export, gesture
from atlas.views.many_texts import LOOK, ManyTextsView
from atlas.views.plain import plain
from atlas.views.shows import Shows
from atlas.views.table import rows_table

ORIGIN = "swap_audit"

HINT = (
    "Nothing is compared yet. Choose texts that come with Atlas, paste your own (one a line), take the list at the side, or "
    "choose a file (.csv or .json with a column of texts, .jsonl, or .txt with a text a line), up to 500 texts; then press Run. "
    "`atlas bias MODEL --counterfactuals FILE` takes more."
)

LABELS = {
    PREDICTED: "change of the prediction",
    DETECTED: "change of the labels' probability",
    ATTENDED: "how far attention moved",
}

RATIO = "times as far as by neutral swaps"

PLOTS = (
    "Left, bars: pairs of a text and its counterfactual; dashed: their neutral swaps. Right: the mean of each exchange with its "
    "95 % interval, filled where it is beyond chance; dashed: no change, or no more than by neutral swaps."
)

ROWS = 10
"""Pairs of a page."""

TITLES = {
    "row": "Row", "swaps": "Exchanged", "value": "Change", "neutral": "Neutral", "ratio": "Ratio", "q": "q", "flagged": "Flagged",
    "flagged_new": "Flagged after", "counterfactual": "Counterfactual",
}  # fmt: skip

NUMBERS = ("Change", "Neutral", "Ratio", "q")

COUNTS = ("Row", "Flagged", "Flagged after")

WIDE = {
    "Row": 60, "Exchanged": 190, "Change": 80, "Neutral": 80, "Ratio": 70, "q": 70, "Flagged": 80, "Flagged after": 96,
    "Counterfactual": 430,
}  # fmt: skip

LETTERS = 160


class SwapAuditView(ManyTextsView):
    """The changes of all pairs with their spread, every exchange of identities, and an explorer of the pairs."""

    key: ClassVar = "swap_audit"
    title: ClassVar = "Counterfactuals over many texts"
    question: ClassVar = "Does it matter who is meant, over many texts?"
    help: ClassVar = (
        "Every text is run beside its counterfactuals (the words of one identity for those of another, or your own swap), and "
        "beside 8 neutral swaps each: other words of the same kind and number of tokens at the same places. Choose what may "
        "change: the prediction (below is said which number), the labels of the detector (mean over words of the likeliest "
        "label's probability), or the attention of the heads (mean over them). Left: the pairs by their change as bars; dashed "
        "the neutral swaps. Right: every exchange, the mean change in the direction of its name with a 95 % interval (texts "
        "resampled); filled: more than chance (q ≤ 0.05 over all exchanges and numbers). For chance the two texts of a pair are "
        "exchanged at random; of attention, which has no direction, the counterfactual and its neutral swaps. A change with a "
        "direction may still be no larger than those of neutral words: the pointer says how many times as large. Below are all "
        "pairs, those that change most first; q there says whether one pair changes more than its neutral swaps do. Click a pair "
        "to open its text, and under the table its counterfactual, or both sides in Compare."
    )
    defines: ClassVar = ("swap_change", "swap_reaction", "counterfactual_reaction", "bias_label")
    css: ClassVar = "aa-swaps"
    before: ClassVar = HINT
    lens_type: ClassVar = SwapAuditLens
    swaps = Shows(SwapAuditLens)
    wide: ClassVar = True

    def __init__(self, workspace: Workspace, **params: Any) -> None:
        super().__init__(workspace, **params)
        self._plots: list[Any] = []
        self.table = rows_table(
            self._rows(), "aa-swaps-table", NUMBERS, counts=COUNTS, size=ROWS, pagination="remote", widths=WIDE
        )
        self.notes = plain("", "aa-swaps-notes")
        self.bars = BarList(dark=self.param.dark, width_of_group=900, letters=LETTERS, css_classes=["aa-swaps-sides"])
        self.both = pmui.Button(label="Both sides in Compare", variant="outlined", css_classes=["aa-swaps-both"], **LOOK)
        self.heads = pmui.Button(label="Select heads", variant="outlined", css_classes=["aa-swaps-heads"], **LOOK)
        self.both.on_click(lambda _: self._beside())
        self.heads.on_click(lambda _: self._select())
        self.table.on_click(self._clicked)
        self.bars.on_press(self._pressed)

    def tools(self) -> list[Any]:
        """The texts, what is exchanged, what may change; run."""
        choices, look = self.swaps.choices.param, LOOK
        categories = {"all identities": EVERY, **{name.replace("-", " "): name for name in CATEGORIES}}
        return [
            *self.texts_tools(),
            pmui.Select.from_param(choices.category, label="Exchange", options=categories, width=188, **look),
            pmui.TextInput.from_param(
                choices.own, label="Your swap instead", placeholder="doctor -> nurse", width=180, max_length=LONGEST_NAME, **look
            ),
            pmui.Select.from_param(
                choices.measure,
                label="What may change",
                options={said: name for name, said in MEASURES.items()},
                width=240,
                **look,
            ),
            # Here and not in the body, which is hidden while there is a problem: it is the way out of one.
            self.start,
        ]

    def body(self) -> Any:
        """The texts typed, the two plots, and the pairs."""
        self._draw()
        self.visibility.follow_revision(self._draw)
        self.follow_run()
        streams = [self.follows(self.visibility, ["revision"]), self.follows(self, ["dark"])]
        look = {"sizing_mode": "stretch_width", "height": self._needed()}
        spread = self.plot_pane(
            hv.DynamicMap(self.drawing(self._spread, no_spread), streams=streams), css_classes=["aa-swaps-spread"], **look
        )
        means = self.plot_pane(
            hv.DynamicMap(self.drawing(self._means, no_means), streams=streams), css_classes=["aa-swaps-means"], **look
        )
        self._plots = [spread, means]
        self.results.objects = [
            pn.Row(*self._plots, sizing_mode="stretch_width"),
            plain(PLOTS, "aa-swaps-key"),
            self.notes,
            self.table,
            self.bars,
            pn.Row(self.both, self.heads, margin=0),
        ]
        self.free()
        return pn.Column(self.pasted, self.invitation, self.results, sizing_mode="stretch_width", margin=0)

    def export(self) -> Export:
        """Every pair, and the plot of exchanges."""
        return Export("counterfactuals-of-texts", self.swaps.table(), self._means())

    # -- drawing -------------------------------------------------------------------------------------------------------

    def _spread(self, **_: Any) -> hv.Overlay:
        lens = self.swaps
        pairs, neutral = lens.changes()
        label = LABELS[lens.measure]
        return spread_of_changes(pairs, neutral, label=label, signed=lens.signed, height=self._needed(), dark=self.dark)

    def _means(self, **_: Any) -> hv.Overlay:
        lens = self.swaps
        rows = [Change(*row) for row in lens.rows()]
        label = f"mean {LABELS[lens.measure]}" if lens.signed else RATIO
        return mean_changes(rows, label=label, reference=0.0 if lens.signed else 1.0, dark=self.dark)

    def _rows(self) -> pd.DataFrame:
        """The pairs as the table shows them."""
        found, measure = self.swaps.pairs(), self.swaps.measure
        if measure not in found:
            return pd.DataFrame(columns=list(TITLES.values()))
        names = {measure: "value", **{f"{measure}_{name}": name for name in ("neutral", "ratio", "q")}}
        return found.rename(columns=names)[list(TITLES)].rename(columns=TITLES)

    def _draw(self) -> None:
        lens = self.swaps
        rows = self._rows()
        if not rows.equals(self.table.value):
            self.table.param.update(value=rows, page=1)
        self.set_height(self._needed(), *self._plots)
        notes = lens.notes()
        self.notes.param.update(object=notes, visible=bool(notes))
        sides = lens.sides()
        rows_of_sides = [{"key": key, "label": text, "note": name, "state": self._state(text)} for key, name, text in sides]
        groups = [{"name": "This pair: click a text to open it", "rows": rows_of_sides}] if sides else []
        self.bars.param.update(groups=groups, visible=bool(groups))
        self.both.visible = bool(sides)
        heads = len(lens.heads())
        several = f"Select the {heads:,} heads that react" if heads > 1 else "Select the head that reacts"
        self.heads.param.update(label=several if heads else "No head reacts beyond neutral swaps", disabled=not heads)
        self.free()

    def _state(self, text: str) -> str:
        trace = self.workspace.trace
        return "chosen" if trace is not None and trace.texts.text == text else ""

    def _needed(self) -> int:
        """Pixels of the plots: as many as the rows of exchanges need."""
        found = self.swaps.found()
        return height_of(0 if found is None else len(self.swaps.rows_of(found)))

    # -- gestures ------------------------------------------------------------------------------------------------------

    @gesture
    def _clicked(self, event: Any) -> None:
        shown = self.swaps.pairs()
        if 0 <= event.row < len(shown):
            self.swaps.open(int(shown["pair"].iloc[event.row]))

    @gesture
    def _pressed(self, press: Press) -> None:
        self.swaps.open(self.swaps.picked, press["key"])

    @gesture
    def _beside(self) -> None:
        self.swaps.beside()

    @gesture
    def _select(self) -> None:
        self.swaps.select_heads(ORIGIN)


def no_spread() -> hv.Overlay:
    """No pairs."""
    return spread_of_changes((), (), label="", signed=True)


def no_means() -> hv.Overlay:
    """No exchanges."""
    return mean_changes((), label="", reference=0.0)
