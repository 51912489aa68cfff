"""The verdict without a page: nothing runs before the press, and what is shown is what the function of the API says."""

from __future__ import annotations

import functools

import holoviews as hv
import pytest

import atlas
from atlas.attribution import Target, verdict
from atlas.attribution.verdicts import verdict_cost
from atlas.ids import HeadId
from atlas.state import verdict as state
from atlas.state.asking import STOPPED
from atlas.state.workspace import Workspace
from atlas.tasks import TASKS
from atlas.tracing.verdict import RULES
from atlas.views.verdict import VerdictView
from tests.engine.families import TARGET, TEXT, gptj, loaded, tokenizer
from tests.state.readers import never, single

KINDS = [("BERT", "encoder"), ("GPT-2", "decoder"), ("T5", "cross"), ("T5", "encoder"), ("mood-mini", "encoder")]


@pytest.fixture(autouse=True)
def _bokeh():
    hv.extension("bokeh", logo=False)


@functools.cache
def traced(name):
    model = atlas.load(name) if name.endswith("-mini") else loaded(name)
    return model.trace(TEXT, target=TARGET if "cross" in model.kinds else None)


def shown(trace, kind="", heads=()):
    """A workspace with some heads selected, and the view on it."""
    room = Workspace(never, tasks=dict(TASKS))
    room.pipeline.show(trace)
    if kind:
        room.selection.show_kind(kind)
    if heads:
        room.selection.select_heads({HeadId(kind, *head) for head in heads}, origin="test")
    view = VerdictView(room)
    view.judged.choices.method = "saliency"
    view.__panel__()
    return room, view


@pytest.mark.parametrize(("name", "kind"), KINDS)
def test_a_press_says_what_the_api_says(name, kind):
    trace, heads = traced(name), [(0, 1), (2 if kind != "encoder" or name == "BERT" else 1, 3)]
    room, view = shown(trace, kind, heads)
    ran = []
    task = room.tasks["verdict"]
    room.tasks["verdict"] = lambda *given, **options: ran.append(1) or task(*given, **options)
    cost = verdict_cost(trace, [(kind, *head) for head in heads], "saliency")
    assert f"{cost:,} passes of this text at most" in view.notes.object
    assert (view.sentence.visible, view.bars.visible, view.button.disabled, ran) == (False, False, False, [])
    view.button.clicks += 1
    target = Target(view.judged.request().target.position)
    expected = verdict(trace, target, [(kind, *head) for head in heads], method="saliency")
    assert view.sentence.object == expected.sentence
    assert view.notes.object == "\n".join(expected.notes)
    assert view.button.disabled
    table = view.export().table
    numbers = table[table["what"] == "number"].set_index("name")["value"]
    assert numbers["removal_p"] == pytest.approx(expected.numbers["removal_p"])
    scores, changes = view.bars.groups
    rho = f"{expected.numbers['gradients_rho']:.2f}".replace("-", "−")
    assert scores["rows"][0]["number"].startswith(f"{rho} (")
    assert scores["rows"][0]["shares"] == [pytest.approx(abs(expected.numbers["gradients_rho"]))]
    assert changes["rows"][0]["number"] == f"{expected.numbers['effect']:.3g}".replace("-", "−")
    assert [row["label"] for row in view.rules.groups[0]["rows"]] == [rule.name for rule in expected.rules]
    assert len(ran) == 1


def test_other_heads_or_another_target_have_a_verdict_of_their_own_and_the_first_is_kept():
    room, view = shown(traced("GPT-2"), "decoder", [(0, 1)])
    view.button.clicks += 1
    first = view.sentence.object
    assert first.startswith("The attention of this head")
    room.selection.select_heads({HeadId("decoder", 1, 2), HeadId("decoder", 2, 2)}, origin="test")
    assert (view.sentence.visible, view.button.disabled) == (False, False)
    view.button.clicks += 1
    assert view.sentence.object.startswith("The attention of these 2 heads")
    room.selection.select_tokens([4, 6], axis="from", origin="test")
    assert not view.sentence.visible
    view.button.clicks += 1
    heads, target = [("decoder", 1, 2), ("decoder", 2, 2)], Target(view.judged.request().target.position)
    assert view.sentence.object == verdict(traced("GPT-2"), target, heads, queries=[4, 6], method="saliency").sentence
    assert "; attention from '" in view.lens.line
    room.selection.clear("tokens", origin="test")
    room.target.param.update(position=7, outcome="she", against="he")
    assert not view.sentence.visible
    assert view.lens.line == "L1 H2, L2 H2"
    view.button.clicks += 1
    assert "minus that of 'he'" in view.lens.line
    room.target.param.update(position=-1, outcome="", against="")
    room.selection.select_heads({HeadId("decoder", 0, 1)}, origin="test")
    assert view.sentence.object == first
    room.pipeline.show(traced("BERT"))
    assert not view.sentence.visible


def test_the_switch_lists_every_rule_and_which_hold():
    _, view = shown(traced("GPT-2"), "decoder", [(0, 1)])
    view.judged.choices.rules = True
    rows = view.rules.groups[0]["rows"]
    assert [row["label"] for row in rows] == [rule.name for rule in RULES]
    assert not any(row["number"] for row in rows)
    view.button.clicks += 1
    fired = {row["label"] for row in view.rules.groups[0]["rows"] if row["number"] == "✓"}
    view.judged.choices.rules = False
    assert fired == {row["label"] for row in view.rules.groups[0]["rows"]}
    assert 3 <= len(fired) < len(RULES)


def test_what_is_missing_or_too_much_is_said(monkeypatch):
    assert VerdictView.fits(single())  # a recording has no model
    assert VerdictView.fits(traced("BERT")) == ""
    outside = atlas.load((gptj(), tokenizer(special=False))).trace(TEXT)
    _, view = shown(outside)
    view.button.clicks += 1
    assert "attention interface" in view.problem
    assert not view.button.disabled
    monkeypatch.setattr(state, "MOST_TOKENS_RUN", 100)
    _, view = shown(traced("BERT"))
    assert "Shorten the text" in view.problem
    assert view.lens.problem != STOPPED
