"""The current call of a model, for everything that observes it.

It is a context variable, so that eight threads that trace eight texts on one model each see their own call, and code that runs
the model without a call (a training loop, `generate`) is not observed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from atlas.engine.running.interventions import LayerInterventions


@dataclass(frozen=True, slots=True)
class AttentionSite:
    """One place where a model attends, by kind and layer: the n-th use of a module within one forward pass."""

    kind: str
    layer: int
    module: str
    """Dotted name of the attention module in the model (ALBERT uses one module for all its layers)."""
    point: torch.nn.Module
    """An identity module the weights pass through, so that captum can attribute to this layer's attention."""
    n_heads: int
    key_heads: int = 0
    """Heads of keys and values: fewer than `n_heads` where queries share them."""
    width: int = 0
    """Numbers of a head's output at one position."""


@dataclass(slots=True)
class Terms:
    """The inputs of one layer's attention, as the model passes them."""

    query: torch.Tensor
    """(batch, head, query, width)"""
    key: torch.Tensor
    """(batch, key head, key, width): fewer heads than `query` where keys are grouped."""
    value: torch.Tensor
    scaling: float
    visible: torch.Tensor | None
    """Boolean, broadcastable to (batch, head, query, key); None where all is visible or `causal` is the whole mask."""
    causal: bool
    bias: torch.Tensor | None
    softcap: float | None
    sinks: torch.Tensor | None
    """(head,)"""


class Watcher:
    """Observes every layer's attention while it is computed; a subclass overrides the methods it needs."""

    keep_graph: bool = False
    """Whether the weights must be computed in one piece, with gradients."""

    def block_of_heads(self, site: AttentionSite, terms: Terms) -> int:  # noqa: ARG002 - a subclass looks at both
        """The number of heads to compute at once."""
        return terms.query.shape[1]

    def saw_terms(self, site: AttentionSite, terms: Terms) -> None:
        """Called once for each layer, before its weights exist."""

    def saw_weights(self, site: AttentionSite, terms: Terms, heads: slice, scores: torch.Tensor, weights: torch.Tensor) -> None:
        """Called for every block of heads."""

    def saw_output(self, site: AttentionSite, output: torch.Tensor) -> None:
        """Called once for each layer with the output of every head, (batch, head, query, width)."""


AttentionSites = Mapping[int, tuple[AttentionSite, ...]]
"""id of an attention module -> its sites in call order (more than one where a module is shared by layers)."""


@dataclass(slots=True)
class Call:
    """The state of one forward pass."""

    sites: AttentionSites
    watcher: Watcher | None = None
    interventions: Mapping[tuple[str, int], LayerInterventions] = field(default_factory=dict)
    taps: dict[str, Any] | None = None
    """Where the hooks of `anatomy.hooks` store tensors; None: they store nothing."""
    wanted_taps: frozenset[str] = frozenset()
    seen: Counter[int] = field(default_factory=Counter)
    masks: dict[int, Any] = field(default_factory=dict)
    """The split of each mask object that several layers share, by the object's id."""

    def site_of(self, module: torch.nn.Module) -> AttentionSite | None:
        """The site of this use of the module; None for modules that are not observed."""
        known = self.sites.get(id(module))
        if known is None:
            return None
        turn = self.seen[id(module)]
        self.seen[id(module)] += 1
        return known[turn % len(known)]


_CURRENT: ContextVar[Call | None] = ContextVar("atlas_call", default=None)


def current() -> Call | None:
    """The current call of this thread, if any."""
    return _CURRENT.get()


@contextmanager
def running(call: Call) -> Iterator[Call]:
    """Make `call` the current call while the context is open; calls may be nested."""
    token = _CURRENT.set(call)
    try:
        yield call
    finally:
        _CURRENT.reset(token)
