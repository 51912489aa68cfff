"""What each head does for a prediction under zero, mean and resample beside each other: results hang on that choice."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from atlas.attribution.effects import Report, head_effects_of_trace, read
from atlas.attribution.statistics import Floats, spearman
from atlas.errors import BadIntervention
from atlas.ids import as_heads
from atlas.trace import Trace
from atlas.tracing.effect_choices import CHOICES, EFFECT_CHOICES, MEAN, RANK, RESAMPLE, REST, SIGN, ZERO, EffectChoices
from atlas.tracing.explained import Target

if TYPE_CHECKING:
    from atlas.engine.model import Model
    from atlas.ids import Headlike

VALUES = ("effect", "log_probability", "kl")

RESAMPLES = 2_000
"""Samples of texts that an interval is made of."""

LEAST = 2
"""Fewest texts whose mean has an interval."""

SMALL = 0.05
"""Share of the largest effect under a choice below which the sign of an effect says nothing."""

TOP = 0.25
"""Share of the heads that counts as the first ones, and difference in rank, as a share of all, that counts as another rank."""


def compare_effects(
    model: Model,
    text: str | Trace | Any,
    others: Sequence[str | Trace | Any],
    target: Target | None = None,
    heads: Iterable[Headlike] | None = None,
    *,
    pair: str | None = None,
    decoder: str | None = None,
    seed: int = 0,
    progress: Report | None = None,
) -> EffectChoices:
    """The effect of every head replaced by zero, by its mean, and by its output in several other texts.

    Parameters
    ----------
    model, text, target, heads, pair, decoder
        As in `head_effects`.
    others
        Texts or traces that outputs are taken from, each in runs of its own; one has no interval.
    seed
        Of the positions that are drawn beyond the end of a shorter text, and of the bootstrap.
    progress
        Called with the number of runs done and the number of all.

    Returns
    -------
    `.table`: kind, layer, head, zero, mean, resample (the mean over the other texts) with lo and hi (95 %, bootstrap over these
    texts), rank_zero, rank_mean, rank_resample (1: the largest by size) with rank_lo and rank_hi, and hangs_on: 'sign', 'rank',
    both or neither. The sign hangs on the choice where two choices give effects of opposite sign, each at least 5 % of the
    largest under its choice, and of resample with an interval without 0. The rank does where a head is in the first quarter
    under one choice and further than a quarter of all heads behind that under another one; of resample the end of the interval
    counts that is nearer.

    `.agreement`: one, other, rho, lo, hi, p, n: Spearman's correlation over heads between each two choices, its 95 % interval and
    p of permutations; the last row is the first half of the texts against the second, which is what to expect at most.

    `.tables` and `.agreements` have the same for 'log_probability' and 'kl'.
    """
    trace = text if isinstance(text, Trace) else model.trace(text, pair, decoder, capture=("predictions",))
    return effect_choices_of_trace(trace, target, heads, others, progress, seed)


def effect_choices_of_trace(
    trace: Trace,
    target: Target | None = None,
    heads: Iterable[Headlike] | None = None,
    others: Sequence[str | Trace | Any] = (),
    report: Report | None = None,
    seed: int = 0,
) -> EffectChoices:
    """The same for a trace whose model is here."""
    if not len(others) or isinstance(others, str):
        msg = "Effects are compared with outputs taken from other texts; give them as a list with others=."
        raise BadIntervention(msg)
    chosen = as_heads(heads, trace.kinds) if heads is not None else trace.head_ids
    total = len(chosen) * (2 + len(others))

    def part(number: int) -> Report | None:
        return None if report is None else lambda done, _: report(number * len(chosen) + done, total)

    zero = head_effects_of_trace(trace, target, ZERO, chosen, None, part(0), seed)
    mean = head_effects_of_trace(trace, target, MEAN, chosen, None, part(1), seed)
    taken = [
        head_effects_of_trace(trace, target, RESAMPLE, chosen, read(trace, other), part(2 + at), seed + at)
        for at, other in enumerate(others)
    ]
    tables, agreements = {}, {}
    for value in VALUES:
        runs = np.array([found[value].to_numpy(dtype=float) for found in taken])
        effects = compared(zero[value].to_numpy(dtype=float), mean[value].to_numpy(dtype=float), runs, seed)
        tables[value] = pd.concat([zero[["kind", "layer", "head"]], effects], axis=1)
        agreements[value] = agreement_of(effects, runs, seed)
    texts = tuple(other if isinstance(other, str) else other.texts.text or "" for other in others if hasattr(other, "texts")
                  or isinstance(other, str))  # fmt: skip
    return EffectChoices(zero.attrs["target"], texts, len(others), MappingProxyType(tables), MappingProxyType(agreements))


def compared(zero: Floats, mean: Floats, runs: Floats, seed: int = 0) -> pd.DataFrame:
    """The columns of `EffectChoices.table` after the head, from (head,) effects and the (text, head) ones of resample."""
    count = len(runs)
    times = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=RESAMPLES) / count
    samples = times @ runs if count >= LEAST else np.full((1, runs.shape[1]), np.nan)
    found = {ZERO: zero, MEAN: mean, RESAMPLE: runs.mean(axis=0)}
    lo, hi = np.percentile(samples, [2.5, 97.5], axis=0)
    ranks = {choice: _ranks(values) for choice, values in found.items()}
    rank_lo, rank_hi = np.percentile(_ranks(samples), [2.5, 97.5], axis=0)
    signs = _hangs_by_sign(found, lo, hi)
    places = _hangs_by_rank(ranks, rank_lo, rank_hi)
    words = [" and ".join(name for name, is_so in ((SIGN, s), (RANK, r)) if is_so) for s, r in zip(signs, places, strict=True)]
    columns = {f"rank_{choice}": values for choice, values in ranks.items()}
    return pd.DataFrame(
        {
            **found,
            "lo": lo,
            "hi": hi,
            **columns,
            "rank_lo": rank_lo,
            "rank_hi": rank_hi,
            "hangs_on": np.array(words, dtype=object),
        }
    )


def agreement_of(effects: pd.DataFrame, runs: Floats, seed: int = 0) -> pd.DataFrame:
    """one, other, rho, lo, hi, p, n: the rank agreement of each two choices over heads, and of two halves of the texts."""
    values = {choice: effects[choice].to_numpy(dtype=float) for choice in CHOICES}
    pairs = [(one, other, values[one], values[other]) for at, one in enumerate(CHOICES) for other in CHOICES[at + 1 :]]
    if len(runs) >= LEAST:
        pairs.append((RESAMPLE, REST, runs[::2].mean(axis=0), runs[1::2].mean(axis=0)))
    rows = []
    for one, other, first, second in pairs:
        known = np.isfinite(first) & np.isfinite(second)
        rank = spearman(first[known][None], second[known], seed=seed) if known.any() else np.full((4, 1), np.nan)
        rows.append((one, other, *(float(each[0]) for each in rank), int(known.sum())))
    return pd.DataFrame(rows, columns=["one", "other", "rho", "lo", "hi", "p", "n"])


def _ranks(values: Floats) -> Floats:
    """Ranks by size along the last axis, 1 the largest; ties averaged, NaN where unknown."""
    return np.asarray(rankdata(-np.abs(values), axis=-1, nan_policy="omit"), dtype=float)


def _hangs_by_sign(found: Mapping[str, Floats], lo: Floats, hi: Floats) -> np.ndarray:
    signs = []
    for choice, values in found.items():
        size = np.abs(values)
        counts = size >= SMALL * np.nanmax(size, initial=0.0)
        if choice == RESAMPLE:
            counts &= ~((lo <= 0) & (hi >= 0))  # unknown ends of one text leave the sign of its effect
        signs.append(np.where(counts, np.sign(values), 0.0))
    table = np.array(signs)
    return np.asarray((table.max(axis=0) > 0) & (table.min(axis=0) < 0))


def _hangs_by_rank(ranks: Mapping[str, Floats], rank_lo: Floats, rank_hi: Floats) -> np.ndarray:
    count = len(rank_lo)
    ends = {choice: (values, values) for choice, values in ranks.items()}
    if np.isfinite(rank_lo).all():
        ends[RESAMPLE] = rank_lo, rank_hi
    hangs = np.zeros(count, dtype=bool)
    for one, (_, worst) in ends.items():
        for other, (best, _) in ends.items():
            if one != other:
                # Of an interval its worse end must be among the first, and its better end far behind.
                hangs |= (worst <= TOP * count) & (best - worst > TOP * count)
    return hangs


TASKS: Mapping[str, Callable[..., Any]] = {EFFECT_CHOICES: effect_choices_of_trace}
"""Work with the model that views may request, by name."""
