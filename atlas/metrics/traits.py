"""What sets a cluster of heads apart from the other heads and from chance, and whether that has earned it a name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from atlas.metrics.roles import UNNAMED
from atlas.metrics.shared_keys import SHARED
from atlas.metrics.standard import least_spread

Labels = npt.NDArray[np.int64]
Values = npt.NDArray[np.float64]

SMALLEST_ROOM = 1e-6
"""Shares of attention are exact to about this much: less room, or less variation, is rounding."""

FALSE_DISCOVERIES = 0.05
"""Share of false differences that is let through among all those called real."""

LARGE = 0.8
"""Standard deviations between a cluster and the other heads from which a difference may give it its name: what Cohen (1988)
calls large. Among a thousand heads any difference is significant."""

BROAD, FOCUSED, FAR, NEAR = "broad", "focused", "far", "near"

HIGH: Mapping[str, str] = MappingProxyType({
    "entropy": BROAD,
    "entropy_norm": BROAD,
    "confidence_max": FOCUSED,
    "confidence_mean": FOCUSED,
    "sparsity": FOCUSED,
    "uniformity": FOCUSED,
    "median": BROAD,
    "balance": "[CLS] or BOS",
    "special": "special tokens",
    "punctuation": "punctuation",
    "self": "self",
    "previous": "previous token",
    "next": "next token",
    "distance": FAR,
    "long_range": FAR,
    "induction": "induction",
    "duplicate": "duplicate token",
    "function_words": "function words",
    "content_words": "content words",
    "entities": "named entities",
    "first_key": "first token",
    "learned_sink": "learned sink",
})  # fmt: skip
"""What a cluster is called that has much of a metric."""

LOW: Mapping[str, str] = MappingProxyType({
    "entropy": FOCUSED,
    "entropy_norm": FOCUSED,
    "confidence_max": BROAD,
    "confidence_mean": BROAD,
    "sparsity": BROAD,
    "uniformity": BROAD,
    "median": FOCUSED,
    "distance": NEAR,
    "long_range": NEAR,
    "balance": "off [CLS] or BOS",
    "special": "off special tokens",
    "first_key": "off the first token",
})  # fmt: skip
"""What a cluster is called that has little of a metric. Little of a rare thing, such as induction, is no trait."""

SPREAD = ("entropy", "entropy_norm", "confidence_max", "confidence_mean", "sparsity", "uniformity", "median")
"""Metrics that chance is at one end of: no softmax is as even as uniform attention, so being less even is no trait. What they
say is checked on the normalised entropy, the one of them that means the same in every text."""

BEYOND = 0.25
"""Share of the way from chance to everything (or to nothing) from which a cluster's mean may give it its name: bert-mini's
long-range mass of 0.663 against 0.660 by chance is one hundredth of the way."""

FOCUS = 0.5
"""Share of the possible entropy that focused heads lack, on average: they look at the square root of the keys they may see."""

BREADTH = 0.25
"""Share of the possible entropy that broad heads lack, at most."""

CONTRAST = 0.25
"""Difference of that share between broad or focused heads and the others, at least: random models fall into heads at 0.90 and at
0.95 of the possible entropy."""

COLUMNS = ("cluster", "metric", "mean", "rest", "uniform", "difference", "p", "q", "beyond", "p_chance", "q_chance")


def traits(table: pd.DataFrame, labels: Labels, columns: Sequence[str]) -> pd.DataFrame:
    """Every cluster against the other heads, and against chance, in every metric; the largest differences first.

    Columns: cluster, metric, mean, rest (the mean of the other heads), uniform (the cluster's chance level); then against the
    other heads: difference (in standard deviations of all heads), p (Mann-Whitney, two-sided) and q (p after Benjamini &
    Yekutieli's correction over all clusters and metrics, which holds however the metrics depend on each other); then against
    chance, on the side of it that the difference points to: beyond (share of the way from chance to all, or to none, of the
    attention; for a distance, relative to chance), p_chance (t-test of value - uniform over the cluster's heads, one-sided; of
    metrics whose targets are shared keys, see `_with_shared_keys`) and q_chance (corrected in the same way). NaN in the last
    three for the metrics of `SPREAD`.
    The clusters were made from these metrics, so p says less than it seems to: names rest on stability first.
    """
    clusters = np.unique(labels)
    if len(clusters) < 2 or not len(columns):
        return pd.DataFrame({name: pd.Series(dtype=object if name == "metric" else float) for name in COLUMNS})
    found = pd.concat([_of_cluster(table, labels == cluster, columns, int(cluster)) for cluster in clusters])
    found["q"] = stats.false_discovery_control(found["p"].to_numpy(), method="by")
    tested = found["p_chance"].notna().to_numpy()
    found["q_chance"] = np.nan
    if tested.any():
        found.loc[tested, "q_chance"] = stats.false_discovery_control(found["p_chance"].to_numpy()[tested], method="by")
    found["size"] = found["difference"].abs()
    ordered = found.sort_values(["cluster", "size"], ascending=[True, False], kind="stable")
    return ordered[list(COLUMNS)].reset_index(drop=True)


def _of_cluster(table: pd.DataFrame, inside: npt.NDArray[np.bool_], columns: Sequence[str], cluster: int) -> pd.DataFrame:
    values = table[list(columns)].to_numpy(float)
    uniform = table.reindex(columns=[f"{name}_uniform" for name in columns]).to_numpy(float)
    mean, rest = values[inside].mean(0), values[~inside].mean(0)
    # The normal approximation: exact p-values of a thousand heads take minutes and differ in the third digit.
    tested = stats.mannwhitneyu(values[inside], values[~inside], axis=0, method="asymptotic")
    spread = np.maximum(values.std(0), [least_spread(name) for name in columns])
    difference = (mean - rest) / spread
    beyond, p_chance = _against_chance(values[inside], uniform[inside], difference > 0, columns)
    p_chance = _with_shared_keys(p_chance, table[inside], difference > 0, columns)
    return pd.DataFrame({
        "cluster": cluster,
        "metric": list(columns),
        "mean": mean,
        "rest": rest,
        "uniform": uniform[inside].mean(0),
        "difference": difference,
        "p": np.asarray(tested.pvalue, dtype=float),
        "beyond": beyond,
        "p_chance": p_chance,
    })  # fmt: skip


def _against_chance(
    values: Values, uniform: Values, high: npt.NDArray[np.bool_], columns: Sequence[str]
) -> tuple[Values, Values]:
    """(metric,) how far beyond chance the mean of some heads lies, and how easily chance gives that."""
    mean, even = values.mean(0), uniform.mean(0)
    # A distance has no common upper end: twice the chance level is all the way.
    room = np.where(high, np.where(np.array(columns) == "distance", even, 1.0 - even), even)
    away = np.where(high, mean - even, even - mean)
    # A resting place that is the only key there is gives no room; rounding must not make a trait of it.
    beyond = np.divide(away, room, out=np.full(len(mean), np.nan), where=room > SMALLEST_ROOM)
    surplus = np.where(high, 1.0, -1.0) * (values - uniform)
    n_heads = len(values)
    if n_heads < 2:
        p = np.ones(len(mean))
    else:
        error = np.maximum(surplus.std(0, ddof=1), SMALLEST_ROOM) / np.sqrt(n_heads)
        p = stats.t.sf(surplus.mean(0) / error, n_heads - 1)
    untested = np.isin(columns, SPREAD) | np.isnan(even)
    return np.where(untested, np.nan, beyond), np.where(untested, np.nan, p)


def _with_shared_keys(p: Values, heads: pd.DataFrame, high: npt.NDArray[np.bool_], columns: Sequence[str]) -> Values:
    """The larger of the t-test's p and twice the median of the heads' NAME_p, for much of a metric of `SHARED`.

    Heads that all like one token are no independent evidence that they like its class. Twice the median holds however the
    p-values depend on each other (Rueger 1978); where no head has one, as for a class of one token, it is 1.
    """
    result = p.copy()
    for place, name in enumerate(columns):
        if name in SHARED and high[place] and f"{name}_p" in heads:
            known = heads[f"{name}_p"].dropna().to_numpy(float)
            result[place] = max(result[place], min(1.0, 2.0 * float(np.median(known))) if len(known) else 1.0)
    return result


def earned_name(found: pd.DataFrame) -> str:
    """The name of one cluster from its rows of `traits`, or "unnamed".

    Its largest difference from the other heads gives the name, if it is large (`LARGE`) and real (q), and if the cluster is
    beyond chance as well: by `BEYOND` and really (q_chance), or for broad and focused heads by `_spread_name`.
    """
    real = found[(found["q"] <= FALSE_DISCOVERIES) & (found["difference"].abs() >= LARGE)]
    if real.empty:
        return UNNAMED
    top = real.iloc[int(real["difference"].abs().to_numpy().argmax())]
    metric, high = str(top["metric"]), bool(top["difference"] > 0)
    name = (HIGH if high else LOW).get(metric, UNNAMED)
    if metric in SPREAD:
        return name if name == _spread_name(found) else UNNAMED
    return name if top["beyond"] >= BEYOND and top["q_chance"] <= FALSE_DISCOVERIES else UNNAMED


def _spread_name(found: pd.DataFrame) -> str:
    """Whether a cluster is broad or focused by itself, and clearly more so than the others."""
    rows = found[found["metric"] == "entropy_norm"]
    if rows.empty:
        return UNNAMED
    row = rows.iloc[0]
    lacking, others = (1.0 - row["mean"] / row["uniform"], 1.0 - row["rest"] / row["uniform"])
    if lacking >= FOCUS and lacking - others >= CONTRAST:
        return FOCUSED
    return BROAD if lacking <= BREADTH and others - lacking >= CONTRAST else UNNAMED


def distinct(names: Sequence[str]) -> tuple[str, ...]:
    """Clusters of the same name are numbered, so that a name still says which: 'broad', 'broad 2'."""
    seen: dict[str, int] = {}
    result = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        result.append(name if seen[name] == 1 else f"{name} {seen[name]}")
    return tuple(result)
