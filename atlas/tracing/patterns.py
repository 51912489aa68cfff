"""Which heads follow a known pattern: shares of attention on known places, and dependency relations."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from atlas.errors import NotCaptured, TooLarge
from atlas.metrics.relations import DIRECTIONS, MIN_ARCS, predicted_heads, relation_chances
from atlas.metrics.roles import role_chances
from atlas.metrics.shared_keys import MIN_ROWS
from atlas.tracing.words import ParsedWords, Tell, between_words, parsed_words, relations, silent

if TYPE_CHECKING:
    from atlas.ids import HeadId
    from atlas.trace import Trace

__all__ = [
    "COLUMNS", "CROSS", "DIRECTIONS", "MIN_ARCS", "MIN_ROWS", "PLACES", "Arcs", "Page", "arcs", "check_size", "holds_relations",
    "page_of", "pages", "place_patterns", "relation_patterns", "without_patterns",
]  # fmt: skip

PLACES = ("previous", "next", "self", "induction", "duplicate", "special", "first_key", "punctuation")
"""Metrics of the head table that are patterns, in the order in which they are shown."""

RELATION_CELLS = 400_000_000
"""Weights read for the relations of all heads: half a minute. 1,200 heads have them at 577 tokens, 144 heads at 1,666."""

WORDS_A_PAGE = 28
"""Words of a sentence that are drawn beside each other: so many names can be read on a card that takes the whole page."""

CROSS = "Patterns compare positions of one text, and cross-attention links two. Choose encoder or decoder."

COLUMNS = ("pattern", "direction", "layer", "head", "score", "chance", "n", "q", "offset")
"""Of a table of patterns: one row a head and pattern. `offset`: the best fixed offset of a relation; `direction`: empty for a
place. `q` is NaN where n is too small for a test."""


class Page(NamedTuple):
    """A sentence, or a part of a long one."""

    words: np.ndarray
    """Places among the words of the text."""
    sentence: int
    """Number of the sentence in the text, from 0."""


class Arcs(NamedTuple):
    """What one head makes of the words of one page. Words are numbered from 0 on the page."""

    words: tuple[str, ...]
    tokens: tuple[frozenset[int], ...]
    """The positions of each word."""
    parse: tuple[tuple[int, int, str], ...]
    """Dependent, syntactic head, relation."""
    found: tuple[tuple[int, int, str, bool], ...]
    """Dependent, the word the head points to, relation, whether that is the syntactic head."""
    outside: int
    """Words for which the head points to another sentence or page."""
    unseen: int
    """Arcs that this head may not see, as an arc to a word that is still to come in a causal model."""


def without_patterns(trace: Trace) -> str:
    """Why a trace has no patterns; empty: it has."""
    return "" if set(trace.kinds) != {"cross"} else CROSS


def place_patterns(table: pd.DataFrame) -> pd.DataFrame:
    """The heads of a head table of one kind by place: score, share under uniform attention, rows, corrected chance."""

    def stacked(suffix: str) -> np.ndarray:
        return np.concatenate([table[f"{name}{suffix}"].to_numpy(dtype=float, na_value=np.nan) for name in PLACES])

    # Stacked first and made a table once: a table for each place takes three times as long.
    score, n = stacked(""), stacked("_rows")
    chances = np.concatenate([role_chances(table, name) for name in PLACES])
    found = pd.DataFrame({
        "pattern": np.repeat(PLACES, len(table)), "direction": "",
        "layer": np.tile(table["layer"], len(PLACES)), "head": np.tile(table["head"], len(PLACES)),
        "score": score, "chance": stacked("_uniform"), "n": n, "q": np.where(n >= MIN_ROWS, chances, np.nan), "offset": np.nan,
    })  # fmt: skip
    return found[np.isfinite(score)].reset_index(drop=True)


def check_size(trace: Trace, kind: str) -> None:
    """Refuse the relations of a text that takes too long."""
    attention = trace.attention_of(kind)
    cells = attention.n_queries * attention.n_keys * attention.n_heads * len(attention.layers)
    if cells > RELATION_CELLS:
        msg = (
            f"Relations read {cells / 1e6:,.0f} million weights here, and at most {RELATION_CELLS / 1e6:,.0f} million are read. "
            "Run a shorter text to see them."
        )
        raise TooLarge(msg)


def relation_patterns(trace: Trace, kind: str, tell: Tell = silent) -> pd.DataFrame:
    """The heads of a kind by dependency relation, as `COLUMNS`, the more frequent relations first."""
    check_size(trace, kind)
    table = trace.once(f"relations {kind}", lambda: relations(trace, kind, tell))
    named = table.rename(columns={"relation": "pattern", "accuracy": "score", "baseline": "chance", "baseline_offset": "offset"})
    named["q"] = relation_chances(table)
    return named[list(COLUMNS)]


def holds_relations(trace: Trace, kind: str) -> bool:
    """Whether the relations have been read."""
    return trace.holds(f"relations {kind}")


def pages(trace: Trace, kind: str) -> tuple[Page, ...]:
    """The sentences of a parsed text, long ones in parts."""
    words = _words(trace, kind)
    of = words.parse["sentence"].to_numpy() if "sentence" in words.parse else np.zeros(len(words.units), dtype=int)
    found = []
    for number in np.unique(of[of >= 0]):
        places = np.flatnonzero(of == number)
        found += [Page(places[start : start + WORDS_A_PAGE], int(number)) for start in range(0, len(places), WORDS_A_PAGE)]
    return tuple(found)


def page_of(trace: Trace, kind: str, tokens: frozenset[int]) -> int:
    """The first page with one of these tokens; 0 where none has."""
    words = _words(trace, kind)
    units = {int(words.units.of_token[token]) for token in tokens} - {-1}
    return next((at for at, page in enumerate(pages(trace, kind)) if units & set(page.words.tolist())), 0)


def arcs(trace: Trace, head: HeadId, page: Page, direction: str) -> Arcs:
    """The arcs of a page, and where a head points for each of its dependents."""
    words = _words(trace, head.kind)
    weights = between_words(words, trace.attention_of(head.kind).block(head.layer, head.head))
    predicted, visible = predicted_heads(weights[None, None], direction)
    place = {int(word): at for at, word in enumerate(page.words)}
    parse, found, outside, unseen = [], [], 0, 0
    for dependent, parent, relation in words.arcs:
        if dependent not in place:
            continue
        if parent in place:
            parse.append((place[dependent], place[parent], relation))
        if not visible[dependent, parent]:
            unseen += 1
            continue
        guess = int(predicted[0, 0, dependent])
        if guess in place:
            found.append((place[dependent], place[guess], relation, guess == parent))
        else:
            outside += 1
    names = tuple(map(str, words.parse["text"].to_numpy()[page.words]))
    tokens = tuple(frozenset(np.flatnonzero(words.units.of_token == word).tolist()) for word in page.words)
    return Arcs(names, tokens, tuple(parse), tuple(found), outside, unseen)


def _words(trace: Trace, kind: str) -> ParsedWords:
    found: ParsedWords = trace.once(f"parsed words {kind}", lambda: parsed_words(trace, kind))
    if not len(found.units):
        msg = "This text has no words, only special tokens."
        raise NotCaptured(msg)
    return found
