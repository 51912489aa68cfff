"""Effects of heads under zero, mean and other texts: against doing it by hand, and planted heads whose sign or rank changes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import rankdata, spearmanr

from atlas.attribution import Target, compare_effects, head_effects
from atlas.attribution.effect_choices import agreement_of, compared
from atlas.errors import BadIntervention
from tests.attribution.own import model, traced
from tests.attribution.planted import DECIDES, OUTCOME, planted
from tests.attribution.test_effects import OTHER, SHORT
from tests.engine.families import TEXT

OTHERS = [OTHER, SHORT, "the dog said that she was away"]


@pytest.mark.parametrize(("name", "kind"), [("BERT", "encoder"), ("GPT-2", "decoder"), ("T5", "cross")])
def test_the_three_are_those_of_single_calls_and_their_mean_over_texts(name, kind):
    made, trace = model(name), traced(name)
    heads = [head for head in trace.head_ids if head.kind == kind]
    told = []
    found = compare_effects(made, trace, OTHERS, Target(-3), heads, seed=4, progress=lambda done, of: told.append((done, of)))
    alone = {how: head_effects(made, trace, Target(-3), how, heads) for how in ("zero", "mean")}
    texts = [
        head_effects(made, trace, Target(-3), "resample", heads, other=other, seed=4 + at) for at, other in enumerate(OTHERS)
    ]
    assert told[-1] == (5 * len(heads), 5 * len(heads))
    assert found.texts == tuple(OTHERS)
    assert found.target == alone["zero"].attrs["target"]
    for value, table in found.tables.items():
        for how, single in alone.items():
            np.testing.assert_allclose(table[how], single[value], atol=1e-5)
        runs = np.array([each[value] for each in texts])
        np.testing.assert_allclose(table["resample"], runs.mean(axis=0), atol=1e-5)
        assert (table["lo"] <= table["resample"] + 1e-9).all()
        assert (table["resample"] <= table["hi"] + 1e-9).all()
        # No mean of texts drawn again is beyond the largest of one text.
        assert (table["hi"] <= runs.max(axis=0) + 1e-6).all()
        assert (table["lo"] >= runs.min(axis=0) - 1e-6).all()
        for how in ("zero", "mean", "resample"):
            np.testing.assert_array_equal(table[f"rank_{how}"], rankdata(-table[how].abs()))
        agreed = found.agreements[value]
        assert agreed[["one", "other"]].to_numpy().tolist() == [
            ["zero", "mean"],
            ["zero", "resample"],
            ["mean", "resample"],
            ["resample", "resample, other texts"],
        ]
        for row in agreed.iloc[:3].itertuples():
            assert row.rho == pytest.approx(spearmanr(table[row.one], table[row.other]).statistic)
            assert row.lo < row.rho < row.hi
        halves = spearmanr(runs[::2].mean(axis=0), runs[1]).statistic
        assert agreed["rho"].iloc[3] == pytest.approx(halves, abs=1e-6)
    assert not (found.tables["kl"]["hangs_on"].str.contains("sign")).any()


def test_heads_whose_sign_or_rank_hangs_on_the_choice_are_named():
    """Eight heads that agree, but for one whose sign turns, one that only zero finds, and one whose texts disagree."""
    zero = np.array([8.0, 4.0, -3.0, 0.1, 0.2, 0.3, 0.4, 2.0])
    mean = np.array([0.2, 4.0, 3.0, 0.1, 0.25, 0.3, 0.4, 2.0])
    runs = np.array([[0.2, 4.0, 3.0, 0.1, 0.2, 0.3, 0.4, 2.0], [0.2, 4.1, 3.1, 0.1, 0.2, 0.3, 0.4, -2.2]] * 3)
    found = compared(zero, mean, runs)
    assert found["hangs_on"].tolist() == ["rank", "", "sign", "", "", "", "", ""]
    alone = compared(zero, mean, runs[:1])
    assert alone[["lo", "hi", "rank_lo", "rank_hi"]].isna().all(axis=None)
    assert alone["hangs_on"].tolist() == ["rank", "", "sign", "", "", "", "", ""]
    agreed = agreement_of(pd.DataFrame({"zero": zero, "mean": mean, "resample": runs[0]}), runs[:1])
    assert len(agreed) == 3


def test_the_interval_is_the_bootstrap_over_texts():
    runs = np.random.default_rng(0).normal(1.0, 1.0, size=(40, 3))
    found = compared(runs[0], runs[1], runs, seed=1)
    error = runs.std(axis=0, ddof=1) / np.sqrt(40)
    np.testing.assert_allclose(found["hi"] - found["lo"], 2 * 1.96 * error, rtol=0.1)


def test_of_the_planted_model_every_choice_finds_the_head_that_decides():
    made = planted()
    found = compare_effects(made, TEXT, [OTHER, SHORT], Target(outcome=OUTCOME)).table
    at = (found["layer"] == DECIDES.layer) & (found["head"] == DECIDES.head)
    assert found.loc[at, ["rank_zero", "rank_mean", "rank_resample"]].to_numpy().tolist() == [[1, 1, 1]]
    assert found.loc[at, "hangs_on"].item() == ""


def test_without_other_texts_nothing_is_compared():
    for others in ((), OTHER):
        with pytest.raises(BadIntervention, match="others="):
            compare_effects(model("GPT-2"), traced("GPT-2"), others)
