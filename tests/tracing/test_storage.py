"""A trace comes back from its file bit for bit; what is no trace, or a broken one, is one clear error and runs nothing."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

import atlas
from atlas.engine.loading.load import load
from atlas.engine.running.interventions import Output, Pattern
from atlas.errors import BadTraceFile
from atlas.tracing.record import Attention, Layer
from atlas.tracing.storage import _put
from tests.engine.families import BY_NAME, TARGET, gptj, loaded
from tests.places import REPO

SHORT = "the doctor said that she was tired because the cat ran"
ENDINGS = (".nc", ".zarr")


def recorded() -> Any:
    rng = np.random.default_rng(0)
    weights = rng.dirichlet(np.ones(5), size=(2, 3, 5)).astype(np.float32)
    weights[..., 1:3] = np.nan
    weights /= np.nansum(weights, axis=-1, keepdims=True)
    return atlas.from_attention(weights, ["<s>", "a", "b", "a", "</s>"])


def patched() -> Any:
    model = loaded("GPT-2")
    n = len(model.trace(SHORT).tokens())
    pattern = np.tril(np.ones((n, n)))
    pattern /= pattern.sum(1, keepdims=True)
    return model.trace(
        SHORT,
        keep="qk",
        ablate={(2, 3): "mean"},
        knock_out=[((1, 0), 4, 2), ((1, 2), 3, 3), ((2, 0), 5, 1)],
        patch={(0, 1): Pattern(pattern), (1, 3): Output(np.ones((n, 8)))},
    )


def pair() -> Any:
    return loaded("BERT").trace(
        "the doctor\x00 said 🙂 that", "שלום العربية e\u0301 \u202etired\u202c", capture=("stream", "ffn", "norms", "predictions")
    )


def both(keep: str) -> Callable[[], Any]:
    return lambda: loaded("T5").trace(SHORT, target=TARGET, keep=keep, capture=("stream", "head_outputs", "predictions"))


SORTS: dict[str, Callable[[], Any]] = {
    "weights": lambda: loaded("BERT").trace(SHORT, keep="weights"),
    "queries and keys": lambda: loaded("Llama").trace(SHORT, keep="qk"),
    "bias by distance": both("qk"),
    "bias and weights": both("weights"),
    "encoder-decoder, generated": lambda: loaded("BART").trace(SHORT),
    "window": lambda: loaded("ModernBERT").trace(SHORT, keep="qk"),
    "causal window and softcap": lambda: loaded("Gemma2").trace(SHORT, keep="qk"),
    "sinks": lambda: loaded("GPT-OSS").trace(SHORT, keep="qk"),
    "changed": patched,
    "fallback": lambda: load((gptj(), BY_NAME["GPT-2"].tokenizer())).trace(SHORT),
    "recorded": recorded,
    "bfloat16": lambda: loaded("GPT-2", torch.bfloat16).trace(SHORT),
    "float16": lambda: loaded("BERT", torch.float16).trace(SHORT, keep="qk"),
    "float64": lambda: loaded("BERT", torch.float64).trace(SHORT),
    "odd texts and a pair": pair,
    "bare": lambda: loaded("BERT").trace(SHORT, capture=()),
    "one token": lambda: loaded("GPT-2").trace("the"),
}


@pytest.fixture(scope="module", params=list(SORTS))
def trace(request: pytest.FixtureRequest) -> Any:
    return SORTS[request.param]()


def same(one: Any, other: Any, where: str) -> None:
    """Equal to the bit, type and all."""
    if isinstance(one, np.ndarray) and one.dtype != object:
        assert isinstance(other, np.ndarray), where
        assert (one.dtype, one.shape) == (other.dtype, other.shape), where
        assert one.tobytes() == other.tobytes(), where
    elif isinstance(one, np.ndarray):
        assert one.tolist() == other.tolist(), where
    elif isinstance(one, dict) or hasattr(one, "items"):
        assert sorted(map(str, one)) == sorted(map(str, other)), where  # a store has an order of its own
        for name in one:
            same(one[name], other[name], f"{where}.{name}")
    elif isinstance(one, tuple) and one and isinstance(one[0], Layer):
        for i, (mine, yours) in enumerate(zip(one, other, strict=True)):
            same(mine, yours, f"{where}[{i}]")
    elif hasattr(one, "__dataclass_fields__"):
        assert type(one) is type(other), where
        for name in one.__dataclass_fields__:
            same(getattr(one, name), getattr(other, name), f"{where}.{name}")
    else:
        assert type(one) is type(other), where
        assert one == other, where


def shared(attention: Attention, of: Callable[[Layer], Any]) -> list[int]:
    """For each layer, the first layer that holds the same object."""
    parts = [of(layer) for layer in attention.layers]
    return [next(i for i, other in enumerate(parts) if other is part) for part in parts]


@pytest.mark.parametrize("ending", ENDINGS)
def test_everything_comes_back_to_the_bit(trace: Any, ending: str, tmp_path: Path) -> None:
    path = trace.save(tmp_path / f"run{ending}")
    again = atlas.open(path)
    same(dict(trace.attentions), dict(again.attentions), "attentions")
    same({n: dict(p) for n, p in sorted(trace.arrays.items())}, {n: dict(p) for n, p in sorted(again.arrays.items())}, "arrays")
    same(trace.texts, again.texts, "texts")
    same(trace.outcomes, again.outcomes, "outcomes")
    assert dict(trace.provenance) == dict(again.provenance)
    assert list(trace.token_tables) == list(again.token_tables)
    for side in trace.token_tables:
        pd.testing.assert_frame_equal(trace.tokens(side), again.tokens(side))
        assert trace.tokens(side).attrs == again.tokens(side).attrs
    for kind in trace.kinds:
        for of in (
            lambda layer: layer.mask.cells,
            lambda layer: layer.bias and (layer.bias.cells if layer.bias.diagonals is None else layer.bias.diagonals),
        ):
            assert shared(trace.attentions[kind], of) == shared(again.attentions[kind], of)
    assert again.kinds == trace.kinds
    for kind in trace.kinds:
        xr.testing.assert_identical(trace.attention(kind), again.attention(kind))
        block = {"layer": 0, "head": 1, "queries": [0], "keys": [0]}
        xr.testing.assert_identical(trace.attention(kind, **block), again.attention(kind, **block))
        if trace.attentions[kind].layers[0].has_ingredients:
            xr.testing.assert_identical(trace.scores(kind, layer=1, head=0), again.scores(kind, layer=1, head=0))
            for name in ("query", "key", "value", "head_read"):
                xr.testing.assert_identical(trace.vectors(name, kind), again.vectors(name, kind))
    pd.testing.assert_frame_equal(trace.heads, again.heads)
    assert again.vector_names == trace.vector_names
    if trace.outcomes is not None:
        pd.testing.assert_frame_equal(trace.predictions(3), again.predictions(3))


def test_t5s_bias_is_stored_by_distance(tmp_path: Path) -> None:
    path = both("qk")().save(tmp_path / "t5.nc")
    with xr.open_datatree(path) as tree:
        names = [name for node in tree.subtree for name in node.data_vars if name.startswith("bias")]
        assert names
        assert all(name.startswith("bias.diagonals") for name in names)


@pytest.mark.parametrize("ending", ENDINGS)
def test_saving_again_replaces(ending: str, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / f"run{ending}"
    model = loaded("BERT")
    model.trace(SHORT, capture=()).save(path)
    model.trace("the cat", capture=()).save(path)
    assert atlas.open(path).texts.text == "the cat"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("failure", [KeyboardInterrupt, OSError(28, "No space left on device"), ValueError])
def test_an_interrupted_save_leaves_the_old_file(
    ending: str, failure: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"run{ending}"
    model = loaded("BERT")
    model.trace(SHORT, capture=()).save(path)
    name = "to_zarr" if ending == ".zarr" else "to_netcdf"
    original = getattr(xr.DataTree, name)

    def halfway(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        raise failure

    with monkeypatch.context() as patch:
        patch.setattr(xr.DataTree, name, halfway)
        with pytest.raises((KeyboardInterrupt, BadTraceFile, ValueError)) as caught:
            model.trace("the cat", capture=()).save(path)
    if isinstance(failure, OSError):
        assert isinstance(caught.value, BadTraceFile)
        assert "No space left" in str(caught.value)
    assert atlas.open(path).texts.text == SHORT
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_between_two_folders_brings_the_old_one_back(tmp_path: Path) -> None:
    path = recorded().save(tmp_path / "run.zarr")
    with pytest.raises(FileNotFoundError):
        _put(tmp_path / "never written", path, tmp_path / "old")
    assert list(tmp_path.iterdir()) == [path]
    assert atlas.open(path).kinds == ("encoder",)


def foreign_zarr(path: Path) -> Path:
    xr.Dataset({"years": ("x", np.arange(3))}).to_zarr(path, zarr_format=3, consolidated=False)
    return path


@pytest.mark.parametrize(
    "make", [lambda p: p.mkdir(), foreign_zarr, lambda p: (p.mkdir(), (p / "thesis.tex").write_text("years of work"))]
)
@pytest.mark.parametrize("ending", ENDINGS)
def test_a_folder_of_somebody_else_is_not_replaced(make: Any, ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"work{ending}"
    make(path)
    before = sorted(str(each.relative_to(path)) for each in path.rglob("*"))
    with pytest.raises(BadTraceFile, match=r"not replaced\. Choose another name"):
        recorded().save(path)
    assert sorted(str(each.relative_to(path)) for each in path.rglob("*")) == before
    assert list(tmp_path.iterdir()) == [path]


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a file")
    for path in (tmp_path / "file" / "run.nc", tmp_path / "file" / "deeper" / "run.zarr"):
        with pytest.raises(BadTraceFile, match=r"cannot be written to .* Choose another place"):
            recorded().save(path)
    (tmp_path / "run.zarr").write_text("a file")
    with pytest.raises(BadTraceFile, match="a Zarr trace is a folder"):
        recorded().save(tmp_path / "run.zarr")
    assert (tmp_path / "run.zarr").read_text() == "a file"


def test_without_zarr_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(BadTraceFile, match="pip install zarr"):
        recorded().save(tmp_path / "run.zarr")
    assert list(tmp_path.iterdir()) == []


WITHOUT_TORCH = """
import sys
import atlas
trace = atlas.open(sys.argv[1])
kind = trace.kinds[-1]
assert trace.attention(kind).shape
trace.scores(kind, layer=0, head=0)
trace.vectors("query", kind), trace.vectors("hidden", "decoder")
assert len(trace.heads) and len(trace.tokens()) and len(trace.predictions())
assert trace.save(sys.argv[2]).exists()
print(sorted(name for name in ("torch", "transformers", "panel") if name in sys.modules))
"""


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_saved_trace_needs_no_torch(ending: str, tmp_path: Path) -> None:
    path = both("qk")().save(tmp_path / f"run{ending}")
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, str(path), str(tmp_path / f"again{ending}")],
        capture_output=True, text=True, cwd=REPO, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


# -- files that are no traces ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recorded().save(tmp_path_factory.mktemp("good") / "good.nc")


def rewritten(good: Path, path: Path, change: Callable[[Any], None]) -> Path:
    path.write_bytes(good.read_bytes())
    with h5py.File(path, "r+") as file:
        change(file)
    return path


class Canary:
    """Unpickling this writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.path}",)


def test_the_canary_sings(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Canary(tmp_path / "sung")))
    assert (tmp_path / "sung").exists()


def cut_short(good: Path, path: Path) -> Path:
    path.write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    return path


def flipped(good: Path, path: Path) -> Path:
    data = bytearray(good.read_bytes())
    for start in range(600, len(data), 997):
        data[start : start + 16] = os.urandom(16)
    path.write_bytes(bytes(data))
    return path


def foreign(good: Path, path: Path) -> Path:
    xr.Dataset({"temperature": ("time", np.arange(4.0))}).to_netcdf(path, engine="h5netcdf")
    return path


def newer(good: Path, path: Path) -> Path:
    return rewritten(good, path, lambda file: file.attrs.__setitem__("version", 99))


def without_attention(good: Path, path: Path) -> Path:
    return rewritten(good, path, lambda file: file.__delitem__("attention"))


def without_version(good: Path, path: Path) -> Path:
    return rewritten(good, path, lambda file: file.attrs.__delitem__("version"))


def broken_json(good: Path, path: Path) -> Path:
    def change(file: Any) -> None:
        file["provenance"][0] = ord("?")

    return rewritten(good, path, change)


def written(content: bytes) -> Callable[[Path, Path], Path]:
    def write(good: Path, path: Path) -> Path:
        path.write_bytes(content)
        return path

    return write


def folder(good: Path, path: Path) -> Path:
    path.mkdir()
    return path


def other_zarr(good: Path, path: Path) -> Path:
    return foreign_zarr(path)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda _, path: path, "There is no file"),
        (written(b""), "cannot be read as a saved trace"),
        (written(b"hello, this is text"), "cannot be read as a saved trace"),
        (written(b"\x89HDF\r\n\x1a\n" + b"\x00" * 64), "cannot be read as a saved trace"),
        (cut_short, "cannot be read as a saved trace"),
        (flipped, "cannot be read as a saved trace|no saved trace"),
        (foreign, "no saved trace of Attention Atlas"),
        (newer, "newer Attention Atlas .*reads 1.*Upgrade"),
        (without_attention, "cannot be read as a saved trace"),
        (without_version, "cannot be read as a saved trace"),
        (broken_json, "cannot be read as a saved trace"),
        (folder, "cannot be read as a saved trace"),
        (other_zarr, "no saved trace of Attention Atlas"),
    ],
)
def test_what_is_no_trace(make: Any, says: str, good: Path, tmp_path: Path) -> None:
    path = make(good, tmp_path / "some.nc")
    with pytest.raises(BadTraceFile, match=says) as caught:
        atlas.open(path)
    assert str(path) in str(caught.value)


def test_a_pickle_named_nc_is_not_run(tmp_path: Path) -> None:
    (tmp_path / "run.nc").write_bytes(pickle.dumps(Canary(tmp_path / "sung")))
    with pytest.raises(BadTraceFile):
        atlas.open(tmp_path / "run.nc")
    torch.save({"weights": Canary(tmp_path / "sung")}, tmp_path / "model.nc")
    with pytest.raises(BadTraceFile):
        atlas.open(tmp_path / "model.nc")
    assert not (tmp_path / "sung").exists()


def pickle_store(path: Path, sung: Path, version: int) -> None:
    """A Zarr store whose one chunk is a pickle, declared as the old format allows it (as a filter)."""
    payload = pickle.dumps(np.array([Canary(sung)], dtype=object))
    (path / "provenance").mkdir(parents=True)
    if version == 2:
        (path / ".zgroup").write_text(json.dumps({"zarr_format": 2}))
        (path / ".zattrs").write_text(json.dumps({"format": "attention-atlas trace", "version": 1}))
        about = {"zarr_format": 2, "shape": [1], "chunks": [1], "dtype": "|u1", "compressor": None, "fill_value": 0, "order": "C",
                 "filters": [{"id": "pickle", "protocol": 5}]}  # fmt: skip
        (path / "provenance" / ".zarray").write_text(json.dumps(about))
        (path / "provenance" / ".zattrs").write_text(json.dumps({"_ARRAY_DIMENSIONS": ["x"]}))
        (path / "provenance" / "0").write_bytes(payload)
        return
    (path / "zarr.json").write_text(
        json.dumps({"zarr_format": 3, "node_type": "group", "attributes": {"format": "attention-atlas trace", "version": 1}})
    )
    about = {
        "zarr_format": 3, "node_type": "array", "shape": [1], "data_type": "uint8", "fill_value": 0, "attributes": {},
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [1]}}, "dimension_names": ["x"],
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "codecs": [{"name": "numcodecs.pickle", "configuration": {"id": "pickle", "protocol": 5}}],
    }  # fmt: skip
    (path / "provenance" / "zarr.json").write_text(json.dumps(about))
    (path / "provenance" / "c").mkdir()
    (path / "provenance" / "c" / "0").write_bytes(payload)


@pytest.mark.parametrize("version", [2, 3])
def test_a_store_with_a_codec_that_unpickles_is_not_run(version: int, tmp_path: Path) -> None:
    pickle_store(tmp_path / "run.zarr", tmp_path / "sung", version)
    with pytest.raises(BadTraceFile):
        atlas.open(tmp_path / "run.zarr")
    assert not (tmp_path / "sung").exists()
