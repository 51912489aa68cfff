"""What the sentences of a guided tour quote: single numbers and tokens, computed from the trace on screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from atlas.ids import WORD_MARKS

if TYPE_CHECKING:
    import pandas as pd

    from atlas.ids import HeadId
    from atlas.trace import Trace


def weight(trace: Trace, head: HeadId, query: int, key: int) -> float:
    """The share of its attention that a token gives to another one in a head."""
    return float(_row(trace, head, query)[key])


def row_sum(trace: Trace, head: HeadId, query: int) -> float:
    """What the weights of one row sum to."""
    return float(np.nansum(_row(trace, head, query)))


def strongest(trace: Trace, head: HeadId, query: int) -> str:
    """The token that a token attends to most in a head."""
    return token(trace, int(np.nanargmax(_row(trace, head, query))), trace.side(head.kind, "key"))


def masked_share(trace: Trace, head: HeadId) -> float:
    """The share of the cells of a head's matrix that the mask forbids."""
    cells = trace.attention(kind=head.kind, layer=head.layer, head=head.head).values
    return float(np.isnan(cells).mean())


def metric(trace: Trace, head: HeadId, name: str) -> float:
    """A metric of a head on this text."""
    table = _heads(trace, head.kind)
    is_it = (table["layer"] == head.layer) & (table["head"] == head.head)
    return float(table.loc[is_it, name].to_numpy(dtype=float)[0])


def highest(trace: Trace, kind: str, name: str) -> str:
    """The head with most of a metric, as it is written."""
    table = _heads(trace, kind)
    row = table.iloc[int(table[name].argmax())]
    return f"L{row['layer']} H{row['head']}"


def heads_above(trace: Trace, kind: str, name: str, least: float) -> int:
    """How many heads of a kind have more of a metric than `least`."""
    return int((_heads(trace, kind)[name] > least).sum())


def count_heads(trace: Trace, kind: str) -> int:
    """How many heads of a kind there are."""
    return trace.n_layers(kind) * trace.n_heads(kind)


def count_tokens(trace: Trace, side: str = "source") -> int:
    """How many tokens a side has."""
    return len(trace.token_tables[side])


def token(trace: Trace, at: int, side: str = "source") -> str:
    """A token as it is written."""
    return str(trace.token_tables[side]["token"].iloc[at]).lstrip(WORD_MARKS)


def likeliest(trace: Trace, position: int | None = None) -> str:
    """The token or label that the model takes for the likeliest; `position`: of a model with one prediction a token."""
    row = _first(trace, position)
    return str(row["label"] if "label" in row else row["token"]).lstrip(WORD_MARKS)


def probability(trace: Trace, position: int | None = None) -> float:
    """The probability of the likeliest token or label."""
    return float(_first(trace, position)["probability"])


def logit(trace: Trace, position: int | None = None) -> float:
    """The logit of the likeliest token or label."""
    return float(_first(trace, position)["logit"])


def _row(trace: Trace, head: HeadId, query: int) -> np.ndarray:
    found: np.ndarray = trace.attention(kind=head.kind, layer=head.layer, head=head.head).values[query]
    return found


def _heads(trace: Trace, kind: str) -> pd.DataFrame:
    table = trace.heads
    return table[table["kind"] == kind]


def _first(trace: Trace, position: int | None) -> pd.Series:
    table = trace.predictions(k=1)
    if "position" in table:
        table = table[table["position"] == (table["position"].max() if position is None else position)]
    return table.iloc[0]
