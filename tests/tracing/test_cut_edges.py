"""Edges that a run knocked out are masked for their head, in the weights and in every number made of them."""

from __future__ import annotations

import numpy as np
import pytest

import atlas
from atlas.errors import BadIntervention
from atlas.ids import HeadId
from atlas.metrics.heads import METRICS, metrics_of
from atlas.tracing.selected_heads import selected_heads
from atlas.tracing.statistics import block_maxima
from atlas.tracing.token_scores import received, sent
from tests.engine.families import TARGET, TEXT, loaded

FAMILIES = ("BERT", "GPT-2", "Mistral", "T5")
"""Every query sees every key; the past; a window of it; two texts."""

KEPT = ("weights", "qk")


def whole_row(query, n_keys):
    return [(query, key) for key in range(n_keys)]


def cut_of(kind, sizes):
    """(head, query, key): a whole row of one head, two edges of another; the second layer keeps all but one edge."""
    edges = {(0, 1): whole_row(4, sizes[1]), (0, 3): [(5, 2), (6, 5)], (1, 0): [(3, 3)]}
    return [(HeadId(kind, *head), query, key) for head, cells in edges.items() for query, key in cells]


def cases():
    return [
        (name, kind, keep)
        for name in FAMILIES
        for kind in (("encoder", "decoder", "cross") if name == "T5" else ("encoder",) if name == "BERT" else ("decoder",))
        for keep in KEPT
    ]


def traced(name, kind, keep, **more):
    model = loaded(name)
    texts = {"target": TARGET} if "cross" in model.kinds else {}
    clean = model.trace(TEXT, keep=keep, capture=(), **texts).attention_of(kind)
    cut = cut_of(kind, (clean.n_queries, clean.n_keys))
    return clean, cut, model.trace(TEXT, keep=keep, capture=(), knock_out=cut, **texts, **more)


@pytest.mark.parametrize(("name", "kind", "keep"), cases())
def test_a_cut_edge_is_masked_and_not_a_weight_of_zero(name, kind, keep, tmp_path):
    clean, cut, trace = traced(name, kind, keep)
    attention = trace.attention_of(kind)
    opened = atlas.open(trace.save(tmp_path / "run.nc")).attention_of(kind)
    for layer in range(2):
        for head in range(attention.n_heads):
            hidden = np.isnan(clean.block(layer, head))
            for at, query, key in cut:
                hidden[query, key] |= (at.layer, at.head) == (layer, head)
            np.testing.assert_array_equal(np.isnan(attention.block(layer, head)), hidden)
            np.testing.assert_array_equal(np.isnan(attention.block(layer, head, slice(2, 7), slice(1, 6))), hidden[2:7, 1:6])
            np.testing.assert_array_equal(np.isnan(attention.block(layer, head, np.array([6, 4]))), hidden[[6, 4]])
            np.testing.assert_array_equal(opened.block(layer, head), attention.block(layer, head))
            # On the Map as well: of a short text the thumbnails are the weights.
            small = attention.thumbnails[layer, head]
            np.testing.assert_allclose(small, block_maxima(attention.block(layer, head)), atol=1e-5)
            assert np.isnan(small[hidden]).all()


@pytest.mark.parametrize(("name", "kind", "keep"), cases())
def test_every_metric_of_a_head_that_lost_edges_is_over_what_was_left_to_it(name, kind, keep):
    _, _, trace = traced(name, kind, keep)
    table = trace.heads.query("kind == @kind").reset_index(drop=True)
    assert list(zip(table["layer"], table["head"], strict=True)) == [
        (layer, head) for layer in range(trace.n_layers(kind)) for head in range(trace.n_heads(kind))
    ]
    tokens, keys = (trace.tokens(trace.side(kind, axis)) for axis in ("query", "key"))
    for layer in range(2):
        for head in range(trace.n_heads(kind)):
            block = trace.attention(kind, layer=[layer], head=[head]).to_numpy()
            visible = ~np.isnan(block[0, 0])
            own = metrics_of(block, tokens, keys if kind == "cross" else None, visible=visible).iloc[0]
            row = table.query("layer == @layer and head == @head").iloc[0]
            # Whether a text is causal is read off its kind, where one head of it has lost the diagonal as well.
            skipped = {"induction", "duplicate"} | ({"median"} if keep == "qk" else set())
            for metric in METRICS:
                if metric not in skipped:
                    np.testing.assert_allclose(row[metric], own[metric], atol=2e-5, rtol=1e-4, err_msg=f"{layer} {head} {metric}")
                    uniform = f"{metric}_uniform"
                    np.testing.assert_allclose(row[uniform], own[uniform], atol=1e-6, err_msg=f"{layer} {head} {uniform}")
            if keep == "qk":
                assert np.isnan(row["median"])
            if (layer, head) == (0, 3):
                others = table.query("layer == @layer and head == 2").iloc[0]
                assert row["entropy_uniform"] < others["entropy_uniform"]


@pytest.mark.parametrize("keep", KEPT)
def test_a_head_that_lost_a_whole_row_has_no_learned_sink(keep):
    _, _, trace = traced("BERT", "encoder", keep)
    assert trace.heads["learned_sink"].max() <= 1e-5
    # By hand, with the lost row counted as one that gives everything to a sink: this is what was shown.
    assert 1 / len(trace.tokens()) > 0.04


@pytest.mark.parametrize(("name", "kind", "keep"), cases())
@pytest.mark.parametrize(("queries", "keys"), [((), (2, 3)), ((3, 4, 5, 6), ()), ((3, 5, 6), (2, 3)), ((4,), (2,))])
def test_selected_rows_and_columns_leave_cut_edges_out(name, kind, keep, queries, keys):
    _, _, trace = traced(name, kind, keep)
    table = selected_heads(trace, kind, queries, keys)
    weights = trace.attention(kind).to_numpy().astype(np.float64)
    for _, row in table.iterrows():
        own = weights[row["layer"], row["head"]]
        seen = ~np.isnan(own)
        rows = [i for i in (queries or range(len(own))) if seen[i].sum() > 1]
        logs = np.where(own > 0, np.log(np.where(own > 0, own, 1)), 0)
        entropy = [-np.nansum(own[i] * logs[i]) for i in rows]
        np.testing.assert_allclose(row["entropy"], np.mean(entropy) if rows else np.nan, atol=1e-4)
        chance = [np.log(seen[i].sum()) for i in rows]
        np.testing.assert_allclose(row["entropy_uniform"], np.mean(chance) if rows else np.nan, atol=1e-5)
        if keys:
            able = [i for i in rows if seen[i, list(keys)].any()]
            mass = np.mean([np.nansum(own[i, list(keys)]) for i in able]) if able else np.nan
            np.testing.assert_allclose(row["selected"], mass, atol=1e-5)
            assert row["selected_rows"] == len(able)
    if queries == (4,):
        assert np.isnan(table.query("layer == 0 and head == 1")["entropy"]).all()


@pytest.mark.parametrize(("name", "kind", "keep"), cases())
def test_what_a_token_receives_and_sends_is_over_the_edges_that_are_left(name, kind, keep):
    _, _, trace = traced(name, kind, keep)
    for head in (HeadId(kind, 0, 1), HeadId(kind, 0, 3)):
        own = trace.attention(kind, head.layer, head.head).to_numpy().astype(np.float64)
        for rows in ((), (4, 5, 6), (4,)):
            block = own[list(rows)] if rows else own
            expected = [np.nanmean(column) if not np.isnan(column).all() else np.nan for column in block.T]
            np.testing.assert_allclose(received(trace, [head], rows), expected, atol=1e-5)
        block = own[:, [2, 5]]
        expected = [np.nansum(row) if not np.isnan(row).all() else np.nan for row in block]
        np.testing.assert_allclose(sent(trace, [head], (2, 5)), expected, atol=1e-5)


def test_a_pattern_with_weight_on_a_cut_edge_is_refused():
    model = loaded("BERT")
    pattern = model.trace(TEXT).attention(layer=0, head=1).to_numpy()
    with pytest.raises(BadIntervention, match="from position 4 to 7, which this run knocks out"):
        model.trace(TEXT, patch={(0, 1): atlas.Pattern(pattern)}, knock_out=[((0, 1), 4, 7)])


def test_the_pattern_of_a_head_that_lost_a_whole_row_can_be_put_into_another_run():
    model = loaded("BERT")
    _, _, trace = traced("BERT", "encoder", "weights")
    pattern = trace.attention(layer=0, head=1).to_numpy()
    again = model.trace(TEXT, patch={(0, 1): atlas.Pattern(pattern)})
    np.testing.assert_allclose(again.attention(layer=0, head=1), np.nan_to_num(pattern), atol=1e-6)


def test_medians_are_in_the_table_where_the_weights_are_kept():
    for name in ("BERT", "GPT-2"):
        model = loaded(name)
        kept, made = model.trace(TEXT, keep="weights"), model.trace(TEXT, keep="qk")
        weights = kept.attention().to_numpy()
        informative = (~np.isnan(weights)).sum(-1) > 1
        expected = [np.nanmedian(weights[layer, head][informative[layer, head]]) for layer in range(3) for head in range(4)]
        np.testing.assert_allclose(kept.heads["median"], expected, rtol=1e-6)
        assert made.heads["median"].isna().all()
        np.testing.assert_allclose(made.medians().to_numpy().reshape(-1), expected, atol=1e-5)
    weights = np.random.default_rng(0).dirichlet(np.ones(6), (2, 3, 6))
    recorded = atlas.from_attention(weights, list("abcdef"))
    np.testing.assert_allclose(recorded.heads["median"], np.median(weights, axis=(2, 3)).reshape(-1), rtol=1e-5)
