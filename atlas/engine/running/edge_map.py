"""How the query and the key of one edge come from the states that their attention block reads, as linear maps of this run.

No layout of a model is assumed. The block runs again on its own inputs, and autograd reads off the linear maps between
what it reads and the q and k that reach the attention function: projections, biases, rotary positions. Norms of queries and
keys are held at the sizes they divided by. A second run on states of zero gives what is added; if both
do not give q and k again, the block is not linear and the edge is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from atlas.engine.anatomy.attention_norms import probed
from atlas.engine.anatomy.attention_sites import layers_of
from atlas.engine.anatomy.probe_recording import is_linear, is_norm
from atlas.engine.running.capture import Rerun, fitting, stacked
from atlas.engine.running.context import AttentionSite, Call, Terms, Watcher, current, running
from atlas.engine.running.interventions import by_layer
from atlas.engine.running.recorder import TextShape, to_numpy
from atlas.errors import NotCaptured
from atlas.trace import NO_MODEL
from atlas.tracing.why import EdgeMap, SideMap
from atlas.tracing.writers import HeldNorm, Norm, allowed_error, held

if TYPE_CHECKING:
    from atlas.engine.model import Model
    from atlas.trace import Trace

STATE_AXES = 3
"""Axes of a state, (batch, position, width)."""


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
class _Block:
    """One attention block with the inputs of one run."""

    module: torch.nn.Module
    site: AttentionSite
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    held: dict[tuple[int, int], HeldNorm] = field(default_factory=dict)
    """(id of a norm inside the block, number of its use) -> the norm at the sizes of the run."""
    allowed: float = 0.0

    def states(self) -> list[torch.Tensor]:
        """The states among the inputs: what queries are made of and, in cross-attention, what keys are made of."""
        given = [value for value in (*self.args, *self.kwargs.values()) if isinstance(value, torch.Tensor)]
        return [value for value in given if value.dim() == STATE_AXES and value.is_floating_point()]

    def terms(self, replaced: Mapping[int, torch.Tensor], seen: Callable[..., Any]) -> Terms:
        """Queries and keys with some inputs (by id) replaced; `seen` is called after every module inside the block."""
        grabber = _Grabber()
        call = Call(sites={id(self.module): (self.site,)}, watcher=grabber)
        uses: dict[int, int] = {}

        def after(module: torch.nn.Module, args: tuple[Any, ...], output: Any) -> Any:
            if current() is not call:
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


@contextmanager
def _hooked(module: torch.nn.Module, after: Callable[..., Any]) -> Iterator[None]:
    handles = [inner.register_forward_hook(after) for inner in module.modules() if inner is not module]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@dataclass
class _Leaf:
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


def edge_map(trace: Trace, kind: str, layer: int, head: int, query: int, key: int) -> EdgeMap:
    """The maps of one edge. Positions are those of the trace's own tokens."""
    live = trace.live
    if not isinstance(live, Rerun):
        raise NotCaptured(NO_MODEL)
    live.check_weights()
    model = live.model
    with model.held():
        block = _run(live, kind, layer, allowed_error(trace))
        with torch.enable_grad():
            return _maps(trace, model, block, head, query, key)


def _run(live: Rerun, kind: str, layer: int, allowed: float) -> _Block:
    """Run the text of a trace, with its interventions, up to the inputs of one attention block."""
    model = live.model
    site = layers_of(model.sites, kind)[layer]
    shape = TextShape(live.encoded.n_source, live.encoded.n_target)
    changes = by_layer([live.change], [fitting(model, shape)], model.device) if live.change else {}
    module = model.hf.get_submodule(site.module)
    turn = model.sites[id(module)].index(site)
    block = _Block(module, site, allowed=allowed)
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


def _maps(trace: Trace, model: Model, block: _Block, head: int, query: int, key: int) -> EdgeMap:
    kind = block.site.kind
    attention = trace.attention_of(kind)
    given = block.states()
    from_queries = given[0]
    from_keys = next((value for value in given[1:] if value.shape[1] == attention.n_keys), None) if kind == "cross" else given[0]
    if from_keys is None:
        msg = "The states that this cross-attention makes its keys of are not among its inputs."
        raise NotCaptured(msg)
    leaves = {id(value): _Leaf(value.detach().clone().requires_grad_()) for value in (from_queries, from_keys)}
    terms = block.terms({at: leaf.state for at, leaf in leaves.items()}, _followed(block, list(leaves.values()), model))
    zeros = {id(value): torch.zeros_like(value) for value in (from_queries, from_keys)}
    with torch.no_grad():
        empty = block.terms(zeros, _as_held(block))
    shared = head // (terms.query.shape[1] // terms.key.shape[1])
    q, keys = terms.query[0, head, query], terms.key[0, shared]
    q_leaf, k_leaf = leaves[id(from_queries)], leaves[id(from_keys)]
    q_map = q_leaf.gradient(list(q), [query])[:, 0]
    k_map = k_leaf.gradient(list(keys[key]), [key])[:, 0]
    everywhere = list(range(keys.shape[0]))
    along = k_leaf.gradient([(keys @ q.detach()).sum() * terms.scaling], everywhere)[0]
    k_empty = empty.key[0, shared]
    streams = ("decoder", "encoder") if kind == "cross" else (kind, kind)
    query_side = _side(streams[0], q_leaf.state, q_map, empty.query[0, head, query], query, q, block.allowed)
    key_side = _side(streams[1], k_leaf.state, k_map, k_empty[key], key, keys[key], block.allowed)
    norms = {place: Norm(_wide(scale), _wide(offset), centres) for place, (scale, offset, centres) in model.norms().items()}
    return EdgeMap(query_side, key_side, _wide(along), _wide((k_empty @ q) * terms.scaling), norms, bool(block.held))


def _side(
    stream: str, states: torch.Tensor, projection: torch.Tensor, bias: torch.Tensor, at: int, wanted: torch.Tensor, allowed: float
) -> SideMap:
    side = SideMap(stream, _wide(states[0]), _wide(projection), _wide(bias))
    found, wanted_here = side.projection @ side.states[at] + side.bias, _wide(wanted)
    error = float(abs(found - wanted_here).max() / max(abs(wanted_here).max(), 1e-30))
    if error > allowed:
        msg = (
            "Between the state that this attention block reads and its queries and keys there is a step that is neither linear "
            f"nor a norm (they differ by {error:.1e} of their size), so they cannot be taken apart by who wrote the state."
        )
        raise NotCaptured(msg)
    return side


def _wide(tensor: torch.Tensor) -> Any:
    return to_numpy(tensor.detach()).astype("float64")


def _followed(block: _Block, leaves: list[_Leaf], model: Model) -> Callable[..., Any]:
    """After every module of the block: note the linear maps that read a leaf, and hold the norms at the sizes of this run."""

    def seen(module: torch.nn.Module, use: int, args: tuple[Any, ...], output: Any) -> Any:
        if not args or not isinstance(output, torch.Tensor):
            return None
        leaf = next((leaf for leaf in leaves if args[0] is leaf.state), None)
        if leaf is not None and is_linear(module):
            output = output.detach().requires_grad_()
            leaf.reads.append((module, output))
            return output
        if is_norm(module) and not isinstance(module, torch.nn.Identity):
            return _hold(block, module, use, args[0], output, next(model.hf.parameters()))
        return None

    return seen


def _hold(block: _Block, module: torch.nn.Module, use: int, before: torch.Tensor, after: torch.Tensor, like: torch.Tensor) -> Any:
    with running(Call(sites={})):  # the block's own hooks must not hear of the probe
        scale, offset, centres = probed(module, before.shape[-1], like)
    fixed = held(Norm(_wide(scale), _wide(offset), centres), _wide(before), _wide(after), block.allowed)
    if fixed is None:
        msg = f"The {type(module).__name__} of this model's queries and keys is not linear at a fixed size."
        raise NotCaptured(msg)
    block.held[id(module), use] = fixed
    return _applied(fixed, before)


def _as_held(block: _Block) -> Callable[..., Any]:
    """After every module of the block: norms divide by the sizes of the run, whatever they are given."""

    def seen(module: torch.nn.Module, use: int, args: tuple[Any, ...], output: Any) -> Any:  # noqa: ARG001 - a hook's signature
        fixed = block.held.get((id(module), use))
        return None if fixed is None else _applied(fixed, args[0])

    return seen


def _applied(fixed: HeldNorm, before: torch.Tensor) -> torch.Tensor:
    scale, offset, size = (torch.as_tensor(each).to(before) for each in (fixed.norm.scale, fixed.norm.offset, fixed.size))
    centred = before - before.mean(-1, keepdim=True) if fixed.norm.centres else before
    return scale * centred / size[..., None] + offset
