"""Plain records of how a model's parts add up, without search or hooks.

A model reads and writes a residual stream. An `Anatomy` says for each stream (one for an encoder, one for a decoder) where in
the module tree each named part can be captured, how the parts add up, and why a part was not found.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

EMBEDDING_PARTS = ("token_embedding", "position", "segment")
"""The vectors that are added to make the first state of the stream. A vector that a model does not add is absent."""

BLOCKS = ("attention", "cross", "ffn")
"""The blocks that may write into the stream within a layer, in this order."""

NORMS = tuple(f"{block}{place}_norm_{side}" for block in BLOCKS for place in ("", "_post") for side in ("in", "out"))
"""`ffn_norm_in` is before the block (in a post-norm model, the sum after it); `ffn_post_norm_in` is between block and stream."""

GROUPS: Mapping[str, tuple[str, ...]] = {
    "stream": (
        *EMBEDDING_PARTS,
        "embedding_sum",
        "embedding",
        "hidden",
        "residual_mid",
        "residual_cross",
        "attention_output",
        "cross_output",
        "ffn_out",
        "final_norm_out",
    ),
    "ffn": ("ffn_in", "ffn_pre", "ffn_up", "ffn_act"),
    # A separate group, because it would double the bytes of `stream`, and most readers of the stream do not use it.
    "norms": ("embedding_norm_in", "embedding_norm_out", *NORMS, "final_norm_in"),
    "head_outputs": ("attention_projection",),
}
"""Capture group -> names of the taps it needs. `head_parts` computes what single heads write from their outputs z."""

PROJECTIONS = "projections"
"""The weights in `head_outputs`, by themselves: output projections, their biases, norms. They take no run of the model."""

ALL_TAPS = tuple(name for names in GROUPS.values() for name in names)


@dataclass(frozen=True, slots=True)
class Place:
    """A place where a tensor passes: an input or an output of a module."""

    side: str
    """'in' or 'out'."""
    item: int | str | None
    """Number or name of the argument, or of the element of the output; None for the output itself."""


@dataclass(frozen=True, slots=True)
class Tap:
    """One named tensor of one layer, and the place where it is captured."""

    name: str
    kind: str
    layer: int
    module: str
    place: Place
    use: int
    """Number of the module's use in one pass, because ALBERT uses one module for all its layers."""
    uses: int
    factor: float = 1.0
    """The number by which the model multiplies the tensor, outside any module, before adding it (Granite)."""
    columns: tuple[int, int] | None = None
    """The columns to take from the output of a fused projection."""
    layout: str = "plain"
    """'plain': (batch, position, width); 'flat': batch and position in one; 'shared': the same for every row of the batch."""
    clone: bool = False
    """Whether the model later writes into this tensor in place."""


@dataclass(frozen=True, slots=True)
class Sum:
    """An equation that holds in every layer of a stream: `total` is the sum of the `parts`."""

    kind: str
    total: str
    parts: tuple[str, ...]
    leaves: bool = False
    """Whether `total` is the `hidden` that leaves the layer (index layer + 1); a part named `hidden` is what enters it."""

    def __str__(self) -> str:
        index = {"hidden": "hidden[l]"}
        total = "hidden[l+1]" if self.leaves else self.total
        return f"{total} = {' + '.join(index.get(part, part) for part in self.parts)}"


@dataclass(slots=True)
class Projection:
    """The output projection of one attention layer, which has one block of columns for each head."""

    module: torch.nn.Module
    name: str
    transposed: bool
    """Whether the weight is stored as (in, out), as in GPT-2's Conv1D, not as (out, in)."""
    n_heads: int
    factor: float = 1.0
    after: str = ""
    """What changes the sum of the heads before it is added to the stream ('RMSNorm ...'); empty: nothing."""
    gram: tuple[tuple[int, int], torch.Tensor] | None = None
    """W_h W_h^T of every head, with the version of the weight it was computed from."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One step from the last state of the stream to the logits."""

    what: str
    """'apply' a module, 'scale' by a number, 'add' a vector of the model, or 'cap' softly at a number."""
    module: str = ""
    number: float = 1.0


@dataclass(slots=True)
class Anatomy:
    """How one model's residual streams are built."""

    streams: dict[str, int] = field(default_factory=dict)
    """Kind of stream ('encoder', 'decoder') -> number of layers."""
    widths: dict[str, int] = field(default_factory=dict)
    schema: dict[str, str] = field(default_factory=dict)
    """Kind -> how its layers add, in words."""
    taps: list[Tap] = field(default_factory=list)
    sums: list[Sum] = field(default_factory=list)
    errors: dict[tuple[str, str], float] = field(default_factory=dict)
    """(kind, name of the check) -> the largest error on the probe, as a share of the stream's size."""
    projections: dict[tuple[str, int], Projection] = field(default_factory=dict)
    unembedding: tuple[Stage, ...] = ()
    tap_widths: dict[tuple[str, str], int] = field(default_factory=dict)
    """(kind, name) -> numbers per position."""
    notes: list[str] = field(default_factory=list)
    missing: dict[tuple[str, str], str] = field(default_factory=dict)
    """(kind, name) -> why the name is missing; kind '' where it is missing in the whole model."""

    @property
    def absent(self) -> dict[str, str]:
        """Name -> reason, for the names that no stream of this model has."""
        found = self.names()
        return {name: reason for (_, name), reason in self.missing.items() if name not in found}

    def names(self, kind: str | None = None) -> frozenset[str]:
        """The names that can be captured, in one kind of stream or in any."""
        return frozenset(tap.name for tap in self.taps if kind in (None, tap.kind))

    def why_absent(self, name: str, kind: str) -> str | None:
        """The reason why a name is absent from a stream; None where it is present."""
        if name in self.names(kind):
            return None
        return self.missing.get((kind, name)) or self.missing.get(("", name)) or f"This model's {kind} has no {name}."

    def width(self, name: str, kind: str) -> int | None:
        """Numbers per position of a captured array (for byte estimates); None where it is absent."""
        return self.tap_widths.get((kind, name))
