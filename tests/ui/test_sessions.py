"""Ten sessions at once on one server: nobody sees what is anybody else's, nothing of them is left, nobody waits for a model."""

from __future__ import annotations

import asyncio
import statistics
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from playwright.sync_api import expect

from tests.browser import faults
from tests.soak.reader import Log
from tests.soak.reader import Reader as SoakReader
from tests.ui.sessions import FORWARD, HEADS, LAYERS, LEAST, PATIENCE, SLOW, WORDS, Crowd, Reader, running

SECONDS = 5.0
"""How long they are at it at least; to open ten pages and read two texts on each takes longer. `python -m tests.ui.sessions 120`
is the same for two minutes a round."""

OTHERS, FEWER = 9, 3
"""Sessions beside the one in the browser in the first round, and in the second: it shows that the first gave its memory back."""

MOST_GROWTH = 60 << 20
"""Bytes the process may grow in the second round: less than three of its four sessions weigh, and more than the allocator keeps
back at random."""

RUNS = 3
"""Runs of the slow model."""

AT_ONCE = 0.2
"""Seconds in which a ping is answered while a model runs."""


@pytest.fixture(scope="module")
def server():
    with running() as started:
        yield started


def in_browser(page, server, seconds: float) -> int:
    """One person among the others: types texts of their own, clicks tokens of them; how many times."""
    before = set(server.ask("sessions"))
    page.goto(f"{server.address}/app", timeout=1000 * PATIENCE)
    tokens = page.locator(".aa-strip-source .token")
    tokens.first.wait_for(timeout=1000 * PATIENCE)
    end, turns = time.monotonic() + seconds, 0
    while time.monotonic() < end or not turns:
        words = list(WORDS[turns % 5 : turns % 5 + 5])
        page.locator(".aa-text textarea").first.fill(" ".join(words))
        page.locator(".aa-run button").click()
        expect(tokens).to_have_text(words, timeout=1000 * PATIENCE)
        at = turns % len(words)
        tokens.nth(at).click()
        expect(tokens.nth(at)).to_have_attribute("aria-selected", "true", timeout=1000 * PATIENCE)
        mine = [
            state for name, state in server.ask("sessions").items() if name not in before and state["text"] == " ".join(words)
        ]
        assert [at] in [state["queries"] for state in mine]
        page.wait_for_timeout(300)
        # The others went on meanwhile; this page is as it was.
        expect(tokens).to_have_text(words)
        expect(tokens.nth(at)).to_have_attribute("aria-selected", "true")
        turns += 1
    return turns


def together(browser, server, others: int, seconds: float) -> dict:
    """Everybody at once; then they leave. What is still alive, and what the process weighs."""
    crowd = Crowd(server, others)
    context = browser.new_context()
    page = context.new_page()
    found = faults(page)
    crowd.begin(seconds)
    try:
        turns = in_browser(page, server, seconds)
    finally:
        crowd.join()
        context.close()
    assert not crowd.problems, "\n".join(crowd.problems)
    assert not found, "\n".join(found)
    assert crowd.turns >= LEAST * others
    assert turns >= 1
    return server.emptied()


def waits(server, runner, words: list[str]) -> list[float]:
    """Seconds of every ping while the slow model runs a text."""
    runner.run(words, SLOW)
    server.until(runner.id, lambda state: state["status"] == "tracing", "the slow model")
    found = []
    while server.state(runner.id)["status"] == "tracing":
        found.append(server.ping())
        time.sleep(0.05)
    assert server.until(runner.id, lambda state: state["status"] == "ready", "the end of it")["text"] == " ".join(words)
    assert len(found) > FORWARD / 0.2, "the model ran too short a time to tell"
    return found


def test_nobody_waits_for_a_model(server):
    with Reader(server, 0) as reader, Reader(server, 1) as runner:
        for each in (reader, runner):
            server.until(each.id, lambda state: state["status"] == "ready", "the first trace")
        idle = [server.ping() for _ in range(20)]
        # A model that blocks the loop does so in every run; what makes one ping late in one of them is the machine.
        runs = [waits(server, runner, list(WORDS[start : start + 5])) for start in range(RUNS)]
    # What an idle server takes is what this machine takes: only what the model adds is held against it.
    assert min(map(max, runs)) <= AT_ONCE + max(idle), ([sorted(run)[-5:] for run in runs], statistics.median(idle))


@pytest.mark.timeout(600)  # two rounds with a slow beginning and an end to be waited for, on a busy machine
def test_ten_sessions_share_nothing_and_leave_nothing(browser, server):
    first = together(browser, server, OTHERS, SECONDS)
    assert not any(first["objects"].values()), first
    second = together(browser, server, FEWER, SECONDS)
    assert not any(second["objects"].values()), second
    assert second["memory"] - first["memory"] <= MOST_GROWTH, (first, second)


def test_a_scripted_reader_of_the_soak_does_what_it_says(server):
    """Its gestures are told apart on the server by what they change there."""

    async def read():
        before = set(server.ask("sessions"))
        reader = SoakReader(f"{server.address}/app", 1, log, think=0.0, size=(LAYERS, HEADS))
        await reader.timed("open", reader.open)
        (mine,) = set(server.ask("sessions")) - before
        found = [server.state(mine)]
        for work in (reader.tap, reader.lasso, reader.pick, reader.back):
            await reader.timed(work.__name__, work, reader.wire)
            found.append(server.state(mine))
        opened, tapped, circled, picked, _ = found
        assert len(tapped["heads"]) == 1
        assert tapped["heads"] != opened["heads"]
        assert len(circled["heads"]) > 1
        assert (len(picked["queries"]), picked["heads"]) == (1, circled["heads"])
        assert next(reader.wire.all("Figure", "aa-heads-plot"), None) is not None, "the lasso's card came with its place"
        await reader.leave()

    log = Log()
    with ThreadPoolExecutor(1) as own:  # the browser of this file keeps a running loop in the thread of the tests
        own.submit(asyncio.run, read()).result()
    assert [kind for kind, _ in log.gestures] == ["open", "tap", "lasso", "pick", "back"]
    assert not log.problems
