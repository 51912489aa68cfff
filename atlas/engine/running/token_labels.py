"""What a token classifier says of every token of a text of any length: long texts are read in windows that overlap."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from atlas.engine.loading.calibration import calibration_of
from atlas.engine.running.capture import is_multi_label
from atlas.engine.running.encode import INPUTS, Encoded, check_ids, table_of, tokenize
from atlas.engine.running.predict import logits_at
from atlas.engine.running.recorder import to_numpy
from atlas.errors import NotCaptured
from atlas.text.checks import check_text
from atlas.tracing.labelled import TokenLabels
from atlas.tracing.predictions import LABELS

if TYPE_CHECKING:
    from collections.abc import Callable

    from atlas.engine.model import Model

OVERLAP = 0.25
"""Share of a window that the next one reads again: a token near an end is read with context on both sides in one of the two."""

WINDOWS_AT_ONCE = 8
"""Windows of a pass: 8 of 512 tokens are no more than what a long text takes elsewhere."""


def token_labels(model: Model, text: str, report: Callable[[int, int], object] | None = None) -> TokenLabels:
    """The probability of every label at every token of a text.

    A text with more tokens than the model takes is read in windows, each with the special tokens of a whole text. A token that
    is in two windows is read in the one where it is farther from the ends. `report` gets the windows done, and all.
    """
    if model.task != LABELS:
        msg = f"{model.name} labels no tokens (its task is {model.task}), so it detects nothing. Use 'gus-mini'."
        raise NotCaptured(msg)
    check_text(text)
    made = tokenize(model.tokenizer, text, None)
    table = table_of(model.tokenizer, made, text)
    inputs = {name: np.asarray(made[name], dtype=np.int64) for name in INPUTS if name in made}
    inputs.setdefault("attention_mask", np.ones_like(inputs["input_ids"]))
    check_ids(model.hf, inputs["input_ids"])
    before, after = _ends(np.asarray(made["special_tokens_mask"], dtype=bool))
    windows = _windows(len(table), before, after, model.limit)
    logits = np.full((len(table), model.size.n_outcomes), np.nan)
    depth = np.full(len(table), -1)
    for start in range(0, len(windows), WINDOWS_AT_ONCE):
        if report is not None:
            report(start, len(windows))
        batch = windows[start : start + WINDOWS_AT_ONCE]
        texts = [Encoded({name: row[at] for name, row in inputs.items()}, table.iloc[at], text, None) for at in batch]
        for at, found in zip(batch, logits_at(model, texts, [range(len(at)) for at in batch], None), strict=True):
            deep = np.minimum(np.arange(len(at)), np.arange(len(at))[::-1])
            better = deep > depth[at]
            depth[at[better]], logits[at[better]] = deep[better], to_numpy(found)[better]
    values, known = _probabilities(logits, model.hf.config), calibration_of(model)
    return TokenLabels(model.name, names_of(model), values, table, (text,), thresholds_of(model), known)


def names_of(model: Model) -> tuple[str, ...]:
    """The labels of a token classifier, as it has them."""
    return tuple(map(str, model.outcome_names(np.arange(model.size.n_outcomes))))


def thresholds_of(model: Model) -> dict[str, float]:
    """The thresholds that a model brings with its configuration; empty where it has none."""
    return {str(label): float(value) for label, value in (getattr(model.hf.config, "thresholds", None) or {}).items()}


def _ends(special: np.ndarray) -> tuple[int, int]:
    """Special tokens before the text and after it."""
    ordinary = np.flatnonzero(~special)
    return (int(ordinary[0]), int(len(special) - 1 - ordinary[-1])) if ordinary.size else (len(special), 0)


def _windows(count: int, before: int, after: int, limit: int | None) -> list[np.ndarray]:
    """The tokens of every window, by position in the whole text."""
    every = np.arange(count)
    if limit is None or count <= limit:
        return [every]
    body = every[before : count - after]
    size = max(1, limit - before - after)
    step = max(1, size - int(size * OVERLAP))
    starts = range(0, max(1, len(body) - size + step), step)
    return [np.concatenate([every[:before], body[start : start + size], every[count - after :]]) for start in starts]


def _probabilities(logits: np.ndarray, config: Any) -> np.ndarray:
    """Of each label by itself (sigmoid) where a token may have several; else its share of one (softmax)."""
    if is_multi_label(config):
        return np.asarray(1 / (1 + np.exp(-logits)))
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))
