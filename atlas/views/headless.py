"""Pictures without a page: a browser without a window draws the HTML of a view and exports it as the app's own page does."""

from __future__ import annotations

import base64
import importlib.util
import shutil
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from atlas.errors import NoBrowser
from atlas.resources import asset

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
"""Programs that Playwright can drive, if it has no browser of its own."""

PATIENCE = 60_000
"""Milliseconds for a page to be drawn: a slow machine takes seconds."""

SCALE = 2
"""Pixels of a PNG for each of the page, so that a picture in a paper is sharp."""

MISSING = (
    "A picture is drawn by a browser without a window, which Playwright drives: pip install playwright, then playwright install "
    "chromium. Without it .html, .csv, .parquet and .ipynb can be saved, and the app saves pictures."
)

DRAWN = "Bokeh.documents.length > 0 && Bokeh.documents.every(document => document.is_idle)"

EXPORT = """
async ([source, ending, stamp, colour]) => {
  const {plotsIn, png, svg} = await import(URL.createObjectURL(new Blob([source], {type: "text/javascript"})))
  const plots = Bokeh.index.roots.flatMap(plotsIn)
  const blob = ending === "svg" ? svg(plots, colour, stamp) : await png(plots, [], colour, stamp)
  const bytes = new Uint8Array(await blob.arrayBuffer())
  let letters = ""
  for (const byte of bytes) { letters += String.fromCharCode(byte) }
  return btoa(letters)
}
"""


def picture(page: str, ending: str, stamp: Mapping[str, str], ground: str, width: int) -> bytes:
    """The plots of an HTML page as one 'png' or 'svg'; raises NoBrowser where nothing is installed that could draw it."""
    if importlib.util.find_spec("playwright") is None:
        raise NoBrowser(MISSING)
    source = asset("js", "picture.js").read_text(encoding="utf-8")
    # In a thread of its own: this one may have an event loop, as in a notebook, and Playwright then refuses to wait.
    with ThreadPoolExecutor(1) as thread:
        return base64.b64decode(thread.submit(_drawn, page, [source, ending, dict(stamp), ground], width).result())


def _drawn(page: str, given: list[Any], width: int) -> str:
    """What EXPORT makes of a page, as base64."""
    from playwright.sync_api import Error, sync_playwright

    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=_installed(), args=["--no-sandbox", "--disable-gpu"])
        except Error as error:
            raise NoBrowser(MISSING) from error
        try:
            context = browser.new_context(
                offline=True, viewport={"width": width, "height": 900}, device_scale_factor=SCALE, bypass_csp=True
            )
            shown = context.new_page()
            shown.set_content(page)
            shown.wait_for_function(DRAWN, timeout=PATIENCE)
            written: str = shown.evaluate(EXPORT, given)
        finally:
            browser.close()
    return written


def _installed() -> str | None:
    """A browser of the system; None: Playwright's own."""
    return next(filter(None, map(shutil.which, NAMES)), None)
