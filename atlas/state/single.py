"""A workspace without a page: for one view in Python, and for the copy of a view that is written to a file."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from typing import Any, NoReturn

import param

from atlas.errors import UnknownName
from atlas.ids import HeadId, Headlike, as_head, as_heads
from atlas.scheduler import Scheduler
from atlas.state.choices import CHOICES
from atlas.state.lens import Lens
from atlas.state.restore import put_inputs, put_selection
from atlas.state.share import choices_of, state_of
from atlas.state.stamp import OF_THE_PAGE
from atlas.state.validate import differing
from atlas.state.workspace import Tasks, Workspace
from atlas.trace import Trace

TAKEN = frozenset({"trace", "key", "heads", "queries", "keys", "focus", "kind", "dark", "more", "second", "corpora"})
"""Arguments of `atlas.view` itself: a choice of such a name is given in `more`."""

PARTS = {"display": "display", "explained": "target", "thresholds": "thresholds"}
"""Name in `more` -> the part of a workspace."""


def never(*_: object) -> NoReturn:
    """The work of a workspace that only shows what is there."""
    msg = "This workspace shows one trace and runs no other."
    raise UnknownName(msg)


def alone(
    trace: Trace,
    tasks: Tasks,
    scheduler: Scheduler | None = None,
    second: Trace | None = None,
    corpora: Mapping[str, Any] | None = None,
    session: Hashable = None,
    *,
    for_others: bool = False,
) -> Workspace:
    """A workspace that shows a trace to nobody; what its lenses ask for is done in the calling thread.

    `second` is what it is compared with, `corpora` what is known of its model by many texts, by their names; `session` whose
    turn it is where what is asked for waits in the queue of the scheduler instead.
    """
    made = Workspace(never, tasks=tasks, scheduler=scheduler, session=session, at_once=session is None)
    pipeline, texts = made.pipeline, trace.texts
    pipeline.choose(str(trace.provenance.get("model") or "a recording"), in_memory=True)
    assert pipeline.input is not None
    pipeline.input.put(texts.text or "", texts.pair or "", texts.target or "")
    pipeline.show(trace)
    made.corpora.param.update(opened=dict(corpora or {}), for_others=for_others)
    if second is not None:
        made.second.used = True
        made.second.show(second)
    return made


def copied(workspace: Workspace) -> Workspace:
    """A workspace of its own that shows the same trace in the same state."""
    trace = workspace.trace
    if trace is None:
        msg = "Nothing is analysed yet. Type a text and run it."
        raise UnknownName(msg)
    made, state = alone(trace, workspace.tasks, workspace.scheduler, corpora=workspace.corpora.opened), state_of(workspace)
    put_inputs(state, made)
    two = workspace.second.two()
    if two is None:
        made.second.restore({})  # a second side that is not there yet would be run
    else:
        made.second.show(two.b)
    put_selection(state, made)
    return made


# -- what a caller selects and chooses -----------------------------------------------------------------------------------


def select(
    workspace: Workspace,
    heads: Iterable[Headlike] = (),
    queries: Iterable[int] = (),
    keys: Iterable[int] = (),
    focus: Headlike | None = None,
    kind: str | None = None,
) -> None:
    """Select heads and tokens. Unlike a link, a call that names what does not exist is refused."""
    trace, selection = workspace.trace, workspace.selection
    assert trace is not None
    chosen = as_heads(heads, trace.kinds)
    if focus is not None:
        shown = as_head(focus, trace.kinds)
    else:
        shown = next((head for head in chosen if kind in (None, head.kind)), HeadId(kind or trace.kinds[0], 0, 0))
    if kind not in (None, shown.kind):
        msg = f"The head {shown.label(trace.kinds)} is no head of the {kind} attention."
        raise UnknownName(msg)
    for head in (*chosen, shown):
        _check_head(trace, head)
    rows, columns = tuple(queries), tuple(keys)
    for axis, given in (("query", rows), ("key", columns)):
        _check_positions(trace, shown.kind, axis, given)
    selection.restore(shown, chosen, rows, columns, "")


def _check_head(trace: Trace, head: HeadId) -> None:
    if head.kind not in trace.kinds:
        msg = f"This trace has no {head.kind!r} attention; it has {', '.join(trace.kinds)}."
        raise UnknownName(msg)
    layers, heads = trace.n_layers(head.kind), trace.n_heads(head.kind)
    if head.layer >= layers or head.head >= heads:
        msg = f"There is no head {head.label(trace.kinds)}: there are {layers} layers of {heads} heads, counted from 0."
        raise UnknownName(msg)


def _check_positions(trace: Trace, kind: str, axis: str, given: tuple[int, ...]) -> None:
    size = len(trace.token_tables[trace.side(kind, axis)])
    wrong = [at for at in given if not 0 <= at < size]
    if wrong:
        msg = f"There is no {axis} {wrong[0]}: there are {size:,} tokens, counted from 0."
        raise UnknownName(msg)


def named_choices(workspace: Workspace, lens_type: type[Lens]) -> dict[str, tuple[str, param.Parameterized]]:
    """Every choice a caller can name -> (its part, who holds it): first those of the view's lens, then those all views share."""
    found: dict[str, tuple[str, param.Parameterized]] = {}
    own = [(lens_type.key, workspace.choices_of(lens_type.key))] if lens_type.key in CHOICES else []
    for part, holder in [*own, *((part, getattr(workspace, name)) for part, name in PARTS.items())]:
        for name in holder.param:
            if name != "name" and name not in TAKEN | OF_THE_PAGE:
                found.setdefault(name, (part, holder))
    return found


def choose(
    workspace: Workspace, lens_type: type[Lens], choices: Mapping[str, Any], more: Mapping[str, Mapping[str, Any]] | None = None
) -> None:
    """Set choices by their names, and in `more` those of a part: 'display', 'explained', 'thresholds' or the key of a lens."""
    known = named_choices(workspace, lens_type)
    for name, value in choices.items():
        if name not in known:
            msg = f"This view has no choice {name!r}; there are {', '.join(known)}."
            raise UnknownName(msg)
        _set(known[name][1], name, value)
    for part, given in (more or {}).items():
        if part not in PARTS and part not in CHOICES:
            msg = f"There is no part {part!r}; there are {', '.join([*PARTS, *CHOICES])}."
            raise UnknownName(msg)
        holder = getattr(workspace, PARTS[part]) if part in PARTS else workspace.choices_of(part)
        for name, value in given.items():
            if name == "name" or name not in holder.param:
                msg = f"{part} has no choice {name!r}; there are {', '.join(each for each in holder.param if each != 'name')}."
                raise UnknownName(msg)
            _set(holder, name, value)


def _set(holder: param.Parameterized, name: str, value: Any) -> None:
    field = holder.param[name]
    try:
        holder.param.update(**{name: value})
    except ValueError as error:
        legal = f"; there are {', '.join(map(repr, field.objects))}" if isinstance(field, param.Selector) else ""
        msg = f"{name} cannot be {value!r}{legal}." if legal else f"{name} cannot be {value!r}: {error}"
        raise UnknownName(msg) from error


def arguments(workspace: Workspace, lens_type: type[Lens]) -> dict[str, Any]:
    """What `atlas.view` has to be given, beside trace and key, to show what a workspace shows; only what is not its default."""
    selection, trace = workspace.selection, workspace.trace
    assert trace is not None
    found: dict[str, Any] = {
        "heads": [head.label(trace.kinds) for head in sorted(selection.heads)],
        "queries": sorted(selection.queries),
        "keys": sorted(selection.keys),
        "focus": "" if selection.focus is None else selection.focus.label(trace.kinds),
    }
    known = named_choices(workspace, lens_type)
    more: dict[str, dict[str, Any]] = {}
    differ = {part: differing(getattr(workspace, name)) for part, name in PARTS.items()} | choices_of(workspace)
    for part, values in differ.items():
        for name, value in values.items():
            if name in OF_THE_PAGE:
                continue
            if name in known and known[name][0] == part:
                found[name] = value
            else:
                more.setdefault(part, {})[name] = value
    return {name: value for name, value in (found | {"more": more}).items() if value not in ([], {}, "", None) or name in known}
