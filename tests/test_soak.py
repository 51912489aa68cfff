"""The soak's own parts: what it learns from messages, what it prints, when it fails. The crowd itself is `make soak`."""

from __future__ import annotations

import asyncio

import pytest

from tests.soak import wire
from tests.soak.reader import Log
from tests.soak.report import Minute, Soak
from tests.soak.wire import Lost, Model, Wire

BUTTON = {
    "type": "object",
    "name": "panel.models.esm.ReactComponent",
    "id": "p2",
    "attributes": {
        "class_name": "Button",
        "css_classes": ["aa-run"],
        "data": {"type": "object", "name": "Button1", "id": "p3", "attributes": {"label": "Run"}},
    },
}


def patched(*events):
    return {"msgtype": "PATCH-DOC"}, {"events": list(events)}


@pytest.fixture
def page():
    made = Wire(socket=None)
    column = {"type": "object", "name": "panel.models.layout.Column", "id": "p1", "attributes": {"children": [BUTTON]}}
    made.take({"msgtype": "PULL-DOC-REPLY", "reqid": "r1"}, {"doc": {"roots": [column]}})
    return made


def test_models_are_found_by_class_and_followed_through_changes(page):
    assert page.answers == {"r1": "PULL-DOC-REPLY"}
    run = page.model("Button", "aa-run")
    assert page.data(run) == {"label": "Run"}
    page.take(*patched(wire.changed("p3", "label", "Stop")))
    assert page.data(run) == {"label": "Stop"}
    page.take(*patched({"kind": "ModelChanged", "model": {"id": "p1"}, "attr": "children", "new": [{**BUTTON, "id": "p9"}]}))
    assert [button.id for button in page.all("Button", "aa-run")] == ["p9"], "the other one has left the page"
    assert set(page.models) == {"p1", "p9", "p3"}
    with pytest.raises(Lost, match=r"no Button\.aa-cancel on the page"):
        page.model("Button", "aa-cancel")


def test_an_error_of_the_server_and_a_silence_lose_the_page(page, monkeypatch):
    with pytest.raises(Lost, match="the server failed: KeyError"):
        page.take({"msgtype": "ERROR"}, {"text": "KeyError"})
    monkeypatch.setattr(wire, "PATIENCE", 0.01)
    with pytest.raises(Lost, match="the Map: nothing came"):
        asyncio.run(page.until(lambda: False, "the Map"))
    page.problem = "the server closed the connection"
    with pytest.raises(Lost, match="the Map: the server closed"):
        asyncio.run(page.until(lambda: False, "the Map"))


def test_values_are_written_as_bokeh_writes_them():
    assert wire.packed({"a": [Model("p1", "Figure", {}), 2], "b": {}}) == {
        "type": "map",
        "entries": [["a", [{"id": "p1"}, 2]], ["b", {"type": "map"}]],
    }
    assert wire.plain(wire.packed({"answered": 3, "state": {"s": "t"}})) == {"answered": 3, "state": {"s": "t"}}


def soak(**given):
    log = Log(sessions=2, gestures=[("tap a head", seconds / 100) for seconds in range(1, 101)] + [("open a page", 4.0)])
    log.problems.extend(given.pop("problems", []))
    minutes = [Minute(at, 2, 50, 1_000_000_000 + 10_000_000 * at, 0.5, 1.0) for at in range(4)]
    return Soak(2, 180.0, "`atlas serve`", log, minutes, **given)


def test_the_tables_hold_percentiles_by_gesture_and_memory_by_minute():
    said = soak(left={"AttentionAtlas": 0}).markdown()
    assert "| tap a head | 100 | 0.51 s | 0.95 s | 0.99 s | 1.00 s |" in said
    assert "| open a page | 1 | 4.00 s | N/A | N/A | 4.00 s |" in said
    assert "Memory before anybody came" not in said
    assert "| all but runs, tabs and pages | 100 | 0.51 s |" in said
    assert "| 3 | 2 | 50 | 1,030 MB | 0.50 | 1.0 |" in said
    assert "Memory over the second half: +1.0%. Alive after all had closed: 0 AttentionAtlas." in said


@pytest.mark.parametrize(
    "wrong", [{"problems": ["reader 1: lost"]}, {"complaints": ["ERROR: x"]}, {"left": {"Document": 1, "Workspace": 0}}]
)
def test_a_lost_page_an_error_of_the_server_and_a_session_that_is_not_freed_fail_it(wrong):
    assert not soak(left={"Document": 0}).failed
    found = soak(**wrong)
    assert found.failed
    for each in [*wrong.get("problems", ()), *wrong.get("complaints", ())]:
        assert f"- {each}" in found.markdown()


def test_of_rounds_the_memory_after_each_is_printed():
    said = soak(start=1_500_000_000, closed=[1_530_000_000, 1_515_000_000]).markdown()
    assert said.startswith("2 rounds of 2 readers for 3 minutes")
    assert said.endswith("Memory before anybody came: 1,500 MB; after all had closed: 1,530 MB (+2.0%), 1,515 MB (+1.0%).")
