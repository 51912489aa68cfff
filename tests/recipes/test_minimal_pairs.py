from __future__ import annotations

from collections import Counter

from assets.recipes import minimal_pairs
from assets.recipes.lexicon import CLASSES, OCCUPATIONS
from assets.recipes.sentences import INTRANSITIVE, REFLEXIVE, TRANSITIVE

PLURAL_WORDS = {"are", "were", "have", "these", "those", "many"}


def test_pairs_differ_in_exactly_one_word():
    found = minimal_pairs.pairs()
    assert len(found) == len(minimal_pairs.KINDS) * minimal_pairs.PER_KIND
    for pair in found:
        good, bad = (text.lower().replace("no one", "no-one").split() for text in (pair.good, pair.bad))
        assert len(good) == len(bad)
        assert sum(one != two for one, two in zip(good, bad, strict=True)) == 1, pair


def test_pairs_are_distinct_seeded_and_cover_four_phenomena():
    found = minimal_pairs.pairs(per_kind=40)
    assert found == minimal_pairs.pairs(per_kind=40)
    assert found != minimal_pairs.pairs(seed=1, per_kind=40)
    assert len(set(found)) == len(found)
    assert set(Counter(pair.phenomenon for pair in found)) == {"agreement", "reflexives", "determiners", "negative polarity"}


def test_neither_number_nor_gender_is_always_the_right_answer():
    for kind in ("simple", "misleading noun", "across a clause", "with an adjective"):
        many = [bool(PLURAL_WORDS & set(pair.good.lower().split())) for pair in minimal_pairs.pairs() if pair.kind == kind]
        assert 0.3 < sum(many) / len(many) < 0.7, kind
    women = [
        "herself" in pair.good for pair in minimal_pairs.pairs() if pair.phenomenon == "reflexives" and pair.kind != "number"
    ]
    assert 0.35 < sum(women) / len(women) < 0.65


def test_a_good_part_of_the_words_is_not_in_the_lexicon_of_the_stories():
    trained = (
        {word for words in CLASSES.values() for word in words}
        | set(OCCUPATIONS)
        | set(INTRANSITIVE)
        | set(TRANSITIVE)
        | set(REFLEXIVE)
    )
    for words in (minimal_pairs.PEOPLE, minimal_pairs.THINGS):
        assert sum(word not in trained for word in words) >= len(words) / 2


def test_the_misleading_noun_is_of_the_other_number():
    for pair in minimal_pairs.pairs(per_kind=60):
        if pair.kind == "misleading noun":
            subject_is_plural = " are " in pair.good
            near = pair.good.split(" is " if " is " in pair.good else " are ")[0].split()[-1]
            assert near.endswith("s") != subject_is_plural
