"""What fails in one view is shown in its card, and every other card of the page is drawn and follows what happens."""

from __future__ import annotations

from typing import ClassVar

import holoviews as hv
import panel as pn
import pytest
from bokeh.models import ColumnDataSource, Plot

from atlas.errors import UnknownName
from atlas.state.lens import Lens
from atlas.state.pipeline import BUSY
from atlas.views.base import View, gesture
from atlas.views.catalog import TABS, Tab
from atlas.views.faults import RUNNING, calm
from atlas.views.plain import plain
from atlas.views.tabs import Tabs
from tests.places import REPO
from tests.state.readers import single, workspace

FAULT = "This is a fault of Atlas, not yours (KeyError: 'plus'). The log has the details."

FAILS: set[str] = set()
"""Where the view of these tests fails now."""


@pytest.fixture(autouse=True)
def _nothing_fails():
    hv.extension("bokeh", logo=False)
    FAILS.clear()
    yield
    FAILS.clear()


def may_fail(place):
    if place in FAILS:
        msg = "plus"
        raise KeyError(msg)


class SharedLens(Lens):
    reads: ClassVar = {"selection": ("heads", "queries", "keys")}

    def value(self):
        may_fail("lens")
        return len(self.workspace.selection.queries)

    def depends(self):
        may_fail("depends")

    def forget(self):
        may_fail("forget")


class Fragile(View):
    key: ClassVar = "fragile"
    title: ClassVar = "Fragile"
    question: ClassVar = "What breaks?"
    lens_type: ClassVar = SharedLens

    def __init__(self, room, **params):
        super().__init__(room, **params)
        may_fail("make")

    @classmethod
    def fits(cls, _):
        may_fail("fits")
        return ""

    def tools(self):
        may_fail("tools")
        return []

    def body(self):
        may_fail("body")
        drawn = hv.DynamicMap(
            self.drawing(self._draw, lambda: hv.Points([])), streams=[self.follows(self.visibility, ["revision"])]
        )
        self.visibility.follow_revision(lambda: may_fail("watcher"))
        words = plain(self.bound(self._words, self.visibility.param.revision), "words")
        return pn.Column(self.plot_pane(drawn, height=100), words)

    def _draw(self, **_):
        may_fail("draw")
        # HoloViews works sizes out when it draws the element: too late for whoever made it.
        sizes = hv.dim("x", lambda values: (may_fail("holoviews"), values + 5)[1])
        return hv.Points([(self.lens.value(), 1)]).opts(size=sizes, hooks=self.faults.hooks([self._hook]))

    def _hook(self, *_):
        may_fail("hook")

    def _words(self, _):
        may_fail("words")
        return "words"

    @gesture
    def tap(self):
        may_fail("gesture")
        return "tapped"


class Sturdy(View):
    """Shares the lens of the fragile view, and asks nothing of it."""

    key: ClassVar = "sturdy"
    title: ClassVar = "Sturdy"
    question: ClassVar = "What stays?"
    lens_type: ClassVar = SharedLens

    def body(self):
        return pn.Column()


AT_MAKING = ("make", "fits", "tools", "body")
"""Called once for a view: what fails there is said as long as the page is open."""

AT_DRAWING = ("draw", "lens", "holoviews", "hook", "words")
AT_CHANGES = ("watcher", "depends", "forget")


FITTING = [view for tab in TABS for view in tab.views if tab.key == "explore" and not view.fits(single())]

OTHERS = (FITTING[0], FITTING[-1])
"""Views that stand after the fragile one; all of the catalog would take long to draw for every place."""


class Opened:
    """Views of the catalog behind a view that fails, drawn as for a browser."""

    def __init__(self):
        self.room = workspace(single())
        tabs = Tabs(self.room, [Tab("explore", "Explore", (Fragile, Sturdy, *OTHERS))])
        self.root = pn.panel(tabs).get_root()
        self.fragile, self.sturdy, *self.others = tabs.made()
        self.tabs = tabs

    def change(self, query):
        self.room.selection.select_tokens([query])
        self.room.display.colour = "role" if query % 2 else "layer"

    def check_others(self):
        assert len(self.others) == len(OTHERS)
        assert [view.problem for view in (self.sturdy, *self.others)] == [""] * (len(self.others) + 1)
        for view in self.others:
            assert (view.visibility.revision, view.visibility.marks) == (view.lens.revision, view.lens.marks)

    def points(self):
        """What the plot of the fragile view shows."""
        found = [plot for plot in self.root.select({"type": Plot}) if plot.height == 100]
        return [source.data["x"].tolist() for plot in found for source in plot.select({"type": ColumnDataSource})]


@pytest.mark.parametrize("place", [*AT_MAKING, *AT_DRAWING])
def test_a_view_that_fails_from_the_beginning_says_so_and_the_others_are_drawn(place, caplog):
    FAILS.add(place)
    page = Opened()
    if place == "fits":
        assert page.tabs.left_out == f"Not offered for this trace.\nFragile: {FAULT}"
    else:
        assert page.fragile.problem == FAULT
    assert "KeyError: 'plus'" in caplog.text
    page.check_others()
    assert len(list(page.root.select({"type": Plot}))) >= len(OTHERS)
    page.change(3)
    page.check_others()
    FAILS.clear()
    page.change(4)
    page.check_others()
    if place in AT_DRAWING:
        assert page.fragile.problem == ""
        assert page.points() == [[1]]


@pytest.mark.parametrize("place", [*AT_DRAWING, *AT_CHANGES])
def test_a_view_that_fails_later_says_so_and_the_others_follow(place):
    page = Opened()
    assert page.fragile.problem == ""
    assert page.points() == [[0]]
    FAILS.add(place)
    page.change(3)
    assert FAULT in {page.fragile.faults.problem, page.fragile.lens.problem}
    if place in {*AT_DRAWING, "watcher"}:  # what a lens shares with other views, it shares the error of too
        page.check_others()
    assert {view.lens.revision == view.visibility.revision for view in page.others} == {True}
    FAILS.clear()
    page.change(4)
    assert page.fragile.faults.problem == ""
    assert page.points() == [[1]]


def test_no_view_draws_past_what_catches_its_errors():
    folder = REPO / "atlas" / "views"
    sources = {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.py")}
    del sources["faults.py"], sources["standalone.py"]  # the latter draws for a file, and what fails there is said by its card
    past = ("streams.Params(", "pn.pane.HoloViews(")
    assert [(name, each) for name, source in sources.items() for each in past if each in source] == []
    assert "self.follows(" in sources["heads.py"]
    assert "self.plot_pane(" in sources["heads.py"]


def test_a_gesture_that_fails_is_said_above_the_plot_which_stays():
    page = Opened()
    FAILS.add("gesture")
    assert page.fragile.tap() is None
    assert (page.fragile.faults.note, page.fragile.problem) == (FAULT, "")
    FAILS.clear()
    assert page.fragile.tap() == "tapped"
    assert page.fragile.faults.note == ""


def test_an_error_of_atlas_says_what_to_do_and_is_no_fault(monkeypatch, caplog):
    def refuse(self, **_):
        msg = "There are too many tokens. Select fewer."
        raise UnknownName(msg)

    monkeypatch.setattr(Fragile, "_draw", refuse)
    page = Opened()
    assert page.fragile.problem == "There are too many tokens. Select fewer."
    assert not caplog.records
    page.check_others()


def test_who_has_pressed_run_is_not_told_to_do_it():
    assert calm("Type a text.", "", "") == "Type a text."
    assert {calm("Type a text.", "", "", status) for status in BUSY} == {RUNNING}
    assert calm("", "nothing is flagged", "nothing is flagged", "tracing") == "nothing is flagged"
    assert calm("", "a fault", "", "tracing") == ""
