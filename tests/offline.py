"""A machine without a network, for a process of its own: what it asks beyond this machine fails, and is written down."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

GUARD = """
import os, socket

def guarded(ask):
    def asked(first, *rest, **more):
        address = rest[0] if isinstance(first, socket.socket) else first
        host = address[0] if isinstance(address, tuple) else address
        known = ("localhost", "", "0.0.0.0", "::1", "::", socket.gethostname())
        named = isinstance(address, str) and isinstance(first, socket.socket)  # a socket that is a file
        if isinstance(host, str) and not named and host not in known and not host.startswith("127."):
            with open(os.environ["ATLAS_TEST_ASKED"], "a") as log:
                print(host, file=log)
            raise OSError("no network in this test")
        return ask(first, *rest, **more)
    return asked

socket.socket.connect = guarded(socket.socket.connect)
socket.socket.connect_ex = guarded(socket.socket.connect_ex)
socket.getaddrinfo = guarded(socket.getaddrinfo)
"""
"""A sitecustomize: Python imports it before anything else."""


@dataclass
class Offline:
    """What such a process is started with, and what it asked for all the same."""

    environment: dict[str, str]
    log: Path

    def asked(self) -> str:
        """The hosts it asked for, a line each."""
        return self.log.read_text(encoding="utf-8")


def offline(folder: Path, *importable: Path) -> Offline:
    """The environment of a process without a network; `importable` are folders of packages it can import."""
    guard = folder / "guard"
    guard.mkdir()
    (guard / "sitecustomize.py").write_text(GUARD, encoding="utf-8")
    log = folder / "asked.txt"
    log.touch()
    path = os.pathsep.join(map(str, [guard, *importable]))
    extra = {"PYTHONPATH": path, "ATLAS_TEST_ASKED": str(log), "HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1"}
    return Offline(os.environ | extra, log)
