"""`atlas serve` as a soak runs it: the command itself, which can also be asked what is alive in it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tests.places import REPO

KINDS = ("AttentionAtlas", "Workspace", "Document")
"""What belongs to one session. Traces do not: the server keeps some for all."""


def main() -> None:
    """Serve with the options of the command line, until told to end."""
    from tornado.web import RequestHandler

    import atlas.cli.serve as command
    from atlas.cli import main as atlas

    class Alive(RequestHandler):
        def get(self) -> None:
            self.finish({"process": os.getpid(), **alive()})

    run = command.run

    def watched(server: Any, *, show: bool) -> None:
        server._tornado.add_handlers(r".*", [("/alive", Alive)])
        run(server, show=show)

    command.run = watched
    raise SystemExit(atlas(["serve", "--no-open", "--port", "0", *sys.argv[1:]]))


def alive() -> dict[str, Any]:
    """How many objects of sessions there are in this process, and the bytes of its memory."""
    import gc

    import holoviews as hv
    from bokeh.document import Document
    from bokeh.io.state import curstate

    from atlas.app import AttentionAtlas
    from atlas.state.lens import Lens
    from atlas.state.workspace import Workspace

    for _ in range(3):  # what a finaliser lets go of is found the next time
        gc.collect()
    kinds = (AttentionAtlas, Workspace, Lens, hv.DynamicMap, Document)
    # Bokeh keeps one document for the process, for what is done outside of all sessions.
    everyones = curstate().document
    found = [each for each in gc.get_objects() if each is not everyones]
    # By type: asking a lazy proxy for its class may build what it stands for.
    counts = {kind.__name__: sum(issubclass(type(each), kind) for each in found) for kind in kinds}
    return {"objects": counts, "memory": psutil.Process().memory_info().rss}


@dataclass(frozen=True)
class Server:
    """The running command."""

    address: str
    process: psutil.Process
    log: Path

    def memory(self) -> int:
        """Bytes of it and of the processes it has started."""
        return sum(each.memory_info().rss for each in [self.process, *self.process.children(recursive=True)])

    def worked(self) -> float:
        """Seconds of processor they have taken."""
        times = [each.cpu_times() for each in [self.process, *self.process.children(recursive=True)]]
        return float(sum(each.user + each.system for each in times))

    def complaints(self) -> list[str]:
        """Errors it has logged."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return [line for line in lines if line.startswith(("ERROR", "CRITICAL", "Traceback", "Task exception"))]


@contextmanager
def running(log: Path, *options: str) -> Iterator[Server]:
    """Start the command with some options; what it logs goes into a file."""
    command = [sys.executable, "-c", "from tests.soak.server import main; main()", *options]
    with log.open("w", encoding="utf-8") as written:
        process = subprocess.Popen(command, cwd=REPO, stdout=subprocess.PIPE, stderr=written, text=True)
        try:
            assert process.stdout is not None
            said = process.stdout.readline()
            address = next((word.rstrip("/") for word in said.split() if word.startswith("http://")), "")
            if not address:
                msg = f"the server did not start: {said!r}, {log.read_text(encoding='utf-8')[-500:]}"
                raise RuntimeError(msg)
            yield Server(address, psutil.Process(process.pid), log)
        finally:
            process.terminate()
            process.communicate()  # ends with the process, and closes the pipe it was read from
