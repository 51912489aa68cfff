"""Findings: views that a reader pinned, each with its state and what the reader makes of it. Only their browser keeps them."""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from numbers import Real
from typing import TYPE_CHECKING, Any, NamedTuple

import param

from atlas.errors import UnknownName
from atlas.state.compact import Unusable
from atlas.state.compact import shown as quoted
from atlas.state.share import LONGEST, Shared, decode, encode

if TYPE_CHECKING:
    import pandas as pd

    from atlas.state.workspace import Workspace

SCHEMA = 1
"""Version of what a finding holds; a file of a later one is refused, because its fields may mean something else."""

MOST = 100
"""Findings of one reader: all of them go to the browser and back when they change."""

MOST_LETTERS = 2_000_000
"""Letters of a file of findings; a hundred of the longest have fewer."""

NO_CLAIM, REASON, NO_REASON = "", "reason", "no reason"

CLAIMS = {
    NO_CLAIM: "No claim that can be checked",
    REASON: "These heads are part of the reason",
    NO_REASON: "These heads are not the reason",
}
"""What a hypothesis claims, where the app can check it -> in words."""

EDITED = {"title": 200, "hypothesis": 2_000, "uncertainty": 2_000, "steps": 2_000}
"""What a reader writes -> letters at most."""

OF_REPORT = {"title": 200, "question": 2_000}
"""What a reader writes over a report -> letters at most."""

PROSE = frozenset({"hypothesis", "uncertainty", "steps", "question"})
"""Those of several lines."""

WRITTEN = {
    "key": 64, "token": LONGEST, "view": 60, "about": 120, "line": 1_000, "model": 400, "revision": 120, "text": 400, "date": 40,
}  # fmt: skip
"""What the app writes -> letters at most."""

ROWS, NUMBERS, RULES = 12, 48, 20
"""Rows and numbers of the view's table that a finding keeps, and rules that fired in it: enough to see that others came out."""


class Finding(NamedTuple):
    """One pinned view. All of it is plain text and numbers."""

    key: str
    """Names it."""
    title: str
    hypothesis: str
    uncertainty: str
    steps: str
    """What is to be done next."""
    claim: str
    """One of CLAIMS."""
    token: str
    """The whole state, as a link holds it."""
    view: str
    """Key of the view."""
    about: str
    """Title of the view."""
    line: str
    """Whose numbers it showed, over how many."""
    model: str
    revision: str
    text: str
    """The beginning of the text; empty where the reader leaves the text out of links."""
    date: str
    numbers: tuple[float | None, ...] = ()
    """The first numbers of the view's table, row by row; None: not known."""
    rules: tuple[str, ...] = ()
    """The rules that fired, where the view has rules."""


class Findings(param.Parameterized):
    """The findings of one reader, in their order."""

    found = param.ClassSelector(class_=tuple, default=(), doc="The findings; nothing but methods of this class sets them.")
    said = param.String(default="", doc="What was left out of what came from a file or the browser, and why.")
    offered = param.Boolean(default=False, doc="Whether there is a place that shows findings, so that cards offer to pin.")

    def __init__(self, **params: Any) -> None:
        super().__init__(**params)
        self.link: Callable[[], Shared] | None = None
        """Makes the link of the page; without a page it is made of the workspace."""

    def pin(self, workspace: Workspace, view: str, about: str, line: str, table: pd.DataFrame) -> Finding:
        """Keep what a view shows. Raises UnknownName where it could not be brought back."""
        trace = workspace.trace
        if trace is None:
            msg = "Nothing is analysed yet. Type a text and run it."
            raise UnknownName(msg)
        if len(self.found) >= MOST:
            msg = f"There are {MOST} findings, and more are not kept. Save them to a file and delete some."
            raise UnknownName(msg)
        shared = self.link() if self.link is not None else encode(workspace)
        if not shared.token:
            msg = f"This cannot be pinned: {shared.message or 'its state has no link yet.'}"
            raise UnknownName(msg)
        state = decode(shared.token)[0]
        # Who leaves the text out of links keeps none of its tokens here either.
        line = "" if state.private else line
        told = trace.provenance
        made = Finding(
            uuid.uuid4().hex, about, "", "", "", NO_CLAIM, shared.token, view, about, _cut(line, "line"),
            _cut(str(told.get("model") or ""), "model"), _cut(str(told.get("revision") or ""), "revision"),
            _cut(state.text, "text"), datetime.now(UTC).isoformat(timespec="seconds"), numbers_of(table), rules_of(table),
        )  # fmt: skip
        self.param.update(found=(*self.found, made), said=shared.message)
        return made

    def edit(self, key: str, name: str, value: Any) -> None:
        """Write one field of a finding; what is no such field, or too long, changes nothing."""
        if name not in (*EDITED, "claim") or not any(each.key == key for each in self.found):
            return
        try:
            value = _claim(value) if name == "claim" else text_of(value, name, EDITED[name])
        except Unusable as problem:
            self.said = f"The {name} {problem}; it is not kept."
            return
        self.found = tuple(each._replace(**{name: value}) if each.key == key else each for each in self.found)

    def remove(self, key: str) -> None:
        """Delete a finding."""
        self.found = tuple(each for each in self.found if each.key != key)

    def move(self, key: str, by: int) -> None:
        """Move a finding up (-1) or down (1)."""
        keys = [each.key for each in self.found]
        if key in keys and by in (-1, 1) and 0 <= keys.index(key) + by < len(keys):
            at, order = keys.index(key), list(self.found)
            order[at], order[at + by] = order[at + by], order[at]
            self.found = tuple(order)

    def get(self, key: str) -> Finding | None:
        """A finding by its key."""
        return next((each for each in self.found if each.key == key), None)

    def take(self, text: str) -> bool:
        """Hold what the browser kept, instead of what is held; False: nothing of it could be read, and nothing is changed."""
        try:
            found, said = loads(text)
        except Unusable as problem:
            self.said = f"The findings that this browser keeps cannot be read: {problem}"
            return False
        self.param.update(found=found, said=" ".join(said))
        return True

    def add(self, text: str) -> None:
        """Add the findings of a file. One that is here already is replaced."""
        try:
            found, said = loads(text)
        except Unusable as problem:
            self.said = f"This file cannot be read: {problem}"
            return
        self.put(found, said)

    def put(self, found: Sequence[Finding], said: Sequence[str] = ()) -> None:
        """Add findings; `said` is what was left out of them."""
        said = list(said)
        merged = {each.key: each for each in (*self.found, *found)}
        if len(merged) > MOST:
            said.append(f"{len(merged) - MOST} findings are left out: {MOST} are the most.")
        self.param.update(found=tuple(merged.values())[:MOST], said=" ".join(said))


def without_its_text(finding: Finding) -> Finding:
    """A finding as it would have been kept by a reader who leaves the text out of links; what the reader wrote of it stays."""
    token = encode(decode(finding.token)[0], private=True).token
    return finding._replace(token=token, text="", line="")


# -- out and in --------------------------------------------------------------------------------------------------------


def dumps(found: Sequence[Finding], indent: int | None = None) -> str:
    """Findings as JSON: what the browser keeps, and a file."""
    return json.dumps(plain(found), indent=indent)


def plain(found: Sequence[Finding]) -> dict[str, Any]:
    """Findings as plain values, which JSON can hold."""
    return {"attention-atlas findings": SCHEMA, "findings": [each._asdict() for each in found]}


def loads(text: Any) -> tuple[tuple[Finding, ...], list[str]]:
    """The findings again, and what is left out; raises Unusable where it is no file of findings. Anybody may have written it."""
    if not isinstance(text, str) or len(text) > MOST_LETTERS:
        msg = f"it is no text of at most {MOST_LETTERS:,} letters."
        raise Unusable(msg)
    try:
        given = json.loads(text)
    except (ValueError, RecursionError) as problem:
        msg = "it is no JSON, or cut off."
        raise Unusable(msg) from problem
    return taken(given)


def taken(given: Any) -> tuple[tuple[Finding, ...], list[str]]:
    """The findings that plain values hold, as `loads` gives those of a text."""
    if not isinstance(given, Mapping) or not isinstance(given.get("findings"), list):
        msg = "it is no file of findings."
        raise Unusable(msg)
    if type(given.get("attention-atlas findings")) is not int or given["attention-atlas findings"] != SCHEMA:
        msg = f"it is of version {quoted(given.get('attention-atlas findings'))}, and this Atlas reads {SCHEMA}."
        raise Unusable(msg)
    found: dict[str, Finding] = {}
    said = []
    for at, each in enumerate(given["findings"][:MOST], 1):
        try:
            finding = _finding(each)
        except Unusable as problem:
            said.append(f"Finding {at} is left out: {problem}.")
            continue
        if finding.key in found:
            said.append(f"Finding {at} is left out: another one has its key.")
            continue
        found[finding.key] = finding
    more = len(given["findings"]) - MOST
    if more > 0:
        said.append(f"{more:,} findings are left out: {MOST} are the most.")
    return tuple(found.values()), said


def _finding(given: Any) -> Finding:
    if not isinstance(given, Mapping):
        msg = "it is no object"
        raise Unusable(msg)
    unknown = [name for name in given if name not in Finding._fields]
    if unknown:
        msg = f"its field {quoted(unknown[0])} is not known here"
        raise Unusable(msg)
    values: dict[str, Any] = {}
    for name, most in (EDITED | WRITTEN).items():
        try:
            values[name] = text_of(given.get(name, ""), name, most)
        except Unusable as problem:
            msg = f"its {name} {problem}"
            raise Unusable(msg) from problem
    if not values["key"] or not values["token"] or not values["view"]:
        msg = "it has no key, no state or no view"
        raise Unusable(msg)
    return Finding(
        **values, claim=_claim(given.get("claim", "")), numbers=_numbers(given.get("numbers", [])),
        rules=_rules(given.get("rules", [])),
    )  # fmt: skip


def text_of(value: Any, name: str, most: int) -> str:
    """A text as it is kept; raises Unusable where it is none, or too long."""
    if not isinstance(value, str):
        msg = f"is no text but {quoted(value)}"
        raise Unusable(msg)
    if len(value) > most:
        msg = f"has {len(value):,} letters, more than {most:,}"
        raise Unusable(msg)
    # Half of a surrogate pair cannot be written to a file, and of control characters only the line break is text.
    kept = value.encode("utf-8", "replace").decode().replace("\r\n", "\n")
    return "".join(letter for letter in kept if letter.isprintable() or (letter == "\n" and name in PROSE) or letter == " ")


def _claim(value: Any) -> str:
    if not isinstance(value, str) or value not in CLAIMS:
        msg = f"its claim is {quoted(value)}, which is none of {', '.join(map(repr, CLAIMS))}"
        raise Unusable(msg)
    return value


def _numbers(given: Any) -> tuple[float | None, ...]:
    known = isinstance(given, list) and len(given) <= NUMBERS
    if not known or not all(each is None or _is_number(each) for each in given):
        msg = f"its numbers are no list of at most {NUMBERS} numbers"
        raise Unusable(msg)
    return tuple(None if each is None else float(each) for each in given)


def _is_number(value: Any) -> bool:
    """A number that a float can hold; JSON may write others, and Python reads NaN as one."""
    return type(value) in (int, float) and abs(value) < 1e308


def _rules(given: Any) -> tuple[str, ...]:
    known = isinstance(given, list) and len(given) <= RULES
    if not known or not all(isinstance(each, str) and len(each) <= 60 and each.isprintable() for each in given):
        msg = f"its rules are no list of at most {RULES} names"
        raise Unusable(msg)
    return tuple(given)


def _cut(text: str, name: str) -> str:
    """The beginning of a text, on one line, as long as it may be."""
    line, most = " ".join(text.encode("utf-8", "replace").decode().split()), WRITTEN[name]
    return line if len(line) <= most else f"{line[: most - 1]}…"


# -- the numbers of a view ---------------------------------------------------------------------------------------------


def numbers_of(table: pd.DataFrame) -> tuple[float | None, ...]:
    """The first numbers of a table, row by row."""
    cells = [value for row in table.head(ROWS).itertuples(index=False, name=None) for value in row]
    found = [float(value) for value in cells if isinstance(value, Real) and not isinstance(value, bool)]
    return tuple(value if math.isfinite(value) else None for value in found[:NUMBERS])


def rules_of(table: pd.DataFrame) -> tuple[str, ...]:
    """The rules that a table says have fired."""
    if list(table.columns) != ["what", "name", "value"]:
        return ()
    return tuple(table.loc[(table["what"] == "rule") & (table["value"] == "fired"), "name"].astype(str))[:RULES]


# -- Markdown ----------------------------------------------------------------------------------------------------------


def markdown(found: Sequence[Finding], flags: Mapping[str, Sequence[str]], address: str = "") -> str:
    """Findings as Markdown; `address`: where the app is, so that each has a link. No text of a reader becomes markup."""
    parts = ["# Findings\n"]
    for at, each in enumerate(found, 1):
        parts.append(f"## {at}. {plain_markdown(each.title or each.about)}\n")
        told = {
            "View": each.about, "Shown": each.line, "Model": " ".join(filter(None, [each.model, each.revision])),
            "Text": each.text, "Pinned": each.date, "Claim": CLAIMS[each.claim] if each.claim else "",
        }  # fmt: skip
        parts.append("".join(f"- {name}: {plain_markdown(words)}\n" for name, words in told.items() if words))
        for name, title in {"hypothesis": "Hypothesis", "uncertainty": "Uncertainty", "steps": "Next steps"}.items():
            words = getattr(each, name)
            if words:
                parts.append(f"**{title}**\n\n{plain_markdown(words)}\n")
        parts.extend(f"**Contradiction**: {plain_markdown(words)}\n" for words in flags.get(each.key, ()))
        parts.append(f"State: `{address}?s={each.token}`\n" if _is_token(each.token) else "")
    return "\n".join(filter(None, parts))


def plain_markdown(words: str) -> str:
    """Words in Markdown that stay words."""
    lines = (" ".join(line.split()) for line in words.splitlines())
    return "  \n".join("".join(f"\\{letter}" if letter in MARKS else letter for letter in line) for line in lines)


MARKS = frozenset("\\`*_{}[]()#+-.!|<>~&$:=\"'@/")
"""What Markdown may read as markup. A backslash before any of them is no part of the words."""


def _is_token(token: str) -> bool:
    return all(letter.isalnum() or letter in "._-" for letter in token)
