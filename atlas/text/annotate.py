"""Sentences, parts of speech, entities and dependencies of tokens and words, from a spaCy pipeline by character offsets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
import regex

from atlas.text.names import ENTITIES, RELATIONS
from atlas.text.pipelines import Pipeline, Reading, find_pipeline, has_spacy, rule_sentences
from atlas.text.segment import NO_WORD, Labels, label_characters, majority, words

__all__ = ["Annotated", "Pipeline", "annotate", "find_pipeline"]

LOOK_AHEAD = 2_000
"""Characters read beyond the last token, so that the last sentence of a text that was cut is parsed whole, without parsing a
million characters for 512 tokens."""

NO_HEAD = -1
"""The head of a root, and of tokens that are not parsed."""

ENGLISH = "en_"
"""The start of the names of pipelines for English."""

LETTER, LATIN = regex.compile(r"\p{L}"), regex.compile(r"\p{Latin}")

_PIPELINE_COLUMNS = ("pos", "entity", "entity_raw", "dep", "head")
_NO_SPACY = "spaCy is not installed; install it with: pip install spacy"
_NO_PIPELINE = (
    "no spaCy pipeline was found; install one (python -m spacy download en_core_web_sm) or name one in the environment "
    "variable ATLAS_SPACY"
)
_NO_PLACES = "this tokenizer does not say which characters its tokens cover, so nothing can be aligned with them"


class Annotated(NamedTuple):
    """The annotations of tokens and words."""

    table: pd.DataFrame
    """The token table with `sentence`, `pos`, `entity`, `entity_raw`, `dep`, `head` added where they are known."""
    parse: pd.DataFrame
    """One row for each word: `word`, `text`, `start`, `end`, `segment`, and the same columns."""


@dataclass(frozen=True)
class _Side:
    """One segment and its annotations."""

    text: str
    """The part of the segment that was read."""
    spans: list[tuple[int, int]]
    """The words of that part."""
    first_word: int
    first_sentence: int
    reading: Reading | None
    sentence_starts: list[int] | None


def annotate(table: pd.DataFrame, text: str, pair: str | None = None, pipeline: Pipeline | None = None) -> Annotated:
    """Add a pipeline's annotations of the text to a copy of the token table.

    Columns added to both tokens and words:

    `sentence`
        Number of the sentence, counted over text and then pair, -1 for special tokens and stray white space. A blank line ends a
        sentence. Without a pipeline, or with one that finds no sentences, rules find them; `attrs["sentence_source"]` says
        which.
    `pos`
        Universal part of speech of the pipeline's token that covers most of it. A token that is only a part of a character
        (a byte of an emoji or of an Arabic letter) has none.
    `entity`, `entity_raw`
        Type of the entity that contains it, by the common names of `atlas.text.names` and by the pipeline's name; '' outside.
    `dep`, `head`
        Relation to, and number of, the word it depends on. Both belong to the word, so its pieces share them. If the pipeline
        splits a word into several tokens (`don't`), the relation is that of the token whose head lies outside the word. A root
        has head -1.

    A token or word that was not read (special, white space, beyond the part that was read) has `<NA>`, and -1 for `head`.

    What is unknown is absent: there is no column, and `attrs["missing"]` maps its name to the reason, in words for the reader.
    `attrs["pipeline"]` is the pipeline's name or None.
    """
    missing: dict[str, str] = {}
    lexicon = words(text, pair)
    aligned = table.attrs.get("offsets", "tokenizer") != "unknown"
    if not aligned:
        missing = dict.fromkeys(("sentence", *_PIPELINE_COLUMNS), _NO_PLACES)
        return _as_tables(table.copy(), lexicon, missing, None, None)
    sides: list[_Side] = []
    for segment, part in enumerate((text, pair)):
        if part is not None:
            sides.append(_read(part, segment, table, lexicon, pipeline, missing, first_sentence=_n_sentences(sides)))
    missing |= _columns_without_source(sides, pipeline)
    parse = pd.concat([_word_columns(side) for side in sides])
    parse = lexicon.join(parse.drop(columns=[name for name in missing if name in parse]))
    for name in ("sentence", "head"):
        if name in parse:
            parse[name] = parse[name].fillna(-1).astype(np.int64)
    tokens = table.copy()
    for name, values in _token_columns(table, sides, parse).items():
        if name not in missing:
            tokens[name] = values
    by_rule = any(side.reading is None or side.reading.sentence_starts is None for side in sides)
    source = None if "sentence" in missing else "rules" if by_rule else "pipeline"
    return _as_tables(tokens, parse, missing, source, pipeline)


def _as_tables(
    tokens: pd.DataFrame, parse: pd.DataFrame, missing: dict[str, str], source: str | None, pipeline: Pipeline | None
) -> Annotated:
    for frame in (tokens, parse):
        frame.attrs |= {
            "missing": dict(missing),
            "sentence_source": source,
            "pipeline": pipeline.name if pipeline is not None else None,
        }
    return Annotated(tokens, parse)


def _n_sentences(sides: list[_Side]) -> int:
    return sum(len(side.sentence_starts or ()) for side in sides)


def _read(
    text: str,
    segment: int,
    table: pd.DataFrame,
    lexicon: pd.DataFrame,
    pipeline: Pipeline | None,
    missing: dict[str, str],
    *,
    first_sentence: int,
) -> _Side:
    own = table[table["segment"] == segment]
    last = own["end"].max()
    reach = min(len(text), (0 if pd.isna(last) else int(last)) + LOOK_AHEAD)
    rows = lexicon[(lexicon["segment"] == segment) & (lexicon["end"] <= reach)]
    spans = list(zip(rows["start"].tolist(), rows["end"].tolist(), strict=True))
    first = int((lexicon["segment"] < segment).sum())
    part = text[:reach]
    reading = _annotated(part, pipeline, missing)
    starts = reading.sentence_starts if reading is not None else None
    if starts is None:
        starts = rule_sentences(part) if has_spacy() else None
    if starts is None:
        missing["sentence"] = _NO_SPACY
    return _Side(part, spans, first, first_sentence, reading, None if starts is None else _with_words(starts, spans))


def _with_words(starts: list[int], spans: list[tuple[int, int]]) -> list[int]:
    """The starts of the sentences that contain words, because a pipeline may take a tab for a sentence and numbers would skip."""
    if not starts or not spans:
        return []
    ordered = np.asarray(starts)
    within = np.maximum(np.searchsorted(ordered, [start for start, _ in spans], side="right") - 1, 0)
    return [int(start) for start in ordered[np.unique(within)]]


def _annotated(text: str, pipeline: Pipeline | None, missing: dict[str, str]) -> Reading | None:
    if pipeline is None:
        missing |= dict.fromkeys(_PIPELINE_COLUMNS, _NO_PIPELINE if has_spacy() else _NO_SPACY)
        return None
    if len(text) > pipeline.max_length:
        missing |= dict.fromkeys(
            _PIPELINE_COLUMNS,
            f"the text has {len(text):,} characters and the pipeline {pipeline.name} reads {pipeline.max_length:,} at once; "
            "shorten the text, or raise the pipeline's nlp.max_length if there is memory for it",
        )
        return None
    if pipeline.name.startswith(ENGLISH) and _in_another_script(text):
        missing |= dict.fromkeys(
            _PIPELINE_COLUMNS, f"the pipeline {pipeline.name} reads English, and this text is in other letters"
        )
        return None
    return pipeline.read(text)


def _in_another_script(text: str) -> bool:
    """Whether most letters are not Latin, so that an English pipeline would label every word as a noun."""
    letters = len(LETTER.findall(text))
    return letters > 0 and len(LATIN.findall(text)) < letters / 2


def _columns_without_source(sides: list[_Side], pipeline: Pipeline | None) -> dict[str, str]:
    """Columns that the pipeline does not provide, with the reason."""
    readings = [side.reading for side in sides if side.reading is not None]
    if pipeline is None or not readings:
        return {}
    missing: dict[str, str] = {}
    for what, names, known in (
        ("parts of speech", ("pos",), [reading.pos for reading in readings]),
        ("entities", ("entity", "entity_raw"), [reading.entity for reading in readings]),
        ("dependencies", ("dep", "head"), [reading.dep for reading in readings]),
    ):
        if all(part is None for part in known):
            missing |= dict.fromkeys(names, f"the pipeline {pipeline.name} gives no {what}")
    return missing


def _word_columns(side: _Side) -> pd.DataFrame:
    numbers = np.arange(side.first_word, side.first_word + len(side.spans))
    columns: dict[str, object] = {"sentence": _sentences(side, [start for start, _ in side.spans])}
    reading = side.reading
    if reading is not None:
        covering = _covering(side.text, reading, side.spans)
        columns |= _labels(reading, covering)
        columns |= _dependencies(reading, label_characters(side.spans, len(side.text)), len(side.spans), side.first_word)
    return pd.DataFrame(columns, index=numbers)


def _token_columns(table: pd.DataFrame, sides: list[_Side], parse: pd.DataFrame) -> dict[str, pd.Series]:
    made: dict[str, pd.Series] = {}
    for segment, side in enumerate(sides):
        own = table[(table["segment"] == segment) & (table["word"] != NO_WORD) & table["start"].notna()]
        spans = list(zip(own["start"].astype(int), own["end"].astype(int), strict=True))
        columns: dict[str, object] = {"sentence": _sentences(side, [start for start, _ in spans])}
        if side.reading is not None:
            columns |= _labels(side.reading, _covering(side.text, side.reading, spans), _pieces_of_characters(side.text, spans))
        for name, values in columns.items():
            empty = pd.Series(pd.NA, index=table.index, dtype="Int64" if name == "sentence" else "str")
            made.setdefault(name, empty).loc[own.index] = values
    if "sentence" in made:
        made["sentence"] = made["sentence"].fillna(-1).astype(np.int64)
    for name, nothing in (("dep", None), ("head", NO_HEAD)):
        if name in parse:
            made[name] = table["word"].map(parse[name])
            made[name] = made[name].astype("str") if nothing is None else made[name].fillna(nothing).astype(np.int64)
    return made


def _sentences(side: _Side, starts: list[int]) -> list[int]:
    if side.sentence_starts is None:
        return [-1] * len(starts)
    # White space before the first sentence belongs to no sentence, so text before the first start counts as the first sentence.
    inside = np.maximum(np.searchsorted(side.sentence_starts, starts, side="right") - 1, 0)
    return [int(number) for number in inside + side.first_sentence]


def _covering(text: str, reading: Reading, spans: list[tuple[int, int]]) -> list[int]:
    of_character = label_characters(reading.spans, len(text))
    return [majority(of_character, start, end) for start, end in spans]


def _pieces_of_characters(text: str, spans: list[tuple[int, int]]) -> list[bool]:
    """Whether each span shares all its characters with other spans.

    Byte-level tokenizers spell a rare character with several tokens, and the offsets of each cover that character.
    """
    covers = np.zeros(len(text) + 1, dtype=np.int64)
    for start, end in spans:
        covers[start] += 1
        covers[end] -= 1
    alone = [count == 1 and not letter.isspace() for count, letter in zip(np.cumsum(covers)[:-1].tolist(), text, strict=True)]
    before = np.concatenate([[0], np.cumsum(alone)])
    return [bool(before[end] == before[start]) for start, end in spans]


def _labels(reading: Reading, covering: list[int], without_pos: list[bool] | None = None) -> dict[str, list[str | None]]:
    made: dict[str, list[str | None]] = {}
    if reading.pos is not None:
        silent = without_pos or [False] * len(covering)
        made["pos"] = [reading.pos[i] or None if i >= 0 and not none else None for i, none in zip(covering, silent, strict=True)]
    if reading.entity is not None:
        made["entity_raw"] = [reading.entity[i] if i >= 0 else None for i in covering]
        made["entity"] = [None if raw is None else ENTITIES.get(raw, raw) for raw in made["entity_raw"]]
    return made


def _dependencies(
    reading: Reading, word_of_character: Labels, n_words: int, first_word: int
) -> dict[str, list[str | None] | list[int]]:
    """For each word, the relation and head of the pipeline's token that connects it to the rest of the sentence."""
    if reading.dep is None or reading.head is None:
        return {}
    word_of = [majority(word_of_character, start, end) for start, end in reading.spans]
    chosen: list[int | None] = [None] * n_words
    for token, word in enumerate(word_of):
        if word != NO_WORD:
            best = chosen[word]
            if best is None or _tie(reading, token, word_of) > _tie(reading, best, word_of):
                chosen[word] = token
    dep: list[str | None] = []
    head: list[int] = []
    for chosen_token in chosen:
        if chosen_token is None:
            dep.append(None)
            head.append(NO_HEAD)
            continue
        dep.append(RELATIONS.get(reading.dep[chosen_token], reading.dep[chosen_token]) or None)
        governor = reading.head[chosen_token]
        own = governor == chosen_token or word_of[governor] in {NO_WORD, word_of[chosen_token]}
        head.append(NO_HEAD if own else word_of[governor] + first_word)
    return {"dep": dep, "head": head}


def _tie(reading: Reading, token: int, word_of: list[int]) -> tuple[bool, int]:
    """The rank of a token among those of its word: first a root or a token that depends on another word, then the longest."""
    assert reading.head is not None
    governor = reading.head[token]
    start, end = reading.spans[token]
    return governor == token or word_of[governor] != word_of[token], end - start
