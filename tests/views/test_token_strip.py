"""The text itself, without a page: what a click on it would select."""

from __future__ import annotations

import pytest

from atlas.tracing import token_scores
from atlas.views.token_strip import StripView
from tests.state.readers import CROSS, DECODER, ENCODER, both, single, workspace


@pytest.mark.parametrize(
    ("kind", "side", "axes"),
    [
        (CROSS, "source", {"both": "both", "from": "to", "to": "to"}),
        (CROSS, "target", {"both": "both", "from": "from", "to": "from"}),
        (ENCODER, "source", {"both": "both", "from": "from", "to": "to"}),
        (DECODER, "target", {"both": "both", "from": "from", "to": "to"}),
    ],
)
def test_a_text_says_what_a_click_on_it_selects(kind, side, axes):
    room = workspace(both())
    view = StripView(room, side)
    view.__panel__()
    room.selection.show_kind(kind)
    for axis, said in axes.items():
        room.display.axis = axis
        assert (view._axis(), view.strip.axis) == (said, said)
        view._picked({"positions": [2], "mode": "replace", "clear": False})
        # And that is what it does select.
        marked = {"from": [bool(view._marked()["selected_from"])], "to": [bool(view._marked()["selected_to"])]}
        if said != "both":
            assert marked[said] == [True]
        room.selection.clear()


def test_the_switch_is_told_to_the_text_when_another_kind_is_shown():
    room = workspace(both())
    view = StripView(room, "source")
    view.__panel__()
    room.display.axis = "from"
    assert view.strip.axis == "from"
    room.selection.show_kind(CROSS)
    assert view.strip.axis == "to"
    room.selection.show_kind(ENCODER)
    assert view.strip.axis == "from"


def test_what_cannot_be_painted_is_not_painted_and_the_reason_stands_under_the_text(monkeypatch):
    room = workspace(single())
    view = StripView(room, "source")
    column = view.__panel__()
    assert len(view.strip.weights) == 8
    assert view.strip.meaning == "receives"
    monkeypatch.setattr(token_scores, "PAINTED_CELLS", 10)
    room.selection.select_tokens([1, 2])
    assert (view.strip.weights, view.strip.values, view.strip.meaning) == ([], [], "")
    assert [part.problem for part in column if hasattr(part, "problem")] == [view.lens.problem]
    assert "Select fewer tokens" in view.lens.problem
    room.selection.clear()
    assert [part.problem for part in column if hasattr(part, "problem")] == [""]
