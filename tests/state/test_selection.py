"""One Selection, one truth: every gesture of the design's table as state, and what must hold whatever anybody does."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from atlas.errors import UnknownName
from atlas.ids import KINDS, HeadId
from atlas.state.selection import AXES, PARTS, Selection
from tests.state.readers import CROSS, DECODER, ENCODER, SOURCE, Listener, both, single

NONE = frozenset()


def head(layer, number, kind=ENCODER):
    return HeadId(kind, layer, number)


def on(trace):
    made = Selection()
    made.clip_to(trace)
    return made


def said(selection):
    """What the one call a gesture made was about."""
    calls = selection.listener.take()
    assert len(calls) == 1, f"one gesture, {len(calls)} events"
    return calls[0]


@pytest.fixture
def selection():
    made = on(both())
    made.listener = Listener(made)
    return made


# -- the table of the design -------------------------------------------------------------------------------------------


def test_a_tap_on_a_head_is_focus_and_heads(selection):
    selection.pick(head(1, 2), origin="map")
    assert (selection.focus, selection.heads, selection.origin) == (head(1, 2), {head(1, 2)}, "map")
    assert said(selection).keys() == {"focus", "heads", "origin"}


def test_the_same_tap_again_lets_go_and_a_third_takes_it_back(selection):
    for expected in ({head(1, 2)}, NONE, {head(1, 2)}):
        selection.pick(head(1, 2))
        assert selection.heads == expected
        assert selection.focus == head(1, 2)


def test_a_tap_on_the_selected_head_shows_it_again_where_another_is_shown_meanwhile(selection):
    selection.pick(head(1, 2))
    selection.step(-1, 0)
    selection.pick(head(1, 2))
    assert (selection.focus, selection.heads) == (head(1, 2), {head(1, 2)})


def test_a_box_a_lasso_a_cluster_a_layer_is_heads_with_their_name(selection):
    chosen = [head(0, 1), head(1, 1), head(1, 3)]
    selection.select_heads((each for each in chosen), origin="scatter", label="cluster 'previous token'")
    assert selection.heads == set(chosen)
    assert selection.label == "cluster 'previous token'"
    assert selection.focus == head(0, 1)
    assert said(selection).keys() == {"focus", "heads", "label", "origin"}


def test_the_focus_stays_where_it_is_among_the_selected_heads(selection):
    selection.focus_on(head(1, 3))
    selection.select_heads([head(0, 0), head(1, 3)])
    assert selection.focus == head(1, 3)


def test_the_focus_moves_to_a_head_of_its_own_kind_before_one_of_another(selection):
    selection.show_kind(DECODER)
    selection.select_heads([head(0, 1), head(2, 1, DECODER), head(0, 0, CROSS)])
    assert selection.focus == head(2, 1, DECODER)


def test_a_name_does_not_outlive_the_heads_it_named(selection):
    selection.select_heads([head(0, 0), head(0, 1)], label="a box")
    selection.toggle_heads([head(0, 1)])
    assert (selection.heads, selection.label) == ({head(0, 0)}, "")
    selection.select_heads([], label="nothing")
    assert (selection.heads, selection.label) == (NONE, "")


def test_toggling_takes_what_is_not_there_and_lets_go_of_what_is(selection):
    selection.select_heads([head(0, 0), head(0, 1)])
    selection.toggle_heads([head(0, 1), head(1, 1)])
    assert selection.heads == {head(0, 0), head(1, 1)}


@pytest.mark.parametrize(("axis", "queries", "keys"), [("both", {1, 4}, {1, 4}), ("from", {1, 4}, NONE), ("to", NONE, {1, 4})])
def test_a_click_on_the_text_selects_rows_columns_or_both_by_the_switch(selection, axis, queries, keys):
    selection.select_tokens([4, 1, 1], axis=axis, side="source", origin="strip")
    assert (selection.queries, selection.keys) == (queries, keys)
    assert len(said(selection)) == 1 + bool(queries) + bool(keys)


def test_the_other_axis_keeps_what_it_had(selection):
    selection.select_tokens([5], axis="to")
    selection.select_tokens([2], axis="from")
    assert (selection.queries, selection.keys) == ({2}, {5})


def test_shift_click_adds_and_the_same_again_takes_away(selection):
    selection.select_tokens([1])
    selection.toggle_tokens([3, 4])
    assert selection.queries == selection.keys == {1, 3, 4}
    selection.toggle_tokens([3])
    assert selection.queries == selection.keys == {1, 4}
    # Some of them there, some not: a range that is dragged over a selected token selects the range.
    selection.toggle_tokens([4, 5])
    assert selection.queries == selection.keys == {1, 4, 5}


def test_a_click_on_a_cell_is_its_row_and_its_column(selection):
    selection.select_pairs([3], [6], origin="matrix")
    assert (selection.queries, selection.keys) == ({3}, {6})
    assert said(selection).keys() == {"queries", "keys", "origin"}


def test_a_click_on_a_label_is_a_row_or_a_column(selection):
    selection.select_tokens([3], axis="from")
    selection.select_tokens([6], axis="to")
    assert (selection.queries, selection.keys) == ({3}, {6})


@pytest.mark.parametrize("part", [*PARTS, None])
def test_clearing_lets_go_of_that_part_alone(selection, part):
    selection.select_heads([head(0, 1), head(0, 2)], label="a box")
    selection.select_pairs([1], [2])
    selection.listener.take()
    selection.clear(part, origin="bar")
    heads = NONE if part in ("heads", None) else {head(0, 1), head(0, 2)}
    queries = NONE if part in ("queries", "tokens", None) else {1}
    keys = NONE if part in ("keys", "tokens", None) else {2}
    assert (selection.heads, selection.queries, selection.keys) == (heads, queries, keys)
    assert selection.label == ("a box" if heads else "")
    assert selection.focus == head(0, 1)
    assert said(selection)["origin"] == "bar"
    assert selection.is_empty == (part is None)


def test_what_cannot_be_cleared_is_said(selection):
    with pytest.raises(UnknownName, match=r"'focus' cannot be cleared; one of heads, tokens, queries, keys"):
        selection.clear("focus")


# -- kinds and sides ---------------------------------------------------------------------------------------------------


def test_a_source_token_can_only_be_looked_at_in_cross_attention_whatever_the_switch_says(selection):
    selection.show_kind(CROSS)
    for axis in AXES:
        selection.clear("tokens")
        selection.select_tokens([7], axis=axis, side="source")
        assert (selection.queries, selection.keys) == (NONE, {7})
        selection.clear("tokens")
        selection.select_tokens([2], axis=axis, side="target")
        assert (selection.queries, selection.keys) == ({2}, NONE)


def test_a_token_of_a_side_that_takes_no_part_selects_nothing(selection):
    selection.select_tokens([1])
    selection.listener.take()
    selection.select_tokens([2], side="target")
    selection.toggle_tokens([2], side="target")
    assert selection.queries == selection.keys == {1}
    assert selection.listener.take() == []


def test_another_kind_drops_tokens_only_where_they_are_others(selection):
    selection.select_pairs([1], [2])
    selection.listener.take()
    selection.show_kind(CROSS)  # keys are the source's as before, queries are the decoder's now
    assert (selection.kind, selection.queries, selection.keys) == (CROSS, NONE, {2})
    assert said(selection).keys() == {"focus", "queries"}
    selection.select_pairs([4], [7])
    selection.show_kind(DECODER)
    assert (selection.queries, selection.keys) == ({4}, NONE)
    selection.show_kind(ENCODER)
    assert (selection.queries, selection.keys) == (NONE, NONE)


def test_another_kind_shows_the_same_layer_and_head_where_it_has_them(selection):
    selection.focus_on(head(1, 3))
    selection.show_kind(CROSS)
    assert selection.focus == head(1, 1, CROSS)  # three layers of two heads
    selection.show_kind(ENCODER)
    assert selection.focus == head(1, 1)


def test_a_kind_that_is_not_there_is_refused_with_those_that_are():
    with pytest.raises(UnknownName, match=r"no 'cross' attention; it has encoder\."):
        on(single()).show_kind("cross")
    with pytest.raises(UnknownName, match=r"none yet: run a text first"):
        Selection().show_kind("cross")


def test_heads_of_other_kinds_stay_selected_and_are_not_among_those_of_this_one(selection):
    selection.select_heads([head(0, 1), head(1, 0, CROSS), head(2, 1, CROSS)])
    assert selection.heads_of(ENCODER) == (head(0, 1),)
    assert selection.heads_of(CROSS) == (head(1, 0, CROSS), head(2, 1, CROSS))
    assert selection.heads_of(DECODER) == ()
    selection.show_kind(CROSS)
    assert len(selection.heads) == 3


def test_arrow_keys_stop_at_the_edges(selection):
    for _ in range(9):
        selection.step(1, 1)
    assert selection.focus == head(1, 3)
    for _ in range(9):
        selection.step(-1, -1)
    assert selection.focus == head(0, 0)
    selection.listener.take()
    selection.step(-1, 0)
    assert selection.listener.take() == []


# -- before and between traces -----------------------------------------------------------------------------------------


def test_before_the_first_trace_nothing_breaks():
    selection = Selection()
    selection.step(1, 1)
    selection.clear()
    selection.restore(head(9, 9, DECODER), [head(9, 9, DECODER)], [500], [501], "a link")
    selection.step(1, 1)
    assert selection.focus == head(9, 9, DECODER)
    assert selection.queries == {500}


def test_a_link_that_comes_before_its_trace_is_fitted_when_the_trace_is_there():
    selection = Selection()
    selection.restore(head(1, 2), [head(1, 2), head(7, 7)], [1, 99], [2], "cluster 'x'")
    selection.clip_to(single())
    assert (selection.focus, selection.heads) == (head(1, 2), {head(1, 2)})
    assert (selection.queries, selection.keys) == ({1}, {2})
    # One of the heads the name was of is gone: it is not that cluster any more.
    assert selection.label == ""


def test_a_link_keeps_its_name_only_where_all_its_heads_are_there(selection):
    selection.restore(head(0, 1), [head(0, 1), head(1, 1)], [], [], "cluster 'x'")
    assert selection.label == "cluster 'x'"
    selection.restore(head(0, 1), [head(0, 1), head(7, 7)], [], [], "cluster 'x'")
    assert (selection.heads, selection.label) == ({head(0, 1)}, "")


def test_a_link_to_a_head_that_is_not_here_leaves_the_focus(selection):
    selection.focus_on(head(1, 1))
    selection.restore(head(5, 0), [], [3], [3], "")
    assert (selection.focus, selection.queries) == (head(1, 1), {3})


def test_the_tokens_of_a_link_are_checked_against_the_side_of_its_own_focus(selection):
    # The encoder is on screen, with 8 tokens; the link is about cross-attention, whose queries are the 5 of the target.
    selection.restore(head(0, 0, CROSS), [], [4, 5, 7], [5, 7, 8], "")
    assert (selection.queries, selection.keys) == ({4}, {5, 7})


def test_a_smaller_trace_keeps_what_it_has_of_it():
    selection = on(single(layers=4, heads=4))
    selection.select_heads([head(0, 1), head(3, 3)], label="a box")
    selection.focus_on(head(3, 3))
    selection.select_pairs([1, 7], [0, 6])
    selection.clip_to(single(layers=2, heads=2, tokens=(*SOURCE[:2], "c")))
    assert (selection.focus, selection.heads, selection.label) == (head(0, 0), {head(0, 1)}, "")
    assert (selection.queries, selection.keys) == ({1}, {0})


def test_tokens_of_the_decoder_do_not_become_tokens_of_the_text_with_the_next_trace():
    selection = on(both())
    selection.show_kind(CROSS)
    selection.select_pairs([2], [3])
    selection.clip_to(single())  # an encoder alone: what looked was the target's, and there is none
    assert (selection.kind, selection.queries, selection.keys) == (ENCODER, NONE, {3})
    selection = on(both())
    selection.show_kind(DECODER)
    selection.select_tokens([2])
    selection.clip_to(single(DECODER))  # the same kind, and other tokens: those of the one text there is
    assert (selection.kind, selection.queries, selection.keys) == (DECODER, NONE, NONE)


def test_the_same_text_again_keeps_all_of_it():
    selection = on(both())
    selection.show_kind(CROSS)
    selection.select_heads([head(1, 1, CROSS)], label="x")
    selection.select_pairs([2], [3])
    before = selection.param.values()
    listener = Listener(selection)
    selection.clip_to(both(seed=5))
    assert selection.param.values() == before
    assert listener.take() == []


# -- what goes along and what stays -------------------------------------------------------------------------------------


def test_the_only_selected_head_goes_along_with_the_one_shown_large(selection):
    selection.select_heads([head(0, 1)], label="cluster 'x'")
    selection.listener.take()
    selection.step(1, 1)
    assert (selection.focus, selection.heads, selection.label) == (head(1, 2), {head(1, 2)}, "")
    assert said(selection).keys() == {"focus", "heads", "label"}
    selection.focus_on(head(0, 3), origin="slider")
    assert (selection.focus, selection.heads) == (head(0, 3), {head(0, 3)})
    assert said(selection).keys() == {"focus", "heads", "origin"}


def test_several_selected_heads_stay_whichever_is_shown_large(selection):
    selection.select_heads([head(0, 1), head(1, 1)], label="a box")
    selection.step(1, 0)
    selection.focus_on(head(1, 3))
    assert (selection.focus, selection.heads, selection.label) == (head(1, 3), {head(0, 1), head(1, 1)}, "a box")
    selection.clear("heads")
    selection.step(-1, 0)
    assert (selection.focus, selection.heads) == (head(0, 3), NONE)  # none is selected: none goes along


def test_a_selected_head_that_is_not_the_one_shown_large_stays(selection):
    selection.select_heads([head(0, 1), head(1, 1)])
    selection.focus_on(head(1, 3))
    selection.show_kind(CROSS)
    selection.select_heads([head(0, 1)])
    selection.show_kind(CROSS)
    selection.step(1, 0)
    assert (selection.focus, selection.heads) == (head(1, 1, CROSS), {head(0, 1)})


def test_the_only_selected_head_does_not_go_over_to_another_kind(selection):
    selection.pick(head(1, 1))
    selection.show_kind(CROSS)
    assert (selection.focus, selection.heads) == (head(1, 1, CROSS), {head(1, 1)})
    selection.step(1, 0)
    assert (selection.focus, selection.heads) == (head(2, 1, CROSS), {head(1, 1)})


def test_shift_click_on_a_side_adds_to_each_axis_what_is_not_there_and_nothing_of_the_other(selection):
    selection.select_pairs([1], [5])
    selection.toggle_tokens([3])
    assert (selection.queries, selection.keys) == ({1, 3}, {3, 5})  # the row 1 is no column, the column 5 no row
    selection.toggle_tokens([3])
    assert (selection.queries, selection.keys) == ({1}, {5})
    selection.toggle_tokens([1])  # a row already, no column yet: both of them now, neither the next time
    assert (selection.queries, selection.keys) == ({1}, {1, 5})
    selection.toggle_tokens([1])
    assert (selection.queries, selection.keys) == (NONE, {5})
    selection.toggle_tokens([1], axis="from")
    assert (selection.queries, selection.keys) == ({1}, {5})


def test_a_position_is_kept_where_the_same_token_stands(selection):
    selection.select_pairs([1, 2, 6], [2, 3, 7])
    other = ["[CLS]", "the", "baker", "said", "she", "ran", ".", "[SEP]"]
    selection.clip_to(both(source=tuple(other)))
    assert (selection.queries, selection.keys) == ({1, 6}, {3, 7})  # 'doctor' is not selected as 'baker'
    selection.clip_to(both(source=("[CLS]", "the", "nurse")))
    assert (selection.queries, selection.keys) == ({1}, NONE)


def named(names):
    """A trace whose tokens have just these names, marks of a tokenizer and all."""
    trace = single(tokens=tuple(names))
    return replace(trace, token_tables={"source": trace.token_tables["source"].assign(token=list(names))}, _cache={})


@pytest.mark.parametrize("mark", ["Ġ", "▁"])
def test_the_same_word_is_the_same_however_a_tokenizer_marks_it(mark):
    pieces = ["the", "doctor", "said", "she", "ran"]
    marked = [mark + piece for piece in pieces]
    for before, after in ((pieces, marked), (marked, pieces), (marked, marked)):
        selection = on(named(before))
        selection.select_heads([head(0, 1), head(1, 1)], label="a box")
        selection.select_pairs([1, 4], [2])
        selection.clip_to(named(after))
        assert (selection.queries, selection.keys, selection.label) == ({1, 4}, {2}, "a box")
        selection.clip_to(named([*after[:4], f"{after[4]}s"]))
        assert (selection.queries, selection.keys, selection.label) == ({1}, {2}, "")


def test_what_heads_were_chosen_as_was_true_of_the_text_before():
    chosen, name = [head(0, 1), head(1, 1)], "cluster 'previous token'"
    selection = on(single())
    selection.select_heads(chosen, label=name)
    selection.clip_to(single(seed=5))  # another run of the same text
    assert (selection.heads, selection.label) == (set(chosen), name)
    selection.clip_to(single(tokens=(*SOURCE[:-1], "!")))
    assert (selection.heads, selection.label) == (set(chosen), "")


def test_the_first_trace_takes_the_tokens_of_a_link_as_they_are():
    selection = Selection()
    selection.restore(head(0, 1), [head(0, 1), head(1, 1)], [1], [2, 99], "a box")
    selection.clip_to(single())
    assert (selection.queries, selection.keys, selection.label) == ({1}, {2}, "a box")


# -- who may write, and who is told ------------------------------------------------------------------------------------


OTHERS = {"focus": head(1, 1), "heads": {head(1, 1)}, "queries": {1}, "keys": {1}, "origin": "me", "label": "mine"}


@pytest.mark.parametrize("name", OTHERS)
def test_nobody_else_writes(selection, name):
    before = selection.param.values()
    value = frozenset(OTHERS[name]) if isinstance(OTHERS[name], set) else OTHERS[name]
    with pytest.raises(TypeError, match=r"[Cc]onstant"):
        setattr(selection, name, value)
    with pytest.raises(TypeError, match=r"[Cc]onstant"):
        selection.param.update(**{name: value})
    assert selection.param.values() == before


def test_who_is_told_of_a_change_may_not_write_either(selection):
    refused = []

    def meddle(*_):
        for name in ("heads", "queries"):
            try:
                setattr(selection, name, NONE)
            except TypeError:
                refused.append(name)

    selection.param.watch(meddle, "focus")
    selection.pick(head(1, 1))
    assert refused == ["heads", "queries"]
    assert selection.heads == {head(1, 1)}
    # And another one, made meanwhile, is no way in.
    assert Selection().param.focus.constant


def test_sets_are_frozen(selection):
    selection.select_tokens([1])
    with pytest.raises(AttributeError):
        selection.queries.add(2)


def test_a_view_that_reads_two_fields_never_sees_one_old_and_one_new(selection):
    seen = []
    for name in ("focus", "heads", "queries", "keys"):
        selection.param.watch(lambda *_: seen.append((selection.focus, selection.heads, selection.queries, selection.keys)), name)
    selection.restore(head(1, 2), [head(1, 2)], [3], [4], "")
    assert seen == [(head(1, 2), {head(1, 2)}, {3}, {4})] * 4


def test_a_gesture_that_changes_nothing_tells_nobody(selection):
    selection.select_heads([head(1, 1)], origin="map")
    selection.select_pairs([1], [2], origin="matrix")
    selection.listener.take()
    for again in (
        lambda: selection.select_heads([head(1, 1)], origin="table"),
        lambda: selection.select_pairs([1], [2], origin="table"),
        lambda: selection.focus_on(head(1, 1), origin="slider"),
        lambda: selection.focus_on(head(9, 9), origin="slider"),
        lambda: selection.show_kind(ENCODER, origin="kind"),
    ):
        again()
        assert selection.listener.take() == []
    assert selection.origin == "matrix"
    selection.clear()
    selection.listener.take()
    selection.clear()
    assert selection.listener.take() == []


def test_a_watcher_may_answer_with_a_gesture_of_its_own(selection):
    selection.param.watch(lambda *_: selection.select_tokens([1], axis="from"), "focus")
    selection.focus_on(head(1, 1))
    assert (selection.focus, selection.queries) == (head(1, 1), {1})
    with pytest.raises(TypeError, match=r"[Cc]onstant"):
        selection.heads = NONE


def test_two_selections_know_nothing_of_each_other():
    one, other = on(both()), on(both())
    listener = Listener(other)
    one.select_heads([head(1, 1)])
    one.select_tokens([1])
    assert listener.take() == []
    assert (other.heads, other.queries, other.focus) == (NONE, NONE, head(0, 0))


# -- whatever anybody does ---------------------------------------------------------------------------------------------

TRACES = (
    both(),
    both(encoder=(1, 1), decoder=(1, 1), source=("a",), target=("b",)),
    both(encoder=(3, 2), decoder=(2, 4), source=("a", "b", "c"), target=tuple("defghij")),
    single(),
    single(DECODER, 4, 1, tuple("abcdefghijkl")),
    single(layers=1, heads=6, tokens=("a", "b")),
)

heads = st.builds(HeadId, st.sampled_from(KINDS), st.integers(0, 4), st.integers(0, 6))
some_heads = st.frozensets(heads, max_size=5)
positions = st.frozensets(st.integers(-2, 13), max_size=5)
axes, sides = st.sampled_from(AXES), st.sampled_from(["source", "target", None])


class Anybody(RuleBasedStateMachine):
    """Gestures in any order, on traces that come and go."""

    @initialize(trace=st.sampled_from(TRACES), link=st.one_of(st.none(), st.tuples(heads, some_heads, positions, positions)))
    def begin(self, trace, link):
        self.selection = Selection()
        self.listener = Listener(self.selection)
        if link is not None:
            self.selection.restore(*link, "a link")
        self.trace = trace
        self.selection.clip_to(trace)
        self.listener.take()

    def do(self, gesture, *, tokens=False):
        """One gesture: at most one event, whose news are true, and tokens kept or dropped as the sides say."""
        chosen = self.selection
        before, kind = chosen.param.values(), chosen.kind
        gesture(chosen)
        calls = self.listener.take()
        after = chosen.param.values()
        changed = {name for name, value in after.items() if value != before[name]}
        assert len(calls) <= 1
        assert set().union(*calls) == changed
        assert all(after[name] == value for call in calls for name, value in call.items())
        if not tokens:
            for name, axis in (("queries", "query"), ("keys", "key")):
                same = self.trace.side(kind, axis) == self.trace.side(chosen.kind, axis)
                assert after[name] == (before[name] if same else NONE)

    def there(self, some):
        return {h for h in some if h in self.trace.head_ids}

    @rule(trace=st.sampled_from(TRACES))
    def another_trace(self, trace):
        before = self.selection.param.values()
        self.selection.clip_to(trace)
        assert len(self.listener.take()) <= 1
        self.trace = trace
        assert self.selection.heads == self.there(before["heads"])
        if before["focus"] in trace.head_ids:
            assert self.selection.focus == before["focus"]
        assert self.selection.queries <= before["queries"]
        assert self.selection.keys <= before["keys"]

    @rule(some=some_heads, label=st.sampled_from(["", "a box"]))
    def select(self, some, label):
        self.do(lambda chosen: chosen.select_heads(some, label=label))
        assert self.selection.heads == self.there(some)
        assert not self.selection.heads or self.selection.focus in self.selection.heads

    @rule(some=some_heads)
    def toggle(self, some):
        before = self.selection.heads
        self.do(lambda chosen: chosen.toggle_heads(some))
        assert self.selection.heads == before ^ self.there(some)

    @rule(one=heads)
    def pick(self, one):
        before, focus = self.selection.heads, self.selection.focus
        self.do(lambda chosen: chosen.pick(one))
        again = before == {one} and focus == one
        assert self.selection.heads == (NONE if again else self.there({one}))

    @rule(one=heads)
    def focus(self, one):
        before = self.selection.focus
        self.do(lambda chosen: chosen.focus_on(one))
        assert self.selection.focus == (one if one in self.trace.head_ids else before)

    @rule(kind=st.sampled_from(KINDS))
    def kind(self, kind):
        if kind not in self.trace.kinds:
            with pytest.raises(UnknownName):
                self.selection.show_kind(kind)
            return
        self.do(lambda chosen: chosen.show_kind(kind))
        assert self.selection.kind == kind

    @rule(layers=st.integers(-5, 5), across=st.integers(-5, 5))
    def arrow(self, layers, across):
        self.do(lambda chosen: chosen.step(layers, across))

    @rule(some=positions, axis=axes, side=sides)
    def tokens(self, some, axis, side):
        self.do(lambda chosen: chosen.select_tokens(some, axis=axis, side=side), tokens=True)

    @rule(some=positions, axis=axes, side=sides)
    def shift_click(self, some, axis, side):
        self.do(lambda chosen: chosen.toggle_tokens(some, axis=axis, side=side), tokens=True)

    @rule(one=positions, other=positions)
    def pairs(self, one, other):
        self.do(lambda chosen: chosen.select_pairs(one, other), tokens=True)

    @rule(part=st.sampled_from([*PARTS, None]))
    def clear(self, part):
        self.do(lambda chosen: chosen.clear(part), tokens=True)

    @rule(focus=st.one_of(st.none(), heads), some=some_heads, one=positions, other=positions)
    def link(self, focus, some, one, other):
        self.do(lambda chosen: chosen.restore(focus, some, one, other, "a link"), tokens=True)
        assert self.selection.heads == self.there(some)

    @invariant()
    def it_is_all_there(self):
        chosen = self.selection
        assert chosen.focus in self.trace.head_ids
        assert chosen.heads <= set(self.trace.head_ids)
        assert not chosen.label or chosen.heads
        for positions_, axis in ((chosen.queries, "query"), (chosen.keys, "key")):
            side = self.trace.side(chosen.kind, axis)
            assert chosen.side(axis) == side
            assert all(0 <= at < len(self.trace.token_tables[side]) for at in positions_)
        assert all(chosen.param[name].constant for name in ("focus", "heads", "queries", "keys", "label", "origin"))


TestAnybody = Anybody.TestCase
TestAnybody.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
