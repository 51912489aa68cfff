"""What the view of groups on both sides shows: how many heads of a group of A have their partner in a group of B."""

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
from atlas.state.second_lens import SecondLens, pairs_in_words
from atlas.tracing.groups import FEW_ROWS, NOT_NAMED, UNTOLD
from atlas.tracing.two_groups import CLUSTERS, ROLES, GroupsOfBoth, groups_of_both

NO_ROLE = frozenset({NOT_NAMED, FEW_ROWS, UNTOLD})

ONE_GROUP = "one side is a single group, so nothing can agree or differ"


class CompareGroupsChoices(Thresholded):
    """Choices of the view of groups on both sides."""

    of = param.Selector[str](objects=[ROLES, CLUSTERS], default=ROLES, doc="What heads are grouped by.")


class CompareGroupsLens(SecondLens, PlaneLens):
    """Groups of A x groups of B."""

    key: ClassVar = "compare_groups"
    choices_type: ClassVar = CompareGroupsChoices
    reads: ClassVar = {**SecondLens.reads, "selection": ("focus",)}
    marked_by: ClassVar = ("heads", "focus")
    marking: ClassVar = ("cells",)

    def depends(self) -> Hashable:
        """On both sides, the kind, and what heads are grouped by."""
        return self.compared(), self.choices.of

    def titles(self) -> tuple[str, str]:
        """What the names on the axes are."""
        what = "role" if self.choices.of == ROLES else "cluster"
        return f"{what} on A", f"{what} of the partner on B"

    def found(self) -> GroupsOfBoth | None:
        """The groups; None while they are being worked out."""
        two, kind, of, by = self.both(), self.kind, self.choices.of, self.by
        if two is None:
            return None

        def group(progress: Progress) -> GroupsOfBoth:
            progress.tell("Grouping the heads of both sides")
            return groups_of_both(two, kind, of, by, lambda share: progress.tell("Pairing heads", share))

        return self.ask(self.key_of(two, "groups", of), group, None, keep=False)

    def reading(self) -> str:
        """What the value of a cell is called."""
        return "heads"

    def scale_name(self) -> str:
        """By the counts that occur: beside a group of 40, cells of 1 to 3 heads would look empty."""
        return "counts"

    def _build_plane(self) -> Plane:
        found = self.found()
        if found is None:
            return Plane()
        self.line = self._describe(found)
        return Plane(found.found.rows, found.found.columns, found.found.counts, found.found.chance)

    def _describe(self, found: GroupsOfBoth) -> str:
        one, all_heads = found.found, len(found.row)
        named = f", {_kept(found)}" if self.choices.of == ROLES else ""
        rand = ONE_GROUP
        if np.isfinite(one.rand):
            shuffled = f"partners shuffled within layers {three(one.rand_by_chance)}, p {three(one.p)}"
            rand = f"adjusted Rand index {three(one.rand)}, {shuffled}"
        heads = counted(all_heads, f"{self.kind} head" if len(self.trace.kinds) > 1 else "head")
        return f"{heads}{named}; {rand}; {pairs_in_words(found.pairs)}"

    # -- selection -----------------------------------------------------------------------------------------------------

    def _heads(self, found: GroupsOfBoth, row: int | None, column: int | None) -> frozenset[HeadId]:
        """Heads of A in a cell, a row or a column."""
        inside = found.row >= 0
        if row is not None:
            inside &= found.row == row
        if column is not None:
            inside &= found.column == column
        each = self.trace.n_heads(self.kind)
        return frozenset(HeadId(self.kind, *divmod(int(at), each)) for at in np.flatnonzero(inside))

    def marked(self) -> Marked:
        """The cells of the selected heads, or of the one in focus."""
        found = self.found() if self.plane().rows else None
        if found is None:
            return Marked()
        each = self.trace.n_heads(self.kind)
        places = [head.layer * each + head.head for head in self.shown_heads()]
        return Marked(cells=frozenset((int(found.row[at]), int(found.column[at])) for at in places if found.row[at] >= 0))

    def select_cell(self, row: int, column: int, origin: str) -> None:
        """Select the heads of A that are in both groups."""
        self._select(row, column, origin)

    def select_name(self, axis: Axis, at: int, origin: str) -> None:
        """Select the heads of a group of A, or those whose partner is in a group of B."""
        self._select(at if axis == "row" else None, at if axis == "column" else None, origin)

    def _select(self, row: int | None, column: int | None, origin: str) -> None:
        found, selection = self.found(), self.workspace.selection
        heads = self._heads(found, row, column) if found is not None else frozenset()
        if not heads:
            return
        if heads == selection.heads:
            selection.clear("heads", origin=origin)
            return
        assert found is not None
        names = [found.found.rows[row]] if row is not None else []
        names += [f"{found.found.columns[column]} on B"] if column is not None else []
        selection.select_heads(heads, origin=origin, label=", ".join(names))

    def _numbers(self, row: int, column: int) -> Cell:
        """The count, and the share of the row that it is."""
        whole = self.plane().whole
        assert whole is not None
        # A row is there because some head is in it.
        return {"value": float(whole[row, column]), "share of row": float(whole[row, column] / whole[row].sum())}


def _kept(found: GroupsOfBoth) -> str:
    """How many of the heads that have a role on A have it on B too."""
    one = found.found
    with_role = [at for at, name in enumerate(one.rows) if name not in NO_ROLE]
    kept = sum(one.counts[at, one.columns.index(one.rows[at])] for at in with_role if one.rows[at] in one.columns)
    return f"{int(kept)} of {counted(int(one.counts[with_role].sum()), 'head')} with a role on A and a partner keep it"
