"""Whether what was read from a store is a corpus: tables that fit each other, and numbers that point to what is there.

What is not would else fail later, inside a view, in words that say nothing about the store.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from atlas.errors import BadTraceFile
from atlas.ids import KINDS

BYTES = ("byte",)

SHAPES: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("kind", "layer", "head"), ("head",)),
    **dict.fromkeys(("n", "mean", "m2", "uniform"), ("group", "head", "metric")),
    "rows": ("group", "head", "counted"),
    "sketch": ("head", "metric", "bin"),
    "sketch_edges": ("metric", "edge of a bin"),
    **dict.fromkeys(("distance", "distance_uniform"), ("head", "offset")),
    **dict.fromkeys(("distance_low", "distance_high"), ("offset",)),
    **{f"token_{name}": ("token",) for name in ("head", "side", "of", "mass", "count", "special")},
    **{f"exemplar_{name}": ("exemplar",) for name in ("head", "metric", "decile", "value", "text", "pair")},
    "pair_start": ("start",),
    **{f"edge_{name}": ("edge",) for name in ("query", "key", "weight")},
    **{f"{name} as text": BYTES for name in ("token_names", "texts", "bad")},
}
"""Array -> what its axes count; an axis has one size in all arrays."""

WHOLE = frozenset(
    {"kind", "layer", "head", "token_head", "token_side", "token_of", "exemplar_head", "exemplar_metric", "exemplar_text",
     "exemplar_pair", "pair_start", "edge_query", "edge_key"}
)  # fmt: skip
"""Arrays that count, or point to something."""


@contextmanager
def whole(where: str) -> Iterator[None]:
    """Whatever a damaged or foreign store makes the readers raise, the person needs one sentence that names it."""
    try:
        yield
    except BadTraceFile as problem:
        if where in str(problem):
            raise
        msg = f"{where} cannot be read as a corpus: {problem}. It is damaged or was changed."
        raise BadTraceFile(msg) from problem
    except Exception as error:
        msg = f"{where} cannot be read as a corpus ({type(error).__name__}: {error}). It is damaged or something else."
        raise BadTraceFile(msg) from error


def require(condition: object, problem: str) -> None:
    """Raise BadTraceFile, without the name of the store."""
    if not condition:
        raise BadTraceFile(problem)


def check_about(provenance: Any, complete: Any, about: Mapping[str, Any]) -> None:
    """Check what a store says of itself in words."""
    require(isinstance(provenance, dict), "it does not say where it comes from")
    require(isinstance(provenance.get("model"), str), "it does not say of which model it is")
    counts = [provenance.get("texts"), provenance.get("tokens"), *(complete if isinstance(complete, list) else ())]
    require(len(counts) == 4 and all(type(each) is int and each >= 0 for each in counts), "it does not say how much it holds")
    revision, settings = provenance.get("revision"), provenance.get("settings", {})
    require(isinstance(revision, str | None) and isinstance(settings, dict), "it does not say where it comes from")
    for name in ("metrics", "kinds", "groups", "counted", "roles"):
        given = about.get(name)
        words = isinstance(given, list) and all(isinstance(each, str) for each in given)
        require(words and len(set(given or ())) == len(given or ()), f"its {name} are no list of names")
    require(set(about["kinds"]) <= set(KINDS), "it has unknown kinds of attention")
    texts = about.get("texts")
    right = isinstance(texts, list) and len(texts) == len(about["groups"]) and all(type(each) is int for each in texts)
    require(right, "it does not say how many texts a group has")


def check_arrays(arrays: Mapping[str, Any], about: Mapping[str, Any]) -> dict[str, int]:
    """Check that all arrays are there and fit each other, by what they declare; the size of every axis."""
    sizes = {name: len(about[f"{name}s"]) for name in ("metric", "group")} | {"counted": len(about["counted"])}
    for what, axes in SHAPES.items():
        name = what.removesuffix(" as text")
        require(name in arrays, f"its table {name!r} is missing")
        shape, dtype = tuple(arrays[name].shape), np.dtype(arrays[name].dtype)
        kinds = "u" if axes is BYTES else "iu" if name in WHOLE else "iufb"
        require(len(shape) == len(axes) and dtype.kind in kinds, f"its table {name!r} has another form")
        for axis, size in zip(axes, shape, strict=True):
            fits = axes is BYTES or sizes.setdefault(axis, size) == size
            require(fits, f"its table {name!r} has another size than the others")
    require(sizes["edge of a bin"] == sizes["bin"] + 1, "its bins have no edges")
    require(sizes["head"] > 0, "it has no heads")
    return sizes


def check_numbers(name: str, numbers: np.ndarray, sizes: Mapping[str, int]) -> None:
    """Check that the numbers of a table point to what is there."""
    heads = sizes["head"]
    below = {"kind": len(KINDS), "layer": heads, "head": heads, "token_head": heads, "token_side": 2, "exemplar_head": heads,
             "exemplar_pair": max(0, sizes["start"] - 1), "pair_start": sizes["edge"] + 1}  # fmt: skip
    if name in below:
        check_below(name, numbers, below[name])
    if name == "pair_start":
        require((np.diff(numbers.astype(np.int64)) >= 0).all(), "the beginnings of its examples do not rise")
    if name == "sketch_edges":
        require((np.diff(numbers, axis=-1) >= 0).all(), "the edges of its bins do not rise")


def check_below(name: str, numbers: np.ndarray, most: int) -> None:
    """Check that all numbers are from 0 to below `most`."""
    require(not numbers.size or (numbers.min() >= 0 and numbers.max() < most), f"its table {name!r} points to what is not there")


def check_words(name: str, found: Any) -> None:
    """Check the texts of a corpus, the names of its tokens, or its list of bad rows."""
    require(isinstance(found, list), f"its {name} are no list")
    if name == "token_names":
        require(all(isinstance(each, str) for each in found), "the names of its tokens are no texts")
    elif name == "bad":
        rows = all(isinstance(each, list) and len(each) == len(("source", "row", "reason")) for each in found)
        require(rows, "its bad rows are none")
    else:
        require(all(map(_is_text, found)), "its texts are none")


def _is_text(entry: Any) -> bool:
    if not isinstance(entry, dict) or not isinstance(entry.get("tokens"), dict):
        return False
    words = isinstance(entry.get("text"), str) and all(isinstance(entry.get(name), str | None) for name in ("pair", "target"))
    lists = entry["tokens"].values()
    return words and all(isinstance(each, list) and all(isinstance(token, str) for token in each) for each in lists)
