"""What a model wrote: its tokens one by one, each with its probability and with what else could have stood there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from atlas.tracing.predictions import MASKED, SEQ2SEQ, task_of
from atlas.tracing.spans import Span, prompt_spans, ranges_of, written_positions

if TYPE_CHECKING:
    from atlas.trace import Trace

WRITE_ON = "write on"
"""Name of the task that lets a model write on."""

ALTERNATIVES = 10
"""Likeliest tokens shown of a position."""

PROBABILITY = "probability"
"""Column of a token table: the probability of each written token; NaN for tokens that the model did not write."""

END, ENOUGH, FULL = "end", "tokens", "limit"
"""Why a model stopped: it wrote its end token, it wrote as many tokens as were asked for, or its positions are used up."""

WRITES = ("causal-lm", SEQ2SEQ)
"""Tasks whose models write."""


@dataclass(frozen=True, slots=True, eq=False)
class WrittenToken:
    """One written token. All probabilities are the model's own, before temperature and top-p."""

    id: int
    token: str
    """As the vocabulary has it, with the space before a word."""
    text: str
    """What it adds to the text, with the white space before it; '' for a token that is a part of a letter."""
    probability: float
    ids: np.ndarray
    """(rank,) of the alternatives, the likeliest first; the token itself is among them where it is likely enough."""
    names: np.ndarray
    probabilities: np.ndarray


class Continuation(NamedTuple):
    """What a model wrote from some place on."""

    tokens: tuple[WrittenToken, ...]
    """All tokens after the kept ones, also those that were given."""
    stopped: str
    """END, ENOUGH or FULL."""
    text: str
    """The whole text with what was written; of an encoder-decoder, what it wrote."""
    start: int
    """Position of the first of these tokens."""
    exact: bool
    """Whether the text, read anew, has exactly these tokens."""
    spans: tuple[Span, ...] = ()
    """Whose the characters of the text are: the prompt's, its roles', or the model's."""


def written(trace: Trace, k: int = ALTERNATIVES) -> tuple[WrittenToken, ...]:
    """The tokens of a trace that the model wrote; empty where it wrote none."""
    side, positions = written_positions(trace)
    table, outcomes = trace.token_tables[side], trace.outcomes
    if not positions or PROBABILITY not in table or outcomes is None:
        return ()
    whole = trace.texts.target if side == "target" else trace.texts.text
    ends = table["end"].to_numpy(dtype=np.float64, na_value=np.nan)
    found = []
    for position in positions:
        row = position - 1  # a row predicts the token after it
        chances = np.exp(outcomes.logits[row, :k].astype(np.float64) - outcomes.log_sum_exp[row])
        token = str(table["token"].iloc[position])
        before = ends[:position][~np.isnan(ends[:position])]
        known = whole is not None and not np.isnan(ends[position])
        text = str(whole)[int(before.max()) if len(before) else 0 : int(ends[position])] if known else token
        found.append(
            WrittenToken(
                int(table["id"].iloc[position]), token, text, float(table[PROBABILITY].iloc[position]),
                outcomes.ids[row, :k], outcomes.names[row, :k], chances,
            )
        )  # fmt: skip
    return tuple(found)


def without_writing(trace: Trace) -> str:
    """Why the model of a trace cannot write on; empty: it can."""
    task = task_of(trace)
    if task not in WRITES and not (task == MASKED and "target" in trace.token_tables):
        return f"its model ({task}) fills in or classifies and does not write. A causal model or an encoder-decoder does."
    if trace.live is None:
        return "its model is not here to write on."
    return ""


def prompt_of(trace: Trace, kept: int | None) -> tuple[str, tuple[Span, ...]]:
    """The text before what was written, and its spans; `kept`: so many tokens of it (None: all)."""
    table, text = trace.token_tables["source"], trace.texts.text or ""
    rows = table.iloc[:kept]
    ends = rows["end"].dropna()
    cut = text if kept is None or not len(ends) else text[: int(ends.max())]
    return cut, ranges_of(rows, prompt_spans(rows), "source")


def text_of(tokens: Sequence[WrittenToken]) -> str:
    """The tokens as running text."""
    return "".join(token.text for token in tokens)
