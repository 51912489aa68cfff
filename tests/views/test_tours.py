"""Guided tours without a browser: every step of every tour, what its sentences claim, and the way in and out."""

from __future__ import annotations

import functools

import holoviews as hv
import pytest

import atlas
from atlas.app import AttentionAtlas
from atlas.attribution import Target, attribute, head_effects
from atlas.engine.running.service import Service
from atlas.ids import HeadId
from atlas.state.guide import AWAY, UNTRUE
from atlas.state.lessons import CAKE, LOUD, TOURS
from atlas.state.tour import Step, written
from atlas.views.catalog import TABS
from atlas.views.single import view_types
from tests.state.readers import single
from tests.test_ordinary_texts import PRESSED, Card, nothing_logged

TEXT = "The cake was good."


@pytest.fixture(scope="module", autouse=True)
def _bokeh():
    hv.extension("bokeh", logo=False)


@functools.cache
def service():
    return Service()


def page():
    """A session without cards: a test makes those it looks at."""
    return AttentionAtlas(service(), tabs=[])


@pytest.fixture
def app():
    made = page()
    made.open("bert-mini", TEXT)
    return made


def read(app, name="text"):
    return getattr(app.workspace.pipeline.input, name)


def test_there_are_five_tours_of_few_steps_each_with_few_sentences():
    assert len({tour.key for tour in TOURS}) == len(TOURS) == 5
    for tour in TOURS:
        assert 4 <= len(tour.steps) <= 7
        for step in tour.steps:
            assert 1 <= step.words.count(". ") + step.words.count("? ") + 1 <= 4
            assert len(step.words) < 330
            assert not set(step.claims) - set(step.numbers)


def test_no_number_of_a_measured_kind_is_written_by_hand():
    """Digits in the words are names of heads and places; every other number comes from the trace."""
    for step in (step for tour in TOURS for step in tour.steps):
        left = step.words.replace("sum to 1", "").replace("and 1 would", "").replace("row 2, column 4", "")
        for name in ("L0 H0", "L1 H4", "L2 H4", "L5 H7"):
            left = left.replace(name, "")
        assert not any(letter.isdigit() for letter in left), left


@pytest.mark.parametrize("tour", TOURS, ids=lambda tour: tour.key)
def test_every_step_draws_its_card_and_holds_what_it_claims(tour):
    app = page()
    space, guide = app.workspace, app.guide
    cards = {tab.key: {view.key for view in tab.views} for tab in TABS}
    with nothing_logged():
        guide.start(tour.key)
        for at, step in enumerate(tour.steps):
            assert (guide.at, guide.note, guide.away) == (at, "", False), guide.note
            assert "N/A" not in guide.words
            assert "{" not in guide.words
            assert step.card in cards[step.tab]
            assert space.display.tab == step.tab
            assert space.selection.focus == step.focus
            assert (space.selection.queries, space.selection.keys) == (step.queries, step.keys)
            assert not step.untrue(guide._values)
            view_type = view_types()[step.card]
            assert view_type.offered(space) == ""
            card = Card(view_type(space))
            assert card.view.problem == "" or step.card in PRESSED, card.view.problem
            assert card.is_drawn() or step.card in PRESSED
            card.close()
            guide.next()
    assert guide.at == len(tour.steps) - 1, "after the last step there is none"


def test_the_numbers_in_the_words_are_those_of_a_plain_recomputation(app):
    app.guide.start("explanation")
    app.guide.next()
    trace = atlas.load("mood-mini").trace(CAKE["text"])
    weights = trace.attention(layer=2, head=4).values
    assert weights[0].argmax() == 4
    assert f"gives {weights[0, 4]:#.3g} of its attention to “awful”" in app.guide.words
    for _ in range(3):
        app.guide.next()
    with_it = trace.predictions(k=1).iloc[0]
    without = atlas.load("mood-mini").trace(CAKE["text"], ablate=["L2 H4"]).predictions(k=1).iloc[0]
    assert without["label"] == with_it["label"]
    assert f"the logit is {without['logit']:#.3g}, and it was {with_it['logit']:#.3g} with the head" in app.guide.words
    assert app.workspace.interventions.ablated == {LOUD}


def test_what_a_tour_says_of_attribution_and_effects_is_so():
    """The words of these steps quote no number, because their cards compute it; what they promise is there."""
    model = atlas.load("mood-mini")
    scores = attribute(model, CAKE["text"], Target(), "integrated_gradients").scores
    assert scores[8] > max(scores[4], 0), "“laughed” decides, and not “awful”"
    effects = head_effects(model, CAKE["text"], Target()).set_index(["layer", "head"])["effect"].abs()
    assert effects.loc[(2, 4)] < 0.1 * effects.max()


def test_leaving_brings_back_what_the_reader_had(app):
    head = HeadId("encoder", 3, 2)
    app.selection.select_heads([head], label="mine")
    app.selection.select_tokens([2], axis="to")
    app.workspace.display.param.update(tab="deep", level="word")
    before, trace = app.shared.token, app.trace
    app.workspace.pipeline.input.text = "typed and not run"
    app.guide.start("bias")
    app.guide.next()
    app.guide.start("heads")
    assert (app.trace.provenance["model"], app.workspace.display.level) == ("gpt-mini", "token")
    app.guide.leave()
    assert (app.guide.tour, app.guide.words, app.shared.token) == ("", "", before)
    assert app.trace is trace
    assert (app.selection.heads, app.selection.label, app.selection.keys) == ({head}, "mine", {2})
    assert (app.workspace.display.tab, app.workspace.display.level) == ("deep", "word")
    assert read(app) == "typed and not run"


def test_leaving_brings_back_a_recording_that_no_run_can_make_again():
    app, recorded = page(), single()
    app.open(recorded)
    app.guide.start("attention")
    assert app.trace is not recorded
    app.guide.leave()
    assert app.trace is recorded
    assert app.workspace.pipeline.error == ""
    assert app.shared.complaint == ""


def test_words_stand_only_beside_what_they_are_about(app):
    app.guide.start("attention")
    app.open("bert-mini", TEXT)
    assert (app.guide.away, app.guide.note, app.guide.words) == (True, AWAY, "")
    app.guide.again()
    assert (app.guide.away, app.guide.note) == (False, "")
    assert app.guide.words
    app.selection.select_tokens([1])
    assert app.guide.words, "who looks around in the step's own text goes on reading"


def test_a_sentence_that_a_run_does_not_bear_out_says_so(app, monkeypatch):
    first = TOURS[0].steps[0]
    monkeypatch.setattr(Step, "untrue", lambda step, _: ["weight"] if step is first else [])
    app.guide.start("attention")
    assert app.guide.note == UNTRUE
    app.guide.next()
    assert app.guide.note == ""


def test_claims_are_checked():
    (step, *_) = TOURS[0].steps
    fine = {"sum": 1.0, "weight": 0.95, "bread": "bread", "most": "fresh"}
    assert step.untrue(fine) == []
    assert step.untrue(fine | {"weight": 0.5, "most": "Anna"}) == ["weight", "most"]
    assert step.untrue(fine | {"weight": float("nan")}) == ["weight"]


def test_numbers_have_three_digits():
    values = {0.98765: "0.988", 1.0: "1.00", -5.5: "−5.50", 48: "48", "a": "a", float("nan"): "N/A"}
    assert {value: written(value) for value in values} == values


@pytest.mark.parametrize("key", ["", "Attention", "<b>x</b>", "a" * 10_000])
def test_a_link_to_a_tour_that_is_none_says_which_there_are(app, key):
    app.guide.start(key)
    assert (app.guide.tour, read(app)) == ("", TEXT)
    assert "There are: attention, heads, explanation, bias, encoder-decoder." in app.guide.complaint
    assert len(app.guide.complaint) < 250
    app.guide.start("heads")
    assert (app.guide.tour, app.guide.complaint) == ("heads", "")


def test_the_panel_follows_the_guide_and_asks_it(app):
    panel, menu = app.tours.panel, app.tours.menu
    assert (panel.tour, panel.card) == ("", "")
    menu._handle_msg({"type": "click", "item": 1})
    assert (panel.tour, panel.title, panel.step, panel.of, panel.card) == ("heads", "Heads differ", 1, 5, "aa-card-map")
    assert panel.words == app.guide.words != ""
    panel._handle_msg("next")
    assert (panel.step, panel.card) == (2, "aa-card-matrix")
    panel._handle_msg("back")
    for message in (None, "start", {"ask": "next"}, ["next"], "_before"):
        panel._handle_msg(message)
    assert panel.step == 1
    panel._handle_msg("leave")
    assert (panel.tour, panel.words, panel.step, read(app)) == ("", "", 0, TEXT)
    menu._handle_msg({"type": "click", "item": 0})
    menu._handle_msg({"type": "click", "item": 0})
    assert panel.tour == "attention"
