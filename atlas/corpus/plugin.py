"""What runs in a Dask worker. Apart from the rest, because only this imports Dask."""

from __future__ import annotations

import threading
import uuid
from typing import TYPE_CHECKING, Any

from distributed import WorkerPlugin, get_worker

from atlas.corpus.measure import Task, perform
from atlas.corpus.store import Store

if TYPE_CHECKING:
    from atlas.corpus.measure import Loaded
    from atlas.corpus.workers import ModelSource


class ModelPlugin(WorkerPlugin):
    """Loads the model once a worker, before its first task; a worker that is started anew loads it anew."""

    def __init__(self, source: ModelSource) -> None:
        self.source = source
        self.name = f"atlas-model-{uuid.uuid4().hex[:12]}"
        self.loaded: Loaded | None = None
        self.lock: Any = None

    def setup(self, worker: Any) -> None:  # noqa: ARG002 - Dask's signature
        """Called by the worker when it starts, or when the plugin is registered."""
        self.lock = threading.Lock()
        self.loaded = self.source.load()

    def teardown(self, worker: Any) -> None:  # noqa: ARG002 - Dask's signature
        """Called when the plugin is taken back: the model's memory is the worker's again."""
        self.loaded = None


def perform_there(where: str, task: Task, plugin: str) -> str:
    """Do a task with the worker's model."""
    found: Any = get_worker().plugins[plugin]
    with found.lock:
        # One task at a time: a worker of several threads has one model, and its statistics need the cores.
        return perform(Store(where), task, found.loaded)
