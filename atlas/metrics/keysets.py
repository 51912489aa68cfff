"""Sets of keys a head may prefer: punctuation, function words, entities, the token a model uses as its anchor."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pandas as pd

BoolArray = npt.NDArray[np.bool_]

FUNCTION_WORDS = frozenset({"ADP", "AUX", "CCONJ", "CONJ", "DET", "PART", "PRON", "SCONJ"})
"""Universal POS tags of closed classes (CONJ is spaCy's older name of CCONJ); numerals are counted as content."""

CONTENT_WORDS = frozenset({"ADJ", "ADV", "NOUN", "NUM", "PROPN", "VERB"})
"""Universal POS tags of open classes. Interjections, symbols and X are in neither set."""

NO_ENTITY = frozenset({"", "O"})
"""What taggers write where there is no entity, besides nothing at all."""

PIECE_MARKS = "\u2581\u0120\u010a \t\r\n"
"""What tokenizers put before a word or for a blank: SentencePiece's underline, the byte-level G and C with a dot.
XLM's </w> and WordPiece's ## are taken off as well."""

SIGNS = frozenset({"Sc", "Sk", "Sm"})
"""Currency, modifier and mathematical signs; other symbols (So) are pictures and emoji, which are content."""

ANCHOR_WORD = "cls"
"""XLNet's <cls> stands at the end; every other anchor is a special token at position 0."""


def anchor_key(tokens: pd.DataFrame) -> int | None:
    """Position of the [CLS] or beginning-of-text token; None where the text has neither (GPT-2, T5's encoder)."""
    special = np.asarray(tokens["special"], dtype=bool)
    if len(special) and special[0]:
        return 0
    named = [place for place in np.flatnonzero(special) if ANCHOR_WORD in str(tokens["token"].iloc[place]).lower()]
    return int(named[0]) if named else None


def is_punctuation(token: str) -> bool:
    """Whether a token is nothing but punctuation, currency and mathematical signs (no emoji)."""
    text = token.strip(PIECE_MARKS).removesuffix("</w>")
    bare = text.removeprefix("##") or text
    categories = {unicodedata.category(char) for char in bare}
    return bool(bare) and all(category[0] == "P" or category in SIGNS for category in categories)


def key_sets(tokens: pd.DataFrame) -> Mapping[str, BoolArray | None]:
    """Named sets of key positions as boolean arrays; None where the tokens do not say who belongs (no tagger)."""
    special = np.asarray(tokens["special"], dtype=bool)
    anchor = anchor_key(tokens)
    places = np.arange(len(tokens))
    sets: dict[str, BoolArray | None] = {
        "balance": None if anchor is None else places == anchor,
        "first_key": places == 0,
        "punctuation": ~special & np.array([is_punctuation(str(token)) for token in tokens["token"]], dtype=bool),
        "function_words": _tagged(tokens, "pos", FUNCTION_WORDS),
        "content_words": _tagged(tokens, "pos", CONTENT_WORDS),
        "entities": _entities(tokens),
    }
    return {name: None if keys is None else keys & (~special | (name in {"balance", "first_key"})) for name, keys in sets.items()}


def _tagged(tokens: pd.DataFrame, column: str, tags: frozenset[str]) -> BoolArray | None:
    if not _annotated(tokens, column):
        return None
    return np.asarray(tokens[column].isin(list(tags)), dtype=bool)


def _entities(tokens: pd.DataFrame) -> BoolArray | None:
    # A tagger that ran and found nothing leaves a column of blanks; only a missing column means that none ran.
    if "entity" not in tokens.columns:
        return None
    labels = tokens["entity"]
    return np.asarray(labels.notna() & ~labels.isin(list(NO_ENTITY)), dtype=bool)


def _annotated(tokens: pd.DataFrame, column: str) -> bool:
    return column in tokens.columns and bool(tokens[column].notna().any())
