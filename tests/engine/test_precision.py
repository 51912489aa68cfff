"""Numbers hold where they are hard: half precision, scores of thousands, alternating windows, live parameters."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from atlas.engine.loading.load import load
from tests.engine.families import BY_NAME, FAMILIES, TARGET, TEXT, Family


def arguments(model: Any) -> dict[str, Any]:
    return {"target": TARGET} if "cross" in model.kinds else {}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_half_precision(family: Family, dtype: torch.dtype) -> None:
    """Every family runs in half precision, statistics and all, and what is recomputed agrees to that precision."""
    hf = family.model().to(dtype)
    model = load((hf, family.tokenizer()))
    kept, recomputed = (model.trace(TEXT, keep=keep, **arguments(model)) for keep in ("weights", "qk"))
    assert kept.provenance["dtype"] == str(dtype).removeprefix("torch.")
    # Scores of about ten have two digits after the point in bfloat16, three in float16: so has a weight near 1/2.
    allowed = 4e-2 if dtype == torch.bfloat16 else 6e-3
    for kind in model.kinds:
        difference = np.abs(kept.attention(kind).to_numpy() - recomputed.attention(kind).to_numpy())
        assert np.nanmax(difference) <= allowed
        assert kept.attention(kind).dtype == np.float32
    assert kept.heads["entropy"].notna().all()


@pytest.mark.parametrize("scale", [300.0, 1000.0, 3000.0])
def test_scores_of_thousands(scale: float) -> None:
    """Subtracting a float32 log-sum-exp of 3,000 from such scores loses four digits of the weight; whole rows must not."""
    hf = BY_NAME["BERT"].model()
    model = load((hf, BY_NAME["BERT"].tokenizer()))
    top = float(np.nanmax(np.abs(model.trace(TEXT).scores(layer=0, head=0)["masked"])))
    with torch.no_grad():
        for layer in hf.bert.encoder.layer:
            layer.attention.self.query.weight.mul_(scale / top)
    kept, recomputed = (model.trace(TEXT, keep=keep, capture=()) for keep in ("weights", "qk"))
    assert float(np.abs(recomputed.scores(layer=0, head=0)["masked"]).max()) > scale / 2
    own, ours = kept.attention().to_numpy(), recomputed.attention().to_numpy()
    assert np.abs(own - ours).max() <= 1e-5
    column = recomputed.attention(keys=[3]).to_numpy()
    # One column goes through the kept log-sum-exp of its row, and rounds as its scores do.
    assert np.abs(own[..., [3]] - column).max() <= 1e-7 * 4 * scale
    spread = own.astype(np.float64)
    entropy = -(spread * np.log(np.where(spread > 0, spread, 1))).sum(-1)
    assert np.abs(kept.attention_of().stats["entropy"] - entropy).max() <= 1e-5


def test_layers_with_different_windows_are_read_alike() -> None:
    """Gemma alternates: a sliding layer's mask is no triangle, and its first key is no duplicate candidate either."""
    model = load((BY_NAME["Gemma2"].model(), BY_NAME["Gemma2"].tokenizer()))
    once = model.trace("the doctor said that she was tired the")
    table = once.heads  # only the first token is repeated: no candidate in a full layer, none in a sliding one
    assert table["duplicate"].isna().all()
    again = model.trace("a cat and a cat and a cat").heads
    assert again["duplicate"].notna().all()
    assert again.groupby("layer")["duplicate_rows"].first().nunique() <= 2


def test_a_training_step_leaves_a_trace_alone() -> None:
    """Sinks are the model's own parameter, output projections are views of one: a trace holds copies."""
    hf = BY_NAME["GPT-OSS"].model()
    model = load((hf, BY_NAME["GPT-OSS"].tokenizer()))
    trace = model.trace(TEXT, keep="qk", capture=("stream", "head_outputs"))
    before = trace.attention().to_numpy(), trace.vectors("head_output", layer=1).to_numpy()
    with torch.no_grad():
        for parameter in hf.parameters():
            parameter.add_(1.0)
    assert np.array_equal(before[0], trace.attention().to_numpy(), equal_nan=True)
    assert np.array_equal(before[1], trace.vectors("head_output", layer=1).to_numpy())


@pytest.mark.parametrize("name", ["GPT-NeoX", "ModernBERT", "GPT-2", "BERT"])
def test_a_trace_keeps_nothing_else_alive(name: str) -> None:
    """A view of a fused projection would keep three times what it shows."""
    model = load((BY_NAME[name].model(), BY_NAME[name].tokenizer()))
    for layer in model.trace(TEXT).attention_of().layers:
        for array in (layer.weights, layer.query, layer.key, layer.value):
            base = array
            while base.base is not None and isinstance(base.base, np.ndarray):
                base = base.base
            assert base.nbytes <= array.nbytes


def test_traces_cannot_be_written_into() -> None:
    trace = load((BY_NAME["BERT"].model(), BY_NAME["BERT"].tokenizer())).trace(TEXT)
    held = trace.attention_of()
    for array in (
        held.layers[0].weights,
        held.layers[0].query,
        held.stats["entropy"],
        held.thumbnails,
        trace.arrays["hidden"]["encoder", 0],
    ):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
    with pytest.raises(TypeError):
        trace.provenance["model"] = "another"


@pytest.mark.parametrize("name", ["BERT", "GPT-2", "Llama", "T5"])
def test_heads_add_up_to_what_attention_writes(name: str) -> None:
    """What the heads write and the output's bias, which no head wrote, are attention's contribution."""
    model = load((BY_NAME[name].model(), BY_NAME[name].tokenizer()))
    trace = model.trace(TEXT, capture=("stream", "head_outputs"), **arguments(model))
    for kind in model.kinds:
        for layer in range(trace.n_layers(kind)):
            parts = trace.vectors("head_output", kind, layer).to_numpy().sum(axis=0)
            bias = trace.captured("output_bias").get((kind, layer)) if "output_bias" in trace.held_arrays() else None
            whole = trace.vectors("attention_output", kind, layer).to_numpy()
            assert np.abs(parts + (0 if bias is None else bias) - whole).max() <= 1e-4 * np.abs(whole).max()
            assert np.abs(whole).max() > 0


def test_value_norms_are_of_what_is_moved() -> None:
    """||v W_O|| of every head and key, against the vectors themselves; keys that heads share count for each of them."""
    for name in ("BERT", "Llama"):
        model = load((BY_NAME[name].model(), BY_NAME[name].tokenizer()))
        trace = model.trace(TEXT, capture="head_outputs")
        kind = model.kinds[0]
        for layer in range(3):
            out = trace.captured("output_projection")[kind, layer]
            value = trace.vectors("value", kind, layer).to_numpy()
            by_hand = np.linalg.norm(np.einsum("hpw,hwd->hpd", value, out), axis=-1)
            assert np.allclose(trace.attention_of(kind).stats["value_norm"][layer], by_hand, rtol=1e-3)


def test_in_inference_mode() -> None:
    with torch.inference_mode():
        hf = BY_NAME["BERT"].model()
        model = load((hf, BY_NAME["BERT"].tokenizer()))
        inside = model.trace(TEXT).attention().to_numpy()
    outside = load((BY_NAME["BERT"].model(), BY_NAME["BERT"].tokenizer())).trace(TEXT).attention().to_numpy()
    assert np.array_equal(inside, outside)


def test_gemma_says_that_a_norm_follows_the_heads() -> None:
    model = load((BY_NAME["Gemma2"].model(), BY_NAME["Gemma2"].tokenizer()))
    assert any("what the heads write adds up before" in note for note in model.trace(TEXT).provenance["notes"])
