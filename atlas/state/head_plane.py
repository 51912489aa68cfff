"""What a plane of heads shows: one number of every head of the kind on screen, layers down and heads across."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from atlas.ids import HeadId
from atlas.state.lens import counted
from atlas.state.plane import Array, Axis, Cell, Marked, Plane, PlaneLens


class HeadPlaneLens(PlaneLens):
    """Layers x heads; a gesture on it selects heads, and selected heads are marked."""

    reads: ClassVar = {"selection": ("focus",), "target": ("position", "outcome", "against")}
    marked_by: ClassVar[tuple[str, ...]] = ("heads", "focus")
    marking: ClassVar = ("cells",)
    row_title: ClassVar = "layer"
    column_title: ClassVar = "head"

    def rows_of_layer(self) -> int:
        """How many rows, one below the other, a layer has."""
        return 1

    def head_at(self, row: int, column: int) -> HeadId:
        """The head of a cell."""
        return HeadId(self.kind, row // self.rows_of_layer(), column)

    def of_heads(self, values: Array) -> Plane:
        """A plane of one number of every head, given layer by layer."""
        layers, heads = self.trace.n_layers(self.kind), self.trace.n_heads(self.kind)
        whole = np.asarray(values, dtype=float).reshape(layers, heads)
        return Plane(tuple(f"L{at}" for at in range(layers)), tuple(f"H{at}" for at in range(heads)), whole)

    def of_kind(self) -> str:
        """'24 heads', or '24 decoder heads' where there are others."""
        count = self.trace.n_layers(self.kind) * self.trace.n_heads(self.kind)
        return counted(count, f"{self.kind} head" if len(self.trace.kinds) > 1 else "head")

    def cell(self, row: int, column: int) -> Cell:
        """The numbers of a head under its own name."""
        found = super().cell(row, column)
        return found and {
            "row": str(self.head_at(row, column)),
            **{k: v for k, v in found.items() if k not in ("row", "column")},
        }

    # -- selection -----------------------------------------------------------------------------------------------------

    def marked(self) -> Marked:
        """The selected heads, and the one in focus where none is selected."""
        heads = self.shown_heads() if self.plane().rows else ()
        each = self.rows_of_layer()
        return Marked(cells=frozenset((each * head.layer + at, head.head) for head in heads for at in range(each)))

    def select_cell(self, row: int, column: int, origin: str) -> None:
        """Show a head large and select it, as on the Map."""
        self.workspace.selection.pick(self.head_at(row, column), origin=origin)

    def select_name(self, axis: Axis, at: int, origin: str) -> None:
        """Select the heads of a layer, or those of one number in all layers."""
        plane, selection = self.plane(), self.workspace.selection
        each = self.rows_of_layer()
        at = at // each if axis == "row" else at
        others = range(len(plane.columns) if axis == "row" else len(plane.rows) // each)
        heads = {HeadId(self.kind, *((at, other) if axis == "row" else (other, at))) for other in others}
        if heads == selection.heads:
            selection.clear("heads", origin=origin)
        else:
            selection.select_heads(heads, origin=origin, label=f"layer {at}" if axis == "row" else f"number {at}")
