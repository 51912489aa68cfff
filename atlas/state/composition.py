"""What the view of composition and the arrows of the Map show: the earlier writers that the head in focus reads."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np
import param

from atlas.errors import NotCaptured
from atlas.ids import HeadId
from atlas.numbers import three
from atlas.state.asking import Progress
from atlas.state.lens import Lens
from atlas.state.why import Row, with_rest
from atlas.state.words import tokens_in_words
from atlas.tracing.composition import COMPOSITION, PATHS, Composition
from atlas.tracing.why import head_of

if TYPE_CHECKING:
    import pandas as pd

ARROWS = 4
"""Arrows of a path: more cross each other, and the list has the others."""

NAMES = {"q": "queries", "k": "keys", "v": "values"}


class CompositionChoices(param.Parameterized):
    """Choices of the view of composition."""

    arrows = param.Boolean(default=False, doc="Whether arrows on the Map lead from the earlier heads that are read most.")


class Arrow(NamedTuple):
    """One earlier head that the head in focus reads."""

    head: HeadId
    path: str
    share: float


class Shown(NamedTuple):
    """All that is on screen."""

    head: HeadId
    found: Composition
    rows: Mapping[str, tuple[Row, ...]]
    """Path -> the largest shares first."""


class CompositionLens(Lens):
    """What the head in focus reads."""

    key: ClassVar = "composition"
    choices_type: ClassVar = CompositionChoices
    reads: ClassVar = {"selection": ("focus", "queries", "keys")}

    _shown: Shown | None = None

    def depends(self) -> Hashable:
        """Not on whether there are arrows: they show the same numbers."""
        selection = self.workspace.selection
        return selection.focus, selection.queries, selection.keys

    def forget(self) -> None:
        """The head is looked up again when somebody looks."""
        self._shown = None

    def shown(self) -> Shown | None:
        """What is on screen; None while it is being worked out, or where there is nothing, and `problem` says why."""
        if self._shown is None:
            self._shown = self.attempt(self._read, None)
        return self._shown

    def _read(self) -> Shown | None:
        selection, trace, task = self.workspace.selection, self.trace, self.workspace.tasks.get(COMPOSITION)
        head = selection.focus
        if head is None:
            return None
        if task is None:
            msg = "Nobody is here who could run the model of this trace."
            raise NotCaptured(msg)
        queries, keys = tuple(sorted(selection.queries)), tuple(sorted(selection.keys))

        def work(progress: Progress) -> Composition:
            progress.tell("Following what the head reads to its writers")
            made: Composition = task(trace, head.layer, head.head, head.kind, queries, keys)
            return made

        # Selections are many, and each has a table of its own.
        keep = not (queries or keys)
        found = self.ask(f"{head.kind} {head} from {queries} to {keys}", work, None, needs_model=True, keep=keep)
        if found is None:
            return None
        shown = Shown(head, found, {path: self._rows(found, path) for path in PATHS})
        self.line = self._describe(shown)
        return shown

    def _rows(self, found: Composition, path: str) -> tuple[Row, ...]:
        kinds, here = self.trace.kinds, found.table[found.table["path"] == path]
        rows = [Row(str(name), float(share), head=head_of(str(name), kinds)) for _, name, share in here.itertuples(index=False)]
        return with_rest([row for row in rows if np.isfinite(row.part)])

    def heads_read(self, shown: Shown, path: str) -> list[Arrow]:
        """The earlier heads of a path, the largest share first."""
        here, kinds = shown.found.table[shown.found.table["path"] == path], self.trace.kinds
        pairs = [(head_of(str(name), kinds), float(share)) for _, name, share in here.itertuples(index=False)]
        return [Arrow(head, path, share) for head, share in pairs if head is not None and np.isfinite(share)]

    def arrows(self) -> list[Arrow]:
        """The earlier heads of the kind on screen that are read more than one drawn at random; the strongest of each path."""
        shown = self.shown()
        if shown is None:
            return []
        found = []
        for path in PATHS:
            above = [arrow for arrow in self.heads_read(shown, path) if abs(arrow.share) > shown.found.chance[path]]
            found += [arrow for arrow in above[:ARROWS] if arrow.head.kind == self.kind]
        return found

    def strongest(self, shown: Shown, path: str) -> str:
        """'L0 H6 0.247 (by chance 0.059)': the head that is read most through a path."""
        heads = self.heads_read(shown, path)
        if not heads:
            return "no earlier head"
        chance = three(shown.found.chance[path])
        return f"{heads[0].head.label(self.trace.kinds)} {three(heads[0].share)} (by chance {chance})"

    def focus(self, path: str, place: int, origin: str) -> None:
        """Focus the head that wrote a row; a row that no head wrote does nothing."""
        shown = self.shown()
        rows = () if shown is None else shown.rows[path]
        if 0 <= place < len(rows) and (head := rows[place].head) is not None:
            self.workspace.selection.focus_on(head, origin=origin)

    def table(self) -> pd.DataFrame:
        """One row a writer and path, with the chance of an earlier head."""
        shown = self.shown()
        if shown is None:
            raise NotCaptured(self.problem or self.empty)
        table = shown.found.table.copy()
        pairs = zip(table["path"], table["writer"], strict=True)
        chance = [shown.found.chance[path] if head_of(str(name), self.trace.kinds) else np.nan for path, name in pairs]
        table["chance"] = chance
        return table

    def notes(self) -> str:
        """What is held or left out, and what could not be taken apart further."""
        shown = self.shown() if self.workspace.trace is not None else None
        if shown is None:
            return ""
        said = [*shown.found.approximate.split("; "), *shown.found.notes]
        return " ".join(f"{each[0].upper()}{each[1:]}." for each in said if each)

    def _describe(self, shown: Shown) -> str:
        paths = "; ".join(f"{NAMES[path]}: {self.strongest(shown, path)}" for path in PATHS)
        where = tokens_in_words(self.workspace) or "all tokens"
        return f"{shown.head.label(self.trace.kinds)}, the head in focus, {where}. Read most through {paths}"
