"""The tabs of the page: views are made when their tab is open and their card comes on screen, and cost nothing before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import panel as pn
import param

from atlas.components.grid import Grid
from atlas.components.tab_bar import TabBar
from atlas.state.lens import sentence
from atlas.state.workspace import Workspace
from atlas.views.base import View, bind_rule, one_message
from atlas.views.catalog import TABS, Tab
from atlas.views.plain import plain
from atlas.views.tab_notice import TabNotice

KEPT_TABS = 3
"""Tabs that stay in the document: a tab that is there opens in a fifth of a second, but 25 views left 2,200 models in it."""

FIRST = 2
"""Cards that a tab opens with: those that are seen without scrolling. The others are made when their places come on screen,
because a card takes the server a tenth of a second or more, and thirty readers who open the page would wait for each other's."""


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
        self._grids: dict[str, Grid] = {}
        self._continued: set[str] = set()
        """Keys of tabs whose next card is made when the browser has painted the one before."""
        self._used: list[str] = []
        """Keys of the tabs in the document, the one used last at the end."""
        self._is_page = False
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
            for view_type in tab.views:
                if view_type.key == key:
                    self._grid(tab.key)
                    if key not in self._grids[tab.key].there:
                        self._put(tab.key, view_type)
                    return next(view for view in self.views[tab.key] if view.key == key)
        msg = f"There is no view {key!r}; there are {', '.join(view.key for tab in self.tabs.values() for view in tab.views)}."
        raise KeyError(msg)

    def __panel__(self) -> Any:
        self._show()
        note = plain(self.param.left_out, "aa-left-out", visible=bind_rule(self.param.left_out, bool))
        return pn.Column(self.notice, self.stage, note, sizing_mode="stretch_width", margin=0)

    def start_later(self) -> None:
        """Leave all cards out until `start` is called: the document that the browser gets first then has no plots in it.

        From then on a browser says which places are on screen, and no other cards are made.
        """
        self._is_page = True
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
                grid.show(opened=other == key)
            self._used = [*(each for each in self._used if each != key), key]
            column = self._grid(key).column
            new = column not in list(self.stage)
            if new:
                if self._document_complete:
                    # In one message: of two changes that follow each other quickly the browser may lose the second.
                    self._make_first(key)
                self.stage.append(column)
            for dropped in self._used[:-KEPT_TABS]:
                self.stage.remove(self._grids[dropped].column)
                self._grids[dropped].empty()
            self._used = self._used[-KEPT_TABS:]
            for other in self.views:
                self._open_cards(other)
            self._dress(key)
            self._fit()
        if self._document_complete:
            self._continue_later(key) if new and self._is_page else self._continue(key)

    def _grid(self, key: str) -> Grid:
        if key not in self._grids:
            self.views[key] = []
            self._grids[key] = grid = Grid(
                {"key": view.key, "title": view.title, "question": view.question, "wide": view.wide}
                for view in self.tabs[key].views
            )
            self._offer(key)
            grid.places.param.watch(lambda _: self._seen(key), "seen")
        return self._grids[key]

    def _seen(self, key: str) -> None:
        """Make the cards whose places are on screen, unless they are being made already."""
        if self._document_complete and key not in self._continued:
            self._continue(key)

    def _unmade(self, key: str) -> list[type[View]]:
        """Views to be made now: those whose places are on screen, and the first; all of them where there is no browser."""
        views = list(self.tabs[key].views)
        if self._is_page:
            fit = [view for view in views if not _unfit(view, self.workspace)]
            seen = self._grids[key].places.seen
            on_screen = [view for view in fit if view.key in seen]
            views = [*on_screen, *(view for view in fit[:FIRST] if view not in on_screen)]
        return [view for view in views if view.key not in self._grids[key].there]

    def _put(self, key: str, view_type: type[View]) -> None:
        """Put a view where its place is; it is made, if it was in no grid before."""
        view = next((each for each in self.views[key] if each.key == view_type.key), None)
        if view is None:
            view = self._make(key, view_type)
            order = [each.key for each in self.tabs[key].views]
            self.views[key] = sorted([*self.views[key], view], key=lambda each: order.index(each.key))
        view.visibility.opened = key == self.open and not view.unfit  # before it is drawn, or it would be drawn twice
        self._grids[key].put(view.key, view)

    def _make(self, key: str, view_type: type[View]) -> View:
        # A card that is made because its place is on screen is drawn at once.
        later = not self._is_page and len(self.views[key]) >= FIRST
        try:
            return view_type(self.workspace, dark=self.dark, later=later, unfit=_unfit(view_type, self.workspace))
        except Exception as error:  # noqa: BLE001  (shown and logged by the view that stands in)
            return Unmade(view_type, self.workspace, error, dark=self.dark)

    def _open_cards(self, key: str) -> None:
        """Views whose cards are in the open tab work, the others wait."""
        for view in self.views[key]:
            view.visibility.opened = key == self.open and view.key in self._grids[key].there and not view.unfit

    def _continue(self, key: str) -> None:
        """One card, and the next when it is painted: the reader may be busy with those that are there."""
        self._continued.discard(key)
        if key != self.open:
            return  # it goes on when the tab is opened again
        waiting = self._unmade(key)
        if waiting:
            with one_message():
                self._put(key, waiting[0])
        if len(waiting) > 1:
            self._continue_later(key)
        else:
            self._fit()

    def _continue_later(self, key: str) -> None:
        self._continued.add(key)
        self.workspace.after_paint(lambda: self._continue(key))

    def _make_first(self, key: str) -> None:
        """The card that a tab opens with, alone: all readers wait while it is made. Where there is no browser, all cards."""
        for view in self._unmade(key)[: 1 if self._is_page else None]:
            self._put(key, view)

    # -- what holds for all views --------------------------------------------------------------------------------------

    def _theme(self, *_: object) -> None:
        self._dress(self.open)

    def _dress(self, key: str) -> None:
        """Views of closed tabs are told of day and night when they come back: each would be drawn anew."""
        for view in self.views.get(key, ()):
            if view.dark != self.dark:
                view.dark = self.dark

    def _offer(self, key: str) -> dict[str, str]:
        """Offer places of the views that the trace on screen can have; why it cannot have each view, or empty words."""
        unfit = {view.key: _unfit(view, self.workspace) for view in self.tabs[key].views}
        self._grids[key].offer(view for view, reason in unfit.items() if not reason)
        return unfit

    def _fit(self) -> None:
        """Hide the views that the trace on screen cannot have, and say why under the others."""
        key = self.open
        if key not in self._grids:
            return
        unfit = self._offer(key)
        if self.workspace.trace is None:
            return
        for view in self.views[key]:
            view.unfit = unfit[view.key]
        self._open_cards(key)
        reasons = [f"{view.title}: {unfit[view.key]}" for view in self.tabs[key].views if unfit[view.key]]
        self.left_out = "\n".join(["Not offered for this trace.", *reasons]) if reasons else ""
