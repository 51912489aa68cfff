"""Letter case, articles, possessives and regular plurals of English words that take another word's place."""

from __future__ import annotations

import regex

SENTENCE_START = regex.compile(r"(?:^|[.!?…]['\"’”)\]]*\s+|\n\s*)['\"‘“(\[¡¿-]*\s*$")  # noqa: RUF001 - quotation marks
"""What stands before the first word of a sentence."""

ARTICLE = regex.compile(r"\b(an?)(\s+)$", regex.IGNORECASE)
"""An indefinite article at the end of what stands before a word."""

_YOU = regex.compile(r"(?:eu|ew|one\b|once\b|uni(?!m|n)|us[eu]|ut[ei]|uk|ub[ie]|ur[aeiou])", regex.IGNORECASE)
"""Beginnings that are written with a vowel and spoken with a consonant."""
_SILENT = regex.compile(r"(?:hono|hones|hour|heir)", regex.IGNORECASE)
_LETTERS = regex.compile(r"[AEFHILMNORSX][A-Z0-9]{1,4}\b")
"""Abbreviations whose first letter is spoken with a vowel at its beginning."""

IRREGULAR = {
    "man": "men", "woman": "women", "child": "children", "person": "people", "wife": "wives", "life": "lives", "foot": "feet",
    "tooth": "teeth", "mouse": "mice", "thief": "thieves", "half": "halves", "knife": "knives",
}  # fmt: skip


def article(word: str) -> str:
    """'a' or 'an', as English has it before a word."""
    if _LETTERS.match(word) or _SILENT.match(word):
        return "an"
    return "an" if word[:1].lower() in {*"aeiou"} and not _YOU.match(word) else "a"


def plural(word: str) -> str:
    """The plural of a noun, by rule; '' for a word that has none by rule (it ends in no letter)."""
    for one, many in IRREGULAR.items():
        if word == one or (one in ("man", "woman") and word.endswith(one) and not word.endswith("human")):
            return word[: len(word) - len(one)] + many
    if regex.search(r"(?:s|x|z|ch|sh)$", word):
        return f"{word}es"
    if regex.search(r"[^aeiou]y$", word):
        return f"{word[:-1]}ies"
    return f"{word}s" if word[-1:].isalpha() else ""


def starts_sentence(before: str) -> bool:
    """Whether a sentence begins after a stretch of text."""
    return SENTENCE_START.search(before) is not None


def cased(new: str, old: str, usual: str, before: str) -> str:
    """A new word in the letter case of the one it replaces.

    Parameters
    ----------
    new
        The new word as a dictionary writes it.
    old, usual
        The word it replaces, as it stands in the text and as a dictionary writes it.
    before
        The text before it.
    """
    if len(old) > 1 and old.isupper() and old != usual:
        return new.upper()
    if starts_sentence(before):
        return new[:1].upper() + new[1:] if old[:1].isupper() else new
    if old == usual:
        return new
    if old[:1].isupper():  # in a title, or because the writer wants it so
        return new[:1].upper() + new[1:]
    return new.lower() if old.islower() else new


def possessive(new: str, old: str, after: str) -> tuple[str, int]:
    """The new ending after a noun that is followed by an apostrophe, and how many letters of the text it replaces.

    Women's -> ladies', boys' -> men's; nothing changes where both nouns end alike.
    """
    mark = regex.match(r"['’](s?)(?!\p{L})", after)
    if mark is None or not new or not old or new[-1].lower() == "s" == old[-1].lower():
        return "", 0
    apostrophe, has_s = after[0], bool(mark.group(1))
    if old[-1].lower() == "s" and not has_s:
        return f"{apostrophe}s", 1
    # A singular that ends in s keeps its own s: "the boss's".
    if new[-1].lower() == "s" and has_s and new.lower() == plural_of_itself(new.lower()):
        return apostrophe, 2
    return "", 0


def plural_of_itself(word: str) -> str:
    """The word, if it is a regular plural; else ''."""
    ends = (word.removesuffix("es"), word.removesuffix("s"), f"{word.removesuffix('ies')}y")
    return word if word.endswith("s") and not word.endswith("ss") and any(plural(one) == word for one in ends) else ""
