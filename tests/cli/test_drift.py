"""`atlas drift`: what it prints, and its exit codes."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from atlas.cli import build_parser, main
from tests.tracing.corpora import METRICS, corpus, values


@pytest.fixture
def folders(monkeypatch):
    """Names of corpora in place of folders."""
    after = values(120, seed=4)
    after[:, 4, METRICS.index("previous")] += 0.05
    held = {"before": corpus(values(120, seed=3)), "same": corpus(values(120, seed=8)), "after": corpus(after, model="tuned")}
    monkeypatch.setattr("atlas.tracing.opening.open_saved", held.__getitem__)
    return held


def test_the_exit_code_says_whether_there_is_drift(folders, capsys, tmp_path):
    assert main(["drift", "before", "same"]) == 0
    assert "No drift: none of 84 figures of 6 heads differs (q ≤ 0.05)." in capsys.readouterr().out
    assert main(["drift", "before", "after", "-o", str(tmp_path / "all.csv")]) == 1
    said = capsys.readouterr().out
    assert "A: tiny, 120 texts\nB: tuned, 120 texts\nDrift in 1 of 6 heads (L1 H1)" in said
    table = pd.read_csv(tmp_path / "all.csv")
    assert len(table) == 84
    assert table.loc[0, ["layer", "head", "metric", "drift"]].tolist() == [1, 1, "previous", True]
    assert main(["drift", "before", "after", "--metrics", "induction,next"]) == 0
    assert main(["drift", "before", "after", "--least", "3"]) == 0


def test_what_was_found_is_read_by_a_program(folders, capsys):
    assert main(["drift", "before", "after", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["drift"] is True
    (head,) = found["heads"]
    assert (head["kind"], head["layer"], head["head"], head["metric"]) == ("decoder", 1, 1, "previous")
    assert found["figures"][0]["q"] <= 0.05


def test_an_error_is_no_answer(folders, capsys, tmp_path, monkeypatch):
    assert main(["drift", "before", "after", "--metrics", "prevous"]) == 2
    assert "There is no 'prevous' in both corpora" in capsys.readouterr().err
    with pytest.raises(SystemExit) as ended:
        main(["drift", "before"])
    assert ended.value.code == 2
    monkeypatch.undo()
    assert main(["drift", str(tmp_path), str(tmp_path)]) == 2

    def broken(_):
        return 1 // 0

    monkeypatch.setattr("atlas.tracing.opening.open_saved", broken)
    assert main(["drift", "before", "after"]) == 2
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_the_level_is_a_share(capsys):
    with pytest.raises(SystemExit):
        build_parser().parse_args(["drift", "a", "b", "--level", "5"])
    assert "share between 0 and 1" in capsys.readouterr().err
