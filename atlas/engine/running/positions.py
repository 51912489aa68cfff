"""Reads how a model knows positions, and checks it on a run of one token repeated.

In such a run everything but the position is the same at all places, in every layer: the attention averages equal values. So a
query of a layer differs from the first one by its rotation alone, and the logarithms of the weights of a row differ by the bias
of the distance alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from atlas.engine.running.capture import Rerun
from atlas.engine.running.recorder import to_numpy
from atlas.errors import AtlasError, NotCaptured
from atlas.trace import NO_MODEL
from atlas.tracing.positions import HALVES, MODEL_POSITIONS, MOST_POSITIONS, NEIGHBOURS, Positions, Rotation, seen_distances

if TYPE_CHECKING:
    from atlas.engine.model import Model
    from atlas.trace import Trace
    from atlas.tracing.record import Attention

REPEATED = 4
"""Tokens of the run that shows rotations."""

MEASURED = 64
"""Tokens of the run that shows biases: so many distances are shown of a model that does not say its bias."""

CLOSE, CLOSE_HALF = 1e-3, 5e-2
"""Largest error of a turned query as a share of the largest number in it: in single precision, and in half precision."""

Array = np.ndarray


def model_positions(trace: Trace, stream: str) -> Positions:
    """What a stream of the model of a trace knows positions by."""
    live = trace.live
    if not isinstance(live, Rerun):
        raise NotCaptured(NO_MODEL)
    live.check_weights()
    model, notes = live.model, list[str]()
    vectors, n_vectors = _vectors(model, trace, stream)
    rotations = _rotations(model, trace, stream, notes)
    sure = any(rotation is not None and rotation.pairing for rotation in rotations)
    known = vectors is not None or sure or any(layer.bias is not None for layer in trace.attention_of(stream).layers)
    if not known:
        biases, reason = _biases(model, trace, stream)
        if biases:  # a model with a bias may have a table of rotations that it does not use (Falcon)
            return Positions(stream, None, 0, (), biases)
        notes += [] if rotations else [reason]
    return Positions(stream, vectors, n_vectors, rotations, (), tuple(notes))


def _vectors(model: Model, trace: Trace, stream: str) -> tuple[Array | None, int]:
    """The vectors of the model's table from that of the first token on; those of the text where they are no rows of a table."""
    tap = model.places_of("position").get(stream)
    if tap is None:
        return None, 0
    own = trace.captured("position")[stream, 0]
    weight = getattr(model.hf.get_submodule(tap.module), "weight", None)
    if isinstance(weight, torch.Tensor) and weight.dim() == 2 and weight.shape[1] == own.shape[1]:
        rows = to_numpy(weight.float())
        for first in np.flatnonzero((rows == own[0]).all(-1)):
            # RoBERTa and BART begin behind rows that stand for padding.
            if np.array_equal(rows[first : first + len(own)], own):
                return rows[first : first + MOST_POSITIONS], len(rows) - int(first)
    return own[:MOST_POSITIONS].astype(np.float32), 0


# -- rotations ---------------------------------------------------------------------------------------------------------


def _rotations(model: Model, trace: Trace, stream: str, notes: list[str]) -> tuple[Rotation | None, ...]:
    candidates = list(_candidates(model, notes))
    if not candidates:
        return ()
    layers = range(trace.n_layers(stream))
    attention = _repeated(model, trace, REPEATED) if model.interface else None
    queries = [None if attention is None else attention.layers[layer].query for layer in layers]
    found = [_rotation(query, candidates, _allowed(model)) for query in queries]
    unsure = [layer for layer, rotation in zip(layers, found, strict=True) if rotation is not None and not rotation.pairing]
    if unsure:
        which = "any layer" if len(unsure) == len(layers) else f"layers {', '.join(map(str, unsure))}"
        notes.append(f"No run of one token repeated could confirm the rotation in {which}: it is as the model's tables say.")
    return tuple(found)


def _candidates(model: Model, notes: list[str]) -> Iterator[tuple[Array, float]]:
    """Angles a position and scaling of every rotation that the model has a table of, each once."""
    seen: list[Array] = []
    for name, buffer in model.hf.named_buffers():
        if not name.endswith("inv_freq") or name.endswith("original_inv_freq"):
            continue
        angles = to_numpy(buffer.float())
        if any(np.array_equal(angles, other) for other in seen):
            continue
        seen.append(angles)
        owner, _, leaf = name.rpartition(".")
        module, kind = model.hf.get_submodule(owner), leaf.removesuffix("inv_freq")
        if getattr(module, "rope_type", "") in ("dynamic", "longrope"):
            notes.append(
                "This model turns slower in texts longer than those it was trained on; shown is the turn in a short text."
            )
        yield angles, float(getattr(module, f"{kind}attention_scaling", getattr(module, "attention_scaling", 1.0)))


def _rotation(query: Array | None, candidates: list[tuple[Array, float]], allowed: float) -> Rotation | None:
    """The rotation that a layer's queries (head, position, width) of one token repeated show; None where they do not turn.

    Where they show none of the candidates, the only one; of several, nobody knows which it is.
    """
    width = 0 if query is None else query.shape[-1]
    if query is not None:
        if _apart(query, np.broadcast_to(query[:, :1], query.shape)) <= allowed:
            return None
        for angles, scaling in candidates:
            size = 2 * len(angles)
            for first in dict.fromkeys((0, width - size)):
                for pairing in (HALVES, NEIGHBOURS):
                    if first >= 0 and _apart(query, _turn(query, angles, first, pairing)) <= allowed:
                        return Rotation(angles, pairing, first, width, scaling)
    angles, scaling = candidates[0]
    return Rotation(angles, "", 0, width, scaling) if len(candidates) == 1 else None


def _turn(query: Array, angles: Array, first: int, pairing: str) -> Array:
    """What the queries would be if each were the first one turned by its position."""
    made = np.repeat(query[:, :1].astype(np.float64), query.shape[1], 1)
    place = first + np.arange(2 * len(angles)).reshape((2, -1) if pairing == HALVES else (-1, 2))
    one, other = place if pairing == HALVES else place.T
    turned = (made[..., one] + 1j * made[..., other]) * np.exp(1j * np.arange(query.shape[1])[:, None] * angles)
    made[..., one], made[..., other] = turned.real, turned.imag
    return made


def _apart(query: Array, wanted: Array) -> float:
    return float(np.abs(query - wanted).max() / max(np.abs(query).max(), np.finfo(np.float32).tiny))


def _allowed(model: Model) -> float:
    return CLOSE if model.hf.dtype in (torch.float32, torch.float64) else CLOSE_HALF


# -- biases ------------------------------------------------------------------------------------------------------------


def _biases(model: Model, trace: Trace, stream: str) -> tuple[tuple[Array | None, ...], str]:
    """Biases by distance as the weights of two runs show, each of one token repeated; none where the two differ, and why."""
    ids = list(dict.fromkeys(trace.token_tables["source"]["id"].tolist()))[:2]
    runs = [_repeated(model, trace, MEASURED, at) for at in range(len(ids))]
    if len(ids) < 2 or None in runs:
        return (), "How this model knows positions was not found."
    found = [[_by_distance(run, layer) for layer in range(trace.n_layers(stream))] for run in runs if run is not None]
    agree = [_alike(first, other, _allowed(model)) for first, other in zip(found[0], found[1], strict=True)]
    if not all(agree):
        return (), "Positions change the attention in a way that depends on the tokens, which is no bias by distance."
    if all(bias is None or not np.nan_to_num(bias).any() for bias in found[0]):
        return (), "This model's attention does not depend on the distance in a run of one token repeated."
    return tuple(found[0]), ""


def _by_distance(attention: Attention, layer: int) -> Array | None:
    """(head, distance) ln weight − ln weight of the query's own place, mean along each diagonal; None where that varies."""
    weights = np.stack([attention.block(layer, head) for head in range(attention.n_heads)]).astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(weights)
        logs -= logs.diagonal(axis1=1, axis2=2)[:, :, None]
    known = np.isfinite(logs)
    logs = np.where(known, logs, np.nan)
    made = np.full((len(logs), 2 * logs.shape[1] - 1), np.nan)
    for at in np.flatnonzero(seen_distances(np.asarray(known.all(0)))):
        line = logs.diagonal(int(at) - logs.shape[1] + 1, 1, 2)
        low, high = np.nanmin(line, 1), np.nanmax(line, 1)
        if ((high - low) > CLOSE * np.maximum(1.0, np.abs(low))).any():
            return None
        made[:, at] = np.nanmean(line, 1)
    return made


def _alike(first: Array | None, other: Array | None, allowed: float) -> bool:
    if first is None or other is None:
        return False
    both = np.isfinite(first) & np.isfinite(other)
    return bool((np.abs(first - other)[both] <= allowed * np.maximum(1.0, np.abs(first)[both])).all())


def _repeated(model: Model, trace: Trace, length: int, which: int = 0) -> Attention | None:
    """The attention of a run of one of the text's tokens repeated; None where the model cannot be run so."""
    if len(model.kinds) > 1:
        return None
    ids = list(dict.fromkeys(trace.token_tables["source"]["id"].tolist()))
    length = min(length, model.limit or length)
    try:
        run = model.trace({"input_ids": [ids[which]] * length}, capture=())
    except AtlasError:
        return None  # a model that takes no bare row of tokens; its rotations then stay unconfirmed, which is said
    return run.attention_of(model.kinds[0])


TASKS: Mapping[str, Callable[..., Any]] = {MODEL_POSITIONS: model_positions}
"""Work with the model that views may request, by name."""
