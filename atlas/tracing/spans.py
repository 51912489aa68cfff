"""Spans of a text: what the reader gave, what the model wrote, and whose message a token belongs to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from atlas.trace import Trace

SPAN = "span"
"""Column of a token table: a role, 'prompt' or 'written'; '' for tokens that the tokenizer or the chat template put there."""

PROMPT, WRITTEN, NOBODY = "prompt", "written", ""

Span = tuple[str, int, int, str]
"""The side of a text, the first character, the one after the last, and the name: ('source', 0, 12, 'prompt')."""


def with_spans(table: pd.DataFrame, spans: Iterable[tuple[int, int, str]]) -> pd.DataFrame:
    """The token table with a column that names the span (start, end, name) of characters in which a token lies."""
    starts = table["start"].to_numpy(dtype=np.float64, na_value=np.nan)
    ends = table["end"].to_numpy(dtype=np.float64, na_value=np.nan)
    # The characters of a second segment are counted anew.
    first = table["segment"].to_numpy() != 1 if "segment" in table else np.ones(len(table), bool)
    names = np.full(len(table), NOBODY, dtype=object)
    for start, end, name in spans:
        # A token may begin in the markup before a message ('\\nHi'); its letters are the message's.
        names[first & (ends > start) & (starts < end)] = name
    return with_column(table, SPAN, pd.Series(names, index=table.index, dtype="str"))


def with_column(table: pd.DataFrame, name: str, values: pd.Series | np.ndarray) -> pd.DataFrame:
    """A copy of a token table with another column; `attrs` are kept."""
    found = table.copy()
    found[name] = values
    return found


def prompt_spans(table: pd.DataFrame) -> list[str]:
    """Span of every token of a prompt: the roles of its messages, or 'prompt' for all but special tokens."""
    if SPAN in table:
        return [str(name) for name in table[SPAN]]
    return [NOBODY if special else PROMPT for special in table["special"]]


def ranges_of(table: pd.DataFrame, names: Sequence[str], side: str) -> tuple[Span, ...]:
    """The stretches of characters that tokens of one name cover; tokens whose place in the text is unknown are in none."""
    found: list[Span] = []
    going_on = False
    for start, end, name in zip(table["start"], table["end"], names, strict=True):
        if not name:
            going_on = False
        elif not pd.isna(start):
            if going_on and found[-1][3] == name:
                found[-1] = (*found[-1][:2], max(found[-1][2], int(end)), name)
            else:
                found.append((side, int(start), int(end), name))
            going_on = True
    return tuple(found)


def spans_of(trace: Trace, side: str) -> dict[str, list[int]]:
    """Positions of every span of a side, in the order of their first tokens; empty where the trace knows of none."""
    table = trace.token_tables.get(side)
    if table is None or SPAN not in table:
        return {}
    found: dict[str, list[int]] = {}
    for position, name in enumerate(table[SPAN]):
        if name:
            found.setdefault(str(name), []).append(position)
    return found


def written_positions(trace: Trace) -> tuple[str, Sequence[int]]:
    """The side and the positions of the tokens that the model wrote."""
    side = "target" if "target" in trace.token_tables else "source"
    return side, spans_of(trace, side).get(WRITTEN, [])
