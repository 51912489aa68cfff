"""Two traces side by side: which kind of attention and which words of one stand for which of the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from atlas.errors import NotCaptured
from atlas.single_flight import SingleFlight
from atlas.text.pairs import NO_PARTNER, Units, paired_words, pooled_pairs, same_units, units_of_words

if TYPE_CHECKING:
    from atlas.trace import Trace

Array = np.ndarray

TOKENS, WORDS = "token", "word"
"""What is paired: tokens where both sides have the same ones, or words."""

NO_WORDS = "Nothing of the two texts could be aligned: they have no word in common, and not as many words as each other."

MODEL_NAMES = "model names"
"""Name of the task that lists the models that can be chosen."""

ARROW = " → "
"""Between a word of the first side and what stands for it on the second."""


class Words(NamedTuple):
    """What the units of one side of two texts are."""

    units: Units
    names: tuple[str, ...]
    """(unit,) its word; 'he → she' where the two sides differ."""
    level: str
    """'token' or 'word'"""
    same: bool
    """Whether both sides have the same tokens throughout."""


class TwoTraces:
    """A trace and another one beside it. What takes long is kept here, and computed once."""

    def __init__(self, a: Trace, b: Trace) -> None:
        self.a, self.b = a, b
        self._known: dict[Any, Any] = {}
        self._under_way: SingleFlight = SingleFlight()

    def once(self, key: Any, make: Callable[[], Any]) -> Any:
        """The kept result under a key; who asks for it while it is made waits, and for another key nobody waits."""

        def run() -> Any:
            if key not in self._known:
                self._known[key] = make()
            return self._known[key]

        return self._known[key] if key in self._known else self._under_way(key, run)

    def holds(self, key: Any) -> bool:
        """Whether a result is kept."""
        return key in self._known

    # -- kinds ---------------------------------------------------------------------------------------------------------

    def kind_beside(self, kind: str) -> str:
        """The kind of attention of the second side that a kind of the first is held against: that between the same texts."""
        wanted = tuple(self.a.side(kind, axis) for axis in ("query", "key"))
        fitting = [each for each in self.b.kinds if tuple(self.b.side(each, axis) for axis in ("query", "key")) == wanted]
        if not fitting:
            of = {"cross": "cross-attention", "decoder": "attention within what a decoder reads"}.get(kind, f"{kind} attention")
            msg = f"The second side has no {of}, and nothing to stand beside it. Choose another kind, or another model."
            raise NotCaptured(msg)
        return kind if kind in fitting else fitting[0]

    def kinds(self) -> list[tuple[str, str]]:
        """All kinds of the first side that have one beside them."""
        found = []
        for kind in self.a.kinds:
            try:
                found.append((kind, self.kind_beside(kind)))
            except NotCaptured:
                continue
        return found

    def same_shape(self, kind: str) -> bool:
        """Whether both sides have as many layers of as many heads of one kind, so that a number means a head on both."""
        if self.kind_beside(kind) != kind:
            return False
        return (self.a.n_layers(kind), self.a.n_heads(kind)) == (self.b.n_layers(kind), self.b.n_heads(kind))

    # -- words ---------------------------------------------------------------------------------------------------------

    def words(self, side: str, level: str = TOKENS) -> Words:
        """The words of one side ('source', 'target') in pairs; tokens where these are asked for and both sides have the same."""
        found: Words = self.once(("words", side, level), lambda: self._aligned(side, level))
        return found

    def _aligned(self, side: str, level: str) -> Words:
        old, new = self.a.token_tables[side], self.b.token_tables[side]
        same = old["token"].tolist() == new["token"].tolist() and old["special"].tolist() == new["special"].tolist()
        if same and level == TOKENS:
            return Words(same_units(old), tuple(map(str, old["token"])), TOKENS, same=True)
        numbered = [table if "word" in table.columns else table.assign(word=np.arange(len(table))) for table in (old, new)]
        words = [_words(table) for table in numbered]
        places = paired_words(*(list(each.values()) for each in words))
        pairs = [(list(words[0])[one], list(words[1])[other]) for one, other in places]
        units = units_of_words(numbered[0], numbered[1], pairs)
        if not len(units.words):
            raise NotCaptured(NO_WORDS)
        return Words(units, _names(units, numbered, words), WORDS, same=same)

    def partners(self, side: str, positions: Iterable[int]) -> frozenset[int]:
        """The tokens of the second side that stand for some of the first."""
        units = self.words(side).units
        wanted = set(units.old[sorted(positions)].tolist()) - {NO_PARTNER}
        return frozenset(np.flatnonzero(np.isin(units.new, sorted(wanted))).tolist())

    def alone(self, side: str) -> tuple[list[str], list[str]]:
        """The tokens of either side that have no partner."""
        units, tables = self.words(side).units, (self.a.token_tables[side], self.b.token_tables[side])
        return (
            [str(token) for token in tables[0]["token"].to_numpy()[units.old == NO_PARTNER]],
            [str(token) for token in tables[1]["token"].to_numpy()[units.new == NO_PARTNER]],
        )

    def word_table(self, side: str) -> pd.DataFrame:
        """One row a pair of words, then the words without partner: a, b, tokens_a, tokens_b, special."""
        units = self.words(side).units
        tables = self.a.token_tables[side], self.b.token_tables[side]
        rows: list[tuple[Any, ...]] = []
        for unit in range(len(units.words)):
            at = [np.flatnonzero(each == unit) for each in (units.old, units.new)]
            said = [_joined(table, here) for table, here in zip(tables, at, strict=True)]
            rows.append((*said, *(here.tolist() for here in at), not units.words[unit]))
        for place, (table, each) in enumerate(zip(tables, (units.old, units.new), strict=True)):
            for position in np.flatnonzero(each == NO_PARTNER).tolist():
                name, special = str(table["token"].iloc[position]), bool(table["special"].iloc[position])
                rows.append((name, None, [position], [], special) if place == 0 else (None, name, [], [position], special))
        return pd.DataFrame(rows, columns=["a", "b", "tokens_a", "tokens_b", "special"])

    # -- attention -----------------------------------------------------------------------------------------------------

    def units(self, kind: str, axis: str, level: str = TOKENS) -> Words:
        """The words of the queries or keys of a kind."""
        return self.words(self.a.side(kind, axis), level)

    def levels(self, kind: str, level: str) -> str:
        """The level at which both axes of a kind can be paired."""
        both = {self.units(kind, axis, level).level for axis in ("query", "key")}
        return TOKENS if both == {TOKENS} else WORDS

    def pooled(self, kind: str, head: tuple[int, int], *, second: bool, level: str = TOKENS, rows: Array | None = None) -> Array:
        """(unit, unit + 1) attention of one head of either side between units; `rows`: of these units alone.

        To a word it is summed over its tokens, from it averaged; the last column is what goes to words without a partner.
        """
        level = self.levels(kind, level)
        queries, keys = (self.units(kind, axis, level).units for axis in ("query", "key"))
        trace, of = (self.b, self.kind_beside(kind)) if second else (self.a, kind)
        query_of, key_of = (each.new if second else each.old for each in (queries, keys))
        tokens = np.flatnonzero(query_of >= 0 if rows is None else np.isin(query_of, rows))
        weights = trace.attention_of(of).block(*head, tokens)
        return pooled_pairs(weights, query_of[tokens], key_of)


def _words(table: pd.DataFrame) -> dict[int, str]:
    """Number of a word -> the word, from its tokens."""
    ordinary = table[(table["word"] >= 0) & ~table["special"].astype(bool)]
    found: dict[int, str] = {}
    for number, token in zip(ordinary["word"].tolist(), ordinary["token"].tolist(), strict=True):
        found[int(number)] = found.get(int(number), "") + str(token)
    return found


def _names(units: Units, tables: list[pd.DataFrame], words: list[dict[int, str]]) -> tuple[str, ...]:
    names = []
    for unit in range(len(units.words)):
        said = []
        for table, each, known in zip(tables, (units.old, units.new), words, strict=True):
            at = np.flatnonzero(each == unit)
            number = int(table["word"].iloc[at[-1]])
            said.append(known.get(number) or _joined(table, at))
        names.append(said[0] if said[0].lower() == said[1].lower() else ARROW.join(said))
    return tuple(names)


def _joined(table: pd.DataFrame, at: Array) -> str:
    return "".join(str(token) for token in table["token"].to_numpy()[at])
