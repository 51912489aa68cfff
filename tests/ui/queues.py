"""How long a server lets anybody wait: `python -m tests.ui.queues` measures it with sessions that are no browsers.

Six tabs run a slow model while a visitor runs another one; then a session asks for the clusters and t-SNE positions of 1,200
heads, which take seconds, while pings go through the event loop that serves all pages.
"""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack

import numpy as np

from tests.ui.sessions import LONG, LONG_FORWARD, TINY, WIDE, WORDS, Reader, Server, running

TABS = 6


class Pings(threading.Thread):
    """Seconds the server took to answer, twenty times a second."""

    def __init__(self, server: Server) -> None:
        super().__init__(daemon=True)
        self.server, self.over, self.waits = server, threading.Event(), []

    def run(self) -> None:
        while not self.over.wait(0.05):
            self.waits.append(self.server.ping())

    def end(self, what: str) -> None:
        """Stop, and say what was measured."""
        self.over.set()
        self.join()
        waits = 1000 * np.array(self.waits)
        middle, late = np.percentile(waits, [50, 95])
        print(f"{what}: {len(waits)} pings, median {middle:.0f} ms, 95th percentile {late:.0f} ms, worst {waits.max():.0f} ms")  # noqa: T201


def tabs_and_a_visitor(server: Server) -> None:
    """Six tabs of long runs on one model, a visitor on another."""
    with ExitStack() as stack:
        tabs = [stack.enter_context(Reader(server, number)) for number in range(TABS)]
        visitor = stack.enter_context(Reader(server, TABS))
        visitor.run(list(WORDS[:4]), TINY)
        server.until(visitor.id, lambda state: state["text"] == " ".join(WORDS[:4]), "the visitor's first run")
        for number, tab in enumerate(tabs):
            tab.run(list(WORDS[: 5 + number]), LONG)
        time.sleep(0.5)
        print("tabs say:", [server.state(tab.id)["message"] for tab in tabs])  # noqa: T201
        pings = Pings(server)
        pings.start()
        for turn in range(3):
            words = " ".join(WORDS[turn : turn + 6])
            begun = time.monotonic()
            visitor.run(words.split(), TINY)
            state = server.until(visitor.id, lambda state, words=words: state["text"] == words, "the visitor")
            waiting = sum(server.state(tab.id)["status"] in ("loading", "tracing") for tab in tabs)
            print(f"visitor served after {time.monotonic() - begun:.2f} s ({state['status']}), {waiting} tabs still waiting")  # noqa: T201
        pings.end("while six tabs ran")
        begun = time.monotonic()
        tabs[1].session.close()
        for tab in (tabs[0], *tabs[2:]):
            server.until(tab.id, lambda state: state["status"] == "ready", "a tab")
        print(f"the others were served {time.monotonic() - begun:.1f} s later, at {LONG_FORWARD:.0f} s a run")  # noqa: T201


def a_long_ask(server: Server) -> None:
    """Clusters and t-SNE of 1,200 heads in one session, pings in another."""
    with Reader(server, 20) as wide:
        pings = Pings(server)
        pings.start()
        text = list(WORDS[:7])
        begun = time.monotonic()
        wide.scroll("heads")
        wide.run(text, WIDE)
        server.until(wide.id, lambda state: state["text"] == " ".join(text) and state["status"] == "ready", "the wide run")
        print(f"1,200 heads on screen after {time.monotonic() - begun:.1f} s")  # noqa: T201
        pings.end("while 1,200 heads were loaded, run and drawn")
        pings, begun, said = Pings(server), time.monotonic(), set()
        pings.start()
        while (state := server.state(wide.id))["waiting"]:
            said |= set(state["waiting"])
            time.sleep(0.1)
        print(f"asked work took {time.monotonic() - begun:.1f} s more, and said {sorted(said)}")  # noqa: T201
        time.sleep(1)  # the redraw
        pings.end("while the work that was asked for ran and was drawn")


def main() -> None:
    """Both, on a server of their own."""
    with running() as server:
        tabs_and_a_visitor(server)
        a_long_ask(server)


if __name__ == "__main__":
    main()
