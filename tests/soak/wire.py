"""The end of a page that is no browser: it speaks Bokeh's protocol, and knows the page's models as far as a reader needs them.

Bokeh's own client makes every model anew in Python, which takes as long as the server takes; here JSON is read and no more.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from tornado.httpclient import AsyncHTTPClient, HTTPRequest
from tornado.websocket import WebSocketClientConnection, websocket_connect

TOKEN = re.compile(r'"token":"([^"]+)"')

PATIENCE = 90.0
"""Seconds in which anything has to come that was asked for."""

MOST = 64 << 20
"""Bytes of a message: a page that is sent anew."""


class Lost(Exception):
    """The server has closed the connection, or has said that something failed."""


@dataclass
class Model:
    """What the page has been told of one of its models."""

    id: str
    name: str
    attributes: dict[str, Any]

    @property
    def kind(self) -> str:
        """The class of a component of ours, or of Bokeh's model."""
        named = self.attributes.get("class_name") or self.name
        return str(named).rsplit(".", 1)[-1]

    @property
    def classes(self) -> list[str]:
        """Its CSS classes."""
        return list(self.attributes.get("css_classes") or [])


@dataclass
class Wire:
    """One page: its connection and its models."""

    socket: WebSocketClientConnection
    models: dict[str, Model] = field(default_factory=dict)
    roots: list[Any] = field(default_factory=list)
    received: int = 0
    heard: int = 0
    """Messages heard so far."""
    answers: dict[str, str] = field(default_factory=dict)
    """By the id of a message of ours: what kind of message answered it."""
    told: list[Any] = field(default_factory=list)
    """What was sent to scripts of components since it was last looked at."""
    problem: str = ""
    _count: int = 0
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _listening: asyncio.Task[None] | None = None

    # -- opening and closing ----------------------------------------------------------------------------------------------

    @classmethod
    async def open(cls, address: str, query: str = "") -> Wire:
        """Fetch the page as a browser does, and connect to its session."""
        client = AsyncHTTPClient()
        html = (await client.fetch(f"{address}{query}", request_timeout=PATIENCE)).body.decode()
        token = TOKEN.search(html)
        if token is None:
            msg = "the page has no session"
            raise Lost(msg)
        parts = urllib.parse.urlsplit(address)
        origin = {"Origin": f"{parts.scheme}://{parts.netloc}"}
        request = HTTPRequest(f"ws://{parts.netloc}{parts.path}/ws", headers=origin, request_timeout=PATIENCE)
        socket = await websocket_connect(request, subprotocols=["bokeh", token[1]], max_message_size=MOST)
        wire = cls(socket)
        wire._listening = asyncio.create_task(wire._listen())
        await wire.until(lambda: "ACK" in wire.answers.values(), "the connection")
        asked = await wire._send("PULL-DOC-REQ", {})
        await wire.until(lambda: asked in wire.answers, "the document")
        return wire

    async def close(self) -> None:
        """Leave the page."""
        if self._listening is not None:
            self._listening.cancel()
        self.socket.close()

    # -- hearing ----------------------------------------------------------------------------------------------------------

    async def _listen(self) -> None:
        try:
            while True:
                await self._message()
        except Lost as lost:
            self.problem = str(lost)
        except (ValueError, KeyError, TypeError) as error:
            self.problem = f"a message that cannot be read: {type(error).__name__}: {error}"
        self._changed.set()

    async def _frame(self) -> str | bytes:
        frame = await self.socket.read_message()
        if frame is None:
            msg = "the server closed the connection"
            raise Lost(msg)
        self.received += len(frame)
        return frame

    async def _message(self) -> None:
        header = json.loads(await self._frame())
        await self._frame()
        content = await self._frame()
        for _ in range(2 * header.get("num_buffers", 0)):
            await self._frame()
        self.heard += 1
        self.take(header, json.loads(content))
        self._changed.set()

    def take(self, header: dict[str, Any], content: dict[str, Any]) -> None:
        """Learn what a message says."""
        kind = header["msgtype"]
        if kind == "ERROR":
            msg = f"the server failed: {content.get('text', content)}"
            raise Lost(msg)
        if kind == "ACK" or "reqid" in header:
            self.answers[header.get("reqid", kind)] = kind
        if kind == "PULL-DOC-REPLY":
            self.roots = content["doc"]["roots"]
            self._learn(content["doc"])
        elif kind == "PATCH-DOC":
            for event in content["events"]:
                self._event(event)
            if any(event.get("attr") == "children" for event in content["events"]):
                self._forget()

    def _event(self, event: dict[str, Any]) -> None:
        self._learn(event)
        if event["kind"] == "ModelChanged" and event["model"]["id"] in self.models:
            self.models[event["model"]["id"]].attributes[event["attr"]] = event.get("new")
        elif event["kind"] == "MessageSent":
            self.told.append(plain(event.get("msg_data")))

    def _forget(self) -> None:
        """Keep the models that the page still has: cards of a tab that was dropped would be taken for those on screen."""
        there: set[str] = set()
        waiting: list[Any] = [self.roots]
        while waiting:
            each = waiting.pop()
            if isinstance(each, dict):
                model = self.models.get(str(each.get("id")))
                if model is not None and model.id not in there:
                    there.add(model.id)
                    waiting.append(model.attributes)
                elif model is None:
                    waiting.extend(part for part in each.values() if isinstance(part, (dict, list)))
            elif isinstance(each, list):
                waiting.extend(part for part in each if isinstance(part, (dict, list)))
        self.models = {name: model for name, model in self.models.items() if name in there}

    def _learn(self, value: Any) -> None:
        """Note the models in what was sent; numbers are not looked at."""
        waiting = [value]
        while waiting:
            each = waiting.pop()
            if isinstance(each, dict):
                if each.get("type") == "object" and "id" in each:
                    self.models[each["id"]] = Model(each["id"], each.get("name", ""), each.get("attributes", {}))
                waiting.extend(part for part in each.values() if isinstance(part, (dict, list)))
            elif isinstance(each, list):
                waiting.extend(part for part in each if isinstance(part, (dict, list)))

    async def until(self, reached: Callable[[], Any], what: str) -> float:
        """Wait for something the server says; seconds it took."""
        begun = time.perf_counter()
        while not reached():
            if self.problem:
                msg = f"{what}: {self.problem}"
                raise Lost(msg)
            left = PATIENCE - (time.perf_counter() - begun)
            if left <= 0:
                msg = f"{what}: nothing came for {PATIENCE:.0f} s"
                raise Lost(msg)
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), left)
            except TimeoutError:
                continue
        return time.perf_counter() - begun

    # -- the page ---------------------------------------------------------------------------------------------------------

    def all(self, kind: str, css: str = "") -> Iterator[Model]:
        """Models of a class, the newest first."""
        for model in reversed(list(self.models.values())):
            if model.kind == kind and (not css or css in model.classes):
                yield model

    def model(self, kind: str, css: str = "") -> Model:
        """The newest model of a class."""
        found = next(self.all(kind, css), None)
        if found is None:
            msg = f"there is no {kind}.{css} on the page"
            raise Lost(msg)
        return found

    def data(self, component: Model) -> dict[str, Any]:
        """The Params of a component, as the page knows them; what has never been other than at first is not told."""
        inside = component.attributes.get("data") or {}
        return self.models[inside["id"]].attributes

    # -- telling ----------------------------------------------------------------------------------------------------------

    async def _send(self, kind: str, content: dict[str, Any]) -> str:
        self._count += 1
        number = f"r{self._count}"
        for part in ({"msgid": number, "msgtype": kind}, {}, content):
            await self.socket.write_message(json.dumps(part))
        return number

    async def patch(self, *events: dict[str, Any]) -> str:
        """Send changes; the id of the message."""
        return await self._send("PATCH-DOC", {"events": list(events)})

    def set(self, component: Model, **values: Any) -> list[dict[str, Any]]:
        """Changes of the Params of a component, which the page knows from now on."""
        inside = component.attributes["data"]["id"]
        self.models[inside].attributes.update(values)
        return [changed(inside, name, value) for name, value in values.items()]


def changed(model: str, attribute: str, value: Any) -> dict[str, Any]:
    """A property of a model is another."""
    return {"kind": "ModelChanged", "model": {"id": model}, "attr": attribute, "new": packed(value)}


def event(name: str, **values: Any) -> dict[str, Any]:
    """An event of a document or of a model."""
    written = {"type": "map", "entries": [[key, packed(value)] for key, value in values.items()]} if values else {"type": "map"}
    return {"kind": "MessageSent", "msg_type": "bokeh_event", "msg_data": {"type": "event", "name": name, "values": written}}


def message(component: Model, data: dict[str, Any]) -> dict[str, Any]:
    """What the script of a component tells Python."""
    return event("data_event", model=component, data=data)


def click(component: Model) -> dict[str, Any]:
    """A press on a button."""
    return event("dom_event", model=component, node="click", data={})


def packed(value: Any) -> Any:
    """A value as Bokeh writes it."""
    if isinstance(value, Model):
        return {"id": value.id}
    if isinstance(value, dict):
        entries = [[key, packed(each)] for key, each in value.items()]
        return {"type": "map", "entries": entries} if entries else {"type": "map"}
    return [packed(each) for each in value] if isinstance(value, list) else value


def plain(value: Any) -> Any:
    """A value that Bokeh has written, without models and arrays."""
    if isinstance(value, dict) and value.get("type") == "map":
        return {str(plain(key)): plain(each) for key, each in value.get("entries", [])}
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, list) else value
