"""What the view of biased words shows: the probability of every label at every word, and which words are flagged."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from atlas.errors import NotCaptured
from atlas.state.asking import Progress
from atlas.state.lens import Lens, counted
from atlas.state.plane import Axis, Cell, Marked, Plane, PlaneLens, Thresholded
from atlas.tracing.calibration import TIERS, tier_of
from atlas.tracing.labelled import DETECT, TokenLabels, Words, flagged, limits, spans_of, tokens_within, words_of

if TYPE_CHECKING:
    import pandas as pd

    from atlas.state.workspace import Workspace
    from atlas.tracing.calibration import Calibration

FIELDS = {"STEREO": "stereotype", "GEN": "generalisation", "UNFAIR": "unfairness"}
"""The threshold of every label, as `BiasThresholds` names it; in the order in which the detectors of GUS name them."""

TITLES = {"STEREO": "Stereotype", "GEN": "Generalisation", "UNFAIR": "Unfair"}
"""What the screen calls a label."""

NO_DETECTOR = "A detector runs in the app alone."

PROGRESS = "Reading the text with the detector"


class Found(NamedTuple):
    """A text with its labels under the thresholds of now."""

    detector: str
    words: Words
    flagged: np.ndarray
    """(word, label)"""
    spans: pd.DataFrame
    calibration: Calibration | None = None

    def tiers(self, column: int) -> dict[str, int]:
        """Flagged words of a label by confidence; empty where no calibration of it is known."""
        known = None if self.calibration is None else self.calibration.labels.get(self.words.labels[column])
        if known is None:
            return {}
        shares = known.shares_of(self.words.probability[self.flagged[:, column], column])
        return {tier: sum(tier_of(share) == tier for share in shares) for tier in TIERS}


def thresholds_of(workspace: Workspace) -> dict[str, float]:
    """The thresholds of the sliders, by label."""
    return {label: float(getattr(workspace.thresholds, field)) for label, field in FIELDS.items()}


def under(labels: TokenLabels, thresholds: dict[str, float]) -> Found:
    """Words and spans of a text under some thresholds."""
    words = words_of(labels)
    limit = limits(words.labels, {label: value for label, value in thresholds.items() if label in words.labels}, {})
    return Found(labels.detector, words, flagged(words, limit), spans_of(words, limit, labels.texts), labels.calibration)


def asked_labels(lens: Lens) -> TokenLabels | None:
    """The labels of the text on screen, which all lenses share; None while the text is being read."""
    trace, task = lens.trace, lens.workspace.tasks.get(DETECT)
    if task is None:
        raise NotCaptured(NO_DETECTOR)

    def read(progress: Progress) -> TokenLabels:
        made: TokenLabels = trace.once(DETECT, lambda: task(trace, lambda done, of: progress.tell(PROGRESS, done / of)))
        return made

    nothing: TokenLabels | None = None
    return lens.ask("labels", read, nothing, needs_model=True)


class DetectionChoices(Thresholded):
    """Choices of the view of biased words."""


class DetectionLens(PlaneLens):
    """Labels x words."""

    key: ClassVar = "detection"
    choices_type: ClassVar = DetectionChoices
    reads: ClassVar = {"thresholds": tuple(FIELDS.values())}
    marked_by: ClassVar = ("queries", "keys", "focus")
    marking: ClassVar = ("columns", "cells")
    row_title: ClassVar = "label"
    column_title: ClassVar = "word"

    _found: Found | None = None

    def depends(self) -> Hashable:
        """On the thresholds alone."""
        return tuple(thresholds_of(self.workspace).items())

    def forget(self) -> None:
        """What is flagged is worked out anew; the labels are kept on the trace."""
        super().forget()
        self._found = None

    def found(self) -> Found | None:
        """Words, labels and spans; None while the text is being read."""
        if self._found is None:
            labels = asked_labels(self)
            self._found = None if labels is None else under(labels, thresholds_of(self.workspace))
        return self._found

    def _build_plane(self) -> Plane:
        found = self.found()
        if found is None:
            return Plane()
        if not len(found.words.table):
            msg = "The text has no word with a letter or a digit, so there is nothing to label."
            raise NotCaptured(msg)
        self.line = self._describe(found)
        rows = tuple(TITLES.get(label, label) for label in found.words.labels)
        return Plane(rows, tuple(found.words.table["word"]), found.words.probability.T)

    def _highest(self) -> float:
        """Probabilities have one scale in every text."""
        return 1.0

    def reading(self) -> str:
        """What the value of a cell is called."""
        return "probability"

    def _numbers(self, row: int, column: int) -> Cell:
        found = self.found()
        label = "" if found is None else found.words.labels[row]
        limit = thresholds_of(self.workspace).get(label)
        return super()._numbers(row, column) | ({} if limit is None else {"threshold": limit})

    def marked(self) -> Marked:
        """The words with a selected token, and the labels that are flagged."""
        found = self.found() if self.plane().rows else None
        if found is None:
            return Marked()
        chosen = self._selected()
        columns = (at for at in range(len(found.words.table)) if chosen & self.tokens(at))
        cells = ((int(label), int(word)) for word, label in zip(*np.nonzero(found.flagged), strict=True))
        return Marked(columns=frozenset(columns) if chosen else frozenset(), cells=frozenset(cells))

    def _selected(self) -> frozenset[int]:
        """The selected tokens of the source, on whichever axis."""
        selection, trace = self.workspace.selection, self.trace
        sides = (("query", selection.queries), ("key", selection.keys))
        return frozenset(at for axis, tokens in sides if trace.side(self.kind, axis) == "source" for at in tokens)

    def tokens(self, first: int, last: int | None = None) -> frozenset[int]:
        """The tokens of a word, or of the words from one to another."""
        found = self.found()
        if found is None:
            return frozenset()
        table = found.words.table
        one, other = table.iloc[first], table.iloc[first if last is None else last]
        return tokens_within(self.trace, int(one["segment"]), int(one["start"]), int(other["end"]))

    def select_cell(self, row: int, column: int, origin: str) -> None:  # noqa: ARG002  (all labels of a word are one word)
        """Select the tokens of a word."""
        self._select(self.tokens(column), origin)

    def select_name(self, axis: Axis, at: int, origin: str) -> None:
        """Select the tokens of a word, or of all words that are flagged with a label."""
        found = self.found()
        if found is None:
            return
        words = [at] if axis == "column" else np.flatnonzero(found.flagged[:, at]).tolist()
        self._select(frozenset[int]().union(*(self.tokens(word) for word in words)), origin)

    def select_span(self, at: int, origin: str) -> None:
        """Select the tokens of a span."""
        found = self.found()
        if found is not None and 0 <= at < len(found.spans):
            span = found.spans.iloc[at]
            self._select(self.tokens(int(span["first"]), int(span["last"])), origin)

    def _select(self, tokens: frozenset[int], origin: str) -> None:
        """Select tokens of the source as the switch of the text says; what is selected already is cleared."""
        selection = self.workspace.selection
        if tokens and self._selected() == tokens:
            selection.clear("tokens", origin=origin)
        elif tokens:
            selection.select_tokens(tokens, axis=self.workspace.display.axis, side="source", origin=origin)

    def groups(self) -> list[dict[str, Any]]:
        """The spans of every label as chips, with their counts."""
        found = self.attempt(self.found, None)
        if found is None:
            return []
        chosen, made = self._selected(), []
        for column, label in enumerate(found.words.labels):
            chips = []
            for at, span in found.spans[found.spans["label"] == label].iterrows():
                words = found.words.table["word"].iloc[span["first"] : span["last"] + 1]
                tokens = self.tokens(int(span["first"]), int(span["last"]))
                title = f"mean probability {span['probability']:.3g}"
                chips.append({"key": str(at), "label": " ".join(words), "active": tokens <= chosen, "title": title})
            words_flagged = counted(int(found.flagged[:, column].sum()), "word")
            tiers = ", ".join(f"{n:,} {tier}" for tier, n in found.tiers(column).items() if n)
            sure = f"; confidence: {tiers}" if tiers else ""
            made.append({"name": f"{TITLES.get(label, label)} ({words_flagged}{sure})", "chips": chips})
        return made

    def table(self) -> pd.DataFrame:
        """One row a word: where it stands, the probability of every label, and whether it is flagged."""
        if not self.plane().rows:
            return super().table()
        found = self.found()
        assert found is not None
        labels, words = found.words.labels, found.words
        columns = dict(zip(labels, words.probability.T, strict=True))
        flags = {f"{label}_flagged": found.flagged[:, at] for at, label in enumerate(labels)}
        return words.table.assign(**columns, **flags)

    def _describe(self, found: Found) -> str:
        n = int(found.flagged.any(axis=1).sum())
        counts = ", ".join(
            f"{TITLES.get(label, label).lower()} {int(found.flagged[:, at].sum()):,}"
            for at, label in enumerate(found.words.labels)
        )
        model = str(self.trace.provenance.get("model"))
        who = f"by {found.detector}" if found.detector == model else f"by {found.detector}, which read the same text as {model}"
        return f"{n:,} of {counted(len(found.words.table), 'word')} flagged {who}, at the thresholds set here: {counts}"
