"""Counterfactuals of a text: its identity terms exchanged for those of another identity, or what the reader exchanges."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from atlas.bias.context import NO_PARSE, Context
from atlas.bias.lexicon import TARGET_ALONE, Axis, axes, bounded, pattern
from atlas.errors import TextError
from atlas.resources import assets
from atlas.text.checks import check_text
from atlas.text.inflect import ARTICLE, article, cased, plural, plural_of_itself, possessive
from atlas.text.pipelines import find_pipeline
from atlas.text.segment import Span, word_spans
from atlas.trace import EMBEDDED_PIPELINE
from atlas.tracing.counterfactual import COUNTERFACTUALS, OWN, Counterfactual, Swap

ARROWS = ("<->", "↔", "->", "→", "=>")
"""Between what is exchanged and what takes its place; the first two exchange both ways."""

MOST_LETTERS = 20_000
"""Letters of a text of which counterfactuals are made: a model reads less, and a parser takes seconds for more."""

Swaps = Mapping[str, str] | Iterable[str | tuple[str, str] | Mapping[str, str]] | str | None


class Edit(NamedTuple):
    """A stretch of the text and what takes its place."""

    start: int
    end: int
    new: str


class Found(NamedTuple):
    """An identity term in the text."""

    start: int
    end: int
    axis: Axis
    kind: str
    places: tuple[tuple[int, tuple[str, ...]], ...]
    """The identities it names, each with its row."""

    def targets(self, one: int, other: int) -> list[str]:
        """What takes its place where two identities are exchanged: words of the other one."""
        found = []
        for at, row in self.places:
            if at in (one, other):
                new = row[other if at == one else one].removeprefix(TARGET_ALONE)
                if new:
                    found.append(new)
        return list(dict.fromkeys(found))

    def usual(self, surface: str) -> str:
        """The term as a dictionary writes it."""
        return next((row[at] for at, row in self.places if row[at].lower() == surface.lower()), surface)

    def names(self, *identities: int) -> bool:
        """Whether it names one of some identities."""
        return any(at in identities for at, _ in self.places)


def counterfactuals(text: str, swaps: Swaps = None) -> list[Counterfactual]:
    """The text with the words of one identity exchanged for those of another, in all ways that its words allow.

    Parameters
    ----------
    text
        An English text.
    swaps
        The swaps to make instead of those of identity terms: 'doctor -> nurse', ('doctor', 'nurse'), or several at once
        ('doctor -> nurse; he -> she', a mapping). A list of such has one counterfactual for each. '<->' exchanges both ways, and
        nothing after the arrow removes the word.

    Returns
    -------
    Objects with `text`, `category` (one of the nine of CrowS-Pairs, or 'own'), `swaps` (old, new, kind, start, end), `aligned`
    (pairs of character spans, of the old text and the new one) and `notes`. A swap that finds nothing in the text has none.

    Notes
    -----
    All words of both identities are exchanged at once: she ... her -> he ... his. Of a word with several targets each makes a
    counterfactual of its own. Letter case, a/an, number and possessives are kept. Words that mean other things too ("white",
    "straight") count where a parse says that they describe a person; without a parser the words beside them decide, and `notes`
    says so. Verbs do not change: all pairs have the same number.
    """
    check_text(text)
    if len(text) > MOST_LETTERS:
        msg = f"Counterfactuals are made of up to {MOST_LETTERS:,} letters, and this text has {len(text):,}. Give a part of it."
        raise TextError(msg)
    context = Context(text, find_pipeline(embedded=assets() / "models" / EMBEDDED_PIPELINE))
    if swaps is None:
        return of_identities(text, context)
    made = [own_swap(text, context, pairs) for pairs in _listed(swaps)]
    return [each for each in made if each is not None]


# -- identity terms ------------------------------------------------------------------------------------------------------


def of_identities(text: str, context: Context) -> list[Counterfactual]:
    """One for each pair of identities of which the text names one, and each choice among several targets."""
    found = terms(text, context)
    made: dict[str, Counterfactual] = {}
    for axis in axes():
        here = [each for each in found if each.axis is axis]
        named = [at for at in range(len(axis.identities)) if any(each.names(at) for each in here)]
        for one in named:
            for other in range(len(axis.identities)):
                if other == one or (other in named and other < one):
                    continue
                for each in _exchanged(text, context, axis, here, one, other):
                    made.setdefault(each.text, each)
    made.pop(text, None)
    return list(made.values())


def terms(text: str, context: Context) -> list[Found]:
    """The identity terms of a text, in its order, each on every axis on which it counts."""
    made = []
    for match in pattern().finditer(text):
        word = " ".join(match.group().lower().split())
        first, last = context.at(*match.span())
        for axis in axes():
            kinds = [kind for kind in axis.kinds(word) if axis.places(word, kind)]
            if not kinds:
                continue
            kind = context.kind(kinds, first, last)
            if kind is None or not _counts(axis, word, kind, context, first, last):
                continue
            made.append(Found(*match.span(), axis, kind, tuple(axis.places(word, kind))))
    return made


def _counts(axis: Axis, word: str, kind: str, context: Context, first: int, last: int) -> bool:
    """Whether a word is meant as the name of an identity."""
    if context.word(first - 1) in axis.not_after.get(word, ()) or context.word(last + 1) in axis.not_before.get(word, ()):
        return False
    if kind in ("noun", "adjective") and context.is_name(first, last):
        return False
    return word not in axis.of_persons or kind != "adjective" or context.of_person(first, last)


def _exchanged(text: str, context: Context, axis: Axis, found: Sequence[Found], one: int, other: int) -> Iterable[Counterfactual]:
    here = [each for each in found if each.names(one, other)]
    choices = [each.targets(one, other) for each in here]
    between = axis.identities[one], axis.identities[other]
    notes = [
        f"“{text[each.start : each.end]}” stays: no word stands for it."
        for each, new in zip(here, choices, strict=True)
        if not new
    ]
    notes += [] if context.parsed else [NO_PARSE]
    for option in range(max(map(len, choices), default=0)):
        swaps = []
        for each, targets in zip(here, choices, strict=True):
            if targets:
                old = text[each.start : each.end]
                new = cased(targets[min(option, len(targets) - 1)], old, each.usual(old), text[: each.start])
                swaps.append(Swap(old, new, each.kind, each.start, each.end))
        yield made_of(text, axis.category, swaps, between, notes)


# -- swaps of the reader --------------------------------------------------------------------------------------------------


def _listed(swaps: Any) -> list[dict[str, str]]:
    """What is exchanged at once, one mapping a counterfactual."""
    if isinstance(swaps, str):
        return [parse_swaps(swaps)]
    if isinstance(swaps, Mapping):
        return [dict(swaps)]
    listed = []
    for each in swaps:
        if isinstance(each, str):
            listed.append(parse_swaps(each))
        elif isinstance(each, Mapping):
            listed.append(dict(each))
        elif isinstance(each, tuple | list) and len(each) == 2 and all(isinstance(part, str) for part in each):
            listed.append({each[0]: each[1]})
        else:
            msg = f"A swap is 'old -> new', a pair of words or a mapping, not {each!r}."
            raise TextError(msg)
    return listed


def swaps_in(typed: str) -> Iterator[tuple[str, str, str, str]]:
    """(as typed, old words, first arrow, new words) of every part of 'doctor -> nurse; he <-> she'; no arrow: no words."""
    for part in filter(None, map(str.strip, typed.replace("\n", ";").split(";"))):
        arrow = next((each for each in ARROWS if each in part), "")
        old, _, new = part.partition(arrow) if arrow else ("", "", "")
        yield part, " ".join(old.split()), arrow, " ".join(new.split())


def parse_swaps(typed: str) -> dict[str, str]:
    """'doctor -> nurse; he <-> she' as a mapping."""
    made: dict[str, str] = {}
    for part, old, arrow, new in swaps_in(typed):
        if not old or any(each in new for each in ARROWS):
            msg = f"{part!r} says no swap. Write it as: doctor -> nurse; several at once: doctor -> nurse; he -> she"
            raise TextError(msg)
        made[old] = new
        if arrow in ARROWS[:2] and new:
            made[new] = old
    if not made:
        msg = "Nothing is to be exchanged. Write a swap as: doctor -> nurse"
        raise TextError(msg)
    return made


def own_swap(text: str, context: Context, pairs: Mapping[str, str]) -> Counterfactual | None:
    """The text with some words exchanged; their regular plurals too. None where the text has none of them."""
    known: dict[str, tuple[str, str, str]] = {}
    for old, new in pairs.items():
        many, many_new = plural(old), plural(new)
        if many and many_new and not plural_of_itself(old):
            known.setdefault(many.lower(), (many, many_new, "plural"))
    for old, new in pairs.items():
        known[old.lower()] = (old, new, "")
    swaps = []
    for match in bounded(set(known)).finditer(text):
        usual, new, kind = known[" ".join(match.group().lower().split())]
        swaps.append(
            Swap(
                match.group(),
                cased(new, match.group(), usual, text[: match.start()]),
                kind or _kind(context, *context.at(*match.span())),
                *match.span(),
            )
        )
    changing = [each for each in swaps if each.old != each.new]
    return made_of(text, OWN, changing, ("", ""), [] if context.parsed else [NO_PARSE]) if changing else None


def _kind(context: Context, first: int, last: int) -> str:
    """The kind of a word that a reader exchanges."""
    pos = context.pos[last]
    if pos == "NOUN":
        return "plural" if plural_of_itself(context.words[last]) else "noun"
    if pos == "PRON":
        return context.pronoun(first)
    return {"ADJ": "adjective", "PROPN": "subject"}.get(pos, "")


# -- the new text ---------------------------------------------------------------------------------------------------------


def made_of(
    text: str, category: str, swaps: Sequence[Swap], between: tuple[str, str], notes: Sequence[str] = ()
) -> Counterfactual:
    """The counterfactual of some swaps: with what a/an and possessives need, and the words aligned."""
    edits = [edit for swap in swaps for edit in _edits(text, swap)]
    new = edited(text, edits)
    aligned, changed = align(text, new, edits)
    return Counterfactual(new, category, tuple(swaps), aligned, changed, between, tuple(notes))


def _edits(text: str, swap: Swap) -> Iterable[Edit]:
    """The swap itself, its article and its possessive ending."""
    before, after, end = text[: swap.start], text[swap.end :], swap.end
    if not swap.new:  # a removed word takes the space before or after it along
        if before[-1:].isspace():
            yield from _with_article(after.lstrip(), before)
            yield Edit(swap.start - 1, end, "")
        else:
            yield Edit(swap.start, end + (after[:1].isspace()), "")
        return
    yield from _with_article(swap.new, before)
    ending, letters = possessive(swap.new, swap.old, after)
    yield Edit(swap.start, end, swap.new)
    if letters:
        yield Edit(end, end + letters, ending)


def _with_article(following: str, before: str) -> Iterable[Edit]:
    found = ARTICLE.search(before)
    if found is None or not following[:1].isalpha():
        return
    wanted, there = article(following), found.group(1)
    if wanted != there.lower():
        as_written = wanted.upper() if there.isupper() and len(there) > 1 else wanted
        yield Edit(
            found.start(), found.start() + len(there), as_written[0].upper() + as_written[1:] if there[0].isupper() else wanted
        )


def edited(text: str, edits: Sequence[Edit]) -> str:
    """A text with its edits made; they do not overlap."""
    parts, end = [], 0
    for edit in sorted(edits):
        parts += [text[end : edit.start], edit.new]
        end = edit.end
    return "".join([*parts, text[end:]])


def align(text: str, new: str, edits: Sequence[Edit]) -> tuple[tuple[tuple[Span, Span], ...], tuple[Span, ...]]:
    """Pairs of stretches of two texts, and which of the new one differ."""
    ordered = sorted(edits)

    def moved(place: int) -> int:
        """Where a place that lies in no edit stands in the new text."""
        return place + sum(len(edit.new) - (edit.end - edit.start) for edit in ordered if edit.end <= place)

    spans, others = word_spans(text), word_spans(new)
    pairs: list[tuple[Span, Span]] = []
    changed: list[Span] = []
    for first, last in _groups(spans, ordered):
        touching = [edit for edit in ordered if edit.start < spans[last][1] and edit.end > spans[first][0]]
        start = moved(min([spans[first][0], *(edit.start for edit in touching)]))
        end = moved(max([spans[last][1], *(edit.end for edit in touching)]))
        inside = [span for span in others if span[0] < end and span[1] > start]
        paired, differing = _matched(text, new, spans[first : last + 1], inside)
        pairs += paired
        changed += differing
    return tuple(pairs), tuple(changed)


def _groups(spans: Sequence[Span], edits: Sequence[Edit]) -> Iterable[tuple[int, int]]:
    """Words that share an edit, as (first, last); every other word by itself."""
    first = 0
    while first < len(spans):
        last = first
        while last + 1 < len(spans) and any(e.start < spans[last][1] and e.end > spans[last + 1][0] for e in edits):
            last += 1
        yield first, last
        first = last + 1


def _matched(
    text: str, new: str, old_words: Sequence[Span], new_words: Sequence[Span]
) -> tuple[list[tuple[Span, Span]], list[Span]]:
    """Pairs of the words of two stretches: those that are equal from the front and from the back; the rest is one pair."""

    def same(one: Span, other: Span) -> bool:
        return text[slice(*one)] == new[slice(*other)]

    old, others = list(old_words), list(new_words)
    front: list[tuple[Span, Span]] = []
    back: list[tuple[Span, Span]] = []
    while old and others and same(old[0], others[0]):
        front.append((old.pop(0), others.pop(0)))
    while old and others and same(old[-1], others[-1]):
        back.insert(0, (old.pop(), others.pop()))
    middle = [((old[0][0], old[-1][1]), (others[0][0], others[-1][1]))] if old and others else []
    return [*front, *middle, *back], [(others[0][0], others[-1][1])] if others else []


TASKS: Mapping[str, Callable[..., Any]] = {COUNTERFACTUALS: counterfactuals}
"""Work that views may request, by name."""
