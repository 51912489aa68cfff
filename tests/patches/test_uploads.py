from __future__ import annotations

import panel_material_ui as pmui
import pytest

from atlas.patches.inputs import MOST_PIECES, PIECE, limit_upload
from atlas.views.upload import file_input
from tests.places import REPO


def piece(data: object, number: object = 1, of: object = 1, name: object = "a.json") -> dict[str, object]:
    return {"status": "upload_event", "name": name, "chunk": number, "total_chunks": of, "mime_type": "", "data": data}


@pytest.fixture
def upload() -> pmui.FileInput:
    made = pmui.FileInput()
    limit_upload(made, 10)
    assert made.chunk_size == PIECE
    return made


def test_a_file_comes_whole_in_pieces(upload, monkeypatch):
    monkeypatch.setattr(upload, "_send_msg", lambda _: None)
    for number, data in enumerate((b"one", b"two", b"four"), 1):
        upload._handle_msg(piece(data, number, 3))
    upload._handle_msg({"status": "finished"})
    assert (upload.filename, upload.value) == ("a.json", b"onetwofour")


def test_more_than_the_page_takes_is_refused_whatever_its_pieces_say(upload):
    upload._handle_msg(piece(b"x" * 6, 1, 2))
    with pytest.raises(ValueError, match="more than 10 bytes"):
        upload._handle_msg(piece(b"x" * 6, 2, 2))
    assert upload._file_buffer == {}


@pytest.mark.parametrize(
    "odd",
    [
        piece(10**11),  # bytes(10**11) would be 100 GB of zeros
        piece(b"x", 0),
        piece(b"x", 2, 1),
        piece(b"x", 1, MOST_PIECES + 1),
        piece(b"x", "1", "1"),
        piece(b"x", True, True),
        piece(b"x", name=5),
        piece(b"x", name="x" * 256),
        piece(None),
        {"status": "upload_event"},
    ],
)
def test_a_piece_that_is_none_is_refused_before_anything_is_made_of_it(odd, upload):
    with pytest.raises((ValueError, TypeError, KeyError)):
        upload._handle_msg(odd)
    assert upload._file_buffer == {}
    assert upload._buffer == []


def test_every_upload_of_a_view_is_limited():
    sources = {path.name: path.read_text(encoding="utf-8") for path in (REPO / "atlas" / "views").glob("*.py")}
    assert {name for name, source in sources.items() if "FileInput(" in source} == {"upload.py"}
    assert file_input((".json",), 10, "aa-file").chunk_size == PIECE


def test_pieces_of_other_files_are_let_go_of(upload):
    for number in range(100):
        upload._handle_msg(piece(b"", 1, 2, f"{number}.json"))
    assert list(upload._file_buffer) == ["99.json"]
