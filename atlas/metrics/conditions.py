"""Conditions on the columns of a head table, as a reader writes them: "induction > 0.4 and distance > 20"."""

from __future__ import annotations

import difflib
import operator
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from atlas.errors import UnknownName

if TYPE_CHECKING:
    import pandas as pd

BoolArray = npt.NDArray[np.bool_]

LONGEST = 400
"""Letters of a condition: a link may say what it likes."""

DEEPEST = 20
"""Brackets within brackets, so that a hostile link ends no thread by recursion."""

COMPARE: Mapping[str, Callable[[np.ndarray, float], BoolArray]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
    "=": operator.eq,
}

EXAMPLE = "induction > 0.4 and distance > 20"

_PIECE = re.compile(
    r"\s*(?:(?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d{1,3})?%?)|(?P<name>[A-Za-z_]\w*)|(?P<sign>>=|<=|!=|==|[<>=()]))",
    re.ASCII,
)

Piece = tuple[str, str]


def matching(table: pd.DataFrame, written: str) -> BoolArray:
    """(row,) whether each row of a table meets the conditions; an unknown number meets none.

    Comparisons of a column with a number (`>`, `>=`, `<`, `<=`, `=`, `!=`), joined by `and`, `or` and brackets; `and` binds more.
    A column of words is compared by `=` and `!=`: "role = previous". Nothing is evaluated but these.
    """
    if len(written) > LONGEST:
        msg = f"These conditions have {len(written):,} letters, more than {LONGEST}."
        raise UnknownName(msg)
    reader = _Reader(table, _pieces(written))
    found = reader.either(0)
    reader.end()
    return found


def _pieces(written: str) -> list[Piece]:
    found: list[Piece] = []
    at = 0
    while written[at:].strip():
        match = _PIECE.match(written, at)
        if match is None:
            msg = f"{written[at:].strip()[:12]!r} cannot be read here. Conditions are written like {EXAMPLE!r}."
            raise UnknownName(msg)
        kind = str(match.lastgroup)
        found.append((kind, match[kind]))
        at = match.end()
    if not found:
        msg = f"There is no condition yet. Write one like {EXAMPLE!r}."
        raise UnknownName(msg)
    return found


class _Reader:
    """Reads pieces from left to right."""

    def __init__(self, table: pd.DataFrame, pieces: list[Piece]) -> None:
        self._table, self._pieces, self._at = table, pieces, 0

    def either(self, depth: int) -> BoolArray:
        """Conditions joined by 'or'."""
        found = self._both(depth)
        while self._takes("or"):
            found = found | self._both(depth)
        return found

    def end(self) -> None:
        """Nothing may follow."""
        if self._at < len(self._pieces):
            self._fail("'and' or 'or'")

    def _both(self, depth: int) -> BoolArray:
        found = self._one(depth)
        while self._takes("and"):
            found = found & self._one(depth)
        return found

    def _one(self, depth: int) -> BoolArray:
        if self._peek() == ("sign", "("):
            if depth >= DEEPEST:
                msg = f"More than {DEEPEST} brackets lie within each other."
                raise UnknownName(msg)
            self._at += 1
            found = self.either(depth + 1)
            if self._peek() != ("sign", ")"):
                self._fail("')'")
            self._at += 1
            return found
        kind, name = self._peek()
        if kind != "name" or name.lower() in {"and", "or"}:
            self._fail("the name of a metric")
        self._at += 1
        column = self._column(name)
        kind, sign = self._peek()
        sign = "=" if sign == "==" else sign
        if kind != "sign" or sign not in COMPARE:
            self._fail(f"one of {', '.join(COMPARE)}")
        self._at += 1
        return self._compared(column, sign)

    def _compared(self, column: str, sign: str) -> BoolArray:
        values = self._table[column]
        kind, value = self._peek()
        if values.dtype.kind not in "biuf":
            if kind != "name" or sign not in {"=", "!="}:
                self._fail(f"= or != and a word, as in '{column} = {values.iloc[0] if len(values) else 'unnamed'}'")
            self._at += 1
            named = values.astype(str).str.replace(r"\W+", "_", regex=True).str.strip("_").str.lower()
            words = named == value.lower()
            if not words.any():
                msg = f"No head has the {column} {value!r}; there are {', '.join(sorted(set(named)))}."
                raise UnknownName(msg)
            return np.asarray(words if sign == "=" else ~words, dtype=bool)
        if kind != "number":
            self._fail("a number")
        self._at += 1
        limit = float(value.rstrip("%")) / (100 if value.endswith("%") else 1)
        numbers = values.to_numpy(dtype=float, na_value=np.nan)
        return np.isfinite(numbers) & COMPARE[sign](numbers, limit)

    def _column(self, name: str) -> str:
        known = {str(column).lower(): str(column) for column in self._table.columns}
        found = known.get(name.lower())
        if found is None:
            raise UnknownName(_unknown(name, list(known.values())))
        return found

    def _takes(self, word: str) -> bool:
        kind, value = self._peek()
        found = kind == "name" and value.lower() == word
        self._at += found
        return found

    def _peek(self) -> Piece:
        return self._pieces[self._at] if self._at < len(self._pieces) else ("end", "the end")

    def _fail(self, wanted: str) -> None:
        msg = f"Here {wanted} is expected, not {self._peek()[1]!r}. Conditions are written like {EXAMPLE!r}."
        raise UnknownName(msg)


def _unknown(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    meant = f" Is {near[0]!r} meant?" if near else ""
    plain = [each for each in known if not each.endswith(("_lo", "_hi", "_uniform", "_rows", "_p"))]
    return f"There is no {name!r}.{meant} There are {', '.join(plain)}; and NAME_lo, NAME_hi and NAME_uniform of the metrics."
