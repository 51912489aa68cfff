"""How well each label of a detector can be read from the residual stream, layer by layer: linear probes with a control task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from atlas.engine.loading.load import load
from atlas.engine.model import Model
from atlas.engine.running.token_labels import token_labels
from atlas.errors import AtlasError, BadData
from atlas.text.files import BadRow, TextRow, TextRows
from atlas.trace import Trace
from atlas.tracing.labelled import Thresholds, flagged, limits, tokens_within, words_of
from atlas.tracing.stream_writes import stream_of

FOLDS = 5
"""Parts into which texts are divided; each part is judged by a probe that has not seen it."""

LEAST = 30
"""Words with a label, and words without, below which a probe is not fitted: five folds of six are too few already."""

MOST_WORDS = 4_000
"""Words that a probe is fitted on, drawn at random from more; a probe of 768 numbers then takes a second."""

RESAMPLES = 199
"""Bootstrap samples of texts; an interval of ranks needs no more."""

EDGES = (2.5, 97.5)

Progress = Callable[[int, int], object]


class Words(NamedTuple):
    """Words of many texts with the states at their first tokens."""

    states: np.ndarray
    """(layer, word, width); layer 0 is what enters the first one."""
    marked: np.ndarray
    """(word, label)"""
    labels: tuple[str, ...]
    text: np.ndarray
    """(word,) which text it is in."""
    types: np.ndarray
    """(word,) number of its spelling, whatever the case."""
    left_out: tuple[BadRow, ...]
    """Texts that one of the models cannot read."""


def decodability(
    detector: str | Model | Any,
    texts: TextRows | Sequence[str],
    model: str | Model | Any = None,
    thresholds: Thresholds = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """How well a linear probe tells flagged words from others by the residual stream of a model, by label and layer.

    Parameters
    ----------
    detector
        A token classifier, whose labels are the truth here.
    texts
        Many of them: a label needs 30 flagged words and 30 others.
    model
        Whose states are read; None: the detector's own.
    thresholds
        As `detect` takes them.
    seed
        Of the folds, of the control task and of the interval.
    progress
        Called with the probes fitted and all probes.

    Returns
    -------
    label, layer (0: what enters the first layer), auc, lo, hi (95 %, texts resampled), control, selectivity (auc - control),
    words, flagged. NaN where words are too few. `attrs["left_out"]`: rows that one of the models cannot read, with the reason.

    Notes
    -----
    auc: the share of pairs of a flagged and another word that the probe orders rightly; 0.5 by chance. Every text is judged by a
    probe that was fitted on other texts. The control task (Hewitt & Liang 2019) gives every spelling a label at random: what a
    probe reaches there it has from knowing words apart, and not from what the model makes of them.
    """
    rows = texts if isinstance(texts, TextRows) else TextRows(tuple(TextRow(at, text) for at, text in enumerate(texts, 1)), ())
    finder = detector if isinstance(detector, Model) else load(detector)
    asked = finder if model is None else model if isinstance(model, Model) else load(model)
    words = _gathered(finder, asked, rows, thresholds, np.random.default_rng(seed))
    lines, done, every = [], 0, len(words.labels) * len(words.states)
    for at, label in enumerate(words.labels):
        truth = words.marked[:, at]
        enough = min(truth.sum(), (~truth).sum()) >= LEAST and len(np.unique(words.text[truth])) >= FOLDS
        for layer, states in enumerate(words.states):
            if progress is not None:
                progress(done, every)
            done += 1
            found = _probed(states, truth, words, seed) if enough else dict.fromkeys(("auc", "lo", "hi", "control"), np.nan)
            lines.append({"label": label, "layer": layer, **found, "words": len(truth), "flagged": int(truth.sum())})
    table = pd.DataFrame(lines)
    table.insert(6, "selectivity", table["auc"] - table["control"])
    table.attrs["left_out"] = words.left_out
    return table


def _gathered(finder: Model, asked: Model, rows: TextRows, thresholds: Thresholds, random: np.random.Generator) -> Words:
    """The words of all texts that both models can read."""
    states, marks, of_text, spellings = [], [], [], []
    labels: tuple[str, ...] = ()
    left_out: list[BadRow] = [*rows.bad]
    for row in rows.texts:
        try:
            found = token_labels(finder, row.text)
            trace = asked.trace(row.text, capture=("stream",))
        except AtlasError as error:
            left_out.append(BadRow(row.row, str(error)))
            continue
        words = words_of(found)
        labels = words.labels
        marked = flagged(words, limits(words.labels, thresholds, found.thresholds))
        first = [min(tokens_within(trace, 0, int(start), int(end)), default=-1) for start, end in _places(words.table)]
        there = [at for at, token in enumerate(first) if token >= 0]
        states.append(_states(trace)[:, [first[at] for at in there]])
        marks.append(marked[there])
        of_text += [row.row] * len(there)
        spellings += [str(words.table["word"].iloc[at]).lower() for at in there]
    if not of_text:
        msg = "No text could be read by both models, so there is no word to probe."
        raise BadData(msg)
    kept = np.sort(random.permutation(len(of_text))[:MOST_WORDS])
    types = np.unique(spellings, return_inverse=True)[1]
    return Words(
        np.concatenate(states, axis=1)[:, kept],
        np.concatenate(marks)[kept],
        labels,
        np.array(of_text)[kept],
        types[kept],
        tuple(sorted(left_out)),
    )


def _places(table: pd.DataFrame) -> np.ndarray:
    return table[["start", "end"]].to_numpy(dtype=int)


def _states(trace: Trace) -> np.ndarray:
    """(layer + 1, token, width) of the stream that reads the text."""
    kind = stream_of(trace.kinds[0])
    return np.asarray(trace.vectors("hidden", kind).to_numpy(), dtype=np.float32)


def _probed(states: np.ndarray, truth: np.ndarray, words: Words, seed: int) -> dict[str, float]:
    """AUC of the label with its interval, and of the control task."""
    scores = _judged(states, truth, words.text, seed)
    random = np.random.default_rng(seed)
    given = random.random(int(words.types.max()) + 1) < truth.mean()
    control = given[words.types]
    usable = min(control.sum(), (~control).sum()) >= FOLDS
    places = [np.flatnonzero(words.text == text) for text in np.unique(words.text)]
    resampled = []
    for _ in range(RESAMPLES):
        at = np.concatenate([places[each] for each in random.integers(len(places), size=len(places))])
        if truth[at].any() and not truth[at].all():
            resampled.append(roc_auc_score(truth[at], scores[at]))
    lo, hi = np.percentile(resampled, EDGES) if resampled else (np.nan, np.nan)
    reached = roc_auc_score(control, _judged(states, control, words.text, seed)) if usable else np.nan
    return {"auc": float(roc_auc_score(truth, scores)), "lo": float(lo), "hi": float(hi), "control": float(reached)}


def _judged(states: np.ndarray, truth: np.ndarray, text: np.ndarray, seed: int) -> np.ndarray:
    """The score of every word, by a probe that has seen no word of its text."""
    scores = np.zeros(len(truth))
    for train, test in StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed).split(states, truth, text):
        if truth[train].any() and not truth[train].all():
            probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=200))
            probe.fit(states[train], truth[train])
            scores[test] = probe.decision_function(states[test])
    return scores
