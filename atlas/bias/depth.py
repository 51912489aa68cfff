"""How well each label of a detector can be read from the residual stream, layer by layer: linear probes with a control task."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from atlas.bias.detection import detector_for
from atlas.bias.page_texts import rows_of_page
from atlas.engine.gradients.subject import model_of
from atlas.engine.loading.load import load
from atlas.engine.model import Model
from atlas.engine.running.targets import generates
from atlas.engine.running.token_labels import token_labels
from atlas.errors import AtlasError, BadData
from atlas.ids import stream_of
from atlas.text.files import BadRow, TextRow, TextRows
from atlas.trace import Trace
from atlas.tracing.labelled import (
    FOLDS,
    GATHER,
    LEAST,
    PROBES,
    Thresholds,
    TokenLabels,
    flagged,
    limits,
    tokens_within,
    words_of,
)
from atlas.tracing.many_texts import TextsOf

MOST_WORDS = 4_000
"""Words that a probe is fitted on, drawn at random from more; a probe of 768 numbers then takes a second."""

ANY_TARGET = "."
"""What the decoder of an encoder-decoder reads: the states are those of its encoder, and to generate a text takes a second."""

SPARE_WORDS = 1_000
"""Words held beyond these until some are dropped, so that the states are not copied at every text."""

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
    return probes(gathered(partial(token_labels, finder), asked, rows, thresholds, seed), seed, progress)


def gathered(
    finder: Callable[[str], TokenLabels],
    asked: Model,
    rows: TextRows,
    thresholds: Thresholds,
    seed: int = 0,
    progress: Progress | None = None,
) -> Words:
    """The words of all texts that both models can read; of more than MOST_WORDS, as many drawn at random.

    `finder` labels a text; `progress` is called with the texts read and all texts.
    """
    random, drawn = np.random.default_rng(seed), Drawn()
    target = ANY_TARGET if generates(asked) else None
    labels: tuple[str, ...] = ()
    left_out: list[BadRow] = [*rows.bad]
    for done, row in enumerate(rows.texts):
        if progress is not None:
            progress(done, len(rows.texts))
        try:
            found = finder(row.text)
            trace = asked.trace(row.text, target=target, capture=("stream",))
        except AtlasError as error:
            left_out.append(BadRow(row.row, str(error)))
            continue
        words = words_of(found)
        labels = words.labels
        marked = flagged(words, limits(words.labels, thresholds, found.thresholds))
        first = [min(tokens_within(trace, 0, int(start), int(end)), default=-1) for start, end in _places(words.table)]
        there = [at for at, token in enumerate(first) if token >= 0]
        spellings = [str(words.table["word"].iloc[at]).lower() for at in there]
        drawn.add(_states(trace)[:, [first[at] for at in there]], marked[there], row.row, spellings, random)
    if not len(drawn.text):
        msg = "No text could be read by both models, so there is no word to probe."
        raise BadData(msg)
    drawn.thin(MOST_WORDS)
    types = np.unique(drawn.spellings, return_inverse=True)[1]
    return Words(drawn.states, drawn.marked, labels, drawn.text, types, tuple(sorted(left_out)))


class Drawn:
    """Words of the texts read so far. Each has a random number, and the smallest numbers stay: so few states are ever held."""

    def __init__(self) -> None:
        self.states = np.empty((0, 0, 0), dtype=np.float32)
        self.marked = np.empty((0, 0), dtype=bool)
        self.text = np.empty(0, dtype=int)
        self.spellings: list[str] = []
        self._number = np.empty(0)
        self._waiting: list[tuple[np.ndarray, np.ndarray]] = []

    def add(self, states: np.ndarray, marked: np.ndarray, text: int, spellings: list[str], random: np.random.Generator) -> None:
        """Add the words of a text."""
        self._waiting.append((states, marked))
        self.text = np.append(self.text, np.full(len(spellings), text))
        self.spellings += spellings
        self._number = np.append(self._number, random.random(len(spellings)))
        if len(self.text) > MOST_WORDS + SPARE_WORDS:
            self.thin(MOST_WORDS)

    def thin(self, most: int) -> None:
        """Keep at most so many words, in their order."""
        parts = [(self.states, self.marked)] if self.states.size else []
        states, marked = zip(*parts, *self._waiting, strict=True)
        kept = np.sort(np.argsort(self._number, kind="stable")[:most])
        self.states, self.marked = np.concatenate(states, axis=1)[:, kept], np.concatenate(marked)[kept]
        self.text, self._number = self.text[kept], self._number[kept]
        self.spellings = [self.spellings[at] for at in kept]
        self._waiting = []


def probes(words: Words, seed: int = 0, progress: Progress | None = None) -> pd.DataFrame:
    """The table of `decodability` from words that were gathered."""
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
    _, text = np.unique(words.text, return_inverse=True)
    count = int(text.max()) + 1
    drawn = [np.bincount(random.integers(count, size=count), minlength=count)[text] for _ in range(RESAMPLES)]
    resampled = auc_of_each(scores, truth, np.stack(drawn))
    lo, hi = np.nanpercentile(resampled, EDGES) if np.isfinite(resampled).any() else (np.nan, np.nan)
    reached = roc_auc_score(control, _judged(states, control, words.text, seed)) if usable else np.nan
    return {"auc": float(roc_auc_score(truth, scores)), "lo": float(lo), "hi": float(hi), "control": float(reached)}


def auc_of_each(scores: np.ndarray, truth: np.ndarray, times: np.ndarray) -> np.ndarray:
    """(resample,) AUC where every word counts so many times (resample, word); NaN where one side is missing.

    All at once: scikit-learn sorts the words anew for each resample, which took longer than fitting the probes.
    """
    order = np.argsort(scores, kind="stable")
    ties = np.flatnonzero(np.append(True, np.diff(scores[order]) != 0))
    weights = times[:, order].astype(float)
    right, wrong = (np.add.reduceat(weights * side[order], ties, axis=1) for side in (truth, ~truth))
    below = np.cumsum(wrong, axis=1) - wrong / 2
    pairs = right.sum(axis=1) * wrong.sum(axis=1)
    return np.divide((right * below).sum(axis=1), pairs, out=np.full(len(times), np.nan), where=pairs > 0)


def _judged(states: np.ndarray, truth: np.ndarray, text: np.ndarray, seed: int) -> np.ndarray:
    """The score of every word, by a probe that has seen no word of its text."""
    scores = np.zeros(len(truth))
    for train, test in StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed).split(states, truth, text):
        if truth[train].any() and not truth[train].all():
            probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=200))
            probe.fit(states[train], truth[train])
            scores[test] = probe.decision_function(states[test])
    return scores


# -- of a file, on the model on screen ----------------------------------------------------------------------------------


def gathered_of_file(
    trace: Trace,
    name: str,
    data: bytes,
    column: str,
    thresholds: Mapping[str, float],
    most: int,
    progress: Progress | None = None,
) -> Words:
    """The words of a file of texts, by the model of a trace; labels are its own where it detects, else those of gus-mini."""
    model = model_of(trace).model
    rows = rows_of_page(TextsOf(name, data, column), most, "reads", "Use `atlas audit --depth` for it.")
    detector = detector_for(model, thresholds)
    return gathered(detector.labels, model, rows, detector.thresholds, progress=progress)


TASKS: Mapping[str, Callable[..., Any]] = {GATHER: gathered_of_file, PROBES: probes}
"""Work with the model that views may request, by name."""
