"""What a link says, field by field: how each is written, how it is read from a stranger's hand, what a message calls it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from atlas.ids import HeadId
from atlas.state.changes import NO_EDGES, BiasThresholds, Target
from atlas.state.choices import CHOICES
from atlas.state.compact import MOST_TOKENS, Unusable, pack, pack_head, pack_heads, shown, unpack, unpack_head, unpack_heads
from atlas.state.display import Display
from atlas.state.inputs import LONGEST_TEXT
from atlas.state.second import pack_second, unpack_second
from atlas.state.selection import NO_HEADS, NO_TOKENS
from atlas.state.validate import checked, flag, name, text
from atlas.state.written import Written, pack_spans, pack_written, unpack_spans, unpack_written
from atlas.tracing.spans import Span

if TYPE_CHECKING:
    import param

MOST_EDGES = 10_000
"""Edges a link may cut: far more than anybody clicks, few enough to be checked at once."""


@dataclass(frozen=True)
class State:
    """What a link says: plain values, the defaults where it says nothing."""

    model: str = ""
    revision: str = ""
    device: str = ""
    dtype: str = ""
    in_memory: bool = False
    """The model was in the memory of whoever made the link: it can be named, not brought back."""
    text: str = ""
    pair: str = ""
    target: str = ""
    truncate: bool = False
    chat: bool = False
    """The text is a conversation."""
    private: bool = False
    """The texts were left out."""
    ablated: frozenset[HeadId] = NO_HEADS
    cut: frozenset[tuple[HeadId, int, int]] = NO_EDGES
    regenerate: bool = False
    focus: HeadId | None = None
    heads: frozenset[HeadId] = NO_HEADS
    queries: frozenset[int] = NO_TOKENS
    keys: frozenset[int] = NO_TOKENS
    label: str = ""
    display: Mapping[str, Any] = field(default_factory=dict)
    thresholds: Mapping[str, Any] = field(default_factory=dict)
    explained: Mapping[str, Any] = field(default_factory=dict)
    choices: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Key of a view's lens -> what differs from the defaults of its choices."""
    second: Mapping[str, Any] = field(default_factory=dict)
    """What the second side of a comparison is made of, where it is not as the first."""
    spans: tuple[Span, ...] = ()
    """What of the texts was a prompt, and what was written."""
    written: Written | None = None
    """What the model wrote on the text."""


Take = Callable[[Any], tuple[Any, list[str]]]


@dataclass(frozen=True)
class Field:
    """One field of a State in a link."""

    what: str
    """What a message calls it."""
    take: Take
    """Its value from what a link holds, and what is to be said about it; raises Unusable where nothing can be made of it."""
    put: Callable[[Any], Any] = lambda value: value
    """What a link holds for its value; empty, false or None: nothing."""


def _whole(take: Callable[[Any], Any]) -> Take:
    """For a field that is used or left out as a whole."""
    return lambda value: (take(value), [])


def _edges(cut: frozenset[tuple[HeadId, int, int]]) -> dict[str, list[list[int]]]:
    return {
        pack_head(head): sorted([query, key] for at, query, key in cut if at == head) for head in sorted({at for at, _, _ in cut})
    }


def _uncut(given: Any) -> frozenset[tuple[HeadId, int, int]]:
    msg = "is no list of edges"
    if not isinstance(given, Mapping) or not all(isinstance(pairs, list) for pairs in given.values()):
        raise Unusable(msg)
    by_head = {unpack_head(head): pairs for head, pairs in given.items()}
    pairs = [(head, pair) for head, pairs in by_head.items() for pair in pairs]
    if len(pairs) > MOST_EDGES:
        msg = f"has {len(pairs):,} edges, more than {MOST_EDGES:,}"
        raise Unusable(msg)
    for _, pair in pairs:
        whole = isinstance(pair, list) and len(pair) == 2 and all(type(at) is int and 0 <= at < MOST_TOKENS for at in pair)
        if not whole:
            raise Unusable(msg)
    return frozenset((head, query, key) for head, (query, key) in pairs)


def _long_text(value: Any) -> str:
    return text(value, LONGEST_TEXT)


def _params(holder: type[param.Parameterized], what: str) -> Field:
    """For the Params of a holder, each used or left out by itself."""
    return Field(what, lambda value: checked(holder, value, what), dict)


def _choices(given: Any) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """The choices of single views, each field of each view used or left out by itself."""
    if not isinstance(given, Mapping):
        msg = "cannot be read"
        raise Unusable(msg)
    found: dict[str, dict[str, Any]] = {}
    complaints = [
        f"The link's choices for {shown(key)} are not known here and are left out." for key in given if key not in CHOICES
    ]
    for key in (key for key in CHOICES if key in given):
        values, said = checked(CHOICES[key], given[key], f"choices for {key!r}")
        complaints += said
        if values:
            found[key] = values
    return found, complaints


FIELDS: dict[str, Field] = {
    "model": Field("model", _whole(name)),
    "revision": Field("revision", _whole(name)),
    "device": Field("device", _whole(name)),
    "dtype": Field("precision", _whole(name)),
    "in_memory": Field("mark of a model in memory", _whole(flag)),
    "text": Field("text", _whole(_long_text)),
    "pair": Field("second text", _whole(_long_text)),
    "target": Field("decoder's text", _whole(_long_text)),
    "truncate": Field("switch for long texts", _whole(flag)),
    "chat": Field("mark of a conversation", _whole(flag)),
    "private": Field("mark of a left-out text", _whole(flag)),
    "ablated": Field("list of switched-off heads", _whole(unpack_heads), pack_heads),
    "cut": Field("list of cut edges", _whole(_uncut), _edges),
    "regenerate": Field("switch for writing the target anew", _whole(flag)),
    "focus": Field("head shown large", _whole(unpack_head), lambda head: head and pack_head(head)),
    "heads": Field("selection of heads", _whole(unpack_heads), pack_heads),
    "queries": Field("selection of tokens that look", _whole(unpack), pack),
    "keys": Field("selection of tokens that are looked at", _whole(unpack), pack),
    "label": Field("name of the selected heads", _whole(name)),
    "display": _params(Display, "display"),
    "thresholds": _params(BiasThresholds, "thresholds"),
    "explained": _params(Target, "target"),
    "choices": Field("choices", _choices, lambda choices: {key: dict(values) for key, values in choices.items() if values}),
    "second": Field("second side", unpack_second, pack_second),
    "spans": Field("spans of the text", _whole(unpack_spans), pack_spans),
    "written": Field("written tokens", _whole(unpack_written), pack_written),
}
"""One entry a field of State, by its name."""
