"""A table whose rows stay where they are while it is filtered, and whose box in the header is about the rows in sight."""

from __future__ import annotations

from typing import Any

import panel as pn


class Table(pn.widgets.Tabulator):
    """Filters are the browser's own business.

    Panel (1.9) answers one with all of the rows once more, though the browser has filtered those it had: every row on screen is
    made anew, and a click on one of them that is half done is lost.
    """

    def _config_columns(self, column_objs: Any) -> Any:
        """The box in the header ticks the rows that are left by the filters; all rows are what it ticked else."""
        made = super()._config_columns(column_objs)
        for column in made:
            if column.get("formatter") == "rowSelection":
                column["titleFormatterParams"] = {"rowRange": "active"}  # type: ignore[typeddict-unknown-key]
        return made

    def _update_cds(self, *events: Any) -> None:
        if self.pagination == "local" and events and all(event.name == "filters" for event in events):
            return
        super()._update_cds(*events)
