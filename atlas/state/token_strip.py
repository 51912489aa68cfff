"""What the token strip shows: the running text of one side, painted by the attention its tokens received or sent."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from atlas.ids import WORD_MARKS, HeadId
from atlas.state.asking import QUICK_CELLS, Progress
from atlas.state.lens import Lens, counted
from atlas.state.words import heads_in_words, shown_token
from atlas.trace import Trace
from atlas.tracing.token_scores import PAINTED_CELLS, received, sent, sinks

Array = np.ndarray

UNKNOWN_WORD = UNKNOWN_SENTENCE = -1

FEW = 64
"""Tokens up to which the colour grows with the number, beyond which it grows with its root: among many, a few receive many times
what the others do (in a causal text those that few can see), and all the rest was paper."""

CONTINUES = "##"
"""How pieces that begin no word are marked by tokenizers that do not mark those that do."""


class StripLens(Lens):
    """The tokens of one side under the selection."""

    key: ClassVar = "text"
    reads: ClassVar = {
        "selection": ("focus", "heads", "label", "queries", "keys"),
        "display": ("aggregate", "paint", "sinks"),
    }

    def __init__(self, workspace: Any, side: str = "source", **params: Any) -> None:
        super().__init__(workspace, **params)
        self.side = side
        self._token_rows: tuple[Trace, list[dict[str, Any]]] | None = None

    def depends(self) -> Hashable:
        """On the head in focus only where none is selected; on heads of other kinds too, which the line says are not shown."""
        selection, display = self.workspace.selection, self.workspace.display
        chosen = selection.heads, selection.label, selection.queries, selection.keys
        return self.kind, self.shown_heads(), *chosen, display.aggregate, display.paint, display.sinks

    @property
    def there(self) -> bool:
        """Whether the trace has tokens on this side."""
        trace = self.workspace.trace
        return trace is not None and self.side in trace.token_tables

    def tokens(self) -> list[dict[str, Any]]:
        """One entry a token: its text as written, what lies before it, and what is known about it. The same for a trace."""
        if self._token_rows is None or self._token_rows[0] is not self.trace:
            self._token_rows = (self.trace, self._all_tokens())
        return self._token_rows[1]

    def _all_tokens(self) -> list[dict[str, Any]]:
        trace = self.trace
        table = trace.reading(self.side).table
        own = trace.texts.target if self.side == "target" else trace.texts.text
        found, end, before = [], 0, 0
        apart = _apart([str(piece) for piece in table["piece"]]) if own is None else []
        for position, row in enumerate(table.to_dict(orient="records")):
            segment = int(row.get("segment", 0))
            source = trace.texts.pair if segment == 1 else own
            start, stop = (_offset(row.get(name)) for name in ("start", "end"))
            in_text = source is not None and stop > start
            if segment != before and segment >= 0:
                before, end = segment, 0
            # A character that takes several tokens is written once; the others go by their names, as special tokens do.
            written = in_text and stop > end and not row["special"]
            found.append(
                {
                    "position": position,
                    "text": str(source)[max(start, end) : stop] if written else shown_token(str(row["token"])),
                    "special": bool(row["special"]),
                    "word": int(row.get("word", UNKNOWN_WORD)),
                    "gap": apart[position] if apart else str(source)[end:start] if in_text and start > end else "",
                    "sentence": int(row.get("sentence", UNKNOWN_SENTENCE)),
                    **{name: _known(row.get(name)) for name in ("pos", "entity")},
                }
            )
            end = max(end, stop) if in_text else end
        return found

    def weights(self) -> Array | None:
        """(token,) attention received or sent under the selection; None where this side takes no part in it."""
        # The line once, and only where it is true: it is hidden while empty, and each time the page would be laid out anew.
        nothing: tuple[Array | None, str] = (None, "")
        found, self.line = self.attempt(self._painted, nothing)
        return found

    def meaning(self) -> str:
        """What the number of a token is."""
        if self.workspace.display.paint == "received":
            return "receives"
        return "gives" if self.workspace.selection.keys else "gives at most"

    def shades(self, values: Array) -> Array:
        """How strong each token's colour is, 0 to 1; NaN where nothing is known."""
        share = np.minimum(values / self.ceiling(values), 1.0)
        return np.sqrt(share) if len(values) > FEW else share

    def ceiling(self, values: Array) -> float:
        """The largest value, sinks left out where they are hidden, so that the rest of the text is seen."""
        from atlas.state.ceilings import hides_sinks

        marks = None
        if self.workspace.display.paint == "received" and hides_sinks(self.workspace.display.sinks, self.kind):
            marks = sinks(self.trace, self.kind)
        known = values[~marks] if marks is not None and not marks.all() and len(marks) == len(values) else values
        known = known[np.isfinite(known)]
        return float(known.max()) if known.size and known.max() > 0 else 1.0

    def _painted(self) -> tuple[Array | None, str]:
        """The attention of every token, and what it is."""
        display, selection, kind, trace = self.workspace.display, self.workspace.selection, self.kind, self.trace
        heads, axis = self.shown_heads(), "key" if display.paint == "received" else "query"
        if trace.side(kind, axis) != self.side:
            return None, ""
        found = self._numbers(heads)
        if found is None:
            return None, ""
        if display.paint == "received":
            rows = counted(len(selection.queries), "selected token") if selection.queries else "all that see it"
            shown = f"attention received from {rows}"
        else:
            columns = counted(len(selection.keys), "selected token")
            shown = f"attention given to {columns}" if selection.keys else "largest weight given"
        together = "" if len(heads) == 1 else f"{'mean' if display.aggregate == 'mean' else 'largest'} of "
        roots = "; colours by its square root" if len(found) > FEW else ""
        return found, f"{shown}, {together}{heads_in_words(self.workspace)}{roots}"

    def _numbers(self, heads: tuple[HeadId, ...]) -> Array | None:
        """What each token receives or gives; None until it is there."""
        trace, selection, display = self.trace, self.workspace.selection, self.workspace.display
        paint, aggregate = display.paint, display.aggregate
        queries, keys = selection.queries, selection.keys

        def numbers() -> Array:
            if paint == "received":
                return received(trace, heads, queries, aggregate=aggregate)
            return sent(trace, heads, keys, aggregate=aggregate)

        def asked(progress: Progress) -> Array:
            progress.tell("Adding up the attention of each token")
            return numbers()

        attention = trace.attention_of(self.kind)
        n_rows = attention.n_queries
        cells = min(len(queries), n_rows - len(queries)) * attention.n_keys if paint == "received" else len(keys) * n_rows
        if not QUICK_CELLS < cells * len(heads) <= PAINTED_CELLS:
            return numbers()  # at once, or the reason why not
        of = sorted(queries if paint == "received" else keys)
        return self.ask(f"{self.side} {paint} {aggregate} of {','.join(map(str, heads))} at {of}", asked, None, keep=False)


def _apart(pieces: list[str]) -> list[str]:
    """What to write before each piece of a recording, whose text nobody kept: a space where a word begins."""
    marked = any(piece.startswith(tuple(WORD_MARKS)) for piece in pieces)
    begins = [piece.startswith(tuple(WORD_MARKS)) if marked else not piece.startswith(CONTINUES) for piece in pieces]
    return [" " if begin and position else "" for position, begin in enumerate(begins)]


def _known(value: Any) -> str:
    return "" if value is None or pd.isna(value) else str(value)


def _offset(value: Any) -> int:
    """Where a token begins or ends; 0 for one that is no part of the text, and for recordings, which have no text."""
    return 0 if value is None or pd.isna(value) else int(value)
