"""Drift: whether heads do on one corpus what they do on another, or whether two versions of a model do the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from atlas.errors import UnknownName
from atlas.ids import HEAD, as_head
from atlas.metrics.drift import LEAST_TEXTS, LEVEL, corrected, welch
from atlas.metrics.moments import Moments
from atlas.numbers import listed
from atlas.tracing.drills import NAMED

if TYPE_CHECKING:
    from atlas.tracing.corpus import Corpus


@dataclass(frozen=True, eq=False)
class Drift:
    """What differs between two corpora."""

    table: pd.DataFrame
    """One row a head and metric: kind, layer, head, metric, a, b, difference, lo, hi, effect, uniform_a, uniform_b, n_a, n_b, p,
    q, drift; the smallest q first."""
    level: float
    """Up to this q a difference is drift."""
    least: float
    """From this effect on."""
    about: tuple[Mapping[str, Any], Mapping[str, Any]]
    """The provenance of both."""

    def __bool__(self) -> bool:
        """Whether there is any drift."""
        return bool(self.table["drift"].any())

    @property
    def found(self) -> pd.DataFrame:
        """The rows that are drift."""
        return self.table[self.table["drift"]].reset_index(drop=True)

    @property
    def heads(self) -> pd.DataFrame:
        """One row a head with drift: kind, layer, head, metrics (how many), metric (that with the largest effect), effect, q."""
        found = self.found
        largest = found.loc[found["effect"].abs().groupby([found[name] for name in HEAD]).idxmax()] if len(found) else found
        counts = found.groupby(HEAD).size().rename("metrics").reset_index()
        heads = counts.merge(largest[[*HEAD, "metric", "effect", "q"]], on=HEAD)
        return heads.sort_values("effect", key=np.abs, ascending=False, kind="stable").reset_index(drop=True)

    @property
    def sentence(self) -> str:
        """What was found, in words."""
        tested, heads = int(self.table["q"].notna().sum()), self.heads
        n = len(self.table[HEAD].drop_duplicates())
        beyond = f" and an effect of {self.least:g} standard deviations or more" if self.least else ""
        if not tested:
            return f"Nothing was tested: a mean is tested from {LEAST_TEXTS} texts on in both."
        if heads.empty:
            return f"No drift: none of {tested:,} figures of {n:,} heads differs (q ≤ {self.level:g}{beyond})."
        kinds = sorted(set(self.table["kind"]))
        named = [as_head(tuple(ids), kinds).label(kinds) for ids in heads[HEAD].to_numpy().tolist()]
        return (
            f"Drift in {len(heads):,} of {n:,} heads ({listed(named, NAMED)}): {len(self.found):,} of {tested:,} figures "
            f"differ (q ≤ {self.level:g}{beyond})."
        )


def drift(
    a: Corpus,
    b: Corpus,
    metrics: Sequence[str] = (),
    level: float = LEVEL,
    least: float = 0.0,
    groups: tuple[str, str] = ("", ""),
) -> Drift:
    """The difference of every head's figures, b minus a, each with a test by text, corrected for heads x metrics.

    Parameters
    ----------
    a, b
        Two corpora of models of one shape: one model on two sets of texts, or two versions of a model.
    metrics
        Which figures; by default all that both have. Fewer figures are a sharper test.
    level
        Up to this corrected chance (q, Benjamini & Hochberg) a difference is called drift: where nothing differs, any is called
        drift at most this often.
    least
        Effect from which a difference is called drift, in standard deviations between texts: over a million texts every head
        differs a little.
    groups
        The group of texts of each; empty: all.

    Notes
    -----
    Welch's test by text. Two versions of a model on the same texts are tested as if they had read different ones, which finds
    less and claims nothing that is not there. Texts of other lengths change most figures of most heads: compare `uniform_a` with
    `uniform_b` before you blame the model.
    """
    names = shared_metrics(a, b, metrics)
    first, second = (_moments(corpus, names, group) for corpus, group in zip((a, b), groups, strict=True))
    tables = [corpus.heads_of(group) for corpus, group in zip((a, b), groups, strict=True)]
    if not tables[0][HEAD].equals(tables[1][HEAD]):
        msg = "These corpora are of models with other layers or heads, so no head of one is that of the other."
        raise UnknownName(msg)
    compared = welch(first, second, level)
    q = corrected(compared.p)
    count = len(tables[0])

    def figures(table: pd.DataFrame, end: str = "") -> np.ndarray:
        return table[[f"{name}{end}" for name in names]].to_numpy(float).T.reshape(-1)

    def by_metric(values: np.ndarray) -> np.ndarray:
        return np.asarray(values).T.reshape(-1)

    heads = pd.concat([tables[0][HEAD]] * len(names), ignore_index=True)
    table = heads.assign(
        metric=np.repeat(np.array(names, dtype=object), count),
        a=figures(tables[0]), b=figures(tables[1]),
        difference=by_metric(compared.difference), lo=by_metric(compared.lo), hi=by_metric(compared.hi),
        effect=by_metric(compared.effect),
        uniform_a=figures(tables[0], "_uniform"), uniform_b=figures(tables[1], "_uniform"),
        n_a=by_metric(first.n), n_b=by_metric(second.n), p=by_metric(compared.p), q=by_metric(q),
    )  # fmt: skip
    table["drift"] = (table["q"] <= level) & (table["effect"].abs() >= least)
    table = table.sort_values(["q", "p"], kind="stable", na_position="last", ignore_index=True)
    return Drift(table, level, least, (a.provenance, b.provenance))


def shared_metrics(a: Corpus, b: Corpus, wanted: Sequence[str] = ()) -> tuple[str, ...]:
    """The metrics that both corpora have, or the wanted ones."""
    both = tuple(name for name in a.metrics if name in b.metrics)
    unknown = [name for name in wanted if name not in both]
    if unknown:
        msg = f"There is no {unknown[0]!r} in both corpora; there are {', '.join(both)}."
        raise UnknownName(msg)
    return tuple(dict.fromkeys(wanted)) or both


def _moments(corpus: Corpus, names: Sequence[str], group: str) -> Moments:
    """(head, metric) moments of some metrics."""
    places = [corpus.metrics.index(name) for name in names]
    found = corpus.moments(group)
    return Moments(found.n[:, places], found.mean[:, places], found.m2[:, places])
