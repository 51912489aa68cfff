"""Work for a scheduler that waits for events, never for a time."""

from __future__ import annotations

import threading

PATIENCE = 10.0
"""Seconds until a test calls something hung."""


class Planted:
    """Work that says when it begins, and ends when the test lets it."""

    def __init__(self, log=None, name="", *, tells=True, error=None):
        self.began, self.gate, self.log, self.name, self.tells, self.error = (
            threading.Event(), threading.Event(), log, name, tells, error)  # fmt: skip
        self.ticket = self.thread = None

    def __call__(self, ticket):
        self.ticket, self.thread = ticket, threading.current_thread().name
        if self.log is not None:
            self.log.append(self.name)
        self.began.set()
        assert self.gate.wait(PATIENCE), f"nobody let {self.name!r} end"
        if self.error is not None:
            raise self.error
        if self.tells:
            ticket.tell("tracing", self.name, 1.0)
        return self.name

    def begins(self):
        assert self.began.wait(PATIENCE), f"{self.name!r} never began"
        return self


def results(*tasks):
    return [task.future.result(PATIENCE) for task in tasks]
