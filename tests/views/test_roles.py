"""The role profile without a page: what is on screen, what a tap selects, what is sent."""

from __future__ import annotations

import functools
import math

import holoviews as hv
import numpy as np
import panel as pn
import pytest
from bokeh.models import GlyphRenderer, MultiLine, MultiPolygons, Plot

import atlas
from atlas.ids import HeadId
from atlas.plots.roles import Spoke, radar_places, role_radar
from atlas.plots.row_words import WORDS
from atlas.state.roles import RADAR
from atlas.views.roles import RolesView, in_words
from tests.engine.families import TEXT, loaded
from tests.state.readers import CROSS, ENCODER, both, rows, workspace

GESTURE_BYTES = 300_000


@pytest.fixture(autouse=True)
def _bokeh():
    hv.extension("bokeh", logo=False)


@functools.cache
def trace():
    return loaded("BERT").trace(TEXT, keep="weights", capture=())


def view_of(trace):
    room = workspace(trace)
    return room, RolesView(room)


def bars(root):
    """The columns of the bars on the figure."""
    glyphs = [model for model in root.references() if isinstance(model, GlyphRenderer)]
    (found,) = [each.data_source.data for each in glyphs if {"x0", "x1", "color"} <= set(each.data_source.data)]
    return found


def words(root):
    (axis,) = (model for model in root.references() if getattr(model, "name", "") == WORDS)
    return list(axis.major_label_overrides.values())


def test_bars_and_words_follow_heads_without_being_drawn_anew_and_tokens_with_other_numbers():
    room, view = view_of(trace())
    root = pn.panel(view).get_root()
    assert view.lens.line.startswith("L0 H0, the head in focus, against ")
    for change in (
        lambda: room.selection.pick(HeadId(ENCODER, 1, 1)),
        lambda: room.selection.select_heads([HeadId(ENCODER, 0, 1), HeadId(ENCODER, 1, 2)]),
    ):
        change()
        roles = view.roles.roles()
        np.testing.assert_array_equal(bars(root)["x1"], [role.z for role in roles])
        assert words(root) == [in_words(role) for role in roles]
        assert view.bars_drawn == 0
    before = words(root)
    room.selection.select_tokens(range(4, 12), axis="from")
    assert words(root) != before
    assert words(root) == [in_words(role) for role in view.roles.roles()]
    assert view.lens.line.endswith("on rows of that, she, was, tired and 4 more")


def test_one_selected_row_is_too_few_and_says_what_to_do():
    room, view = view_of(trace())
    room.selection.select_tokens([5], axis="from")
    assert view.roles.words().endswith("Select more tokens or analyse a longer text.")
    special = view.roles.roles()[2]
    assert in_words(special).startswith("N/A: too few rows (1; it takes 5)\n")
    assert math.isfinite(special.value)  # the readout has it all the same


def test_words_name_the_highest_role_and_how_many_heads_reach_as_much():
    room, view = view_of(trace())
    room.selection.pick(HeadId(ENCODER, 1, 0))
    roles = view.roles.roles()
    most = max((role for role in roles if not math.isnan(role.z)), key=lambda role: role.z)
    profile = view.roles._profile()[0]
    reach = int((np.nanmax(profile.z, axis=0) >= most.z - 1e-9).sum())
    n_heads = profile.z.shape[1]
    said = view.roles.words()
    assert said.startswith(
        f"Highest: {view.roles.title(most.role).lower()}, z {most.z:.2f} (above {most.lower} of {n_heads} heads). "
    )
    assert f" {reach} of {n_heads} heads reach such a z in one of their roles." in said


def test_a_tap_on_a_row_selects_the_heads_that_do_most_of_it_and_again_lets_go():
    room, view = view_of(trace())
    pn.panel(view).get_root()
    at = [role.role for role in view.roles.roles()].index("function_words")
    view._tapped(0.3, at + 0.2)
    z = view.roles._profile()[0].z[at]
    best = {HeadId(ENCODER, *divmod(int(head), trace().n_heads(ENCODER))) for head in np.argsort(-z)[:5]}
    assert (room.selection.heads, room.selection.label, room.selection.origin) == (best, "most function words", "roles")
    view._tapped(0.0, 40.0)
    assert room.selection.heads == best
    view._tapped(0.3, at)
    assert room.selection.heads == frozenset()


def test_heads_of_another_kind_are_not_looked_at():
    room, view = view_of(both())
    room.selection.show_kind(CROSS)
    room.selection.select_heads([HeadId(ENCODER, 0, 1)])
    room.selection.show_kind(CROSS)
    assert view.roles.shown_heads()[0].kind == CROSS
    assert view.roles.roles()[-1].reason == "from one text to another"


def spoke(name, z):
    return Spoke(name, name, z, z / 2, name)


def test_the_radar_has_its_zero_half_way_and_a_gap_where_a_z_is_unknown():
    z = np.array([0.0, 3.0, -3.0, -1.5])
    np.testing.assert_allclose(np.hypot(*radar_places(z, 3.0).T), [0.5, 1.0, 0.0, 0.25])

    def lines(last):
        figure = hv.render(
            role_radar([*(spoke(f"role {at}", value) for at, value in enumerate(z[:3])), spoke("last", last)], 3.0)
        )
        filled = [each for each in figure.renderers if isinstance(each.glyph, MultiPolygons)]
        (outline,) = (each for each in figure.renderers if getattr(each.glyph, "line_width", 0) == 2.5)
        return len(outline.data_source.data["x0"]), len(filled[0].data_source.data["xs"]), figure

    n_edges, n_filled, figure = lines(-1.5)
    assert (n_edges, n_filled) == (4, 1)
    assert lines(math.nan)[:2] == (2, 0)
    rings = [each for each in figure.renderers if isinstance(each.glyph, MultiLine)]
    sources = [each.data_source.data for each in rings]
    lines_drawn = [line for source in sources for line in zip(source["xs"], source["ys"], strict=True)]
    radii = sorted(round(float(np.hypot(x, y).mean()), 6) for x, y in lines_drawn)
    assert radii == [0.25, 0.5, 0.75, 1.0]


def test_the_radar_is_drawn_when_it_is_chosen_and_follows_then():
    room, view = view_of(trace())
    root = pn.panel(view).get_root()
    figures = len(list(root.select({"type": Plot})))
    room.selection.pick(HeadId(ENCODER, 1, 1))
    assert view.radar_drawn == 0
    room.choices_of("roles").look = RADAR
    assert len(list(root.select({"type": Plot}))) == figures + 1
    room.selection.pick(HeadId(ENCODER, 0, 1))
    assert (view.radar_drawn, view.problem) == (1, "")
    room.choices_of("roles").look = "bars"
    assert view.bars_drawn == 1
    assert view.export().table["z"].tolist() == pytest.approx([role.z for role in view.roles.roles()], nan_ok=True)


def test_1_200_heads_are_a_gesture():
    many = atlas.from_attention(rows((25, 48, 8, 8)), [f"t{at}" for at in range(8)], kind=ENCODER)
    room, view = view_of(many)
    root = pn.panel(view).get_root()
    room.selection.select_heads(many.head_ids)
    assert sum(np.asarray(column).nbytes for column in bars(root).values()) < GESTURE_BYTES
    assert view.roles.roles()[-1].z == pytest.approx(0.0, abs=1e-9)
