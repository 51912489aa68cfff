"""What Panel (1.9) leaves lying when it writes to a browser, and what it takes for the browser's doing."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, ClassVar

from panel.custom import JSComponent
from panel.io import document

from atlas.patches.private import private, replace_private

Dispatch = Callable[[Any], Coroutine[Any, Any, None]]
"""Writes to a page's browser what waits for it."""


def to_the_end(dispatch: Dispatch) -> Dispatch:
    """Panel's own dispatch, repeated until nothing waits.

    While it waits for the socket more may come to be written. It then removes the mark that something waits, and whoever was to
    write the rest finds no mark and leaves: the browser hears it with the next change, if there is one.
    """

    @wraps(dispatch)
    async def dispatched(doc: Any) -> None:
        await dispatch(doc)
        waiting, blocked = private(document, "_WRITE_MSGS", "sending"), private(document, "_WRITE_BLOCK", "sending")
        while doc in waiting and doc not in blocked:
            blocked[doc] = True
            await dispatch(doc)

    return dispatched


def patch_sending() -> None:
    """Patch Panel once a process, before anything is served."""
    dispatch = private(document, "_dispatch_msgs", "sending")
    if not hasattr(dispatch, "__wrapped__"):
        for name in ("_WRITE_MSGS", "_WRITE_BLOCK"):
            private(document, name, "sending")  # a version without them fails now, and not at the first message
        replace_private(document, "_dispatch_msgs", to_the_end(dispatch), "sending")


class OneWay(JSComponent):
    """A component that sends some Params in another form than they are held in, and never hears them from the browser."""

    one_way: ClassVar[frozenset[str]] = frozenset()
    """Params that the browser never sets."""

    def to_browser(self, params: dict[str, Any]) -> dict[str, Any]:
        """Changed Params in the form in which they are sent. Panel has no public place for this."""
        return params

    def _process_param_change(self, params: dict[str, Any]) -> dict[str, Any]:
        sent: dict[str, Any] = super()._process_param_change(self.to_browser(params))
        return sent

    def _process_property_change(self, msg: dict[str, Any]) -> dict[str, Any]:
        """Panel takes what changes between the opening of the connection and that of the page for the browser's doing.

        It then put back what had been sent: weights became a thousandfold.
        """
        heard: dict[str, Any] = super()._process_property_change(msg)
        return {name: value for name, value in heard.items() if name not in self.one_way}
