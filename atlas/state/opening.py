"""What a page opens with: a model that is here, a text, and a head that shows something, unless the reader said otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from atlas.state.library import NOTHING, Example, Listed, Shows
from atlas.state.link import State
from atlas.state.pipeline import Job
from atlas.state.share import choices_of
from atlas.state.validate import differing

if TYPE_CHECKING:
    from atlas.state.shared import SharedState
    from atlas.state.workspace import Workspace

PREFERRED = ("gpt-mini", "bert-mini", "t5-mini")
"""Shipped models, in the order in which a first look at attention is easiest to read."""

NO_MODEL = (
    "No model is shipped with this installation, so there is nothing to begin with. Choose a model at the side and run a text; "
    "one that is not on this disk is fetched from the hub."
)


@dataclass(frozen=True)
class Opening:
    """The first model and texts of a page; without a model, the reason why there is none."""

    model: str = ""
    text: str = ""
    pair: str = ""
    target: str = ""
    problem: str = ""
    shows: Shows = NOTHING

    def job(self) -> Job:
        """The run a page begins with, so that it can be made before anybody opens one."""
        return Job((self.model, None, None, None), self.text, self.pair or None, self.target or None, truncate=False)


def opening(
    models: Sequence[Listed],
    known: Sequence[Example],
    model: str = "",
    text: str = "",
    pair: str = "",
    target: str = "",
) -> Opening:
    """The opening asked for; for what is not asked for, the first model shipped and the example that is best seen on it."""
    here = [listed.name for listed in models if listed.where == "here"]
    chosen = model or next((name for name in (*PREFERRED, *here) if name in here), "")
    if not chosen:
        return Opening(text=text, pair=pair, target=target, problem=NO_MODEL)
    if text:
        return Opening(chosen, text, pair, target)
    fitting = [example for example in known if example.model == chosen]
    shown = next(iter([*fitting, *known]), Example("", "", ""))
    if not fitting:
        # The second text of another model's example may be more than this one takes.
        return Opening(chosen, shown.text, pair, target)
    as_it_is = not (pair or target)
    return Opening(chosen, shown.text, pair or shown.pair, target or shown.target, shows=shown.shows if as_it_is else NOTHING)


def opening_of(example: Example) -> Opening:
    """An example as an opening."""
    return Opening(*example.inputs, shows=example.shows)


def state_of_opening(first: Opening, workspace: Workspace) -> State:
    """An opening as a link would say it; how a reader has things drawn stays as it is, but for the order of the heads."""
    shows = first.shows
    ordered = {"order": shows.order} if shows.order else {}
    head = shows.head
    return State(
        model=first.model, text=first.text, pair=first.pair, target=first.target,
        focus=head, heads=frozenset(() if head is None else (head,)),
        queries=frozenset(shows.queries), keys=frozenset(shows.keys),
        display=differing(workspace.display) | ordered, thresholds=differing(workspace.thresholds),
        choices=choices_of(workspace),
    )  # fmt: skip


def begin(shared: SharedState, first: Opening) -> None:
    """Put the opening in a workspace and run it; where there is no model, say so. What was said of a link that failed stays."""
    pipeline = shared.workspace.pipeline
    if first.model and first.text and not first.problem:
        shared.put(state_of_opening(first, shared.workspace), filter(None, [shared.complaint]))
        return
    assert pipeline.input is not None
    pipeline.choose(first.model)
    pipeline.input.put(first.text, first.pair, first.target)
    pipeline.error = first.problem
