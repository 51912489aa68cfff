"""What each view does by itself: outlines and pixels, order, zoom, threshold, keys, readouts, forms."""

from __future__ import annotations

import re

import numpy as np
import pytest

from atlas.ids import HeadId
from atlas.plots.colours import BACKGROUND, LIGHT, raster_palette
from atlas.views.table import ROWS
from tests.browser import messages_to_itself
from tests.ui.planted import HEADS, LAYERS, PREVIOUS
from tests.ui.shown import (
    EVERY,
    GAP,
    PALETTE,
    TOKENS,
    TOP,
    N,
    W,
    Wanted,
    cell_of_map,
    cell_of_matrix,
    frames,
    level,
    levels,
    matrix_raster,
    painted,
    profile_selected,
    rgb,
    table,
    whole_matrix,
)  # fmt: skip
from tests.ui.stage import LARGE, head_place

pytestmark = pytest.mark.ui

MARGIN = 4
"""Pixels a frame reaches beyond the square it is around."""


def _square(plot, head, columns=HEADS):
    """(left, top, right, bottom) of a head on the page, with its frame."""
    left, top = plot.at(head.head / columns, head.layer / LAYERS)
    right, bottom = plot.at((head.head + 1) / columns, (head.layer + 1) / LAYERS)
    return left - MARGIN, top - MARGIN, right + MARGIN, bottom + MARGIN


def _changed(before, after):
    """(row, column) True where a screenshot differs."""
    return (before.astype(int) != after).any(axis=2)


# -- the Map on the screen -----------------------------------------------------------------------------------------------


def settled(seat, frame):
    """The pixels of a part of the page, once two pictures in a row are alike: an image may come after its frame."""
    shots = [seat.pixels(frame)]

    def alike():
        shots.append(seat.pixels(frame))
        return np.array_equal(*shots[-2:])

    seat.until(alike)
    return shots[-1]


def test_the_frame_is_around_the_tapped_head_and_nothing_else_of_the_map_changes(seat):
    plot, head = seat.plot(".aa-map"), HeadId("encoder", 3, 2)
    frame = plot.rest()
    before = settled(seat, frame)
    plot.tap(*head_place(head, LAYERS, HEADS))
    seat.until(lambda: frames(seat, 0) == {(3, 2)} and frames(seat, 1) == {(3, 2)})
    seat.page.mouse.move(2, 2)
    accent, ink = rgb(LIGHT.accent), rgb(LIGHT.ink)

    def drawn():
        changed = _changed(before, seat.pixels(frame))
        old, new = np.zeros_like(changed), np.zeros_like(changed)
        for mask, one in ((old, EVERY[0]), (new, head)):
            left, top, right, bottom = (round(edge) for edge in _square(plot, one))
            x, y = round(frame[0]), round(frame[1])
            # One pixel more: the plot may begin between two pixels.
            mask[max(0, top - y - 1) : bottom - y + 1, max(0, left - x - 1) : right - x + 1] = True
        assert changed[new].any()
        assert changed[old].any()
        assert not changed[~(old | new)].any()

    seat.until(drawn)
    left, top, right, bottom = (round(edge) for edge in _square(plot, head))
    shot = seat.pixels((left, top, right, bottom)).astype(int)
    edge = shot[: 2 * MARGIN + 1, shot.shape[1] // 2]
    assert np.abs(edge - accent).sum(axis=1).min() < 60 or np.abs(edge - ink).sum(axis=1).min() < 60
    inside = shot[shot.shape[0] // 2, 2 * MARGIN : -2 * MARGIN]
    assert np.abs(inside - ink).sum(axis=1).min() > 60, "the frame has no filling"


def test_the_colours_on_the_screen_are_those_of_the_weights(seat):
    plot = seat.plot(".aa-map")
    shot, (left, top, _, _) = seat.pixels(plot.frame()), plot.frame()
    for head in (PREVIOUS, HeadId("encoder", 3, 3)):
        for query, key in ((8, 7), (9, 8), (10, 12), (13, 14)):
            x, y = plot.at(*cell_of_map(head, query, key))
            step = int(level(W[head.layer, head.head, query, key], TOP))
            near = {PALETTE[min(max(step + off, 0), 239)] for off in (-1, 0, 1)}
            assert tuple(shot[round(y - top), round(x - left)]) in near, (head, query, key)
    x, y = plot.at(0.5, 0.5)
    assert tuple(shot[round(y - top), round(x - left)]) == PALETTE[BACKGROUND], "between heads is paper"


def test_the_planted_head_is_a_diagonal_on_the_screen_and_the_only_one(seat):
    plot = seat.plot(".aa-map")
    strong = {}
    for head in EVERY:
        steps = levels(seat, ".aa-map", [cell_of_map(head, query, query - 1) for query in range(1, N)])
        strong[head] = (steps > 200).mean()
    assert strong[PREVIOUS] == 1
    assert max(share for head, share in strong.items() if head != PREVIOUS) < 0.2
    assert plot.ranges() == (0, 1, 1, 0), "layer 0 is on top"


def test_the_pointer_on_the_map_reads_out_head_tokens_and_weight(seat):
    seat.plot(".aa-map").point(*cell_of_map(PREVIOUS, 8, 7))
    said = f"L2 H1   {TOKENS[8]} (8) → {TOKENS[7]} (7)   {W[2, 1, 8, 7]:.3g}"
    seat.until(lambda: seat.text(".aa-card-map .aa-readout pre") == said)


def test_a_name_beside_the_matrix_selects_its_row_and_one_above_it_its_column(seat):
    plot = seat.plot(".aa-matrix")

    def beside(row):
        seat.page.mouse.click(plot.frame()[0] - 20, plot.at(*cell_of_matrix(row, 0))[1])

    def above(column):
        seat.page.mouse.click(plot.at(*cell_of_matrix(0, column))[0], plot.frame()[1] - 20)

    beside(4)
    seat.until(lambda: (seat.selection.queries, seat.selection.keys) == ({4}, frozenset()))
    seat.page.wait_for_timeout(500)  # or the two clicks are one double click
    above(9)
    seat.until(lambda: (seat.selection.queries, seat.selection.keys) == ({4}, {9}))
    seat.page.wait_for_timeout(500)
    beside(4)
    seat.until(lambda: (seat.selection.queries, seat.selection.keys) == (frozenset(), {9}))


def test_the_pointer_on_the_matrix_reads_out_tokens_weight_and_rank(seat):
    seat.plot(".aa-matrix").point(*cell_of_matrix(4, 9))
    row = W[0, 0, 4]
    rank = int((row > row[9]).sum()) + 1
    said = f"L0 H0   {TOKENS[4]} (4) → {TOKENS[9]} (9)   softmax {row[9]:.3g}   rank {rank} of {N} in its row"
    seat.until(lambda: seat.text(".aa-card-matrix .aa-readout pre") == said)


def test_the_numbers_under_a_resting_pointer_are_those_of_the_heads_on_screen(seat):
    readout = ".aa-card-matrix .aa-readout pre"
    seat.plot(".aa-matrix").point(*cell_of_matrix(4, 9))
    seat.until(lambda: seat.text(readout).startswith("L0 H0"))
    seat.do(lambda: seat.selection.focus_on(HeadId("encoder", 1, 2)))
    seat.until(lambda: seat.text(readout).startswith(f"L1 H2   {TOKENS[4]} (4) → {TOKENS[9]} (9)   softmax {W[1, 2, 4, 9]:.3g}"))
    seat.do(lambda: seat.selection.select_heads([EVERY[0], PREVIOUS]))
    mean = (W[0, 0, 4, 9] + W[2, 1, 4, 9]) / 2
    seat.until(lambda: seat.text(readout) == f"mean of 2 heads   {TOKENS[4]} (4) → {TOKENS[9]} (9)   weight {mean:.3g}")


def test_the_key_of_the_colours_ends_where_the_colours_end(seat):
    for card, top in ((".aa-card-map", TOP), (".aa-card-matrix", TOP)):
        said = seat.text(f"{card} .aa-ramp div").split()
        assert said[0] == "0"
        assert said[said.index("≥") + 1] == f"{top:.2g}"


def test_heads_in_the_order_of_a_metric_keep_their_names_frames_and_gestures(seat):
    seat.do(lambda: setattr(seat.display, "order", "previous"))
    plot = seat.plot(".aa-map")
    values = W[:, :, np.arange(1, N), np.arange(N - 1)].mean(axis=2)
    order = np.argsort(-values.ravel(), kind="stable").tolist()
    assert EVERY[order[0]] == PREVIOUS

    def ranked():
        steps = levels(seat, ".aa-map", [cell_of_map(EVERY[0], query, query - 1) for query in range(1, N)])
        assert (steps > 200).all()
        assert plot.columns("Text")["text"] == [str(EVERY[at]) for at in order]

    seat.until(ranked)
    plot.tap(*head_place(EVERY[0], LAYERS, HEADS))
    seat.until(lambda: seat.selection.heads == {PREVIOUS})
    seat.until(lambda: frames(seat, 0) == {(0, 0)} and frames(seat, 1) == {(0, 0)})
    seat.do(lambda: seat.selection.select_heads([HeadId("encoder", 0, 3)]))
    seat.until(lambda: frames(seat, 0) == {divmod(order.index(3), HEADS)})


def test_shift_and_a_tap_add_a_head(seat):
    plot = seat.plot(".aa-map")
    plot.tap(*head_place(PREVIOUS, LAYERS, HEADS))
    seat.until(lambda: seat.selection.heads == {PREVIOUS})
    seat.page.wait_for_timeout(500)  # or the two clicks are one double click
    seat.page.keyboard.down("Shift")
    plot.tap(*head_place(HeadId("encoder", 3, 3), LAYERS, HEADS))
    seat.page.keyboard.up("Shift")
    seat.until(lambda: seat.selection.heads == {PREVIOUS, HeadId("encoder", 3, 3)})


def test_the_order_is_chosen_from_the_list(seat):
    seat.pick(".aa-card-map", "Previous token")
    seat.until(lambda: seat.display.order == "previous")
    seat.until(lambda: seat.plot(".aa-map").labels("x") == ["1", "2", "3", "4"])
    seat.until(lambda: seat.plot(".aa-map").labels("y") == ["1–4", "5–8", "9–12", "13–16"])


def test_the_wheel_zooms_the_map_until_tokens_are_on_its_axes(seat):
    plot = seat.plot(".aa-map")
    seat.until(lambda: plot.labels("y") == ["0", "1", "2", "3"])  # the test before may have left another order
    middle = head_place(PREVIOUS, LAYERS, HEADS)
    for _ in range(30):
        if plot.ranges()[1] - plot.ranges()[0] < 0.22:
            break
        width = plot.ranges()[1] - plot.ranges()[0]
        plot.wheel(*middle, -240)
        seat.until(lambda width=width: plot.ranges()[1] - plot.ranges()[0] < width)
    left, right, bottom, top = plot.ranges()
    seat.until(lambda: plot.labels("y") and set(plot.labels("y")) <= {token[:12] for token in TOKENS})
    assert "late" in plot.labels("y")

    def fine():
        found = plot.raster()
        assert found["x"] == pytest.approx(left, abs=1e-6)
        assert found["dw"] == pytest.approx(right - left, abs=1e-6)
        assert found["dh"] == pytest.approx(bottom - top, abs=1e-6)
        for query, key in ((7, 7), (8, 7), (8, 8), (9, 6)):
            place = cell_of_map(PREVIOUS, query, key)
            assert left < place[0] < right
            assert abs(plot.level(*place) - int(level(W[2, 1, query, key], TOP))) <= 1

    seat.until(fine)
    plot.tap(*cell_of_map(PREVIOUS, 8, 7))
    seat.until(lambda: seat.selection.heads == {PREVIOUS})


# -- the matrix ------------------------------------------------------------------------------------------------------------


def _threshold(seat, level_):
    """Move the slider with its keys, as a person who cannot drag does."""
    handle = seat.page.locator('.aa-threshold [role="slider"], .aa-threshold .noUi-handle').first
    handle.focus()
    for _ in range(level_):
        seat.page.keyboard.press("ArrowRight")


def test_the_threshold_hides_what_is_weak_and_survives_a_redraw(seat):
    plot = seat.plot(".aa-matrix")
    whole = list(raster_palette(dark=False))
    assert plot.raster()["palette"] == whole
    seat.until(lambda: matrix_raster(seat, Wanted()))  # what the test before chose is no longer drawn
    bytes_before = plot.image().tobytes()
    _threshold(seat, 3)

    def cut():
        palette = plot.raster()["palette"]
        weak = sum(colour == whole[BACKGROUND] for colour in palette[:239])
        assert 0 < weak < 100
        assert palette[weak:] == whole[weak:]
        return weak

    seat.until(lambda: seat.display.threshold == pytest.approx(TOP * cut() / 239, rel=0.02))  # the last of the keys has arrived
    weak = cut()
    assert plot.image().tobytes() == bytes_before, "the threshold needs no other picture"
    steps = whole_matrix(seat)
    query, key = (int(at) for at in np.argwhere(steps < weak)[0])
    seat.until(lambda: plot.colour(*cell_of_matrix(query, key)) == rgb(whole[BACKGROUND]))
    seat.do(lambda: seat.selection.focus_on(HeadId("encoder", 1, 1)))
    seat.until(lambda: plot.image().tobytes() != bytes_before)
    assert cut() == weak
    query, key = (int(at) for at in np.argwhere(whole_matrix(seat) > weak + 20)[0])
    seat.until(lambda: plot.colour(*cell_of_matrix(query, key)) == PALETTE[whole_matrix(seat)[query, key]])


def test_the_largest_of_several_heads_instead_of_their_mean(seat):
    seat.do(lambda: seat.selection.select_heads([EVERY[0], PREVIOUS]))
    seat.do(lambda: setattr(seat.display, "aggregate", "max"))
    expected = np.maximum(W[0, 0], W[2, 1])
    seat.until(lambda: np.abs(whole_matrix(seat) - level(expected, expected.max())).max() <= 1)
    assert seat.text(".aa-card-matrix .line").lower().startswith("largest of 2 heads")


def test_columns_of_the_matrix_each_by_their_sum(seat):
    seat.do(lambda: setattr(seat.display, "mode", "column"))
    expected = W[0, 0] / W[0, 0].sum(axis=0)
    seat.until(lambda: np.abs(whole_matrix(seat) - level(expected, expected.max())).max() <= 1)


def test_rollout_up_to_the_layer_of_the_head(seat):
    seat.do(lambda: (seat.selection.focus_on(HeadId("encoder", 2, 0)), setattr(seat.display, "mode", "rollout")))
    flow = np.eye(N)
    for layer in range(3):
        flow = (W[layer].mean(axis=0) + np.eye(N)) / 2 @ flow
    seat.until(lambda: np.abs(whole_matrix(seat) - level(flow, flow.max())).max() <= 1)
    assert seat.text(".aa-card-matrix .line").lower() == "rollout from the first layer to layer 2"


def test_what_a_recording_does_not_hold_is_said_where_the_matrix_would_be_and_only_there(seat):
    seat.do(lambda: setattr(seat.display, "mode", "moved"))
    problem = seat.page.locator(".aa-card-matrix .problem")
    seat.until(problem.is_visible)
    assert "needs the values and the output projection" in problem.inner_text()
    assert not seat.page.locator(".aa-matrix").is_visible()
    assert not seat.page.locator(".aa-card-map .problem").is_visible()
    seat.do(lambda: setattr(seat.display, "mode", "weight"))
    seat.until(lambda: not problem.is_visible() and seat.page.locator(".aa-matrix").is_visible())


def test_a_page_that_nobody_touches_is_at_rest(seat):
    """A table that waited for its style sheets span for as long as the page was open: 60,000 messages to itself a second."""
    seat.page.locator(".aa-table").scroll_into_view_if_needed()
    seat.until(lambda: messages_to_itself(seat.page) < 20)


# -- keys ------------------------------------------------------------------------------------------------------------------


def test_arrow_keys_move_the_head_shown_large(seat):
    seat.page.locator(".aa-nothing").hover()
    for key, focus in (
        ("Shift+ArrowRight", (0, 1)), ("Shift+ArrowDown", (1, 1)), ("Shift+ArrowDown", (2, 1)), ("Shift+ArrowLeft", (2, 0)),
        ("Shift+ArrowLeft", (2, 0)), ("Shift+ArrowUp", (1, 0)),
    ):  # fmt: skip
        seat.page.keyboard.press(key)
        seat.until(lambda focus=focus: (seat.selection.focus.layer, seat.selection.focus.head) == focus)
    seat.until(lambda: frames(seat, 1) == {(1, 0)})
    seat.until(lambda: np.abs(whole_matrix(seat) - level(W[1, 0], TOP)).max() <= 1)
    assert seat.selection.is_empty, "looking at a head selects nothing"


def test_a_tapped_head_is_left_for_the_one_beside_it(seat):
    seat.plot(".aa-map").tap(*head_place(PREVIOUS, LAYERS, HEADS))
    seat.until(lambda: seat.selection.heads == {PREVIOUS})
    seat.page.keyboard.press("Shift+ArrowDown")
    below = HeadId("encoder", 3, 1)
    seat.until(lambda: (seat.selection.heads, seat.selection.focus) == ({below}, below))
    seat.until(lambda: np.abs(whole_matrix(seat) - level(W[3, 1], TOP)).max() <= 1)
    assert seat.text(".aa-card-matrix .line").startswith("L3 H1")


def test_sliders_rest_while_several_heads_are_shown_together(seat):
    handle = seat.page.locator(".aa-layer .noUi-target").first
    assert handle.get_attribute("disabled") is None
    seat.do(lambda: seat.selection.select_heads(EVERY[:3]))
    seat.until(lambda: handle.get_attribute("disabled") is not None)
    seat.do(seat.selection.clear)
    seat.until(lambda: handle.get_attribute("disabled") is None)


def test_sliders_and_the_head_shown_large_are_one_thing(seat):
    space = seat.app.workspace
    seat.do(lambda: seat.selection.focus_on(HeadId("encoder", 3, 2)))
    assert (space.layer.layer, space.head.head) == (3, 2)
    seat.do(lambda: setattr(space.layer, "layer", 1))
    seat.until(lambda: frames(seat, 1) == {(1, 2)})


# -- the text ----------------------------------------------------------------------------------------------------------------


def test_the_text_is_painted_by_what_is_sent_when_asked(seat):
    received = painted(seat)
    seat.page.locator(".aa-bar").get_by_role("button", name="sent", exact=True).click()
    seat.until(lambda: seat.display.paint == "sent")
    seat.until(lambda: painted(seat) != received)
    assert seat.text(".aa-strip-line pre").startswith("largest weight given")


# -- the table ---------------------------------------------------------------------------------------------------------------


def test_a_sorted_table_selects_the_head_of_the_row_and_not_of_its_place(seat):
    column = seat.page.locator('.aa-table .tabulator-col[tabulator-field="Previous token"]')
    header = column.locator(".tabulator-col-title")
    for _ in range(3):
        header.click()
        if column.get_attribute("aria-sort") == "descending":
            break
        seat.page.wait_for_timeout(100)
    seat.until(lambda: table(seat)[0]["Head"] == str(PREVIOUS))
    seat.page.locator(".aa-table .tabulator-row").first.locator('[tabulator-field="Role"]').click()
    seat.until(lambda: seat.selection.heads == {PREVIOUS})
    seat.until(lambda: table(seat)[0]["selected"] == "yes")
    seat.page.locator(".aa-table .tabulator-row").nth(1).locator("input").click()
    second = table(seat)[1]["Head"]
    seat.until(lambda: {str(head) for head in seat.selection.heads} == {str(PREVIOUS), second})


def test_a_filtered_table_selects_the_head_of_the_row(seat):
    box = seat.page.locator('.aa-table .tabulator-col[tabulator-field="Head"] input')
    box.clear()
    box.press_sequentially("L3")
    seat.until(lambda: {row["Head"] for row in table(seat)} == {"L3 H0", "L3 H1", "L3 H2", "L3 H3"})
    row = seat.page.locator(".aa-table .tabulator-row").filter(has_text="L3 H2")  # wherever the order of the table has put it
    row.locator('[tabulator-field="Role"]').click()
    seat.until(lambda: seat.selection.heads == {HeadId("encoder", 3, 2)})
    box.press("Control+a")
    box.press("Delete")
    seat.until(lambda: len(table(seat)) == ROWS)


def test_the_box_over_the_table_is_about_the_rows_that_are_left(seat):
    box = seat.page.locator('.aa-table .tabulator-col[tabulator-field="Head"] input')
    box.clear()
    box.press_sequentially("L3")
    four = {HeadId("encoder", 3, head) for head in range(HEADS)}
    seat.until(lambda: {row["Head"] for row in table(seat)} == {str(head) for head in four})
    every = seat.page.locator('.aa-table .tabulator-col input[type="checkbox"]').first
    every.click()
    seat.until(lambda: seat.selection.heads == four)
    box.press("Control+a")
    box.press("Delete")
    seat.until(lambda: len(table(seat)) == ROWS)


def test_a_table_is_no_maze_of_stops_for_the_tab_key(seat):
    assert seat.page.locator('.aa-table .tabulator-row .tabulator-cell[tabindex="0"]').count() == 0


def numbers(seat, title):
    """A column of the table as numbers; what is no number yet is NaN."""
    written = [row.get(title, "") for row in table(seat)]
    return [float(text) if re.fullmatch(r"-?[\d.]+", text) else np.nan for text in written]


def test_the_table_is_ranked_by_the_chosen_metric_and_turns_to_the_page_of_a_selected_head(seat):
    values = W[:, :, np.arange(1, N), np.arange(N - 1)].mean(axis=2).ravel()
    order = np.argsort(-values, kind="stable").tolist()
    seat.do(lambda: setattr(seat.display, "metric", "previous"))
    seat.until(lambda: [row.get("Head") for row in table(seat)] == [str(EVERY[at]) for at in order[:ROWS]])
    # Tabulator writes a row cell by cell: its numbers may come after its name.
    seat.until(lambda: np.testing.assert_allclose(numbers(seat, "Chosen metric"), values[order[:ROWS]], atol=6e-4))
    seat.until(lambda: np.testing.assert_allclose(numbers(seat, "By chance"), 1 / N, atol=6e-4))
    last = EVERY[order[-1]]
    seat.plot(".aa-map").tap(*head_place(last, LAYERS, HEADS))
    seat.until(lambda: {row.get("Head"): row.get("selected") for row in table(seat)}.get(str(last)) == "yes")
    seat.do(lambda: seat.selection.select_heads([PREVIOUS]))
    seat.until(lambda: {row.get("Head"): row.get("selected") for row in table(seat)}.get(str(PREVIOUS)) == "yes")


# -- depth ---------------------------------------------------------------------------------------------------------------


def test_a_box_in_depth_selects_the_heads_in_it(seat):
    plot = seat.plot(".aa-profile")
    seat.until(lambda: profile_selected(seat, Wanted()))
    low, high = sorted(plot.ranges()[2:])
    plot.drag((0.5, low), (2.5, high), tool="Box Select")
    wanted = {head for head in EVERY if head.layer in (1, 2)}
    seat.until(lambda: seat.selection.heads == wanted)
    seat.until(lambda: profile_selected(seat, Wanted(frozenset(wanted), focus=min(wanted))))


def test_depth_shows_the_weight_on_selected_keys(seat):
    seat.do(lambda: setattr(seat.display, "metric", "selected"))
    seat.until(lambda: "once tokens are selected" in seat.text(".aa-profile-note pre"))
    seat.do(lambda: seat.selection.select_tokens([3, 5], axis="to"))
    means = W[:, :, :, [3, 5]].sum(axis=-1).mean(axis=(1, 2))

    def shown():
        np.testing.assert_allclose(seat.plot(".aa-profile").columns("Line", 1)["mean"], means, atol=1e-4)

    seat.until(shown)


# -- enlarging -----------------------------------------------------------------------------------------------------------


def test_an_enlarged_card_has_an_enlarged_plot_and_puts_it_back(seat):
    plot = seat.plot(".aa-map")
    usual = plot.frame()
    seat.page.locator(".aa-card-map .enlarge").click()
    seat.until(lambda: plot.frame()[3] - plot.frame()[1] > 1.5 * (usual[3] - usual[1]))
    seat.until(lambda: len(plot.image()) > 1.3 * 300)
    seat.page.keyboard.press("Escape")
    seat.until(lambda: abs((plot.frame()[3] - plot.frame()[1]) - (usual[3] - usual[1])) < 2)


def test_the_gap_between_heads_is_where_the_geometry_says(seat):
    plot = seat.plot(".aa-map")
    for share in (0.3 * GAP, 1 - 0.3 * GAP):
        assert plot.level((1 + share) / HEADS, 0.4) == BACKGROUND


def test_views_below_the_edge_of_the_window_are_drawn_when_they_come_into_it(seat):
    visible = {view.key: view.visibility for view in seat.app.tabs.made()}
    seat.page.set_viewport_size({"width": 1280, "height": 720})
    try:
        seat.until(lambda: not visible["profile"].seen and visible["map"].seen)
        # The Map takes the height of the new window; a tap before that would land on another head.
        seat.until(lambda: seat.app.workspace.window_height == 720)
        seat.plot(".aa-map").rest()
        before = visible["profile"].marks
        head = HeadId("encoder", 2, 1)
        seat.plot(".aa-map").tap(*head_place(head, LAYERS, HEADS))
        seat.until(lambda: seat.selection.heads == {head})
        assert visible["profile"].marks == before
        seat.page.locator(".aa-profile").first.evaluate("element => element.scrollIntoView()")
        seat.until(lambda: profile_selected(seat, Wanted(frozenset({head}), focus=head)))
    finally:
        seat.page.set_viewport_size(LARGE)
        seat.page.locator(".aa-map").first.evaluate("element => element.scrollIntoView()")
        seat.until(lambda: visible["map"].seen)
