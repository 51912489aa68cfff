"""What the view of the feed-forward blocks shows: the units of the layer in focus that fire most."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, ClassVar

import pandas as pd

from atlas.errors import NotCaptured
from atlas.ids import HeadId
from atlas.numbers import three
from atlas.state.asking import Progress
from atlas.state.lens import Lens
from atlas.state.prediction_words import outcome_labels
from atlas.state.stream_writes import positions_in_words, selected_positions
from atlas.tracing.feed_forward import FEED_FORWARD_UNITS, FeedForwardUnits
from atlas.tracing.stream_writes import ordinary_positions


class FeedForwardLens(Lens):
    """The units on screen."""

    key: ClassVar = "ffn"
    reads: ClassVar = {"selection": ("focus", "queries", "keys")}

    _shown: FeedForwardUnits | None = None

    def depends(self) -> Hashable:
        """On the layer in focus, whichever of its heads is."""
        return self.stream, self.layer, self.selected()

    def forget(self) -> None:
        """Drop what was worked out."""
        self._shown = None

    def selected(self) -> tuple[int, ...]:
        """The selected positions of the stream."""
        return selected_positions(self, self.stream)

    def found(self) -> FeedForwardUnits | None:
        """The units; None while they are being found, or where there are none."""
        if self._shown is None:
            self._shown = self.attempt(self._work_out, None)
        return self._shown

    def _work_out(self) -> FeedForwardUnits | None:
        trace, stream, layer, chosen = self.trace, self.stream, self.layer, self.selected()
        task = self.workspace.tasks.get(FEED_FORWARD_UNITS)
        if task is None:
            msg = "The units need the model, which runs in the app alone."
            raise NotCaptured(msg)
        positions = chosen or ordinary_positions(trace, stream)

        def made(progress: Progress) -> FeedForwardUnits:
            progress.tell("Running the text for the units of its feed-forward blocks")
            units: FeedForwardUnits = task(trace, stream, layer, positions)
            return units

        found = self.ask(f"{stream} {layer} at {positions}", made, None, needs_model=True, keep=False)
        if found is not None:
            function = f"{found.function or 'unknown function'}{', gated' if found.gated else ''}"
            where = positions_in_words(self, stream, chosen, found.positions)
            self.line = f"Layer {layer}: {found.n_units:,} units, {function}; {where}"
        return found

    def groups(self) -> list[dict[str, Any]]:
        """The units as `BarList` takes them."""
        found = self.found() if self.workspace.trace is not None else None
        if found is None:
            return []
        largest = max(map(abs, found.activations.tolist()), default=0.0) or 1.0
        rows = [
            {
                "label": f"unit {unit}",
                "shares": [abs(value) / largest],
                "number": three(value),
            }
            for unit, value in zip(found.units.tolist(), found.activations.tolist(), strict=True)
        ]
        return [{"name": f"Layer {found.layer}: mean activation", "rows": rows}]

    def note(self) -> str:
        """What each unit promotes and suppresses, a line a unit; or why that is not known."""
        found = self.found() if self.workspace.trace is not None else None
        if found is None:
            return ""
        if not found.promotes:
            return "What the units promote is not known: the unembedding does not read this stream as tokens."
        words = [
            [", ".join(f"'{token}'" for token in outcome_labels(part[at])) for part in (found.promotes, found.suppresses)]
            for at in range(len(found.units))
        ]
        lines = [
            f"unit {unit} promotes {promoted}; suppresses {suppressed}"
            for unit, (promoted, suppressed) in zip(found.units.tolist(), words, strict=True)
        ]
        return "\n".join(lines)

    def table(self) -> pd.DataFrame:
        """One row a unit shown."""
        found = self.found()
        if found is None:
            raise NotCaptured(self.problem or self.empty or "The units are still being found.")
        made = {"layer": found.layer, "unit": found.units, "activation": found.activations, "length": found.lengths}
        table = pd.DataFrame(made)
        for name, tokens in (("promotes", found.promotes), ("suppresses", found.suppresses)):
            table[name] = [" ".join(row) for row in tokens] if tokens else ""
        return table

    def focus_on(self, layer: int, origin: str) -> None:
        """Show another layer: the same head of it comes into focus."""
        focus, trace = self.workspace.selection.focus, self.trace
        if focus is not None and 0 <= layer < trace.n_layers(self.kind):
            self.workspace.selection.focus_on(HeadId(focus.kind, layer, focus.head), origin=origin)
