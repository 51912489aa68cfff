"""The hooks disturb nobody, and what does not add up is absent with a reason: never a wrong tensor."""

from __future__ import annotations

import copy
import threading
from typing import Any

import pytest
import torch

from atlas.engine.anatomy import internals
from atlas.engine.anatomy.records import ALL_TAPS
from atlas.engine.running.context import Call, running
from atlas.errors import NotCaptured
from tests.engine.anatomies import MAKERS, UNREADABLE, Body, body, made, opened


@pytest.fixture(params=[name for name in MAKERS if name != UNREADABLE])
def subject(request: pytest.FixtureRequest) -> Body:
    return opened(request.param)


def test_without_a_call_hooks_see_nothing(subject: Body) -> None:
    call = Call(sites=subject.sites)
    with torch.no_grad(), running(call):
        subject.hf(**subject.inputs())
    assert call.taps is None
    outside = Call(sites={}, taps={}, wanted_taps=frozenset(ALL_TAPS))
    with torch.no_grad():
        subject.hf(**subject.inputs())
    assert outside.taps == {}


def test_only_what_is_wanted_is_kept() -> None:
    taps, _, _ = opened("BERT").tapped(opened("BERT").inputs(), ["hidden", "ffn_act", "no such tap"])
    assert set(taps) == {"hidden", "ffn_act"}


def test_gradients_flow_through_taps_when_asked() -> None:
    subject = opened("Llama")
    call = Call(sites=subject.sites, taps={}, wanted_taps=frozenset({"residual_mid"}))
    with running(call):
        output = subject.hf(**subject.inputs())
    assert call.taps is not None
    (gradient,) = torch.autograd.grad(output.logits.sum(), call.taps["residual_mid"]["decoder", 1])
    assert float(gradient.abs().max()) > 0
    taps, _, _ = subject.tapped(subject.inputs())
    assert not taps["residual_mid"]["decoder", 1].requires_grad


def test_eight_threads_see_their_own() -> None:
    subject = opened("ALBERT")
    inputs = [subject.inputs(seed=seed, length=9 + seed) for seed in range(8)]
    alone = [subject.tapped(one)[0] for one in inputs]
    together: dict[int, dict[str, Any]] = {}
    gate = threading.Barrier(8)

    def run(number: int) -> None:
        gate.wait()
        for _ in range(5):
            together[number] = subject.tapped(inputs[number])[0]

    threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(8):
        for name, places in alone[number].items():
            assert all(torch.equal(together[number][name][place], value) for place, value in places.items())


def hooks_of(model: torch.nn.Module) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())


def test_the_model_comes_back_as_it_was(subject: Body) -> None:
    hf = made(subject.name).train()
    hf.get_submodule(next(name for name, _ in hf.named_modules() if name)).eval()
    weights = {name: value.clone() for name, value in hf.state_dict().items()}
    modules = [name for name, _ in hf.named_modules()]
    training = [module.training for module in hf.modules()]
    before = hooks_of(hf)
    opened_now = body(subject.name, hf)
    assert hooks_of(hf) == before + len(opened_now.handles) > before
    for handle in opened_now.handles:
        handle.remove()
    assert hooks_of(hf) == before
    assert [name for name, _ in hf.named_modules()] == modules
    assert [module.training for module in hf.modules()] == training
    assert all(torch.equal(value, weights[name]) for name, value in hf.state_dict().items())


def test_a_hooked_model_can_be_copied() -> None:
    subject = opened("GPT-2")
    twin = copy.deepcopy(subject.hf)
    inputs = subject.inputs()
    with torch.no_grad():
        assert torch.equal(twin(**inputs).logits, subject.hf(**inputs).logits)


def shifted(output: Any) -> Any:
    return output + 0.1 if isinstance(output, torch.Tensor) else (output[0] + 0.1, *output[1:])


@pytest.mark.parametrize(
    ("name", "layer"), [("GPT-2", "transformer.h.1"), ("Llama", "model.layers.1"), ("GPT-J", "transformer.h.1")]
)
def test_arithmetic_that_does_not_hold_is_absent_not_wrong(name: str, layer: str) -> None:
    """A layer that adds 0.1 as the stream leaves it: nothing it writes accounts for that."""
    hf = made(name)
    module = hf.get_submodule(layer)
    forward = module.forward
    module.forward = lambda *args, **kwargs: shifted(forward(*args, **kwargs))
    subject = body(name, hf)
    assert "ffn_out" not in subject.anatomy.names()
    assert "in layer 1: no output of the " in subject.anatomy.absent["ffn_out"]
    assert "hidden" in subject.anatomy.names()
    assert [total.total for total in subject.anatomy.sums] == ["embedding_sum"]
    assert any("layer 1 do not add up" in note for note in subject.anatomy.notes)
    taps, output, _ = subject.tapped(subject.inputs())
    assert torch.equal(taps["hidden"]["decoder", 2], output.hidden_states[2])
    assert "ffn_out" not in taps


def test_a_broken_post_norm_layer_leaves_open_where_the_stream_goes_on() -> None:
    """Whether BERT's stream goes on before or after a norm is only known from the next sum: without that, no `residual_mid`."""
    hf = made("BERT")
    hf.bert.encoder.layer[1].output.LayerNorm.register_forward_pre_hook(lambda _, args: (args[0] + 0.1,))
    subject = body("BERT", hf)
    assert {"residual_mid", "ffn_out"}.isdisjoint(subject.anatomy.names())
    assert "in layer 1: no output of the ffn block" in subject.anatomy.absent["residual_mid"]
    assert {"hidden", "attention_output"} <= subject.anatomy.names()


def test_a_stream_changed_between_layers_is_absent() -> None:
    hf = made("GPT-2")
    hf.transformer.h[1].register_forward_pre_hook(lambda _, args: (args[0] + 0.1, *args[1:]))
    subject = body("GPT-2", hf)
    assert "between layer 0 and layer 1" in subject.anatomy.absent["hidden"]


def test_a_head_that_is_not_linear_in_z_has_no_parts() -> None:
    """Something scales what the heads read before it is projected: the heads' parts are refused, the rest stays."""
    hf = made("Llama")
    for layer in hf.model.layers:
        layer.self_attn.o_proj.register_forward_pre_hook(lambda _, args: (args[0] * 1.5,))
    subject = body("Llama", hf)
    assert not subject.anatomy.projections
    with pytest.raises(NotCaptured, match="before they are projected"):
        internals.head_parts(subject.anatomy, "decoder", 0, torch.zeros(1, 4, 3, 8))
    assert "attention_output" in subject.anatomy.names()


def test_what_cannot_be_read_is_explained() -> None:
    subject = opened(UNREADABLE)
    assert subject.anatomy.streams == {}
    assert set(ALL_TAPS) <= set(subject.anatomy.absent)
    assert subject.handles == []


@pytest.mark.parametrize("name", ["GPT-J", "BLOOM"])
def test_families_outside_the_interface_lack_heads_only(name: str) -> None:
    anatomy = opened(name).anatomy
    assert list(anatomy.streams) == ["decoder"]
    assert "attention interface" in anatomy.absent["head_output"]
    assert {"attention_output", "ffn_out", "ffn_act"} <= anatomy.names("decoder")
    assert anatomy.unembedding
