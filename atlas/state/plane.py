"""What a plane shows: rows x columns of numbers with two named axes, and what its rows, columns and cells select.

A lens of a plane writes `_build_plane`, and what differs from the defaults below: whose numbers they are, where the colour scale
ends, what a gesture selects. `TokenPlaneLens` is for planes whose rows and columns stand for tokens.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import pandas as pd
import param

from atlas.errors import NotCaptured
from atlas.state.display import HIGHEST
from atlas.state.lens import Lens

Array = np.ndarray

Axis = Literal["row", "column"]
AXES: tuple[Axis, Axis] = ("row", "column")

Cell = dict[str, float | int | str]
"""'row', 'column' (names), 'value', and whatever numbers belong to it, by their names; 'rank' goes with 'of'."""

NAME_LETTERS = 26
"""Letters of a name in the readout: two names and four numbers fit the two lines it has."""

FIELD = {"row": "queries", "column": "keys"}
"""The part of the selection that rows and columns of tokens are."""


@dataclass(frozen=True)
class Plane:
    """Names of rows and columns, and the values where they come as a whole."""

    rows: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    whole: Array | None = None
    """All values; None: the lens makes them window by window. NaN: missing, drawn hatched."""
    chance: Array | None = None
    """The value of every cell by chance, where there is one."""
    groups: tuple[str, ...] = field(default=(), kw_only=True)
    """Names of equal groups of rows, which the axis has in place of those of the rows; empty: a row stands for itself."""

    @property
    def named(self) -> tuple[tuple[str, ...], int]:
        """The names along the rows, and how many rows each stands for."""
        names = self.groups or self.rows
        return names, max(1, len(self.rows) // max(1, len(names)))

    def name(self, axis: Axis, at: int, most: int | None = None) -> str:
        """A row or a column by its name, of at most so many letters."""
        name = (self.rows if axis == "row" else self.columns)[at]
        return name if most is None or len(name) <= most else f"{name[: most - 1]}…"


@dataclass(frozen=True)
class TokenPlane(Plane):
    """A plane whose rows and columns stand for tokens: one each, or the tokens of a word or a sentence."""

    row_of: Array | None = None
    column_of: Array | None = None
    """The row and the column of every token, -1 for a token in none; None: a token has a row and a column of its own."""

    def name(self, axis: Axis, at: int, most: int | None = None) -> str:
        """The name, and the position of a single token, because a text may hold a token more than once."""
        name = super().name(axis, at, most)
        return name if self._of(axis) is not None else f"{name} ({at})"

    def tokens(self, axis: Axis, at: int) -> frozenset[int]:
        """The tokens that a row or a column stands for."""
        of = self._of(axis)
        return frozenset({at}) if of is None else frozenset(np.flatnonzero(of == at).tolist())

    def places(self, axis: Axis, tokens: Collection[int]) -> frozenset[int]:
        """The rows or columns that hold some of these tokens."""
        of = self._of(axis)
        return frozenset(tokens) if of is None else frozenset(of[sorted(tokens)].tolist()) - {-1}

    def _of(self, axis: Axis) -> Array | None:
        return self.row_of if axis == "row" else self.column_of


class Window(NamedTuple):
    """A part of a plane: values, and the rows and columns they are of, in cells of the plane."""

    values: Array
    row0: float
    row1: float
    column0: float
    column1: float
    exact: bool = True
    """False: one value stands for several cells."""


class CellsRead(NamedTuple):
    """A whole plane as a file holds it."""

    values: Array
    names: Mapping[str, Sequence[str]]
    """Title -> names, of the rows, of the columns, or of all cells one after the other."""
    reading: str
    """What a value is called."""


class Marked(NamedTuple):
    """What is marked as selected."""

    rows: frozenset[int] = frozenset()
    columns: frozenset[int] = frozenset()
    cells: frozenset[tuple[int, int]] = frozenset()


class Thresholded(param.Parameterized):
    """Choices of a plane; a subclass adds others."""

    threshold = param.Number(default=0.0, bounds=(0.0, HIGHEST), doc="Values nearer to 0 than this are not coloured.")


class PlaneLens(Lens):
    """A plane on screen."""

    row_title: ClassVar[str] = ""
    column_title: ClassVar[str] = ""
    missing: ClassVar[str] = "not known"
    """What a hatched cell means."""
    marking: ClassVar[tuple[str, ...]] = ("rows", "columns")
    """What can be marked: fields of `Marked`."""

    nothing: ClassVar[Plane] = Plane()
    _plane: Plane | None = None
    _ceiling: float | None = None
    _unbuilt: str = ""
    """Why there is no plane, until it is built again."""

    # -- what a plane writes -------------------------------------------------------------------------------------------

    def _build_plane(self) -> Plane:
        """Names and values; sets `line`."""
        raise NotImplementedError

    @property
    def thresholds(self) -> Any:
        """The Parameterized that holds the `threshold`: the choices of the lens, a `Thresholded`."""
        return self.choices

    @property
    def signed(self) -> bool:
        """Whether values are differences, with a diverging scale around 0."""
        return False

    def reading(self) -> str:
        """What the value of a cell is called in the readout."""
        return "value"

    def whose(self) -> str:
        """Whose numbers they are, in a few words."""
        return ""

    def scale_name(self) -> str:
        """How magnitudes become colours: 'linear', 'log', 'equalised' or 'counts'."""
        return "linear"

    def spread(self) -> Array | None:
        """Values whose ranks make the equalised scale."""
        return self.plane().whole

    def marked(self) -> Marked:
        """Which rows, columns and cells are selected."""
        return Marked()

    def select_cell(self, row: int, column: int, origin: str) -> None:
        """Select what a cell stands for."""

    def select_name(self, axis: Axis, at: int, origin: str) -> None:
        """Select what a row or a column stands for."""

    def titles(self) -> tuple[str, str]:
        """What rows and columns are; for a plane on which that changes."""
        return self.row_title, self.column_title

    # -- what all have -------------------------------------------------------------------------------------------------

    def forget(self) -> None:
        """The plane is built again when somebody looks at it."""
        self._plane = self._ceiling = None
        self._unbuilt = ""

    @property
    def standing_problem(self) -> str:
        """Also why the plane could not be built."""
        return super().standing_problem or self._unbuilt

    def plane(self) -> Plane:
        """Names of rows and columns, and the values where they come as a whole."""
        if self._plane is None:
            before = self.line
            self._plane = self.attempt(self._build_plane, self.nothing)
            if self._plane is self.nothing and self.problem != self.standing_problem:
                self._unbuilt = self.problem
                self.line = "" if self.line == before else self.line  # that of another plane would be read as that of this one
        return self._plane

    def window(self, row0: float, row1: float, column0: float, column1: float) -> Window:
        """The values in a window of the plane, given in cells."""
        plane = self.plane()
        rows = slice(max(0, int(np.floor(row0))), min(len(plane.rows), int(np.ceil(row1))))
        columns = slice(max(0, int(np.floor(column0))), min(len(plane.columns), int(np.ceil(column1))))
        return self._windowed(rows, columns)

    def _windowed(self, rows: slice, columns: slice) -> Window:
        """The values of a window; a plane that cannot afford them may give coarser ones."""
        return Window(self._values(rows, columns), *edges(rows, columns))

    def _values(self, rows: slice, columns: slice) -> Array:
        """The exact values of some rows and columns."""
        whole = self.plane().whole
        assert whole is not None
        return whole[rows, columns]

    def read_cells(self, most: int) -> CellsRead | None:
        """All cells with their names; None where they are more than `most`."""
        plane = self.plane()
        shape = len(plane.rows), len(plane.columns)
        if not 0 < shape[0] * shape[1] <= most:
            return None
        names: dict[str, list[str]] = {
            axis: [plane.name(axis, at) for at in range(size)] for axis, size in zip(AXES, shape, strict=True)
        }
        return CellsRead(self.window(0, shape[0], 0, shape[1]).values, names, self.reading())

    def table(self) -> pd.DataFrame:
        """The whole plane, named as on the axes."""
        plane = self.plane()
        if not plane.rows:
            raise NotCaptured(self.problem or self.empty)
        size = len(plane.rows), len(plane.columns)
        values = self._values(slice(0, size[0]), slice(0, size[1]))
        rows, columns = ([plane.name(axis, at) for at in range(n)] for axis, n in zip(AXES, size, strict=True))
        down, across = self.titles()
        return pd.DataFrame(values, pd.Index(rows, name=down), pd.Index(columns, name=across))

    def ceiling(self) -> float:
        """The value at which the strongest colour begins."""
        if self._ceiling is None:
            self._ceiling = self._highest() if self.plane().rows else 1.0
        return self._ceiling

    def _highest(self) -> float:
        whole = self.plane().whole
        known = np.abs(whole[np.isfinite(whole)]) if whole is not None else np.empty(0)
        return float(known.max()) or 1.0 if known.size else 1.0

    def cell(self, row: int, column: int) -> Cell:
        """The numbers of one cell; empty outside the plane."""
        plane = self.plane()
        if not (0 <= row < len(plane.rows) and 0 <= column < len(plane.columns)):
            return {}
        found: Cell = {"row": plane.name("row", row, NAME_LETTERS), "column": plane.name("column", column, NAME_LETTERS)}
        found |= self._numbers(row, column)
        return found if plane.chance is None else found | {"by chance": float(plane.chance[row, column])}

    def _numbers(self, row: int, column: int) -> Cell:
        """'value', and what else is known of a cell."""
        return {"value": float(self._values(slice(row, row + 1), slice(column, column + 1))[0, 0])}


class TokenPlaneLens(PlaneLens):
    """A plane whose rows are tokens that look, and whose columns are tokens that are looked at."""

    marked_by: ClassVar = ("queries", "keys")
    row_title: ClassVar = "from (query)"
    column_title: ClassVar = "to (key)"
    missing: ClassVar = "may not look"
    nothing: ClassVar = TokenPlane()

    def tokens_plane(self) -> TokenPlane:
        """The plane, with the tokens of its rows and columns."""
        found = self.plane()
        assert isinstance(found, TokenPlane)
        return found

    def marked(self) -> Marked:
        """The rows and columns with a selected token."""
        plane, selection = self.tokens_plane(), self.workspace.selection
        if not plane.rows:
            return Marked()
        return Marked(plane.places("row", selection.queries), plane.places("column", selection.keys))

    def select_cell(self, row: int, column: int, origin: str) -> None:
        """Select the tokens of its row as queries and of its column as keys; or one of both, as the switch of the text says."""
        axis = self.workspace.display.axis
        self._select(row if axis != "to" else None, column if axis != "from" else None, origin)

    def select_name(self, axis: Axis, at: int, origin: str) -> None:
        """Select the tokens of a row as queries, or of a column as keys."""
        self._select(at if axis == "row" else None, at if axis == "column" else None, origin)

    def _select(self, row: int | None, column: int | None, origin: str) -> None:
        """Select tokens of a row, a column or both; what is selected already is cleared."""
        selection, plane = self.workspace.selection, self.tokens_plane()
        queries = selection.queries if row is None else plane.tokens("row", row)
        keys = selection.keys if column is None else plane.tokens("column", column)
        if (selection.queries, selection.keys) != (queries, keys):
            selection.select_pairs(queries, keys, origin=origin)
        elif row is None or column is None:
            selection.clear(FIELD["row" if column is None else "column"], origin=origin)
        else:
            selection.clear("tokens", origin=origin)


def edges(rows: slice, columns: slice) -> tuple[float, float, float, float]:
    """Where a window lies, in cells."""
    return float(rows.start), float(rows.stop), float(columns.start), float(columns.stop)
