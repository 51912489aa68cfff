"""The logit lens: what the model would predict at each layer if it stopped there."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from atlas.tracing.predictions import MASKED, SEQ2SEQ, task_of

if TYPE_CHECKING:
    from atlas.trace import Trace

Array = np.ndarray

LOGIT_LENS = "logit lens"
"""Name of the task that reads every layer through the unembedding."""

TUNED_LENS = "tuned lens"
"""Name of the task that does so through a fitted map a layer."""

TUNED_LENS_NAME = "name of the tuned lens"
"""Name of the task that says which fitted lens was given for a model."""

LENS_LOGITS = 1_000_000_000
"""Logits computed for one picture, all layers and positions together: half a minute on a laptop for a model of width 768."""

TOP = 5
"""Likeliest tokens kept of every cell."""

PREDICTING = ("causal-lm", MASKED, SEQ2SEQ)
"""Tasks whose outcomes are tokens at every position."""


class LogitLens(NamedTuple):
    """What every layer of a stream would predict at some positions. Row 0 is the embedding, row l + 1 the state after layer l."""

    positions: tuple[int, ...]
    n_outcomes: int
    ids: Array
    """(row, position, rank) the likeliest tokens"""
    names: Array
    probabilities: Array
    """of `ids`"""
    final: Array
    """(position,) id of the likeliest token of the last row, which is the model's own prediction"""
    final_names: Array
    final_probability: Array
    """(row, position) probability of `final` at every row"""
    final_rank: Array
    """(row, position) its rank; 1 is the likeliest"""
    entropy: Array
    """(row, position) of the whole distribution, in nats"""


def stream_kind(trace: Trace) -> str:
    """The stream that the unembedding reads: the decoder's where there is one."""
    return "decoder" if "decoder" in trace.kinds else trace.kinds[0]


def stream_side(trace: Trace) -> str:
    """Whose positions the stream has."""
    return trace.side(stream_kind(trace), "query")


def lens_logits(trace: Trace, n_positions: int) -> int:
    """Logits of so many positions at the embedding and after every layer."""
    vocabulary = trace.live.vocabulary if trace.live is not None else 0
    return n_positions * (trace.n_layers(stream_kind(trace)) + 1) * vocabulary


def without_lens(trace: Trace) -> str:
    """Why a trace has no logit lens; empty: it has."""
    if trace.live is None:
        return "it needs the model's unembedding, and the model of this trace is not here."
    if task_of(trace) not in PREDICTING:
        return "this model predicts no token at every position, so its layers cannot be read as tokens."
    return "" if trace.live.group_of("hidden") is not None else trace.live.reason("hidden")
