"""Integrated gradients on attention weights: exact where the model is linear, complete on others, and captum's own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from captum.attr import LayerIntegratedGradients

from atlas.attribution import Target, head_effects, head_importance, prune
from atlas.engine.anatomy.attention_sites import layers_of
from atlas.engine.gradients.attention_weights import _of_layer, _Weights, weights_integrated
from atlas.engine.gradients.subject import Subject
from atlas.engine.loading.load import load
from atlas.engine.running.context import Watcher
from atlas.engine.running.interventions import Pattern
from atlas.errors import NotCaptured, UnknownName
from atlas.ids import HeadId
from tests.attribution.own import model, traced
from tests.attribution.planted import DECIDES, OUTCOME, planted
from tests.attribution.test_attribute import linear
from tests.attribution.test_effects import logits_of
from tests.engine.families import TEXT, gptj, tokenizer


def test_on_a_linear_model_the_scores_are_what_removing_each_head_does():
    """A layer that is linear in its weights: without weights a head puts out nothing, so both ways say the same."""
    made = load((linear(), tokenizer(special=False)))
    found = head_effects(made, TEXT, Target(-2, "cat"), "integrated_gradients", baseline="zero")
    removed = head_effects(made, TEXT, Target(-2, "cat"))
    np.testing.assert_allclose(found["effect"], removed["effect"], atol=1e-4)
    assert found["effect"].abs().max() > 0.03
    assert max(found.attrs["layers"]["gap"]) < 1e-3
    # Its attention is even, so from even attention on it does nothing.
    np.testing.assert_allclose(head_effects(made, TEXT, Target(-2, "cat"), "integrated_gradients")["effect"], 0, atol=1e-5)


def pattern_of(trace, head, baseline):
    own = trace.attention(head.kind, head.layer, head.head).to_numpy()
    if baseline == "zero":
        return np.zeros_like(own)
    allowed = ~np.isnan(own)
    return allowed / allowed.sum(axis=-1, keepdims=True)


@pytest.mark.parametrize("baseline", ["uniform", "zero"])
@pytest.mark.parametrize("name", ["BERT", "GPT-2", "Llama", "T5", "classifier"])
def test_scores_of_a_layer_add_up_to_the_same_text_with_its_weights_replaced(name, baseline):
    made, trace = model(name), traced(name)
    found = head_importance(made, trace, Target(-3), None, method="integrated_gradients", baseline=baseline)
    target = Target(-3, Subject(trace, Target(-3)).target.outcome_id)
    whole = float(logits_of(made, TEXT, target)[target.outcome])
    complete = 0
    for (kind, layer), rows in found.groupby(["kind", "layer"]):
        heads = [HeadId(kind, layer, head) for head in rows["head"]]
        patch = {head: Pattern(pattern_of(trace, head, baseline)) for head in heads}
        without = float(logits_of(made, TEXT, target, patch=patch)[target.outcome])
        assert rows["explained"].iloc[0] == pytest.approx(whole - without, abs=2e-3)
        gap = abs(rows["integrated"].sum() - rows["explained"].iloc[0]) / abs(rows["explained"].iloc[0])
        np.testing.assert_allclose(rows["gap"], gap, atol=1e-4)
        complete += gap <= 0.05
    layers = len(found.groupby(["kind", "layer"]))
    assert complete >= (layers if name != "T5" else layers - 2)
    np.testing.assert_allclose(found["importance"], found["integrated"].abs())
    assert found.attrs["baseline"] == baseline


@pytest.mark.parametrize("name", ["GPT-2", "BERT"])
def test_scores_are_captums_layer_integrated_gradients_where_it_has_a_baseline(name):
    """Captum takes the weights of a layer in another text as the baseline, and no weights that a caller names."""
    subject = Subject(traced(name), Target(-3))
    site = layers_of(subject.model.sites, subject.model.kinds[0])[1]
    (side,), own = subject.sides, subject.vectors()
    other = {side: own[side].flip(1)}
    watched = Watcher()
    watched.keep_graph = True

    def value(rows):
        return subject.value(len(rows), vectors={side: rows}, watcher=watched)

    with subject.held(gradients=True):
        (expected,) = LayerIntegratedGradients(value, site.point).attribute(own[side], baselines=other[side], n_steps=12)
    kept = {}
    for which, vectors in (("own", own), ("other", other)):
        seen = _Weights()
        with subject.held(gradients=False):
            whole = float(subject.value(vectors=vectors, watcher=seen)[0])
        kept[which] = seen.weights[site.kind, site.layer], whole
    found = _of_layer(subject, site, kept["own"][0], kept["other"][0], kept["own"][1], 4, (12, 12, 0.0))
    np.testing.assert_allclose(found.heads, expected.detach().sum(dim=(1, 2)).numpy(), atol=1e-5)
    assert np.abs(found.heads).max() > 1e-4


def test_the_weights_are_replaced_in_these_runs_alone_and_the_module_is_left_as_it_was():
    made, trace = model("BERT"), traced("BERT")
    before = [len(site.point._forward_hooks) for uses in made.sites.values() for site in uses]
    told = []
    scores = weights_integrated(Subject(trace, Target(-3)), layers={("encoder", 2)}, report=lambda *done: told.append(done))
    assert list(scores) == [("encoder", 2)]
    assert told == [(0, 1), (1, 1)]
    assert [len(site.point._forward_hooks) for uses in made.sites.values() for site in uses] == before
    with torch.no_grad():
        np.testing.assert_array_equal(made.trace(TEXT).attention().to_numpy(), trace.attention().to_numpy())


def test_a_head_that_is_switched_off_has_no_part():
    made = model("GPT-2")
    trace = made.trace(TEXT, ablate=[(1, 2)])
    found = head_effects(made, trace, Target(-3), "integrated_gradients", heads=[(1, 2), (1, 3)])
    assert found["effect"].iloc[0] == pytest.approx(0, abs=1e-7)
    assert abs(found["effect"].iloc[1]) > 1e-6
    assert found["log_probability"].isna().all()


def test_of_the_planted_model_it_finds_the_head_that_decides():
    trace = planted().trace(TEXT, capture=("predictions",))
    found = head_importance(planted(), trace, Target(outcome=OUTCOME), method="integrated_gradients")
    first = found.loc[found["importance"].idxmax()]
    assert (first["layer"], first["head"]) == (DECIDES.layer, DECIDES.head)
    agreement = found.attrs["agreement"]
    assert agreement["lo"] < agreement["rho"] < agreement["hi"]
    assert agreement["n"] == len(found)
    pruned = prune(trace, Target(outcome=OUTCOME), orders=1, points=3, integrated=True)
    assert pruned.kept("integrated_gradients", 23) == (DECIDES,)
    curve = pruned.table[pruned.table["order"] == "integrated_gradients"]
    assert len(curve) == 4


def test_what_cannot_be_is_said():
    with pytest.raises(UnknownName, match="'uniform' or 'zero'"):
        head_effects(model("GPT-2"), TEXT, how="integrated_gradients", baseline="mask")
    with pytest.raises(UnknownName, match="not by 'guess'"):
        head_importance(model("GPT-2"), TEXT, method="guess")
    with pytest.raises(NotCaptured, match="attention interface"):
        head_effects(load((gptj(), tokenizer(special=False))), TEXT, how="integrated_gradients")
