"""A Tabulator that comes to rest."""

from __future__ import annotations

from typing import Any, ClassVar

import panel as pn
from panel.custom import JSComponent

from atlas.components.assets import script


class Table(pn.widgets.Tabulator):
    """A table whose filters are the browser's own business.

    Panel (1.9) answers a filter with all of the rows once more, though the browser has filtered those it had: every row on
    screen is made anew, and a click on one of them that is half done is lost.
    """

    def _update_cds(self, *events: Any) -> None:
        if self.pagination == "local" and events and all(event.name == "filters" for event in events):
            return
        super()._update_cds(*events)


class Rest(JSComponent):
    """Put beside a table; nothing of it is seen.

    Panel's table (1.9) waits in a loop until the links to its style sheets are loaded, and when a theme adds a sheet, as
    panel-material-ui does twice, Bokeh replaces the links that it waits for: the page then spins for as long as it is open.
    """

    _esm = script("rest")
    _stylesheets: ClassVar[list[str]] = [":host { display: none; }"]

    def __init__(self, **params: Any) -> None:
        super().__init__(**{"margin": 0, **params})
