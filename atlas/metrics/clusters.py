"""Groups of heads that do alike: k-means over standardised metrics, as many groups as the heads fall into, names where earned.

k-means finds groups in anything, noise included. So a division is believed only when its silhouette says that groups exist
at all and a single cloud of the same shape rarely does as well; and a group is named only when it comes back from resampled
heads and its trait is beyond chance (`atlas.metrics.traits`). What is not believed is one group called "unnamed", with the
reason in words.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
from sklearn.cluster import KMeans
from sklearn.metrics import pairwise_distances, silhouette_samples
from sklearn.preprocessing import PowerTransformer
from threadpoolctl import threadpool_limits

from atlas.metrics.roles import UNNAMED
from atlas.metrics.standard import Standard, Values, by_value
from atlas.metrics.traits import distinct, earned_name, traits

if TYPE_CHECKING:
    import pandas as pd

Labels = npt.NDArray[np.int64]

K_MAX = 8
"""Most clusters looked for: as many as there are colours that everybody can tell apart."""

MIN_HEADS = 8
"""Heads under which no clusters are looked for: of two groups of three, no rank test can say that they differ."""

MIN_METRICS = 2
"""Metrics under which no clusters are looked for: heads that differ in one metric are sorted by it, and a metric that counts
cells takes so few values in a short text that each would make a cluster."""

STARTS = 10
"""Random starts of each k-means; the best is kept."""

RESAMPLE_STARTS = 3
"""Starts on resampled heads, where an unlucky one costs one vote of many."""

STRUCTURE = 0.25
"""Mean silhouette up to which Kaufman & Rousseeuw (1990, Finding Groups in Data) see no substantial structure."""

NULL_STARTS = 2
"""Starts on a cloud. With one, the best division of 48 heads scores 6 % less than with ten, and the heads win too easily; with
two, 3 %; more take as long as all the rest."""

RESAMPLES = 100
"""Bootstrap samples a cluster has to come back from; Hennig's own default."""

MORE_RESAMPLES = 300
"""Bootstrap samples in all where after `RESAMPLES` the interval of a cluster's stability contains `STABLE`: it is then half as
wide or less."""

STABLE = 0.75
"""Mean Jaccard similarity from which Hennig (2007, Cluster-wise assessment of cluster stability) takes a cluster for real."""

INTERVAL = 1.96
"""Standard errors on either side of a stability: an interval of 95 %."""

NULL_DRAWS = 39
"""Clouds the best silhouette is held against: with fewer than 19, no p-value can reach 0.05."""

NULL_HEADS = 200
"""Heads in such a cloud at most: the fewer, the better a chance division looks, so this errs towards no clusters, and a
thousand heads would take ten seconds."""

DIGITS = 6
"""Decimals in which two heads have to differ to be two points."""

CHANCE = 0.05
"""Share of structureless clouds that may divide as well as the heads do."""


@dataclass(frozen=True, eq=False)
class Clusters:
    """Heads in groups; the group numbers go from the largest group to the smallest.

    Attributes
    ----------
    labels
        The group of every row of the table.
    k
        How many groups; 1 where no division is believed.
    silhouette, silhouettes
        Mean, and of every row; NaN where there is one group.
    stability
        Mean Jaccard similarity of every group to its likest in resampled heads (see `Stability`).
    stability_low, stability_high
        Its interval: how far the mean of so many resamples may be from that of all there could be.
    names
        Of every group: what it does more than the others and than chance, or "unnamed"; equal names are numbered.
    traits
        See `atlas.metrics.traits.traits`.
    scores
        Mean silhouette for every k tried.
    chance
        Share of single clouds of the same covariance and skewness that divide as well; NaN where that was not asked.
    columns, dropped
        Metrics used, and those left out with the reason.
    note
        What was found, in words.
    """

    labels: Labels
    k: int
    silhouette: float
    silhouettes: Values
    stability: Values
    stability_low: Values
    stability_high: Values
    names: tuple[str, ...]
    traits: pd.DataFrame
    scores: Mapping[int, float]
    chance: float
    columns: tuple[str, ...]
    dropped: Mapping[str, str]
    seed: int
    note: str

    @property
    def sizes(self) -> tuple[int, ...]:
        """Heads in every group."""
        return tuple(np.bincount(self.labels, minlength=self.k).tolist())

    @property
    def name_of_rows(self) -> npt.NDArray[np.object_]:
        """The name of the group of every row."""
        return np.array(self.names, dtype=object)[self.labels]


def cluster_heads(table: pd.DataFrame, *, k_max: int = K_MAX, seed: int = 0) -> Clusters:
    """Divide the heads of a table; heads of one kind, since the metrics of cross-attention are others.

    The same heads in another order give the same groups: they are sorted by their metrics first.
    """
    if k_max < 2:
        msg = f"Clusters are two or more, so k_max={k_max} leaves nothing to look for."
        raise ValueError(msg)
    order = by_value(table)
    heads = table.iloc[order]
    standard = Standard.of(heads)
    refusal = _refusal(len(heads), standard)
    if refusal:
        return _one_group(heads, standard, seed, refusal)
    search = _Search(standard.apply(heads), np.random.default_rng(seed))
    with one_thread():
        scores, divisions = search.divide(k_max, STARTS)
        best = max(scores, key=scores.__getitem__)
        chance = search.chance(scores[best], k_max) if scores[best] > STRUCTURE else float("nan")
    if not (scores[best] > STRUCTURE and chance <= CHANCE):
        return _one_group(heads, standard, seed, _no_structure(best, scores[best], chance), scores, chance)
    labels = _by_size(divisions[best], search.values)
    found = traits(heads, labels, standard.columns)
    with one_thread():
        stability = search.stability(labels, best)
    stable = stability.low >= STABLE
    named = [earned_name(found[found["cluster"] == at]) if stable[at] else UNNAMED for at in range(best)]
    back = np.argsort(order)
    silhouettes = np.asarray(silhouette_samples(search.distances, labels, metric="precomputed"), dtype=float)
    return Clusters(
        labels[back], best, scores[best], silhouettes[back], *stability, distinct(named), found, MappingProxyType(scores), chance,
        standard.columns, standard.dropped, seed, _summary(best, scores[best], stability),
    )  # fmt: skip


def one_thread() -> threadpool_limits:
    """Hundreds of tiny k-means: two threads that meet after every step of each took 20 s of a busy machine for 16 heads."""
    return threadpool_limits(1, user_api="openmp")


class Stability(NamedTuple):
    """How reliably clusters come back, with an interval; each (cluster,).

    As many heads as there are are drawn with replacement and divided into as many clusters, a head drawn twice counting
    twice; over the heads drawn, each once, a cluster is compared with the cluster of the resample that is most like it: heads
    in both over heads in either. The stability is the mean over the resamples, the interval 1.96 standard errors of that
    mean. It says how exact the number is, not how another model or text would come out.
    """

    mean: Values
    low: Values
    high: Values


class _Search:
    """Divisions of one set of standardised heads."""

    def __init__(self, values: Values, rng: np.random.Generator) -> None:
        self.values = values
        self.distances: Values = pairwise_distances(values)
        self._rng = rng
        # Heads with equal metrics are one point: more clusters than points cannot be.
        self._points = np.unique(values.round(DIGITS), axis=0, return_inverse=True)[1].reshape(-1)

    def divide(self, k_max: int, starts: int) -> tuple[dict[int, float], dict[int, Labels]]:
        """Mean silhouette and labels for every k that is possible; the smallest k wins a draw."""
        most = min(k_max, len(np.unique(self._points)), len(self.values) - 1)
        divisions = {k: self._labels(self.values, k, starts) for k in range(2, most + 1)}
        scores = {
            k: float(np.mean(silhouette_samples(self.distances, labels, metric="precomputed"))) for k, labels in divisions.items()
        }
        return scores, divisions

    def chance(self, score: float, k_max: int) -> float:
        """How often one cloud of the heads' covariance and skewness, divided just as freely, scores as well."""
        best = [max(_Search(cloud, self._rng).divide(k_max, NULL_STARTS)[0].values()) for cloud in self._clouds()]
        return (1 + sum(other >= score for other in best)) / (1 + NULL_DRAWS)

    def _clouds(self) -> Values:
        """(draw, head, metric): normal in the scale in which each metric is most nearly normal (Yeo & Johnson 2000), then back.

        Metrics that pile up at one end are cut by k-means into the pile and the tail, which no symmetric cloud does as well.
        """
        n_heads, n_metrics = min(len(self.values), NULL_HEADS), self.values.shape[1]
        transform = PowerTransformer()
        normal = transform.fit_transform(self.values)
        spread = np.atleast_2d(np.cov(normal, rowvar=False))
        drawn = self._rng.multivariate_normal(np.zeros(n_metrics), spread, size=NULL_DRAWS * n_heads, method="eigh")
        # Nothing lies beyond the heads: far out, the way back from a skewed metric's scale ends.
        clouds = transform.inverse_transform(np.clip(drawn, normal.min(0), normal.max(0)))
        return np.asarray(clouds, dtype=float).reshape(NULL_DRAWS, n_heads, n_metrics)

    def stability(self, labels: Labels, k: int) -> Stability:
        """How reliably each cluster comes back; more resamples where that is not settled."""
        found = [self._resampled(labels, k) for _ in range(RESAMPLES)]
        settled = _interval(np.array(found))
        if ((settled.low < STABLE) & (settled.high >= STABLE)).any():
            found += [self._resampled(labels, k) for _ in range(MORE_RESAMPLES - RESAMPLES)]
            settled = _interval(np.array(found))
        return settled

    def _resampled(self, labels: Labels, k: int) -> Values:
        """(cluster,) similarities in one resample; NaN where it has too few distinct heads."""
        rows = np.sort(self._rng.integers(len(self.values), size=len(self.values)))
        if len(np.unique(self._points[rows])) < k:
            return np.full(k, np.nan)
        again = np.full(len(self.values), -1)
        again[rows] = self._labels(self.values[rows], k, RESAMPLE_STARTS)
        return _jaccard(labels, again, k)

    def _labels(self, values: Values, k: int, starts: int) -> Labels:
        # Starts of their own each time: with one seed, resamples start from the same places and fall into the same errors.
        start = int(self._rng.integers(np.iinfo(np.int32).max))
        return np.asarray(KMeans(k, n_init=starts, random_state=start).fit(values).labels_, dtype=np.int64)


def _interval(found: Values) -> Stability:
    """Mean of the resamples of each cluster, of (resample, cluster) similarities, with its interval."""
    known = ~np.isnan(found)
    n = known.sum(0)
    nothing = np.full(found.shape[1], np.nan)
    mean = np.divide(np.where(known, found, 0.0).sum(0), n, out=nothing.copy(), where=n > 0)
    squares = np.where(known, (found - mean) ** 2, 0.0).sum(0)
    error = np.sqrt(np.divide(squares, n * (n - 1.0), out=nothing.copy(), where=n > 1))
    return Stability(mean, np.clip(mean - INTERVAL * error, 0.0, 1.0), np.clip(mean + INTERVAL * error, 0.0, 1.0))


def _jaccard(labels: Labels, again: Labels, k: int) -> Values:
    """Each cluster's best match among the clusters of a resample, over the heads that were drawn; NaN where none of it was."""
    drawn = again >= 0
    both = np.bincount(labels[drawn] * k + again[drawn], minlength=k * k).reshape(k, k)
    here = both.sum(1, keepdims=True)
    best = (both / np.maximum(here + both.sum(0) - both, 1)).max(1)
    return np.where(here[:, 0] > 0, best, np.nan)


def _by_size(labels: Labels, values: Values) -> Labels:
    """Numbered from the largest cluster to the smallest, equal ones by where they lie."""
    clusters, sizes = np.unique(labels, return_counts=True)
    centres = [tuple(values[labels == cluster].mean(0)) for cluster in clusters]
    ranked = sorted(range(len(clusters)), key=lambda at: (-sizes[at], centres[at]))
    return np.argsort(ranked)[np.searchsorted(clusters, labels)]


def _refusal(n_heads: int, standard: Standard) -> str:
    if n_heads < MIN_HEADS:
        few = "1 head is" if n_heads == 1 else f"{n_heads} heads are"
        return f"{few} too few to look for clusters ({MIN_HEADS} are needed), so all are shown as one."
    if not standard.columns:
        return "No metric differs between these heads, so there are no clusters."
    if len(standard.columns) < MIN_METRICS:
        return f"Only one metric ({standard.columns[0]}) differs between these heads, so there are no clusters."
    return ""


def _no_structure(k: int, score: float, chance: float) -> str:
    start = f"No clusters: the best division, into {k}, has a mean silhouette of {score:.2f}"
    if np.isnan(chance):
        return f"{start}; up to {STRUCTURE} there is no substantial structure. All heads are shown as one group."
    return f"{start}, which {100 * chance:.0f} % of single clouds of the same shape reach too. All heads are shown as one group."


def _summary(k: int, score: float, stability: Stability) -> str:
    n_stable = int((stability.low >= STABLE).sum())
    return (
        f"{k} clusters, mean silhouette {score:.2f}; {n_stable} of {k} are stable (mean Jaccard over resampled heads {STABLE} or "
        "more, interval included)."
    )


def _one_group(
    heads: pd.DataFrame,
    standard: Standard,
    seed: int,
    note: str,
    scores: Mapping[int, float] | None = None,
    chance: float = float("nan"),
) -> Clusters:
    n_heads = len(heads)
    unknown = Stability(*(np.full(1, np.nan) for _ in range(3)))
    return Clusters(
        np.zeros(n_heads, dtype=np.int64), 1, float("nan"), np.full(n_heads, np.nan), *unknown, (UNNAMED,),
        traits(heads, np.zeros(n_heads, dtype=np.int64), standard.columns), MappingProxyType(dict(scores or {})), chance,
        standard.columns, standard.dropped, seed, note,
    )  # fmt: skip
