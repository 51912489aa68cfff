"""A plot that cannot be drawn leaves its own place empty; Panel alone would leave the whole page unmade."""

from __future__ import annotations

import holoviews as hv
import panel as pn
import pytest
from bokeh.models import Plot, Spacer

from atlas.patches.plot_pane import PlotPane


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
