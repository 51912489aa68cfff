"""Edges into heads: what the target loses if a head reads what one writer of the stream wrote in another text.

An edge goes from a writer, which is the embeddings, a head or a feed-forward block, to the query, key or value of a head of a
later layer, straight through the stream and not through anything between them. Its estimate is the change of what is written
times the gradient of the target with respect to the state that the head reads, through this query, key or value alone. The norm
before the block is differentiated, not held. The measured effect of an edge (path patching) takes two runs: one for what the head
would read, and one in which it reads that. All writers before a layer add up to the state that enters it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from atlas.engine.gradients.at_tap import AtTap, hooked
from atlas.engine.gradients.heads import ROWS_AT_ONCE
from atlas.engine.gradients.patching import Reading, check_steps, differences_of, of_every_head, points
from atlas.engine.gradients.subject import Subject
from atlas.engine.running.capture import fitting, stacked
from atlas.engine.running.context import AttentionSite, Call, Terms, Watcher, running
from atlas.engine.running.interventions import by_layer
from atlas.engine.running.recorder import TextShape, to_numpy
from atlas.errors import BadIntervention, NotCaptured, TooLarge
from atlas.tracing.circuit import INPUTS
from atlas.tracing.stream_writes import FEED_FORWARD
from atlas.tracing.writers import EMBEDDING

if TYPE_CHECKING:
    from atlas.engine.model import Model

Report = Callable[[int, int], None]
"""(parts done, all parts)"""

DIFFERENCE_BYTES = 1 << 30
"""Most bytes of what is written differently in the two texts; all of it is held at once, because every later head reads it."""

MOST_EDGES = 3_000_000
"""Most edges: those of 48 layers of 25 heads are 2.2 million."""

HEAD = "head"


class Writer(NamedTuple):
    """Who writes into the stream."""

    what: str
    """`EMBEDDING`, `HEAD` or `FEED_FORWARD`."""
    layer: int | None = None
    head: int | None = None


class Edge(NamedTuple):
    """From a writer to what a head of a later layer reads."""

    writer: int
    """Its place among `writers`."""
    to_layer: int
    to_head: int
    input: str


def writers(n_heads: int, n_layers: int) -> list[Writer]:
    """Who writes before a layer, in the order of writing: embeddings, then of each layer its heads and its feed-forward block."""
    found = [Writer(EMBEDDING)]
    for layer in range(n_layers):
        found += [*(Writer(HEAD, layer, head) for head in range(n_heads)), Writer(FEED_FORWARD, layer)]
    return found


def writers_before(n_heads: int, layer: int) -> int:
    """How many write before a layer."""
    return 1 + layer * (n_heads + 1)


def difference_bytes(model: Model, size: int) -> int:
    """Bytes of what is written differently in two texts of so many tokens."""
    kind = model.size.kinds[0]
    return 4 * writers_before(kind.n_heads, kind.n_layers - 1) * size * model.anatomy.widths[kind.kind]


def without_edges(model: Model) -> str:
    """Why the edges between heads of a model cannot be followed; empty where they can."""
    if len(model.kinds) > 1:
        return f"{model.name} has two streams, an encoder's and a decoder's, and edges are followed within one stream."
    if not model.interface:
        return f"{model.name} does not use transformers' attention interface, so what its heads read cannot be changed."
    kind, anatomy = model.kinds[0], model.anatomy
    taps = model.states()
    plain = all((tap.layout, tap.factor, tap.clone) == ("plain", 1.0, False) for tap in taps)
    if len(taps) != anatomy.streams.get(kind, 0) + 1 or not plain:
        return f"The states between all layers of {model.name} were not found."
    sums = {total.total: total.parts for total in anatomy.sums if total.kind == kind}
    parts = set(sums.get("hidden", ()))
    parts |= set(sums.get("residual_mid", ())) if "residual_mid" in parts else set()
    if not {"hidden", "attention_output"} <= parts:
        schema = anatomy.schema.get(kind, "how its layers add up was not found").partition(",")[0]
        return (
            f"A head of {model.name} does not write straight into the stream that later heads read ({schema}), so no edge goes "
            "from one head to another alone. That needs a norm before each block and none after it (GPT-2, Llama)."
        )
    projections = [anatomy.projections.get((kind, layer)) for layer in range(len(taps) - 1)]
    after = next((each.after for each in projections if each is not None and each.after), "")
    if after or any(each is None for each in projections):
        what = (
            f"{after} changes the sum of the heads before it is added to the stream"
            if after
            else "no output projection was found"
        )
        return f"What a single head of {model.name} adds to the stream is not known: {what}."
    return ""


def edge_estimates(subject: Subject, other: Subject, steps: int, report: Report | None = None) -> dict[int, np.ndarray]:
    """Layer -> (input, head, writer) the estimated effect of every edge into it, from the writers before it."""
    reason = without_edges(subject.model)
    if reason:
        raise NotCaptured(reason)
    check_steps("patch", steps)
    kind = subject.model.size.kinds[0]
    written = _written(subject, other)
    n_layers, n_heads = kind.n_layers, kind.n_heads
    found = {layer: np.zeros((len(INPUTS), n_heads, writers_before(n_heads, layer))) for layer in range(n_layers)}
    subject.graph_bytes()
    done, parts = 0, steps * len(found) * len(INPUTS)
    for vectors in points(subject, other, steps):
        for layer, into, gradients in _gradients_of_reads(subject, vectors):
            onto = gradients.flatten(1) @ written[: writers_before(n_heads, layer)].flatten(1).T
            # Before minus after, as every effect of a head.
            found[layer][into] -= to_numpy(onto).astype(np.float64) / steps
            done += 1
            if report is not None:
                report(done, parts)
    return found


def _written(subject: Subject, other: Subject) -> torch.Tensor:
    """(writer, position, width) what everyone before the last layer writes in the other text minus what it writes here.

    What a layer adds to the stream beside its heads is the feed-forward block's; biases are the same in both texts.
    """
    if subject.sides != other.sides:
        counts = [" and ".join(map(str, each.sides.values())) for each in (subject, other)]
        msg = (
            f"Patching goes position by position, so both texts need as many tokens: this text has {counts[0]}, the other has "
            f"{counts[1]}."
        )
        raise BadIntervention(msg)
    model = subject.model
    kind, (size,) = model.size.kinds[0], subject.sides.values()
    edges = len(INPUTS) * kind.n_heads * sum(writers_before(kind.n_heads, layer) for layer in range(kind.n_layers))
    if edges > MOST_EDGES:
        msg = f"{model.name} has {edges:,} edges into heads, and {MOST_EDGES:,} are the most. Patch its heads instead."
        raise TooLarge(msg)
    width = model.anatomy.widths[kind.kind]
    n_writers = writers_before(kind.n_heads, kind.n_layers - 1)
    needed = difference_bytes(model, size)
    if needed > DIFFERENCE_BYTES:
        msg = (
            f"What is written differently takes {needed / 2**30:.1f} GiB, and {DIFFERENCE_BYTES / 2**30:.0f} GiB are "
            "the most. Shorten the text, or patch heads and no edges."
        )
        raise TooLarge(msg)
    projections = model.output_projections()
    states = [each.trace.captured("hidden") for each in (subject, other)]

    def moved(layer: int) -> torch.Tensor:
        own, theirs = (torch.tensor(each[kind.kind, layer], device=model.device).float() for each in states)
        return theirs - own

    before = moved(0)
    found = torch.zeros((n_writers, size, width), device=model.device)
    found[0] = before
    for (name, layer), difference in sorted(differences_of(subject, other).items()):
        if layer < kind.n_layers - 1:
            projection = projections[name, layer].detach().float()
            at = writers_before(kind.n_heads, layer)
            heads = found[at : at + kind.n_heads]
            heads[:] = torch.einsum("hqw,hwd->hqd", torch.as_tensor(difference, device=projection.device), projection)
            after = moved(layer + 1)
            found[at + kind.n_heads] = after - before - heads.sum(0)
            before = after
    return found


def _gradients_of_reads(subject: Subject, vectors: Mapping[str, torch.Tensor]) -> Iterator[tuple[int, int, torch.Tensor]]:
    """(layer, number of the input, (head, position, width)): the gradient at the state a head reads, through one input alone."""
    kind = subject.model.kinds[0]
    seen = Reading(reads=True)
    states: dict[str, Any] = {"hidden": {}}
    with subject.held(gradients=True):
        value = subject.value(vectors=vectors, watcher=seen, states=states).sum()
        places = list(seen.terms)
        flat = [each for place in places for each in seen.terms[place]]
        gradients = iter(torch.autograd.grad(value, flat, materialize_grads=True, retain_graph=True))
        for place in places:
            state = states["hidden"][kind, place[1]]
            for into, read in enumerate(seen.terms[place]):
                yield place[1], into, _back(read, next(gradients), state)


def _back(read: torch.Tensor, gradient: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
    """(head, position, width): a gradient at the reads of all heads, carried back to the state for each head by itself."""
    rows = []
    for head in range(read.shape[1]):
        alone = torch.zeros_like(gradient)
        alone[:, head] = gradient[:, head]
        (found,) = torch.autograd.grad(read, state, alone, retain_graph=True, allow_unused=True)
        if found is None:
            msg = "The heads of a layer read something else than the state that enters the layer, so edges end there."
            raise NotCaptured(msg)
        rows.append(found[0].float())
    return torch.stack(rows)


# -- path patching ---------------------------------------------------------------------------------------------------------


class _Ready(Exception):
    """What the heads of a layer read is there; the rest of the run is not needed."""


class _Grab(Watcher):
    """Keeps what the heads of one layer read, and ends the run."""

    def __init__(self, layer: int) -> None:
        self.layer = layer
        self.terms: Terms | None = None

    def saw_terms(self, site: AttentionSite, terms: Terms) -> None:
        """Keep it."""
        if site.layer == self.layer:
            of_every_head(terms)
            self.terms = terms
            raise _Ready


class _Put(Watcher):
    """Gives in each row one head what it would read."""

    def __init__(self, edges: Sequence[Edge], terms: Terms) -> None:
        self.edges, self.terms = edges, terms

    def saw_terms(self, site: AttentionSite, terms: Terms) -> None:
        """Exchange one query, key or value in each row."""
        if site.layer != self.edges[0].to_layer:
            return
        of_every_head(terms)
        for name in INPUTS:
            read = getattr(terms, name).clone()
            for row, edge in enumerate(self.edges):
                if edge.input == name:
                    read[row, edge.to_head] = getattr(self.terms, name)[row, edge.to_head]
            setattr(terms, name, read)


def path_effects(subject: Subject, other: Subject, edges: Sequence[Edge], report: Report | None = None) -> np.ndarray:
    """(edge,) the measured effect of each edge: the target before minus after the later head reads the other text's output."""
    written = _written(subject, other)
    size, found, done = min(ROWS_AT_ONCE, subject.rows_at_once()), np.zeros(len(edges)), 0
    with subject.held(gradients=False):
        before = subject.value()
        for layer in sorted({edge.to_layer for edge in edges}):
            into = [at for at, edge in enumerate(edges) if edge.to_layer == layer]
            for start in range(0, len(into), size):
                rows = into[start : start + size]
                batch = [edges[at] for at in rows]
                terms = _would_read(subject, layer, written[[edge.writer for edge in batch]])
                after = subject.value(changes=[subject.change] * len(batch), watcher=_Put(batch, terms))
                found[rows] = to_numpy((before - after).double())
                done += len(rows)
                if report is not None:
                    report(done, len(edges))
    return found


def _would_read(subject: Subject, layer: int, written: torch.Tensor) -> Terms:
    """What the heads of a layer read, in each row with something added to the state that enters the layer."""
    model, encoded = subject.model, subject.encoded
    rows = [subject.change] * len(written)
    shape = fitting(model, TextShape(encoded.n_source, encoded.n_target))
    grab = _Grab(layer)
    call = Call(model.sites, grab, by_layer(rows, [shape] * len(rows), model.device))
    with (
        hooked(model, AtTap(call, model.states()[layer], lambda state: state + written.to(state))),
        running(call),
        suppress(_Ready),
    ):
        model.forward(stacked(model, [encoded] * len(rows)))
    if grab.terms is None:
        msg = "This model's attention does not hand its queries and keys to the attention function."
        raise NotCaptured(msg)
    return grab.terms
