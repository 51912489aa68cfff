"""An app on a server, its page in a browser, and the session behind it: to do what a person does and look at both ends."""

from __future__ import annotations

import base64
import io
import itertools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import panel as pn
from panel.tests.util import serve_and_wait
from PIL import Image

from atlas.app import AttentionAtlas, prepare
from atlas.engine.running.service import Service
from atlas.ids import HeadId
from atlas.state.heads import HeadsLens
from atlas.state.library import Listed
from atlas.state.opening import Opening
from atlas.views.base import one_message
from atlas.views.catalog import TABS
from tests.browser import PATIENCE, faults, wait_until

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Locator, Page

LARGE = {"width": 1500, "height": 2300}
"""All cards on screen at once, so that nothing has to be scrolled to."""

STILL = 6
"""Frames of animation, a tenth of a second, in which a plot at rest has not moved."""

CHAIN = 3
"""How many turns of the session's thread what is done in one may take to have an end."""

MARKS = itertools.count()

NOWHERE = (700, 20)
"""A place of the page that nothing happens at: a click there takes the focus from wherever it was."""

MODELS = ("planted", "other", "tiny BERT", "tiny GPT-2", "tiny T5", "missing")

SCRIPT = (Path(__file__).parent / "stage.js").read_text(encoding="utf-8")


@dataclass
class Session:
    """One visit: the app object, and the document its page shows."""

    app: AttentionAtlas
    doc: Any


@dataclass
class Seat:
    """A person before the page."""

    page: Page
    sessions: list[Session]
    faults: list[str]
    url: str
    first: Opening = field(default_factory=Opening)
    patience: int = PATIENCE
    """Milliseconds to wait for anything."""
    visits: list[Session] = field(default_factory=list)
    """Its own sessions, the newest last: every reload is one more."""

    # -- the state --------------------------------------------------------------------------------------------------------

    @property
    def app(self) -> AttentionAtlas:
        """The app of this page."""
        return self.visits[-1].app

    @property
    def selection(self) -> Any:
        """What is selected."""
        return self.app.selection

    @property
    def display(self) -> Any:
        """How things are drawn."""
        return self.app.workspace.display

    @property
    def pipeline(self) -> Any:
        """The runs."""
        return self.app.workspace.pipeline

    def do(self, work: Callable[[], Any]) -> Any:
        """Do something in the session's own thread, as an event from the browser is handled."""
        done: Future[Any] = Future()

        def inside() -> None:
            try:
                with one_message():
                    found = work()
                done.set_result(found)
            except BaseException as error:  # noqa: BLE001  (handed to whoever waits)
                done.set_exception(error)

        self.visits[-1].doc.add_next_tick_callback(inside)
        return done.result(timeout=PATIENCE / 1000)

    def until(self, condition: Callable[[], Any]) -> None:
        """Wait for something on either end; the condition says whether it holds, or asserts."""
        wait_until(condition, self.page, self.patience)

    def rest(self) -> None:
        """Wait until the session has nothing more to say and the page has drawn it: a gesture would be about what goes."""
        self.until(self._has_nothing_to_say)
        mark = f"heard {next(MARKS)}"
        # Messages come one after the other: who has this one has all before it.
        self.do(lambda: setattr(self.visits[-1].doc.roots[0], "tags", [mark]))
        self.until(lambda: self.page.evaluate("mark => aa.heard(mark)", mark))

    def _has_nothing_to_say(self) -> bool:
        for _ in range(CHAIN):
            self.do(lambda: None)
        return not any(view.lens.busy for view in self.app.tabs.made())

    # -- opening ----------------------------------------------------------------------------------------------------------

    def open(self, query: str = "") -> None:
        """Open the page anew, and wait until it shows what it opens with."""
        self.arrive(lambda: self.page.goto(self.url + query, wait_until="domcontentloaded"))
        if self.first.text or query:
            self.settled()

    def arrive(self, go: Callable[[], Any]) -> None:
        """Do what makes a new session, and take it for this page's."""
        before = len(self.sessions)
        go()
        self.page.wait_for_load_state("networkidle")  # to be asked every 25 ms while it reads its scripts holds a page up
        self.until(lambda: len(self.sessions) == before + 1)
        self.visits.append(self.sessions[before])

    @contextmanager
    def beside(self) -> Iterator[Seat]:
        """Another page on the same server, of somebody who has nothing to do with the first."""
        context = self.page.context.browser.new_context(viewport=LARGE)
        other = Seat(_page(context), self.sessions, [], self.url, self.first)
        other.faults = faults(other.page)
        try:
            yield other
            assert not other.faults, "\n".join(other.faults)
        finally:
            context.close()

    def settled(self) -> None:
        """Wait until a trace is on screen."""
        self.until(lambda: self.pipeline.status == "ready" and self.app.trace is not None)
        # Bokeh draws cards one after the other; the raster of a trace is there when it has more than one level.
        self.until(lambda: self.plot(".aa-matrix").there and len(np.unique(self.plot(".aa-matrix").image())) > 1)
        self.until(lambda: self.plot(".aa-map").there and len(np.unique(self.plot(".aa-map").image())) > 1)
        cloud, profile = self.plot(".aa-heads-plot"), self.plot(".aa-profile")
        self.until(lambda: cloud.there and len(cloud.columns("Scatter")["at_x"]) == len(self.app.workspace.lens(HeadsLens).ids()))
        self.until(lambda: profile.there and self.page.locator(".tabulator-row").first.is_visible())

    def clear(self) -> None:
        """Let go of everything a test left: selection, forms, zoom, the pointer."""

        def fresh() -> None:
            app = self.app
            app.selection.clear()
            trace = app.trace
            if trace is not None:
                app.selection.focus_on(HeadId(trace.kinds[0], 0, 0))
            for view in app.tabs.made():
                if view.key == "table":
                    view.table.page = 1
            display = app.workspace.display
            display.param.update(**{name: display.param[name].default for name in display.param if name != "name"})

        self.do(fresh)
        self.page.mouse.click(*NOWHERE)
        self.page.evaluate("() => aa.reset()")
        self.rest()

    # -- what is on the screen --------------------------------------------------------------------------------------------

    def plot(self, name: str) -> Plot:
        """A plot by its CSS class."""
        return Plot(self, name)

    def pixels(self, box: Sequence[float] | None = None) -> np.ndarray:
        """(row, column, rgb) of the page, or of (left, top, right, bottom) of it."""
        clip = None
        if box is not None:
            left, top, right, bottom = box
            clip = {"x": left, "y": top, "width": max(1, right - left), "height": max(1, bottom - top)}
        shot = self.page.screenshot(clip=clip, animations="disabled")
        return np.asarray(Image.open(io.BytesIO(shot)).convert("RGB"))

    def text(self, selector: str) -> str:
        """The visible text of an element."""
        return self.page.locator(selector).first.inner_text().strip()

    def token(self, position: int, side: str = "source") -> Locator:
        """A token of the text."""
        return self.page.locator(f".aa-strip-{side} .token").nth(position)

    def unfold(self) -> None:
        """Show the whole text, with the groups its tokens fall into."""
        if self.display.unfolded:
            return
        self.page.locator(".aa-strip-source .fold").click()
        self.until(lambda: self.display.unfolded)
        self.page.locator(".aa-strip-source .folded").wait_for(state="detached")

    def pick(self, selector: str, label: str) -> None:
        """Choose an entry of a drop-down list."""
        self.page.locator(f"{selector} [role=combobox]").first.click()
        self.page.get_by_role("menuitem", name=label, exact=True).click()
        # A click on a list that is fading out opens it again, and it stays.
        self.page.get_by_role("menuitem", name=label, exact=True).wait_for(state="detached")


@dataclass
class Plot:
    """A figure of Bokeh as the browser has it."""

    seat: Seat
    name: str

    def _ask(self, what: str, *more: Any) -> Any:
        return self.seat.page.evaluate(f"([name, ...more]) => aa.{what}(name, ...more)", [self.name, *more])

    @property
    def there(self) -> bool:
        """Whether it is drawn."""
        return bool(self._ask("there"))

    # -- what it holds ----------------------------------------------------------------------------------------------------

    def columns(self, glyph: str, index: int = 0) -> dict[str, Any]:
        """The columns of a glyph's data."""
        return self._ask("columns", glyph, index)

    def chosen(self, glyph: str, index: int = 0) -> list[int]:
        """The rows of a glyph that are drawn as selected."""
        return self._ask("chosen", glyph, index)

    def image(self) -> np.ndarray:
        """The bytes of its raster, row 0 on top."""
        return self.raster()["bytes"]

    def raster(self) -> dict[str, Any]:
        """Its raster: bytes, the part of the plane it covers, and the colours. Row 0 is at the lowest y, which is on top."""
        found = self._ask("raster")
        data = np.frombuffer(base64.b64decode(found["bytes"]), np.dtype(found["dtype"])).reshape(found["shape"])
        return found | {"bytes": data}

    def level(self, x: float, y: float) -> int:
        """The byte of the raster at a point of the plane, y downwards."""
        found = self.raster()
        data = found["bytes"]
        across = (x - found["x"]) / found["dw"]
        down = (y - found["y"]) / found["dh"]
        return int(data[int(down * data.shape[0]), int(across * data.shape[1])])

    def ranges(self) -> tuple[float, float, float, float]:
        """(x start, x end, y start, y end) on screen."""
        return tuple(self._ask("ranges"))

    def labels(self, axis: str) -> list[str]:
        """The names on an axis, in order, as they are drawn."""
        return self._ask("labels", axis)

    # -- where it is ------------------------------------------------------------------------------------------------------

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Where on the page a point of the plot is."""
        return tuple(self._ask("at", x, y))

    def frame(self) -> tuple[float, float, float, float]:
        """(left, top, right, bottom) of the inner frame on the page."""
        return tuple(self._ask("frame"))

    def rest(self) -> tuple[float, float, float, float]:
        """Its frame, once that stays in its place."""
        return tuple(self._ask("rest", STILL))

    def colour(self, x: float, y: float) -> tuple[int, int, int]:
        """The colour of the screen at a point of the plot."""
        left, top = self.at(x, y)
        return tuple(int(value) for value in self.seat.pixels((left - 1, top - 1, left + 1, top + 1))[1, 1])

    # -- gestures ---------------------------------------------------------------------------------------------------------

    def tap(self, x: float, y: float) -> None:
        """Click at a point of the plot, once it stays in its place."""
        self.rest()
        self.seat.page.mouse.click(*self.at(x, y))

    def point(self, x: float, y: float) -> None:
        """Move the pointer to a point of the plot."""
        left, top = self.at(x, y)
        self.seat.page.mouse.move(left - 3, top - 3)
        self.seat.page.mouse.move(left, top, steps=2)

    def drag(self, *points: tuple[float, float], tool: str) -> None:
        """Take a tool of the toolbar and draw through points of the plot."""
        mouse = self.seat.page.mouse
        self.point(*points[0])
        self.take(tool)
        self.rest()
        mouse.move(*self.at(*points[0]))
        mouse.down()
        for each in points[1:]:
            mouse.move(*self.at(*each), steps=8)
        mouse.up()

    def take(self, tool: str) -> None:
        """Make a tool the active one, with the button of the toolbar."""
        if not self._ask("active", tool):
            self.seat.page.locator(f'{self.name} .bk-tool-icon[title="{tool}"], {self.name} [title="{tool}"]').first.click()
            self.seat.until(lambda: self._ask("active", tool))

    def wheel(self, x: float, y: float, by: float) -> None:
        """Turn the wheel over a point of the plot with Ctrl held; negative zooms in."""
        self.seat.page.mouse.move(*self.at(x, y))
        self.seat.page.keyboard.down("Control")
        self.seat.page.mouse.wheel(0, by)
        self.seat.page.keyboard.up("Control")


def head_place(head: HeadId, n_layers: int, n_heads: int) -> tuple[float, float]:
    """The middle of a head on the Map."""
    return (head.head + 0.5) / n_heads, (head.layer + 0.5) / n_layers


def _page(context: BrowserContext) -> Page:
    opened = context.new_page()
    opened.set_default_timeout(PATIENCE)
    opened.add_init_script(SCRIPT)
    return opened


@contextmanager
def seated(
    browser: Browser, first: Opening, service: Service, size: dict[str, int] = LARGE, patience: int = PATIENCE, tabs: Any = TABS,
    query: str = "",
) -> Iterator[Seat]:  # fmt: skip
    """Serve the app, open it in a browser, and clean up; nothing may have gone wrong in the browser."""
    prepare()
    sessions: list[Session] = []

    def page() -> Any:
        app = AttentionAtlas(service, tabs)
        app.given = [Listed(name, "here", "", "") for name in MODELS]
        sessions.append(Session(app, pn.state.curdoc))
        return app.page(first)

    context = browser.new_context(viewport=size)
    opened = _page(context)
    found = faults(opened)
    port = serve_and_wait(page)
    seat = Seat(opened, sessions, found, f"http://localhost:{port}", first, patience)
    try:
        seat.open(query)
        yield seat
    finally:
        context.close()
        pn.state.kill_all_servers()
        pn.state.reset()
