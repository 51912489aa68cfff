"""Texts that come with Atlas for counterfactuals over many texts."""

from __future__ import annotations

import functools
import itertools
import string
import tomllib

from atlas.errors import UnknownName
from atlas.resources import asset
from atlas.text.inflect import ARTICLE, article
from atlas.tracing.many_texts import TEMPLATES


@functools.cache
def template_texts(name: str) -> tuple[str, ...]:
    """The texts of a set: every word of its lists once in every text."""
    if name not in TEMPLATES:
        msg = f"{name!r} is no set of templates; there are {', '.join(TEMPLATES)}."
        raise UnknownName(msg)
    given = tomllib.loads(asset("counterfactual_templates.toml").read_text(encoding="utf-8"))[name]
    return tuple(text for pattern in given["texts"] for text in _filled(pattern, given))


def _filled(pattern: str, lists: dict[str, list[str]]) -> list[str]:
    parts = [(before, name) for before, name, _, _ in string.Formatter().parse(pattern)]
    slots = [name for _, name in parts if name]
    made = []
    for words in itertools.product(*(lists[name] for name in slots)):
        chosen, text = iter(words), ""
        for before, name in parts:
            text += before
            if name:
                text = _with_article(text, word := next(chosen)) + word
        made.append(text)
    return made


def _with_article(before: str, word: str) -> str:
    """What stands before a word, with 'an' where it needs that."""
    found = ARTICLE.search(before)
    return before if found is None else f"{before[: found.start()]}{article(word)}{found.group(2)}"
