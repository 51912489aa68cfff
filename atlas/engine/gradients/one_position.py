"""Logits of one position: no other has to be unembedded, and that is half the time of a small model with many outcomes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from atlas.engine.running.context import Call, current

if TYPE_CHECKING:
    from atlas.engine.model import Model


ALL_AXES = 3
"""Axes of logits of every position: (row, position, outcome)."""


@dataclass(eq=False, slots=True)
class _Cut:
    """Hook before the last module: keeps one position of what it is given."""

    call: Call
    position: int

    def before(self, module: torch.nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:  # noqa: ARG002
        """Cut the first argument."""
        if current() is not self.call or not args:
            return None
        return (args[0][:, self.position : self.position + 1], *args[1:])


@contextmanager
def one_position(model: Model, call: Call, position: int | None) -> Iterator[None]:
    """Let `call` unembed one position alone, if the last module was found; None: all positions."""
    last = "" if position is None else model.last_module()
    if position is None or not last:
        yield
        return
    handle = model.hf.get_submodule(last).register_forward_pre_hook(_Cut(call, position).before)
    try:
        yield
    finally:
        handle.remove()


def row_of(logits: torch.Tensor, position: int) -> torch.Tensor:
    """(row, outcome) logits of a position, whether it is the only one or not."""
    return logits[:, 0 if logits.shape[1] == 1 else position]
