"""Handles messages from a page in a notebook on one thread and in order (Panel 1.9, pyviz_comms 3)."""

from __future__ import annotations

import threading
from collections.abc import Callable
from itertools import groupby
from typing import Any

from panel.io.notebook import JupyterCommManagerBinary
from panel.viewable import MimeRenderMixin, Viewable

from atlas.patches.private import private, replace_private


def hear_in_order(loop: Any) -> None:
    """Patch, once, how this kernel handles messages from pages; `loop` is the kernel's event loop."""
    one_at_a_time(loop)
    replace_private(MimeRenderMixin, "_on_msg", in_order(private(MimeRenderMixin, "_on_msg", "notebook")), "notebook")


def before_display(hook: Callable[..., None]) -> None:
    """Call a hook on every object before it is displayed. An object's own hooks miss the frame that Panel puts around it."""
    private(Viewable, "_preprocessing_hooks", "notebook").append(hook)


def one_at_a_time(loop: Any) -> None:
    """Handle messages from the page on the thread of the cells, in order.

    From version 4.4 on JupyterLab handles every channel of a page in its own thread, and pyviz_comms replaces the standard output
    of the whole process while it handles a message. After two messages at once all later output of the kernel was lost.
    """
    channel = JupyterCommManagerBinary.server_comm
    handle = private(channel, "_handle_msg", "notebook")

    def hear(comm: Any, message: dict[str, Any]) -> None:
        if threading.current_thread() is threading.main_thread():
            handle(comm, message)
        else:
            loop.add_callback(handle, comm, message)

    replace_private(channel, "_handle_msg", hear, "notebook")


def in_order(hear: Callable[..., None]) -> Callable[..., None]:
    """Handle the changes and the clicks of one message as separate messages.

    Panel holds back the changes in a message until its clicks are handled, and drops them if a click's callback changes the page.
    While a kernel is busy the page collects events, so that typing a text and clicking Run ran the previous text.
    """

    def one_by_one(view: Any, ref: str, manager: Any, message: dict[str, Any]) -> None:
        for _, events in groupby(message["content"]["events"], key=lambda event: event["kind"] == "MessageSent"):
            part = message | {"header": dict(message["header"]), "content": {"events": list(events)}}
            hear(view, ref, manager, part)

    return one_by_one
