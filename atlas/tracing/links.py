"""The strongest links between tokens or words of a trace: of heads together, layer by layer, or of several by themselves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from atlas.errors import TooLarge, UnknownName
from atlas.ids import HeadId
from atlas.metrics.keysets import key_sets
from atlas.metrics.links import needed, strongest
from atlas.tracing.levels import TOKENS, Level
from atlas.tracing.token_scores import sinks
from atlas.tracing.windows import combined, one_kind

if TYPE_CHECKING:
    from atlas.trace import Trace
    from atlas.tracing.record import Attention

Array = np.ndarray

LINK_CELLS = 40_000_000
"""Weights that are searched for the strongest links, all heads together: half a second of arithmetic."""

DRAWN_LINKS = 2_000
"""Most links of one picture: 3,000 of a text of 512 tokens were 340 kB with their names. More would be one grey."""

LINES = 5_000
"""Most links of several heads beside each other: 45 kB, which the browser redraws while the pointer moves."""

AXES = ("query", "key")

SEGMENTS = {"A": 0, "B": 1}
"""The texts of a pair, as the token table numbers them; special tokens are in neither."""

WORDS = "content words"
"""The category of all words here: a ribbon has no shape, and the categories of words differ in nothing else."""


class Links(NamedTuple):
    """The strongest links between a row of queries and a row of keys (tokens, or words by their places), the strongest first."""

    query: Array
    key: Array
    weight: Array
    chance: Array
    """The weight of every link where each query spreads its attention evenly over what it may see."""
    mass: float
    """The sum of all weights, those of the keys that are left out excepted."""
    left_out: float
    """The sum of the weights of the keys that are left out."""
    cells: int
    """How many links there are, drawn or not: cells where a query may look, keys that are left out excepted."""
    sent: Array
    received: Array
    """(query,) and (key,): what each token gives and gets in all; 0 for a key that is left out."""

    def until(self, share: float) -> Links:
        """The fewest of them that carry a share of the mass; the sums stay those of all."""
        count = needed(self.weight, self.mass, share)
        return self._replace(**{name: getattr(self, name)[:count] for name in ("query", "key", "weight", "chance")})


def head_links(
    trace: Trace, heads: Sequence[HeadId], aggregate: str = "mean", *, without_sinks: bool = False, most: int = DRAWN_LINKS,
    level: Level = TOKENS,
) -> Links:  # fmt: skip
    """The strongest links of the heads together: of their mean, or of the largest of them cell by cell."""
    kind = one_kind(heads)
    attention = trace.attention_of(kind)
    check_size(attention, len(heads))
    return _links(attention, heads, aggregate, _left_out(trace, kind, level, without_sinks=without_sinks), most, level)


def layer_links(
    trace: Trace, kind: str, heads: Sequence[HeadId] = (), aggregate: str = "mean", *, without_sinks: bool = False,
    most: int = DRAWN_LINKS, level: Level = TOKENS, tell: Callable[[int], object] = lambda _: None,
) -> tuple[Links, ...]:  # fmt: skip
    """The same for every layer by itself: of those of the heads that are in it, or of all its heads where none is.

    Every layer gets the same part of the `most` links: where one is diffuse and the next is not, both have their strongest.
    """
    attention = trace.attention_of(kind)
    if kind == "cross":
        msg = "Cross-attention links two texts, in every layer anew: nothing goes from one layer to the next. Show these heads."
        raise UnknownName(msg)
    layers = range(len(attention.layers))
    of_layer = [heads_of_layer(attention, layer, heads) for layer in layers]
    check_size(attention, sum(map(len, of_layer)))
    keys = _left_out(trace, kind, level, without_sinks=without_sinks)
    found = []
    for layer in layers:
        tell(layer)
        found.append(_links(attention, of_layer[layer], aggregate, keys, max(1, most // len(layers)), level))
    return tuple(found)


def heads_of_layer(attention: Attention, layer: int, heads: Sequence[HeadId]) -> list[HeadId]:
    """The heads that stand for a layer: those of the given ones that are in it, or all it has."""
    chosen = [head for head in heads if head.layer == layer and head.kind == attention.kind]
    return chosen or [HeadId(attention.kind, layer, head) for head in range(attention.n_heads)]


def check_size(attention: Attention, n_heads: int) -> None:
    """Refuse more weights than a reader waits for."""
    size = attention.n_queries * attention.n_keys * n_heads
    if size > LINK_CELLS:
        msg = (
            f"{n_heads:,} heads of {attention.n_queries:,} × {attention.n_keys:,} tokens are {size / 1e6:,.0f} million weights, "
            f"and at most {LINK_CELLS / 1e6:.0f} million are searched for the strongest links. Select fewer heads or take a "
            "shorter text."
        )
        raise TooLarge(msg)


def _left_out(trace: Trace, kind: str, level: Level, *, without_sinks: bool) -> Array:
    """Which keys are left out: sinks, and words that hold one."""
    marks = sinks(trace, kind)
    return level.holding("key", marks if without_sinks else np.zeros_like(marks))


def _links(
    attention: Attention, heads: Sequence[HeadId], aggregate: str, left_out: Array, most: int, level: Level
) -> Links:  # fmt: skip
    weights = combined((level.pooled(attention.block(head.layer, head.head)) for head in heads), aggregate)
    hidden = float(np.nansum(weights[:, left_out], dtype=np.float64))
    weights[:, left_out] = np.nan
    query, key = strongest(weights, most)
    known = np.nan_to_num(weights).astype(np.float64)
    sent, received = known.sum(axis=1), known.sum(axis=0)
    return Links(
        query, key, weights[query, key], chances(attention, heads, query, key, aggregate, level), float(sent.sum()), hidden,
        int(np.count_nonzero(~np.isnan(weights))), sent, received,
    )  # fmt: skip


def chances(
    attention: Attention, heads: Sequence[HeadId], query: Array, key: Array, aggregate: str, level: Level = TOKENS
) -> Array:
    """The weight of each link where every head spreads its attention evenly, as `uniform_rows` does, over the same keys."""
    known: dict[object, Array] = {}
    found = []
    for head in heads:
        here = attention.layers[head.layer]
        # The heads of a layer share its mask, unless it has one each or the run cut edges of a single head.
        own = head.head in here.cut_heads or (here.mask.cells is not None and here.mask.cells.ndim > 2)
        of = (head.layer, head.head) if own else id(here.mask)
        if of not in known:
            visible = here.visible(head.head, attention.n_queries, attention.n_keys)
            if level is not TOKENS:
                known[of] = level.pooled(_evenly(attention, visible))[query, key]
            elif visible is None:
                known[of] = np.full(len(query), 1 / attention.n_keys, np.float32)
            else:
                seen = visible[query, key]
                known[of] = np.where(seen, 1 / np.maximum(visible.sum(axis=1)[query], 1), np.nan).astype(np.float32)
        found.append(known[of])
    return combined(found, aggregate)


def _evenly(attention: Attention, visible: Array | None) -> Array:
    """(query, key) weights that are the same for all keys a query may look at; NaN for the others."""
    if visible is None:
        return np.full((attention.n_queries, attention.n_keys), 1 / attention.n_keys, np.float32)
    return np.where(visible, 1 / np.maximum(visible.sum(axis=1, keepdims=True), 1), np.nan).astype(np.float32)


class HeadLinks(NamedTuple):
    """The strongest links of several heads of one layer, each head by itself, the strongest first."""

    head: Array
    query: Array
    key: Array
    weight: Array
    mass: float
    """The sum of all weights of these heads that may be drawn."""
    whole: float
    """The sum of all their weights."""
    cells: int
    """How many links may be drawn."""

    @property
    def share(self) -> float:
        """The share of the weights that may be drawn which the strongest links carry."""
        return float(self.weight.sum(dtype=np.float64)) / self.mass if self.mass else 0.0


def several_links(
    trace: Trace, heads: Sequence[HeadId], between: str = "", *, without_sinks: bool = False, most: int = LINES,
    level: Level = TOKENS,
) -> HeadLinks:  # fmt: skip
    """The strongest links of several heads of one kind, beside each other.

    `between` 'AB' keeps those from the first text of a pair to the second; empty: all. Keys that are sinks may be left out.
    """
    kind = one_kind(heads)
    attention = trace.attention_of(kind)
    check_size(attention, len(heads))
    sizes = (attention.n_queries, attention.n_keys)
    rows, columns = (level.first(axis, np.ones(size, bool)) for axis, size in zip(AXES, sizes, strict=True))
    if between:
        rows, columns = (
            level.first(axis, trace.token_tables[trace.side(kind, axis)]["segment"].to_numpy()) == SEGMENTS[name]
            for axis, name in zip(AXES, between, strict=True)
        )
    columns = columns & ~_left_out(trace, kind, level, without_sinks=without_sinks)
    whole, mass, cells = 0.0, 0.0, 0
    found: list[tuple[Array, ...]] = []
    for head in heads:
        weights = level.pooled(attention.block(head.layer, head.head))
        whole += float(np.nansum(weights, dtype=np.float64))
        weights[~rows] = np.nan
        weights[:, ~columns] = np.nan
        mass += float(np.nansum(weights, dtype=np.float64))
        cells += int(np.count_nonzero(~np.isnan(weights)))
        query, key = strongest(weights, most)
        found.append((np.full(len(query), head.head), query, key, weights[query, key]))
    parts = [np.concatenate(part) for part in zip(*found, strict=True)]
    order = np.lexsort((*parts[2::-1], -parts[3]))[:most]
    head_, query, key, weight = (part[order] for part in parts)
    return HeadLinks(head_, query, key, weight, mass, whole, cells)


def has_pair(trace: Trace, kind: str) -> bool:
    """Whether queries and keys are the tokens of a pair of texts."""
    tables = [trace.token_tables[trace.side(kind, axis)] for axis in ("query", "key")]
    return all("segment" in table and (table["segment"] == SEGMENTS["B"]).any() for table in tables)


def unit_categories(trace: Trace, kind: str, level: Level) -> tuple[str, ...]:
    """What every query is: as its tokens, where they are the same; a word of letters and marks is a word."""
    each = token_categories(trace, trace.side(kind, "query"))
    if level.queries is None:
        return each
    names = np.array(each, dtype=object)
    found = [set(names[sorted(level.tokens("query", at))]) for at in range(len(level.queries))]
    return tuple(kinds.pop() if len(kinds) == 1 else WORDS for kinds in found)


def token_categories(trace: Trace, side: str) -> tuple[str, ...]:
    """What every token of a side is: 'special tokens', 'punctuation' or a word."""

    def sorted_out() -> tuple[str, ...]:
        table = trace.reading(side).table
        sets = key_sets(table)
        marks = np.where(table["special"].to_numpy(bool), "special tokens", WORDS).astype(object)
        marks[np.asarray(sets["punctuation"], bool)] = "punctuation"
        return tuple(map(str, marks))

    made: tuple[str, ...] = trace.once(f"token categories {side}", sorted_out)
    return made
