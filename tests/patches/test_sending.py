from __future__ import annotations

import asyncio
import inspect
from types import SimpleNamespace

import pytest
from bokeh.document import Document
from bokeh.server.views.ws import WSHandler
from hypothesis import given
from hypothesis import strategies as st
from panel.io import document
from tornado.locks import Lock
from tornado.websocket import WebSocketHandler

from atlas.errors import LibraryChanged
from atlas.patches.sending import patch_sending, sent_in_order, written_in_order

BOKEHS = inspect.unwrap(WSHandler.send_message)
PANELS = {name: inspect.unwrap(getattr(document, name)) for name in ("write_events", "schedule_write_events")}


class Message:
    """A message of one part, as Bokeh's is sent."""

    _buffers = ()
    metadata_json = content_json = ""

    def __init__(self, events):
        (self.header_json,) = events

    async def send(self, socket):
        with await socket.write_lock.acquire():
            await socket.write_message(self.header_json, locked=False)


class Connection:
    """What Bokeh and Panel know of a browser."""

    def __init__(self):
        self.heard = []
        self._socket = object.__new__(WSHandler)
        self._socket.write_lock = Lock()
        self._socket.ws_connection = SimpleNamespace(is_closing=lambda: False)
        self.protocol = SimpleNamespace(create=lambda _, events: Message(events))

    def hear(self, part):
        if part:
            self.heard.append(part)
        return asyncio.ensure_future(asyncio.sleep(0))


@pytest.fixture(params=["in order", "as they do it"])
def in_order(request, monkeypatch):
    """With the patch, and without: if theirs keep the order too, go without it."""
    mended = request.param == "in order"
    monkeypatch.setattr(WSHandler, "send_message", sent_in_order(BOKEHS) if mended else BOKEHS)
    for name, write in PANELS.items():
        monkeypatch.setattr(document, name, written_in_order(write, BOKEHS) if mended else write)
    monkeypatch.setattr(WebSocketHandler, "write_message", lambda socket, part, *_: socket.connection.hear(part))
    return mended


def connected():
    connection = Connection()
    connection._socket.connection = connection
    return connection


async def all_sent():
    for _ in range(20):
        await asyncio.sleep(0.002)  # Panel looks again after a hundredth of a second


def test_what_bokeh_sends_at_the_end_of_a_callback_comes_before_what_panel_sends_in_it(in_order):
    async def callback():
        to = connected()
        pending = to._socket.send_message(Message(["first"]))
        document.write_events(Document(), [to], ["second"])
        await pending
        await all_sent()
        return to.heard

    assert asyncio.run(callback()) == (["first", "second"] if in_order else ["second", "first"])


def test_what_panel_sends_to_a_busy_websocket_comes_before_what_bokeh_sends_later(in_order):
    async def callback():
        doc, to = Document(), connected()
        with await to._socket.write_lock.acquire():
            document.schedule_write_events(doc, [to], ["first"])
            await asyncio.sleep(0)
            pending = asyncio.ensure_future(to._socket.send_message(Message(["second"])))
            await asyncio.sleep(0)
        await pending
        await all_sent()
        return to.heard

    assert asyncio.run(callback()) == (["first", "second"] if in_order else ["second", "first"])


@given(st.lists(st.tuples(st.sampled_from(["send_message", *PANELS]), st.integers(0, 3))))
def test_all_that_is_said_is_heard_in_order_whoever_sends_it(said):
    """Each by one of them, some turns of the loop after the one before."""
    send = sent_in_order(BOKEHS)
    write = {name: written_in_order(panels, BOKEHS) for name, panels in PANELS.items()}

    async def callback():
        doc, to, pending = Document(), connected(), []
        for number, (how, turns) in enumerate(said):
            if how == "send_message":
                pending.append(send(to._socket, Message([str(number)])))
            else:
                write[how](doc, [to], [str(number)])
            for _ in range(turns):
                await asyncio.sleep(0)
        for each in pending:
            await each
        await all_sent()
        return to.heard

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WebSocketHandler, "write_message", lambda socket, part, *_: socket.connection.hear(part))
        assert asyncio.run(callback()) == [str(number) for number in range(len(said))]


def test_another_web_server_s_websocket_is_left_to_panel():
    passed = []
    elsewhere = SimpleNamespace(_socket=object())
    write = written_in_order(lambda _, connections, events: passed.append((connections, events)), BOKEHS)
    write(Document(), [elsewhere], ["said"])
    assert passed == [([elsewhere], ["said"])]


def test_it_is_patched_once(monkeypatch):
    monkeypatch.setattr(WSHandler, "send_message", BOKEHS)
    for name, write in PANELS.items():
        monkeypatch.setattr(document, name, write)
    patch_sending()
    patched = WSHandler.send_message, document.write_events, document.schedule_write_events
    patch_sending()
    assert (WSHandler.send_message, document.write_events, document.schedule_write_events) == patched
    assert [inspect.unwrap(each) for each in patched] == [BOKEHS, *PANELS.values()]
    assert not any(hasattr(each.__wrapped__, "__wrapped__") for each in patched)


def test_a_panel_without_its_queue_is_refused_before_anything_is_served(monkeypatch):
    monkeypatch.setattr(WSHandler, "send_message", BOKEHS)
    monkeypatch.delattr(document, "_dispatch_write_task")
    with pytest.raises(LibraryChanged, match=r"panel\.io\.document\._dispatch_write_task, which atlas/patches/sending\.py needs"):
        patch_sending()
    assert WSHandler.send_message is BOKEHS
