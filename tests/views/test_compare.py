"""The tab Compare without a page: side B is set, runs, is linked both ways, costs nothing before, and comes back with a link."""

from __future__ import annotations

import functools

import holoviews as hv
import numpy as np
import pytest

import atlas
from atlas.admission import Cost
from atlas.attribution import agreement, attribute
from atlas.bias import attention_bias
from atlas.bias.detection import labels_of_trace
from atlas.engine.running.service import Service
from atlas.errors import ModelNotFound
from atlas.ids import HeadId
from atlas.jobs import run_of
from atlas.plots.colours import LEVELS
from atlas.plots.compare import moved_limits
from atlas.plots.frame import number
from atlas.scheduler import Ticket
from atlas.state.compare import COUNTERFACTUAL, HALF, NO_TERMS, OTHER_MODEL, OTHER_TEXT, PRESETS, WITHOUT_HEADS
from atlas.state.detection import thresholds_of, under
from atlas.state.library import examples
from atlas.state.pipeline import model_lane
from atlas.state.restore import apply
from atlas.state.second_lens import NO_SECOND, RUNNING
from atlas.state.share import encode
from atlas.state.workspace import Workspace
from atlas.tasks import TASKS
from atlas.tracing.explained import COST, PASSES
from atlas.tracing.labelled import tokens_within
from atlas.views.catalog import TABS
from atlas.views.compare import CompareView
from atlas.views.compare_lists import CompareMetricsView, ComparePredictionsView
from atlas.views.compare_measured import CompareAgreementView, CompareBiasView
from atlas.views.compare_planes import CompareGroupsView, CompareHeadsView, CompareMatrixView, CompareStreamsView
from tests.state.readers import ENCODER, never, single, workspace

TEXT = "The nurse said that she was tired. The doctor went home."
DECODER = "decoder"
VIEWS = next(tab.views for tab in TABS if tab.key == "compare")


@pytest.fixture(autouse=True)
def _bokeh():
    hv.extension("bokeh", logo=False)


@functools.cache
def service():
    return Service()


def room_of(model="gpt-mini", text=TEXT):
    """A workspace with the tasks of the app and a text run; every run ends at once, as of a trace that is kept."""
    runs = []

    def run(job):
        runs.append(job)
        return service().run(run_of(job), Ticket())

    room = Workspace(never, kept=run, tasks=TASKS)
    room.runs = runs
    room.pipeline.choose(model)
    room.pipeline.input.text = text
    room.pipeline.run()
    return room


def test_without_a_side_b_nothing_is_run_and_every_view_says_what_to_do():
    room = room_of()
    views = [view(room) for view in VIEWS]
    cards = [view.__panel__() for view in views]
    assert len(room.runs) == 1
    assert room.second.values() == {}
    assert views[0].lens.line == "Nothing is compared yet: press one of the buttons, or set side B below"
    assert not views[0].problem
    assert {view.problem for view in views[1:]} == {NO_SECOND}
    assert {(card.problem, card.empty) for card in cards[1:]} == {("", NO_SECOND)}, "that is no fault"


@pytest.mark.parametrize("preset", [OTHER_TEXT, OTHER_MODEL, WITHOUT_HEADS, HALF])
@pytest.mark.parametrize("model", ["bert-mini", "gpt-mini", "t5-mini"])
def test_each_preset_works_in_one_press(model, preset):
    room = room_of(model, next(each.text for each in examples() if each.model == model) if model == "t5-mini" else TEXT)
    view = CompareView(room)
    view.__panel__()
    view.presets[preset].param.trigger("clicks")
    assert room.second.error == ""
    assert room.second.trace is not None
    assert len(room.runs) == 2
    assert view.lens.line.startswith("B − A below; heads paired by ")
    heads = CompareHeadsView(room)
    heads.__panel__()
    assert heads.problem == ""
    assert np.isfinite(heads.plane.plane().whole).any()


def test_a_counterfactual_is_made_in_one_press_and_a_text_without_terms_says_so():
    room = room_of()
    view = CompareView(room)
    view.__panel__()
    view.presets[COUNTERFACTUAL].param.trigger("clicks")
    assert room.second.text == room.second.trace.texts.text == "The nurse said that he was tired. The doctor went home."
    assert view.text.value == room.second.text
    room.second.clear()
    room.pipeline.input.text = "The train left."
    room.pipeline.run()
    view.presets[COUNTERFACTUAL].param.trigger("clicks")
    assert (room.second.used, view.lens.note, view.note.object) == (False, NO_TERMS, NO_TERMS)
    assert view.problem == ""
    assert set(PRESETS) == set(view.presets)


def test_the_matrix_shows_plain_differences_with_both_sides_in_the_readout():
    room = room_of()
    room.selection.pick(HeadId(DECODER, 2, 3), origin="test")
    room.second.put(ablated=frozenset({HeadId(DECODER, 0, 1)}))
    view = CompareMatrixView(room)
    view.__panel__()
    a, b = (trace.attention(layer=2, head=3).to_numpy() for trace in (room.trace, room.second.trace))
    np.testing.assert_allclose(view.plane.plane().whole, b - a, atol=1e-6)
    cell = view.plane.cell(4, 2)
    assert (cell["A"], cell["B"]) == (pytest.approx(a[4, 2]), pytest.approx(b[4, 2]))
    assert cell["value"] == pytest.approx(b[4, 2] - a[4, 2])
    view.plane.select_cell(4, 2, "test")
    assert (room.selection.queries, room.selection.keys) == ({4}, {2})
    view.plane.choices.shows = "A"
    np.testing.assert_allclose(view.plane.plane().whole, a, atol=1e-6)


def test_between_tokenizers_a_cell_selects_the_tokens_of_its_words_and_heads_follow_the_selected_tokens():
    room = room_of("bert-mini")
    matrix, heads = CompareMatrixView(room), CompareHeadsView(room)
    room.second.put(model="gpt-mini")
    heads.plane.choices.value = "entropy_norm"
    before = heads.plane.plane().whole
    assert matrix.plane.plane().columns[-1] == "(no partner)"
    matrix.plane.select_cell(1, 0, "test")
    assert (room.selection.queries, room.selection.keys) == ({2}, {1})  # after [CLS]
    after = heads.plane.plane().whole
    assert not np.array_equal(before, after, equal_nan=True)
    assert "at the selected tokens" in heads.lens.line


def test_heads_are_linked_both_ways_in_plane_scatter_and_ranking():
    room = room_of()
    room.second.put(text=TEXT.replace("she", "he"))
    plane, metrics = CompareHeadsView(room), CompareMetricsView(room)
    metrics.__panel__()
    table = metrics.heads.heads_table()
    plane.plane.choices.value = "entropy_norm"
    np.testing.assert_allclose(plane.plane.plane().whole.reshape(-1), table["entropy_norm_b"] - table["entropy_norm_a"])
    plane.plane.select_cell(3, 2, "test")
    assert room.selection.focus == HeadId(DECODER, 3, 2)
    points = metrics.heads.points()
    assert points.loc[points["selected"], ["layer", "head"]].to_numpy().tolist() == [[3, 2]]
    np.testing.assert_array_equal(points["x"], table["entropy_norm_a"])
    np.testing.assert_allclose(moved_limits(points), (0.0, table["moved"].max()))
    assert f"</span> {number(table['moved'].max())}</span>" in metrics._key()
    np.testing.assert_array_equal(moved_limits(points.assign(value=np.nan)), (0.0, 1.0))
    first = table.loc[table["entropy_norm"].abs().idxmax()]
    assert f"B − A: most L{first['layer']} H{first['head']} " in metrics.heads.describe(table, "entropy_norm")
    assert "B − A: no difference; " in metrics.heads.describe(table.assign(entropy_norm=0.0), "entropy_norm")
    (group,) = metrics.ranking.groups
    order = np.argsort(-table["entropy_norm"].abs(), kind="stable")[:12]
    assert [row["key"] for row in group["rows"]] == [f"{table['layer'][at]}.{table['head'][at]}" for at in order]
    metrics.heads.press(group["rows"][0]["key"], "test")
    assert f"{room.selection.focus.layer}.{room.selection.focus.head}" == group["rows"][0]["key"]
    metrics.heads.choose([0, 9], "test")
    assert room.selection.heads == {HeadId(DECODER, 0, 0), HeadId(DECODER, 1, 1)}


def test_a_cell_of_the_groups_selects_its_heads_and_selected_heads_mark_their_cells():
    room = room_of()
    view = CompareGroupsView(room)
    room.second.put(ablated=frozenset({HeadId(DECODER, 0, 1), HeadId(DECODER, 1, 1)}))
    view.__panel__()
    plane, found = view.plane.plane(), view.plane.found()
    # A cell that is not the whole of its row.
    row, column = next((r, c) for r, c in np.argwhere(plane.whole > 0).tolist() if plane.whole[r, c] < plane.whole[r].sum())
    view.plane.select_cell(row, column, "test")
    heads = room.selection.heads
    assert len(heads) == view.plane.cell(row, column)["value"] == plane.whole[row, column] > 0
    each = room.trace.n_heads(DECODER)
    assert {(found.row[h.layer * each + h.head], found.column[h.layer * each + h.head]) for h in heads} == {(row, column)}
    assert view.plane.marked().cells == {(row, column)}
    scale, counts = view.scale(), np.unique(np.append(0.0, plane.whole))
    assert (np.diff(scale.level(counts)) >= (LEVELS - 1) // (len(counts) - 1)).all(), "one head has a colour that is seen"
    assert all(float(value).is_integer() for _, value in scale.ticks())
    view.plane.select_name("row", row, "test")
    assert len(room.selection.heads) == plane.whole[row].sum()
    assert "with a role on A and a partner keep it" in view.lens.line


def test_words_outside_the_vocabulary_are_said_because_the_model_cannot_tell_them_apart():
    room = room_of("t5-mini", "Anna left on the third of March")
    view = CompareView(room)
    room.second.put(text="Peter left on the third of March")
    said = dict(view.compare.rows())
    unknown = "on A Anna, left; on B Peter, left: each is read as <unk>, so the model cannot tell them apart"
    assert said["Not in the vocabulary"] == f"{unknown}; both sides read the same tokens"
    room.second.put(text="Peter left on the ninth of March")
    assert dict(view.compare.rows())["Not in the vocabulary"] == unknown
    room.second.put(text="on the third of March")
    assert dict(view.compare.rows())["Not in the vocabulary"] == unknown.replace("; on B Peter, left", "")
    room.pipeline.input.text = "on the third of May"
    room.pipeline.run()
    assert "Not in the vocabulary" not in dict(view.compare.rows())


def test_attention_to_flagged_words_of_both_sides_is_that_of_either_alone():
    room = room_of("bert-mini", "All women are bad drivers, said the old man.")
    view = CompareBiasView(room)
    room.second.put(text="All men are bad drivers and lazy, said the old man.")
    view.__panel__()
    assert view.problem == ""
    thresholds = thresholds_of(room)
    logs = []
    for trace in (room.trace, room.second.trace):
        found = under(labels_of_trace(trace), thresholds)
        words = found.words.table[found.flagged.any(axis=1)]
        tokens = set().union(*(tokens_within(trace, *map(int, place)) for place in words[["segment", "start", "end"]].to_numpy()))
        logs.append(np.log2(np.maximum(attention_bias(trace, tokens)["ratio"].to_numpy(), 1 / 64)))
    np.testing.assert_allclose(view.plane.plane().whole.ravel(), logs[1] - logs[0], atol=1e-9)
    view.plane.select_cell(1, 2, "test")
    assert room.selection.heads == {HeadId(ENCODER, 1, 2)}
    room.second.put(text="The train left at noon.")
    assert view.plane.plane().rows == ()
    assert view.problem.startswith("Side B: No word of this text is flagged")


def test_agreement_of_both_sides_is_that_of_either_alone_for_the_same_decision():
    room = room_of("mood-mini", "What a lovely warm day it was.")
    view = CompareAgreementView(room)
    view.plane.choices.method = "input_x_gradient"
    room.second.put(text="What a dreadful cold day it was.")
    view.__panel__()
    assert view.problem == ""
    model, rhos = atlas.load("mood-mini"), []
    for trace in (room.trace, room.second.trace):
        attributed = attribute(model, trace.texts.text, method="input_x_gradient")
        rhos.append(agreement(model.trace(trace.texts.text), attributed)["rho"].to_numpy())
    np.testing.assert_allclose(view.plane.plane().whole.ravel(), rhos[1] - rhos[0], atol=1e-6)
    cell = view.plane.cell(1, 2)
    assert cell["A"] == pytest.approx(rhos[0][10], abs=1e-6)
    assert cell["value"] == pytest.approx(rhos[1][10] - rhos[0][10], abs=1e-6)
    before = view.plane.plane().whole
    room.target.outcome = "neutral"
    assert not np.array_equal(view.plane.plane().whole, before, equal_nan=True)
    assert view.lens.line.count("'neutral'") == 2


def test_predictions_of_both_sides_are_those_of_both_traces():
    room = room_of()
    room.second.put(text=TEXT.replace("she", "he"))
    view = ComparePredictionsView(room)
    view.__panel__()
    (group,) = view.bars.groups
    assert group["name"] == "After '.'"
    table = view.predictions.table()
    for trace, side in ((room.trace, "a"), (room.second.trace, "b")):
        last = trace.predictions(1).iloc[-1]
        assert table[side].max() == pytest.approx(last["probability"])
    room.selection.select_tokens([1], origin="test")
    assert [each["name"] for each in view.bars.groups] == ["After 'nurse'"]


def test_a_model_that_fills_masks_is_asked_with_the_word_masked_and_the_other_after_the_token_before():
    room = room_of("bert-mini")
    room.second.put(model="gpt-mini")
    room.selection.select_tokens([5], origin="test")  # she
    view = ComparePredictionsView(room)
    view.__panel__()
    table = view.predictions.table()
    assert table["position_a"].unique().tolist() == [5]
    assert table["position_b"].unique().tolist() == [3]
    seen = room.trace.predictions(1)
    assert table["a"].max() < float(seen.loc[seen["position"] == 5, "probability"].iloc[0])


def test_models_that_predict_other_things_are_told_apart_in_words_and_no_line_says_that_side_b_still_runs():
    room = room_of("bert-mini")
    view = ComparePredictionsView(room)
    view.predictions.line = RUNNING
    room.second.put(model="gus-mini")
    view.__panel__()
    assert view.predictions.groups() == []
    assert view.problem == "Side A fills masks and side B labels tokens, so no outcome is in both."
    assert view.predictions.line == ""


def test_a_row_of_the_streams_selects_the_heads_that_read_it():
    room = room_of()
    room.second.put(text=TEXT.replace("she", "he"))
    view = CompareStreamsView(room)
    view.__panel__()
    assert view.plane.cell(0, 0)["value"] > view.plane.cell(0, 0)["by chance"]
    view.plane.select_name("row", 2, "test")
    assert room.selection.heads == {HeadId(DECODER, 2, head) for head in range(8)}
    assert view.plane.marked().rows == {2}


def test_a_link_brings_both_sides_back_and_one_without_texts_leaves_a_side_with_its_own_text_out():
    room = room_of()
    room.second.put(text=TEXT.replace("she", "he"), ablated=frozenset({HeadId(DECODER, 1, 1)}))
    CompareHeadsView(room).plane.choices.value = "previous"
    again = room_of(text="Another one.")
    reader = CompareHeadsView(again)
    said = apply(encode(room).token, again)
    assert said == []
    assert again.second.values() == room.second.values()
    assert again.second.trace.texts.text == room.second.trace.texts.text
    np.testing.assert_array_equal(reader.plane.plane().whole, CompareHeadsView(room).plane.plane().whole)
    other = room_of()
    apply(encode(room, private=True).token, other)
    assert other.second.values() == {}


@pytest.mark.parametrize(
    ("second", "kept"),
    [
        ({"used": 1, "model": "x\ny", "dtype": "int4", "text": ["no"], "ablated": "e0"}, {}),
        ({"used": True, "busy": True, "trace": "x"}, {"used": True}),
        ("nothing", {}),
    ],
)
def test_a_strangers_second_side_is_checked_field_by_field(second, kept):
    from atlas.state.link import FIELDS
    from atlas.state.validate import Unusable

    try:
        found, said = FIELDS["second"].take(second)
    except Unusable:
        found, said = {}, ["left out"]
    assert found == kept
    assert said


def test_side_b_follows_side_a_only_while_somebody_looks():
    room = room_of()
    view = CompareHeadsView(room)
    room.second.put(ablated=frozenset({HeadId(DECODER, 0, 0)}))
    view.visibility.seen = False
    room.pipeline.input.text = "The cook said that he was late."
    room.pipeline.run()
    assert len(room.runs) == 3
    assert room.second.two() is None
    view.visibility.seen = True
    assert [job.text for job in room.runs[2:]] == ["The cook said that he was late."] * 2
    assert room.second.two().b.texts.text == room.trace.texts.text


def test_texts_without_a_word_in_common_leave_the_buttons_of_the_card_there():
    room = room_of()
    view, heads = CompareView(room), CompareHeadsView(room)
    room.second.put(text="Zebras gallop")
    view.__panel__()
    assert heads.plane.plane().rows == ()
    assert heads.problem.startswith("Nothing of the two texts could be aligned")
    assert view.problem == ""
    assert view.compare.rows()[-1] == ("Not compared", heads.problem)


def test_a_side_b_that_cannot_be_run_says_why_and_the_selection_stays():
    room = room_of()
    room.selection.pick(HeadId(DECODER, 2, 3), origin="test")
    views = [CompareView(room), CompareHeadsView(room)]

    def fails(job, ticket):
        msg = "There is no model of this name."
        raise ModelNotFound(msg)

    room.second._make = functools.partial(type(room.pipeline), fails)
    room.second.put(model="nobody/nothing")
    assert views[1].plane.plane().rows == ()
    assert views[1].problem == "Side B: There is no model of this name."
    assert ("Side B", "There is no model of this name.") in views[0].compare.rows()
    assert room.selection.heads == {HeadId(DECODER, 2, 3)}


def test_a_side_b_that_is_taken_away_stays_away_and_no_line_says_what_it_was():
    room = room_of()
    views = [view(room) for view in (CompareView, CompareHeadsView, CompareMatrixView, CompareMetricsView)]
    for view in views:
        view.__panel__()
    room.second.put(text=TEXT.replace("she", "he"))
    assert all(view.lens.line and not view.problem for view in views)
    views[0].compare.clear()
    room.selection.pick(HeadId(DECODER, 3, 2), origin="test")  # every view is drawn again
    assert (room.second.trace, room.second.two()) == (None, None)
    assert views[0].lens.line.startswith("Nothing is compared yet")
    assert [(view.problem, view.lens.line) for view in views[1:]] == [(NO_SECOND, "")] * 3


def test_a_recording_is_compared_with_another_one():
    room = workspace(single())
    room.second.show(single(seed=3))
    view = CompareHeadsView(room)
    view.__panel__()
    assert view.problem == ""
    assert room.kind == ENCODER
    assert view.plane.plane().whole.shape == (2, 3)


def test_work_on_both_sides_is_priced_by_the_model_of_each():
    a, b = single(), single(seed=3)
    memory, tokens, passes = {a: 2, b: 5}, {a: 100, b: 10}, {a: 7, b: 3}
    tasks = {COST: lambda trace, n, **_: Cost(memory[trace], n * tokens[trace]), PASSES: lambda trace, _: passes[trace]}
    room = Workspace(never, tasks=tasks)
    room.pipeline.show(a)
    room.second.param.update(used=True, model="gpt-mini")
    room.second.show(b)
    lens = CompareHeadsView(room).lens
    asked = [lens._asking._cost(a, lens.takes_both(lens.both(), methods), needs_model=True) for methods in ([], ["gradient"])]
    lane = model_lane(("gpt-mini", None, None, None))
    assert asked == [Cost(5, 100, beside=((lane, 10),)), Cost(5, 700, beside=((lane, 30),))]
    assert room.pipeline.lane != lane
