"""What the view of drills shows: the score of every head of the kind on screen on texts that were made for it."""

from __future__ import annotations

import functools
from collections.abc import Hashable
from typing import TYPE_CHECKING, Any, ClassVar
from weakref import WeakKeyDictionary

from atlas.errors import NotCaptured, NothingYet
from atlas.state.asking import Progress, Takes
from atlas.state.corpora import KEY, CorpusChoices, chosen_whole, whole_name_of
from atlas.state.corpus_heads import READS
from atlas.state.head_plane import HeadPlaneLens
from atlas.state.heads import title_of
from atlas.state.lens import counted
from atlas.state.plane import Cell, Plane
from atlas.state.pressed import PressedLens
from atlas.tracing.corpus import Corpus
from atlas.tracing.corpus_heads import drills, with_drills
from atlas.tracing.drills import DRILL, DRILLS, Drills

if TYPE_CHECKING:
    import pandas as pd

NONE = (
    "The heads of this corpus were not drilled. Press Drill: it takes seconds for a small model, and is kept for this session. "
    "`atlas drills {model} --corpus FOLDER` keeps it beside a corpus that `atlas corpus` has written to FOLDER."
)

CHANGED = "Heads are switched off on screen, and drills are of the model as it is. Switch them on again, then drill."

OTHER = "The corpus is of other weights of {model} than those on screen, so these heads are not those that it tells of."

NO_MODEL = "Heads are drilled in the app, on a model that is here."

PASSES = 64
"""Passes of one sort of drill at most, of texts as short as a line: 32 drills and as many shuffled."""

FIGURES = {"value": "score", "from": "lo", "to": "hi", "shuffled": "null", "q": "q"}
"""What a cell says -> column of the drills."""


class DrillsLens(PressedLens, HeadPlaneLens):
    """The score of every head on one sort of drill."""

    def __init__(self, workspace: Any, **params: Any) -> None:
        self._done: WeakKeyDictionary[Corpus, dict[str, Drills]] = WeakKeyDictionary()
        """The drills of a corpus that are finished, while the others are still to come."""
        super().__init__(workspace, **params)

    key: ClassVar = KEY
    choices_type: ClassVar = CorpusChoices
    reads: ClassVar = {"selection": ("focus",), **READS}
    missing: ClassVar = "not drilled"

    def depends(self) -> Hashable:
        """On the kind, the corpus, the drill and what is hidden."""
        return self.kind, whole_name_of(self.workspace), self.choices.drill, self.choices.threshold

    def request(self) -> Hashable:
        """The corpus whose heads are drilled."""
        return whole_name_of(self.workspace)

    def forget(self) -> None:
        """The plane is built again, and of another trace a press has to come again."""
        HeadPlaneLens.forget(self)
        PressedLens.forget(self)

    @property
    def is_drilled(self) -> bool:
        """Whether the heads of the corpus on screen are drilled; True where there is no corpus, and nothing to drill."""
        return not whole_name_of(self.workspace) or drills(chosen_whole(self.workspace)[1]) is not None

    def reading(self) -> str:
        """The drill."""
        return title_of(self.choices.drill)

    def found(self) -> Drills | None:
        """All drills of the corpus on screen; None while they are run."""
        name, corpus = chosen_whole(self.workspace)
        held = drills(corpus)
        if held is not None:
            return held
        if not self.is_pressed:
            raise NothingYet(NONE.format(model=corpus.provenance["model"]))
        found = self._run(corpus)
        if found is not None:
            corpora = self.workspace.corpora
            with self.workspace.one_message():
                corpora.opened = {**corpora.opened, name: with_drills(corpus, found)}
        return found

    def _run(self, corpus: Corpus) -> Drills | None:
        """Drill one sort after another; None while one is still to come."""
        self._check(corpus)
        task, trace, done = self.workspace.tasks[DRILL], self.trace, self._done.setdefault(corpus, {})
        for name in DRILLS:
            if name in done:
                continue

            def work(progress: Progress, name: str = name) -> Drills:
                def report(finished: int, of: int) -> None:
                    progress.tell(title_of(name), finished / max(of, 1))

                made: Drills = task(trace, name, report)
                return made

            nothing: Drills | None = None
            part = self.ask(f"{id(self)} {name}", work, nothing, needs_model=True, keep=False, takes=Takes(PASSES))
            if part is None:
                return None
            done[name] = part
        return functools.reduce(Drills.joined, done.values())

    def _check(self, corpus: Corpus) -> None:
        """Drills are of the model of the corpus, as it is."""
        trace, about = self.trace, corpus.provenance
        if DRILL not in self.workspace.tasks or trace.live is None:
            raise NotCaptured(NO_MODEL)
        if trace.provenance.get("changed"):
            raise NotCaptured(CHANGED)
        if about.get("revision") != trace.provenance.get("revision"):
            raise NotCaptured(OTHER.format(model=about["model"]))

    def said(self) -> str:
        """Which heads have what a drill is for, over all drills, and what the model cannot be drilled in."""
        return self.attempt(self._said, "")

    def _said(self) -> str:
        found = self.found()
        if found is None:
            return ""
        rows = found.reasons[["drill", "kind", "reason"]].itertuples(index=False, name=None)
        reasons = [f"Not {title_of(str(drill))}, {kind}: {reason}" for drill, kind, reason in rows]
        return "\n".join([found.sentence, *reasons])

    def _build_plane(self) -> Plane:
        found = self.found()
        if found is None:
            return Plane()
        table = self._table(found)
        if table["score"].isna().all():
            reasons = found.reasons
            own = reasons[(reasons["drill"] == self.choices.drill) & (reasons["kind"] == self.kind)]["reason"]
            msg = f"{self.reading()} is not known of {self.of_kind()}: {next(iter(own), 'it was left out.')}"
            raise NotCaptured(msg)
        n, has = int(table["n"].max()), int((table["has"] == True).sum())  # noqa: E712 (a head that was not drilled is unknown)
        self.line = f"{self.reading()} of {self.of_kind()}: mean over {counted(n, 'drill')}; {counted(has, 'head')} with it"
        plane = self.of_heads(table["score"].to_numpy(float))
        return Plane(plane.rows, plane.columns, plane.whole, self.of_heads(table["null"].to_numpy(float)).whole)

    def _table(self, found: Drills) -> pd.DataFrame:
        """The drill of every head of the kind on screen, in the order of heads."""
        table = found.table
        here = table[(table["kind"] == self.kind) & (table["drill"] == self.choices.drill)].set_index(["layer", "head"])
        return here.reindex(
            [(layer, head) for layer in range(self.trace.n_layers(self.kind)) for head in range(self.trace.n_heads(self.kind))]
        )

    def _numbers(self, row: int, column: int) -> Cell:
        found = self.found()
        if found is None:
            return super()._numbers(row, column)
        numbers = self._table(found).iloc[row * self.trace.n_heads(self.kind) + column]
        return {name: float(numbers[figure]) for name, figure in FIGURES.items()}
