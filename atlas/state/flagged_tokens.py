"""Which tokens of the text a detector flags, for the text that stands above all tabs."""

from __future__ import annotations

from collections.abc import Hashable
from typing import ClassVar, NamedTuple

import numpy as np

from atlas.state.detection import FIELDS, TITLES, Found, asked_labels, thresholds_of, under
from atlas.state.lens import Lens
from atlas.tracing.labelled import tokens_within, without_text

TWO_DIGITS = "{:.2f}"


class Flag(NamedTuple):
    """A label that reaches its threshold at some word of the token."""

    label: str
    """As the screen calls it."""
    probability: float


class FlaggedTokensLens(Lens):
    """The tokens of flagged words, where the reader asked to see them in the text."""

    key: ClassVar = "flagged_tokens"
    reads: ClassVar = {"display": ("flagged",), "thresholds": tuple(FIELDS.values())}

    def depends(self) -> Hashable:
        """On the thresholds only while flagged words are shown."""
        wanted = self.workspace.display.flagged
        return wanted, tuple(thresholds_of(self.workspace).items()) if wanted else ()

    def flags(self) -> dict[int, list[Flag]]:
        """Token of the source -> its labels, the likeliest first; empty while the text is being read."""
        nothing: dict[int, list[Flag]] = {}
        if not self.workspace.display.flagged or self.workspace.trace is None or without_text(self.trace):
            self.param.update(line="", problem="")
            return nothing
        found = self.attempt(lambda: asked_labels(self), None)
        if found is None:
            self.line = f"no word is underlined: {self.problem}" if self.problem else ""
            return nothing
        words = under(found, thresholds_of(self.workspace))
        self.line = f"underlined: {int(words.flagged.any(axis=1).sum()):,} words that {words.detector} flags"
        return self._by_token(words)

    def _by_token(self, found: Found) -> dict[int, list[Flag]]:
        flags: dict[int, dict[str, float]] = {}
        table = found.words.table
        for word, column in zip(*np.nonzero(found.flagged), strict=True):
            row, label = table.iloc[word], found.words.labels[column]
            probability = float(found.words.probability[word, column])
            for token in tokens_within(self.trace, int(row["segment"]), int(row["start"]), int(row["end"])):
                own = flags.setdefault(token, {})
                own[label] = max(own.get(label, 0.0), probability)
        return {
            token: [Flag(TITLES.get(label, label), own[label]) for label in sorted(own, key=lambda name: (-own[name], name))]
            for token, own in sorted(flags.items())
        }


def in_words(flags: list[Flag]) -> str:
    """The labels of a token with their probabilities."""
    return ", ".join(f"{flag.label.lower()} {TWO_DIGITS.format(flag.probability)}" for flag in flags)
