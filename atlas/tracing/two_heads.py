"""Heads of two traces in pairs, how far their attention differs, and the difference of their metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from atlas.definitions import DEFINITIONS
from atlas.errors import NotCaptured, TooLarge
from atlas.ids import HeadId
from atlas.metrics.between import NO_HEAD, matched, moved, similarity_between
from atlas.metrics.similarity import PAIRS
from atlas.tracing.groups import FEW_ROWS, NOT_NAMED, UNTOLD, roles
from atlas.tracing.selected_heads import selected_heads
from atlas.tracing.two_traces import NO_WORDS

if TYPE_CHECKING:
    from atlas.trace import Trace
    from atlas.tracing.two_traces import TwoTraces

Array = np.ndarray

BY_INDEX, BY_PATTERN = "number", "pattern"
"""Which head stands for which: that of the same layer and number, or that which looks most alike."""

PATTERN_NUMBERS = 40_000_000
"""Numbers of the patterns of all heads of both sides in memory: 160 MB."""

COMPARED_CELLS = 1_500_000_000
"""Cells compared to pair heads, pairs of heads times cells of a pattern: some ten seconds."""

READ_WEIGHTS = 2_000_000_000
"""Weights read of both sides for one matrix of several heads: half a minute."""

LEAST_ROWS = 4
"""Words that stand for a text: fewer say nothing of a head."""

SEED = 0

Report = Callable[[float], None]


class Partners(NamedTuple):
    """(head,) of the first side, layer by layer."""

    head: Array
    """The head of the second side that stands for it, layer by layer, -1: none."""
    similarity: Array
    """1 − Jensen-Shannon distance of the two patterns; NaN without partner."""
    moved: Array
    """Mean total variation distance of their rows."""
    unpaired: Array
    """Mean mass on words without partner, of the first side and of the second."""
    unpaired_beside: Array
    chance: float
    """Mean similarity of random pairs of one head of either side."""
    rows: int
    """Words that it rests on."""
    all_rows: int
    by: str


def partners(two: TwoTraces, kind: str, by: str | None = None, report: Report = lambda _: None) -> Partners:
    """The head of the second side for each of the first; `by` None: by number where kind and shape agree, else by pattern."""
    by = _how(two, kind, by)
    found: Partners = two.once(("partners", kind, by), lambda: _partners(two, kind, by, report))
    return found


def are_known(two: TwoTraces, kind: str, by: str | None = None) -> bool:
    """Whether the pairs are there without any work."""
    return two.holds(("partners", kind, _how(two, kind, by)))


def _how(two: TwoTraces, kind: str, by: str | None) -> str:
    return BY_PATTERN if by == BY_PATTERN or not two.same_shape(kind) else BY_INDEX


def _partners(two: TwoTraces, kind: str, by: str, report: Report) -> Partners:
    beside = two.kind_beside(kind)
    count, count_beside = (trace.n_layers(of) * trace.n_heads(of) for trace, of in ((two.a, kind), (two.b, beside)))
    queries, keys = two.units(kind, "query", "word").units, two.units(kind, "key", "word").units
    possible = np.flatnonzero(queries.words)
    if not len(possible):
        raise NotCaptured(NO_WORDS)
    width = len(keys.words) + 1
    pairs = count * count_beside if by == BY_PATTERN else count + PAIRS
    most = min(PATTERN_NUMBERS // ((count + count_beside) * width), COMPARED_CELLS // (pairs * width))
    if most < min(LEAST_ROWS, len(possible)):
        msg = (
            f"Comparing {count:,} with {count_beside:,} heads is affordable at {most:,} of {len(possible):,} words, too few to "
            "stand for the text. Take a shorter text."
        )
        raise TooLarge(msg)
    rows = possible[np.unique(np.linspace(len(possible) - 1, 0, min(most, len(possible))).round().astype(int))]
    one = _patterns(two, kind, rows, second=False)
    other = _patterns(two, kind, rows, second=True)
    if by == BY_INDEX:
        partner = np.arange(count)
        similarity = np.array([similarity_between(one[at : at + 1], other[at : at + 1])[0, 0] for at in range(count)])
    else:
        every = similarity_between(one, other, report)
        partner = matched(every)
        similarity = np.where(partner == NO_HEAD, np.nan, every[np.arange(count), partner])
    drawn = np.random.default_rng(SEED).integers((count, count_beside), size=(PAIRS, 2))
    chance = np.mean([similarity_between(one[i : i + 1], other[j : j + 1])[0, 0] for i, j in drawn])
    all_rows = np.ones(len(rows), dtype=bool)
    there = partner != NO_HEAD
    how_far = [np.full(count, np.nan) for _ in range(3)]
    for values, of in zip(how_far, moved(one[there], other[partner[there]], all_rows), strict=True):
        values[there] = of
    return Partners(partner, similarity, how_far[0], how_far[1], how_far[2], float(chance), len(rows), len(possible), by)


def _patterns(two: TwoTraces, kind: str, rows: Array, *, second: bool) -> Array:
    """(head, row, key + 1) what every head of a side gives from some words; 0 where it may not look."""
    trace, of = (two.b, two.kind_beside(kind)) if second else (two.a, kind)
    made = [
        two.pooled(kind, (layer, head), second=second, level="word", rows=rows)
        for layer in range(trace.n_layers(of))
        for head in range(trace.n_heads(of))
    ]
    return np.nan_to_num(np.stack(made))


def partner_of(two: TwoTraces, head: HeadId, by: str | None = None) -> HeadId | None:
    """The head of the second side that stands for one; None: there is none."""
    beside = two.kind_beside(head.kind)
    if _how(two, head.kind, by) == BY_INDEX:
        return HeadId(beside, head.layer, head.head)
    found = int(partners(two, head.kind, by).head[head.layer * two.a.n_heads(head.kind) + head.head])
    return None if found == NO_HEAD else HeadId(beside, *divmod(found, two.b.n_heads(beside)))


# -- metrics -----------------------------------------------------------------------------------------------------------


def metric_names(table: pd.DataFrame) -> list[str]:
    """The columns of a head table that are metrics."""
    return [name for name in table.columns if (name in DEFINITIONS and f"{name}_uniform" in table.columns) or name == "selected"]


def head_differences(
    two: TwoTraces,
    kind: str,
    by: str | None = None,
    queries: Iterable[int] = (),
    keys: Iterable[int] = (),
    *,
    medians: bool = False,
) -> pd.DataFrame:
    """One row a head of the first side: its partner and how far both differ, and for each metric NAME_a, NAME_b, NAME (b − a).

    Also role_a and role_b, the role of the head and of its partner, as everywhere ('' where there is none).
    `queries`, `keys`: positions of the first side; the metrics are recomputed for them and for what stands for them. `medians`:
    with exact medians, which take as long as a run, where nothing is selected.
    """
    pairs, beside = partners(two, kind, by), two.kind_beside(kind)
    queries, keys = tuple(queries), tuple(keys)
    own = _table(two.a, kind, queries, keys, medians=medians)
    selected = two.partners(two.a.side(kind, "query"), queries), two.partners(two.a.side(kind, "key"), keys)
    for given, found, axis in zip((queries, keys), selected, ("look", "are looked at"), strict=True):
        if given and not found:
            msg = f"None of the selected tokens that {axis} stands for anything of the second text. Select other tokens."
            raise NotCaptured(msg)
    other = _table(two.b, beside, *selected, medians=medians)
    there = pairs.head != NO_HEAD
    taken = other.iloc[np.where(there, pairs.head, 0)].reset_index(drop=True)
    made: dict[str, Any] = {
        "kind": own["kind"], "layer": own["layer"], "head": own["head"],
        "kind_b": np.where(there, beside, ""),
        "layer_b": taken["layer"].where(there).astype("Int64"),
        "head_b": taken["head"].where(there).astype("Int64"),
        "similarity": pairs.similarity, "moved": pairs.moved, "unpaired_a": pairs.unpaired, "unpaired_b": pairs.unpaired_beside,
    }  # fmt: skip
    made |= {"role_a": _roles(own), "role_b": np.where(there, _roles(other)[np.where(there, pairs.head, 0)], "")}
    for name in metric_names(own):
        one = own[name].to_numpy(float)
        second = taken[name].to_numpy(float) if name in taken else np.full(len(own), np.nan)
        made |= {f"{name}_a": one, f"{name}_b": np.where(there, second, np.nan), name: np.where(there, second - one, np.nan)}
    return pd.DataFrame(made)


def _table(trace: Trace, kind: str, queries: Iterable[int], keys: Iterable[int], *, medians: bool) -> pd.DataFrame:
    queries, keys = tuple(queries), tuple(keys)
    if medians and not queries and not keys:
        every = trace.heads
        return every[every["kind"] == kind].reset_index(drop=True)
    return selected_heads(trace, kind, queries, keys).reset_index(drop=True)


def _roles(table: pd.DataFrame) -> Array:
    """(head,) the role of each head; '' where it has none, or none can be told."""
    return np.array(["" if role in (NOT_NAMED, FEW_ROWS, UNTOLD) else role for role in roles(table)], dtype=object)


# -- matrices ----------------------------------------------------------------------------------------------------------


class Matrices(NamedTuple):
    """(unit, unit + 1) attention of some heads of both sides between the same words; the last column is without partner."""

    a: Array
    b: Array
    queries: tuple[str, ...]
    keys: tuple[str, ...]
    row_of: Array
    """The row of every query token of the first side, -1: none."""
    column_of: Array
    heads: int
    """Heads that have a partner, over which both sides are taken together."""

    @property
    def difference(self) -> Array:
        """The second side minus the first; NaN where either may not look."""
        return self.b - self.a

    @property
    def elsewhere(self) -> float:
        """The share of a row's attention that lies elsewhere on the second side, mean over the rows."""
        one, other = (np.nan_to_num(each)[None] for each in (self.a, self.b))
        return float(moved(one, other, np.ones(one.shape[1], dtype=bool)).distance[0])


def matrices(
    two: TwoTraces,
    heads: Iterable[HeadId],
    aggregate: str = "mean",
    level: str = "token",
    by: str | None = None,
    report: Report = lambda _: None,
) -> Matrices:
    """What some heads of one kind of the first side look at, and what their partners do, taken together over the heads."""
    chosen = list(heads)
    kind = chosen[0].kind
    beside = two.kind_beside(kind)
    cells = sum(
        trace.attention_of(of).n_queries * trace.attention_of(of).n_keys for trace, of in ((two.a, kind), (two.b, beside))
    )
    if cells * len(chosen) > READ_WEIGHTS:
        msg = (
            f"The matrices of {len(chosen):,} heads of both sides have {cells * len(chosen) / 1e9:.1f} thousand million weights, "
            f"and {READ_WEIGHTS / 1e9:.0f} are the most. Select fewer heads, or take a shorter text."
        )
        raise TooLarge(msg)
    together = np.fmax if aggregate == "max" else np.add
    sums: list[Any] = [None, None]
    count = 0
    for at, head in enumerate(chosen):
        report(at / len(chosen))
        partner = partner_of(two, head, by)
        if partner is None:
            continue
        count += 1
        for side, of in enumerate((head, partner)):
            found = two.pooled(kind, (of.layer, of.head), second=side == 1, level=level).astype(np.float64)
            sums[side] = found if sums[side] is None else together(sums[side], found)
    if not count:
        msg = "None of these heads has a partner on the second side, which has fewer heads. Select other heads."
        raise NotCaptured(msg)
    a, b = (each if aggregate == "max" else each / count for each in sums)
    known = two.levels(kind, level)
    queries, keys = (two.units(kind, axis, known) for axis in ("query", "key"))
    return Matrices(a, b, queries.names, keys.names, queries.units.old, keys.units.old, count)
