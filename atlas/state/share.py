"""The whole state of a workspace as one short string that an address can hold, and back, whoever wrote it.

`v1.` and then base64url of zlib of JSON. It begins with a letter and holds no bracket: Panel reads an address part that looks
like a number or like JSON as that (`[MASK]` would be lost).
"""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from atlas.state.choices import without_quotes
from atlas.state.compact import Unusable, shown
from atlas.state.link import FIELDS, State
from atlas.state.second import without_texts
from atlas.state.validate import differing
from atlas.state.written import pack_written

if TYPE_CHECKING:
    from atlas.state.pipeline import Pipeline
    from atlas.state.workspace import Workspace

VERSION = "v1"

LONGEST = 4_000
"""Letters of a link's state. Bokeh's server repeats the query in one header of its websocket, where it takes 1.8 times the room
(4,000 become 7,650, 8,000 become 14,400), and nginx and others refuse a header of more than 8 kB: the page would stay blank."""

MOST_BYTES = 1 << 20
"""Bytes a state may unpack to: the longest text box and all else fits; 4,000 letters made to become gigabytes do not."""

DAMAGED = "This link is cut off or damaged, so nothing of it could be restored. Copy it again, all of it."

_SHAPE = re.compile(r"(v\d{1,4})\.([A-Za-z0-9_-]*)", re.ASCII)


@dataclass(frozen=True)
class Shared:
    """A link's state, and what is to be said about it."""

    token: str
    message: str = ""


# -- out ---------------------------------------------------------------------------------------------------------------


def run_of(pipeline: Pipeline) -> dict[str, Any]:
    """The fields of a State that a run is made of, as they are set now."""
    choice, given, changes = pipeline.choice, pipeline.input, pipeline.interventions
    assert choice is not None
    assert given is not None
    assert changes is not None
    return {
        "model": choice.name_or_path, "revision": choice.revision, "device": choice.device, "dtype": choice.dtype,
        "in_memory": choice.in_memory, "text": given.text, "pair": given.pair, "target": given.target,
        "truncate": given.truncate, "chat": given.chat, "spans": given.known_spans(), "ablated": changes.ablated,
        "cut": changes.cut, "regenerate": changes.regenerate,
    }  # fmt: skip


def state_of(workspace: Workspace, run: Mapping[str, Any] | None = None) -> State:
    """The state of a workspace; `run` stands in for what is typed now but not run."""
    selection = workspace.selection
    return State(
        **(run_of(workspace.pipeline) if run is None else run),
        focus=selection.focus, heads=selection.heads, queries=selection.queries, keys=selection.keys, label=selection.label,
        display=differing(workspace.display), thresholds=differing(workspace.thresholds), explained=differing(workspace.target),
        choices=choices_of(workspace), second=workspace.second.values(), written=workspace.written.record,
    )  # fmt: skip


def choices_of(workspace: Workspace) -> dict[str, dict[str, Any]]:
    """What differs from the defaults in the choices of single views."""
    found = {key: differing(holder) for key, holder in sorted(workspace.choices.items())}
    return {key: values for key, values in found.items() if values}


def encode(source: Workspace | State, *, private: bool = False) -> Shared:
    """A workspace's state as a token; `private` leaves the texts out, and so does one that is too long, which is said."""
    state = source if isinstance(source, State) else state_of(source)
    said = []
    if state.in_memory:
        said.append(f"The model {state.model!r} is in memory only: a link names it but cannot bring it to another session.")
    textless = without_text(state)
    token = _packed(textless if private else state)
    if state.written is not None and not private and (len(token) > LONGEST or pack_written(state.written) is None):
        said.append("What the model wrote is too long for a link and is left out; analyse it to have it in the text.")
        token = _packed(replace(state, written=None))
    if len(token) > LONGEST and not private:
        said.append(
            f"With its texts this link would have {len(token):,} letters, and servers refuse more than {LONGEST:,}. "
            "It leaves the texts out; save the session as a file, or send them beside it."
        )
        token = _packed(textless)
    if len(token) > LONGEST:
        msg = (
            f"A link to this would have {len(token):,} letters, and servers refuse more than {LONGEST:,}. "
            "Select fewer heads or tokens."
        )
        return Shared("", msg)
    return Shared(token, " ".join(said))


def without_text(state: State) -> State:
    """The same without anything that the reader wrote or the model answered."""
    return replace(
        state, private=True, text="", pair="", target="", spans=(), written=None, choices=without_quotes(state.choices),
        second=without_texts(state.second),
    )  # fmt: skip


def plain(state: State) -> dict[str, Any]:
    """A state as plain values, which JSON can hold; what is as ever is left out."""
    put = {key: each.put(getattr(state, key)) for key, each in FIELDS.items()}
    return {key: value for key, value in put.items() if value}


def _packed(state: State) -> str:
    kept = plain(state)
    # Half of a surrogate pair cannot be UTF-8; the escape that stands for it in Python is JSON's too.
    raw = json.dumps(kept, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace")
    # What would not be unpacked again is not packed: then it is too long, whatever it is.
    packed = raw if len(raw) > MOST_BYTES else zlib.compress(raw, 9)
    return f"{VERSION}.{base64.urlsafe_b64encode(packed).decode().rstrip('=')}"


# -- in ----------------------------------------------------------------------------------------------------------------


def decode(token: str) -> tuple[State, list[str]]:
    """What a token says, and in words what of it could not be used. Never raises: a token is a stranger's text."""
    try:
        given = _unpacked(token)
    except Unusable as problem:
        return State(), [str(problem)]
    return state_in(given)


def state_in(given: Mapping[str, Any]) -> tuple[State, list[str]]:
    """The state that plain values say, and in words what of them could not be used. Never raises."""
    found: dict[str, Any] = {}
    said = [f"The link's field {shown(key)} is not known here and is left out." for key in given if key not in FIELDS]
    for key in (key for key in FIELDS if key in given):
        try:
            found[key], complaints = FIELDS[key].take(given[key])
        except Unusable as problem:
            complaints = [f"The link's {FIELDS[key].what} {problem}; it is left out."]
        said.extend(complaints)
    return State(**found), said


def _unpacked(token: str) -> dict[str, Any]:
    """The JSON object inside a token."""
    shape = _SHAPE.fullmatch(token.strip())
    if shape is None:
        raise Unusable(DAMAGED)
    if shape[1] != VERSION:
        msg = (
            f"This link is of version {shape[1]}, and this Atlas reads {VERSION}: nothing of it could be restored. "
            "Update Atlas, or make the link again."
        )
        raise Unusable(msg)
    if len(token) > LONGEST:
        msg = (
            f"This link has {len(token):,} letters, more than the {LONGEST:,} that Atlas writes: nothing of it could be restored."
        )
        raise Unusable(msg)
    try:
        given = json.loads(_inflated(base64.b64decode(shape[2] + "=" * (-len(shape[2]) % 4), b"-_", validate=True)))
    except Unusable:
        raise
    except (zlib.error, ValueError, RecursionError) as problem:  # base64's, UTF-8's and JSON's errors are ValueErrors
        raise Unusable(DAMAGED) from problem
    if not isinstance(given, dict):
        raise Unusable(DAMAGED)
    return given


def _inflated(raw: bytes) -> bytes:
    """Unpack up to the ceiling, and not one byte beyond it."""
    stream = zlib.decompressobj()
    found = stream.decompress(raw, MOST_BYTES + 1)
    if len(found) > MOST_BYTES:
        msg = f"This link unpacks to more than {MOST_BYTES >> 20} MB, which Atlas never writes: nothing of it was restored."
        raise Unusable(msg)
    if not stream.eof or stream.unused_data:
        raise Unusable(DAMAGED)
    return found
