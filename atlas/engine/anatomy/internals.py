"""Finds the internals of a model, once per model, and checks them by arithmetic.

Nothing here knows a model by name. One probe pass is recorded (`probe_recording`), the calls around each attention are the
layers (`layers`), and sums of tensors are tried until they hold (`arithmetic`, `embedding`, `unembedding`). A part without such
a sum is absent, with the reason. `install` puts permanent hooks where the parts were found.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from transformers import PreTrainedModel

from atlas.engine.anatomy.captures import Captures
from atlas.engine.anatomy.embedding import find_embedding
from atlas.engine.anatomy.head_outputs import find_projections, head_parts, output_bias, output_projections, value_gram
from atlas.engine.anatomy.hooks import install
from atlas.engine.anatomy.layers import Layer, find_layers
from atlas.engine.anatomy.probe_recording import Recording, record
from atlas.engine.anatomy.records import ALL_TAPS, EMBEDDING_PARTS, GROUPS, Anatomy, Projection, Sum, Tap
from atlas.engine.anatomy.residual_streams import describe_layers
from atlas.engine.anatomy.unembedding import final_norm, find_unembedding, unembed
from atlas.engine.running.context import AttentionSites

__all__ = [
    "ALL_TAPS",
    "EMBEDDING_PARTS",
    "GROUPS",
    "Anatomy",
    "Projection",
    "Sum",
    "Tap",
    "find_anatomy",
    "head_parts",
    "install",
    "output_bias",
    "output_projections",
    "unembed",
    "value_gram",
]

NO_LAYERS = "no layers were found that hand a stream of states from one to the next"


def find_anatomy(hf: PreTrainedModel, sites: AttentionSites, probe: Mapping[str, torch.Tensor]) -> Anatomy:
    """Record one pass of the probe and find where to capture every part; `sites` is empty outside the attention interface."""
    recording = record(hf, sites, probe)
    other = None if recording.attended else record(hf, sites, _other_ending(probe))
    streams = find_layers(recording, other)
    anatomy = Anatomy(
        {kind: len(layers) for kind, layers in streams.items()}, {kind: layers[0].width for kind, layers in streams.items()}
    )
    if not streams:
        anatomy.missing = {("", name): NO_LAYERS for name in (*ALL_TAPS, "head_output", "unembed")}
        return anatomy
    taps = Captures(anatomy, recording)
    for kind, layers in streams.items():
        _describe(taps, kind, layers, streams)
    taps.finish()
    reason = find_unembedding(recording, list(streams.values())[-1], anatomy, hf)
    if reason is not None:
        anatomy.missing["", "unembed"] = reason
    _note(anatomy)
    _explain_the_rest(anatomy)
    return anatomy


def _describe(taps: Captures, kind: str, layers: list[Layer], streams: Mapping[str, list[Layer]]) -> None:
    chains = describe_layers(taps, layers)
    find_projections(layers, chains, taps.anatomy)
    others = [stream for name, stream in streams.items() if name != kind]
    begins = max((stream[-1].event.end + 1 for stream in others if stream[-1].event.end < layers[0].event.start), default=0)
    ends = min(
        (stream[0].event.start for stream in others if stream[0].event.start > layers[-1].event.end),
        default=len(taps.recording.events),
    )
    _put_embedding(taps, layers[0], begins, _ids(taps.recording, kind))
    norm = final_norm(taps.recording, layers, ends)
    if norm is None:
        taps.lack(kind, "final_norm_out", "this model has no norm after its last layer")
        taps.lack(kind, "final_norm_in", "this model has no norm after its last layer")
    else:
        taps.put("final_norm_in", layers[-1], norm.inputs[0], index=0)
        taps.put("final_norm_out", layers[-1], norm.outputs[0], index=0)


def _put_embedding(taps: Captures, layer: Layer, begins: int, ids: torch.Tensor | None) -> None:
    kind = layer.kind
    taps.put("embedding", layer, layer.entering)
    found = find_embedding(taps.recording, layer, begins, ids)
    for name, (seen, factor) in found.parts.items():
        taps.put(name, layer, seen, factor=factor)
    for name, reason in found.missing.items():
        taps.lack(kind, name, reason)
    if found.total is None:
        return
    taps.put("embedding_sum", layer, found.total)
    taps.anatomy.sums.append(Sum(kind, "embedding_sum", tuple(found.parts)))
    taps.anatomy.errors[kind, "embedding"] = found.error
    if found.norm is not None:
        taps.put("embedding_norm_in", layer, found.norm.inputs[0])
        taps.put("embedding_norm_out", layer, found.norm.outputs[0])
    else:
        for side in ("in", "out"):
            taps.lack(kind, f"embedding_norm_{side}", "this model does not normalise its embeddings")


def _ids(recording: Recording, kind: str) -> torch.Tensor | None:
    name = "decoder_input_ids" if kind == "decoder" and "decoder_input_ids" in recording.probe else "input_ids"
    return recording.probe.get(name)


def _other_ending(probe: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The probe with another last token."""
    changed = dict(probe)
    for name in ("input_ids", "decoder_input_ids"):
        if name in changed:
            ids = changed[name].clone()
            ids[:, -1] = torch.where(ids[:, 0] == ids[:, -1], ids[:, 1], ids[:, 0])
            changed[name] = ids
    return changed


def _note(anatomy: Anatomy) -> None:
    """Add notes for the readers of single heads' outputs."""
    for (kind, layer), projection in anatomy.projections.items():
        if layer == 0 and projection.after:
            anatomy.notes.append(f"{kind}: what the heads write adds up before {projection.after}, which then changes the sum.")
        if layer == 0 and projection.factor != 1.0:
            anatomy.notes.append(f"{kind}: what attention writes is multiplied by {projection.factor:.6g} before it is added.")


def _explain_the_rest(anatomy: Anatomy) -> None:
    """Add a reason for every name that no stream has and that has none yet."""
    known = anatomy.names() | {name for _, name in anatomy.missing}
    for name in ALL_TAPS:
        if name in known:
            continue
        if "cross" in name:
            anatomy.missing["", name] = "this model has no cross-attention"
        elif "norm" in name:
            anatomy.missing["", name] = "this model has no norm in that place"
        else:
            anatomy.missing["", name] = "it was not found in the probe"
