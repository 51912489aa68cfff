"""What the model makes of the text, in one line: the next token, a class, labelled words, what a decoder writes."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from atlas.numbers import three
from atlas.state.lens import Lens, counted
from atlas.state.words import LETTERS_SAID, shown_token
from atlas.trace import Trace
from atlas.tracing.outcomes import CLASSIFIES_TEXT, Predictions
from atlas.tracing.predictions import MASKS

LISTED = 3
"""Outcomes named: the line has to fit beside the text."""

SPAN_LETTERS = 24
"""Letters up to which labelled words are named one by one: there may be several spans beside the text."""

LETTERS = 120
"""Letters of what a decoder wrote; the whole of it stands in the strip."""

OUTSIDE = "O"
"""Label of tokens that have none, in the notation of named entities (B-, I-, O)."""

UNKNOWN_WORD = -1
"""Of a token that belongs to no word known."""

HALF = 0.5
"""Threshold of a label that has a probability of its own, where the model names no other."""

CERTAIN, HARDLY = 0.9995, 1e-5
"""Probabilities that three significant digits would round to 100 % and those that would need an exponent."""


class OutcomeLens(Lens):
    """The outcome of the run on screen; `line` is empty where the trace holds none."""

    def forget(self) -> None:
        """The line is worked out with each trace: it depends on nothing that is selected."""
        self.line = self.attempt(lambda: outcome_in_words(self.trace), "")


def outcome_in_words(trace: Trace) -> str:
    """The outcome of a trace; empty where the run left none."""
    if trace.outcomes is None:
        return ""
    task = trace.outcomes.task
    if task == CLASSIFIES_TEXT:
        return _class(trace, trace.outcomes)
    if task == "token-classification":
        return _labelled(trace, trace.outcomes)
    if task == "masked-lm":
        return _masked(trace, trace.outcomes)
    if task == "seq2seq" and len(trace.token_tables.get("target", ())) > 1:
        return _written(trace)
    return _next(trace)


def percent(probability: float) -> str:
    """Three significant digits; never 100 % of what is only nearly certain, nor 0 % of what is only unlikely."""
    if probability >= CERTAIN:
        return "over 99.9 %" if probability < 1 else "100 %"
    if probability < HARDLY:
        return "under 0.001 %"
    return f"{100 * probability:.3g} %"


def points(change: float) -> str:
    """'−1.2 points': by how much a probability changes."""
    return f"{'+' if change > 0 else ''}{three(100 * change + 0.0)} points"  # no −0


def _quoted(token: Any) -> str:
    # An outcome is named as text, with the space before its word; in a token's own name a mark stands for that.
    name = shown_token(str(token).removeprefix(" ") or str(token))
    return f"'{name if len(name) <= LETTERS_SAID else name[: LETTERS_SAID - 1] + '…'}'"


def _ranked(names: Iterable[str], shares: Iterable[float]) -> str:
    """Such as: 'him' 92.8 %, 'her' 2 %."""
    return ", ".join(f"{name} {percent(float(share))}" for name, share in zip(names, shares, strict=True))


def _kept(outcomes: Predictions, most: int | None = None) -> int:
    """How many outcomes of a position are asked for: all that the trace holds, or the first `most` of them."""
    held = int(outcomes.ids.shape[1])
    return held if most is None else min(most, held)


def _grid(trace: Trace, column: str, k: int) -> np.ndarray:
    """(position, rank) one column of the predictions."""
    values: np.ndarray = trace.predictions(k)[column].to_numpy()
    return values.reshape(-1, k)


def _next(trace: Trace) -> str:
    assert trace.outcomes is not None
    k = _kept(trace.outcomes, LISTED)
    names, shares = _grid(trace, "token", k)[-1], _grid(trace, "probability", k)[-1]
    return f"Next token: {_ranked(map(_quoted, names), shares)}"


def _class(trace: Trace, outcomes: Predictions) -> str:
    table = trace.predictions(_kept(outcomes))
    if outcomes.multi_label:
        limits = _limits(trace)
        found = table[table["probability"] >= [limits.get(label, HALF) for label in table["label"]]]
        return f"Labels{_over(trace, outcomes)}: {_ranked(found['label'], found['probability']) or 'none'}"
    if table["probability"].isna().all():
        return f"Score: {three(table['logit'].iloc[0])}"  # a regression
    return f"Class: {_ranked(table['label'].iloc[:LISTED], table['probability'].iloc[:LISTED])}"


def _masked(trace: Trace, outcomes: Predictions) -> str:
    """What fills the masks; in a text without one, the token that the model finds least likely though it sees it."""
    tokens, k = trace.tokens(), _kept(outcomes)
    names, shares = _grid(trace, "token", k), _grid(trace, "probability", k)
    masks = np.flatnonzero(tokens["token"].isin(MASKS))
    if len(masks) == 1:
        return f"The mask is filled with {_ranked(map(_quoted, names[masks[0], :LISTED]), shares[masks[0], :LISTED])}"
    if len(masks):
        parts = [f"at {at}: {_ranked([_quoted(names[at, 0])], shares[at, :1])}" for at in masks[:LISTED]]
        more = f" and {counted(len(masks) - LISTED, 'more mask')}" if len(masks) > LISTED else ""
        return f"Masks are filled with {'; '.join(parts)}{more}"
    own = _grid(trace, "id", k) == tokens["id"].to_numpy()[:, None]
    known = own.any(-1)
    # Among those that were not kept, a token is less likely than the last that was.
    chances = np.where(known, (shares * own).sum(-1), shares[:, -1])
    chances[tokens["special"].to_numpy(dtype=bool)] = np.inf
    if not np.isfinite(chances).any():
        return ""
    at = int(chances.argmin())
    said = percent(float(chances[at])) if known[at] else f"under {percent(float(chances[at]))}"
    return (
        f"Least expected, though seen: {_quoted(tokens['token'].iloc[at])} ({at}) {said}; "
        f"likeliest there: {_ranked([_quoted(names[at, 0])], shares[at, :1])}"
    )


def _written(trace: Trace) -> str:
    """What the decoder wrote; where it was given another text, how often it would have written something else."""
    tokens = trace.tokens("target")
    ids, names, shares = (_grid(trace, column, 1)[:-1, 0] for column in ("id", "token", "probability"))
    text = trace.texts.target or " ".join(shown_token(str(token)) for token in tokens["token"].iloc[1:])
    said = f"'{text if len(text) <= LETTERS else text[: LETTERS - 1] + '…'}'"
    otherwise = np.flatnonzero(ids != tokens["id"].to_numpy()[1:])
    if len(otherwise):
        at = int(otherwise[0])
        return (
            f"The decoder was given {said}; it would write {counted(len(otherwise), 'token')} of {len(ids):,} otherwise, first "
            f"{_ranked([_quoted(names[at])], shares[at : at + 1])} instead of {_quoted(tokens['token'].iloc[at + 1])}"
        )
    least = int(shares.argmin())
    return f"Writes {said}; least certain token: {_ranked([_quoted(names[least])], shares[least : least + 1])}"


class Labelled(NamedTuple):
    """A word, the label it has without its B- or I-, whether a span begins with it, and the probability."""

    at: int
    """The number of the word among those of the text."""
    label: str
    begins: bool
    probability: float


def _labelled(trace: Trace, outcomes: Predictions) -> str:
    """The words that have a label, by label; a word is read at its first token."""
    words, k = _words(trace), _kept(outcomes)
    labels, shares = _grid(trace, "label", k), _grid(trace, "probability", k)
    found = [
        each
        for at, word in enumerate(words)
        for each in _labels_of(trace, outcomes, at, zip(labels[word[0]], shares[word[0]].astype(float), strict=True))
    ]
    parts = []
    for label in dict.fromkeys(each.label for each in found):
        for span in _spans([each for each in found if each.label == label]):
            share = percent(min(each.probability for each in span))
            text = ends_of(_text(trace, words[span[0].at][0], words[span[-1].at][-1]))
            parts.append(f"{label} '{text}' {'' if len(span) == 1 else 'at least '}{share}")
    over = _over(trace, outcomes)
    return f"Labelled{over}: {' · '.join(parts)}" if parts else f"No word is labelled{over}"


def _words(trace: Trace) -> list[list[int]]:
    """The positions of the tokens of each word."""
    tokens = trace.tokens()
    read = [at for at, special in enumerate(tokens["special"]) if not special]
    words = tokens["word"] if "word" in tokens else pd.Series(UNKNOWN_WORD, tokens.index)
    segments = tokens["segment"] if "segment" in tokens else pd.Series(0, tokens.index)

    def word_of(at: int) -> tuple[int, int, int]:
        known = int(words.iloc[at])
        return int(segments.iloc[at]), known, at if known == UNKNOWN_WORD else UNKNOWN_WORD

    return [list(positions) for _, positions in groupby(read, key=word_of)]


def _text(trace: Trace, first: int, last: int) -> str:
    """The text from one token to another, as written where it was kept."""
    tokens = trace.tokens().iloc[first : last + 1]
    source = trace.texts.pair if "segment" in tokens and int(tokens["segment"].iloc[0]) == 1 else trace.texts.text
    if source is None or pd.isna(tokens["start"].iloc[0]) or pd.isna(tokens["end"].iloc[-1]):
        return " ".join(shown_token(str(token)) for token in tokens["token"])
    return source[int(tokens["start"].iloc[0]) : int(tokens["end"].iloc[-1])]


def _labels_of(trace: Trace, outcomes: Predictions, at: int, ranked: Iterable[tuple[str, float]]) -> list[Labelled]:
    """The labels a word has: the likeliest, or, where each has a probability of its own, those over their threshold."""
    limits = _limits(trace)
    over = list(ranked)
    over = [(label, share) for label, share in over if share >= limits.get(label, HALF)] if outcomes.multi_label else over[:1]
    best: dict[str, Labelled] = {}
    for label, share in over:  # the likeliest first
        plain = label.removeprefix("B-").removeprefix("I-")
        if label != OUTSIDE and plain not in best:
            best[plain] = Labelled(at, plain, label.startswith("B-"), share)
    return list(best.values())


def _spans(found: list[Labelled]) -> list[list[Labelled]]:
    """Neighbouring words of one label, a new span where one begins."""
    spans: list[list[Labelled]] = []
    for each in found:
        if spans and spans[-1][-1].at == each.at - 1 and not each.begins:
            spans[-1].append(each)
        else:
            spans.append([each])
    return spans


def ends_of(text: str) -> str:
    """The first and the last word of a long text."""
    first, _, rest = text.partition(" ")
    _, between, last = rest.rpartition(" ")
    return f"{first} … {last}" if len(text) > SPAN_LETTERS and between else text


def _limits(trace: Trace) -> dict[str, float]:
    """The model's own thresholds of its labels, as far as it names them."""
    return dict(trace.provenance.get("thresholds") or {})


def _over(trace: Trace, outcomes: Predictions) -> str:
    """From where on a label counts, where each has a probability of its own."""
    if not outcomes.multi_label:
        return ""
    return " (at the model's own thresholds)" if _limits(trace) else f" (at {percent(HALF)} or more)"
