"""The diagram of the model: what stands in its blocks, where they stand, and what a tap does."""

from __future__ import annotations

import functools

import holoviews as hv
import pytest

from atlas.ids import HeadId
from atlas.plots.pipeline import at_point, placed
from atlas.state.workspace import Workspace
from atlas.tasks import TASKS
from atlas.views.pipeline import PipelineView
from tests.engine.families import TARGET, TEXT, loaded
from tests.state.readers import never, single


@pytest.fixture(autouse=True)
def _bokeh():
    hv.extension("bokeh", logo=False)


@functools.cache
def traced(name):
    model = loaded(name)
    return model.trace(TEXT, target=TARGET if "cross" in model.kinds else None, capture=())


def shown(name):
    room = Workspace(never, tasks=TASKS)
    room.pipeline.show(traced(name))
    return room, PipelineView(room)


def roles(row):
    return [node.key.partition(".")[2] for node in row.layer]


def tap(view, key):
    box = next(box for box in placed(view.lanes()).boxes if box.key == key)
    view._tapped(*box.middle)


ORDERS = {
    "BERT": ["attention.qkv", "attention.attention", "attention.add", "attention.after", "ffn.ffn", "ffn.add", "ffn.after"],
    "GPT-2": ["attention.before", "attention.qkv", "attention.attention", "attention.add", "ffn.before", "ffn.ffn", "ffn.add"],
    "GPT-NeoX": ["attention.before", "attention.qkv", "attention.attention", "ffn.before", "ffn.ffn", "add"],
    "Gemma2": ["attention.before", "attention.qkv", "attention.attention", "attention.inside", "attention.add", "ffn.before",
               "ffn.ffn", "ffn.inside", "ffn.add"],
}  # fmt: skip


@pytest.mark.parametrize("name", ORDERS)
def test_the_blocks_of_a_layer_stand_in_the_order_in_which_the_model_computes(name):
    _, view = shown(name)
    (row,) = view.diagram.rows()
    assert roles(row) == ORDERS[name]
    assert {node.key for node in row.layer if node.track} == (
        {"decoder.ffn.before", "decoder.ffn.ffn"} if "Neo" in name else set()
    )
    assert not view.problem


@pytest.mark.parametrize("name", [*ORDERS, "T5", "Llama"])
def test_no_two_blocks_overlap_and_every_block_can_be_tapped(name):
    _, view = shown(name)
    found = placed(view.lanes())
    boxes = [box for box in found.boxes if box.key]
    assert {node.key for node in view.diagram.nodes()} < {box.key for box in boxes}
    for at, one in enumerate(boxes):
        assert at_point(found, *one.middle) == one.key
        for other in boxes[at + 1 :]:
            apart = one.x1 <= other.x0 + 1e-9 or other.x1 <= one.x0 + 1e-9
            assert apart or one.y1 <= other.y0 + 1e-9 or other.y1 <= one.y0 + 1e-9, (one, other)
    inside = [found.low <= box.y0 and box.y1 <= found.high and box.x1 <= found.width for box in found.boxes]
    assert all(inside)
    hv.render(view._drawn())


def test_a_formula_holds_the_models_own_numbers_and_the_choice_is_in_the_link():
    room, view = shown("Llama")
    tap(view, "decoder.attention.qkv")
    layer = traced("Llama").live.model.hf.model.layers[0]
    q, k = (tuple(each.weight.shape) for each in (layer.self_attn.q_proj, layer.self_attn.k_proj))
    words = view.diagram.words()
    assert f"q = W_q x, W_q: {q[0]} × {q[1]}, 4 heads of 8" in words
    assert f"each: {k[0]} × {k[1]}, 2 heads of 8; 2 heads of queries share one of keys" in words
    assert room.choices_of("pipeline").block == "decoder.attention.qkv"
    tap(view, "decoder.ffn.ffn")
    assert f"W_down: {layer.mlp.down_proj.weight.shape[0]} × {layer.mlp.down_proj.weight.shape[1]}" in view.diagram.words()
    tap(view, "decoder.ffn.ffn")
    assert room.choices_of("pipeline").block == ""


def test_a_tap_on_a_layer_moves_the_focus_and_keeps_the_head():
    room, view = shown("T5")
    room.selection.focus_on(HeadId("cross", 0, 3))
    assert [row.at for row in view.diagram.rows()] == [0, 0]
    tap(view, "layer decoder 2")
    assert room.selection.focus == HeadId("cross", 2, 3)
    assert [row.at for row in view.diagram.rows()] == [1, 2]
    tap(view, "layer encoder 0")
    assert room.selection.focus == HeadId("encoder", 0, 3)


def test_keys_of_cross_attention_are_read_from_the_encoder():
    _, view = shown("BART")
    words = next(node.formula for node in view.diagram.nodes() if node.key == "decoder.cross.qkv")
    assert "k = W_k e + b" in words
    assert "encoder's last state" in words
    found = placed(view.lanes())
    box = next(box for box in found.boxes if box.key == "decoder.cross.qkv")
    assert any(line[2:] == (box.middle[0], box.y1) for line in found.lines)


def test_a_trace_without_its_model_has_no_diagram():
    assert "model itself" in PipelineView.fits(single())
    assert PipelineView.fits(traced("BERT")) == ""
