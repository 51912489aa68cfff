"""A notebook as the place where the app is shown: the scripts it needs, each loaded into the page once."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import panel as pn
import panel_material_ui as pmui

from atlas.patches.notebook import before_display, hear_in_order

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
    hear_in_order(sys.modules["tornado.ioloop"].IOLoop.current())  # what a kernel runs on
    before_display(without_scripts)
    # The kernel has loaded it: nobody has to have IPython.
    sys.modules["IPython.display"].display(pn.Row(pmui.Divider(visible=False), css_classes=[LOADER]))


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
