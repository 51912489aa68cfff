"""A notebook as the place where the app is shown: the scripts it needs, each loaded into the page once."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from itertools import groupby
from typing import Any

import panel as pn
import panel_material_ui as pmui
from panel.io.notebook import JupyterCommManagerBinary
from panel.viewable import MimeRenderMixin, Viewable

LOADER, APP = "aa-scripts", "aa-main"
"""Classes of what brings the scripts and of what does without: nobody else's output is touched."""

SHARING = '\n(window.aaScripts ??= {{}})["{bundle}"] = import(import.meta.url);\n'
"""Put at the end of the scripts: the module leaves itself where others find it."""

WAITING = """
const patience = Date.now() + 60_000;
while (!window.aaScripts?.["{bundle}"]) {{
  if (Date.now() > patience)
    throw new Error("The scripts of Attention Atlas are not on this page: restart the kernel and run all cells.");
  await new Promise((later) => setTimeout(later, 20));
}}
export default (await window.aaScripts["{bundle}"]).default;
"""
"""In place of the scripts: JupyterLab may draw the app of one cell before the scripts of an earlier one have been read."""

_loaded: set[str] = set()
"""The bundles of scripts that this kernel has put into its notebook."""


def in_notebook() -> bool:
    """Whether this runs in the kernel of a notebook, and not in a script or a terminal."""
    # Nobody has to have IPython: a kernel has loaded it already.
    interactive = sys.modules.get("IPython")
    return interactive is not None and hasattr(interactive.get_ipython(), "kernel")


def load_once(load: Callable[[], None]) -> None:
    """In a notebook, the first time: `load` the scripts of Panel, and those of the inputs, into the output of this cell.

    Without the second part every single input would bring the 1.4 MB of all of them: the app would be 45 MB of output.
    """
    if _loaded or not in_notebook():
        return
    load()
    one_at_a_time(sys.modules["tornado.ioloop"].IOLoop.current())  # what a kernel runs on
    MimeRenderMixin._on_msg = in_order(MimeRenderMixin._on_msg)  # type: ignore[method-assign]  # noqa: SLF001
    Viewable._preprocessing_hooks.append(without_scripts)  # noqa: SLF001 - an object's own hooks miss the frame Panel puts round it
    # The kernel has loaded it: nobody has to have IPython.
    sys.modules["IPython.display"].display(pn.Row(pmui.Divider(visible=False), css_classes=[LOADER]))


def one_at_a_time(loop: Any) -> None:
    """What the page says is heard on the thread of the cells, in order.

    JupyterLab from 4.4 on has every channel of a page answered in a thread of its own, and the handler of one swaps the standard
    output of them all: after two at once, nothing that is printed or shown comes back.
    """
    channel = JupyterCommManagerBinary.server_comm
    heard = channel._handle_msg  # noqa: SLF001  (the only place all messages pass)

    def hear(comm: Any, message: dict[str, Any]) -> None:
        if threading.current_thread() is threading.main_thread():
            heard(comm, message)
        else:
            loop.add_callback(heard, comm, message)

    channel._handle_msg = hear  # noqa: SLF001


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


def without_scripts(_: Any, root: Any, *__: object) -> None:
    """A hook: before the app is sent, replace the scripts that the page has by a wait for them."""
    models = root.references()
    classes = {name for model in models for name in getattr(model, "css_classes", ())}
    shared = [model for model in models if getattr(model, "bundle", None) not in {None, "url"}]
    if LOADER in classes:
        for model in shared:
            _loaded.add(model.bundle)
            # Under a name of its own: Panel keeps one module a name, and that which waits may come first.
            model.update(esm=model.esm + SHARING.format(bundle=model.bundle), bundle=f"{model.bundle}-shared")
    elif APP in classes:
        for model in shared:
            if model.bundle in _loaded:
                model.esm = WAITING.format(bundle=model.bundle)
