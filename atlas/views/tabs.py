"""The tabs of the page: views are made when their tab is first opened, and cost nothing while it is closed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import panel as pn
import param

from atlas.components.grid import PLACES, empty_grid, fill, show
from atlas.components.tab_bar import TabBar
from atlas.state.lens import sentence
from atlas.state.workspace import Workspace
from atlas.views.base import View, bind_rule, one_message
from atlas.views.catalog import TABS, Tab
from atlas.views.plain import plain
from atlas.views.tab_notice import TabNotice

KEPT_TABS = 3
"""Tabs that stay in the document: a tab that is there opens in a fifth of a second, but 25 views left 2,200 models in it."""


class Unmade(View):
    """Stands in for a view that could not even be made: its card says why, and the cards after it are made."""

    def __init__(self, view_type: type[View], workspace: Workspace, error: Exception, **params: Any) -> None:
        self.key, self.title, self.question = view_type.key, view_type.title, view_type.question  # type: ignore[misc]
        super().__init__(workspace, **params)
        self.faults.report(error, "make")

    def body(self) -> Any:
        """Nothing: the reason is shown in its place."""
        return pn.Column()


def _unfit(view: View | type[View], workspace: Workspace) -> str:
    """Why a view is not offered, or what failed when it was asked."""
    try:
        return view.offered(workspace)
    except Exception as error:  # noqa: BLE001  (shown under the cards, and logged by `sentence`)
        return sentence(error)


class Tabs(pn.viewable.Viewer):
    """A bar, and under it the cards of the open tab. `Display.tab` says which one is open."""

    dark = param.Boolean(default=False, doc="Whether the page is dark.")
    left_out = param.String(default="", doc="Views of the open tab that the trace on screen cannot have, each with the reason.")

    def __init__(self, workspace: Workspace, tabs: Sequence[Tab] = TABS, **params: Any) -> None:
        super().__init__(**params)
        self.workspace = workspace
        self.tabs = {tab.key: tab for tab in tabs if tab.views}
        self.views: dict[str, list[View]] = {}
        """Views made so far, by tab."""
        self._grids: dict[str, pn.Column] = {}
        self._filling: dict[str, Iterator[Any]] = {}
        self._used: list[str] = []
        """Keys of the tabs in the document, the one used last at the end."""
        self._document_complete = True
        titles = [{"key": tab.key, "title": tab.title} for tab in self.tabs.values()]
        self.bar = TabBar(tabs=titles, active=self.open, dark=self.param.dark, visible=len(titles) > 1, css_classes=["aa-tabs"])
        self.notice = TabNotice({tab.key: tab.notice for tab in self.tabs.values()})
        self.stage = pn.Column(sizing_mode="stretch_width", margin=0, css_classes=["aa-stage"])
        self.bar.param.watch(self._pressed, "active")
        self.param.watch(self._theme, "dark")
        workspace.display.param.watch(lambda _: self._show(), "tab")
        workspace.param.watch(lambda _: self._fit(), "revision")
        workspace.corpora.param.watch(lambda _: self._fit(), "opened")

    @property
    def open(self) -> str:
        """Key of the open tab; a link may name one that has no views yet, then it is the first."""
        named = self.workspace.display.tab
        return named if named in self.tabs else next(iter(self.tabs), "")

    def made(self) -> list[View]:
        """All views made so far."""
        return [view for views in self.views.values() for view in views]

    def view(self, key: str) -> View:
        """A view by its key, made now if its tab has not been opened yet."""
        for tab in self.tabs.values():
            if any(view.key == key for view in tab.views):
                self._complete(tab.key)
                return next(view for view in self.views[tab.key] if view.key == key)
        msg = f"There is no view {key!r}; there are {', '.join(view.key for tab in self.tabs.values() for view in tab.views)}."
        raise KeyError(msg)

    def __panel__(self) -> Any:
        self._show()
        note = plain(self.param.left_out, "aa-left-out", visible=bind_rule(self.param.left_out, bool))
        return pn.Column(self.notice, self.stage, note, sizing_mode="stretch_width", margin=0)

    def start_later(self) -> None:
        """Leave all cards out until `start` is called: the document that the browser gets first then has no plots in it."""
        self._document_complete = False

    def start(self) -> None:
        """Put the cards of the open tab in, one by one."""
        self._document_complete = True
        self._continue(self.open)

    # -- opening -------------------------------------------------------------------------------------------------------

    def _pressed(self, event: Any) -> None:
        if event.new in self.tabs and event.new != self.open:
            with one_message():
                self.workspace.display.tab = event.new

    def _show(self) -> None:
        """Show the cards of the open tab, hide the others, and drop tabs that were not used lately from the document."""
        key = self.open
        if not key:
            return
        with one_message():
            self.bar.active = key
            self.notice.tell(key)
            for other, grid in self._grids.items():
                show(grid, opened=other == key)
            for other, views in self.views.items():
                for view in views:
                    view.visibility.opened = other == key and not view.unfit
            self._used = [*(each for each in self._used if each != key), key]
            grid = self._grid(key)
            if grid not in list(self.stage):
                if self._document_complete:
                    # All cards in one message: of two changes that follow each other quickly the browser may lose the second.
                    self._complete(key)
                self.stage.append(grid)
            for dropped in self._used[:-KEPT_TABS]:
                self.stage.remove(self._grids[dropped])
            self._used = self._used[-KEPT_TABS:]
            self._dress(key)
            self._fit()
        if self._document_complete:
            self._continue(key)

    def _grid(self, key: str) -> pn.Column:
        if key not in self._grids:
            views = self.tabs[key].views
            self.views[key] = []
            self._grids[key] = empty_grid(len(views))
            self._filling[key] = fill(self._grids[key], [lambda view=view: self._make(key, view) for view in views])  # type: ignore[misc]
        return self._grids[key]

    def _make(self, key: str, view_type: type[View]) -> View:
        later = len(self.views[key]) >= PLACES
        try:
            view = view_type(self.workspace, dark=self.dark, later=later, unfit=_unfit(view_type, self.workspace))
        except Exception as error:  # noqa: BLE001  (shown and logged by the view that stands in)
            view = Unmade(view_type, self.workspace, error, dark=self.dark)
        view.visibility.opened = key == self.open and not view.unfit
        self.views[key].append(view)
        return view

    def _continue(self, key: str) -> None:
        """One card, and the next when it is painted: the reader may be busy with those that are there."""
        if key != self.open:
            return  # it goes on when the tab is opened again
        with one_message():
            more = next(self._filling[key], None) is not None
        if more:
            self.workspace.after_paint(lambda: self._continue(key))
        else:
            self._fit()

    def _complete(self, key: str) -> None:
        self._grid(key)
        for _ in self._filling[key]:
            pass

    # -- what holds for all views --------------------------------------------------------------------------------------

    def _theme(self, *_: object) -> None:
        self._dress(self.open)

    def _dress(self, key: str) -> None:
        """Views of closed tabs are told of day and night when they come back: each would be drawn anew."""
        for view in self.views.get(key, ()):
            if view.dark != self.dark:
                view.dark = self.dark

    def _fit(self) -> None:
        """Hide the views that the trace on screen cannot have, and say why under the others."""
        views = self.views.get(self.open, [])
        if self.workspace.trace is None:
            return
        for view in views:
            view.unfit = _unfit(view, self.workspace)
            view.visibility.opened = not view.unfit
        reasons = [f"{view.title}: {view.unfit}" for view in views if view.unfit]
        self.left_out = "\n".join(["Not offered for this trace.", *reasons]) if reasons else ""
