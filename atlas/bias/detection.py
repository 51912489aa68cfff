"""What a detector of biased language says of a text, word by word."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from atlas.engine.loading.calibration import calibration_of, calibration_of_embedded
from atlas.engine.loading.load import load
from atlas.engine.model import Model
from atlas.engine.running.capture import Rerun
from atlas.engine.running.token_labels import names_of, token_labels
from atlas.errors import NotCaptured
from atlas.tracing.labelled import CATEGORIES, DETECT, Detection, Thresholds, TokenLabels, detection, labels_of, own_labels
from atlas.tracing.predictions import LABELS

if TYPE_CHECKING:
    from atlas.trace import Trace
    from atlas.tracing.calibration import Calibration

EMBEDDED = "gus-mini"
"""The detector that comes with Atlas."""

Report = Callable[[int, int], object]


class Detector(NamedTuple):
    """What labels texts, and from where on its labels count."""

    name: str
    labels: Callable[[str], TokenLabels]
    thresholds: Thresholds


_kept: dict[str, Model] = {}
_one_at_a_time = threading.Lock()


def detect(detector: str | Model | Any, text: str, thresholds: Thresholds = None) -> Detection:
    """Words and spans of a text with what a detector says of them.

    Parameters
    ----------
    detector
        A token classifier: a Model, or whatever `atlas.load` takes, such as 'gus-mini'.
    text
        Of any length: what the detector cannot read at once it reads in windows that overlap.
    thresholds
        From where on a label counts: {'GEN': .5, ...}, one number for all, or B and I apart ({'B-GEN': .4, 'I-GEN': .5}).
        None: those of the detector's configuration, else 0.5.

    Returns
    -------
    `words` (word, start, end, one column a label: the larger probability of B and I at the first token of the word) and `spans`
    (label, start, end, probability: the mean of its words'). A word is in a span of a label if B or I reaches its threshold.
    Labels are the opinion of a detector that is often wrong: its model card says how often.
    """
    return detection(token_labels(detector if isinstance(detector, Model) else load(detector), text), thresholds)


def labels_of_trace(trace: Trace, report: Report | None = None) -> TokenLabels:
    """The labels of a trace's source text: by its own model where that detects biased language, else by the embedded one."""
    texts = tuple(text for text in (trace.texts.text, trace.texts.pair) if text is not None)
    if not texts:
        msg = "This trace has tokens and no text, and a detector reads a text."
        raise NotCaptured(msg)
    if trace.provenance.get("task") == LABELS and (trace.outcomes is not None or trace.live is not None):
        found = own_labels(trace)
        if set(labels_of(found.names)) & set(CATEGORIES):
            return found._replace(calibration=_own_calibration(trace))
    with embedded_detector() as detector:
        return _joined([token_labels(detector, text, report) for text in texts], texts)


@contextmanager
def embedded_detector() -> Iterator[Model]:
    """The detector that comes with Atlas, for one reader at a time: readers of several models share it."""
    with _one_at_a_time:
        if EMBEDDED not in _kept:
            _kept[EMBEDDED] = load(EMBEDDED)
        yield _kept[EMBEDDED]


def detects(model: Model) -> bool:
    """Whether a model labels biased language itself."""
    return model.task == LABELS and bool(set(labels_of(names_of(model))) & set(CATEGORIES))


def detector_for(model: Model, thresholds: Mapping[str, float]) -> Detector:
    """What labels the other texts of a page whose model this is: the model itself where it detects, else the embedded one."""
    if not detects(model):
        return Detector(EMBEDDED, _by_embedded, thresholds)
    labels = labels_of(names_of(model))  # sliders have thresholds of labels that a detector may lack
    known = {label: value for label, value in thresholds.items() if label in labels}
    return Detector(model.name, partial(token_labels, model), known)


def _by_embedded(text: str) -> TokenLabels:
    """A text as gus-mini labels it, which is free for others between two texts."""
    with embedded_detector() as detector:
        return token_labels(detector, text)


def _own_calibration(trace: Trace) -> Calibration | None:
    """What is known of the model of a trace; nothing where heads of it are switched off: it was measured with all of them."""
    if trace.provenance.get("changed"):
        return None
    if isinstance(trace.live, Rerun):
        return calibration_of(trace.live.model)
    model = str(trace.provenance.get("model"))
    return calibration_of_embedded(model) if trace.provenance.get("source") == "embedded" else None


def _joined(parts: list[TokenLabels], texts: tuple[str, ...]) -> TokenLabels:
    """The labels of a pair of texts as those of one, with the words numbered on."""
    tables, words = [], 0
    for segment, part in enumerate(parts):
        word = part.tokens["word"].to_numpy()
        tables.append(part.tokens.assign(segment=segment, word=np.where(word >= 0, word + words, -1)))
        words += int(word.max(initial=-1)) + 1
    return parts[0]._replace(
        probability=np.concatenate([part.probability for part in parts]),
        tokens=pd.concat(tables, ignore_index=True),
        texts=texts,
    )


TASKS: Mapping[str, Callable[..., Any]] = {DETECT: labels_of_trace}
"""Work with the model that views may request, by name."""
