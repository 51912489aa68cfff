"""From labels of tokens (BIO) to labelled words and spans, aligned with the characters of the text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from atlas.errors import NotCaptured, UnknownName
from atlas.tracing.predictions import LABELS

if TYPE_CHECKING:
    from atlas.trace import Trace
    from atlas.tracing.calibration import Calibration

Thresholds = Mapping[str, float] | float | None
"""By label ('GEN', or 'B-GEN' and 'I-GEN' apart), one for all, or those of the detector."""

DETECT, ATTENTION_BIAS, ATTENTION_BIAS_BY_LAYER = "detect", "attention bias", "attention bias by layer"
"""Names of the tasks that label the text of a trace, and that ask its heads or layers how far they look at these."""

GATHER, PROBES = "gather words", "probes"
"""Names of the tasks that read the words of a file with their states, and that fit probes to them."""

FOLDS = 5
"""Parts into which the texts of probes are divided; each part is judged by a probe that has not seen it."""

LEAST = 30
"""Words with a label, and words without, below which a probe is not fitted: five folds of six are too few already."""

CATEGORIES = ("GEN", "UNFAIR", "STEREO")
"""Labels of biased language: generalisation, unfair language, stereotype."""

OUTSIDE = "O"
"""The label of a token that has no other."""

USUAL = 0.5
"""Threshold of a label for which there is no other."""

SENTENCE_ENDS = re.compile(r"[.!?\n]")
"""What a span does not cross."""


class TokenLabels(NamedTuple):
    """What a detector says of every token."""

    detector: str
    names: tuple[str, ...]
    """Labels as the detector has them: 'O', 'B-GEN', 'I-GEN'..."""
    probability: np.ndarray
    """(token, label)"""
    tokens: pd.DataFrame
    """The detector's own token table."""
    texts: tuple[str, ...]
    """The text, and the second one of a pair; `segment` of the token table says which."""
    thresholds: Mapping[str, float]
    """Those the detector brings along."""
    calibration: Calibration | None = None
    """How far its probabilities can be believed; None: not known."""


class Words(NamedTuple):
    """Words with what was read at the first token of each."""

    table: pd.DataFrame
    """word, start, end, segment; one row a word with a letter or a digit."""
    labels: tuple[str, ...]
    """Without B and I."""
    begins: np.ndarray
    """(word, label) probability of B"""
    inside: np.ndarray
    """(word, label) probability of I"""

    @property
    def probability(self) -> np.ndarray:
        """(word, label): the larger of B and I."""
        return np.asarray(np.maximum(self.begins, self.inside))


class Detection(NamedTuple):
    """What a detector found in a text."""

    words: pd.DataFrame
    """word, start, end, and the probability of every label."""
    spans: pd.DataFrame
    """label, start, end, probability: the mean of its words'."""


def words_of(found: TokenLabels) -> Words:
    """The words of a text. A word is read at its first token, where token classifiers are trained; punctuation is left out."""
    table = found.tokens
    word = table["word"].to_numpy()
    start, end = (table[side].to_numpy(dtype=float, na_value=np.nan) for side in ("start", "end"))
    usable = np.flatnonzero((word >= 0) & ~table["special"].to_numpy(dtype=bool) & np.isfinite(start))
    numbers, first = np.unique(word[usable], return_index=True)
    rows, kept = [], []
    segment = table["segment"].to_numpy() if "segment" in table else np.zeros(len(table), dtype=int)
    for number, at in zip(numbers, usable[first], strict=True):
        pieces = usable[word[usable] == number]
        text, from_, to = found.texts[max(0, int(segment[at]))], int(start[pieces].min()), int(end[pieces].max())
        # Some tokenizers count the space before a word to it.
        while from_ < to and text[from_].isspace():
            from_ += 1
        if any(letter.isalnum() for letter in text[from_:to]):
            rows.append((text[from_:to], from_, to, max(0, int(segment[at]))))
            kept.append(int(at))
    labels = labels_of(found.names)
    return Words(
        pd.DataFrame(rows, columns=["word", "start", "end", "segment"]),
        labels,
        *(_of(found, labels, kept, prefix) for prefix in ("B-", "I-")),
    )


def labels_of(names: tuple[str, ...]) -> tuple[str, ...]:
    """Labels without B and I, and without the one that means none of them."""
    return tuple(dict.fromkeys(_bare(name) for name in names if name != OUTSIDE))


def _bare(name: str) -> str:
    return name[2:] if name[:2] in ("B-", "I-") else name


def _of(found: TokenLabels, labels: tuple[str, ...], tokens: list[int], prefix: str) -> np.ndarray:
    """(word, label) probabilities; a label without B and I counts as I, and what a detector does not have is 0."""
    values = np.zeros((len(tokens), len(labels)))
    for at, label in enumerate(labels):
        name = prefix + label
        if prefix == "I-" and name not in found.names and label in found.names:
            name = label
        if name in found.names:
            values[:, at] = found.probability[tokens, found.names.index(name)]
    return values


def limits(labels: tuple[str, ...], given: Thresholds, own: Mapping[str, float]) -> np.ndarray:
    """(2, label): thresholds of B and of I."""
    if given is None:
        given = own
    elif isinstance(given, Mapping):
        known = {*labels, *(f"{prefix}{label}" for prefix in ("B-", "I-") for label in labels), OUTSIDE}
        unknown = next((name for name in given if name not in known), None)
        if unknown is not None:
            msg = f"The detector has no label {unknown!r}; it has {', '.join(labels)}."
            raise UnknownName(msg)
    else:
        given = dict.fromkeys(labels, float(given))
    return np.array([[given.get(prefix + label, given.get(label, USUAL)) for label in labels] for prefix in ("B-", "I-")])


def flagged(words: Words, limit: np.ndarray) -> np.ndarray:
    """(word, label): whether the probability of B or of I reaches its threshold. There is no other rule."""
    return np.asarray((words.begins >= limit[0]) | (words.inside >= limit[1]))


def spans_of(words: Words, limit: np.ndarray, texts: tuple[str, ...]) -> pd.DataFrame:
    """Flagged words of one label that follow each other: label, start, end, probability, segment, first and last word.

    A span ends before a word that is not flagged, at the end of a sentence, and before a word at which B is farther above its
    threshold (as a ratio) than I is.
    """
    marked, probability, rows = flagged(words, limit), words.probability, []
    begins = words.begins * limit[1] >= words.inside * limit[0]
    table = words.table
    for column, label in enumerate(words.labels):
        run: list[int] = []
        for at in range(len(table) + 1):
            on = at < len(table) and marked[at, column]
            if run and (not on or begins[at, column] or _apart(table, run[-1], at, texts)):
                first, last = table.iloc[run[0]], table.iloc[run[-1]]
                mean = float(probability[run, column].mean())
                rows.append((label, first["start"], last["end"], mean, first["segment"], run[0], run[-1]))
                run = []
            if on:
                run.append(at)
    columns = ["label", "start", "end", "probability", "segment", "first", "last"]
    return pd.DataFrame(rows, columns=columns).sort_values(["segment", "start"], kind="stable", ignore_index=True)


def _apart(table: pd.DataFrame, one: int, other: int, texts: tuple[str, ...]) -> bool:
    before, after = table.iloc[one], table.iloc[other]
    if before["segment"] != after["segment"]:
        return True
    return SENTENCE_ENDS.search(texts[before["segment"]][before["end"] : after["start"]]) is not None


def detection(found: TokenLabels, thresholds: Thresholds = None) -> Detection:
    """Words and spans as tables."""
    words = words_of(found)
    table = words.table[["word", "start", "end"]].assign(**dict(zip(words.labels, words.probability.T, strict=True)))
    spans = spans_of(words, limits(words.labels, thresholds, found.thresholds), found.texts)
    return Detection(table, spans[["label", "start", "end", "probability"]])


# -- on the tokens of a trace -------------------------------------------------------------------------------------------


def own_labels(trace: Trace) -> TokenLabels:
    """What the model of a trace says of its own tokens, in the run that is on screen."""
    outcomes = trace.kept_outcomes()
    texts = tuple(text for text in (trace.texts.text, trace.texts.pair) if text is not None)
    if outcomes.task != LABELS or not texts or outcomes.ids.shape[1] < outcomes.n_outcomes:
        msg = "The model of this trace labels no tokens of a text."
        raise NotCaptured(msg)
    order = np.argsort(outcomes.ids, axis=1)
    logits = np.take_along_axis(outcomes.logits, order, axis=1).astype(float)
    names = tuple(map(str, np.take_along_axis(outcomes.names, order, axis=1)[0]))
    probability = 1 / (1 + np.exp(-logits)) if outcomes.multi_label else np.exp(logits - outcomes.log_sum_exp[:, None])
    own = dict(trace.provenance.get("thresholds") or {})
    return TokenLabels(str(trace.provenance.get("model")), names, probability, trace.token_tables["source"], texts, own)


def tokens_within(trace: Trace, segment: int, start: int, end: int) -> frozenset[int]:
    """The source tokens of a trace that share characters with a stretch of its text."""
    table = trace.token_tables["source"]
    first, last = (table[side].to_numpy(dtype=float, na_value=np.nan) for side in ("start", "end"))
    of = np.maximum(table["segment"].to_numpy(), 0) if "segment" in table else np.zeros(len(table))
    within = (of == segment) & ~table["special"].to_numpy(dtype=bool) & (first < end) & (last > start)
    return frozenset(np.flatnonzero(within).tolist())


def without_text(trace: Trace) -> str:
    """Why the text of a trace cannot be labelled; empty: it can."""
    return "" if trace.texts.text is not None else "this recording has tokens and no text, and a detector reads a text"
