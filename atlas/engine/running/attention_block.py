"""One attention block with the inputs of one run, which can be run again by itself on other states.

No layout of a model is assumed: the inputs are what the block was called with, and its queries, keys and values are those that
reach the attention function.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch

from atlas.engine.anatomy.attention_sites import layers_of
from atlas.engine.anatomy.probe_recording import is_linear, is_norm
from atlas.engine.anatomy.stream_norms import probed
from atlas.engine.running.capture import Rerun, fitting, stacked
from atlas.engine.running.context import AttentionSite, Call, Terms, Watcher, current, running
from atlas.engine.running.interventions import by_layer
from atlas.engine.running.recorder import TextShape, to_numpy
from atlas.errors import NotCaptured
from atlas.trace import NO_MODEL
from atlas.tracing.writers import HeldNorm, Norm, Norms, allowed_error, held

if TYPE_CHECKING:
    from atlas.engine.model import Model
    from atlas.trace import Trace

STATE_AXES = 3
"""Axes of a state, (batch, position, width)."""

KEPT_INPUTS = 4 << 20
"""Bytes of a block's inputs that are kept on the trace, so that the next edge of the layer needs no run of the model: 512 tokens
of a GPT-2 have 2.5 million, and a reader may go through all of its layers."""


class _TermsReady(Exception):
    """Queries and keys are there; the rest of the attention block is not needed."""


@dataclass
class _Grabber(Watcher):
    """Keeps the terms of one attention block and ends the run."""

    terms: Terms | None = None

    def saw_terms(self, site: AttentionSite, terms: Terms) -> None:  # noqa: ARG002 - the watcher's protocol
        """Keep them."""
        self.terms = terms
        raise _TermsReady


@dataclass
class AttentionBlock:
    """One attention block with the inputs of one run."""

    model: Model
    module: torch.nn.Module
    site: AttentionSite
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    held: dict[tuple[int, int], HeldNorm] = field(default_factory=dict)
    """(id of a norm inside the block, number of its use) -> the norm at the sizes of the run."""
    allowed: float = 0.0

    @property
    def size(self) -> int:
        """Bytes of its inputs."""
        given = [*self.args, *self.kwargs.values()]
        flat = [each for value in given for each in (value if isinstance(value, tuple | list) else (value,))]
        return sum(each.nbytes for each in flat if isinstance(each, torch.Tensor))

    def states(self) -> list[torch.Tensor]:
        """The states among the inputs: what queries are made of and, in cross-attention, what keys are made of."""
        given = [value for value in (*self.args, *self.kwargs.values()) if isinstance(value, torch.Tensor)]
        return [value for value in given if value.dim() == STATE_AXES and value.is_floating_point()]

    def sides(self, n_keys: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The states that queries are made of, and those that keys and values are made of."""
        given = self.states()
        if self.site.kind != "cross":
            return given[0], given[0]
        from_keys = next((value for value in given[1:] if value.shape[1] == n_keys), None)
        if from_keys is None:
            msg = "The states that this cross-attention makes its keys of are not among its inputs."
            raise NotCaptured(msg)
        return given[0], from_keys

    def streams(self) -> tuple[str, str]:
        """The streams of both sides."""
        kind = self.site.kind
        return ("decoder", "encoder") if kind == "cross" else (kind, kind)

    def terms(self, replaced: Mapping[int, torch.Tensor], seen: Callable[..., Any] | None = None) -> Terms:
        """Queries, keys and values with some inputs (by id) replaced; `seen` is called after every module inside the block."""
        grabber = _Grabber()
        call = Call(sites={id(self.module): (self.site,)}, watcher=grabber)
        uses: dict[int, int] = {}

        def after(module: torch.nn.Module, args: tuple[Any, ...], output: Any) -> Any:
            if current() is not call or seen is None:
                return None
            uses[id(module)] = uses.get(id(module), -1) + 1
            return seen(module, uses[id(module)], args, output)

        args = tuple(replaced.get(id(value), value) for value in self.args)
        kwargs = {name: replaced.get(id(value), value) for name, value in self.kwargs.items()}
        with _hooked(self.module, after), running(call), suppress(_TermsReady):
            self.module(*args, **kwargs)
        if grabber.terms is None:
            msg = "This model's attention block does not hand its queries and keys to the attention function."
            raise NotCaptured(msg)
        return grabber.terms

    # -- what `terms` may call after every module ----------------------------------------------------------------------

    def followed(self, leaves: list[Leaf]) -> Callable[..., Any]:
        """Note the linear maps that read a leaf, and hold the norms at the sizes of this run."""

        def seen(module: torch.nn.Module, use: int, args: tuple[Any, ...], output: Any) -> Any:
            if not args or not isinstance(output, torch.Tensor):
                return None
            leaf = next((leaf for leaf in leaves if args[0] is leaf.state), None)
            if leaf is not None and is_linear(module):
                output = output.detach().requires_grad_()
                leaf.reads.append((module, output))
                return output
            if is_norm(module) and not isinstance(module, torch.nn.Identity):
                return self._hold(module, use, args[0], output)
            return None

        return seen

    def _hold(self, module: torch.nn.Module, use: int, before: torch.Tensor, after: torch.Tensor) -> Any:
        with running(Call(sites={})):  # the block's own hooks must not hear of the probe
            scale, offset, centres = probed(module, before.shape[-1], next(self.model.hf.parameters()))
        fixed = held(Norm(wide(scale), wide(offset), centres), wide(before), wide(after), self.allowed)
        if fixed is None:
            msg = f"The {type(module).__name__} of this model's queries and keys is not linear at a fixed size."
            raise NotCaptured(msg)
        self.held[id(module), use] = fixed
        return _applied(fixed, before)

    def as_held(self, module: torch.nn.Module, use: int, args: tuple[Any, ...], output: Any) -> Any:  # noqa: ARG002 - a hook's signature
        """Norms inside the block divide by the sizes of the run, whatever they are given; call `terms` with `followed` before."""
        fixed = self.held.get((id(module), use))
        return None if fixed is None else _applied(fixed, args[0])


@dataclass
class Leaf:
    """A state whose influence on queries and keys is followed, and the linear maps that read it."""

    state: torch.Tensor
    reads: list[tuple[torch.nn.Module, torch.Tensor]] = field(default_factory=list)

    def gradient(self, outputs: list[torch.Tensor], rows: list[int]) -> torch.Tensor:
        """(output, row, width): derivative of each output by some rows of the state.

        Autograd goes back to the outputs of the linear maps only, and the maps are applied to the rows that matter: their
        transposes on all rows would take most of the time.
        """
        sources = [self.state, *(output for _, output in self.reads)]
        found = []
        for each in outputs:
            grads = torch.autograd.grad(each, sources, retain_graph=True, allow_unused=True)
            found.append([None if grad is None else grad[0, rows] for grad in grads])
        width = self.state.shape[-1]
        total = torch.zeros(len(outputs), len(rows), width, dtype=self.state.dtype, device=self.state.device)
        total += _stacked([grads[0] for grads in found], total)
        for at, (module, output) in enumerate(self.reads, start=1):
            onto = _stacked([grads[at] for grads in found], output.new_zeros(len(outputs), len(rows), output.shape[-1]))
            if bool(onto.any()):
                row = total.new_zeros(total.shape, requires_grad=True)
                total += torch.autograd.grad(module.forward(row), row, onto)[0]
        return total


def _stacked(grads: list[torch.Tensor | None], like: torch.Tensor) -> torch.Tensor:
    return torch.stack([like[0] * 0 if grad is None else grad for grad in grads])


@contextmanager
def _hooked(module: torch.nn.Module, after: Callable[..., Any]) -> Iterator[None]:
    handles = [inner.register_forward_hook(after) for inner in module.modules() if inner is not module]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _applied(fixed: HeldNorm, before: torch.Tensor) -> torch.Tensor:
    scale, offset, size = (torch.as_tensor(each).to(before) for each in (fixed.norm.scale, fixed.norm.offset, fixed.size))
    centred = before - before.mean(-1, keepdim=True) if fixed.norm.centres else before
    return scale * centred / size[..., None] + offset


def wide(tensor: torch.Tensor) -> Any:
    """A tensor as an array in double precision."""
    return to_numpy(tensor.detach()).astype("float64")


@contextmanager
def block_of(trace: Trace, kind: str, layer: int) -> Iterator[AttentionBlock]:
    """One attention block of a trace, with its model in the state a run needs; the text runs again unless its inputs are kept."""
    live = trace.live
    if not isinstance(live, Rerun):
        raise NotCaptured(NO_MODEL)
    live.check_weights()
    key = f"attention block {kind} {layer}"
    with live.model.held():
        made = trace.once(key, lambda: None) if trace.holds(key) else _run(live, kind, layer, allowed_error(trace))
        if made.size <= KEPT_INPUTS:
            trace.once(key, lambda: made)
        yield replace(made, held={})


def norms_of(trace: Trace) -> Norms:
    """The norms of the model of a trace, as `Walk` needs them."""
    live = trace.live
    if not isinstance(live, Rerun):
        raise NotCaptured(NO_MODEL)

    def read() -> Norms:
        found = live.model.norms().items()
        return {place: Norm(wide(scale), wide(offset), centres) for place, (scale, offset, centres) in found}

    made: Norms = trace.once("norms as linear maps", read)
    return made


def _run(live: Rerun, kind: str, layer: int, allowed: float) -> AttentionBlock:
    """Run the text of a trace, with its interventions, up to the inputs of one attention block."""
    model = live.model
    site = layers_of(model.sites, kind)[layer]
    shape = TextShape(live.encoded.n_source, live.encoded.n_target)
    changes = by_layer([live.change], [fitting(model, shape)], model.device) if live.change else {}
    module = model.hf.get_submodule(site.module)
    turn = model.sites[id(module)].index(site)
    block = AttentionBlock(model, module, site, allowed=allowed)
    call, uses = Call(sites=model.sites, interventions=changes), iter(range(1 << 30))

    def before(_: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if current() is call and next(uses) == turn:
            block.args, block.kwargs = args, dict(kwargs)
            raise _TermsReady

    handle = module.register_forward_pre_hook(before, with_kwargs=True)
    try:
        with suppress(_TermsReady), torch.no_grad(), running(call):
            model.forward(stacked(model, [live.encoded]))
    finally:
        handle.remove()
    if not block.states():
        msg = f"The attention block of {kind} layer {layer} reads no state that could be followed."
        raise NotCaptured(msg)
    return block
