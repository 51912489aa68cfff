"""The attribution view, without a page: numbers against the methods themselves, the target in words, selection both ways."""

from __future__ import annotations

import functools
import json

import holoviews as hv
import numpy as np
import pytest
from scipy import stats

import atlas
from atlas.attribution import Target, attribute
from atlas.errors import TooLarge
from atlas.plots.attribution import HALF, Bars, bar_columns, frame_of, places, token_at
from atlas.state import attribution as state
from atlas.state.share import decode, encode
from atlas.state.workspace import Workspace
from atlas.tasks import TASKS
from atlas.tracing.predictions import masks_of
from atlas.views.attribution import AttributionView, score_bars_of_nothing
from tests.engine.families import TARGET, TEXT, gptj, loaded, tokenizer
from tests.state.readers import never, single, workspace

NAMES = ["BERT", "GPT-2", "T5", "mood-mini"]

GESTURE_BYTES = 300_000


@pytest.fixture(autouse=True)
def _bokeh():
    hv.extension("bokeh", logo=False)


@functools.cache
def model(name):
    return atlas.load(name) if name.endswith("-mini") else loaded(name)


@functools.cache
def traced(name):
    return model(name).trace(TEXT, target=TARGET if "cross" in model(name).kinds else None)


def view_of(trace):
    room = Workspace(never, tasks=TASKS)
    room.pipeline.show(trace)
    view = AttributionView(room)
    view.__panel__()
    return room, view


def default_position(name):
    return {"BERT": len(traced("BERT").tokens()) - 2}.get(name, -1)  # before [SEP]


@pytest.mark.parametrize("name", NAMES)
def test_scores_are_those_of_the_methods_and_so_is_their_correlation(name):
    room, view = view_of(traced(name))
    view.attribution.choices.param.update(first="input_x_gradient", second="raw_attention")
    table, target = view.export().table, Target(default_position(name))
    found = {m: attribute(model(name), traced(name), target, m) for m in ("input_x_gradient", "raw_attention")}
    for method, each in found.items():
        np.testing.assert_allclose(table[method], each.tokens["score"], rtol=1e-4, atol=1e-6)
    assert list(table["side"]) == list(found["raw_attention"].tokens["side"])
    assert room.lens(state.AttributionLens).line.lower().startswith(found["raw_attention"].target.words.lower())
    assert "because none is chosen" in view.lens.line
    # A masked language model says a token that it sees: who reads its attributions is told.
    assert ("at a token that the model sees" in view.lens.line) == (name == "BERT" and not masks_of(traced(name)))
    kept = ~found["raw_attention"].tokens["special"].to_numpy(dtype=bool)
    rho = stats.spearmanr(*(np.abs(each.tokens["score"].to_numpy()[kept]) for each in found.values())).statistic
    said = view.attribution.shown().notes[-1]
    assert f"ρ = {rho:.2f}".replace("-", "−") in said
    assert f"magnitudes of {kept.sum()} tokens" in said
    assert view.problem == ""


def test_the_gap_and_the_baseline_of_integrated_gradients_are_said():
    _, view = view_of(traced("BERT"))
    found = attribute(model("BERT"), traced("BERT"), Target(default_position("BERT")))
    assert f"Integrated gradients: {found.notes[0]}" in view.attribution.shown().notes


@pytest.mark.parametrize("name", ["BERT", "gpt-mini", "T5"])
def test_what_stands_for_a_token_is_chosen_said_and_exported_and_only_what_the_model_has_is_offered(name):
    room, view = view_of(traced(name))
    lens, choices, target = view.attribution, view.attribution.choices, Target(default_position(name))
    choices.param.update(first="integrated_gradients", second="occlusion")
    tokenizer = model(name).tokenizer
    has = {each for each in ("mask", "pad") if getattr(tokenizer, f"{each}_token_id") is not None} | {"zero", "mean"}
    for control in view.instead.values():
        assert set(control.options.values()) == has
        assert control.visible
    usual = next(each for each in ("mask", "pad", "mean") if each in has)
    assert {control.value for control in view.instead.values()} == {usual}
    for missing in {"mask", "pad"} - has:
        assert f"The tokenizer of {model(name).name} has no {missing} token: not offered." in lens.shown().notes
    other, words = ("zero", "zeros") if usual == "mean" else ("mean", "the mean of all token vectors")
    view.instead["integrated_gradients"].value, view.instead["occlusion"].value = "zero", other
    assert (choices.baseline, choices.replace) == ("zero", other)
    table = view.export().table
    for method, option, value in (("integrated_gradients", "baseline", "zero"), ("occlusion", "replace", other)):
        expected = attribute(model(name), traced(name), target, method, **{option: value})
        np.testing.assert_allclose(table[method], expected.tokens["score"], rtol=1e-3, atol=1e-5)
        assert (table[f"{method}_{option}"] == value).all()
    assert lens.line.endswith(f". Integrated gradients against zeros. Occlusion against {words}")
    assert room.lens(state.AttributionLens).problem == ""
    choices.param.update(first="saliency", second="rollout")
    assert not any(control.visible for control in view.instead.values())
    assert "against" not in lens.line
    assert list(view.export().table) == ["side", "position", "token", "saliency", "rollout"]


def test_the_usual_baseline_stays_usual_in_another_model_and_one_it_lacks_is_replaced_and_said():
    room, view = view_of(traced("BERT"))
    lens = view.attribution
    view.instead["integrated_gradients"].value = "pad"
    assert lens.choices.baseline == "pad"
    view.instead["integrated_gradients"].value = "mask"
    assert lens.choices.baseline == "auto"
    lens.choices.baseline = "mask"
    room.pipeline.show(traced("t5-mini"))
    control = view.instead["integrated_gradients"]
    assert "mask" not in control.options.values()
    assert (control.value, lens.choices.baseline) == ("pad", "mask")
    assert "The tokenizer of t5-mini has no mask token: the padding token stands in." in lens.shown().notes
    expected = attribute(model("t5-mini"), traced("t5-mini"), Target(), baseline="pad")
    np.testing.assert_allclose(view.export().table["integrated_gradients"], expected.tokens["score"], rtol=1e-3, atol=1e-5)
    room.pipeline.show(traced("BERT"))
    assert (control.value, lens.instead("integrated_gradients")) == ("mask", "mask")


def test_a_link_holds_what_stands_for_a_token():
    room, view = view_of(traced("BERT"))
    view.instead["integrated_gradients"].value = "mean"
    state, complaints = decode(encode(room).token)
    assert (state.choices["attribution"], complaints) == ({"baseline": "mean"}, [])


def test_the_usual_baseline_named_by_a_link_is_not_computed_again(monkeypatch):
    from atlas.attribution import compare

    ran, own = [], compare.attribute_trace
    monkeypatch.setattr(compare, "attribute_trace", lambda *given, **options: (ran.append(options), own(*given, **options))[1])
    _, view = view_of(loaded("BERT").trace(TEXT))
    view.attribution.choices.param.update(first="occlusion", second="rollout")
    view.attribution.shown()
    before = len(ran)
    view.attribution.choices.replace = "mask"
    view.attribution.shown()
    assert len(ran) == before
    view.attribution.choices.replace = "zero"
    view.attribution.shown()
    assert ran[before:] == [{"replace": "zero"}]


def test_two_signed_methods_are_compared_with_their_signs():
    _, view = view_of(traced("BERT"))
    view.attribution.choices.param.update(first="input_x_gradient", second="occlusion")
    table = view.export().table
    kept = ~traced("BERT").tokens()["special"].to_numpy(dtype=bool)
    rho = stats.spearmanr(table["input_x_gradient"][kept], table["occlusion"][kept]).statistic
    assert f"ρ = {rho:.2f}".replace("-", "−") in view.attribution.shown().notes[-1]
    assert "signed scores" in view.attribution.shown().notes[-1]


def test_a_chosen_and_a_contrastive_target_are_explained():
    room, view = view_of(traced("GPT-2"))
    view.attribution.choices.first = "input_x_gradient"
    room.target.param.update(position=7, outcome="she", against="he")
    expected = attribute(model("GPT-2"), traced("GPT-2"), Target(7, "she", "he"), "input_x_gradient")
    np.testing.assert_allclose(view.export().table["input_x_gradient"], expected.scores, rtol=1e-4, atol=1e-6)
    assert view.lens.line.startswith("Logit of 'she' minus that of 'he' after")
    assert "none is chosen" not in view.lens.line
    view.attribution.choices.of = "probability"
    assert view.lens.line.startswith("Probability of 'she' minus")


def test_bars_start_at_zero_and_are_as_high_as_their_scores():
    values = np.array([1.0, -2.0, np.nan, 0.5])
    tokens, sides = ("a", "b", "c", "d"), ("source", "source", "target", "target")
    signed, plain = Bars("one", values, signed=True), Bars("two", np.abs(values), signed=False)
    columns = bar_columns(tokens, sides, [signed, plain], dark=False)
    # Two rows of the plot, which is 1 high: the middle of the first is at 0.75, the foot of the second near 0.
    np.testing.assert_allclose(columns["top"] - columns["bottom"], HALF * np.array([0.5, 1, 0.25, 1, 2, 0.5]) / 2, rtol=1e-5)
    np.testing.assert_allclose(columns["bottom"][:3], [0.75, 0.75 - HALF / 2, 0.75], rtol=1e-5)
    np.testing.assert_allclose(columns["bottom"][3:], 0.25 - HALF / 2, rtol=1e-5)
    assert list(columns["about"][:2]) == ["one: 1", "one: −2"]
    assert columns["colour"][0] != columns["colour"][1]
    np.testing.assert_allclose(places(sides), [0, 1, 3, 4])
    x = frame_of(sides, 2).x
    assert [token_at(sides, float(x(at))) for at in (0.3, 1.2, 2.0, 3.4)] == [0, 1, None, 2]
    np.testing.assert_allclose((columns["left"] + columns["right"])[:3] / 2, x([0, 1, 4]), rtol=1e-5)


@pytest.mark.parametrize("name", ["BERT", "T5"])
def test_a_tap_selects_the_token_of_its_side_and_selected_tokens_are_marked(name):
    room, view = view_of(traced(name))
    if name == "T5":
        room.selection.show_kind("decoder")
    shown = view.attribution.shown()
    at = len(shown.tokens) - 3
    x = frame_of(shown.sides, 2).x
    view._tapped(float(x(places(shown.sides)[at] + 0.2)), 0)
    assert room.selection.keys == set(shown.tokens[at])
    assert view.attribution.marked() == (at,)
    view._tapped(float(x(places(shown.sides)[at])), 0)
    assert not room.selection.keys
    assert view.attribution.marked() == ()


def test_another_method_is_found_and_the_first_is_kept(monkeypatch):
    from atlas.attribution import compare

    ran = []
    own = compare.attribute_trace
    monkeypatch.setattr(compare, "attribute_trace", lambda *given: (ran.append(given[2]), own(*given))[1])
    _, view = view_of(loaded("GPT-2").trace(TEXT))
    view.attribution.shown()
    view.attribution.choices.second = "saliency"
    assert view.attribution.shown().scored[1].method == "saliency"
    assert ran == ["integrated_gradients", "rollout", "saliency"]


def test_what_a_model_cannot_have_is_said_and_the_other_method_is_shown():
    made = atlas.load((gptj(), tokenizer(special=False)))
    _, view = view_of(made.trace(TEXT))
    view.attribution.choices.param.update(first="input_x_gradient", second="gradient_rollout")
    shown = view.attribution.shown()
    assert np.isfinite(shown.scored[0].values).all()
    assert np.isnan(shown.scored[1].values).all()
    assert "attention interface" in shown.notes[-1]
    assert AttributionView.fits(single())  # a recording has no model
    assert AttributionView.fits(traced("BERT")) == ""


def test_without_the_task_the_tokens_are_there_and_their_scores_are_unknown():
    view = AttributionView(workspace(traced("BERT")))
    table = view.export().table
    assert table["rollout"].isna().all()
    assert len(table) == len(traced("BERT").tokens())


def test_too_many_tokens_are_refused_with_a_way_out_and_many_are_small_enough(monkeypatch):
    rows = [Bars("a method of some length", np.random.default_rng(0).normal(size=state.MOST_TOKENS), signed=True)] * 2
    tokens = ["a token"] * state.MOST_TOKENS
    columns = bar_columns(tokens, ["source"] * len(tokens), rows, dark=False)
    size = sum(values.nbytes if values.dtype != object else len(json.dumps(values.tolist())) for values in columns.values())
    assert size < GESTURE_BYTES
    monkeypatch.setattr(state, "MOST_TOKENS", 5)
    _, view = view_of(traced("BERT"))
    assert "Shorten the text" in view.problem
    with pytest.raises(TooLarge):
        view.attribution._work_out()


def test_the_ranges_stay_as_they_are_from_the_first_drawing_on():
    """A browser clamps new ends of a range to the zoom limits of the old ones."""
    _, view = view_of(traced("T5"))
    for drawn in (score_bars_of_nothing(), view._bars()):
        figure = hv.render(drawn)
        ends = [(axis.start, axis.end) for axis in (figure.x_range, figure.y_range)]
        assert ends == [(0, 1), (0, 1)]


def test_night_changes_the_colours():
    _, view = view_of(traced("GPT-2"))
    view.dark = True
    drawn = view._bars()
    assert hv.render(drawn).background_fill_color == "#121212"
