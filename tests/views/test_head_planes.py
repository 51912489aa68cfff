"""Effects and agreement of heads without a page: numbers against the functions of the API, marks, and what a gesture selects."""

from __future__ import annotations

import functools
from typing import NamedTuple

import holoviews as hv
import numpy as np
import pytest
from bokeh.document import Document
from bokeh.events import Tap
from scipy.stats import pearsonr

import atlas
from atlas.attribution import (
    Target,
    agreement,
    attribute,
    attribution_patching,
    compare_effects,
    head_effects,
    head_importance,
    verdict,
)
from atlas.ids import HeadId
from atlas.numbers import three
from atlas.state import agreement as agreement_state
from atlas.state import head_effects as effects_state
from atlas.state.library import examples
from atlas.state.link import State
from atlas.state.other_text import other_text, other_texts
from atlas.state.share import decode, encode
from atlas.state.workspace import Workspace
from atlas.tasks import TASKS
from atlas.tracing.verdict import BOUNDS
from atlas.views.agreement import AgreementView
from atlas.views.head_effects import HeadEffectsView
from tests.engine.families import TARGET, TEXT, gptj, loaded, tokenizer
from tests.state.readers import DECODER, never, single

NAMES = [("BERT", "encoder"), ("GPT-2", "decoder"), ("Llama", "decoder"), ("T5", "cross"), ("t5-mini", "cross")]


@pytest.fixture(autouse=True)
def _bokeh():
    hv.extension("bokeh", logo=False)


@functools.cache
def model(name):
    return atlas.load(name) if name.endswith("-mini") else loaded(name)


@functools.cache
def traced(name):
    return model(name).trace(TEXT, target=TARGET if "cross" in model(name).kinds else None)


def shown(view_type, trace, kind=""):
    """A workspace and a view on it, with every choice of the view at its default."""
    room = Workspace(never, tasks=TASKS)
    room.pipeline.show(trace)
    if kind:
        room.selection.show_kind(kind)
    view = view_type(room)
    view.__panel__()
    return room, view


def usual(name):
    return Target(len(traced(name).tokens()) - 2 if name == "BERT" else -1)  # before [SEP]


def grid(trace, kind, table, column):
    own = table[table["kind"] == kind]
    return own[column].to_numpy(dtype=float).reshape(trace.n_layers(kind), trace.n_heads(kind))


@pytest.mark.parametrize(("name", "kind"), NAMES)
def test_effects_are_those_of_the_api_for_every_choice(name, kind):
    trace, (_, view) = traced(name), shown(HeadEffectsView, traced(name), kind)
    for how in ("zero", "mean", "resample"):
        view.plane.choices.how = how
        found = head_effects(model(name), trace, usual(name), how, other=other_text(trace) if how == "resample" else None)
        for value in ("effect", "log_probability", "kl"):
            view.plane.choices.value = value
            expected = grid(trace, kind, found, value)
            # Runs are batched with other heads, and a batch of another size differs in the last digits.
            np.testing.assert_allclose(view.plane.plane().whole, expected, atol=2e-4, rtol=1e-3)
            assert view.plane.signed == (value != "kl")
    view.plane.choices.param.update(how="gradient", value="effect")
    expected = grid(trace, kind, head_importance(model(name), trace, usual(name), None), "gradient")
    np.testing.assert_allclose(view.plane.plane().whole, expected, atol=1e-4, rtol=1e-3)
    assert "by gradient, an estimate" in view.lens.line
    view.plane.choices.how = "attribution patching"
    found = attribution_patching(model(name), trace, other_text(trace), usual(name), how="resample", check=10**6)
    np.testing.assert_allclose(view.plane.plane().whole, grid(trace, kind, found, "effect"), atol=1e-4, rtol=1e-3)
    assert "an estimate of being replaced by its output in" in view.lens.line
    own = found[found["kind"] == kind]
    assert f"{min(24, len(own))} heads patched one by one" in view.lens.line
    if len(own) <= 24:
        said = float(view.lens.line.split("estimate r ")[1].split(",")[0].replace("−", "-"))
        assert said == pytest.approx(pearsonr(own["effect"], own["patched"]).statistic, abs=6e-3)
    assert view.problem == ""
    view.plane.choices.value = "kl"
    assert "Choose the logit" in view.problem
    view.plane.choices.param.update(how="integrated_gradients", value="effect")
    found = head_effects(model(name), trace, usual(name), "integrated_gradients", [h for h in trace.head_ids if h.kind == kind])
    np.testing.assert_allclose(view.plane.plane().whole, grid(trace, kind, found, "effect"), atol=1e-4, rtol=1e-3)
    assert f"the largest gap is {three(100 * max(found.attrs['layers']['gap']))} %" in view.lens.line
    for value in ("kl", "log_probability"):
        view.plane.choices.value = value
        assert "Choose the logit" in view.problem


@pytest.mark.parametrize(("name", "kind"), [("GPT-2", "decoder"), ("T5", "cross")])
def test_three_choices_stand_beside_each_other_as_three_rows_a_layer(name, kind):
    trace, (room, view) = traced(name), shown(HeadEffectsView, traced(name), kind)
    view.plane.choices.how = "all three"
    heads = [head for head in trace.head_ids if head.kind == kind]
    found = compare_effects(model(name), trace, other_texts(trace, 6), usual(name), heads)
    layers, count = trace.n_layers(kind), trace.n_heads(kind)
    for value in ("kl", "effect"):
        view.plane.choices.value = value
        table, plane = found.tables[value], view.plane.plane()
        for at, choice in enumerate(("zero", "mean", "resample")):
            expected = table[choice].to_numpy().reshape(layers, count)
            np.testing.assert_allclose(plane.whole[at::3], expected, atol=2e-4, rtol=1e-3)
        assert plane.rows[:3] == ("L0 zero", "L0 mean", "L0 other texts")
    row = found.table.iloc[count + 2]
    cell = view.plane.cell(5, 2)
    assert cell["row"] == str(HeadId(kind, 1, 2))
    assert cell["column"] == "mean over 6 other texts"
    numbers = [cell[key] for key in ("value", "zero", "mean", "other texts 95 % from", "to")]
    np.testing.assert_allclose(numbers, row[["resample", "zero", "mean", "lo", "hi"]].to_numpy(dtype=float), atol=2e-4)
    rho = found.agreement["rho"].iloc[0]
    said = float(view.lens.line.split("zero and mean ")[1].split(" ")[0].replace("−", "-"))
    assert said == pytest.approx(rho, abs=0.02)
    hanging = found.table[found.table["hangs_on"] != ""]
    assert view.dotted() == {(3 * layer + 1, head) for layer, head in zip(hanging["layer"], hanging["head"], strict=True)}
    assert len(view.between()) == layers
    view.tap(2.5 / count, 4.5 / (3 * layers))
    assert room.selection.heads == {HeadId(kind, 1, 2)}
    assert view.plane.marked().cells == {(3, 2), (4, 2), (5, 2)}
    view._name_clicked("y", 2.5 / 9)
    assert room.selection.heads == {HeadId(kind, 0, at) for at in range(count)}
    view._name_clicked("x", 0.1)
    assert room.selection.heads == {HeadId(kind, at, 0) for at in range(layers)}
    exported = view.export().table
    assert list(exported) == list(found.table)
    assert view.problem == ""
    view.plane.choices.how = "zero"
    assert view.plane.plane().whole.shape == (layers, count)
    assert view.dotted() == frozenset()
    assert view.between() == []


def test_the_line_says_the_target_the_way_the_three_heads_and_the_spread():
    trace, (room, view) = traced("GPT-2"), shown(HeadEffectsView, traced("GPT-2"))
    assert "; the likeliest outcome, because none is chosen" in view.lens.line
    room.target.param.update(position=7, outcome="she", against="he")
    effect = head_effects(model("GPT-2"), trace, Target(7, "she", "he"))["effect"].to_numpy()
    np.testing.assert_allclose(view.plane.plane().whole.ravel(), effect, atol=2e-4, rtol=1e-3)
    line = view.lens.line
    assert line.startswith("Logit of 'she' minus that of 'he' after")
    assert "none is chosen" not in line
    heads = [f"L{at // 4} H{at % 4} " for at in np.argsort(-np.abs(effect))[:3]]
    places = [line.index(head) for head in heads]
    assert places == sorted(places)
    # Runs in batches of another size differ in the last digits, so the words are compared with the numbers on screen.
    low, median, high = (f"{at:.3g}".replace("-", "−") for at in np.percentile(view.plane.plane().whole, [25, 50, 75]))
    assert "Effect on the logit of each of 12 heads, set to zero: largest" in line
    assert line.endswith(f"all heads: median {median}, quartiles {low} and {high}")


@pytest.mark.parametrize("how", ["resample", "attribution patching", "all three"])
def test_the_other_text_can_be_the_readers_own(how):
    trace, (_, view) = traced("GPT-2"), shown(HeadEffectsView, traced("GPT-2"), DECODER)
    own = "the cat said she was tired"
    view.plane.choices.param.update(how=how, own=f"  {own} ")
    field = view.tools()[-1]
    assert field.visible
    if how == "all three":
        heads = [head for head in trace.head_ids if head.kind == DECODER]
        found = compare_effects(model("GPT-2"), trace, (own, *other_texts(trace, 5)), usual("GPT-2"), heads)
        assert view.effects.choices_found().tables["effect"].equals(found.tables["effect"])
    elif how == "resample":
        found = head_effects(model("GPT-2"), trace, usual("GPT-2"), how, other=own)
        np.testing.assert_allclose(view.plane.plane().whole, grid(trace, DECODER, found, "effect"), atol=2e-4, rtol=1e-3)
    else:
        found = attribution_patching(model("GPT-2"), trace, own, usual("GPT-2"), how="resample", check=10**6)
        np.testing.assert_allclose(view.plane.plane().whole, grid(trace, DECODER, found, "effect"), atol=1e-4, rtol=1e-3)
    if how != "all three":
        assert f"“{own}”" in view.lens.line
    before = view.plane.plane().whole.copy()
    view.plane.choices.own = ""
    assert not np.allclose(view.plane.plane().whole, before)
    view.plane.choices.how = "zero"
    assert not field.visible
    private = encode(State(text="a", choices={"head_effects": {"own": own, "how": how}}), private=True).token
    assert decode(private)[0].choices == {"head_effects": {"how": how}}


def test_the_other_text_does_not_begin_like_the_one_on_screen():
    example = next(each for each in examples() if each.model == "gpt-mini")
    trace = atlas.load("gpt-mini").trace(f"{example.text} him again.", capture=("predictions",))
    assert other_text(trace) in {each.text for each in examples() if each.model == "gpt-mini"}
    _, view = shown(HeadEffectsView, trace)
    view.plane.choices.how = "resample"
    assert np.abs(view.plane.plane().whole).max() > 0.01
    assert other_text(trace)[:20] in view.lens.line


@pytest.mark.parametrize(("name", "kind"), NAMES)
def test_agreement_is_that_of_the_api_and_marks_what_is_beyond_chance(name, kind):
    trace, (_, view) = traced(name), shown(AgreementView, traced(name), kind)
    view.plane.choices.method = "raw_attention"
    expected = agreement(trace, attribute(model(name), trace, usual(name), "raw_attention"))
    own = expected[expected["kind"] == kind]
    np.testing.assert_allclose(view.plane.plane().whole, grid(trace, kind, expected, "rho"), atol=1e-6)
    beyond = own[own["q"] <= 0.05]
    assert view.agreement.beyond() == set(zip(beyond["layer"], beyond["head"], strict=True))
    line = view.lens.line
    assert f"{len(beyond)} of {len(own)} {f'{kind} ' if len(trace.kinds) > 1 else ''}heads beyond chance" in line
    assert f"corrected over {len(expected)} heads" in line
    assert f"mean ρ {own['rho'].mean():.3g}".replace("-", "−") in line
    assert f"{own['n'].iloc[0]} tokens, special ones left out" in line
    cell, row = view.plane.cell(1, 2), own.iloc[trace.n_heads(kind) + 2]
    assert cell["row"] == str(HeadId(kind, 1, 2))
    numbers = ("value", "95 % from", "to", "p", "q", "τ", "Jaccard of the top 5", "RBO", "tokens")
    columns = ["rho", "lo", "hi", "p", "q", "tau", "jaccard", "rbo", "n"]
    np.testing.assert_allclose([cell[key] for key in numbers], row[columns].to_numpy(dtype=float), atol=1e-6)
    view._pointed(2.5 / trace.n_heads(kind), 1.5 / trace.n_layers(kind))
    assert view.under.object.startswith(f"{HeadId(kind, 1, 2)}   ρ ")


def two(value):
    return f"{value:.2f}".replace("-", "−")


@pytest.mark.parametrize(("name", "kind"), [("BERT", "encoder"), ("T5", "cross"), ("t5-mini", "decoder")])
def test_the_ceiling_the_floor_and_the_means_of_layers_stand_below_the_plane(name, kind):
    trace, (room, view) = traced(name), shown(AgreementView, traced(name), kind)
    view.plane.choices.method = "saliency"
    room.selection.select_heads({HeadId(kind, 0, 1), HeadId(kind, 1, 2)}, origin="test")
    ceiling, floor, layers = view.words.object.splitlines()
    target, chosen = usual(name), [(kind, 0, 1), (kind, 1, 2)]
    numbers = verdict(trace, target, chosen, method="saliency", beside="input_x_gradient").numbers
    assert "gradient (saliency) and input × gradient agree with" in ceiling
    interval = f"95 % {two(numbers['ceiling_lo'])} to {two(numbers['ceiling_hi'])}"
    assert f"ρ = {two(numbers['ceiling_rho'])}, {interval}, chance ±" in ceiling
    assert ceiling.endswith(f"p {numbers['ceiling_p']:.2g}, over {numbers['n']:.0f} tokens.")
    spread = f"95 % of them {two(numbers['floor_lo'])} to {two(numbers['floor_hi'])}"
    assert f"{numbers['sets']:.0f} sets of 2 heads of " in floor
    assert f"mean ρ {two(numbers['floor_rho'])}, {spread}; {100 * numbers['floor_p']:.0f} % are as high" in floor
    assert f"their mean attention: ρ = {two(numbers['gradients_rho'])}, " in floor
    rho = grid(trace, kind, agreement(trace, attribute(model(name), trace, target, "saliency")), "rho")
    for at, mean in enumerate(rho.mean(axis=1)):
        assert f"L{at} {two(mean)} (" in layers
    assert view.bounds.problem == ""


def test_the_floor_is_of_the_heads_on_screen_and_the_ceiling_of_two_gradients_whatever_the_method():
    room, view = shown(AgreementView, traced("GPT-2"))
    view.plane.choices.method = "raw_attention"
    before = view.lens.revision
    room.selection.pick(HeadId("decoder", 1, 2))
    assert "L1 H2 (ρ = " in view.words.object
    assert "11 heads of any layer" in view.words.object
    assert "input × gradient and gradient (saliency) agree" in view.words.object
    room.selection.select_heads(set(traced("GPT-2").head_ids), origin="test")
    assert "there are no others than the 12 selected heads" in view.words.object
    assert view.lens.revision == before


def test_bounds_cost_nothing_while_the_card_is_not_seen_or_the_agreement_is_not_there(monkeypatch):
    ran = []
    room = Workspace(never, tasks=TASKS | {BOUNDS: lambda *given, **options: ran.append(1) or TASKS[BOUNDS](*given, **options)})
    room.pipeline.show(traced("GPT-2"))
    view = AgreementView(room)
    view.plane.choices.method = "saliency"
    view.visibility.opened = False
    view.__panel__()
    assert ran == []
    view.visibility.opened = True
    assert len(ran) == 1
    view.visibility.opened = False
    room.selection.pick(HeadId("decoder", 2, 1))
    assert len(ran) == 1
    monkeypatch.setattr(agreement_state, "MOST_PAIRS", 100)
    view.plane.choices.method = "input_x_gradient"
    view.visibility.opened = True
    assert len(ran) == 1
    assert "Shorten the text" in view.problem
    assert view.words.object == ""


def test_of_many_layers_the_highest_and_the_lowest_are_written(monkeypatch):
    monkeypatch.setattr(agreement_state, "MOST_LAYERS", 2)
    _, view = shown(AgreementView, traced("GPT-2"))
    view.plane.choices.method = "saliency"
    assert ", highest and lowest of 3: L" in view.words.object


def test_dots_lie_in_the_heads_beyond_chance_and_move_with_the_kind():
    room, view = shown(AgreementView, traced("t5-mini"), "encoder")
    view.plane.choices.method = "raw_attention"
    figure = hv.render(view._pane().object)
    Document().add_root(figure)
    dots = next(each.data_source for each in figure.renderers if type(each.glyph).__name__ == "Scatter")
    seen = []
    for kind in ("encoder", "decoder"):
        room.selection.show_kind(kind)
        plane, beyond = view.plane.plane(), sorted(view.agreement.beyond())
        seen.append(len(beyond))
        assert list(dots.data["x"]) == pytest.approx([(column + 0.5) / len(plane.columns) for _, column in beyond])
        assert list(dots.data["y"]) == pytest.approx([(row + 0.5) / len(plane.rows) for row, _ in beyond])
    assert any(seen)


@pytest.mark.parametrize("view_type", [HeadEffectsView, AgreementView])
def test_a_tap_selects_a_head_and_a_name_its_layer_and_both_are_marked(view_type):
    room, view = shown(view_type, traced("GPT-2"))
    figure, redrawn = hv.render(view._pane().object), view.redrawn
    Document().add_root(figure)
    figure.document.callbacks.trigger_event(Tap(figure, x=2.5 / 4, y=1.5 / 3))
    head = HeadId("decoder", 1, 2)
    assert (room.selection.focus, room.selection.heads, room.selection.origin) == (head, {head}, view.key)
    assert view._boxes() == {"cells": [(2 / 4, 1 / 3, 3 / 4, 2 / 3)]}
    view.tap(2.5 / 4, 1.5 / 3)
    assert not room.selection.heads
    view._name_clicked("y", 0.5)
    assert room.selection.heads == {HeadId("decoder", 1, at) for at in range(4)}
    view._name_clicked("x", 0.1)
    assert room.selection.heads == {HeadId("decoder", at, 0) for at in range(3)}
    assert len(view._boxes()["cells"]) == 3
    view._pointed(2, 2)
    assert "click it to show and select it" in view.under.object
    assert view.redrawn == redrawn


def test_heads_that_are_selected_elsewhere_start_no_new_work():
    room, view = shown(HeadEffectsView, traced("GPT-2"))
    before = view.lens.revision
    room.selection.pick(HeadId("decoder", 2, 1))
    assert view.lens.revision == before
    assert view.plane.marked().cells == {(2, 1)}


class Refused(NamedTuple):
    view: type
    module: object
    ceiling: str


@pytest.mark.parametrize(
    "case",
    [
        Refused(HeadEffectsView, effects_state, "MOST_TOKENS_RUN"),
        Refused(AgreementView, agreement_state, "MOST_PAIRS"),
    ],
)
def test_too_much_work_is_refused_with_a_way_out(case, monkeypatch):
    monkeypatch.setattr(case.module, case.ceiling, 100)
    _, view = shown(case.view, traced("BERT"))
    assert "Shorten the text" in view.problem
    assert view.plane.plane().rows == ()


def test_what_is_missing_is_said():
    for view_type in (HeadEffectsView, AgreementView):
        assert view_type.fits(single())  # a recording has no model
        assert view_type.fits(traced("BERT")) == ""
    _, view = shown(HeadEffectsView, atlas.load((gptj(), tokenizer(special=False))).trace(TEXT))
    assert "attention interface" in view.problem
