"""The vectors of a trace as labelled arrays: those of heads, those of the residual stream, and what is derived from both."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from atlas.errors import NotCaptured, TooLarge, UnknownName
from atlas.tracing.record import ALL, Attention, Index

if TYPE_CHECKING:
    from atlas.trace import Trace

LENS_BYTES = 1 << 30
"""Logits of every position over a whole vocabulary: one layer at a time stays under this for any text a laptop can trace."""


def head_vectors(chosen: Attention, name: str, layer: int | None, head: int | None) -> xr.DataArray:
    """Queries, keys or values, one row a query head: heads that share a key show the same key."""
    layers = _layers(len(chosen.layers), layer)
    heads = range(chosen.n_heads) if head is None else [_checked(head, chosen.n_heads, "head")]
    stacked = np.stack([_one_layer(chosen, name, at, heads) for at in layers])
    return _labelled(stacked, ("layer", "head", "position", "width"), layers, heads, layer, head, name, chosen.kind)


def _one_layer(chosen: Attention, name: str, layer: int, heads: range | list[int]) -> np.ndarray:
    here = chosen.layers[layer]
    array = getattr(here, name)
    if array is None:
        msg = (
            f"This trace holds weights only, no {name} vectors (recorded attention, or a model outside the attention interface)."
        )
        raise NotCaptured(msg)
    index = list(heads) if name == "query" else [here.key_head(head) for head in heads]
    return np.asarray(array[index])


def stream_vectors(trace: Trace, name: str, kind: str | None, layer: int | None, head: int | None = None) -> xr.DataArray:
    """A captured array by name, from this trace or from one more run of its model."""
    places = trace.captured(name)
    if head is not None:
        msg = f"{name!r} belongs to a whole layer, not to its heads; leave out head=, or ask for 'head_output'."
        raise UnknownName(msg)
    if set(places) == {None}:
        return xr.DataArray(places[None], dims=_dims(places[None].ndim), name=name)
    chosen = kind if kind is not None else _only_kind(name, sorted({place[0] for place in places if place}))
    layers = sorted(place[1] for place in places if place and place[0] == chosen)
    if not layers:
        known = ", ".join(sorted({place[0] for place in places if place}))
        msg = f"There is no {name!r} of the {chosen}; it exists for {known}."
        raise UnknownName(msg)
    if layer is not None and layer not in layers:
        msg = f"There is no {name!r} at layer {layer}; it exists at {layers[0]} to {layers[-1]}."
        raise UnknownName(msg)
    picked = layers if layer is None else [layer]
    arrays = [places[chosen, at] for at in picked]
    answer = xr.DataArray(
        np.stack(arrays), dims=("layer", *_dims(arrays[0].ndim)), coords={"layer": picked}, name=name, attrs={"kind": chosen}
    )
    return answer if layer is None else answer.isel(layer=0)


def derived_vectors(trace: Trace, name: str, kind: str | None, layer: int | None, head: int | None) -> xr.DataArray:
    """What heads read (`head_read`), what they write (`head_output`), what a state would predict (`logit_lens`)."""
    if name == "logit_lens":
        return _logit_lens(trace, kind, layer, head)
    chosen = trace.attention_of(kind)
    layers = _layers(len(chosen.layers), layer)
    heads = range(chosen.n_heads) if head is None else [_checked(head, chosen.n_heads, "head")]
    read = np.stack([heads_read(trace, chosen, at, heads) for at in layers])
    if name == "head_output":
        read = np.stack([read[i] @ output_projection(trace, chosen.kind, at)[list(heads)] for i, at in enumerate(layers)])
    return _labelled(read, ("layer", "head", "position", "width"), layers, heads, layer, head, name, chosen.kind)


def output_projection(trace: Trace, kind: str, layer: int) -> np.ndarray:
    """(head, width, d_model): the matrices by which the heads of a layer write; from one more run where it was not captured."""
    out = trace.captured("output_projection")
    if (kind, layer) not in out:
        msg = f"The output projection of {kind} layer {layer} was not found, so what its heads write is not known."
        raise NotCaptured(msg)
    return out[kind, layer]


def heads_read(trace: Trace, chosen: Attention, layer: int, heads: range | list[int], rows: Index = ALL) -> np.ndarray:
    """Weights times values; where the run changed what heads read, what they read then."""
    changed = trace.arrays.get("head_read", {}).get((chosen.kind, layer))
    if changed is not None:
        return np.asarray(changed[list(heads)][:, rows])
    here = chosen.layers[layer]
    if here.value is None:
        msg = "This trace holds no value vectors, so what heads read is not known."
        raise NotCaptured(msg)
    return np.stack(
        [np.nan_to_num(chosen.block(layer, head, rows)) @ here.value[here.key_head(head)].astype(np.float32) for head in heads]
    )


def _logit_lens(trace: Trace, kind: str | None, layer: int | None, head: int | None) -> xr.DataArray:
    if trace.live is None:
        msg = "The logit lens needs the model's unembedding, and the model of this trace is not here. Trace the text again."
        raise NotCaptured(msg)
    hidden = stream_vectors(trace, "hidden", kind, layer, head)
    rows = int(np.prod(hidden.shape[:-1]))
    size = rows * trace.live.vocabulary * 4
    if size > LENS_BYTES:
        msg = f"That is {size / 2**30:.1f} GiB of logits; ask for one layer at a time (layer=), or a shorter text."
        raise TooLarge(msg)
    logits = trace.live.unembed(hidden.to_numpy())
    return xr.DataArray(
        logits, dims=(*hidden.dims[:-1], "outcome"), coords=dict(hidden.coords), name="logit_lens", attrs=hidden.attrs
    )


def _labelled(
    values: np.ndarray,
    dims: tuple[str, ...],
    layers: range | list[int],
    heads: range | list[int],
    layer: int | None,
    head: int | None,
    name: str,
    kind: str,
) -> xr.DataArray:
    answer = xr.DataArray(values, dims=dims, coords={"layer": list(layers), "head": list(heads)}, name=name, attrs={"kind": kind})
    return answer.isel({axis: 0 for axis, given in (("layer", layer), ("head", head)) if given is not None})


def _layers(n_layers: int, layer: int | None) -> range | list[int]:
    return range(n_layers) if layer is None else [_checked(layer, n_layers, "layer")]


def _checked(index: int, size: int, what: str) -> int:
    if not isinstance(index, int | np.integer) or not 0 <= index < size:
        msg = f"There is no {what} {index}: there are {size}, counted from 0."
        raise UnknownName(msg)
    return index


def _only_kind(name: str, kinds: list[str]) -> str:
    if len(kinds) == 1:
        return kinds[0]
    msg = f"{name!r} exists for {', '.join(kinds)}; say which with kind=..."
    raise UnknownName(msg)


def _dims(ndim: int) -> tuple[str, ...]:
    return ("head", "position", "width")[-ndim:] if ndim > 1 else ("width",)
