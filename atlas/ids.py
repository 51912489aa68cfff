"""Stable names for what can be selected: ordered, hashable, the same in every session and every saved file."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from atlas.errors import UnknownName

KINDS = ("encoder", "decoder", "cross")
"""The three kinds of attention, in the order in which a model computes and a reader meets them."""

HEAD = ["kind", "layer", "head"]
"""Columns that name a head in a table."""

WORD_MARKS = "Ġ▁"
"""How tokenizers mark the beginning of a word: another model may mark the same word in another way, or not at all."""

_WRITTEN = re.compile(r"^(?:(?P<kind>[a-z]+)[\s:]+)?L?(?P<layer>\d+)[\s.:]*H?(?P<head>\d+)$", re.IGNORECASE)


@functools.total_ordering
@dataclass(frozen=True, slots=True)
class HeadId:
    """One attention head; layer and head are zero-based, as in code."""

    kind: str
    layer: int
    head: int

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            msg = f"{self.kind!r} is no kind of attention; use one of {', '.join(KINDS)}."
            raise UnknownName(msg)
        if self.layer < 0 or self.head < 0:
            msg = f"Layers and heads are counted from 0, so layer {self.layer} head {self.head} does not exist."
            raise UnknownName(msg)

    def __lt__(self, other: object) -> bool:
        if not isinstance(other, HeadId):
            return NotImplemented
        return self._key() < other._key()

    def _key(self) -> tuple[int, int, int]:
        return KINDS.index(self.kind), self.layer, self.head

    def __str__(self) -> str:
        return f"L{self.layer} H{self.head}"

    def label(self, kinds: Sequence[str]) -> str:
        """The name with its kind in front where `kinds` has more than one."""
        return f"{self.kind} {self}" if len(kinds) > 1 else str(self)


Headlike = HeadId | str | tuple[int, int] | tuple[str, int, int]


def as_head(value: Headlike, kinds: Sequence[str]) -> HeadId:
    """Read a head given as HeadId, `'L5 H3'`, `'cross 5.3'`, `(5, 3)` or `('cross', 5, 3)`; `kinds` are those that exist."""
    if isinstance(value, HeadId):
        kind, layer, head = value.kind, value.layer, value.head
    elif isinstance(value, str):
        found = _WRITTEN.match(value.strip())
        if found is None:
            msg = f"{value!r} does not name a head; write 'L5 H3', or 'cross L5 H3' where a model has several kinds."
            raise UnknownName(msg)
        kind, layer, head = (found["kind"] or "").lower(), int(found["layer"]), int(found["head"])
    else:
        parts: tuple[Any, ...] = tuple(value)
        if len(parts) not in (2, 3):
            msg = f"{value!r} does not name a head; give (layer, head) or (kind, layer, head)."
            raise UnknownName(msg)
        kind = str(parts[0]) if len(parts) == 3 else ""
        layer, head = int(parts[-2]), int(parts[-1])
    if not kind:
        if len(kinds) != 1:
            msg = f"L{layer} H{head} could be any of {', '.join(kinds)}; name the kind too, as in '{kinds[0]} L{layer} H{head}'."
            raise UnknownName(msg)
        kind = kinds[0]
    if kind not in kinds:
        msg = f"This model has no {kind!r} attention; it has {', '.join(kinds)}."
        raise UnknownName(msg)
    return HeadId(kind, layer, head)


def as_heads(values: Iterable[Headlike], kinds: Sequence[str]) -> tuple[HeadId, ...]:
    """Several heads, sorted, each once."""
    return tuple(sorted({as_head(value, kinds) for value in values}))


def stream_of(kind: str) -> str:
    """The residual stream that the heads of a kind query and write into: cross-attention is the decoder's."""
    return "decoder" if kind == "cross" else kind
