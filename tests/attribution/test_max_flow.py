"""Attention flow: the maximum flow of the paper, by augmenting paths and by cuts written out, and what holds for any flow."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atlas.attribution import Target, attribute, max_flow
from atlas.attribution.flows import half, rolled_out
from atlas.errors import TooLarge
from tests.attribution.own import model, traced

EXACT = 1e-7
"""Rounding of all capacities on the way."""


def weights(layers, queries, keys, seed, *, causal=False):
    random = np.random.default_rng(seed)
    made = random.dirichlet(np.full(keys, 0.3), (layers, queries))
    if causal:
        made = np.tril(made) + 1e-12 * np.eye(queries)
        made /= made.sum(axis=-1, keepdims=True)
    return list(made)


def flow(rows, *steps):
    network = max_flow.pipes(np.asarray(rows, dtype=float), *steps)
    return max_flow.flows_to(network, network.own), max_flow.flows_to(network, network.source)


def augmented(network, sink):
    """Maximum flow by widest augmenting paths, in plain Python and floats."""
    room = {}
    for a, b, width in zip(network.start.tolist(), network.end.tolist(), network.capacity.tolist(), strict=True):
        room[a, b] = room.get((a, b), 0.0) + width
        room.setdefault((b, a), 0.0)
    beside = {}
    for a, b in room:
        beside.setdefault(a, []).append(b)
    total, source = 0.0, network.size - 1
    while True:
        reached, come = {source: np.inf}, {}
        open_ = {source}
        while open_:
            at = max(open_, key=reached.__getitem__)
            open_.remove(at)
            for to in beside.get(at, ()):
                width = min(reached[at], room[at, to])
                if width > max(reached.get(to, 0.0), 1e-12):
                    reached[to], come[to] = width, at
                    open_.add(to)
        if sink not in reached:
            return total
        at = sink
        while at != source:
            room[come[at], at] -= reached[sink]
            room[at, come[at]] += reached[sink]
            at = come[at]
        total += reached[sink]


def smallest_cut(network, sink):
    """The capacity of the smallest cut, over all of them."""
    inner = [node for node in range(network.size - 1) if node != sink]
    best = np.inf
    for chosen in itertools.product((False, True), repeat=len(inner)):
        above = np.zeros(network.size, dtype=bool)
        above[inner], above[-1] = chosen, True
        best = min(best, network.capacity[above[network.start] & ~above[network.end]].sum())
    return best


def test_the_flow_is_the_smallest_of_all_cuts():
    network = max_flow.pipes(np.array([0.3, 0.7, 0.0]), weights(3, 3, 3, 1))
    cuts = [smallest_cut(network, sink) for sink in network.own.tolist()]
    np.testing.assert_allclose(max_flow.flows_to(network, network.own), cuts, atol=EXACT)
    assert np.ptp(cuts) > 0.01
    both = max_flow.pipes(np.array([0.0, 1.0]), weights(1, 2, 2, 2), weights(1, 2, 3, 3), weights(2, 3, 3, 4))
    for sinks in (both.own, both.source):
        np.testing.assert_allclose(
            max_flow.flows_to(both, sinks), [smallest_cut(both, sink) for sink in sinks.tolist()], atol=EXACT
        )


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 4), st.integers(2, 7), st.integers(0, 10_000), st.booleans())
def test_rollout_is_a_distribution_that_identity_keeps_evenness_spreads_and_masks_bound(layers, tokens, seed, causal):
    steps, encoder, cross = (weights(layers, tokens, tokens, seed + at, causal=causal and not at) for at in range(3))
    one, two = rolled_out(steps).own, rolled_out(steps, cross, encoder)
    np.testing.assert_allclose(one.sum(axis=1), 1)
    np.testing.assert_allclose(two.own.sum(axis=1) + two.source.sum(axis=1), 1)
    assert min(each.min() for each in (one, *two)) >= 0
    if causal:
        assert (one[np.triu_indices(tokens, 1)] == 0).all()
        assert (two.own[np.triu_indices(tokens, 1)] == 0).all()
    np.testing.assert_array_equal(rolled_out([np.eye(tokens)] * layers).own, np.eye(tokens))
    even, stays = [np.full((tokens, tokens), 1 / tokens)] * layers, 0.5**layers
    np.testing.assert_allclose(rolled_out(even).own, stays * np.eye(tokens) + (1 - stays) / tokens)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 4), st.integers(2, 7), st.integers(0, 10_000), st.booleans())
def test_any_flow_is_that_of_augmenting_paths_and_below_every_layers_cut(layers, tokens, seed, causal):
    steps = weights(layers, tokens, tokens, seed, causal=causal)
    root = seed % tokens
    network = max_flow.pipes(np.eye(tokens)[root], steps)
    found = max_flow.flows_to(network, network.own)
    np.testing.assert_allclose(found, [augmented(network, sink) for sink in network.own.tolist()], atol=EXACT)
    assert (found <= half(steps[0]).sum(axis=0) + EXACT).all()
    assert (found <= 1 + EXACT).all()
    product = np.linalg.multi_dot([np.eye(tokens), *[half(step) for step in reversed(steps)], np.eye(tokens)])
    assert (found >= product[root] - EXACT).all()  # what rollout moves is a flow too
    if causal:
        assert (found[root + 1 :] == 0).all()


def test_nothing_flows_where_no_layer_mixes_and_all_is_equal_where_attention_is():
    for layers in (1, 3):
        np.testing.assert_array_equal(flow(np.eye(5)[2], [np.eye(5)] * layers)[0], np.eye(5)[2])
    even = [np.full((5, 5), 0.2)] * 3
    found = flow(np.eye(5)[2], even)[0]
    # One layer lets 1/10 through to another token and 6/10 to itself. Of three, the first lets everything through to the token
    # itself, and to another 4 x 1/10 from others and the 5/10 that reach it.
    np.testing.assert_allclose(flow(np.eye(5)[2], even[:1])[0], [0.1, 0.1, 0.6, 0.1, 0.1], atol=EXACT)
    np.testing.assert_allclose(found, [0.9, 0.9, 1.0, 0.9, 0.9], atol=EXACT)


@pytest.mark.parametrize("name", ["BERT", "GPT-2", "T5", "classifier"])
def test_the_flow_of_a_model_is_that_of_its_mean_weights(name):
    made, trace, told = model(name), traced(name), []
    found = attribute(made, trace, Target(-3), "attention_flow", progress=lambda *each: told.append(each))
    kinds = {
        kind: [np.nan_to_num(trace.attention(kind, i).to_numpy()).astype(float).mean(0) for i in range(trace.n_layers(kind))]
        for kind in trace.kinds
    }
    own = kinds.pop("decoder", None) or kinds["encoder"]
    others = (kinds["cross"], kinds["encoder"]) if "cross" in kinds else ()
    position = 0 if name == "classifier" else found.target.position  # the classifier reads [CLS]
    network = max_flow.pipes(np.eye(len(own[0]))[position], own, *others)
    sinks = [*network.source.tolist(), *network.own.tolist()]
    chosen = range(0, len(sinks), 7)
    np.testing.assert_allclose(
        found.tokens["score"].iloc[list(chosen)], [augmented(network, sinks[at]) for at in chosen], atol=1e-6
    )
    assert told[-1] == (len(sinks), len(sinks))
    assert "multiples of" in found.notes[0]


def test_more_tokens_than_the_ceiling_are_refused_with_what_to_do(monkeypatch):
    monkeypatch.setattr(max_flow, "FLOW_TOKENS", 10)
    with pytest.raises(TooLarge, match=r"10 are the most\. Take rollout"):
        attribute(model("GPT-2"), traced("GPT-2"), method="attention_flow")
