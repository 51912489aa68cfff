"""What a word is in its sentence: noun or adjective, whose, said of a person; by a parse, else by the words beside it."""

from __future__ import annotations

import regex

from atlas.bias.lexicon import adjectives, persons
from atlas.text.names import RELATIONS
from atlas.text.pipelines import Pipeline, Reading

NO_PARSE = "No spaCy pipeline parses this text, so what a word is was judged by the words beside it."

_COPULA = frozenset({"is", "are", "was", "were", "am", "be", "been", "being", "'s", "'re", "'m", "seems", "looks", "became"})
_BETWEEN = frozenset({"very", "too", "so", "not", "n't", "really", "quite", "rather", "still", "also", "always", "never", "and"})
_DETERMINERS = frozenset({"a", "an", "the", "this", "that", "every", "each", "one", "another", "some", "any", "no"})
_AFTER_OBJECT = frozenset(
    [
        "the",
        "a",
        "an",
        "and",
        "or",
        "but",
        "to",
        "that",
        "what",
        "who",
        "how",
        "when",
        "where",
        "why",
        "if",
        "because",
        "in",
        "on",
        "at",
        "for",
        "with",
        "from",
        "about",
        "as",
        "by",
        "of",
        "into",
        "out",
        "up",
        "down",
        "over",
        "after",
        "before",
        "is",
        "are",
        "was",
        "were",
        "has",
        "have",
        "had",
        "will",
        "would",
        "can",
        "could",
        "again",
        "yesterday",
        "today",
        "tomorrow",
        "there",
        "here",
        "not",
    ]
)
"""Words that follow 'her' where it is nobody's possessive."""

_NOMINAL = ("NOUN", "ADJ", "PROPN")
_BEFORE_NOUN = ("amod", "compound", "nmod")
_PREDICATES = frozenset({"acomp", "attr", "xcomp", "oprd"})
_WORD = regex.compile(r"[\p{L}\p{N}]+|'\w+|[^\p{L}\p{N}\s]")

DEEP = 8
"""Steps from one conjunct to the next."""


class Context:
    """The words of a text."""

    def __init__(self, text: str, pipeline: Pipeline | None) -> None:
        usable = pipeline is not None and len(text) <= pipeline.max_length
        read = pipeline.read(text) if pipeline is not None and usable else None
        self.parsed = read is not None and read.pos is not None and read.dep is not None and read.head is not None
        self.read = read if self.parsed and read is not None else _unread(text)
        self.words = [text[start:end].lower() for start, end in self.read.spans]
        self.dep = [RELATIONS.get(name, name) for name in self.read.dep or [""] * len(self.words)]
        self.pos = self.read.pos or [""] * len(self.words)
        self.head = self.read.head or list(range(len(self.words)))
        self.entity = self.read.entity or [""] * len(self.words)

    def at(self, start: int, end: int) -> tuple[int, int]:
        """The first and the last word of a stretch of the text."""
        inside = [i for i, (first, last) in enumerate(self.read.spans) if first < end and last > start]
        return (inside[0], inside[-1]) if inside else (0, 0)

    def word(self, at: int) -> str:
        """A word in small letters; '' beyond the ends."""
        return self.words[at] if 0 <= at < len(self.words) else ""

    # -- what kind -----------------------------------------------------------------------------------------------------

    def kind(self, kinds: list[str], first: int, last: int) -> str | None:
        """Which of the kinds that a term can be it is here; None: none of them."""
        if "possessive" in kinds and len(kinds) > 1:
            return "possessive" if self._owns(last) else next(kind for kind in kinds if kind != "possessive")
        nouns = [kind for kind in kinds if kind not in ("adjective", "title")]
        if "adjective" in kinds and nouns:
            return "adjective" if self._describes(first, last) else nouns[0]
        if kinds[0] in ("noun", "plural", "adjective") and self.pos[last] in ("VERB", "AUX") and self.dep[last] != "amod":
            return None
        return kinds[0]

    def pronoun(self, at: int) -> str:
        """What a pronoun is, by its relation."""
        relation = self.dep[at]
        if relation.startswith("nsubj"):
            return "subject"
        return "possessive" if relation == "nmod:poss" else "object" if relation in ("obj", "iobj", "pobj", "obl") else ""

    def _owns(self, at: int) -> bool:
        following = self.word(at + 1)
        if not following[:1].isalnum():
            return False
        return self.dep[at] == "nmod:poss" if self.parsed else following not in _AFTER_OBJECT

    def _describes(self, first: int, last: int) -> bool:
        """Whether a word that can be noun or adjective is an adjective."""
        if self.parsed and self.dep[last] in _BEFORE_NOUN and self.head[last] > last:
            return True
        if not self.parsed and self.word(last + 1) in persons():
            return True
        if self._determined(first):  # "an elderly Christian", and not "a Christian choir"
            return self.parsed and self.pos[last] == "ADJ" and self.pos_at(last + 1) in _NOMINAL
        if self.parsed:
            return self.pos[last] == "ADJ"
        return self.word(first - 1) in _COPULA or self.word(first - 1) in _BETWEEN

    def _determined(self, first: int) -> bool:
        """Whether an article or the like stands before a word and the adjectives before it."""
        before = first - 1
        while self.pos_at(before) == "ADJ":
            before -= 1
        return self.word(before) in _DETERMINERS

    def pos_at(self, at: int) -> str:
        """The part of speech of a word; '' beyond the ends."""
        return self.pos[at] if 0 <= at < len(self.pos) else ""

    def is_name(self, first: int, last: int) -> bool:
        """Whether a word is (part of) the name of a person, or would describe a verb: then it is a name that was not known."""
        before_verb = self.dep[last] == "amod" and self.pos[self.head[last]] == "VERB"
        return (before_verb and not self._determined(first)) or any(
            self.entity[at] in ("PER", "PERSON") for at in range(first, last + 1)
        )

    # -- of whom -------------------------------------------------------------------------------------------------------

    def of_person(self, first: int, last: int) -> bool:
        """Whether an adjective is said of a person."""
        if self.parsed:
            whom = self._described(last)
            if whom is not None:
                # With the nouns before it: a parse may take the verb after a person for a noun ("a blind man slept").
                return any(map(self._is_person, range(min(last + 1, whom), whom + 1)))
        elif self._beside(first, last):
            return True
        return self._stands_alone(first, last)

    def _stands_alone(self, first: int, last: int) -> bool:
        """Whether an adjective stands for those whom it describes, as in "the poor"."""
        follows = self.pos_at(last + 1) in _NOMINAL if self.parsed else self.word(last + 1).isalpha()
        return self.word(first - 1) == "the" and not follows

    def _described(self, at: int, deep: int = DEEP) -> int | None:
        relation, head = self.dep[at], self.head[at]
        if relation in _BEFORE_NOUN and head > at:
            return head
        own = self._subject(at)
        if own is not None:
            return own
        if relation in _PREDICATES:
            return self._subject(head)
        return self._described(head, deep - 1) if relation == "conj" and head != at and deep else None

    def _subject(self, of: int) -> int | None:
        return next((at for at, head in enumerate(self.head) if head == of and self.dep[at].startswith("nsubj")), None)

    def _is_person(self, at: int) -> bool:
        if self.words[at] in persons() or self.is_name(at, at):
            return True
        if self.words[at] in adjectives() and self._stands_alone(at, at):
            return True
        return self.pos[at] == "PROPN" and self.entity[at] not in ("LOC", "ORG", "GPE", "FAC", "MISC")

    def _beside(self, first: int, last: int) -> bool:
        for at in range(last + 1, last + 4):
            if self.word(at) in persons():
                return True
            if not self.word(at).isalpha() or self.word(at) in _AFTER_OBJECT:
                break
        at = first - 1
        while self.word(at) in _BETWEEN:
            at -= 1
        return self.word(at) in _COPULA and self.word(at - 1) in persons()


def _unread(text: str) -> Reading:
    """Words by a rule, and nothing known of them."""
    return Reading([found.span() for found in _WORD.finditer(text)], None, None, None, None, None)
