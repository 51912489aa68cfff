"""Shared traits without a page: the numbers are the head table's, and a tap selects heads."""

from __future__ import annotations

import functools

import holoviews as hv
import numpy as np
import panel as pn
import pytest

from atlas.ids import HeadId
from atlas.plots.row_words import WORDS
from atlas.state.shared_traits import SHOWN
from atlas.views.shared_traits import SharedTraitsView
from tests.engine.families import TEXT, loaded
from tests.state.readers import CROSS, ENCODER, both, workspace

HEADS = [HeadId(ENCODER, 0, 1), HeadId(ENCODER, 1, 2)]


@pytest.fixture(autouse=True)
def _bokeh():
    hv.extension("bokeh", logo=False)


@functools.cache
def trace():
    return loaded("BERT").trace(TEXT, keep="weights", capture=())


def view_of(trace):
    room = workspace(trace)
    return room, SharedTraitsView(room)


def test_without_a_selection_it_is_about_the_head_in_focus():
    _, view = view_of(trace())
    head = trace().heads.set_index(["layer", "head"]).loc[(0, 0)]
    found = view.export().table
    assert view.traits.line.startswith("L0 H0, the head in focus")
    assert list(found["mean"]) == pytest.approx([head[name] for name in found["metric"]], abs=1e-6)
    assert found[["lo", "hi"]].isna().all().all()
    assert "(" not in view.rows()[0].words


def test_means_are_those_of_the_head_table():
    room, view = view_of(trace())
    room.selection.select_heads(HEADS)
    heads = trace().heads.set_index(["layer", "head"])
    found = view.export().table
    assert len(found)
    for row in found.itertuples():
        values = heads[row.metric]
        inside = values.loc[[(0, 1), (1, 2)]]
        assert row.mean == pytest.approx(inside.mean(), abs=1e-6)
        assert row.others == pytest.approx(values.drop(index=[(0, 1), (1, 2)]).mean(), abs=1e-6)
    assert view.traits.line.startswith("L0 H1, L1 H2, beside ")


def test_selected_tokens_give_other_numbers():
    room, view = view_of(trace())
    room.selection.select_heads(HEADS)
    before = view.export().table.set_index("metric")["mean"]
    room.selection.select_tokens({2, 3, 4, 5, 6}, axis="from")
    after = view.export().table.set_index("metric")["mean"]
    assert "from:" in view.traits.line
    assert not np.allclose(before.reindex(after.index), after, equal_nan=True)


def test_the_rows_on_screen_are_the_largest_differences_with_their_words():
    room, view = view_of(trace())
    room.selection.select_heads(HEADS)
    root = pn.panel(view).get_root()
    (axis,) = (model for model in root.references() if getattr(model, "name", "") == WORDS)
    found = view.export().table.head(SHOWN)
    assert list(axis.major_label_overrides.values()) == [row.words for row in view.rows()]
    assert list(found["z"].abs()) == sorted(found["z"].abs(), reverse=True)


def test_a_tap_selects_as_many_heads_with_most_of_a_metric():
    room, view = view_of(trace())
    room.selection.select_heads(HEADS)
    row = view.traits.shown().iloc[0]
    view._tapped(0.0, 0.2)
    values = trace().heads.set_index(["layer", "head"])[row["metric"]]
    most = values.sort_values(ascending=bool(row["z"] < 0), kind="stable").index[:2]
    assert {(head.layer, head.head) for head in room.selection.heads} == set(most)


def test_whole_layers_have_nothing_to_be_compared_with():
    room, view = view_of(trace())
    room.selection.select_heads([HeadId(ENCODER, 0, head) for head in range(trace().n_heads(ENCODER))])
    assert "there are no others" in view.traits.words()


def test_heads_of_another_kind_are_not_mixed_in():
    found = both()
    room, view = view_of(found)
    room.selection.show_kind(CROSS)
    room.selection.select_heads([HeadId(CROSS, 0, 0), HeadId(CROSS, 0, 1), HeadId(ENCODER, 0, 0)])
    table = view.export().table
    heads = found.heads[found.heads["kind"] == CROSS].set_index(["layer", "head"])
    for row in table.itertuples():
        assert row.mean == pytest.approx(heads[row.metric].loc[[(0, 0), (0, 1)]].mean(), abs=1e-6)
