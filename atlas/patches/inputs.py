"""Panel (1.9) sends typed text 50 milliseconds late, and keeps whatever pieces of files a page sends."""

from __future__ import annotations

from typing import Any

from atlas.patches.private import private, replace_private

PIECE = 1 << 20
"""Bytes of a file in one message, far below what a message may have."""

MOST_PIECES = 1_000

LONGEST_FILE_NAME = 255


def take_at_once(box: Any) -> None:
    """Send the text of a box without delay, because otherwise a quick click on Run used the text without its last letter."""
    replace_private(box, "_debounce", 0, "inputs")


def limit_upload(upload: Any, most: int) -> None:
    """Keep at most so many bytes, of one file. Panel checks the size in the browser alone, and keeps pieces of any number."""
    process = private(upload, "_process_chunk", "inputs")

    def bounded(message: Any) -> None:
        pieces, files = private(upload, "_file_buffer", "inputs"), private(upload, "_buffer", "inputs")
        name, number, of, size = message["name"], message["chunk"], message["total_chunks"], len(message["data"])
        known = isinstance(name, str) and type(number) is int and type(of) is int
        if not known or len(name) > LONGEST_FILE_NAME or not 1 <= number <= of <= MOST_PIECES:
            msg = "A piece of a file says neither its name nor its place."
            raise ValueError(msg)
        for other in [other for other in pieces if other != name]:  # one file at a time
            del pieces[other]
        held = sum(len(piece) for file in pieces.values() for piece in file["chunks"].values())
        if held + size > most:
            pieces.clear()
            msg = f"A file has more than {most:,} bytes."
            raise ValueError(msg)
        files.clear()
        process(message)

    upload.chunk_size = PIECE
    replace_private(upload, "_process_chunk", bounded, "inputs")
