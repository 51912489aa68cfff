"""Pairs of sentences that differ in one word, one of them grammatical, and whether a model prefers that one.

Held out from training by construction: the frames are not those of the generated stories, and about half of the nouns and verbs
are not in their lexicon (they occur in the books). Preference is by the log-probability of the whole sentence: left to right for
a causal model, each token masked in turn for a masked one.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from .grammar import plural

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

SEED = 77
PER_KIND = 100
MASKED_AT_ONCE = 64

PEOPLE = (
    "traveller",
    "prisoner",
    "servant",
    "visitor",
    "officer",
    "stranger",
    "player",
    "child",
    "teacher",
    "doctor",
    "driver",
    "painter",
    "merchant",
    "boy",
    "girl",
    "guard",
)
THINGS = (
    "candle",
    "door",
    "garden",
    "picture",
    "river",
    "window",
    "chair",
    "coat",
    "hat",
    "bottle",
    "ship",
    "story",
    "road",
    "lamp",
    "table",
    "island",
)
ADJECTIVES = ("old", "small", "beautiful", "dark", "strange", "large", "dangerous", "empty")
FEELINGS = ("tired", "happy", "ready", "sorry", "silent", "wise", "young", "angry")
NEAR = ("beyond", "above", "beside", "behind")
SEEN = ("loves", "fears", "remembers", "trusts", "knows", "likes")
SEEN_PLURAL = {"loves": "love", "fears": "fear", "remembers": "remember", "trusts": "trust", "knows": "know", "likes": "like"}
DID_TO_SELF = ("comforted", "defended", "hurt", "asked", "saved", "blamed", "covered", "pleased")
MALE = ("king", "prince", "husband", "gentleman", "boy", "uncle", "Tom", "Henry", "Robert", "George")
FEMALE = ("queen", "princess", "wife", "lady", "girl", "aunt", "Mary", "Alice", "Rachel", "Helen")
TOOK = ("wanted", "noticed", "described", "carried", "loved", "took", "left")
PLACES = ("in this country", "before", "in winter", "on the island", "among the mountains", "at court")
DONE = ("been", "lived", "slept", "danced", "travelled", "sung")


@dataclass(frozen=True)
class Pair:
    """Two sentences that differ in one word; `good` is the grammatical one."""

    phenomenon: str
    kind: str
    good: str
    bad: str


def _pair(phenomenon: str, kind: str, frame: str, good: str, bad: str) -> Pair:
    first, second = (frame.format(word) for word in (good, bad))
    return Pair(phenomenon, kind, first[0].upper() + first[1:], second[0].upper() + second[1:])


def _one_or_many(draw: random.Random, noun: str) -> tuple[str, bool]:
    many = draw.random() < 0.5
    return (plural(noun) if many else noun), many


def _named(word: str) -> str:
    return word if word[0].isupper() else f"the {word}"


def agreement_simple(draw: random.Random) -> Pair:
    """The travellers are | is tired."""
    subject, many = _one_or_many(draw, draw.choice(PEOPLE))
    forms = draw.choice((("is", "are"), ("was", "were"), ("has been", "have been")))
    return _pair(
        "agreement",
        "simple",
        f"yesterday they said that the {subject} {{}} very {draw.choice(FEELINGS)}.",
        *(form for form in ((forms[1], forms[0]) if many else forms)),
    )


def agreement_near_noun(draw: random.Random) -> Pair:
    """The door beyond the rivers is | are old."""
    one, two = draw.sample(THINGS, 2)
    subject, many = _one_or_many(draw, one)
    other = two if many else plural(two)  # always of the other number: the nearest noun misleads
    right, wrong = ("are", "is") if many else ("is", "are")
    return _pair(
        "agreement",
        "misleading noun",
        f"the {subject} {draw.choice(NEAR)} the {other} {{}} {draw.choice(ADJECTIVES)}.",
        right,
        wrong,
    )


def agreement_relative(draw: random.Random) -> Pair:
    """The servants who fear the king are | is silent."""
    one, two = draw.sample(PEOPLE, 2)
    subject, many = _one_or_many(draw, one)
    verb = draw.choice(SEEN)
    right, wrong = ("are", "is") if many else ("is", "are")
    return _pair(
        "agreement",
        "across a clause",
        f"the {subject} who {SEEN_PLURAL[verb] if many else verb} the {two if many else plural(two)} {{}} "
        f"{draw.choice(FEELINGS)}.",
        right,
        wrong,
    )


def reflexive_gender(draw: random.Random) -> Pair:
    """The queen comforted herself | himself."""
    female = draw.random() < 0.5
    right, wrong = ("herself", "himself") if female else ("himself", "herself")
    return _pair(
        "reflexives",
        "gender",
        f"at last {_named(draw.choice(FEMALE if female else MALE))} {draw.choice(DID_TO_SELF)} {{}}.",
        right,
        wrong,
    )


def reflexive_number(draw: random.Random) -> Pair:
    """The officers defended themselves | himself."""
    gender = draw.choice(("himself", "herself"))
    return _pair(
        "reflexives",
        "number",
        f"in the end the {plural(draw.choice(PEOPLE))} {draw.choice(DID_TO_SELF)} {{}}.",
        "themselves",
        gender,
    )


def reflexive_binding(draw: random.Random) -> Pair:
    """The queen whom Henry loves comforted herself | himself."""
    female = draw.random() < 0.5
    owner, other = (FEMALE, MALE) if female else (MALE, FEMALE)
    right, wrong = ("herself", "himself") if female else ("himself", "herself")
    return _pair(
        "reflexives",
        "with a misleading name",
        f"{_named(draw.choice(owner))}, who {draw.choice(('knew', 'loved', 'met', 'saw'))} "
        f"{_named(draw.choice(other))}, {draw.choice(DID_TO_SELF)} {{}}.",
        right,
        wrong,
    )


def determiner_noun(draw: random.Random) -> Pair:
    """He noticed those candles | candle."""
    many, noun = draw.random() < 0.5, draw.choice(THINGS)
    which = draw.choice(("these", "those", "many")) if many else draw.choice(("this", "that", "every"))
    right, wrong = (plural(noun), noun) if many else (noun, plural(noun))
    return _pair("determiners", "noun", f"we {draw.choice(TOOK)} {which} {{}}.", right, wrong)


def determiner_word(draw: random.Random) -> Pair:
    """He noticed those | that dark windows."""
    many, noun = draw.random() < 0.5, draw.choice(THINGS)
    singular, several = draw.choice((("this", "these"), ("that", "those")))
    right, wrong = (several, singular) if many else (singular, several)
    return _pair(
        "determiners",
        "with an adjective",
        f"we {draw.choice(TOOK)} {{}} {draw.choice(ADJECTIVES)} {plural(noun) if many else noun}.",
        right,
        wrong,
    )


def polarity_subject(draw: random.Random) -> Pair:
    """No | some traveller has ever lived on the island."""
    right, wrong = draw.choice(
        (
            ("nobody", "somebody"),
            ("nobody", "everybody"),
            ("no one", "someone"),
            (f"no {(who := draw.choice(PEOPLE))}", f"every {who}"),
        )
    )
    return _pair("negative polarity", "ever", f"{{}} has ever {draw.choice(DONE)} {draw.choice(PLACES)}.", right, wrong)


def polarity_object(draw: random.Random) -> Pair:
    """The officer never | always brought any candles."""
    right, wrong = draw.choice((("never", "often"), ("never", "always"), ("hardly", "really")))
    return _pair(
        "negative polarity",
        "any",
        f"the {draw.choice(PEOPLE)} {{}} {draw.choice(('brought', 'noticed', 'wanted', 'found'))} any "
        f"{plural(draw.choice(THINGS))}.",
        right,
        wrong,
    )


KINDS: tuple[Callable[[random.Random], Pair], ...] = (
    agreement_simple,
    agreement_near_noun,
    agreement_relative,
    reflexive_gender,
    reflexive_number,
    reflexive_binding,
    determiner_noun,
    determiner_word,
    polarity_subject,
    polarity_object,
)


def pairs(seed: int = SEED, per_kind: int = PER_KIND) -> list[Pair]:
    """Distinct pairs, as many of each kind."""
    draw = random.Random(seed)
    found: dict[Pair, None] = {}
    for kind in KINDS:
        wanted = len(found) + per_kind
        while len(found) < wanted:
            found[kind(draw)] = None
    return list(found)


def causal_score(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, text: str) -> float:
    """Log-probability of a sentence after the end-of-text token."""
    ids = torch.tensor([[tokenizer.bos_token_id, *tokenizer(text)["input_ids"]]])
    with torch.no_grad():
        logits = model(input_ids=ids).logits[0, :-1].float()
    return float(functional.log_softmax(logits, -1).gather(-1, ids[0, 1:, None]).sum())


def masked_score(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, text: str) -> float:
    """Sum over tokens of the log-probability of each when it alone is masked."""
    ids = torch.tensor(tokenizer(text)["input_ids"])
    inner = torch.arange(1, len(ids) - 1)
    rows = ids.repeat(len(inner), 1)
    rows[torch.arange(len(inner)), inner] = tokenizer.mask_token_id
    with torch.no_grad():
        logits = torch.cat([model(input_ids=part).logits.float() for part in rows.split(MASKED_AT_ONCE)])
    told = functional.log_softmax(logits[torch.arange(len(inner)), inner], -1)
    return float(told.gather(-1, ids[inner, None]).sum())


def preferences(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, per_kind: int = PER_KIND) -> dict[str, float]:
    """Share of pairs whose grammatical sentence is likelier, by phenomenon and by kind; chance is 0.5."""
    score = masked_score if tokenizer.mask_token_id is not None else causal_score
    right: dict[str, list[bool]] = {}
    for pair in pairs(per_kind=per_kind):
        better = score(model, tokenizer, pair.good) > score(model, tokenizer, pair.bad)
        for name in (pair.phenomenon, f"{pair.phenomenon}: {pair.kind}"):
            right.setdefault(name, []).append(better)
    return {name: sum(found) / len(found) for name, found in right.items()}
