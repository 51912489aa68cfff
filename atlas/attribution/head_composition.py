"""Composition: the earlier heads that a head reads on a text, through its queries, its keys and its values.

Shares of what was read on this text, at the sizes by which norms divided in this run; not sizes of weight matrices.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from atlas.errors import NotCaptured, TooLarge, UnknownName
from atlas.tracing.composition import COMPOSITION, COMPOSITION_PRODUCTS, PATHS, Composition, Reader, Readers, weights_of
from atlas.tracing.why import head_of, without_parts, writers_of
from atlas.tracing.writers import BIASES, allowed_error

if TYPE_CHECKING:
    from atlas.trace import Trace
    from atlas.tracing.record import Attention

Array = np.ndarray

NOTHING = 1e-9
"""A size below this share of the parts that it is the sum of is what rounding leaves: nothing was read."""

SAYS_NOTHING = {
    "q": "its scores do not vary along a row, so no query makes a difference",
    "k": "its scores do not vary along a row, so no key makes a difference",
    "v": "it reads nothing",
}


class _Parts(NamedTuple):
    """Writer -> part of one path's sum, and what is coarse."""

    parts: dict[str, float]
    coarse: list[str]


def composition(
    trace: Trace, layer: int, head: int, kind: str | None = None, queries: Sequence[int] = (), keys: Sequence[int] = ()
) -> Composition:
    """Who wrote what a head reads: the share of every writer in its scores through queries and keys, and in its values.

    Some queries and keys restrict it to these edges; none: all. The writers are those of `why`: embeddings, every head and
    feed-forward block before the layer, and `biases`. The trace needs its model, which runs once more.
    """
    attention = trace.attention_of(kind)
    name = attention.kind
    rows, columns = _places(queries, attention.n_queries, "query"), _places(keys, attention.n_keys, "key")
    for what, number, there in (("layer", layer, len(attention.layers)), ("head", head, attention.n_heads)):
        if not 0 <= number < there:
            msg = f"There is no {what} {number!r}: there are {there}, counted from 0."
            raise UnknownName(msg)
    reason = without_parts(trace, name)
    if reason:
        msg = f"This trace cannot say who wrote what its heads read: {reason}"
        raise NotCaptured(msg)
    from atlas.engine.running.head_readers import head_readers

    weights = weights_of(attention, layer, head, rows, columns)
    readers = head_readers(trace, name, layer, head, weights.on_scores, weights.on_values)
    _affordable(trace, attention, layer, readers)
    found = _parts_of(trace, name, layer, readers)
    sizes = {"q": weights.score_size, "k": weights.score_size, "v": weights.value_size}
    tables, chance, notes = [], {}, []
    for path in PATHS:
        parts, size = np.array(list(found[path].parts.values())), sizes[path]
        total = float(abs(parts).sum())
        if abs(parts.sum() - size) > allowed_error(trace) * max(total, size):
            msg = (
                f"The parts of {path} add up to {parts.sum():.4g}, not to {size:.4g}: the stream was not followed to its writers."
            )
            raise NotCaptured(msg)
        known = size > NOTHING * total
        shares = parts / size if known else np.full(len(parts), np.nan)
        notes += [*([] if known else [f"{path}: {SAYS_NOTHING[path]}"]), *found[path].coarse]
        heads = [head_of(writer, trace.kinds) is not None for writer in found[path].parts]
        chance[path] = float(abs(shares[heads]).mean()) if any(heads) else np.nan
        tables.append(pd.DataFrame({"path": path, "writer": list(found[path].parts), "share": shares}))
    table = pd.concat(tables, ignore_index=True)
    strongest = table.assign(size=table["share"].abs(), place=table["path"].map(PATHS.index))
    order = strongest.sort_values(["place", "size"], ascending=[True, False], kind="stable").index
    approximate = _approximate(attention, layer, head, inside=readers.norms_inside)
    return Composition(
        name, layer, head, table.loc[order].reset_index(drop=True), chance, approximate, tuple(dict.fromkeys(notes))
    )


def _places(given: Sequence[int], size: int, what: str) -> Array:
    places = np.unique(np.asarray(list(given) or range(size), dtype=np.int64))
    wrong = places[(places < 0) | (places >= size)]
    if len(wrong):
        msg = f"There is no {what} {int(wrong[0])}: there are {size}, counted from 0."
        raise UnknownName(msg)
    return places


def _affordable(trace: Trace, attention: Attention, layer: int, readers: Readers) -> None:
    tokens, width = readers.paths["k"].vectors.shape
    layers = layer + (trace.n_layers("encoder") if attention.kind == "cross" else 0)
    if tokens * width * attention.n_heads * layers > COMPOSITION_PRODUCTS:
        msg = f"What {layers:,} layers wrote at {tokens:,} tokens takes too long. Take a shorter text or an earlier layer."
        raise TooLarge(msg)


def _parts_of(trace: Trace, kind: str, layer: int, readers: Readers) -> dict[str, _Parts]:
    """Path -> parts of every writer; the paths that read one stream are followed in one walk."""
    found = {}
    for stream in dict.fromkeys(reader.stream for reader in readers.paths.values()):
        paths = [path for path in PATHS if readers.paths[path].stream == stream]
        given: list[Reader] = [readers.paths[path] for path in paths]
        rows = np.flatnonzero(np.any([reader.vectors.any(1) for reader in given], axis=0))
        together = np.stack([reader.vectors[rows] for reader in given], axis=1)
        parts, coarse = writers_of(trace, kind, layer, given[0], readers.norms, rows, together)
        for at, path in enumerate(paths):
            sums = {writer: float(part[:, at].sum()) for writer, part in parts.items()}
            sums[BIASES] += float(given[at].constant.sum())
            found[path] = _Parts(sums, coarse)
    return found


def _approximate(attention: Attention, layer: int, head: int, *, inside: bool) -> str:
    here = attention.layers[layer]
    reasons = []
    if inside:
        reasons.append("queries and keys are normalised before their product, and these norms too are held at their sizes")
    if here.softcap is not None:
        reasons.append(f"scores are taken apart before the model caps them softly at {here.softcap:g}")
    if here.bias is not None:
        reasons.append("the position bias, which nobody wrote, is no part of the scores that are shared out")
    if head in here.patterns:
        reasons.append("this run replaced the weights of the head, so its scores did not make them")
    return "; ".join(reasons)


TASKS: Mapping[str, Callable[..., Any]] = {COMPOSITION: composition}
"""Work with the model that views may request, by name."""
