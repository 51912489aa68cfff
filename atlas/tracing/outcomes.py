"""Predictions as a table."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from atlas.errors import NotCaptured

CLASSIFIES_TEXT = "sequence-classification"


@dataclass(frozen=True, slots=True)
class Predictions:
    """The likeliest outcomes at every position (or for the whole text, of a sequence classifier)."""

    task: str
    ids: np.ndarray
    """(position, rank); one row for a sequence classifier."""
    logits: np.ndarray
    """(position, rank)"""
    log_sum_exp: np.ndarray
    """(position,): over all outcomes, so that probabilities are exact although only the top ones are kept."""
    names: np.ndarray
    """(position, rank): the outcome as text."""
    n_outcomes: int
    multi_label: bool = False
    """Each label has a probability of its own (sigmoid) instead of a share of one."""


def predictions_table(outcomes: Predictions, k: int) -> pd.DataFrame:
    """The k likeliest outcomes of every position, one row each; all of them where there are fewer."""
    kept = outcomes.ids.shape[1]
    if k < 1 or (k > kept and kept < outcomes.n_outcomes):
        msg = f"This trace holds the {kept} likeliest of {outcomes.n_outcomes:,} outcomes; ask for k between 1 and {kept}."
        raise NotCaptured(msg)
    k = min(k, kept)
    n_positions = len(outcomes.ids)
    logits = outcomes.logits[:, :k].astype(np.float64)
    if outcomes.multi_label:
        probability = 1 / (1 + np.exp(-logits))
    elif outcomes.n_outcomes == 1:
        # A regression: one number, of which no share is known (a softmax over one outcome would call it certain).
        probability = np.full_like(logits, np.nan)
    else:
        probability = np.exp(logits - outcomes.log_sum_exp[:, None])
    named = "label" if outcomes.task.endswith("classification") else "token"
    table = pd.DataFrame(
        {
            "position": np.repeat(np.arange(n_positions), k),
            "rank": np.tile(np.arange(k), n_positions),
            named: outcomes.names[:, :k].ravel(),
            "id": outcomes.ids[:, :k].ravel(),
            "probability": probability.ravel(),
            "logit": outcomes.logits[:, :k].ravel(),
        }
    )
    return table.drop(columns="position") if outcomes.task == CLASSIFIES_TEXT else table
