"""How far each head looks at flagged tokens, held against uniform attention and against other tokens of the same text."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from atlas.attribution.statistics import false_discovery
from atlas.errors import UnknownName
from atlas.tracing.labelled import ATTENTION_BIAS, ATTENTION_BIAS_BY_LAYER

if TYPE_CHECKING:
    from atlas.trace import Trace

RECEIVED, AMONG = "received", "among"
"""Attention that flagged tokens get from all tokens, or from each other."""

CELLS_AT_ONCE = 16_000_000
"""Weights of heads held at once, 128 MB as float64."""

ROUNDING = 1e-6
"""Ratios closer than this are equal: weights are float32, and a uniform head must not differ from its own permutations."""

Report = Callable[[int, int], object]
"""(heads done, all heads)"""


class _Part(NamedTuple):
    """Some heads of one kind and layer."""

    mass: np.ndarray
    """(head, query, key) attention, 0 where a query may not look."""
    even: np.ndarray
    """(head, query, key) what each key gets where a query spreads what it gives to these keys over those it may see."""


def attention_bias(
    trace: Trace,
    flagged: Collection[int],
    direction: str = RECEIVED,
    permutations: int = 999,
    seed: int = 0,
    *,
    report: Report | None = None,
) -> pd.DataFrame:
    """How much more attention the flagged tokens get than uniform attention would give them, one row a head.

    Parameters
    ----------
    trace
        Its heads are asked. Of an encoder-decoder: those whose keys are tokens of the source.
    flagged
        Positions of source tokens. Special tokens among them do not count.
    direction
        'received': from all tokens; 'among': from the flagged tokens alone (not in cross-attention).
    permutations, seed
        Of the null, which puts the flagged stretches elsewhere in the text, and of the interval, which resamples queries.
    report
        Called with the heads done and all heads.

    Returns
    -------
    kind, layer, head, ratio, lo and hi (95 %, bootstrap over queries), p (two-sided), q (Benjamini-Hochberg over all heads), n
    (flagged tokens).

    Notes
    -----
    ratio = Σ_i Σ_(j flagged) a_ij / Σ_i s_i f_i / v_i. Of the tokens that query i may see and that are not special, v_i is the
    number, f_i the number of flagged ones, s_i the attention they get together. So each row is held against the uniform one
    under its own mask: a uniform head, causal or not, has 1 whichever tokens are flagged. Special tokens neither look nor are
    looked at: they take most attention of many heads, and every word would seem neglected.

    For the null, flagged stretches of the same lengths lie elsewhere among the tokens that are not special, so p asks whether
    other stretches of this text would have got as much. Single tokens would be too weak a null: attention to neighbours is alike,
    so that any stretch stands out from scattered tokens. It is two-sided, by the distance from the mean of the null.
    """
    return _compared(trace, flagged, direction, permutations, seed, report, pooled=False)


def attention_bias_by_layer(
    trace: Trace,
    flagged: Collection[int],
    direction: str = RECEIVED,
    permutations: int = 999,
    seed: int = 0,
    *,
    report: Report | None = None,
) -> pd.DataFrame:
    """The same of all heads of a layer together, one row a layer: both sums of the ratio go over its heads too.

    A head that gives much of its attention to special tokens counts less, as it gives less to any word. The rest is as in
    `attention_bias`: interval over queries, p among other tokens of the text, q over all layers.

    Returns
    -------
    kind, layer, ratio, lo, hi, p, q, n.
    """
    return _compared(trace, flagged, direction, permutations, seed, report, pooled=True).drop(columns="head")


def _compared(
    trace: Trace,
    flagged: Collection[int],
    direction: str,
    permutations: int,
    seed: int,
    report: Report | None,
    *,
    pooled: bool,
) -> pd.DataFrame:
    """One row a head; `pooled`: one row a layer, whose head is 0."""
    if direction not in (RECEIVED, AMONG):
        msg = f"Direction is {RECEIVED!r} or {AMONG!r}, not {direction!r}."
        raise UnknownName(msg)
    source = trace.token_tables["source"]
    wrong = [at for at in flagged if not 0 <= at < len(source)]
    if wrong:
        msg = f"There is no token {wrong[0]} to flag: this text has {len(source)}, counted from 0."
        raise UnknownName(msg)
    keys = np.flatnonzero(~source["special"].to_numpy(dtype=bool))
    marks = np.isin(keys, list(flagged))
    kinds = [kind for kind in trace.kinds if trace.side(kind, "key") == "source" and (direction == RECEIVED or kind != "cross")]
    every = sum(trace.n_layers(kind) * trace.n_heads(kind) for kind in kinds)
    random = np.random.default_rng(seed)
    shuffled = elsewhere(marks, permutations, random)
    parts, done = [], 0
    for kind in kinds:
        queries = _words_that_look(trace, kind)
        rows = np.flatnonzero(marks) if direction == AMONG else np.arange(len(queries))
        draws = random.multinomial(len(rows), np.full(len(rows), 1 / len(rows)), size=permutations) if len(rows) else None
        whole: _Part | None = None
        for layer, chosen in _blocks(trace, kind, len(queries) * len(keys)):
            if report is not None:
                report(done, every)
            done += len(chosen)
            table = pd.DataFrame({"kind": kind, "layer": layer, "head": [0] if pooled else chosen})
            found: dict[str, Any] = dict.fromkeys(("ratio", "lo", "hi", "p"), np.nan)
            last = chosen[-1] == trace.n_heads(kind) - 1
            if marks.any() and draws is not None:
                part = _part(trace.attention(kind, layer, chosen, queries.tolist(), keys.tolist()).to_numpy())
                if pooled:
                    part = whole = _with(whole, part)
                if pooled and not last:
                    continue
                whole = None
                found = _tested(part, marks, shuffled, rows, draws, among=direction == AMONG)
            if last or not pooled:
                parts.append(table.assign(**found))
    columns = ["kind", "layer", "head", "ratio", "lo", "hi", "p"]
    made = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)
    return made.assign(q=false_discovery(made["p"]), n=int(marks.sum()))


class Received(NamedTuple):
    """What the flagged tokens of one text get from all tokens, and what others would have got in their place."""

    heads: pd.DataFrame
    """kind, layer, head"""
    mass: np.ndarray
    """(head,) attention to the flagged tokens."""
    even: np.ndarray
    """(head,) what they would get if each token spread evenly what it gives to the words it may see."""
    null_mass: np.ndarray
    """(head, permutation)"""
    null_even: np.ndarray


def received(trace: Trace, flagged: Collection[int], permutations: int, random: np.random.Generator) -> Received:
    """The sums that the ratio of `attention_bias` and its null are made of, so that those of many texts can be added up."""
    keys = np.flatnonzero(~trace.token_tables["source"]["special"].to_numpy(dtype=bool))
    marks = np.isin(keys, list(flagged))
    labels = np.concatenate([marks[None], elsewhere(marks, permutations, random)])
    tables, sums = [], []
    for kind in trace.kinds:
        if trace.side(kind, "key") == "source":
            queries = _words_that_look(trace, kind)
            for layer, chosen in _blocks(trace, kind, len(queries) * len(keys)):
                part = _part(trace.attention(kind, layer, chosen, queries.tolist(), keys.tolist()).to_numpy())
                tables.append(pd.DataFrame({"kind": kind, "layer": layer, "head": chosen}))
                sums.append([values.sum(axis=1) @ labels.T for values in part])
    mass, even = (np.concatenate(values) for values in zip(*sums, strict=True))
    return Received(pd.concat(tables, ignore_index=True), mass[:, 0], even[:, 0], mass[:, 1:], even[:, 1:])


def elsewhere(marks: np.ndarray, draws: int, random: np.random.Generator) -> np.ndarray:
    """(draw, token) 1 in stretches of the same lengths as those that are marked, each draw at other places, never side by side.

    Every arrangement of these stretches is as likely as any other, that of `marks` included.
    """
    turns = np.diff(np.concatenate([[0], np.asarray(marks, dtype=int), [0]]))
    lengths = np.flatnonzero(turns < 0) - np.flatnonzero(turns > 0)
    # A stretch lies in one of the gaps between tokens that are not marked, or at either end.
    gaps = len(marks) - int(lengths.sum()) + 1
    chosen = np.sort(random.random((draws, gaps)).argsort(axis=1)[:, : len(lengths)], axis=1)
    ordered = random.permuted(np.tile(lengths, (draws, 1)), axis=1)
    begins = chosen + ordered.cumsum(axis=1) - ordered
    found = np.zeros((draws, len(marks) + 1))
    rows = np.arange(draws)[:, None]
    np.add.at(found, (rows, begins), 1)
    np.add.at(found, (rows, begins + ordered), -1)
    return found[:, :-1].cumsum(axis=1)


def _words_that_look(trace: Trace, kind: str) -> np.ndarray:
    """Positions of the queries that are not special tokens."""
    return np.flatnonzero(~trace.token_tables[trace.side(kind, "query")]["special"].to_numpy(dtype=bool))


def _blocks(trace: Trace, kind: str, cells: int) -> Iterator[tuple[int, list[int]]]:
    """Layers and heads, as many heads at once as memory allows; `cells`: weights of one head."""
    at_once = max(1, CELLS_AT_ONCE // max(1, cells))
    for layer in range(trace.n_layers(kind)):
        for start in range(0, trace.n_heads(kind), at_once):
            yield layer, list(range(start, min(start + at_once, trace.n_heads(kind))))


def _part(weights: np.ndarray) -> _Part:
    seen = np.isfinite(weights)
    mass = np.where(seen, weights, 0).astype(float)
    visible = seen.sum(axis=-1, keepdims=True)
    return _Part(mass, mass.sum(axis=-1, keepdims=True) / np.maximum(visible, 1) * seen)


def _with(whole: _Part | None, part: _Part) -> _Part:
    """The sums over the heads of a layer so far, as those of one head."""
    sums = _Part(*(values.sum(axis=0, keepdims=True) for values in part))
    return sums if whole is None else _Part(whole.mass + sums.mass, whole.even + sums.even)


def _tested(
    part: _Part, marks: np.ndarray, shuffled: np.ndarray, rows: np.ndarray, draws: np.ndarray, *, among: bool
) -> dict[str, np.ndarray]:
    """ratio, lo, hi, p of every head."""
    observed = [values[:, rows] @ marks for values in part]  # (head, row), of the flagged keys
    ratio = ratio_of(observed[0].sum(1), observed[1].sum(1))
    if among:
        null = ratio_of(*(np.einsum("pi,hij,pj->hp", shuffled, values, shuffled, optimize=True) for values in part))
    else:
        null = ratio_of(*(values.sum(axis=1) @ shuffled.T for values in part))
    p = two_sided(ratio, null)
    lo = hi = np.full(len(ratio), np.nan)
    if len(rows) > 1:
        resampled = ratio_of(observed[0] @ draws.T, observed[1] @ draws.T)
        usable = np.where(np.isfinite(ratio)[:, None], resampled, 1.0)
        lo, hi = (np.where(np.isfinite(ratio), edge, np.nan) for edge in np.nanpercentile(usable, (2.5, 97.5), axis=1))
    return {"ratio": ratio, "lo": lo, "hi": hi, "p": p}


def two_sided(ratio: np.ndarray, null: np.ndarray) -> np.ndarray:
    """The share of labellings whose ratio is as far from the mean of all as the observed one's."""
    # The mean is that of all labellings, the observed one too: so it is the same whichever of them was observed.
    whole = np.concatenate([ratio[:, None], null], axis=1)
    known = np.isfinite(whole)
    centre = np.where(known, whole, 0).sum(1) / np.maximum(known.sum(1), 1)
    beyond = (np.abs(null - centre[:, None]) >= np.abs(ratio - centre)[:, None] - ROUNDING).sum(axis=1)
    return np.where(np.isfinite(ratio), (1 + beyond) / known.sum(1).clip(1), np.nan)


def ratio_of(mass: np.ndarray, even: np.ndarray) -> np.ndarray:
    """NaN where no query may see a flagged token, or gives no attention to any token that is not special."""
    return np.divide(mass, even, out=np.full(np.shape(mass), np.nan), where=even > 0)


TASKS: Mapping[str, Callable[..., Any]] = {ATTENTION_BIAS: attention_bias, ATTENTION_BIAS_BY_LAYER: attention_bias_by_layer}
"""Work that views may request, by name."""
