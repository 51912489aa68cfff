"""The page that a server draws before its first visitor comes leaves nothing behind."""

from __future__ import annotations

import gc
import weakref
from typing import TYPE_CHECKING

from atlas import serving
from atlas.app import AttentionAtlas, prepare
from atlas.engine.running.service import Service
from atlas.jobs import worked_out
from atlas.scheduler import Ticket
from atlas.state.pipeline import Job

if TYPE_CHECKING:
    import pytest


def test_what_is_drawn_ahead_does_not_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    prepare()
    made: list[weakref.ref[AttentionAtlas]] = []
    service = Service()

    def noted(*given: object) -> AttentionAtlas:
        app = AttentionAtlas(*given)
        made.append(weakref.ref(app))
        return app

    monkeypatch.setattr(serving, "shared_service", lambda: service)
    monkeypatch.setattr(serving, "AttentionAtlas", noted)
    job = Job(("gpt-mini", None, None, None), "The old baker gave Anna bread.", None, None, truncate=True)
    serving.draw_ahead(worked_out(service, job, Ticket()))
    for _ in range(3):  # what a finaliser lets go of is found the next time
        gc.collect()
    assert [page() for page in made] == [None]
