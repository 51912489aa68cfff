"""Panel (1.9) leaves messages to the browser unsent, and takes some changes of the server for changes of the browser."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, ClassVar

from panel.custom import JSComponent
from panel.io import document
from tornado.websocket import WebSocketClosedError, WebSocketProtocol13

from atlas.patches.private import private, replace_private

Dispatch = Callable[[Any], Coroutine[Any, Any, None]]
"""Panel's function that sends the waiting messages of a document to its browser."""


def until_nothing_waits(dispatch: Dispatch) -> Dispatch:
    """Panel's own dispatch, repeated until no message waits.

    While it awaits the socket, more messages may be queued. Panel then removes the mark that messages wait, so the next dispatch
    finds no mark and sends nothing, and the browser gets the messages only with the next change, if there is one.
    """

    @wraps(dispatch)
    async def dispatched(doc: Any) -> None:
        waiting, blocked = private(document, "_WRITE_MSGS", "sending"), private(document, "_WRITE_BLOCK", "sending")
        try:
            await dispatch(doc)
            while doc in waiting and doc not in blocked:
                blocked[doc] = True
                await dispatch(doc)
        except WebSocketClosedError:
            # Its reader has left in the middle of a message. Nobody waits for the rest, and the next visit has its own document.
            blocked.pop(doc, None)

    return dispatched


def noticed(write: Callable[..., Any]) -> Callable[..., Any]:
    """Tornado's own writing; that a reader has left is no error to be logged with a traceback for every part of a message.

    Panel writes a message in three parts or more, and looks at no part if a later one cannot be written.
    """

    @wraps(write)
    def written(self: Any, message: Any, binary: bool = False) -> Any:  # noqa: FBT001, FBT002 - Tornado's signature
        future = write(self, message, binary)
        future.add_done_callback(lambda each: each.cancelled() or each.exception())
        return future

    return written


def patch_sending() -> None:
    """Patch Panel once for the process, before anything is served."""
    dispatch = private(document, "_dispatch_msgs", "sending")
    if not hasattr(dispatch, "__wrapped__"):
        for name in ("_WRITE_MSGS", "_WRITE_BLOCK"):
            private(document, name, "sending")  # raise now, not at the first message, if this version lacks them
        replace_private(document, "_dispatch_msgs", until_nothing_waits(dispatch), "sending")
    if not hasattr(WebSocketProtocol13.write_message, "__wrapped__"):
        replace_private(WebSocketProtocol13, "write_message", noticed(WebSocketProtocol13.write_message), "sending")


class OneWay(JSComponent):
    """A component that sends some Params in a different form, and never takes them from the browser."""

    one_way: ClassVar[frozenset[str]] = frozenset()
    """Params that the browser never sets."""

    def to_browser(self, params: dict[str, Any]) -> dict[str, Any]:
        """Convert changed Params into the form in which they are sent. Panel has no public method for this."""
        return params

    def _process_param_change(self, params: dict[str, Any]) -> dict[str, Any]:
        sent: dict[str, Any] = super()._process_param_change(self.to_browser(params))
        return sent

    def _process_property_change(self, msg: dict[str, Any]) -> dict[str, Any]:
        """Ignore changes of one-way Params that Panel attributes to the browser.

        Panel takes changes made between the opening of the connection and that of the page for the browser's. It then wrote the
        sent form back into the Param, so that weights were multiplied by a thousand.
        """
        changed: dict[str, Any] = super()._process_property_change(msg)
        return {name: value for name, value in changed.items() if name not in self.one_way}
