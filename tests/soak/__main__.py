"""`python -m tests.soak --readers 30 --minutes 20`: a mixed crowd at `atlas serve`; ends with 1 if anything was lost or failed.

Options after `--` are those of `atlas serve`.
"""

# ruff: noqa: T201 - it prints what it has seen

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from pathlib import Path

from tornado.httpclient import AsyncHTTPClient

from tests.soak.reader import Log, Reader
from tests.soak.report import Minute, Soak
from tests.soak.server import KINDS, Server, running

ARRIVE = 60.0
"""Seconds within which all come, at random: a class that is told to open the page now."""

AFTER = 75.0
"""Seconds in which a server lets go of sessions whose readers have left: Bokeh looks every 17 s for those idle for 15 s."""

QUIET, SETTLED = 0.05, 5.0
"""Share of a processor, and seconds of it, after which a server has done what it does before anybody comes."""

GIVES_BACK = 70.0
"""Seconds in which a server has given back what was freed: it does so once a minute."""

ASKED = 4
"""Times that is asked: any one of several processes answers."""

MINUTE = 60.0


async def crowd(server: Server, soak: Soak, think: float, pages: float) -> None:
    """Let all read until the time is over."""
    begun = time.monotonic()
    end = begun + soak.seconds
    readers = [Reader(server.address, number, soak.log, think) for number in range(soak.readers)]
    arrive = min(ARRIVE, soak.seconds / 3)

    async def come(number: int, reader: Reader) -> None:
        await asyncio.sleep(arrive * number / soak.readers)
        await reader.read(end, pages)

    watch = asyncio.create_task(minutes(server, soak, readers))
    try:
        await asyncio.gather(*(come(number, reader) for number, reader in enumerate(readers)))
    finally:
        watch.cancel()


async def minutes(server: Server, soak: Soak, readers: list[Reader]) -> None:
    """Note what there is, minute by minute; the first line is that of the beginning."""
    worked, gestures, when = server.worked(), len(soak.log.gestures), time.monotonic()
    for minute in range(len(soak.minutes), 10_000):
        now, made = server.worked(), len(soak.log.gestures)
        since = max(time.monotonic() - when, 1e-9)
        there = sum(reader.wire is not None for reader in readers)
        busy = (now - worked) / since if since > 1 else 0.0
        soak.minutes.append(Minute(minute, there, made - gestures, server.memory(), busy, os.getloadavg()[0]))
        print(soak.minutes[-1], file=sys.stderr, flush=True)
        worked, gestures, when = now, made, time.monotonic()
        await asyncio.sleep(MINUTE)


def settled(server: Server) -> None:
    """Wait until a server has loaded and drawn what it begins with."""
    end = time.monotonic() + AFTER
    while time.monotonic() < end:
        worked = server.worked()
        time.sleep(SETTLED)
        if server.worked() - worked < QUIET * SETTLED:
            return


async def alive(server: Server) -> dict[str, int]:
    """What is alive of sessions, once they have had the time to end; of several processes the most."""
    client, end = AsyncHTTPClient(), time.monotonic() + AFTER
    found: dict[int, dict[str, int]] = {}
    while time.monotonic() < end:
        await asyncio.sleep(5)
        for _ in range(ASKED):
            answer = json.loads((await client.fetch(f"{server.address}/alive", request_timeout=AFTER)).body)
            found[answer["process"]] = {name: answer["objects"][name] for name in KINDS}
        if not any(any(each.values()) for each in found.values()):
            break
    return {name: max(each[name] for each in found.values()) for name in KINDS}


def main() -> int:
    """Run a soak and print what was seen."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--readers", type=int, default=30, help="readers at a time (default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=20.0, help="how long they read (default: %(default)s)")
    parser.add_argument(
        "--think", type=float, default=15.0, help="mean seconds between a reader's gestures (default: %(default)s)"
    )
    parser.add_argument(
        "--pages", type=float, default=0.03, help="share of gestures after which a page is closed (default: %(default)s)"
    )
    parser.add_argument(
        "--rounds",
        type=int,
        default=1,
        help="times that all come, read and close; memory is printed for each (default: %(default)s)",
    )
    parser.add_argument("options", nargs="*", help="options of `atlas serve`, after --")
    args = parser.parse_args()
    setting = f"`atlas serve {' '.join(args.options)}`".replace(" `", "`")
    soak = Soak(args.readers, MINUTE * args.minutes, setting, Log())
    with tempfile.TemporaryDirectory() as folder, running(Path(folder) / "log", *args.options) as server:
        settled(server)
        soak.start = server.memory()
        for _ in range(args.rounds):
            asyncio.run(crowd(server, soak, args.think, args.pages))
            soak.left = asyncio.run(alive(server))
            time.sleep(GIVES_BACK)
            soak.minutes.append(Minute(len(soak.minutes), 0, 0, server.memory(), 0.0, os.getloadavg()[0]))
            soak.closed.append(server.memory())
        soak.complaints = server.complaints()
    print(soak.markdown())
    return int(soak.failed)


if __name__ == "__main__":
    raise SystemExit(main())
