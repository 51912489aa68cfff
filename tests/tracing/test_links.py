"""The strongest links of attention, against loops over single weights."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import atlas
from atlas.errors import TooLarge, UnknownName
from atlas.ids import HeadId
from atlas.metrics.links import needed, strongest
from atlas.tracing import links as module
from atlas.tracing.links import WORDS, head_links, layer_links, token_categories
from tests.engine.families import TARGET, TEXT, loaded

CASES = [
    ("BERT", "encoder"), ("GPT-2", "decoder"), ("Llama", "decoder"), ("T5", "encoder"), ("T5", "decoder"), ("T5", "cross"),
    ("gpt-mini", "decoder"),
]  # fmt: skip


@functools.cache
def traced(name, keep="weights"):
    model = atlas.load(name) if name.endswith("-mini") else loaded(name)
    return model.trace(TEXT, keep=keep, capture=(), **({"target": TARGET} if "cross" in model.kinds else {}))


def together(blocks, aggregate):
    """Mean or maximum over heads of what each may look at, cell by cell."""
    stacked = np.stack(blocks).astype(np.float64)
    known = ~np.isnan(stacked)
    if aggregate == "max":
        return np.where(known.any(0), np.where(known, stacked, -1).max(0), np.nan)
    return np.where(known.any(0), np.where(known, stacked, 0).sum(0) / np.maximum(known.sum(0), 1), np.nan)


def plain(trace, heads, aggregate, hidden=()):
    """(weight, query, key, chance) of every link in order of weight, and the mass that is left out."""
    weights = [trace.attention(head.kind, layer=head.layer, head=head.head).to_numpy() for head in heads]
    evenly = [np.where(np.isnan(each), np.nan, 1 / np.maximum((~np.isnan(each)).sum(1, keepdims=True), 1)) for each in weights]
    weight, chance = together(weights, aggregate), together(evenly, aggregate)
    rows = [
        (float(weight[q, k]), q, k, float(chance[q, k])) for q, k in np.ndindex(*weight.shape)
        if k not in hidden and not np.isnan(weight[q, k])
    ]  # fmt: skip
    return sorted(rows, key=lambda row: -row[0]), float(np.nansum(weight[:, list(hidden)]))


def agree(found, expected, left_out, most):
    assert found.cells == len(expected)
    assert found.mass == pytest.approx(sum(weight for weight, *_ in expected), rel=1e-5)
    assert found.left_out == pytest.approx(left_out, rel=1e-5, abs=1e-6)
    drawn = [row for row in expected if row[0] > 0][:most]
    assert len(found.weight) == len(drawn)
    np.testing.assert_allclose(found.weight, [weight for weight, *_ in drawn], rtol=1e-4, atol=1e-7)
    numbers = {(q, k): (weight, chance) for weight, q, k, chance in expected}
    for at in range(len(found.weight)):
        weight, chance = numbers.pop((int(found.query[at]), int(found.key[at])))
        assert (found.weight[at], found.chance[at]) == pytest.approx((weight, chance), rel=1e-4, abs=1e-7)
    for axis, sums in ((1, found.sent), (2, found.received)):
        for place, given_ in enumerate(sums):
            assert given_ == pytest.approx(sum(row[0] for row in expected if row[axis] == place), rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("aggregate", ["mean", "max"])
@pytest.mark.parametrize(("name", "kind"), CASES)
def test_links_weights_chance_and_masses_are_those_of_the_cells(name, kind, aggregate):
    trace = traced(name)
    heads = [HeadId(kind, 0, 0), HeadId(kind, 1, 1)]
    marks = trace.tokens(trace.side(kind, "key"))["special"].to_numpy(bool)
    hidden = [at for at, special in enumerate(marks) if special or (kind == "decoder" and at == 0)]
    for most in (7, 10_000):
        agree(head_links(trace, heads, aggregate, most=most), *plain(trace, heads, aggregate), most)
        cut = head_links(trace, heads, aggregate, without_sinks=True, most=most)
        agree(cut, *plain(trace, heads, aggregate, hidden), most)
        assert not set(cut.key.tolist()) & set(hidden)


@pytest.mark.parametrize(("name", "kind"), [case for case in CASES if case[1] != "cross"])
def test_layer_by_layer_a_layer_is_its_selected_heads_or_all_of_them(name, kind):
    trace = traced(name)
    layers, n_heads, chosen = trace.n_layers(kind), trace.n_heads(kind), [HeadId(kind, 1, 0), HeadId(kind, 1, 1)]
    found = layer_links(trace, kind, chosen, most=30 * layers)
    assert len(found) == layers
    for layer, links in enumerate(found):
        heads = chosen if layer == 1 else [HeadId(kind, layer, head) for head in range(n_heads)]
        agree(links, *plain(trace, heads, "mean"), 30)


@given(st.integers(0, 2**20), st.integers(1, 9), st.floats(0.01, 1), st.booleans())
def test_the_fewest_links_that_carry_the_share_are_kept(seed, size, share, some_masked):
    rng = np.random.default_rng(seed)
    weights = rng.random((size, size)).astype(np.float32)
    if some_masked:
        weights[rng.random((size, size)) < 0.4] = np.nan
    rows, columns = strongest(weights, size * size)
    found = weights[rows, columns]
    assert found.tolist() == sorted(weights[weights > 0].tolist(), reverse=True)
    mass = float(np.nansum(weights, dtype=np.float64))
    count = needed(found, mass, share)
    total = sum(map(float, found[:count]))
    assert total >= share * mass * (1 - 1e-4) or not count
    if count > 1:
        assert sum(map(float, found[: count - 1])) < share * mass
    assert (count == 0) == (not len(found))
    few = strongest(weights, 3)
    assert weights[few].tolist() == found[:3].tolist()


def test_chance_of_a_head_that_lost_edges_is_that_of_its_own_mask():
    cut = [(HeadId("encoder", 0, 1), 3, key) for key in range(2, 8)]
    trace = loaded("BERT").trace(TEXT, keep="weights", capture=(), knock_out=cut)
    for heads in ([HeadId("encoder", 0, 0)], [HeadId("encoder", 0, 1)], [HeadId("encoder", 0, 0), HeadId("encoder", 0, 1)]):
        agree(head_links(trace, heads, most=10_000), *plain(trace, heads, "mean"), 10_000)
    n = len(trace.tokens())
    alone = head_links(trace, [HeadId("encoder", 0, 1)], most=10_000)
    assert alone.cells == n * n - len(cut)
    assert set(alone.chance[alone.query == 3]) == {np.float32(1 / (n - len(cut)))}


def test_a_causal_model_has_no_link_to_the_future():
    links = head_links(traced("GPT-2"), [HeadId("decoder", 0, 0)], most=10_000)
    assert (links.key <= links.query).all()
    assert links.chance == pytest.approx(1 / (links.query + 1.0))


def test_what_is_too_much_is_refused_with_what_to_do(monkeypatch):
    trace = traced("BERT")
    n = len(trace.tokens())
    monkeypatch.setattr(module, "LINK_CELLS", 5 * n * n)
    head_links(trace, trace.head_ids[:5])
    with pytest.raises(TooLarge, match="Select fewer heads"):
        head_links(trace, trace.head_ids[:6])
    with pytest.raises(TooLarge, match="at most 0 million"):
        layer_links(trace, "encoder")


def test_cross_attention_has_no_flow_from_layer_to_layer():
    with pytest.raises(UnknownName, match="nothing goes from one layer to the next"):
        layer_links(traced("T5"), "cross")


def test_what_a_token_is():
    trace = loaded("BERT").trace("The cat ran, and . 5", keep="weights", capture=())
    names = dict(zip(trace.tokens()["token"], token_categories(trace, "source"), strict=True))
    assert (names["[CLS]"], names["cat"], names[","], names["."]) == ("special tokens", WORDS, "punctuation", "punctuation")
