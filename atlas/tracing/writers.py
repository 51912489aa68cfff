"""Who wrote a state of the residual stream: what a linear reader of it takes from every head, feed-forward block and embedding.

The walk goes from the state back to the embeddings. A norm on the way is a linear map with the divisor of this run, and its
transpose carries the reader to the state before it; so the arrays are as large as the reader, not as all writers together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from atlas.errors import NotCaptured, UnknownName
from atlas.ids import HeadId
from atlas.tracing.vectors import heads_read

if TYPE_CHECKING:
    from atlas.trace import Trace

Array = np.ndarray

TOKEN, POSITION, SEGMENT, EMBEDDING, BIASES = (
    "token embedding",
    "position embedding",
    "segment embedding",
    "embedding",
    "biases",
)
EMBEDDINGS = {TOKEN: "token_embedding", POSITION: "position", SEGMENT: "segment"}
"""Writer -> name of what it writes; `EMBEDDING` is their sum, where they cannot be told apart."""

EXACT, HALF = 1e-3, 5e-2
"""Largest error of a sum of vectors, as a share of its size: in single precision, and in half precision."""


class Norm(NamedTuple):
    """A norm as the model has it: y = scale · (x − mean) / size + offset; the mean is removed where `centres` says so."""

    scale: Array
    offset: Array
    centres: bool


class HeldNorm(NamedTuple):
    """A norm at the sizes by which it divided the rows of one run: a linear map of each row."""

    norm: Norm
    size: Array
    """(row,)"""

    def back(self, reader: Array) -> Array:
        """What reads y as `reader` (row, reading, width) does, of the x before the norm."""
        return np.asarray(self._centred(reader * self.norm.scale) / self.size[:, None, None])

    def carried(self, change: Array) -> Array:
        """What a change (row, width) of x becomes behind the norm, at the held sizes."""
        return np.asarray(self._linear(change) / self.size[:, None])

    def carried_anew(self, before: Array, change: Array) -> Array:
        """The same where the norm divides by the size of what is left: x itself is needed."""
        left = self._centred(before - change)
        # The small number that a norm adds to its divisor is in the held size, so it need not be known.
        size = self.size**2 + (left**2).mean(-1) - (self._centred(before) ** 2).mean(-1)
        after = self._linear(before - change) / np.sqrt(np.maximum(size, np.finfo(np.float32).tiny))[:, None]
        return np.asarray(self._linear(before) / self.size[:, None] - after)

    def _centred(self, states: Array) -> Array:
        return states - states.mean(-1, keepdims=True) if self.norm.centres else states

    def _linear(self, states: Array) -> Array:
        return np.asarray(self.norm.scale * self._centred(states))


Norms = Mapping[tuple[str, str, int], Norm]
"""(role, stream, layer) -> norm."""


def allowed_error(trace: Trace) -> float:
    """How far sums may be off in the precision of a trace."""
    return EXACT if trace.provenance.get("dtype", "float32") in ("float32", "float64") else HALF


def held(norm: Norm, before: Array, after: Array, allowed: float) -> HeldNorm | None:
    """A norm at the sizes that turn `before` (row, width) into `after`; None where no size does."""
    linear = norm.scale * (before - before.mean(-1, keepdims=True) if norm.centres else before)
    tiny = np.finfo(np.float64).tiny
    size = (linear**2).sum(-1) / np.maximum((linear * (after - norm.offset)).sum(-1), tiny)
    size = np.where(size > 0, size, 1.0)
    return HeldNorm(norm, size) if apart(linear / size[..., None] + norm.offset, after) <= allowed else None


def held_norm(trace: Trace, role: str, stream: str, layer: int, before: Array, after: Array) -> HeldNorm | bool | None:
    """The norm of a role at the sizes of this run; True where nothing is between the states; None where it is something else."""
    allowed = allowed_error(trace)
    if apart(before, after) <= allowed:
        return True
    try:
        scale, offset = (trace.captured(f"{role}_{part}").get((stream, layer)) for part in ("scale", "offset"))
    except (NotCaptured, UnknownName):
        return None
    if scale is None or offset is None or len(scale) != after.shape[-1]:
        return None
    tried = (held(Norm(scale, offset, centres), before, after, allowed) for centres in (False, True))
    return next((fixed for fixed in tried if fixed is not None), None)


def apart(found: Array, wanted: Array) -> float:
    """Largest error of a row, as a share of its length."""
    length = np.maximum(np.linalg.norm(wanted, axis=-1), np.finfo(np.float32).tiny)
    return float((np.linalg.norm(found - wanted, axis=-1) / length).max())


class Passed(NamedTuple):
    """A norm on the way of a walk."""

    norm: HeldNorm
    before: Array
    """(row, width): the state that enters it."""


class Trail(NamedTuple):
    """What one writer wrote, and the norms that it passes on the way to the state where a walk began."""

    written: Array
    """(row, width)"""
    passed: tuple[Passed, ...]
    """The first norm of the walk first, so the last one that what was written meets."""

    def held(self) -> Array:
        """(row, width): its part of the state, with every norm at the size of the run."""
        change = self.written
        for norm, _ in reversed(self.passed):
            change = norm.carried(change)
        return change

    def anew(self) -> Array:
        """(row, width): by how much the state changes without it, every norm on the way computed again."""
        change = self.written
        for norm, before in reversed(self.passed):
            change = norm.carried_anew(before, change)
        return change


@dataclass
class Walk:
    """One walk from a state of a stream back to its embeddings, for some rows."""

    trace: Trace
    stream: str
    rows: Array
    norms: Norms
    reader: Array
    """(row, reading, width): the linear reader of the state where the walk is now."""
    parts: dict[str, Array] = field(default_factory=dict)
    """Writer -> (row, reading), in the order of the walk."""
    coarse: list[str] = field(default_factory=list)
    """What could not be taken apart, in words."""
    follow: str = ""
    """The writer whose trail is kept."""
    trail: Trail | None = None
    passed: list[Passed] = field(default_factory=list)
    values_read: dict[HeadId, Array] | None = None
    """Filled, where it is given: head -> (row, value width), what the first reader takes of what the head reads."""

    def _leave_trail(self, writer: str, written: Array) -> None:
        if writer == self.follow:
            self.trail = Trail(written, tuple(self.passed))

    def read(self, writer: str, written: Array) -> None:
        """Add what the reader takes of `written` (row, width) to the part of a writer."""
        self._leave_trail(writer, written)
        part = np.einsum("rmw,rw->rm", self.reader, written)
        self.parts[writer] = self.parts[writer] + part if writer in self.parts else part

    def pass_norm(self, before: Array, after: Array, role: str, layer: int) -> bool:
        """Carry the reader over what is between two states: nothing, or a norm; False where it is something else."""
        allowed = allowed_error(self.trace)
        if before.shape != after.shape:
            return False  # a linear map widens the embeddings (ELECTRA, ALBERT)
        if apart(before, after) <= allowed:
            return True
        norm = self.norms.get((role, self.stream, layer))
        fixed = None if norm is None else held(norm, before, after, allowed)
        if fixed is None:
            return False
        self.read(BIASES, np.broadcast_to(fixed.norm.offset, before.shape))
        self.reader = fixed.back(self.reader)
        self.passed.append(Passed(fixed, before))
        return True

    def must_pass(self, before: Array, after: Array, role: str, layer: int) -> None:
        """The same, where the walk ends if there is something else."""
        if not self.pass_norm(before, after, role, layer):
            msg = (
                f"Something that is no norm changes the {self.stream}'s stream at layer {layer}, so what was written before it "
                "cannot be told apart."
            )
            raise NotCaptured(msg)

    def state(self, name: str, layer: int, kind: str | None = None) -> Array:
        """(row, width) of a captured array."""
        found = self.trace.captured(name).get((kind or self.stream, layer))
        if found is None:
            msg = f"There is no {name!r} of {kind or self.stream} layer {layer}, so who wrote the stream is not known."
            raise NotCaptured(msg)
        return np.asarray(found[self.rows], dtype=np.float64)

    def known(self, name: str, layer: int, kind: str | None = None) -> Array | None:
        """The same; None where this model has no such array."""
        try:
            return self.state(name, layer, kind)
        except (NotCaptured, UnknownName):
            return None

    # -- the steps, from the last to the first -------------------------------------------------------------------------

    def through_final_norm(self) -> None:
        """From the last state as another stack reads it to the last layer's end."""
        layers, last = self.trace.n_layers(self.stream), self.known("final_norm_out", 0)
        if last is not None:
            self.must_pass(self.state("hidden", layers), last, "final_norm", 0)

    def through_layers(self, layer: int) -> None:
        """From the state that enters a layer to the embeddings."""
        for below in range(layer - 1, -1, -1):
            self._layer(below)
        self._embeddings()

    def through_own_attention(self, layer: int) -> None:
        """From the state that a decoder layer's cross-attention reads to the state that enters the layer."""
        self._block("attention", layer, self.state("hidden", layer), self.state("residual_mid", layer))

    def _layer(self, layer: int) -> None:
        entering, leaving = self.state("hidden", layer), self.state("hidden", layer + 1)
        crosses = self.stream == "decoder" and "cross" in self.trace.kinds
        middle = self.known("residual_mid", layer)
        if middle is None:
            attention, ffn = self.state("attention_output", layer), self.state("ffn_out", layer)
            if apart(entering + attention + ffn, leaving) > allowed_error(self.trace):
                middle = self.state("residual_mid", layer)  # raises with the reason
            self.read(self._feed_forward(layer), ffn)
            self._heads("attention", layer, attention)
            return
        late = self.state("residual_cross", layer) if crosses else middle
        ffn = self.state("ffn_out", layer)
        self.must_pass(late + ffn, leaving, "ffn_norm", layer)
        self.read(self._feed_forward(layer), ffn)
        if crosses:
            self._block("cross", layer, middle, late)
        self._block("attention", layer, entering, middle)

    def _block(self, block: str, layer: int, before: Array, after: Array) -> None:
        written = self.state("attention_output", layer, "cross" if block == "cross" else None)
        self.must_pass(before + written, after, f"{block}_norm", layer)
        self._heads(block, layer, written)

    def _feed_forward(self, layer: int) -> str:
        return self._named(f"L{layer} feed-forward")

    def _named(self, writer: str) -> str:
        return f"{self.stream} {writer}" if len(self.trace.kinds) > 1 else writer

    def _heads(self, block: str, layer: int, written: Array) -> None:
        """The heads of a block, each by itself, and the bias of their projection; their reader is left as it was."""
        kind = "cross" if block == "cross" else self.stream
        found = self._heads_written(kind, layer)
        reader, parts, passed = self.reader, dict(self.parts), len(self.passed)
        if found is not None and self.pass_norm(found.total, written, f"{block}_post_norm", layer):
            if self.values_read is not None:
                onto = found.onto(self.reader[:, :1])[:, 0].astype(np.float64)
                self.values_read |= {HeadId(kind, layer, head): onto[:, head] for head in range(onto.shape[1])}
            for head, part in enumerate(found.parts(self.reader)):
                name = HeadId(kind, layer, head).label(self.trace.kinds)
                self.parts[name] = part
                if name == self.follow:
                    self._leave_trail(name, found.reads[:, head].astype(np.float64) @ found.projection[head])
            if found.bias is not None:
                self.read(BIASES, np.broadcast_to(found.bias, written.shape))
        else:
            self.parts = parts
            self.read(self._named(f"L{layer} {block}"), written)
            self.coarse.append(f"the heads of {kind} layer {layer} are one writer, because what each of them writes is not known")
        self.reader = reader
        del self.passed[passed:]

    def _heads_written(self, kind: str, layer: int) -> _Heads | None:
        try:
            projection = self.trace.captured("output_projection").get((kind, layer))
        except (NotCaptured, UnknownName):
            return None
        if projection is None:
            return None
        attention = self.trace.attention_of(kind)
        # In single precision, as both were computed: in double they take several times as long and are no more exact.
        reads = heads_read(self.trace, attention, layer, range(attention.n_heads), self.rows).astype(np.float32)
        reads, projection = reads.transpose(1, 0, 2), projection.astype(np.float32, copy=False)
        total = (reads.reshape(len(self.rows), -1) @ projection.reshape(-1, projection.shape[-1])).astype(np.float64)
        bias = self.trace.captured("output_bias").get((kind, layer)) if "output_bias" in self.trace.held_arrays() else None
        return _Heads(reads, projection, bias, total if bias is None else total + bias)

    def _embeddings(self) -> None:
        entering = self.state("hidden", 0)
        added = {writer: self.known(name, 0) for writer, name in EMBEDDINGS.items()}
        there = {writer: vectors for writer, vectors in added.items() if vectors is not None}
        if TOKEN in there and self.pass_norm(np.sum(list(there.values()), axis=0), entering, "embedding_norm", 0):
            for writer, vectors in there.items():
                self.read(writer, vectors)
            return
        self.read(EMBEDDING, entering)
        self.coarse.append("the embeddings are one writer, because their parts do not add up to what enters the first layer")


class _Heads(NamedTuple):
    """What the heads of one block read and write at some rows."""

    reads: Array
    """(row, head, value width)"""
    projection: Array
    """(head, value width, width)"""
    bias: Array | None
    total: Array
    """(row, width): the heads and the bias together."""

    def parts(self, reader: Array) -> Array:
        """(head, row, reading): what a reader (row, reading, width) takes of each head."""
        taken = self.onto(reader) * self.reads[:, None]
        return np.asarray(taken.sum(-1, dtype=np.float64).transpose(2, 0, 1))

    def onto(self, reader: Array) -> Array:
        """(row, reading, head, value width): the reader carried to what the heads read."""
        heads, values, width = self.projection.shape
        # One product for all heads: one a head costs several times as much where a head is narrow.
        onto = reader.reshape(-1, width).astype(np.float32) @ self.projection.reshape(-1, width).T
        return np.asarray(onto.reshape(*reader.shape[:2], heads, values))
