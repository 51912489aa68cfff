"""The role profile against plain numpy on the weights, and where it has no z-scores."""

from __future__ import annotations

import functools

import numpy as np
import pandas as pd
import pytest

import atlas
from atlas.metrics.role_profile import PROFILE
from atlas.tracing.roles import profile_of, reached_by, roles_of, strongest
from atlas.tracing.selected_heads import selected_heads
from tests.engine.families import TARGET, TEXT, loaded

SPOKEN = "Anna, the doctor, said that she was tired. Paris is a city, and the dog ran after Tom."

CASES = [("BERT", "encoder"), ("GPT-2", "decoder"), ("Llama", "decoder"), ("T5", "encoder"), ("T5", "decoder"), ("T5", "cross"),
         ("bert-mini", "encoder"), ("gpt-mini", "decoder")]  # fmt: skip

FUNCTION = {"ADP", "AUX", "CCONJ", "DET", "PART", "PRON", "SCONJ"}
CONTENT = {"NOUN", "PROPN", "VERB", "ADJ", "ADV", "NUM"}


@functools.cache
def traced(name):
    embedded = name.endswith("-mini")
    model = atlas.load(name) if embedded else loaded(name)
    more = {"target": TARGET} if "cross" in model.kinds else {}
    return model.trace(SPOKEN if embedded else TEXT, keep="weights", capture=(), **more)


def targets(trace, kind, role, shape):
    """(query, key) which cells a role counts; None where the text has none."""
    keys = trace.tokens(trace.side(kind, "key"))
    special = keys["special"].to_numpy(bool)
    every = np.ones(shape[0], dtype=bool)[:, None]
    if role in ("self", "long_range"):
        if kind == "cross":
            return None
        away = np.abs(np.arange(shape[0])[:, None] - np.arange(shape[1]))
        return away == 0 if role == "self" else away >= 5
    pos = keys["pos"].fillna("").to_numpy()
    members = {
        "special": special,
        "first_key": np.arange(shape[1]) == 0,
        "function_words": np.isin(pos, list(FUNCTION)) & ~special,
        "content_words": np.isin(pos, list(CONTENT)) & ~special,
        "punctuation": keys["token"].str.strip("Ġ▁#").isin([",", "."]).to_numpy() & ~special,
        "entities": (keys["entity"].fillna("") != "").to_numpy() & ~special,
    }[role]
    return every & members if members.any() else None


def plain(trace, kind, role, rows):
    """(layer, head) value, uniform value and number of rows of a role, from the weights."""
    weights = trace.attention(kind).to_numpy().astype(float)
    seen = ~np.isnan(weights[0, 0])
    where = targets(trace, kind, role, seen.shape)
    if where is None:
        return np.full(weights.shape[:2], np.nan), np.full(weights.shape[:2], np.nan), 0
    counted = (seen.sum(1) > 1) & (seen & where).any(1)
    counted &= np.isin(np.arange(len(seen)), rows)
    value = np.where(where & seen, np.nan_to_num(weights), 0.0).sum(-1)[..., counted].mean(-1)
    even = ((where & seen).sum(1) / seen.sum(1))[counted].mean()
    return value, np.full(weights.shape[:2], even), int(counted.sum())


def scores(values):
    return (values - values.mean()) / values.std()


@pytest.mark.parametrize("queries", [(), tuple(range(3, 11))])
@pytest.mark.parametrize(("name", "kind"), CASES)
def test_values_and_z_scores_are_what_the_weights_say(name, kind, queries):
    trace = traced(name)
    found = profile_of(selected_heads(trace, kind, queries))
    assert found.roles[:2] == PROFILE[:2]
    known = 0
    for at, role in enumerate(found.roles):
        value, uniform, rows = plain(trace, kind, role, queries or range(trace.attention_of(kind).n_queries))
        if not rows:
            assert np.isnan(found.value[at]).all(), role
            assert np.isnan(found.z[at]).all(), role
            continue
        np.testing.assert_allclose(found.value[at], value.ravel(), rtol=2e-4, atol=1e-6, err_msg=role)
        np.testing.assert_allclose(found.uniform[at], uniform.ravel(), rtol=1e-5, err_msg=role)
        assert set(found.rows[at]) == {rows}
        above = (value - uniform) / (1 - uniform)
        if rows < 5:
            assert np.isnan(found.z[at]).all(), role
        elif (value - uniform).std() < 0.01:
            assert (found.alike[at].all(), np.isnan(found.z[at]).all()) == (True, True)
        else:
            known += 1
            np.testing.assert_allclose(found.z[at], scores(above.ravel()), rtol=5e-3, atol=5e-3, err_msg=role)
        for layer, here in enumerate(above):
            own = slice(layer * len(here), (layer + 1) * len(here))
            alike = (value - uniform)[layer].std() < 0.01 or rows < 5 or len(here) < 3
            expected = np.full(len(here), np.nan) if alike else scores(here)
            np.testing.assert_allclose(found.z_layer[at, own], expected, rtol=5e-3, atol=5e-3, err_msg=role)
    assert known >= 2


def table(values, *, layers=2, rows=20, uniform=0.25):
    """A head table in which every role has the same values."""
    heads = len(values) // layers
    columns = {"kind": "encoder", "layer": np.repeat(np.arange(layers), heads), "head": np.tile(np.arange(heads), layers)}
    for role in (*PROFILE, "first_key"):
        columns |= {role: values, f"{role}_uniform": uniform, f"{role}_rows": rows, f"{role}_p": 0.5}
    return pd.DataFrame(columns)


def test_one_head_that_differs_has_the_highest_z_there_can_be_and_the_heads_that_are_alike_have_none_in_their_layer():
    values = np.array([0.3, 0.3, 0.3, 0.3, 0.3, 0.9, 0.3, 0.3])
    found = profile_of(table(values))
    assert found.z[0, 5] == pytest.approx(np.sqrt(7))
    assert found.z_layer[0, 5] == pytest.approx(np.sqrt(3))
    assert (found.alike_layer[0, :4].all(), np.isnan(found.z_layer[0, :4]).all()) == (True, True)
    (role, *_) = roles_of(found, [0])
    assert (role.reason, role.reason_layer, role.lower, role.known) == ("", "all heads alike", 0, 8)
    (role, *_) = roles_of(found, [5])
    assert (role.value, role.uniform, role.lower, role.rows) == (0.9, 0.25, 7, 20)
    assert role.excess == pytest.approx((0.9 - 0.25) / 0.75)
    assert reached_by(found, role.z) == (1, 8)
    assert strongest(found, "self", 1) == [5]


def test_differences_of_less_than_a_point_in_a_hundred_are_not_scaled_up():
    found = profile_of(table(0.3 + 1e-3 * np.arange(8)))
    assert np.isnan(found.z).all()
    assert roles_of(found, [7])[0].reason == "all heads alike"
    # Where nearly every token counts, the excess of the same shares differs by a tenth.
    found = profile_of(table(0.97 + 1e-3 * np.arange(8), uniform=0.97))
    assert found.excess[0].std() > 0.05
    assert roles_of(found, [7])[0].reason == "all heads alike"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"rows": 4}, "too few rows (4; it takes 5)"),
        ({"uniform": 1.0}, "every visible token counts"),
        ({"values": np.full(6, np.nan)}, "no function words found"),
        ({"values": np.array([0.2, 0.6])}, "fewer than 3 heads"),
    ],
)
def test_a_role_without_a_z_says_why(changes, reason):
    found = profile_of(table(**({"values": np.linspace(0.1, 0.9, 6)} | changes)))
    role = roles_of(found, [0, 1])[0]
    assert (role.reason, role.known) == (reason, 0)
    assert np.isnan(role.z)


def test_several_heads_have_the_mean_of_their_z_scores_and_a_text_without_special_tokens_the_first_token():
    found = profile_of(table(np.linspace(0.1, 0.9, 8)))
    assert roles_of(found, [1, 6])[2].z == pytest.approx(found.z[2, [1, 6]].mean())
    without = profile_of(table(np.linspace(0.1, 0.9, 8)).assign(special=np.nan))
    assert (found.roles[2], without.roles[2]) == ("special", "first_key")
