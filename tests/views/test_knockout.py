"""The view of cut attention, without a page: numbers, words, gestures, what stays on screen, bounds, and who is offered it."""

from __future__ import annotations

import functools

import holoviews as hv
import numpy as np
import panel as pn
import pytest
from bokeh.core.json_encoder import serialize_json
from bokeh.core.serialization import Serializer
from bokeh.models import Scatter, Segment

import atlas
from atlas.attribution import Target, knockout
from atlas.ids import HeadId
from atlas.plots.knockout import Band, Curve, curves_over_layers, looks_of, nearest, places
from atlas.state import knockout as state
from atlas.state.knockout import BEYOND, UNKNOWN, WITHIN
from atlas.state.workspace import Workspace
from atlas.tasks import TASKS
from atlas.tracing.knockout import CHOSEN, FIRST, ITSELF, KNOCKOUT, REST, TEXT, third
from atlas.views.catalog import TABS
from atlas.views.knockout import KnockoutView, drawn
from tests.engine.families import TARGET, loaded
from tests.state.readers import never
from tests.waiting import run, until

SAID = "Once upon a time there was a little green cat that sat on the mat. The dog looked at it and barked. The little green"
CAT = 9

GESTURE_BYTES = 300_000


@pytest.fixture(autouse=True)
def _bokeh():
    hv.extension("bokeh", logo=False)


@functools.cache
def traced(text=SAID):
    return atlas.load("gpt-mini").trace(text)


def view_of(trace=None, *, press=True, tasks=TASKS, **selected):
    room = Workspace(never, tasks=tasks)
    room.pipeline.show(trace if trace is not None else traced())
    if selected:
        room.selection.select_pairs(selected.get("queries", ()), selected.get("keys", ()))
    view = KnockoutView(room)
    root = pn.panel(view).get_root()
    if press:
        view._run()
    return room, view, root


def test_what_is_shown_is_what_the_function_gives():
    room, view, root = view_of()
    own = knockout(traced())
    found = view.cuts.found()
    assert view.problem == ""
    np.testing.assert_allclose(found.change, own.change, atol=1e-6)
    table = view.export().table
    for column in ("change", "chance_lo", "chance_mean", "chance_hi", "q", "probability"):
        np.testing.assert_allclose(table[column], own.table[column], atol=1e-6)
    sources = [each.data_source.data for each in root.references() if isinstance(getattr(each, "glyph", None), Scatter)]
    shown = next(data for data in sources if len(data.get("y", ())))
    np.testing.assert_allclose(np.sort(shown["y"]), np.sort(own.change.ravel()), atol=1e-6)
    dashes = [each for each in root.references() if isinstance(getattr(each, "glyph", None), Segment)]
    assert any("dash" in each.data_source.data for each in dashes)
    size = len(serialize_json(Serializer().encode(root)))
    assert size < GESTURE_BYTES
    room.selection.select_tokens([3], axis="from")
    assert len(serialize_json(Serializer().encode(root))) < GESTURE_BYTES


def test_the_line_says_what_falls_without_which_look_and_beside_what():
    _, view, _ = view_of(keys=[CAT])
    own = knockout(traced(), groups={"cat": [CAT]})
    low, _, high = own.band(0)
    beyond = np.where(own.marked[0], np.maximum(low - own.change[0], own.change[0] - high), 0)
    layer = int(beyond[:-1].argmax())
    assert own.window(layer) == (1, 2)  # where the induction heads of gpt-mini are
    before = own.target.probability
    after, least, most = (before * np.exp(each) for each in (own.change[0, layer], low[layer], high[layer]))
    line = view.lens.line
    assert line.startswith(f"If 'green' (27) cannot look at 'cat' in layers {own.window(layer)[0]} to {own.window(layer)[1]}, ")
    assert f"'cat' falls from {100 * before:.3g} % to {100 * after:.3g} %" in line
    assert f"without as many random tokens: {100 * least:.3g} % to {100 * most:.3g} %, so this is beyond chance" in line
    assert own.marked[0, layer]
    assert [group.role for group in view.cuts.found().groups] == [CHOSEN, ITSELF, FIRST, REST]
    assert "'cat' after 'green' (27)" in view.cuts.notes()[0]


def test_nothing_runs_before_the_press_and_what_it_takes_is_said():
    began = []

    def work(*given, **options):
        began.append(given)
        return TASKS[KNOCKOUT](*given, **options)

    trace = traced("Once there was a little green cat. The dog looked at it and barked. The little green")
    room, view, _ = view_of(trace, press=False, tasks={**TASKS, KNOCKOUT: work})
    assert view.cuts.found() is None
    assert not view.results.visible
    assert not view.run.disabled
    assert view.lens.line.endswith("passes of the text at most. Press Run")
    (passes,) = view.export().table["passes"]
    assert f"{passes:,} passes" in view.lens.line
    room.selection.select_tokens([6], axis="to")
    assert "'cat' and what is beside it, hidden 2 layers at a time" in view.lens.line
    assert not began
    view._run()
    assert len(began) == 1
    assert view.results.visible
    assert view.run.disabled


def test_a_tap_selects_the_group_and_what_looks_and_nothing_else():
    room, view, _ = view_of()
    found = view.cuts.found()
    heads, focus = room.selection.heads, room.selection.focus
    first = next(at for at, group in enumerate(found.groups) if group.role == TEXT)
    x, y = places(6)[0], found.change[first, 0]
    view._tapped(x, y)
    assert room.selection.keys == set(found.groups[first].keys)
    assert room.selection.queries == {len(traced().tokens()) - 1}
    assert (room.selection.heads, room.selection.focus) == (heads, focus)
    assert view.cuts.found() is found  # it stays, and says that it is of another choice
    assert "That is of an earlier choice; press Run for" in view.lens.line
    assert view.results.visible
    assert not view.run.disabled
    assert [chip["key"] for row in view.chips.groups for chip in row["chips"] if chip["active"]] == [str(first)]
    view._tapped(x, y)
    assert room.selection.is_empty
    assert "earlier choice" not in view.lens.line
    view._pressed({"key": "1", "additive": False})
    assert room.selection.keys == set(found.groups[1].keys)
    view._tapped(2.5, -99.0)
    assert room.selection.keys == set(found.groups[1].keys)
    view._run()
    assert "earlier choice" not in view.lens.line
    assert view.cuts.found().groups[0].keys == found.groups[1].keys
    assert view.cuts.found().groups[0].role == CHOSEN


def test_the_window_and_the_heads_are_choices_that_a_press_takes():
    room, view, _ = view_of(keys=[CAT])
    assert view.cuts.window == third(6) == 2
    view._windowed(6)
    assert view.cuts.choices.window == 6
    assert view.window.value == 6
    assert "earlier choice" in view.lens.line
    view._run()
    assert np.ptp(view.cuts.found().change, axis=1).max() == 0
    view._windowed(2)
    assert view.cuts.choices.window == 0  # the usual number, also for a model of other depth
    heads = [HeadId("decoder", 1, 4), HeadId("decoder", 1, 2)]
    room.selection.select_heads(heads)
    assert "earlier choice" not in view.lens.line  # all heads are cut, whichever are selected
    view.cuts.choices.heads = "selected"
    assert "hidden in 2 heads" in view.lens.line
    view._run()
    own = knockout(traced(), Target(-1), {"cat": [CAT]}, heads=heads)
    np.testing.assert_allclose(view.cuts.found().change[0], own.change[0], atol=1e-6)
    assert "through 2 selected heads" in view.lens.line


def test_groups_stand_by_what_chance_says_of_them():
    _, view, _ = view_of()
    found = view.cuts.found()
    rows = {row["name"]: [int(chip["key"]) for chip in row["chips"]] for row in view.chips.groups}
    assert set(rows) <= {BEYOND, WITHIN, UNKNOWN}
    for at in range(len(found.groups)):
        row = next(name for name, keys in rows.items() if at in keys)
        if row == UNKNOWN:
            assert len(found.random[at]) == 0
            assert any("too few to draw 15 from at random" in note for note in view.cuts.notes())
        else:
            assert bool(found.marked[at, :-1].any()) is (row == BEYOND)


@pytest.mark.parametrize("name", ["BERT", "GPT-2", "Llama", "T5"])
def test_every_kind_of_every_architecture_is_drawn(name):
    trace = loaded(name).trace("the doctor said that she was tired", target=TARGET if name == "T5" else None)
    for kind in trace.kinds:
        room, view, root = view_of(trace, press=False)
        room.selection.show_kind(kind)
        view._run()
        assert view.problem == ""
        found = view.cuts.found()
        assert found.plan.setting.kind == kind
        hv.render(view._curves())
        assert Serializer().encode(root)


def test_a_selection_that_cannot_be_seen_is_said():
    _, view, _ = view_of(queries=[3], keys=[CAT])
    assert "no selected token can be seen from there" in view.lens.line
    assert (view.cuts.found().change[0] == 0).all()


def test_what_is_too_much_is_refused_and_who_cannot_have_it_is_told(monkeypatch):
    monkeypatch.setattr(state, "MOST_TOKENS_RUN", 10)
    _, view, _ = view_of(traced("The cat ran. The dog ran. The"))
    assert "and 10 are the most" in view.problem
    recorded = atlas.from_attention(np.full((1, 1, 3, 3), 1 / 3), ["a", "b", "c"])
    assert KnockoutView.fits(recorded)
    assert KnockoutView.fits(traced()) == ""
    assert KnockoutView(Workspace(never, tasks=TASKS)).export is not None
    views = next(tab.views for tab in TABS if tab.key == "faithfulness")
    keys = [each.key for each in views]
    assert keys.index("pruning") - keys.index("knockout") == 1


def test_the_reader_can_cancel_and_try_again():
    async def read():
        began = []

        def work(*given, progress, **options):
            began.append(1)
            while len(began) == 1:
                progress("Cutting attention", 0.1)
            return TASKS[KNOCKOUT](*given, progress=progress, **options)

        trace = atlas.load("gpt-mini").trace("The dog ran away. The cat ran away. The dog")
        _, view, _ = view_of(trace, tasks={**TASKS, KNOCKOUT: work})
        await until(lambda: view.lens.busy and began)
        assert view.run.disabled
        view.cuts.cancel()
        assert not view.lens.busy
        assert view.cuts.problem
        assert not view.run.disabled
        view._run()
        await until(lambda: view.cuts.found() is not None)
        assert view.cuts.problem == ""

    run(read())


def test_another_workspace_shows_the_same():
    room, view, _ = view_of(keys=[CAT])
    room.selection.clear("tokens")
    other = Workspace(never, tasks=TASKS)
    other.pipeline.show(traced())
    copy = KnockoutView(other)
    copy.take_over(view)
    assert copy.cuts.found() is view.cuts.found()
    assert copy.lens.line == view.lens.line


def test_plots_of_nothing_of_many_layers_and_without_chance():
    hv.render(curves_over_layers([], Band(np.empty(0), np.empty(0), np.empty(0)), 1, label=""))
    looks = looks_of([TEXT] * 8 + [ITSELF, FIRST, "special tokens", REST])
    assert len({(look.category, look.dash) for look in looks}) == 12
    n = 48
    values = np.linspace(-3, 0, n + 1)
    curves = [Curve(str(at), look, values * at, np.arange(n + 1) % 2 == 0, ["x"] * (n + 1)) for at, look in enumerate(looks)]
    unknown = np.full(n + 1, np.nan)
    figure = hv.render(curves_over_layers(curves, Band(unknown, unknown, unknown), n, label="nats", dark=True))
    assert len(figure.xaxis[0].ticker.ticks) <= 17
    assert nearest(curves, n, 0.0, values[0] * 11) == 11
    assert nearest(curves, n, 0.0, 30.0) is None
    assert nearest([], n, 0.0, 0.0) is None
    _, view, _ = view_of(keys=[CAT])
    found = view.cuts.found()
    assert "q " in drawn(found)[0].about[0]
    assert drawn(found)[0].about[-1].startswith("all layers cut")
