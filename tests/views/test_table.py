"""The table of heads is ranked by the chosen metric, and a head that is selected elsewhere is on the page that is shown."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from atlas.ids import HeadId
from atlas.views.table import CHANCE, ROWS, VALUE, TableView
from tests.state.readers import ENCODER, single, workspace

METRICS = ("previous", "distance", "entropy_norm", "self")


@pytest.fixture
def view():
    made = TableView(workspace(single(layers=5, heads=8, seed=3)))
    made.body()
    return made


def ranking(view, metric):
    """The heads from the largest value to the smallest, and their values and chance values."""
    heads = view.workspace.trace.heads.sort_values(metric, ascending=False, kind="stable")
    ids = [HeadId(ENCODER, row.layer, row.head) for row in heads.itertuples()]
    return ids, heads[metric].to_numpy(), heads[f"{metric}_uniform"].to_numpy()


@pytest.mark.parametrize("metric", METRICS)
def test_the_heads_are_ranked_by_the_chosen_metric_beside_its_chance_value(view, metric):
    view.workspace.display.metric = metric
    ids, values, chance = ranking(view, metric)
    shown = view.table.value
    assert list(shown["Head"]) == list(map(str, ids))
    np.testing.assert_allclose(shown[VALUE], values)
    np.testing.assert_allclose(shown[CHANCE], chance)


def test_with_tokens_selected_the_ranking_is_of_these_and_a_metric_nobody_has_leaves_the_order_of_numbers(view):
    room = view.workspace
    room.display.metric = "selected"
    assert list(view.table.value["Head"])[:3] == ["L0 H0", "L0 H1", "L0 H2"]
    assert view.table.value[VALUE].isna().all()
    room.selection.select_pairs([2], [4])
    weights = room.trace.attention().to_numpy()[:, :, 2, 4].ravel()
    np.testing.assert_allclose(view.table.value[VALUE], np.sort(weights)[::-1], atol=1e-6)
    np.testing.assert_allclose(view.table.value[CHANCE], 1 / 8)


def test_a_selected_head_is_on_the_page_that_is_shown(view):
    room = view.workspace
    room.display.metric = "previous"
    ids, *_ = ranking(view, "previous")
    for place in (30, 2, 39, 38):
        room.selection.select_heads([ids[place]])
        assert view.table.selection == [place]
        assert view.table.page == place // ROWS + 1
    # Of several, one that is on the page already will do; else the first.
    room.selection.select_heads([ids[1], ids[39]])
    assert view.table.page == 4
    room.selection.select_heads([ids[14], ids[1]])
    assert view.table.page == 1
    # Where a reader has sorted the table, the page is that of the sorted table.
    view.table.sorters = [{"field": VALUE, "dir": "asc"}]
    room.selection.select_heads([ids[39]])
    assert view.table.page == 1
    room.selection.select_heads([ids[0]])
    assert view.table.page == 4
    # Another metric: its own ranking, from the top, but for the head that is selected.
    room.display.metric = "distance"
    assert view.table.sorters == []
    place = ranking(view, "distance")[0].index(ids[0])
    assert (view.table.selection, view.table.page) == ([place], place // ROWS + 1)


def test_a_row_that_is_ticked_or_clicked_is_the_head_that_stands_there_and_the_page_stays(view):
    room = view.workspace
    room.display.metric = "previous"
    ids, *_ = ranking(view, "previous")
    view.table.page = 3
    view.table.selection = [0, 25]
    assert room.selection.heads == {ids[0], ids[25]}
    assert view.table.page == 3
    view._clicked(SimpleNamespace(row=5, column="Role"))
    assert room.selection.heads == {ids[5]}


def test_a_table_out_of_sight_is_ranked_when_it_comes_back(view):
    before = list(view.table.value["Head"])
    view.visibility.seen = False
    view.workspace.display.metric = "distance"
    assert list(view.table.value["Head"]) == before
    view.visibility.seen = True
    assert list(view.table.value["Head"]) == list(map(str, ranking(view, "distance")[0]))
