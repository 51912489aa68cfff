"""The profile by depth, without a page: what is in its table, and that it can be drawn."""

from __future__ import annotations

import holoviews as hv
import numpy as np
import pytest
from bokeh.models import Scatter

from atlas.ids import HeadId
from atlas.plots.profile import layer_profile
from atlas.views.profile import ProfileView
from tests.state.readers import CROSS, DECODER, ENCODER, both, single, workspace

CHOSEN = {(0, 1), (1, 2)}


@pytest.fixture(autouse=True)
def _bokeh():
    hv.extension("bokeh", logo=False)


def view_of(trace, metric="selected"):
    room = workspace(trace)
    room.display.metric = metric
    return room, ProfileView(room)


def marks_of(view):
    """What the marks of heads are, on screen."""
    figure = hv.render(layer_profile(*view.data(), label="Weight on selected keys"))
    heads = next(each for each in figure.renderers if isinstance(each.glyph, Scatter) and "head" in each.data_source.data)
    return heads.data_source


@pytest.mark.parametrize("kind", [ENCODER, DECODER])
@pytest.mark.parametrize("queries", [(), (3, 6)])
def test_the_weight_on_selected_keys_is_a_metric_and_the_selected_heads_are_marked_beside_it(kind, queries):
    trace = single(kind, layers=2, heads=4)
    room, view = view_of(trace)
    room.selection.select_heads([HeadId(kind, *place) for place in CHOSEN])
    room.selection.select_pairs(queries, [2, 4])
    table, metric = view.data()
    # In a causal text the first two rows see neither of them, and rows that see one token only tell nothing.
    rows = list(queries or range(2 if kind == DECODER else 0, 8))
    weights = np.nan_to_num(trace.attention().to_numpy()).astype(float)
    expected = weights[:, :, rows][..., [2, 4]].sum(-1).mean(-1)
    assert list(zip(table["layer"], table["head"], strict=True)) == list(np.ndindex(2, 4))
    np.testing.assert_allclose(table[metric], expected.ravel(), rtol=1e-5)
    assert table["selected"].dtype == bool
    assert [at for at, chosen in zip(np.ndindex(2, 4), table["selected"], strict=True) if chosen] == sorted(CHOSEN)
    source = marks_of(view)
    np.testing.assert_allclose(source.data["value"], expected.ravel(), rtol=1e-5)
    assert source.selected.indices == [1, 6]
    assert source.data["about"][0] == f"Weight on selected keys: {expected[0, 0]:.3g}"


def test_without_selected_keys_it_is_not_known_and_the_page_says_why():
    room, view = view_of(single())
    room.selection.select_heads([HeadId(ENCODER, 0, 1)])
    for _ in range(2):
        table, metric = view.data()
        assert table[metric].isna().all()
        assert table["selected"].tolist() == [False, True, False, False, False, False]
        source = marks_of(view)
        assert np.isnan(source.data["value"]).all()
        assert source.selected.indices == [1]
        assert "once tokens are selected as 'to'" in view.heads.unknown("selected")
        room.selection.select_tokens([1], axis="from")  # who looks is not what is looked at
    room.selection.select_tokens([1], axis="to")
    assert view.heads.unknown("selected") == ""
    assert view.data()[0]["selected"].sum() == 1


def test_any_other_metric_is_that_metric_whatever_is_selected():
    room, view = view_of(single(), "entropy")
    room.selection.select_heads([HeadId(ENCODER, 1, 0)])
    room.selection.select_tokens([2], axis="to")
    table, metric = view.data()
    assert metric == "entropy"
    np.testing.assert_allclose(table["entropy"], single().heads["entropy"])
    assert np.flatnonzero(table["selected"]).tolist() == [3]


def test_heads_of_another_kind_are_not_marked():
    room, view = view_of(both())
    room.selection.select_heads([HeadId(ENCODER, 0, 1), HeadId(CROSS, 2, 1)])
    room.selection.select_tokens([2])
    assert np.flatnonzero(view.data()[0]["selected"]).tolist() == [1]
    room.selection.show_kind(CROSS)
    assert np.flatnonzero(view.data()[0]["selected"]).tolist() == [5]


def test_a_click_on_a_layer_selects_it_and_the_same_again_lets_go():
    room, view = view_of(single())
    view._tapped(1.2, 0.5)
    layer = {HeadId(ENCODER, 1, head) for head in range(3)}
    assert (room.selection.heads, room.selection.label) == (layer, "layer 1")
    view._tapped(0.8, 0.1)
    assert room.selection.heads == frozenset()
