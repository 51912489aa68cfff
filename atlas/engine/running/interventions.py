"""Interventions in a run: heads are ablated, edges are knocked out, patterns or outputs are patched in."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import torch

from atlas.errors import BadIntervention
from atlas.ids import HeadId, as_head

if TYPE_CHECKING:
    from atlas.ids import Headlike

Ablation = Literal["zero", "mean"]
ABLATIONS: tuple[Ablation, ...] = ("zero", "mean")
PATTERN_TOLERANCE = 2e-3
"""How far the sum of a pattern's row may exceed 1, because recorded patterns are rounded."""

HEAD_AXES = 2
"""Axes of a patch: a pattern is (query, key), an output (query, width)."""


@dataclass(frozen=True)
class Pattern:
    """Replace a head's weights by these, (query, key). NaN, which a trace's own patterns have where masked, counts as 0."""

    values: Any


@dataclass(frozen=True)
class Output:
    """Replace a head's output by this, (query, width), before the output projection."""

    values: Any


class Cut(NamedTuple):
    """The edges of some heads of one layer from each of some queries to each of some keys."""

    kind: str
    layer: int
    heads: tuple[int, ...]
    queries: tuple[int, ...]
    keys: tuple[int, ...]


@dataclass(frozen=True)
class Intervention:
    """All changes of the run of one text."""

    ablate: Sequence[Headlike] | Mapping[Headlike, Ablation] = ()
    """Heads whose output is replaced by zero, or by its mean over the text's positions."""
    knock_out: Sequence[tuple[Headlike, int, int] | Cut] = ()
    """(head, query, key): edges removed before the softmax, so that their attention mass goes to the other keys; or a `Cut`, by
    the block: a window of layers has too many edges to name one by one."""
    patch: Mapping[Headlike, Any] | None = None
    """head -> `Pattern`, `Output`, or an array that fits only one of the two by its shape."""

    def __bool__(self) -> bool:
        return bool(self.ablate) or bool(self.knock_out) or bool(self.patch)

    def edges(self) -> Iterator[tuple[Headlike, int, int]]:
        """All edges that are knocked out, one by one."""
        for each in self.knock_out:
            if isinstance(each, Cut):
                for head, query, key in itertools.product(*each[2:]):
                    yield HeadId(each.kind, each.layer, head), query, key
            else:
                yield each


@dataclass(slots=True)
class RowInterventions:
    """The changes in one layer for one row of the batch."""

    zero: list[int] = field(default_factory=list)
    mean: list[int] = field(default_factory=list)
    edges: list[np.ndarray] = field(default_factory=list)
    """(n, 3) head, query, key of edges that are knocked out."""
    patterns: dict[int, torch.Tensor] = field(default_factory=dict)
    outputs: dict[int, torch.Tensor] = field(default_factory=dict)
    length: int = 0
    """Tokens of this row without padding, because a mean over padding would be wrong."""

    @property
    def replaced(self) -> tuple[int, ...]:
        """Heads whose output is replaced, so that they write nothing of what they attend to."""
        return tuple(sorted({*self.zero, *self.mean, *self.outputs}))


LayerInterventions = dict[int, RowInterventions]
"""row of the batch -> its changes"""


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of one kind of attention for one text, which an intervention must fit."""

    n_layers: int
    n_heads: int
    n_queries: int
    n_keys: int
    width: int | None = None
    """Numbers of a head's output at one position; None where unknown."""


def by_layer(
    interventions: Sequence[Intervention | None], shapes: Sequence[Mapping[str, Shape]], device: torch.device | str = "cpu"
) -> dict[tuple[str, int], LayerInterventions]:
    """Sort the interventions of every row of a batch by layer, and check each against its text."""
    sorted_: dict[tuple[str, int], LayerInterventions] = {}
    for intervention in interventions:
        _check_form(intervention)
    for row, (intervention, shape) in enumerate(zip(interventions, shapes, strict=True)):
        if not intervention:
            continue
        modes = _modes(intervention.ablate, shape)
        for head, mode in modes.items():
            changes = _row(sorted_, head, row, shape)
            (changes.zero if mode == "zero" else changes.mean).append(head.head)
        for edge in intervention.knock_out:
            head, block = _block(edge, shape) if isinstance(edge, Cut) else _edge(edge, shape)
            _row(sorted_, head, row, shape).edges.append(block)
        for name, values in (intervention.patch or {}).items():
            head = _head(name, shape)
            if head in modes:
                msg = f"{head.label(tuple(shape))} cannot be ablated and patched in one run; leave one of the two out."
                raise BadIntervention(msg)
            changes = _row(sorted_, head, row, shape)
            patch = _patch(head, values, shape[head.kind])
            target = changes.patterns if isinstance(patch, Pattern) else changes.outputs
            target[head.head] = torch.tensor(patch.values, dtype=torch.float32).to(device)
    return sorted_


def _check_form(change: Any) -> None:
    if change is not None and not isinstance(change, Intervention):
        msg = f"What is changed for one text is an Intervention or None, not {type(change).__name__}."
        raise BadIntervention(msg)
    if change and change.patch is not None and not isinstance(change.patch, Mapping):
        msg = f"patch= is a mapping of heads to what is put there, not {type(change.patch).__name__}."
        raise BadIntervention(msg)
    if change and (isinstance(change.knock_out, str) or not isinstance(change.knock_out, Iterable)):
        msg = f"knock_out= is a list of (head, query, key), not {type(change.knock_out).__name__}."
        raise BadIntervention(msg)


def _row(
    sorted_: dict[tuple[str, int], LayerInterventions], head: HeadId, row: int, shape: Mapping[str, Shape]
) -> RowInterventions:
    layer = sorted_.setdefault((head.kind, head.layer), {})
    return layer.setdefault(row, RowInterventions(length=shape[head.kind].n_queries))


def _head(name: Headlike, shapes: Mapping[str, Shape]) -> HeadId:
    try:
        head = as_head(name, tuple(shapes))
    except (TypeError, ValueError) as error:
        msg = f"{name!r} does not name a head; give 'L5 H3', (layer, head) or (kind, layer, head), several of them in a list."
        raise BadIntervention(msg) from error
    shape = shapes[head.kind]
    if head.layer >= shape.n_layers or head.head >= shape.n_heads:
        msg = (
            f"{head.label(tuple(shapes))} does not exist: the {head.kind} has layers 0 to {shape.n_layers - 1} "
            f"and heads 0 to {shape.n_heads - 1}."
        )
        raise BadIntervention(msg)
    return head


def _modes(ablate: Sequence[Headlike] | Mapping[Headlike, Ablation], shapes: Mapping[str, Shape]) -> dict[HeadId, Ablation]:
    if isinstance(ablate, str | HeadId) or not isinstance(ablate, Iterable):
        modes_known = " or ".join(map(repr, ABLATIONS))
        msg = f"ablate={ablate!r} is no collection of heads; put heads in a list, or in a mapping to {modes_known}."
        raise BadIntervention(msg)
    pairs = ablate.items() if isinstance(ablate, Mapping) else ((name, ABLATIONS[0]) for name in ablate)
    modes: dict[HeadId, Ablation] = {}
    for name, mode in pairs:
        if mode not in ABLATIONS:
            msg = f"A head can be ablated by {' or '.join(map(repr, ABLATIONS))}, not by {mode!r}."
            raise BadIntervention(msg)
        modes[_head(name, shapes)] = mode
    return modes


def _edge(edge: tuple[Headlike, int, int], shapes: Mapping[str, Shape]) -> tuple[HeadId, np.ndarray]:
    named = isinstance(edge, Sequence) and len(edge) == len(("head", "query", "key"))
    if not named or not all(isinstance(place, int | np.integer) for place in edge[1:]):
        msg = f"{edge!r} does not name an edge; give (head, query position, key position)."
        raise BadIntervention(msg)
    head = _head(edge[0], shapes)
    shape = shapes[head.kind]
    query, key = int(edge[1]), int(edge[2])
    if not (0 <= query < shape.n_queries and 0 <= key < shape.n_keys):
        msg = (
            f"The edge {query} -> {key} of {head} lies outside this text, which has {shape.n_queries} query "
            f"and {shape.n_keys} key positions, counted from 0."
        )
        raise BadIntervention(msg)
    return head, np.array([[head.head, query, key]])


def _block(cut: Cut, shapes: Mapping[str, Shape]) -> tuple[HeadId, np.ndarray]:
    head = _head(HeadId(cut.kind, cut.layer, max(cut.heads, default=0)), shapes)
    shape = shapes[cut.kind]
    for places, size in ((cut.queries, shape.n_queries), (cut.keys, shape.n_keys)):
        if places and not 0 <= min(places) <= max(places) < size:
            msg = f"A cut names position {max(places)} of this text, which has {size}, counted from 0."
            raise BadIntervention(msg)
    axes = np.meshgrid(*(np.asarray(axis, dtype=np.int64) for axis in cut[2:]), indexing="ij")
    return head, np.stack([axis.ravel() for axis in axes], axis=1)


def _numbers(head: HeadId, values: Any) -> np.ndarray:
    try:
        # Contiguous, because torch refuses arrays with negative strides.
        return np.ascontiguousarray(values.detach().cpu() if isinstance(values, torch.Tensor) else values, dtype=np.float32)
    except (TypeError, ValueError) as error:
        msg = f"The patch of {head} is no array of numbers ({error}); give (query, key) weights or (query, width) outputs."
        raise BadIntervention(msg) from error


def _patch(head: HeadId, values: Any, shape: Shape) -> Pattern | Output:
    array = _numbers(head, values.values if isinstance(values, Pattern | Output) else values)
    pattern, output = (shape.n_queries, shape.n_keys), (shape.n_queries, shape.width)
    if array.shape == pattern and not isinstance(values, Output) and not np.isnan(array).all():
        # A pattern of a trace is NaN where masked, and in a whole row whose edges were all knocked out. NaN means no weight.
        array = np.where(np.isnan(array), np.float32(0.0), array)
    if array.ndim != HEAD_AXES or not np.isfinite(array).all():
        msg = f"The patch of {head} has to be a finite array of shape {pattern} (a pattern) or {output} (an output)."
        raise BadIntervention(msg)
    if isinstance(values, Pattern | Output):
        expected = pattern if isinstance(values, Pattern) else output
        if array.shape != expected:
            msg = f"The patch of {head} has shape {array.shape}; for this text it has to be {expected}."
            raise BadIntervention(msg)
        return _checked(head, type(values)(array))
    fits = [make for make, expected in ((Pattern, pattern), (Output, output)) if array.shape == expected]
    if len(fits) != 1:
        msg = (
            f"The patch of {head} has shape {array.shape}: "
            + ("that fits a pattern and an output alike" if fits else f"neither a pattern {pattern} nor an output {output}")
            + "; wrap the array in atlas.Pattern(...) or atlas.Output(...) to say which it is."
        )
        raise BadIntervention(msg)
    return _checked(head, fits[0](array))


def _checked(head: HeadId, patch: Pattern | Output) -> Pattern | Output:
    """Refuse weights that no softmax gives: negative ones, and rows that sum to more than 1."""
    if isinstance(patch, Pattern) and (patch.values.min() < 0 or patch.values.sum(axis=-1).max() > 1 + PATTERN_TOLERANCE):
        msg = f"The pattern of {head} has negative weights or rows that sum to more than 1; attention has neither."
        raise BadIntervention(msg)
    return patch
