from __future__ import annotations

import asyncio
import gc
import inspect
from types import SimpleNamespace

import pytest
from bokeh.document import Document
from panel.io import document
from tornado.websocket import WebSocketClosedError, WebSocketProtocol13

from atlas.components.chips import Chips
from atlas.errors import LibraryChanged
from atlas.patches.sending import noticed, patch_sending, until_nothing_waits

PANELS = inspect.unwrap(document._dispatch_msgs)


class Connection:
    """A connection whose socket takes its time."""

    def __init__(self):
        self.sent, self.open = [], []
        self._socket = SimpleNamespace(send=self.send)
        self.protocol = SimpleNamespace(create=self.create)

    @staticmethod
    def create(_, events):
        return SimpleNamespace(header_json="header", metadata_json="metadata", content_json=events[0], _buffers=[])

    def send(self, text_data):
        self.sent.append(text_data)
        self.open.append(asyncio.get_running_loop().create_future())
        return self.open[-1]

    def through(self):
        for each in self.open:
            if not each.done():
                each.set_result(None)

    @property
    def heard(self):
        return self.sent[2::3]


async def said_while_writing():
    """Two things to say, the second while the first is being written."""
    doc, to = Document(), Connection()
    document.schedule_write_events(doc, [to], ["first"])
    for _ in range(5):
        await asyncio.sleep(0)
    assert to.heard == ["first"]
    to.through()
    document.schedule_write_events(doc, [to], ["second"])
    for _ in range(20):
        to.through()
        await asyncio.sleep(0)
    document.schedule_write_events(doc, [to], ["third"])
    heard = list(to.heard)
    for _ in range(20):
        to.through()
        await asyncio.sleep(0)
    return heard, to.heard


@pytest.mark.parametrize(("dispatch", "at_once"), [(until_nothing_waits(PANELS), ["first", "second"]), (PANELS, ["first"])])
def test_what_is_said_while_something_is_written_is_heard_without_waiting_for_the_next(monkeypatch, dispatch, at_once):
    """If Panel's own does not leave it lying any more, go without the mend."""
    monkeypatch.setattr(document, "_dispatch_msgs", dispatch)
    assert asyncio.run(said_while_writing()) == (at_once, ["first", "second", "third"])


def test_it_is_mended_once(monkeypatch):
    monkeypatch.setattr(document, "_dispatch_msgs", PANELS)
    patch_sending()
    mended, written = document._dispatch_msgs, WebSocketProtocol13.write_message
    patch_sending()
    assert document._dispatch_msgs is mended
    assert WebSocketProtocol13.write_message is written
    assert not hasattr(written.__wrapped__, "__wrapped__")
    assert inspect.unwrap(mended) is PANELS


def echoed(kind):
    """What the messages of a browser that repeats what it was sent leave in a component of `tokens`."""
    component = kind(groups=[{"name": "a", "chips": [{"key": "k", "label": "l", "active": True}]}])
    model = component.get_root()
    component._process_events({"groups": model.data.groups, "inline": True})
    return component.groups, component.inline


def test_what_is_sent_in_another_form_is_not_taken_back_and_other_params_are():
    groups, inline = echoed(Chips)
    assert groups == [{"name": "a", "chips": [{"key": "k", "label": "l", "active": True}]}]
    assert inline is True


def test_panel_takes_back_what_it_sent():
    """If it does not any more, go without OneWay's filter."""
    taken, _ = echoed(type("Believing", (Chips,), {"one_way": frozenset()}))
    assert taken != [{"name": "a", "chips": [{"key": "k", "label": "l", "active": True}]}]


def test_a_panel_without_its_queue_is_refused_before_anything_is_served(monkeypatch):
    monkeypatch.setattr(document, "_dispatch_msgs", PANELS)
    monkeypatch.delattr(document, "_WRITE_BLOCK")
    with pytest.raises(LibraryChanged, match=r"panel\.io\.document\._WRITE_BLOCK, which atlas/patches/sending\.py needs"):
        patch_sending()
    assert document._dispatch_msgs is PANELS


async def left_while_writing():
    """A reader leaves between two parts of a message."""
    doc, to = Document(), Connection()
    send = to._socket.send

    def leave(text_data):
        if len(to.sent) == 1:
            raise WebSocketClosedError
        return send(text_data)

    to._socket = SimpleNamespace(send=leave)
    unheard = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unheard.append(context))
    document.schedule_write_events(doc, [to], ["first"])
    for _ in range(10):
        to.through()
        await asyncio.sleep(0)
    gc.collect()
    return unheard, doc in document._WRITE_BLOCK


@pytest.mark.parametrize(("dispatch", "errors"), [(until_nothing_waits(PANELS), 0), (PANELS, 1)])
def test_a_reader_who_leaves_in_the_middle_of_a_message_leaves_no_traceback(monkeypatch, dispatch, errors):
    monkeypatch.setattr(document, "_dispatch_msgs", dispatch)
    unheard, blocked = asyncio.run(left_while_writing())
    assert (len(unheard), blocked) == (errors, bool(errors))


def test_a_part_that_could_not_be_written_is_no_error_nobody_looked_at():
    async def part():
        raise WebSocketClosedError

    async def written():
        unheard = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: unheard.append(context))
        noticed(lambda *_: asyncio.ensure_future(part()))(None, "part")
        await asyncio.sleep(0.01)
        gc.collect()
        return unheard

    assert asyncio.run(written()) == []
