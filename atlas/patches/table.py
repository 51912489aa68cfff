"""Panel's table (1.9) sends all rows again when the browser filters them, and its header checkbox selects hidden rows."""

from __future__ import annotations

from typing import Any

import panel as pn


class Table(pn.widgets.Tabulator):
    """A table that leaves filtering to the browser.

    Panel answers a filter by sending all rows again, although the browser has filtered its rows. Every row on screen is then
    rebuilt, and a click on a row is lost if the row is rebuilt between press and release.
    """

    def _config_columns(self, column_objs: Any) -> Any:
        """Make the checkbox in the header select the rows that the filters leave; without this it selects all rows."""
        columns = super()._config_columns(column_objs)
        for column in columns:
            if column.get("formatter") == "rowSelection":
                column["titleFormatterParams"] = {"rowRange": "active"}  # type: ignore[typeddict-unknown-key]
        return columns

    def _update_cds(self, *events: Any) -> None:
        if self.pagination == "local" and events and all(event.name == "filters" for event in events):
            return
        super()._update_cds(*events)
