from __future__ import annotations

import holoviews as hv
import pytest
from bokeh.document import Document
from panel.io.state import set_curdoc

from atlas.app import AttentionAtlas
from atlas.state.opening import Opening
from tests.state.readers import single

FRAME, OPENED = 150, 350
"""Bokeh's models of a page without cards and with its first two: a tenth more than there are."""


@pytest.fixture(autouse=True)
def _drawn_with_bokeh():
    hv.extension("bokeh", logo=False)


def test_a_page_without_an_opening_keeps_the_trace_it_was_given():
    app = AttentionAtlas()
    app.open(single())
    app._begin("", Opening())
    assert app.trace is single()
    assert app.workspace.pipeline.choice.name_or_path == "a recording"
    assert not app.workspace.pipeline.pending


def test_a_page_with_an_opening_begins_with_it():
    app = AttentionAtlas()
    app._begin("", Opening(text="A text.", problem="There is no model."))
    assert app.workspace.pipeline.input.text == "A text."
    assert app.workspace.pipeline.error == "There is no model."


def test_a_page_is_sent_with_its_first_two_cards_and_no_other(monkeypatch):
    """What thirty readers who open the page at once wait for is what is made before the first gesture: counted, not timed."""
    app, document, later = AttentionAtlas(), Document(), []
    monkeypatch.setattr("atlas.app.when_drawn", later.append)
    app.open(single())
    with set_curdoc(document):
        root = app.page().get_root(document)
        document.add_root(root)
        assert app.tabs.made() == []
        assert len(root.references()) <= FRAME
        for work in later:
            work()
        assert [view.key for view in app.tabs.made()] == ["map", "matrix"]
        assert list(app.tabs.views) == ["explore"], "no view of a tab that was not opened"
        assert len(root.references()) <= OPENED
        app.tabs._grids["explore"].places.seen = ["table"]
        assert [view.key for view in app.tabs.made()] == ["map", "matrix", "table"]
