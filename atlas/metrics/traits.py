"""What sets a cluster of heads apart, and whether that has earned it a name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from atlas.metrics.heads import METRICS
from atlas.metrics.roles import MIXED

Labels = npt.NDArray[np.int64]

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
    "self": "same token",
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

SHARES = tuple(
    name
    for name in METRICS
    if name not in {"entropy", "entropy_norm", "confidence_max", "confidence_mean", "sparsity", "uniformity", "median"}
)
"""Metrics that chance has much or little of as well: a cluster is named after them only on the far side of chance."""

COLUMNS = ("cluster", "metric", "mean", "rest", "uniform", "difference", "p", "q")


def traits(table: pd.DataFrame, labels: Labels, columns: Sequence[str]) -> pd.DataFrame:
    """Every cluster against the other heads in every metric; the largest differences first.

    Columns: cluster, metric, mean, rest (the mean of the other heads), uniform (the cluster's chance level), difference (in
    standard deviations of all heads), p (Mann-Whitney, two-sided), q (p after Benjamini & Yekutieli's correction over all
    clusters and metrics, which holds however the metrics depend on each other).
    The clusters were made from these metrics, so p says less than it seems to: names rest on stability first.
    """
    clusters = np.unique(labels)
    if len(clusters) < 2 or not len(columns):
        return pd.DataFrame({name: pd.Series(dtype=object if name == "metric" else float) for name in COLUMNS})
    found = pd.concat([_against_the_rest(table, labels == cluster, columns, int(cluster)) for cluster in clusters])
    found["q"] = stats.false_discovery_control(found["p"].to_numpy(), method="by")
    found["size"] = found["difference"].abs()
    ordered = found.sort_values(["cluster", "size"], ascending=[True, False], kind="stable")
    return ordered[list(COLUMNS)].reset_index(drop=True)


def _against_the_rest(table: pd.DataFrame, inside: npt.NDArray[np.bool_], columns: Sequence[str], cluster: int) -> pd.DataFrame:
    values = table[list(columns)].to_numpy(float)
    mean, rest = values[inside].mean(0), values[~inside].mean(0)
    # The normal approximation: exact p-values of a thousand heads take minutes and differ in the third digit.
    tested = stats.mannwhitneyu(values[inside], values[~inside], axis=0, method="asymptotic")
    chance = [float(table.loc[inside, f"{name}_uniform"].mean()) if f"{name}_uniform" in table else np.nan for name in columns]
    return pd.DataFrame(
        {
            "cluster": cluster,
            "metric": list(columns),
            "mean": mean,
            "rest": rest,
            "uniform": chance,
            "difference": (mean - rest) / values.std(0),
            "p": np.asarray(tested.pvalue, dtype=float),
        }
    )


def earned_name(found: pd.DataFrame) -> str:
    """The name of one cluster from its rows of `traits`: its largest difference, if that is large, real and beyond chance."""
    real = found[(found["q"] <= FALSE_DISCOVERIES) & (found["difference"].abs() >= LARGE)]
    if real.empty:
        return MIXED
    top = real.iloc[int(real["difference"].abs().to_numpy().argmax())]
    metric, high = str(top["metric"]), bool(top["difference"] > 0)
    if metric in SHARES and ((top["mean"] <= top["uniform"]) if high else (top["mean"] >= top["uniform"])):
        # More than other heads and still no more than evenly spread attention would give: a name would oversell it.
        return MIXED
    return (HIGH if high else LOW).get(metric, MIXED)


def distinct(names: Sequence[str]) -> tuple[str, ...]:
    """Clusters of the same name are numbered, so that a name still says which: 'broad', 'broad 2'."""
    seen: dict[str, int] = {}
    result = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        result.append(name if seen[name] == 1 else f"{name} {seen[name]}")
    return tuple(result)
