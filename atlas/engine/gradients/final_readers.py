"""How outcomes read the last state of the stream: the linear maps from it to logits, in one run.

Between the last state and the logits may stand norms, activations (BERT's transform, a pooler) and soft caps. A norm divides by
a size and an activation multiplies by y / x; each is held at what it was in this run, so that the way is linear, and the logit is
what was written, read through it, plus what is added on the way. A second pass, of zeros with the same factors, gives that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from atlas.engine.anatomy.probe_recording import is_norm
from atlas.engine.anatomy.stream_norms import probed
from atlas.engine.gradients.one_position import one_position
from atlas.engine.gradients.subject import Subject
from atlas.engine.running.attention_block import norms_of, wide
from atlas.engine.running.capture import logits_where_known, stacked
from atlas.engine.running.context import Call, current, running
from atlas.errors import NotCaptured, TooLarge
from atlas.tracing.direct_effects import FinalReaders
from atlas.tracing.writers import HeldNorm, Norm, allowed_error, held

if TYPE_CHECKING:
    from atlas.engine.anatomy.records import Tap
    from atlas.engine.model import Model
    from atlas.trace import Trace
    from atlas.tracing.explained import Target

READINGS_AT_ONCE = 64
"""Outcomes whose gradients are taken together: their rows of a vocabulary of 250,000 take 64 MB."""

READER_BYTES = 1 << 30
"""Most bytes of the readers of all positions, of a classifier that reads them all."""

ACTIVATIONS = frozenset({
    functional.gelu, functional.relu, functional.silu, functional.leaky_relu, functional.elu, functional.selu, functional.mish,
    functional.hardswish, functional.tanh, torch.relu, torch.tanh, torch.Tensor.relu, torch.Tensor.tanh,
})  # fmt: skip
"""Functions of single numbers that models call without a module of their own (RoBERTa's head, soft caps)."""

ACTIVATION_MODULES = ("transformers.activations", "torch.nn.modules.activation")
"""Where the classes of activations are defined."""


class _Factors(TorchFunctionMode):
    """What norms and activations behind the last state multiply by: kept in the first pass, used again in the next."""

    def __init__(self) -> None:
        super().__init__()
        self.on = False
        self.kept: list[Any] = []
        self.names: list[str] = []
        self._next = -1

    def again(self) -> None:
        """Use what was kept."""
        self._next = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        if self.on and func in ACTIVATIONS:
            return self.scaled(func.__name__, args[0], output)
        return output

    def scaled(self, name: str, before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
        """An activation as a factor."""

        def made() -> tuple[torch.Tensor, torch.Tensor]:
            x, y = before.detach(), after.detach()
            tiny = torch.finfo(x.dtype).tiny
            factor = torch.where(x.abs() > tiny, y / torch.where(x.abs() > tiny, x, 1), 0)
            return factor, y - x * factor

        factor, rest = self._held(f"an activation ({name})", made)
        return before * factor + rest

    def divided(self, module: torch.nn.Module, before: torch.Tensor, after: torch.Tensor, allowed: float) -> torch.Tensor:
        """A norm at the size by which it divided."""
        name = f"a norm ({type(module).__name__})"

        def made() -> HeldNorm | None:
            with running(Call(sites={})):
                scale, offset, centres = probed(module, before.shape[-1], before)
            return held(Norm(wide(scale), wide(offset), centres), wide(before), wide(after), allowed)

        fixed: HeldNorm | None = self._held(name, made)
        if fixed is None:
            msg = f"The {type(module).__name__} behind the last layer of this model is not linear at a fixed size."
            raise NotCaptured(msg)
        scale, offset, size = (torch.as_tensor(each).to(before) for each in (fixed.norm.scale, fixed.norm.offset, fixed.size))
        centred = before - before.mean(-1, keepdim=True) if fixed.norm.centres else before
        return scale * centred / size[..., None] + offset

    def _held(self, name: str, made: Callable[[], Any]) -> Any:
        if self._next >= 0:
            self._next += 1
            return self.kept[self._next - 1]
        self.kept.append(made())
        self.names.append(name)
        return self.kept[-1]


@dataclass(eq=False)
class _Behind:
    """Hooks of one call: other states in place of the last ones, and factors in place of what stands behind them."""

    call: Call
    tap: Tap
    states: Callable[[], torch.Tensor]
    """Makes the other states, (1, position, width), once gradients are on."""
    factors: _Factors
    allowed: float
    gradients: bool
    turn: int = 0
    inside: list[bool] = field(default_factory=list)

    def replace(self, module: torch.nn.Module, args: Any, output: Any) -> Any:  # noqa: ARG002 - torch's signature
        """The hook of the module that gives out the last states."""
        if current() is not self.call:
            return None
        self.turn += 1
        if (self.turn - 1) % self.tap.uses != self.tap.use:
            return None
        # What comes before needs no gradients, and its activations would stay in memory.
        torch.set_grad_enabled(self.gradients)
        self.factors.on = True
        item = self.tap.place.item
        if item is None:
            return self.states().reshape(output.shape)
        changed = list(output)
        changed[int(item)] = self.states().reshape(changed[int(item)].shape)
        return tuple(changed)

    def before(self, module: torch.nn.Module, args: Any) -> None:  # noqa: ARG002 - torch's signature
        """The hook before a norm or an activation: the functions inside it are not replaced one by one."""
        if current() is self.call:
            self.inside.append(self.factors.on)
            self.factors.on = False

    def after(self, module: torch.nn.Module, args: Any, output: Any) -> Any:
        """The hook behind it."""
        if current() is not self.call:
            return None
        self.factors.on = self.inside.pop()
        if not self.factors.on:
            return None
        if _divides(module):
            return self.factors.divided(module, args[0], output, self.allowed)
        return self.factors.scaled(type(module).__name__, args[0], output)

    @contextmanager
    def hooked(self, model: Model) -> Iterator[None]:
        """While this is open, the call meets the hooks."""
        last = model.hf.get_submodule(self.tap.module)
        with ExitStack() as stack:
            for module in model.hf.modules():
                if module is not last and (_divides(module) or type(module).__module__ in ACTIVATION_MODULES):
                    stack.callback(module.register_forward_pre_hook(self.before).remove)
                    stack.callback(module.register_forward_hook(self.after).remove)
            stack.callback(last.register_forward_hook(self.replace).remove)
            yield


def final_readers(trace: Trace, target: Target, drawn: int, seed: int, *, second: bool = False) -> FinalReaders:
    """The readers of an outcome, of the one it is held against, and of so many others drawn at random.

    `second`: it is held against the likeliest other outcome, where the target names none.
    """
    subject = Subject(trace, target)
    model, found = subject.model, subject.target
    stream = "decoder" if "decoder" in trace.kinds else trace.kinds[0]
    tap = _last_state(model, stream, trace.n_layers(stream))
    states = torch.tensor(trace.captured(tap.name)[tap.kind, tap.layer]).to(model.device, model.hf.dtype)
    alone = bool(model.anatomy.unembedding) and subject.read_at is not None
    rows = np.array([found.position]) if alone else np.arange(len(states))
    factors, allowed = _Factors(), allowed_error(trace)

    def run(some: torch.Tensor, *, gradients: bool) -> torch.Tensor:
        def whole() -> torch.Tensor:
            return (torch.cat([states[: rows[0]], some, states[rows[0] + 1 :]]) if alone else some)[None]

        call = Call(sites={})
        behind = _Behind(call, tap, whole, factors, allowed, gradients)
        factors.on = False
        with behind.hooked(model), one_position(model, call, subject.read_at), running(call), factors:
            logits = logits_where_known(model, model.forward(stacked(model, [subject.encoded])))
        if logits is None:
            raise NotCaptured(model.reason("predictions"))
        return subject.at_target(logits)[0]

    with subject.held(gradients=False):
        leaf = states[torch.as_tensor(rows, device=states.device)].clone().requires_grad_()
        logits = run(leaf, gradients=True)
        own = wide(logits)
        if second and found.against_id is None and len(own) > 1:
            other = next(int(at) for at in np.argsort(-own, kind="stable")[:2] if at != found.outcome_id)
            subject = Subject(trace, replace(target, outcome=found.outcome_id, against=other))
        ids = _drawn(subject, len(own), drawn, seed)
        if len(rows) * len(ids) * states.shape[-1] * 8 > READER_BYTES:
            msg = "This model reads all positions of the text, and they are too many to be taken apart. Shorten the text."
            raise TooLarge(msg)
        readers = _gradients(logits, leaf, ids)
        factors.again()
        constants = wide(run(torch.zeros_like(leaf), gradients=False))
    read = np.flatnonzero(np.abs(readers).any((1, 2)))
    return FinalReaders(
        subject.target, stream, tap.name, rows[read], readers[read], constants[ids], own[ids], norms_of(trace),
        tuple(dict.fromkeys(factors.names)),
    )  # fmt: skip


def _divides(module: torch.nn.Module) -> bool:
    """Whether a module is a norm, and not what stands in the place of one."""
    return is_norm(module) and not isinstance(module, torch.nn.Identity) and next(module.children(), None) is None


def _last_state(model: Model, stream: str, layers: int) -> Tap:
    """Where the last state is captured: behind the norm after the last layer, if the model has one."""
    wanted = {("final_norm_out", 0): 1, ("hidden", layers): 0}
    taps = [tap for tap in model.anatomy.taps if tap.kind == stream and (tap.name, tap.layer) in wanted]
    taps = [tap for tap in taps if tap.place.side == "out" and tap.columns is None and tap.factor == 1.0]
    if not taps:
        msg = "The last state of this model's stream is not what one of its modules gives out, so who wrote it is not known."
        raise NotCaptured(msg)
    return max(taps, key=lambda tap: wanted[tap.name, tap.layer])


def _drawn(subject: Subject, n_outcomes: int, drawn: int, seed: int) -> np.ndarray:
    """Ids of the explained outcome, of the one it is held against, and of others at random."""
    own = [subject.target.outcome_id, *([] if subject.target.against_id is None else [subject.target.against_id])]
    others = np.setdiff1d(np.arange(n_outcomes), own)
    chosen = np.random.default_rng(seed).permutation(others)[:drawn]
    return np.array([*own, *chosen], dtype=int)


def _gradients(logits: torch.Tensor, leaf: torch.Tensor, ids: np.ndarray) -> np.ndarray:
    """(row, outcome, width): derivatives of some logits by the states."""
    found = []
    for start in range(0, len(ids), READINGS_AT_ONCE):
        some = torch.as_tensor(ids[start : start + READINGS_AT_ONCE], device=logits.device)
        directions = torch.nn.functional.one_hot(some, len(logits)).to(logits)
        (gradient,) = torch.autograd.grad(logits, leaf, directions, retain_graph=True, is_grads_batched=True)
        found.append(wide(gradient))
    return np.concatenate(found).transpose(1, 0, 2)
