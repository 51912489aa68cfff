"""Changes of a state at the place where it is captured, for one call of the model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from atlas.engine.anatomy.records import Tap
from atlas.engine.running.context import Call, current

if TYPE_CHECKING:
    from atlas.engine.model import Model

Changes = Sequence[tuple[Tap, Callable[[torch.Tensor], torch.Tensor]]]
"""Where states are changed, and how; each is given the rows that are in the batch there."""


@dataclass(eq=False, slots=True)
class AtTap:
    """Hook at one tap, which changes the state there."""

    call: Call
    tap: Tap
    change: Callable[[torch.Tensor], torch.Tensor]

    def _mine(self) -> bool:
        if current() is not self.call:
            return False
        turn = self.call.seen[id(self)] % self.tap.uses
        self.call.seen[id(self)] += 1
        return turn == self.tap.use

    def before(self, module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:  # noqa: ARG002
        """Change an argument of a module."""
        if not self._mine():
            return None
        item = self.tap.place.item
        if isinstance(item, str):
            return args, kwargs | {item: self.change(kwargs[item])}
        return tuple(self.change(value) if at == item else value for at, value in enumerate(args)), kwargs

    def after(self, module: torch.nn.Module, args: Any, output: Any) -> Any:  # noqa: ARG002
        """Change an output of a module."""
        if not self._mine():
            return None
        item = self.tap.place.item
        if item is None:
            return self.change(output)
        return tuple(self.change(value) if at == item else value for at, value in enumerate(output))


@contextmanager
def hooked(model: Model, hook: AtTap) -> Iterator[None]:
    """Let a hook act while the context is open."""
    module = model.hf.get_submodule(hook.tap.module)
    if hook.tap.place.side == "in":
        handle = module.register_forward_pre_hook(hook.before, with_kwargs=True)
    else:
        handle = module.register_forward_hook(hook.after)
    try:
        yield
    finally:
        handle.remove()
