"""What every view is: a question, what is shown now, a plot, and a place for the reason why there is none."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypeVar

import panel as pn
import param

from atlas.components.card import Card, Stage
from atlas.components.notebook import in_notebook
from atlas.definitions import DEFINITIONS
from atlas.errors import NotCaptured
from atlas.patches.counting import counted_at_most_once
from atlas.patches.panes import plots_of
from atlas.patches.plot_pane import PlotPane
from atlas.state.lens import Lens
from atlas.state.pipeline import BUSY
from atlas.state.stamp import on_picture, stamp
from atlas.state.visibility import Visibility
from atlas.state.workspace import Workspace
from atlas.trace import Trace
from atlas.views.faults import Faults, Follows, calm, faulty

if TYPE_CHECKING:
    import pandas as pd

Method = TypeVar("Method", bound=Callable[..., Any])

TIGHT = (6, 2, 2, 2)
"""Margin of a control in a card: its label stands above it."""

HEADING = 135
"""Pixels of an enlarged card's edges, question and controls."""

AROUND = 380
"""Pixels of a window that are not a plot's when the page is opened: header, text, selection bar, tabs, the head of the card, and
what is read below the plot. A plot that fills what is left is whole on the smallest screen the app is made for (1280 x 720)."""

LEAST, MOST = 340, 620
"""Pixels of a plot that fills the window: lower its names would not be read, higher it would not be seen as a whole in a column
half as wide as the window."""

EDGES = 60
"""Pixels to the left and right of what is in an enlarged card."""

PAINTED = 120
"""Milliseconds after which a browser has painted what it was sent: more of it before that would keep the paint waiting."""


@contextmanager
def one_message() -> Iterator[None]:
    """What is changed inside goes to the browser in one message."""
    document = pn.state.curdoc
    if document is None:
        yield
        return
    with pn.io.hold(document), counted_at_most_once(document):
        yield


def after_paint(work: Callable[[], None], after: int = PAINTED) -> None:
    """Run `work` when the browser has painted what was changed so far (sent it, for 0); at once where no page is served."""
    document = pn.state.curdoc
    if document is None or not _is_served():
        work()
    else:
        document.add_timeout_callback(work, after)


def bind_rule(values: Any, rule: Callable[[Any], Any]) -> Any:
    """Bind `rule` to a Param. Not `rx`: an rx expression that is itself bound loses its first change."""
    return pn.bind(rule, values)


def gesture(method: Method) -> Method:
    """Everything a gesture changes goes to the browser in one message; where it fails, the card of its view says so."""

    @functools.wraps(method)
    def inside(self: Any, *args: Any, **kwargs: Any) -> Any:
        with one_message():
            if isinstance(self, View):
                return self.faults.gesture(lambda: method(self, *args, **kwargs), method.__qualname__)
            return method(self, *args, **kwargs)

    return inside  # type: ignore[return-value]


UNDER_WAY = "The numbers of this view are still being computed. Take them away when they are there."


class Export(NamedTuple):
    """What a view shows, to take away."""

    name: str
    """Of the file, without an ending."""
    table: pd.DataFrame
    """Exactly the numbers behind what is shown."""
    picture: Any
    """The HoloViews element as drawn; None where the view is no plot."""
    more: Mapping[str, pd.DataFrame] = MappingProxyType({})
    """Other tables that belong to it, by what their file is called after the name."""


class Files:
    """What a card exports, made of its view at a click; where that fails the card says so."""

    def __init__(self, view: View) -> None:
        self._view = view

    def files(self, ending: str) -> Any:
        """The files of an ending; None: that failed."""
        from atlas.views.files import files_of  # they need views

        return self._view.faults.gesture(lambda: files_of(self._view, ending), "export")

    def picture(self) -> Any:
        """What a picture is called and stamped with; None: that failed."""
        view = self._view
        return view.faults.gesture(lambda: {"name": view.key, **on_picture(stamp(view.workspace, view.key))}, "export")


class View(pn.viewable.Viewer):
    """One card of the page. A view reads Params and calls Selection methods, nothing else."""

    key: ClassVar[str] = ""
    title: ClassVar[str] = ""
    question: ClassVar[str] = ""
    help: ClassVar[str] = ""
    """How to read the plot. Formulas are not written here but in `definitions`."""
    defines: ClassVar[tuple[str, ...]] = ()
    """Names of the definitions whose formula, reading and chance level the help shows."""
    lens_type: ClassVar[type[Lens]] = Lens
    """What the view shows; views with the same lens type share one lens."""
    wide: ClassVar[bool] = False
    """Whether the card takes a row of its own."""
    beside: ClassVar[int] = 110
    """Pixels of what stands below its plot."""
    fills: ClassVar[bool] = False
    """Whether its plots are as high as the window allows, and keep their aspect when the card is enlarged."""

    dark = param.Boolean(default=False, doc="Whether the page is dark.")
    unfit = param.String(default="", doc="Why the trace on screen cannot have this view; its card is then hidden.")
    later = param.Boolean(default=False, doc="Whether a page builds the body when its card comes on screen.")

    def __init__(self, workspace: Workspace, **params: Any) -> None:
        super().__init__(**params)
        self.workspace = workspace
        self.lens = workspace.lens(self.lens_type)
        self.faults = Faults()
        self.visibility = Visibility(self.lens, workspace.one_message, self._attempt)
        self._heights: dict[Any, int] = {}
        self._room = (0, 0)
        """Pixels downwards and across that an enlarged card has; zeros: it is in its place."""
        self._waits = False
        self.stage = pn.Column()
        """What the card shows: the body, once it is built."""

    @classmethod
    def fits(cls, trace: Trace) -> str:  # noqa: ARG003  (a subclass looks at the trace)
        """Why a trace cannot have this view; empty: it can."""
        return ""

    @classmethod
    def offered(cls, workspace: Workspace) -> str:
        """Why a reader is not offered this view on the trace on screen; empty: the card is there."""
        return cls.fits(workspace.trace) if workspace.trace is not None else ""

    def body(self) -> Any:
        """The plot and what belongs to it."""
        raise NotImplementedError

    def tools(self) -> list[Any]:
        """Small controls beside the title."""
        return []

    def export(self) -> Export:
        """The numbers and the picture of exactly what is shown."""
        raise NotImplementedError

    def take_over(self, other: View) -> None:
        """Show what a view of this class shows in another workspace with the same state, also what is no part of the state."""
        handed = other.lens.handed_over()
        if handed is not None:
            self.lens.take_over(handed)

    def stand_alone(self, figure: Any) -> str:  # noqa: ARG002  (a subclass changes the plot)
        """Prepare one of its plots for a file: what the server did must be in it. Returns what does not work there, in words."""
        return ""

    def drawing(self, draw: Callable[..., Any], blank: Callable[[], Any]) -> Callable[..., Any]:
        """A DynamicMap callback that calls `draw`; where that fails the reason is shown, and a `blank` element is drawn.

        HoloViews would pass the error on to whoever renders the page, and all cards after this one would stay empty.
        """

        def drawn(**streams: Any) -> Any:
            return self.faults.attempt(functools.partial(draw, **streams), blank, draw)

        return drawn

    def follows(self, followed: param.Parameterized, names: list[str], rename: dict[str, str] | None = None) -> Follows:
        """A stream for a DynamicMap of this view: draw anew when a Param changes; errors of HoloViews stay in the card."""
        return Follows(followed, names, rename=rename or {}, faults=self.faults)

    def plot_pane(self, plot: Any, **look: Any) -> PlotPane:
        """A pane of a plot of this view; what cannot be drawn at first is tried again when the data change."""
        pane = PlotPane(plot, lambda error: self.faults.report(error, "first drawing"), linked_axes=False, **look)

        def try_again() -> None:
            if pane.failed:
                self.faults.mend("first drawing")
                pane.try_again()

        self.visibility.follow_revision(try_again)
        return pane

    @property
    def problem(self) -> str:
        """Why there is no plot; empty: there is one."""
        return str(self.lens.problem or self.faults.problem)

    def _attempt(self, draw: Callable[[], object]) -> None:
        self.faults.attempt(draw, lambda: None)

    def bound(self, rule: Callable[..., str], *params: Any) -> Any:
        """Words or markup bound to Params; where `rule` fails, the reason is shown and the words are empty."""

        def ruled(*values: Any) -> str:
            return self.faults.attempt(functools.partial(rule, *values), str, rule)

        return pn.bind(ruled, *params)

    def __panel__(self) -> Any:
        lens, pipeline = self.lens, self.workspace.pipeline
        self._waits = self.later and _is_on_a_page()
        body = self.stage = Stage(self._waits)
        self._fill(body)
        self.workspace.param.watch(lambda _: self._fit_window(), "window_height")
        self.param.watch(lambda _: self._fill(body), "unfit")
        card = Card(
            self.question,
            body,
            tools=self.faults.attempt(self.tools, list, "tools"),
            css_classes=[f"aa-card-{self.key}", *(["aa-wide"] if self.wide else [])],
            title=self.title,
            help=self.faults.attempt(lambda: help_text(self.help, self.defines), str, "help"),
            line=lens.param.line,
            problem=pn.bind(faulty, lens.param.problem, lens.param.no_fault, self.faults.param.problem),
            note=self.faults.param.note,
            empty=pn.bind(calm, lens.param.empty, lens.param.problem, lens.param.no_fault, pipeline.param.status),
            busy=pn.bind(_waits, pipeline.param.status, lens.param.busy),
            waiting=pn.bind(_awaited, pipeline.param.status, pipeline.param.message, lens.param.waiting),
            can_cancel=pn.bind(_can_cancel, pipeline.param.status, lens.param.busy),
            dark=self.param.dark,
            shown=bind_rule(self.param.unfit, lambda reason: not reason),
            can_pin=self.workspace.findings.param.offered,
        )
        card.head.seen = not self._waits
        self.visibility.seen = card.head.param.seen
        # After the line before: the lens is awake when the body is built, and the body is drawn once.
        card.head.param.watch(lambda event: self._first_seen(body, seen=event.new), "seen")
        card.head.param.watch(lambda event: self._enlarged(card, wide=event.new), "enlarged")
        card.head.on_export(Files(self))
        card.head.on_pin(self.pin)
        card.notice.on_cancel(lens.cancel)
        return card

    @gesture
    def pin(self) -> bool:
        """Keep what is shown among the findings of this reader; whether it was."""
        reason = UNDER_WAY if self.lens.busy else self.problem
        if reason:
            raise NotCaptured(reason)
        space = self.workspace
        space.findings.pin(space, self.key, self.title, self.lens.line, self.export().table)
        return True

    def _first_seen(self, body: Stage, *, seen: bool) -> None:
        """Build the body that was left for when its card comes on screen."""
        if self._waits and seen:
            self._waits = False
            with one_message():
                body.take()
                self._fill(body)

    def _fill(self, body: pn.Column) -> None:
        """Build the body when the first trace comes that can have it, and the card is or was on screen."""
        if not self.unfit and not self._waits and not len(body):
            self.put(body, self._built())

    def put(self, place: pn.Column, content: Any) -> None:
        """Put plots into the card: the body, or what only a choice of the reader calls for."""
        place.append(content)
        panes = content.select(pn.pane.HoloViews)
        for pane in panes:
            pane.margin = 0
        added = {pane: self._height(pane.height) for pane in panes}
        self._heights |= added
        self._resize(added)
        self.enlarge(*self._room)

    def set_height(self, height: int, *panes: Any) -> None:
        """Give plots of the card another height; one that is not there yet is built with its own."""
        changed = {pane: height for pane in panes if self._heights.get(pane, height) != height}
        self._heights |= changed
        self._resize(changed)

    def _built(self) -> Any:
        """The body; where it cannot even be built, the card says so and the other cards stay."""
        return self.faults.attempt(self.body, functools.partial(pn.Column, sizing_mode="stretch_width"), "body")

    def _height(self, own: int) -> int:
        """Pixels of a plot in its place on the page."""
        return min(max(self.workspace.window_height - AROUND, LEAST), MOST) if self.fills else own

    def _fit_window(self) -> None:
        if self.fills and self._heights:
            self._heights = {pane: self._height(usual) for pane, usual in self._heights.items()}
            self._resize(self._heights)

    def _enlarged(self, card: Card, *, wide: bool) -> None:
        with one_message():
            self.enlarge(card.head.room if wide else 0, card.head.room_width if wide else 0)

    def enlarge(self, room: int, across: int) -> None:
        """Make use of a window of so many pixels, downwards and across; 0: as usual."""
        self._room = room, across
        if not room:
            self._resize(self._heights)
            return
        for pane, usual in self._heights.items():
            height = max(usual, room - HEADING - self.beside)
            for plot in plots_of(pane):
                if self.fills:
                    width, height = with_aspect(plot.state, across - EDGES, height)
                    # In the middle, by pixels: a figure that stretches has no width beside a margin that does.
                    plot.state.update(max_width=width, styles={"margin-left": f"{(across - EDGES - width) // 2}px"})
            self._resize({pane: height})

    def _resize(self, heights: Mapping[Any, int]) -> None:
        """Give plots their heights; in their place on the page they are as wide as the card."""
        for pane, height in heights.items():
            if pane.height != height:
                pane.height = height
            for plot in plots_of(pane):
                plot.state.height = height
                if height == self._heights.get(pane):
                    plot.state.update(max_width=None, styles={"margin-left": "0px"})


def _is_served() -> bool:
    """Whether this runs for a page of the server."""
    return pn.state.curdoc is not None and pn.state.curdoc.session_context is not None


def _is_on_a_page() -> bool:
    """Whether a browser will say which cards are on screen."""
    return _is_served() or in_notebook()


def with_aspect(figure: Any, width: int, height: int) -> tuple[int, int]:
    """The largest size up to `width` by `height` whose frame has the aspect that the frame of a figure has now."""
    outer, inner = (figure.outer_width, figure.outer_height), (figure.inner_width, figure.inner_height)
    if not all(side and side > 0 for side in (*outer, *inner)):
        return width, height  # the browser has not said yet how large it is
    around = outer[0] - inner[0], outer[1] - inner[1]
    scale = min((width - around[0]) / inner[0], (height - around[1]) / inner[1])
    return round(scale * inner[0] + around[0]), round(scale * inner[1] + around[1])


def _waits(status: str, asked: bool) -> bool:  # noqa: FBT001  (bound to a Param)
    """Whether a run is under way, or something the lens asked for."""
    return status in BUSY or asked


def _awaited(status: str, message: str, waiting: str) -> str:
    """What is under way: a run, which replaces whatever the lens waits for, else what the lens waits for."""
    return message if status in BUSY else waiting


def _can_cancel(status: str, asked: bool) -> bool:  # noqa: FBT001  (bound to a Param)
    """Whether the card stops what is under way; a run is stopped where it was started."""
    return asked and status not in BUSY


def help_text(words: str, names: tuple[str, ...] = ()) -> str:
    """Help of a view: how to read it, then formula, reading and chance level of what it shows, as `definitions` has them."""
    parts = [words]
    for name in names:
        found = DEFINITIONS[name]
        parts += [f"{found.title}:", f"    {found.formula}", f"{found.reading} Chance: {found.chance}. {found.reference}."]
    return "\n\n".join(filter(None, parts))
