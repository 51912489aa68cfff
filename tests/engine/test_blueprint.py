"""The blueprint of a model, against its configuration and its own modules, read by hand."""

from __future__ import annotations

import functools

import pytest

from atlas.engine.running.blueprint import blueprint
from tests.engine.families import VOCABULARY, loaded

LAYER, RMS = "LayerNorm", "RMSNorm"

POST = [("attention", "", "", LAYER), ("ffn", "", "", LAYER)]
PRE = [("attention", LAYER, "", ""), ("ffn", LAYER, "", "")]
PRE_RMS = [("attention", RMS, "", ""), ("ffn", RMS, "", "")]
POST_CROSS = [("attention", "", "", LAYER), ("cross", "", "", LAYER), ("ffn", "", "", LAYER)]

# norms of layer 1 | position kind | heads, key heads, width | ffn width, function, gated | final norm | segments
EXPECTED = {
    ("BERT", "encoder"): (POST, "learned", (4, 4, 8), (40, "gelu", False), "", 2),
    ("RoBERTa", "encoder"): (POST, "learned", (4, 4, 8), (40, "gelu", False), "", 2),
    ("DistilBERT", "encoder"): (POST, "learned", (4, 4, 8), (40, "gelu", False), "", None),
    ("ModernBERT", "encoder"): (PRE, "rotary", (4, 4, 8), (40, "gelu", True), LAYER, None),
    ("GPT-2", "decoder"): (PRE, "learned", (4, 4, 8), (128, "gelu_new", False), LAYER, None),
    ("GPT-NeoX", "decoder"): (PRE, "rotary", (4, 4, 8), (40, "gelu", False), LAYER, None),
    ("Llama", "decoder"): (PRE_RMS, "rotary", (4, 2, 8), (40, "silu", True), RMS, None),
    ("Mistral", "decoder"): (PRE_RMS, "rotary", (4, 2, 8), (40, "silu", True), RMS, None),
    ("Gemma2", "decoder"): ([("attention", RMS, RMS, ""), ("ffn", RMS, RMS, "")], "rotary", (4, 2, 8),
                            (40, "gelu_pytorch_tanh", True), RMS, None),
    ("T5", "encoder"): (PRE_RMS, "relative", (4, 4, 8), (40, "relu", False), RMS, None),
    ("T5", "decoder"): ([("attention", RMS, "", ""), ("cross", RMS, "", ""), ("ffn", RMS, "", "")], "relative", (4, 4, 8),
                        (40, "relu", False), RMS, None),
    ("BART", "encoder"): (POST, "learned", (4, 4, 8), (40, "gelu", False), "", None),
    ("BART", "decoder"): (POST_CROSS, "learned", (2, 2, 16), (40, "gelu", False), "", None),
    ("Marian", "encoder"): (POST, "sinusoidal", (4, 4, 8), (40, "gelu", False), "", None),
    ("Marian", "decoder"): (POST_CROSS, "sinusoidal", (2, 2, 16), (40, "gelu", False), "", None),
}  # fmt: skip


@functools.cache
def made(name):
    model = loaded(name)
    return blueprint(model), model.hf


@pytest.mark.parametrize("case", EXPECTED, ids=" ".join)
def test_norms_sizes_and_positions_are_those_of_the_modules(case):
    name, kind = case
    norms, positions, heads, inner, final, segments = EXPECTED[case]
    found, hf = made(name)
    stream = next(each for each in found.streams if each.kind == kind)
    layers = {"encoder": "encoder_layers", "decoder": "decoder_layers"}[kind]
    t5 = {"encoder": "num_layers", "decoder": "num_decoder_layers"}[kind] if name == "T5" else "num_hidden_layers"
    two_sided = name in ("BART", "Marian")
    assert len(stream.layers) == getattr(hf.config, layers if two_sided else t5)
    assert (stream.width, stream.token_width, stream.tokens) == (32, 32, hf.get_input_embeddings().weight.shape[0])
    assert (stream.positions, stream.segments, stream.final_norm) == (positions, segments, final)
    # Layer 1: ModernBERT's first layer has no norm of its own before its attention.
    blocks = stream.layers[1].blocks
    assert [block[:4] for block in blocks] == norms
    assert blocks[0].heads[:3] == heads
    assert blocks[-1].inner[:3] == inner
    assert stream.layers[1].parallel == (name == "GPT-NeoX")


def test_a_norm_that_does_nothing_is_no_norm():
    found, hf = made("ModernBERT")
    assert sum(1 for _ in hf.model.layers[0].attn_norm.parameters()) == 0
    assert found.streams[0].layers[0].blocks[0].before == ""


@pytest.mark.parametrize("name", dict.fromkeys(name for name, _ in EXPECTED))
def test_the_unembedding_is_tied_where_both_are_one_tensor(name):
    found, hf = made(name)
    last, first = hf.get_output_embeddings().weight, hf.get_input_embeddings().weight
    assert found.tied == (last is first)
    assert found.outcomes == last.shape[0] >= VOCABULARY
    assert found.head_width == last.shape[1]


def test_what_a_head_does_besides_its_last_map():
    for name, between, scale in (("BERT", True, 1), ("GPT-2", False, 1), ("ModernBERT", True, 1), ("T5", False, 32**-0.5)):
        found, _ = made(name)
        assert found.between == between
        assert found.scale == pytest.approx(scale)


def test_biases_and_caps_are_those_of_the_modules():
    for name, bias, cap, logits in (("GPT-2", True, None, None), ("Llama", False, None, None), ("Gemma2", False, 2.0, 30.0)):
        found, _ = made(name)
        heads = found.streams[0].layers[0].blocks[0].heads
        assert (heads.bias, heads.output_bias, heads.cap, found.cap) == (bias, bias, cap, logits)
