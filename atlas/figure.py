"""One view in Python, without the app: its numbers, its plot, and files of both for a paper."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import panel as pn

from atlas.app import prepare
from atlas.components.notebook import in_notebook, load_once
from atlas.errors import NotCaptured, UnknownName
from atlas.ids import Headlike
from atlas.plots.colours import theme
from atlas.state.stamp import on_picture, stamp
from atlas.tasks import TASKS
from atlas.trace import Trace
from atlas.tracing.corpus import Corpus
from atlas.views.base import View
from atlas.views.files import File, files_of
from atlas.views.headless import picture
from atlas.views.single import copied_alone, single
from atlas.views.standalone import has_other_plot, page

if TYPE_CHECKING:
    import pandas as pd

WIDTH = 900
"""Pixels of a picture across: two columns of a paper at a hundred an inch."""

ENDINGS = (".png", ".svg", ".html", ".csv", ".parquet", ".ipynb")

PREPARED: list[bool] = []


class Figure(pn.viewable.Viewer):
    """A view of the app by itself. As the last line of a cell it shows the plot, with the kernel behind it."""

    def __init__(self, view: View, **params: Any) -> None:
        super().__init__(**params)
        self._view = view
        self._exported = view.export()
        if view.problem:
            raise NotCaptured(view.problem)

    @property
    def key(self) -> str:
        """The view's key."""
        return self._view.key

    @property
    def table(self) -> pd.DataFrame:
        """The numbers behind the view, as the app exports them."""
        return self._exported.table.copy()

    @property
    def picture(self) -> Any:
        """The HoloViews element; None where the view is no plot."""
        return self._exported.picture

    @property
    def line(self) -> str:
        """Whose numbers they are, over how many."""
        return str(self._view.lens.line)

    def save(self, path: str | Path, width: int = WIDTH) -> Path:
        """Write a file by its ending: .png .svg .html .csv .parquet .ipynb. Beside a .csv lies what it is, as JSON.

        `width` is that of a picture, in pixels of the page (a PNG has two for each).
        """
        target = Path(path)
        files = self.files(target.suffix.lower(), width)
        first = files[0].name.split(".", 1)[0]
        for file in files:
            # The name is the caller's; of the other files only what follows the name of the first is kept.
            (target.parent / f"{target.stem}{file.name.removeprefix(first)}").write_bytes(file.data)
        return target

    def files(self, ending: str, width: int = WIDTH) -> list[File]:
        """The files of an ending in memory; the first is the one that was asked for."""
        if ending not in ENDINGS:
            msg = f"A view is saved as one of {', '.join(ENDINGS)}, not as {ending or 'a file without an ending'!r}."
            raise UnknownName(msg)
        if ending not in {".png", ".svg"}:
            return files_of(self._view, ending[1:])
        if not _has_plots(self._view):
            msg = f"{self._view.title} is no plot of BokehJS, so there is no picture of it. Save it as .html, .csv or .parquet."
            raise UnknownName(msg)
        stamped, dark = stamp(self._view.workspace, self.key), self._view.dark
        html = page(copied_alone(self._view), stamped, like=self._view)
        kind = {".png": "image/png", ".svg": "image/svg+xml"}[ending]
        data = picture(html, ending[1:], on_picture(stamped), theme(dark=dark).paper, width)
        return [File(f"{self.key}{ending}", kind, data)]

    def __panel__(self) -> Any:
        return self._view.stage

    def __repr__(self) -> str:
        rows = len(self._exported.table)
        return f"<{self._view.title}: {self.line or self._view.question}; {rows:,} rows in .table>"

    __str__ = __repr__


def view(
    trace: Trace,
    key: str,
    *,
    heads: Iterable[Headlike] = (),
    queries: Iterable[int] = (),
    keys: Iterable[int] = (),
    focus: Headlike | None = None,
    kind: str | None = None,
    dark: bool = False,
    second: Trace | None = None,
    corpora: Iterable[Corpus] = (),
    more: Mapping[str, Mapping[str, Any]] | None = None,
    **choices: Any,
) -> Figure:
    """One view of a trace: `atlas.view(trace, 'matrix', heads=[(2, 4)], mode='moved').save('moved.svg')`.

    It is the view of the app on a selection of its own, with the same numbers. What needs a press in the app, or the model, is
    computed in the calling thread.

    Parameters
    ----------
    trace
        What is shown.
    key
        Which view; an unknown one is answered with all keys.
    heads, queries, keys
        The selection: heads as HeadId, 'L5 H3' or (5, 3), with the kind in front where there are several; token positions.
    focus
        The head that is shown large; by default the first selected one.
    kind
        The kind of attention, where no head says it.
    dark
        Whether it is drawn for a dark page.
    second
        What the trace is compared with, for the views of comparisons.
    corpora
        Corpora of its model (`atlas.open`), for the views of corpora.
    more
        Choices of a part: 'display', 'explained', 'thresholds', or the key of a lens, each {name: value}; for names that
        `choices` cannot hold, or that mean something else there.
    choices
        Choices of the view (such as `mass=0.9` of 'influence'), of the display (`mode='moved'`, `level='word'`), of what is
        explained (`position`, `outcome`, `against`); an unknown one is answered with all there are.
    """
    _prepare()
    beside = {"second": second, "corpora": corpora}
    selected = {"heads": heads, "queries": queries, "keys": keys, "focus": focus, "kind": kind}
    return Figure(single(trace, key, TASKS, dark=dark, more=more, **beside, **selected, **choices))


def _prepare() -> None:
    """Load what plots need, once: in a notebook with its scripts in the output of the cell."""
    if in_notebook():
        load_once(lambda: prepare(inline=True))
    elif not PREPARED:
        prepare()
    PREPARED.append(True)


def _has_plots(shown: View) -> bool:
    return has_other_plot(shown) or any(pane.visible for pane in shown.stage.select(pn.pane.HoloViews))
