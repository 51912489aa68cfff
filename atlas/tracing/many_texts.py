"""Where the many texts of a page come from: plain values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from atlas.tracing.listed import TextList

TEMPLATES: Mapping[str, str] = {
    "occupations": "she or he at work",
    "feelings": "she or he with a feeling",
    "identities": "people of many kinds",
}
"""Sets of texts that come with Atlas, and what they are about."""

FEW_SENTENCES = (
    "The texts that come with Atlas are four to eight sentences a set, filled with other words: they are much alike, and "
    "intervals, p and q hold for them alone."
)


class TextsOf(NamedTuple):
    """Where the texts of a page come from."""

    name: str
    """Of a file, whose ending says how it is read; of a set of templates; or of a list."""
    data: bytes | TextList | None
    """Bytes of a file, or a list that was read before. None: a set of templates."""
    column: str = "text"
