"""The diagram of the model: what stands in its blocks, where they stand, and what a tap does."""

from __future__ import annotations

import functools
import re

import holoviews as hv
import pytest
import torch

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


LAYERS = {
    "BERT": {"encoder": "bert.encoder.layer"}, "RoBERTa": {"encoder": "roberta.encoder.layer"},
    "DistilBERT": {"encoder": "distilbert.transformer.layer"}, "ModernBERT": {"encoder": "model.layers"},
    "GPT-2": {"decoder": "transformer.h"}, "GPT-NeoX": {"decoder": "gpt_neox.layers"}, "Llama": {"decoder": "model.layers"},
    "Mistral": {"decoder": "model.layers"}, "Gemma2": {"decoder": "model.layers"},
    "T5": {"encoder": "encoder.block", "decoder": "decoder.block"},
    "BART": {"encoder": "model.encoder.layers", "decoder": "model.decoder.layers"},
}  # fmt: skip
FUSED = {"c_attn": 3, "query_key_value": 3, "Wqkv": 3, "Wi": 2}
"""Maps that hold several in one, beside each other."""


@functools.cache
def modules_of(name, kind):
    """Of layer 1 in a plain run: its norms, attention and feed-forward in the order in which they run; the maps' sizes."""
    trace = traced(name)
    hf = trace.live.model.hf
    layers = hf.get_submodule(LAYERS[name][kind])
    order, sizes, handles = [], {"attention": set(), "ffn": set()}, []

    def heard(module, at):
        def hook(*_):
            norm = "Norm" in type(module).__name__ and sum(1 for _ in module.parameters())
            part = "norm" if norm else "attention" if "att" in at.lower() else "ffn"
            if norm or not order or order[-1] != part:
                order.append(part)
            if not norm:
                weight = module.weight.T if type(module).__name__ == "Conv1D" else module.weight
                parts = FUSED.get(at.rpartition(".")[2], 1)
                sizes[part].add((weight.shape[0] // parts, weight.shape[1]))

        return hook

    for at, module in layers[1].named_modules():
        if isinstance(module, torch.nn.Linear) or type(module).__name__ == "Conv1D" or "Norm" in type(module).__name__:
            handles.append(module.register_forward_hook(heard(module, at)))
    given = {"input_ids": torch.tensor([trace.tokens()["id"].tolist()])}
    given |= {"decoder_input_ids": torch.tensor([trace.tokens("target")["id"].tolist()])} if "cross" in trace.kinds else {}
    with torch.no_grad():
        hf(**given)
    for handle in handles:
        handle.remove()
    return order, sizes, len(layers)


def sizes_in(words):
    return {tuple(int(each.replace(",", "")) for each in pair) for pair in re.findall(r"([\d,]*\d) × ([\d,]*\d)", words)}


@pytest.mark.parametrize(("name", "kind"), [(name, kind) for name, kinds in LAYERS.items() for kind in kinds])
def test_the_diagram_is_the_module_tree_as_it_runs(name, kind):
    room, view = shown(name)
    room.selection.focus_on(HeadId(kind, 1, 0))
    order, sizes, n_layers = modules_of(name, kind)
    row = next(row for row in view.diagram.rows() if row.kind == kind)
    assert (row.at, row.n_layers) == (1, n_layers)
    parts = {"norm": "norm", "qkv": "attention", "ffn": "ffn"}
    assert [parts[node.role] for node in row.layer if node.role in parts] == order
    assert set().union(*(sizes_in(node.formula) for node in row.layer if node.role in ("qkv", "attention"))) == sizes["attention"]
    assert set().union(*(sizes_in(node.formula) for node in row.layer if node.role == "ffn")) == sizes["ffn"]
    hf = traced(name).live.model.hf
    table = next(node for node in row.head if node.key == f"{kind}.tokens")
    assert sizes_in(table.formula) == {tuple(hf.get_input_embeddings().weight.shape)}
    for node in view.diagram.nodes():
        if node.key == "out":
            assert sizes_in(node.formula) == {tuple(hf.get_output_embeddings().weight.shape)}


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
