"""Aligns tokens with their text: which characters and which word each token covers, and what to show for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import regex

from atlas.text import pieces as vocabulary
from atlas.text.checks import check_text
from atlas.text.segment import NO_WORD, Span, is_visible, label_characters, majority, trim, word_spans

__all__ = ["NO_SEGMENT", "check_text", "token_table"]

NO_SEGMENT = -1
"""The segment of a token that the tokenizer added."""

_MARKS = regex.compile(r"\p{M}*", regex.V1)
UNKNOWN = frozenset({"[UNK]", "<unk>", "<UNK>"})
"""Tokens that stand for a word the vocabulary lacks. Tokenizers list them as special tokens, but mark each one in a text as not
special, because a word of the text is in its place."""

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def token_table(
    text: str,
    *,
    ids: Sequence[int],
    pieces: Sequence[str],
    special: Sequence[bool],
    offsets: Sequence[Span] | None = None,
    segments: Sequence[int | None] | None = None,
    pair: str | None = None,
    unknown: str | None = None,
    decode: Callable[[list[int]], str] | None = None,
) -> pd.DataFrame:
    """Make the token table, with one row for each token.

    Parameters
    ----------
    text, pair
        The tokenized texts.
    ids, pieces, special, offsets, segments
        The results of a fast tokenizer: `input_ids`, `convert_ids_to_tokens`, `special_tokens_mask` (or-ed with "the id is a
        special one"), `offset_mapping`, `sequence_ids()`. A slow tokenizer has no offsets. They are then found if the pieces
        spell the text letter by letter, and are unknown otherwise.
    unknown
        The piece of the tokenizer's unknown token; '' if it has none, or one with another use too (GPT-2's also begins and ends
        texts). By default the usual ones.
    decode
        The tokenizer's `decode`, which writes a token whose place in the text is unknown.

    Returns
    -------
    pandas.DataFrame
        Index `position`, columns:

        `token`, the text to show: the slice of the text, without vocabulary marks. If several tokens share one character, the
        first shows the character, the others their bytes (`<0x9F>`) or what they spell. A token that starts with a combining
        mark is shown on a dotted circle; white space is shown as it is.
        `piece` and `id`, as in the vocabulary.
        `start`, `end`: characters of `text`, or of `pair` in segment 1; visible characters only, unless the token is only white
        space. `<NA>` where unknown and for tokens that are in no text.
        `special`: added by the tokenizer, or typed as such (`[MASK]`). An unknown token is not special, it stands for a word.
        `segment`: 0, 1, or -1 for special tokens that are in no text.
        `word`: number of the word (`segment.words` of text and pair), -1 for special tokens and white space.

        `attrs["offsets"]` says where the spans come from: 'tokenizer', 'spelled' or 'unknown'.
    """
    n_tokens = len(ids)
    columns = {"pieces": pieces, "special": special, "offsets": offsets, "segments": segments}
    for name, values in columns.items():
        if values is not None and len(values) != n_tokens:
            msg = f"There are {n_tokens} ids and {len(values)} {name}; each token needs one of both."
            raise ValueError(msg)
    if offsets is not None and segments is None and pair is not None:
        msg = "Offsets of a pair of texts mean nothing without segments; pass the encoding's sequence_ids()."
        raise ValueError(msg)
    written = [str(piece) for piece in pieces]
    stand_ins = UNKNOWN if unknown is None else {unknown}
    flags = [bool(flag) and piece not in stand_ins for flag, piece in zip(special, written, strict=True)]
    sides = _segments(flags, segments, paired=pair is not None)
    texts = (text, pair or "")
    if offsets is None:
        known, source = _from_spelling(texts, written, sides, flags)
    else:
        known = _from_tokenizer(texts, offsets, sides, written)
        source = "tokenizer"
    flags = [
        flag and not _stands_for_text(texts, side, span, piece)
        for flag, side, span, piece in zip(flags, sides, known, written, strict=True)
    ]
    sides = [NO_SEGMENT if flag and span is None else side for flag, side, span in zip(flags, sides, known, strict=True)]
    known = _with_marks(texts, known, sides)
    table = pd.DataFrame(
        {
            "token": pd.Series(_shown(texts, known, sides, written, flags, ids, decode), dtype="str"),
            "piece": pd.Series(written, dtype="str"),
            "id": np.array([int(i) for i in ids], dtype=np.int64),
            "start": pd.array([span[0] if span else None for span in known], dtype="Int64"),
            "end": pd.array([span[1] if span else None for span in known], dtype="Int64"),
            "special": np.array(flags, dtype=bool),
            "segment": np.array(sides, dtype=np.int64),
            "word": np.array(_words(texts, known, sides, written, flags), dtype=np.int64),
        },
    )
    table.index.name = "position"
    table.attrs["offsets"] = source
    return table


def uncovered(text: str, table: pd.DataFrame, segment: int = 0) -> str:
    """The characters of a text that no token covers, except white space: the tokenizer's normaliser dropped them.

    Only characters before the last token's end count, because a text may have been cut. '' where the offsets are unknown.
    """
    own = table[(table["segment"] == segment) & table["start"].notna()]
    if table.attrs.get("offsets") != "tokenizer" or own.empty:
        return ""
    # Differences of the number of tokens that cover each character: +1 where a token starts, -1 where it ends.
    steps = np.zeros(len(text) + 1, dtype=np.int64)
    np.add.at(steps, own["start"].to_numpy(dtype=np.int64), 1)
    np.add.at(steps, own["end"].to_numpy(dtype=np.int64), -1)
    last = int(own["end"].max())
    return "".join(text[at] for at in np.flatnonzero(steps.cumsum()[:last] == 0) if not text[at].isspace())


def _segments(special: list[bool], segments: Sequence[int | None] | None, *, paired: bool) -> list[int]:
    if segments is not None:
        return [NO_SEGMENT if side is None else int(side) for side in segments]
    # A slow tokenizer does not return segments, so the second text begins at the first special token after the first text.
    sides, now, seen = [], 0, False
    for flag in special:
        if flag and seen and paired:
            now = 1
        seen |= not flag
        sides.append(NO_SEGMENT if flag else now)
    return sides


def _from_tokenizer(texts: tuple[str, str], offsets: Sequence[Span], sides: list[int], pieces: list[str]) -> list[Span | None]:
    spans: list[Span | None] = []
    covered_to = [0, 0]
    for position, ((start, end), side, piece) in enumerate(zip(offsets, sides, pieces, strict=True)):
        if side == NO_SEGMENT:
            spans.append(None)
            continue
        whole = texts[side]
        if not 0 <= start <= end <= len(whole):
            msg = (
                f"Token {position} ({piece!r}) claims characters {start} to {end} of a text of {len(whole)}; "
                "these offsets belong to another text."
            )
            raise ValueError(msg)
        spans.append(_visible_part(whole, int(start), int(end), piece, covered_to[side]))
        covered_to[side] = max(covered_to[side], spans[-1][1] if spans[-1] else 0)
    return spans


def _visible_part(whole: str, start: int, end: int, piece: str, covered_to: int) -> Span | None:
    if not vocabulary.is_only_mark(piece):
        if vocabulary.begins_after_space(piece) and covered_to < start and is_visible(whole[start - 1 : start]):
            start -= 1  # `trim_offsets` cut a letter instead of the space that `add_prefix_space` had added after a special token
        # An empty span such as (0, 0) means that the tokenizer does not know the place of the piece.
        return trim(whole, start, end) if start < end else None
    if start < end and (whole[start:end] == piece or not is_visible(whole[start:end])):
        return start, end
    if start < end <= covered_to:
        return start, end  # a space within a character that normalisation spells out in words (U+FDFA) belongs to that character
    # Either a space that the tokenizer added, with the offsets of the next letter (SentencePiece before a text), or a real one
    # whose offsets were trimmed to nothing (RoBERTa). It covers the spaces after the last token, often none.
    last = covered_to
    while last - covered_to < len(piece) and whole.startswith(" ", last):
        last += 1
    return covered_to, last


def _from_spelling(
    texts: tuple[str, str], pieces: list[str], sides: list[int], special: list[bool]
) -> tuple[list[Span | None], str]:
    spans: list[Span | None] = [None] * len(pieces)
    for segment, whole in enumerate(texts):
        members = [i for i, side in enumerate(sides) if side == segment and not special[i]]
        found = vocabulary.find([pieces[i] for i in members], whole)
        if found is None:
            return [None] * len(pieces), "unknown"
        for i, span in zip(members, found, strict=True):
            spans[i] = trim(whole, *span)
    return spans, "spelled"


def _stands_for_text(texts: tuple[str, str], side: int, span: Span | None, piece: str) -> bool:
    """Whether a "special" token replaces other text, as an unknown token with an unusual name does."""
    if span is None or span[0] == span[1]:
        return False
    return texts[side][slice(*span)].casefold() != piece.strip().casefold()


def _with_marks(texts: tuple[str, str], spans: list[Span | None], sides: list[int]) -> list[Span | None]:
    """Extend tokens by the combining marks after them that no token covers, because BERT drops accents but the text has them."""
    claimed = [np.zeros(len(whole) + 1, dtype=bool) for whole in texts]
    for span, side in zip(spans, sides, strict=True):
        if span is not None:
            claimed[side][span[0] : span[1]] = True
    grown: list[Span | None] = []
    for span, side in zip(spans, sides, strict=True):
        if span is None or span[0] == span[1] or claimed[side][span[1]]:
            grown.append(span)
            continue
        found = _MARKS.match(texts[side], span[1])
        last = found.end() if found else span[1]
        taken = np.flatnonzero(claimed[side][span[1] : last])
        grown.append((span[0], span[1] + int(taken[0]) if taken.size else last))
    return grown


def _shown(
    texts: tuple[str, str],
    spans: list[Span | None],
    sides: list[int],
    pieces: list[str],
    special: list[bool],
    ids: Sequence[int],
    decode: Callable[[list[int]], str] | None,
) -> list[str]:
    shown: list[str] = []
    covered_to = [0, 0]
    for span, side, piece, flag, token in zip(spans, sides, pieces, special, ids, strict=True):
        if flag:
            shown.append(piece)
        elif span is None:
            shown.append(_without_place(piece, int(token), decode))
        elif span[0] == span[1]:
            shown.append(" ")
        elif span[1] <= covered_to[side]:
            shown.append(vocabulary.continuation(piece, texts[side][slice(*span)]))
        else:
            shown.append(vocabulary.readable(texts[side][max(span[0], covered_to[side]) : span[1]]))
        if span is not None:
            covered_to[side] = max(covered_to[side], span[1])
    return shown


def _without_place(piece: str, token: int, decode: Callable[[list[int]], str] | None) -> str:
    if decode is not None:
        written = decode([token]).strip()
        if written and _REPLACEMENT not in written and not written.startswith("##"):
            return vocabulary.readable(written)
    return vocabulary.readable(vocabulary.surface(piece).strip() or " ")


def _words(
    texts: tuple[str, str], spans: list[Span | None], sides: list[int], pieces: list[str], special: list[bool]
) -> list[int]:
    if all(span is None for span in spans):
        texts, spans = _spelled_texts(pieces, sides, special)
    first = word_spans(texts[0])
    second = word_spans(texts[1])
    labels = (label_characters(first, len(texts[0])), label_characters(second, len(texts[1]), first=len(first)))
    return [
        NO_WORD if flag or span is None else majority(labels[side], *span)
        for span, side, flag in zip(spans, sides, special, strict=True)
    ]


def _spelled_texts(pieces: list[str], sides: list[int], special: list[bool]) -> tuple[tuple[str, str], list[Span | None]]:
    """The texts that the pieces spell by their own marks, used to find words where the places in the real text are unknown."""
    spans: list[Span | None] = [None] * len(pieces)
    made = ["", ""]
    for segment in (0, 1):
        members = [i for i, side in enumerate(sides) if side == segment and not special[i]]
        # An unknown token is one word. Spelled as it is, its brackets would be separate words.
        made[segment], found = vocabulary.spell(["unknown" if pieces[i] in UNKNOWN else pieces[i] for i in members])
        for i, span in zip(members, found, strict=True):
            spans[i] = span
    return (made[0], made[1]), spans
