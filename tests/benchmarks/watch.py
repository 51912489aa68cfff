"""A page whose gestures are timed and weighed: what happens in it, what travels, what the server works."""

from __future__ import annotations

import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.browser import faults

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

SCRIPT = Path(__file__).with_name("gestures.js")

QUIET = 400
"""Milliseconds without a sign of life after which a gesture is over; more than any debounce on its way (HoloViews: 150)."""

LONG = 180_000
"""Milliseconds a page may take for anything: the longest text on a busy machine."""


@dataclass(frozen=True)
class Gesture:
    """One gesture and what it cost."""

    milliseconds: float
    """From pointer-up to the last repaint; see gestures.js."""
    received: int
    sent: int
    """Bytes of the websocket, before any compression."""
    messages: int
    paints: int
    """Plots painted: more than there are plots means that some were painted for nothing."""
    server: float
    """Milliseconds of processor the server took: the same on a busy machine and on an idle one."""

    @property
    def bytes(self) -> int:
        """All that travelled."""
        return self.received + self.sent


class Watched:
    """A page with the script of gestures.js in it."""

    def __init__(self, page: Page, address: str) -> None:
        self.page, self.address = page, address
        self.received = self.sent = self.messages = 0
        page.add_init_script(path=SCRIPT)
        page.on("websocket", self._listen)

    def _listen(self, socket: Any) -> None:
        def came(payload: str | bytes) -> None:
            self.received += weight(payload)
            # A message is a header, its metadata, its content and its arrays, a frame each; only headers say which kind it is.
            self.messages += isinstance(payload, str) and '"msgtype"' in payload[:120]

        def went(payload: str | bytes) -> None:
            self.sent += weight(payload)

        socket.on("framereceived", came)
        socket.on("framesent", went)

    def open(self, path: str, tokens: int) -> float:
        """Open a page and wait until its text and all its plots are there; milliseconds to the first trace on the Map."""
        self.page.goto(f"{self.address}/{path}")
        self.page.locator(".aa-strip-source .token").nth(tokens - 1).wait_for(state="attached", timeout=LONG)
        self.page.wait_for_function("() => __seen.trace > 0", timeout=LONG)
        self.settle()
        return float(self.page.evaluate("__seen.trace"))

    def settle(self) -> None:
        """Until nothing moves and the server has nothing left to do."""
        self.page.evaluate("quiet => __seen.settled(quiet)", QUIET)

    def plots(self) -> dict[str, tuple[float, float, float, float]]:
        """Left, top, width and height of the inside of each plot."""
        return {name: tuple(box) for name, box in self.page.evaluate("__seen.plots()").items()}

    def show(self, selector: str, at: int = 0, *, where: str = "center") -> None:
        """Scroll until something is in the middle of the window; what comes into sight with it is drawn before anything else."""
        self.page.locator(selector).nth(at).evaluate("(element, block) => element.scrollIntoView({block})", where)
        self.settle()

    def build(self, card: str, content: str) -> None:
        """Scroll to a card until its content, which is built when it first comes near the window, is there."""
        self.page.locator(card).first.evaluate("element => element.scrollIntoView()")
        self.page.locator(content).first.wait_for(state="attached", timeout=LONG)
        self.settle()

    def top(self) -> None:
        """The page as it opens: text, Map and matrix."""
        self.show(".aa-map", where="end")

    def point(self, x: float, y: float) -> None:
        """Put the pointer somewhere and wait until what it is over has been said: people look before they click."""
        self.page.mouse.move(x, y)
        self.settle()

    def gesture(self, act: Callable[[], object]) -> Gesture:
        """Do something that ends with a pointer-up or a turn of the wheel, and measure it."""
        self.settle()
        self.page.evaluate("__seen.up = __seen.painted = __seen.paints = 0")
        self.received = self.sent = self.messages = 0
        worked = self.worked()
        act()
        self.page.wait_for_timeout(50)  # what the browser was told is on its way to the server
        self.settle()
        up, painted, paints = self.page.evaluate("[__seen.up, __seen.painted, __seen.paints]")
        assert painted > up > 0, "a gesture that moves nothing measures nothing"
        assert self.messages > 1, "a gesture that the server does not answer measures nothing"
        return Gesture(painted - up, self.received, self.sent, self.messages, paints, 1000 * (self.worked() - worked))

    def worked(self) -> float:
        """Seconds of processor the server has taken."""
        with urllib.request.urlopen(f"{self.address}/ping") as answer:
            return float(answer.read())

    def click(self, x: float, y: float) -> Gesture:
        """Press and let go at a place."""
        self.point(x, y)
        return self.gesture(lambda: (self.page.mouse.down(), self.page.mouse.up()))


def weight(payload: str | bytes) -> int:
    """Bytes of a frame."""
    return len(payload.encode() if isinstance(payload, str) else payload)


@contextmanager
def watched(browser: Browser, address: str, width: int, height: int) -> Iterator[Watched]:
    """A new page that nothing may go wrong on."""
    context = browser.new_context(viewport={"width": width, "height": height})
    page = context.new_page()
    found = faults(page)
    yield Watched(page, address)
    context.close()
    assert not found, "\n".join(found)
