"""The parts are the model's own: on inputs the probe never saw they add up to the stream, in the way each family adds them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional

from atlas.engine.anatomy import internals
from atlas.engine.anatomy.records import ALL_TAPS, GROUPS
from atlas.errors import NotCaptured
from tests.engine.anatomies import MAKERS, OUTSIDE, UNREADABLE, Body, body, made, opened

EXACT = 1e-4
"""The share of its size by which a sum may be off."""

NO_TABLE = "ViT"
PARALLEL = ("GPT-NeoX", "Phi", "Cohere", "GPT-J")
POST_NORM = ("BERT", "RoBERTa", "DistilBERT", "ELECTRA", "ALBERT", "BART", "Marian", "OPT, post-norm", "BERT, one layer")
MIXTURES = ("GPT-OSS", "Mixtral")
NORM_AFTER_PROJECTION = ("Gemma2", "OLMo-2")
NO_LENS = ("BERT, labels", "ViT")


@pytest.fixture(params=[name for name in MAKERS if name != UNREADABLE])
def subject(request: pytest.FixtureRequest) -> Body:
    return opened(request.param)


def close(found: torch.Tensor, wanted: torch.Tensor, share: float = EXACT) -> bool:
    apart = torch.linalg.vector_norm(found - wanted, dim=-1)
    return found.shape == wanted.shape and bool((apart <= share * torch.linalg.vector_norm(wanted, dim=-1)).all())


def parts_of(total: internals.Sum, taps: dict[str, Any], layer: int) -> tuple[torch.Tensor, list[torch.Tensor]]:
    where = total.kind, layer
    whole = taps[total.total][total.kind, layer + 1] if total.leaves else taps[total.total][where]
    return whole, [taps[part][where] for part in total.parts]


def test_every_sum_holds_on_other_inputs(subject: Body) -> None:
    taps, _, _ = subject.tapped(subject.inputs())
    checked = 0
    for total in subject.anatomy.sums:
        for layer in range(1 if total.total == "embedding_sum" else subject.anatomy.streams[total.kind]):
            whole, parts = parts_of(total, taps, layer)
            assert close(sum(parts[1:], start=parts[0]), whole), f"{total} in layer {layer}"
            checked += 1
    assert checked >= 1 + sum(subject.anatomy.streams.values()) - (subject.name == NO_TABLE)


def test_every_part_matters(subject: Body) -> None:
    """Leaving out any one part is seen: otherwise the sums would prove nothing."""
    taps, _, _ = subject.tapped(subject.inputs())
    for total in subject.anatomy.sums:
        whole, parts = parts_of(total, taps, 0)
        for part in parts:
            assert not close(whole - part, whole, 10 * EXACT), total


def test_every_name_is_there_or_explained(subject: Body) -> None:
    anatomy = subject.anatomy
    for kind in anatomy.streams:
        assert {"hidden", "embedding", "attention_output", "ffn_out"} <= anatomy.names(kind), anatomy.missing
        if subject.name in PARALLEL:
            assert anatomy.schema[kind].startswith("parallel")
            assert "at once" in str(anatomy.why_absent("residual_mid", kind))
        else:
            assert "residual_mid" in anatomy.names(kind)
            assert anatomy.schema[kind].startswith("post-norm") == (subject.name in POST_NORM or subject.name.startswith("BERT"))
    if "decoder" in anatomy.streams and "encoder" in anatomy.streams:
        assert {"cross_output", "residual_cross"} <= anatomy.names("decoder")
        assert "3 additions" in anatomy.schema["decoder"]
    for name in ALL_TAPS:
        assert name in anatomy.names() or anatomy.absent[name], f"{name} is neither there nor explained"


def test_hidden_states_are_those_of_the_model(subject: Body) -> None:
    taps, output, _ = subject.tapped(subject.inputs())
    for kind, layers in subject.anatomy.streams.items():
        name = f"{kind}_hidden_states" if len(subject.anatomy.streams) > 1 else "hidden_states"
        theirs = getattr(output, name)
        assert len(theirs) == layers + 1
        for index in range(layers):
            assert torch.equal(taps["hidden"][kind, index], theirs[index])
        # Where there is a final norm, transformers' last hidden state is (mostly) the one after it.
        ours = [taps["hidden"][kind, layers], taps.get("final_norm_out", {}).get((kind, 0))]
        if subject.name == "OPT, post-norm":  # the one whose last hidden state is narrowed for the head
            ours = [subject.hf.model.decoder.project_out(ours[0])]
        assert any(one is not None and torch.equal(one, theirs[layers]) for one in ours)


def test_shapes_are_batch_position_width(subject: Body) -> None:
    inputs = subject.inputs()
    taps, _, _ = subject.tapped(inputs)
    for name, places in taps.items():
        for (kind, layer), value in places.items():
            own = "decoder" if kind == "cross" else kind
            stream = taps["hidden"][own, 0]
            assert value.shape[:2] == stream.shape[:2], (name, kind, layer)
            assert value.shape[2] == subject.anatomy.width(name, kind)


def test_two_rows_are_those_of_two_passes(subject: Body) -> None:
    """A model that flattens its batch, or shares positions between rows, gives every row its own."""
    inputs = subject.inputs()
    together, _, _ = subject.tapped(inputs)
    alone, _, _ = subject.tapped({name: value[1:] for name, value in inputs.items()})
    for name, places in alone.items():
        for place, value in places.items():
            torch.testing.assert_close(together[name][place][1:], value, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", [name for name in MAKERS if name not in OUTSIDE])
def test_heads_add_up_to_the_projection(name: str) -> None:
    subject = opened(name)
    taps, _, watched = subject.tapped(subject.inputs())
    assert watched.z
    for (kind, layer), z in watched.z.items():
        parts = internals.head_parts(subject.anatomy, kind, layer, z)
        assert parts.shape[:3] == z.shape[:3]
        bias = internals.output_bias(subject.anatomy, kind, layer)
        whole = parts.sum(dim=1) if bias is None else parts.sum(dim=1) + bias
        projection = subject.anatomy.projections[kind, layer]
        assert close(whole, taps["attention_projection"][kind, layer] * projection.factor)
        written = taps["attention_output"][kind, layer]
        assert close(whole, written) == (name not in NORM_AFTER_PROJECTION)
        assert bool(projection.after) == (name in NORM_AFTER_PROJECTION)
        matrices = internals.output_projections(subject.anatomy)[kind, layer]
        torch.testing.assert_close(torch.einsum("bhqw,hwd->bhqd", z, matrices), parts, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["BERT", "GPT-2", "Llama", "Granite", "T5"])
def test_value_gram_gives_the_length_of_what_is_moved(name: str) -> None:
    subject = opened(name)
    _, _, watched = subject.tapped(subject.inputs())
    for (kind, layer), z in watched.z.items():
        gram = internals.value_gram(subject.anatomy, kind, layer)
        lengths = torch.einsum("bhqw,hwv,bhqv->bhq", z, gram, z).clamp_min(0).sqrt()
        wanted = torch.linalg.vector_norm(internals.head_parts(subject.anatomy, kind, layer, z), dim=-1)
        torch.testing.assert_close(lengths, wanted, rtol=1e-4, atol=1e-4)


def test_value_gram_follows_the_weights() -> None:
    subject = body("GPT-2")
    before = internals.value_gram(subject.anatomy, "decoder", 1)
    assert internals.value_gram(subject.anatomy, "decoder", 1) is before
    with torch.no_grad():
        subject.hf.transformer.h[1].attn.c_proj.weight.mul_(2)
    torch.testing.assert_close(internals.value_gram(subject.anatomy, "decoder", 1), 4 * before)


def test_unembedding_gives_the_models_logits(subject: Body) -> None:
    inputs = subject.inputs()
    taps, output, _ = subject.tapped(inputs)
    kind = list(subject.anatomy.streams)[-1]
    last = taps["hidden"][kind, subject.anatomy.streams[kind]]
    if subject.name in NO_LENS:
        with pytest.raises(NotCaptured, match="one answer for the whole input"):
            internals.unembed(subject.hf, subject.anatomy, last)
        return
    wanted = output.prediction_logits if subject.name == "BERT, pretraining" else output.logits
    with torch.no_grad():
        assert close(internals.unembed(subject.hf, subject.anatomy, last), wanted)
        one = internals.unembed(subject.hf, subject.anatomy, last[0, 3])
    torch.testing.assert_close(one, wanted[0, 3], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_soft_cap_is_found_although_it_hardly_bends_small_logits(dtype: torch.dtype) -> None:
    hf = made("Gemma2")
    with torch.no_grad():
        hf.lm_head.weight.mul_(1e-5)
    subject = body("Gemma2", hf.to(dtype))
    assert [(stage.what, stage.number) for stage in subject.anatomy.unembedding][-1] == ("cap", 30.0)


def test_half_precision_finds_the_same() -> None:
    for name in ("BERT", "Llama", "Gemma2", "T5"):
        half, full = body(name, made(name).to(torch.bfloat16)), opened(name)
        assert half.anatomy.names() == full.anatomy.names(), name
        assert half.anatomy.sums == full.anatomy.sums
        stages = [[(stage.what, stage.module) for stage in one.anatomy.unembedding] for one in (half, full)]
        assert stages[0] == stages[1]


def test_a_tap_survives_a_model_that_writes_in_place() -> None:
    hf = made("GPT-2")
    for block in hf.transformer.h:
        block.mlp.act.forward = lambda values: values.relu_()
    subject = body("GPT-2", hf)
    taps, _, _ = subject.tapped(subject.inputs())
    assert float(taps["ffn_pre"]["decoder", 1].min()) < 0
    assert torch.equal(taps["ffn_act"]["decoder", 1], taps["ffn_pre"]["decoder", 1].relu())


def gelu(values: torch.Tensor) -> torch.Tensor:
    return functional.gelu(values)


def gelu_tanh(values: torch.Tensor) -> torch.Tensor:
    return functional.gelu(values, approximate="tanh")


@pytest.mark.parametrize(
    ("name", "kind", "first", "down", "act"),
    [
        ("BERT", "encoder", "bert.encoder.layer.1.intermediate.dense", "bert.encoder.layer.1.output.dense", gelu),
        ("GPT-2", "decoder", "transformer.h.1.mlp.c_fc", "transformer.h.1.mlp.c_proj", gelu_tanh),
        ("T5", "decoder", "decoder.block.1.layer.2.DenseReluDense.wi", "decoder.block.1.layer.2.DenseReluDense.wo", torch.relu),
        ("OPT", "decoder", "model.decoder.layers.1.fc1", "model.decoder.layers.1.fc2", torch.relu),
    ],
)
def test_feedforward_by_hand(name: str, kind: str, first: str, down: str, act: Any) -> None:
    subject = opened(name)
    taps, _, _ = subject.tapped(subject.inputs())
    place = kind, 1
    with torch.no_grad():
        pre = subject.hf.get_submodule(first)(taps["ffn_in"][place])
        torch.testing.assert_close(taps["ffn_pre"][place], pre)
        torch.testing.assert_close(taps["ffn_act"][place], act(pre))
        torch.testing.assert_close(taps["ffn_out"][place], subject.hf.get_submodule(down)(act(pre)))
    assert "ffn_up" not in taps
    assert "not gated" in subject.anatomy.absent["ffn_up"]


@pytest.mark.parametrize(
    ("name", "kind", "act"),
    [
        ("Llama", "decoder", functional.silu),
        ("Phi-3", "decoder", functional.silu),
        ("ModernBERT", "encoder", gelu),
        ("T5, gated", "encoder", gelu_tanh),
        ("T5, gated", "decoder", gelu_tanh),
        ("Gemma2", "decoder", gelu_tanh),
    ],
)
def test_gated_feedforward_by_hand(name: str, kind: str, act: Any) -> None:
    """Two maps, or one that holds both: activation(gate) * up is what the last map reads."""
    taps, _, _ = opened(name).tapped(opened(name).inputs())
    gate, up = taps["ffn_pre"][kind, 1], taps["ffn_up"][kind, 1]
    torch.testing.assert_close(act(gate) * up, taps["ffn_act"][kind, 1], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(act(up) * gate, taps["ffn_act"][kind, 1], rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("name", MIXTURES)
def test_a_mixture_of_experts_has_no_inside(name: str) -> None:
    absent = opened(name).anatomy.absent
    assert all("mixture of experts" in absent[tap] for tap in GROUPS["ffn"])


def test_norms_are_the_models_own(subject: Body) -> None:
    """Each norm's input, put through the module it was seen at, gives its output."""
    taps, _, _ = subject.tapped(subject.inputs())
    places = {(tap.name, tap.kind, tap.layer): tap.module for tap in subject.anatomy.taps}
    checked = 0
    for (name, kind, layer), module in places.items():
        if name.endswith("norm_out"):
            with torch.no_grad():
                again = subject.hf.get_submodule(module)(taps[name.removesuffix("out") + "in"][kind, layer])
            torch.testing.assert_close(again, taps[name][kind, layer])
            checked += 1
    assert checked >= 2 * sum(subject.anatomy.streams.values())


def test_norm_roles() -> None:
    taps, _, _ = opened("Gemma2").tapped(opened("Gemma2").inputs())
    place = "decoder", 1
    assert torch.equal(taps["attention_norm_in"][place], taps["hidden"][place])
    assert torch.equal(taps["attention_post_norm_out"][place], taps["attention_output"][place])
    assert torch.equal(taps["ffn_norm_in"][place], taps["residual_mid"][place])
    assert torch.equal(taps["ffn_post_norm_out"][place], taps["ffn_out"][place])
    taps, _, _ = opened("BART").tapped(opened("BART").inputs())
    assert torch.equal(taps["attention_norm_out"][place], taps["residual_mid"][place])
    assert torch.equal(taps["cross_norm_out"][place], taps["residual_cross"][place])
    assert torch.equal(taps["ffn_norm_out"][place], taps["hidden"]["decoder", 2])


@pytest.mark.parametrize("name", [name for name in MAKERS if name not in (UNREADABLE, NO_TABLE)])
def test_embeddings_are_taken_apart(name: str) -> None:
    subject = opened(name)
    for kind in subject.anatomy.streams:
        assert {"token_embedding", "embedding_sum"} <= subject.anatomy.names(kind), subject.anatomy.missing
        has_positions = name.split(",", maxsplit=1)[0] in {
            "BERT",
            "RoBERTa",
            "DistilBERT",
            "ELECTRA",
            "ALBERT",
            "GPT-2",
            "OPT",
            "BART",
            "Marian",
        }
        assert ("position" in subject.anatomy.names(kind)) == has_positions
        assert ("segment" in subject.anatomy.names(kind)) == (
            name.split(",", maxsplit=1)[0] in {"BERT", "RoBERTa", "ELECTRA", "ALBERT"}
        )


def test_multipliers_are_the_configured_ones() -> None:
    anatomy = opened("Granite").anatomy
    assert {tap.factor for tap in anatomy.taps if tap.name in ("attention_output", "ffn_out")} == {0.22}
    assert {tap.factor for tap in anatomy.taps if tap.name == "token_embedding"} <= {1.0, 12.0}
    assert anatomy.unembedding[-1].number == pytest.approx(1 / 8, rel=1e-6)
