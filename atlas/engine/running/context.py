"""One call of a model, as seen by everything that observes it.

A context variable, not a global list: eight threads that trace eight texts on one model each see their own call, and code
that runs the model without a call (a training loop, `generate`) is not observed at all.
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
    """One place where a model attends: the n-th use of a module within one forward pass, known by kind and layer."""

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
    """What a head reads at one position."""


@dataclass(slots=True)
class Terms:
    """Everything that goes into the weights of one layer, as the model hands it over."""

    query: torch.Tensor
    """(batch, head, query, width)"""
    key: torch.Tensor
    """(batch, key head, key, width): fewer heads than `query` where keys are grouped."""
    value: torch.Tensor
    scaling: float
    visible: torch.Tensor | None
    """Boolean, broadcastable to (batch, head, query, key); None where all is visible or `causal` says it."""
    causal: bool
    bias: torch.Tensor | None
    softcap: float | None
    sinks: torch.Tensor | None
    """(head,)"""


class Watcher:
    """Sees every layer's attention while it is computed; a subclass says what it wants to see."""

    keep_graph: bool = False
    """Whether the weights must be computed in one piece, with gradients."""

    def block_of_heads(self, site: AttentionSite, terms: Terms) -> int:  # noqa: ARG002 - a subclass looks at both
        """How many heads to compute at once."""
        return terms.query.shape[1]

    def saw_terms(self, site: AttentionSite, terms: Terms) -> None:
        """Called once a layer, before its weights exist."""

    def saw_weights(self, site: AttentionSite, terms: Terms, heads: slice, scores: torch.Tensor, weights: torch.Tensor) -> None:
        """Called for every block of heads."""

    def saw_output(self, site: AttentionSite, output: torch.Tensor) -> None:
        """Called once a layer with what every head read, (batch, head, query, width)."""


AttentionSites = Mapping[int, tuple[AttentionSite, ...]]
"""id of an attention module -> its sites in call order (more than one where a module is shared by layers)."""


@dataclass(slots=True)
class Call:
    """The state of one forward pass."""

    sites: AttentionSites
    watcher: Watcher | None = None
    interventions: Mapping[tuple[str, int], LayerInterventions] = field(default_factory=dict)
    taps: dict[str, Any] | None = None
    """Where the internals' hooks put what they see; None: they see nothing."""
    wanted_taps: frozenset[str] = frozenset()
    seen: Counter[int] = field(default_factory=Counter)
    masks: dict[int, Any] = field(default_factory=dict)
    """What was worked out once about a mask object that many layers share, by its id."""

    def site_of(self, module: torch.nn.Module) -> AttentionSite | None:
        """The site this use of the module is; None for modules nobody asked about."""
        known = self.sites.get(id(module))
        if known is None:
            return None
        turn = self.seen[id(module)]
        self.seen[id(module)] += 1
        return known[turn % len(known)]


_CURRENT: ContextVar[Call | None] = ContextVar("atlas_call", default=None)


def current() -> Call | None:
    """The call this thread is in, if any."""
    return _CURRENT.get()


@contextmanager
def running(call: Call) -> Iterator[Call]:
    """Make `call` the current one; calls nest."""
    token = _CURRENT.set(call)
    try:
        yield call
    finally:
        _CURRENT.reset(token)
