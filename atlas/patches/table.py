"""Panel's table (1.9) sends all rows again when the browser filters them, and its header box selects rows that are hidden."""

from __future__ import annotations

from typing import Any

import panel as pn


class Table(pn.widgets.Tabulator):
    """A table that leaves filtering to the browser.

    Panel answers a filter with all rows once more, though the browser has filtered the rows it had: every row on screen is made
    anew, and a click on one of them that is half done is lost.
    """

    def _config_columns(self, column_objs: Any) -> Any:
        """Make the box in the header select the rows that the filters leave; without this it selects all rows."""
        made = super()._config_columns(column_objs)
        for column in made:
            if column.get("formatter") == "rowSelection":
                column["titleFormatterParams"] = {"rowRange": "active"}  # type: ignore[typeddict-unknown-key]
        return made

    def _update_cds(self, *events: Any) -> None:
        if self.pagination == "local" and events and all(event.name == "filters" for event in events):
            return
        super()._update_cds(*events)
