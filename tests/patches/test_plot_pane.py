"""A plot that cannot be drawn leaves its own place empty; Panel alone would leave the whole page unmade."""

from __future__ import annotations

import holoviews as hv
import panel as pn
import pytest
from bokeh.document import Document
from bokeh.models import Plot, Spacer

from atlas.patches.panes import plots_of
from atlas.patches.plot_pane import PlotPane, page_of


@pytest.fixture(autouse=True)
def _bokeh():
    hv.extension("bokeh", logo=False)


def plot(broken):
    def sizes(values):
        if broken:
            raise KeyError(*broken)
        return values + 5

    return hv.Points([(1, 2)]).opts(size=hv.dim("x", sizes))


def test_panel_itself_makes_no_page_with_a_plot_that_fails():
    """If this fails, Panel catches the error itself: then go without `PlotPane`."""
    with pytest.raises(Exception, match="plus"):
        pn.Column(pn.pane.HoloViews(plot(["plus"])), "after").get_root()


def test_what_stands_after_a_plot_that_fails_is_made_and_the_plot_is_drawn_once_it_can_be():
    broken, told = ["plus"], []
    pane = PlotPane(plot(broken), told.append)
    root = pn.Column(pane, "after").get_root()
    assert [type(child) for child in root.children[:1]] == [Spacer]
    assert len(root.children) == 2
    assert "plus" in str(told[0])
    assert pane.failed
    broken.clear()
    pane.try_again()
    assert isinstance(root.children[0], Plot)
    assert (pane.failed, len(told)) == (False, 1)


def test_a_plot_drawn_ahead_is_the_one_that_its_page_shows():
    document, page = Document(), pn.Column()
    root = page.get_root(document)
    pane = PlotPane(plot([]), print)
    assert page_of(pane) is None
    pane.draw_ahead(page_of(page))
    ahead = pane.drawn_ahead
    assert plots_of(pane) == [ahead], "what frees the plots of a page finds it"
    page.append(pane)
    assert (pane.drawn_ahead, plots_of(pane)) == (None, [ahead])
    assert root.children == [ahead.state]
    pane.draw_ahead(page_of(page))
    assert pane.drawn_ahead is None, "it is there already"


def test_a_plot_drawn_ahead_that_no_page_asks_for_is_freed(monkeypatch):
    page = pn.Column()
    page.get_root(Document())
    pane, freed = PlotPane(plot([]), print), []
    pane.draw_ahead(page_of(page))
    ahead = pane.drawn_ahead
    monkeypatch.setattr(ahead, "cleanup", lambda: freed.append(ahead))
    pane.leave_ahead()
    pane.leave_ahead()
    assert (freed, pane.drawn_ahead, plots_of(pane)) == ([ahead], None, [])


def test_a_plot_that_cannot_be_drawn_ahead_says_so_once_in_its_place():
    broken, told, document, page = ["plus"], [], Document(), pn.Column()
    root = page.get_root(document)
    pane = PlotPane(plot(broken), told.append)
    pane.draw_ahead(page_of(page))
    assert (pane.drawn_ahead, told) == (None, [])
    page.append(pane)
    assert ([type(child) for child in root.children], len(told), pane.failed) == ([Spacer], 1, True)
    broken.clear()
    pane.try_again()
    assert isinstance(root.children[0], Plot)
