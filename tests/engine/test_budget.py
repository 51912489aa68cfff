"""The estimate made before a run is what the run then holds, and memory is what the system says can be had."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from atlas.engine.loading.load import load
from atlas.engine.running import budget
from atlas.engine.running.recorder import TextShape
from atlas.errors import TooLarge, UnknownName
from tests.engine.families import BY_NAME, TARGET, TEXT


def held(arrays: Any) -> int:
    return sum(array.nbytes for places in arrays.values() for array in places.values())


@pytest.mark.parametrize("name", ["BERT", "GPT-2", "Llama", "T5", "BART"])
@pytest.mark.parametrize("keep", ["weights", "qk"])
def test_estimates_are_what_is_held(name: str, keep: str) -> None:
    model = load((BY_NAME[name].model(), BY_NAME[name].tokenizer()))
    extra = {"target": TARGET} if "cross" in model.kinds else {}
    trace = model.trace(TEXT, keep=keep, capture=(), **extra)
    shape = TextShape(len(trace.tokens()), len(trace.tokens("target")) if "cross" in model.kinds else 0)
    parts = budget.estimate(model.size, shape, keep, ("stream", "ffn", "norms", "head_outputs"))
    layers = [layer for kind in model.kinds for layer in trace.attention_of(kind).layers]
    assert parts["weights"] == sum(layer.weights.nbytes for layer in layers if layer.weights is not None)
    assert parts["queries, keys, values"] == sum(layer.query.nbytes + layer.key.nbytes + layer.value.nbytes for layer in layers)
    for group in ("stream", "ffn", "norms", "head_outputs"):
        arrays = model.trace(TEXT, keep=keep, capture=group, **extra).arrays
        # Above, because the shorter side of an encoder-decoder is counted as long as the other; never below.
        assert held(arrays) <= parts[group] * 1.02 + 64, group
        assert parts[group] <= held(arrays) * 2.1 + 64, group


def test_auto_keeps_weights_while_they_are_small(monkeypatch: pytest.MonkeyPatch) -> None:
    model = load((BY_NAME["BERT"].model(), BY_NAME["BERT"].tokenizer()))
    assert model.trace(TEXT).attention_of().keeps_weights
    monkeypatch.setattr(budget, "WEIGHTS_BYTES", 1000)
    trace = model.trace(TEXT)
    assert not trace.attention_of().keeps_weights
    assert trace.provenance["keep"] == "qk"


def test_what_cannot_fit_is_refused_with_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    model = load((BY_NAME["BERT"].model(), BY_NAME["BERT"].tokenizer()))
    monkeypatch.setattr(budget, "free_bytes", lambda: 1 << 10)
    with pytest.raises(TooLarge, match=r"24 tokens would take [\d.]+ MiB and 0\.0 MiB may be used here \(.*MiB.*shorter text"):
        model.trace(TEXT)
    monkeypatch.undo()
    with pytest.raises(UnknownName, match="'auto', 'weights' or 'qk'"):
        model.trace(TEXT, keep="everything")


def test_memory_of_a_container(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("400\n")
    assert budget._container_free(tmp_path) == 600
    (tmp_path / "memory.max").write_text("max\n")
    assert budget._container_free(tmp_path) is None
    assert budget._container_free(tmp_path / "nowhere") is None
    assert budget.free_bytes() > 0
    assert np.isfinite(budget.free_bytes())
