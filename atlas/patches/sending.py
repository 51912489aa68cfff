"""What Panel has to say to a browser is said to the end, and not taken for what the browser said."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, ClassVar

from panel.custom import JSComponent
from panel.io import document

Dispatch = Callable[[Any], Coroutine[Any, Any, None]]
"""Writes to a page's browser what waits for it."""


def to_the_end(dispatch: Dispatch) -> Dispatch:
    """Panel's own (1.9), until nothing is left.

    While it waits for the socket more may come to be written. It then takes away the sign that something waits, and whoever was
    to write the rest finds no sign and leaves: the browser hears it with the next change, if there is one.
    """

    @wraps(dispatch)
    async def dispatched(doc: Any) -> None:
        await dispatch(doc)
        while doc in document._WRITE_MSGS and doc not in document._WRITE_BLOCK:  # noqa: SLF001  (nobody else knows)
            document._WRITE_BLOCK[doc] = True  # noqa: SLF001
            await dispatch(doc)

    return dispatched


def patch_sending() -> None:
    """Once a process, before anything is served."""
    if not hasattr(document._dispatch_msgs, "__wrapped__"):  # noqa: SLF001
        document._dispatch_msgs = to_the_end(document._dispatch_msgs)  # noqa: SLF001


class OneWay(JSComponent):
    """A component with Params that the browser is told of, in another form than they are held in, and never sets."""

    one_way: ClassVar[frozenset[str]] = frozenset()

    def _process_property_change(self, msg: dict[str, Any]) -> dict[str, Any]:
        """What changes between the opening of the connection and that of the page Panel takes for the browser's doing.

        It then put back what had been sent: weights became a thousandfold.
        """
        heard: dict[str, Any] = super()._process_property_change(msg)
        return {name: value for name, value in heard.items() if name not in self.one_way}
