from __future__ import annotations

import pytest

from atlas.app import AttentionAtlas
from atlas.state.opening import Opening
from tests.state.readers import single

pytestmark = pytest.mark.filterwarnings(
    "ignore:The inplace keyword in DataFrame.reset_index:pandas.errors.Pandas4Warning"  # Panel's, when a table is made
)


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
