"""One pass for many changed runs of a text: each run is split off where it starts to differ from the unchanged one.

A head that is switched off in layer 8 changes nothing before it. So the batch has one row at first, and grows at the entrance of
every layer by the rows whose change is in that layer. Of 12 layers this saves nearly half the work. The feed-forward block of the
last layer, which has the most rows, and the unembedding compute the position of the target alone.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

import torch

from atlas.engine.gradients.at_tap import AtTap, Changes, hooked
from atlas.engine.gradients.one_position import one_position
from atlas.engine.gradients.subject import Subject
from atlas.engine.running.capture import fitting, logits_where_known, stacked
from atlas.engine.running.context import Call, running
from atlas.engine.running.interventions import Intervention, LayerInterventions, by_layer
from atlas.engine.running.recorder import TextShape

if TYPE_CHECKING:
    from atlas.engine.model import Model
    from atlas.engine.running.encode import Encoded


def _with_copies(copies: int, state: torch.Tensor) -> torch.Tensor:
    """Copies of the first row after all rows."""
    return torch.cat([state, state[:1].expand(copies, *state.shape[1:])])


def _cut_to(position: int, state: torch.Tensor) -> torch.Tensor:
    """One position. What the block makes of it is added to every position of the stream, and is right at this one."""
    return state[:, position : position + 1]


def can_fork(model: Model) -> bool:
    """Whether the states between all layers were found, in a model of one stream."""
    taps = model.states()
    return len(model.kinds) == 1 and len(taps) == model.size.kinds[0].n_layers + 1 and all(t.layout == "plain" for t in taps)


def forked(subject: Subject, changes: Sequence[Intervention | None], layers: Sequence[int]) -> torch.Tensor:
    """(1 + row, outcome) logits at the target: of the unchanged run, then of each change; call it inside `held`.

    `layers` has the first layer that each change acts in, and is sorted.
    """
    rows = [subject.change, *changes]
    logits = forked_logits(subject.model, subject.encoded, rows, layers, subject.read_at)
    subject.passes += len(rows)
    return subject.at_target(logits)


def forked_logits(
    model: Model,
    encoded: Encoded,
    rows: Sequence[Intervention | None],
    layers: Sequence[int],
    at: int | None,
    changed: Changes = (),
) -> torch.Tensor:
    """(row, position, outcome) logits of a text under each of some changes; call it inside `held`.

    The first row is split off from by all others, `layers` has the first layer that each of these acts in (the number of layers:
    the state after the last), and is sorted. With a position `at` only it is sure to be right, and where the last module was
    found it alone is there.
    """
    taps = model.states()
    shape = fitting(model, TextShape(encoded.n_source, encoded.n_target))
    found = by_layer(rows, [shape] * len(rows), model.device) if any(rows) else {}
    there = [1 + sum(first <= layer for first in layers) for layer in range(len(taps))]
    # Sites are observed only where something is changed, as in a run of its own.
    call = Call(sites=model.sites if found else {}, interventions=_of_rows_there(found, there))
    with ExitStack() as stack:
        for layer, tap in enumerate(taps):
            if copies := there[layer] - (there[layer - 1] if layer else 1):
                stack.enter_context(hooked(model, AtTap(call, tap, functools.partial(_with_copies, copies))))
        # After the copies, because a hook is called after those before it at the same place.
        for tap, change in changed:
            stack.enter_context(hooked(model, AtTap(call, tap, change)))
        # What the block gives out may be changed at another position, so then it computes all of them.
        if at is not None and not changed and (feed_forward := model.last_feed_forward()):
            stack.enter_context(hooked(model, AtTap(call, feed_forward, functools.partial(_cut_to, at))))
        stack.enter_context(one_position(model, call, at))
        with running(call):
            logits = logits_where_known(model, model.forward(stacked(model, [encoded])))
    assert logits is not None
    return logits


def _of_rows_there(
    found: Mapping[tuple[str, int], LayerInterventions], there: Sequence[int]
) -> dict[tuple[str, int], LayerInterventions]:
    """The changes of rows that are in the batch at their layer: the trace's own act in every row, also in those not yet there."""
    return {
        (kind, layer): {row: change for row, change in rows.items() if row < there[layer]}
        for (kind, layer), rows in found.items()
    }
