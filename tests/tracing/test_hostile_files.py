"""Trace files from a stranger: each is one clear error within a second and little memory, and none is opened by mistake."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import zarr

import atlas
from atlas.corpus.store import Store
from atlas.errors import BadTraceFile
from atlas.tracing.declared import _unpacked
from tests.engine.families import loaded
from tests.places import REPO
from tests.tracing.corpora import corpus, values

SECONDS = 1.0
"""Of the processor, which others may share."""

MEMORY = 700 << 20
"""Bytes of a process that has imported Atlas and refused a file; most of them are the libraries."""


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> Path:
    """A trace as both kinds of file."""
    folder = tmp_path_factory.mktemp("good")
    trace = loaded("GPT-2").trace("the doctor said that she was tired", keep="weights")
    for ending in (".nc", ".zarr"):
        trace.save(folder / f"run{ending}")
        atlas.open(folder / f"run{ending}")  # also warms up what opens files
    return folder


def refused(path: Path, says: str) -> None:
    begun = time.thread_time()
    with pytest.raises(BadTraceFile, match=says) as error:
        atlas.open(path)
    assert time.thread_time() - begun < SECONDS
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


# -- what a file declares --


def of_itself(path: Path) -> None:
    with h5py.File(path, "w") as file:
        group = file.create_group("attention")
        group["again"] = file["/"]


def of_each_other(path: Path) -> None:
    with h5py.File(path, "w") as file:
        one, two = file.create_group("one"), file.create_group("two")
        one["two"], two["one"] = two, one


def deep(path: Path) -> None:
    with h5py.File(path, "w") as file:
        group = file
        for _ in range(3_000):
            group = group.create_group("g")


def with_texts(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("many", shape=(1_000_000,), dtype=h5py.string_dtype())


def with_long_attributes(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.attrs.create("many", np.array(["x" * 10] * 500, dtype=object), dtype=h5py.string_dtype())


def empty_gigabytes(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("zeros", shape=(3 << 28,), dtype="f4", chunks=True, compression="gzip")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (of_itself, "a group that holds itself"),
        (of_each_other, "a group that holds itself"),
        (deep, "groups inside each other"),
        (with_texts, "arrays of texts"),
        (with_long_attributes, "attributes of many values"),
        (empty_gigabytes, "declares 3.0 GiB"),
        (os.mkfifo, "neither a file nor a folder"),
    ],
)
def test_a_file_that_declares_a_trap_is_not_opened(make: Callable[[Path], None], says: str, good: Path, tmp_path: Path) -> None:
    make(tmp_path / "run.nc")
    refused(tmp_path / "run.nc", says)


def store(path: Path, **changes: Any) -> Path:
    """A Zarr folder with one array."""
    (path / "zeros").mkdir(parents=True)
    root = {"zarr_format": 3, "node_type": "group", "attributes": {"format": "attention-atlas trace", "version": 1}}
    (path / "zarr.json").write_text(json.dumps(root))
    array = {
        "zarr_format": 3, "node_type": "array", "shape": [3 << 28], "data_type": "float32", "fill_value": 0.0, "attributes": {},
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [1 << 20]}}, "dimension_names": ["x"],
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "zstd", "configuration": {}}],
    }  # fmt: skip
    (path / "zeros" / "zarr.json").write_text(json.dumps(array | changes))
    return path


def piece(path: Path, content: bytes) -> Path:
    (path / "zeros" / "c").mkdir()
    (path / "zeros" / "c" / "0").write_bytes(content)
    return path


def bomb() -> bytes:
    """A frame of Zstandard that says it is 2 GiB."""
    return b"\x28\xb5\x2f\xfd" + bytes([0b1110_0000]) + (2 << 30).to_bytes(8, "little") + bytes(16)


def linked(path: Path) -> Path:
    (store(path, shape=[4]) / "out").symlink_to("/etc")
    return path


def piped(path: Path) -> Path:
    os.mkfifo(store(path, shape=[4]) / "zeros" / "c")
    return path


def nested(path: Path) -> Path:
    inner = store(path, shape=[4])
    for _ in range(200):
        inner /= "g"
        inner.mkdir()
        shutil.copy(path / "zarr.json", inner / "zarr.json")
    return path


CHUNK = {"name": "regular", "configuration": {"chunk_shape": [3 << 28]}}


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (store, "declares 3.0 GiB"),
        (lambda path: store(path, shape=[4], chunk_grid=CHUNK), "declares 3.0 GiB"),
        (lambda path: piece(store(path, shape=[4]), bomb()), "unpack to more than they declare"),
        (lambda path: piece(store(path, shape=[4]), b"no frame at all"), "unpack to more than they declare"),
        (lambda path: store(path, shape=[-1]), "anything but numbers"),
        (lambda path: store(path, shape=[4], data_type="string"), "anything but numbers"),
        (lambda path: store(path, shape=[4], codecs=[{"name": "numcodecs.pickle"}]), "codecs of its own"),
        (lambda path: store(path, shape="many"), "anything but numbers|cannot be read"),
        (linked, "links or pipes"),
        (piped, "links or pipes"),
        (nested, "groups inside each other"),
    ],
)
def test_a_folder_that_declares_a_trap_is_not_opened(make: Callable[[Path], Path], says: str, good: Path, tmp_path: Path) -> None:
    refused(make(tmp_path / "run.zarr"), says)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux says what a process held at most")
def test_the_largest_traps_take_little_memory(tmp_path: Path) -> None:
    store(tmp_path / "run.zarr")
    empty_gigabytes(tmp_path / "run.nc")
    deep(tmp_path / "deep.nc")
    code = (
        "import sys, atlas\n"
        "from pathlib import Path\n"
        "from atlas.errors import BadTraceFile\n"
        "for name in sys.argv[1:]:\n"
        "    try: atlas.open(name)\n"
        "    except BadTraceFile: pass\n"
        # Not `resource`, which also counts what the process of the tests held when it started this one.
        "print(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0])\n"
    )
    names = [str(tmp_path / name) for name in ("run.zarr", "run.nc", "deep.nc")]
    done = subprocess.run([sys.executable, "-c", code, *names], cwd=REPO, capture_output=True, text=True, check=True, timeout=60)
    assert int(done.stdout) * 1024 < MEMORY


def test_the_size_of_a_frame_is_read_as_the_library_writes_it() -> None:
    from numcodecs import Zstd

    for size in (1, 255, 256, 300, 65_791, 65_792, 1 << 20):
        assert _unpacked(Zstd().encode(bytes(size))[:18]) == size
    for start in (b"", b"\x28\xb5", b"\x28\xb5\x2f\xfd\x00\x58", bytes(18)):
        assert _unpacked(start) is None


# -- what it holds --


def edited(good: Path, path: Path, name: str, change: Callable[[Any], Any]) -> Path:
    """The good file with one part that says something else."""
    shutil.copy(good / "run.nc", path)
    with h5py.File(path, "r+") as file:
        value = change(json.loads(file[name][:].tobytes()))
        data = np.frombuffer(json.dumps(value).encode(), dtype=np.uint8)
        *above, last = name.split("/")
        group = file["/".join(above)] if above else file
        dimension = f"{last}_byte"
        del group[last]
        if dimension in group:
            del group[dimension]
        scale = group.create_dataset(dimension, data=np.zeros(len(data), dtype=">f4"))
        scale.make_scale("This is a netCDF dimension but not a netCDF variable.")
        group.create_dataset(last, data=data).dims[0].attach_scale(scale)
    return path


def changed(good: Path, path: Path, change: Callable[[Any], object]) -> Path:
    shutil.copy(good / "run.nc", path)
    with h5py.File(path, "r+") as file:
        change(file)
    return path


def put(value: Any, *keys: str) -> Callable[[Any], Any]:
    def change(plain: Any) -> Any:
        inner = plain
        for key in keys[:-1]:
            inner = inner[key]
        inner[keys[-1]] = value
        return plain

    return change


def column(name: str, values: Any = None, dtype: str | None = None) -> Callable[[Any], Any]:
    def change(plain: Any) -> Any:
        found = plain["source"]["columns"]
        if values is None and dtype is None:
            del found[name]
            return plain
        if values is not None:
            found[name]["values"] = values(found[name]["values"])
        found[name]["dtype"] = dtype or found[name]["dtype"]
        return plain

    return change


@pytest.mark.parametrize(
    ("part", "change", "says"),
    [
        ("texts", put(5, "text"), "one of its texts is no text"),
        ("texts", put("half \ud800 of one", "text"), "has half of a letter .U.D800."),
        ("texts", put("x", "another"), "cannot be read as a saved trace"),
        ("texts", lambda _: [], "cannot be read as a saved trace"),
        ("provenance", put(["x"], "model"), "its model is no text"),
        ("provenance", put("a note", "notes"), "its notes are no texts"),
        ("provenance", put([1], "versions"), "its origin is unclear"),
        ("provenance", put(-1, "tokens_cut"), "tokens cut"),
        ("tables", column("token"), "column 'token' of its source tokens is missing"),
        ("tables", column("special"), "column 'special' of its source tokens is missing"),
        ("tables", column("token", lambda words: ["\udfff", *words[1:]]), "half of a letter"),
        ("tables", column("id", lambda ids: ["x" for _ in ids], "str"), "column 'id'"),
        ("tables", column("id", None, "category"), "a column of type 'category'"),
        ("tables", column("id", None, "datetime64[ns]"), "a column of type 'datetime64"),
        ("tables", lambda _: {}, "it has no tokens"),
        ("tables", lambda plain: {"nobody": plain["source"]}, "tokens of 'nobody'"),
        ("tables", lambda plain: {"source": {**plain["source"], "columns": {
            name: {**held, "values": held["values"][:-1]} for name, held in plain["source"]["columns"].items()}}},
         "attention is of other tokens"),
        ("attention/decoder/layers", lambda layers: layers[:1], "another shape|cannot be read"),
        ("attention/decoder/layers", lambda layers: [{**about, "scaling": "x"} for about in layers], "is scaled by no number"),
        ("attention/decoder/layers", lambda layers: [{**about, "replaced": [99]} for about in layers], "the heads replaced"),
        ("outcomes/about", put(None, "n_outcomes"), "predictions are of nothing known"),
    ],
)  # fmt: skip
def test_words_that_are_none_are_said_and_refused(part: str, change: Any, says: str, good: Path, tmp_path: Path) -> None:
    refused(edited(good, tmp_path / "run.nc", part, change), says)


def test_an_edited_part_that_is_right_is_read(good: Path, tmp_path: Path) -> None:
    """The counterpart of the test above: what refuses its files is the edit, not the editing."""
    trace = atlas.open(edited(good, tmp_path / "run.nc", "texts", put("another text", "text")))
    assert trace.texts.text == "another text"


def weights(file: Any) -> Any:
    return file["attention/decoder/of.weights"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda file: file["attention/decoder"].__delitem__("stat.entropy"), "lacks the statistic 'entropy'"),
        (lambda file: file["attention/decoder"].__delitem__("stat.received_informative"), "lacks the statistic"),
        (lambda file: file["attention/decoder"].__delitem__("of.weights"), ""),
        (lambda file: weights(file).__setitem__(..., np.nan), "are no attention"),
        (lambda file: weights(file).__setitem__((1, 2), np.nan), "are no attention"),
        (lambda file: weights(file).__setitem__((0, 0, 3, 1), np.inf), "are no attention"),
        (lambda file: weights(file).__setitem__((0, 0, 3, 1), 7.0), "are no attention"),
        (lambda file: weights(file).__setitem__((0, 0, 3, 1), -1.0), "are no attention"),
        (lambda file: file["attention/decoder/of.query"].__setitem__((0, 0, 0, 0), np.nan), "query vectors .* no numbers"),
        (lambda file: file["attention/decoder"].attrs.__setitem__("n_heads", 3), "another shape|share no keys"),
        (lambda file: file["attention/decoder"].attrs.__setitem__("n_keys", 1), "is of other tokens"),
        (
            lambda file: file["attention/decoder"].attrs.__setitem__("n_heads", 10**12),
            "another shape|cannot be read|share no keys",
        ),
        (lambda file: file["attention"].move("decoder", "encoder_of_another"), "no attention"),
        (lambda file: file["outcomes"].__delitem__("log_sum_exp"), "cannot be read"),
    ],
)
def test_numbers_that_fit_nothing_are_said_and_refused(change: Any, says: str, good: Path, tmp_path: Path) -> None:
    path = changed(good, tmp_path / "run.nc", change)
    if says:
        refused(path, says)
    else:
        assert atlas.open(path).heads is not None  # weights are made of queries and keys where those are there


# -- corpora --


@pytest.fixture
def heads(tmp_path: Path) -> Path:
    """A corpus on disk."""
    held = corpus(values(12, 6))
    arrays = {name: np.asarray(array[:]) for name, array in held._group.arrays()}
    root = {"provenance": dict(held.provenance), "complete": list(held.complete)}
    Store(tmp_path / "heads").publish("0", arrays, dict(held._group.attrs), root)
    assert len(atlas.open(tmp_path / "heads").heads) == 6
    return tmp_path / "heads"


def put_numbers(path: Path, name: str, numbers: Any) -> None:
    """Other numbers in the place of a table."""
    shutil.rmtree(path / "tables-0" / name)
    zarr.open_group(path / "tables-0", mode="a").create_array(name, data=np.asarray(numbers))


@pytest.mark.parametrize(
    ("name", "numbers", "says"),
    [
        ("kind", [0] * 5, "has another size than the others"),
        ("layer", np.zeros((2, 3), int), "'layer' has another form"),
        ("mean", np.zeros((1, 6, 13)), "'mean' has another size"),
        ("edge_query", np.zeros(360), "'edge_query' has another form"),
    ],
)
def test_a_corpus_whose_tables_do_not_fit_is_not_opened(heads: Path, name: str, numbers: Any, says: str) -> None:
    put_numbers(heads, name, numbers)
    refused(heads, says)


def test_a_corpus_that_points_to_what_is_not_there_says_so(heads: Path) -> None:
    put_numbers(heads, "kind", [9] * 6)
    with pytest.raises(BadTraceFile, match="'kind' points to what is not there"):
        _ = atlas.open(heads).heads
    put_numbers(heads, "token_of", np.full(60, 5))
    with pytest.raises(BadTraceFile, match="points to what is not there"):
        _ = atlas.open(heads).tokens


def test_a_damaged_piece_of_a_corpus_is_one_sentence(heads: Path) -> None:
    piece = next(path for path in (heads / "tables-0" / "mean").rglob("*") if path.is_file() and path.name != "zarr.json")
    data = piece.read_bytes()
    piece.write_bytes(data[: len(data) // 2])
    with pytest.raises(BadTraceFile, match="cannot be read as a corpus") as error:
        _ = atlas.open(heads).heads
    assert "\n" not in str(error.value)


def test_a_small_corpus_that_declares_gigabytes_is_not_opened(heads: Path) -> None:
    file = heads / "tables-0" / "bad" / "zarr.json"
    about = json.loads(file.read_text())
    about["shape"] = [2 << 30]
    file.write_text(json.dumps(about))
    refused(heads, "declares 2.0 GiB")


@pytest.mark.parametrize("change", [{"provenance": 5}, {"complete": "x"}, {"provenance": {"model": ["a"]}}, {"tables": "../x"}])
def test_a_corpus_that_says_nonsense_of_itself_is_not_opened(heads: Path, change: dict[str, Any]) -> None:
    file = heads / "zarr.json"
    about = json.loads(file.read_text())
    about["attributes"] |= change
    file.write_text(json.dumps(about))
    refused(heads, "cannot be read as a corpus")
