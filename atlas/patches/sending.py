"""Panel (1.9) and Bokeh (3.9) send messages to a browser in another order than they made them."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from functools import wraps
from typing import Any

from bokeh.server.views.ws import WSHandler
from panel.io import document
from tornado.locks import Lock

from atlas.patches.private import private, replace_private

Send = Callable[[Any, Any], Awaitable[None]]
"""Bokeh's own sending of a message over a websocket."""


class Outbox:
    """The messages that wait for one websocket, sent in the order in which they were made.

    A message describes a model only once; those made after it give its id alone, and a browser that gets one of them first does
    not know the model and leaves the change out. Bokeh sends at the end of a callback what was changed outside Panel's `hold`;
    Panel sends at once what was changed inside, or a hundredth of a second later if the websocket is at work just then.
    """

    def __init__(self) -> None:
        self._waiting: deque[Any] = deque()
        self._turn = Lock()

    def add(self, message: Any) -> None:
        """Put a message behind those that wait; called as soon as it is made."""
        self._waiting.append(message)

    async def empty(self, socket: Any, send: Send) -> None:
        """Send all that waits."""
        with await self._turn.acquire():
            while self._waiting:
                await send(socket, self._waiting.popleft())


def outbox_of(socket: Any) -> Outbox:
    """The one outbox of a websocket."""
    if not hasattr(socket, "atlas_outbox"):
        socket.atlas_outbox = Outbox()
    outbox: Outbox = socket.atlas_outbox
    return outbox


def sent_in_order(send: Send) -> Send:
    """Bokeh's own sending of a message, after all that were made before it."""

    @wraps(send)
    def sent(self: Any, message: Any) -> Awaitable[None]:
        outbox = outbox_of(self)
        outbox.add(message)
        return outbox.empty(self, send)

    return sent


def written_in_order(write: Callable[..., None], send: Send) -> Callable[..., None]:
    """Panel's own writing of changes, after all messages that were made before."""

    @wraps(write)
    def written(doc: Any, connections: Iterable[Any], events: list[Any]) -> None:
        others = []
        for connection in connections:
            socket = private(connection, "_socket", "sending")
            if not isinstance(socket, WSHandler):  # another web server, or a notebook
                others.append(connection)
                continue
            outbox_of(socket).add(connection.protocol.create("PATCH-DOC", events))
            private(document, "_dispatch_write_task", "sending")(doc, outbox_of(socket).empty, socket, send)
        if others:
            write(doc, others, events)

    return written


def patch_sending() -> None:
    """Patch Bokeh and Panel once for the process, before anything is served."""
    send = WSHandler.send_message
    if hasattr(send, "__wrapped__"):
        return
    private(document, "_dispatch_write_task", "sending")  # raise now, not at the first message, if this version lacks it
    for name in ("write_events", "schedule_write_events"):
        replace_private(document, name, written_in_order(private(document, name, "sending"), send), "sending")
    replace_private(WSHandler, "send_message", sent_in_order(send), "sending")
