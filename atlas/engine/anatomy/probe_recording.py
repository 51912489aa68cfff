"""Records one probe pass: every call of a module in order, with its inputs and outputs.

Tensors are compared by their bytes, because a state that two modules read has the same numbers in both, however it was reshaped.
So the connections between modules are found without any name.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

from atlas.engine.anatomy.records import Place
from atlas.engine.running.context import AttentionSite, AttentionSites, Call, Terms, Watcher, current, running

BATCH = 2
"""Rows of the probe. With two rows, tensors that a model flattens or shares between rows can be recognised."""


def writes_into(tensor: torch.Tensor) -> int:
    """Autograd's private count of in-place writes into a tensor; no public one exists. In inference mode nothing is counted."""
    return 0 if tensor.is_inference() else tensor._version  # noqa: SLF001


@dataclass(eq=False, slots=True)
class Seen:
    """A tensor at one place of the pass, copied when it passed."""

    event: Event
    place: Place
    value: torch.Tensor
    key: bytes
    live: torch.Tensor
    version: int

    @property
    def rows(self) -> torch.Tensor:
        """The numbers as (row, width), in float32 or better."""
        return self.value.reshape(-1, self.value.shape[-1]).to(torch.promote_types(self.value.dtype, torch.float32))

    @property
    def overwritten(self) -> bool:
        """Whether the model wrote into it in place after it passed."""
        return writes_into(self.live) != self.version


@dataclass(eq=False, slots=True)
class Event:
    """One call of one module."""

    module: torch.nn.Module
    name: str
    use: int
    start: int
    parent: Event | None
    end: int = -1
    inputs: list[Seen] = field(default_factory=list)
    outputs: list[Seen] = field(default_factory=list)

    @property
    def leaf(self) -> bool:
        """Whether the module holds no other module."""
        return next(self.module.children(), None) is None

    def within(self, outer: Event) -> bool:
        """Whether this call happened inside `outer` (or is `outer`)."""
        return outer.start <= self.start and self.end <= outer.end


@dataclass(slots=True)
class Attended:
    """The outputs of one layer's heads, and the call of its attention module."""

    site: AttentionSite
    value: torch.Tensor
    event: Event


@dataclass(slots=True)
class Recording(Watcher):
    """A whole probe pass."""

    probe: dict[str, torch.Tensor]
    events: list[Event] = field(default_factory=list)
    attended: dict[tuple[str, int], Attended] = field(default_factory=dict)
    output: Any = None
    keep_graph: bool = True
    open: list[Event] = field(default_factory=list)
    uses: dict[str, int] = field(default_factory=dict)

    def block_of_heads(self, site: AttentionSite, terms: Terms) -> int:  # noqa: ARG002 - the watcher's protocol
        """All heads at once."""
        return terms.query.shape[1]

    def saw_terms(self, site: AttentionSite, terms: Terms) -> None:
        """Not needed here."""

    def saw_weights(self, site: AttentionSite, terms: Terms, heads: slice, scores: torch.Tensor, weights: torch.Tensor) -> None:
        """Not needed here."""

    def saw_output(self, site: AttentionSite, output: torch.Tensor) -> None:
        """Record the outputs of a layer's heads."""
        self.attended[site.kind, site.layer] = Attended(site, output.detach().clone(), self.open[-1])

    def entered(self, name: str, module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Open an event."""
        use = self.uses.get(name, 0)
        self.uses[name] = use + 1
        event = Event(module, name, use, len(self.events), self.open[-1] if self.open else None)
        arguments: list[tuple[int | str, Any]] = [*enumerate(args), *kwargs.items()]
        event.inputs = [_seen(event, "in", item, value) for item, value in arguments if _recorded(value)]
        self.events.append(event)
        self.open.append(event)

    def left(self, output: Any) -> None:
        """Close the innermost event."""
        event = self.open.pop()
        event.end = len(self.events) - 1
        event.outputs = [_seen(event, "out", item, value) for item, value in _elements(output) if _recorded(value)]


def is_linear(module: torch.nn.Module) -> bool:
    """Whether a module is a `Linear`, or GPT-2's `Conv1D`, which stores the weight transposed."""
    return isinstance(module, torch.nn.Linear) or (type(module).__name__ == "Conv1D" and hasattr(module, "nf"))


def is_norm(module: torch.nn.Module) -> bool:
    """Whether a module is a norm, or an identity in the place of one (ModernBERT's first layer)."""
    return isinstance(module, torch.nn.Identity) or "norm" in type(module).__name__.lower()


def key_of(value: torch.Tensor) -> bytes:
    """A hash of a tensor's numbers, independent of its shape."""
    flat = value.detach().contiguous().cpu().reshape(-1)
    return hashlib.blake2b(flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b"", digest_size=16).digest()


def record(model: torch.nn.Module, sites: AttentionSites, probe: Mapping[str, torch.Tensor]) -> Recording:
    """Run the probe once, without dropout, and record every call."""
    recording = Recording({name: value.repeat(BATCH, *[1] * (value.dim() - 1)) for name, value in probe.items()})
    call = Call(sites=sites, watcher=recording)
    with evaluating(model), _listening(model, recording, call), unrecorded(), running(call):
        recording.output = passed(model, recording.probe)
    return recording


def passed(model: torch.nn.Module, probe: Mapping[str, torch.Tensor]) -> Any:
    """Run the probe, without inputs that the model does not accept and without a cache of keys and values."""
    accepted = inspect.signature(model.forward).parameters
    options = {"use_cache": False} if "use_cache" in accepted else {}
    return model(**{name: value for name, value in probe.items() if name in accepted}, **options)


def _recorded(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.dim() >= 2 and value.dtype != torch.bool


def _elements(output: Any) -> Iterator[tuple[int | str | None, Any]]:
    if isinstance(output, torch.Tensor):
        yield None, output
    elif isinstance(output, Mapping):
        yield from ((str(name), value) for name, value in output.items())
    elif isinstance(output, tuple | list):
        yield from enumerate(output)


def _seen(event: Event, side: str, item: int | str | None, value: torch.Tensor) -> Seen:
    copy = value.detach().clone()
    return Seen(event, Place(side, item), copy, key_of(copy), value, writes_into(value))


@contextmanager
def unrecorded() -> Iterator[None]:
    """Switch off gradients and also inference mode, whose tensors do not count the writes into them."""
    with torch.inference_mode(mode=False), torch.no_grad():
        yield


@contextmanager
def evaluating(model: torch.nn.Module) -> Iterator[None]:
    """Switch to evaluation mode and restore it module by module, because a borrowed model may have parts in either mode."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


@contextmanager
def _listening(model: torch.nn.Module, recording: Recording, call: Call) -> Iterator[None]:
    handles = []
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Dropout | torch.nn.ModuleList):
            continue

        def before(called: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], name: str = name) -> None:
            if current() is call:  # ignore the passes of other threads
                recording.entered(name, called, args, kwargs)

        def after(called: torch.nn.Module, args: Any, output: Any) -> None:  # noqa: ARG001 - torch's signature
            if current() is call:
                recording.left(output)

        handles += [module.register_forward_pre_hook(before, with_kwargs=True), module.register_forward_hook(after)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
