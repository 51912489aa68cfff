"""What the view of nearest tokens shows: the tokens of the vocabulary whose rows point most in a vector's direction."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import param

from atlas.errors import NotCaptured
from atlas.state.asking import Progress
from atlas.state.embeddings import embedding_names, select_tokens, vectors_named
from atlas.state.lens import Lens, counted
from atlas.state.prediction_words import outcome_labels
from atlas.state.stream_writes import selected_positions
from atlas.tracing.embeddings import NEAREST_TOKENS, NORMED, SUM, TOKEN, NearestTokens, are_held

SHOWN_TOKENS = 12
"""Tokens shown without a selection: with eight nearest ones each they fill a window."""

MOST_TOKENS = 60
"""Tokens shown at once, 480 rows: no more are sent to the browser."""


class NearestTokensChoices(param.Parameterized):
    """Choices of the view of nearest tokens."""

    part = param.Selector[str](objects=[TOKEN, SUM, NORMED], default=TOKEN, doc="Which vectors of a token are looked up.")


class NearestTokensLens(Lens):
    """The nearest tokens on screen."""

    key: ClassVar = "nearest_tokens"
    choices_type: ClassVar = NearestTokensChoices
    reads: ClassVar = {"selection": ("focus", "queries", "keys")}

    _shown: NearestTokens | None = None

    def selected(self) -> tuple[int, ...]:
        """The selected tokens of the stream."""
        return selected_positions(self, self.stream)

    def depends(self) -> Hashable:
        """On the stream of the kind on screen, not on the head in focus."""
        return self.stream, self.choices.part, self.selected()

    def forget(self) -> None:
        """Drop what was found."""
        self._shown = None

    def found(self) -> NearestTokens | None:
        """The nearest tokens; None while they are being looked for, or where there are none."""
        if self._shown is None:
            self._shown = self.attempt(self._work_out, None)
        return self._shown

    def _work_out(self) -> NearestTokens | None:
        trace, stream, part, chosen = self.trace, self.stream, str(self.choices.part), self.selected()
        task = self.workspace.tasks.get(NEAREST_TOKENS)
        if task is None:
            msg = "The nearest tokens need the model, which runs in the app alone."
            raise NotCaptured(msg)
        n = len(trace.token_tables[trace.side(stream, "query")])
        every = chosen or tuple(range(n))
        shown = every[: MOST_TOKENS if chosen else SHOWN_TOKENS]
        if are_held(trace, stream):
            vectors_named(trace, stream, part)  # says what there is, before anything is looked for

        def made(progress: Progress) -> NearestTokens:
            vectors_named(trace, stream, part)
            found: NearestTokens = task(
                trace, stream, part, shown, lambda done, of: progress.tell("Comparing with the table of tokens", done / of)
            )
            return found

        found = self.ask(f"{stream} {part} at {shown}", made, None, needs_model=True, keep=False)
        if found is not None:
            of = f" of the {stream}" if len(trace.kinds) > 1 else ""
            n_every = counted(len(every), "token")
            few = "" if len(shown) == len(every) else f"; {len(shown):,} of {n_every}, select others to see them"
            what = {TOKEN: "its own row", SUM: "its sum with position and segment", NORMED: "its vector after the norm"}[part]
            self.line = f"Nearest to each token{of} by {what}, of {found.n_tokens:,} rows of the table{few}"
        return found

    def groups(self) -> list[dict[str, Any]]:
        """The tokens with their nearest, as `BarList` takes them."""
        found = self.found() if self.workspace.trace is not None else None
        if found is None:
            return []
        names, chosen = embedding_names(self.trace, self.stream), set(self.selected())
        return [
            {
                "name": f"{names[at]} ({at})",
                "key": str(at),
                "pressed": at in chosen,
                "note": self._own(found, row),
                "rows": [
                    {"label": label, "shares": [max(0.0, value)], "number": f"{value:.3f}".replace("-", "−")}
                    for label, value in zip(outcome_labels(found.names[row].tolist()), found.cosines[row].tolist(), strict=True)
                    if np.isfinite(value)
                ],
            }
            for row, at in enumerate(found.positions)
        ]

    def _own(self, found: NearestTokens, row: int) -> str:
        """How near the vector is to its token's own row; nothing where it is that row."""
        own = float(found.own_cosine[row])
        if not np.isfinite(own):
            return "its own row is all zeros"
        return "" if found.part == TOKEN else f"its own row: {own:.3f}, rank {int(found.own_rank[row]):,}".replace("-", "−")

    def press(self, key: str, origin: str) -> None:
        """Select a token; again: let go of it."""
        select_tokens(self, self.stream, {int(key)}, origin)

    def table(self) -> pd.DataFrame:
        """One row a token and nearest token."""
        found = self.found()
        if found is None:
            raise NotCaptured(self.problem or self.empty or "The nearest tokens are still being looked for.")
        n, k = found.ids.shape
        names = np.array(embedding_names(self.trace, self.stream), dtype=object)[list(found.positions)]
        return pd.DataFrame({
            "position": np.repeat(found.positions, k),
            "token": np.repeat(names, k),
            "rank": np.tile(np.arange(1, k + 1), n),
            "nearest": found.names.ravel(),
            "cosine": found.cosines.ravel(),
            "own_cosine": np.repeat(found.own_cosine, k),
            "own_rank": np.repeat(found.own_rank, k),
        })  # fmt: skip
