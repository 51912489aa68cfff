"""A borrowed model comes back as it was, and threads do not see each other."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch

from atlas.engine.loading.borrow import configs_of
from atlas.engine.loading.load import load
from atlas.errors import AtlasError, CaptureMismatch
from tests.engine.families import BY_NAME, TARGET, TEXT

TEXTS = ["the cat ran after the dog", "a doctor said hello", "she was tired because the nurse ran away", "the dog",
         "he said that the cat was tired", "the nurse and the doctor", "a cat ran", "the dog said hello to the cat"]  # fmt: skip


ROUNDING = 1e-5


def state_of(hf: Any) -> dict[str, Any]:
    """Everything about a model that a trace could disturb."""
    return {
        "training": [module.training for module in hf.modules()],
        "implementation": [config._attn_implementation for config in configs_of(hf)],
        "weights": [parameter.detach().clone() for parameter in hf.parameters()],
        "gradients": [None if p.grad is None else p.grad.clone() for p in hf.parameters()],
        "requires": [p.requires_grad for p in hf.parameters()],
        "device": [p.device for p in hf.parameters()],
        "keys": list(hf.state_dict()),
        "modules": [name for name, _ in hf.named_modules()],
        "random": torch.get_rng_state(),
    }


def assert_same(before: dict[str, Any], after: dict[str, Any]) -> None:
    for name, values in before.items():
        if name in ("weights", "gradients"):
            assert all(a is b is None or torch.equal(a, b) for a, b in zip(values, after[name], strict=True)), name
        elif name == "random":
            assert torch.equal(values, after[name])
        else:
            assert values == after[name], name


@pytest.mark.parametrize("name", ["BERT", "GPT-2", "T5", "Gemma2"])
def test_in_the_middle_of_a_training_loop(name: str) -> None:
    """Training with a trace between backward and step gives the same weights, to the bit, as training without."""
    family = BY_NAME[name]

    def train(*, trace: bool) -> list[torch.Tensor]:
        hf = family.model().train()
        hf.set_attn_implementation("eager")
        frozen = next(iter(hf.modules()))
        list(hf.modules())[3].eval()  # a part that its owner keeps in evaluation mode
        optimizer = torch.optim.SGD(hf.parameters(), lr=1e-3)
        tokenizer = family.tokenizer()
        ids = torch.tensor([tokenizer(TEXT)["input_ids"]])
        torch.manual_seed(7)
        model = load((hf, tokenizer)) if trace else None
        for _ in range(3):
            inputs = {"input_ids": ids, "labels": ids}
            loss = hf(**inputs).loss  # dropout draws from the random state
            loss.backward()
            if model is not None:
                before = state_of(hf)
                model.trace(TEXT, **({"target": TARGET} if "cross" in model.kinds else {}))
                assert_same(before, state_of(hf))
                with pytest.raises(AtlasError):
                    model.trace(TEXT, ablate=[(99, 0)], **({"target": TARGET} if "cross" in model.kinds else {}))
                assert_same(before, state_of(hf))
            optimizer.step()
            optimizer.zero_grad()
        assert frozen.training
        return [parameter.detach().clone() for parameter in hf.parameters()]

    plain, traced = train(trace=False), train(trace=True)
    assert all(torch.equal(a, b) for a, b in zip(plain, traced, strict=True))


def test_released_without_a_trace_of_us() -> None:
    hf = BY_NAME["BERT"].model()
    modules = list(hf.modules())
    before = state_of(hf)
    with load((hf, BY_NAME["BERT"].tokenizer())) as model:
        model.trace(TEXT)
    assert_same(before, state_of(hf))
    # What transformers itself leaves behind when a model is asked for its attentions (inert) is not ours to take away.
    left = [hook for m in modules for hook in (*m._forward_hooks.values(), *m._forward_pre_hooks.values())]
    assert [hook for hook in left if not hook.__module__.startswith("transformers.")] == []


def test_a_run_that_fails_half_way_gives_the_model_back() -> None:
    hf = BY_NAME["BERT"].model().train()
    model = load((hf, BY_NAME["BERT"].tokenizer()))
    before = state_of(hf)

    def broken(*args: Any) -> None:
        msg = "out of paper"
        raise RuntimeError(msg)

    handle = hf.bert.encoder.layer[1].register_forward_hook(broken)
    with pytest.raises(RuntimeError, match="out of paper"):
        model.trace(TEXT)
    handle.remove()
    assert_same(before, state_of(hf))
    assert model.trace(TEXT).attention().shape == (3, 4, 24, 24)


@pytest.mark.parametrize("name", ["BERT", "ALBERT", "GPT-2", "T5"])
def test_eight_threads_on_one_model(name: str) -> None:
    """Eight texts at once, also with changes in half of them, are what one after the other gives.

    To the rounding of one addition and no closer: on some processors the matrix products of another thread round the last bit
    otherwise, and layers carry it on (1.2e-6 of a weight was seen, 1.2e-5 of logits
    up to 18). What one thread's change does to another's numbers is far more.
    """
    family = BY_NAME[name]
    hf = family.model().train()
    model = load((hf, family.tokenizer()))
    extra = {"target": TARGET} if "cross" in model.kinds else {}
    kind = model.kinds[0]

    def traced(i: int) -> Any:
        change = {"ablate": [(kind, 0, i % 4)]} if i % 2 else {}
        return model.trace(TEXTS[i], **extra, **change)

    def same(left: Any, right: Any) -> None:
        # Of the array's largest number: a logit near zero is a sum of large products and is rounded as they are.
        np.testing.assert_allclose(left, right, rtol=0, atol=ROUNDING * max(1, np.nanmax(np.abs(left))))

    expected = [traced(i) for i in range(8)]
    unlike = [(expected[i], model.trace(TEXTS[i], **extra)) for i in range(1, 8, 2)]
    barrier = threading.Barrier(8)

    def together(i: int) -> Any:
        barrier.wait()
        return [traced(i) for _ in range(3)][-1]

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(together, range(8)))
    for one, other in zip(expected, found, strict=True):
        for each in model.kinds:
            same(one.attention(each).to_numpy(), other.attention(each).to_numpy())
        same(one.outcomes.logits, other.outcomes.logits)
        assert set(one.arrays) == set(other.arrays)
        for array, places in one.arrays.items():
            for place, values in places.items():
                same(values, other.arrays[array][place])
    changed = [np.nanmax(np.abs(a.attention(kind).to_numpy() - b.attention(kind).to_numpy())) for a, b in unlike]
    assert min(changed) > 100 * ROUNDING, "a change that could hide in the rounding would not be found"
    assert hf.training
    assert hf.config._attn_implementation == "sdpa"


def test_unobserved_an_owned_model_runs_sdpa(monkeypatch: pytest.MonkeyPatch) -> None:
    """Registered, but with nobody watching, it is SDPA with SDPA's mask: the same calls and the same numbers."""
    from atlas.engine.running import attention

    hf = BY_NAME["BERT"].model()
    ids = torch.tensor([[2, 7, 8, 9, 3]])
    calls: list[Any] = []
    original = torch.nn.functional.scaled_dot_product_attention

    def counted(*args: Any, **kwargs: Any) -> Any:
        calls.append(kwargs["attn_mask"])
        return original(*args, **kwargs)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", counted)
    with torch.no_grad():
        before = hf(ids).logits
        seen = list(calls)
        attention.register()
        hf.set_attn_implementation(attention.NAME)
        after = hf(ids).logits
    assert torch.equal(before, after)
    assert calls[len(seen) :] == seen == [None] * 3


def test_gradients_flow_through_the_named_points() -> None:
    """The weights of a layer pass through its point: a gradient taken there is the gradient of the model's output."""
    from atlas.engine.anatomy.attention_sites import layers_of
    from atlas.engine.running.context import Call, running

    model = load((BY_NAME["BERT"].model(), BY_NAME["BERT"].tokenizer()))
    ids = torch.tensor([[2, 7, 8, 9, 3]])
    kept: dict[str, torch.Tensor] = {}
    point = layers_of(model.sites, "encoder")[1].point

    def keep(module: Any, args: Any, output: torch.Tensor) -> torch.Tensor:
        kept["weights"] = output
        return output

    handle = point.register_forward_hook(keep)
    with model.held(), running(Call(sites=model.sites)):
        out = model.forward({"input_ids": ids}).logits[0, 2, 5]
        (gradient,) = torch.autograd.grad(out, kept["weights"])
    handle.remove()
    # The same derivative by a small step, through a hook that moves one weight.
    step = 1e-3

    def moved(amount: float) -> float:
        def move(module: Any, args: Any, output: torch.Tensor) -> torch.Tensor:
            output = output.clone()
            output[0, 1, 2, 3] += amount
            return output

        handle = point.register_forward_hook(move)
        with torch.no_grad(), model.held(), running(Call(sites=model.sites)):
            value = model.forward({"input_ids": ids}).logits[0, 2, 5].item()
        handle.remove()
        return value

    numeric = (moved(step) - moved(-step)) / (2 * step)
    assert abs(numeric) > 1e-3
    assert gradient[0, 1, 2, 3].item() == pytest.approx(numeric, rel=0.02)


def test_two_models_of_one_model_do_not_undo_each_other() -> None:
    """Holders are counted by the model in memory: the run of one used to lose layers when the other's ended."""
    hf, tokenizer = BY_NAME["BERT"].model().train(), BY_NAME["BERT"].tokenizer()
    both = [load((hf, tokenizer)), load((hf, tokenizer))]
    expected = both[0].trace(TEXT).attention().to_numpy()
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda i: both[i % 2].trace(TEXT).attention().to_numpy(), range(60)))
    assert all(np.array_equal(expected, weights) for weights in found)
    assert hf.training
    assert hf.config._attn_implementation == "sdpa"


def test_a_switch_of_the_attention_function_in_mid_run_is_noticed() -> None:
    hf = BY_NAME["BERT"].model()
    model = load((hf, BY_NAME["BERT"].tokenizer()))

    def switch(*args: Any) -> None:
        for config in configs_of(hf):
            config._attn_implementation_internal = "sdpa"

    handle = hf.bert.encoder.layer[1].register_forward_hook(switch)
    with pytest.raises(CaptureMismatch, match="while it ran"):
        model.trace(TEXT)
    handle.remove()


def test_other_threads_keep_their_random_numbers() -> None:
    """A trace must not put back a random state that another thread has moved on: numbers would come twice."""
    model = load((BY_NAME["BERT"].model(), BY_NAME["BERT"].tokenizer()))
    torch.manual_seed(0)
    expected = [torch.rand(1).item() for _ in range(300)]
    stop = threading.Event()

    def trace_on() -> None:
        while not stop.is_set():
            model.trace(TEXT)

    worker = threading.Thread(target=trace_on)
    torch.manual_seed(0)
    worker.start()
    drawn = []
    for _ in range(300):
        drawn.append(torch.rand(1).item())
        stop.wait(0.001)
    stop.set()
    worker.join()
    assert drawn == expected


def test_a_model_that_draws_gives_the_random_state_back() -> None:
    hf = BY_NAME["BERT"].model()
    handle = hf.bert.encoder.layer[0].register_forward_hook(lambda *_: torch.rand(1) and None)
    model = load((hf, BY_NAME["BERT"].tokenizer()))
    before = torch.get_rng_state()
    model.trace(TEXT)
    handle.remove()
    assert torch.equal(before, torch.get_rng_state())
