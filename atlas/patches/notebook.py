"""What a page in a notebook says is heard on one thread and in order (Panel 1.9, pyviz_comms 3)."""

from __future__ import annotations

import threading
from collections.abc import Callable
from itertools import groupby
from typing import Any

from panel.io.notebook import JupyterCommManagerBinary
from panel.viewable import MimeRenderMixin, Viewable

from atlas.patches.private import private, replace_private


def hear_in_order(loop: Any) -> None:
    """Patch how this kernel hears pages, once; `loop` is what the kernel runs on."""
    one_at_a_time(loop)
    replace_private(MimeRenderMixin, "_on_msg", in_order(private(MimeRenderMixin, "_on_msg", "notebook")), "notebook")


def before_display(hook: Callable[..., None]) -> None:
    """Call a hook on everything before it is displayed: the hooks of an object miss the frame that Panel puts around it."""
    private(Viewable, "_preprocessing_hooks", "notebook").append(hook)


def one_at_a_time(loop: Any) -> None:
    """Hear what the page says on the thread of the cells, in order.

    JupyterLab from 4.4 on answers every channel of a page in a thread of its own, and pyviz_comms swaps the standard output of
    the whole process while it handles a message: after two at once, nothing that is printed or shown comes back.
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
    """Hear the changes and the clicks of one message as messages of their own.

    Panel keeps the changes in a message until the clicks in it have been answered, and forgets them where the answer says
    anything to the page. While a kernel is busy the page gathers what is done: a text, and the click that was to run it, ran
    the text before.
    """

    def one_by_one(view: Any, ref: str, manager: Any, message: dict[str, Any]) -> None:
        for _, events in groupby(message["content"]["events"], key=lambda event: event["kind"] == "MessageSent"):
            part = message | {"header": dict(message["header"]), "content": {"events": list(events)}}
            hear(view, ref, manager, part)

    return one_by_one
