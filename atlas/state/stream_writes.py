"""What the view of the residual stream shows: what every layer adds at the selected tokens."""

from __future__ import annotations

from collections.abc import Hashable
from typing import ClassVar

import numpy as np
import pandas as pd
import param

from atlas.errors import NotCaptured
from atlas.numbers import listed
from atlas.state.asking import Progress
from atlas.state.lens import Lens, counted
from atlas.state.words import token_names
from atlas.tracing.stream_writes import STREAM, StreamWrites, ordinary_positions, stream_writes

COSINE, CHANGE = "cosine", "change"
"""What the lower plot shows."""

QUICK_NUMBERS = 4_000_000
"""Numbers of the stream that are read while the page waits; for more of them, and for a run of the model, the lens asks."""


class StreamWritesChoices(param.Parameterized):
    """Choices of the view of the residual stream."""

    show = param.Selector[str](objects=[COSINE, CHANGE], default=COSINE, doc="What the lower plot shows: direction, or change.")


class StreamWritesLens(Lens):
    """The residual stream on screen."""

    key: ClassVar = "stream"
    choices_type: ClassVar = StreamWritesChoices
    reads: ClassVar = {"selection": ("focus", "queries", "keys")}

    _shown: StreamWrites | None = None

    def depends(self) -> Hashable:
        """On the stream of the kind on screen, not on the head in focus."""
        return self.stream, self.selected(), self.choices.show

    def forget(self) -> None:
        """Drop what was worked out."""
        self._shown = None

    def selected(self) -> tuple[int, ...]:
        """The selected positions of the stream, on whichever axis."""
        return selected_positions(self, self.stream)

    def found(self) -> StreamWrites | None:
        """The numbers of every layer; None while they are being made, or where there are none."""
        if self._shown is None:
            self._shown = self.attempt(self._work_out, None)
        return self._shown

    def _work_out(self) -> StreamWrites | None:
        trace, stream = self.trace, self.stream
        positions = self.selected() or ordinary_positions(trace, stream)
        held = trace.held_arrays().get("hidden", {}).get((stream, 0))
        size = 0 if held is None else held.shape[-1] * len(positions) * 5 * trace.n_layers(stream)
        if held is not None and size <= QUICK_NUMBERS:
            found: StreamWrites | None = stream_writes(trace, stream, positions)
        else:

            def made(progress: Progress) -> StreamWrites:
                progress.tell("Measuring what the layers write")
                return stream_writes(trace, stream, positions)

            found = self.ask(f"{stream} at {positions}", made, None, needs_model=held is None, keep=False)
        if found is not None:
            self.line = sentence_case(positions_in_words(self, stream, self.selected(), found.positions))
        return found

    def table(self) -> pd.DataFrame:
        """One row a layer and part: length, cosine and change."""
        found = self.found()
        if found is None:
            raise NotCaptured(self.problem or self.empty or "The layers are still being measured.")
        n = len(found.stream) - 1
        unknown = np.full(n, np.nan)
        parts = [
            pd.DataFrame({
                "layer": np.arange(n), "part": part, "length": found.lengths.get(part, found.stream[:-1]),
                "cosine": found.cosines.get(part, unknown), "change": found.changes.get(part, unknown),
            })
            for part in (STREAM, *found.lengths)
        ]  # fmt: skip
        return pd.concat(parts, ignore_index=True)


def sentence_case(words: str) -> str:
    """Words with a capital first letter."""
    return words[:1].upper() + words[1:]


def selected_positions(lens: Lens, stream: str) -> tuple[int, ...]:
    """The selected positions of a stream, on whichever axis its tokens are."""
    selection, trace = lens.workspace.selection, lens.trace
    side = trace.side(stream, "query")
    fields = {"query": selection.queries, "key": selection.keys}
    return tuple(sorted({at for axis, field in fields.items() if trace.side(lens.kind, axis) == side for at in field}))


def positions_in_words(lens: Lens, stream: str, chosen: tuple[int, ...], shown: tuple[int, ...]) -> str:
    """Over which tokens of a stream the means go: the chosen ones, else those that are shown."""
    trace = lens.trace
    of = f" of the {stream}" if len(trace.kinds) > 1 else ""
    if chosen:
        names = listed(token_names(trace, trace.side(stream, "query"), frozenset(chosen)))
        return f"{'mean of ' if len(chosen) > 1 else ''}{counted(len(chosen), 'token')}{of}: {names}"
    left_out = "special tokens and the first" if stream == "decoder" else "special tokens"
    n = len(trace.token_tables[trace.side(stream, "query")])
    return f"mean of {counted(len(shown), 'token')}{of}{f', without {left_out}' if len(shown) < n else ''}"
