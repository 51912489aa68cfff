"""The command line: what it prints, what it writes, and one line and an exit code where it cannot."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from transformers import T5Config, T5ForConditionalGeneration

import atlas
from atlas.cli import DONE, FAILED, INTERRUPTED, USAGE, main
from tests.engine.tiny_files import WORDS, bert, save
from tests.places import REPO

TEXT = "the doctor said she was tired . the doctor said"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save(tmp_path_factory.mktemp("model"), bert()))


@pytest.fixture(scope="module")
def table(folder: str) -> pd.DataFrame:
    return atlas.load(folder).trace(TEXT).heads


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    """What was said on standard error: exactly one line, and nothing on standard output."""
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.endswith("\n")
    lines = printed.err.splitlines()
    assert len(lines) == 1, printed.err
    assert lines[0].startswith("atlas: ")
    return lines[0]


# -- models ------------------------------------------------------------------------------------------------------------


def test_models(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == DONE
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:4] == ["NAME", "KINDS", "LAYERS", "HEADS"]
    gpt2 = next(line for line in lines if line.startswith("gpt2 "))
    assert gpt2.split()[1:5] == ["decoder", "12", "12", "768"]
    starts = {line[lines[0].index("KINDS")] for line in lines[1:]}
    assert " " not in starts, "the columns do not line up"


def test_models_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "--json"]) == DONE
    listed = {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)}
    assert listed["bert-base-uncased"]["heads"] == 12
    assert listed["bert-base-uncased"]["on_disk"] is False
    assert {"layers", "hidden", "parameters", "good_for", "kinds"} <= set(listed["gpt2"])


# -- trace -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["run.nc", "run.zarr", "deeper/run.nc"])
def test_trace_writes_what_open_reads(name: str, folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / name
    assert main(["trace", folder, TEXT, "-o", str(path)]) == DONE
    printed = capsys.readouterr()
    assert printed.out == f"<Trace of {folder}: encoder 2x2x12x12> -> {path}\n"
    assert all(line.startswith("note: ") for line in printed.err.splitlines())
    own, read = atlas.load(folder).trace(TEXT), atlas.open(path)
    assert np.array_equal(read.attention(), own.attention())
    pd.testing.assert_frame_equal(read.predictions(), own.predictions())
    assert "hidden" in read.vector_names


def test_trace_options(folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "run.nc"
    options = [
        "--pair",
        "she was tired",
        "--keep",
        "qk",
        "--capture",
        "ffn, norms",
        "--device",
        "cpu",
        "--dtype",
        "float32",
        "-q",
    ]
    assert main(["trace", folder, TEXT, "-o", str(path), *options]) == DONE
    trace = atlas.open(path)
    assert trace.texts.pair == "she was tired"
    assert trace.provenance["keep"] == "qk"
    assert "ffn_act" in trace.arrays
    assert "hidden" not in trace.arrays
    assert main(["trace", folder, TEXT, "-o", str(path), "--capture", ""]) == DONE
    assert not atlas.open(path).arrays


def test_trace_that_cuts_says_so(folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trace", folder, "she " * 99, "-o", str(tmp_path / "run.nc"), "--truncate"]) == DONE
    assert "note: The text was cut: 69 of 101 tokens were left out" in capsys.readouterr().err


def test_trace_of_an_encoder_decoder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = T5Config(vocab_size=len(WORDS), d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2, decoder_start_token_id=0)
    folder = save(tmp_path / "t5", T5ForConditionalGeneration(config))
    assert main(["trace", str(folder), TEXT, "--target", "she was tired", "-o", str(tmp_path / "run.nc")]) == DONE
    assert atlas.open(tmp_path / "run.nc").tokens("target")["token"].tolist()[-3:] == ["she", "was", "tired"]
    capsys.readouterr()
    assert main(["heads", str(folder), TEXT, "--target", "she", "--kind", "cross"]) == DONE
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert all(line.split()[0] == "cross" for line in lines[1:])


# -- heads -------------------------------------------------------------------------------------------------------------


def read_back(path: Path) -> pd.DataFrame:
    if path.suffix == ".csv":
        written = pd.read_csv(path, dtype=str)  # pandas' own float reader may be off in the last digit
        return written.apply(lambda column: column if column.name == "kind" else column.map(float))
    if path.suffix == ".parquet":
        return pd.read_parquet(path)
    return pd.DataFrame(json.loads(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("ending", [".csv", ".json", ".parquet"])
def test_heads_to_a_file(
    ending: str, folder: str, table: pd.DataFrame, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every column, every digit, and what is not known is not a number."""
    path = tmp_path / "new folder" / f"heads{ending}"
    assert main(["heads", folder, TEXT, "-o", str(path)]) == DONE
    assert capsys.readouterr().out == f"4 heads x {table.shape[1]} columns -> {path}\n"
    found = read_back(path)
    assert list(found.columns) == list(table.columns)
    assert table.isna().any(axis=None)
    for name in table.columns:
        if pd.api.types.is_numeric_dtype(table[name]):
            np.testing.assert_array_equal(found[name].astype(float), table[name].astype(float))
        else:
            assert found[name].tolist() == table[name].tolist()
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_heads_on_the_terminal(folder: str, table: pd.DataFrame, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["heads", folder, TEXT]) == DONE
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:4] == ["kind", "layer", "head", "entropy_norm"]
    assert [line.split()[:3] for line in lines[1:]] == [["encoder", str(i), str(j)] for i in range(2) for j in range(2)]
    assert float(lines[1].split()[3]) == pytest.approx(table["entropy_norm"][0], abs=6e-4)


def test_heads_sorted_and_first(folder: str, table: pd.DataFrame, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "top.csv"
    assert main(["heads", folder, TEXT, "--sort", "duplicate", "--top", "3", "-o", str(path)]) == DONE
    expected = table.sort_values("duplicate", ascending=False).head(3)
    assert read_back(path)["duplicate"].tolist() == expected["duplicate"].tolist()
    assert not table["duplicate"].is_monotonic_decreasing
    capsys.readouterr()
    assert main(["heads", folder, TEXT, "--sort", "duplicate", "--top", "1"]) == DONE
    header, only = capsys.readouterr().out.splitlines()
    assert header.split()[-1] == "duplicate"
    assert float(only.split()[-1]) == pytest.approx(table["duplicate"].max(), abs=6e-4)


# -- where the text comes from -----------------------------------------------------------------------------------------


def run_for_text(folder: str, given: str, tmp_path: Path) -> str:
    assert main(["trace", folder, given, "-o", str(tmp_path / "run.nc"), "--capture", ""]) == DONE
    return str(atlas.open(tmp_path / "run.nc").texts.text)


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
def test_a_text_of_a_file(ending: str, folder: str, tmp_path: Path) -> None:
    """The last line's end belongs to the file: a model that has a token for it would read another text."""
    (tmp_path / "story.txt").write_bytes(f"the doctor\nsaid é{ending}".encode())
    assert run_for_text(folder, f"@{tmp_path / 'story.txt'}", tmp_path) == "the doctor\nsaid é"


def test_a_text_of_standard_input(folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO("@she was tired é\n".encode())))
    assert run_for_text(folder, "-", tmp_path) == "@she was tired é"


# -- errors ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["trace", "MODEL", "", "-o", "OUT/run.nc"], "empty"),
        (["trace", "MODEL", " \t", "-o", "OUT/run.nc"], "white space"),
        (["trace", "MODEL", "she " * 99, "-o", "OUT/run.nc"], "101 tokens and this model takes 32"),
        (["trace", "MODEL", TEXT, "-o", "OUT/run.txt"], "NAME.nc, NAME.zarr or NAME.json"),
        (["trace", "MODEL", TEXT, "-o", "OUT/run.nc", "--capture", "streams"], "'streams' is no capture group; there are stream"),
        (["trace", "MODEL", TEXT, "-o", "OUT/run.nc", "--target", "she"], "leave target out"),
        (["trace", "MODEL", TEXT, "-o", "OUT/file/run.nc"], "cannot be written to"),
        (["trace", "MODEL", TEXT, "-o", "OUT/work.nc"], "not replaced"),
        (["trace", "MODEL", TEXT, "-o", "OUT/run.nc", "--device", "abacus"], "abacus"),
        (["trace", "MODEL", TEXT, "-o", "OUT/run.nc", "--dtype", "float31"], "float31"),
        (["trace", "MODEL", "@OUT/none.txt", "-o", "OUT/run.nc"], "cannot be read: No such file"),
        (["trace", "MODEL", "@OUT", "-o", "OUT/run.nc"], "cannot be read"),
        (["trace", "MODEL", "@OUT/latin.txt", "-o", "OUT/run.nc"], "not UTF-8 (byte 3)"),
        (["trace", "OUT/nowhere", TEXT, "-o", "OUT/run.nc"], "nowhere"),
        (["trace", "OUT/work.nc", TEXT, "-o", "OUT/run.nc"], "config.json"),
        (["trace", "no-such-model-anywhere", TEXT, "-o", "OUT/run.nc"], "no connection"),
        (
            ["heads", "MODEL", TEXT, "--sort", "cleverness"],
            "no column 'cleverness' to sort by; there are kind, layer, head, entropy",
        ),
        (["heads", "MODEL", TEXT, "--kind", "cross"], "no cross attention"),
        (["heads", "MODEL", TEXT, "-o", "OUT/heads.xlsx"], ".csv, .json, .parquet"),
        (["heads", "MODEL", TEXT, "-o", "OUT/file/heads.csv"], "cannot be written to"),
        (["heads", "MODEL", TEXT, "-o", "OUT/folder.csv"], "cannot be written to"),
    ],
)
def test_errors_are_one_line(
    arguments: list[str], says: str, folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("a file")
    (tmp_path / "latin.txt").write_bytes("caf\xe9 noir".encode("latin-1"))
    for name in ("work.nc", "folder.csv"):
        (tmp_path / name).mkdir()
    before = sorted(each.name for each in tmp_path.rglob("*"))
    filled = [part.replace("OUT", str(tmp_path)) if part != "MODEL" else folder for part in arguments]
    assert main(filled) == FAILED
    assert says in one_line(capsys)
    assert sorted(each.name for each in tmp_path.rglob("*")) == before, "something half-done was left"


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["sing"],
        ["trace"],
        ["trace", "gpt2"],
        ["trace", "gpt2", TEXT],
        ["heads", "gpt2"],
        ["heads", "gpt2", TEXT, "--top", "x"],
        ["heads", "gpt2", TEXT, "--top", "0"],
        ["heads", "gpt2", TEXT, "--top", "-1"],
        ["heads", "gpt2", TEXT, "--kind", "self"],
        ["trace", "gpt2", TEXT, "-o", "x.nc", "--keep", "all"],
        ["models", "--yaml"],
    ],
    ids=" ".join,
)
def test_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code == USAGE
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "usage: atlas" in printed.err
    assert "Traceback" not in printed.err


def test_interrupted(folder: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt(*args: Any, **kwargs: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("atlas.engine.loading.load.load", interrupt)
    assert main(["heads", folder, TEXT]) == INTERRUPTED == 130
    assert one_line(capsys) == "atlas: interrupted"


def test_a_bug_is_not_hidden(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any, **kwargs: Any) -> None:
        msg = "a bug of ours"
        raise RuntimeError(msg)

    monkeypatch.setattr("atlas.engine.loading.load.load", broken)
    with pytest.raises(RuntimeError, match="a bug of ours"):
        main(["heads", folder, TEXT])


# -- help --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "needs"),
    [
        ([], ["models", "trace", "heads", "examples:", "exit codes", "130", "--version", "atlas trace gpt2"]),
        (["models"], ["catalog", "--json", "on this disk"]),
        (
            ["trace"],
            [
                "MODEL",
                "TEXT",
                "@FILE",
                "standard input",
                "owner/name",
                "NAME.zarr",
                "stream, ffn, norms, head_outputs, predictions",
                "atlas.open",
                "--truncate",
                "--revision",
                "bfloat16",
            ],
        ),
        (["heads"], ["--sort", "--top", "--kind", ".csv, .json or .parquet", "largest first", "uniform attention"]),
    ],
)
def test_help_says_what_a_stranger_needs(
    command: list[str], needs: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    with pytest.raises(SystemExit) as left:
        main([*command, "--help"])
    assert left.value.code == DONE
    printed = " ".join(capsys.readouterr().out.split())
    for need in needs:
        assert need in printed


def test_as_a_program(folder: str, tmp_path: Path) -> None:
    """In a process of its own: exit codes reach the shell, a closed pipe is no error, and help needs no torch."""

    def run(*arguments: str, **how: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "atlas", *arguments], capture_output=True, text=True, cwd=REPO, check=False, **how
        )

    done = run("trace", folder, "-", "-o", str(tmp_path / "run.nc"), input="the doctor said\n")
    assert done.returncode == DONE, done.stderr
    assert atlas.open(tmp_path / "run.nc").texts.text == "the doctor said"
    failed = run("heads", folder, f"@{tmp_path / 'none.txt'}")
    assert failed.returncode == FAILED
    assert failed.stderr.count("\n") == 1
    code = (
        "import sys, atlas.cli\ntry: atlas.cli.main(['--help'])\n"
        "finally: print(sorted({'torch', 'panel'} & set(sys.modules)), file=sys.stderr)"
    )
    helped = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPO, check=False)
    assert helped.returncode == 0
    assert helped.stderr.strip() == "[]"
