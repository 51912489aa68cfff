from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atlas.definitions import DEFINITIONS
from atlas.metrics import METRICS, RowPlan, causal_mask, head_metrics, median, metrics_of, quantiles, row_statistics
from atlas.metrics.exact import uniform_median
from atlas.metrics.heads import COUNTED, INFORMATIVE_ROWS
from atlas.metrics.keysets import is_punctuation
from atlas.metrics.shared_keys import RESTING_PLACES, SHARED
from tests.metrics.cases import CASES, Case, head_by_loops, token_table


def table_of(case, weights=None):
    weights = case.weights if weights is None else weights
    stats = {name: values[None] for name, values in row_statistics(weights, case.plan).items()}
    return head_metrics(stats, case.plan, case.tokens, None if case.same_axis else case.key_tokens)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("seed", [0, 7, 8])
def test_every_metric_equals_plain_loops(name, seed):
    case = Case(name, seed)
    table = table_of(case)
    table["median"] = median(case.weights, case.plan)
    for head in range(case.heads):
        expected = head_by_loops(case, head)
        for metric in METRICS:
            value = expected.get(metric, np.nan)
            np.testing.assert_allclose(table[metric][head], value, atol=1e-6, err_msg=f"{name} {metric}")


@pytest.mark.parametrize("name", [case for case in CASES if case != "sink"])
def test_uniform_attention_is_its_own_reference(name):
    case = Case(name, seed=9)
    case.weights = np.repeat(case.plan.uniform()[None], case.heads, 0)
    table = table_of(case)
    table["median"] = median(case.weights, case.plan)
    for metric in METRICS:
        np.testing.assert_allclose(table[metric], table[f"{metric}_uniform"], atol=1e-6, err_msg=metric)
        expected = head_by_loops(case, 0).get(metric, np.nan)
        # Cells a rounding error below themselves count in the loops, not in the library.
        if metric != "sparsity":
            np.testing.assert_allclose(table[f"{metric}_uniform"][0], expected, atol=1e-6, err_msg=metric)
    assert (table["sparsity"] == 0).all()


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(1, 16), name=st.sampled_from(["bidirectional", "causal", "window"]))
def test_uniform_and_bounds_at_any_length(seed, n, name):
    case = Case(name, seed, n=n)
    table = table_of(case)
    inside = table["entropy_norm"].dropna()
    assert ((inside >= 0) & (inside <= 1 + 1e-6)).all()
    case.weights = case.plan.uniform()[None]
    uniform = table_of(case)
    for metric in METRICS:
        if metric != "median":
            np.testing.assert_allclose(uniform[metric], uniform[f"{metric}_uniform"], atol=1e-6, err_msg=metric)
    if n > 1:
        np.testing.assert_allclose(uniform["entropy_norm"], 1, atol=1e-6)
    else:
        assert table[list(METRICS)].isna().all(axis=None)


@pytest.mark.parametrize("n", [7, 20, 22, 49, 512])
def test_even_weights_of_one_length_have_no_spread_at_all_and_a_little_more_on_one_key_has(n):
    tokens = token_table(n, np.random.default_rng(0))
    even = np.full((1, 1, n, n), 1 / n)
    assert metrics_of(even, tokens)["uniformity"][0] == 0
    even[..., 0] += 1e-5 / n
    assert metrics_of(even, tokens)["uniformity"][0] == pytest.approx(1e-5 / n * np.sqrt(n - 1) / n, rel=1e-3)


def test_columns_are_defined_and_definitions_are_columns():
    table = table_of(Case("bidirectional"))
    beside = {f"{name}_uniform" for name in METRICS} | {f"{name}_rows" for name in COUNTED}
    beside |= {f"{name}_p" for name in SHARED} | {INFORMATIVE_ROWS}
    columns = set(table.columns) - {"layer", "head"}
    assert beside <= columns
    assert columns - beside == {name for name, item in DEFINITIONS.items() if item.group == "metric"}
    assert {name for name, item in DEFINITIONS.items() if item.costly} == {"median"}
    for name, item in DEFINITIONS.items():
        assert name == item.name
        texts = (item.title, item.formula, item.reading, item.chance, item.range, item.reference)
        assert all(text.strip() for text in texts), name


@pytest.mark.parametrize("name", CASES)
def test_the_number_of_rows_of_every_metric_is_counted(name):
    case = Case(name, seed=2)
    table = table_of(case)
    informative = [i for i in range(case.n_queries) if len(case.keys(i)) > 1]
    assert (table[INFORMATIVE_ROWS] == len(informative)).all()
    n_previous = sum(case.same_axis and case.sees(i, i - 1) for i in informative if i > 0)
    assert (table["previous_rows"] == n_previous).all()
    stops = [k for k, token in enumerate(case.key_tokens["token"]) if is_punctuation(token)]
    assert (table["punctuation_rows"] == sum(any(case.sees(i, k) for k in stops) for i in informative)).all()
    assert (table["first_key_rows"] == sum(case.sees(i, 0) for i in informative)).all()


def test_permuting_heads_permutes_rows():
    case = Case("causal", seed=10, heads=5)
    order = np.array([4, 2, 0, 1, 3])
    table, permuted = table_of(case), table_of(case, case.weights[order])
    columns = [name for name in table.columns if name not in {"layer", "head"}]
    pd.testing.assert_frame_equal(table[columns].iloc[order].reset_index(drop=True), permuted[columns])


def test_layers_may_have_masks_of_their_own():
    full, window = Case("causal", seed=11), Case("window", seed=11)
    stats = {
        name: np.stack([values, row_statistics(window.weights, window.plan)[name]])
        for name, values in row_statistics(full.weights, full.plan).items()
    }
    both = head_metrics(stats, [full.plan, window.plan], full.tokens)
    expected = pd.concat([table_of(full), table_of(window).assign(layer=1)], ignore_index=True)
    # Resting places are compared with other places in all layers, so these p-values are no layer's own.
    pooled = [f"{name}_p" for name in RESTING_PLACES]
    pd.testing.assert_frame_equal(both.drop(columns=pooled), expected.drop(columns=pooled))
    assert both["long_range_uniform"].isna().tolist() == [False] * 3 + [True] * 3
    with pytest.raises(ValueError, match="1 plans were given for 2 layers"):
        head_metrics(stats, [full.plan], full.tokens)
    with pytest.raises(ValueError, match="tables have 5"):
        head_metrics(stats, full.plan, full.tokens.head(5))


def test_what_is_not_known_is_nan_and_never_zero():
    case = Case("causal", seed=12)
    case.tokens = case.tokens[["token", "special"]]
    table = table_of(case)
    for metric in ("function_words", "content_words", "entities", "balance", "special", "next", "median"):
        assert table[metric].isna().all(), metric
    assert table["next_uniform"].isna().all()
    cross = table_of(Case("cross"))
    for metric in ("self", "previous", "next", "distance", "long_range", "induction", "duplicate"):
        assert cross[metric].isna().all(), metric
    assert cross[["special", "punctuation", "balance", "entropy"]].notna().all(axis=None)


def test_the_single_visible_key_of_the_first_row_says_nothing():
    """The first Atlas's defect 11 and its like: neither the masked future nor row 0 may count."""
    n = 6
    weights = np.zeros((1, 1, n, n))
    weights[..., 0, 0] = 1
    for i in range(1, n):
        weights[..., i, i - 1] = 1
    table = metrics_of(weights, token_table(n, np.random.default_rng(0), start=False, end=False), visible=causal_mask(n))
    assert table["previous"][0] == 1
    assert table["self"][0] == 0
    assert table["entropy"][0] == 0
    assert table["first_key"][0] == pytest.approx(1 / (n - 1))
    # 5 rows with 2 to 6 cells: 20 cells, of which 5 are 1.
    assert table["sparsity"][0] == pytest.approx(15 / 20)
    assert table["uniformity"][0] == pytest.approx(np.std([1] * 5 + [0] * 15))


def test_recorded_weights_say_their_mask_by_nan():
    case = Case("causal", seed=13)
    marked = np.where(case.visible, case.weights, np.nan)[None]
    expected = table_of(case)
    expected["median"] = median(case.weights, case.plan)
    pd.testing.assert_frame_equal(metrics_of(marked, case.tokens), expected)


@pytest.mark.parametrize("name", CASES)
def test_quantiles_leave_masked_cells_out(name):
    case = Case(name, seed=14)
    found = quantiles(case.weights, case.plan)
    assert found.shape == (5, case.heads)
    rows = [i for i in range(case.n_queries) if len(case.keys(i)) > 1]
    for head in range(case.heads):
        cells = [case.weights[head, i, k] for i in rows for k in case.keys(i)]
        np.testing.assert_allclose(found[:, head], np.quantile(cells, (0, 0.25, 0.5, 0.75, 1)))
    batched = quantiles(np.stack([case.weights, case.weights[::-1]]), case.plan)
    np.testing.assert_allclose(batched[:, 1], found[:, ::-1])
    uniform = np.broadcast_to(case.plan.uniform(), (1, case.n_queries, case.n_keys))
    np.testing.assert_allclose(uniform_median(case.plan), median(uniform, case.plan)[0], rtol=1e-6)


def test_nothing_to_take_a_median_of():
    plan = RowPlan.build(None, 1, 1)
    assert np.isnan(median(np.ones((2, 1, 1)), plan)).all()
    assert np.isnan(uniform_median(plan))
