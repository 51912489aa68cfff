"""What is merged gives what the whole would have given, and the stated errors and levels hold."""

from __future__ import annotations

import numpy as np
import pytest

from atlas.corpus.pieces import NONE, TokenSums, Top, by_decile, priorities, sampled
from atlas.metrics.moments import Moments
from atlas.metrics.offsets import HIGH, LOW, bin_of
from atlas.metrics.sketches import BINS, counts_of, edges_of, quantiles

METRICS = ("previous", "entropy", "distance", "uniformity")


def values(rng: np.random.Generator, n: int, name: str = "previous") -> np.ndarray:
    """Values of 6 heads, some unknown."""
    made = rng.beta(0.4, 1.5, size=(n, 6)) * {"entropy": 6, "distance": 300, "uniformity": 0.5}.get(name, 1)
    made[rng.random(made.shape) < 0.1] = np.nan
    return made


def test_merged_moments_are_those_of_all_numbers() -> None:
    rng = np.random.default_rng(0)
    whole = values(rng, 97)
    whole[:, 5] = np.nan
    merged = Moments.empty((6,))
    for part in np.split(whole, [3, 4, 50]):
        merged = merged.merged(Moments.of(part))
    np.testing.assert_array_equal(merged.n, (~np.isnan(whole)).sum(0))
    np.testing.assert_allclose(merged.known_mean()[:5], np.nanmean(whole[:, :5], 0), rtol=1e-12)
    np.testing.assert_allclose(merged.m2[:5] / (merged.n[:5] - 1), np.nanvar(whole[:, :5], 0, ddof=1), rtol=1e-12)
    assert np.isnan(merged.known_mean()[5])
    assert np.isnan(merged.interval()[0][5])


def test_intervals_cover_the_mean_at_their_level() -> None:
    rng = np.random.default_rng(1)
    for a, b, n in ((2, 5, 30), (1, 1, 200), (0.5, 3, 400)):
        lo, hi = Moments.of(rng.beta(a, b, size=(n, 4000))).interval()
        covered = ((lo <= a / (a + b)) & (a / (a + b) <= hi)).mean()
        assert 0.935 <= covered <= 0.965, (a, b, n, covered)


@pytest.mark.parametrize("name", METRICS)
def test_no_quantile_is_farther_off_than_its_error(name: str) -> None:
    rng = np.random.default_rng(2)
    edges = edges_of(name)
    whole = values(rng, 301, name)
    merged = sum(counts_of(part, edges) for part in np.split(whole, [10, 11, 200]))
    np.testing.assert_array_equal(merged, counts_of(whole, edges))
    shares = [0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0]
    found, errors = quantiles(merged, edges, shares)
    exact = np.nanquantile(whole, shares, axis=0, method="inverted_cdf").T
    assert (np.abs(found - exact) <= errors + 1e-12).all()
    # The stated error is of use: of a share it is under two thousandths.
    assert errors.max() <= {"entropy": 0.012, "distance": 5.0}.get(name, 0.0016)


def test_quantiles_of_nothing_are_unknown_and_what_is_beyond_the_bins_is_in_the_last() -> None:
    edges = edges_of("distance")
    counts = counts_of(np.array([[np.nan, 1e9]]), edges)
    assert np.isnan(quantiles(counts, edges, [0.5])[0][0]).all()
    assert counts[1].nonzero()[0].tolist() == [BINS - 1]


def test_every_offset_has_one_bin() -> None:
    offsets = np.arange(-5000, 5001)
    bins = bin_of(offsets)
    assert ((LOW[bins] <= offsets) & (offsets <= HIGH[bins])).all()
    assert (LOW[1:] == HIGH[:-1] + 1).all()
    assert [int(LOW[bin_of(at)]) for at in (-4, -1, 0, 1, 4)] == [-4, -1, 0, 1, 4]


def test_the_top_of_the_parts_is_the_top_of_the_whole() -> None:
    whole = np.random.default_rng(3).random((40, 5, 3)).round(2)
    whole[:, 4, 2] = np.nan
    merged = Top.of(whole[:0], [])
    for start in (0, 7, 20):
        stop = {0: 7, 7: 20, 20: 40}[start]
        merged = merged.merged(Top.of(whole[start:stop], np.arange(start, stop)))
    filled = np.where(np.isnan(whole), -1, whole)
    np.testing.assert_array_equal(np.where(merged.text == NONE, 0, merged.text), filled.argmax(0))
    assert merged.text[4, 2] == NONE


def test_tokens_are_summed_by_id() -> None:
    rng = np.random.default_rng(4)
    ids, mass = rng.integers(0, 9, 60), rng.random((3, 60))
    merged = TokenSums.of(ids[:25], mass[:, :25]).merged(TokenSums.of(ids[25:], mass[:, 25:]))
    assert merged.ids.tolist() == sorted(set(ids.tolist()))
    np.testing.assert_array_equal(merged.occurrences, np.bincount(ids, minlength=9)[merged.ids])
    for at, token in enumerate(merged.ids):
        np.testing.assert_allclose(merged.mass[:, at], mass[:, ids == token].sum(1))


def test_top_tokens_are_the_largest_by_mass_and_the_largest_by_mean_of_those_that_occur_often() -> None:
    sums = TokenSums(np.arange(5), np.array([[10.0, 8.0, 3.0, 0.9, 0.0]]), np.array([100, 90, 4, 1, 50]))
    assert sums.top(1, least_count=4)[0].tolist() == [0, 2]  # id 3 has the largest mean, of one occurrence


def test_a_vocabulary_that_is_too_large_keeps_its_most_frequent_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("atlas.corpus.pieces.CELLS", 6)
    sums = TokenSums.of([5, 5, 5, 1, 2, 2, 7, 7], np.ones((2, 8)))
    assert sums.ids.tolist() == [2, 5, 7]
    assert sums.dropped == 1


def test_a_sample_is_even_and_a_text_keeps_its_priority_when_others_follow() -> None:
    np.testing.assert_array_equal(priorities(50, 7)[:20], priorities(20, 7))
    drawn = np.concatenate([sampled(20, 5, seed) for seed in range(2000)])
    assert np.bincount(drawn, minlength=20).min() > 400  # 500 expected, standard deviation 19
    assert sampled(3, 5, 0).tolist() == [0, 1, 2]


def test_deciles_are_tenths_of_all_texts() -> None:
    whole = np.random.default_rng(5).beta(0.4, 1.5, size=(2000, 2, 1))
    edges = edges_of("previous")
    tenth = by_decile(whole, counts_of(whole, edges), [edges])
    exact = np.floor(10 * whole.argsort(0).argsort(0) / 2000)
    assert (np.abs(tenth - exact) <= 1).all()
    assert (tenth == exact).mean() > 0.9
    assert np.bincount(tenth[:, 0, 0], minlength=10).min() > 100
