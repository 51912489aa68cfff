"""What is known of the inner parts of a model: which arrays it has, where they are captured, its projections and norms."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from atlas.engine.anatomy import internals
from atlas.engine.anatomy.feedforward import unit_writes
from atlas.engine.anatomy.records import GROUPS, PROJECTIONS
from atlas.engine.anatomy.stream_norms import NORM_ARRAYS, all_norms, stream_norms

if TYPE_CHECKING:
    from atlas.engine.anatomy.records import Anatomy, Tap


class Parts(ABC):
    """The part of a `Model` that answers for its anatomy."""

    hf: Any
    kinds: tuple[str, ...]
    task: str
    _anatomy: Anatomy

    @property
    @abstractmethod
    def name(self) -> str:
        """What the model is called."""

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Where its weights are."""

    @abstractmethod
    def held(self) -> AbstractContextManager[None]:
        """Nobody else runs the model meanwhile."""

    @property
    def anatomy(self) -> Anatomy:
        """What was found of its streams."""
        return self._anatomy

    def taps_of(self, groups: Sequence[str]) -> tuple[str, ...]:
        """The names of the arrays of these capture groups that this model has."""
        return tuple(name for group in groups for name in GROUPS.get(group, ()) if name not in self._anatomy.absent)

    def places_of(self, name: str) -> dict[str, Tap]:
        """Where a named tensor of a stream is captured in its first layer, by kind of stream."""
        return {tap.kind: tap for tap in self._anatomy.taps if tap.name == name and tap.layer == 0}

    def taps_named(self, name: str, kind: str) -> list[Tap]:
        """Where a named tensor of a stream is captured, layer by layer."""
        return [tap for tap in self._anatomy.taps if (tap.name, tap.kind) == (name, kind)]

    def states(self) -> list[Tap]:
        """Where the states of a model's only stream are captured, from the first layer's input to the last layer's output."""
        return [tap for tap in self._anatomy.taps if tap.name == "hidden"] if len(self.kinds) == 1 else []

    def last_feed_forward(self) -> Tap | None:
        """Where the last layer of a model's only stream gives the state to its feed-forward block, if a module is given it."""
        last = self._anatomy.streams.get(self.kinds[0], 0) - 1 if len(self.kinds) == 1 else -1
        found = (tap for tap in self._anatomy.taps if (tap.name, tap.layer) == ("ffn_in", last))
        return next((tap for tap in found if (tap.place.side, tap.layout, tap.columns) == ("in", "plain", None)), None)

    def last_module(self) -> str:
        """The last module on the way to the logits; empty where it was not found."""
        return next((stage.module for stage in reversed(self._anatomy.unembedding) if stage.what == "apply"), "")

    def group_of(self, name: str) -> str | None:
        """The smallest capture group that holds an array; None where this model has no such array."""
        if name in ("output_projection", "output_bias", *NORM_ARRAYS):
            return PROJECTIONS if self._anatomy.projections else None
        return next((group for group, names in GROUPS.items() if name in names and name not in self._anatomy.absent), None)

    def reason(self, name: str) -> str:
        """Why this model has no array of that name."""
        if name == "predictions":
            return f"{self.name} has no output that can be read as likelier and less likely outcomes ({self.task})."
        known = sorted(
            {name for group in GROUPS for name in self.taps_of([group])} | {"query", "key", "value", "head_output", "logit_lens"}
        )
        why = self._anatomy.absent.get(name)
        return f"{self.name} has no {name!r}: {why}." if why else f"There is no vector {name!r}; there are {', '.join(known)}."

    def value_gram(self, kind: str, layer: int) -> torch.Tensor | None:
        """W_O W_O^T of every head of a layer; None where the output projection was not found."""
        if (kind, layer) not in self._anatomy.projections:
            return None
        return internals.value_gram(self._anatomy, kind, layer)

    def output_projections(self) -> dict[tuple[str, int], torch.Tensor]:
        """(head, width, d_model) of every layer whose output projection was found."""
        return internals.output_projections(self._anatomy)

    def output_biases(self) -> dict[tuple[str, int], torch.Tensor]:
        """The biases of the output projections that have one, (d_model,). No head writes them."""
        found = {place: internals.output_bias(self._anatomy, *place) for place in self._anatomy.projections}
        return {place: bias for place, bias in found.items() if bias is not None}

    def stream_norms(self) -> dict[str, dict[tuple[str, int], torch.Tensor]]:
        """Scale and offset of the norms on the way of the stream, by name and layer; names in `NORM_ARRAYS`."""
        return stream_norms(self.hf, self._anatomy)

    def norms(self) -> dict[tuple[str, str, int], tuple[torch.Tensor, torch.Tensor, bool]]:
        """(role, kind, layer) -> scale, offset, and whether the mean is removed, of every norm that was found."""
        return all_norms(self.hf, self._anatomy)

    def unembed(self, hidden: np.ndarray) -> np.ndarray:
        """Logits of any state of the residual stream (the logit lens)."""
        logits: np.ndarray = self.unembedded(torch.tensor(hidden)).cpu().numpy()
        return logits

    def unembedded(self, hidden: torch.Tensor) -> torch.Tensor:
        """The same for who goes on reckoning on the model's device: float32 logits, which stay there."""
        with self.held(), torch.no_grad():
            return internals.unembed(self.hf, self._anatomy, hidden.to(self.device, self.hf.dtype)).float()

    def unit_writes(self, kind: str, layer: int, units: Sequence[int]) -> torch.Tensor:
        """(unit, width) what units of a feed-forward block write at activation 1."""
        with self.held():
            return unit_writes(self.hf, self._anatomy, kind, layer, units)
