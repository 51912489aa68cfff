"""Many texts: what is flagged as `detect` has it, ratios as plain loops have them, p right where nothing is there to be found."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest, kstest

import atlas
from atlas.bias import attention_bias, audit, detect
from atlas.bias.audits import Pooled
from atlas.bias.heads import received
from atlas.cli import DONE, FAILED, main
from atlas.errors import BadData
from atlas.text.files import BadRow, TextRow, TextRows
from tests.engine.families import loaded

TEXTS = (
    "All women are bad drivers.",
    "The train was late, and it rained.",
    "Poor people are lazy, and immigrants steal.",
    "She said that old men complain about everything, every day.",
)
HALF = 0.6
"""A threshold at which some words of a text are flagged and some are not."""


@pytest.fixture(scope="module")
def detector():
    return atlas.load("gus-mini")


@pytest.fixture(scope="module")
def found(detector):
    return audit(detector, TEXTS, thresholds=HALF, permutations=99)


def test_what_is_flagged_is_what_detect_flags(found, detector):
    for line in found.texts.itertuples():
        words = detect(detector, line.text, HALF).words
        labels = [name for name in words.columns if name not in ("word", "start", "end")]
        assert line.words == len(words)
        assert [getattr(line, name) for name in labels] == [(words[name] >= HALF).sum() for name in labels]
        assert line.flagged == (words[labels] >= HALF).any(axis=1).sum()
    assert found.labels["words"].tolist() == [found.texts[name].sum() for name in found.labels["label"]]
    assert found.labels["share"].tolist() == pytest.approx(found.labels["words"] / found.texts["words"].sum())


def test_the_ratio_of_a_head_is_that_of_sums_over_texts(found, detector):
    used = found.texts[found.texts["note"] == ""]
    assert len(used) >= 2
    assert (found.heads["n"] == len(used)).all()
    mass, even = np.zeros((2, 6, 8))
    for text in used["text"]:
        trace, words = detector.trace(text, capture=()), detect(detector, text, HALF).words
        on = words[(words.drop(columns=["word", "start", "end"]) >= HALF).any(axis=1)]
        tokens = trace.tokens()
        keys = [at for at in range(len(tokens)) if not tokens["special"][at]]
        spans = list(zip(on["start"], on["end"], strict=True))
        first, last = tokens["start"], tokens["end"]
        marked = [at for at in keys if any(first[at] < end and last[at] > start for start, end in spans)]
        for layer in range(6):
            for head in range(8):
                weights = trace.attention(layer=layer, head=head).to_numpy()
                for query in keys:
                    mass[layer, head] += weights[query, marked].sum()
                    even[layer, head] += weights[query, keys].sum() * len(marked) / len(keys)
    np.testing.assert_allclose(found.heads["ratio"].to_numpy().reshape(6, 8), mass / even, rtol=1e-4)


@pytest.mark.parametrize("name", ["BERT", "GPT-2"])
def test_of_one_text_the_sums_are_those_of_attention_bias(name):
    trace = loaded(name).trace("The doctor said that she was late", capture=())
    sums = received(trace, [2, 3], 19, np.random.default_rng(0))
    one = attention_bias(trace, [2, 3], permutations=19)
    np.testing.assert_allclose(sums.mass / sums.even, one["ratio"], rtol=1e-6)
    pool = Pooled()
    pool.add(sums)
    table = pool.table(np.random.default_rng(0))
    np.testing.assert_allclose(table["chance"], (sums.null_mass / sums.null_even).mean(axis=1))
    np.testing.assert_allclose(table["ratio"], one["ratio"], rtol=1e-6)
    assert table["lo"].isna().all(), "one text has no spread over texts"


def texts_of(random, n, boost=0.0):
    """Recordings of two heads that look anywhere; the second one looks more at the tokens flagged at random."""
    for _ in range(n):
        size = int(random.integers(6, 12))
        flagged = random.choice(size, 2, replace=False)
        weights = random.dirichlet(np.ones(size), size=(1, 2, size))
        weights[0, 1][:, flagged] += boost
        weights /= weights.sum(-1, keepdims=True)
        yield atlas.from_attention(weights.astype(np.float32), [f"t{at}" for at in range(size)]), flagged


def pooled(random, n, boost=0.0):
    pool = Pooled()
    for trace, flagged in texts_of(random, n, boost):
        pool.add(received(trace, flagged, 99, random))
    return pool.table(random)


def test_p_is_uniform_where_flags_mean_nothing():
    random = np.random.default_rng(7)
    tables = [pooled(random, 3) for _ in range(60)]
    assert kstest(np.concatenate([table["p"] for table in tables]), "uniform").pvalue > 0.01
    claimed = sum((table["q"] <= 0.05).any() for table in tables)
    assert binomtest(claimed, len(tables), 0.05, alternative="greater").pvalue > 0.01


def test_over_many_texts_the_head_that_looks_at_flags_stands_out():
    table = pooled(np.random.default_rng(3), 40, boost=0.05)
    assert table["ratio"][1] > 1.2
    assert (table["q"] < 0.05).tolist() == [False, True]
    assert table["lo"][1] > 1


def test_no_row_is_lost(detector):
    rows = TextRows((TextRow(1, TEXTS[0]), TextRow(3, "word " * 900 + TEXTS[0])), (BadRow(2, "is empty"),))
    found = audit(detector, rows, permutations=9)
    assert sorted([*found.texts["row"], *found.bad["row"]]) == [1, 2, 3]
    note = found.texts.set_index("row")["note"][3]
    assert note.startswith("no attention: "), "it is read in windows, and is too long for one run"
    with pytest.raises(BadData, match="None of 1 rows could be used; the first one is empty"):
        audit(detector, TextRows((), (BadRow(1, "is empty"),)))


def test_the_command_writes_all_tables(tmp_path, capsys, found):
    path = tmp_path / "posts.csv"
    pd.DataFrame({"post": [*TEXTS, ""]}).to_csv(path, index=False)
    asked = ["audit", "gus-mini", str(path), "--threshold", str(HALF), "--permutations", "99", "-q", "-o", str(tmp_path / "out")]
    assert main(asked) == DONE
    heads = pd.read_csv(tmp_path / "out" / "heads.csv")
    pd.testing.assert_frame_equal(heads, found.heads, check_dtype=False, rtol=1e-5)
    assert pd.read_csv(tmp_path / "out" / "bad.csv").to_numpy().tolist() == [[5, "is empty"]]
    printed = capsys.readouterr()
    assert "4 texts by gus-mini; 1 rows could not be used" in printed.out
    assert "row 5 is empty" in printed.err
    assert main(["audit", "gus-mini", str(tmp_path / "none.csv")]) == FAILED
