"""Queries, keys and values of a head, against the model's own projections; and what gestures do."""

from __future__ import annotations

import functools

import holoviews as hv
import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from atlas.errors import NotCaptured, TooLarge
from atlas.ids import HeadId
from atlas.plots.vectors import TYPES
from atlas.state.qkv import POSITION, TYPE
from atlas.tracing import qkv as module
from atlas.tracing.qkv import ATTENTION, COSINE, KEY, QUERY, SCALED, VALUE, compared, joint_map, lengths, token_types, vectors_of
from atlas.views.qkv import QKView, VectorsView
from tests.engine.test_predict import model, traced
from tests.state.readers import single, workspace


@pytest.fixture(autouse=True)
def _bokeh():
    hv.extension("bokeh", logo=False)


def split(values, heads):
    """(head, token, width)"""
    return values[0].unflatten(-1, (heads, -1)).transpose(0, 1)


def bert(layer):
    own, state = model("BERT").hf.bert.encoder.layer[layer].attention.self, states("BERT", layer)
    return [split(getattr(own, name)(state), 4) for name in ("query", "key", "value")]


def gpt(layer):
    block = model("GPT-2").hf.transformer.h[layer]
    return [split(part, 4) for part in block.attn.c_attn(block.ln_1(states("GPT-2", layer))).split(32, dim=-1)]


def llama(layer, name="Llama"):
    """Two heads share a key, and queries and keys are rotated."""
    block = model(name).hf.model.layers[layer]
    state, own = block.input_layernorm(states(name, layer)), block.self_attn
    query, key, value = own.q_proj(state), own.k_proj(state), own.v_proj(state)
    cos, sin = model(name).hf.model.rotary_emb(state, torch.arange(state.shape[1])[None])
    query, key = apply_rotary_pos_emb(split(query, 4)[None], split(key, 2)[None], cos, sin)
    return [query[0], key[0].repeat_interleave(2, 0), split(value, 2).repeat_interleave(2, 0)]


def cross(layer):
    own = model("T5").hf.decoder.block[layer].layer[1]
    after = torch.tensor(traced("T5").vectors("residual_mid", "decoder", layer=layer).to_numpy())[None]
    read = torch.tensor(traced("T5").vectors("final_norm_out", "encoder").to_numpy()[0])[None]
    attention = own.EncDecAttention
    return [split(attention.q(own.layer_norm(after)), 4), split(attention.k(read), 4), split(attention.v(read), 4)]


@functools.cache
def states(name, layer):
    return torch.tensor(traced(name).vectors("hidden", layer=layer).to_numpy())[None]


OWN = {
    "BERT": ("encoder", bert),
    "GPT-2": ("decoder", gpt),
    "Llama": ("decoder", llama),
    "Gemma2": ("decoder", functools.partial(llama, name="Gemma2")),
    "T5": ("cross", cross),
}


@pytest.mark.parametrize("name", OWN)
def test_vectors_cosines_products_and_attention_are_those_of_the_models_own_projections(name):
    kind, own = OWN[name]
    trace = traced(name)
    for layer, at in ((0, 0), (1, 3)):
        head = HeadId(kind, layer, at)
        with torch.no_grad():
            query, key, value = (part[at] for part in own(layer))
        found = vectors_of(trace, head)
        for mine, theirs in zip(found[:3], (query, key, value), strict=True):
            np.testing.assert_allclose(mine, theirs, atol=2e-4)
            np.testing.assert_allclose(lengths(mine), theirs.norm(dim=-1), rtol=1e-3)
        cosine = torch.nn.functional.cosine_similarity(query[:, None], key[None], dim=-1).numpy()
        scaled = query @ key.T * (1.0 if name == "T5" else 8**-0.5)
        scaled = 2.0 * torch.tanh(scaled / 2.0) if name == "Gemma2" else scaled  # capped softly
        weights = trace.attention(kind, layer, at).to_numpy()
        hidden = np.isnan(weights)
        assert hidden.any() == (kind == "decoder")
        for by, expected in ((COSINE, cosine), (SCALED, scaled.numpy()), (ATTENTION, weights)):
            np.testing.assert_allclose(compared(trace, head, by), np.where(hidden, np.nan, expected), atol=2e-3, rtol=1e-3)
    assert found.sharing == (2 if name in ("Llama", "Gemma2") else 1)


def test_the_map_is_the_pca_of_queries_and_keys_together():
    found = vectors_of(traced("Llama"), HeadId("decoder", 1, 2))
    made, pca = joint_map(found), PCA(2)
    expected = pca.fit_transform(np.concatenate([found.query, found.key]).astype(np.float64))
    np.testing.assert_allclose(np.abs(np.concatenate([made.query, made.key])), np.abs(expected), atol=1e-5)
    np.testing.assert_allclose(made.shares, pca.explained_variance_ratio_, rtol=1e-6)


def test_cosine_and_product_have_two_signs_and_the_readout_has_all_three_readings():
    room = workspace(traced("GPT-2"))
    view = QKView(room)
    head, n = HeadId("decoder", 0, 0), len(traced("GPT-2").tokens())
    assert view.plane.signed
    assert view.scale().ceiling == pytest.approx(1.0)
    view._pointed(1.5 / n, 3.5 / n)
    said = view.under.object
    for name, by in (("cosine", COSINE), ("q·k × scaling", SCALED), ("attention", ATTENTION)):
        value = f"{compared(traced('GPT-2'), head, by)[3, 1]:.3g}".replace("-", "−")
        assert f"{name} {value}" in said
    view._pointed(3.5 / n, 1.5 / n)
    assert "cosine N/A" in view.under.object  # the future is not compared
    room.choices_of("qkv").show = ATTENTION
    assert not view.plane.signed
    np.testing.assert_array_equal(view.plane.plane().whole, traced("GPT-2").attention(layer=0, head=0))
    room.selection.focus_on(HeadId("decoder", 2, 1))
    np.testing.assert_array_equal(view.plane.plane().whole, traced("GPT-2").attention(layer=2, head=1))
    view.tap(0.5 / n, 2.5 / n)
    assert (room.selection.queries, room.selection.keys) == ({2}, {0})


def test_the_marks_are_the_vectors_and_picking_them_selects_their_tokens():
    room = workspace(traced("T5"))
    room.selection.show_kind("cross")
    view = VectorsView(room)
    found = vectors_of(traced("T5"), room.selection.focus)
    n_queries, n_keys = len(found.query), len(found.key)
    marks = view._lengths().Points.I.data
    np.testing.assert_allclose(marks["y"], np.concatenate([lengths(part) for part in found[:3]]))
    on_map = view._map()
    np.testing.assert_allclose(on_map.data["x"], np.concatenate([part[:, 0] for part in joint_map(found)[:2]]))
    assert list(on_map.data["about"].str.split(",").str[0]) == [QUERY] * n_queries + [KEY] * n_keys
    view._picked([1, 4, n_queries, n_queries + 2])
    assert (room.selection.queries, room.selection.keys) == ({1, 4}, {0, 2})
    assert view.points().chosen == [1, 4, n_queries, n_queries + 2]
    table = view.export().table
    assert len(table) == n_queries + 2 * n_keys
    row = table[(table["vector"] == VALUE) & (table["position"] == 3)].iloc[0]
    assert row["length"] == lengths(found.value)[3]


def test_colours_say_position_or_type():
    room = workspace(traced("BERT"))
    view, choices = VectorsView(room), room.choices_of("qkv")
    n = len(traced("BERT").tokens())
    choices.colour = POSITION
    colours = view._map().data["colour"].tolist()
    assert colours[:n] == colours[n:]
    assert len(set(colours)) == n
    choices.colour = TYPE
    types = token_types(traced("BERT"), "source")
    assert types[0] == types[-1] == "special tokens"
    assert view._map().data["colour"].tolist() == [TYPES[kind].colour for kind in types] * 2
    assert all(kind in view._key(0) for kind in types)
    assert len({how.colour for how in TYPES.values()}) == len(TYPES)  # the shape says query or key


def test_who_has_no_queries_and_too_many_pairs_say_so(monkeypatch):
    assert "holds weights only" in QKView.fits(single())
    with pytest.raises(NotCaptured, match="holds weights only"):
        vectors_of(single(), HeadId("encoder", 0, 0))
    assert QKView.fits(traced("BERT")) == VectorsView.fits(traced("BERT")) == ""
    monkeypatch.setattr(module, "QK_CELLS", 20)
    with pytest.raises(TooLarge, match="Matrix"):
        compared(traced("BERT"), HeadId("encoder", 0, 0), COSINE)
