"""What layers add to the residual stream, against the model's own modules, hooked by hand; and what gestures do."""

from __future__ import annotations

import functools

import holoviews as hv
import numpy as np
import pytest
import torch
from bokeh.document import Document
from bokeh.events import Tap

import atlas
from atlas.errors import NotCaptured
from atlas.ids import HeadId
from atlas.state.stream_writes import CHANGE, StreamWritesLens
from atlas.tracing.stream_writes import ATTENTION, CROSS, FEED_FORWARD, STREAM, ordinary_positions, stream_writes, without_stream
from atlas.views.stream_writes import StreamWritesView
from tests.engine.test_predict import model, traced
from tests.state.readers import single, workspace


@pytest.fixture(autouse=True)
def _bokeh():
    hv.extension("bokeh", logo=False)


def _t5(hf):
    layers = [block.layer for block in hf.decoder.block]
    return [
        {ATTENTION: each[0].SelfAttention, CROSS: each[1].EncDecAttention, FEED_FORWARD: each[2].DenseReluDense, "mid": each[0],
         "mid 2": each[1], "layer": block}
        for each, block in zip(layers, hf.decoder.block, strict=True)
    ]  # fmt: skip


MODULES = {
    "BERT": lambda hf: [  # post-norm
        {ATTENTION: each.attention.output.dense, FEED_FORWARD: each.output.dense, "mid": each.attention, "layer": each}
        for each in hf.bert.encoder.layer
    ],
    "GPT-2": lambda hf: [  # pre-norm
        {ATTENTION: each.attn, FEED_FORWARD: each.mlp, "layer": each} for each in hf.transformer.h
    ],
    "Llama": lambda hf: [
        {ATTENTION: each.self_attn, FEED_FORWARD: each.mlp, "layer": each} for each in hf.model.layers
    ],
    "Gemma2": lambda hf: [  # a norm before and after each block
        {ATTENTION: each.post_attention_layernorm, FEED_FORWARD: each.post_feedforward_layernorm, "layer": each}
        for each in hf.model.layers
    ],
    "GPT-NeoX": lambda hf: [  # parallel
        {ATTENTION: each.attention, FEED_FORWARD: each.mlp, "layer": each} for each in hf.gpt_neox.layers
    ],
    "T5": _t5,
    "gpt-mini": lambda hf: [
        {ATTENTION: each.attn, FEED_FORWARD: each.mlp, "layer": each} for each in hf.transformer.h
    ],
}  # fmt: skip
PARALLEL = "GPT-NeoX"


@functools.cache
def hooked(name):
    """For each layer: what its modules gave, and what entered it, as (position, width)."""
    hf, seen = model(name).hf, []
    handles = []
    for modules in MODULES[name](hf):
        here = {}
        seen.append(here)

        def entering(_, args, kwargs, here=here):
            here["in"] = args[0] if args else kwargs["hidden_states"]

        handles.append(modules["layer"].register_forward_pre_hook(entering, with_kwargs=True))
        for part, module in modules.items():

            def leaving(_, __, output, part=part, here=here):
                here[part] = output if isinstance(output, torch.Tensor) else output[0]

            handles.append(module.register_forward_hook(leaving))
    ids = {"input_ids": torch.tensor([traced(name).tokens()["id"].tolist()])}
    if "cross" in model(name).kinds:
        ids["decoder_input_ids"] = torch.tensor([traced(name).tokens("target")["id"].tolist()])
    with torch.no_grad():
        hf(**ids)
    for handle in handles:
        handle.remove()
    return [{part: value[0].double() for part, value in here.items()} for here in seen]


def steps_of(name, here):
    """(block, what it writes, the state before, the state after) by the model's own modules."""
    if name == PARALLEL:
        return [(ATTENTION, here[ATTENTION], here["in"], None), (FEED_FORWARD, here[FEED_FORWARD], here["in"], None)]
    mid = here.get("mid", here["in"] + here[ATTENTION])
    last = here.get("mid 2", mid)
    cross = [(CROSS, here[CROSS], mid, last)] if CROSS in here else []
    return [(ATTENTION, here[ATTENTION], here["in"], mid), *cross, (FEED_FORWARD, here[FEED_FORWARD], last, here["layer"])]


@pytest.mark.parametrize("name", MODULES)
def test_the_numbers_are_those_of_the_models_own_modules(name):
    trace, layers = traced(name), hooked(name)
    stream = "decoder" if "decoder" in trace.kinds else "encoder"
    positions = (1, 3, 4)
    at = list(positions)
    found = stream_writes(trace, stream, positions)
    lengths = [here["in"].norm(dim=-1)[at].mean() for here in layers] + [layers[-1]["layer"].norm(dim=-1)[at].mean()]
    np.testing.assert_allclose(found.stream, lengths, rtol=1e-5)
    for layer, here in enumerate(layers):
        for block, added, before, after in steps_of(name, here):
            assert found.lengths[block][layer] == pytest.approx(float(added[at].norm(dim=-1).mean()), rel=1e-4)
            cosine = torch.nn.functional.cosine_similarity(added[at], before[at], dim=-1).mean()
            assert found.cosines[block][layer] == pytest.approx(float(cosine), abs=1e-4)
            if after is None:
                assert np.isnan(found.changes[block][layer])
            else:
                change = ((after - before).norm(dim=-1) / before.norm(dim=-1))[at].mean()
                assert found.changes[block][layer] == pytest.approx(float(change), rel=1e-3)
        whole = ((here["layer"] - here["in"]).norm(dim=-1) / here["in"].norm(dim=-1))[at].mean()
        assert found.changes[STREAM][layer] == pytest.approx(float(whole), rel=1e-3)
    assert (CROSS in found.lengths) == (name == "T5")
    assert bool(found.notes) == (name == PARALLEL)


def test_without_a_selection_special_tokens_and_the_first_of_a_decoder_are_left_out():
    bert, gpt = traced("BERT"), traced("GPT-2")
    special = bert.tokens()["special"].to_numpy(dtype=bool)
    assert ordinary_positions(bert, "encoder") == tuple(np.flatnonzero(~special))
    assert ordinary_positions(gpt, "decoder") == tuple(range(1, len(gpt.tokens())))
    room = workspace(gpt)
    lens = room.lens(StreamWritesLens)
    np.testing.assert_array_equal(lens.found().stream, stream_writes(gpt, "decoder", ordinary_positions(gpt, "decoder")).stream)
    assert lens.line.endswith("without special tokens and the first")
    room.selection.select_tokens([0], axis="to")
    np.testing.assert_array_equal(lens.found().stream, stream_writes(gpt, "decoder", (0,)).stream)
    assert lens.line.startswith("1 token: the")


def test_another_head_draws_nothing_and_cross_attention_has_the_decoders_stream():
    room = workspace(traced("T5"))
    view = StreamWritesView(room)
    assert view.writes.found().kind == "encoder"
    before = view.lens.revision
    room.selection.focus_on(HeadId("encoder", 1, 1))
    assert view.lens.revision == before
    room.selection.show_kind("cross")
    assert view.writes.found().kind == "decoder"
    room.selection.select_tokens([2], axis="to")  # a token of the source
    assert view.writes.selected() == ()
    room.selection.select_tokens([2], axis="from")
    assert view.writes.found().positions == (2,)


def test_the_points_are_the_numbers_and_a_tap_selects_the_heads_of_a_layer():
    room = workspace(traced("GPT-2"))
    view = StreamWritesView(room)
    found = view.writes.found()
    figure = hv.render(view._lengths())
    Document().add_root(figure)
    (points,) = [each.data_source.data for each in figure.renderers if type(each.glyph).__name__ == "Scatter"]
    np.testing.assert_allclose(points["y"], np.concatenate([found.stream, found.lengths[ATTENTION], found.lengths[FEED_FORWARD]]))
    assert list(points["name"])[2:5] == ["L2: residual stream", "end: residual stream", "L0: attention"]
    room.choices_of("stream").show = CHANGE
    below = view._below().Points.I.data
    np.testing.assert_allclose(below["y"], np.concatenate([found.changes[part] for part in (ATTENTION, FEED_FORWARD, STREAM)]))
    tap = Tap(figure, x=1.2, y=0.0)
    figure.document.callbacks.trigger_event(tap)
    assert room.selection.heads == {HeadId("decoder", 1, head) for head in range(4)}
    figure.document.callbacks.trigger_event(tap)
    assert room.selection.is_empty
    view._tapped(3.0, 0.0)  # the end is no layer
    assert room.selection.is_empty
    table = view.export().table
    row = table[(table["layer"] == 2) & (table["part"] == FEED_FORWARD)].iloc[0]
    assert (row["length"], row["cosine"]) == (found.lengths[FEED_FORWARD][2], found.cosines[FEED_FORWARD][2])


def test_a_saved_trace_keeps_it_and_a_recording_says_why_not(tmp_path):
    trace = traced("BERT")
    opened = atlas.open(trace.save(tmp_path / "trace.nc"))
    assert without_stream(opened) == ""
    np.testing.assert_array_equal(stream_writes(opened, "encoder", (1,)).stream, stream_writes(trace, "encoder", (1,)).stream)
    assert "holds no states" in StreamWritesView.fits(single())
    with pytest.raises(NotCaptured, match="holds no states"):
        stream_writes(single(), "encoder", (0,))
