"""What the view of drills shows: the score of every head of the kind on screen on texts that were made for it."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, ClassVar

from atlas.errors import NotCaptured, NothingYet
from atlas.state.corpora import KEY, CorpusChoices, chosen, name_of
from atlas.state.corpus_heads import READS
from atlas.state.head_plane import HeadPlaneLens
from atlas.state.heads import title_of
from atlas.state.lens import counted
from atlas.state.plane import Cell, Plane
from atlas.tracing.corpus_heads import drills
from atlas.tracing.drills import Drills

if TYPE_CHECKING:
    import pandas as pd

NONE = (
    "The heads of this corpus were not drilled. `atlas drills {model} --corpus FOLDER` does it in a minute for a small model, "
    "where `atlas corpus` has written the corpus to FOLDER."
)

FIGURES = {"value": "score", "from": "lo", "to": "hi", "shuffled": "null", "q": "q"}
"""What a cell says -> column of the drills."""


class DrillsLens(HeadPlaneLens):
    """The score of every head on one sort of drill."""

    key: ClassVar = KEY
    choices_type: ClassVar = CorpusChoices
    reads: ClassVar = {"selection": ("focus",), **READS}
    missing: ClassVar = "not drilled"

    def depends(self) -> Hashable:
        """On the kind, the corpus, the drill and what is hidden."""
        return self.kind, name_of(self.workspace), self.choices.drill, self.choices.threshold

    def reading(self) -> str:
        """The drill."""
        return title_of(self.choices.drill)

    def found(self) -> Drills:
        """All drills of the corpus on screen."""
        _, corpus = chosen(self.workspace)
        held = drills(corpus)
        if held is None:
            raise NothingYet(NONE.format(model=corpus.provenance["model"]))
        return held

    def said(self) -> str:
        """Which heads have what a drill is for, over all drills, and what the model cannot be drilled in."""
        return self.attempt(self._said, "")

    def _said(self) -> str:
        found = self.found()
        rows = found.reasons[["drill", "kind", "reason"]].itertuples(index=False, name=None)
        reasons = [f"Not {title_of(str(drill))}, {kind}: {reason}" for drill, kind, reason in rows]
        return "\n".join([found.sentence, *reasons])

    def _build_plane(self) -> Plane:
        table = self._table()
        if table["score"].isna().all():
            reasons = self.found().reasons
            own = reasons[(reasons["drill"] == self.choices.drill) & (reasons["kind"] == self.kind)]["reason"]
            msg = f"{self.reading()} is not known of {self.of_kind()}: {next(iter(own), 'it was left out.')}"
            raise NotCaptured(msg)
        n, has = int(table["n"].max()), int((table["has"] == True).sum())  # noqa: E712 (a head that was not drilled is unknown)
        self.line = f"{self.reading()} of {self.of_kind()}: mean over {counted(n, 'drill')}; {counted(has, 'head')} with it"
        plane = self.of_heads(table["score"].to_numpy(float))
        return Plane(plane.rows, plane.columns, plane.whole, self.of_heads(table["null"].to_numpy(float)).whole)

    def _table(self) -> pd.DataFrame:
        """The drill of every head of the kind on screen, in the order of heads."""
        table = self.found().table
        here = table[(table["kind"] == self.kind) & (table["drill"] == self.choices.drill)].set_index(["layer", "head"])
        return here.reindex(
            [(layer, head) for layer in range(self.trace.n_layers(self.kind)) for head in range(self.trace.n_heads(self.kind))]
        )

    def _numbers(self, row: int, column: int) -> Cell:
        found = self._table().iloc[row * self.trace.n_heads(self.kind) + column]
        return {name: float(found[figure]) for name, figure in FIGURES.items()}
