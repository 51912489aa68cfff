"""Heads, bias and performance: numbers are those of a benchmark without the head, a planted head is found, chance finds none."""

from __future__ import annotations

import functools

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from atlas.attribution.head_sets import alternatives
from atlas.bias import attention_bias, benchmark, composite, head_tradeoff, held_out, tradeoff_cost
from atlas.bias import tradeoff as module
from atlas.bias import tradeoff_scores as scores
from atlas.bias.files import Item, read_items
from atlas.bias.tradeoff import halves
from atlas.bias.tradeoff_scores import Marks, by_chance, front_with_whole, scored
from atlas.engine.gradients import likelihoods_without
from atlas.engine.running.interventions import Intervention
from atlas.engine.running.likelihood import Likelihoods
from atlas.errors import BadData, NotCaptured, UnknownName
from atlas.ids import HeadId
from atlas.tracing.tradeoff import LOG_RATIO, SCORE, measures_of, shares_below
from tests.bias.prejudiced import IDLE, PREJUDICED, SENSIBLE, examples, prejudiced
from tests.bias.test_benchmarks import many, triple
from tests.engine import families

model = functools.cache(families.loaded)


def small(count=12):
    """Examples that read differently, two of each target term."""
    contexts = ["the doctor said that BLANK was tired.", "BLANK ran after the dog", "the cat and the BLANK", "a BLANK said hello"]
    words = [("he", "she", "una"), ("she", "uns", "cat"), ("doctor", "nurse", "unaing"), ("cat", "his", "dog")]
    return [
        triple(f"e{at}", contexts[at % 4] + " to her" * (at // 4), words[(at + at // 4) % 4], target=f"term {at // 2}")
        for at in range(count)
    ]


def chosen_from(data, ids):
    """The examples of some ids."""
    return [row for row in data if str(row["id"]) in ids]


def run_of(name, heads=(1,)):
    every = module._heads(model(name), None)
    return [every[at] for at in heads]


@pytest.mark.parametrize("name", ["BERT", "GPT-2", "Llama"])
def test_scores_without_a_head_are_those_of_a_benchmark_with_it_switched_off(name):
    data, heads = small(), run_of(name, (0, 6, 11))
    found = head_tradeoff(model(name), "stereoset", data, heads, limit=None)
    same = chosen_from(data, found.chosen_on)
    whole = benchmark(model(name), "stereoset", same).scores.iloc[-1]
    assert (found.whole["score"], found.whole["performance"]) == pytest.approx((whole["ss"], whole["lms"]))
    for row, head in zip(found.table.itertuples(), heads, strict=True):
        without = benchmark(model(name), "stereoset", same, ablate=[head]).scores.iloc[-1]
        assert (row.score, row.performance) == pytest.approx((without["ss"], without["lms"]))
        assert row.score_change == pytest.approx(without["ss"] - whole["ss"])
        assert row.performance_change == pytest.approx(without["lms"] - whole["lms"])
        assert row.bias_removed == pytest.approx(abs(whole["ss"] - 50) - abs(without["ss"] - 50))
    assert found.heads == tuple(heads)


@pytest.mark.parametrize("name", ["BERT", "GPT-2"])
def test_by_log_ratios_they_are_means_of_the_likelihoods_over_terms(name):
    data, (head,) = small(), run_of(name, (5,))
    found = head_tradeoff(model(name), "stereoset", data, [head], limit=None, by=LOG_RATIO)
    for row, ablate in ((found.whole, ()), (found.table.iloc[0], (head,))):
        table = benchmark(model(name), "stereoset", chosen_from(data, found.chosen_on), ablate=ablate).examples
        logs = np.log(table[["stereotype_score", "anti_stereotype_score", "unrelated_score"]])
        logs.columns = list("sau")
        bias, performance = logs["s"] - logs["a"], (logs["s"] + logs["a"]) / 2 - logs["u"]
        by_term = pd.DataFrame({"b": bias, "p": performance}).groupby(table["target"]).mean().mean()
        assert (row["score"], row["performance"]) == pytest.approx((by_term["b"], by_term["p"]), abs=1e-5)


@pytest.mark.parametrize("name", ["BERT", "GPT-2"])
def test_of_pairs_performance_is_the_mean_log_likelihood_and_each_pair_counts_alike(name):
    data, (head,) = many(24), run_of(name, (3,))
    found = head_tradeoff(model(name), "pairs", data, [head], limit=None)
    assert found.unit == "pair"
    same = [data[int(at)] | {"id": at} for at in found.chosen_on]
    for row, ablate in ((found.whole, ()), (found.table.iloc[0], (head,))):
        plain = benchmark(model(name), "pairs", same, ablate=ablate)
        assert row["score"] == pytest.approx(plain.scores.iloc[-1]["score"])
        assert row["performance"] == pytest.approx(plain.examples[["more_score", "less_score"]].to_numpy().mean(), rel=1e-5)


def test_a_head_may_become_its_mean_and_the_trace_may_have_heads_off_already():
    bert, data = model("BERT"), small(4)
    off, head = HeadId("encoder", 0, 1), HeadId("encoder", 2, 2)
    run = module._run(bert, "stereoset", read_items("stereoset", data), None, [off], 0, held=False)
    values = module._likelihoods(run, [(head,)], "mean", None)
    for change, row in ((Intervention([off]), values[0]), (Intervention({off: "zero", head: "mean"}), values[1])):
        ask = Likelihoods(bert, change)
        expected = ask.ask([ask.word(item.context, word, "BLANK") for item in run.items for word in item.words])
        np.testing.assert_allclose(row.ravel(), expected, rtol=1e-4)
    trace = bert.trace("the cat", ablate=[off])
    task = module.tradeoff_of_trace(trace, "stereoset", pd.Series(small()).to_json(orient="values").encode(), "zero", 200)
    plain = head_tradeoff(bert, "stereoset", small(), ablate=[off])
    assert task[SCORE].table.equals(plain.table)


def test_plain_runs_give_what_forked_ones_give(monkeypatch):
    forked = head_tradeoff(model("BERT"), "stereoset", small(), by=LOG_RATIO)
    monkeypatch.setattr(likelihoods_without, "can_fork", lambda _: False)
    plain = head_tradeoff(model("BERT"), "stereoset", small(), by=LOG_RATIO)
    np.testing.assert_allclose(forked.table["score"], plain.table["score"], atol=1e-4)
    np.testing.assert_allclose(forked.table["performance"], plain.table["performance"], atol=1e-4)


# -- statistics ------------------------------------------------------------------------------------------------------------


def made_up(runs=4, count=6, units=3, seed=0):
    """Marks by chance: of six examples all 64 exchanges can be tried."""
    random = np.random.default_rng(seed)
    prefers = 100.0 * random.integers(2, size=(runs, count))
    performance = random.normal(size=(runs, count))
    return Marks(prefers, 100 - prefers, performance, np.arange(count) % units, measures_of(SCORE, triples=True))


def test_the_bootstrap_draws_the_same_terms_for_every_run():
    marks = made_up(count=30, units=10)
    found = scored(marks, seed=3, resamples=50)
    draws = np.random.default_rng(3).multinomial(10, np.full(10, 0.1), size=50)
    changes, removed, on = [], [], []
    for draw in draws:
        terms = np.repeat(np.arange(10), draw)
        score, lms = (
            [np.mean([run[marks.unit == term].mean() for term in terms]) for run in each]
            for each in (marks.prefers, marks.performance)
        )
        changes.append(np.array(lms[1:]) - lms[0])
        removed.append(abs(score[0] - 50) - np.abs(np.array(score[1:]) - 50))
        on.append(front_with_whole(changes[-1].round(10), removed[-1].round(10)))
    np.testing.assert_allclose(found.intervals["performance_change"], np.percentile(changes, [2.5, 97.5], axis=0))
    np.testing.assert_allclose(found.intervals["bias_removed"], np.percentile(removed, [2.5, 97.5], axis=0), atol=1e-9)
    np.testing.assert_allclose(found.front_share, np.mean(on, axis=0))


def test_p_is_the_share_of_all_exchanges_that_change_as_much():
    marks = made_up()
    found = by_chance(marks, seed=1)
    weight = np.array([1 / 3 / 2] * 6)
    every = np.array(list(np.ndindex(*[2] * 6)))
    turned = np.array([[np.sum(weight * np.where(way, run, 100 - run)) for run in marks.prefers] for way in every])
    null = np.abs(turned[:, 1:] - turned[:, :1])
    expected = (null >= null[-1] - 1e-9).mean(axis=0)  # the last way exchanges nothing
    np.testing.assert_allclose(found.score_p, expected, atol=0.02)
    away = abs(turned - 50)
    assert found.chance.lo == pytest.approx(np.percentile(away[:, :1] - away[:, 1:], 2.5), abs=1.0)
    lost = np.array([(run - marks.performance[0]).reshape(2, 3).mean(axis=0) for run in marks.performance[1:]]) / 3
    signs = np.array(list(np.ndindex(2, 2, 2))) * 2 - 1
    expected = (np.abs(signs @ lost.T) >= np.abs(lost.sum(axis=1)) - 1e-9).mean(axis=0)
    np.testing.assert_allclose(found.performance_p, expected, atol=0.02)


def test_heads_that_act_by_chance_survive_the_correction_no_more_often_than_its_rate(monkeypatch):
    monkeypatch.setattr(scores, "LEAST_PERMUTATIONS", 999)
    random = np.random.default_rng(5)
    any_survives, p = [], []
    for seed in range(100):
        base, noise = random.normal(size=60), 0.4 * random.normal(size=(13, 60))
        ratio = base + noise * (np.arange(13) > 0)[:, None]
        marks = Marks(ratio, -ratio, noise, np.arange(60) % 20, measures_of(LOG_RATIO, triples=True))
        found = by_chance(marks, seed=seed)
        both = np.concatenate([found.score_p, found.performance_p])
        p.append(both)
        any_survives.append(stats.false_discovery_control(found.score_p).min() <= 0.05)
    assert np.mean(any_survives) <= 0.10
    assert np.mean(np.array(p) <= 0.05) == pytest.approx(0.05, abs=0.02)


def test_a_head_that_changes_nothing_is_not_on_the_front():
    assert front_with_whole(np.array([0.0, 1.0]), np.array([0.0, -1.0])).tolist() == [False, True]
    assert front_with_whole(np.array([-1.0, -2.0]), np.array([0.0, 3.0])).tolist() == [False, True]


# -- planted ---------------------------------------------------------------------------------------------------------------


@functools.cache
def planted(by=SCORE):
    return head_tradeoff(prejudiced(), "stereoset", examples(), limit=None, by=by)


def row(found, head):
    return found.table.iloc[found.heads.index(head)]


@pytest.mark.parametrize("by", [SCORE, LOG_RATIO])
def test_the_head_that_alone_carries_the_bias_is_found_and_is_on_the_front(by):
    found = planted(by)
    alone = row(found, PREJUDICED)
    assert found.table["bias_removed"].idxmax() == found.heads.index(PREJUDICED)
    assert alone["bias_removed"] > 3 * found.chance.best
    assert alone["bias_removed_lo"] > 0
    assert alone["score_change_q"] < 0.05
    assert PREJUDICED in found.front
    assert alone["front_share"] > 0.95
    assert found.table["performance_change"].idxmin() == found.heads.index(SENSIBLE)
    assert row(found, SENSIBLE)["performance_change_q"] < 0.05
    assert row(found, SENSIBLE)["front_share"] < 0.2
    assert tuple(row(found, IDLE)[["score_change", "performance_change", "front_share"]]) == pytest.approx((0, 0, 0), abs=1e-6)


def test_in_a_model_by_chance_no_head_survives():
    found = head_tradeoff(prejudiced(planted=False), "stereoset", examples(by_chance=True), limit=None)
    assert (found.table["score_change_q"] > 0.05).all()
    assert (found.table["performance_change_q"] > 0.05).all()
    assert found.table["bias_removed"].max() <= found.chance.best
    assert any("contains 50" in note for note in found.notes)


def test_on_held_out_examples_the_planted_head_carries_bias_and_an_idle_one_does_not():
    found = held_out(prejudiced(), "stereoset", examples(), [PREJUDICED], limit=None)
    assert found.verdict == "They carry bias on these examples too."
    assert "without this head: the stereotype score goes from" in found.sentence
    idle = held_out(prejudiced(), "stereoset", examples(), [IDLE], limit=None)
    assert idle.verdict.startswith("Nothing shows")
    assert idle.table["change"].tolist() == [0, 0, 0]


# -- held out --------------------------------------------------------------------------------------------------------------


def test_examples_that_test_share_no_term_with_those_that_choose():
    data = read_items("stereoset", examples(count=90, terms=30))
    for seed in (0, 1):
        choose, test = halves(data, seed)
        assert not {item.target for item in choose} & {item.target for item in test}
        assert sorted(map(str, (*choose, *test))) == sorted(map(str, data))
        for part in (choose, test):
            for category in ("gender", "job", "kind"):
                assert sum(item.category == category for item in part) == 15
    assert halves(data, 0) != halves(data, 1)
    assert halves(data, 1) == halves(data, 1)
    without = [Item(str(at), "all", "", "", ("a", "b")) for at in range(7)]
    choose, test = halves(without)
    assert {len(choose), len(test)} == {3, 4}


def test_the_test_is_a_benchmark_of_the_held_out_examples_beside_random_heads_of_the_same_layers():
    data, bert = small(24), model("BERT")
    heads = [HeadId("encoder", 1, 1), HeadId("encoder", 0, 3)]
    found = held_out(bert, "stereoset", data, heads, limit=None, sets=15)
    chosen_on = head_tradeoff(bert, "stereoset", data, heads, limit=None).chosen_on
    assert not set(found.tested_on) & set(chosen_on)
    assert len(found.tested_on) + len(chosen_on) == 24
    same = chosen_from(data, found.tested_on)
    beside = alternatives(sorted(heads), module._heads(bert, None), 15, 0)
    assert found.same_layers
    assert len(found.random) == found.sets == 15

    def measured(ablate):
        last = benchmark(bert, "stereoset", same, ablate=ablate).scores.iloc[-1]
        return np.array([last["ss"], abs(last["ss"] - 50), last["lms"]])

    before, after = measured(()), measured(heads)
    np.testing.assert_allclose(found.table["before"], before)
    np.testing.assert_allclose(found.table["change"], after - before)
    random = np.array([measured(each) - before for each in beside.sets])
    np.testing.assert_allclose(found.random[["score", "bias", "performance"]], random, atol=1e-9)
    change = after - before
    as_much = (np.abs(random[:, 0]) >= abs(change[0]) - 1e-6, *(random[:, at] <= change[at] + 1e-6 for at in (1, 2)))
    np.testing.assert_allclose(found.table["p"], [(1 + each.sum()) / 16 for each in as_much])
    assert (found.table["lo"] <= found.table["change"]).all()
    assert (found.table["hi"] >= found.table["change"]).all()


# -- composite -------------------------------------------------------------------------------------------------------------


def test_the_composite_is_the_weighted_mean_of_three_ranks():
    names = [("encoder", 0, 0), ("encoder", 0, 1), ("encoder", 1, 0), ("encoder", 1, 1)]
    keys = pd.DataFrame(names, columns=["kind", "layer", "head"])
    table = keys.assign(performance_change=[-3.0, 0.0, 0.0, 1.0], bias_removed=[5.0, 1.0, 2.0, -1.0])
    ratio = keys.assign(ratio=[4.0, 1.0, 2.0, 3.0]).iloc[::-1]
    found = composite(table, ratio, {"attention": 1.0, "performance": 0.5, "fairness": 0.5})
    assert found["attention"].tolist() == [0.875, 0.125, 0.375, 0.625]
    assert found["performance"].tolist() == [0.125, 0.5, 0.5, 0.875]
    assert found["fairness"].tolist() == [0.875, 0.375, 0.625, 0.125]
    assert found["composite"][0] == pytest.approx((0.875 + 0.5 * 0.125 + 0.5 * 0.875) / 2)
    assert found["composite"].mean() == pytest.approx(0.5)
    without = composite(table, None, {"attention": 1.0, "performance": 1.0, "fairness": 3.0})
    assert without["attention"].isna().all()
    assert without["composite"][3] == pytest.approx((0.875 + 3 * 0.125) / 4)
    assert composite(table, ratio, {})["composite"].isna().all()
    partly = composite(table, ratio.iloc[:2], {"attention": 1.0})
    assert partly["composite"].isna().tolist() == [True, True, False, False]
    np.testing.assert_array_equal(shares_below([np.nan, np.nan]), [np.nan, np.nan])


def test_it_takes_the_tables_of_the_api():
    trace = prejudiced().trace("the doctor said that she was tired")
    found = composite(planted().table, attention_bias(trace, [2], permutations=9), {"attention": 1.0, "fairness": 1.0})
    assert found["composite"].notna().all()
    assert found["fairness"].idxmax() == planted().heads.index(PREJUDICED)


# -- cost and errors -------------------------------------------------------------------------------------------------------


def test_the_cost_counts_every_text_that_is_run():
    run = []
    cost = tradeoff_cost(model("GPT-2"), "stereoset", small(), limit=4)
    head_tradeoff(model("GPT-2"), "stereoset", small(), limit=4, progress=lambda done, of: run.append((done, of)))
    assert run[0] == (0, run[-1][1])
    # And the start token alone.
    assert cost.passes == (run[-1][1] + 1) * (1 + 12)
    assert cost.examples == 4
    assert cost.seconds > 0


def test_what_cannot_be_asked_is_said():
    bert = model("BERT")
    with pytest.raises(UnknownName, match="'zero' or 'mean'"):
        head_tradeoff(bert, "stereoset", small(), how="resample")
    with pytest.raises(UnknownName, match="'score' or 'log_ratio'"):
        head_tradeoff(bert, "stereoset", small(), by="icat")
    with pytest.raises(UnknownName, match="no head L9 H0"):
        head_tradeoff(bert, "stereoset", small(), [(9, 0)])
    with pytest.raises(UnknownName, match="No head is named"):
        held_out(bert, "stereoset", small(), [])
    with pytest.raises(BadData, match="none can be held out"):
        held_out(bert, "stereoset", small(2), [(0, 0)])
    with pytest.raises(NotCaptured, match="no likelihoods"):
        head_tradeoff(model("T5"), "stereoset", small())
