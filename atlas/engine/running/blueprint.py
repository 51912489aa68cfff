"""Reads how a model is built from what was found of its anatomy, without running a text."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from transformers.activations import ACT2FN

from atlas.engine.anatomy.attention_sites import layers_of
from atlas.engine.anatomy.probe_recording import is_linear
from atlas.engine.running.capture import Rerun
from atlas.engine.running.context import Call, running
from atlas.errors import NotCaptured
from atlas.trace import NO_MODEL
from atlas.tracing.blueprint import (
    ADDED,
    LEARNED,
    MODEL_BLUEPRINT,
    RELATIVE,
    ROTARY,
    SINUSOIDAL,
    UNFOUND,
    Block,
    Blueprint,
    Heads,
    Inner,
    LayerPlan,
    StreamPlan,
)

if TYPE_CHECKING:
    from atlas.engine.anatomy.records import Anatomy, Tap
    from atlas.engine.model import Model
    from atlas.trace import Trace

SHIFT = 3.0
"""Added to a norm's input: LayerNorm takes the mean away and so does not change, RMSNorm does."""

CLOSE = 1e-2
"""Largest difference of a norm's two outputs that counts as none; half precision needs as much."""


def model_blueprint(trace: Trace) -> Blueprint:
    """How the model of a trace is built."""
    if not isinstance(trace.live, Rerun):
        raise NotCaptured(NO_MODEL)
    return blueprint(trace.live.model)


def blueprint(model: Model) -> Blueprint:
    """How a model is built."""
    anatomy = model.anatomy
    if not anatomy.streams:
        msg = f"The diagram of {model.name} cannot be drawn: {anatomy.missing.get(('', 'hidden'), 'its layers were not found')}."
        raise NotCaptured(msg)
    with model.held(), torch.no_grad(), running(Call(sites={})):
        streams = tuple(_Stream(model, anatomy, kind).plan() for kind in anatomy.streams)
    scale = math.prod(stage.number for stage in anatomy.unembedding if stage.what == "scale")
    names = {id(module): name for name, module in model.hf.named_modules(remove_duplicate=False)}
    known = {tap.module for tap in anatomy.taps if tap.name == "final_norm_in"} | {
        names.get(id(model.hf.get_output_embeddings()))
    }
    between = any(stage.what == "apply" and stage.module not in known for stage in anatomy.unembedding)
    cap = next((stage.number for stage in anatomy.unembedding if stage.what == "cap"), None)
    weight = getattr(model.hf.get_output_embeddings(), "weight", None)
    tied = None if weight is None else bool(weight.data_ptr() == model.hf.get_input_embeddings().weight.data_ptr())
    read = None if weight is None else int(weight.shape[-1])
    return Blueprint(model.name, model.task, streams, model.size.n_outcomes or None, read, tied, cap, scale, between)


class _Stream:
    """Reads one stream of a model."""

    def __init__(self, model: Model, anatomy: Anatomy, kind: str) -> None:
        self.model, self.anatomy, self.kind = model, anatomy, kind
        self.taps: dict[tuple[str, int], Tap] = {(tap.name, tap.layer): tap for tap in anatomy.taps if tap.kind == kind}
        self.sums = [found for found in anatomy.sums if found.kind == kind and found.total != "embedding_sum"]
        self.post = "post-norm" in anatomy.schema.get(kind, "")
        self.norms: dict[str, str] = {}

    def plan(self) -> StreamPlan:
        """The stream in plain values."""
        token, position, segment = (self._weight(name) for name in ("token_embedding", "position", "segment"))
        n_layers = self.anatomy.streams[self.kind]
        return StreamPlan(
            kind=self.kind,
            width=self.anatomy.widths[self.kind],
            token_width=None if token is None else token.shape[1],
            tokens=None if token is None else token.shape[0],
            positions=self._positions(position),
            n_positions=None if position is None else position.shape[0],
            segments=None if segment is None else segment.shape[0],
            embedding_norm=self._norm("embedding_norm_in", 0),
            layers=tuple(self._layer(layer) for layer in range(n_layers)),
            schema=self.anatomy.schema.get(self.kind, ""),
            final_norm=self._norm("final_norm_in", 0),
        )

    def _weight(self, name: str) -> torch.Tensor | None:
        tap = self.taps.get((name, 0))
        weight = None if tap is None else getattr(self.model.hf.get_submodule(tap.module), "weight", None)
        return weight if isinstance(weight, torch.Tensor) and weight.dim() == 2 else None

    def _positions(self, table: torch.Tensor | None) -> str:
        if table is not None:
            # A sine and a cosine of the same angle: the squares of a row add up to half its width.
            lengths = table.float().square().sum(-1)
            return SINUSOIDAL if bool((lengths - table.shape[1] / 2).abs().amax() < CLOSE * table.shape[1]) else LEARNED
        if ("position", 0) in self.taps:
            return ADDED
        if any("inv_freq" in name for name, _ in self.model.hf.named_buffers()):
            return ROTARY
        relative = any("relative" in name or "rel_embeddings" in name for name, _ in self.model.hf.named_parameters())
        return RELATIVE if relative else UNFOUND

    def _layer(self, layer: int) -> LayerPlan:
        crossed = "cross" in self.model.kinds and self.kind == "decoder"
        blocks = ["attention", *(["cross"] if crossed else []), "ffn"]
        parallel = any({"attention_output", "ffn_out"} <= set(found.parts) for found in self.sums)
        return LayerPlan(tuple(self._block(block, layer) for block in blocks), parallel)

    def _block(self, block: str, layer: int) -> Block:
        norm = self._norm(f"{block}_norm_in", layer)
        after = any(found.total == f"{block}_norm_in" for found in self.sums) if self.sums else self.post
        inside = self._norm(f"{block}_post_norm_in", layer)
        heads = None if block == "ffn" else self._heads("cross" if block == "cross" else self.kind, layer)
        inner = self._inner(layer) if block == "ffn" else None
        return Block(block, "" if after else norm, inside, norm if after else "", heads, inner)

    def _norm(self, name: str, layer: int) -> str:
        """'LayerNorm' or 'RMSNorm', told apart by what it does; empty where there is none, or where it does nothing."""
        tap = self.taps.get((name, layer))
        if tap is None:
            return ""
        if tap.module not in self.norms:
            module = self.model.hf.get_submodule(tap.module)
            like = next(module.parameters(), next(self.model.hf.parameters()))
            weight = getattr(module, "weight", None)
            width = weight.shape[-1] if isinstance(weight, torch.Tensor) else self.anatomy.widths[self.kind]
            probe = torch.linspace(-1.0, 2.0, width, device=like.device, dtype=like.dtype)
            made, shifted = module(probe).float(), module(probe + SHIFT).float()
            close = CLOSE * max(float(made.abs().amax()), 1e-6)
            kind = "LayerNorm" if float((made - shifted).abs().amax()) <= close else "RMSNorm"
            self.norms[tap.module] = "" if torch.equal(made, probe.float()) else kind
        return self.norms[tap.module]

    def _heads(self, kind: str, layer: int) -> Heads:
        hf, sites = self.model.hf, layers_of(self.model.sites, kind)
        size = next(found for found in self.model.size.kinds if found.kind == kind)
        if layer >= len(sites):
            return Heads(size.n_heads, None, None, None, None, None, None)
        site, projection = sites[layer], self.anatomy.projections.get((kind, layer))
        module = hf.get_submodule(site.module)
        output = None if projection is None else projection.module
        linears = [found for found in module.modules() if is_linear(found) and found is not output]
        bias = any(getattr(found, "bias", None) is not None for found in linears) if linears else None
        cap = getattr(module, "attn_logit_softcapping", None)
        output_bias = None if output is None else getattr(output, "bias", None) is not None
        cap, scale = (None if found is None else float(found) for found in (cap, getattr(module, "scaling", None)))
        return Heads(site.n_heads, site.key_heads, site.width, bias, output_bias, cap, scale)

    def _inner(self, layer: int) -> Inner:
        missing = self.anatomy.missing
        if ("ffn_act", layer) not in self.taps:
            return Inner(None, "", None, missing.get((self.kind, "ffn_act"), missing.get(("", "ffn_act"), UNFOUND)))
        gated = True if ("ffn_up", layer) in self.taps else False if ("ffn_pre", layer) in self.taps else None
        return Inner(self.anatomy.tap_widths[self.kind, "ffn_act"], self._function(layer), gated, "")

    def _function(self, layer: int) -> str:
        """The activation function beside the first linear map that the configuration names too."""
        tap = self.taps.get(("ffn_in", layer))
        if tap is None:
            return ""
        beside = {type(child) for child in self.model.hf.get_submodule(tap.module.rpartition(".")[0]).children()}
        settings = self.model.hf.config.to_dict().values()
        named = dict.fromkeys(value for value in settings if isinstance(value, str) and value in ACT2FN)
        return next((name for name in named if type(ACT2FN[name]) in beside), "")


TASKS: Mapping[str, Callable[..., Any]] = {MODEL_BLUEPRINT: model_blueprint}
"""Work with the model that views may request, by name."""
