"""What the view of similar heads shows: how alike the heads of the kind on screen are, and which of them a gesture selects."""

from __future__ import annotations

from collections.abc import Hashable
from typing import ClassVar

import numpy as np
import param

from atlas.ids import HeadId
from atlas.numbers import three
from atlas.state.asking import Progress
from atlas.state.lens import counted
from atlas.state.plane import Axis, Cell, Marked, Plane, PlaneLens, Thresholded
from atlas.tracing.similar_heads import PATTERN, WRITES, SimilarHeads, similar_heads

READINGS = {PATTERN: "1 − Jensen-Shannon distance", WRITES: "cosine of what is written"}


class SimilarHeadsChoices(Thresholded):
    """Choices of the view of similar heads."""

    by = param.Selector[str](objects=[PATTERN, WRITES], default=PATTERN, doc="Compare where heads look, or what they write.")


class SimilarHeadsLens(PlaneLens):
    """Heads x heads."""

    key: ClassVar = "similar"
    choices_type: ClassVar = SimilarHeadsChoices
    reads: ClassVar = {"selection": ("focus", "queries")}
    marked_by: ClassVar = ("heads", "focus")
    row_title: ClassVar = "head"
    column_title: ClassVar = "head"
    missing: ClassVar = "writes nothing"

    def depends(self) -> Hashable:
        """On the kind and the queries; the selected heads are marked."""
        return self.kind, self.workspace.selection.queries, self.choices.by

    def found(self) -> SimilarHeads | None:
        """The similarities; None while they are being worked out."""
        trace, kind, by = self.trace, self.kind, self.choices.by
        queries = tuple(sorted(self.workspace.selection.queries))

        def compare(progress: Progress) -> SimilarHeads:
            return similar_heads(trace, kind, by, queries, lambda share: progress.tell("Comparing all heads", share))

        runs = by == WRITES and "output_projection" not in trace.held_arrays()
        return self.ask(f"{by} {kind} at {queries or 'all'}", compare, None, needs_model=runs, keep=not queries)

    @property
    def signed(self) -> bool:
        """Cosines have two signs."""
        return bool(self.choices.by == WRITES)

    def reading(self) -> str:
        """What the value of a cell is called."""
        return READINGS[self.choices.by]

    def _highest(self) -> float:
        """One scale for all models and texts."""
        return 1.0

    def _build_plane(self) -> Plane:
        found = self.found()
        if found is None:
            return Plane()
        self.line = self._describe(found)
        names = tuple(str(head) for head in found.heads)
        return Plane(names, names, found.values)

    def _numbers(self, row: int, column: int) -> Cell:
        numbers, found = super()._numbers(row, column), self.found()
        return numbers if found is None or row == column else numbers | {"by chance": found.chance}

    # -- selection -----------------------------------------------------------------------------------------------------

    def heads(self) -> tuple[HeadId, ...]:
        """The heads in the order of the plane."""
        found = self.found() if self.plane().rows else None
        return () if found is None else found.heads

    def marked(self) -> Marked:
        """The rows and columns of the selected heads."""
        chosen = self.workspace.selection.heads
        places = frozenset(at for at, head in enumerate(self.heads()) if head in chosen)
        return Marked(rows=places, columns=places)

    def select_cell(self, row: int, column: int, origin: str) -> None:
        """Select both heads of a cell."""
        self._select({row, column}, origin, "two heads compared")

    def select_block(self, row: int, column: int, origin: str) -> None:
        """Select the heads from one to the other, in the order of the plane."""
        self._select(set(range(min(row, column), max(row, column) + 1)), origin, "a block of similar heads")

    def select_name(self, axis: Axis, at: int, origin: str) -> None:  # noqa: ARG002  (rows and columns are the same heads)
        """Select a head."""
        self.workspace.selection.pick(self.heads()[at], origin=origin)

    def _select(self, places: set[int], origin: str, label: str) -> None:
        heads, selection = self.heads(), self.workspace.selection
        chosen = {heads[at] for at in places}
        if chosen == selection.heads:
            selection.clear("heads", origin=origin)
        else:
            selection.select_heads(chosen, origin=origin, label=label if len(chosen) > 1 else "")

    def _describe(self, found: SimilarHeads) -> str:
        above = found.values[~np.eye(len(found.values), dtype=bool)]
        mean = float(np.nanmean(above)) if np.isfinite(above).any() else np.nan
        kind = f"{self.kind} " if len(self.trace.kinds) > 1 else ""
        rows = counted(len(found.rows), "token")
        part = f"{rows} of {found.all_rows:,}, evenly spread" if len(found.rows) < found.all_rows else rows
        chosen = "selected " if self.workspace.selection.queries else ""
        shown = "where they look" if self.choices.by == PATTERN else "what they write"
        numbers = f"mean {three(mean)}, by chance {three(found.chance)}"
        return f"{len(found.heads):,} {kind}heads by {shown}, at {part.replace(' token', f' {chosen}token', 1)}: {numbers}"
