"""The writers of a prediction as lists: the largest parts, and all parts in the order of writing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from atlas.ids import HeadId
from atlas.numbers import three
from atlas.tracing.chance import BEYOND
from atlas.tracing.direct_effects import BIASES, EMBEDDING, FEED_FORWARD, HEAD
from atlas.tracing.verdict import p_words

if TYPE_CHECKING:
    import pandas as pd

Array = np.ndarray

WRITERS = 10
"""Writers with a row of their own in the list; the others are one row together."""


class Row(NamedTuple):
    """One writer of the list."""

    name: str
    part: float
    share: float
    """Of the sum of |parts|."""
    about: str
    head: HeadId | None = None


class Step(NamedTuple):
    """What was written at one step of the way through the model."""

    name: str
    part: float
    heads: tuple[HeadId, ...] = ()


def strongest(table: pd.DataFrame, adds: str) -> tuple[Row, ...]:
    """The writers with the largest parts, and the others as one; `adds` says to what they add."""
    ordered = table.sort_values("effect", key=np.abs, ascending=False, kind="stable")
    rows = [_row(record, adds) for record in ordered.head(WRITERS).to_dict("records")]
    rest = ordered.iloc[WRITERS:]
    if len(rest):
        part, share = float(rest["effect"].sum()), float(rest["share"].abs().sum())
        about = f"their sizes together are {three(100 * share)} % of all"
        rows.append(Row(f"the other {len(rest):,} together", part, share, about))
    return tuple(rows)


def _row(record: dict[Any, Any], adds: str) -> Row:
    name, part, share = str(record["writer"]), float(record["effect"]), float(record["share"])
    about = f"{adds} {signed(part)}\n{three(100 * abs(share))} % of the sum of all sizes"
    low, high, q = (float(record[column]) for column in ("lo", "hi", "q"))
    if np.isfinite(low):
        about += f"\nto outcomes drawn at random: {three(low)} to {three(high)} (95 %)"
    if np.isfinite(q):
        about += f", q {p_words(q)}"
    head = HeadId(record["kind"], int(record["layer"]), int(record["head"])) if record["what"] == HEAD else None
    return Row(name, part, share, about, head)


def steps_of(table: pd.DataFrame, *, several: bool) -> tuple[Step, ...]:
    """The parts of the heads of each layer together, and those of all others, in the order of writing.

    `several`: the heads of a layer are of two kinds, self- and cross-attention.
    """
    steps: dict[str, tuple[float, tuple[HeadId, ...]]] = {}
    for record in table.to_dict("records"):
        what, layer, kind = record["what"], record["layer"], record["kind"]
        if what == HEAD:
            heads: tuple[HeadId, ...] = (HeadId(kind, int(layer), int(record["head"])),)
            name = f"L{layer} {'cross' if several and kind == 'cross' else 'self' if several else 'heads'}"
        else:
            heads, name = (), short_name(str(what), str(record["writer"]), layer)
        part, before = steps.get(name, (0.0, ()))
        steps[name] = part + float(record["effect"]), (*before, *heads)
    return tuple(Step(name, *found) for name, found in steps.items())


def beyond_chance(table: pd.DataFrame) -> Array:
    """Whether the part of a writer is beyond chance: outside what random outcomes get, with q up to `BEYOND`."""
    out = (table["effect"] < table["lo"]) | (table["effect"] > table["hi"])
    return np.asarray(out & (table["q"] <= BEYOND))


def short_name(what: str, writer: str, layer: object) -> str:
    """A step as it stands under its bar."""
    if what == FEED_FORWARD:
        return f"L{layer} FFN"
    return {BIASES: "biases", EMBEDDING: writer.removesuffix(" embedding")}.get(what, writer)


def signed(value: float) -> str:
    """'+0.12', '−3'."""
    return ("+" if value > 0 else "") + three(value)
