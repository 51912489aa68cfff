"""Processes of a real cluster die in the middle, and the store is what it would have been."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import atlas
from atlas.cli import FAILED
from atlas.corpus import Settings, in_app
from atlas.corpus.store import Store
from atlas.corpus.workers import LOST, ModelSource, on
from atlas.errors import CorpusError
from atlas.scheduler import Cancelled
from atlas.state import session_folder
from atlas.state.corpora import Corpora
from atlas.state.corpus_run import CorpusRunLens
from atlas.state.workspace import Workspace
from atlas.tasks import TASKS
from atlas.tracing.corpus_run import ON_WORKERS
from tests.corpus.test_run import contents, shards, texts
from tests.state.readers import never

pytest.importorskip("distributed")
psutil = pytest.importorskip("psutil")

SHARD = 2
COUNT = 40
DEADLINE = 120
"""Seconds after which a state that was waited for will not come."""


def wait_for(state: Any, running: subprocess.Popen[bytes]) -> None:
    """Wait until a state is reached; the process must not end before."""
    end = time.monotonic() + DEADLINE
    while not state():
        assert running.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < end, "the state was not reached"
        time.sleep(0.01)


def test_a_killed_client_and_a_killed_worker_leave_a_store_that_is_resumed_and_equal(tmp_path: Path) -> None:
    given = [each["text"] for each in texts(COUNT)]
    file = tmp_path / "texts.txt"
    file.write_text("\n".join(given), encoding="utf-8")
    settings = Settings(shard_size=SHARD)
    whole = atlas.corpus.run("gpt-mini", file, tmp_path / "whole", workers=0, settings=settings)
    out = tmp_path / "out"
    command = ["corpus", "gpt-mini", str(file), "-o", str(out), "--workers", "1", "--shard", str(SHARD), "-q"]

    def measured() -> int:
        return len(list((out / "shards").glob("measure-*.npz")))

    # The scheduler is in the client, so both are killed at once; the worker ends when it finds itself alone.
    client = subprocess.Popen([sys.executable, "-m", "atlas", *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: measured() >= 2, client)
    finally:
        client.send_signal(signal.SIGKILL)
        client.wait()
    assert not (out / "zarr.json").exists()
    kept = shards(out)
    from distributed import Client, LocalCluster

    killed: list[int] = []
    with (
        LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None, silence_logs="CRITICAL") as cluster,
        Client(cluster) as there,
    ):

        def kill_once(done: int, total: int) -> None:
            """Kill the worker when it has done some shards and has others before it."""
            if not killed and done > SHARD * len(kept) and done < total - SHARD:
                (worker,) = there.run(os.getpid).values()
                killed.append(worker)
                os.kill(worker, signal.SIGKILL)

        resumed = atlas.corpus.run("gpt-mini", file, out, there, settings=settings, progress=kill_once)
    assert killed
    assert resumed.complete == whole.complete
    assert contents(out) == contents(tmp_path / "whole")
    now = shards(out)
    assert {name: now[name] for name in kept if not name.startswith(".")} == {
        name: data for name, data in kept.items() if not name.startswith(".")
    }
    assert {name for name in now if not name.startswith(".")} == set(shards(tmp_path / "whole"))


@pytest.mark.parametrize("call", ["register_plugin", "submit"])
def test_a_connection_that_ends_in_the_middle_of_any_call_is_told_in_a_sentence(tmp_path: Path, call: str) -> None:
    def lost(*_: Any, **__: Any) -> None:
        from distributed.comm.core import CommClosedError

        msg = "in <TCP (closed)>: ConnectionResetError"
        raise CommClosedError(msg)

    client = SimpleNamespace(status="closed", register_plugin=lambda _: None, submit=None, nthreads=lambda: {"worker": 1})
    setattr(client, call, lost)
    task = SimpleNamespace(name="measure-1")
    with pytest.raises(CorpusError, match=LOST), on(client, Store(str(tmp_path)), ModelSource("gpt-mini")) as do:
        do([task], lambda _: None)


def test_a_killed_scheduler_ends_the_run_in_a_sentence_and_it_is_resumed_and_equal(tmp_path: Path) -> None:
    """The scheduler, its worker and the client are processes of their own, as on a cluster."""
    file, place = tmp_path / "texts.txt", tmp_path / "scheduler.json"
    file.write_text("\n".join(each["text"] for each in texts(COUNT)), encoding="utf-8")
    whole = atlas.corpus.run("gpt-mini", file, tmp_path / "whole", workers=0, settings=Settings(shard_size=SHARD))
    out, log = tmp_path / "out", (tmp_path / "log").open("wb")

    def begin(module: str, *options: str, **streams: Any) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-m", module, *options], cwd=tmp_path, **streams)

    quiet = {"stdout": log, "stderr": log}
    found = ["--scheduler-file", str(place), "--no-dashboard"]
    running = [begin("distributed.cli.dask_scheduler", *found, "--host", "127.0.0.1", "--port", "0", **quiet)]
    try:
        wait_for(place.exists, running[0])
        running.append(begin("distributed.cli.dask_worker", *found, "--nthreads", "1", "--no-nanny", **quiet))
        address = json.loads(place.read_text())["address"]
        command = ["corpus", "gpt-mini", str(file), "-o", str(out), "--shard", str(SHARD), "-q", "--scheduler", address]
        client = begin("atlas", *command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        running.append(client)
        wait_for(lambda: len(list((out / "shards").glob("measure-*.npz"))) >= 2, client)
        running[0].kill()
        _, errors = client.communicate(timeout=DEADLINE)
    finally:
        for each in running:
            each.kill()
            each.communicate()
        log.close()
    said = errors.decode().splitlines()[-1]
    assert client.returncode == FAILED
    assert said.startswith("atlas: ")
    assert "scheduler" in said
    assert "What was done is kept" in said
    kept = shards(out)
    assert 2 <= len([name for name in kept if not name.startswith(".")]) < COUNT / SHARD
    resumed = atlas.corpus.run("gpt-mini", file, out, workers=0, settings=Settings(shard_size=SHARD))
    assert resumed.complete == whole.complete
    assert contents(out) == contents(tmp_path / "whole")


def workers() -> list[Any]:
    """The processes that measure for this one."""
    return [each for each in psutil.Process().children(recursive=True) if "spawn_main" in " ".join(each.cmdline())]


def test_a_run_of_a_page_on_workers_is_stopped_survives_its_worker_and_leaves_none(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(session_folder.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(in_app, "SHARD", SHARD)
    given, model = [each["text"] for each in texts(COUNT)], atlas.load("gpt-mini")
    seen: list[tuple[int, int]] = []
    killed: list[int] = []

    def on_workers(trace: Any, given: Any, out: str, count: int, report: Any) -> Any:
        """The reader presses Cancel when the first worker is there; the second worker is killed."""
        first = not seen

        def told(done: int, of: int) -> None:
            seen.append((done, len(workers())))
            report(done, of)
            if first:
                raise Cancelled
            if SHARD < done < of - SHARD and not killed:
                (worker,) = workers()
                killed.append(worker.pid)
                worker.kill()

        return in_app.run_on_workers(trace, given, out, count, told)

    space = Workspace(never, tasks={**TASKS, ON_WORKERS: on_workers}, corpora=Corpora(workers=1))
    space.pipeline.show(model.trace("The cat sat on the mat.", capture=()))
    lens = CorpusRunLens(space)
    assert "one run at a time has the workers" in lens.limits
    lens.take("texts.txt", "\n".join(given).encode())
    lens.shown()
    lens.run()
    with pytest.raises(Cancelled):
        lens.shown()
    assert seen == [(0, 1)]
    assert not workers()
    assert not space.corpora.opened
    lens.run()
    lens.shown()
    assert lens.problem == ""
    assert killed
    assert not workers()
    expected = atlas.corpus.run(model, given, tmp_path / "plain", workers=0, settings=Settings(shard_size=SHARD))
    found = space.corpora.opened["texts"]
    assert found.heads.equals(expected.heads)
    assert found.exemplars.equals(expected.exemplars)
    # A model that is in this process alone is measured here, in parts.
    assert in_app.reaches_workers(space.trace)
    borrowed = atlas.load((model.hf, model.tokenizer)).trace("The cat.", capture=())
    assert not in_app.reaches_workers(borrowed)
