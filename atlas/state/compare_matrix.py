"""What the matrix of both sides shows: attention between the same words on side B minus that on side A, or one of the two."""

from __future__ import annotations

from collections.abc import Hashable
from typing import ClassVar

import numpy as np
import param

from atlas.errors import NotCaptured
from atlas.numbers import three
from atlas.state.asking import QUICK_CELLS, Progress
from atlas.state.lens import counted
from atlas.state.plane import Cell, Plane, Thresholded, TokenPlane, TokenPlaneLens
from atlas.state.second_lens import SecondLens
from atlas.state.words import shown_token
from atlas.tracing.two_heads import Matrices, are_known, matrices, partner_of

DIFFERENCE, SIDE_A, SIDE_B = "B − A", "A", "B"

QUICK_HEADS = 100
"""Heads whose partners are read while the page waits: a third of a millisecond each on either side, however short the text."""

NO_PARTNER = "(no partner)"
"""The column of all that has no partner."""


class CompareMatrixChoices(Thresholded):
    """Choices of the matrix of both sides."""

    shows = param.Selector[str](objects=[DIFFERENCE, SIDE_A, SIDE_B], default=DIFFERENCE, doc="The difference, or one side.")


class CompareMatrixLens(SecondLens, TokenPlaneLens):
    """The matrix of the selected heads, or of the one in focus, on both sides."""

    key: ClassVar = "compare_matrix"
    choices_type: ClassVar = CompareMatrixChoices
    reads: ClassVar = {**SecondLens.reads, "selection": ("focus", "heads"), "display": ("aggregate", "level")}
    missing: ClassVar = "one side may not look"

    def depends(self) -> Hashable:
        """On both sides, the heads and how they are taken together."""
        display = self.workspace.display
        return self.compared(), self.shown_heads(), display.aggregate, display.level, self.choices.shows

    def found(self) -> Matrices | None:
        """Both matrices; None while they are being worked out."""
        two, heads = self.both(), self.shown_heads()
        if two is None:
            return None
        if not heads:
            msg = "No head of this kind is in focus. Select one on the Map or in a table."
            raise NotCaptured(msg)
        display, by = self.workspace.display, self.by
        kind, aggregate, level = self.kind, display.aggregate, display.level
        sizes = [(two.a.attention_of(kind), 1), (two.b.attention_of(two.kind_beside(kind)), 1)]
        cells = sum(attention.n_queries * attention.n_keys for attention, _ in sizes) * len(heads)
        key = ("matrix", heads, aggregate, level, by)
        if cells <= QUICK_CELLS and len(heads) <= QUICK_HEADS and (two.same_shape(kind) or are_known(two, kind, by)):
            return matrices(two, heads, aggregate, level, by)

        def read(progress: Progress) -> Matrices:
            return matrices(two, heads, aggregate, level, by, lambda share: progress.tell("Reading both sides", share))

        return self.ask(self.key_of(two, *key), read, None, keep=False)

    @property
    def signed(self) -> bool:
        """A difference has two signs."""
        return bool(self.choices.shows == DIFFERENCE)

    def reading(self) -> str:
        """What the value of a cell is called."""
        return str(self.choices.shows)

    def whose(self) -> str:
        """Whose numbers they are."""
        heads = self.shown_heads()
        return str(heads[0]) if len(heads) == 1 else f"{self.workspace.display.aggregate} of {len(heads)} heads"

    def forget(self) -> None:
        """Also both sides."""
        super().forget()
        self._found: Matrices | None = None

    def _build_plane(self) -> Plane:
        found = self._found = self.found()
        if found is None:
            return TokenPlane()
        self.line = self._describe(found)
        whole = {DIFFERENCE: found.difference, SIDE_A: found.a, SIDE_B: found.b}[self.choices.shows]
        alone = bool(found.a[:, -1].any() or found.b[:, -1].any())
        columns = [*map(shown_token, found.keys), *([NO_PARTNER] if alone else [])]
        return TokenPlane(
            tuple(map(shown_token, found.queries)), tuple(columns), whole[:, : len(columns)].astype(np.float32),
            row_of=found.row_of, column_of=found.column_of,
        )  # fmt: skip

    def _numbers(self, row: int, column: int) -> Cell:
        """The value, and that of both sides."""
        numbers, found = super()._numbers(row, column), self._found
        if found is None:
            return numbers
        both: Cell = {"A": float(found.a[row, column]), "B": float(found.b[row, column])}
        return numbers | both | {DIFFERENCE: float(found.difference[row, column])} if not self.signed else numbers | both

    def _describe(self, found: Matrices) -> str:
        two, heads = self.both(), self.shown_heads()
        assert two is not None
        if len(heads) == 1:
            head, partner = heads[0], partner_of(two, heads[0], self.by)
            who = head.label(self.trace.kinds) + (
                f" beside {partner.label(two.b.kinds)} of B" if partner and partner != head else ""
            )
        else:
            how = "Mean" if self.workspace.display.aggregate == "mean" else "Largest"
            without = len(heads) - found.heads
            who = f"{how} of {counted(found.heads, 'head')} and their partners"
            who += f", {without:,} without partner" if without else ""
        what = "B − A" if self.signed else f"side {self.choices.shows} alone"
        level = two.levels(self.kind, self.workspace.display.level)
        total = found.elsewhere
        lost = [float(each[:, -1].mean()) for each in (found.a, found.b)]
        mass = f"; on what has no partner: A {three(lost[0])}, B {three(lost[1])} of a row" if any(lost) else ""
        return f"{who}: {what}, {level}s; {three(total)} of a row's attention lies elsewhere on B{mass}"
