"""Counterfactuals: identity terms in the sense meant, all their targets, grammar kept, and the words aligned."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atlas.bias import counterfactuals
from atlas.bias.context import NO_PARSE, Context
from atlas.bias.lexicon import KINDS, axes, neutral
from atlas.bias.swaps import of_identities
from atlas.errors import TextError
from atlas.text.inflect import article, plural
from atlas.text.segment import word_spans


def made(text, category, other=None):
    """The new texts of a category, in order; of one identity where it is named."""
    found = [each for each in counterfactuals(text) if each.category == category]
    return [each.text for each in found if other is None or other in each.between]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("She told her brother that she saw her.", "He told his sister that he saw him."),
        ("The book is hers, and she made it herself.", "The book is his, and he made it himself."),
        ("He gave the nurse his coat, and the coat was his.", "She gave the nurse her coat, and the coat was hers."),
        ("The woman thanked him for his help.", "The man thanked her for her help."),
        ("A waitress met an actor.", "A waiter met an actress."),
        ("WOMEN cry; Women lie.", "MEN cry; Men lie."),
        ("The girls' toys and the ladies' hats.", "The boys' toys and the gentlemen's hats."),
        ("Mr. Smith's wife's son is a king.", "Ms. Smith's husband's daughter is a queen."),
    ],
)
def test_all_words_of_a_gender_change_at_once_and_pronouns_by_what_they_do(text, expected):
    assert made(text, "gender")[0] == expected


@pytest.mark.parametrize(
    ("text", "category", "expected"),
    [
        ("An old woman slept.", "age", "A young woman slept."),
        ("She saw a young man.", "age", "She saw an old man."),
        ("An elderly Christian wrote to us.", "religion", "An elderly Muslim wrote to us."),
        ("He is a Jew and she is Jewish.", "religion", "He is a Christian and she is Christian."),
        ("A Chinese student met two Germans.", "nationality", "A German student met two Chinese people."),
        ("The poor man was lazy.", "socioeconomic", "The rich man was lazy."),
        ("A blind man asked me.", "disability", "A sighted man asked me."),
        ("The deaf girl danced.", "disability", "The hearing girl danced."),
        ("My gay cousin is a dentist.", "sexual-orientation", "My straight cousin is a dentist."),
        ("A fat man ate.", "physical-appearance", "A thin man ate."),
        ("The black woman sang.", "race-color", "The white woman sang."),
        ("The African American student won.", "race-color", "The white student won."),
    ],
)
def test_each_of_the_nine_categories_is_exchanged_and_articles_fit(text, category, expected):
    assert expected in made(text, category)


def test_every_category_has_terms_and_every_target_of_a_term_is_used():
    assert {axis.category for axis in axes()} == {
        "gender", "race-color", "religion", "nationality", "sexual-orientation", "age", "disability", "physical-appearance",
        "socioeconomic",
    }  # fmt: skip
    assert {"Ms. Lee left.", "Mrs. Lee left."} == set(made("Mr. Lee left.", "gender"))
    others = {each.between[1] for each in counterfactuals("A Mexican cook laughed.") if each.category == "nationality"}
    assert others == set(next(a for a in axes() if "Mexican" in a.identities).identities) - {"Mexican"}
    assert len(made("The white man spoke.", "race-color", "Asian")) == 2


@pytest.mark.parametrize(
    ("text", "category"),
    [
        ("A black car stood by the white wall.", "race-color"),
        ("The road is straight.", "sexual-orientation"),
        ("He is 20 years old.", "age"),
        ("My old friend came to the old house.", "age"),
        ("It was a blind alley.", "disability"),
        ("Rich soil and poor light.", "socioeconomic"),
        ("A tall tree and a short story.", "physical-appearance"),
        ("The black-box test and an old-fashioned lamp.", "race-color"),
    ],
)
def test_words_that_mean_something_else_here_are_left_alone(text, category):
    assert made(text, category) == []


def test_predicates_and_adjectives_that_stand_alone_are_said_of_persons():
    assert made("My neighbor is straight but the road is straight.", "sexual-orientation")[0] == (
        "My neighbor is gay but the road is straight."
    )
    assert made("He helped the poor.", "socioeconomic") == ["He helped the rich.", "He helped the wealthy."]
    assert made("She is tall.", "physical-appearance") == ["She is short."]


def test_a_reader_exchanges_what_they_like_with_its_plural_case_and_article():
    text = "The doctor met an engineer. Doctors' hours are long, DOCTOR."
    (found,) = counterfactuals(text, "doctor -> nurse; engineer->teacher")
    assert found.text == "The nurse met a teacher. Nurses' hours are long, NURSE."
    assert found.category == "own"
    assert [(swap.old, swap.new, swap.kind) for swap in found.swaps][:2] == [
        ("doctor", "nurse", "noun"),
        ("engineer", "teacher", "noun"),
    ]
    assert found.swaps[2][:3] == ("Doctors", "Nurses", "plural")
    assert [each.text for each in counterfactuals("A man and a dog.", [("man", "cat"), {"dog": "cow"}])] == [
        "A cat and a dog.", "A man and a cow.",
    ]  # fmt: skip
    assert counterfactuals("A man and a dog.", {"man": "dog", "dog": "man"})[0].text == "A dog and a man."
    assert counterfactuals("A man and a dog.", "man <-> dog")[0].text == "A dog and a man."
    assert counterfactuals("A man and a dog.", "horse -> cow") == []
    for wrong in ("man", "-> cow", " ; "):
        with pytest.raises(TextError, match="swap"):
            counterfactuals("A man.", wrong)


def test_what_is_left_out_or_added_has_no_partner():
    text = "An old deaf man saw me."
    (removed,) = counterfactuals(text, "deaf ->")
    assert removed.text == "An old man saw me."
    assert unpaired(text, removed) == (["deaf"], [])
    (fewer,) = counterfactuals(text, "deaf man -> man")
    assert (fewer.text, unpaired(text, fewer)) == (removed.text, (["deaf"], []))
    (more,) = counterfactuals(text, "deaf man -> tall deaf man")
    assert unpaired(text, more) == ([], ["tall"])
    (first,) = counterfactuals("Old men sleep.", "old ->")
    assert (first.text, unpaired("Old men sleep.", first)) == ("men sleep.", (["Old"], []))


def unpaired(text, found):
    """The words of either text that are in no pair."""
    sides = ((text, [old for old, _ in found.aligned]), (found.text, [new for _, new in found.aligned]))
    return tuple(
        [of[start:end] for start, end in word_spans(of) if not any(a <= start and end <= b for a, b in pairs)]
        for of, pairs in sides
    )


def test_a_text_that_no_parser_reads_is_judged_by_the_words_beside_and_says_so():
    def bare(text, category):
        return [each for each in of_identities(text, Context(text, None)) if each.category == category]

    (found,) = bare("She told her brother to see her.", "gender")
    assert found.text == "He told his sister to see him."
    assert found.notes == (NO_PARSE,)
    assert bare("The young black man ran.", "race-color")[0].text == "The young white man ran."
    assert bare("He is very poor.", "socioeconomic")[0].text == "He is very rich."
    assert bare("A black car stood there.", "race-color") == []


SUBJECTS = ["She", "The old woman", "A Mexican man's daughter", "An elderly Jew", "An unemployed lady", "My gay uncle"]
VERBS = ["helped him", "saw an African American actor", "met the rich king near a church", "told her brother", "hurt herself"]


@settings(max_examples=40)
@given(st.sampled_from(SUBJECTS), st.sampled_from(VERBS), st.sampled_from([".", ", and the doctor slept.", "! Women left."]))
def test_the_aligned_stretches_cover_both_texts_and_the_same_words_stand_in_both(subject, verb, end):
    text = f"{subject} {verb}{end}"
    found = counterfactuals(text)
    assert found
    for each in found:
        assert unpaired(text, each) == ([], [])
        olds, news = zip(*each.aligned, strict=True)
        for spans in (olds, news):
            assert all(before[1] <= after[0] for before, after in pairwise(spans))
        for old, new in each.aligned:
            assert (text[slice(*old)] == each.text[slice(*new)]) == (new not in each.changed)
        changed = {swap.old for swap in each.swaps}
        assert all(text[swap.start : swap.end] == swap.old for swap in each.swaps)
        assert len(changed) >= 1


@settings(max_examples=40)
@given(st.sampled_from(SUBJECTS[:5]), st.sampled_from(["slept", "saw an actress", "hurt the queen", "met a man"]))
def test_exchanging_back_gives_the_text(subject, verb):
    text = f"{subject} {verb}."
    for each in counterfactuals(text):
        if each.category == "gender" or each.between in (("old", "young"), ("unemployed", "employed")):
            back = [again.text for again in counterfactuals(each.text) if set(again.between) == set(each.between)]
            assert text in back


def test_articles_and_plurals():
    for word, expected in {
        "hour": "an", "honest man": "an", "European": "a", "unemployed": "an", "university": "a", "one-eyed": "a", "MBA": "an",
        "Ukrainian": "a", "ugly": "an", "uncle": "an", "heir": "an", "house": "a", "user": "a",
    }.items():  # fmt: skip
        assert article(word) == expected, word
    for one, many in {"nurse": "nurses", "boss": "bosses", "lady": "ladies", "boy": "boys", "policewoman": "policewomen",
                      "human": "humans", "child": "children", "church": "churches"}.items():  # fmt: skip
        assert plural(one) == many


def test_the_data_hold_together():
    for axis in axes():
        for kind, rows in axis.rows.items():
            assert kind in KINDS
            assert all(len(row) == len(axis.identities) for row in rows)
            assert len(neutral()[kind]) >= 6
    terms = {term.lower() for axis in axes() for term in axis.terms()}
    assert terms & {word.lower() for kind in KINDS for word in neutral()[kind]} == set()
