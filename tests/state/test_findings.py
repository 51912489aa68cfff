"""Findings: what is pinned comes back, what others wrote is checked, and contradictions follow from stated rules alone."""

from __future__ import annotations

import json
import math
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from atlas.errors import UnknownName
from atlas.ids import HeadId
from atlas.state.compact import Unusable
from atlas.state.contradictions import AGAINST, FOR, HELP, TOLERANCE, contradictions
from atlas.state.findings import (
    EDITED,
    MOST,
    MOST_LETTERS,
    NO_REASON,
    NUMBERS,
    REASON,
    Finding,
    Findings,
    dumps,
    loads,
    markdown,
    numbers_of,
    rules_of,
)
from atlas.state.link import State
from atlas.state.share import decode, encode
from atlas.state.shared import SharedState
from atlas.tracing.verdict import CONCLUSION, RULES
from tests.state.readers import single, workspace

HOSTILE = "<img src=x onerror=alert(1)> [a](javascript:alert(1)) `b` </script>\n# no heading\n- no list"

STATE = State(model="gpt-mini", text="the cat ran", focus=HeadId("decoder", 1, 2), heads=frozenset({HeadId("decoder", 1, 2)}))


def finding(key="a", state=STATE, **fields):
    given = {
        "title": f"Title {key}", "hypothesis": "", "uncertainty": "", "steps": "", "claim": "", "token": encode(state).token,
        "view": "verdict", "about": "Verdict", "line": "L1 H2", "model": "gpt-mini", "revision": "r1", "text": state.text,
        "date": "2026-11-29T20:00:00+00:00",
    }  # fmt: skip
    return Finding(key=key, **(given | fields))


def pinned(room=None, **fields):
    room = room or workspace(single())
    made = room.findings.pin(room, "map", "Map", "6 heads", pd.DataFrame({"head": ["a"], "value": [0.5]}))
    for name, value in fields.items():
        room.findings.edit(made.key, name, value)
    return room


# -- pinning ---------------------------------------------------------------------------------------------------------------


def test_a_pin_keeps_the_state_and_the_numbers_and_restores_them():
    room = workspace(single())
    room.pipeline.choose("a recording", in_memory=True)
    shared = SharedState(room)
    room.pipeline.show(single())
    room.findings.link = shared.link
    heads = {HeadId("encoder", 1, 2), HeadId("encoder", 0, 1)}
    room.selection.select_heads(heads)
    room.display.paint = "received"
    pinned(room)
    (made,) = room.findings.found
    assert (made.view, made.about, made.line, made.numbers) == ("map", "Map", "6 heads", (0.5,))
    assert decode(made.token)[0].heads == heads
    room.selection.clear()
    room.display.paint = "sent"
    assert shared.open(made.token)
    assert (room.selection.heads, room.display.paint) == (heads, "received")


def test_without_a_trace_and_beyond_the_ceiling_nothing_is_pinned():
    with pytest.raises(UnknownName, match="Nothing is analysed"):
        pinned(workspace())
    room = workspace(single())
    room.findings.found = tuple(finding(str(at)) for at in range(MOST))
    with pytest.raises(UnknownName, match="100 findings"):
        pinned(room)


def test_who_leaves_the_text_out_of_links_keeps_none_of_it_in_a_finding():
    room = workspace(single())
    room.findings.link = lambda: encode(replace(STATE, text="a secret"), private=True)
    pinned(room)
    assert "secret" not in dumps(room.findings.found)
    assert (room.findings.found[0].text, room.findings.found[0].line) == ("", "")


def test_a_state_that_is_too_long_for_a_link_is_refused_with_the_reason():
    room = workspace(single())
    room.findings.link = lambda: encode(replace(STATE, label="".join(map(chr, range(0x4E00, 0x4E00 + 6000)))))
    with pytest.raises(UnknownName, match="cannot be pinned: A link to this would have"):
        pinned(room)


def test_findings_are_edited_moved_and_deleted():
    held = Findings(found=(finding("a"), finding("b"), finding("c")))
    held.edit("b", "hypothesis", HOSTILE)
    held.edit("b", "claim", REASON)
    held.edit("b", "token", "another")
    held.edit("b", "claim", "anything")
    held.edit("b", "title", "x" * (EDITED["title"] + 1))
    held.edit("nobody", "title", "x")
    assert (held.get("b").hypothesis, held.get("b").claim, held.get("b").title) == (HOSTILE, REASON, "Title b")
    assert held.get("b").token == finding().token
    assert "more than 200" in held.said
    for key, by in (("c", -1), ("a", -1), ("b", 1), ("nobody", 1), ("a", 2)):
        held.move(key, by)
    assert [each.key for each in held.found] == ["a", "c", "b"]
    held.remove("a")
    assert [each.key for each in held.found] == ["c", "b"]


def test_two_sessions_know_nothing_of_each_other():
    one, other = pinned(title="mine"), workspace(single())
    assert len(one.findings.found) == 1
    assert other.findings.found == ()


# -- files -----------------------------------------------------------------------------------------------------------------


def test_what_is_saved_is_read_again_and_added_once():
    held = Findings(found=(finding("a", numbers=(1.5, None), rules=("chance",)), finding("b", hypothesis=HOSTILE, claim=REASON)))
    again = Findings(found=(finding("b"),))
    assert loads(dumps(held.found)) == (held.found, [])
    again.add(dumps(held.found, indent=1))
    assert {each.key: each for each in again.found} == {each.key: each for each in held.found}
    assert len(again.found) == 2
    assert again.take(dumps(held.found[:1]))
    assert again.found == held.found[:1]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ("[]", "no file of findings"),
        ('{"findings": {}}', "no file of findings"),
        ('{"findings": []}', "version"),
        ('{"attention-atlas findings": true, "findings": []}', "version"),
        ('{"attention-atlas findings": 2, "findings": []}', "version 2, and this Atlas reads 1"),
        (" " * (MOST_LETTERS + 1), "at most"),
    ],
)
def test_what_is_no_file_of_findings_changes_nothing(text, reason):
    held = Findings(found=(finding(),))
    with pytest.raises(Unusable, match=reason):
        loads(text)
    held.add(text)
    assert reason in held.said
    assert not held.take(text)
    assert held.found == (finding(),)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("title", "x" * 201),
        ("title", ["x"]),
        ("hypothesis", None),
        ("hypothesis", "x" * 2001),
        ("claim", "yes"),
        ("claim", 1),
        ("token", ""),
        ("token", "v" * 4001),
        ("key", ""),
        ("view", {"a": 1}),
        ("numbers", [1.0] * (NUMBERS + 1)),
        ("numbers", ["1"]),
        ("numbers", [True]),
        ("numbers", [math.nan]),
        ("numbers", [10**400]),
        ("rules", "chance"),
        ("rules", ["x" * 61]),
        ("rules", ["\x1b[31m"]),
        ("more", 1),
    ],
)
def test_every_field_of_a_file_is_checked_and_what_is_wrong_is_left_out_alone(field, value):
    given = json.loads(dumps([finding("a"), finding("b")]))
    given["findings"][0][field] = value
    found, said = loads(json.dumps(given))
    assert found == (finding("b"),)
    assert len(said) == 1
    assert said[0].startswith("Finding 1 is left out: ")
    assert len(said[0]) < 300


def test_too_many_findings_and_the_same_key_twice_are_left_out():
    found, said = loads(dumps([finding(str(at)) for at in range(MOST + 5)]))
    assert len(found) == MOST
    assert said == ["5 findings are left out: 100 are the most."]
    found, said = loads(dumps([finding(), finding(title="other")]))
    assert found == (finding(),)
    assert "another one has its key" in said[0]
    held = Findings(found=(finding("mine"),))
    held.add(dumps([finding(str(at)) for at in range(MOST)]))
    assert len(held.found) == MOST
    assert held.found[0].key == "mine"


def test_control_characters_and_half_letters_do_not_come_in():
    held = Findings(found=(finding(),))
    held.edit("a", "steps", "one\r\ntwo\x00\x1b[31m \ud800 \u202e")
    assert held.found[0].steps == "one\ntwo[31m ? "
    dumps(held.found).encode()


def test_markdown_holds_everything_and_makes_no_markup_of_it():
    found = [finding("a", title=HOSTILE, hypothesis=HOSTILE, claim=NO_REASON, text=HOSTILE), finding("b", token="x`y <b>")]
    text = markdown(found, {"a": ("It says the opposite of <b>.",)})
    lines = [line.rstrip() for line in text.splitlines()]
    assert lines[0] == "# Findings"
    assert sum(line.startswith("#") for line in lines) == 3
    assert "\\<img src\\=x onerror\\=alert\\(1\\)\\>" in text
    assert "\\# no heading" in lines
    assert "<b>" not in text.replace("\\<b\\>", "")
    assert f"State: `?s={found[0].token}`" in lines
    assert "x`y" not in text
    assert "**Contradiction**: It says the opposite of \\<b\\>\\." in lines


# -- numbers and rules of a view ---------------------------------------------------------------------------------------------


def test_numbers_and_rules_are_those_of_the_table():
    table = pd.DataFrame({"name": ["a", "b"], "n": [1, 2], "p": [0.25, np.nan], "ok": [True, False]})
    assert numbers_of(table) == (1.0, 0.25, 2.0, None)
    assert len(numbers_of(pd.DataFrame(np.ones((500, 9))))) == NUMBERS
    assert rules_of(table) == ()
    verdict = pd.DataFrame(
        [("sentence", "", "…"), ("number", "n", 3.0), ("rule", "chance", "fired"), ("rule", "a sign", "")],
        columns=["what", "name", "value"],
    )
    assert numbers_of(verdict) == (3.0,)
    assert rules_of(verdict) == ("chance",)


def test_the_conclusions_of_the_rules_are_those_of_the_verdict():
    assert {*FOR, *AGAINST} <= {rule.name for rule in RULES if rule.part == CONCLUSION}
    assert all(f"'{name}'" in HELP for name in FOR | AGAINST)
    assert TOLERANCE == 1 / 1000


# -- contradictions ----------------------------------------------------------------------------------------------------------


def flagged(*found):
    return {key: len(words) for key, words in contradictions(found).items()}


def test_other_numbers_in_the_same_state_contradict_each_other():
    one = finding("a", numbers=(1.0, None, 0.0))
    assert flagged(one, finding("b", numbers=(1.0005, 2.0, 1e-9))) == {}
    assert flagged(one, finding("b", numbers=(1.002, None, 0.0))) == {"a": 1, "b": 1}
    assert "“Title b”" in contradictions([one, finding("b", numbers=(2.0, None, 0.0))])["a"][0]
    other = {"numbers": (2.0, None, 0.0)}
    elsewhere = [
        finding("b", state=replace(STATE, text="the dog ran"), **other),
        finding("b", state=replace(STATE, queries=frozenset({1})), **other),
        finding("b", state=replace(STATE, display={"mode": "moved"}), **other),
        finding("b", state=replace(STATE, dtype="float16"), **other),
        finding("b", view="map", **other),
        finding("b", revision="r2", **other),
        finding("b", numbers=(2.0,)),
        finding("b", token="v1.damaged", **other),
    ]
    assert [flagged(one, each) for each in elsewhere] == [{}] * len(elsewhere)
    assert flagged(one, finding("b", state=replace(STATE, display={"tab": "faithfulness"}), **other)) == {"a": 1, "b": 1}


def test_a_text_that_is_left_out_is_compared_with_nothing():
    token = encode(STATE, private=True).token
    assert flagged(finding("a", token=token, numbers=(1.0,)), finding("b", token=token, numbers=(2.0,))) == {}


@pytest.mark.parametrize("against", sorted(AGAINST))
def test_opposite_verdicts_on_the_same_question_contradict_each_other(against):
    one = finding("a", rules=("needed", "part of the reason"))
    other = replace(STATE, choices={"verdict": {"method": "saliency"}})
    assert flagged(one, finding("b", state=other, rules=(against,))) == {"a": 1, "b": 1}
    assert flagged(one, finding("b", state=other, rules=("not shown",))) == {}
    third = replace(STATE, heads=frozenset({HeadId("decoder", 0, 0)}))
    assert flagged(one, finding("b", state=third, rules=(against,))) == {}
    outcome = replace(STATE, explained={"position": 1})
    assert flagged(one, finding("b", state=outcome, rules=(against,))) == {}
    assert flagged(one, finding("b", model="bert-mini", rules=(against,))) == {}


def test_the_head_in_focus_is_judged_where_none_is_selected():
    focus = replace(STATE, heads=frozenset())
    assert flagged(finding("a", rules=("part of the reason",)), finding("b", state=focus, rules=("chance",))) == {"a": 1, "b": 1}


def test_a_finding_contradicts_its_own_test():
    assert flagged(finding("a", claim=REASON, rules=("order by chance", "chance"))) == {"a": 1}
    assert flagged(finding("a", claim=NO_REASON, rules=("part of the reason",))) == {"a": 1}
    assert flagged(finding("a", claim=NO_REASON, rules=("chance",)), finding("b", claim=NO_REASON)) == {}
    assert flagged(finding("a", claim=REASON, rules=("needed for something else",))) == {}


def test_opposite_claims_of_the_same_heads_contradict_each_other():
    other = finding("b", claim=NO_REASON, view="map")
    assert flagged(finding("a", claim=REASON), other) == {"a": 1, "b": 1}
    assert flagged(finding("a", claim=REASON, state=replace(STATE, text="the dog ran")), other) == {}


def test_a_hundred_findings_are_compared_at_once():
    found = [finding(str(at), numbers=(float(at),)) for at in range(MOST)]
    before = time.process_time()
    assert flagged(*found)["0"] == MOST - 1
    assert time.process_time() - before < 2
