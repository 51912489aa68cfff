"""The heads as a table, ranked by the chosen metric, to sort and filter."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import panel as pn
import panel_material_ui as pmui
from panel.io import JSCode

from atlas.ids import HeadId
from atlas.patches.table import Table
from atlas.state.display import SELECTED
from atlas.state.heads import HeadsLens, title_of
from atlas.state.lens import Lens
from atlas.state.workspace import Workspace
from atlas.views.base import HEADING, TIGHT, Export, View, gesture, one_message
from atlas.views.plain import plain
from atlas.views.shows import Shows

COLUMNS = ("entropy_norm", "confidence_mean", "previous", "next", "self", "special", "induction", "distance", SELECTED)
"""Metrics a card is wide enough for; the table of all of them is `trace.heads`."""

VALUE, CHANCE = "Chosen metric", "By chance"
"""Columns of the metric that ranks the heads. Always the same two, because Tabulator loses ticks where columns come and go."""

RANKING = {VALUE: "", CHANCE: "_uniform"}
"""Column -> what its name in the table of heads has behind that of the metric."""

WIDE = {"Head": 70, "Role": 104, "Cluster": 100}
"""Columns of words, and pixels: the table begins empty, and Tabulator would leave words the room that their titles need."""

NUMBER_WIDE = 88
"""Pixels of a column of numbers: its title takes two lines, so that a card shows three of them beside the head."""

ROWS = 12
"""Rows of a page: with header and filters as high as the plot and its groups beside it."""

HEIGHT = 520
"""Pixels of the table."""

AROUND, ROW = 135, 31
"""Pixels of the table's header and footer together, and of a row."""

ENDS = 102
"""Pixels of the header and footer of a table without filters."""

NUMBER = JSCode("""cell => {
  const value = cell.getValue()
  if (value === null || Number.isNaN(value)) { return "N/A" }
  if (value === 0 || Math.abs(value) >= 0.0005) { return value.toFixed(3).replace("-", "−") }
  const [digits, power] = value.toExponential(1).split("e-")
  return `${digits}·10⁻${[...power].map(digit => "⁰¹²³⁴⁵⁶⁷⁸⁹"[digit]).join("")}`.replace("-", "−")
}""")
"""Three digits after the point, so that numbers stand under each other; what these would make 0 has its power of ten, as `three`
writes it. Bokeh's own formatters drop zeros at the end or know no powers."""

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
:host .tabulator-cell > div { overflow: hidden; text-overflow: ellipsis; }
"""


def rows_table(
    rows: pd.DataFrame, name: str, numbers: Iterable[str], *, size: int, counts: Iterable[str] = (), **look: Any
) -> Table:
    """A page of some rows at a time, of which a click opens one: numbers stand under each other, and nothing is edited.

    `counts`: columns of whole numbers, which are written as they are.
    """
    numbers = tuple(numbers)
    return Table(
        rows, show_index=False, disabled=True, page_size=size, layout="fit_data_stretch", selectable=False,
        sizing_mode="stretch_width", height=ENDS + ROW * size, css_classes=[name], stylesheets=[DENSE],
        formatters=dict.fromkeys(numbers, NUMBER), text_align=dict.fromkeys((*numbers, *counts), "right"),
        editors=dict.fromkeys(rows.columns), **look,
    )  # fmt: skip


class TableView(View):
    """Every head with its numbers."""

    key: ClassVar = "table"
    title: ClassVar = "Ranking"
    question: ClassVar = "Which heads rank highest?"
    help: ClassVar = (
        "Heads are ranked by the chosen metric, the largest value first; its chance value stands beside it. Click a column to "
        "sort by it, type under its name to filter, click a row to select the head, tick boxes to select several. With tokens "
        "selected, every number is that of these rows; the last column is the weight on selected keys. N/A: not known for this "
        "head or text, or no keys are selected."
    )

    lens_type: ClassVar[type[Lens]] = HeadsLens
    heads = Shows(HeadsLens)
    ranking: ClassVar[Mapping[str, str]] = RANKING
    columns: ClassVar[tuple[str, ...]] = COLUMNS
    named: ClassVar[Mapping[str, int]] = WIDE
    formats: ClassVar[Mapping[str, Any]] = {}
    """Columns of numbers that are not written as the others are."""

    def __init__(self, workspace: Workspace, **params: Any) -> None:
        super().__init__(workspace, **params)
        self._echo = False
        self._ranked_by = workspace.display.metric
        numbers = [*self.ranking, *(title_of(name) for name in self.columns)]
        every = (*self.named, *numbers)
        self.table = Table(
            self.shown(), show_index=False, disabled=True, pagination="local", page_size=ROWS, layout="fit_data_table",
            selectable="checkbox", sizing_mode="stretch_width", height=HEIGHT, css_classes=[f"aa-{self.key}"],
            stylesheets=[DENSE],
            header_filters=dict.fromkeys(every, FILTER), widths={**dict.fromkeys(numbers, NUMBER_WIDE), **self.named},
            frozen_columns=["Head"],
            formatters={**dict.fromkeys(numbers, NUMBER), **self.formats}, text_align=dict.fromkeys(numbers, "right"),
            editors=dict.fromkeys(every),  # with one a cell is a stop of the Tab key: twelve a row
        )  # fmt: skip
        self.table.param.watch(self._ticked, "selection")
        self.table.on_click(self._clicked)

    def tools(self) -> list[Any]:
        """Which metric ranks the heads."""
        metric = self.workspace.display.param.metric
        return [
            pmui.Select.from_param(metric, label="Metric", options=self.heads.metrics(), size="small", margin=TIGHT, width=216)
        ]

    def body(self) -> Any:
        """The table, following the lens and the metric."""
        display = self.workspace.display.param
        self._draw()
        self.visibility.follow_revision(self._draw)
        self.visibility.follow_marks(self._tick)
        self.workspace.display.param.watch(self._rank_anew, "metric")
        self.visibility.param.watch(self._rank_anew, ["seen", "opened"])
        unknown = self.bound(lambda _, metric: self.heads.unknown(metric), self.visibility.param.revision, display.metric)
        return pn.Column(self.table, plain(unknown, "aa-table-note"), sizing_mode="stretch_width")

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
        table, metric = self.heads.table(), self.workspace.display.metric
        unknown = pd.Series(float("nan"), index=table.index)
        numbers = {title: f"{metric}{end}" for title, end in self.ranking.items()} | {
            title_of(name): name for name in self.columns
        }
        columns = {title: table.get(name, unknown).astype(float) for title, name in numbers.items()}
        words = {"Head": [str(head) for head in self.heads.ids()], "Role": table["role"], "Cluster": table["cluster"]}
        head, role, cluster = (
            {name: pd.Series(values, dtype=str)} if name in self.named else {} for name, values in words.items()
        )
        ranking = {name: columns.pop(name) for name in self.ranking}
        return pd.DataFrame(head | ranking | role | columns | cluster).iloc[self.order()].reset_index(drop=True)

    def order(self) -> list[int]:
        """The rows of the lens's table from the largest value of the metric to the smallest; unknown ones come last."""
        table, metric = self.heads.table(), self.workspace.display.metric
        if metric not in table:
            return list(range(len(table)))
        found: list[int] = np.argsort(-table[metric].to_numpy(dtype=float, na_value=np.nan), kind="stable").tolist()
        return found

    def heads_in(self, rows: Iterable[int]) -> list[HeadId]:
        """The heads of some rows of the table; a row that was on screen before this table is none of it."""
        order = self.order()
        return self.heads.at(order[row] for row in rows if 0 <= row < len(order))

    def _rank_anew(self, *_: object) -> None:
        if self.visibility.active and self._ranked_by != self.workspace.display.metric:
            with one_message():
                self.visibility.safely(self._draw)

    def _draw(self) -> None:
        shown, metric = self.shown(), self.workspace.display.metric
        with self._own_words():
            if not shown.equals(self.table.value):
                if list(shown["Head"]) != list(self.table.value["Head"]):
                    self.table.selection = []  # Panel looks the selected rows up in the table before this one
                self.table.value = shown
            if metric != self._ranked_by:
                self._ranked_by = metric
                self.table.param.update(sorters=[], page=1)  # a reader's own sorting was of another question
        self._tick()

    def _tick(self) -> None:
        """The rows of the selected heads; no number changes with them."""
        chosen, ids = self.workspace.selection.heads, self.heads.ids()
        rows = [row for row, at in enumerate(self.order()) if ids[at] in chosen]
        if rows != self.table.selection:
            with self._own_words():
                self.table.selection = rows
        if self.workspace.selection.origin != self.key:  # a reader who ticks a row sees it
            self._bring_into_sight(set(rows))

    def _bring_into_sight(self, rows: set[int]) -> None:
        """Turn to the page of the first of these rows, unless one of them is on the page that is shown."""
        if not rows or self.table.filters:  # what a reader has filtered away is to stay away
            return
        places = [place for place, row in enumerate(self._sorted()) if row in rows]
        pages = [place // (self.table.page_size or ROWS) + 1 for place in places]
        if pages and self.table.page not in pages:
            self.table.page = pages[0]

    def _sorted(self) -> list[int]:
        """The rows in the order that a reader's clicks on columns have given them, as Tabulator sorts."""
        shown = self.table.value
        for sorter in reversed(self.table.sorters):
            ascending = sorter["dir"] == "asc"
            end = "first" if ascending else "last"
            shown = shown.sort_values(sorter["field"], ascending=ascending, kind="stable", na_position=end)
        return list(shown.index)

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
            self.workspace.selection.select_heads(self.heads_in(event.new), origin=self.key, label="rows of the table")

    @gesture
    def _clicked(self, event: Any) -> None:
        if event.column is not None:
            for head in self.heads_in([event.row]):
                self.workspace.selection.pick(head, origin=self.key)
