"""A scripted reader: opens a page, types, runs, taps heads, draws a lasso, switches tabs, attributes, goes back, closes."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from tests.soak.wire import Lost, Model, Wire, changed, click, event, message

STORY = (
    "the old baker gave Anna some fresh bread and she thanked him before they walked home through a small quiet village where "
    "nobody had seen rain for many weeks"
)
"""Texts are words of it, in any order."""

TABS = ("overview", "explore", "deep", "bias", "compare")
"""Tabs that a reader looks into; Faithfulness is the one that attributes, and Corpus is empty without a corpus."""

GPT_MINI = (6, 8)
"""Layers and heads of the model that the server opens with."""

OPEN, RUN, ATTRIBUTE = "open a page", "type and run", "attribute"

SLOW = frozenset({OPEN, RUN, ATTRIBUTE, "open a tab"})
"""What runs a model or makes cards. Every other gesture is to be answered at once."""

FAULT = "This is a fault of Atlas"
"""How a card begins whose view failed."""


@dataclass
class Log:
    """What all readers have seen."""

    sessions: int = 0
    closed: int = 0
    gestures: list[tuple[str, float]] = field(default_factory=list)
    """Kind and seconds of each."""
    problems: list[str] = field(default_factory=list)
    received: int = 0

    def seconds(self, kind: str) -> list[float]:
        """Of all gestures of a kind."""
        return [seconds for name, seconds in self.gestures if name == kind]


class Reader:
    """One person with one page at a time, who opens another after closing it."""

    def __init__(self, address: str, number: int, log: Log, think: float, size: tuple[int, int] = GPT_MINI) -> None:
        self.layers, self.heads = size
        self.address, self.number, self.log, self.think = address, number, log, think
        self.random = random.Random(number)
        self.wire: Wire | None = None
        self.steps = 0
        self.gestures: list[tuple[int, str, Callable[[Wire], Awaitable[object]]]] = [
            (6, "tap a head", self.tap),
            (4, "click tokens", self.pick),
            (2, "draw a lasso", self.lasso),
            (3, "open a tab", self.tab),
            (2, "go back", self.back),
            (2, RUN, self.run),
            (1, ATTRIBUTE, self.attribute),
        ]

    async def read(self, until: float, pages: float) -> None:
        """Read until a time; `pages` is the share of turns after which the page is closed and another is opened."""
        try:
            while time.monotonic() < until:
                await self._page(until, pages)
        except Lost as lost:
            self.log.problems.append(f"reader {self.number}: {lost}")
        except (OSError, RuntimeError) as error:
            self.log.problems.append(f"reader {self.number}: {type(error).__name__}: {error}")
        finally:
            await self.leave()

    async def _page(self, until: float, pages: float) -> None:
        await self.timed(OPEN, self.open)
        while time.monotonic() < until:
            await asyncio.sleep(self.random.expovariate(1 / self.think))
            assert self.wire is not None
            weights, names, works = zip(*self.gestures, strict=True)
            at = self.random.choices(range(len(names)), weights)[0]
            await self.timed(names[at], works[at], self.wire)
            self._look(self.wire)
            if self.random.random() < pages:
                break
        await self.leave()

    async def timed(self, kind: str, work: Callable[..., Awaitable[object]], *given: Any) -> None:
        """Do something and note how long the answer took; False: there was nothing to do."""
        begun = time.perf_counter()
        if await work(*given) is not False:
            self.log.gestures.append((kind, time.perf_counter() - begun))

    async def leave(self) -> None:
        """Close the page."""
        if self.wire is not None:
            self.log.received += self.wire.received
            await self.wire.close()
            self.wire = None
            self.log.closed += 1

    def _look(self, wire: Wire) -> None:
        """Take note of faults that cards show."""
        for notice in wire.all("Notice"):
            problem = str(wire.data(notice).get("problem", ""))
            if problem.startswith(FAULT):
                msg = f"a card says: {problem.splitlines()[0]}"
                raise Lost(msg)

    # -- what a reader does -----------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Open a page until its first two cards are drawn."""
        self.log.sessions += 1
        self.wire = wire = await Wire.open(self.address)
        await wire.patch(event("document_ready"))
        await wire.patch(message(wire.model("History"), {"start": ""}))
        await wire.patch(message(wire.model("WindowSize"), {"width": 1440, "height": 900}))
        await wire.patch(message(wire.model("Scheme"), {"dark": False}))
        await wire.until(lambda: self._there(wire, "aa-map") and self._there(wire, "aa-matrix"), "the first cards")
        await wire.until(lambda: self._tokens(wire) and not self._waits(wire, "map"), "the first trace")

    def _tokens(self, wire: Wire) -> list[Any]:
        found: list[Any] = wire.data(wire.model("TokenStrip", "aa-strip-source")).get("tokens", [])
        return found

    async def tap(self, wire: Wire) -> None:
        """Tap a head on the Map."""
        await self._in_tab(wire, "explore")
        figure = wire.model("Figure", "aa-map")
        x, y = (self.random.randrange(self.heads) + 0.5) / self.heads, (self.random.randrange(self.layers) + 0.5) / self.layers
        await self._selects(wire, event("tap", model=figure, sx=1, sy=1, x=x, y=y, modifiers={}))

    async def pick(self, wire: Wire) -> None:
        """Click a token of the text, another one than before."""
        strip = wire.model("TokenStrip", "aa-strip-source")

        def selected() -> set[int]:
            told = wire.data(strip)  # what is empty from the start is not sent
            return {*told.get("selected_from", ()), *told.get("selected_to", ())}

        at = self.random.choice([at for at in range(len(self._tokens(wire))) if at not in selected()])
        sent = await wire.patch(message(strip, {"positions": [at], "mode": "replace"}))
        await wire.until(lambda: sent in wire.answers and at in selected(), "a click on a token")

    async def lasso(self, wire: Wire) -> None:
        """Scroll to the cloud of heads and draw a lasso there."""
        await self._in_tab(wire, "explore")
        await self._scroll(wire, "heads", "aa-heads-plot")
        figure = wire.model("Figure", "aa-heads-plot")
        rows = sorted(self.random.sample(range(self.heads * self.layers), self.random.randint(2, 9)))
        geometry = {"type": "poly", "sx": [1, 2, 3], "sy": [1, 2, 1], "x": [0, 1, 1], "y": [0, 1, 0]}
        await self._selects(
            wire,
            *(changed(selected, "indices", rows) for selected in self._selections(wire, figure)),
            event("selectiongeometry", model=figure, geometry=geometry, final=True),
        )

    async def tab(self, wire: Wire) -> object:
        """Open another tab and look at its first cards."""
        key = self.random.choice(TABS)
        if key == wire.data(wire.model("TabBar"))["active"]:
            return False
        await self._in_tab(wire, key)
        return None

    async def back(self, wire: Wire) -> object:
        """The browser's back button: the state before."""
        history = wire.model("History")
        before = str(wire.data(history).get("state", ""))
        await self.pick(wire)
        await wire.until(lambda: wire.data(history).get("state", "") != before, "a new state in the address")
        if not before:
            return False
        self.steps += 1
        wire.told.clear()
        begun = wire.set(history, state=before)
        await wire.patch(*begun, message(history, {"pop": before, "step": self.steps}))
        await wire.until(lambda: any(f"'answered': {self.steps}" in str(told) for told in wire.told), "the step back")
        return None

    async def run(self, wire: Wire) -> None:
        """Type a text and run it, until its words are on the page."""
        words = [self.random.choice(STORY.split()) for _ in range(self.random.randint(6, 24))]
        box = wire.model("TextAreaInput", "aa-text")
        await wire.patch(*wire.set(box, value=" ".join(words), value_input=" ".join(words)))
        await asyncio.sleep(0.2)  # Panel takes what is typed 50 ms later, and a person is no faster
        await wire.patch(click(wire.model("Button", "aa-run")))

        def shown() -> bool:
            return "".join(str(token[1]) for token in self._tokens(wire)).replace(" ", "").startswith("".join(words)[:12])

        await wire.until(shown, f"the run of {' '.join(words)!r}")

    async def attribute(self, wire: Wire) -> None:
        """Which tokens decide the prediction, by another method: until the card of Attribution waits for nothing."""
        await self._in_tab(wire, "faithfulness")
        await self._scroll(wire, "attribution", "aa-attribution")
        await wire.until(lambda: not self._waits(wire, "attribution"), "the attribution")
        method = next(each for each in wire.all("Select") if wire.data(each).get("label") == "Method")
        options = [value for value in self._options(wire, method) if value != wire.data(method)["value"]]
        heard = wire.heard
        sent = await wire.patch(*wire.set(method, value=self.random.choice(options)))
        # Its answer is one message more; what is being computed begins with the card's word that it waits.
        await wire.until(
            lambda: sent in wire.answers and wire.heard > heard + 1 and not self._waits(wire, "attribution"), "another method"
        )

    def _options(self, wire: Wire, select: Model) -> list[str]:
        options = wire.data(select)["options"]
        return [str(value) for _, value in options["entries"]] if isinstance(options, dict) else [str(each) for each in options]

    def _waits(self, wire: Wire, card: str) -> bool:
        """Whether a card says that it is about to change."""
        return bool(wire.data(self._part(wire, card, "Notice")).get("waiting"))

    def _part(self, wire: Wire, key: str, kind: str) -> Model:
        """The head or the notice of a card."""
        card = wire.model("Column", f"aa-card-{key}")
        parts = [wire.models[child["id"]] for child in card.attributes["children"]]
        return next(part for part in parts if part.kind == kind)

    # -- how --------------------------------------------------------------------------------------------------------------

    async def _in_tab(self, wire: Wire, key: str) -> None:
        bar = wire.model("TabBar")
        if wire.data(bar)["active"] == key:
            return
        heard = wire.heard
        sent = await wire.patch(*wire.set(bar, active=key))
        await wire.until(lambda: sent in wire.answers and wire.heard > heard + 1, f"the tab {key}")

    async def _scroll(self, wire: Wire, card: str, plot: str) -> None:
        """Bring a card on screen: its place says so, and it is made."""
        place = next((each for each in wire.all("Places") if self._has(wire, each, card)), None)
        if place is not None:
            await wire.patch(*wire.set(place, seen=[card]))
        await wire.until(lambda: self._there(wire, plot), f"the card {card}")

    def _has(self, wire: Wire, places: Model, card: str) -> bool:
        return any(f"'{card}'" in str(place) for place in wire.data(places)["places"])

    def _there(self, wire: Wire, css: str) -> bool:
        return next(wire.all("Figure", css), None) is not None

    def _selections(self, wire: Wire, figure: Model) -> list[str]:
        """Ids of what is selected in the sources of a plot's points."""
        found = []
        for reference in figure.attributes.get("renderers", []):
            renderer = wire.models.get(reference.get("id", ""))
            source = wire.models.get(((renderer and renderer.attributes.get("data_source")) or {}).get("id", ""))
            selected = ((source and source.attributes.get("selected")) or {}).get("id")
            if selected:
                found.append(selected)
        return found

    async def _selects(self, wire: Wire, *events: dict[str, Any]) -> None:
        """Send a gesture that changes which heads are selected, and wait until the page says so.

        The bar above says "5 heads" of any five; the address tells them apart, a moment later.
        """
        chips, address = wire.data(wire.model("SelectionChips")), wire.data(wire.model("History"))

        def says() -> tuple[object, object]:
            return chips.get("heads"), address.get("state")

        before = says()
        sent = await wire.patch(*events)
        await wire.until(lambda: sent in wire.answers and says() != before, "the selected heads")
