"""Whole traces for other tools: JSON, plain xarray, and BertViz-style tensors in and out."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import xarray as xr

import atlas
from atlas.errors import TooLarge
from atlas.tracing import exchange
from tests.engine.families import loaded
from tests.state.readers import DECODER, both, single


def test_json_has_every_weight_token_head_and_outcome(tmp_path):
    trace = loaded("GPT-2").trace("the cat ran after the dog", capture=("predictions",))
    found = json.loads(trace.save(tmp_path / "trace.json").read_text("utf-8"))
    weights = np.array(found["attention"]["decoder"]["weights"], dtype=float).astype(np.float32)
    np.testing.assert_array_equal(weights, trace.attention().to_numpy())
    assert found["attention"]["decoder"]["shape"] == list(weights.shape)
    assert [token["token"] for token in found["tokens"]["source"]] == trace.tokens()["token"].tolist()
    assert [head["entropy"] for head in found["heads"]] == pytest.approx(trace.heads["entropy"].tolist(), rel=1e-6)
    assert [row["token"] for row in found["predictions"]] == trace.predictions(5)["token"].tolist()
    assert (found["provenance"]["model"], found["texts"]["text"]) == (trace.provenance["model"], trace.texts.text)
    assert [each.name for each in tmp_path.iterdir()] == ["trace.json"]


def test_json_of_an_encoder_decoder_has_all_three_kinds(tmp_path):
    found = json.loads(both().save(tmp_path / "trace.json").read_text("utf-8"))["attention"]
    assert [(kind, each["queries"], each["keys"]) for kind, each in found.items()] == [
        ("encoder", "source", "source"), ("decoder", "target", "target"), ("cross", "target", "source"),
    ]  # fmt: skip
    for kind, each in found.items():
        np.testing.assert_array_equal(np.array(each["weights"], float).astype(np.float32), both().attention(kind))


def test_more_weights_than_json_is_for_are_refused_with_the_way_out(tmp_path, monkeypatch):
    monkeypatch.setattr(exchange, "JSON_WEIGHTS", 300)
    with pytest.raises(TooLarge, match=r"384 weights.*at most 300.*\.nc or \.zarr"):
        single().save(tmp_path / "trace.json")
    assert list(tmp_path.iterdir()) == []


def test_plain_xarray_reads_the_weights_of_a_netcdf_file(tmp_path):
    path = single().save(tmp_path / "trace.nc")
    with xr.open_datatree(path, engine="h5netcdf") as tree:
        np.testing.assert_array_equal(tree["attention/encoder/of.weights"], single().attention())


@pytest.mark.parametrize("trace", [single(), single(DECODER)], ids=["encoder", "decoder"])
def test_tensors_for_bertviz_stack_as_it_stacks_them_and_come_back(trace):
    given = atlas.to_bertviz(trace)
    stacked = torch.stack([layer.squeeze(0) for layer in given["attention"]])
    np.testing.assert_array_equal(stacked.numpy(), np.nan_to_num(trace.attention().to_numpy()))
    assert given["tokens"] == trace.tokens()["piece"].tolist()
    again = atlas.from_attention(given["attention"], given["tokens"], kind=trace.kinds[0])
    np.testing.assert_array_equal(again.attention(), trace.attention())


def test_an_encoder_decoder_has_the_three_lists_of_bertviz_and_comes_back_from_them():
    given = atlas.to_bertviz(both())
    assert set(given) == {"encoder_attention", "decoder_attention", "cross_attention", "encoder_tokens", "decoder_tokens"}
    assert tuple(given["cross_attention"][0].shape) == (1, 2, len(given["decoder_tokens"]), len(given["encoder_tokens"]))
    again = atlas.from_attention(
        {kind: given[f"{kind}_attention"] for kind in both().kinds},
        {"source": given["encoder_tokens"], "target": given["decoder_tokens"]},
    )
    for kind in both().kinds:
        np.testing.assert_array_equal(again.attention(kind), both().attention(kind))
