"""What the step-by-step view shows: one row of the head in focus, from q and k to each weight and to what is written."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from atlas.errors import AtlasError, NotCaptured
from atlas.state.asking import Progress
from atlas.state.lens import Lens, counted
from atlas.state.step_words import columns_of, notes_of, rest_in_words, steps_in_words
from atlas.state.words import row_names, shown_token
from atlas.tracing.steps import RowSteps, Written, holds_projection, row_steps, written

MOST_KEYS = 12
"""Keys with the largest weights that have a row: on a card they are whole in a window, and few heads look at more."""

MOST_SELECTED = 12
"""Selected keys that have a row besides: as many again still have names that can be read."""

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class ShownRow:
    """One row as it is on screen."""

    row: RowSteps
    query_name: str
    keys: tuple[int, ...]
    """Positions of the keys that have a row, the largest weight first."""
    names: tuple[str, ...]
    """Their names with their positions."""
    chosen: int | None
    """The place in `keys` of the key whose numbers are told; None where the query may look at no key."""
    weaker: int
    """Visible keys without a row."""
    weaker_weight: float
    """The weight they have together."""

    @property
    def columns(self) -> dict[str, Array]:
        """Title of each column of numbers -> its number for every row."""
        return {title: values[list(self.keys)] for title, values in columns_of(self.row).items()}

    @property
    def weights(self) -> Array:
        """The weight of every row."""
        return self.row.weights[list(self.keys)]


class StepsLens(Lens):
    """One row of the head in focus."""

    key: ClassVar = "steps"
    reads: ClassVar = {"selection": ("focus", "queries", "keys")}

    _shown: ShownRow | None = None

    def depends(self) -> Hashable:
        """On the head, the first selected query, and the selected keys."""
        selection = self.workspace.selection
        return selection.focus, min(selection.queries, default=None), selection.keys

    def forget(self) -> None:
        """The row is read again when somebody looks."""
        self._shown = None

    def shown(self) -> ShownRow | None:
        """The row on screen; None where there is none, and `problem` says why."""
        if self._shown is None:
            self._shown = self.attempt(self._read, None)
        return self._shown

    def written(self) -> tuple[Written | None, str]:
        """What the head writes, and why that is not known. The model runs once more for it where it was not captured."""
        shown, trace = self.shown(), self.workspace.trace
        if shown is None or trace is None:
            return None, ""
        if holds_projection(trace):
            return _written(trace, shown.row)
        if trace.live is None:
            return None, "What is written is not known: this trace was kept without the output projection, its model is not here."

        def run(progress: Progress) -> tuple[Written | None, str]:
            progress.tell("Reading how the heads write")
            return _written(trace, shown.row)

        # Not kept for each row: what is kept is the captured projection, which the next row finds.
        waits: tuple[Written | None, str] = (None, "What is written is being read.")
        return self.ask(f"written {shown.row.head} {shown.row.query}", run, waits,
                        needs_model=True, keep=False)  # fmt: skip

    def steps(self) -> dict[str, Any]:
        """The numbers of the chosen key, one step a row, as `BarList` takes a group."""
        shown = self.shown()
        if shown is None or shown.chosen is None:
            return {"name": "", "rows": []}
        found, _ = self.written()
        return steps_in_words(shown.row, shown.keys[shown.chosen], shown.names[shown.chosen], shown.query_name, found)

    def notes(self) -> str:
        """What the rows leave out, what this model's attention does not have, and what is not known."""
        shown = self.shown()
        if shown is None:
            return ""
        _, unknown = self.written()
        selected = self.workspace.selection.keys
        hidden = len(selected - set(shown.row.visible.tolist()))
        more = len(selected & set(shown.row.visible.tolist()) - set(shown.keys))
        parts = [rest_in_words(shown.weaker, shown.weaker_weight, shown.row.sink_share)]
        if hidden:
            parts.append(f"{counted(hidden, 'selected key')} without a row: this query may not look there.")
        if more:
            parts.append(f"{counted(more, 'selected key')} more than fit.")
        return " ".join(filter(None, [*parts, *notes_of(shown.row), unknown]))

    def select_row(self, place: int, origin: str, *, additive: bool = False) -> None:
        """Select the key of a row; the one that is selected already is let go."""
        shown, selection = self.shown(), self.workspace.selection
        if shown is None or not 0 <= place < len(shown.keys):
            return
        key = shown.keys[place]
        if additive:
            selection.toggle_tokens([key], axis="to", origin=origin)
        elif selection.keys == {key}:
            selection.clear("keys", origin=origin)
        else:
            selection.select_tokens([key], axis="to", origin=origin)

    def table(self) -> pd.DataFrame:
        """One row a key on screen: its numbers, then k and q × k dimension by dimension."""
        shown = self.shown()
        if shown is None:
            raise NotCaptured(self.problem or self.empty)
        row, keys = shown.row, list(shown.keys)
        found, _ = self.written()
        vectors = {"k": row.k[keys], "q×k": row.products[keys]} | ({} if row.v is None else {"v": row.v[keys]})
        parts: dict[str, Any] = {"query": row.query, "position": keys, "key": shown.names}
        parts |= {name: values[keys] for name, values in row.steps.items()}
        parts |= {"weight": shown.weights, "written": np.nan if found is None else found.by_key[keys]}
        parts |= {f"{name} {at}": each[:, at] for name, each in vectors.items() for at in range(each.shape[1])}
        return pd.DataFrame(parts)

    # -- inside --------------------------------------------------------------------------------------------------------

    def _read(self) -> ShownRow | None:
        trace, selection = self.trace, self.workspace.selection
        head = selection.focus
        if head is None:
            return None
        queries = row_names(trace, head.kind)
        query = min(selection.queries) if selection.queries else len(queries) - 1
        row = row_steps(trace, head, query)
        order = row.visible[np.argsort(-row.weights[row.visible], kind="stable")]
        wanted = [int(key) for key in order[MOST_KEYS:] if key in selection.keys][:MOST_SELECTED]
        keys = (*order[:MOST_KEYS].tolist(), *wanted)
        tokens = trace.reading(trace.side(head.kind, "key")).table["token"]
        selected = [place for place, key in enumerate(keys) if key in selection.keys]
        first = min(selected, key=lambda place: keys[place], default=0)
        rest = np.setdiff1d(row.visible, keys)
        name = f"{queries[query]} ({query})"
        which = "first selected query" if selection.queries else "the last token, because no query is selected"
        self.line = (
            f"{head.label(trace.kinds)}, the head in focus, from {name}, {which}; "
            f"{len(keys):,} of {counted(len(row.visible), 'visible key')}, {counted(len(row.q), 'dimension')}"
        )
        return ShownRow(
            row=row,
            query_name=name,
            keys=keys,
            names=tuple(f"{shown_token(str(tokens.iloc[key]))} ({key})" for key in keys),
            chosen=first if keys else None,
            weaker=len(rest),
            weaker_weight=float(row.weights[rest].sum()),
        )


def _written(trace: Any, row: RowSteps) -> tuple[Written | None, str]:
    try:
        return written(trace, row), ""
    except AtlasError as error:  # the row itself is shown all the same
        return None, f"What is written is not known: {error}"
