"""What a page asks of a corpus: to read a file of texts, and to go on with a run for some seconds."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atlas.corpus.running import Progress, Settings, run, source_of
from atlas.corpus.store import SHARDS
from atlas.engine.running.capture import Rerun
from atlas.errors import NotCaptured
from atlas.text.files import texts_in
from atlas.text.sample import sample_texts
from atlas.tracing.corpus_run import MEASURE, ON_WORKERS, REACHES_WORKERS, READ, Given

if TYPE_CHECKING:
    from atlas.engine.model import Model
    from atlas.trace import Trace
    from atlas.tracing.corpus import Corpus

SHARD = 16
"""Texts of a shard: a run that was stopped goes on from the last one, and readers who wait are let in after each."""

NO_MODEL = "The model of this text is not here, so it cannot be run on others. Open it in the app by its name."


class _Pause(Exception):
    """Ends a part of a run; its shards stay."""


def read(name: str, data: bytes | None, column: str, most: int) -> Given:
    """The texts of a file by its name, or of the sample that comes with Atlas where there are no data."""
    if data is None:
        return Given(sample_texts(most), ())
    found = texts_in(name, data, column)
    return Given(tuple(text for _, text in found.texts), tuple((row, reason) for row, reason in found.bad))


def _model_of(trace: Trace) -> Model:
    live = trace.live
    if not isinstance(live, Rerun):
        raise NotCaptured(NO_MODEL)
    live.check_weights()
    return live.model


def part_of_run(trace: Trace, texts: Sequence[str], out: str, seconds: float, report: Progress) -> Corpus | None:
    """Go on with a run on the model of a trace for some seconds; the corpus once it is whole, else None.

    A page runs a corpus in such parts, because a model serves one task at a time and other readers wait for it.
    """
    model = _model_of(trace)
    end, told = time.monotonic() + seconds, 0

    def progress(done: int, of: int) -> None:
        nonlocal told
        report(done, of)
        told += 1
        # The first report comes before anything was done.
        if told > 1 and time.monotonic() > end:
            raise _Pause

    try:
        found = run(model, list(texts), out, workers=0, settings=Settings(shard_size=SHARD), progress=progress)
    except _Pause:
        return None
    # Nothing goes on from a whole run, and a session keeps only what is looked at.
    shutil.rmtree(Path(out) / SHARDS, ignore_errors=True)
    return found


def run_on_workers(trace: Trace, texts: Sequence[str], out: str, workers: int, report: Progress) -> Corpus:
    """A whole run by processes of this machine, as `atlas corpus --workers` makes it; they end with it, however it ends."""
    found = run(_model_of(trace), list(texts), out, workers=workers, settings=Settings(shard_size=SHARD), progress=report)
    shutil.rmtree(Path(out) / SHARDS, ignore_errors=True)
    return found


def reaches_workers(trace: Trace) -> bool:
    """Whether another process can load the model of a trace."""
    return isinstance(trace.live, Rerun) and source_of(trace.live.model) is not None


TASKS: Mapping[str, Callable[..., Any]] = {
    READ: read, MEASURE: part_of_run, ON_WORKERS: run_on_workers, REACHES_WORKERS: reaches_workers,
}  # fmt: skip
"""Work that views may request, by name."""
