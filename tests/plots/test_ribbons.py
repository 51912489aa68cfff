"""Where ribbons lie, against loops over tokens; and what is under a tap."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from atlas.plots.ribbons import (
    ACROSS,
    DOWN,
    FILLED,
    NAME,
    STEPS,
    Column,
    Step,
    heads_flow,
    layers_flow,
    named,
    ribbon_at,
    token_at,
)  # fmt: skip


def step(n_queries=5, n_keys=4, most=9, seed=0):
    weights = np.random.default_rng(seed).random((n_queries, n_keys))
    weights /= weights.sum(1, keepdims=True)
    order = np.argsort(-weights.ravel())[:most]
    query, key = np.unravel_index(order, weights.shape)
    return Step(query, key, weights[query, key], np.full(most, 1 / n_keys), weights.sum(1), weights.sum(0))


@pytest.mark.parametrize(("n_queries", "n_keys"), [(5, 4), (3, 9), (6, 6)])
def test_ribbons_are_as_high_as_their_weights_and_lie_on_each_other_inside_the_bars(n_queries, n_keys):
    given = step(n_queries, n_keys)
    flow = heads_flow(given)
    left, right = flow.columns
    unit = FILLED / n_queries
    np.testing.assert_allclose(flow.ribbons.width, unit * given.weight)
    for column, masses in ((left, given.sent), (right, given.received)):
        np.testing.assert_allclose(column.high - column.low, unit * masses)
        assert (column.low[1:] > column.high[:-1]).all()
        assert column.low[0] >= 0
        assert column.high[-1] <= 1 + 1e-9
    for column, places, others, middle in (
        (left, given.query, given.key, flow.ribbons.y0), (right, given.key, given.query, flow.ribbons.y1),
    ):  # fmt: skip
        for token in range(len(column.low)):
            mine = sorted(np.flatnonzero(places == token), key=lambda at: others[at])
            assert column.drawn[token] == pytest.approx(sum(given.weight[mine]))
            edges = [(middle[at] - flow.ribbons.width[at] / 2, middle[at] + flow.ribbons.width[at] / 2) for at in mine]
            for (_, end), (begin, _) in itertools.pairwise(edges):
                assert begin == pytest.approx(end)
            if edges:
                assert (edges[0][0] + edges[-1][1]) / 2 == pytest.approx(column.middle[token])
                assert edges[0][0] >= column.low[token] - 1e-9


def test_layer_by_layer_a_ribbon_goes_from_what_is_read_to_what_reads_it():
    steps = [step(6, 6, seed=seed) for seed in range(3)]
    flow = layers_flow(steps)
    assert [column.x for column in flow.columns] == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert [words for _, words in flow.titles] == ["layer 0", "layer 1", "layer 2"]
    at = 0
    for layer, given in enumerate(steps):
        for link in range(len(given.weight)):
            ends = [each[at] for each in flow.ribbons[:5]]
            middle = [(token + 0.5) / 6 for token in (given.key[link], given.query[link])]
            assert ends == pytest.approx([layer / 3, middle[0], (layer + 1) / 3, middle[1], FILLED / 6 * given.weight[link]])
            assert flow.ribbons.step[at] == layer
            at += 1
    assert at == len(flow.ribbons.width)


def test_the_curve_is_the_cubic_bezier_curve_with_level_ends():
    for t, x, y in zip(STEPS, ACROSS, DOWN, strict=True):
        weights = (1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3
        assert (x, y) == pytest.approx((np.dot(weights, (0, 0.5, 0.5, 1)), np.dot(weights, (0, 0, 1, 1))))


def test_a_tap_finds_the_strongest_ribbon_under_it_or_the_nearest_one():
    flow = heads_flow(step())
    ribbons = flow.ribbons
    for at in range(len(ribbons.width)):
        assert ribbon_at(ribbons, 1e-6, ribbons.y0[at], 0.0) == at
        assert ribbon_at(ribbons, 1 - 1e-6, ribbons.y1[at], 0.0) == at
        t = 0.3
        x = 1.5 * t * (1 - t) + t**3
        y = ribbons.y0[at] + (ribbons.y1[at] - ribbons.y0[at]) * (3 * t**2 - 2 * t**3)
        found = ribbon_at(ribbons, x, y, 0.0)
        assert found is not None
        assert ribbons.weight[found] >= ribbons.weight[at]
    top = ribbons.y0.min() - ribbons.width[np.argmin(ribbons.y0)]
    assert ribbon_at(ribbons, 1e-6, top, 0.0) is None
    assert ribbon_at(ribbons, 1e-6, top, 1.0) == np.argmin(ribbons.y0)
    assert ribbon_at(ribbons, 1.2, 0.5, 1.0) is None


def test_names_never_touch_and_those_of_selected_tokens_come_first():
    rng = np.random.default_rng(3)
    low = np.sort(rng.random(300))
    column = Column(0.0, "key", low, low, rng.random(300), np.ones(300))
    for view in ((0.0, 1.0), (0.2, 0.3)):
        found = named(column, view, 500, [7, 150])
        places = (column.middle[found] - view[0]) / (view[1] - view[0]) * 500
        assert (np.diff(places) >= NAME - 1).all()
        assert len(found) > 10
        for at in range(300):
            place = (column.middle[at] - view[0]) / (view[1] - view[0]) * 500
            if at not in found and 0 <= place <= 500:
                assert np.abs(places - place).min() <= NAME + 1
    assert {7, 150} <= set(named(column, (0.0, 1.0), 500, [7, 150]).tolist())


def test_a_tap_beside_the_ribbons_finds_the_token_there():
    column = heads_flow(step()).columns[1]
    for at in range(len(column.low)):
        assert token_at(column, column.middle[at]) == at
    assert token_at(column, 0.0) == 0
