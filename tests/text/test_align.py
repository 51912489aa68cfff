from __future__ import annotations

import pytest

from atlas.text.align import token_table, uncovered
from atlas.text.segment import words
from tests.text.made import real_table, table


def rows(made, *columns):
    return list(made[list(columns)].itertuples(index=False, name=None))


def places(made):
    """What a reader sees, where it is (-1: nowhere) and its word."""
    return rows(made.fillna({"start": -1, "end": -1}), "token", "start", "end", "word")


def test_the_columns_and_their_types():
    made = table("wordpiece", "the cat", "the dog")
    assert made.columns.tolist() == ["token", "piece", "id", "start", "end", "special", "segment", "word"]
    assert made.index.name == "position"
    assert made.dtypes.astype(str).tolist() == ["str", "str", "int64", "Int64", "Int64", "bool", "int64", "int64"]
    assert made.attrs == {"offsets": "tokenizer"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("don't stop", [("don", 0, 3, 0), ("'", 3, 4, 0), ("t", 4, 5, 0), ("stop", 6, 10, 1)]),
        ("  the \t cat\n", [("the", 2, 5, 0), ("cat", 8, 11, 1)]),
        # BERT drops accents: the letters a reader sees keep theirs
        ("nai\u0308ve cafe\u0301.", [("nai\u0308ve", 0, 6, 0), ("cafe\u0301", 7, 12, 1), (".", 12, 13, 2)]),
        ("👩‍👩‍👧 is 🇵🇹", [("👩‍👩‍👧", 0, 5, 0), ("is", 6, 8, 1), ("🇵🇹", 9, 11, 2)]),
        # an unknown token stands for what somebody wrote: it is no special token
        ("the \U00013000 cat", [("the", 0, 3, 0), ("\U00013000", 4, 5, 1), ("cat", 6, 9, 2)]),
        ("我爱 hello", [("我", 0, 1, 0), ("爱", 1, 2, 1), ("hello", 3, 8, 2)]),
        ("שלום hello", [("ש", 0, 1, 0), ("ל", 1, 2, 0), ("ו", 2, 3, 0), ("ם", 3, 4, 0), ("hello", 5, 10, 1)]),
    ],
)
def test_wordpiece_of_bert(text, expected):
    made = real_table("bert-base-uncased", text)
    assert places(made) == [("[CLS]", -1, -1, -1), *expected, ("[SEP]", -1, -1, -1)]
    assert made["special"].tolist() == [True, *[False] * len(expected), True]


def test_marks_of_a_script_that_bert_takes_apart():
    made = real_table("bert-base-uncased", "नमस्ते।")
    assert places(made)[1:-1] == [("न", 0, 1, 0), ("म", 1, 2, 0), ("स्", 2, 4, 0), ("ते", 4, 6, 0), ("।", 6, 7, 1)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("don't  stop", [("don", 0, 3, 0), ("'t", 3, 5, 0), (" ", 5, 6, -1), ("stop", 7, 11, 1)]),
        ("a\tb\n", [("a", 0, 1, 0), ("\t", 1, 2, -1), ("b", 2, 3, 1), ("\n", 3, 4, -1)]),
        ("nai\u0308ve", [("nai", 0, 3, 0), ("◌\u0308", 3, 4, 0), ("<0x88>", 3, 4, 0), ("ve", 4, 6, 0)]),
        (
            "is 🇵🇹",
            [
                ("is", 0, 2, 0),
                ("🇵", 3, 4, 1),
                ("<0x87>", 3, 4, 1),
                ("<0xB5>", 3, 4, 1),
                ("🇹", 4, 5, 1),
                ("<0x87>", 4, 5, 1),
                ("<0xB9>", 4, 5, 1),
            ],
        ),
        (
            "👩‍👧",
            [
                ("👩", 0, 1, 0),
                ("<0xA9>", 0, 1, 0),
                ("<U+200D>", 1, 2, 0),
                ("<0x8D>", 1, 2, 0),
                ("👧", 2, 3, 0),
                ("<0xA7>", 2, 3, 0),
            ],
        ),
        ("我 hello", [("我", 0, 1, 0), ("<0x91>", 0, 1, 0), ("hello", 2, 7, 1)]),
        ("ש world", [("ש", 0, 1, 0), ("world", 2, 7, 1)]),
        (
            "สวั",
            [("ส", 0, 1, 0), ("<0xAA>", 0, 1, 0), ("ว", 1, 2, 0), ("<0xA7>", 1, 2, 0), ("◌ั", 2, 3, 0), ("<0xB1>", 2, 3, 0)],
        ),
        ("\x00a", [("<U+0000>", 0, 1, -1), ("a", 1, 2, 0)]),
    ],
)
def test_byte_level_of_gpt2(text, expected):
    made = real_table("gpt2", text)
    assert places(made) == expected
    assert not made["special"].any()


def test_a_special_token_typed_into_the_text_knows_its_place():
    made = real_table("bert-base-uncased", "a [MASK] b")
    assert rows(made, "token", "special", "segment", "word")[1:-1] == [
        ("a", False, 0, 0),
        ("[MASK]", True, 0, -1),
        ("b", False, 0, 4),  # the text has the words a, [, MASK, ], b
    ]
    assert made[["start", "end"]].iloc[2].tolist() == [2, 8]
    typed = real_table("gpt2", "a<|endoftext|>")
    assert typed["special"].tolist() == [False, True]


@pytest.mark.parametrize("name", ["wordpiece", "unigram"])
def test_a_pair(name):
    made = table(name, "the cat sat", "don't the dog")
    lexicon = words("the cat sat", "don't the dog")
    assert made["segment"].tolist()[0] == made["segment"].tolist()[-1] == -1
    inside = made[~made["special"] & (made["word"] >= 0)]
    for row in inside.itertuples():
        word = lexicon.loc[row.word]
        assert word["segment"] == row.segment
        assert word["start"] <= row.start < row.end <= word["end"]
        assert row.token == ("the cat sat", "don't the dog")[row.segment][row.start : row.end]
    assert set(inside["word"]) == set(range(6))


@pytest.mark.parametrize("name", ["wordpiece", "byte_level", "byte_level_trimmed", "unigram"])
def test_all_conventions_agree_on_the_words(name):
    text = "don't stop,  said the cat"
    made = table(name, text)
    lexicon = words(text)
    for row in made[made["word"] >= 0].itertuples():
        assert row.token == text[row.start : row.end]
        assert lexicon.loc[row.word, "start"] <= row.start
    assert not made["token"].str.contains("[▁Ġ#]").any()
    assert sorted(set(made["word"]) - {-1}) == list(range(6))


def test_the_space_sentencepiece_invents_covers_nothing():
    made = table("unigram", "zebra")
    first = made[~made["special"]].iloc[0]
    assert (first["piece"], first["token"], first["start"], first["end"], first["word"]) == ("▁", " ", 0, 0, -1)
    # while a text that really begins with that sign keeps it
    literal = table("byte_fallback", "▁")
    assert literal["end"].max() == 1


def test_a_token_across_two_words_goes_to_the_longer_part():
    made = token_table(
        "don't stop it",
        ids=[1, 2],
        pieces=["▁don't▁stop", "▁it"],
        special=[False] * 2,
        offsets=[(0, 10), (10, 13)],
        segments=[0, 0],
    )
    assert rows(made, "token", "start", "end", "word") == [("don't stop", 0, 10, 0), ("it", 11, 13, 2)]


def test_a_space_invented_behind_a_typed_special_token_eats_no_letter():
    made = table("byte_level_trimmed", "<|end|>the cat")
    assert places(made)[:3] == [("<|end|>", 0, 7, -1), ("the", 7, 10, 5), ("cat", 11, 14, 6)]


def test_trimmed_spaces_are_found_again():
    made, plain = table("byte_level_trimmed", "  the   cat"), table("byte_level", "  the   cat")
    assert places(made)[-4:] == places(plain)[-4:] == [("the", 2, 5, 0), (" ", 5, 6, -1), (" ", 6, 7, -1), ("cat", 8, 11, 1)]


def test_letters_taken_apart_by_normalisation():
    made = table("unigram", "ﬁne")  # NFKC: f, i
    inside = made[made["word"] == 0]
    assert inside["token"].str.cat() in {"ﬁine", "ﬁne"}
    assert (inside["start"] < inside["end"]).all()


@pytest.mark.parametrize("name", ["wordpiece", "byte_level", "unigram", "byte_fallback"])
@pytest.mark.parametrize("text", ["the cat sat", "don't stop,  me", "hello world", "שלום hello"])
def test_without_offsets_the_pieces_spell_the_text(name, text):
    slow, fast = table(name, text, slow=True), table(name, text)
    assert slow.attrs["offsets"] == "spelled"
    for column in ("start", "end", "word", "token"):
        visible = fast["word"] >= 0
        assert slow.loc[visible, column].tolist() == fast.loc[visible, column].tolist()


def test_bytes_spell_too():
    for text in ("👩‍👧 naïve", " 我", "नमस्ते दुनिया"):
        slow, fast = table("byte_level", text, slow=True), table("byte_level", text)
        assert slow.attrs["offsets"] == "spelled"
        assert slow["word"].tolist() == fast["word"].tolist()
        assert slow["token"].tolist() == fast["token"].tolist()


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        (["the", "unbeliev", "##able", "cat", "."], [0, 1, 1, 2, 3]),
        (["▁the", "▁unbeliev", "able", "▁cat", "."], [0, 1, 1, 2, 3]),
        (["Ġthe", "Ġunbeliev", "able", "Ġcat", "."], [0, 1, 1, 2, 3]),
        (["the</w>", "unbeliev", "able</w>", "cat</w>", ".</w>"], [0, 1, 1, 2, 3]),
        (["the", "unbeliev@@", "able", "cat", "."], [0, 1, 1, 2, 3]),
    ],
)
def test_where_nothing_can_be_found_the_marks_tell_the_words(pieces, expected):
    made = token_table("another text altogether", ids=range(5), pieces=pieces, special=[False] * 5)
    assert made.attrs["offsets"] == "unknown"
    assert made["start"].isna().all()
    assert made["word"].tolist() == expected
    assert made["token"].tolist() == ["the", "unbeliev", "able", "cat", "."]


def test_without_segments_a_special_token_parts_the_pair():
    pieces = ["[CLS]", "the", "[UNK]", "cat", "[SEP]", "dog", "[SEP]"]
    special = [True, False, True, False, True, False, True]
    made = token_table("x", pair="y", ids=range(7), pieces=pieces, special=special)
    assert made["segment"].tolist() == [-1, 0, 0, 0, -1, 1, -1]
    # The unknown token is a word among words, though nobody knows which.
    assert made["special"].tolist() == [True, False, False, False, True, False, True]
    assert made["word"].tolist() == [-1, 0, 1, 2, -1, 3, -1]


def test_an_unknown_token_is_never_special_however_it_got_there():
    pieces = ["[CLS]", "the", "[UNK]", "[SEP]"]
    flags = [True, False, True, True]
    typed = token_table("the [UNK]", ids=range(4), pieces=pieces, special=flags, offsets=[(0, 0), (0, 3), (4, 9), (0, 0)],
                        segments=[None, 0, 0, None])  # fmt: skip
    unplaced = token_table("the", ids=range(4), pieces=pieces, special=flags)
    for made in (typed, unplaced):
        assert made["special"].tolist() == [True, False, False, True]
    # One that ends texts as well stays special where it was put in, and is none in the place of a word.
    gpt2 = token_table("cat", ids=[1, 0], pieces=["cat", "<unk>"], special=[False, True], offsets=[(0, 3), (0, 0)],
                       segments=[0, None], unknown="")  # fmt: skip
    assert gpt2["special"].tolist() == [False, True]


@pytest.mark.parametrize(
    ("text", "lost"),
    [
        ("\ufeffthe cat", "\ufeff"),
        ("the\x00 \ufffdcat\u200b dog", "\x00\ufffd\u200b"),
        ("the cat\ufeff", ""),  # behind the last token: there a text may have been cut
        ("nai\u0308ve \t cafe\u0301 👩‍👩‍👧 我", ""),
    ],
)
def test_characters_that_no_token_stands_for_are_known(text, lost):
    assert uncovered(text, table("wordpiece", text)) == lost
    assert uncovered(text, table("wordpiece", "the dog", text), segment=1) == lost
    assert uncovered(text, table("byte_level", text)) == ""


def test_decode_is_asked_only_where_the_place_is_unknown():
    made = token_table(
        "?",
        ids=[7, 8, 9],
        pieces=["p7", "p8", "##p9"],
        special=[False] * 3,
        decode=lambda ids: ["seven ", "\ufffd", "##p9"][ids[0] - 7],
    )
    assert made["token"].tolist() == ["seven", "p8", "p9"]
    known = token_table("p7", ids=[7], pieces=["p7"], special=[False], offsets=[(0, 2)], segments=[0], decode=lambda _: "wrong")
    assert known["token"].tolist() == ["p7"]


def test_no_tokens_is_an_empty_table():
    made = token_table("", ids=[], pieces=[], special=[])
    assert made.empty
    assert made["start"].dtype == "Int64"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"pieces": ["a"]}, "2 ids and 1 pieces"),
        ({"offsets": [(0, 1)]}, "2 ids and 1 offsets"),
        ({"offsets": [(0, 1), (1, 9)], "segments": [0, 0]}, "characters 1 to 9 of a text of 2"),
        ({"offsets": [(0, 1), (1, 0)], "segments": [0, 0]}, "another text"),
        ({"offsets": [(0, 1), (0, 1)], "pair": "b"}, "sequence_ids"),
    ],
)
def test_refused(given, says):
    usual = {"ids": [1, 2], "pieces": ["a", "b"], "special": [False, False]}
    with pytest.raises(ValueError, match=says):
        token_table("ab", **(usual | given))
