"""What the view of one edge shows: who wrote its query and its key, and what each pair of them adds to the score."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, ClassVar, NamedTuple
from weakref import ref

import numpy as np
import pandas as pd
import param

from atlas.errors import NotCaptured
from atlas.ids import HeadId
from atlas.numbers import three
from atlas.state.asking import Progress
from atlas.state.lens import Lens
from atlas.state.words import shown_token
from atlas.trace import Trace
from atlas.tracing.why import CUT, POSITION_BIAS, WHY, Cut, Why, head_of
from atlas.tracing.writers import BIASES

WRITERS, PAIRS = 10, 12
"""Writers of a side, and pairs, that have a row of their own; the others are one row together."""

QUERY, KEY, PAIR = "query", "key", "pair"


NOT_CUT = (BIASES, POSITION_BIAS)
"""What no block wrote, so that no run is without it."""


class WhyChoices(param.Parameterized):
    """Choices of the view of one edge."""

    cut = param.String(default="", doc="The side and the writer whose contribution is cut in a run, as 'k L0 H6'; empty: none.")


class Row(NamedTuple):
    """One row of a list."""

    name: str
    part: float
    without: float = np.nan
    """The weight that would remain without the writer; NaN where it is not known, or not asked."""
    head: HeadId | None = None


class Edge(NamedTuple):
    """The edge on screen."""

    head: HeadId
    query: int
    key: int
    which: tuple[str, str]
    """Why this query and this key, in words."""


class Shown(NamedTuple):
    """All that is on screen."""

    edge: Edge
    found: Why
    query: tuple[Row, ...]
    key: tuple[Row, ...]
    pair: tuple[Row, ...]
    query_name: str
    key_name: str
    cut: Cut | None = None
    """What a run without one writer gave, where the reader has chosen one of this edge."""


class WhyLens(Lens):
    """One edge of the head in focus."""

    key: ClassVar = "why"
    choices_type: ClassVar = WhyChoices
    reads: ClassVar = {"selection": ("focus", "queries", "keys")}

    _shown: Shown | None = None
    _made: tuple[ref[Trace], Edge, Why] | None = None

    def depends(self) -> Hashable:
        """On the head, the first selected query, the selected keys, and what is cut."""
        selection = self.workspace.selection
        return selection.focus, min(selection.queries, default=None), selection.keys, self.choices.cut

    def forget(self) -> None:
        """The edge is looked up again when somebody looks."""
        self._shown = None

    def shown(self) -> Shown | None:
        """What is on screen; None while it is being worked out, or where there is nothing, and `problem` says why."""
        if self._shown is None:
            self._shown = self.attempt(self._read, None)
        return self._shown

    def edge(self) -> Edge | None:
        """The selected query and key of the head in focus; else the last query, and the key it looks at most after the first."""
        trace, selection = self.trace, self.workspace.selection
        head = selection.focus
        if head is None:
            return None
        attention = trace.attention_of(head.kind)
        query = min(selection.queries) if selection.queries else attention.n_queries - 1
        weights = attention.block(head.layer, head.head, np.array([query]))[0]
        seen = np.flatnonzero(~np.isnan(weights))
        if not len(seen):
            msg = "This query may look at no key, so there is no score. Select another one."
            raise NotCaptured(msg)
        chosen = sorted(selection.keys & set(seen.tolist()))
        later = seen[seen > 0] if (seen > 0).any() else seen
        key = chosen[0] if chosen else int(later[np.argmax(weights[later])])
        row = "the first selected query" if selection.queries else "the last token"
        strongest = "its strongest key after the first token" if len(later) < len(seen) else "its strongest key"
        return Edge(head, query, key, (row, "the first selected key" if chosen else strongest))

    def _read(self) -> Shown | None:
        edge, trace, task = self.edge(), self.trace, self.workspace.tasks.get(WHY)
        if edge is None:
            return None
        if task is None:
            msg = "Nobody is here who could run the model of this trace."
            raise NotCaptured(msg)
        head, (side, _, writer) = edge.head, self.choices.cut.partition(" ")
        known, runs = self._made, self.workspace.tasks.get(CUT)

        def work(progress: Progress) -> tuple[Why, Cut | None]:
            progress.tell("Taking the score apart")
            place = (head.layer, head.head, edge.query, edge.key)
            made: Why = known[2] if known is not None and known[:2] == (ref(trace), edge) else task(trace, *place, head.kind)
            if runs is None or writer not in writers_to_cut(made).get(side, ()):
                return made, None
            progress.tell(f"Running the block without {writer}")
            return made, runs(trace, *place, writer, side, head.kind)

        # Not kept on the trace: a reader goes from edge to edge, and each has a table of all pairs of writers.
        key = f"{head} {head.kind} {edge.query} {edge.key} without {self.choices.cut}"
        found = self.ask(key, work, None, needs_model=True, keep=False)
        if found is None:
            return None
        self._made = ref(trace), edge, found[0]
        shown = self._rows(edge, *found)
        self.line = self._describe(shown)
        return shown

    def _rows(self, edge: Edge, found: Why, cut: Cut | None) -> Shown:
        kinds = self.trace.kinds
        query, key = (
            [
                Row(str(name), float(part), float(left), head_of(str(name), kinds))
                for name, part, left in zip(table["writer"], table["part"], table["weight_without"], strict=True)
            ]
            for table in (found.q, found.k)
        )
        top = found.table.head(PAIRS)
        pairs = [Row(f"{q} × {k}", float(part)) for q, k, part in top.itertuples(index=False)]
        rest = len(found.table) - len(top)
        if rest:
            pairs.append(Row(f"the other {rest:,} together", float(found.table["part"].iloc[PAIRS:].sum())))
        query_name, key_name = (
            f"{shown_token(str(self.trace.token_tables[self.trace.side(edge.head.kind, axis)]['token'].iloc[at]))} ({at})"
            for axis, at in (("query", edge.query), ("key", edge.key))
        )
        return Shown(edge, found, with_rest(query), with_rest(key), tuple(pairs), query_name, key_name, cut)

    def focus(self, side: str, place: int, origin: str) -> None:
        """Focus the head that wrote a row; a row that no head wrote does nothing."""
        shown = self.shown()
        rows = () if shown is None else shown.query if side == QUERY else shown.key
        if 0 <= place < len(rows) and (head := rows[place].head) is not None:
            self.workspace.selection.focus_on(head, origin=origin)

    def cut(self, side: str, place: int) -> None:
        """Run the block without the writer of a row, or with it again."""
        shown = self.shown()
        rows = () if shown is None else shown.query if side == QUERY else shown.key
        if shown is not None and 0 <= place < len(rows):
            letter, name = "q" if side == QUERY else "k", rows[place].name
            if name in writers_to_cut(shown.found)[letter]:
                wanted = f"{letter} {name}"
                self.choices.cut = "" if self.choices.cut == wanted else wanted

    def cuts(self) -> dict[str, str]:
        """What can be cut, in words -> as the choice has it; the largest parts first."""
        shown = self.shown() if self.workspace.trace is not None else None
        found = {"nothing": ""}
        if shown is not None:
            names = {"k": "key", "q": "query"}
            found |= {
                f"{names[side]}: {writer}": f"{side} {writer}"
                for side, writers in writers_to_cut(shown.found).items()
                for writer in writers
            }
        return found

    def cut_in_words(self) -> str:
        """What the run without a writer gave, beside what was predicted; empty where nothing is cut."""
        shown = self.shown() if self.workspace.trace is not None else None
        if shown is None or shown.cut is None:
            return ""
        cut = shown.cut
        side = f"the query at {shown.query_name}" if cut.side == "q" else "all keys of this query"
        return (
            f"Without {cut.writer} in {side}, the weight {three(cut.weight)} becomes: predicted {three(cut.predicted)}; the "
            f"model's own block, norms at their sizes, {three(cut.held)}; norms on the way computed again {three(cut.anew)}. "
            "What other blocks made of this writer stays."
        )

    def table(self) -> pd.DataFrame:
        """One row a row on screen."""
        shown = self.shown()
        if shown is None:
            raise NotCaptured(self.problem or self.empty)
        lists: dict[str, tuple[Row, ...]] = {QUERY: shown.query, KEY: shown.key, PAIR: shown.pair}
        parts: list[dict[str, Any]] = [
            {"list": name, "writer": row.name, "part": row.part, "weight_without": row.without}
            for name, rows in lists.items()
            for row in rows
        ]
        if shown.cut is not None:
            cut = shown.cut
            side = QUERY if cut.side == "q" else KEY
            for part in parts:
                mine = (part["list"], part["writer"]) == (side, cut.writer)
                part |= {"weight_run": cut.held if mine else np.nan, "weight_run_norms_anew": cut.anew if mine else np.nan}
        return pd.DataFrame(parts)

    def notes(self) -> str:
        """What is held or left out, and what could not be taken apart further."""
        shown = self.shown() if self.workspace.trace is not None else None
        if shown is None:
            return ""
        said = [shown.found.approximate, *shown.found.notes]
        if np.isnan([row.without for row in shown.key]).all():
            said.append("the weight without each writer is left out here: the row is too long, or its weights were replaced")
        return " ".join(f"{each[0].upper()}{each[1:]}." for each in said if each)

    def _describe(self, shown: Shown) -> str:
        found, (head, _, _, which) = shown.found, shown.edge
        return (
            f"{head.label(self.trace.kinds)}, the head in focus, from {shown.query_name}, {which[0]}, to {shown.key_name}, "
            f"{which[1]}: score {three(found.score)}, the sum of {len(found.table):,} parts from {len(found.q):,} writers of the "
            f"query and {len(found.k):,} of the key; weight {three(found.weight)}"
        )


def writers_to_cut(found: Why) -> dict[str, list[str]]:
    """Side -> the writers that a run can be without, the largest parts first."""
    return {
        side: [str(name) for name in table["writer"] if name not in NOT_CUT] for side, table in (("k", found.k), ("q", found.q))
    }


def with_rest(rows: list[Row]) -> tuple[Row, ...]:
    """The largest rows, and the others as one."""
    rest = rows[WRITERS:]
    if len(rest) < 2:  # one more row takes no more room than a row of one
        return tuple(rows)
    return (*rows[:WRITERS], Row(f"the other {len(rest):,} together", sum(row.part for row in rest)))
