"""Counterfactuals of many texts: numbers as the comparison of one pair has them, nulls that are right, and no row lost."""

from __future__ import annotations

import functools
import tomllib

import numpy as np
import pandas as pd
import pytest
from scipy.stats import kstest

import atlas
from atlas.bias import compare_counterfactual, counterfactuals, detect, swap_audit
from atlas.bias.reactions import beyond_neutral
from atlas.bias.swap_audits import Text
from atlas.bias.swap_tables import Exchange, beyond_over_texts, exchange_of, mean_change
from atlas.bias.templates import template_texts
from atlas.cli import DONE, main
from atlas.errors import BadData, TextError, UnknownName
from atlas.resources import asset
from atlas.text.files import BadRow, TextRow, TextRows
from atlas.tracing.many_texts import FEW_SENTENCES, TEMPLATES
from atlas.tracing.predictions import SEQ2SEQ
from atlas.tracing.swap_audit import ATTENDED, CATEGORIES, DETECTED, PREDICTED
from tests.engine.families import loaded

TEXTS = (
    "The woman said that she was tired.",
    "The train was late.",
    "The nurse told the man that his wife was there.",
    "He is a doctor.",
)

model = functools.cache(lambda name: atlas.load(name) if name.endswith("-mini") else loaded(name))


@functools.cache
def found(name):
    return swap_audit(model(name), TEXTS)


@pytest.mark.parametrize("name", ["BERT", "GPT-2", "T5", "mood-mini"])
def test_the_numbers_of_a_pair_are_those_of_its_comparison(monkeypatch, name):
    monkeypatch.setattr("atlas.bias.compare.NEUTRAL_SWAPS", 8)
    audit = found(name)
    assert audit.pairs["row"].tolist() == [1, 3, 4]
    heads = []
    for at, row in enumerate(audit.pairs.itertuples()):
        (first, *_) = counterfactuals(row.text)
        assert row.counterfactual == first.text == audit.found[at].text
        one = compare_counterfactual(model(name).trace(row.text), first)
        heads.append(one.reactions.table)
        assert row.attended == pytest.approx(heads[-1]["moved"].mean(), abs=1e-6)
        assert row.n == len(one.reactions.neutral) == 8
        levels = []
        for text in (row.text, row.counterfactual):
            words = detect("gus-mini", text).words
            levels.append(words.drop(columns=["word", "start", "end"]).max(axis=1).mean())
        assert row.detected == pytest.approx(levels[1] - levels[0], abs=1e-6)
        if name == "mood-mini":
            (named,) = [each for each in one.predictions if audit.predicts.endswith(f" {each.name}")]
            assert row.predicted == pytest.approx(named.new - named.old, abs=1e-6)
        else:
            summed, tokens = one.likelihood[-1], shared_tokens(model(name), row.text, row.counterfactual)
            assert row.predicted * tokens == pytest.approx(summed.new - summed.old, abs=1e-4, nan_ok=True)  # T5 may write nothing
    # A head over the three texts: the geometric mean of what it does in each.
    ratios = np.stack([np.log(table["ratio"].to_numpy(dtype=float)) for table in heads])
    known = np.isfinite(ratios).all(axis=0)
    assert known.any()
    np.testing.assert_allclose(audit.heads["ratio"][known], np.exp(ratios.mean(axis=0)[known]), rtol=1e-3)
    moved = pd.concat([table["moved"] for table in heads], axis=1).mean(axis=1)  # of the texts in which it can move
    np.testing.assert_allclose(audit.heads["moved"], moved, atol=1e-6)


def shared_tokens(of, text, other):
    """How many tokens are predicted in both: those of equal words, of a causal model without the first; of T5 what is written."""
    trace = of.trace(text)
    if of.task == SEQ2SEQ:
        return len(trace.token_tables["target"]) - 1
    tables = [each.token_tables["source"] for each in (trace, of.trace(other))]
    words, others = text.rstrip(".").split(), other.rstrip(".").split()
    table = tables[0]
    kept = 0
    start = 0
    for word, new in zip(words, others, strict=True):
        start = text.index(word, start)
        inside = (table["start"] < start + len(word)) & (table["end"] > start) & ~table["special"].to_numpy(dtype=bool)
        kept += int(inside.sum()) if word == new else 0
        if word == new and start == 0 and of.task == "causal-lm":
            kept -= 1
        start += len(word)
    return kept + 1  # the full stop


@pytest.mark.parametrize("measure", [PREDICTED, DETECTED, ATTENDED])
def test_the_tables_follow_from_the_changes_of_pairs_and_neutral_swaps(measure):
    audit = found("GPT-2")
    values = audit.pairs[measure].abs().to_numpy()
    null = audit.null[measure].abs().to_numpy().reshape(3, 8)
    expected = beyond_neutral(values, null.T)
    for column in ("neutral", "ratio", "p", "q"):
        np.testing.assert_allclose(audit.pairs[f"{measure}_{column}"], expected[column])
    (group,) = audit.groups[audit.groups["measure"] == measure].to_dict("records")
    assert (group["one"], group["other"], group["texts"], group["pairs"]) == ("female", "male", 3, 3)
    logs = np.log(np.maximum(values, 1e-5)) - np.log(np.maximum(null, 1e-5)).mean(axis=1)
    assert group["ratio"] == pytest.approx(np.exp(logs.mean()))
    if measure == ATTENDED:
        assert np.isnan(group["change"])
    else:  # of "the man ... his wife" nobody can say which way it goes; "he" becomes "she", against the name of the exchange
        assert group["directed"] == 2
        assert group["change"] == pytest.approx((audit.pairs[measure][0] - audit.pairs[measure][2]) / 2)


def test_no_row_is_lost_and_what_cannot_be_used_is_listed(monkeypatch):
    rows = TextRows((TextRow(2, TEXTS[1]), TextRow(3, TEXTS[0]), TextRow(5, TEXTS[3] * 2000)), (BadRow(1, "is empty"),))
    audit = swap_audit(model("GPT-2"), rows, neutral=0)
    assert audit.bad["row"].tolist() == [1, 2, 5]
    assert audit.bad["reason"][1] == "has no word of an identity"
    assert "up to 20,000 letters" in audit.bad["reason"][2]
    assert audit.complete
    assert audit.pairs["attended_ratio"].isna().all()
    assert audit.heads["q"].isna().all()
    with pytest.raises(BadData, match=r"None of 1 rows could be used; the first one, row 1, has no word of religion\."):
        swap_audit(model("GPT-2"), [TEXTS[0]], category="religion")
    with pytest.raises(UnknownName, match="no category; there are all, gender"):
        swap_audit(model("GPT-2"), [TEXTS[0]], category="colour")
    # A text that fails at one of its pairs gives none.
    whole = Text.pair

    def failing(self, swapped, *given):
        if "Hindu" in swapped.text:
            msg = "This one fails."
            raise TextError(msg)
        return whole(self, swapped, *given)

    monkeypatch.setattr(Text, "pair", failing)
    audit = swap_audit(model("GPT-2"), ["A Muslim man was here.", TEXTS[3]], neutral=0)
    assert audit.pairs["row"].tolist() == [2]
    assert audit.complete
    assert audit.bad.to_numpy().tolist() == [[1, "This one fails."]]


def test_a_swap_of_the_reader_is_made_in_every_text_that_has_its_words():
    audit = swap_audit(model("GPT-2"), [*TEXTS, "A nurse came to the doctor.", "Doctors came."], "doctor <-> nurse", neutral=0)
    assert audit.pairs["row"].tolist() == [3, 4, 5, 6]
    assert audit.pairs["counterfactual"].tolist()[1:] == ["He is a nurse.", "A doctor came to the nurse.", "Nurses came."]
    assert set(audit.groups["one"]) == {"doctor"}
    assert set(audit.groups["other"]) == {"nurse"}
    signed = audit.groups[audit.groups["measure"] == PREDICTED].iloc[0]
    changes = audit.pairs[PREDICTED].to_numpy()
    assert signed["directed"] == 3, "one text has both words"
    assert signed["change"] == pytest.approx(np.nanmean([-changes[0], changes[1], changes[3]]))


@pytest.mark.parametrize(
    ("text", "between", "expected"),
    [
        ("She is here.", ("female", "male"), Exchange("gender", "female", "male", 1)),
        ("He is here.", ("male", "female"), Exchange("gender", "female", "male", -1)),
        ("He saw her.", ("female", "male"), Exchange("gender", "female", "male", 0)),
        ("A Muslim prayed.", ("Muslim", "Christian"), Exchange("religion", "Christian", "Muslim", -1)),
        ("A Muslim prayed.", ("Muslim", "Hindu"), Exchange("religion", "Muslim", "Hindu", 1)),
    ],
)
def test_which_way_a_pair_goes(text, between, expected):
    (swapped, *_) = [each for each in counterfactuals(text) if each.between == between]
    assert exchange_of(swapped) == expected


# -- chance --------------------------------------------------------------------------------------------------------------


def test_where_nothing_is_there_to_be_found_p_is_uniform():
    random = np.random.default_rng(7)
    texts = np.repeat(np.arange(30), 2)
    shared = random.lognormal(size=(30, 1, 300)).repeat(2, axis=0)  # pairs of one text are alike
    sizes = shared * random.lognormal(size=(30, 9, 300)).repeat(2, axis=0)
    assert kstest(beyond_over_texts(sizes, texts)["p"], "uniform").pvalue > 0.01
    values = random.standard_normal((300, 30)).repeat(2, axis=1)
    p = [mean_change(each, texts, seed)[3] for seed, each in enumerate(values)]
    assert kstest(p, "uniform").pvalue > 0.01


def test_what_is_planted_is_found_and_its_size_is_right():
    random = np.random.default_rng(2)
    sizes = random.lognormal(sigma=0.5, size=(60, 9, 4))
    sizes[:, 0, 1] *= 2.0
    table = beyond_over_texts(sizes, np.arange(60))
    assert (table["p"] < 0.01).tolist() == [False, True, False, False]
    assert table["lo"][1] < 2.0 < table["hi"][1]
    mean, lo, hi, p = mean_change(random.standard_normal(60) + 1.0, np.arange(60))
    assert p < 0.01
    assert lo < 1.0 < hi
    assert lo < mean < hi
    assert np.isnan(mean_change(np.array([1.0, 2.0]), np.array([4, 4]))[1:]).all(), "one text alone has no interval"


# -- texts that come with Atlas, and the command ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", TEMPLATES)
def test_every_text_that_comes_with_atlas_has_a_counterfactual(name):
    texts = template_texts(name)
    assert len(set(texts)) == len(texts) >= 60
    assert not [text for text in texts if "{" in text or " a e" in text or " a a" in text]
    sentences = tomllib.loads(asset("counterfactual_templates.toml").read_text(encoding="utf-8"))[name]["texts"]
    assert 4 <= len(sentences) <= 8, FEW_SENTENCES
    random = np.random.default_rng(0)
    for text in random.choice(texts, 6, replace=False):
        assert any(each.category in CATEGORIES for each in counterfactuals(str(text))), text
    with pytest.raises(UnknownName, match="no set of templates; there are occupations"):
        template_texts("jobs")


def test_the_command_writes_all_tables_and_names_the_rows_it_left_out(tmp_path, capsys):
    file = tmp_path / "texts.csv"
    file.write_text("post\nThe woman was late.\nNothing.\n", encoding="utf-8")
    given = ["bias", "gpt-mini", "--counterfactuals", str(file), "--column", "post", "-q", "-o", str(tmp_path / "out")]
    assert main(given) == DONE
    said = capsys.readouterr()
    assert "1 pairs of 1 texts on gpt-mini; labels by gus-mini" in said.out
    assert "row 2 has no word of an identity" in said.err
    pairs = pd.read_csv(tmp_path / "out" / "counterfactuals-pairs.csv")
    assert pairs["counterfactual"].tolist() == ["The man was late."]
    assert {each.stem.split("-")[1] for each in (tmp_path / "out").iterdir()} == {"pairs", "groups", "heads", "neutral", "bad"}


def test_of_texts_that_come_with_atlas_the_command_says_how_few_they_are(monkeypatch, capsys):
    monkeypatch.setattr(atlas.bias, "swap_audit", lambda *_, **__: found("GPT-2"))
    assert main(["bias", "gpt-mini", "--counterfactuals", "feelings", "-q"]) == DONE
    assert f"note: {FEW_SENTENCES}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("--benchmark pairs", "name it with --data FILE"),
        ("--benchmark pairs --data f --category age --swap a->b", "--category and --swap say nothing about --benchmark"),
        ("--counterfactuals f --restart --limit 3", "--restart and --limit say nothing about --counterfactuals"),
        ("--counterfactuals feelings --column post", "--column says nothing about texts that come with Atlas"),
        ("--counterfactuals f --swap a->b --category age", "--category says nothing about a --swap of your own"),
    ],
)  # fmt: skip
def test_an_option_that_says_nothing_about_what_is_asked_for_is_wrong_usage(given, said, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["bias", "no-such-model", *given.split()])
    assert ended.value.code == 2
    assert said in capsys.readouterr().err
