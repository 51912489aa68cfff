"""The faithfulness view, without a page: curves against plain runs, chance, bounds, the cost before the run, selection."""

from __future__ import annotations

import holoviews as hv
import numpy as np
import pytest
import torch

import atlas
from atlas.attribution import Target, attribute, curves, faithfulness
from atlas.errors import TooLarge
from atlas.plots.faithfulness import ORDERS, Drawn, nearest
from atlas.state.attribution import METHODS
from atlas.state.workspace import Workspace
from atlas.tasks import TASKS
from atlas.tracing.faithfulness import BEST, ESTIMATE, WORST
from atlas.views.faithfulness import FaithfulnessView, no_curves
from tests.attribution.own import model, plain
from tests.engine.families import TARGET
from tests.state.readers import never

SHORT = "the doctor said that she was tired because"


@pytest.fixture(autouse=True)
def _bokeh():
    hv.extension("bokeh", logo=False)


def traced(name, text=SHORT):
    made = atlas.load(name) if name.endswith("-mini") else model(name)
    return made.trace(text, target=TARGET if "cross" in made.kinds else None)


def view_of(trace, **choices):
    room = Workspace(never, tasks=TASKS)
    room.pipeline.show(trace)
    view = FaithfulnessView(room)
    view.curves.choices.param.update({"first": "occlusion", "second": "raw_attention", "third": "", **choices})
    view.__panel__()
    view._run()
    return room, view


@pytest.mark.parametrize("name", ["BERT", "GPT-2"])
def test_curves_are_those_of_plain_runs_with_masks(name):
    trace = traced(name)
    room, view = view_of(trace)
    room.target.param.update(position=6, outcome="she")
    found, table = view.curves.found(), view.export().table
    scored = attribute(model(name), trace, Target(6, "she"), "occlusion")
    tokens = scored.tokens[~scored.tokens["special"] & ((scored.tokens["position"] <= 6) | (name == "BERT"))]
    order = tokens.sort_values("score", ascending=False, kind="stable")["position"].to_numpy()
    ids, mask = torch.tensor(trace.tokens()["id"].tolist()), model(name).tokenizer.mask_token_id

    def chance_without(gone):
        changed = ids.clone()
        changed[list(gone)] = mask
        with torch.no_grad():
            return float(plain(name)(input_ids=changed[None]).logits[0, 6].softmax(-1)[scored.target.outcome_id])

    shown = table[table["order"] == "occlusion"]
    assert list(shown["tokens"]) == list(range(len(order) + 1))
    np.testing.assert_allclose(shown["deletion"], [chance_without(order[:k]) for k in shown["tokens"]], atol=1e-5)
    np.testing.assert_allclose(shown["insertion"], [chance_without(order[k:]) for k in shown["tokens"]], atol=1e-5)
    assert shown["deletion"].iloc[0] == pytest.approx(shown["insertion"].iloc[-1])
    expected = faithfulness(model(name), trace, ["occlusion"], target=Target(6, "she"))["mean"]
    assert shown["comprehensiveness"].iloc[0] == pytest.approx(expected[0], abs=1e-6)
    assert shown["sufficiency"].iloc[0] == pytest.approx(expected[1], abs=1e-6)
    assert f"{found.passes:,} different sets were run" in view.lens.line
    assert view.lens.line.startswith("Probability of 'she'")
    assert view.problem == ""


def test_every_method_lies_between_the_bounds_and_the_band_is_that_of_random_orders():
    _, view = view_of(traced("mood-mini", "The film was wonderful."), third="rollout")
    found = view.curves.found()
    assert found.searched == "The best and the worst order are those of all orders."
    of = {curve.name: -curve.deletion[1:].mean() for curve in (*found.found, *found.bounds)}
    randoms = [-curve.deletion[1:].mean() for curve in found.random]
    assert of[WORST] - 1e-9 <= min([*of.values(), *randoms])
    assert of[BEST] + 1e-9 >= max([*of.values(), *randoms])
    low, mean, high = view.curves.band(found, "deletion")
    values = np.array([curve.deletion for curve in found.random])
    np.testing.assert_allclose([low, high], np.percentile(values, [5, 95], axis=0))
    np.testing.assert_allclose(mean, values.mean(axis=0))
    assert f"{len(found.random)} random orders: comprehensiveness" in view.curves.notes()[0]
    places = {at: position for at, (_, position) in enumerate(found.places)}
    first = traced("mood-mini", "The film was wonderful.").tokens()["token"].iloc[places[found.found[0].order[0]]]
    assert first == "wonderful"


def test_a_method_selects_its_first_tokens_as_keys_and_lets_go_of_them():
    room, view = view_of(traced("BERT"))
    found = view.curves.found()
    room.selection.select_tokens([2], axis="from")
    view._pressed({"key": "occlusion", "additive": False})
    top = {found.places[at][1] for at in found.found[0].order[:2]}  # a fifth of eight tokens
    assert room.selection.keys == top
    assert room.selection.queries == {2}
    assert [chip["active"] for chip in view.chips.groups[0]["chips"]].count(True) >= 1
    view._pressed({"key": "occlusion", "additive": False})
    assert room.selection.keys == frozenset()
    curve = found.found[1]
    view._tapped_deletion(3 / 8, curve.deletion[3])
    names = {each.name for each in (*found.found, *found.bounds) if abs(each.deletion[3] - curve.deletion[3]) < 1e-12}
    tops = [{found.places[at][1] for at in each.order[:3]} for each in (*found.found, *found.bounds) if each.name in names]
    assert room.selection.keys in tops


def test_a_tap_finds_the_nearest_curve():
    shares = np.linspace(0, 1, 5)
    curves_ = [Drawn("rollout", "", 1 - shares), Drawn("saliency", "", np.ones(5))]
    assert nearest(shares, curves_, 0.52, 0.4) == ("rollout", 2)
    assert nearest(shares, curves_, 0.8, 0.9) == ("saliency", 3)
    assert nearest(shares, curves_, 1.5, 0.9) is None
    assert nearest(shares, [], 0.5, 0.5) is None


def test_the_cost_is_said_before_the_run_and_no_run_takes_more():
    trace = traced("BERT")
    said = TASKS[ESTIMATE](trace, ["occlusion"])
    told = []
    found = curves.curves(trace, Target(5), ["occlusion"], tell=lambda words, share: told.append((words, share)))
    assert found.passes <= said
    assert any(words.startswith("Taking tokens out: ") for words, _ in told)
    assert all(0 <= share <= 1 for _, share in told)


def test_nothing_runs_before_run_is_pressed_and_the_cost_is_said():
    room, view = view_of(traced("BERT"))
    assert view.results.visible
    other = traced("BERT", "the cat ran away from the dog")
    room.pipeline.show(other)
    assert view.curves.found() is None
    assert not view.results.visible
    said = f"About {TASKS[ESTIMATE](other, view.curves.methods):,} passes of 9 tokens at most"
    assert view.lens.line == f"{said}, because a set of tokens is run once. Press Run"
    assert view.problem == ""
    assert list(view.export().table.columns) == ["order", "passes"]
    view._run()
    assert view.results.visible
    view.curves.choices.second = "rollout"
    assert [curve.name for curve in view.curves.found().found] == ["occlusion", "rollout"]


def test_bounds_are_not_searched_where_that_takes_too_long_and_too_long_a_text_is_refused(monkeypatch):
    trace = traced("GPT-2")
    monkeypatch.setattr(curves, "MOST_SEARCHED", 10)
    found = curves.curves(trace, Target(), ["rollout"])
    assert found.bounds == ()
    assert "not searched" in found.searched
    monkeypatch.setattr(curves, "MOST_RUN", 10)
    with pytest.raises(TooLarge, match="10 tokens are the most"):
        curves.curves(trace, Target(), ["rollout"])
    _, view = view_of(traced("GPT-2", "the cat ran away"))
    assert "Shorten the text" in view.problem


@pytest.mark.parametrize("remove", ["delete", "attention"])
def test_an_encoder_decoder_loses_tokens_of_both_sides(remove):
    room, view = view_of(traced("T5"), remove=remove)
    found = view.curves.found()
    assert {side for side, _ in found.places} == {"source", "target"}
    assert (found.target.side, found.target.position) not in found.places
    room.selection.show_kind("cross")
    view._pressed({"key": "occlusion", "additive": False})
    sources = {position for side, position in found.places if side == "source"}
    assert room.selection.keys <= sources


def test_a_searched_best_order_beats_random_ones_on_a_longer_text():
    trace = traced("BERT", "the doctor said that she was tired because the cat ran after the dog")
    found = curves.curves(trace, Target(5), ["rollout"])
    worst, best = found.bounds
    assert "keeping the 3 best sets" in found.searched
    deletions = [curve.deletion[1:].mean() for curve in found.random]
    assert best.deletion[1:].mean() <= min(deletions)
    assert worst.deletion[1:].mean() >= max(deletions)


def test_every_method_has_a_mark_and_nothing_is_drawn_of_nothing():
    assert set(METHODS) <= set(ORDERS)
    assert len({(each.colour, each.marker) for each in ORDERS.values()}) == len(ORDERS)
    for name in ("deletion", "insertion", "scores"):
        hv.render(no_curves(name))
