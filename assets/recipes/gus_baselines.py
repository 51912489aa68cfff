"""What gus-mini has to beat: always O, a list of words, and a logistic regression on the words around.

All learn from the training sentences and have their thresholds tuned as gus-mini has; none has seen dev.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.feature_extraction import DictVectorizer
from sklearn.linear_model import LogisticRegression

from .gus_data import LABELS, OUTSIDE, Sentence, report, stacked, tuned

AROUND = 3  # words to each side that the regression knows by their place; of the others it knows that they are there
SMOOTHING = 4.0  # a word met once tells little: it counts as if it had been met four times more with the usual label
STRENGTH = 1.0  # C of scikit-learn: 0.3 and 3 were within 0.005 of it


def word_shares(learn: Sequence[Sentence]) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """How often each word has each label, drawn towards the share of all words; and that share."""
    usual = stacked(learn).mean(0)
    counts: Counter[str] = Counter()
    sums: dict[str, np.ndarray] = {}
    for sentence in learn:
        for word, labels in zip(sentence.words, sentence.labels, strict=True):
            key = word.lower()
            counts[key] += 1
            sums[key] = sums.get(key, 0.0) + labels
    return {word: (sums[word] + SMOOTHING * usual) / (counts[word] + SMOOTHING) for word in counts}, usual


def by_list(shares: dict[str, np.ndarray], usual: np.ndarray, found: Sequence[Sentence]) -> np.ndarray:
    """The word list's score of every word for every label."""
    return np.stack([shares.get(word.lower(), usual) for sentence in found for word in sentence.words])


def features(sentence: Sentence) -> Iterator[dict[str, bool]]:
    """What the regression knows of each word: itself, its neighbours by place, all words of the sentence as a bag."""
    words = ["<", *(word.lower() for word in sentence.words), ">"]
    bag = {f"in:{word}": True for word in words}
    for place in range(1, len(words) - 1):
        near = {f"{step}:{words[place + step]}": True for step in range(-AROUND, AROUND + 1) if 0 <= place + step < len(words)}
        yield bag | near | {"capital": sentence.words[place - 1][:1].isupper()}


def _narrow(matrix: csr_matrix) -> csr_matrix:
    """The same with indices of 32 bits, which is what liblinear reads."""
    return csr_matrix((matrix.data, matrix.indices.astype(np.int32), matrix.indptr.astype(np.int32)), shape=matrix.shape)


def _told(known: csr_matrix, truth: np.ndarray, found: list[csr_matrix]) -> list[np.ndarray]:
    """Probabilities of one label; of a label that all training words have, or none, what they have."""
    if truth.all() or not truth.any():
        return [np.full(rows.shape[0], float(truth[0])) for rows in found]
    model = LogisticRegression(C=STRENGTH, solver="liblinear").fit(known, truth)
    return [model.predict_proba(rows)[:, 1] for rows in found]


def by_regression(learn: Sequence[Sentence], *others: Sequence[Sentence]) -> list[np.ndarray]:
    """Probabilities of every label for every word of the other sentences, one regression a label."""
    vectorizer = DictVectorizer(dtype=np.float32)
    known = _narrow(vectorizer.fit_transform([row for sentence in learn for row in features(sentence)]))
    rows = [_narrow(vectorizer.transform([row for sentence in found for row in features(sentence)])) for found in others]
    by_label = [_told(known, labels, rows) for labels in stacked(learn).T]
    return [np.stack(columns, 1) for columns in zip(*by_label, strict=True)]


def baselines(learn: Sequence[Sentence], tune: Sequence[Sentence], test: Sequence[Sentence]) -> dict[str, dict[str, float]]:
    """F1 of the three on `test`."""
    truth, tuning = stacked(test), stacked(tune)
    always = np.zeros_like(truth)
    always[:, LABELS.index(OUTSIDE)] = True
    shares, usual = word_shares(learn)
    thresholds = tuned(by_list(shares, usual, tune), tuning)
    listed = by_list(shares, usual, test) >= thresholds
    on_tune, on_test = by_regression(learn, tune, test)
    return {
        "always O": report(always, truth),
        "word list": report(listed, truth),
        "bag of words, logistic regression": report(on_test >= tuned(on_tune, tuning), truth),
    }
