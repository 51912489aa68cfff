"""The texts that a page reads with the model on screen: of a file, of a list, or of those that come with Atlas."""

from __future__ import annotations

from collections.abc import Sequence

from atlas.bias.templates import template_texts
from atlas.errors import TooLarge
from atlas.text.files import TextRow, TextRows, texts_in
from atlas.tracing.listed import TextList
from atlas.tracing.many_texts import TextsOf

MOST_TEXTS = 500
"""Texts of a page at most: each takes runs of the model on screen, which other readers wait for."""


def numbered(texts: TextRows | Sequence[str]) -> TextRows:
    """Texts as the rows of a file."""
    return texts if isinstance(texts, TextRows) else TextRows(tuple(TextRow(at, text) for at, text in enumerate(texts, 1)), ())


def rows_of_page(texts: TextsOf, most: int, does: str, elsewhere: str) -> TextRows:
    """The rows of the texts of a page. Of more than `most` it says what the page `does` with so many, and what takes more."""
    rows = _rows(texts)
    if len(rows.texts) > most:
        msg = f"{texts.name} has {len(rows.texts):,} texts, more than the {most:,} that a page {does}. {elsewhere}"
        raise TooLarge(msg)
    return rows


def _rows(texts: TextsOf) -> TextRows:
    if texts.data is None:
        return numbered(template_texts(texts.name))
    if isinstance(texts.data, TextList):
        return TextRows(tuple(TextRow(each.row, each.text) for each in texts.data.texts), texts.data.bad)
    return texts_in(texts.name, texts.data, texts.column)
