"""The tables of counterfactuals over many texts: every pair, every exchange of identities and every head, each beside chance."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from atlas.attribution.statistics import false_discovery
from atlas.bias.lexicon import axes
from atlas.bias.reactions import STILL, beyond_neutral
from atlas.bias.swaps import swaps_in
from atlas.ids import HeadId
from atlas.text.inflect import plural
from atlas.tracing.counterfactual import OWN, Counterfactual
from atlas.tracing.labelled import Words
from atlas.tracing.swap_audit import ATTENDED, EVERY, MEASURES, PREDICTED, SIGNED

DRAWS = 999
"""Draws of every null, and bootstrap samples of texts."""

EDGES = (2.5, 97.5)

ROUNDING = 1e-9

MOST_NUMBERS = 4_000_000
"""Numbers of some draws of the null held at once, 32 MB."""

LEAST_TEXTS = 2
"""Texts without which there is no interval."""


class Seen(NamedTuple):
    """What was measured of one pair; arrays begin with the counterfactual, and its neutral swaps follow."""

    row: int
    text: str
    found: Counterfactual
    likelihood: np.ndarray
    """(1 + swap,) change of the mean log-probability of the words in both; NaN where there is none."""
    classes: np.ndarray
    """(2 + swap, class) probabilities, of the text first; no column where the model does not classify texts."""
    detected: np.ndarray
    """(1 + swap,) change of the mean over words of the probability of the likeliest label."""
    moved: np.ndarray
    """(1 + swap, head) how far attention moved."""
    words: tuple[Words, Words]
    note: str


class Tables(NamedTuple):
    """What `SwapAudit` holds."""

    pairs: pd.DataFrame
    groups: pd.DataFrame
    heads: pd.DataFrame
    null: pd.DataFrame
    outcome: int
    """The class whose probability is `predicted`; -1: it is no classifier."""


class Exchange(NamedTuple):
    """Which identities a pair exchanges."""

    category: str
    one: str
    other: str
    sign: int
    """1: `one` is in the text; -1: `other` is; 0: both are."""


def tables_of(seen: Sequence[Seen], heads: Sequence[HeadId], swaps: int, typed: str = "", seed: int = 0) -> Tables:
    """All tables of some pairs; `swaps` is the number of neutral swaps of a pair, `typed` the reader's own swap."""
    outcome = _outcome(seen)
    changes = _changes(seen, swaps, outcome)
    moved = _filled([each.moved for each in seen], (1 + swaps, len(heads)))
    changes[ATTENDED] = _mean_of_known(moved, axis=2)  # a decoder that reads one word has heads that cannot move
    exchanges = [exchange_of(each.found, typed) for each in seen]
    # Not the rows: a sentence that a file repeats is one text, and says no more than once.
    texts = np.unique([each.text for each in seen], return_inverse=True)[1] if seen else np.empty(0, dtype=int)
    return Tables(
        _pairs(seen, changes, exchanges),
        _groups(changes, exchanges, texts, swaps, seed),
        _heads(heads, moved, texts, swaps, seed),
        _null(changes, swaps),
        outcome,
    )


def _outcome(seen: Sequence[Seen]) -> int:
    """The class that is likeliest over both texts of all pairs: which of them is the counterfactual does not choose it."""
    if not seen or not seen[0].classes.shape[1]:
        return -1
    total = np.sum([each.classes[:2].sum(axis=0) for each in seen], axis=0)
    return int(np.nanargmax(total)) if np.isfinite(total).any() else -1


def _changes(seen: Sequence[Seen], swaps: int, outcome: int) -> dict[str, np.ndarray]:
    """Measure -> (pair, 1 + swap) its change."""
    given = [each.likelihood if outcome < 0 else each.classes[1:, outcome] - each.classes[0, outcome] for each in seen]
    detected = [each.detected for each in seen]
    return {name: _filled(rows, (1 + swaps,)) for name, rows in zip(SIGNED, (given, detected), strict=True)}


def _filled(rows: Sequence[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    """Rows of unequal length as one array; what is missing is NaN."""
    made = np.full((len(rows), *shape), np.nan)
    for at, row in enumerate(rows):
        made[at, : len(row)] = row
    return made


def _mean_of_known(values: np.ndarray, axis: int) -> np.ndarray:
    """The mean of what is known; NaN where nothing is."""
    counts = np.isfinite(values).sum(axis=axis)
    return np.asarray(np.where(counts > 0, np.nansum(values, axis=axis) / np.maximum(counts, 1), np.nan))


# -- which identities ------------------------------------------------------------------------------------------------------


def exchange_of(found: Counterfactual, typed: str = "") -> Exchange:
    """Which identities a counterfactual exchanges, in the order of the list of terms; of a reader's swap, as they typed it."""
    if found.category == OWN:
        return Exchange(OWN, *_typed(found, typed))
    one, other = found.between
    axis = next(each for each in axes() if each.category == found.category and {one, other} <= set(each.identities))
    ends = axis.identities.index(one), axis.identities.index(other)
    named = set[int]()
    for swap in found.swaps:
        named |= {at for at, _ in axis.places(" ".join(swap.old.lower().split()), swap.kind)} & set(ends)
    sign = 0 if len(named) != 1 else 1 if named == {min(ends)} else -1
    return Exchange(found.category, axis.identities[min(ends)], axis.identities[max(ends)], sign)


def _typed(found: Counterfactual, typed: str) -> tuple[str, str, int]:
    """The words before and after the first arrow, and whether the text has those before it."""
    lefts = {old: new for _, old, arrow, new in swaps_in(typed) if arrow}
    if not lefts:
        swap = found.swaps[0]
        return swap.old.lower(), swap.new.lower(), 1
    known = {form for old in lefts for form in (old.lower(), plural(old).lower())}
    there = {" ".join(swap.old.lower().split()) in known for swap in found.swaps}
    sign = 0 if len(there) != 1 else 1 if there == {True} else -1
    return "; ".join(lefts), "; ".join(lefts.values()), sign


# -- pairs -----------------------------------------------------------------------------------------------------------------


def _pairs(seen: Sequence[Seen], changes: dict[str, np.ndarray], exchanges: Sequence[Exchange]) -> pd.DataFrame:
    table = pd.DataFrame(
        {
            "row": [each.row for each in seen],
            "text": [each.text for each in seen],
            "counterfactual": [each.found.text for each in seen],
            "category": [each.category for each in exchanges],
            "one": [each.one for each in exchanges],
            "other": [each.other for each in exchanges],
            "swaps": ["; ".join(f"{swap.old} → {swap.new}" for swap in each.found.swaps) for each in seen],
        }
    )
    for name in MEASURES:
        table[name] = changes[name][:, 0]
    for name in MEASURES:
        sizes = np.abs(changes[name])
        found = beyond_neutral(sizes[:, 0], sizes[:, 1:].T) if len(seen) else pd.DataFrame(columns=["neutral", "ratio", "p", "q"])
        for column in ("neutral", "ratio", "p", "q"):
            table[f"{name}_{column}"] = found[column].to_numpy(dtype=float)
    counts = [len(each.moved) - 1 for each in seen]
    return table.assign(n=np.array(counts, dtype=int), note=[each.note for each in seen])


def _null(changes: dict[str, np.ndarray], swaps: int) -> pd.DataFrame:
    """Every neutral swap of every pair."""
    rows = {name: values[:, 1:].ravel() for name, values in changes.items()}
    table = pd.DataFrame({"pair": np.repeat(np.arange(len(changes[PREDICTED])), swaps), **rows})
    return table[table[list(MEASURES)].notna().any(axis=1)].reset_index(drop=True)


# -- exchanges of identities -----------------------------------------------------------------------------------------------


def _groups(
    changes: dict[str, np.ndarray], exchanges: Sequence[Exchange], texts: np.ndarray, swaps: int, seed: int
) -> pd.DataFrame:
    names = list(dict.fromkeys(each[:3] for each in exchanges))
    named = np.array([names.index(each[:3]) for each in exchanges], dtype=int)
    sets = [(name, np.flatnonzero(named == at)) for at, name in enumerate(names)]
    if len(names) > 1:
        sets.append(((EVERY, "", ""), np.arange(len(exchanges))))
    signs = np.array([each.sign for each in exchanges], dtype=float)
    rows = []
    for (category, one, other), at in sets:
        for measure in MEASURES:
            values = changes[measure][at]
            known = np.isfinite(values[:, 0])
            row = {
                "category": category, "one": one, "other": other, "measure": measure,
                "texts": len(np.unique(texts[at][known])), "pairs": int(known.sum()),
            }  # fmt: skip
            oriented = signs[at] * values[:, 0]
            use = known & (signs[at] != 0) & (measure in SIGNED) & (category != EVERY)
            row["directed"] = int(use.sum())
            row |= dict(zip(("change", "lo", "hi", "p"), mean_change(oriented[use], texts[at][use], seed), strict=True))
            found = beyond_over_texts(np.abs(values)[:, :, None], texts[at], seed) if swaps else None
            for column in ("ratio", "lo", "hi", "p"):
                row[column if column == "ratio" else f"ratio_{column}"] = (
                    np.nan if found is None else float(found[column].iloc[0])
                )
            rows.append(row)
    columns = [
        "category", "one", "other", "measure", "texts", "pairs", "directed", "change", "lo", "hi", "p", "q", "ratio", "ratio_lo",
        "ratio_hi", "ratio_p", "ratio_q",
    ]  # fmt: skip
    table = pd.DataFrame(rows, columns=[name for name in columns if name not in ("q", "ratio_q")])
    for p, q in (("p", "q"), ("ratio_p", "ratio_q")):
        table[q] = false_discovery(table[p].to_numpy(dtype=float))
    return table[columns]


def mean_change(values: np.ndarray, texts: np.ndarray, seed: int = 0) -> tuple[float, float, float, float]:
    """Mean, 95 % interval (texts resampled) and p: the sign of all pairs of a text is turned at random.

    Where it does not matter which of both texts is the counterfactual, every sign is as likely.
    """
    if not len(values):
        return (np.nan,) * 4
    sums, counts = _by_text(values[:, None], texts)
    mean = float(sums.sum() / counts.sum())
    if len(sums) < LEAST_TEXTS:
        return mean, np.nan, np.nan, np.nan
    random = np.random.default_rng(seed)
    null = random.choice((-1.0, 1.0), size=(DRAWS, len(sums))) @ sums[:, 0] / counts.sum()
    p = (1 + (np.abs(null) >= abs(mean) - ROUNDING).sum()) / (1 + DRAWS)
    lo, hi = _interval(sums, counts, random)
    return mean, float(lo[0]), float(hi[0]), float(p)


def beyond_over_texts(sizes: np.ndarray, texts: np.ndarray, seed: int = 0) -> pd.DataFrame:
    """How many times as large as by neutral swaps, over many pairs: ratio, lo, hi, p, n, one row a unit.

    Parameters
    ----------
    sizes
        (pair, 1 + swap, unit) size of the change by the counterfactual and by its neutral swaps. A pair without all of them does
        not count.
    texts
        (pair,) which text a pair is of.

    Notes
    -----
    ratio = exp of the mean over pairs of ln d − mean ln d of the neutral swaps. p (one-sided): in each text the counterfactual
    is exchanged with one of its neutral swaps at random. Intervals resample texts.
    """
    units, n = sizes.shape[2], sizes.shape[1] - 1
    nothing = np.full(units, np.nan)
    known = np.isfinite(sizes).all(axis=1)
    counts = known.sum(axis=0)
    table = {"ratio": nothing, "lo": nothing.copy(), "hi": nothing.copy(), "p": nothing.copy()}
    if n < 1 or not counts.any():
        return pd.DataFrame(table).assign(n=counts)
    logs = np.log(np.maximum(np.where(known[:, None], sizes, 1.0), STILL))
    beyond = logs * (1 + 1 / n) - logs.sum(axis=1, keepdims=True) / n  # each against the mean of the others
    beyond[~np.broadcast_to(known[:, None], beyond.shape)] = 0.0
    of = np.unique(texts, return_inverse=True)[1]
    sums = np.zeros((int(of.max()) + 1, *beyond.shape[1:]))
    np.add.at(sums, of, beyond)
    weights = np.zeros((len(sums), units))
    np.add.at(weights, of, known.astype(float))
    random = np.random.default_rng(seed)
    with np.errstate(invalid="ignore"):
        observed = sums[:, 0].sum(axis=0) / counts
        table["ratio"] = np.exp(observed)
        chosen, at, larger = random.integers(0, n + 1, (DRAWS, len(sums))), np.arange(len(sums)), np.zeros(units)
        step = max(1, MOST_NUMBERS // (len(sums) * units))
        for start in range(0, DRAWS, step):
            drawn = sums[at, chosen[start : start + step]].sum(axis=1) / counts
            larger += (drawn >= observed - ROUNDING).sum(axis=0)
    table["p"] = np.where(counts > 0, (1 + larger) / (1 + DRAWS), np.nan)
    if len(sums) >= LEAST_TEXTS:
        lo, hi = _interval(sums[:, 0], weights, random)
        table["lo"], table["hi"] = np.exp(lo), np.exp(hi)
    return pd.DataFrame(table).assign(n=counts)


def _by_text(values: np.ndarray, texts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(text, unit) sums and numbers of pairs."""
    of = np.unique(texts, return_inverse=True)[1]
    sums, counts = np.zeros((int(of.max()) + 1, values.shape[1])), np.zeros((int(of.max()) + 1, values.shape[1]))
    np.add.at(sums, of, values)
    np.add.at(counts, of, 1.0)
    return sums, counts


def _interval(sums: np.ndarray, counts: np.ndarray, random: np.random.Generator) -> Iterable[np.ndarray]:
    """95 % of the mean over pairs, texts resampled."""
    draws = random.multinomial(len(sums), np.full(len(sums), 1 / len(sums)), size=DRAWS)
    with np.errstate(invalid="ignore"):
        means = (draws @ sums) / (draws @ counts)
    known = np.isfinite(means).any(axis=0)
    lo, hi = np.full(means.shape[1], np.nan), np.full(means.shape[1], np.nan)
    if known.any():
        lo[known], hi[known] = np.nanpercentile(means[:, known], EDGES, axis=0)
    return lo, hi


# -- heads -----------------------------------------------------------------------------------------------------------------


def _heads(heads: Sequence[HeadId], moved: np.ndarray, texts: np.ndarray, swaps: int, seed: int) -> pd.DataFrame:
    names = {name: [getattr(head, name) for head in heads] for name in ("kind", "layer", "head")}
    unknown = np.full(len(heads), np.nan)
    any_pair = bool(len(moved))
    table = pd.DataFrame(names | {"moved": _mean_of_known(moved[:, 0], axis=0) if any_pair else unknown, "neutral": unknown})
    found = beyond_over_texts(moved, texts, seed) if any_pair else None
    if found is None or not swaps:
        return table.assign(ratio=np.nan, lo=np.nan, hi=np.nan, p=np.nan, q=np.nan, n=len(moved))
    known = np.isfinite(moved).all(axis=1)
    with np.errstate(invalid="ignore"):
        sums = np.where(known, np.nan_to_num(moved[:, 1:]).mean(axis=1), 0.0).sum(axis=0)
        table["neutral"] = sums / np.where(found["n"] > 0, found["n"], np.nan)
    return table.assign(
        ratio=found["ratio"], lo=found["lo"], hi=found["hi"], p=found["p"], q=false_discovery(found["p"].to_numpy()), n=found["n"]
    )
