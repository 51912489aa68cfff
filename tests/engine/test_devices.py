"""Where a model runs by default, and what happens on a device that computes wrong numbers."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from atlas.engine.loading import verify
from atlas.engine.loading.load import load
from atlas.engine.loading.placement import as_device
from atlas.errors import UnknownName, UnsupportedModel
from tests.engine.families import BY_NAME, gptj


@pytest.fixture
def on_a_mac(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with an Apple GPU and no other."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)


@pytest.mark.usefixtures("on_a_mac")
def test_an_apple_gpu_is_not_chosen_unasked() -> None:
    assert as_device(None) == torch.device("cpu")
    assert as_device("mps") == torch.device("mps")
    with pytest.raises(UnknownName, match="use one of cpu, mps"):
        as_device("cuda")


def test_an_apple_gpu_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(UnknownName, match="use one of cpu, or"):
        as_device("mps")


class Wrong(torch.nn.Linear):
    """Computes wrong numbers where it is, and right ones once it is copied elsewhere: a device with a broken kernel."""

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        return super().forward(states) * 1.05

    def __deepcopy__(self, memo: dict[int, Any]) -> torch.nn.Linear:
        right = torch.nn.Linear(self.in_features, self.out_features)
        right.load_state_dict(self.state_dict())
        return right


def broken(linear: torch.nn.Linear) -> Wrong:
    made = Wrong(linear.in_features, linear.out_features)
    made.load_state_dict(linear.state_dict())
    return made.eval()


@pytest.mark.parametrize("part", ["attention", "output"])
def test_a_device_that_computes_wrong_numbers_is_not_believed(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    family = BY_NAME["BERT"]
    hf = family.model()
    if part == "attention":
        hf.bert.encoder.layer[1].attention.self.query = broken(hf.bert.encoder.layer[1].attention.self.query)
    else:
        hf.cls.predictions.transform.dense = broken(hf.cls.predictions.transform.dense)
    # Captured and own weights agree on the device, both of them wrong: on a device nobody doubts the model is taken as it is.
    assert load((hf, family.tokenizer())).interface
    monkeypatch.setattr(verify, "DOUBTED", ("cpu",))
    with pytest.raises(UnsupportedModel, match=r"other results than on the CPU.*device='cpu'"):
        load((hf, family.tokenizer()))


@pytest.mark.parametrize("name", ["BERT", "ALBERT", "GPT-2", "Gemma2", "GPT-OSS", "T5", "BART"])
def test_a_device_that_computes_right_numbers_is_believed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "DOUBTED", ("cpu",))
    family = BY_NAME[name]
    hf = family.model()
    before = hf.config._attn_implementation
    model = load((hf, family.tokenizer()))
    assert model.interface
    assert hf.config._attn_implementation == before


def test_a_model_outside_the_interface_is_compared_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "DOUBTED", ("cpu",))
    hf = gptj()
    assert not load((hf, BY_NAME["GPT-2"].tokenizer())).interface
    hf.transformer.h[0].mlp.fc_in = broken(hf.transformer.h[0].mlp.fc_in)
    with pytest.raises(UnsupportedModel, match="than on the CPU"):
        load((hf, BY_NAME["GPT-2"].tokenizer()))
