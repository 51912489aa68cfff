"""Attribution patching: what replacing head outputs would do to a prediction, estimated for all heads from one gradient.

Replacing the output z of a head by z' changes the target, to the first order, by (z' - z) times the gradient of the target with
respect to z. Two forward passes and one backward pass give this for all heads. With more steps, the gradient is the mean over
runs whose token vectors lie on the line from those of the other text to those of the text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import torch

from atlas.engine.gradients.heads import RESAMPLE, outputs_of, replacements
from atlas.engine.gradients.subject import Subject
from atlas.engine.running.context import AttentionSite, Terms, Watcher
from atlas.engine.running.recorder import to_numpy
from atlas.errors import BadIntervention
from atlas.ids import HeadId
from atlas.trace import Trace

Report = Callable[[int, int], None]
"""(steps done, all steps)"""

Place = tuple[str, int]
"""(kind, layer)"""


class Reading(Watcher):
    """Keeps the outputs of all heads with their graph and, if wanted, the queries, keys and values of every single head."""

    keep_graph = True

    def __init__(self, *, reads: bool = False) -> None:
        self.reads = reads
        self.outputs: dict[Place, torch.Tensor] = {}
        self.terms: dict[Place, tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = {}

    def saw_terms(self, site: AttentionSite, terms: Terms) -> None:
        """Keep what the heads of a layer read."""
        if self.reads:
            of_every_head(terms)
            self.terms[site.kind, site.layer] = terms.query, terms.key, terms.value

    def saw_output(self, site: AttentionSite, output: torch.Tensor) -> None:
        """Keep (row, head, query, width) of a layer."""
        self.outputs[site.kind, site.layer] = output


def of_every_head(terms: Terms) -> None:
    """Repeat shared keys and values for each head that uses them: the same numbers, but a gradient and a change of its own."""
    groups = terms.query.shape[1] // terms.key.shape[1]
    if groups > 1:
        terms.key = terms.key.repeat_interleave(groups, dim=1)
        terms.value = terms.value.repeat_interleave(groups, dim=1)


def points(subject: Subject, other: Subject, steps: int) -> Iterator[Mapping[str, torch.Tensor]]:
    """The token vectors of every step, as leaves; those of the last step are the text's own."""
    own = subject.vectors()
    away = other.vectors() if steps > 1 else own
    for step in range(1, steps + 1):
        yield {side: torch.lerp(away[side], vectors, step / steps).requires_grad_() for side, vectors in own.items()}


def check_steps(how: str, steps: int) -> None:
    """Refuse steps between texts whose positions do not correspond."""
    if not isinstance(steps, int) or steps < 1:
        msg = f"The gradient is taken at one step or more, not at {steps!r}."
        raise BadIntervention(msg)
    if how == RESAMPLE and steps > 1:
        msg = (
            "Steps lead from the token vectors of the other text to those of this text, position by position, so they need "
            "how='patch' and texts of as many tokens; how='resample' takes one step."
        )
        raise BadIntervention(msg)


def head_estimates(
    subject: Subject,
    heads: Sequence[HeadId],
    how: str,
    other: Trace,
    steps: int,
    measures: Sequence[str],
    report: Report | None = None,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """(head,) the estimated fall of each measure of the target when the output of a head is replaced: before minus after."""
    check_steps(how, steps)
    values = replacements(subject, heads, how, other, seed)
    subject.graph_bytes()
    total: dict[tuple[str, Place], np.ndarray] = {}
    seen = Reading()
    for step, vectors in enumerate(points(subject, Subject(other), steps), start=1):
        seen = Reading()
        with subject.held(gradients=True):
            logits = subject.logits(vectors=vectors, watcher=seen)
            for at, measure in enumerate(measures):
                value = subject.measured(logits, measure).sum()
                more = at + 1 < len(measures)
                found = torch.autograd.grad(value, list(seen.outputs.values()), materialize_grads=True, retain_graph=more)
                for place, gradient in zip(seen.outputs, found, strict=True):
                    part = to_numpy(gradient[0].float()).astype(np.float64) / steps
                    total[measure, place] = total.get((measure, place), 0.0) + part
        if report is not None:
            report(step, steps)
    own = {place: to_numpy(output[0].detach().float()) for place, output in seen.outputs.items()}
    differences = [own[head.kind, head.layer][head.head] - value for head, value in zip(heads, values, strict=True)]
    return {
        measure: np.array(
            [
                float((total[measure, (head.kind, head.layer)][head.head] * difference).sum())
                for head, difference in zip(heads, differences, strict=True)
            ]
        )
        for measure in measures
    }


def differences_of(subject: Subject, other: Subject) -> dict[Place, np.ndarray]:
    """(head, query, width) the output of every head in the other text minus the one in this text."""
    own, theirs = outputs_of(subject), outputs_of(other)
    return {place: theirs[place] - output for place, output in own.items()}
