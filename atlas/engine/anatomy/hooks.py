"""Permanent hooks that store tensors of a pass in the call that requested them.

Without a call, or for a call that requests no taps, a hook only reads a context variable. Two threads never see each other's
tensors, because each has its own call. The hooks are plain objects, so a model with hooks can still be copied and saved.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from atlas.engine.anatomy.records import Anatomy, Tap
from atlas.engine.running.context import Call, current


@dataclass(eq=False, slots=True)
class _Batch:
    """Hook of the whole model and of the inner one: records the batch size, which flattened tensors do not show."""

    whole: PreTrainedModel

    def __call__(self, module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        call = current()
        if call is None or call.taps is None:
            return
        tensor = next((value for value in (*args, *kwargs.values()) if isinstance(value, torch.Tensor)), None)
        if tensor is not None and (module is self.whole or not call.seen[id(self)]):
            call.seen[id(self)] = tensor.shape[0]


@dataclass(eq=False, slots=True)
class _Listener:
    """The taps on one side of one module, by the number of the module's use within a pass."""

    taps: dict[int, list[Tap]]
    uses: int
    batch: _Batch

    def store(self, call: Call, items: Any) -> None:
        """Store the requested tensors of this use of the module."""
        turn = call.seen[id(self)] % self.uses
        call.seen[id(self)] += 1
        for tap in self.taps.get(turn, ()):
            if tap.name in call.wanted_taps and call.taps is not None:
                value = items if tap.place.item is None else items[tap.place.item]
                call.taps.setdefault(tap.name, {})[tap.kind, tap.layer] = _stored(tap, value, call.seen[id(self.batch)])


class _Before(_Listener):
    """Stores inputs, before the module runs, because a module may overwrite its input."""

    __slots__ = ()

    def __call__(self, module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:  # noqa: ARG002
        call = current()
        if call is not None and call.taps is not None:
            self.store(call, dict(enumerate(args)) | kwargs)


class _After(_Listener):
    """Stores outputs."""

    __slots__ = ()

    def __call__(self, module: torch.nn.Module, args: Any, output: Any) -> None:  # noqa: ARG002
        call = current()
        if call is not None and call.taps is not None:
            self.store(call, output)


def install(hf: PreTrainedModel, anatomy: Anatomy) -> list[RemovableHandle]:
    """Hook every tap of the anatomy; removing the handles leaves the model as it was."""
    places: Mapping[tuple[str, str], dict[int, list[Tap]]] = defaultdict(lambda: defaultdict(list))
    uses: dict[tuple[str, str], int] = {}
    for tap in anatomy.taps:
        places[tap.module, tap.place.side][tap.use].append(tap)
        uses[tap.module, tap.place.side] = tap.uses
    batch = _Batch(hf)
    handles = []
    if any(tap.layout != "plain" for tap in anatomy.taps):
        # The inner model too, because it runs alone where no outcomes are wanted.
        modules = {id(each): each for each in (hf, hf.base_model)}.values()
        handles += [module.register_forward_pre_hook(batch, with_kwargs=True) for module in modules]
    for (name, side), taps in places.items():
        module = hf.get_submodule(name)
        if side == "in":
            handles.append(module.register_forward_pre_hook(_Before(dict(taps), uses[name, side], batch), with_kwargs=True))
        else:
            handles.append(module.register_forward_hook(_After(dict(taps), uses[name, side], batch)))
    return handles


def _stored(tap: Tap, value: torch.Tensor, batch: int) -> torch.Tensor:
    """The tensor as it is stored: (batch, position, width), scaled as the model adds it, copied if it is overwritten later."""
    if not torch.is_grad_enabled():
        value = value.detach()
    if tap.layout == "flat":
        value = value.reshape(batch, -1, value.shape[-1])
    elif tap.layout == "shared":
        value = value.reshape(1, -1, value.shape[-1]).expand(batch, -1, -1)
    if tap.columns is not None:
        value = value[..., tap.columns[0] : tap.columns[1]]
    if tap.factor != 1.0:
        return value * tap.factor
    return value.clone() if tap.clone else value
