"""Every gesture that selects, in the view where it is made, and what all the views make of it."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest

from atlas.ids import HeadId
from atlas.plots.frame import limits
from atlas.state.heads import HeadsLens
from tests.ui.planted import HEADS, LAYERS, PREVIOUS
from tests.ui.shown import EVERY, TOKENS, Wanted, assert_shown, cell_of_matrix, metrics_on_axes, scatter_places, table, table_rows
from tests.ui.stage import Seat, head_place

pytestmark = pytest.mark.ui

L3H2, L0H3, L1 = HeadId("encoder", 3, 2), HeadId("encoder", 0, 3), frozenset(head for head in EVERY if head.layer == 1)

CORNER = frozenset(HeadId("encoder", layer, head) for layer in (1, 2) for head in (2, 3))


@pytest.fixture
def seat(seat: Seat) -> Seat:
    """The page with metrics on its axes that plain numpy knows."""
    metrics_on_axes(seat)
    return seat


def arrived(seat: Seat, wanted: Wanted, origin: str) -> None:
    """The state is what the gesture asks for, and all views show it."""
    state = seat.selection
    seat.until(lambda: (state.heads, state.queries, state.keys) == (wanted.heads, wanted.queries, wanted.keys))
    seat.until(lambda: state.focus == wanted.focus)  # the thread of the session sets one after the other
    seat.until(lambda: state.origin == origin)
    assert_shown(seat, wanted)


# -- heads -------------------------------------------------------------------------------------------------------------


def _tap_map(seat: Seat) -> Wanted:
    seat.plot(".aa-map").tap(*head_place(L3H2, LAYERS, HEADS))
    return Wanted(frozenset({L3H2}), focus=L3H2)


def _box_map(seat: Seat) -> Wanted:
    seat.plot(".aa-map").drag((0.55, 0.3), (0.95, 0.7), tool="Box Select")
    return Wanted(CORNER, focus=min(CORNER))


def _place(seat: Seat, head: HeadId) -> tuple[float, float]:
    row = EVERY.index(head)
    points = seat.plot(".aa-heads-plot").columns("Scatter")
    return points["at_x"][row], points["at_y"][row]


def _settle_scatter(seat: Seat) -> tuple[float, float, float, float]:
    """The ranges of the scatter once points and axes are those of the two metrics, and stay where they are."""
    plot, metrics = seat.plot(".aa-heads-plot"), Wanted().metrics()
    ends = [*limits(metrics["previous"]), *limits(metrics["self"])]

    def settled() -> None:
        scatter_places(seat, Wanted())
        np.testing.assert_allclose(plot.ranges(), ends, atol=1e-6)

    seat.until(settled)
    plot.rest()
    return plot.ranges()


def _tap_scatter(seat: Seat) -> Wanted:
    _settle_scatter(seat)
    seat.plot(".aa-heads-plot").tap(*_place(seat, PREVIOUS))
    return Wanted(frozenset({PREVIOUS}), focus=PREVIOUS)


def _region(seat: Seat, low_share: float, high_share: float) -> tuple[tuple[float, float, float, float], Wanted]:
    """A part of the scatter left of the planted head, and the heads in it."""
    x0, _, y0, y1 = _settle_scatter(seat)
    left, right = x0 + 0.002, 0.5
    low, high = (y0 + share * (y1 - y0) for share in (low_share, high_share))
    points = seat.plot(".aa-heads-plot").columns("Scatter")
    inside = [
        head for head, x, y in zip(EVERY, points["at_x"], points["at_y"], strict=True) if left < x < right and low < y < high
    ]
    assert 1 < len(inside) < len(EVERY) - 1
    focus = EVERY[0] if EVERY[0] in inside else min(inside)
    return (left, right, low, high), Wanted(frozenset(inside), focus=focus)


def _box_scatter(seat: Seat) -> Wanted:
    (left, right, low, high), wanted = _region(seat, 0.01, 0.5)
    seat.plot(".aa-heads-plot").drag((left, high), (right, low), tool="Box Select")
    return wanted


def _lasso_scatter(seat: Seat) -> Wanted:
    (left, right, low, high), wanted = _region(seat, 0.3, 0.99)
    around = ((left, low), (left, high), (right, high), (right, low), (left, low))
    seat.plot(".aa-heads-plot").drag(*around, tool="Lasso Select")
    return wanted


def _press_cluster(seat: Seat) -> Wanted:
    names = list(seat.app.workspace.lens(HeadsLens).table()["cluster"])
    own = names[EVERY.index(PREVIOUS)]
    assert names.count(own) == 1, "the planted head is in a cluster of its own"
    seat.page.locator(f'.aa-groups .chip[data-key="cluster:{own}"]').click()
    return Wanted(frozenset({PREVIOUS}), focus=PREVIOUS)


def _press_role(seat: Seat) -> Wanted:
    seat.page.locator('.aa-groups .chip[data-key="role:previous token"]').click()
    return Wanted(frozenset({PREVIOUS}), focus=PREVIOUS)


def _press_layer(seat: Seat) -> Wanted:
    seat.page.locator('.aa-groups .chip[data-key="layer:1"]').click()
    return Wanted(L1, focus=min(L1))


def _row(seat: Seat, head: HeadId) -> object:
    view = seat.app.tabs.view("table")
    page = view.order().index(EVERY.index(head)) // view.table.page_size + 1
    seat.do(lambda: setattr(view.table, "page", page))
    # A click on a row while the table is ranked anew would be about another row, or about none.
    first = (page - 1) * view.table.page_size
    ranked = [str(EVERY[at]) for at in view.order()][first : first + view.table.page_size]
    seat.until(lambda: [row["Head"] for row in table(seat)] == ranked)
    name = seat.page.locator('[tabulator-field="Head"]', has_text=re.compile(f"^{head}$"))
    return seat.page.locator(".aa-table .tabulator-row").filter(has=name)


def _click_row(seat: Seat) -> Wanted:
    _row(seat, L0H3).locator('[tabulator-field="Role"]').click()
    return Wanted(frozenset({L0H3}), focus=L0H3)


def _tick_rows(seat: Seat) -> Wanted:
    ticked: set[HeadId] = set()
    for head in (L0H3, min(L1)):
        _row(seat, head).locator("input").click()
        ticked.add(head)
        seat.until(lambda: seat.selection.heads == ticked)
        # The rows are drawn anew for it: a tick would be about rows that go.
        seat.until(lambda: table_rows(seat, Wanted(frozenset(ticked))))
    return Wanted(frozenset({L0H3, min(L1)}), focus=L0H3)


def _click_profile(seat: Seat) -> Wanted:
    plot = seat.plot(".aa-profile")
    seat.until(lambda: max(plot.columns("Line", 1)["mean"]) < 0.5)
    low, high = sorted(plot.ranges()[2:])
    plot.tap(1, low + 0.75 * (high - low))
    return Wanted(L1, focus=min(L1))


FOR_HEADS: dict[str, tuple[str, Callable[[Seat], Wanted]]] = {
    "tap on the Map": ("map", _tap_map),
    "box on the Map": ("map", _box_map),
    "tap in the scatter": ("heads", _tap_scatter),
    "box in the scatter": ("heads", _box_scatter),
    "lasso in the scatter": ("heads", _lasso_scatter),
    "cluster chip": ("heads", _press_cluster),
    "role chip": ("heads", _press_role),
    "layer chip": ("heads", _press_layer),
    "row of the table": ("table", _click_row),
    "ticks in the table": ("table", _tick_rows),
    "layer of the profile": ("profile", _click_profile),
}


@pytest.mark.parametrize("gesture", FOR_HEADS)
def test_heads_selected_anywhere_are_selected_everywhere(seat, gesture):
    origin, act = FOR_HEADS[gesture]
    arrived(seat, act(seat), origin)


# -- tokens ------------------------------------------------------------------------------------------------------------


def _both(*positions: int) -> Wanted:
    return Wanted(queries=frozenset(positions), keys=frozenset(positions))


def _click(seat: Seat) -> Wanted:
    seat.token(3).click()
    return _both(3)


def _axis(seat: Seat, name: str) -> None:
    seat.page.locator(".aa-bar").get_by_role("button", name=name, exact=True).click()
    seat.until(lambda: seat.display.axis == name)


def _click_from(seat: Seat) -> Wanted:
    _axis(seat, "from")
    seat.token(3).click()
    return Wanted(queries=frozenset({3}))


def _click_to(seat: Seat) -> Wanted:
    _axis(seat, "to")
    seat.token(5).click()
    return Wanted(keys=frozenset({5}))


def _from_and_to(seat: Seat) -> Wanted:
    _click_from(seat)
    seat.until(lambda: bool(seat.selection.queries))
    _click_to(seat)
    return Wanted(queries=frozenset({3}), keys=frozenset({5}))


def _shift_click(seat: Seat) -> Wanted:
    seat.token(2).click()
    seat.until(lambda: bool(seat.selection.queries))
    seat.token(5).click(modifiers=["Shift"])
    return _both(2, 3, 4, 5)


def _control_click(seat: Seat) -> Wanted:
    seat.token(2).click()
    seat.until(lambda: seat.selection.queries == {2})
    seat.token(6).click(modifiers=["Control"])
    return _both(2, 6)


def _drag(seat: Seat) -> Wanted:
    first, last = seat.token(4).bounding_box(), seat.token(7).bounding_box()
    mouse = seat.page.mouse
    mouse.move(first["x"] + 4, first["y"] + 5)
    mouse.down()
    mouse.move(last["x"] + 4, last["y"] + 5, steps=5)
    mouse.up()
    return _both(4, 5, 6, 7)


def _keys(seat: Seat) -> Wanted:
    seat.token(8).focus()
    seat.page.keyboard.press("ArrowRight")
    seat.page.keyboard.press("Enter")
    seat.page.keyboard.press("Shift+ArrowRight")
    return _both(9, 10)


def _press_pos(seat: Seat) -> Wanted:
    seat.unfold()
    seat.page.locator('.aa-chips-source .chip[data-key="pos:NOUN"]').click()
    return _both(*(at for at, token in enumerate(TOKENS) if token in ("doctor", "nurse")))


def _press_sentence(seat: Seat) -> Wanted:
    seat.unfold()
    seat.page.locator('.aa-chips-source .chip[data-key="sentence:1"]').click()
    return _both(*range(TOKENS.index("nobody"), len(TOKENS) - 1))


def _click_cell(seat: Seat) -> Wanted:
    seat.plot(".aa-matrix").tap(*cell_of_matrix(4, 9))
    return Wanted(queries=frozenset({4}), keys=frozenset({9}))


FOR_TOKENS: dict[str, tuple[str, Callable[[Seat], Wanted]]] = {
    "click": ("strip", _click),
    "click, from": ("strip", _click_from),
    "click, to": ("strip", _click_to),
    "click from, click to": ("strip", _from_and_to),
    "shift-click": ("strip", _shift_click),
    "control-click": ("strip", _control_click),
    "drag": ("strip", _drag),
    "keys": ("strip", _keys),
    "part of speech": ("strip", _press_pos),
    "sentence": ("strip", _press_sentence),
    "cell of the matrix": ("matrix", _click_cell),
}


@pytest.mark.parametrize("gesture", FOR_TOKENS)
def test_tokens_selected_anywhere_change_every_view(seat, gesture):
    origin, act = FOR_TOKENS[gesture]
    arrived(seat, act(seat), origin)


def test_heads_and_tokens_together(seat):
    heads = _press_layer(seat).heads
    seat.until(lambda: seat.selection.heads == heads)
    tokens = _click_cell(seat)
    arrived(seat, Wanted(heads, tokens.queries, tokens.keys, min(heads)), "matrix")


@pytest.mark.parametrize("let_go", ["keys", "chip", "another view"])
def test_the_same_point_of_the_scatter_can_be_tapped_again_after_its_selection_was_let_go_elsewhere(seat, let_go):
    wanted = _tap_scatter(seat)
    seat.until(lambda: seat.selection.heads == wanted.heads and seat.page.locator(".aa-clear-heads").is_visible())
    if let_go == "keys":
        seat.page.keyboard.press("Escape")
    elif let_go == "chip":
        seat.page.locator(".aa-clear-heads button").click()
    else:
        _press_role(seat)
    seat.until(lambda: seat.selection.is_empty and not seat.plot(".aa-heads-plot").chosen("Scatter"))
    seat.page.wait_for_timeout(500)  # nobody taps sooner: what the first tap made HoloViews do is still under way
    arrived(seat, _tap_scatter(seat), "heads")


def test_a_cloud_that_is_reset_shows_all_of_it_again_and_its_heads_stay_selected(seat):
    wanted = _lasso_scatter(seat)
    seat.until(lambda: seat.selection.heads == wanted.heads)
    assert_shown(seat, wanted)
    seat.page.locator('.aa-heads-plot .bk-tool-icon[title="Reset"], .aa-heads-plot [title="Reset"]').first.click()
    # Told last, so that what the reset says is heard before.
    seat.do(lambda: None)
    assert_shown(seat, wanted)


def test_rows_the_browser_lets_go_of_by_itself_let_go_of_no_heads(seat):
    """What a reset says of the rows may be heard after another choice was made."""
    seat.do(lambda: seat.selection.select_heads(L1))
    seat.until(lambda: len(seat.plot(".aa-heads-plot").chosen("Scatter")) == len(L1))
    cloud = seat.app.tabs.view("heads")
    (plot,) = cloud.glyph._plots
    heard = []
    seat.do(lambda: plot.handles["source"].selected.on_change("indices", lambda _name, _before, rows: heard.append(rows)))
    seat.page.evaluate("() => { aa.glyph('.aa-heads-plot', 'Scatter', 0).data_source.selected.indices = [] }")
    seat.until(lambda: heard == [[]])
    assert seat.selection.heads == L1


def test_columns_that_come_and_go_quickly_leave_the_table_whole(seat):
    # A column is there while keys are selected: it is added and taken away while the table is still being drawn.
    for position in (2, 5, 7, 3):
        seat.token(position).click()
        seat.until(lambda position=position: seat.selection.keys == {position})
        seat.page.keyboard.press("Escape")
        seat.until(lambda: seat.selection.is_empty)
    assert_shown(seat, Wanted())


# -- and back to nothing -----------------------------------------------------------------------------------------------


def _something(seat: Seat) -> Wanted:
    """Heads and tokens are selected."""
    seat.do(lambda: (seat.selection.select_heads(L1), seat.selection.select_pairs({3}, {5})))
    seat.until(lambda: seat.page.locator(".aa-clear-tokens").is_visible())
    return Wanted(L1, frozenset({3}), frozenset({5}), min(L1))


def test_escape_lets_go_of_everything(seat):
    _something(seat)
    seat.page.keyboard.press("Escape")
    arrived(seat, Wanted(focus=min(L1)), "keys")


def test_the_x_of_the_heads_lets_go_of_the_heads_alone(seat):
    before = _something(seat)
    seat.page.locator(".aa-clear-heads button").click()
    arrived(seat, Wanted(frozenset(), before.queries, before.keys, before.focus), "bar")


def test_the_x_of_the_tokens_lets_go_of_the_tokens_alone(seat):
    before = _something(seat)
    seat.page.locator(".aa-clear-tokens button").click()
    arrived(seat, Wanted(before.heads, focus=before.focus), "bar")


@pytest.mark.parametrize(
    "gesture", ["tap on the Map", "layer chip", "row of the table", "click", "part of speech", "cell of the matrix"]
)
def test_a_gesture_made_again_takes_itself_back(seat, gesture):
    act = {**FOR_HEADS, **FOR_TOKENS}[gesture][1]
    before = act(seat)
    seat.until(lambda: (seat.selection.heads, seat.selection.queries) == (before.heads, before.queries))
    assert_shown(seat, before)
    act(seat)
    seat.until(lambda: seat.selection.is_empty)
    assert_shown(seat, Wanted(focus=before.focus))
