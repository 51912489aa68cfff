"""No view fails or sends more than a gesture may at 1,200 heads: some views a day; `tests.benchmarks.weighing` takes all."""

from __future__ import annotations

import numpy as np
import pytest
from bokeh.document import Document

from atlas.app import prepare
from atlas.ids import HeadId
from tests.benchmarks.weighing import HEADS, LAYERS, LIMIT, VIEWS, Scale, case, message_bytes, told, weigh
from tests.rounds import ROUND, this_round

A_DAY = 4
"""Views of a run: all of them in two weeks."""

MODELS = ("GPT-2", "BERT", "T5")

TOKENS = 64


@pytest.fixture(scope="module", autouse=True)
def _prepared():
    prepare()


def views_of_the_day():
    keys, first = list(VIEWS), A_DAY * this_round()
    return [keys[(first + at) % len(keys)] for at in range(A_DAY)]


def test_a_gesture_at_1_200_heads_is_light_in_the_views_of_the_day():
    number = this_round()
    # One model further after each round of the views, so that every view meets every model.
    of = case(MODELS[(number + number // len(VIEWS)) % len(MODELS)], TOKENS)
    assert {of.trace.n_layers(kind) * of.trace.n_heads(kind) for kind in of.trace.kinds} == {LAYERS * HEADS}
    for key in views_of_the_day():
        found = weigh(of, VIEWS[key])
        again = f"{ROUND}={number} python -m pytest {__file__}"
        assert not found.failed, (told(found), again)
        assert found.worst("bytes") < LIMIT, (told(found), again)
        hidden = [weight.bytes for weight in found.weights if weight.gesture.startswith("hidden")]
        assert hidden in ([], [0, 0]), (told(found), again)


def test_the_scale_weighs_what_a_browser_is_sent():
    document, events = Document(), []
    document.on_change(events.append)
    document.title = "x" * 1_000
    light = message_bytes(events)
    events.clear()
    document.title = "x" * 51_000
    assert message_bytes(events) - light == 50_000


@pytest.mark.parametrize("key", ["heads", "compare_metrics"])
def test_a_cloud_of_heads_sends_what_a_gesture_changed(key):
    scale = Scale(case("BERT", 8, 2, 3), VIEWS[key])
    view = scale.open()
    selection, events = scale.workspace.selection, scale._events

    def sent(act):
        scale.make("gesture", act)
        return {name for event in events for name in getattr(event, "cols", None) or ()}

    assert sent(lambda: selection.select_heads([HeadId("encoder", 1, 2)])) == {"size", "line_color", "line_width"}
    source = next(iter(view.glyph._drawn()))[1].data_source
    assert source.selected.indices == [5]
    assert np.argmax(source.data["line_width"]) == 5
    assert sent(lambda: selection.select_heads([HeadId("encoder", 1, 2), HeadId("encoder", 0, 0)])) == set()
    assert source.selected.indices == [0, 5]
    moved = sent(lambda: selection.select_tokens((3,)))
    assert {"at_x", "at_y", "about"} <= moved
    assert not moved & {"label", "color", "line_color", "colour", "edge", "marker"}
    np.testing.assert_array_equal(source.data["at_x"], view.glyph.shown["at_x"])
    scale.close()
