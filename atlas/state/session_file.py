"""A session as a file: what a link says, with texts of any length, and the findings. Anybody may have written it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from atlas.state.compact import Unusable
from atlas.state.findings import plain as plain_findings
from atlas.state.findings import taken, without_its_text
from atlas.state.link import State
from atlas.state.share import plain, state_in, without_text

if TYPE_CHECKING:
    from atlas.state.findings import Finding
    from atlas.state.shared import SharedState

NAME = "attention-atlas-session.json"

MARK = "attention-atlas session"

SCHEMA = 1
"""Version of what a file holds; one of a later version is refused, because its fields may mean something else."""

MOST_BYTES = 6_000_000
"""Of a file: three texts of the most letters take 2.4 MB in UTF-8, a hundred of the longest findings 2 MB."""


def saved(shared: SharedState) -> bytes:
    """The session on screen as a file, without its texts if the reader leaves them out of links."""
    state, found = shared.state(), shared.workspace.findings.found
    if not shared.private:
        return written(state, found)
    # A finding may be older than the wish to keep the text to oneself, and its link holds the text.
    return written(None if state is None else without_text(state), tuple(map(without_its_text, found)))


def opened(shared: SharedState, data: bytes) -> str:
    """Go where a file says and add its findings to those that are here; why that cannot be done, else nothing."""
    try:
        state, findings, said = read(data)
    except Unusable as problem:
        return f"This file cannot be read: {problem}"
    if findings:
        shared.workspace.findings.put(findings)
    if state != State():
        shared.put(state, said)
    return ""


def written(state: State | None, findings: tuple[Finding, ...]) -> bytes:
    """A state and findings as a file."""
    whole = {
        MARK: SCHEMA,
        "state": {} if state is None else plain(state),
        "findings": plain_findings(findings),
    }
    return json.dumps(whole, ensure_ascii=False, indent=1).encode("utf-8", "backslashreplace")


def read(data: bytes) -> tuple[State, tuple[Finding, ...], list[str]]:
    """The state, the findings, and what of both is left out; raises Unusable where it is no file of a session."""
    if len(data) > MOST_BYTES:
        msg = f"it has {len(data):,} bytes, and {MOST_BYTES:,} are the most."
        raise Unusable(msg)
    try:
        given: Any = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as problem:
        msg = "it is no JSON, or cut off."
        raise Unusable(msg) from problem
    if not isinstance(given, Mapping) or MARK not in given or not isinstance(given.get("state", {}), Mapping):
        msg = "it is no file of a session."
        raise Unusable(msg)
    if type(given[MARK]) is not int or given[MARK] != SCHEMA:
        msg = f"it is of version {str(given[MARK])[:20]}, and this Atlas reads {SCHEMA}."
        raise Unusable(msg)
    state, said = state_in(given.get("state", {}))
    findings, more = taken(given["findings"]) if given.get("findings") else ((), [])
    return state, findings, [*said, *more]
