"""The benchmarks' own command and arithmetic; what they measure is measured by `make bench`."""

from __future__ import annotations

import itertools
import sys

import pytest

from tests.benchmarks import __main__ as command
from tests.benchmarks import app, engine, explanations, faithful, responding, timing


def test_a_benchmark_that_does_not_exist_is_answered_with_the_names_of_those_that_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmarks", "import_time", "WRONG"])
    with pytest.raises(SystemExit) as ended:
        command.main()
    assert ended.value.code == 2
    complaint = capsys.readouterr().err
    assert "no benchmark 'WRONG'" in complaint
    for row in (*engine.ROWS, *app.ROWS, *explanations.ROWS, *responding.ROWS, *faithful.ROWS):
        assert row.__name__ in complaint


def test_a_ratio_is_stated_with_its_quartiles(monkeypatch: pytest.MonkeyPatch) -> None:
    # Ours takes 1.0, 1.1, 1.2, 1.3, 1.9 s, theirs 1 s each time: the one slow pair moves neither the median nor a quartile.
    times = itertools.chain.from_iterable((ours, 1.0) for ours in (1.3, 1.0, 1.2, 1.9, 1.1))
    monkeypatch.setattr(timing, "seconds", lambda _work: next(times))
    found = timing.compared(lambda: None, lambda: None, pairs=5)
    assert found.words == "1.20x (quartiles 1.10 to 1.30)"
    assert (found.ours, found.theirs) == (1.2, 1.0)
