"""What a file says it holds, looked at before anything of it is read: a stranger's file may be a trap for whoever opens it.

Links to elsewhere, groups inside themselves, thousands of groups inside each other, gigabytes declared by a few bytes, pipes.
"""

from __future__ import annotations

import json
import math
import os
import stat
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from atlas.errors import BadTraceFile

OPEN_BYTES = 64 << 30
"""No trace is larger: a file that says so would fill the memory before anything else could be said about it."""

SPARE_BYTES = 1 << 20
"""What NetCDF itself may declare beyond the file's size: axes without numbers of their own."""

DEEPEST = 4
"""Groups inside each other; a trace has two."""

MOST_ITEMS = 100_000
"""Arrays and groups: hundreds of layers with a hundred arrays each."""

MOST_TEXTS, MOST_NUMBERS = 4, 100_000
"""Values of one attribute that are texts, of any length each, and that are not."""

PACKED, SPARE_PACKED = 20, 64 << 20
"""How many times larger than their files the arrays of a Zarr folder may be, which are compressed and leave out what is zero, and
how many bytes beyond that: masks of a few thousand tokens are all but empty."""

MOST_METADATA = 1 << 20
"""Bytes of one `zarr.json`."""

CODECS = frozenset({"bytes", "zstd", "crc32c"})
"""How arrays of a trace are written. Others may run code (a pickle) or make much of little."""

_ZSTD = b"\x28\xb5\x2f\xfd"


def check_file(path: Path) -> None:
    """Refuse a path that holds no trace by what it declares: a file, or a folder of Zarr."""
    about = path.stat()
    if stat.S_ISREG(about.st_mode):
        with h5py.File(path, "r") as file:
            _check_hdf5(file, path)
    elif stat.S_ISDIR(about.st_mode):
        check_zarr(path)
    else:
        msg = f"{path} is neither a file nor a folder, so it holds no trace."
        raise BadTraceFile(msg)


def check_size(declared: int, allowed: int, path: Path) -> None:
    """Refuse more bytes than a trace of this size has."""
    if declared > allowed:
        msg = f"{path} declares {declared / 2**30:.1f} GiB of data, more than a trace of its size has. It is not opened."
        raise BadTraceFile(msg)


def _refused(path: Path, why: str) -> BadTraceFile:
    return BadTraceFile(f"{path} {why}. No trace does; it is not opened.")


# -- HDF5 ----------------------------------------------------------------------------------------------------------------


def _check_hdf5(file: h5py.File, path: Path) -> None:
    """Walk all groups without following what leads elsewhere, or around in a circle."""
    declared, seen = 0, 0
    waiting: list[tuple[Any, tuple[int, ...]]] = [(file["/"], (_place(file["/"]),))]
    while waiting:
        group, above = waiting.pop()
        _check_attributes(group, path)
        for name in group:
            seen += 1
            if seen > MOST_ITEMS:
                raise _refused(path, f"holds more than {MOST_ITEMS:,} arrays")
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise _refused(path, "holds links to elsewhere instead of data")
            item = group[name]
            if isinstance(item, h5py.Group):
                if _place(item) in above:
                    raise _refused(path, "holds a group that holds itself")
                if len(above) > DEEPEST:
                    raise _refused(path, f"holds groups inside each other, more than {DEEPEST}")
                waiting.append((item, (*above, _place(item))))
            elif isinstance(item, h5py.Dataset):
                _check_dataset(item, path)
                declared += item.nbytes
    # Traces are written as they are, without compression.
    check_size(declared, 2 * path.stat().st_size + SPARE_BYTES, path)


def _place(group: h5py.Group) -> int:
    """Where in the file a group is, which is the same for every name it has."""
    return int(h5py.h5o.get_info(group.id).addr)


def _check_dataset(item: h5py.Dataset, path: Path) -> None:
    if item.is_virtual or item.external:
        raise _refused(path, "takes its data from other files")
    if item.dtype.hasobject:
        # Many values may share one text of any length, so that their size says nothing.
        raise _refused(path, "holds arrays of texts")
    _check_attributes(item, path)


def _check_attributes(item: Any, path: Path) -> None:
    for name in item.attrs:
        identity = item.attrs.get_id(name)
        texts = h5py.check_string_dtype(identity.dtype) is not None
        if math.prod(identity.shape) > (MOST_TEXTS if texts else MOST_NUMBERS):
            raise _refused(path, "has attributes of many values")


# -- Zarr ----------------------------------------------------------------------------------------------------------------


def check_zarr(path: Path, spare: int = SPARE_PACKED) -> None:
    """Walk the folder, of which every part is a file of its own; `spare` bytes beyond what its files may hold are let pass."""
    declared = held = seen = 0
    for folder, inner, names in os.walk(path):
        place = Path(folder)
        seen += len(inner) + len(names)
        if seen > MOST_ITEMS:
            raise _refused(path, f"holds more than {MOST_ITEMS:,} files")
        for name in (*inner, *names):
            about = (place / name).lstat()
            if not (stat.S_ISDIR(about.st_mode) or stat.S_ISREG(about.st_mode)):
                raise _refused(path, "holds links or pipes instead of data")
            held += about.st_size
        array = _array_of(place, path) if "zarr.json" in names else None
        if array is not None:
            declared += array.declared
            for chunk in _chunks(place):
                _check_chunk(chunk, array.chunk, path)
            inner.clear()  # what is below an array are its pieces
        elif len(place.relative_to(path).parts) > DEEPEST:
            raise _refused(path, f"holds groups inside each other, more than {DEEPEST}")
    check_size(declared, PACKED * held + spare, path)


class _Array:
    """Bytes of an array, and of one of its pieces."""

    def __init__(self, declared: int, chunk: int) -> None:
        self.declared, self.chunk = declared, chunk


def _array_of(place: Path, path: Path) -> _Array | None:
    """What a `zarr.json` declares; None for a group."""
    file = place / "zarr.json"
    if file.stat().st_size > MOST_METADATA:
        raise _refused(path, "describes itself at length")
    about = json.loads(file.read_text(encoding="utf-8"))
    if about["node_type"] != "array":
        return None
    names = [codec["name"] for codec in about["codecs"]]
    if not CODECS.issuperset(names):
        raise _refused(path, "is written with codecs of its own")
    try:
        size = np.dtype(about["data_type"]).itemsize if about["data_type"] != "string" else 0
    except TypeError:
        size = 0
    shape, chunks = about["shape"], about["chunk_grid"]["configuration"]["chunk_shape"]
    if not size or not all(type(side) is int and side >= 0 for side in (*shape, *chunks)):
        raise _refused(path, "holds arrays of anything but numbers")
    chunk = size * math.prod(chunks)
    # A piece may be larger than its array, and is read whole.
    return _Array(max(size * math.prod(shape), chunk), chunk if "zstd" in names else -1)


def _chunks(place: Path) -> list[Path]:
    return [Path(folder) / name for folder, _, names in os.walk(place) for name in names if name != "zarr.json"]


def _check_chunk(file: Path, most: int, path: Path) -> None:
    """Refuse a compressed piece that unpacks to more than the array's pieces have."""
    if most < 0:
        return
    with file.open("rb") as opened:
        start = opened.read(18)
    size = _unpacked(start)
    if size is None or size > most:
        raise _refused(path, "holds pieces that unpack to more than they declare")


def _unpacked(start: bytes) -> int | None:
    """Bytes that a frame of Zstandard unpacks to, by its header (RFC 8878, 3.1.1.1); None where it does not say."""
    if len(start) < 6 or start[:4] != _ZSTD:
        return None
    flags = start[4]
    single = bool(flags & 0x20)
    at = 5 + (not single) + (0, 1, 2, 4)[flags & 3]
    width = (1 if single else 0, 2, 4, 8)[flags >> 6]
    found = int.from_bytes(start[at : at + width], "little")
    return None if not width or len(start) < at + width else found + (256 if width == 2 else 0)
