"""A workspace put as a link says: its inputs before the run, its selection once the trace it is about is there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from atlas.state.changes import Interventions
from atlas.state.inputs import InputModel, ModelChoice, SpansOf
from atlas.state.lens import counted
from atlas.state.link import State
from atlas.state.pipeline import Job
from atlas.state.share import decode, run_of
from atlas.state.validate import defaults

if TYPE_CHECKING:
    from atlas.state.pipeline import Pipeline
    from atlas.state.workspace import Workspace

Where = Callable[[str, str], str]
"""Says of a model's name and revision where it is: MEMORY, HUB, or anything else for what is on this machine."""

MEMORY, HUB = "memory", "hub"

TEXTS = ("text", "pair", "target", "truncate", "chat")
CHOICE = ("revision", "device", "dtype", "in_memory")


RUN_TO_FETCH = "Run it to fetch the model."
"""What the reader has to do; the size of the download is put before it once it is known."""


def on_this_machine(_: str, __: str) -> str:
    """Where models are, for who does not know better."""
    return "here"


@dataclass
class Restored:
    """What the inputs of a link came to."""

    then: Literal["nothing", "select", "run", "wait"] = "nothing"
    """What follows: its selection at once, or after a run, or after one the reader has to start; or none of these."""
    said: list[str] = field(default_factory=list)
    fetch: bool = False
    """Whether the run would download the model."""


def why_not_run(state: State, where: Where, fetching: str) -> str:
    """Why what a finding says is not run for its report; empty: it is. `fetching`: how a model is fetched that is not here."""
    if state.in_memory and where(state.model, state.revision) != MEMORY:
        return f"The model {state.model!r} was in the memory of the session that pinned it."
    if state.private or not state.text:
        return "Its text was left out."
    # A file of findings may come from anybody, who has not to choose what is fetched.
    if where(state.model, state.revision) == HUB:
        return f"The model {state.model!r} is not on this machine; {fetching}"
    return ""


def job_of(state: State) -> Job:
    """The run that a link asks for."""
    choice = ModelChoice(name_or_path=state.model, **{name: getattr(state, name) for name in CHOICE})
    given = InputModel(**{name: getattr(state, name) for name in TEXTS}, spans=SpansOf(state.text, state.target, state.spans))
    changes = Interventions(ablated=state.ablated, cut=state.cut, regenerate=state.regenerate)
    return Job(choice.request(), *given.texts(), **changes.of_job(), spans=given.known_spans(), chat=given.chat)


def put_inputs(
    state: State, workspace: Workspace, on_screen: Mapping[str, Any] | None = None, where: Where = on_this_machine
) -> Restored:
    """Display, thresholds, model and texts as a link says. `on_screen`: what the trace on screen was made of (`run_of`)."""
    pipeline = workspace.pipeline
    given, changes = pipeline.input, pipeline.interventions
    assert given is not None
    assert changes is not None
    if on_screen is None and workspace.trace is not None:
        on_screen = run_of(pipeline)
    for holder, said in (
        (workspace.display, state.display),
        (workspace.thresholds, state.thresholds),
        (workspace.target, state.explained),
    ):
        holder.param.update(**defaults(type(holder)) | dict(said))
    for key in {*state.choices, *workspace.choices}:
        choices = workspace.choices_of(key)
        choices.param.update(**defaults(type(choices)) | dict(state.choices.get(key, {})))
    waits = _put_second(state, workspace, where)
    if not state.private:
        spans = SpansOf(state.text, state.target, state.spans)
        given.param.update(**{name: getattr(state, name) for name in TEXTS}, spans=spans)
    changes.param.update(ablated=state.ablated, cut=state.cut, regenerate=state.regenerate)
    if not state.model:
        return Restored(said=["This link names no model. Choose one, and run it."])
    if state.in_memory and where(state.model, state.revision) != MEMORY:
        return _recording(state, pipeline, on_screen)
    assert pipeline.choice is not None
    pipeline.choice.param.update(name_or_path=state.model, **{name: getattr(state, name) for name in CHOICE})
    if run_of(pipeline) == on_screen:
        return Restored("select", waits)
    wanting = ["This link leaves its text out: type or paste it, and run it."] if state.private and not given.text else []
    if where(state.model, state.revision) == HUB:
        # Whoever follows a link has not yet asked for gigabytes of somebody else's choosing.
        wanting.append(f"This link asks for {state.model!r}, which is not on this machine. {RUN_TO_FETCH}")
        return Restored("wait", wanting, fetch=True)
    if not given.text:
        return Restored("wait", wanting)
    return Restored("run", waits)


def _put_second(state: State, workspace: Workspace, where: Where) -> list[str]:
    """Side B as the link says; one whose model would be downloaded waits for the reader, as side A does, and that is said."""
    settings = dict(state.second)
    model = str(settings.get("model", ""))
    waits = bool(settings.get("used") and model and model != state.model and where(model, "") == HUB)
    workspace.second.restore(settings | {"used": False} if waits else settings)
    return [f"This link compares with {model!r}, which is not on this machine. Run side B to fetch it."] if waits else []


def _recording(state: State, pipeline: Pipeline, on_screen: Mapping[str, Any] | None) -> Restored:
    """For a model that this process does not have: its trace may still be the one on screen, else it is gone."""
    there = on_screen is not None and (on_screen["model"], on_screen["in_memory"]) == (state.model, True)
    if on_screen is not None and there and (state.private or on_screen["text"] == state.text):
        assert pipeline.choice is not None
        pipeline.choice.param.update(name_or_path=state.model, in_memory=True)
        return Restored("select")
    msg = (
        f"The model {state.model!r} was in the memory of the session that made this link, so it cannot be restored. "
        "Choose another model, or open the link in that session."
    )
    return Restored(said=[msg])


def put_selection(state: State, workspace: Workspace) -> list[str]:
    """The link's heads, tokens and writing, once the trace is there; what does not exist in it is left out and said."""
    selection, trace = workspace.selection, workspace.trace
    workspace.written.record = state.written
    selection.restore(state.focus, state.heads, state.queries, state.keys, state.label)
    workspace.second.follow()
    said = []
    heads = state.heads | ({state.focus} if state.focus is not None else set())
    gone = heads - selection.heads - {selection.focus}
    if gone:
        said.append(f"{_of(len(gone), len(heads), 'head')} of this link do not exist in this model and are left out.")
    tokens = {(side, at) for side in ("queries", "keys") for at in getattr(state, side)}
    lost = tokens - {(side, at) for side in ("queries", "keys") for at in getattr(selection, side)}
    if lost and trace is not None:
        said.append(f"{_of(len(lost), len(tokens), 'selected token')} of this link do not exist in this text and are left out.")
    return said


def _of(some: int, of: int, noun: str) -> str:
    return f"{some:,} of {counted(of, noun)}"


def apply(token: str, workspace: Workspace) -> list[str]:
    """For scripts: a whole link at once, its run included; what could not be restored, in words."""
    state, said = decode(token)
    if state == State():
        return said
    done = put_inputs(state, workspace)
    said += done.said
    if done.then == "run":
        workspace.pipeline.run()
        said += [workspace.pipeline.error] if workspace.pipeline.error else []
    fitting = done.then == "select" or (done.then == "run" and not workspace.pipeline.error)
    return [*said, *(put_selection(state, workspace) if fitting and workspace.trace is not None else [])]
