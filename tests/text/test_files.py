"""Every row of a file is a text or is listed with the reason why it is none."""

from __future__ import annotations

import csv
import io
import json
import re

import pytest

from atlas.errors import TextError
from atlas.text import files
from atlas.text.files import BadRow, TextRow, read_texts


def written(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    ("name", "content", "texts", "bad"),
    [
        ("a.txt", "One.\r\n\n  Two.  \n", [(1, "One."), (3, "  Two.  ")], []),
        ("a.txt", b"\xef\xbb\xbfOne.\nb\xe4d\n", [(1, "One.")], [(2, "is not UTF-8")]),
        ("a.csv", 'id,text\n1,"One, two\nthree."\n2,\n3\n', [(1, "One, two\nthree.")], [(2, "is empty"), (3, "has no 'text'")]),
        ("a.csv", "sentence\nOne.\n", [(1, "One.")], []),
        ("a.json", json.dumps(["One.", {"text": "Two."}, 3, {"other": "x"}]), [(1, "One."), (2, "Two.")],
         [(3, "holds int where a text should be"), (4, "has no 'text'")]),
        ("a.jsonl", '{"text": "One."}\n\n"Two."\n{"text": " "}\n', [(1, "One."), (3, "Two.")], [(4, "is empty")]),
    ],
)  # fmt: skip
def test_rows_are_texts_or_say_why_not(tmp_path, name, content, texts, bad):
    found = read_texts(written(tmp_path, name, content))
    assert found.texts == tuple(TextRow(*row) for row in texts)
    assert found.bad == tuple(BadRow(*row) for row in bad)


def test_500_texts_are_the_same_in_every_format_and_no_row_is_lost(tmp_path):
    texts = [f'Text {at}, "quoted", é and 😀.' for at in range(500)]
    table = io.StringIO(newline="")
    csv.writer(table).writerows([["id", "text"], *enumerate([*texts, " "])])
    contents = {
        "a.csv": table.getvalue(),
        "a.json": json.dumps([*({"text": text} for text in texts), {"id": 501}]),
        "a.jsonl": "\n".join([*(json.dumps(text) for text in texts), "{broken"]),
        "a.txt": "\n".join([*texts, "\udcff"]),
    }
    for name, content in contents.items():
        path = tmp_path / name
        path.write_bytes(content.encode("utf-8", "surrogateescape"))
        found = read_texts(path)
        assert [row.text for row in found.texts] == texts
        assert [row.row for row in found.texts] == list(range(1, 501))
        assert [row.row for row in found.bad] == [501]


def test_a_broken_line_is_one_bad_row(tmp_path):
    found = read_texts(written(tmp_path, "a.jsonl", '{"text": "One."\n' + "[" * 100_000 + '\n{"text": "Two."}\n'))
    assert found.texts == (TextRow(3, "Two."),)
    assert [row for row, _ in found.bad] == [1, 2]
    assert all(reason.startswith("is no JSON") for _, reason in found.bad)


def test_another_column_is_read_by_its_name(tmp_path):
    assert read_texts(written(tmp_path, "a.csv", "id,post\n1,One.\n"), "post").texts == (TextRow(1, "One."),)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", "id,post\n1,One.\n", "has no column 'text'; it has id, post."),
        ("a.csv", "", "has no column 'text'; it has none."),
        ("a.json", "{}", "has to hold a JSON list"),
        ("a.json", "[", "is no JSON"),
        ("a.xml", "<a/>", "Texts are read from .csv, .json, .jsonl, .txt files, not from 'a.xml'."),
    ],
)
def test_a_file_that_cannot_be_read_says_what_it_should_be(tmp_path, name, content, said):
    with pytest.raises(TextError, match=re.escape(said)):
        read_texts(written(tmp_path, name, content))


def test_a_missing_or_huge_file_is_refused(tmp_path, monkeypatch):
    with pytest.raises(TextError, match="cannot be read"):
        read_texts(tmp_path / "none.txt")
    monkeypatch.setattr(files, "MOST_BYTES", 3)
    with pytest.raises(TextError, match="Split it"):
        read_texts(written(tmp_path, "a.txt", "long"))
