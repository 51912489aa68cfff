"""A real browser for tests: Chromium of the system, else Playwright's, and a page on which nothing may go wrong."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import panel as pn
import pytest
from panel.tests.util import serve_and_wait
from playwright.sync_api import Browser, ConsoleMessage, Error, Locator, Page, expect, sync_playwright

from atlas.patches.sending import patch_sending

NAMES = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking")
"""Containers have neither the privileges of the sandbox nor a graphics card; and no test asks the network for anything."""

SIZE = {"width": 1280, "height": 720}
"""The smallest screen the app is made for."""

PATIENCE = 60_000
"""Milliseconds to wait for what has to come: on two cores that do other things too a page takes 15 s."""


@contextmanager
def launch() -> Iterator[Browser]:
    """Start the Chromium there is."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    expect.set_options(timeout=PATIENCE)  # left to itself it waits for 5 seconds, which a busy machine may take for a click
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=list(ARGUMENTS))
        yield browser
        browser.close()


class Chromium:
    """The browser of a process: it is started when a file first asks for it, and anew once it has died.

    Playwright keeps an event loop in the thread of the tests, and marks it as running after each of its calls. Nobody else could
    run a loop there, so that the mark stands only as long as a file has the browser.
    """

    def __init__(self) -> None:
        self._open = contextlib.ExitStack()
        self._browser: Browser | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @contextmanager
    def lent(self) -> Iterator[Browser]:
        """The browser, for a file."""
        with self._loop_marked():
            if not self._answers():
                self._start()
            yield self._browser

    def stop(self) -> None:
        """End it."""
        self._browser = None
        with self._loop_marked():
            self._open.close()

    @contextmanager
    def _loop_marked(self) -> Iterator[None]:
        # One whose driver has died runs no more.
        asyncio._set_running_loop(self._loop if self._loop is not None and self._loop.is_running() else None)
        try:
            yield
        finally:
            asyncio._set_running_loop(None)

    def _answers(self) -> bool:
        """Whether there is one that still opens pages; what an earlier file left open is closed."""
        browser, self._browser = self._browser, None  # one that hangs here is not asked a second time
        if browser is None:
            return False
        try:
            browser.new_context()
            for each in browser.contexts:
                each.close()
        except Error:
            return False
        self._browser = browser
        return True

    def _start(self) -> None:
        with contextlib.suppress(Error):  # of one that has died, and cannot be closed
            self.stop()
        self._browser = self._open.enter_context(launch())
        self._loop = asyncio.get_running_loop()


@pytest.fixture(scope="module")
def browser(chromium: Chromium) -> Iterator[Browser]:
    """The browser of this process, for the tests of a file."""
    with chromium.lent() as found:
        yield found


def faults(page: Page) -> list[str]:
    """Collect what goes wrong on a page from now on: exceptions nobody caught, and errors on the console."""
    found: list[str] = []

    def heard(message: ConsoleMessage) -> None:
        if message.type == "error":
            found.append(f"console: {message.text} ({message.location.get('url', '')})")

    page.on("pageerror", lambda error: found.append(f"exception: {error.stack or error}"))
    page.on("console", heard)
    return found


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A fresh page, and no server left behind; the test fails if the browser reported an error."""
    context = browser.new_context(viewport=SIZE)
    opened = context.new_page()
    found = faults(opened)
    yield opened
    context.close()
    pn.state.kill_all_servers()
    pn.state.reset()
    assert not found, "\n".join(found)


def wait_until(condition: Callable[[], Any], page: Page, patience: int = PATIENCE) -> None:
    """Wait until a condition holds; it returns whether it does, or asserts."""
    deadline = time.monotonic() + patience / 1000
    while True:
        missing = None
        try:
            found = condition()
        except AssertionError as error:
            missing = error
        else:
            if found is None or found:
                return
        if time.monotonic() > deadline:
            msg = f"after {patience} ms it still does not hold: {missing or condition}"
            raise TimeoutError(msg) from missing
        page.wait_for_timeout(25)


def served(page: Page, app: object, ready: str, suffix: str = "", **how: Any) -> Locator:
    """Serve an app, open it, and wait for what a selector names."""
    patch_sending()
    earlier = set(pn.state._browsers)  # documents of other tests may live on, with browsers that never said what they are
    page.goto(f"http://localhost:{serve_and_wait(app, **how)}{suffix}", wait_until="domcontentloaded")
    found = page.locator(ready)
    found.first.wait_for(state="attached")
    # What Python changes while the page is still being put together reaches the document and not the page.
    page.wait_for_function("() => Bokeh.documents.length > 0 && Bokeh.documents.every(each => each.is_idle)")
    # Two threads at one document: what a test sets while the server takes in what the browser says of itself may be lost.
    browsers = pn.state._browsers
    wait_until(lambda: all(browsers[each].webgl is not None for each in set(browsers) - earlier), page)
    return found


def messages_to_itself(page: Page) -> int:
    """How many messages the scripts of a page send each other in 0.3 seconds."""
    counted: int = page.evaluate(
        """async () => {
          let count = 0
          const post = MessagePort.prototype.postMessage
          MessagePort.prototype.postMessage = function(...said) { count += 1; return post.apply(this, said) }
          await new Promise(later => setTimeout(later, 300))
          MessagePort.prototype.postMessage = post
          return count
        }"""
    )
    return counted
