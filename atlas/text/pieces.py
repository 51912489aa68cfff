"""Vocabulary strings: the meaning of their marks, and the text to show instead.

Four conventions are in use: WordPiece writes `##` before a piece that continues a word, SentencePiece `▁` (U+2581) before one
that begins a word, byte-level BPE a letter for every byte (a space is `Ġ`), older BPE `</w>` after a piece that ends a word or
`@@` after one that does not. SentencePiece with byte fallback spells a byte as `<0x9F>`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import regex

from atlas.text.segment import Span

_CONTINUES, _BEGINS, _ENDS, _GOES_ON = "##", "▁", "</w>", "@@"
_BYTE_BEGINS = "Ġ"
_BYTE = regex.compile(r"<0x([0-9A-Fa-f]{2})>")
_MARK = regex.compile(r"\p{M}", regex.V1)
_HIDDEN = regex.compile(r"[\p{Cc}\p{Cf}\p{Default_Ignorable_Code_Point}--\p{White_Space}]", regex.V1)
_DOTTED_CIRCLE = "◌"


def _byte_letters() -> dict[str, int]:
    """Byte-level BPE's letter for each byte: printable Latin-1 stands for itself, other bytes follow from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(0x100 + rank): byte for rank, byte in enumerate(others)}


_BYTE_OF = _byte_letters()


def piece_bytes(piece: str) -> bytes | None:
    """The bytes that a byte-level or byte-fallback piece stands for; None for other pieces."""
    if found := _BYTE.fullmatch(piece):
        return bytes([int(found[1], 16)])
    if piece and all(letter in _BYTE_OF for letter in piece):
        return bytes(_BYTE_OF[letter] for letter in piece)
    return None


def is_only_mark(piece: str) -> bool:
    """Whether a piece is only a mark for a space, such as a single `▁`."""
    return not piece.strip(_BEGINS + _BYTE_BEGINS)


def begins_after_space(piece: str) -> bool:
    """Whether a byte-level piece includes the space before its word."""
    return piece.startswith(_BYTE_BEGINS) and piece_bytes(piece) is not None


def surface(piece: str) -> str:
    """The text of a piece without marks, with a leading space where its mark means one."""
    if piece.startswith(_CONTINUES) and len(piece) > len(_CONTINUES):
        return piece[len(_CONTINUES) :]
    for ending in (_ENDS, _GOES_ON):
        if piece.endswith(ending) and len(piece) > len(ending):
            return piece[: -len(ending)]
    if _BEGINS in piece:
        return piece.replace(_BEGINS, " ")
    made = piece_bytes(piece)
    if made is None:
        return piece
    try:
        return made.decode("utf-8")
    except UnicodeDecodeError:  # a part of a character's bytes, or a vocabulary that is not byte-level
        return piece


def readable(shown: str) -> str:
    """The same text with invisible characters made visible: marks on a dotted circle, control characters as code points."""
    if _MARK.match(shown):
        shown = _DOTTED_CIRCLE + shown
    if shown.isspace() or any(not _HIDDEN.match(letter) for letter in shown):
        return shown.replace("\x00", "<U+0000>")
    return "".join(f"<U+{ord(letter):04X}>" for letter in shown)


def continuation(piece: str, slice_: str) -> str:
    """The text of a piece of a character that an earlier token already shows: its bytes, or what it spells."""
    bare = piece.lstrip(_BYTE_BEGINS + _BEGINS)
    made = piece_bytes(bare)
    if made is not None and made in slice_.encode("utf-8"):
        return spelled_bytes(made)
    return readable(surface(piece).strip() or piece)


def spelled_bytes(made: bytes) -> str:
    """Bytes that are a part of a character alone, as SentencePiece writes them."""
    return "".join(f"<0x{byte:02X}>" for byte in made)


def begins_word(pieces: Sequence[str]) -> list[bool]:
    """For each piece whether it begins a word, by the convention that the pieces follow."""
    if any(piece.startswith(_CONTINUES) and len(piece) > len(_CONTINUES) for piece in pieces):
        return [not piece.startswith(_CONTINUES) for piece in pieces]
    if any(piece.startswith((_BEGINS, _BYTE_BEGINS)) for piece in pieces):
        return [piece.startswith((_BEGINS, _BYTE_BEGINS)) for piece in pieces]
    before = ["", *pieces[:-1]]
    if any(piece.endswith(_ENDS) for piece in pieces):
        return [not piece or piece.endswith(_ENDS) for piece in before]
    if any(piece.endswith(_GOES_ON) for piece in pieces):
        return [not piece.endswith(_GOES_ON) for piece in before]
    return [True] * len(pieces)  # without marks each piece counts as a whole word, because any other split would be a guess


def spell(pieces: Sequence[str]) -> tuple[str, list[Span]]:
    """The text that the pieces spell, with a space before each word, and the span of each piece in it."""
    text, spans = "", []
    for piece, begins in zip(pieces, begins_word(pieces), strict=True):
        shown = surface(piece).strip()
        text += " " if begins and text else ""
        spans.append((len(text), len(text) + len(shown)))
        text += shown
    return text, spans


def find(pieces: Sequence[str], text: str) -> list[Span] | None:
    """The span of each piece, if the pieces spell the text letter by letter (ignoring case and white space) or in bytes."""
    letters = _find_letters(pieces, text)
    return letters if letters is not None else _find_bytes(pieces, text)


def _find_letters(pieces: Sequence[str], text: str) -> list[Span] | None:
    spans, at = [], 0
    for piece in pieces:
        shown = surface(piece).strip()
        while shown and at < len(text) and text[at].isspace():
            at += 1
        if text[at : at + len(shown)].casefold() != shown.casefold():
            return None
        spans.append((at, at + len(shown)))
        at += len(shown)
    return spans


def _find_bytes(pieces: Sequence[str], text: str) -> list[Span] | None:
    fallback = any(_BYTE.fullmatch(piece) for piece in pieces)
    made = [surface(piece).encode("utf-8") if fallback and not _BYTE.fullmatch(piece) else piece_bytes(piece) for piece in pieces]
    if not made or any(part is None for part in made):
        return None
    parts = [part for part in made if part is not None]
    spelled = b"".join(parts)
    added_space = int(spelled[:1] == b" " and not text.startswith(" "))  # the space that some tokenizers add before a text
    written = text.encode("utf-8")
    if spelled[added_space:] != written[: len(spelled) - added_space]:
        return None
    character_of = [i for i, letter in enumerate(text) for _ in range(len(letter.encode("utf-8")))]
    ends = np.cumsum([len(part) for part in parts]) - added_space
    starts = [0, *ends[:-1].tolist()]
    return [
        (character_of[start], character_of[end - 1] + 1) if start < end else (0, 0)
        for start, end in zip(starts, ends.tolist(), strict=True)
    ]
