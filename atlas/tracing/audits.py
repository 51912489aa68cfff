"""What a detector flags in many texts, and the attention of every head to it: plain values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import pandas as pd

AUDIT = "audit"
"""Name of the task that goes through a part of the texts."""

Stretch = tuple[int, int]
"""Where a word begins and ends, in letters of its text."""


class Audit(NamedTuple):
    """What was found in many texts."""

    texts: pd.DataFrame
    """row, text, words, flagged, one column a label (flagged words); head, ratio, p: the head that looks most at flagged words;
    note: why a text has no attention."""
    labels: pd.DataFrame
    """label, words, share (of all words), texts (with at least one), lo and hi (95 % of the share, texts resampled)."""
    heads: pd.DataFrame
    """kind, layer, head, ratio (attention to flagged words of all texts, over even attention), lo and hi (95 %, texts resampled),
    chance (mean ratio where labels are permuted within each text), p (by that null), q (Benjamini-Hochberg over heads), n
    (texts)."""
    bad: pd.DataFrame
    """row, reason: what could not be read or run; nothing else was left out."""
    provenance: dict[str, Any]


class AuditSoFar(NamedTuple):
    """What was found in the texts that a page has gone through."""

    audit: Audit
    marks: tuple[tuple[Stretch, ...], ...]
    """The flagged words of every row of `audit.texts`."""
    done: int
    of: int
    """Texts in all."""

    @property
    def complete(self) -> bool:
        """Whether all texts are done."""
        return self.done == self.of
