"""Corrects faults of Panel's and Bokeh's scripts in the browser."""

from __future__ import annotations

from typing import Any, ClassVar

from panel.custom import JSComponent

from atlas.resources import asset


class BrowserPatches(JSComponent):
    """An invisible component, put once on a page. Its script names the fault and the version that each patch is for."""

    _esm = asset("js", "browser_patches.js")
    _stylesheets: ClassVar[list[str]] = [":host { display: none; }"]

    def __init__(self, **params: Any) -> None:
        super().__init__(**{"margin": 0, **params})
