"""What is selected, in words: for the bar at the top, for the line on every card, for who cannot see the page."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from atlas.numbers import listed
from atlas.state.lens import counted

if TYPE_CHECKING:
    from atlas.state.workspace import Workspace
    from atlas.trace import Trace

LETTERS_SAID = 48
"""Letters of a token in a sentence: one of 10,000 pushed the cross that lets go of it off the page, and was read out whole."""

PREDICTS = "⇒"
"""Between the token a row has read and the one it predicts; '→' says what a row attends to."""

PAIR_LETTERS = 9
"""Letters of the two names together: with the sign between them they fit an axis, where longer names are cut at their end."""

PREDICTED_LETTERS = 5
"""Of these, at least so many for the predicted token: it is why the name is there."""


def heads_in_words(workspace: Workspace) -> str:
    """'7 heads of cluster ...', 'L4 H11', 'L0 H0, the head in focus'; and how many of other kinds are not shown."""
    trace, selection, kind = workspace.trace, workspace.selection, workspace.kind
    if trace is None:
        return ""
    named = f"{kind} " if len(trace.kinds) > 1 else ""
    here = selection.heads_of(kind)
    elsewhere = len(selection.heads) - len(here)
    if not here:
        only = trace.n_layers(kind) * trace.n_heads(kind) == 1
        said = f"the only {named}head" if only else f"{named}{selection.focus}, the head in focus"
        return said + (f" ({counted(elsewhere, 'selected head')} of another kind, not shown)" if elsewhere else "")
    said = named + (str(here[0]) if len(here) == 1 else f"{len(here):,} heads")
    if selection.label and len(here) > 1:
        said += f" of {selection.label}"
    elif 1 < len(here) <= 4:
        said = named + ", ".join(map(str, here))
    return said + (f" ({counted(elsewhere, 'head')} of another kind, not shown)" if elsewhere else "")


def tokens_in_words(workspace: Workspace) -> str:
    """'tokens: doctor', 'from: she · to: doctor'; empty where none is selected."""
    trace, selection, kind = workspace.trace, workspace.selection, workspace.kind
    if trace is None:
        return ""
    queries, keys = (
        token_names(trace, trace.side(kind, axis), chosen)
        for axis, chosen in (("query", selection.queries), ("key", selection.keys))
    )
    if selection.queries == selection.keys and trace.side(kind, "query") == trace.side(kind, "key"):
        return f"tokens: {listed(queries)}" if queries else ""
    parts = [f"{name}: {listed(tokens)}" for name, tokens in (("from", queries), ("to", keys)) if tokens]
    return " · ".join(parts)


def changes_in_words(workspace: Workspace) -> str:
    """'8 heads switched off, 1 edge cut': what the trace on screen was made without, or the next one will be; else empty."""
    trace, asked = workspace.trace, workspace.interventions
    made = {} if trace is None else trace.provenance.get("changed") or {}
    there = [len(made.get(name, ())) for name in ("ablated", "knocked out", "patched")]
    said = _changed(*there)
    to_come = _changed(len(asked.ablated), len(asked.cut), 0)
    return said or (f"the next run: {to_come}" if to_come else "")


def _changed(ablated: int, cut: int, patched: int) -> str:
    parts = ((ablated, "head", "switched off"), (cut, "edge", "cut"), (patched, "head", "patched"))
    return ", ".join(f"{counted(count, noun)} {done}" for count, noun, done in parts if count)


def token_names(trace: Trace, side: str, positions: frozenset[int]) -> list[str]:
    """The tokens at some positions, in order, as a reader knows them."""
    tokens = trace.reading(side).table["token"]
    names = [(at, shown_token(str(tokens.iloc[at]))) for at in sorted(positions)]
    # Only those that could be taken for another: four of this name in a text are four tokens.
    several = {name for name, count in Counter(map(str, tokens)).items() if count > 1}
    cut = [name if len(name) <= LETTERS_SAID else f"{name[: LETTERS_SAID - 1]}…" for _, name in names]
    return [f"{name} ({at})" if str(tokens.iloc[at]) in several else name for (at, _), name in zip(names, cut, strict=True)]


def shown_token(token: str) -> str:
    """A token without the marks of its tokenizer that stand for a space, and with what cannot be seen made visible."""
    plain = token.removeprefix("Ġ").removeprefix("▁").removeprefix("##").replace("Ċ", "↵").replace("Ġ", " ").replace("▁", " ")
    seen = "".join(visible(character) for character in plain)
    return seen or "␣"


def visible(character: str) -> str:
    """A character, or the picture of one that has none of its own."""
    if character == "\n":
        return "↵"
    code = ord(character)
    if code < 0x20:
        return chr(0x2400 + code)
    return "␡" if code == 0x7F else character


def row_names(trace: Trace, kind: str) -> tuple[str, ...]:
    """Names of the query tokens. In the decoder of an encoder-decoder each is followed by the token it predicts: '9 ⇒ 8'.

    There the reading is what a digit was written from: the row that decides it belongs to the token before.
    """
    names = tuple(shown_token(str(token)) for token in trace.reading(trace.side(kind, "query")).table["token"])
    if not predicts_next(trace, kind):
        return names
    return tuple(paired(read, then) for read, then in zip(names, (*names[1:], _last(trace)), strict=True))


def predicts_next(trace: Trace, kind: str) -> bool:
    """Whether the rows of this kind are those of a decoder that writes what an encoder read."""
    return "cross" in trace.kinds and kind in ("decoder", "cross")


def _last(trace: Trace) -> str:
    """What the decoder writes after its last token, where the trace holds its predictions."""
    if trace.outcomes is None:
        return "?"
    table = trace.predictions(1)
    # An outcome is named as text, with the space before its word.
    return shown_token(str(table["token"].iloc[-1]).removeprefix(" ")) if "token" in table else "?"


def paired(read: str, then: str) -> str:
    """Two tokens in the room of one name."""
    then = _cut(then, max(PREDICTED_LETTERS, PAIR_LETTERS - len(read)))
    return f"{_cut(read, PAIR_LETTERS - len(then))} {PREDICTS} {then}"


def _cut(name: str, most: int) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"
