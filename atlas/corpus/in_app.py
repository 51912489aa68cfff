"""What a page asks of a corpus: to read a file of texts, and to go on with a run for some seconds."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atlas.corpus.drilling import drills
from atlas.corpus.running import Progress, Settings, run, source_of
from atlas.corpus.store import SHARDS
from atlas.corpus.texts import Columns
from atlas.engine.running.capture import Rerun
from atlas.errors import NotCaptured, TextError
from atlas.text.files import MOST_ROWS, rows_in, texts_in
from atlas.text.sample import sample_texts
from atlas.tracing.corpus_groups import LARGEST_GROUPS
from atlas.tracing.corpus_run import MEASURE, ON_WORKERS, REACHES_WORKERS, READ, Given
from atlas.tracing.drills import DRILL

if TYPE_CHECKING:
    from atlas.engine.model import Model
    from atlas.trace import Trace
    from atlas.tracing.corpus import Corpus
    from atlas.tracing.drills import Drills

SHARD = 16
"""Texts of a shard: a run that was stopped goes on from the last one, and readers who wait are let in after each."""

NO_MODEL = "The model of this text is not here, so it cannot be run on others. Open it in the app by its name."


class _Pause(Exception):
    """Ends a part of a run; its shards stay."""


def read(name: str, data: bytes | None, column: str, group: str, most: int) -> Given:
    """The texts of a file by its name with their groups, or the sample that comes with Atlas where there are no data."""
    if data is None:
        return Given(sample_texts(most), ())
    found = texts_in(name, data, column)
    given = Given(tuple(text for _, text in found.texts), tuple((row, reason) for row, reason in found.bad))
    if not group:
        return given
    table = {row: each for row, each in islice(rows_in(name, data, column), MOST_ROWS) if isinstance(each, Mapping)}
    if not any(group in each for each in table.values()):
        columns = next((", ".join(map(repr, each)) for each in table.values()), "none")
        msg = f"{name} has no column {group!r} to divide the texts by; it has {columns}."
        raise TextError(msg)
    return _grouped(given, [row for row, _ in found.texts], {row: each.get(group) for row, each in table.items()}, group)


def _grouped(given: Given, rows: Sequence[int], cells: Mapping[int, Any], group: str) -> Given:
    """The texts that are of a group; the rows of the others are listed."""
    known = [isinstance(cells.get(row), str | int | float) and str(cells[row]) != "" for row in rows]
    groups = tuple(str(cells[row]) for row, has in zip(rows, known, strict=True) if has)
    if len(set(groups)) > LARGEST_GROUPS:
        msg = (
            f"{group!r} has {len(set(groups)):,} values; texts are divided into up to {LARGEST_GROUPS} groups here. Name a "
            "column with fewer, or use `atlas corpus --group`."
        )
        raise TextError(msg)
    bad = [*given.bad, *((row, f"has no {group!r}") for row, has in zip(rows, known, strict=True) if not has)]
    texts = tuple(text for text, has in zip(given.texts, known, strict=True) if has)
    return Given(texts, tuple(sorted(bad)), groups)


def _rows(given: Given) -> tuple[list[Any], Columns]:
    """The texts as a run takes them."""
    if not given.groups:
        return list(given.texts), Columns()
    pairs = zip(given.texts, given.groups, strict=True)
    return [{"text": text, "group": group} for text, group in pairs], Columns(group="group")


def _model_of(trace: Trace) -> Model:
    live = trace.live
    if not isinstance(live, Rerun):
        raise NotCaptured(NO_MODEL)
    live.check_weights()
    return live.model


def part_of_run(trace: Trace, given: Given, out: str, seconds: float, report: Progress) -> Corpus | None:
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
        rows, columns = _rows(given)
        found = run(model, rows, out, workers=0, columns=columns, settings=Settings(shard_size=SHARD), progress=progress)
    except _Pause:
        return None
    # Nothing goes on from a whole run, and a session keeps only what is looked at.
    shutil.rmtree(Path(out) / SHARDS, ignore_errors=True)
    return found


def run_on_workers(trace: Trace, given: Given, out: str, workers: int, report: Progress) -> Corpus:
    """A whole run by processes of this machine, as `atlas corpus --workers` makes it; they end with it, however it ends."""
    (rows, columns), model, settings = _rows(given), _model_of(trace), Settings(shard_size=SHARD)
    found = run(model, rows, out, workers=workers, columns=columns, settings=settings, progress=report)
    shutil.rmtree(Path(out) / SHARDS, ignore_errors=True)
    return found


def reaches_workers(trace: Trace) -> bool:
    """Whether another process can load the model of a trace."""
    return isinstance(trace.live, Rerun) and source_of(trace.live.model) is not None


def drilled(trace: Trace, name: str, report: Progress) -> Drills:
    """One sort of drill of the model of a trace: a page runs them one by one, so that others have their turn in between."""
    return drills(_model_of(trace), [name], progress=report)


TASKS: Mapping[str, Callable[..., Any]] = {
    READ: read, MEASURE: part_of_run, ON_WORKERS: run_on_workers, REACHES_WORKERS: reaches_workers,
    DRILL: drilled,
}  # fmt: skip
"""Work that views may request, by name."""
