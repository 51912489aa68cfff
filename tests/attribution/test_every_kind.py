"""Every explanation of every kind of target: it works, or it is not offered and says why. Methods are in `test_attribute`."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from atlas.attribution import (
    Target,
    agreement,
    attribute,
    attribution_patching,
    compare_effects,
    composition,
    cut_writer,
    edge_attribution_patching,
    faithfulness,
    head_effects,
    head_importance,
    influence,
    knockout,
    prune,
    state_parts,
    verdict,
    why,
)
from atlas.errors import NotCaptured
from tests.attribution.own import model, traced
from tests.attribution.test_patching import OTHER

TARGETS = {
    "BERT": "a word of an encoder",
    "classifier": "the label of a text",
    "token labels": "the label of a token",
    "GPT-2": "the next word",
    "Llama": "the next word, with shared keys",
    "T5": "a word of a decoder that reads an encoder",
}

ONE_STREAM = "two streams|not write straight into the stream"

REFUSED = {("edges", name): ONE_STREAM for name in ("BERT", "classifier", "token labels", "T5")}
"""(explanation, model) -> the reason that is given."""

NUMBERS = ("change", "effect", "importance", "value", "rho", "mean", "influence", "share", "part")


def target_of(name):
    return Target() if name == "classifier" else Target(-2)


def effects(how):
    return lambda name: head_effects(
        model(name), traced(name), target_of(name), how, other=None if how in ("zero", "mean") else other(name)
    )


def other(name):
    return traced(name, OTHER)


def attributed(name):
    return attribute(model(name), traced(name), target_of(name), "saliency")


def cut(name):
    return cut_writer(traced(name), 1, 1, 5, 2, "token embedding", "k", kind=kind(name))


def parts(name):
    return pd.concat([state_parts(traced(name), 2, level, stream(name)) for level in (0, 1, -1)])


def stream(name):
    return [kind for kind in traced(name).kinds if kind != "cross"][-1]


def kind(name):
    return traced(name).kinds[-1]


EXPLANATIONS = {
    **{f"effects, {how}": effects(how) for how in ("zero", "mean", "resample", "patch")},
    "effects, compared": lambda name: compare_effects(model(name), traced(name), [other(name)], target_of(name)).table,
    "importance": lambda name: head_importance(model(name), traced(name), target_of(name)),
    "patching": lambda name: attribution_patching(model(name), traced(name), other(name), target_of(name), check=3),
    "edges": lambda name: edge_attribution_patching(model(name), traced(name), other(name), target_of(name), check=2),
    "pruning": lambda name: prune(traced(name), target_of(name), points=3, orders=2).table,
    "knockout": lambda name: knockout(traced(name), target_of(name), draws=9).table,
    "agreement": lambda name: agreement(traced(name), attributed(name), permutations=19),
    "faithfulness": lambda name: faithfulness(model(name), [traced(name)], ["saliency", "rollout"], target=target_of(name)),
    "verdict": lambda name: pd.DataFrame(
        {"value": [verdict(traced(name), target_of(name), [(kind(name), 1, 1)], draws=9, permutations=19).numbers["effect"]]}
    ),
    "influence": lambda name: influence(traced(name), -2, kind=stream(name)).tokens,
    "parts": parts,
    "why": lambda name: why(traced(name), 1, 1, 5, 2, kind=kind(name)).table,
    "composition": lambda name: composition(traced(name), 1, 1, kind=kind(name)).table,
    "cut": lambda name: pd.DataFrame({"value": [cut(name).weight]}),
}


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("explanation", EXPLANATIONS)
def test_every_explanation_works_for_every_kind_of_target_or_says_why_not(explanation, name):
    reason = REFUSED.get((explanation, name))
    if reason:
        with pytest.raises(NotCaptured, match=reason):
            EXPLANATIONS[explanation](name)
        return
    found = EXPLANATIONS[explanation](name)
    numbers = [name for name in found.columns if name in NUMBERS and pd.api.types.is_numeric_dtype(found[name])]
    assert numbers, list(found.columns)
    assert np.isfinite(found[numbers].to_numpy(dtype=float)).any(axis=0).all()
    assert found[numbers].to_numpy(dtype=float).size > 0
    if "kind" in found and explanation not in ("verdict", "edges"):
        assert set(found["kind"]) == set(traced(name).kinds)
