"""Encoder, decoder and cross-attention of one model, and a causal model alone."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from atlas.ids import HeadId
from atlas.plots.colours import LEVELS, MASKED, MASKED_LINE
from atlas.state.opening import Opening
from atlas.state.words import paired
from tests.ui.shown import frames, level, levels
from tests.ui.stage import head_place

pytestmark = pytest.mark.ui

TEXT, TARGET = "the doctor said that she was tired because the cat ran", "a cat and a dog said hello"


@pytest.fixture(scope="module")
def opening():
    return Opening("tiny T5", TEXT, target=TARGET)


def _show(seat, kind):
    seat.page.locator(".aa-bar").get_by_role("button", name=kind, exact=True).click()
    seat.until(lambda: seat.selection.kind == kind)
    seat.until(lambda: _sizes(seat, kind) in seat.text(".aa-card-map .line"))


def _sizes(seat, kind):
    attention = seat.app.trace.attention_of(kind)
    return f"{len(attention.layers)} layers × {attention.n_heads} heads, {attention.n_queries} × {attention.n_keys} tokens"


def _matrix(seat, shape):
    places = [((key + 0.5) / shape[1], (query + 0.5) / shape[0]) for query in range(shape[0]) for key in range(shape[1])]
    return levels(seat, ".aa-matrix", places).reshape(shape)


def _names(seat, side):
    return list(seat.app.trace.tokens(side)["token"])


def _rows(seat, kind):
    """Names of the rows: in a decoder that writes what an encoder read, each token with the one predicted from it."""
    if kind == "encoder":
        return _names(seat, "source")
    names, last = _names(seat, "target"), seat.app.trace.predictions(1)["token"].iloc[-1].strip()
    return [paired(read, then) for read, then in pairwise([*names, last])]


@pytest.mark.parametrize("kind", ["decoder", "cross", "encoder"])
def test_each_kind_has_its_own_map_matrix_and_tokens(seat, kind):
    if kind != "encoder":
        _show(seat, kind)
    else:
        _show(seat, "cross")
        _show(seat, "encoder")
    weights = seat.app.trace.attention(kind, layer=0, head=0).to_numpy()
    sides = {"encoder": ("source", "source"), "decoder": ("target", "target"), "cross": ("target", "source")}[kind]
    plot = seat.plot(".aa-matrix")
    seat.until(lambda: plot.labels("y") == _rows(seat, kind) and plot.labels("x") == _names(seat, sides[1]))

    def drawn():
        found = _matrix(seat, weights.shape)
        seen = np.isfinite(weights)
        # The scale of a causal model leaves out the first token, so its cells end in the strongest colour.
        top = _top(seat, kind)
        assert np.abs(found - level(np.nan_to_num(weights), top))[seen].max() <= 1
        assert np.isin(found[~seen], (MASKED, MASKED_LINE)).all()
        assert seen.all() == (kind != "decoder")

    seat.until(drawn)
    seat.until(lambda: frames(seat, 1) == {(0, 0)})
    assert seat.page.locator(".aa-strip-target .token").count() == len(_names(seat, "target"))


def _top(seat, kind):
    values = seat.app.trace.attention(kind).to_numpy()
    if kind == "decoder":
        special = seat.app.trace.tokens("target")["special"].to_numpy(dtype=bool).copy()
        special[0] = True
        values = values[..., ~special]
    return np.nanmax(values)


def test_in_cross_attention_the_text_is_looked_at_and_the_target_looks(seat):
    _show(seat, "cross")
    seat.token(3, "source").click()
    seat.until(lambda: seat.selection.keys == {3})
    assert seat.selection.queries == frozenset(), "a token of the text never looks, whatever the switch says"
    seat.token(4, "target").click()
    seat.until(lambda: seat.selection.queries == {4})
    assert seat.selection.keys == {3}
    seat.until(lambda: "from" in seat.token(4, "target").get_attribute("class"))
    assert "to" in seat.token(3, "source").get_attribute("class").split()
    source, target = _names(seat, "source"), _names(seat, "target")
    seat.until(lambda: f"from: {target[4]}" in seat.text(".aa-clear-tokens button"))
    assert f"to: {source[3]}" in seat.text(".aa-clear-tokens button")
    plot = seat.plot(".aa-matrix")

    def framed():
        row, column = (plot.columns("Quad", index) for index in (0, 1))
        assert (row["left"], row["right"]) == ([0], [1])
        assert sorted([row["bottom"][0], row["top"][0]]) == pytest.approx([4 / len(target), 5 / len(target)], abs=1e-4)
        assert column["left"] + column["right"] == pytest.approx([3 / len(source), 4 / len(source)], abs=1e-4)

    seat.until(framed)


def test_a_cell_of_cross_attention_selects_a_target_row_and_a_source_column(seat):
    _show(seat, "cross")
    rows, columns = len(_names(seat, "target")), len(_names(seat, "source"))
    seat.until(lambda: len(seat.plot(".aa-matrix").labels("x")) == columns)
    seat.plot(".aa-matrix").tap(5.5 / columns, 2.5 / rows)
    seat.until(lambda: (seat.selection.queries, seat.selection.keys) == ({2}, {5}))
    weights = seat.app.trace.attention("cross", queries=[2]).to_numpy()
    focus = seat.selection.focus  # with no head selected, all views of tokens show the head in focus
    expected = weights[focus.layer, focus.head, 0]
    seat.until(lambda: "from 1 selected token" in seat.page.locator(".aa-strip-line pre").first.inner_text())
    lens = next(strip for strip in seat.app.text.strips if strip.lens.side == "source").lens
    np.testing.assert_allclose(lens.weights(), expected, atol=1e-6)


def test_heads_of_another_kind_are_not_averaged_and_said(seat):
    seat.do(lambda: seat.selection.select_heads([HeadId("encoder", 1, 1), HeadId("cross", 2, 0)]))
    seat.until(lambda: "(1 head of another kind, not shown)" in seat.text(".aa-clear-heads button"))
    seat.until(lambda: frames(seat, 0, layers=2) == {(1, 1)})
    _show(seat, "cross")
    seat.until(lambda: frames(seat, 0, layers=3) == {(2, 0)})


def test_going_to_another_kind_ends_the_selection_of_tokens_it_does_not_have(seat):
    seat.token(3, "source").click()
    seat.until(lambda: seat.selection.keys == {3})
    _show(seat, "decoder")
    assert (seat.selection.queries, seat.selection.keys) == (frozenset(), frozenset())
    seat.plot(".aa-map").tap(*head_place(HeadId("decoder", 2, 3), 3, 4))
    seat.until(lambda: seat.selection.heads == {HeadId("decoder", 2, 3)})
    assert level(1.0, 1.0) == LEVELS - 1
