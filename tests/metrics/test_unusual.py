"""Where a number falls among those of many texts: against a plain ranking, and against its level under chance."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.metrics.moments import Moments
from atlas.metrics.sketches import counts_of, edges_of
from atlas.metrics.unusual import MIDDLE, standing

EDGES = edges_of("self")


def of(values, texts, edges=EDGES):
    return standing(values, Moments.of(texts), counts_of(texts, edges), edges)


def test_the_standing_is_a_plain_ranking_by_bins():
    rng = np.random.default_rng(0)
    texts, values = rng.beta(2, 5, (300, 6)), rng.beta(2, 5, 6)
    found = of(values, texts)
    np.testing.assert_allclose(found.effect, (values - texts.mean(0)) / texts.std(0, ddof=1))
    for head in range(6):
        bins = np.searchsorted(EDGES, texts[:, head], side="right")
        own = np.searchsorted(EDGES, values[head], side="right")
        assert found.lower[head] == (bins < own).mean()
        assert found.higher[head] == (bins > own).mean()
        assert found.p[head] == min(1, 2 * min(1 + (bins <= own).sum(), 1 + (bins >= own).sum()) / 301)


@given(st.integers(1, 60), st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.3, 1.0]))
def test_it_is_a_share_and_never_under_what_so_few_texts_allow(n, seed, where):
    rng = np.random.default_rng(seed)
    found = of([where], rng.random((n, 1)))
    assert 2 / (n + 1) <= found.p[0] + 1e-12 or found.p[0] == 1
    assert 0 < found.p[0] <= 1
    assert found.lower[0] + found.higher[0] <= 1 + 1e-12


@pytest.mark.parametrize("make", [lambda rng, n: rng.beta(0.2, 3, n), lambda rng, n: rng.integers(0, 3, n) / 7])
def test_a_text_like_the_others_is_outside_no_oftener_than_it_is_said_to_be(make):
    """Whatever the distribution: one that is heaped at 0, and one of three values."""
    rng, n, times = np.random.default_rng(1), 99, 4000
    p = np.array([of(given[:1], given[1:, None]).p[0] for given in (make(rng, n + 1) for _ in range(times))])
    share = (p <= 1 - MIDDLE).mean()
    assert share <= 1 - MIDDLE + 3 * np.sqrt(0.05 * 0.95 / times)


def test_a_number_far_out_is_found():
    rng = np.random.default_rng(2)
    texts = rng.beta(20, 20, (999, 2))
    found = of([0.95, 0.5], texts)
    assert found.p[0] == 2 / 1000
    assert found.effect[0] > 5
    assert found.lower[0] == 1
    assert found.p[1] > 0.5


def test_what_is_not_known_has_no_standing_and_what_never_varies_no_effect():
    texts = np.stack([np.full(20, 0.25), np.full(20, np.nan), np.linspace(0, 1, 20)], axis=1)
    found = of([0.5, 0.5, np.nan], texts)
    assert np.isnan(found.effect).all()
    assert found.p[0] == 2 / 21  # it is beyond all texts, although no number of spreads says how far
    assert np.isnan(found.p[1:]).all()
    assert np.isnan(found.lower[1:]).all()
