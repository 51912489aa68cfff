"""What lets a Tabulator come to rest."""

from __future__ import annotations

from typing import Any, ClassVar

from panel.custom import JSComponent

from atlas.components.assets import script


class Rest(JSComponent):
    """Put beside a table; nothing of it is seen.

    Panel's table (1.9) waits in a loop until the links to its style sheets are loaded, and when a theme adds a sheet, as
    panel-material-ui does twice, Bokeh replaces the links that it waits for: the page then spins for as long as it is open.
    """

    _esm = script("rest")
    _stylesheets: ClassVar[list[str]] = [":host { display: none; }"]

    def __init__(self, **params: Any) -> None:
        super().__init__(**{"margin": 0, **params})
