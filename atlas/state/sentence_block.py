"""What is shown of a chosen pair of sentences: the attention between their tokens, and the strongest links in words."""

from __future__ import annotations

from collections.abc import Collection, Hashable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pandas as pd

from atlas.errors import NotCaptured
from atlas.ids import HeadId
from atlas.state.asking import QUICK_CELLS, Progress
from atlas.state.lens import counted
from atlas.state.plane import Array, Axis, Thresholded, TokenPlane
from atlas.state.sentences import SentencePlaneLens
from atlas.state.words import shown_token, token_names
from atlas.state.workspace import Workspace
from atlas.tracing.sentence_block import SentenceBlock, check_block, sentence_block
from atlas.tracing.sentences import SENTENCE, sentences_of, without_sentences

QUICK_HEADS = 300
"""Heads whose blocks are read while the page waits: each takes some 50 microseconds, however short the sentences."""

CHOOSE = (
    "Click a cell of the plane to see the tokens of its two sentences here. 'A click selects', above, has to stand on both: a "
    "pair needs tokens that look and tokens that are looked at."
)

ROWS = 5
"""Links under one heading."""


class SentenceBlockChoices(Thresholded):
    """Choices of the token block."""


@dataclass(frozen=True)
class BlockPlane(TokenPlane):
    """The tokens of two sentences; a name says the position, because a sentence may hold a token more than once."""

    queries: Array | None = None
    keys: Array | None = None

    def name(self, axis: Axis, at: int, most: int | None = None) -> str:
        """A token by its name and its position in the whole text."""
        places = self.queries if axis == "row" else self.keys
        assert places is not None
        return f"{super().name(axis, at, most)} ({places[at]})"


class Pair(NamedTuple):
    """Two sentences: the tokens of the one that looks and of the one that is looked at, and the names of both."""

    queries: tuple[int, ...]
    keys: tuple[int, ...]
    row: str
    column: str


class SentenceBlockLens(SentencePlaneLens):
    """The tokens of the chosen pair."""

    key: ClassVar = "sentence_block"
    choices_type: ClassVar = SentenceBlockChoices
    reads: ClassVar = {"selection": ("focus", "heads", "queries", "keys"), "display": ("aggregate",)}
    nothing: ClassVar = BlockPlane()

    _block: SentenceBlock | None = None

    def __init__(self, workspace: Workspace, **params: Any) -> None:
        super().__init__(workspace, **params)
        workspace.choices_of("sentences").param.watch(self._changed, "by")

    def depends(self) -> Hashable:
        """Of the tokens, only on which sentences they are in."""
        chosen = bool(self.workspace.selection.heads_of(self.kind))
        return self.kind, self.shown_heads(), chosen, self.workspace.display.aggregate, self.pair()

    def forget(self) -> None:
        """The block is read again."""
        super().forget()
        self._block = None

    def pair(self) -> Pair | None:
        """The two sentences: all selected queries are in one, all selected keys in one; None where they are not."""
        selection, found, by = self.workspace.selection, [], self.by
        if not (selection.queries and selection.keys) or (by == SENTENCE and without_sentences(self.trace, self.kind)):
            return None
        for axis, chosen in (("query", selection.queries), ("key", selection.keys)):
            units, names = sentences_of(self.trace, self.trace.side(self.kind, axis), by)
            places = set(units.of_token[sorted(chosen)].tolist()) - {-1}  # special tokens are in no sentence
            if len(places) != 1:
                return None
            (at,) = places
            found.append((tuple(np.flatnonzero(units.of_token == at).tolist()), names[at]))
        (queries, row), (keys, column) = found
        return Pair(queries, keys, row, column)

    def reading(self) -> str:
        """What the value of a cell is called."""
        return "weight"

    def block(self) -> SentenceBlock | None:
        """The weights and the strongest links; None without a pair, or until they are read."""
        return self._block if self.plane().rows else None

    def _build_plane(self) -> TokenPlane:
        pair = self.pair()
        self.line = CHOOSE
        if pair is None:
            return BlockPlane()
        found = self._block = self._read(pair)
        self.line = self._describe(pair)
        if found is None:
            return BlockPlane()
        attention = self.trace.attention_of(self.kind)
        places = (found.queries, attention.n_queries), (found.keys, attention.n_keys)
        row_of, column_of = (_numbered(positions, size) for positions, size in places)
        rows, columns = (
            tuple(shown_token(str(token)) for token in self._tokens(axis).iloc[positions])
            for axis, positions in (("query", found.queries), ("key", found.keys))
        )
        return BlockPlane(rows, columns, found.weights, found.chance, row_of, column_of, found.queries, found.keys)

    def _tokens(self, axis: str) -> pd.Series:
        return self.trace.reading(self.trace.side(self.kind, axis)).table["token"]

    def _read(self, pair: Pair) -> SentenceBlock | None:
        trace, heads, aggregate = self.trace, self.shown_heads(), self.workspace.display.aggregate
        queries, keys = np.asarray(pair.queries), np.asarray(pair.keys)
        # Before a thread is asked: a refusal is no work.
        check_block(len(queries), len(keys), len(heads))
        if len(queries) * len(keys) * len(heads) <= QUICK_CELLS and len(heads) <= QUICK_HEADS:
            return sentence_block(trace, heads, queries, keys, aggregate)

        def read(progress: Progress) -> SentenceBlock:
            def tell(share: float) -> None:
                progress.tell(f"Reading {counted(len(heads), 'head')}", share)

            return sentence_block(trace, heads, queries, keys, aggregate, tell=tell)

        return self.ask(f"{aggregate} of {','.join(map(str, heads))} at {pair}", read, None, keep=False)

    def _describe(self, pair: Pair) -> str:
        return f"From the tokens of '{pair.row}' to those of '{pair.column}', {self.heads_said()}"

    # -- the strongest links -------------------------------------------------------------------------------------------

    def links(self) -> list[dict[str, Any]]:
        """The strongest links, as `BarList` takes them: "'ball' looks at 'Tom'", the weight, its head and its chance."""
        found = self.block()
        if found is None:
            return []
        selection = self.workspace.selection
        rows = [
            {
                "key": str(at),
                "label": f"{self._named('query', query)} looks at {self._named('key', key)}",
                "shares": [float(weight), float(chance)],
                "number": f"{weight:.3g}",
                "note": f"{head}, {chance:.3g} by chance",
                "state": "chosen" if selection.queries == {query} and selection.keys == {key} else "",
            }
            for at, (query, key, weight, head, chance) in enumerate(self._rows(found))
        ]
        names = "Strongest links, each in the head that has most of it", "The next"
        parts = (rows[:ROWS], rows[ROWS:])
        return [{"name": name, "rows": part} for name, part in zip(names, parts, strict=True) if part]

    def select_link(self, key: str, origin: str) -> None:
        """Select the two tokens of a link; again: their sentences."""
        found = self.block()
        if found is None or int(key) >= len(found.query):
            return  # another pair came while the press was on its way
        self._choose({int(found.query[int(key)])}, {int(found.key[int(key)])}, origin)

    def _named(self, axis: str, position: int) -> str:
        (name,) = token_names(self.trace, self.trace.side(self.kind, axis), frozenset({position}))
        bare, bracket, place = name.rpartition(" (")
        return f"'{bare}' ({place}" if bracket and place == f"{position})" else f"'{name}'"

    def links_table(self) -> pd.DataFrame:
        """One row a link that is told in words."""
        found = self.block()
        if found is None:
            raise NotCaptured(CHOOSE)
        rows = [(self._named("query", q), self._named("key", k), q, k, w, str(h), c) for q, k, w, h, c in self._rows(found)]
        return pd.DataFrame(rows, columns=["from", "to", "query", "key", "weight", "head", "by_chance"])

    @staticmethod
    def _rows(found: SentenceBlock) -> list[tuple[int, int, float, HeadId, float]]:
        columns = (found.query.tolist(), found.key.tolist(), found.weight.tolist(), found.head, found.by_chance.tolist())
        return list(zip(*columns, strict=True))

    # -- gestures ------------------------------------------------------------------------------------------------------

    def _select(self, row: int | None, column: int | None, origin: str) -> None:
        """Select single tokens of the pair; what is selected already gives way to the whole sentence, so that the pair stays."""
        selection, plane = self.workspace.selection, self.tokens_plane()
        queries = selection.queries if row is None else plane.tokens("row", row)
        keys = selection.keys if column is None else plane.tokens("column", column)
        self._choose(queries, keys, origin)

    def _choose(self, queries: Collection[int], keys: Collection[int], origin: str) -> None:
        selection, pair = self.workspace.selection, self.pair()
        if pair is not None and selection.queries == set(queries) and selection.keys == set(keys):
            queries, keys = pair.queries, pair.keys
        selection.select_pairs(queries, keys, origin=origin)


def _numbered(positions: Array, size: int) -> Array:
    """The place of every token among some positions, -1 for those that are not among them."""
    found = np.full(size, -1)
    found[positions] = np.arange(len(positions))
    return found
