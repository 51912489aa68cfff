"""Makes the texts of drills for a tokenizer from a seed, each with a shuffled twin. No corpus is read."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from atlas.engine.running.drilling import Drill, Wanted
from atlas.errors import TextTooLong
from atlas.text.ordinals import SERIES, Needle, needle_text, shuffled_series

SHORTEST, LONGEST = 8, 24
"""Random tokens of one copy. Copies differ in length, so that a head that always looks equally far back gains nothing."""

SENTENCES = 20
"""Sentences of filler around a fact at most."""

FEWEST = 3
"""Sentences of filler around a fact at least."""

Encode = Callable[[str], Any]
"""Text -> an encoding with `inputs` and the table `tokens`."""


@dataclass(frozen=True)
class Reader:
    """How a model reads drills."""

    tokenizer: Any
    encode: Encode
    kinds: tuple[str, ...]
    limit: int | None
    n_ids: int
    """Rows of the embedding."""
    masked: bool
    """Whether it fills masks."""

    @property
    def translates(self) -> bool:
        """Whether a decoder reads a text of its own."""
        return "cross" in self.kinds

    @functools.cached_property
    def around(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The special tokens before and after a text; before it at least the token that begins texts, where there is one."""
        # Not every vocabulary has a word that is known beforehand, and an unknown one passes for a special token.
        middle = self.plain_ids[len(self.plain_ids) // 2 :][:20].tolist()
        before: list[int] = []
        after: list[int] = []
        for text in filter(None, ("a", *(self.tokenizer.decode([token]).strip() for token in middle))):
            found = self.encode(text)
            ids, special = found.inputs["input_ids"].tolist(), found.tokens["special"].to_numpy(dtype=bool)
            plain = np.flatnonzero(~special)
            if len(plain):
                before, after = ids[: plain[0]], ids[plain[-1] + 1 :]
                break
        begin = getattr(self.tokenizer, "bos_token_id", None)
        if not before and begin is not None and self.kinds == ("decoder",):
            before = [begin]
        return tuple(map(int, before)), tuple(map(int, after))

    @functools.cached_property
    def plain_ids(self) -> np.ndarray:
        """Ids of ordinary tokens."""
        size = min(len(self.tokenizer), self.n_ids)
        kept = set(self.tokenizer.all_special_ids) | set(getattr(self.tokenizer, "added_tokens_decoder", {}))
        pieces = self.tokenizer.convert_ids_to_tokens(list(range(size)))
        # "[unused7]" and "<0x0A>" stand for no word: a model has hardly seen them.
        usual = [at for at, piece in enumerate(pieces) if at not in kept and piece and not _reserved(str(piece))]
        return np.array(usual, dtype=np.int64)


class Made(NamedTuple):
    """Drills and their shuffled twins, one by one; or why there are none."""

    drills: list[Drill]
    twins: list[Drill]


def _reserved(piece: str) -> bool:
    return len(piece) > 2 and piece[0] in "[<" and piece[-1] in "]>"


class TooFew(ValueError):
    """Why a drill cannot be made for a tokenizer."""


# -- random tokens -----------------------------------------------------------------------------------------------------


def previous(reader: Reader, n: int, seed: int) -> Made:
    """Random tokens: every token shall look at the one before it. Twin: at another one that it may see, drawn at random."""
    draw, made = np.random.default_rng([seed, 1]), Made([], [])
    for tokens in _random(reader, n, draw, copies=1):
        queries = np.arange(2, len(tokens))
        others = {kind: _other(kind, queries, len(tokens), draw) for kind in reader.kinds}
        made.drills.append(_of_tokens(reader, tokens, queries, dict.fromkeys(reader.kinds, queries - 1)))
        made.twins.append(_of_tokens(reader, tokens, queries, others))
    return made


def _other(kind: str, queries: np.ndarray, size: int, draw: np.random.Generator) -> np.ndarray:
    """For every query a key that it may see, but not the previous token."""
    ends = queries + 1 if kind == "decoder" else np.full(len(queries), size)
    drawn = np.array([int(draw.integers(0, end - 1)) for end in ends])
    return drawn + (drawn >= queries - 1)


def induction(reader: Reader, n: int, seed: int) -> Made:
    """Random tokens said twice: a token of the second copy shall look at what followed it in the first.

    Twin: the second copy is in another order, and the head shall look at the same places as before.
    """
    return _twice(reader, n, seed, 1)


def duplicate(reader: Reader, n: int, seed: int) -> Made:
    """Random tokens said twice: a token of the second copy shall look at itself in the first. Twin: as for induction."""
    return _twice(reader, n, seed, 0)


def _twice(reader: Reader, n: int, seed: int, step: int) -> Made:
    draw, made = np.random.default_rng([seed, 2]), Made([], [])
    for tokens in _random(reader, n, draw, copies=2):
        size = len(tokens) // 2
        # The first token of a text collects idle attention whatever it says, and the last of the first copy has no follower yet.
        queries = np.arange(size + 1, 2 * size - 1)
        keys = dict.fromkeys(reader.kinds, queries - size + step)
        shuffled = (*tokens[:size], *_reordered(tokens[:size], draw))
        made.drills.append(_of_tokens(reader, tokens, queries, keys))
        made.twins.append(_of_tokens(reader, shuffled, queries, keys))
    return made


def _reordered(tokens: Sequence[int], draw: np.random.Generator) -> tuple[int, ...]:
    """Another order in which no token stands in its place or follows the one that it followed."""
    size, own = len(tokens), np.arange(len(tokens))
    while True:
        order = draw.permutation(size)
        if not ((order == own) | (order == own - 1)).any():
            return tuple(tokens[at] for at in order)


def _random(reader: Reader, n: int, draw: np.random.Generator, copies: int) -> list[tuple[int, ...]]:
    before, after = reader.around
    room = LONGEST if reader.limit is None else min(LONGEST, (reader.limit - len(before) - len(after) - 1) // copies)
    plain = reader.plain_ids
    if room < SHORTEST:
        msg = f"the model takes {reader.limit} tokens, too few for {copies * SHORTEST}."
        raise TooFew(msg)
    if len(plain) < LONGEST:
        msg = f"its tokenizer has {len(plain)} ordinary tokens, and {LONGEST} are needed."
        raise TooFew(msg)
    sizes = draw.integers(SHORTEST, room + 1, n)
    return [tuple(map(int, draw.choice(plain, size, replace=False))) * copies for size in sizes]


def _of_tokens(reader: Reader, tokens: Sequence[int], queries: np.ndarray, keys: Mapping[str, np.ndarray]) -> Drill:
    """A drill of bare tokens, also for the decoder of an encoder-decoder, which reads them too."""
    before, after = reader.around
    starts = {kind: 1 if kind == "decoder" and reader.translates else len(before) for kind in reader.kinds if kind != "cross"}
    found = {}
    for kind, start in starts.items():
        whole = start + len(tokens) + (0 if kind == "decoder" and reader.translates else len(after))
        found[kind] = Wanted(start + queries, _mask(start + keys[kind], whole))
    return Drill((*before, *tokens, *after), found, tuple(tokens) if reader.translates else None)


def _mask(keys: np.ndarray, size: int) -> np.ndarray:
    found = np.zeros((len(keys), size), dtype=bool)
    found[np.arange(len(keys)), keys] = True
    return found


# -- planted facts -----------------------------------------------------------------------------------------------------


def retrieval(reader: Reader, n: int, seed: int) -> Made:
    """A random fact in filler, and its beginning again at the end: where the answer is written, the head shall look at it.

    The answer is given token by token, whatever the model would write. Twin: the filler with the fact in a random order of its
    tokens; the head shall look at the same tokens, which make no fact now.
    """
    draw, made = np.random.default_rng([seed, 3]), Made([], [])
    sentences, tries = _fitting(reader, draw), 0
    while len(made.drills) < n and tries < 4 * n:
        tries += 1
        both = _planted(reader, needle_text(draw, sentences), draw)
        if both is not None:
            made.drills.append(both[0])
            made.twins.append(both[1])
    if len(made.drills) < n:
        msg = "its tokenizer does not know the words of the facts, or splits them in the text otherwise than at its end."
        raise TooFew(msg)
    return made


def _fitting(reader: Reader, draw: np.random.Generator) -> int:
    """How many sentences of filler fit."""
    for sentences in range(SENTENCES, FEWEST - 1, -1):
        text = needle_text(draw, sentences).text
        size = len(reader.tokenizer(text, verbose=False)["input_ids"])
        if reader.limit is None or size + size // 8 <= reader.limit:  # others of as many sentences may have more tokens
            return sentences
    msg = f"the model takes {reader.limit} tokens, too few for a fact with {FEWEST} sentences around it."
    raise TooFew(msg)


def _planted(reader: Reader, needle: Needle, draw: np.random.Generator) -> tuple[Drill, Drill] | None:
    try:
        found = reader.encode(needle.text)
    except TextTooLong:  # its sentences have more tokens than those that were tried
        return None
    ids, table = found.inputs["input_ids"].tolist(), found.tokens
    planted, answer = (_within(table, span) for span in (needle.needle, needle.answer))
    said = [ids[at] for at in planted]
    unknown = getattr(reader.tokenizer, "unk_token_id", None)
    if not planted or said != [ids[at] for at in answer] or unknown in said:
        return None
    hay = _within(table, (0, needle.question))
    if reader.translates:
        ids = ids[: answer[0]] + ids[answer[-1] + 1 :]
    order = dict(zip(hay, draw.permutation(hay).tolist(), strict=True))
    mixed = list(ids)
    for at, into in order.items():
        mixed[into] = ids[at]
    return tuple(  # type: ignore[return-value]
        _asked(reader, row, places, answer, said) for row, places in ((ids, planted), (mixed, [order[at] for at in planted]))
    )


def _asked(reader: Reader, ids: list[int], places: Sequence[int], answer: Sequence[int], said: Sequence[int]) -> Drill:
    keys = np.zeros((len(said), len(ids)), dtype=bool)
    keys[:, places] = [[ids[place] == token for place in places] for token in said]
    if reader.translates:
        return Drill(tuple(ids), {"cross": Wanted(np.arange(len(said)), keys)}, tuple(said))
    if reader.masked:
        masks = list(ids)
        for at in answer:
            masks[at] = reader.tokenizer.mask_token_id
        return Drill(tuple(masks), {"encoder": Wanted(np.array(answer), keys)})
    return Drill(tuple(ids), {"decoder": Wanted(np.array(answer) - 1, keys)})


def _within(table: Any, span: tuple[int, int]) -> list[int]:
    """Places of the tokens of some characters; a token may begin with the space before them."""
    start, end = table["start"].to_numpy(float), table["end"].to_numpy(float)
    plain = ~table["special"].to_numpy(dtype=bool)
    return np.flatnonzero(plain & (end > span[0]) & (start < span[1]) & (start >= span[0] - 1)).tolist()


# -- ordered lists -----------------------------------------------------------------------------------------------------


class Ordinals(NamedTuple):
    """Words of ordered lists that are one token each, and what follows them."""

    tokens: list[int]
    successors: list[int]
    shuffled: list[int]
    """What follows in a random order of the list."""
    others: list[list[int]]
    """The words of the list but for the token itself."""


def ordinals(reader: Reader, most: int, seed: int) -> Ordinals:
    """Ordered lists (days, months, letters, numbers): the word that follows in the list, and in a random order of the list."""
    draw = np.random.default_rng([seed, 4])
    found = Ordinals([], [], [], [])
    for words in SERIES.values():
        ids = _known(reader, words)
        known = [word for word in words if word in ids]
        pairs = [(word, after) for word, after in itertools.pairwise(words) if word in ids and after in ids]
        if len(known) < LEAST_WORDS or not pairs:
            continue
        follows = shuffled_series(known, draw)
        for word, after in pairs:
            found.tokens.append(ids[word])
            found.successors.append(ids[after])
            found.shuffled.append(ids[follows[word]])
            found.others.append([ids[other] for other in known if other != word])
    if len(found.tokens) > most:
        kept = np.sort(draw.choice(len(found.tokens), most, replace=False))
        chosen: Any = ([column[at] for at in kept] for column in found)
        found = Ordinals(*chosen)
    return found


LEAST_WORDS = 5
"""Words of a list that have to be one token: fewer have no order in which none follows its predecessor."""


def _known(reader: Reader, words: Sequence[str]) -> dict[str, int]:
    """Words that are one token, as within a text if there is such a token."""
    unknown = getattr(reader.tokenizer, "unk_token_id", None)
    found: dict[str, int] = {}
    for word in words:
        for written in (f" {word}", word):
            ids = reader.tokenizer(written, add_special_tokens=False, verbose=False)["input_ids"]
            if len(ids) == 1 and ids[0] != unknown and ids[0] not in found.values():
                found[word] = int(ids[0])
                break
    return found


MAKERS: Mapping[str, Callable[[Reader, int, int], Made]] = {
    "drill_previous": previous,
    "drill_induction": induction,
    "drill_duplicate": duplicate,
    "drill_retrieval": retrieval,
}
SUCCESSOR = "drill_successor"
