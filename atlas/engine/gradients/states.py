"""Activation patching: a state of one text is put into the run of another, each in a run of its own.

Runs are split off from the shared one at the first layer in which something is put in, as far as the model allows. What is put
in by chance has the length of the real change and a random direction: to the first order its effect has a spread that the
gradient gives for every cell, and runs at cells drawn at random say how far that holds.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from atlas.engine.gradients.forking import can_fork, forked_logits
from atlas.engine.gradients.heads import ROWS_AT_ONCE, SAME, batches_of
from atlas.engine.gradients.subject import Subject
from atlas.engine.running.recorder import to_numpy
from atlas.tracing.patched_states import PARTS, STREAM

if TYPE_CHECKING:
    from atlas.engine.anatomy.records import Tap
    from atlas.engine.model import Model

Report = Callable[[int, int], None]
"""(runs done, all runs)"""


class Cell(NamedTuple):
    """Where something is put in."""

    layers: tuple[int, ...]
    """Numbers of the captures; of the stream, 0 is the embeddings and l + 1 the state after layer l."""
    position: int


Puts = Callable[[int, int], torch.Tensor]
"""(number of a cell, layer) -> the state that is put in"""


def without_states(model: Model, kind: str, part: str) -> str:
    """Why what a part puts out cannot be exchanged in a stream of a model; empty where it can."""
    taps = model.taps_named(PARTS[part], kind)
    if not taps:
        return model.reason(PARTS[part])
    # What is seen as an input of a module only may reach others too, which a change there would miss.
    outside = part != STREAM and any(tap.place.side != "out" for tap in taps)
    if outside or any(tap.layout != "plain" or tap.columns is not None for tap in taps):
        return f"What this part of {model.name} puts out passes no place where it could be exchanged by itself."
    return ""


def taps_of(subject: Subject, kind: str, part: str) -> list[Tap]:
    """Where what is exchanged passes, layer by layer."""
    return subject.model.taps_named(PARTS[part], kind)


def states_at(subject: Subject, taps: Sequence[Tap]) -> torch.Tensor:
    """(layer, position, width) what passes there in the run of a text."""
    kept: list[torch.Tensor] = []

    def keep(state: torch.Tensor) -> torch.Tensor:
        kept.append(state[0].detach().clone())
        return state

    with subject.held(gradients=False):
        subject.logits(changed=[(tap, keep) for tap in taps])
    return torch.stack(kept)


def gradients_at(subject: Subject, taps: Sequence[Tap]) -> torch.Tensor:
    """(layer, position, width) the gradient of the target with respect to what passes there."""
    subject.graph_bytes()
    kept: list[torch.Tensor] = []

    def leaf(state: torch.Tensor) -> torch.Tensor:
        return state.detach().requires_grad_()

    def keep(state: torch.Tensor) -> torch.Tensor:
        kept.append(state)
        return state

    first = subject.model.taps_named(PARTS[STREAM], taps[0].kind)[0]
    with subject.held(gradients=True):
        value = subject.value(changed=[(first, leaf), *((tap, keep) for tap in taps)]).sum()
        found = torch.autograd.grad(value, kept, materialize_grads=True, allow_unused=True)
    return torch.stack([each[0].float() for each in found])


def values_with(
    subject: Subject, taps: Sequence[Tap], cells: Sequence[Cell], puts: Puts, report: Report | None = None
) -> np.ndarray:
    """(cell,) the target with something put in at each cell."""
    size, done = min(ROWS_AT_ONCE, subject.rows_at_once()), 0
    found = np.zeros(len(cells))
    with subject.held(gradients=False):
        before = subject.logits()
        for rows in batches_of([min(cell.layers) for cell in cells], size):
            found[rows] = to_numpy(subject.measured(_run(subject, before, taps, cells, rows, puts)).double())
            done += len(rows)
            if report is not None:
                report(done, len(cells))
    return found


def _run(
    subject: Subject, before: torch.Tensor, taps: Sequence[Tap], cells: Sequence[Cell], rows: Sequence[int], puts: Puts
) -> torch.Tensor:
    """(row, outcome) logits of a batch of runs, sorted by the first layer of each."""
    used = sorted({layer for row in rows for layer in cells[row].layers})

    def changed(first: int) -> list[tuple[Tap, Callable[[torch.Tensor], torch.Tensor]]]:
        return [(taps[layer], functools.partial(_put, cells, rows, puts, layer, first)) for layer in used]

    if can_fork(subject.model) and len(rows) > 1:
        firsts = [min(cells[row].layers) for row in rows]
        whole = [subject.change] * (1 + len(rows))
        logits = forked_logits(subject.model, subject.encoded, whole, firsts, subject.read_at, changed(1))
        subject.passes += len(whole)
        found = subject.at_target(logits)
        # Compared with the run of the text, because a model may mix the rows of a batch.
        if float((found[:1] - before).abs().max()) <= SAME * float(before.abs().max()):
            return found[1:]
    return subject.logits(len(rows), changed=changed(0))


def _put(cells: Sequence[Cell], rows: Sequence[int], puts: Puts, layer: int, first: int, state: torch.Tensor) -> torch.Tensor:
    """The state of a batch, whose changed rows begin at `first`, with what is put in at this layer."""
    changed = state.clone()
    for at, row in enumerate(rows):
        if layer in cells[row].layers:
            changed[first + at, cells[row].position] = puts(row, layer).to(state)
    return changed


# -- chance ----------------------------------------------------------------------------------------------------------------


def spread_of(gradients: torch.Tensor, moves: torch.Tensor, cells: Sequence[Cell]) -> np.ndarray:
    """(cell,) to the first order, the standard deviation of the target under moves of the same length in random directions."""
    terms = (gradients.norm(dim=-1) * moves.float().norm(dim=-1)) ** 2 / moves.shape[-1]
    squares = to_numpy(terms.double())
    return np.sqrt(np.array([sum(squares[layer, cell.position] for layer in cell.layers) for cell in cells]))


def random_values(
    subject: Subject,
    taps: Sequence[Tap],
    cells: Sequence[Cell],
    states: torch.Tensor,
    moves: torch.Tensor,
    draws: int,
    seed: int,
    report: Report | None = None,
) -> np.ndarray:
    """(cell, draw) the target with the states at each cell moved as far as by the real change, in random directions."""
    many = [cell for cell in cells for _ in range(draws)]
    random = torch.Generator().manual_seed(seed)
    directions = [
        {layer: torch.randn(moves.shape[-1], generator=random).to(moves.device, torch.float32) for layer in cell.layers}
        for cell in many
    ]

    def put(row: int, layer: int) -> torch.Tensor:
        direction, position = directions[row][layer], many[row].position
        return states[layer, position] + moves[layer, position].float().norm() * direction / direction.norm()

    return values_with(subject, taps, many, put, report).reshape(len(cells), draws)
