"""What a head writes, against the model's own modules: values, output projection, final norm and unembedding by hand."""

from __future__ import annotations

import holoviews as hv
import numpy as np
import pytest
import torch

import atlas
from atlas.engine.running.head_readings import head_readings
from atlas.errors import NotCaptured
from atlas.ids import HeadId
from atlas.state.workspace import Workspace
from atlas.tasks import TASKS
from atlas.tracing.head_readings import without_readings
from atlas.tracing.token_scores import received
from atlas.views.head_readings import HeadReadingsView
from tests.engine.test_predict import model, traced
from tests.state.readers import never, single
from tests.views.test_feed_forward import READ_BY

LAYER, HEAD, KEYS = 1, 1, (1, 3, 4)


@pytest.fixture(autouse=True)
def _bokeh():
    hv.extension("bokeh", logo=False)


def gpt2(block, width):
    """(value of every token, output projection) of a head of GPT-2."""
    seen = []
    handle = block.attn.c_attn.register_forward_hook(lambda _, __, out: seen.append(out[0]))
    part = slice(HEAD * width, (HEAD + 1) * width)
    return handle, lambda: seen[0].chunk(3, dim=-1)[2][:, part], block.attn.c_proj.weight[part]


def llama(block, width):
    """The same for Llama and Gemma, whose heads may share values."""
    seen, attention = [], block.self_attn
    handle = attention.v_proj.register_forward_hook(lambda _, __, out: seen.append(out[0]))
    group = HEAD // attention.num_key_value_groups
    values = slice(group * width, (group + 1) * width)
    return handle, lambda: seen[0][:, values], attention.o_proj.weight.T[HEAD * width : (HEAD + 1) * width]


@pytest.mark.parametrize("name", ["GPT-2", "gpt-mini", "Llama"])
def test_what_is_raised_is_what_the_models_own_modules_raise(name):
    hf, trace = model(name).hf, traced(name)
    heads = trace.attention_of("decoder").layers[LAYER].value.shape[-1]
    block = hf.model.layers[LAYER] if name == "Llama" else hf.transformer.h[LAYER]
    handle, values, projection = (llama if name == "Llama" else gpt2)(block, heads)
    ids = torch.tensor([trace.tokens()["id"].tolist()])
    with torch.no_grad():
        hf(ids)
        handle.remove()
        written = values()[list(KEYS)] @ projection
        change = READ_BY[name](hf, written) - READ_BY[name](hf, torch.zeros_like(written))
    found = head_readings(trace, HeadId("decoder", LAYER, HEAD), KEYS)
    order = change.argsort(dim=-1, descending=True).numpy()
    names = model(name).outcome_names
    assert found.promoted.tolist() == [names(row[: found.promoted.shape[1]]).tolist() for row in order]
    assert found.suppressed.tolist() == [names(row[::-1][: found.suppressed.shape[1]]).tolist() for row in order]
    np.testing.assert_allclose(found.raised, change.sort(dim=-1, descending=True).values[:, : found.raised.shape[1]], atol=1e-3)
    np.testing.assert_allclose(found.lengths, written.norm(dim=-1), rtol=1e-4)
    own = [int(np.flatnonzero(row == ids[0, at].item())[0]) + 1 for row, at in zip(order, KEYS, strict=True)]
    assert found.own_rank.tolist() == own
    assert found.n_tokens == change.shape[-1]


@pytest.mark.parametrize(("name", "kind"), [("BERT", "encoder"), ("T5", "cross"), ("T5", "decoder"), ("Gemma2", "decoder")])
def test_it_is_the_logit_lens_of_a_state_that_is_what_the_head_writes(name, kind):
    """Attention that is all on one token writes just this: a patched pattern says so, by the lens of the trace itself."""
    trace = traced(name)
    found = head_readings(trace, HeadId(kind, LAYER, HEAD), KEYS)
    layer = trace.attention_of(kind).layers[LAYER]
    written = layer.value[layer.key_head(HEAD)][list(KEYS)] @ trace.captured("output_projection")[kind, LAYER][HEAD]
    logits = trace.live.unembed(np.concatenate([written, np.zeros_like(written[:1])]).astype(np.float32))
    change = logits[:-1] - logits[-1]
    np.testing.assert_allclose(found.raised, -np.sort(-change, axis=-1)[:, : found.raised.shape[1]], atol=1e-3)


def test_encoder_heads_of_an_encoder_decoder_and_recordings_say_why_not():
    assert "the encoder's" in without_readings(traced("T5"), "encoder")
    with pytest.raises(NotCaptured, match="cannot be read as tokens"):
        head_readings(traced("T5"), HeadId("encoder", 0, 0), (1,))
    assert "cannot be read as tokens" in HeadReadingsView.fits(single())
    assert HeadReadingsView.fits(traced("T5")) == ""


def opened(trace):
    room = Workspace(never, tasks=TASKS)
    room.pipeline.show(trace)
    return room, HeadReadingsView(room)


def test_the_view_shows_the_tokens_the_head_looks_at_most_and_a_press_selects_one():
    trace = atlas.load("gpt-mini").trace("Tom lost his red ball in the garden.", capture=())
    room, view = opened(trace)
    room.selection.focus_on(HeadId("decoder", 1, 4))
    view.body()
    most = np.argsort(-received(trace, [HeadId("decoder", 1, 4)]), kind="stable")[:6]
    assert [int(group["key"]) for group in view.bars.groups] == sorted(most.tolist())
    view._pressed({"group": 0, "key": "3"})
    assert (room.selection.keys, room.selection.queries) == (frozenset({3}), frozenset())
    (group,) = view.bars.groups
    found = head_readings(trace, HeadId("decoder", 1, 4), (3,))
    assert group["note"] == f"itself: {int(found.own_rank[0]):,} of {found.n_tokens:,}"
    assert [row["number"] for row in group["rows"]] == [f"{value:.3g}".replace("-", "−") for value in found.raised[0]]
    assert view.export().table["raised"].tolist() == found.raised.ravel().tolist()
    view._pressed({"group": 0, "key": "3"})
    assert not room.selection.keys
