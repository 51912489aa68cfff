"""The units of feed-forward blocks, against the model's own modules, hooked by hand; and what a gesture does."""

from __future__ import annotations

import functools

import holoviews as hv
import numpy as np
import pytest
import torch

from atlas.engine.running.feed_forward import feed_forward_units
from atlas.errors import NotCaptured
from atlas.ids import HeadId
from atlas.state.workspace import Workspace
from atlas.tasks import TASKS
from atlas.tracing.feed_forward import HELD, holding_share, without_units
from atlas.tracing.stream_writes import ordinary_positions
from atlas.views.feed_forward import FeedForwardView
from tests.engine.test_predict import model, traced
from tests.state.readers import never, single


@pytest.fixture(autouse=True)
def _bokeh():
    hv.extension("bokeh", logo=False)


def gemma_logits(hf, state):
    """Its logits are capped softly."""
    cap = hf.config.final_logit_softcapping
    return torch.tanh(hf.lm_head(hf.model.norm(state)) / cap) * cap


LAYER, POSITIONS = 1, (1, 3, 4)

DOWN = {
    "BERT": lambda hf: [each.output.dense for each in hf.bert.encoder.layer],
    "GPT-2": lambda hf: [each.mlp.c_proj for each in hf.transformer.h],
    "Llama": lambda hf: [each.mlp.down_proj for each in hf.model.layers],
    "Gemma2": lambda hf: [each.mlp.down_proj for each in hf.model.layers],
    "T5": lambda hf: [each.layer[2].DenseReluDense.wo for each in hf.decoder.block],
    "gpt-mini": lambda hf: [each.mlp.c_proj for each in hf.transformer.h],
}
GATES = {
    "BERT": lambda hf: [each.intermediate.dense for each in hf.bert.encoder.layer],
    "GPT-2": lambda hf: [each.mlp.c_fc for each in hf.transformer.h],
    "Llama": lambda hf: [each.mlp.gate_proj for each in hf.model.layers],
    "Gemma2": lambda hf: [each.mlp.gate_proj for each in hf.model.layers],
    "T5": lambda hf: [each.layer[2].DenseReluDense.wi for each in hf.decoder.block],
    "gpt-mini": lambda hf: [each.mlp.c_fc for each in hf.transformer.h],
}
FUNCTIONS = {
    "BERT": "gelu",
    "GPT-2": "gelu_new",
    "Llama": "silu",
    "Gemma2": "gelu_pytorch_tanh",
    "T5": "relu",
    "gpt-mini": "gelu_pytorch_tanh",
}
GATED = ("Llama", "Gemma2")
READ_BY = {
    "GPT-2": lambda hf, state: hf.lm_head(hf.transformer.ln_f(state)),
    "gpt-mini": lambda hf, state: hf.lm_head(hf.transformer.ln_f(state)),
    "Llama": lambda hf, state: hf.lm_head(hf.model.norm(state)),
    "Gemma2": gemma_logits,
}


def kind_of(name):
    return "decoder" if "decoder" in traced(name).kinds else "encoder"


@functools.cache
def units_of(name):
    return feed_forward_units(traced(name), kind_of(name), LAYER, POSITIONS)


@functools.cache
def hooked(name):
    """(activations, pre-activations) of every layer as (position, unit)."""
    hf, acts, pres = model(name).hf, [], []
    handles = [each.register_forward_pre_hook(lambda _, args: acts.append(args[0][0])) for each in DOWN[name](hf)]
    handles += [each.register_forward_hook(lambda _, __, out: pres.append(out[0])) for each in GATES[name](hf)]
    ids = {"input_ids": torch.tensor([traced(name).tokens()["id"].tolist()])}
    if "cross" in model(name).kinds:
        ids["decoder_input_ids"] = torch.tensor([traced(name).tokens("target")["id"].tolist()])
    with torch.no_grad():
        hf(**ids)
    for handle in handles:
        handle.remove()
    return acts, pres


@pytest.mark.parametrize("name", DOWN)
def test_units_activations_and_shares_are_those_of_the_models_own_modules(name):
    found, (acts, pres) = units_of(name), hooked(name)
    at = list(POSITIONS)
    mean = acts[LAYER][at].double().mean(0)
    order = mean.abs().argsort(descending=True)[: len(found.units)]
    np.testing.assert_allclose(np.abs(found.activations), mean.abs()[order], atol=1e-4)
    np.testing.assert_allclose(found.activations, mean[list(found.units)], atol=1e-4)
    np.testing.assert_allclose(found.firing, [(pre[at] > 0).double().mean() for pre in pres], atol=1e-6)
    for layer, act in enumerate(acts):
        needed = []
        for row in act[at].abs().double().numpy():
            sizes, count = np.sort(row)[::-1], 1
            while sizes[:count].sum() < HELD * row.sum():
                count += 1
            needed.append(count / len(row))
        assert found.holding[layer] == pytest.approx(np.mean(needed), abs=1 / acts[0].shape[-1])
    assert (found.function, found.gated) == (FUNCTIONS[name], name in GATED)
    weight = DOWN[name](model(name).hf)[LAYER].weight.detach()
    rows = weight if name in ("GPT-2", "gpt-mini") else weight.T
    np.testing.assert_allclose(found.lengths, rows[list(found.units)].norm(dim=-1), rtol=1e-4)
    assert found.n_units == len(rows)


@pytest.mark.parametrize("name", READ_BY)
def test_a_unit_promotes_what_its_row_raises_through_the_models_own_norm_and_unembedding(name):
    found, hf = units_of(name), model(name).hf
    weight = DOWN[name](hf)[LAYER].weight.detach()
    rows = weight if name not in GATED else weight.T
    for unit, value, promoted, suppressed in zip(found.units, found.activations, found.promotes, found.suppresses, strict=True):
        with torch.no_grad():
            state = torch.stack([rows[unit] * float(np.sign(value)), torch.zeros_like(rows[unit])])
            change = torch.subtract(*READ_BY[name](hf, state))
        order = change.argsort(descending=True).numpy()
        names = model(name).outcome_names
        assert list(promoted) == names(order[:4]).tolist()
        assert list(suppressed) == names(order[::-1][:4]).tolist()


def opened(name):
    room = Workspace(never, tasks=TASKS)
    room.pipeline.show(traced(name))
    return room, FeedForwardView(room)


def test_the_view_shows_the_layer_in_focus_and_a_tap_moves_it():
    room, view = opened("GPT-2")
    view.body()
    found = feed_forward_units(traced("GPT-2"), "decoder", 0, ordinary_positions(traced("GPT-2"), "decoder"))
    (group,) = view.bars.groups
    assert [row["label"] for row in group["rows"]] == [f"unit {unit}" for unit in found.units]
    assert group["rows"][0]["number"] == f"{found.activations[0]:.3g}".replace("-", "−")
    said = view.units.note().splitlines()
    assert len(said) == len(found.units)
    assert said[0].startswith(f"unit {found.units[0]} promotes '{found.promotes[0][0].strip()}', ")
    assert said[0].endswith(f", '{found.suppresses[0][-1].strip()}'")
    assert view.lens.line.startswith("Layer 0: 128 units, gelu_new; mean of")
    marks = view._shares().Points.I.data
    np.testing.assert_allclose(marks["y"], np.concatenate([found.firing, found.holding]))
    assert hv.render(view._shares()).x_range.end == len(found.firing) - 0.5, "no place is left for an end that no unit has"
    before = view.lens.revision
    room.selection.focus_on(HeadId("decoder", 0, 2))
    assert view.lens.revision == before  # another head of the same layer
    view._tapped(2.2, 0.5)
    assert room.selection.focus == HeadId("decoder", 2, 2)
    room.selection.select_tokens([1, 3, 4])
    view._tapped(1.0, 0.5)
    np.testing.assert_array_equal(view.units.found().units, units_of("GPT-2").units)
    view._tapped(3.0, 0.5)  # the end is no layer
    assert room.selection.focus.layer == 1
    table = view.export().table
    assert table["promotes"].tolist() == [" ".join(row) for row in units_of("GPT-2").promotes]


def test_an_encoder_that_the_unembedding_does_not_read_has_units_without_tokens():
    room, view = opened("T5")
    assert view.units.found().promotes == ()
    assert "does not read this stream" in view.units.note()
    room.selection.show_kind("cross")
    assert view.units.found().kind == "decoder"
    assert view.units.note().startswith("unit ")


def test_few_units_hold_most_where_most_do_nothing():
    assert holding_share(np.eye(4, 10)) == pytest.approx(0.1)
    assert holding_share(np.ones((2, 10))) == pytest.approx(0.9)
    assert np.isnan(holding_share(np.zeros((2, 10))))


def test_who_has_no_units_says_why():
    assert "model of this trace is not here" in FeedForwardView.fits(single())
    assert "mixture of experts" in without_units(traced("GPT-OSS"))
    with pytest.raises(NotCaptured, match="mixture of experts"):
        feed_forward_units(traced("GPT-OSS"), "decoder", 0, [1])
