"""Heads and positions in few letters: ranges or a bit for each, whichever is shorter, and back again with every bound checked."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from atlas.ids import KINDS, HeadId

MOST_TOKENS = 1 << 18
"""Positions are below this: twice the longest context of the catalog. A link cannot make a set of billions."""

MOST_HEADS = 1 << 14
"""Heads of a kind: 128 layers of 128, as the largest published models have."""

LETTERS = dict(zip("edx", KINDS, strict=True))
"""One letter a kind: 'x' is cross."""

BITS = "b"
"""Begins a set written as one bit a number, in hexadecimal digits."""

_RANGES = re.compile(r"(\d{1,7})(?:-(\d{1,7}))?", re.ASCII)
_BITS = re.compile(rf"{BITS}([0-9a-f]{{1,{MOST_TOKENS // 4}}})", re.ASCII)
_HEAD = re.compile(r"([edx])(\d{1,4})\.(\d{1,4})", re.ASCII)
_GRID = re.compile(r"(\d{1,4}):(.*)", re.ASCII | re.DOTALL)


class Unusable(ValueError):
    """A value that nothing can be made of; the message says why, in half a sentence."""


def pack(numbers: Collection[int]) -> str:
    """{0, 1, 2, 7} -> '0-2,7'; where they are scattered, the bits of one large number."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    ranges = ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)
    if len(runs) < 2:
        return ranges
    held = frozenset(numbers)
    bits = "".join("1" if number in held else "0" for number in range(max(held), -1, -1))
    return min(ranges, f"{BITS}{int(bits, 2):x}", key=len)


def unpack(written: Any, below: int = MOST_TOKENS) -> frozenset[int]:
    """The numbers again; each is below `below`."""
    if not isinstance(written, str):
        msg = "is no list of numbers"
        raise Unusable(msg)
    if not written:
        return frozenset()
    bits = _BITS.fullmatch(written)
    if bits is not None:
        digits = f"{int(bits[1], 16):b}"
        if len(digits) > below:
            msg = f"has numbers of {below:,} and above"
            raise Unusable(msg)
        return frozenset(place for place, digit in enumerate(reversed(digits)) if digit == "1")
    found: list[int] = []
    for part in written.split(","):
        run = _RANGES.fullmatch(part)
        first, last = (int(run[1]), int(run[2] or run[1])) if run else (1, 0)
        # In rising order, as they are written: a thousand times the same long range would take minutes.
        if not (found[-1] if found else -1) < first <= last < below:
            msg = f"has {shown(part)} among its numbers"
            raise Unusable(msg)
        found.extend(range(first, last + 1))
    return frozenset(found)


def pack_head(head: HeadId) -> str:
    """'x5.3': cross, layer 5, head 3."""
    return f"{next(letter for letter, kind in LETTERS.items() if kind == head.kind)}{head.layer}.{head.head}"


def unpack_head(written: Any) -> HeadId:
    """The head again."""
    found = _HEAD.fullmatch(written) if isinstance(written, str) else None
    if found is None:
        msg = f"names no head: {shown(written)}"
        raise Unusable(msg)
    return HeadId(LETTERS[found[1]], int(found[2]), int(found[3]))


def pack_heads(heads: Iterable[HeadId]) -> dict[str, str]:
    """{letter: 'width:numbers'}, where head h of layer l is number l x width + h."""
    chosen, packed = sorted(heads), {}
    for letter, kind in LETTERS.items():
        of_kind = [head for head in chosen if head.kind == kind]
        if of_kind:
            width = max(head.head for head in of_kind) + 1
            packed[letter] = f"{width}:{pack({head.layer * width + head.head for head in of_kind})}"
    return packed


def unpack_heads(written: Any) -> frozenset[HeadId]:
    """The heads again."""
    if not isinstance(written, Mapping):
        msg = "is no list of heads"
        raise Unusable(msg)
    found: set[HeadId] = set()
    for letter, grid in written.items():
        parts = _GRID.fullmatch(grid) if isinstance(grid, str) else None
        if letter not in LETTERS or parts is None or int(parts[1]) == 0:
            msg = f"has {shown(grid)} among its heads"
            raise Unusable(msg)
        width = int(parts[1])
        found.update(HeadId(LETTERS[letter], *divmod(number, width)) for number in unpack(parts[2], MOST_HEADS))
    return frozenset(found)


def shown(value: Any, most: int = 40) -> str:
    """A stranger's value as a message quotes it: its beginning, on one line."""
    if isinstance(value, list | Mapping):
        return "a list" if isinstance(value, list) else "an object"
    written = ascii(value[: most + 1] if isinstance(value, str) else value)
    return written if len(written) <= most + 2 else f"{written[:most]}…"
