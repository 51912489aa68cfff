"""Plain text to learn from: the plainest pieces of the children's books and article openings, or any files the user names.

Plain is what a small model can learn from: short sentences of common words. Every piece gets one figure, the mean of its
sentence length and its share of uncommon words (each as a rank among all pieces), and the lowest are kept.
"""

from __future__ import annotations

import lzma
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .places import CORPORA, is_held_out

WORD = re.compile(r"[A-Za-z']+")
SENTENCE_END = re.compile(r"[.!?]+[\"'”’)]*\s")
COMMON_WORDS = 3000
PIECE_WORDS = 250  # a piece of a book: long enough for a model to use its beginning at its end
BOILERPLATE = (
    "gutenberg",
    "proofread",
    "produced by",
    "transcribed",
    "html version",
    "e-text",
    "was a common year",
    "was a leap year",
    "copyright",
    "editor",
)
TYPOGRAPHY = str.maketrans({"“": '"', "”": '"', "\u2018": "'", "’": "'", "—": " - ", "–": "-", "…": "...", "\u00a0": " "})
ASIDE = re.compile(r"\[[^\]]*\]|[\[\]_*]")  # stage directions, illustrations, notes, marks of emphasis
EMPTIED = re.compile(r"\([\s;,]*\)")  # where a pronunciation was
HALF_EMPTIED = re.compile(r"\(\s*(?:[;,]\s*)+")
LARGEST_DIGIT_SHARE = 0.08  # beyond that a paragraph is a table or a bibliography
UNUSUAL = re.compile(r"[^\x20-\x7e\n]")
LARGEST_UNUSUAL_SHARE = 0.01  # beyond that a piece is a table, another language or wrongly decoded
KEEP = {"childrens_books.txt.xz": 0.5, "enwiki2015_openings.txt.xz": 0.35}
KEEP_OF_OTHERS = 1.0


@dataclass(frozen=True)
class Piece:
    """A stretch of one document."""

    text: str
    held_out: bool


def _read(path: Path) -> str:
    opener = lzma.open if path.suffix == ".xz" else open
    with opener(path, "rt", encoding="utf-8") as file:
        return file.read()


def clean(line: str) -> str:
    """A paragraph without typographic marks, asides and what their removal leaves behind."""
    text = HALF_EMPTIED.sub("(", EMPTIED.sub("", ASIDE.sub("", line.translate(TYPOGRAPHY))))
    return re.sub(r"\s+([,.;:!?)])", r"\1", " ".join(text.split()))


def pieces_of(document: str) -> Iterator[str]:
    """Whole paragraphs, about PIECE_WORDS words together, without the producers' notes."""
    gathered: list[str] = []
    words = 0
    for line in document.split("\n"):
        paragraph = clean(line)
        lowered = line.lower()
        digits = sum(map(str.isdigit, paragraph))
        if not paragraph or paragraph.isupper() or any(mark in lowered for mark in BOILERPLATE):
            continue
        if digits > LARGEST_DIGIT_SHARE * len(paragraph):
            continue
        gathered.append(paragraph)
        words += paragraph.count(" ") + 1
        if words >= PIECE_WORDS:
            yield "\n".join(gathered)
            gathered, words = [], 0
    if words >= PIECE_WORDS // 5:
        yield "\n".join(gathered)


def common_words(texts: Iterable[str]) -> frozenset[str]:
    """The words met most often."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(WORD.findall(text.lower()))
    return frozenset(word for word, _ in counts.most_common(COMMON_WORDS))


def difficulty(texts: list[str], common: frozenset[str]) -> np.ndarray:
    """Mean rank of sentence length and share of uncommon words; infinite for what is not plain English prose."""
    length, uncommon, bad = (np.empty(len(texts)) for _ in range(3))
    for index, text in enumerate(texts):
        words = WORD.findall(text.lower())
        sentences = len(SENTENCE_END.findall(text + " ")) or 1
        length[index] = len(words) / sentences
        uncommon[index] = sum(word not in common for word in words) / max(1, len(words))
        bad[index] = len(UNUSUAL.findall(text)) / max(1, len(text)) > LARGEST_UNUSUAL_SHARE or not words
    score = (length.argsort().argsort() + uncommon.argsort().argsort()) / 2.0
    score[bad > 0] = np.inf
    return score


def plainest(paths: Iterable[Path]) -> Iterator[tuple[Path, list[Piece]]]:
    """For each file the plainest pieces of its documents, in the order of the file; documents are parted by a blank line."""
    read = {
        path: [(piece, is_held_out(document)) for document in _read(path).split("\n\n") for piece in pieces_of(document)]
        for path in paths
    }
    common = common_words(text for found in read.values() for text, _ in found[::5])  # a fifth of the pieces settles the ranking
    for path, found in read.items():
        scores = difficulty([text for text, _ in found], common)
        kept = int(KEEP.get(path.name, KEEP_OF_OTHERS) * len(found))
        chosen = sorted(index for index in np.argsort(scores, kind="stable")[:kept] if np.isfinite(scores[index]))
        yield path, [Piece(*found[index]) for index in chosen]


def known_files() -> list[Path]:
    """Where the corpora lie, if they do."""
    return [CORPORA / name for name in KEEP]


def default_files() -> list[Path]:
    """The corpora beside the repository; an error that says what to do where they are absent."""
    files = known_files()
    missing = [file for file in files if not file.exists()]
    if missing:
        message = f"no corpus at {missing[0]}; name text files of your own with --text FILE ..."
        raise FileNotFoundError(message)
    return files
