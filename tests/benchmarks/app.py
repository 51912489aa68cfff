"""The app's rows of the table: gestures in Chromium on texts of three lengths, and a page that opens.

Measured is the time from pointer-up to the last repaint of the linked views that are in the window; once more on a window so high
that all of them are in it. The exact definition stands in gestures.js. Beside every time stands the same time of a yardstick, one
image that a click redraws, measured in the same run: on a busy machine read their ratio. The server's time of processor does not
depend on the load.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from tests.benchmarks.server import HEADS, LAYERS, running
from tests.benchmarks.timing import Row
from tests.benchmarks.watch import LONG, Gesture, Watched, watched
from tests.browser import launch

SIZES = (64, 512, 2_048)
"""Tokens."""

EACH = 30
"""Gestures of each kind: the second slowest of them is the 95th percentile."""

WINDOW = (1440, 900)
"""Pixels of a laptop. The text is always in view; the Map and the matrix, or the cloud and the table, are too."""

HIGH = (1280, 2300)
"""Pixels: the narrowest the app is made for, and so high that every view is on it."""

EACH_HIGH = 10
"""Gestures of each kind on that window."""

WIDE = (1920, 2300)
"""Pixels of a large screen: there the rasters are as large as they get."""

LIMIT = 300_000
"""Bytes a gesture may send and receive."""

OPENINGS = 5
"""Times a page is opened: the median of them counts."""

TURN = 240
"""Pixels of a turn of the wheel; a mouse's notch is 120."""

DEPTH = 6
"""Turns into the Map before they go out again: until the weights of single heads are worked out."""


def taps(page: Watched, count: int) -> Iterator[Gesture]:
    """Tap heads on the Map, another one each time."""
    page.top()
    left, top, width, height = page.plots()["aa-map"]
    chosen = np.random.default_rng(1).choice(LAYERS * HEADS, count, replace=False)
    for at in chosen:
        layer, head = divmod(int(at), HEADS)
        yield page.click(left + (head + 0.5) / HEADS * width, top + (layer + 0.5) / LAYERS * height)


def tokens(page: Watched, count: int) -> Iterator[Gesture]:
    """Click tokens of the beginning of the text, each brought into the one line that is shown of it."""
    page.top()
    shown = page.page.locator(".aa-strip-source .token")
    for at in np.random.default_rng(2).choice(min(shown.count(), 40), count, replace=False):
        token = shown.nth(int(at))
        token.evaluate("element => element.scrollIntoView({block: 'nearest', inline: 'center'})")
        page.settle()
        box = token.bounding_box()
        assert box is not None
        yield page.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)


def groups(page: Watched, count: int) -> Iterator[Gesture]:
    """Draw a lasso around heads in the cloud, and press a cluster, a role or a layer, in turn."""
    page.build(".aa-card-heads", CHIP)
    chips = page.page.locator(CHIP)
    random = np.random.default_rng(3)
    for turn in range(count):
        if turn % 2:
            page.show(CHIP, turn // 2 % chips.count())
            box = chips.nth(turn // 2 % chips.count()).bounding_box()
            assert box is not None
            yield page.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
            continue
        page.show(".aa-heads-plot")
        left, top, width, height = page.plots()["aa-heads-plot"]
        x, y = left + width * random.uniform(0.3, 0.7), top + height * random.uniform(0.3, 0.7)
        radius = min(width, height) * 0.28
        angles = np.linspace(0, 2 * np.pi, 13)
        around = [(x + radius * np.cos(angle), y + radius * np.sin(angle)) for angle in angles]
        page.point(*around[0])
        yield page.gesture(functools.partial(_drag, page, around))


def zooms(page: Watched, count: int) -> Iterator[Gesture]:
    """Turns of the wheel over the Map with Ctrl held: some in, as many out."""
    page.top()
    left, top, width, height = page.plots()["aa-map"]
    page.point(left + 0.52 * width, top + 0.52 * height)
    for turn in range(count):
        way = -TURN if turn // DEPTH % 2 == 0 else TURN
        page.page.keyboard.down("Control")
        yield page.gesture(partial(page.page.mouse.wheel, 0, way))
        page.page.keyboard.up("Control")


def _drag(page: Watched, places: list[tuple[float, float]]) -> None:
    page.page.mouse.down()
    for place in places[1:]:
        page.page.mouse.move(*place)
    page.page.mouse.up()


KINDS: dict[str, Callable[[Watched, int], Iterator[Gesture]]] = {
    "tap a head": taps,
    "click a token": tokens,
    "lasso or press a group": groups,
    "zoom the Map": zooms,
}
"""The last of them ends with no pointer-up, waits for the wheel to rest (HoloViews: 100 to 150 ms) and redraws one view."""

POINTER = tuple(KINDS)[:3]

CHIP = ".aa-groups .chip"


@dataclass(frozen=True)
class Session:
    """Everything measured on one length of text."""

    tokens: int
    gestures: dict[str, list[Gesture]]
    high: dict[str, list[Gesture]]
    """Gestures with every view on screen."""
    wide: list[Gesture]
    """Gestures of all kinds on a large screen."""
    yardstick: list[Gesture]
    load: float
    """Processes that wanted to run, on average over the last minute."""

    def times(self, *kinds: str) -> np.ndarray:
        """Milliseconds of every gesture of some kinds."""
        return np.array([gesture.milliseconds for kind in kinds for gesture in self.gestures[kind]])

    @property
    def rod(self) -> float:
        """Milliseconds of the yardstick."""
        return float(np.median([gesture.milliseconds for gesture in self.yardstick]))

    def figures(self) -> dict[str, Any]:
        """For JSON."""
        kinds = {kind: summary(made) for kind, made in self.gestures.items()}
        high = {f"{kind}, every view on screen": summary(made) for kind, made in self.high.items()}
        return {"tokens": self.tokens, "load": round(self.load, 1), "cores": os.cpu_count(),
                "yardstick": summary(self.yardstick), "large screen": summary(self.wide), **kinds, **high}  # fmt: skip


def summary(made: list[Gesture]) -> dict[str, Any]:
    """Some gestures in a few numbers."""
    times = [gesture.milliseconds for gesture in made]
    return {
        "gestures": len(made),
        "median ms": round(float(np.median(times))),
        "p95 ms": round(float(np.percentile(times, 95))),
        "server ms": round(float(np.median([gesture.server for gesture in made]))),
        "most bytes": max(gesture.bytes for gesture in made),
        "median bytes": round(float(np.median([gesture.bytes for gesture in made]))),
        "messages": round(float(np.median([gesture.messages for gesture in made]))),
        "plots painted": round(float(np.median([gesture.paints for gesture in made]))),
    }


@functools.cache
def session(tokens_: int, *command: str) -> Session:
    """Open the app on a text of so many tokens and do all gestures; measured once, for all rows that are about it."""
    with serving(tokens_, *command) as (address, browser):
        with watched(browser, address, 600, 600) as page:
            rod = yardstick(page)
        with watched(browser, address, *WINDOW) as page:
            page.open("app", tokens_)
            found = {kind: list(make(page, EACH)) for kind, make in KINDS.items()}
        with watched(browser, address, *HIGH) as page:
            page.open("app", tokens_)
            high = {kind: list(KINDS[kind](page, EACH_HIGH)) for kind in POINTER}
        with watched(browser, address, *WIDE) as page:
            page.open("app", tokens_)
            wide = [gesture for make in KINDS.values() for gesture in make(page, 4)]
    return Session(tokens_, found, high, wide, rod, os.getloadavg()[0])


@contextmanager
def serving(tokens_: int, *command: str) -> Iterator[tuple[str, Any]]:
    """A server of its own and a browser."""
    with running(*(command or ("-m", "tests.benchmarks.server")), str(tokens_)) as address, launch() as browser:
        yield address, browser


def yardstick(page: Watched) -> list[Gesture]:
    """The image that a click redraws, as often as any gesture."""
    page.page.goto(f"{page.address}/yardstick")
    page.page.wait_for_function("() => __seen.trace > 0", timeout=LONG)
    button = page.page.locator(".aa-again button").bounding_box()
    assert button is not None
    return [page.click(button["x"] + 5, button["y"] + 5) for _ in range(EACH)]


def _speed(tokens_: int, median: float, slowest: float) -> Row:
    """Times of the gestures that end with a pointer-up, against their bars."""
    found = session(tokens_)
    times = found.times(*POINTER)
    middle, late = float(np.median(times)), float(np.percentile(times, 95))
    server = np.median([gesture.server for kind in POINTER for gesture in found.gestures[kind]])
    beside = f"{middle / found.rod:.1f} yardsticks of {found.rod:.0f} ms; server {server:.0f} ms of processor"
    everything = np.median([gesture.milliseconds for made in found.high.values() for gesture in made])
    measured = f"median {middle:.0f} ms, p95 {late:.0f} ms ({beside}; with every view on screen {everything:.0f} ms)"
    bar = f"median <= {median:.0f} ms" + (f", p95 <= {slowest:.0f} ms" if np.isfinite(slowest) else "")
    what = f"pointer-up to all visible linked views repainted, 12x12x{tokens_:,}, {len(times)} gestures"
    return Row(what, measured, bar, middle <= median and late <= slowest, found.figures())


def gestures_64() -> Row:
    """A short text."""
    return _speed(64, 100, 200)


def gestures_512() -> Row:
    """A long paragraph."""
    return _speed(512, 250, np.inf)


def gestures_2048() -> Row:
    """As long as models of this kind read; no bar, but it should not be another app."""
    return _speed(2_048, np.inf, np.inf)


def zoom() -> Row:
    """The wheel over the Map: one view, and its ranges are told to Python only once the wheel rests."""
    found = {size: session(size).times("zoom the Map") for size in SIZES}
    measured = ", ".join(
        f"{size:,}: {np.median(times):.0f} ms (p95 {np.percentile(times, 95):.0f})" for size, times in found.items()
    )
    return Row("turn of the wheel to the Map redrawn, by tokens", measured, "no bar", True, {})


def payload() -> Row:
    """Bytes of one gesture, at all lengths and on a large screen too."""
    most = {}
    for size in SIZES:
        found = session(size)
        most[size] = max(
            gesture.bytes for made in (*found.gestures.values(), *found.high.values(), found.wide) for gesture in made
        )
    medians = {size: {kind: summary(made)["median bytes"] for kind, made in session(size).gestures.items()} for size in SIZES}
    flat = max(medians[SIZES[-1]][kind] / medians[SIZES[0]][kind] for kind in KINDS)
    measured = ", ".join(f"{size:,}: {count / 1000:.0f} kB" for size, count in most.items())
    measured += f"; {flat:.1f}x from {SIZES[0]} to {SIZES[-1]:,} tokens at worst"
    return Row("bytes over the websocket for one gesture, the most of any, by tokens", measured,
               f"< {LIMIT // 1000} kB, flat: <= {FLAT}x", max(most.values()) < LIMIT and flat <= FLAT, medians)  # fmt: skip


FLAT = 1.25
"""Times more bytes at 2,048 tokens than at 64: rasters are as large as before, and words get no more than a quarter of them."""


def opening() -> Row:
    """A page of the embedded model, opened again by a reader who has been here before; and by others who have not."""
    with serving(64) as (address, browser):
        with watched(browser, address, 1280, 720) as page:
            first = page.open("embedded", 1)
            warm = [page.open("embedded", 1) for _ in range(OPENINGS)]
        strangers = []
        for _ in range(OPENINGS):
            with watched(browser, address, 1280, 720) as page:
                strangers.append(page.open("embedded", 1))
        with watched(browser, address, 600, 600) as page:
            rod = float(np.median([gesture.milliseconds for gesture in yardstick(page)[:9]]))
    figures = {"first": round(first), "again": [round(each) for each in warm],
               "browsers that have not been here": [round(each) for each in strangers], "yardstick": round(rod)}  # fmt: skip
    middle, cold = (float(np.median(times)) / 1000 for times in (warm, strangers))
    measured = f"{middle:.1f} s (in a browser that reads the scripts for the first time {cold:.1f} s)"
    return Row("warm page load to first trace painted", measured, "<= 3 s", middle <= 3, figures)


ROWS = (gestures_64, gestures_512, gestures_2048, zoom, payload, opening)
