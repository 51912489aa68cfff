from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest
import spacy
from hypothesis import given, settings
from spacy.language import Language
from spacy.tokens import Doc

from atlas.text.align import token_table
from atlas.text.annotate import annotate
from atlas.text.names import ENTITIES, RELATIONS
from atlas.text.pipelines import Pipeline
from atlas.text.words import word_units
from tests.text.made import TEXTS, table

TEXT = "Anna's dog didn't sleep in Lisbon. It barked."
# spaCy's own tokens of it, each with what the pipeline of these tests says: tag, relation, head, entity type
GOLD = {
    "Anna": ("PROPN", "poss", 2, "PERSON"),
    "'s": ("PART", "case", 0, "PERSON"),
    "dog": ("NOUN", "nsubj", 5, ""),
    "did": ("AUX", "aux", 5, ""),
    "n't": ("PART", "neg", 5, ""),
    "sleep": ("VERB", "ROOT", 5, ""),
    "in": ("ADP", "prep", 5, ""),
    "Lisbon": ("PROPN", "pobj", 6, "GPE"),
    ".": ("PUNCT", "punct", 5, ""),
    "It": ("PRON", "nsubj", 10, ""),
    "barked": ("VERB", "ROOT", 10, ""),
}
HEADS = [2, 0, 5, 5, 5, 5, 5, 6, 5, 10, 10, 10]


@Language.component("atlas_test_gold")
def _gold(doc: Doc) -> Doc:
    if doc.text != TEXT:
        return doc
    made = [GOLD[token.text] for token in doc]
    return Doc(
        doc.vocab,
        words=[token.text for token in doc],
        spaces=[bool(token.whitespace_) for token in doc],
        pos=[row[0] for row in made],
        deps=[row[1] for row in made],
        heads=HEADS,
        ents=[f"B-{row[3]}" if row[3] else "O" for row in made],
    )


def gold():
    nlp = spacy.blank("en")
    nlp.add_pipe("atlas_test_gold")
    return Pipeline("gold", nlp)


def ruled(*, sentences=True, entities=True, tags=True):
    """A pipeline of spaCy's own rule components."""
    nlp = spacy.blank("en")
    if sentences:
        nlp.add_pipe("sentencizer")
    if entities:
        nlp.add_pipe("entity_ruler").add_patterns([{"label": "GPE", "pattern": "Lisbon"}, {"label": "DATE", "pattern": "Monday"}])
    if tags:
        nlp.add_pipe("attribute_ruler").add_patterns([{"patterns": [[{"IS_ALPHA": True}]], "attrs": {"POS": "NOUN"}}])
    return Pipeline("ruled", nlp)


def column(frame, name):
    return [None if pd.isna(value) else value for value in frame[name]]


def test_a_parse_word_by_word():
    parse = annotate(table("byte_level", TEXT), TEXT, pipeline=gold()).parse
    assert parse["text"].tolist() == ["Anna's", "dog", "didn't", "sleep", "in", "Lisbon", ".", "It", "barked", "."]
    assert column(parse, "pos") == ["PROPN", "NOUN", "AUX", "VERB", "ADP", "PROPN", "PUNCT", "PRON", "VERB", "PUNCT"]
    # Anna's hangs on dog by its noun, not by its clitic; didn't by its longer half, both of which hang on sleep
    assert column(parse, "dep") == ["nmod:poss", "nsubj", "aux", "root", "prep", "pobj", "punct", "nsubj", "root", "punct"]
    assert parse["head"].tolist() == [1, 3, 3, -1, 3, 4, 3, 8, -1, 8]
    assert column(parse, "entity") == ["PER", "", "", "", "", "LOC", "", "", "", ""]
    assert column(parse, "entity_raw") == ["PERSON", "", "", "", "", "GPE", "", "", "", ""]
    assert parse["sentence"].tolist() == [0] * 7 + [1] * 3
    assert parse.attrs["sentence_source"] == "pipeline"
    assert parse.attrs["missing"] == {}


@pytest.mark.parametrize("name", ["wordpiece", "byte_level", "unigram", "byte_level_trimmed"])
def test_tokens_have_what_their_characters_have(name):
    made = annotate(table(name, TEXT), TEXT, pipeline=gold())
    tokens, parse = made.table, made.parse
    inside = tokens[tokens["word"] >= 0]
    for row in inside.itertuples():
        word = parse.loc[row.word]
        assert (row.sentence, row.dep, row.head) == (word["sentence"], word["dep"], word["head"])
        assert row.entity == word["entity"]
    assert set(inside.loc[inside["word"] == 5, "pos"]) == {"PROPN"}
    outside = tokens[tokens["word"] < 0]
    assert outside[["pos", "entity", "entity_raw", "dep"]].isna().all(axis=None)
    assert outside["sentence"].eq(-1).all()
    assert outside["head"].eq(-1).all()


def test_a_piece_has_the_part_of_speech_of_its_own_half():
    pieces = ["Anna", "'s", "Ġdog", "Ġdid", "n't"]
    made = token_table(
        TEXT,
        ids=range(5),
        pieces=pieces,
        special=[False] * 5,
        offsets=[(0, 4), (4, 6), (6, 10), (10, 14), (14, 17)],
        segments=[0] * 5,
    )
    tokens = annotate(made, TEXT, pipeline=gold()).table
    assert column(tokens, "pos") == ["PROPN", "PART", "NOUN", "AUX", "PART"]
    assert tokens["head"].tolist() == [1, 1, 3, 3, 3]


@pytest.mark.parametrize("name", ["byte_level", "byte_level_trimmed"])
def test_a_piece_of_a_character_has_no_part_of_speech(name):
    text = "the مرحبا cat 🙂 爱 sat"
    plain = table(name, text)
    covered = [set(range(*row)) for row in plain[["start", "end"]].itertuples(index=False)]
    alone = [
        any(not text[at].isspace() and sum(at in other for other in covered) == 1 for at in own) for own in covered
    ]  # fmt: skip
    tokens = annotate(plain, text, pipeline=ruled()).table
    assert {token for token, whole in zip(tokens["token"], alone, strict=True) if not whole} >= {"<0x85>", "<0x99>"}
    words = [word if word is None else word.strip() for word in (text[row.start : row.end] for row in plain.itertuples())]
    expected = ["NOUN" if whole and word.isalpha() else None for word, whole in zip(words, alone, strict=True)]
    assert column(tokens, "pos") == expected
    assert expected.count("NOUN") >= 3
    # The word as a whole keeps what the pipeline says of it.
    parse = annotate(plain, text, pipeline=ruled()).parse
    assert parse.loc[parse["text"] == "مرحبا", "pos"].tolist() == ["NOUN"]


def test_heads_become_rows_of_word_attention():
    made = annotate(table("wordpiece", TEXT), TEXT, pipeline=gold())
    units = word_units(made.table["word"], drop=True)
    assert units.positions(made.parse.loc[units.word, "head"]).tolist() == [1, 3, 3, -1, 3, 4, 3, 8, -1, 8]


def test_a_pair_goes_on_counting_words_and_sentences():
    text, pair = "One. Two.", TEXT
    made = annotate(table("wordpiece", text, pair), text, pair, pipeline=gold())
    first = len(made.parse[made.parse["segment"] == 0])
    second = made.parse[made.parse["segment"] == 1]
    assert made.parse.loc[made.parse["segment"] == 0, "sentence"].tolist() == [0, 0, 1, 1]
    assert second["sentence"].tolist() == [2] * 7 + [3] * 3
    assert (second["head"] - first)[second["head"] >= 0].tolist() == [1, 3, 3, 3, 4, 3, 8, 8]
    assert made.table.loc[made.table["segment"] == 1, "sentence"].tolist()[-1] == 3
    # this pipeline knows one of the two texts: what it does not say of the other is unknown, not missing
    assert made.table.attrs["missing"] == {}
    assert made.parse.loc[made.parse["segment"] == 0, ["pos", "dep", "entity"]].isna().all(axis=None)
    assert made.parse.loc[made.parse["segment"] == 0, "head"].eq(-1).all()


def test_without_a_pipeline_columns_are_absent_and_the_reader_is_told():
    given_table = table("byte_level", TEXT)
    made = annotate(given_table, TEXT)
    for frame in made:
        assert "sentence" in frame
        assert not {"pos", "entity", "entity_raw", "dep", "head"} & set(frame.columns)
        assert "install one" in frame.attrs["missing"]["pos"]
        assert frame.attrs["sentence_source"] == "rules"
        assert frame.attrs["pipeline"] is None
    assert set(made.parse["sentence"]) == {0, 1}
    assert made.table.attrs["offsets"] == "tokenizer"
    assert "sentence" not in given_table
    assert "missing" not in given_table.attrs


def test_what_a_pipeline_lacks_is_absent():
    made = annotate(table("byte_level", TEXT), TEXT, pipeline=ruled(tags=False))
    assert set(made.table.attrs["missing"]) == {"pos", "dep", "head"}
    assert made.table.attrs["missing"]["pos"] == "the pipeline ruled gives no parts of speech"
    assert column(made.parse, "entity") == ["", "", "", "", "", "LOC", "", "", "", ""]
    assert made.table.attrs["sentence_source"] == "pipeline"
    without = annotate(table("byte_level", TEXT), TEXT, pipeline=ruled(sentences=False, entities=False))
    assert without.table.attrs["sentence_source"] == "rules"
    assert set(without.table.attrs["missing"]) == {"entity", "entity_raw", "dep", "head"}
    assert "NOUN" in column(without.table, "pos")


def test_a_type_without_a_common_name_keeps_its_own():
    made = annotate(table("byte_level", "See you Monday"), "See you Monday", pipeline=ruled())
    assert column(made.parse, "entity") == ["", "", "DATE"]


def test_names_map_to_names_that_stay():
    assert not set(RELATIONS) & set(RELATIONS.values())
    assert not set(ENTITIES) & set(ENTITIES.values())


def test_a_text_too_long_for_the_pipeline_is_said_to_be():
    pipeline = ruled()
    pipeline.nlp.max_length = 10
    made = annotate(table("byte_level", TEXT), TEXT, pipeline=pipeline)
    assert "pos" not in made.table
    assert "45 characters" in made.table.attrs["missing"]["pos"]
    assert made.table.attrs["sentence_source"] == "rules"
    assert set(made.parse["sentence"]) == {0, 1}


@pytest.mark.parametrize(("text", "read"), [("قال الطبيب إنها متأخرة", False), ("она врач", False), ("She said да", True)])
def test_a_pipeline_for_english_is_not_asked_about_other_letters(text, read):
    pipeline = replace(ruled(), name="en_ruled")
    made = annotate(table("byte_level", text), text, pipeline=pipeline)
    assert ("pos" in made.table) == read
    assert read or "this text is in other letters" in made.table.attrs["missing"]["pos"]
    other = replace(pipeline, name="xx_ruled")
    assert "pos" in annotate(table("byte_level", text), text, pipeline=other).table


def test_what_lies_far_beyond_the_last_token_is_not_read(monkeypatch):
    monkeypatch.setattr("atlas.text.annotate.LOOK_AHEAD", 12)
    text = "A cat sat. " + "More words here. " * 50
    pipeline = ruled()
    read = []
    monkeypatch.setattr(Pipeline, "read", lambda self, part, plain=Pipeline.read: read.append(part) or plain(self, part))
    tokens = table("wordpiece", text)
    cut = tokens[(tokens["end"] <= 10).fillna(value=False)]
    made = annotate(cut, text, pipeline=pipeline)
    assert read == [text[:22]]
    assert column(made.table, "pos") == ["NOUN", "NOUN", "NOUN", None]  # its rule knows letters only
    assert len(made.parse) > 150
    assert made.parse["pos"].notna().sum() < 10
    assert made.parse["sentence"].iloc[-1] == -1


def test_tokens_without_places_are_not_guessed_at():
    made = token_table("other text", ids=[1, 2], pieces=["▁un", "known"], special=[False] * 2)
    annotated = annotate(made, "other text", pipeline=ruled())
    assert "sentence" not in annotated.table
    assert "does not say which characters" in annotated.table.attrs["missing"]["sentence"]


@given(TEXTS)
@settings(max_examples=40, deadline=None)
def test_any_text_can_be_annotated(text):
    for name in ("byte_level", "wordpiece"):
        made = annotate(table(name, text), text, pipeline=RULED)
        inside = made.table["word"] >= 0
        assert made.table.loc[inside, "sentence"].ge(0).all()
        assert made.table.loc[inside, "sentence"].is_monotonic_increasing
        assert made.parse["sentence"].ge(0).all()
        assert set(made.parse["sentence"]) == set(range(made.parse["sentence"].max() + 1 if len(made.parse) else 0))


@Language.component("atlas_test_tabs")
def _tabs(doc: Doc) -> Doc:
    """Begins a sentence at every white space that is no plain space, and after it: as the embedded parser does at a tab."""
    for token in doc:
        token.is_sent_start = token.i == 0 or token.is_space or doc[token.i - 1].is_space
    return doc


@Language.component("atlas_test_one")
def _one(doc: Doc) -> Doc:
    """One sentence, whatever the text: a parser that reads over a heading."""
    for token in doc:
        token.is_sent_start = token.i == 0
    return doc


def read_by(component):
    nlp = spacy.blank("en")
    nlp.add_pipe(component)
    return Pipeline(component, nlp)


@pytest.mark.parametrize("name", ["byte_level", "wordpiece"])
def test_a_sentence_of_nothing_but_white_space_has_no_number(name):
    text = "Hello\r\nworld.\tTab"
    made = annotate(table(name, text), text, pipeline=read_by("atlas_test_tabs"))
    assert dict(zip(made.parse["text"], made.parse["sentence"], strict=True)) == {"Hello": 0, "world": 1, ".": 1, "Tab": 2}
    inside = made.table[made.table["word"] >= 0]
    assert inside["sentence"].tolist() == made.parse.loc[inside["word"], "sentence"].tolist()
    again = annotate(table(name, text, text), text, text, pipeline=read_by("atlas_test_tabs"))
    assert list(dict.fromkeys(again.parse["sentence"])) == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("line", ["\n", "\r\n", " \n\t"])
def test_a_blank_line_ends_a_sentence_that_the_pipeline_reads_over(line):
    text = f"Dear Tom,{line}{line}I am here{line}and well{line}{line}{line}Bye{line}{line}"
    for pipeline in (read_by("atlas_test_one"), None):
        made = annotate(table("wordpiece", text), text, pipeline=pipeline)
        by_word = list(zip(made.parse["text"], made.parse["sentence"], strict=True))
        assert by_word == [
            ("Dear", 0),
            ("Tom", 0),
            (",", 0),
            ("I", 1),
            ("am", 1),
            ("here", 1),
            ("and", 1),
            ("well", 1),
            ("Bye", 2),
        ]


RULED = ruled()
