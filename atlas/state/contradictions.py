"""Findings that contradict each other, or their own test: four rules, each stated exactly."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import replace
from itertools import combinations

from atlas.state.findings import NO_REASON, REASON, Finding
from atlas.state.link import State
from atlas.state.share import decode
from atlas.state.stamp import OF_THE_PAGE

TOLERANCE = 1e-3
"""Share by which numbers may differ: another machine rounds otherwise, but in the seventh digit."""

FOR = frozenset({"part of the reason"})
AGAINST = frozenset({"not the reason", "chance", "reason against"})
"""Conclusions of the verdict that say that attention is the reason, and that it is not."""

HELP = (
    "Contradictions are found by four rules. 1: one view in one state (model, revision, text, selection and all choices) gave "
    "numbers that differ by more than one in a thousand. 2: of two verdicts on the same heads, tokens, text, model and outcome "
    "one concludes 'part of the reason', the other 'not the reason', 'chance' or 'reason against'. 3: a finding claims that its "
    "heads are part of the reason, or that they are not, and its own verdict concludes the opposite. 4: two findings claim the "
    "opposite of the same heads, tokens, text, model and outcome. Where a text is left out, nothing is compared."
)


def contradictions(found: Sequence[Finding]) -> dict[str, tuple[str, ...]]:
    """Key of a finding -> what contradicts it, in words; only findings that something contradicts."""
    said: dict[str, list[str]] = {each.key: [] for each in found}
    states = {each.key: decode(each.token)[0] for each in found}
    for each in found:
        if (each.claim == REASON and AGAINST & {*each.rules}) or (each.claim == NO_REASON and FOR & {*each.rules}):
            concluded = next(rule for rule in each.rules if rule in FOR | AGAINST)
            said[each.key].append(f"Its own verdict concludes {concluded!r}, the opposite of what it claims.")
    for one, other in combinations(found, 2):
        states_of_both = states[one.key], states[other.key]
        if not _same_run(one, other, *states_of_both):
            continue
        for reason in _between(one, other, *states_of_both):
            said[one.key].append(f"{reason} See {_name(other)}.")
            said[other.key].append(f"{reason} See {_name(one)}.")
    return {key: tuple(words) for key, words in said.items() if words}


def _between(one: Finding, other: Finding, state: State, beside: State) -> list[str]:
    reasons = []
    if one.view == other.view and _without_page(state) == _without_page(beside) and differ(one.numbers, other.numbers):
        reasons.append("The same view in the same state gave other numbers.")
    if _question(state) == _question(beside):
        conclusions = [{*each.rules} for each in (one, other)]
        if any(FOR & first and AGAINST & second for first, second in (conclusions, conclusions[::-1])):
            reasons.append("Two verdicts on the same heads, text and outcome conclude the opposite.")
        if {one.claim, other.claim} == {REASON, NO_REASON}:
            reasons.append("Two findings claim the opposite of the same heads, text and outcome.")
    return reasons


def _same_run(one: Finding, other: Finding, state: State, beside: State) -> bool:
    known = not (state.private or beside.private) and State() not in (state, beside)
    return known and (one.model, one.revision) == (other.model, other.revision) and _run(state) == _run(beside)


def _run(state: State) -> Hashable:
    """What a trace is made of."""
    return (
        state.model, state.revision, state.text, state.pair, state.target, state.truncate, state.chat, state.spans, state.ablated,
        state.cut, state.regenerate,
    )  # fmt: skip


def _question(state: State) -> Hashable:
    """What a verdict is about: these heads, the tokens whose attention counts, and the outcome."""
    heads = state.heads or frozenset(head for head in (state.focus,) if head is not None)
    kind = None if state.focus is None else state.focus.kind
    return heads, kind, state.queries, tuple(sorted(state.explained.items()))


def _without_page(state: State) -> State:
    """The state without what changes no view."""
    return replace(state, display={name: value for name, value in state.display.items() if name not in OF_THE_PAGE})


def differ(ours: Sequence[float | None], theirs: Sequence[float | None]) -> bool:
    """Whether a known number is another one; of tables of another length nothing is known."""
    if len(ours) != len(theirs):
        return False
    pairs = [(a, b) for a, b in zip(ours, theirs, strict=True) if a is not None and b is not None]
    return any(not math.isclose(a, b, rel_tol=TOLERANCE, abs_tol=1e-6) for a, b in pairs)


def _name(finding: Finding) -> str:
    return f"“{finding.title or finding.about}”"
