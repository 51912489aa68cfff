from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from atlas.metrics import Pairs, RowPlan, causal_mask, row_statistics, rows, visible_cells
from tests.metrics.cases import CASES, Case, row_by_loops


def as_torch(plan):
    return plan.to(torch.from_numpy)


def assert_same(left, right, atol):
    assert left.keys() == right.keys()
    for name, values in left.items():
        np.testing.assert_allclose(np.asarray(values), np.asarray(right[name]), atol=atol, rtol=1e-6, err_msg=name)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("seed", [0, 1])
def test_every_row_statistic_equals_plain_loops(name, seed):
    case = Case(name, seed)
    found = row_statistics(case.weights, case.plan)
    for head in range(case.heads):
        for i in range(case.n_queries):
            for statistic, value in row_by_loops(case, head, i).items():
                if statistic in {"induction", "duplicate"} and statistic not in found:
                    assert np.isnan(value)
                    continue
                np.testing.assert_allclose(found[statistic][head, i], value, atol=1e-6, err_msg=f"{statistic} row {i}")
    received = case.weights.sum(-2)
    informative = [i for i in range(case.n_queries) if len(case.keys(i)) > 1]
    np.testing.assert_allclose(found["received"], received, atol=1e-6)
    np.testing.assert_allclose(found["received_informative"], case.weights[:, informative].sum(-2), atol=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_torch_and_numpy_agree(name):
    case = Case(name, seed=2)
    expected = row_statistics(case.weights, case.plan)
    single = row_statistics(torch.from_numpy(case.weights.astype(np.float32)), as_torch(case.plan))
    double = row_statistics(torch.from_numpy(case.weights), as_torch(case.plan))
    assert all(values.dtype == torch.float32 for values in single.values())
    assert all(values.dtype == torch.float64 for values in double.values())
    assert_same(expected, single, atol=1e-5)
    assert_same(expected, double, atol=1e-6)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("limit", [1, 400, 1500])
def test_slabs_change_nothing(name, limit, monkeypatch):
    case = Case(name, seed=4)
    whole = row_statistics(case.weights, case.plan)
    monkeypatch.setattr(rows, "SLAB_BYTES", limit)
    assert rows._slab_rows(case.weights) < case.n_queries
    assert_same(whole, row_statistics(case.weights, case.plan), atol=1e-12)
    in_torch = row_statistics(torch.from_numpy(case.weights), as_torch(case.plan))
    assert_same(whole, in_torch, atol=1e-6)


@pytest.mark.parametrize("name", ["causal", "cross_masked"])
def test_batches_and_blocks_of_heads_equal_one_by_one(name):
    cases = [Case(name, seed=5), Case(name, seed=5)]
    batch = np.stack([cases[0].weights, cases[1].weights[::-1]])
    together = row_statistics(batch, cases[0].plan)
    for text in range(2):
        for head in range(3):
            alone = row_statistics(batch[text, head], cases[0].plan)
            assert_same({key: values[text, head] for key, values in together.items()}, alone, atol=1e-12)


def test_permuting_heads_permutes_the_statistics():
    case = Case("window", seed=6, heads=5)
    order = np.array([3, 0, 4, 1, 2])
    plain = row_statistics(case.weights, case.plan)
    assert_same({key: values[order] for key, values in plain.items()}, row_statistics(case.weights[order], case.plan), atol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_reduced_in_single(dtype):
    n = 600
    previous = torch.zeros(1, n, n, dtype=dtype)
    previous[0, 0, 0] = 1
    previous[0, torch.arange(1, n), torch.arange(n - 1)] = 1
    plan = as_torch(RowPlan.build(causal_mask(n), n, n))
    found = row_statistics(previous, plan)
    assert all(values.dtype == torch.float32 for values in found.values())
    # Half precision would lose count above 2,048 (bfloat16: above 256).
    assert found["distance"][0, 1:].eq(1).all()
    assert found["below_uniform"][0, -1] == n - 1


def test_statistics_stay_outside_the_gradient_graph():
    scores = torch.randn(2, 6, 6, requires_grad=True)
    weights = scores.softmax(-1)
    found = row_statistics(weights, as_torch(RowPlan.build(None, 6, 6)))
    assert not any(values.requires_grad for values in found.values())
    weights.square().sum().backward()
    assert scores.grad is not None


def test_a_row_that_gave_everything_to_a_sink_has_no_entropy():
    weights = np.zeros((1, 3, 3))
    weights[0, 1] = [0.2, 0.2, 0.0]
    found = row_statistics(weights, RowPlan.build(None, 3, 3))
    assert np.isnan(found["entropy"][0, [0, 2]]).all()
    assert np.isnan(found["distance"][0, [0, 2]]).all()
    np.testing.assert_allclose(found["entropy"][0, 1], np.log(2))
    np.testing.assert_allclose(found["mass"][0], [0, 0.4, 0])


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(1, 20), sharpness=st.floats(0, 30), causal=st.booleans())
def test_invariants(seed, n, sharpness, causal):
    rng = np.random.default_rng(seed)
    mask = causal_mask(n) if causal else None
    scores = sharpness * rng.standard_normal((2, n, n))
    scores = np.where(mask, scores, -np.inf) if causal else scores
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    plan = RowPlan.build(mask, n, n, special=np.arange(n) == 0)
    found = row_statistics(weights, plan)
    most = np.log(plan.n_visible)
    assert (found["entropy"] >= 0).all()
    assert (found["entropy"] <= most + 1e-9).all()
    assert (found["maximum"] >= 1 / plan.n_visible - 1e-9).all()
    assert (found["square_sum"] <= found["maximum"] + 1e-9).all()
    assert (found["below_uniform"] < np.maximum(plan.n_visible, 1)).all()
    np.testing.assert_allclose(found["received"].sum(-1), n)
    for name in ("self", "special", "long_range"):
        values = found[name][~np.isnan(found[name])]
        assert ((values >= 0) & (values <= 1 + 1e-9)).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_softmax_of_equal_scores_is_nowhere_below_uniform(dtype):
    for n in (3, 7, 48, 129, 1000):
        scores = torch.full((1, 2, n), 0.1, dtype=torch.from_numpy(np.zeros(1, dtype)).dtype)
        weights = scores.softmax(-1)
        plan = RowPlan.build(None, 2, n, same_axis=False)
        assert row_statistics(weights.numpy(), plan)["below_uniform"].max() == 0


def test_pairs_by_hand():
    #       0        1    2    3    4        5    6    7
    text = ["[CLS]", "a", "b", "a", "[SEP]", "a", "a", "[SEP]"]
    special = [word.startswith("[") for word in text]
    pairs = Pairs.build(np.unique(text, return_inverse=True)[1], special)
    assert {tuple(map(int, pair)) for pair in np.argwhere(pairs.duplicate)} == {(3, 1), (5, 1), (5, 3), (6, 1), (6, 3), (6, 5)}
    # What followed: b after the first a, [SEP] after the second (a special token, left out), the query itself in "a a".
    assert {tuple(map(int, pair)) for pair in np.argwhere(pairs.induction)} == {(3, 2), (5, 2), (6, 2), (6, 6)}


def test_the_first_token_of_a_causal_text_is_no_duplicate_candidate():
    pairs = Pairs.build([5, 6, 5, 6], [False] * 4, causal=True)
    assert {tuple(map(int, pair)) for pair in np.argwhere(pairs.duplicate)} == {(3, 1)}
    assert {tuple(map(int, pair)) for pair in np.argwhere(pairs.induction)} == {(2, 1), (3, 2)}


def test_visible_cells_reads_the_mask_off_the_data():
    weights = np.full((2, 3, 4, 4), 0.25)
    assert visible_cells(weights) is None
    weights[..., ~causal_mask(4)] = np.nan
    np.testing.assert_array_equal(visible_cells(weights), causal_mask(4))


def test_a_plan_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="mask has shape"):
        RowPlan.build(causal_mask(3), 4, 4)
    with pytest.raises(ValueError, match="same_axis=False"):
        RowPlan.build(None, 4, 5)
