"""A trace among the texts of a corpus: which figures of which heads are unusual on this text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from atlas.errors import NotCaptured
from atlas.ids import HEAD
from atlas.metrics.drift import corrected
from atlas.metrics.moments import Moments
from atlas.metrics.unusual import MIDDLE, standing
from atlas.tracing.groups import heads_of

if TYPE_CHECKING:
    from atlas.trace import Trace
    from atlas.tracing.corpus import Corpus

LEVEL = 0.05
"""Up to this corrected chance a head is called unusual."""

USUAL = MIDDLE
"""The name for those who may import this room and not that of the metrics."""

OTHER_HEADS = "The corpus is of a model with other layers or heads than this one."


@dataclass(frozen=True, eq=False)
class Unusual:
    """Every figure of a text beside those of many."""

    table: pd.DataFrame
    """One row a head and metric: kind, layer, head, metric, value, mean, sd, effect, lower, higher, uniform, uniform_mean, n, p,
    q. `lower` and `higher` are the shares of the texts whose number is lower and higher; q is corrected for the heads of the
    metric."""

    def of(self, metric: str) -> pd.DataFrame:
        """The rows of a metric, in the order of the heads."""
        return self.table[self.table["metric"] == metric].reset_index(drop=True)

    @property
    def outside(self) -> tuple[int, int]:
        """Figures outside what `USUAL` of the texts show, and how many are known: by chance at most 1 − USUAL of them."""
        p = self.table["p"].to_numpy(float)
        return int(np.count_nonzero(p <= 1 - USUAL)), int(np.count_nonzero(~np.isnan(p)))

    def farthest(self, most: int) -> pd.DataFrame:
        """The figures outside that are farthest from the mean, one a head."""
        outside = self.table[(self.table["p"] <= 1 - USUAL) & self.table["effect"].notna()]
        ordered = outside.sort_values("effect", key=np.abs, ascending=False, kind="stable")
        return ordered.drop_duplicates(HEAD).head(most).reset_index(drop=True)


def unusual(trace: Trace, corpus: Corpus) -> Unusual:
    """Where every figure of every head on this text stands among those over a corpus of the same model."""
    ids = corpus.heads[HEAD]
    tables = pd.concat([heads_of(trace, kind) for kind in trace.kinds], ignore_index=True)
    here = ids.merge(tables, on=HEAD, how="left", sort=False)
    if not len(ids.merge(tables[HEAD])) == len(ids) == len(tables):
        raise NotCaptured(OTHER_HEADS)
    moments, texts = corpus.moments(), corpus.heads
    parts = [_of_metric(name, at, here, texts, moments, *corpus.sketch(name)) for at, name in enumerate(corpus.metrics)]
    return Unusual(pd.concat([ids.join(part) for part in parts if part is not None], ignore_index=True))


def _of_metric(
    name: str, at: int, here: pd.DataFrame, texts: pd.DataFrame, moments: Moments, counts: np.ndarray, edges: np.ndarray
) -> pd.DataFrame | None:
    if name not in here:
        return None
    own = Moments(moments.n[:, at], moments.mean[:, at], moments.m2[:, at])
    value = here[name].to_numpy(float)
    found = standing(value, own, counts, edges)
    n = np.maximum(own.n, 1)
    columns: dict[str, Any] = {
        "metric": name, "value": value, "mean": own.known_mean(),
        "sd": np.where(own.n > 1, np.sqrt(own.m2 / np.maximum(n - 1, 1)), np.nan), "effect": found.effect,
        "lower": found.lower, "higher": found.higher, "uniform": here[f"{name}_uniform"].to_numpy(float),
        "uniform_mean": texts[f"{name}_uniform"].to_numpy(float), "n": own.n, "p": found.p, "q": corrected(found.p),
    }  # fmt: skip
    return pd.DataFrame(columns)
