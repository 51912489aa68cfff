"""What is selected, in words: never more heads than are shown, never a token that is not."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from atlas.engine.running.interventions import Output
from atlas.ids import HeadId
from atlas.plots.plane import TICK_LETTERS
from atlas.state import selection_bar as module
from atlas.state.matrix import MatrixLens
from atlas.state.selection_bar import BarLens
from atlas.state.sentences import SentencesLens
from atlas.state.token_strip import StripLens
from atlas.state.words import changes_in_words, heads_in_words, paired, row_names, shown_token, tokens_in_words, visible
from atlas.state.workspace import Workspace
from tests.engine.families import TEXT, loaded
from tests.state.readers import CROSS, DECODER, ENCODER, both, never, single, workspace

NOTHING = "Nothing is selected: text and matrix show L0 H0."


def heads(*places, kind=ENCODER):
    return [HeadId(kind, layer, head) for layer, head in places]


@pytest.fixture
def room():
    return workspace(both(encoder=(2, 4), decoder=(3, 2)))


def test_without_a_trace_there_is_nothing_to_say():
    assert (heads_in_words(workspace()), tokens_in_words(workspace()), BarLens(workspace()).said()) == ("", "", "")


def test_where_no_head_is_selected_the_one_in_focus_is_shown(room):
    assert heads_in_words(room) == "encoder L0 H0, the head in focus"
    room.selection.show_kind(CROSS)
    room.selection.step(1, 1)
    assert heads_in_words(room) == "cross L1 H1, the head in focus"
    assert BarLens(room).said() == "Nothing is selected: text and matrix show L1 H1."
    assert heads_in_words(workspace(single())) == "L0 H0, the head in focus"


@pytest.mark.parametrize("lens", [MatrixLens, StripLens, SentencesLens])
def test_views_of_tokens_agree_on_the_heads_they_show_and_say_which(lens):
    trace = loaded("BERT").trace(TEXT, capture=())
    room = workspace(trace)
    made = lens(room)
    show = made.weights if lens is StripLens else made.plane
    for select, heads, said in (
        (lambda: room.selection.focus_on(HeadId(ENCODER, 1, 2)), [(1, 2)], "L1 H2, the head in focus"),
        (lambda: room.selection.pick(HeadId(ENCODER, 1, 2)), [(1, 2)], "L1 H2"),
        (lambda: room.selection.select_heads([HeadId(ENCODER, 0, 0), HeadId(ENCODER, 0, 1)]), [(0, 0), (0, 1)], "of "),
    ):
        select()
        show()
        assert [(head.layer, head.head) for head in made.shown_heads()] == heads
        assert said in made.line
        assert ("in focus" in made.line) == ("in focus" in said)


def test_few_heads_are_named_and_many_counted(room):
    for chosen, said in (
        (heads((1, 2)), "encoder L1 H2"),
        (heads((1, 2), (0, 3)), "encoder L0 H3, L1 H2"),
        (heads((0, 0), (0, 1), (0, 2), (0, 3)), "encoder L0 H0, L0 H1, L0 H2, L0 H3"),
        (heads((0, 0), (0, 1), (0, 2), (0, 3), (1, 0)), "encoder 5 heads"),
    ):
        room.selection.select_heads(chosen)
        assert heads_in_words(room) == said


def test_heads_chosen_as_something_are_called_that(room):
    room.selection.select_heads(heads((0, 0), (0, 1)), label="cluster 'previous token'")
    assert heads_in_words(room) == "encoder 2 heads of cluster 'previous token'"
    room.selection.select_heads(heads((0, 0)), label="cluster 'previous token'")
    assert heads_in_words(room) == "encoder L0 H0"


def test_heads_of_another_kind_are_said_to_be_selected_and_not_shown(room):
    room.selection.select_heads([*heads((0, 1), (1, 1)), *heads((2, 1), kind=CROSS)])
    assert heads_in_words(room) == "encoder L0 H1, L1 H1 (1 head of another kind, not shown)"
    room.selection.show_kind(CROSS)
    assert heads_in_words(room) == "cross L2 H1 (2 heads of another kind, not shown)"
    room.selection.show_kind(DECODER)
    assert heads_in_words(room) == "decoder L0 H1, the head in focus (3 selected heads of another kind, not shown)"


def test_tokens_are_named_once_where_rows_and_columns_are_the_same(room):
    room.selection.select_tokens([2, 4])
    assert tokens_in_words(room) == "tokens: doctor, she"
    room.selection.select_tokens([1], axis="to")
    assert tokens_in_words(room) == "from: doctor, she · to: the"
    room.selection.clear("queries")
    assert tokens_in_words(room) == "to: the"
    room.selection.clear("tokens")
    assert tokens_in_words(room) == ""


def test_the_same_positions_of_two_texts_are_not_the_same_tokens(room):
    room.selection.show_kind(CROSS)
    room.selection.select_pairs([1], [1])
    assert tokens_in_words(room) == "from: docteur · to: the"


def test_many_tokens_are_counted(room):
    room.selection.select_tokens(range(7))
    assert tokens_in_words(room) == "tokens: [CLS], the, doctor, said and 3 more"


@pytest.mark.parametrize(
    ("token", "shown"),
    [
        ("doctor", "doctor"), ("Ġdoctor", "doctor"), ("▁doctor", "doctor"), ("##tor", "tor"), ("Ġ", "␣"), ("▁", "␣"),
        ("", "␣"), ("Ċ", "↵"), ("\n", "↵"), ("\x00", "␀"), ("a\tb", "a␉b"), ("\x7f", "␡"), ("<script>", "<script>"),
        ("&amp;", "&amp;"), ("**bold**", "**bold**"), ("דוקטור", "דוקטור"), ("👩‍👩‍👧", "👩‍👩‍👧"), ("x" * 10_000, "x" * 10_000),
    ],
)  # fmt: skip
def test_a_token_is_shown_as_a_reader_knows_it(token, shown):
    assert shown_token(token) == shown
    assert all(visible(character) == character for character in shown)


def test_the_bar_keeps_up(room):
    bar = BarLens(room)
    assert (bar.said(), bar.heads, bar.tokens) == (NOTHING, "", "")
    room.selection.select_heads(heads((0, 0), (0, 1)), label="a box on the Map")
    assert bar.said() == "encoder 2 heads of a box on the Map"
    # The same heads, chosen as something else: the words change although no head does.
    room.selection.select_heads(heads((0, 0), (0, 1)), label="layer 0")
    assert bar.heads == "encoder 2 heads of layer 0"
    room.selection.select_tokens([2])
    assert bar.said() == "encoder 2 heads of layer 0 · tokens: doctor"
    room.selection.clear()
    assert bar.said() == NOTHING


def test_the_bar_chooses_the_kind_and_follows_it(room):
    bar = BarLens(room)
    assert (bar.chosen, bar.several, list(bar.param.chosen.objects)) == (ENCODER, True, [ENCODER, DECODER, CROSS])
    bar.chosen = CROSS
    assert room.selection.focus == HeadId(CROSS, 0, 0)
    room.selection.show_kind(DECODER)
    assert bar.chosen == DECODER
    room.pipeline.show(single(DECODER))
    assert (bar.chosen, bar.several, list(bar.param.chosen.objects)) == (DECODER, False, [DECODER])
    room.pipeline.show(single())
    assert (bar.chosen, room.kind) == (ENCODER, ENCODER)


# -- what is switched off ----------------------------------------------------------------------------------------------


@functools.cache
def run_of(**changes):
    """A run of a tiny model, with heads switched off, edges cut or patched as said."""
    model = loaded("BERT")
    if "patch" in changes:
        width = model.trace(TEXT).vectors("head_read", layer=0, head=0).to_numpy()
        changes["patch"] = {place: Output(width) for place in changes["patch"]}
    return model.trace(TEXT, capture=(), **changes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, ""),
        ({"ablate": ((0, 1),)}, "1 head switched off"),
        ({"ablate": ((0, 1), (2, 3)), "knock_out": (((0, 0), 3, 1),)}, "2 heads switched off, 1 edge cut"),
        ({"knock_out": (((0, 0), 3, 1), ((0, 0), 3, 2))}, "2 edges cut"),
        ({"ablate": ((0, 1),), "patch": ((1, 2),)}, "1 head switched off, 1 head patched"),
    ],
)
def test_what_the_run_on_screen_was_made_without_is_said(changes, said):
    room = workspace(run_of(**changes))
    assert changes_in_words(room) == said
    bar = BarLens(room)
    assert bar.changes == said
    assert bar.said() == (f"{NOTHING} · {said}" if said else NOTHING)


def test_what_is_only_asked_for_is_said_of_the_next_run(room):
    bar = BarLens(room)
    room.interventions.ablated = frozenset(heads((0, 1), (1, 1)))
    assert bar.changes == changes_in_words(room) == "the next run: 2 heads switched off"
    room.interventions.cut = frozenset({(HeadId(ENCODER, 0, 0), 3, 1)})
    assert bar.said() == f"{NOTHING} · the next run: 2 heads switched off, 1 edge cut"
    room.selection.select_tokens([2])
    assert bar.said() == "tokens: doctor · the next run: 2 heads switched off, 1 edge cut"
    room.interventions.clear()
    assert bar.said() == "tokens: doctor"


def test_before_a_trace_what_the_first_run_will_be_made_without_is_said():
    room = workspace()
    room.interventions.ablated = frozenset(heads((0, 1)))
    assert changes_in_words(room) == "the next run: 1 head switched off"


def test_the_run_on_screen_is_spoken_of_before_the_next_one():
    room = workspace(run_of(ablate=((0, 1),)))
    room.interventions.ablated = frozenset(heads((0, 1), (0, 2), (0, 3)))
    assert BarLens(room).changes == "1 head switched off"


def test_to_let_go_of_what_is_switched_off_is_to_run_with_all_of_it():
    whole, without = run_of(), run_of(ablate=((0, 1),))
    asked = []

    def kept(job):
        asked.append((job.ablate, job.knock_out))
        return without if job.ablate else whole

    room = Workspace(never, kept=kept)
    bar = BarLens(room)
    room.interventions.param.update(ablated=frozenset(heads((0, 1))), cut=frozenset({(HeadId(ENCODER, 0, 0), 3, 1)}))
    room.pipeline.run()
    room.selection.select_heads(heads((1, 1)))
    assert (room.trace, bar.changes) == (without, "1 head switched off")
    bar.let_go("changes")
    assert (room.interventions.ablated, room.interventions.cut) == (frozenset(), frozenset())
    assert asked == [((HeadId(ENCODER, 0, 1),), ((HeadId(ENCODER, 0, 0), 3, 1),)), ((), ())]
    assert (room.trace, bar.changes, room.pipeline.asked) == (whole, "", 2)
    assert bar.heads == "L1 H1"  # what is selected stays


def test_the_selected_heads_are_switched_off_with_those_that_already_are():
    whole, asked = run_of(), []

    def kept(job):
        asked.append(job.ablate)
        return run_of(ablate=tuple((head.layer, head.head) for head in job.ablate)) if job.ablate else whole

    room = Workspace(never, kept=kept)
    bar = BarLens(room)
    room.pipeline.run()
    assert bar.off == ""  # nothing is selected
    bar.switch_off()
    room.selection.select_heads(heads((0, 1)))
    assert bar.off == "Switch off"
    bar.switch_off()
    assert (bar.off, bar.changes) == ("", "1 head switched off")
    room.selection.select_heads(heads((0, 1), (1, 0)))
    bar.switch_off()
    assert asked == [(), (HeadId(ENCODER, 0, 1),), (HeadId(ENCODER, 0, 1), HeadId(ENCODER, 1, 0))]
    assert bar.changes == "2 heads switched off"


def test_the_edges_between_the_selected_tokens_are_cut_for_the_heads_on_screen():
    asked = []

    def kept(job):
        asked.append(job.knock_out)
        return run_of(knock_out=tuple(((head.layer, head.head), query, key) for head, query, key in job.knock_out))

    room = Workspace(never, kept=kept)
    bar = BarLens(room)
    room.pipeline.run()
    room.selection.select_heads(heads((0, 1), (1, 0)))
    assert bar.cut == ""  # from no token to no token
    room.selection.select_tokens([2, 3], axis="from")
    assert bar.cut == ""
    room.selection.select_tokens([1], axis="to")
    assert bar.cut == "Cut edges"
    bar.cut_edges()
    expected = {(HeadId(ENCODER, *place), query, 1) for place in ((0, 1), (1, 0)) for query in (2, 3)}
    assert set(asked[-1]) == room.interventions.cut == expected
    assert (bar.changes, bar.cut) == ("4 edges cut", "")
    weights = room.trace.attention(ENCODER, layer=0, head=1)
    assert np.isnan(weights[2:4, 1]).all()
    assert np.nansum(weights, axis=-1) == pytest.approx(1)
    room.selection.select_heads(heads((2, 2)))
    room.selection.clear("heads")
    assert room.selection.focus == HeadId(ENCODER, 2, 2)
    assert bar.cut == "Cut edges"  # those of the head in focus
    bar.cut_edges()
    assert set(asked[-1]) == expected | {(room.selection.focus, query, 1) for query in (2, 3)}
    bar.let_go("changes")
    assert asked[-1] == ()


def test_what_no_head_sees_and_more_edges_than_a_link_holds_cannot_be_cut(monkeypatch):
    room = Workspace(never)
    room.pipeline.show(loaded("GPT-2").trace(TEXT))
    bar = BarLens(room)
    room.selection.select_tokens([0], axis="from")
    room.selection.select_tokens([1], axis="to")
    assert bar.cut == ""  # the future
    room.selection.select_tokens([2, 3], axis="from")
    assert bar.cut == "Cut edges"
    monkeypatch.setattr(module, "MOST_EDGES", 1)
    bar.forget()
    assert bar.cut == ""
    bar.cut_edges()
    assert room.interventions.cut == frozenset()


def test_heads_of_a_trace_without_its_model_cannot_be_switched_off(room):
    bar = BarLens(room)
    room.selection.select_heads(heads((0, 1)))
    assert bar.off == ""
    bar.switch_off()
    assert (room.interventions.ablated, room.pipeline.asked) == (frozenset(), 0)


def test_to_let_go_of_heads_or_tokens_runs_nothing(room):
    bar = BarLens(room)
    room.selection.select_heads(heads((0, 1)))
    room.selection.select_tokens([2])
    bar.let_go("heads")
    assert (bar.heads, bar.tokens) == ("", "tokens: doctor")
    bar.let_go("tokens")
    nothing = NOTHING.replace("L0 H0", "L0 H1")  # the head that was selected stays in focus
    assert (bar.said(), room.selection.origin, room.pipeline.asked) == (nothing, "bar", 0)


def test_the_only_head_is_not_called_all_heads():
    assert heads_in_words(workspace(single(layers=1, heads=1))) == "the only head"


def test_tokens_that_could_be_taken_for_another_are_said_with_their_position():
    room = workspace(single(tokens=("the", "cat", "saw", "the", "dog")))
    room.selection.select_tokens([0, 1, 3])
    assert tokens_in_words(room) == "tokens: the (0), cat, the (3)"


@pytest.mark.parametrize(
    ("read", "then", "said"),
    [
        ("9", "8", "9 ⇒ 8"),
        ("<pad>", "1998", "<pad> ⇒ 1998"),
        ("un", "docteur", "un ⇒ docteur"),
        ("docteur", "un", "docteur ⇒ un"),
        ("docteur", "anglais", "doc… ⇒ angl…"),
    ],
)
def test_two_tokens_take_the_room_of_one_name(read, then, said):
    assert paired(read, then) == said
    assert len(said) <= TICK_LETTERS


def test_rows_of_a_decoder_name_what_they_predict_and_those_of_other_kinds_do_not():
    trace = both()
    pairs = ("le ⇒ docteur", "docteur ⇒ a", "a ⇒ dit", "dit ⇒ oui", "oui ⇒ ?")
    assert row_names(trace, CROSS) == row_names(trace, DECODER) == pairs
    assert row_names(trace, ENCODER) == ("[CLS]", "the", "doctor", "said", "she", "ran", ".", "[SEP]")
    assert row_names(single(DECODER), DECODER)[2] == "doctor"
