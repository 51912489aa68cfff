"""Who does the tasks: this process, processes of this machine, or any Dask cluster. The tasks and their files are the same."""

from __future__ import annotations

import importlib.util
import itertools
import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from atlas.corpus.measure import Loaded, Task, perform
from atlas.corpus.store import Store
from atlas.engine.loading.load import load
from atlas.errors import CorpusError

if TYPE_CHECKING:
    from collections.abc import Iterable

Done = Callable[[Task], None]
Doing = Callable[[Sequence[Task], Done], None]
"""Does all tasks, and says of each when it is done."""

AHEAD = 4
"""Tasks a worker is given ahead: the texts of those that wait travel only when their turn is near."""

NO_DASK = (
    "Several workers need the package distributed: pip install 'attention-atlas[corpus]'. Without it pass workers=0 "
    "(--workers 0), which does the same work in this process."
)

DIED = (
    "A worker died again and again at the same texts ({name}): perhaps it runs out of memory. What was done is kept; "
    "run it again with fewer workers, or with truncate to cut long texts."
)

LOST = "The connection to the Dask scheduler was lost. What was done is kept; run it again once a scheduler is there."


class ModelSource(NamedTuple):
    """How a worker gets the model."""

    name: str
    revision: str | None = None
    device: str | None = None
    dtype: str | None = None
    trust_remote_code: bool = False

    def load(self) -> Loaded:
        """The model and its heads."""
        model = load(self.name, self.revision, self.device, self.dtype, trust_remote_code=self.trust_remote_code)
        return Loaded.of(model)


def has_dask() -> bool:
    """Whether the extra is installed."""
    return importlib.util.find_spec("distributed") is not None


def here(store: Store, loaded: Loaded) -> Doing:
    """In this process, one after another."""

    def do(tasks: Sequence[Task], done: Done) -> None:
        for task in tasks:
            perform(store, task, loaded)
            done(task)

    return do


def processes_of(workers: int | None, n_tasks: int) -> int:
    """How many worker processes: as many as there are cores and tasks, unless a number was asked for."""
    if workers is not None and workers < 0:
        msg = f"There are no {workers} workers; 0 is this process."
        raise CorpusError(msg)
    if workers is not None:
        return workers
    if n_tasks <= 1:
        return 0
    if not has_dask():
        raise CorpusError(NO_DASK)
    return min(os.cpu_count() or 1, n_tasks)


@contextmanager
def cluster_of(workers: int, report: Callable[[str], None]) -> Iterator[Any]:
    """A client of processes of this machine, of one thread each."""
    if not has_dask():
        raise CorpusError(NO_DASK)
    from distributed import Client, LocalCluster

    with (
        LocalCluster(
            n_workers=workers, threads_per_worker=1, processes=True, dashboard_address="127.0.0.1:0", silence_logs="ERROR"
        ) as cluster,
        Client(cluster) as client,
    ):
        report(f"Dask dashboard: {client.dashboard_link}")
        yield client


@contextmanager
def _loss_in_words() -> Iterator[None]:
    """The connection may end in the middle of any call, not only of a task."""
    from distributed.comm.core import CommClosedError

    try:
        yield
    except CommClosedError as error:
        raise CorpusError(LOST) from error


@contextmanager
def connected(address: str, report: Callable[[str], None]) -> Iterator[Any]:
    """A client of a cluster that is there already."""
    if not has_dask():
        raise CorpusError(NO_DASK)
    from distributed import Client

    try:
        client = Client(address)
    except (OSError, ValueError) as error:
        msg = f"There is no Dask scheduler at {address}: {error}."
        raise CorpusError(msg) from error
    with _loss_in_words(), client:
        report(f"Dask dashboard: {client.dashboard_link}")
        yield client


@contextmanager
def on(client: Any, store: Store, source: ModelSource) -> Iterator[Doing]:
    """On a cluster, whose workers each load the model once."""
    from atlas.corpus.plugin import ModelPlugin, perform_there

    plugin = ModelPlugin(source)
    with _loss_in_words():
        client.register_plugin(plugin)
        try:
            yield lambda tasks, done: _submit(client, store, plugin.name, tasks, done, perform_there)
        finally:
            if client.status == "running":  # else nobody is there to be told
                client.unregister_worker_plugin(plugin.name)


def _submit(client: Any, store: Store, plugin: str, tasks: Sequence[Task], done: Done, function: Callable[..., str]) -> None:
    from distributed import CancelledError, KilledWorker, as_completed

    by_key: dict[str, Task] = {}
    run = uuid.uuid4().hex[:8]

    def submitted(some: Iterable[Task]) -> list[Any]:
        futures = []
        for task in some:
            # Keys of this run alone: two runs on one cluster must not cancel each other's tasks.
            key = f"{task.name}-{run}"
            by_key[key] = task
            futures.append(client.submit(function, store.where, task, plugin, key=key, pure=False))
        return futures

    waiting = iter(tasks)
    ahead = max(AHEAD, AHEAD * sum(client.nthreads().values()))
    running = as_completed(submitted(itertools.islice(waiting, ahead)))
    for future in running:
        try:
            future.result()
        except KilledWorker as error:
            raise CorpusError(DIED.format(name=by_key[future.key].name)) from error
        except CancelledError as error:  # nobody else cancels these
            raise CorpusError(LOST) from error
        done(by_key[future.key])
        future.release()
        running.update(submitted(itertools.islice(waiting, 1)))
