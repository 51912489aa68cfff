"""What Panel's and Bokeh's scripts get wrong in a browser, set right."""

from __future__ import annotations

from typing import Any, ClassVar

from panel.custom import JSComponent

from atlas.resources import asset


class BrowserPatches(JSComponent):
    """Put once on a page; nothing of it is seen. Each mend is about one version's mistake, which its script names."""

    _esm = asset("js", "browser_patches.js")
    _stylesheets: ClassVar[list[str]] = [":host { display: none; }"]

    def __init__(self, **params: Any) -> None:
        super().__init__(**{"margin": 0, **params})
