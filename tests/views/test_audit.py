"""The view of flagged words over many texts without a page: numbers of the API, what is planted, what it opens and selects."""

from __future__ import annotations

import asyncio
import functools
import json

import holoviews as hv
import numpy as np
import pandas as pd
import pytest

import atlas
from atlas.bias import audit, audits, detect
from atlas.bias.templates import template_texts
from atlas.ids import HeadId
from atlas.state.attention_bias import OTHER_SIDE
from atlas.state.audit import CHANGED, FIRST_ALONE, NO_HEADS, ROWS, AuditLens
from atlas.state.many_texts import FILE, LISTED, NO_TEXTS_YET, PASTED
from atlas.state.workspace import Workspace
from atlas.tasks import TASKS
from atlas.tracing.audits import AUDIT
from atlas.tracing.listed import list_of
from atlas.tracing.many_texts import FEW_SENTENCES
from atlas.views.audit import AuditView
from atlas.views.files import files_of
from tests.attribution.planted import DECIDES, DECOY
from tests.bias.test_causal import carried
from tests.engine.families import TEXT, loaded
from tests.state.readers import single
from tests.waiting import until

TEXTS = (
    "All women are bad drivers.",
    "The train was late, and it rained.",
    "Poor people are lazy, and immigrants steal.",
    "She said that old men complain about everything, every day.",
)

model = functools.cache(lambda name: atlas.load(name) if name.endswith("-mini") else loaded(name))


@pytest.fixture(autouse=True)
def _bokeh():
    hv.extension("bokeh", logo=False)


@functools.cache
def trace(name="gus-mini", text="the cat", **options):
    return model(name).trace(text, **options)


def opened(of=None, tasks=TASKS):
    of = of or trace()
    room = Workspace(lambda job, _: of.live.model.trace(job.text, pair=job.pair or None), tasks=tasks)
    room.pipeline.show(of)
    view = AuditView(room)
    view.__panel__()
    return room, view


def pasted(view, texts=TEXTS):
    view.audit.choices.source = PASTED
    view.audit.paste("\n".join(texts))


@functools.cache
def expected(name="gus-mini"):
    return audit("gus-mini", TEXTS, name if name.endswith("-mini") else model(name), 0.5)


def frames_equal(found, wanted):
    for name in ("texts", "labels", "heads", "bad"):
        pd.testing.assert_frame_equal(getattr(found, name), getattr(wanted, name))


@pytest.mark.parametrize("name", ["gus-mini", "bert-mini", "GPT-2", "T5"])
def test_nothing_runs_before_the_press_and_then_the_numbers_are_those_of_the_api(name):
    room, view = opened(trace(name))
    assert view.lens.line == "occupations (texts that come with Atlas): not run yet with these thresholds"
    pasted(view)
    assert not view.results.visible
    assert not view.start.disabled
    view._run()
    assert not view.problem
    assert view.results.visible
    assert view.start.disabled, "there is nothing left to go on with"
    wanted = expected(name)
    frames_equal(view.audit.found().audit, wanted)
    kind = room.kind
    ours = wanted.heads[wanted.heads["kind"] == kind]
    plane = view.audit.plane().whole
    np.testing.assert_allclose(plane.ravel(), np.log2(np.maximum(ours["ratio"], 1 / 64)))
    cell = view.audit.cell(1, 1)
    head = ours[(ours["layer"] == 1) & (ours["head"] == 1)].iloc[0]
    assert {each: cell[each] for each in ("ratio", "lo", "hi", "chance", "p", "q")} == pytest.approx(
        {each: head[each] for each in ("ratio", "lo", "hi", "chance", "p", "q")}, nan_ok=True
    )
    beyond = ours[ours["q"] <= 0.05]
    assert view.dotted() == set(zip(beyond["layer"], beyond["head"], strict=True))
    shares = view.labels.groups[0]["rows"]
    assert [row["shares"][0] for row in shares] == wanted.labels["share"].tolist()
    assert f"in {wanted.labels['texts'][0]} text" in shares[0]["note"]
    order = sorted(wanted.texts.itertuples(), key=lambda row: (-row.flagged, row.row))
    assert [row.text for row in view.rows.rows] == [row.text for row in order]


def test_flagged_words_are_marked_as_the_detector_flags_them():
    _, view = opened()
    pasted(view)
    view._run()
    for row in view.rows.rows:
        words = detect(model("gus-mini"), row.text, 0.5).words
        flagged = (words.drop(columns=["word", "start", "end"]) >= 0.5).any(axis=1)
        assert [row.text[start:end] for start, end in row.marks] == words["word"][flagged].tolist()
        assert row.note.startswith(f"{flagged.sum()} of {len(words)}" if flagged.any() else "nothing is flagged")


def test_a_press_opens_the_text_with_its_strongest_head_and_the_steps_follow_the_list():
    room, view = opened()
    pasted(view)
    view._run()
    first = view.audit.lines()[0]
    assert first.head is not None
    assert view.rows.where == "– of 4"
    view._pressed(first.at)
    assert room.trace.texts.text == first.text
    assert room.selection.focus == first.head
    assert view.rows.where == "1 of 4"
    assert [row.now for row in view.rows.rows] == [True, False, False, False]
    view._pressed(first.at)
    assert room.selection.heads == {first.head}, "pressed again, the head stays"
    for by, place in ((1, 1), (1, 2), (-1, 1), (-1, 0), (-1, 0)):
        view._stepped(by)
        assert room.trace.texts.text == view.audit.lines()[place].text
    assert view.audit.found().complete, "another text is no reason to run again"


def test_the_heads_beyond_chance_are_selected_and_a_tap_focuses_one():
    room, view = opened()
    view._run()
    wanted = audit("gus-mini", template_texts("occupations"), thresholds=0.5).heads
    beyond = wanted[wanted["q"] <= 0.05]
    assert len(beyond) > 1
    assert view.heads.label == f"Select the {len(beyond)} heads beyond chance"
    assert FEW_SENTENCES in view.notes.object
    view._select()
    assert room.selection.heads == {HeadId("encoder", row.layer, row.head) for row in beyond.itertuples()}
    assert view.audit.marked().cells == {(head.layer, head.head) for head in room.selection.heads}
    view.tap((2 + 0.5) / 8, (3 + 0.5) / 6)
    assert room.selection.focus == HeadId("encoder", 3, 2)
    assert view.audit.marked().cells == {(3, 2)}
    assert view.audit.pages() == -(-96 // ROWS)
    view._turned(1)
    assert (view.rows.page, len(view.rows.rows)) == (2, ROWS)


def test_heads_that_are_made_to_look_at_what_is_flagged_are_found():
    words = TEXT.split()
    random = np.random.default_rng(0)
    texts = [" ".join(random.permutation(words)) for _ in range(12)]
    room, view = opened(carried().trace(TEXT))
    pasted(view, texts)
    view._run()
    assert not view.problem
    heads = view.audit.ratios().nlargest(2, "ratio")
    assert {HeadId(*head) for head in heads[["kind", "layer", "head"]].itertuples(index=False, name=None)} == {DECIDES, DECOY}
    assert (heads["q"] <= 0.05).all()
    assert (heads["lo"] > 1).all()
    assert {line.head for line in view.audit.lines() if line.head} <= {DECIDES, DECOY}
    view._select()
    assert {DECIDES, DECOY} <= room.selection.heads


def test_a_run_is_made_in_parts_can_be_stopped_and_goes_on_with_the_same_numbers(monkeypatch):
    monkeypatch.setattr("atlas.state.audit.PART_SECONDS", 0.0)
    asked = []

    def counting(*given):
        found = TASKS[AUDIT](*given)
        asked.append(found.done)
        return found

    async def journey():
        room = Workspace(lambda job, _: model("gus-mini").trace(job.text), tasks={AUDIT: counting})
        room.pipeline.show(trace())
        lens = room.lens(AuditLens)
        lens.param.watch(lambda _: lens.plane(), "revision")
        pasted_texts = "\n".join(TEXTS)
        lens.choices.source = PASTED
        lens.paste(pasted_texts)
        lens.run()
        await until(lambda: len(asked) >= 2)
        lens.cancel()
        assert not lens.busy
        stopped = lens.found().done
        assert 0 < stopped < len(TEXTS)
        await asyncio.sleep(0.1)
        assert lens.found().done == stopped
        lens.run()
        room.pipeline.show(trace(text="the dog"))
        await until(lambda: lens.found().complete)
        return lens.found()

    found = asyncio.run(asyncio.wait_for(journey(), 60))
    assert len(asked) >= len(TEXTS)
    frames_equal(found.audit, expected())


def test_other_thresholds_are_another_run_and_those_before_are_kept():
    room, view = opened()
    pasted(view)
    view._run()
    before = view.lens.line
    room.thresholds.generalisation = 0.9
    assert "not run yet with these thresholds" in view.lens.line
    assert not view.results.visible
    view._run()
    wanted = audit("gus-mini", TEXTS, thresholds={"STEREO": 0.5, "GEN": 0.9, "UNFAIR": 0.5})
    frames_equal(view.audit.found().audit, wanted)
    room.thresholds.generalisation = 0.5
    assert view.lens.line == before
    assert view.results.visible


def test_bad_rows_are_named_and_what_is_too_much_says_so(monkeypatch):
    _, view = opened()
    rows = [{"text": TEXTS[0]}, {"text": ""}, {"other": "x"}, {"text": TEXTS[2]}]
    view.audit.take("mine.jsonl", "\n".join(map(json.dumps, rows)).encode())
    assert view.audit.choices.source == FILE
    view._run()
    assert view.notes.object == "2 rows could not be used: row 2 is empty; row 3 has no 'text'."
    assert [line.row for line in sorted(view.audit.lines())] == [1, 4]
    with monkeypatch.context() as patched:
        patched.setattr(audits, "MOST_WEIGHTS", 48 * 12**2)
        view.audit.take("other.txt", "\n".join([TEXTS[0], TEXTS[3]]).encode())
        view._run()
        assert "row 2 has 10,800 weights of attention, more than the 6,912" in view.notes.object
    view.audit.take("a.txt", b"She.\n" * 501)
    view._run()
    assert "501 texts, more than the 500 that a page reads. Use `atlas audit`" in view.lens.problem
    view.audit.take("b.jsonl", b'{"text": ""}')
    view._run()
    assert view.lens.problem == "None of 1 rows could be used; the first one is empty."


def test_the_list_at_the_side_is_read_and_a_press_steps_through_it():
    room, view = opened()
    view.audit.choices.source = LISTED
    assert view.lens.line == NO_TEXTS_YET[LISTED]
    assert view.start.disabled
    room.listed.put(list_of([{"text": TEXTS[1], "pair": "Then."}, TEXTS[0], TEXTS[2]], 1_000))
    assert not view.start.disabled
    view._run()
    frames_equal(view.audit.found().audit, audit("gus-mini", [TEXTS[1], TEXTS[0], TEXTS[2]], thresholds=0.5))
    assert FIRST_ALONE in view.notes.object
    last = next(line for line in view.audit.lines() if line.text == TEXTS[1])
    view._pressed(last.at)
    assert room.listed.current() == 0
    assert room.trace.texts.pair == "Then.", "as the list itself opens it"


def test_where_it_cannot_be_said_the_card_says_why():
    assert AuditView.fits(single())
    room, view = opened(trace("T5"))
    pasted(view)
    view._run()
    room.selection.show_kind("decoder")
    assert not view.place.visible
    assert view.notes.object.startswith(OTHER_SIDE)
    room.selection.show_kind("cross")
    assert view.place.visible
    _, view = opened(model("gus-mini").trace("the cat", ablate=["L1 H1"]))
    view._run()
    assert view.lens.problem == CHANGED
    _, view = opened()
    pasted(view, ["The train was late."])
    view.workspace.thresholds.param.update(stereotype=1.0, generalisation=1.0, unfairness=1.0)
    view._run()
    assert NO_HEADS in view.notes.object
    assert not view.place.visible
    assert view.rows.rows[0].note == "nothing is flagged"


def test_the_files_hold_all_tables():
    _, view = opened()
    assert list(view.export().table) == ["texts", "about"]
    pasted(view)
    view._run()
    files = {file.name: file for file in files_of(view, "csv")}
    for name, table in zip(("", "-labels", "-heads"), expected()[:3], strict=True):
        read = pd.read_csv(pd.io.common.BytesIO(files[f"flagged-words{name}.csv"].data), keep_default_na=False, na_values=[""])
        assert len(read) == len(table)
        assert list(read) == list(table)
        assert f"flagged-words{name}.csv-metadata.json" in files


def test_the_words_under_the_plane_are_not_those_before_the_press():
    _, view = opened()
    view.write()
    assert view.under.object == view.hint
    assert view.hint.startswith("Point at a head")
