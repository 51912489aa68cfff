"""Where heads stand beside each other in two dimensions: principal components, with axes that mean something, and t-SNE."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from atlas.metrics.standard import Standard, Values, by_value

AXES = ("PC1", "PC2")

PERPLEXITY = 30.0
"""Neighbours a head is placed by, in the middle of what van der Maaten & Hinton (2008) found it not to matter in (5 to 50)."""

PERPLEXITY_SHARE = 3
"""Of few heads, at most one in this many is a neighbour: with more, every head is near every other and the map is a ball."""

MIN_HEADS = 5
"""Heads under which t-SNE has no neighbourhoods to show; the principal components are given instead."""

START_SPREAD = 1e-4
"""Standard deviation of the starting positions (Kobak & Berens 2019, The art of using t-SNE): far apart they would stay there."""

STEPS_AGAIN = 500
"""Steps from positions that were a map already; a new one takes sklearn's thousand."""


@dataclass(frozen=True, eq=False)
class Components:
    """The two directions in which the heads of a table differ most.

    Attributes
    ----------
    positions
        (head, 2).
    explained
        Share of the variance along each axis.
    loadings
        One row a metric, one column an axis: how much of the metric is in it.
    standard
        The scale of the metrics.
    """

    positions: Values
    explained: tuple[float, float]
    loadings: pd.DataFrame
    standard: Standard

    @property
    def dropped(self) -> Mapping[str, str]:
        """Metrics left out, and why."""
        return self.standard.dropped

    def project(self, table: pd.DataFrame) -> Values:
        """(head, 2) positions of another table of these heads in the same axes: a head that does the same stays where it is.

        A metric that is unknown in the other table moves a head nowhere.
        """
        return np.asarray(self.standard.apply(table) @ self.loadings.to_numpy())


def pca(table: pd.DataFrame) -> Components:
    """Principal components of the standardised metrics; the metric that weighs most in an axis points upwards in it."""
    standard = Standard.of(table)
    values = standard.apply(table)
    directions, explained = np.zeros((2, len(standard.columns))), np.zeros(2)
    n_axes = min(2, len(standard.columns), max(len(values) - 1, 0))
    if n_axes:
        fitted = PCA(n_axes, svd_solver="full").fit(values)
        directions[:n_axes], explained[:n_axes] = fitted.components_, fitted.explained_variance_ratio_
        strongest = np.abs(directions).argmax(1)
        directions *= np.where(directions[np.arange(2), strongest] < 0, -1.0, 1.0)[:, None]
    loadings = pd.DataFrame(directions.T, index=list(standard.columns), columns=list(AXES))
    return Components(values @ directions.T, (float(explained[0]), float(explained[1])), loadings, standard)


def tsne(table: pd.DataFrame, seed: int = 0, init: npt.ArrayLike | None = None) -> Values:
    """(head, 2) positions in which near means alike and far means nothing; the order of the rows plays no part.

    Parameters
    ----------
    table
        A head table.
    seed
        Of what is random; the same seed gives the same positions.
    init
        Where the heads were, so that those that have changed little are found there again; None: a new map, from their
        principal components.
    """
    order = by_value(table)
    heads = table.iloc[order]
    start = pca(heads).positions if init is None else _given(init, len(table))[order]
    values = Standard.of(heads).apply(heads)
    spread = float(start[:, 0].std()) if len(start) else 0.0
    if len(table) < MIN_HEADS or not values.size or not spread:
        positions = start
    elif init is None:
        positions = _embed(values, start / spread * START_SPREAD, seed)
    else:
        # No early exaggeration: it would pull all heads together first, and they would come apart in other places.
        positions = _embed(values, start, seed, early_exaggeration=1.0, max_iter=STEPS_AGAIN)
    back: Values = positions[np.argsort(order)]
    return back


def _embed(values: Values, start: Values, seed: int, **options: Any) -> Values:
    model = TSNE(perplexity=perplexity(len(values)), init=start.astype(np.float32), random_state=seed, **options)
    found = np.asarray(model.fit_transform(values), dtype=float)
    # The map as a whole drifts while it is made, which says nothing.
    return found - found.mean(0) + start.mean(0)


def _given(init: npt.ArrayLike, n_heads: int) -> Values:
    start = np.asarray(init, dtype=float)
    if start.shape != (n_heads, 2):
        msg = f"There are {n_heads} heads to place, but starting positions of shape {start.shape}; give (head, 2)."
        raise ValueError(msg)
    return start


def perplexity(n_heads: int) -> float:
    """Neighbours a head is placed by among so many heads."""
    return min(PERPLEXITY, (n_heads - 1) / PERPLEXITY_SHARE)
