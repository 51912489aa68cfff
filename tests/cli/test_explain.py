"""What `atlas explain` prints and writes is what the functions of Python say."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import atlas
from atlas.attribution import (
    METHODS,
    Target,
    agreement,
    attribute,
    head_effects,
    plausibility_of_methods,
    read_rationales,
    verdict,
)
from atlas.cli import DONE, FAILED, main

TEXT = "What a lovely day"


@pytest.fixture(scope="module")
def model():
    return atlas.load("mood-mini")


def test_scores_of_tokens_and_heads_are_written_as_python_has_them(tmp_path, capsys, model):
    path = tmp_path / "scores.csv"
    methods = "rollout,input_x_gradient"
    said = main(["explain", "mood-mini", TEXT, "--method", methods, "--heads", "mean", "--agreement", "-q", "-o", str(path)])
    assert said == DONE
    printed = capsys.readouterr().out
    tokens = pd.read_csv(path)
    for name in methods.split(","):
        expected = attribute(model, TEXT, method=name)
        assert np.allclose(tokens.loc[tokens["method"] == name, "score"], expected.tokens["score"], rtol=1e-4, atol=1e-6)
        assert f"explained: {expected.target.words}\n" in printed
    heads = pd.read_csv(tmp_path / "scores-heads.csv")
    effects = head_effects(model, TEXT, how="mean")
    agreed = agreement(model.trace(TEXT), attribute(model, TEXT, method="rollout"))
    rows = heads[heads["method"] == "rollout"].reset_index(drop=True)
    assert np.allclose(rows["effect"], effects["effect"], rtol=1e-3, atol=1e-5)
    assert np.allclose(rows["rho"], agreed["rho"], atol=1e-6, equal_nan=True)


def test_all_is_every_method_that_the_model_can_have_and_top_bounds_what_is_printed(capsys, model):
    assert main(["explain", "mood-mini", TEXT, "--method", "all", "--top", "1", "-q"]) == DONE
    blocks = capsys.readouterr().out.split("\n\n")[1:]
    can = [name for name, method in METHODS.items() if not method.reason(model)]
    assert [block.split("\n")[0].split(" (")[0] for block in blocks] == can
    saliency = attribute(model, TEXT, method="saliency").tokens
    first = saliency.loc[saliency["score"].abs().idxmax()]
    (row,) = blocks[0].splitlines()[2:]
    assert row.split()[:3] == ["source", str(first["position"]), first["token"]]
    assert float(row.split()[3]) == pytest.approx(first["score"], rel=1e-3)


def test_one_outcome_is_explained_against_another(capsys, model):
    labels = list(model.hf.config.id2label.values())
    asked = ["explain", "mood-mini", TEXT, "--method", "rollout", "--outcome", labels[0], "--against", labels[1], "-q"]
    assert main(asked) == DONE
    words = attribute(model, TEXT, Target(-1, labels[0], labels[1]), "rollout").target.words
    assert f"explained: {words}\n" in capsys.readouterr().out


def test_a_verdict_on_some_heads_is_that_of_python(capsys, model):
    assert main(["explain", "mood-mini", TEXT, "--method", "rollout", "--verdict", "0.1", "--verdict", "1.2", "-q"]) == DONE
    expected = verdict(model.trace(TEXT), heads=["0.1", "1.2"])
    printed = capsys.readouterr().out
    assert expected.sentence in printed
    assert all(rule.name in printed for rule in expected.rules)


def test_methods_are_held_against_what_people_marked(tmp_path, capsys, model):
    path, out = tmp_path / "marked.jsonl", tmp_path / "found.csv"
    path.write_text('{"text": "What a lovely day", "rationales": [[7, 13]]}\n{"text": "x"}\n', encoding="utf-8")
    asked = ["explain", "mood-mini", "--rationales", str(path), "--method", "saliency", "-q", "-o", str(out)]
    assert main(asked) == DONE
    printed = capsys.readouterr().out
    expected = plausibility_of_methods(model, read_rationales(path).texts, ["saliency"])
    found = pd.read_csv(out)
    assert found["method"].tolist() == expected["method"].tolist()
    np.testing.assert_allclose(found["mean"], expected["mean"], atol=1e-6)
    assert "people marked 25 % of their tokens" in printed
    assert "note: line 2 has no 'rationales'" in printed
    for extra, said in ((["x", "--rationales", str(path)], "leave TEXT out"), ([], "Give a TEXT")):
        assert main(["explain", "mood-mini", *extra, "-q"]) == FAILED
        assert said in capsys.readouterr().err
    assert main(["explain", "mood-mini", "--rationales", str(path), "--heads", "-q"]) == FAILED
    assert "--heads is about one text" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        (["--method", "guess"], "There is no method 'guess'; there are saliency, "),
        (["--method", ","], "--method takes at least one name."),
        (["-o", "scores.txt"], "A table is written as .csv, .json or .parquet, not 'scores.txt'."),
        (["--outcome", "nonsense"], "nonsense"),
        (["--verdict", "99.0"], "no head"),
    ],
)
def test_what_cannot_be_is_one_line(capsys, extra, said):
    assert main(["explain", "mood-mini", TEXT, "-q", *extra]) == FAILED
    error = capsys.readouterr().err
    assert error.startswith("atlas: ")
    assert said in error
    assert error.count("\n") == 1
