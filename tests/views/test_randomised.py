"""The view of randomised weights, without a page: numbers, what stays, selection, the cost before the run, links."""

from __future__ import annotations

import holoviews as hv
import numpy as np
import pytest

import atlas
from atlas.attribution import Target, random_weights, randomised
from atlas.plots.randomised import Stays, nearest, probabilities, staying
from atlas.state import asking
from atlas.state.randomised import ABOVE, BELOW, UNKNOWN, WITHIN, step_title
from atlas.state.workspace import Workspace
from atlas.tasks import TASKS
from atlas.tracing.randomised import BYTES, ESTIMATE, RANDOMISED, Kept, Ranks
from atlas.views.catalog import TABS
from atlas.views.randomised import RandomisedView
from tests.attribution.own import model
from tests.engine.families import TARGET
from tests.state.readers import never
from tests.waiting import run, until

SHORT = "the doctor said that she was tired because"


@pytest.fixture(autouse=True)
def _bokeh():
    hv.extension("bokeh", logo=False)


def traced(name, text=SHORT):
    made = atlas.load(name) if name.endswith("-mini") else model(name)
    return made.trace(text, target=TARGET if "cross" in made.kinds else None)


def view_of(trace, tasks=TASKS, **choices):
    room = Workspace(never, tasks=tasks)
    room.pipeline.show(trace)
    view = RandomisedView(room)
    view.weights.choices.param.update({"first": "saliency", "second": "rollout", "third": "", **choices})
    view.__panel__()
    view._run()
    return room, view


@pytest.mark.parametrize("name", ["BERT", "GPT-2", "T5"])
def test_what_is_shown_is_what_the_function_gives(name):
    trace = traced(name)
    room, view = view_of(trace)
    room.target.param.update(position=5, outcome="she")
    found, own = view.weights.found(), randomised(trace, Target(5, "she"), ["saliency", "rollout"])
    assert view.problem == ""
    table = view.export().table
    for column in ("rho", "lowest", "highest", "chance_lo", "chance_hi", "p", "probability"):
        np.testing.assert_allclose(table[column], own.table[column], atol=1e-6)
    drawn = view._drawn(found)
    np.testing.assert_allclose(drawn[0].mean, own.found[0].scores.rho.mean(axis=1), atol=1e-6)
    points = view._staying().get(4) if len(view._staying()) > 4 else view._staying().Points.I
    np.testing.assert_allclose(np.sort(points["y"]), np.sort(np.concatenate([each.mean for each in drawn])))
    assert "'she'" in view.lens.line
    assert f"{len(own.places)} tokens are ranked; mean of 5 draws" in view.lens.line
    view.weights.choices.ranked = "sizes"
    np.testing.assert_allclose(view._drawn(found)[0].mean, own.found[0].sizes.rho.mean(axis=1), atol=1e-6)
    view.weights.choices.order = "alone"
    assert view.weights.found().steps[-1] == "all"


def test_a_method_that_stays_is_told_from_one_that_does_not():
    _, view = view_of(
        traced("gpt-mini", "The old doctor said that she was tired because the cat ran after her"), third="occlusion"
    )
    view.weights.choices.second = "rollout"
    found = view.weights.found()
    kept = {each.name: each for each in found.found}
    assert view.weights.outcome(kept["rollout"]) == ABOVE
    assert any("Attention rollout, all weights drawn anew: ρ 0." in note and ABOVE in note for note in view.weights.notes())
    nothing = np.full((2, 3), np.nan)

    def outcome(rho, low=-0.3, high=0.3):
        ranks = Ranks(np.full((2, 3), rho), np.full(2, low), np.full(2, high), np.full(2, 0.5))
        return view.weights.outcome(Kept("saliency", ranks, ranks, np.arange(3.0)))

    assert [outcome(0.5), outcome(0.1), outcome(-0.5), outcome(np.nan)] == [ABOVE, WITHIN, BELOW, UNKNOWN]
    assert np.isnan(Ranks(nothing, nothing[:, 0], nothing[:, 0], nothing[:, 0]).lowest).all()


def test_a_method_selects_the_tokens_that_it_puts_first_without_anything_learnt():
    room, view = view_of(traced("GPT-2"))
    found = view.weights.found()
    kept = found.found[1]
    first = {found.places[at][1] for at in np.argsort(-kept.random, kind="stable")[: -(-len(found.places) // 5)]}
    room.selection.select_tokens([2], axis="from")
    view._pressed({"key": "rollout", "additive": False})
    assert room.selection.keys == first
    assert room.selection.queries == {2}
    assert [chip["active"] for chip in view.chips.groups[0]["chips"]][1]
    view._pressed({"key": "rollout", "additive": False})
    assert room.selection.keys == frozenset()
    curve = view._drawn(found)[1]
    view._tapped(len(found.steps) - 1, curve.mean[-1])
    assert room.selection.keys == first


def test_nothing_runs_before_run_is_pressed_and_the_cost_is_said():
    room, view = view_of(traced("BERT"))
    assert view.results.visible
    other = traced("BERT", "the cat ran away from the dog")
    room.pipeline.show(other)
    assert view.weights.found() is None
    assert not view.results.visible
    passes = TASKS[ESTIMATE](other, view.weights.methods, "cascade")
    assert view.lens.line.startswith(f"Up to {passes:,} passes of the text through a copy of the model")
    assert view.lens.line.endswith("Press Run")
    assert list(view.export().table.columns) == ["method", "passes"]
    view._run()
    assert view.results.visible
    assert view.weights.notes()


def test_what_is_refused_is_said(monkeypatch):
    monkeypatch.setattr(random_weights, "MOST_RUN", 10)
    _, view = view_of(traced("GPT-2", "the cat ran away from the dog"))
    assert "10 tokens are the most" in view.problem
    recorded = atlas.from_attention(np.full((1, 1, 3, 3), 1 / 3), ["a", "b", "c"])
    assert RandomisedView.fits(recorded)
    assert RandomisedView.fits(traced("T5")) == ""


def test_admission_counts_the_copy_and_the_reader_can_cancel():
    async def read():
        seen, began = [], []

        def work(trace, target, methods, order, *, progress):
            began.append(1)
            while True:
                progress("Draw 1 of 5", 0.1)

        real = asking.Asking._cost

        def cost(self, trace, takes, *, needs_model):
            seen.append((takes, real(self, trace, takes, needs_model=needs_model)))
            return seen[-1][1]

        asking.Asking._cost = cost
        try:
            trace = traced("BERT", "the cat ran away from the nurse")
            _, view = view_of(trace, tasks={**TASKS, RANDOMISED: work})
            await until(lambda: view.lens.busy and began)
            takes, whole = seen[-1]
            assert takes.passes == TASKS[ESTIMATE](trace, view.weights.methods, "cascade")
            assert takes.bytes == TASKS[BYTES](trace)
            assert whole.bytes > takes.bytes
            view.weights.cancel()
            assert not view.lens.busy
            assert view.weights.problem
        finally:
            asking.Asking._cost = real

    run(read())


def test_it_stands_beside_the_faithfulness_curves():
    views = next(tab.views for tab in TABS if tab.key == "faithfulness")
    assert [view.key for view in views][2:4] == ["faithfulness", "randomised"]
    assert step_title("L2", "cascade") == "all weights from the output down to L2"
    assert step_title("embeddings", "alone") == "the weights of the embeddings alone"


def test_plots_of_nothing_of_many_layers_and_of_unknown_numbers():
    hv.render(staying([], [], []))
    hv.render(probabilities([], [], np.empty((0, 0))))
    steps = ["as it is", "head", *(f"L{at}" for at in reversed(range(48))), "embeddings"]
    values = np.linspace(1, -0.2, len(steps))
    chance = np.full(len(steps), 0.4)
    known = Stays("rollout", "Attention rollout", values, values - 0.1, values + 0.1, -chance, chance)
    nan = np.full(len(steps), np.nan)
    figure = hv.render(staying(steps, steps, [known, Stays("saliency", "Gradient", nan, nan, nan, nan, nan)]))
    assert len(figure.xaxis[0].ticker.ticks) <= 17
    hv.render(probabilities(steps, steps, np.full((len(steps), 3), np.nan)))
    assert nearest([known], 0.2, 0.9) == "rollout"
    assert nearest([known], 99, 0.9) is None
    assert nearest([], 0, 0) is None
