"""A table whose rows stay where they are while it is filtered."""

from __future__ import annotations

from typing import Any

import panel as pn


class Table(pn.widgets.Tabulator):
    """Filters are the browser's own business.

    Panel (1.9) answers one with all of the rows once more, though the browser has filtered those it had: every row on screen is
    made anew, and a click on one of them that is half done is lost.
    """

    def _update_cds(self, *events: Any) -> None:
        if self.pagination == "local" and events and all(event.name == "filters" for event in events):
            return
        super()._update_cds(*events)
