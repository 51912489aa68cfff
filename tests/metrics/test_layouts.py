from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

from atlas.metrics.layouts import MIN_HEADS, PERPLEXITY, pca, perplexity, tsne
from tests.metrics.planted import planted, structureless


def standardised(table, columns):
    chosen = table[list(columns)]
    return ((chosen - chosen.mean()) / chosen.std(ddof=0)).to_numpy()


def test_components_are_sklearns_up_to_sign():
    table, _ = planted()
    found = pca(table)
    fitted = PCA(2).fit(standardised(table, found.standard.columns))
    np.testing.assert_allclose(np.abs(found.loadings.to_numpy().T), np.abs(fitted.components_), atol=1e-6)
    np.testing.assert_allclose(found.explained, fitted.explained_variance_ratio_, atol=1e-9)
    assert list(found.loadings.index) == list(found.standard.columns)
    strongest = found.loadings.abs().idxmax()
    assert all(found.loadings.loc[strongest[axis], axis] > 0 for axis in found.loadings.columns)


def test_signs_do_not_depend_on_the_order_of_heads():
    for seed in range(5):
        table = structureless(n=40, m=5, seed=seed)
        order = np.random.default_rng(seed).permutation(len(table))
        np.testing.assert_allclose(pca(table).positions[order], pca(table.iloc[order]).positions, atol=1e-9)


def test_another_table_is_shown_in_the_same_axes():
    table, _ = planted()
    found = pca(table)
    np.testing.assert_allclose(found.project(table), found.positions, atol=1e-12)
    moved = table.copy()
    moved.loc[3, "previous"] += 1.0
    there = found.project(moved)
    step = found.loadings.loc["previous"].to_numpy() / table["previous"].std(ddof=0)
    np.testing.assert_allclose(there[3] - found.positions[3], step, atol=1e-9)
    np.testing.assert_allclose(np.delete(there, 3, axis=0), np.delete(found.positions, 3, axis=0), atol=1e-12)


def test_what_is_unknown_for_selected_tokens_moves_no_head():
    table, _ = planted()
    found = pca(table)
    without = found.project(table.assign(previous=np.nan))
    at_mean = found.project(table.assign(previous=table["previous"].mean()))
    np.testing.assert_allclose(without, at_mean, atol=1e-12)
    np.testing.assert_allclose(found.project(table.drop(columns="previous")), at_mean, atol=1e-12)


@pytest.mark.parametrize("n", [0, 1, 2, 3])
def test_few_heads_have_positions_too(n):
    table = planted()[0].iloc[[0, 30, 80][:n]]
    found = pca(table)
    assert found.positions.shape == (n, 2)
    assert np.isfinite(found.positions).all()
    assert np.isfinite(found.explained).all()
    np.testing.assert_allclose(tsne(table), found.positions)
    if n == 2:
        assert np.abs(found.positions[0] - found.positions[1]).max() > 0


def test_heads_that_do_not_differ_stand_in_one_place():
    table = pd.concat([planted()[0].head(1)] * 6, ignore_index=True)
    assert (pca(table).positions == 0).all()
    assert (tsne(table) == 0).all()


def test_neighbours_stay_neighbours_and_groups_apart():
    table, truth = planted()
    found = tsne(table)
    assert found.shape == (len(table), 2)
    nearest = NearestNeighbors(n_neighbors=2).fit(found).kneighbors(found)[1][:, 1]
    assert (truth[nearest] == truth).all()


def test_the_same_seed_gives_the_same_map_in_any_order():
    table, _ = planted(noise=0.1)
    one = tsne(table, seed=1)
    np.testing.assert_array_equal(one, tsne(table, seed=1))
    order = np.random.default_rng(0).permutation(len(table))
    np.testing.assert_array_equal(one[order], tsne(table.iloc[order], seed=1))


def test_a_map_made_again_stays_where_it_was():
    table, _ = planted(noise=0.1)
    before = tsne(table)
    size = before.std()
    again = tsne(table, init=before)
    assert np.abs(again - before).mean() < size / 3
    # One made anew from other positions does not, which is what starting from the old one is for.
    anew = tsne(table.assign(previous=table["previous"].to_numpy()[::-1]))
    assert np.abs(anew - before).mean() > size / 3


def test_starting_positions_fit_the_heads():
    with pytest.raises(ValueError, match="There are 90 heads to place"):
        tsne(planted()[0], init=np.zeros((3, 2)))


def test_perplexity_fits_the_number_of_heads():
    assert perplexity(1200) == PERPLEXITY
    assert perplexity(MIN_HEADS) < MIN_HEADS
    for n in range(MIN_HEADS, 20):
        assert np.isfinite(tsne(structureless(n=n, m=4))).all()
