"""Shows the app in a notebook: loads each script that it needs into the page once."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import panel as pn
import panel_material_ui as pmui

from atlas.patches.notebook import before_display, hear_in_order

LOADER, APP = "aa-scripts", "aa-main"
"""CSS classes of the output that carries the scripts, and of the app, which waits for them. Other output stays unchanged."""

SHARING = '\n(window.aaScripts ??= {{}})["{bundle}"] = import(import.meta.url);\n'
"""Added at the end of a script: the module stores itself in `window`, where other outputs find it."""

WAITING = """
const patience = Date.now() + 60_000;
while (!window.aaScripts?.["{bundle}"]) {{
  if (Date.now() > patience)
    throw new Error("The scripts of Attention Atlas are not on this page: restart the kernel and run all cells.");
  await new Promise((later) => setTimeout(later, 20));
}}
export default (await window.aaScripts["{bundle}"]).default;
"""
"""Replaces a script. It waits for the script, because JupyterLab may draw an app before an earlier cell's scripts are loaded."""

_loaded: set[str] = set()
"""The bundles of scripts that this kernel has put into its notebook."""


def in_notebook() -> bool:
    """Whether this runs in the kernel of a notebook, and not in a script or a terminal."""
    # Not imported, because IPython need not be installed; in a kernel it is already imported.
    interactive = sys.modules.get("IPython")
    # A thread may just be importing it: captum does when a prediction is explained for the first time.
    shell = getattr(interactive, "get_ipython", None)
    return shell is not None and hasattr(shell(), "kernel")


def load_once(load: Callable[[], None]) -> None:
    """In a notebook, the first time: load Panel's scripts with `load`, and the scripts of the inputs, into this cell's output.

    Without the scripts of the inputs every single input would send 1.4 MB of scripts, and the app would be 45 MB of output.
    """
    if _loaded or not in_notebook():
        return
    load()
    hear_in_order(sys.modules["tornado.ioloop"].IOLoop.current())  # the kernel's event loop
    before_display(without_scripts)
    # Not imported, because IPython need not be installed; the kernel has imported it.
    sys.modules["IPython.display"].display(pn.Row(pmui.Divider(visible=False), css_classes=[LOADER]))


def without_scripts(_: Any, root: Any, *__: object) -> None:
    """Hook: replace the scripts that the page already has by a wait for them, before the app is sent."""
    models = root.references()
    classes = {name for model in models for name in getattr(model, "css_classes", ())}
    shared = [model for model in models if getattr(model, "bundle", None) not in {None, "url"}]
    if LOADER in classes:
        for model in shared:
            _loaded.add(model.bundle)
            # Under a different name, because Panel keeps one module for each name, and the waiting module may be loaded first.
            model.update(esm=model.esm + SHARING.format(bundle=model.bundle), bundle=f"{model.bundle}-shared")
    elif APP in classes:
        for model in shared:
            if model.bundle in _loaded:
                model.esm = WAITING.format(bundle=model.bundle)
