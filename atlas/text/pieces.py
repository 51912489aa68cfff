"""Vocabulary strings: what their marks mean, and what a person should read instead.

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
    """Byte-level BPE's letter for each byte: printable Latin-1 stands for itself, the rest follow from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(0x100 + rank): byte for rank, byte in enumerate(others)}


_BYTE_OF = _byte_letters()


def piece_bytes(piece: str) -> bytes | None:
    """The bytes a byte-level piece or a byte-fallback piece stands for; None for any other."""
    if found := _BYTE.fullmatch(piece):
        return bytes([int(found[1], 16)])
    if piece and all(letter in _BYTE_OF for letter in piece):
        return bytes(_BYTE_OF[letter] for letter in piece)
    return None


def is_only_mark(piece: str) -> bool:
    """Whether a piece is nothing but the sign for a space: a `▁` on its own, for example."""
    return not piece.strip(_BEGINS + _BYTE_BEGINS)


def begins_after_space(piece: str) -> bool:
    """Whether a byte-level piece has its word's leading space in it."""
    return piece.startswith(_BYTE_BEGINS) and piece_bytes(piece) is not None


def surface(piece: str) -> str:
    """What a piece spells, without marks; a leading space where its mark says so."""
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
    except UnicodeDecodeError:  # bytes of half a character, or a vocabulary that is not byte-level at all
        return piece


def readable(shown: str) -> str:
    """The same, with what a screen would swallow made visible: marks on a dotted circle, control characters by code point."""
    if _MARK.match(shown):
        shown = _DOTTED_CIRCLE + shown
    if shown.isspace() or any(not _HIDDEN.match(letter) for letter in shown):
        return shown.replace("\x00", "<U+0000>")
    return "".join(f"<U+{ord(letter):04X}>" for letter in shown)


def continuation(piece: str, slice_: str) -> str:
    """What to show for a piece of a character an earlier token has shown already: its bytes, or what it spells."""
    bare = piece.lstrip(_BYTE_BEGINS + _BEGINS)
    made = piece_bytes(bare)
    if made is not None and made in slice_.encode("utf-8"):
        return "".join(f"<0x{byte:02X}>" for byte in made)
    return readable(surface(piece).strip() or piece)


def begins_word(pieces: Sequence[str]) -> list[bool]:
    """For each piece whether it begins a word, by the convention the pieces themselves show."""
    if any(piece.startswith(_CONTINUES) and len(piece) > len(_CONTINUES) for piece in pieces):
        return [not piece.startswith(_CONTINUES) for piece in pieces]
    if any(piece.startswith((_BEGINS, _BYTE_BEGINS)) for piece in pieces):
        return [piece.startswith((_BEGINS, _BYTE_BEGINS)) for piece in pieces]
    before = ["", *pieces[:-1]]
    if any(piece.endswith(_ENDS) for piece in pieces):
        return [not piece or piece.endswith(_ENDS) for piece in before]
    if any(piece.endswith(_GOES_ON) for piece in pieces):
        return [not piece.endswith(_GOES_ON) for piece in before]
    return [True] * len(pieces)  # no marks: whole words are the one reading that invents nothing


def spell(pieces: Sequence[str]) -> tuple[str, list[Span]]:
    """The text the pieces spell, a space before each that begins a word, and where each lies in it."""
    text, spans = "", []
    for piece, begins in zip(pieces, begins_word(pieces), strict=True):
        shown = surface(piece).strip()
        text += " " if begins and text else ""
        spans.append((len(text), len(text) + len(shown)))
        text += shown
    return text, spans


def find(pieces: Sequence[str], text: str) -> list[Span] | None:
    """Where each piece lies in the text, if the pieces spell it: letter by letter (but for case and white space), or in bytes."""
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
    invented = int(spelled[:1] == b" " and not text.startswith(" "))  # the space some tokenizers put before a text
    written = text.encode("utf-8")
    if spelled[invented:] != written[: len(spelled) - invented]:
        return None
    character_of = [i for i, letter in enumerate(text) for _ in range(len(letter.encode("utf-8")))]
    ends = np.cumsum([len(part) for part in parts]) - invented
    starts = [0, *ends[:-1].tolist()]
    return [
        (character_of[start], character_of[end - 1] + 1) if start < end else (0, 0)
        for start, end in zip(starts, ends.tolist(), strict=True)
    ]
