"""What an app with many readers asks of the engine: models loaded once and shared, runs one at a time a model, traces kept.

Everything kept here is read by all sessions and written by none: a model, a trace. The app queues its runs with `scheduler`; the
lock of each model remains for callers that do not.
"""

from __future__ import annotations

import itertools
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from atlas.engine.loading.load import load
from atlas.scheduler import Scheduler
from atlas.single_flight import SingleFlight

if TYPE_CHECKING:
    from atlas.engine.model import Model
    from atlas.trace import Trace

KEPT_MODELS = 3
"""Models held in memory beside those in use: a class room compares two or three, and a large one is gigabytes. The kept traces
belong to no more models than that, since a trace keeps its model alive."""

KEPT_TRACES = 16
"""Traces held for a reload, a shared link or the way back: a few steps of history for a few readers."""

KEPT_BYTES = 2 << 30
"""Bytes of traces held, whatever their number: a trace of 2,048 tokens may be hundreds of megabytes."""

IN_MEMORY = "in memory"
"""The end of the names of models that a caller handed over."""

PATIENCE = 0.2
"""Seconds between two checks whether a caller that waits for a model was cancelled."""


Request = tuple[str, str | None, str | None, str | None]
"""A model as it is asked for: name, revision, device, dtype."""


class Progress(Protocol):
    """Is told how far a run is. `tell` ends the run where nobody waits for it; `note` never does."""

    def tell(self, stage: str, message: str, share: float = ...) -> None:
        """Report from work of one's own."""

    def note(self, stage: str, message: str, share: float = ...) -> None:
        """Report from work others wait for too."""


@dataclass(frozen=True)
class Run:
    """One text through one model."""

    model: Request
    text: str
    pair: str | None = None
    target: str | None = None
    truncate: bool = False
    ablate: tuple[Any, ...] = ()
    knock_out: tuple[Any, ...] = ()
    regenerate: bool = False
    """Whether a target that the model writes is written under the changes."""


@dataclass
class Shelf:
    """The newest traces, up to a number, to a number of bytes, and to a number of models."""

    most: int = KEPT_TRACES
    most_bytes: int = KEPT_BYTES
    most_models: int = KEPT_MODELS
    kept: OrderedDict[Run, Trace] = field(default_factory=OrderedDict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def get(self, key: Run) -> Trace | None:
        """A kept trace, which is then the newest."""
        with self.lock:
            if key in self.kept:
                self.kept.move_to_end(key)
            return self.kept.get(key)

    def put(self, key: Run, trace: Trace) -> None:
        """Keep a trace, and let go of the oldest ones beyond the bounds; one that is too large alone is not kept."""
        with self.lock:
            if size_of(trace) > self.most_bytes:
                return
            self.kept[key] = trace
            self.kept.move_to_end(key)
            while self._too_much():
                self.kept.popitem(last=False)

    def _too_much(self) -> bool:
        return (
            len(self.kept) > self.most
            or len({run.model for run in self.kept}) > self.most_models
            or sum(map(size_of, self.kept.values())) > self.most_bytes
        )


class Service:
    """Loads, runs and remembers for all sessions of a server, or for one notebook."""

    def __init__(
        self, loader: Callable[..., Model] = load, shelf: Shelf | None = None, scheduler: Scheduler | None = None
    ) -> None:
        self.scheduler = scheduler or Scheduler()
        """The one queue for what all sessions ask for."""
        self._loader = loader
        self._models: SingleFlight = SingleFlight(keep=KEPT_MODELS)
        self._given: dict[str, Model] = {}
        self._locks: dict[int, threading.Lock] = {}
        self._guard = threading.Lock()
        self.shelf = shelf or Shelf()

    def borrow(self, pair: tuple[Any, Any]) -> Model:
        """A model and tokenizer in memory, ready to be handed over."""
        return self._loader(pair)

    def give(self, model: Model) -> str:
        """Hand over a model that is in memory; the name under which it runs, which no other model has."""
        # The name of a tuned model is often that of the one on the hub, and two of a class are called alike.
        plain = model.name if model.name.endswith(IN_MEMORY) else f"{model.name} {IN_MEMORY}"
        with self._guard:
            names = (plain if number == 1 else f"{plain} ({number})" for number in itertools.count(1))
            name = next(name for name in names if name not in self._given or self._given[name].hf is model.hf)
            self._given[name] = model
        return name

    def has(self, wanted: Request) -> bool:
        """Whether a model is here, so that nobody would wait for it to load."""
        return wanted[0] in self._given or self._models.holds(wanted)

    def model(self, wanted: Request, progress: Progress) -> Model:
        """The model itself: handed over, kept, or loaded now; callers that ask for it meanwhile get the same one."""
        name, revision, device, dtype = wanted
        if name in self._given:
            return self._given[name]

        def report(download: Any) -> None:
            share = download.done / download.total if download.total else -1.0
            progress.note("loading", f"Fetching {download.what}", share)

        progress.note("loading", f"Loading {name}")
        return self._models(wanted, lambda: self._loader(name, revision, device, dtype, progress=report))

    def kept(self, run: Run) -> Trace | None:
        """The trace of a run where there is no need to wait for it."""
        return self.shelf.get(run)

    def run(self, run: Run, progress: Progress) -> Trace:
        """The trace of a run: the kept one, or a new one made while nobody else uses the model."""
        found = self.shelf.get(run)
        if found is not None:
            return found
        # A job that was cancelled before its turn must not load a model.
        progress.tell("loading", f"Loading {run.model[0]}")
        model = self.model(run.model, progress)
        with self._alone_with(model, progress):
            found = self.shelf.get(run)
            if found is not None:  # another caller asked for the same run and was first
                return found
            progress.tell("tracing", f"Running {model.name}", 0.0)
            trace = model.trace(
                run.text,
                run.pair,
                run.target,
                truncate=run.truncate,
                ablate=run.ablate,
                knock_out=run.knock_out,
                regenerate=run.regenerate,
                progress=lambda done, of: progress.tell("tracing", f"Running {model.name}", done / of),
            )
        if run.model[0] not in self._given:  # a model in memory may change between two runs of one text
            self.shelf.put(run, trace)
        return trace

    def _alone_with(self, model: Model, progress: Progress) -> _Turn:
        with self._guard:
            lock = self._locks.setdefault(id(model.hf), threading.Lock())
        return _Turn(lock, model.name, progress)


@dataclass
class _Turn:
    """Waits for the lock of a model, and checks meanwhile whether anybody still waits for the result."""

    lock: threading.Lock
    name: str
    progress: Progress

    def __enter__(self) -> None:
        while not self.lock.acquire(timeout=PATIENCE):
            self.progress.tell("tracing", f"Waiting for another run of {self.name}")

    def __exit__(self, *_: object) -> None:
        self.lock.release()


def size_of(trace: Trace) -> int:
    """Bytes a trace holds: weights or q, k and v, and captured groups, also those asked for later; the rest is small beside."""
    total = 0
    for attention in trace.attentions.values():
        for layer in attention.layers:
            arrays = (layer.weights, layer.query, layer.key, layer.value)
            total += sum(array.nbytes for array in arrays if array is not None)
    return total + sum(array.nbytes for arrays in trace.held_arrays().values() for array in arrays.values())
