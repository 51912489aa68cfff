from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from atlas.metrics import METRICS, head_metrics, row_statistics
from atlas.metrics.selected_metrics import RowCutter, cut_plans, mass_on, needed_keys, selected_metrics
from tests.metrics.cases import CASES, Case, head_by_loops

ROWS = {"one": [9], "few": [1, 6, 9, 12], "the first": [0], "most": [0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 12], "all": list(range(14))}


class OnlyRows:
    """A case in which the other rows may see nothing, so that the loops leave them out."""

    def __init__(self, case, rows):
        self.__dict__ = dict(case.__dict__)
        self._case, self._rows = case, set(rows)

    def keys(self, i):
        return self._case.keys(i) if i in self._rows else []


def stats_of(case):
    return {name: values[None] for name, values in row_statistics(case.weights, case.plan).items()}


def received_by(case, rows):
    informative = [i for i in rows if case.plan.informative[i]]
    return case.weights[:, informative].sum(1)[None]


def table_of(case, rows):
    rows = np.array(rows)
    plans = cut_plans([RowCutter.of(case.plan)], rows)
    return selected_metrics(stats_of(case), plans, rows, received_by(case, rows), case.tokens, case.key_tokens)


@pytest.mark.parametrize("rows", ROWS.values(), ids=ROWS)
@pytest.mark.parametrize("name", CASES)
def test_every_metric_of_some_rows_equals_plain_loops(name, rows):
    case = Case(name, seed=3)
    only = OnlyRows(case, rows)
    table = table_of(case, rows)
    if not any(len(only.keys(i)) > 1 for i in rows):
        # The first row of a causal model says nothing, and that is what is said of it.
        assert table[[name for name in METRICS if name != "learned_sink"]].isna().all(axis=None)
        return
    for head in range(case.heads):
        expected = head_by_loops(only, head)
        for metric in METRICS:
            if metric != "median":
                np.testing.assert_allclose(table[metric][head], expected.get(metric, np.nan), atol=1e-6, err_msg=metric)


@pytest.mark.parametrize("rows", [ROWS["few"], ROWS["most"]], ids=["few", "most"])
@pytest.mark.parametrize("name", [case for case in CASES if case != "sink"])
def test_chance_of_some_rows_is_that_of_uniform_attention(name, rows):
    case = Case(name, seed=4)
    case.weights = np.repeat(case.plan.uniform()[None], case.heads, 0)
    table = table_of(case, rows)
    for metric in METRICS:
        if metric != "median":
            np.testing.assert_allclose(table[metric], table[f"{metric}_uniform"], atol=1e-6, err_msg=metric)


@pytest.mark.parametrize("name", CASES)
def test_all_rows_are_the_whole_table(name):
    case = Case(name, seed=5)
    keys = None if case.same_axis else case.key_tokens
    whole = head_metrics(stats_of(case), case.plan, case.tokens, keys)
    pd.testing.assert_frame_equal(table_of(case, range(case.n_queries)), whole, atol=1e-12)


@pytest.mark.parametrize("keys", [[0], [4], [2, 3, 9]], ids=str)
@pytest.mark.parametrize("rows", ROWS.values(), ids=ROWS)
@pytest.mark.parametrize("name", CASES)
def test_mass_on_keys_equals_plain_loops(name, rows, keys):
    case = Case(name, seed=6)
    plans = cut_plans([RowCutter.of(case.plan)], np.array(rows))
    found = mass_on(np.array(keys), received_by(case, rows), plans)
    seeing = {i: [k for k in keys if case.sees(i, k)] for i in rows if len(case.keys(i)) > 1}
    seeing = {i: seen for i, seen in seeing.items() if seen}
    assert (found["selected_rows"] == len(seeing)).all()
    for head in range(case.heads):
        masses = [sum(case.weights[head, i, k] for k in seen) for i, seen in seeing.items()]
        shares = [len(seen) / len(case.keys(i)) for i, seen in seeing.items()]
        expected = (sum(masses) / len(masses), sum(shares) / len(shares)) if seeing else (math.nan, math.nan)
        np.testing.assert_allclose(found.loc[head, ["selected", "selected_uniform"]], expected, atol=1e-9)


def test_layers_keep_their_own_masks():
    full, window = Case("causal", seed=11), Case("window", seed=11)
    rows = np.array([8, 11])
    cutters = [RowCutter.of(case.plan) for case in (full, window)]
    names = [name for name in stats_of(full) if name in stats_of(window)]
    stats = {name: np.concatenate([stats_of(full)[name], stats_of(window)[name]]) for name in names}
    received = np.concatenate([received_by(full, rows), received_by(window, rows)])
    table = selected_metrics(stats, cut_plans(cutters, rows), rows, received, full.tokens, full.tokens)
    for layer, case in enumerate((full, window)):
        alone = table_of(case, rows).drop(columns="layer")
        here = table[table["layer"] == layer].drop(columns="layer").reset_index(drop=True)
        pd.testing.assert_frame_equal(here, alone)


def test_a_shared_plan_is_cut_once_and_lightly():
    case = Case("causal")
    cutter = RowCutter.of(case.plan)
    first, second = cut_plans([cutter, cutter], np.array([3, 4]))
    assert first is second
    assert cutter.plan.operands.templates.size == 0
    assert cutter.pairs.dtype == bool


def test_only_the_keys_somebody_asks_for_are_needed():
    tokens = pd.DataFrame({"token": ["the", "cat", ",", "ran", "."], "special": False})
    # The first key, the punctuation, and what is selected; nobody tagged words, so no set of words is asked for.
    assert needed_keys(tokens, np.array([3]), 1).tolist() == [0, 2, 3, 4]
    assert needed_keys(tokens, np.array([], dtype=int), 4).tolist() == [0, 2, 4]
    # From five rows on, a role can be told, and is held against all keys.
    assert needed_keys(tokens, np.array([], dtype=int), 5).tolist() == [0, 1, 2, 3, 4]
