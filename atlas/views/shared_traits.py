"""Shared traits: what the selected heads have in common, beside random heads of the same layers."""

from __future__ import annotations

from typing import Any, ClassVar

import holoviews as hv
import pandas as pd
import panel as pn

from atlas.plots.frame import number
from atlas.plots.shared_traits import Trait, height_of, trait_rows
from atlas.state.heads import title_of
from atlas.state.shared_traits import SHOWN, SharedTraitsLens
from atlas.views.base import Export, View, gesture
from atlas.views.events import on_tap
from atlas.views.plain import plain
from atlas.views.shows import Shows

ORIGIN = "traits"


class SharedTraitsView(View):
    """The metrics of the selected heads, with intervals and chance."""

    key: ClassVar = "traits"
    title: ClassVar = "Shared traits"
    question: ClassVar = "What sets these heads apart?"
    help: ClassVar = (
        "A row is a metric of the head table. The dot is the mean of the selected heads, in standard deviations from the mean of "
        "all heads; the line its 95 % interval, were other such heads selected (bootstrap; one head has none). The grey band "
        "holds 95 % of as many heads of the same layers, drawn at random: a dot inside it says nothing. At the right: the mean "
        "and its interval in the metric's own units, and q; point at a dot for the mean of the other heads. Clusters were made "
        "from these metrics, so their q says less than it seems to. The selected heads' mean pattern is in the matrix. Click a "
        "row to select as many heads that have most of the metric (least, where the selected ones have little)."
    )
    defines: ClassVar = ("shared_trait", "shared_trait_chance")
    lens_type: ClassVar = SharedTraitsLens
    traits = Shows(SharedTraitsLens)

    def __init__(self, *given: Any, **params: Any) -> None:
        super().__init__(*given, **params)
        self._hears = [on_tap(self._tapped)]

    def body(self) -> Any:
        """The rows, and what they say in words."""
        streams = [self.follows(self.visibility, ["revision"]), self.follows(self, ["dark"])]
        pane = self.plot_pane(
            hv.DynamicMap(self.drawing(self._rows, no_rows), streams=streams),
            sizing_mode="stretch_width", height=height_of(SHOWN), css_classes=["aa-traits"],
        )  # fmt: skip
        words = self.bound(lambda _: self.traits.words(), self.visibility.param.revision)
        return pn.Column(plain(words, "aa-traits-words"), pane, sizing_mode="stretch_width")

    def export(self) -> Export:
        """Every metric."""
        return Export("traits", self.traits.table(), self._rows())

    def rows(self) -> list[Trait]:
        """The traits as the plot takes them."""
        return [trait_of(row) for _, row in self.traits.shown().iterrows()]

    def _rows(self, **_: Any) -> hv.Overlay:
        return trait_rows(self.rows(), self.traits.reach(), rows=SHOWN, dark=self.dark, hooks=self.faults.hooks(self._hears))

    @gesture
    def _tapped(self, _: float, y: float) -> None:
        row = round(y)
        if 0 <= row < len(self.traits.shown()):
            metric = title_of(str(self.traits.shown().iloc[row]["metric"])).lower()
            most = "least" if self.traits.shown().iloc[row]["z"] < 0 else "most"
            self.workspace.selection.select_heads(self.traits.strongest(row), origin=ORIGIN, label=f"{most} {metric}")


def trait_of(row: pd.Series) -> Trait:
    """A row of the table in the words of the screen."""
    q = "q N/A" if pd.isna(row["q"]) else f"q {number(row['q'])}"
    others = "N/A" if pd.isna(row["others"]) else number(row["others"])
    mean = number(row["mean"])
    interval = "" if pd.isna(row["lo"]) else f"{number(row['lo'])} to {number(row['hi'])}"
    chance = "N/A" if pd.isna(row["uniform"]) else number(row["uniform"])
    about = (
        f"mean {mean}, 95 % {interval or 'N/A: one head'}\nother heads {others}, evenly spread {chance}\n"
        f"z {number(row['z'])}, random heads of the same layers {number(row['chance_lo'])} to {number(row['chance_hi'])}"
    )
    words = f"{mean}{f' ({interval})' if interval else ''} · {q}"
    title = title_of(str(row["metric"]))
    return Trait(title, row["z"], row["z_lo"], row["z_hi"], row["chance_lo"], row["chance_hi"], words, about)


def no_rows() -> hv.Overlay:
    """No traits at all."""
    return trait_rows([], 1.0, rows=SHOWN)
