"""Importance of heads by one backward pass against finite differences, and pruning against plain runs."""

from __future__ import annotations

import numpy as np
import pytest

from atlas.attribution import Target, head_effects, head_importance, prune
from atlas.engine.gradients.subject import Subject
from atlas.engine.running.interventions import Output
from atlas.ids import HeadId
from tests.attribution.own import model, traced
from tests.attribution.planted import DECIDES, OUTCOME, planted
from tests.attribution.test_effects import logits_of
from tests.engine.families import TARGET, TEXT, loaded

STEP = 1e-2


@pytest.mark.parametrize("name", ["BERT", "GPT-2", "Llama", "GPT-OSS", "T5", "classifier"])
def test_the_gradient_is_that_of_a_factor_on_the_output_of_the_head(name):
    made = model(name) if name != "GPT-OSS" else loaded(name)
    options = {"target": TARGET} if "cross" in made.kinds else {}
    trace = made.trace(TEXT, keep="qk", **options)
    found = head_importance(made, trace, Target(-3), None)
    assert list(found.columns) == ["kind", "layer", "head", "gradient", "importance", "normalised", "effect"]
    assert found["effect"].isna().all()
    heads = [trace.head_ids[at] for at in (1, len(trace.head_ids) // 2, -2)]
    outcome = Target(-3, Subject(trace, Target(-3)).target.outcome_id)
    for head in heads:
        own = trace.vectors("head_read", head.kind, head.layer, head.head).to_numpy()
        high, low = (
            float(logits_of(made, TEXT, outcome, patch={head: Output(own * factor)})[outcome.outcome])
            for factor in (1 + STEP, 1 - STEP)
        )
        row = found[(found["kind"] == head.kind) & (found["layer"] == head.layer) & (found["head"] == head.head)]
        assert row["gradient"].item() == pytest.approx((high - low) / (2 * STEP), abs=0.02 * found["importance"].max())


def test_importance_is_normalised_by_layer_and_stands_beside_the_removal():
    made, trace = model("GPT-2"), traced("GPT-2")
    found = head_importance(made, trace, Target(-3))
    np.testing.assert_allclose(found["importance"], found["gradient"].abs())
    for _, layer in found.groupby("layer"):
        np.testing.assert_allclose(layer["normalised"], layer["importance"] / np.linalg.norm(layer["importance"]))
    np.testing.assert_allclose(found["effect"], head_effects(made, trace, Target(-3))["effect"], atol=1e-5)
    again = head_effects(made, trace, Target(-3), "gradient", heads=[(1, 2), (2, 0)])
    np.testing.assert_allclose(again["effect"], found["gradient"].iloc[[6, 8]], rtol=1e-5)
    loss = head_importance(made, trace, Target(-3, of="log-probability"), None)
    np.testing.assert_allclose(head_effects(made, trace, Target(-3), "gradient")["log_probability"], loss["gradient"], rtol=1e-4)


@pytest.mark.parametrize(("name", "kind"), [("BERT", "encoder"), ("T5", "cross"), ("Llama", "decoder")])
def test_curves_are_those_of_plain_runs(name, kind):
    made, trace = model(name), traced(name)
    heads = [head for head in trace.head_ids if head.kind == kind]
    found = prune(trace, Target(-3), heads=heads, points=4, orders=2)
    table, alone = found.table, head_effects(made, trace, Target(-3), heads=heads)
    assert list(table.columns) == ["order", "run", "removed", "kept", "value", "probability", "kl"]
    assert table[table["order"] == "gradient"]["removed"].tolist() == [0, 3, 6, 9, 12]
    sizes = dict(zip(heads, alone["effect"].abs(), strict=True))
    rising = [sizes[head] for head in found.orders["ablation"]]
    assert rising == pytest.approx(sorted(rising), abs=1e-4)
    outcome = Target(-3, found.target.outcome_id)
    for order in ("gradient", "ablation"):
        row = table[(table["order"] == order) & (table["removed"] == 6)].iloc[0]
        gone = set(heads) - set(found.kept(order, 6))
        assert gone == set(found.orders[order][:6])
        logits = logits_of(made, TEXT, outcome, ablate=sorted(gone))
        assert row["value"] == pytest.approx(float(logits[outcome.outcome]), abs=5e-3)
        assert row["probability"] == pytest.approx(float(logits.softmax(-1)[outcome.outcome]), abs=1e-3)
    ends = table[table["removed"] == 12]
    assert len(ends) == 4
    assert np.ptp(ends["value"]) < 1e-3
    np.testing.assert_allclose(table.loc[table["removed"] == 0, "value"], found.target.value)
    assert table.equals(prune(trace, Target(-3), heads=heads, points=4, orders=2).table)


def test_of_the_planted_model_one_head_is_enough():
    found = prune(planted().trace(TEXT, capture=("predictions",)), Target(outcome=OUTCOME), orders=4)
    for order in ("gradient", "ablation"):
        assert found.kept(order, 23) == (DECIDES,)
        curve = found.table[found.table["order"] == order]
        assert curve["probability"].iloc[:-1].min() > 0.98
        assert curve["probability"].iloc[-1] < 0.6
    random = found.table[(found.table["order"] == "random") & (found.table["removed"] == 18)]
    assert random["probability"].min() < 0.6
    assert HeadId("encoder", 1, 2) == DECIDES
