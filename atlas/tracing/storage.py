"""Traces as files: NetCDF, or a Zarr folder. Numbers come back bit for bit; nothing in a file is ever run or unpickled.

Text travels as UTF-8 bytes in a numeric array, not as HDF5 strings: those end at the first NUL, and a text may hold one.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from atlas.errors import BadTraceFile
from atlas.ids import KINDS
from atlas.trace import Place, Texts, Trace
from atlas.tracing.declared import OPEN_BYTES, check_file, check_size
from atlas.tracing.outcomes import Predictions
from atlas.tracing.record import Attention, Bias, Layer, Mask
from atlas.tracing.sound import DTYPES, check_trace, check_words

FORMAT = "attention-atlas trace"
VERSION = 1
ZARR = ".zarr"

PER_LAYER = ("weights", "query", "key", "value", "sinks", "edges")
"""Arrays of a layer; stacked into one variable where all layers have the same shape."""

AXES: dict[str, tuple[str, ...]] = {
    "weights": ("head", "query", "key"),
    "query": ("head", "query", "width"),
    "key": ("key_head", "key", "width"),
    "value": ("key_head", "key", "value_width"),
    "sinks": ("head",),
    "edges": ("edge", "end"),
}


def save_trace(trace: Trace, path: Path) -> Path:
    """Write a trace; a file that is there already is replaced only once the new one is complete."""
    _check_replaceable(path)
    tree = xr.DataTree.from_dict(_groups(trace))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        holding = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
        try:
            _write(tree, holding / path.name, zarr=path.suffix == ZARR)
            _put(holding / path.name, path, holding / "old")
        finally:
            shutil.rmtree(holding, ignore_errors=True)
    except OSError as error:
        msg = f"The trace cannot be written to {path}: {error.strerror or error}. Choose another place."
        raise BadTraceFile(msg) from error
    return path


def _write(tree: xr.DataTree, new: Path, *, zarr: bool) -> None:
    if not zarr:
        tree.to_netcdf(new, engine="h5netcdf")
        return
    if importlib.util.find_spec("zarr") is None:
        msg = f"Writing {new.name} needs the package zarr: pip install zarr. Or save as NetCDF, with a name that ends in .nc."
        raise BadTraceFile(msg)
    tree.to_zarr(new, zarr_format=3, consolidated=False)


def _put(new: Path, path: Path, old: Path) -> None:
    """Move the new one into place. A folder cannot be replaced in one step, so the old one waits beside it, and comes back."""
    if not path.is_dir():
        _move(new, path)
        return
    _move(path, old)
    try:
        _move(new, path)
    except BaseException:
        _move(old, path)
        raise


def _move(source: Path, target: Path) -> None:
    source.replace(target)


def _check_replaceable(path: Path) -> None:
    """Refuse to replace anything but a file or a trace of ours: a typo must not delete somebody's work."""
    if path.is_dir() and not (path.suffix == ZARR and _is_trace_folder(path)):
        msg = f"{path} is a folder that holds no trace, so it is not replaced. Choose another name."
        raise BadTraceFile(msg)
    if path.suffix == ZARR and path.exists() and not path.is_dir():
        msg = f"{path} is a file, and a Zarr trace is a folder. Choose another name."
        raise BadTraceFile(msg)


def _is_trace_folder(path: Path) -> bool:
    try:
        about = json.loads((path / "zarr.json").read_text(encoding="utf-8"))
        return bool(about["attributes"]["format"] == FORMAT)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def load_trace(path: Path) -> Trace:
    """Read a whole trace into memory."""
    if not path.exists():
        msg = f"There is no file {path}."
        raise BadTraceFile(msg)
    try:
        check_file(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # xarray warns about foreign files in many ways; the check below says it once.
            # zarr_format is fixed because older formats can name a codec that unpickles.
            opened = (
                xr.open_datatree(path, engine="zarr", zarr_format=3, consolidated=False)
                if path.is_dir()
                else xr.open_datatree(path, engine="h5netcdf")
            )
        with opened as tree:
            check_size(sum(node.dataset.nbytes for node in tree.subtree), OPEN_BYTES, path)
            _check_format(tree, path)
            return _sound(tree.load(), path)
    except BadTraceFile:
        raise
    except Exception as error:
        # Whatever a damaged or foreign file makes the readers raise, the person needs one sentence.
        msg = f"{path} cannot be read as a saved trace ({type(error).__name__}: {error}). It is damaged or something else."
        raise BadTraceFile(msg) from error


def _sound(tree: Any, path: Path) -> Trace:
    """The trace, if its parts are what they should be and fit each other; else the error says which do not."""
    try:
        trace = _trace(tree)
        check_trace(trace)
    except BadTraceFile as problem:
        msg = f"{path} cannot be read as a saved trace: {problem}. It is damaged or was changed."
        raise BadTraceFile(msg) from problem
    return trace


def _check_format(tree: Any, path: Path) -> None:
    if tree.attrs.get("format") != FORMAT:
        msg = f"{path} is no saved trace of Attention Atlas."
        raise BadTraceFile(msg)
    if int(tree.attrs["version"]) > VERSION:
        theirs = tree.attrs["version"]
        msg = f"{path} was written by a newer Attention Atlas (format {theirs}, this one reads {VERSION}). Upgrade."
        raise BadTraceFile(msg)


# -- writing -----------------------------------------------------------------------------------------------------------


def _groups(trace: Trace) -> dict[str, xr.Dataset]:
    tables = {side: trace.tokens(side) for side in trace.token_tables}
    head = {
        "provenance": _bytes(dict(trace.provenance)),
        "texts": _bytes({"text": trace.texts.text, "pair": trace.texts.pair, "target": trace.texts.target}),
        "tables": _bytes({side: _table_to_plain(table) for side, table in tables.items()}),
    }
    root = xr.Dataset(
        {name: ((f"{name}_byte",), data) for name, data in head.items()}, attrs={"format": FORMAT, "version": VERSION}
    )
    groups = {"/": root}
    for kind, attention in trace.attentions.items():
        groups[f"/attention/{kind}"] = _attention_to_dataset(attention)
    for name, places in trace.held_arrays().items():
        groups[f"/arrays/{name}"] = _places_to_dataset(places)
    if trace.outcomes is not None:
        groups["/outcomes"] = _outcomes_to_dataset(trace.outcomes)
    return groups


def _places_to_dataset(places: Mapping[Place, np.ndarray]) -> xr.Dataset:
    """One variable a kind where all its layers have one shape: opening a file costs time for every variable in it."""
    variables: dict[str, Any] = {}
    by_kind: dict[str, dict[int, np.ndarray]] = {}
    for place, array in places.items():
        if place is None:
            variables["model"] = _own_dims("model", array)
        else:
            by_kind.setdefault(place[0], {})[place[1]] = array
    for kind, layers in by_kind.items():
        arrays = list(layers.values())
        if len({(array.shape, array.dtype) for array in arrays}) == 1:
            dims, _ = _own_dims(kind, arrays[0])
            variables[kind] = ((f"{kind}_layer", *dims), np.stack(arrays), {"layers": list(layers)})
        else:
            variables |= {f"{kind}.{layer}": _own_dims(f"{kind}.{layer}", array) for layer, array in layers.items()}
    return xr.Dataset(variables)


def _attention_to_dataset(attention: Attention) -> xr.Dataset:
    variables: dict[str, Any] = {}
    for name in PER_LAYER:
        variables |= _layer_variables(name, [getattr(layer, name) for layer in attention.layers])
    for name, values in attention.stats.items():
        last = "query" if values.shape[-1] == attention.n_queries and not _per_key(name) else "key"
        variables[f"stat.{name}"] = (("layer", "head", last), values)
    if attention.thumbnails is not None:
        variables["thumbnails"] = (("layer", "head", "row", "column"), attention.thumbnails)
    shared: dict[int, int] = {}
    described = []
    for index, layer in enumerate(attention.layers):
        about: dict[str, Any] = {"scaling": layer.scaling, "softcap": layer.softcap, "causal": layer.mask.causal}
        for name, array in (
            ("mask", layer.mask.cells),
            ("bias.diagonals", layer.bias.diagonals if layer.bias else None),
            ("bias.cells", layer.bias.cells if layer.bias else None),
        ):
            if array is not None:
                # Masks and biases are shared by layers in memory; so they are in the file.
                number = shared.setdefault(id(array), len(shared))
                about[name] = number
                variables[f"{name}.{number}"] = _own_dims(f"{name}.{number}", array)
        for patched, pattern in layer.patterns.items():
            variables[f"pattern.{index}.{patched}"] = (("query", "key"), pattern)
        if layer.replaced:
            about["replaced"] = list(layer.replaced)
        described.append(about)
    variables["layers"] = (("layers_byte",), _bytes(described))
    return xr.Dataset(
        variables, attrs={"n_heads": attention.n_heads, "n_queries": attention.n_queries, "n_keys": attention.n_keys}
    )


def _per_key(name: str) -> bool:
    return name.startswith("received") or name == "value_norm"


def _layer_variables(name: str, arrays: list[np.ndarray | None]) -> dict[str, Any]:
    held = [array for array in arrays if array is not None]
    if len(held) == len(arrays) and len({array.shape for array in held}) == 1 and len({array.dtype for array in held}) == 1:
        return {_stored(name): (("layer", *(_axis(name, axis) for axis in AXES[name])), np.stack(held))}
    names = {i: f"{_stored(name)}.{i}" for i in range(len(arrays))}
    return {names[i]: _own_dims(names[i], array) for i, array in enumerate(arrays) if array is not None}


def _stored(name: str) -> str:
    """What an array of a layer is called in the file.

    A variable called like an axis ('query', 'key') would come back as the axis' coordinate, and not among the data.
    """
    return f"of.{name}"


def _axis(name: str, axis: str) -> str:
    """Widths belong to their variable: queries and keys may be wider than values."""
    return f"{name}_{axis}" if axis in ("width", "value_width", "edge", "end") else axis


def _own_dims(name: str, array: np.ndarray) -> tuple[tuple[str, ...], np.ndarray]:
    return tuple(f"{name}_{i}" for i in range(array.ndim)), array


def _outcomes_to_dataset(outcomes: Predictions) -> xr.Dataset:
    about = {"task": outcomes.task, "n_outcomes": outcomes.n_outcomes, "multi_label": outcomes.multi_label}
    return xr.Dataset(
        {
            "ids": (("position", "rank"), outcomes.ids),
            "logits": (("position", "rank"), outcomes.logits),
            "log_sum_exp": (("position",), outcomes.log_sum_exp),
            "names": (("names_byte",), _bytes(outcomes.names.tolist())),
            "about": (("about_byte",), _bytes(about)),
        }
    )


def _bytes(value: Any) -> np.ndarray:
    return np.frombuffer(json.dumps(value, ensure_ascii=False).encode(), dtype=np.uint8)


def _table_to_plain(table: pd.DataFrame) -> dict[str, Any]:
    columns = {
        name: {"dtype": str(column.dtype), "values": [None if pd.isna(value) else value for value in column.tolist()]}
        for name, column in table.items()
    }
    return {"columns": columns, "index": table.index.name, "attrs": dict(table.attrs)}


# -- reading -----------------------------------------------------------------------------------------------------------


def _trace(tree: Any) -> Trace:
    texts = _plain(tree["texts"])
    kinds = tree["attention"].children
    arrays: dict[str, dict[Place, np.ndarray]] = {}
    for name, node in tree["arrays"].children.items() if "arrays" in tree.children else ():
        arrays[name] = dict(_places_from(node))
    return Trace(
        attentions={kind: _attention_from(kind, kinds[kind]) for kind in KINDS if kind in kinds},
        token_tables={side: _table_from(plain) for side, plain in _plain(tree["tables"]).items()},
        provenance=_plain(tree["provenance"]),
        texts=Texts(**texts),
        arrays=arrays,
        outcomes=_outcomes_from(tree["outcomes"]) if "outcomes" in tree.children else None,
    )


def _attention_from(kind: str, node: Any) -> Attention:
    described = _plain(node["layers"])
    n_heads = int(node.attrs["n_heads"])
    shared: dict[str, np.ndarray] = {}

    def once(name: str) -> np.ndarray:
        if name not in shared:
            shared[name] = node[name].to_numpy()
        return shared[name]

    layers = []
    for index, about in enumerate(described):
        own = {name: _of_layer(node, name, index, once) for name in PER_LAYER}
        cells = once(f"mask.{about['mask']}").astype(bool, copy=False) if "mask" in about else None
        bias = _bias_from(about, once)
        patterns = {
            int(name.rpartition(".")[2]): node[name].to_numpy() for name in node.data_vars if name.startswith(f"pattern.{index}.")
        }
        layers.append(
            Layer(n_heads=n_heads, mask=Mask(bool(about["causal"]), cells), scaling=about["scaling"], softcap=about["softcap"],
                  bias=bias, patterns=patterns, replaced=tuple(about.get("replaced", ())), **own)
        )  # fmt: skip
    stats = {name.removeprefix("stat."): node[name].to_numpy() for name in node.data_vars if name.startswith("stat.")}
    small = {"maximum": node["thumbnails"].to_numpy()} if "thumbnails" in node.data_vars else {}
    return Attention(kind, n_heads, int(node.attrs["n_queries"]), int(node.attrs["n_keys"]), tuple(layers), stats, small)


def _of_layer(node: Any, name: str, index: int, once: Any) -> np.ndarray | None:
    if _stored(name) in node.data_vars:
        return np.asarray(once(_stored(name))[index])
    single = f"{_stored(name)}.{index}"
    return np.asarray(once(single)) if single in node.data_vars else None


def _bias_from(about: Mapping[str, Any], once: Any) -> Bias | None:
    for name in ("diagonals", "cells"):
        if f"bias.{name}" in about:
            return Bias(**{name: once(f"bias.{name}.{about[f'bias.{name}']}")})
    return None


def _outcomes_from(node: Any) -> Predictions:
    names = np.asarray(_plain(node["names"]), dtype=object).reshape(node["ids"].shape)
    numbers = {name: node[name].to_numpy() for name in ("ids", "logits", "log_sum_exp")}
    return Predictions(names=names, **numbers, **_plain(node["about"]))


def _plain(variable: Any) -> Any:
    found = json.loads(variable.to_numpy().astype(np.uint8).tobytes().decode())
    check_words(found, f"what it says of its {variable.name}")
    return found


def _table_from(plain: Mapping[str, Any]) -> pd.DataFrame:
    odd = [column["dtype"] for column in plain["columns"].values() if column["dtype"] not in DTYPES]
    if odd:
        msg = f"its tokens have a column of type {odd[0]!r}"
        raise BadTraceFile(msg)
    table = pd.DataFrame({name: pd.Series(column["values"], dtype=column["dtype"]) for name, column in plain["columns"].items()})
    table.index.name = plain["index"]
    table.attrs.update(plain["attrs"])
    return table


def _places_from(node: Any) -> Iterator[tuple[Place, np.ndarray]]:
    for name, variable in node.data_vars.items():
        array = variable.to_numpy()
        if name == "model":
            yield None, array
        elif "layers" in variable.attrs:
            yield from (
                ((name, int(layer)), part) for layer, part in zip(np.atleast_1d(variable.attrs["layers"]), array, strict=True)
            )
        else:
            kind, _, layer = name.rpartition(".")
            yield (kind, int(layer)), array
