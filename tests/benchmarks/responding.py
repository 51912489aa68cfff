"""How soon a server answers others while it explains a prediction: `python -m tests.benchmarks.responding` is that server.

It does what the app does: lenses ask for integrated gradients and for the effects of all heads, the scheduler works them out in a
thread, and the event loop follows their progress and takes their results.
"""

from __future__ import annotations

import asyncio
import functools
import json
import time
import urllib.parse
import urllib.request
from typing import Any

import numpy as np
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

from atlas.app import prepare
from atlas.engine.loading.load import load
from atlas.state.attribution import AttributionLens
from atlas.state.head_effects import HeadEffectsLens
from atlas.state.lens import Lens
from atlas.state.workspace import Workspace
from atlas.tasks import TASKS
from tests.benchmarks.engine import gpt2, ids
from tests.benchmarks.server import LONGEST_START, Ping, running
from tests.benchmarks.timing import Row
from tests.engine.families import tokenizer
from tests.state.readers import never

TOKENS, POSITIONS = 64, 512

PAUSE = 0.05
"""Seconds between two pings."""

LONGEST = 300.0
"""Seconds after which a work that is not over is a fault."""

MOST = 0.2
"""Seconds in which a ping is answered, at the 95th percentile."""

WORKS: dict[str, tuple[type[Lens], dict[str, str]]] = {
    "integrated gradients": (AttributionLens, {"first": "integrated_gradients", "second": "raw_attention"}),
    "effects of all heads": (HeadEffectsLens, {"how": "zero"}),
    "integrated gradients on weights": (HeadEffectsLens, {"how": "integrated_gradients"}),
}
"""What is asked for: a lens and its choices."""


class Asked:
    """One work under way."""

    def __init__(self, trace: Any, work: str) -> None:
        kind, choices = WORKS[work]
        room = Workspace(never, tasks=TASKS)
        room.pipeline.show(trace)
        self.lens = kind(room)
        self.lens.choices.param.update(**choices)
        self.lens.param.watch(lambda _: self.show(), "revision")
        self.show()

    def show(self) -> None:
        """Look at it, as a view does at every revision."""
        if isinstance(self.lens, AttributionLens):
            self.lens.shown()
        else:
            assert isinstance(self.lens, HeadEffectsLens)
            self.lens.plane()


class Begin(RequestHandler):
    """Asks for a work."""

    def initialize(self, trace: Any, asked: dict[str, Asked]) -> None:
        """Which text, and what was asked before."""
        self.trace, self.asked = trace, asked

    def get(self) -> None:
        """Ask."""
        work = self.get_argument("work")
        self.asked[work] = Asked(self.trace, work)
        self.finish()


class Busy(RequestHandler):
    """Says whether a work is under way."""

    def initialize(self, asked: dict[str, Asked]) -> None:
        """What was asked for."""
        self.asked = asked

    def get(self) -> None:
        """Answer."""
        lens = self.asked[self.get_argument("work")].lens
        self.finish(json.dumps({"busy": lens.busy, "problem": lens.problem}))


async def serve() -> None:
    """Serve until told to end."""
    prepare()
    trace = load((gpt2(POSITIONS), tokenizer(special=False))).trace(ids(TOKENS), capture=("predictions",))
    asked: dict[str, Asked] = {}
    routes = [("/ping", Ping), ("/begin", Begin, {"trace": trace, "asked": asked}), ("/busy", Busy, {"asked": asked})]
    sockets = bind_sockets(0, "localhost")
    HTTPServer(Application(routes)).add_sockets(sockets)
    print(f"http://localhost:{sockets[0].getsockname()[1]}", flush=True)
    await asyncio.Event().wait()


def get(address: str) -> bytes:
    """The answer of the server."""
    with urllib.request.urlopen(address, timeout=LONGEST_START) as answer:
        found: bytes = answer.read()
    return found


def ping(address: str) -> float:
    """Seconds until it answers."""
    begun = time.perf_counter()
    get(f"{address}/ping")
    return time.perf_counter() - begun


def beside(address: str, work: str) -> tuple[list[float], float]:
    """Seconds of pings while a work is under way, and how long it took."""
    name = urllib.parse.quote(work)
    begun, found = time.perf_counter(), []
    get(f"{address}/begin?work={name}")
    while True:
        found.append(ping(address))
        state = json.loads(get(f"{address}/busy?work={name}"))
        took = time.perf_counter() - begun
        assert not state["problem"], state["problem"]
        assert took < LONGEST, f"{work} is not over after {took:.0f} s"
        if not state["busy"]:
            return found, took
        time.sleep(PAUSE)


def answers_beside_explanations() -> Row:
    """A ping while each work runs, and without any."""
    with running("-m", "tests.benchmarks.responding") as address:
        idle = [ping(address) for _ in range(50)]
        found = {work: beside(address, work) for work in WORKS}
    late = functools.partial(np.percentile, q=95)
    worst = max(float(late(times)) for times, _ in found.values())
    said = ", ".join(
        f"{work} ({took:.0f} s, {len(times)} pings) {1000 * late(times):.0f} ms" for work, (times, took) in found.items()
    )
    figures = {work: {"p95": float(late(times)), "most": max(times), "pings": len(times), "seconds": took}
               for work, (times, took) in found.items()} | {"idle": {"p95": float(late(idle))}}  # fmt: skip
    return Row(
        f"answer to a ping beside an explanation, GPT-2-small shape, {TOKENS} tokens, 95th percentile",
        f"{said}; idle {1000 * late(idle):.0f} ms", "<= 200 ms", worst <= MOST, figures,
    )  # fmt: skip


ROWS = (answers_beside_explanations,)


if __name__ == "__main__":
    asyncio.run(serve())
