"""What all views are: a question, what is shown now, a plot, and a place for the reason why there is none."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, TypeVar

import panel as pn
import param

from atlas.components.card import Card
from atlas.state.lens import Lens
from atlas.state.pipeline import BUSY
from atlas.state.visibility import Visibility
from atlas.state.workspace import Workspace

Method = TypeVar("Method", bound=Callable[..., Any])

TIGHT = (6, 2, 2, 2)
"""Margin of a control in a card: its label stands above it."""

HEADING = 165
"""Pixels of an enlarged card's edges, question and controls."""

PAINTED = 120
"""Milliseconds after which a browser has painted what it was sent: more of it before that would keep the paint waiting."""


@contextmanager
def one_message() -> Iterator[None]:
    """What is changed inside goes to the browser at once."""
    document = pn.state.curdoc
    if document is None:
        yield
        return
    with pn.io.hold(document), _counted_at_most_once(document.models):
        yield


@contextmanager
def _counted_at_most_once(models: Any) -> Iterator[None]:
    """The models of the page are counted at the end, and only if one came or went: to count 430 of them takes 35 milliseconds.

    Bokeh's own `freeze` counts them in any case. Panel freezes too, inside of this.
    """
    wanted: list[bool] = []
    outside = models.invalidate
    models.invalidate = lambda: wanted.append(True)
    models._freeze_count += 1  # noqa: SLF001  (to leave `freeze` is to count)
    try:
        yield
    finally:
        models._freeze_count -= 1  # noqa: SLF001
        models.invalidate = outside
        if wanted:
            outside()


def after_paint(work: Callable[[], None], after: int = PAINTED) -> None:
    """Do something when what was changed so far has been painted (sent, for 0); at once where no page is served."""
    document = pn.state.curdoc
    if document is None or document.session_context is None:
        work()
    else:
        document.add_timeout_callback(work, after)


def bind_rule(values: Any, rule: Callable[[Any], Any]) -> Any:
    """What follows a Param. Bound, not an expression of rx: of one that something else is bound to, the first change is lost."""
    return pn.bind(rule, values)


def gesture(method: Method) -> Method:
    """Everything a gesture changes goes to the browser at once."""

    @functools.wraps(method)
    def inside(*args: Any, **kwargs: Any) -> Any:
        with one_message():
            return method(*args, **kwargs)

    return inside  # type: ignore[return-value]


class View(pn.viewable.Viewer):
    """One card of the page. A view reads Params and calls Selection methods, nothing else."""

    key: ClassVar[str] = ""
    title: ClassVar[str] = ""
    question: ClassVar[str] = ""
    help: ClassVar[str] = ""
    beside: ClassVar[int] = 110
    """Pixels of what stands below its plot."""

    dark = param.Boolean(default=False, doc="Whether the page is dark.")

    def __init__(self, workspace: Workspace, lens: Lens, **params: Any) -> None:
        super().__init__(**params)
        self.workspace = workspace
        self.lens = lens
        self.visibility = Visibility(lens, workspace)
        self._heights: dict[Any, int] = {}

    def body(self) -> Any:
        """The plot and what belongs to it."""
        raise NotImplementedError

    def tools(self) -> list[Any]:
        """Small controls beside the title."""
        return []

    def __panel__(self) -> Any:
        lens, pipeline = self.lens, self.workspace.pipeline
        body = self.body()
        self._heights = {pane: pane.height for pane in body.select(pn.pane.HoloViews)}
        card = Card(
            self.question,
            body,
            tools=self.tools(),
            css_classes=[f"aa-card-{self.key}"],
            title=self.title,
            help=self.help,
            line=lens.param.line,
            problem=lens.param.problem,
            empty=lens.param.empty,
            busy=bind_rule(pipeline.param.status, BUSY.__contains__),
            waiting=pipeline.param.message,
            dark=self.param.dark,
        )
        self.visibility.seen = card.head.param.seen
        card.head.param.watch(lambda event: self._enlarged(card, wide=event.new), "enlarged")
        return card

    def _enlarged(self, card: Card, *, wide: bool) -> None:
        with one_message():
            self.enlarge(card.head.room if wide else 0)

    def enlarge(self, room: int) -> None:
        """Make use of so many pixels of height; 0: as usual."""
        for pane, usual in self._heights.items():
            height = max(usual, room - HEADING - self.beside)
            pane.height = height
            for plot, _ in pane._plots.values():  # noqa: SLF001  (a pane tells nobody its plots)
                plot.state.height = height
