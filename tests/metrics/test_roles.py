from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from atlas.metrics import ROLES, bands, best_heads, causal_mask, head_roles, main_role, metrics_of
from atlas.metrics.roles import enough_rows, role_chances
from atlas.metrics.shared_keys import MIN_ROWS

BODY = "Ann saw the old dog , and Ann saw the old dog , too ."
TAGS = "PROPN VERB DET ADJ NOUN PUNCT CCONJ PROPN VERB DET ADJ NOUN PUNCT ADV PUNCT"
TEXT = ["[CLS]", *BODY.split(), *BODY.split(), "[SEP]"]
POS = ["X", *TAGS.split(), *TAGS.split(), "X"]
N = len(TEXT)


def tokens():
    special = [word.startswith("[") for word in TEXT]
    return pd.DataFrame(
        {"token": TEXT, "special": special, "pos": POS, "entity": ["PER" if word == "Ann" else None for word in TEXT]}
    )


def towards(keys_of, visible, strength=0.9):
    """A head that gives `strength` to its keys where a row sees any, and spreads the rest."""
    weights = np.zeros((N, N))
    for i in range(N):
        seen = np.flatnonzero(visible[i])
        keys = [k for k in keys_of(i) if k in seen]
        weights[i, seen] = (1 - strength if keys else 1) / len(seen)
        for k in keys:
            weights[i, k] += strength / len(keys)
    return weights


def words(*tags):
    return lambda _: [k for k in range(N) if POS[k] in tags and not TEXT[k].startswith("[")]


SEPARATOR = N - 1
PLANTED = {
    "previous": lambda i: [i - 1],
    "next": lambda i: [i + 1],
    "self": lambda i: [i],
    "induction": lambda i: [k for k in range(1, i + 1) if TEXT[k - 1] == TEXT[i] and i > 0 and k - 1 < i],
    "duplicate": lambda i: [k for k in range(i) if TEXT[k] == TEXT[i]],
    "balance": lambda _: [0],
    "special": lambda _: [SEPARATOR],
    "punctuation": words("PUNCT"),
    "entities": lambda _: [k for k in range(N) if TEXT[k] == "Ann"],
    "function_words": words("DET", "CCONJ"),
    "content_words": words("NOUN", "PROPN", "VERB", "ADJ", "ADV"),
    "long_range": lambda i: [k for k in range(N) if abs(i - k) >= 5],
}


def planted_table(visible):
    heads = np.stack([towards(keys, visible) for keys in PLANTED.values()])
    return metrics_of(np.where(visible, heads, np.nan)[None], tokens())


def test_planted_heads_are_found_in_a_bidirectional_model():
    table = planted_table(np.ones((N, N), dtype=bool))
    for place, role in enumerate(PLANTED):
        # The head on [CLS] is as much on special tokens as the one on [SEP], the one on names as much on content words.
        if role not in {"special", "content_words"}:
            assert best_heads(table, role, 1)["head"][0] == place, role
    assert main_role(table)["role"].tolist() == list(PLANTED)


def test_planted_heads_are_found_in_a_causal_model():
    table = planted_table(causal_mask(N))
    for place, role in enumerate(PLANTED):
        # Nothing is ahead, [SEP] is only seen by itself, and the head on [CLS] looks as far as one can.
        if role not in {"next", "special", "long_range"}:
            assert best_heads(table, role, 1)["head"][0] == place, role
    assert table["next"].isna().all()
    named = main_role(table)["role"]
    for place, role in enumerate(PLANTED):
        # Far keys are the early ones here, which a head may like for themselves.
        if role not in {"next", "special", "long_range"}:
            assert named[place] == role


def test_a_uniform_head_is_unnamed_and_at_chance():
    weights = np.full((1, 1, N, N), 1 / N)
    table = metrics_of(weights, tokens())
    assert main_role(table)["role"].tolist() == ["unnamed"]
    roles = head_roles(table)
    np.testing.assert_allclose(roles["excess"], 0, atol=1e-6)
    # No beginning-of-text role is unknown here: every role can be told in this text.
    assert set(roles["role"]) == set(ROLES)


def test_length_alone_makes_no_role():
    """Defects 12 and 13 of the first Atlas: with two tokens half of the attention on the previous one is chance."""
    pair = tokens().head(2)
    table = metrics_of(np.full((1, 1, 2, 2), 0.5), pair)
    assert table["previous"][0] == pytest.approx(0.5)
    assert main_role(table)["role"][0] == "unnamed"
    assert "long_range" not in set(head_roles(table)["role"])


def test_few_rows_name_no_induction_head():
    text = tokens()
    text["token"] = [f"w{k}" for k in range(N)]
    text.loc[[2, 6], "token"] = "same"
    weights = np.full((1, 1, N, N), 1e-3)
    weights[..., 3] = 1
    table = metrics_of(weights / weights.sum(-1, keepdims=True), text)
    assert table["induction"][0] > 0.9
    assert table["induction_rows"][0] == 1
    assert main_role(table)["role"][0] != "induction"


def rolled(role, value, n_heads=1, rows=20, p=np.nan):
    """A head table in which only one metric is known."""
    columns = {"layer": 0, "head": range(n_heads)}
    for name in ROLES:
        columns |= {name: np.nan, f"{name}_uniform": np.nan, f"{name}_rows": 0, f"{name}_p": np.nan}
    return pd.DataFrame(columns | {role: value, f"{role}_uniform": 0.1, f"{role}_rows": rows, f"{role}_p": p})


def test_every_role_needs_rows_and_a_chance_that_is_small():
    for role in ROLES:
        assert main_role(rolled(role, 0.9, p=1e-4))["role"][0] == role
        assert main_role(rolled(role, 0.9, p=1e-4, rows=MIN_ROWS - 1))["role"][0] == "unnamed"
        assert main_role(rolled(role, 0.5, p=1e-4))["role"][0] == "unnamed"
        assert enough_rows(rolled(role, 0.9)).sum() == 1
        assert not enough_rows(rolled(role, 0.9, rows=MIN_ROWS - 1)).any()
    assert main_role(rolled("punctuation", 0.9, p=0.2))["role"][0] == "unnamed"
    assert main_role(rolled("punctuation", 0.9))["role"][0] == "unnamed"  # a class of one token has no p


def test_the_more_heads_the_smaller_the_chance_has_to_be():
    # exp(-5 KL(0.6 || 0.1)): rare for one head, not among a hundred.
    assert role_chances(rolled("previous", 0.6, rows=5), "previous")[0] == pytest.approx(
        np.exp(-5 * (0.6 * np.log(0.6 / 0.1) + 0.4 * np.log(0.4 / 0.9)))
    )
    assert main_role(rolled("previous", 0.6, rows=5))["role"][0] == "previous"
    among = rolled("previous", [0.6] + [0.1] * 99, n_heads=100, rows=5)
    assert main_role(among)["role"].tolist() == ["unnamed"] * 100
    # As many kinds as there are, each has its own heads to be corrected for.
    two = pd.concat([rolled("previous", 0.6, rows=5).assign(kind="decoder"), among.assign(kind="encoder")], ignore_index=True)
    assert main_role(two)["role"].tolist() == ["previous"] + ["unnamed"] * 100


@pytest.mark.parametrize("causal", [False, True])
def test_heads_that_like_keys_at_random_get_roles_at_the_nominal_rate(causal):
    """Every head has favourite keys, whatever they are: sharp heads of a random model. Nothing is to be found."""
    rng = np.random.default_rng(causal)
    visible = causal_mask(N) if causal else np.ones((N, N), dtype=bool)
    n_heads = n_named = n_majority = 0
    for _ in range(10):
        favourites = np.exp(3.0 * rng.standard_normal((2, 24, 1, N)) + 0.5 * rng.standard_normal((2, 24, N, N)))
        weights = np.where(visible, favourites, np.nan)
        table = metrics_of(weights / np.nansum(weights, -1, keepdims=True), tokens(), medians=False)
        roles = head_roles(table)
        n_majority += roles[roles["excess"] > 0.5][["layer", "head"]].drop_duplicates().shape[0]
        n_named += int((main_role(table)["role"] != "unnamed").sum())
        n_heads += len(table)
    assert n_majority > 0.1 * n_heads  # a fixed cut on the share alone would name these
    assert n_named <= 0.01 * n_heads


def test_ranks_and_quantiles():
    table = planted_table(np.ones((N, N), dtype=bool))
    previous = head_roles(table).query("role == 'previous'").set_index("head")
    assert previous["rank"][0] == 1
    assert previous["quantile"][0] == pytest.approx((len(PLANTED) - 0.5) / len(PLANTED))
    assert previous["quantile"].mean() == pytest.approx(0.5)


def test_bands_come_from_the_heads_at_hand():
    assert bands(np.arange(10.0)) == pytest.approx((3, 6))
    assert bands([np.nan, 1.0]) == (1.0, 1.0)
    assert np.isnan(bands([np.nan])).all()
