"""The heads as a table to sort and filter."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import pandas as pd
import panel as pn
from panel.io import JSCode

from atlas.patches.table import Table
from atlas.state.display import SELECTED
from atlas.state.heads import HeadsLens, title_of
from atlas.state.workspace import Workspace
from atlas.views.base import HEADING, Export, View, gesture

ORIGIN = "table"

COLUMNS = ("entropy_norm", "confidence_mean", "previous", "next", "self", "special", "induction", "distance", SELECTED)
"""Metrics a card is wide enough for; the table of all of them is `trace.heads`."""

WIDE = {"Head": 70, "Role": 104, "Cluster": 100}
"""Pixels: the table begins empty, and Tabulator would leave words the room that their titles need."""

NUMBER_WIDE = 88
"""Pixels of a column of numbers: its title takes two lines, so that a card shows three of them beside the head."""

ROWS = 12
"""Rows of a page: with header and filters as high as the plot and its groups beside it."""

HEIGHT = 520
"""Pixels of the table."""

AROUND, ROW = 135, 31
"""Pixels of the table's header and footer together, and of a row."""

NUMBER = JSCode("""cell => {
  const value = cell.getValue()
  if (value === null || Number.isNaN(value)) { return "N/A" }
  return value !== 0 && Math.abs(value) < 0.0005 ? value.toExponential(1) : value.toFixed(3)
}""")
"""Three digits after the point, so that numbers stand under each other; what these would make 0 has its power of ten. Bokeh's own
formatters drop zeros at the end or know no powers."""

FILTER = {"type": "input", "func": "like", "placeholder": "filter"}

DENSE = """
/* Selectors as long as Panel's own, or its rules win. */
:host .tabulator { font-size: 12.5px; height: 100% !important; }
:host .tabulator .tabulator-header .tabulator-col .tabulator-col-content { padding: 3px 6px; }
:host .tabulator .tabulator-header .tabulator-col .tabulator-col-content .tabulator-col-title {
  white-space: normal; line-height: 1.2; min-height: 2.4em; }
:host .pnx-tabulator.tabulator .tabulator-tableholder .tabulator-table .tabulator-row { min-height: 30px; }
:host .pnx-tabulator.tabulator .tabulator-tableholder .tabulator-table .tabulator-row .tabulator-cell {
  min-height: 30px; padding: 5px 6px; line-height: 1.5; }
:host .pnx-tabulator.tabulator .tabulator-tableholder .tabulator-table .tabulator-row .tabulator-cell:not([tabulator-field]) {
  padding: 5px 0; }
:host .tabulator-cell > input[type="checkbox"] { margin: 0; vertical-align: middle; }
"""


class TableView(View):
    """Every head with its numbers."""

    key: ClassVar = "table"
    title: ClassVar = "Ranking"
    question: ClassVar = "Which heads do it most?"
    help: ClassVar = (
        "Click a column to sort by it, type under its name to filter, click a row to select the head, tick boxes to select "
        "several. With tokens selected, every number is that of these rows; the last column is the weight on selected keys. "
        "N/A: not known for this head or text, or no keys are selected."
    )

    lens_type: ClassVar = HeadsLens

    def __init__(self, workspace: Workspace, **params: Any) -> None:
        super().__init__(workspace, **params)
        self._echo = False
        numbers = [title_of(name) for name in COLUMNS]
        every = (*WIDE, *numbers)
        self.table = Table(
            self.shown(), show_index=False, disabled=True, pagination="local", page_size=ROWS, layout="fit_data_table",
            selectable="checkbox", sizing_mode="stretch_width", height=HEIGHT, css_classes=["aa-table"], stylesheets=[DENSE],
            header_filters=dict.fromkeys(every, FILTER), widths=dict.fromkeys(numbers, NUMBER_WIDE) | WIDE,
            frozen_columns=["Head"],
            formatters=dict.fromkeys(numbers, NUMBER), text_align=dict.fromkeys(numbers, "right"),
            editors=dict.fromkeys(every),  # with one a cell is a stop of the Tab key: twelve a row
        )  # fmt: skip
        self.table.param.watch(self._ticked, "selection")
        self.table.on_click(self._clicked)

    @property
    def heads(self) -> HeadsLens:
        """What is shown."""
        assert isinstance(self.lens, HeadsLens)
        return self.lens

    def body(self) -> Any:
        """The table, following the lens."""
        self._draw()
        self.visibility.follow_revision(self._draw)
        self.visibility.follow_marks(self._tick)
        return pn.Column(self.table, sizing_mode="stretch_width")

    def export(self) -> Export:
        """The table itself."""
        return Export("ranking", self.shown(), None)

    def enlarge(self, room: int, across: int) -> None:  # noqa: ARG002  (the table is as wide as its card)
        """More rows on a page where there is room for them."""
        height = max(HEIGHT, room - HEADING)
        self.table.param.update(height=height, page_size=max(ROWS, (height - AROUND) // ROW))

    def shown(self) -> pd.DataFrame:
        """What is in the table.

        The same columns for every text and kind: where they came and went, Tabulator lost the ticks of the rows, and broke when
        they went while it was being drawn.
        """
        table = self.heads.table()
        unknown = pd.Series(float("nan"), index=table.index)
        columns = {title_of(name): table.get(name, unknown).astype(float) for name in COLUMNS}
        words = {"Head": [str(head) for head in self.heads.ids()], "Role": table["role"], "Cluster": table["cluster"]}
        head, role, cluster = ({name: pd.Series(values, dtype=str)} for name, values in words.items())
        return pd.DataFrame(head | role | columns | cluster)

    def _draw(self) -> None:
        shown = self.shown()
        with self._own_words():
            if not shown.equals(self.table.value):
                if len(shown) != len(self.table.value):
                    self.table.selection = []  # Panel looks the selected rows up in the table before this one
                self.table.value = shown
        self._tick()

    def _tick(self) -> None:
        """The rows of the selected heads; no number changes with them."""
        chosen = self.workspace.selection.heads
        rows = [row for row, head in enumerate(self.heads.ids()) if head in chosen]
        if rows != self.table.selection:
            with self._own_words():
                self.table.selection = rows

    @contextmanager
    def _own_words(self) -> Iterator[None]:
        """What is said to the table inside is no tick of a reader."""
        self._echo = True
        try:
            yield
        finally:
            self._echo = False

    @gesture
    def _ticked(self, event: Any) -> None:
        if not self._echo:
            self.workspace.selection.select_heads(self.heads.at(event.new), origin=ORIGIN, label="rows of the table")

    @gesture
    def _clicked(self, event: Any) -> None:
        if event.column is not None:
            for head in self.heads.at([event.row]):
                self.workspace.selection.pick(head, origin=ORIGIN)
