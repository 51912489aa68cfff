"""What single heads write into the stream: the output of each head times its block of the output projection."""

from __future__ import annotations

import torch

from atlas.engine.anatomy.arithmetic import Chain, downstream, mismatch, projection_of, tolerance_of
from atlas.engine.anatomy.layers import Layer
from atlas.engine.anatomy.probe_recording import Seen, writes_into
from atlas.engine.anatomy.records import Anatomy, Projection
from atlas.errors import NotCaptured

KIND_OF_BLOCK = {"cross": "cross"}
"""Blocks whose heads have their own kind; the heads of the others have the stream's kind."""


def find_projections(layers: list[Layer], chains: list[Chain], anatomy: Anatomy) -> None:
    """Find the output projection of every attention block and check that the parts of its heads add up to its output."""
    for block in ("attention", "cross") if "cross" in layers[0].attended else ("attention",):
        kind = KIND_OF_BLOCK.get(block, layers[0].kind)
        reason = None
        for layer, chain in zip(layers, chains, strict=True):
            reason = reason or _find_one(layer, chain, block, kind, anatomy)
        if reason is not None:
            anatomy.missing.setdefault((kind, "attention_projection"), reason)
            anatomy.missing[kind, "head_output"] = reason
            for index in range(len(layers)):
                anatomy.projections.pop((kind, index), None)


def head_parts(anatomy: Anatomy, kind: str, layer: int, z: torch.Tensor) -> torch.Tensor:
    """What each head writes, (batch, head, query, d_model), from its output `z`, (batch, head, query, width).

    Together with `output_bias` the parts add up to the attention's output, before the norm that `Projection.after` names, if any.
    """
    projection = _known(anatomy, kind, layer)
    return torch.einsum("bhqw,hwd->bhqd", z, _blocks(projection).to(z.dtype)) * projection.factor


def output_projections(anatomy: Anatomy) -> dict[tuple[str, int], torch.Tensor]:
    """(head, width, d_model) of every layer whose output projection was found, scaled as the model scales it."""
    return {place: _blocks(projection) * projection.factor for place, projection in anatomy.projections.items()}


def output_bias(anatomy: Anatomy, kind: str, layer: int) -> torch.Tensor | None:
    """The bias of the output projection, (d_model,), which no head writes; None where it has no bias."""
    projection = _known(anatomy, kind, layer)
    bias = getattr(projection.module, "bias", None)
    return None if bias is None else bias.detach() * projection.factor


def value_gram(anatomy: Anatomy, kind: str, layer: int) -> torch.Tensor:
    """W_h W_h^T of every head, (head, width, width): v G v^T is the squared length of what a value vector v writes.

    It is cached until the weights change; an optimiser writes in place, and the tensor's version counts such writes.
    """
    projection = _known(anatomy, kind, layer)
    weight = projection.module.weight
    assert isinstance(weight, torch.Tensor)
    version = (weight.data_ptr(), writes_into(weight))
    if projection.gram is None or projection.gram[0] != version:
        with torch.no_grad():
            blocks = _blocks(projection) * projection.factor
            projection.gram = version, blocks @ blocks.transpose(-1, -2)
    return projection.gram[1]


def _known(anatomy: Anatomy, kind: str, layer: int) -> Projection:
    found = anatomy.projections.get((kind, layer))
    if found is None:
        reason = anatomy.missing.get((kind, "head_output")) or f"this model has no {kind} layer {layer}"
        msg = f"What single heads write is not known here: {reason}."
        raise NotCaptured(msg)
    return found


def _blocks(projection: Projection) -> torch.Tensor:
    """The projection's weight as (head, width, d_model)."""
    weight = projection.module.weight
    assert isinstance(weight, torch.Tensor)
    inward = weight.detach() if projection.transposed else weight.detach().T
    return inward.reshape(projection.n_heads, -1, inward.shape[-1])


def _find_one(layer: Layer, chain: Chain, block: str, kind: str, anatomy: Anatomy) -> str | None:
    attended = layer.attended.get(block)
    if attended is None:
        return "this family does not go through the attention interface, so what its heads read is not seen"
    event = projection_of(layer, block)
    if event is None:
        return "no linear map reads the heads' outputs as they are (something changes them before they are projected)"
    transposed = not isinstance(event.module, torch.nn.Linear)
    projection = Projection(event.module, event.name, transposed, attended.site.n_heads)
    anatomy.projections[kind, layer.index] = projection
    output = event.outputs[0]
    parts = head_parts(anatomy, kind, layer.index, attended.value.to(output.rows.dtype)).sum(dim=1)
    bias = output_bias(anatomy, kind, layer.index)
    error = mismatch(output.rows, (parts if bias is None else parts + bias).flatten(0, 1).to(output.rows))
    if error > tolerance_of(output):
        return f"the heads' parts and the bias differ from the projection's output by {error:.1e} of its size"
    anatomy.errors[kind, "heads"] = max(error, anatomy.errors.get((kind, "heads"), 0.0))
    _record_factor_or_norm(projection, layer, chain, block, output)
    return None


def _record_factor_or_norm(projection: Projection, layer: Layer, chain: Chain, block: str, output: Seen) -> None:
    write = next((one for one in chain.writes if one.block == block), None)
    if write is None:
        projection.after = "something that was not found out"
    elif write.source.key == output.key:
        projection.factor = write.factor
    else:
        between = [seen.event for seen in downstream(layer, output)[1:]]
        projection.after = " and ".join(dict.fromkeys(type(event.module).__name__ for event in between))
