"""The texts of a corpus come from many places; each row is a text or is listed with its reason."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from atlas.corpus import BadEntry, Columns, Entry, read_entries
from atlas.corpus.texts import chosen
from atlas.errors import TextError

COLUMNS = Columns(text="body", group="label", pair="second")
ROWS: list[dict[str, Any]] = [
    {"body": "the cat ran", "label": 1, "second": "why"},
    {"body": None, "label": 1, "second": None},
    {"body": "the dog", "label": None, "second": None},
    {"body": "she ran", "label": 0, "second": None},
]


def expected(source: str) -> tuple[list[Entry], list[BadEntry]]:
    texts = [Entry("the cat ran", "why", None, "1", source, 1), Entry("she ran", None, None, "0", source, 4)]
    return texts, [BadEntry(source, 2, "has no 'body'"), BadEntry(source, 3, "has no 'label'")]


def test_a_file_of_any_kind_gives_the_same_texts(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(ROWS), encoding="utf-8")
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, ROWS)), encoding="utf-8")
    pd.DataFrame(ROWS).astype({"label": "Int64"}).to_parquet(tmp_path / "a.parquet")
    for name in ("a.json", "a.jsonl", "a.parquet"):
        found = read_entries(tmp_path / name, COLUMNS)
        assert (list(found.texts), list(found.bad)) == expected(name)
    with pytest.raises(TextError, match="has no column 'text'"):
        read_entries(tmp_path / "a.parquet")
    given = read_entries(ROWS, COLUMNS)
    assert (list(given.texts), list(given.bad)) == expected("given")


def test_a_folder_gives_the_texts_of_its_files_in_order(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "b.txt").write_text("two\n\nthree\n", encoding="utf-8")
    (tmp_path / "sub" / "c.csv").write_text("text\nfour\n", encoding="utf-8")
    (tmp_path / "a.jsonl").write_text('"one"\n', encoding="utf-8")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    found = read_entries(str(tmp_path))
    assert [(each.text, each.source, each.row) for each in found.texts] == [
        ("one", "a.jsonl", 1),
        ("two", "b.txt", 1),
        ("three", "b.txt", 3),
        ("four", "sub/c.csv", 1),
    ]
    several = read_entries([tmp_path / "b.txt", tmp_path / "a.jsonl"])
    assert [each.text for each in several.texts] == ["two", "three", "one"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(TextError, match="no file of texts"):
        read_entries(tmp_path / "empty")


def test_a_data_set_is_read_where_its_package_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    class Table(list[dict[str, Any]]):
        column_names = ("body", "label", "second", "target")

    asked: list[tuple[str, str]] = []

    def load_dataset(name: str, split: str) -> Table:
        asked.append((name, split))
        return Table([row | {"target": 1} for row in ROWS])

    module = types.ModuleType("datasets")
    module.load_dataset = load_dataset  # type: ignore[attr-defined]
    module.__spec__ = types.SimpleNamespace(name="datasets")  # type: ignore[assignment]
    monkeypatch.setitem(sys.modules, "datasets", module)
    found = read_entries("owner/name:test", COLUMNS)
    assert asked == [("owner/name", "test")]
    assert (list(found.texts), list(found.bad)) == expected("owner/name:test")
    with pytest.raises(TextError, match="has no column 'text'; it has body"):
        read_entries("owner/name")


def test_pairs_and_wrong_values_among_given_texts() -> None:
    found = read_entries([("the cat", "the dog"), "alone", 3, {"text": "she", "pair": 7}])
    assert [(each.text, each.pair) for each in found.texts] == [("the cat", "the dog"), ("alone", None)]
    assert [(each.row, each.reason) for each in found.bad] == [
        (3, "holds int where a text should be"),
        (4, "holds int where a second text should be"),
    ]


def test_a_sample_is_drawn_from_the_first_texts_in_their_order() -> None:
    entries = read_entries([f"text {at}" for at in range(50)])
    rows = [each.row for each in chosen(entries, limit=20, sample=5, seed=3).texts]
    assert rows == sorted(rows)
    assert len(set(rows)) == 5
    assert max(rows) <= 20
    assert rows != [each.row for each in chosen(entries, limit=20, sample=5, seed=4).texts]
    assert len(chosen(entries, sample=99).texts) == 50
