"""Token vectors of a run replaced by others: for gradients with respect to them, and for baselines.

The vectors are replaced where the model's own table gives them out, not through `inputs_embeds`: models scale that argument
differently (BART, Gemma), and some need the token ids beside it. The hook acts only in the call that installed it, so other
threads that run the model at the same time are not affected.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from atlas.engine.running.context import Call, current

if TYPE_CHECKING:
    from atlas.engine.anatomy.records import Tap
    from atlas.engine.model import Model

ROWS_AT_ONCE = 4096
"""Rows of the table that are averaged at once, because a table of 250,000 rows would be copied as a whole."""

Vectors = Mapping[str, torch.Tensor]
"""side -> (row, position, width) token vectors"""


@dataclass(eq=False, slots=True)
class _Replace:
    """Forward hook of the module that gives out token vectors."""

    call: Call
    tap: Tap
    vectors: torch.Tensor

    def __call__(self, module: torch.nn.Module, args: Any, output: torch.Tensor) -> torch.Tensor | None:  # noqa: ARG002
        if current() is not self.call:
            return None
        turn = self.call.seen[id(self)] % self.tap.uses
        self.call.seen[id(self)] += 1
        if turn != self.tap.use:
            return None
        # A clone, because a model may add positions in place, which torch forbids for a tensor whose gradient is asked for.
        return self.vectors.clone().reshape(output.shape)


@contextmanager
def replaced(model: Model, call: Call, taps: Mapping[str, Tap], vectors: Vectors | None) -> Iterator[None]:
    """Let `call` run with these token vectors while the context is open; other calls read the model's own."""
    with ExitStack() as stack:
        for side, values in (vectors or {}).items():
            hook = _Replace(call, taps[side], values)
            handle = model.hf.get_submodule(taps[side].module).register_forward_hook(hook)
            stack.callback(handle.remove)
        yield


def has_mean(model: Model, tap: Tap) -> bool:
    """Whether token vectors are rows of one table, which have a mean."""
    return isinstance(model.hf.get_submodule(tap.module), torch.nn.Embedding)


def mean_vector(model: Model, tap: Tap) -> torch.Tensor:
    """The mean of all rows of the table, as the module gives them out."""
    module = model.hf.get_submodule(tap.module)
    assert isinstance(module, torch.nn.Embedding)
    total = torch.zeros(module.embedding_dim, dtype=torch.float64, device=module.weight.device)
    with torch.no_grad():
        for start in range(0, module.num_embeddings, ROWS_AT_ONCE):
            ids = torch.arange(start, min(start + ROWS_AT_ONCE, module.num_embeddings), device=module.weight.device)
            total += module(ids).double().sum(dim=0)
    return (total / module.num_embeddings).to(module.weight.dtype)
