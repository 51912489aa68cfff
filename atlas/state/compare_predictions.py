"""What the view of predictions on both sides shows: the likeliest outcomes of either at the same words."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import param

from atlas.errors import NotCaptured
from atlas.numbers import three
from atlas.state.asking import Progress
from atlas.state.lens import counted
from atlas.state.outcome_line import percent, points
from atlas.state.prediction_words import outcome_labels
from atlas.state.second_lens import SecondLens
from atlas.trace import Trace
from atlas.tracing.predictions import (
    LABELS,
    MASKED,
    PREDICT_AGAIN,
    SCORE,
    WHOLE_TEXT,
    Distribution,
    distributions,
    masks_of,
    side_of_predictions,
    task_of,
)
from atlas.tracing.two_predictions import Beside, Place, beside, places
from atlas.tracing.two_traces import NO_WORDS, TwoTraces

MOST_OUTCOMES = 20

MOST_PLACES = 6
"""Places on screen; a masked language model takes a run for each of them on its side."""

FIRST_PLACES = 3
"""Places where nothing is selected and none is the last."""

Found = list[tuple[Place, Distribution, Distribution]]


class ComparePredictionsChoices(param.Parameterized):
    """Choices of the view of predictions on both sides."""

    k = param.Integer(default=5, bounds=(1, MOST_OUTCOMES), doc="How many of the likeliest outcomes of either side are shown.")


class ComparePredictionsLens(SecondLens):
    """Predictions of both sides."""

    key: ClassVar = "compare_predictions"
    choices_type: ClassVar = ComparePredictionsChoices
    reads: ClassVar = {**SecondLens.reads, "selection": ("focus", "queries"), "target": ("position",)}

    def depends(self) -> Hashable:
        """On both sides and where predictions are asked for."""
        return self.compared(), self.workspace.selection.queries, self.workspace.target.position, self.choices.k

    def places(self, two: TwoTraces) -> list[Place]:
        """Where predictions are compared: at selected tokens, the one explained, masks, else at the last or the first."""
        found, trace = places(two), self.trace
        if len(found) == 1:
            return found
        side, selection = side_of_predictions(trace), self.workspace.selection
        chosen = set(selection.queries) if trace.side(self.kind, "query") == side else set()
        chosen = chosen or ({self.workspace.target.position} - {WHOLE_TEXT}) or set(masks_of(trace))
        here = [place for place in found if place.a in chosen]
        if here:
            return here[:MOST_PLACES]
        if task_of(trace) in (MASKED, LABELS):
            special = trace.token_tables[side]["special"].to_numpy(dtype=bool)
            return [place for place in found if not special[place.a]][:FIRST_PLACES]
        return found[-1:]

    def found(self) -> Found:
        """The outcomes of both sides at some places; empty while they are being worked out."""
        two = self.both()
        if two is None:
            return []
        at, task = self.places(two), self.workspace.tasks.get(PREDICT_AGAIN)
        if not at:
            raise NotCaptured(NO_WORDS)
        sides = [(two.a, [place.a for place in at]), (two.b, [place.b for place in at])]
        if all(trace.outcomes is not None and not _to_mask(trace, where, task) for trace, where in sides):
            made = [_as_run(trace, where) for trace, where in sides]
            return list(zip(at, *made, strict=True))

        def predict(progress: Progress) -> Found:
            progress.tell("Asking both sides")
            return list(zip(at, *(_asked(trace, where, task) for trace, where in sides), strict=True))

        key = self.key_of(two, "predictions", [tuple(place) for place in at])
        return self.ask(key, predict, [], needs_model=True, keep=False, takes=self.takes_both(two))

    # -- what is shown -------------------------------------------------------------------------------------------------

    def groups(self) -> list[dict[str, Any]]:
        """A group a place, a row an outcome: its share on A, and on B."""
        return self.attempt(self._groups, [])

    def _groups(self) -> list[dict[str, Any]]:
        found = self.found()
        if not found:
            return []
        two = self.both()
        assert two is not None
        self.line = self._describe(two, found)
        return [self._group(two, *each) for each in found]

    def _group(self, two: TwoTraces, place: Place, one: Distribution, other: Distribution) -> dict[str, Any]:
        rows = [_row(each, one, other) for each in beside(one, other, self.choices.k)]
        for row, label in zip(rows, outcome_labels([row["label"] for row in rows]), strict=True):
            row["label"] = label
        chosen = place.a in self.workspace.selection.queries
        key = "" if place.a == WHOLE_TEXT else f"at {place.a}"
        return {"key": key, "name": place.name, "note": self._hidden(two, place), "pressed": chosen, "rows": rows}

    def _hidden(self, two: TwoTraces, place: Place) -> str:
        """Which side reads the word that it predicts."""
        task, seen = self.workspace.tasks.get(PREDICT_AGAIN), []
        for name, trace, at in (("A", two.a, place.a), ("B", two.b, place.b)):
            if task_of(trace) == MASKED and at not in masks_of(trace) and not _to_mask(trace, [at], task):
                seen.append(name)
        return f"side {' and '.join(seen)} sees the word that it predicts" if seen else ""

    def _describe(self, two: TwoTraces, found: Found) -> str:
        several = "The whole text" if found[0][0].a == WHOLE_TEXT else counted(len(found), "place")
        masked = [name for name, trace in (("A", two.a), ("B", two.b)) if task_of(trace) == MASKED]
        how = f", each word masked on side {' and '.join(masked)}" if masked else ""
        apart = [_distance(one, other, self.choices.k) for _, one, other in found]
        return (
            f"{several}{how}; first bar A, second bar B; probability that moved among those shown: {', '.join(map(three, apart))}"
        )

    def press(self, key: str, origin: str) -> None:
        """Select the token of a place, or let go of it."""
        _, _, position = key.partition(" ")
        side = side_of_predictions(self.trace)
        self.workspace.selection.toggle_tokens([int(position)], axis=self.workspace.display.axis, side=side, origin=origin)

    def table(self) -> pd.DataFrame:
        """One row an outcome."""
        rows = [
            (place.name, place.a, place.b, each.name, each.a, each.b, each.b - each.a)
            for place, one, other in self.found()
            for each in beside(one, other, self.choices.k)
        ]
        return pd.DataFrame(rows, columns=["place", "position_a", "position_b", "outcome", "a", "b", "difference"])


def _to_mask(trace: Trace, where: list[int], task: Any) -> bool:
    """Whether words have to be masked first: a model that fills masks and sees the word says the word."""
    masks = masks_of(trace)
    return task is not None and trace.live is not None and task_of(trace) == MASKED and any(at not in masks for at in where)


def _as_run(trace: Trace, where: list[int]) -> tuple[Distribution, ...]:
    return distributions(trace.kept_outcomes(), where)


def _asked(trace: Trace, where: list[int], task: Any) -> tuple[Distribution, ...]:
    if not _to_mask(trace, where, task):
        return _as_run(trace, where)
    masks = masks_of(trace)
    known = {at: _as_run(trace, [at])[0] for at in where if at in masks}
    hidden = sorted({at for at in where if at not in masks})
    for each in task(trace, masks=[(at,) for at in hidden]):
        known[each.position] = each
    return tuple(known[at] for at in where)


def _row(each: Beside, one: Distribution, other: Distribution) -> dict[str, Any]:
    if SCORE in (one.form, other.form):
        return {"label": each.name, "number": f"{three(float(one.logits[0]))} → {three(float(other.logits[0]))}"}
    said = [percent(value) if np.isfinite(value) else _under(of) for value, of in ((each.a, one), (each.b, other))]
    note = points(each.b - each.a) if np.isfinite(each.b - each.a) else ""
    return {"label": each.name, "shares": [each.a, each.b], "number": f"{said[0]} → {said[1]}", "note": note}


def _under(found: Distribution) -> str:
    """What is said of an outcome that is not kept: it is no likelier than the last that is."""
    return "not an outcome" if found.kept == found.n_outcomes else f"under {percent(found.least()).removeprefix('under ')}"


def _distance(one: Distribution, other: Distribution, k: int) -> float:
    """Half of the sum of the differences of the outcomes shown; one that a side does not keep counts as 0 there."""
    shown = [each for each in beside(one, other, k) if np.isfinite(each.a) or np.isfinite(each.b)]
    return float(sum(abs(np.nan_to_num(each.b) - np.nan_to_num(each.a)) for each in shown) / 2) if shown else float("nan")
