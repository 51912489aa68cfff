from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from atlas.errors import UnknownName
from atlas.metrics import METRICS
from atlas.metrics.keysets import key_sets
from atlas.metrics.shared_keys import MIN_ROWS, SHARED
from atlas.tracing.recorded import from_attention
from atlas.tracing.selected_heads import prepare, selected_heads
from tests.engine.families import TARGET, TEXT, loaded

WORDS = ["the", "cat", "saw", "the", "dog", ",", "and", "the", "dog", "ran", "."]


def traced(name, keep):
    model = loaded(name)
    more = {"target": TARGET} if "cross" in model.kinds else {}
    return model.trace(TEXT, keep=keep, capture=(), **more)


def by_hand(trace, kind, layer, head, queries):
    """Every row-based metric of one head over some rows, from the weights alone."""
    weights = trace.attention(kind, layer=layer, head=head).to_numpy().astype(np.float64)
    visible = ~np.isnan(weights)
    rows = [i for i in queries if visible[i].sum() > 1]
    keys = trace.tokens(trace.side(kind, "key"))
    special = keys["special"].to_numpy(bool)
    filled = np.nan_to_num(weights)
    n = visible.sum(1)
    masses = filled.sum(1)

    def mean(values, counted):
        chosen = [values[i] for i in rows if counted(i)]
        return np.mean(chosen) if chosen else np.nan

    def on(members):
        if members is None:
            return np.nan
        return mean(filled[:, members].sum(1), lambda i: (visible[i] & members).any())

    shares = filled / masses[:, None]
    entropy = -(shares * np.log(np.where(shares > 0, shares, 1))).sum(1)
    everywhere = lambda _: True
    cells = np.concatenate([weights[i][visible[i]] for i in rows])
    expected = {
        "entropy": mean(entropy, everywhere),
        "entropy_norm": mean(entropy / np.log(np.maximum(n, 2)), everywhere),
        "confidence_max": max(filled[i].max() for i in rows),
        "confidence_mean": mean(filled.max(1), everywhere),
        "sparsity": sum((weights[i][visible[i]] < (1 - 1e-6) / n[i]).sum() for i in rows) / len(cells),
        "uniformity": cells.std(),
        "special": on(special),
        "learned_sink": 1 - mean(masses, everywhere),
    }
    expected |= {name: on(members) for name, members in key_sets(keys).items()}
    if kind == "cross":
        return expected
    places, size = np.arange(len(weights)), len(weights)
    distance = np.abs(places[:, None] - places)
    for name, offset in (("self", 0), ("previous", -1), ("next", 1)):
        there = lambda i, o=offset: 0 <= i + o < size and visible[i, i + o]
        expected[name] = mean([filled[i, i + offset] if there(i) else 0 for i in places], there)
    expected["distance"] = mean((shares * distance).sum(1), everywhere)
    far = distance >= 5
    expected["long_range"] = mean((filled * far).sum(1), lambda i: (visible[i] & far[i]).any())
    ids = trace.token_tables[trace.side(kind, "query")]["id"].to_numpy()
    same = (ids[:, None] == ids) & ~special & ~special[:, None] & (places[:, None] > places)
    follow = np.zeros_like(same)
    follow[:, 1:] = same[:, :-1] & ~special[1:]
    if kind == "decoder":
        same[:, 0] = False
    for name, wanted in (("induction", follow), ("duplicate", same)):
        expected[name] = mean((filled * wanted).sum(1), lambda i, w=wanted: (visible[i] & w[i]).any())
    return expected


@pytest.mark.parametrize("keep", ["weights", "qk"])
@pytest.mark.parametrize("name", ["BERT", "GPT-2", "Gemma2", "GPT-OSS", "T5", "ModernBERT"])
def test_every_metric_equals_a_plain_recomputation(name, keep):
    trace = traced(name, keep)
    for kind in trace.kinds:
        n = trace.attention_of(kind).n_queries
        for queries in ([n - 1], [0, 2, n - 3], list(range(1, n - 1))):
            table = selected_heads(trace, kind, queries)
            assert table[["kind", "layer", "head"]].equals(selected_heads(trace, kind)[["kind", "layer", "head"]])
            for at in (0, len(table) - 1):
                row = table.iloc[at]
                expected = by_hand(trace, kind, int(row["layer"]), int(row["head"]), queries)
                for metric, value in expected.items():
                    np.testing.assert_allclose(row[metric], value, atol=2e-5, rtol=1e-4, err_msg=f"{kind} {queries} {metric}")
                assert set(METRICS) - set(expected) <= {"median", *(m for m in METRICS if np.isnan(row[m]))}


@pytest.mark.parametrize("name", ["GPT-2", "T5", "GPT-OSS"])
def test_kept_weights_and_recomputed_ones_say_the_same(name):
    held, light = traced(name, "weights"), traced(name, "qk")
    for kind in held.kinds:
        for queries, keys in (([3, 5], []), ([3, 5], [0, 4]), ([], [1]), (range(2, 9), [2])):
            one, other = (selected_heads(trace, kind, queries, keys) for trace in (held, light))
            pd.testing.assert_frame_equal(one, other, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ["GPT-2", "BERT"])
def test_chances_of_shared_keys_are_known_from_so_many_rows_as_a_role_takes(name):
    trace = traced(name, "weights")
    columns = [f"{role}_p" for role in SHARED]
    few, enough = (selected_heads(trace, None, range(3, 3 + n))[columns] for n in (MIN_ROWS - 1, MIN_ROWS))
    # Of fewer rows only some keys are read: their chances would be those of a head that leaves all others alone.
    assert few.isna().all(axis=None)
    assert enough.notna().any(axis=None)


@pytest.mark.parametrize("keep", ["weights", "qk"])
def test_nothing_selected_is_the_table_of_the_kind(keep):
    trace = traced("BART", keep)
    for kind in trace.kinds:
        # Medians take longer than all the rest, and are in `heads` alone.
        expected = trace.heads.query("kind == @kind").reset_index(drop=True).assign(median=np.nan)
        pd.testing.assert_frame_equal(selected_heads(trace, kind), expected, check_exact=True)


def test_all_queries_are_the_same_table_again():
    trace = traced("GPT-2", "qk")
    every = selected_heads(trace, "decoder", range(trace.attention_of().n_queries))
    pd.testing.assert_frame_equal(every, selected_heads(trace, "decoder"), atol=1e-5)


def test_selected_keys_get_what_the_weights_say():
    trace = traced("GPT-2", "qk")
    weights = trace.attention().to_numpy()
    whole = selected_heads(trace)
    n = weights.shape[-1]
    for queries, keys in (([], [4, 7]), ([5, 9, 10], [4, 7]), (range(n), [n - 1]), ([1, 2], [9])):
        found = selected_heads(trace, "decoder", queries, keys)
        rows = [i for i in (queries or range(n)) if i > 0 and i >= min(keys)]
        masses = np.nansum(weights[:, :, rows][..., list(keys)], axis=-1).mean(-1).reshape(-1) if rows else np.nan
        np.testing.assert_allclose(found["selected"], np.broadcast_to(masses, len(found)), atol=1e-5)
        chance = np.mean([sum(k <= i for k in keys) / (i + 1) for i in rows]) if rows else np.nan
        np.testing.assert_allclose(found["selected_uniform"], chance, atol=1e-9)
        assert (found["selected_rows"] == len(rows)).all()
        if not queries:
            # Columns alone change no other metric.
            pd.testing.assert_frame_equal(found[whole.columns], whole, check_exact=True)


def test_recorded_weights_do_as_well():
    rng = np.random.default_rng(0)
    weights = rng.dirichlet(np.ones(len(WORDS)), (2, 3, len(WORDS)))
    trace = from_attention(weights, WORDS)
    found = selected_heads(trace, "encoder", [2, 5], [1, 4])
    expected = weights[:, :, [2, 5]][..., [1, 4]].sum(-1).mean(-1).reshape(-1)
    np.testing.assert_allclose(found["selected"], expected, atol=1e-6)
    np.testing.assert_allclose(found["punctuation"], weights[:, :, [2, 5]][..., [5, 10]].sum(-1).mean(-1).reshape(-1), atol=1e-6)
    np.testing.assert_allclose(found["selected_uniform"], 2 / len(WORDS))


def test_positions_that_do_not_exist_are_named():
    trace = from_attention(np.full((1, 1, 3, 3), 1 / 3), ["a", "b", "c"])
    with pytest.raises(UnknownName, match="There is no query 3: this kind of attention has 3, counted from 0"):
        selected_heads(trace, "encoder", [0, 3])
    with pytest.raises(UnknownName, match="There is no key -1"):
        selected_heads(trace, "encoder", (), [-1])


def test_what_is_kept_goes_with_its_trace():
    import gc
    import weakref

    trace = from_attention(np.full((2, 1, 3, 3), 1 / 3), ["a", "b", "c"])
    cutters = prepare(trace, "encoder")
    assert prepare(trace, "encoder") is cutters
    assert cutters.layers[0] is cutters.layers[1]
    gone = weakref.ref(cutters.layers[0])
    del trace, cutters
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize("name", ["BERT", "GPT-2", "T5", "Llama", "Gemma2", "GPT-OSS"])
@pytest.mark.parametrize("keep", ["weights", "qk"])
def test_blocks_of_several_heads_are_those_of_each(name, keep):
    trace = traced(name, keep)
    for kind in trace.kinds:
        attention = trace.attention_of(kind)
        rows, columns = np.array([1, 3]), np.arange(1, attention.n_keys)
        for layer in range(len(attention.layers)):
            heads = np.arange(attention.n_heads)
            expected = [attention.block(layer, head, rows, columns) for head in heads.tolist()]
            np.testing.assert_allclose(attention.blocks(layer, heads, rows, columns), expected, atol=1e-6)
