"""What the view of a head's writing shows: for each token, what the head would write if it looked there."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from atlas.errors import NotCaptured
from atlas.ids import HeadId
from atlas.numbers import three
from atlas.state.lens import Lens, counted
from atlas.state.prediction_words import outcome_labels
from atlas.state.words import shown_token
from atlas.tracing.head_readings import HEAD_READINGS, HeadReadings
from atlas.tracing.token_scores import received

SHOWN_TOKENS = 6
"""Tokens shown without a selection: those the head looks at most."""

MOST_TOKENS = 40
"""Tokens shown at once, 240 rows: no more are sent to the browser."""


class HeadReadingsLens(Lens):
    """What the head in focus writes."""

    key: ClassVar = "head_readings"
    reads: ClassVar = {"selection": ("focus", "keys")}

    _shown: HeadReadings | None = None

    @property
    def head(self) -> HeadId:
        """The head in focus."""
        focus = self.workspace.selection.focus
        return focus if focus is not None else self.trace.head_ids[0]

    def keys(self) -> tuple[int, ...]:
        """The selected tokens that are looked at; else those that the head looks at most, in order of the text."""
        chosen = sorted(self.workspace.selection.keys)[:MOST_TOKENS]
        if chosen:
            return tuple(chosen)
        scores = np.nan_to_num(received(self.trace, [self.head]), nan=-1.0)
        special = self.trace.token_tables[self.trace.side(self.kind, "key")]["special"].to_numpy(dtype=bool)
        order = [at for at in np.argsort(-scores, kind="stable").tolist() if not special[at]]
        return tuple(sorted(order[:SHOWN_TOKENS]))

    def depends(self) -> Hashable:
        """On the head in focus and on the tokens that are looked at."""
        return self.head, self.workspace.selection.keys

    def forget(self) -> None:
        """Drop what was found."""
        self._shown = None

    def found(self) -> HeadReadings | None:
        """What is written; None while it is being read, or where it cannot be."""
        if self._shown is None:
            self._shown = self.attempt(self._work_out, None)
        return self._shown

    def _work_out(self) -> HeadReadings | None:
        trace, head, task = self.trace, self.head, self.workspace.tasks.get(HEAD_READINGS)
        if task is None:
            msg = "What heads write needs the model, which runs in the app alone."
            raise NotCaptured(msg)
        keys = self.keys()
        found: HeadReadings | None = self.ask(
            f"{head} at {keys}", lambda _: task(trace, head, keys), None, needs_model=True, keep=False
        )
        if found is not None:
            which = "selected tokens" if self.workspace.selection.keys else "tokens it looks at most"
            shown = f"{head.label(trace.kinds)}, the head in focus"
            self.line = f"{shown}: what it adds to the logits for {counted(len(keys), 'token')} ({which})"
        return found

    def groups(self) -> list[dict[str, Any]]:
        """The tokens with what is written for them, as `BarList` takes them."""
        found = self.found() if self.workspace.trace is not None else None
        if found is None:
            return []
        names = [shown_token(str(token)) for token in self._tokens()]
        largest = float(np.max(found.raised, initial=0.0)) or 1.0
        return [
            {
                "name": f"{names[at]} ({at})",
                "key": str(at),
                "pressed": at in self.workspace.selection.keys,
                "note": self._note(found, row),
                "rows": [
                    {"label": label, "shares": [max(0.0, value) / largest], "number": three(value)}
                    for label, value in zip(outcome_labels(found.promoted[row].tolist()), found.raised[row].tolist(), strict=True)
                ],
            }
            for row, at in enumerate(found.keys)
        ]

    def _tokens(self) -> pd.Series:
        return self.trace.token_tables[self.trace.side(self.kind, "key")]["token"]

    def _note(self, found: HeadReadings, row: int) -> str:
        """Which rank the token itself has; short, because the name of the token stands before it."""
        rank = found.own_rank[row]
        return f"itself: {int(rank):,} of {found.n_tokens:,}" if np.isfinite(rank) else ""

    def press(self, key: str, origin: str) -> None:
        """Select a token that is looked at; again: let go of it."""
        selection, trace = self.workspace.selection, self.trace
        chosen = () if selection.keys == {int(key)} else (int(key),)
        selection.select_tokens(chosen, axis="to", side=trace.side(self.kind, "key"), origin=origin)

    def table(self) -> pd.DataFrame:
        """One row a token and promoted token."""
        found = self.found()
        if found is None:
            raise NotCaptured(self.problem or self.empty or "What the head writes is still being read.")
        n, k = found.promoted.shape
        tokens = np.array([str(token) for token in self._tokens()], dtype=object)[list(found.keys)]
        return pd.DataFrame({
            "head": str(found.head),
            "position": np.repeat(found.keys, k),
            "token": np.repeat(tokens, k),
            "rank": np.tile(np.arange(1, k + 1), n),
            "promoted": found.promoted.ravel(),
            "raised": found.raised.ravel(),
            "suppressed": np.repeat([", ".join(map(str, names)) for names in found.suppressed], k),
            "own_rank": np.repeat(found.own_rank, k),
            "length": np.repeat(found.lengths, k),
        })  # fmt: skip
