"""One view without a page: made from a trace by its key, or copied from a card so that a file can be made of it."""

from __future__ import annotations

from typing import Any

from atlas.errors import NotCaptured, UnknownName
from atlas.state.corpora import named
from atlas.state.single import alone, choose, copied, select
from atlas.state.workspace import Tasks, Workspace
from atlas.trace import Trace
from atlas.views.base import View
from atlas.views.catalog import TABS


def view_types() -> dict[str, type[View]]:
    """Every view by its key, in the order of the page."""
    return {view.key: view for tab in TABS for view in tab.views}


def view_type(key: str) -> type[View]:
    """The class of a view."""
    known = view_types()
    if key not in known:
        msg = f"There is no view {key!r}; there are {', '.join(known)}."
        raise UnknownName(msg)
    return known[key]


def single(trace: Trace, key: str, tasks: Tasks, *, dark: bool = False, **given: Any) -> View:
    """A view of a trace, built and with its numbers; `given` as `atlas.view` takes it."""
    found = view_type(key)
    choices = dict(given)
    workspace = alone(trace, tasks, second=choices.pop("second", None), corpora=named(choices.pop("corpora", None) or ()))
    more = choices.pop("more", None)
    select(workspace, **{name: choices.pop(name) for name in ("heads", "queries", "keys", "focus", "kind") if name in choices})
    choose(workspace, found.lens_type, choices, more)
    return shown_alone(workspace, key, dark=dark)


def shown_alone(workspace: Workspace, key: str, *, dark: bool = False) -> View:
    """A view of a workspace that no page shows, built and with its numbers; what needs a press is pressed for."""
    found = view_type(key)
    reason = found.offered(workspace)
    if reason:
        msg = f"{found.title} is not offered for this trace: {reason}"
        raise NotCaptured(msg)
    view = found(workspace, dark=dark)
    view.lens.begin()
    return built(view)


def copied_alone(view: View) -> View:
    """A view of its own that shows what a view on a page shows: drawn anew, it takes nothing from the page."""
    made = type(view)(copied(view.workspace), dark=view.dark)
    made.take_over(view)
    return built(made)


def built(view: View) -> View:
    """The view with its card; raises where it has nothing to show."""
    view.__panel__()
    if view.problem:
        raise NotCaptured(view.problem)
    return view
