"""Composition: the earlier heads that the head in focus reads through its queries, keys and values."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import panel as pn
import panel_material_ui as pmui

from atlas.plots.frame import number
from atlas.plots.signed_bars import Bar
from atlas.state.composition import NAMES, CompositionLens
from atlas.state.why import WRITERS
from atlas.trace import Trace
from atlas.tracing.composition import PATHS, without_composition
from atlas.tracing.why import without_parts
from atlas.views.base import TIGHT, Export
from atlas.views.plain import plain
from atlas.views.shows import Shows
from atlas.views.signed_lists import SignedLists


class CompositionView(SignedLists):
    """The writers that one head reads, by path."""

    key: ClassVar = "composition"
    title: ClassVar = "Composition"
    question: ClassVar = "Which earlier heads does this head read?"
    help: ClassVar = (
        "The head in focus makes its queries, its keys and its values of what the embeddings and the heads and feed-forward "
        "blocks before it wrote. Each list shares out one of them among its writers, on this text or on the selected tokens: "
        "queries and keys by what they do to the differences between the scores of a row, values by what the head reads. The "
        "shares of a list sum to 1; orange adds, purple takes away. Above each list stands the mean size of an earlier head's "
        "share, which is what a head drawn at random has. Click a head to focus it. The switch draws the heads that are read "
        "more than that as arrows on the Map."
    )
    defines: ClassVar = ("composition_share",)
    lens_type: ClassVar = CompositionLens
    composition = Shows(CompositionLens)
    wide: ClassVar = True
    rows: ClassVar = dict.fromkeys(PATHS, WRITERS + 1)
    label: ClassVar = "share"

    @classmethod
    def fits(cls, trace: Trace) -> str:
        """A trace with queries, keys and its model, and with earlier heads."""
        return without_parts(trace, trace.kinds[0]) or without_composition(trace)

    def tools(self) -> list[Any]:
        """Whether the Map has arrows."""
        arrows = self.composition.choices.param.arrows
        return [pmui.Switch.from_param(arrows, label="Arrows on the Map", size="small", margin=TIGHT)]

    def body(self) -> Any:
        """The three lists beside each other, and what is held."""
        lists = self.listed()
        notes = plain(self.bound(lambda _: self.composition.notes(), self.visibility.param.revision), "aa-composition-notes")
        row = pn.Row(*(lists[path] for path in PATHS), sizing_mode="stretch_width", margin=0)
        return pn.Column(row, notes, sizing_mode="stretch_width", margin=0)

    def export(self) -> Export:
        """Every writer of every path, and the lists."""
        return Export("composition", self.composition.table(), self.picture())

    def bars(self, name: str) -> list[Bar]:
        """The writers of one path."""
        shown = self.composition.shown()
        if shown is None:
            return []
        what = "what the head reads" if name == "v" else "the differences between scores"
        signed = [("+" if row.part > 0 else "") + number(row.part) for row in shown.rows[name]]
        return [Bar(row.name, row.part, words, f"{words} of {what}") for row, words in zip(shown.rows[name], signed, strict=True)]

    def heading(self, name: str) -> str:
        """The path, and what a head drawn at random has."""
        shown = self.composition.shown()
        if shown is None:
            return ""
        chance = shown.found.chance[name]
        beside = "there is no earlier head" if np.isnan(chance) else f"an earlier head by chance ±{number(chance)}"
        return f"Through its {NAMES[name]} ({name}); {beside}"

    def focus(self, name: str, place: int) -> None:
        """Focus the head of a row."""
        self.composition.focus(name, place, self.key)
