"""The engine's service for all sessions: it loads models once, runs one text at a time on each, and caches traces.

All sessions read the cached models and traces, and none writes to them. The app queues its runs with `scheduler`; each model also
has a lock for callers that do not use the queue.
"""

from __future__ import annotations

import itertools
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from atlas.admission import Cost
from atlas.engine.loading.load import load
from atlas.engine.loading.rules import ModelRules
from atlas.errors import AtlasError
from atlas.scheduler import Scheduler
from atlas.single_flight import SingleFlight
from atlas.tracing.conversation import messages_of

if TYPE_CHECKING:
    from atlas.engine.model import Model
    from atlas.trace import Trace
    from atlas.tracing.corpus import Corpus
    from atlas.tracing.listed import TextList
    from atlas.tracing.spans import Span

KEPT_MODELS = 3
"""Models cached in addition to those in use: a class compares two or three, and a large one takes gigabytes. The cached traces
belong to no more models than that, because a trace keeps its model alive."""

KEPT_TRACES = 16
"""Traces cached for a reload, a shared link or the back button: a few steps of history for a few readers."""

KEPT_BYTES = 2 << 30
"""Bytes of cached traces, because one trace of 2,048 tokens may take hundreds of megabytes."""

IN_MEMORY = "in memory"
"""The ending of the names of models that a caller handed over."""

PATIENCE = 0.2
"""Seconds between two checks whether a caller that waits for a model was cancelled."""

Request = tuple[str, str | None, str | None, str | None]
"""The key of a model: name, revision, device, dtype."""


class Progress(Protocol):
    """Receives the progress of a run. `tell` raises where the run was cancelled; `note` never does."""

    def tell(self, stage: str, message: str, share: float = ...) -> None:
        """Report progress of work for one caller."""

    def note(self, stage: str, message: str, share: float = ...) -> None:
        """Report progress of work for which several callers wait."""


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
    """Whether a target that the model generates is generated under the interventions."""
    spans: tuple[Span, ...] = ()
    chat: bool = False
    """Whether the text is a conversation; the run then ends where the model's answer begins."""


@dataclass
class Shelf:
    """A cache of the newest traces, bounded by their number, their bytes, and the number of their models."""

    most: int = KEPT_TRACES
    most_bytes: int = KEPT_BYTES
    most_models: int = KEPT_MODELS
    kept: OrderedDict[Run, Trace] = field(default_factory=OrderedDict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def get(self, key: Run) -> Trace | None:
        """A cached trace, which becomes the newest."""
        with self.lock:
            if key in self.kept:
                self.kept.move_to_end(key)
            return self.kept.get(key)

    def put(self, key: Run, trace: Trace) -> None:
        """Cache a trace and drop the oldest ones beyond the bounds. A trace that alone exceeds the bytes is not cached."""
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
    """Loads models, runs texts and caches traces for all sessions of a server, or for one notebook."""

    def __init__(
        self,
        loader: Callable[..., Model] = load,
        shelf: Shelf | None = None,
        scheduler: Scheduler | None = None,
        rules: ModelRules | None = None,
    ) -> None:
        self.scheduler = scheduler or Scheduler()
        """The queue of the work of all sessions."""
        self.rules = rules
        """What visitors may load; None for who runs the app on their own machine."""
        self.fetches = loader is load
        """Whether models may have to be downloaded; a caller's own loader does what it likes."""
        self._loader = loader
        self._models: SingleFlight = SingleFlight(keep=KEPT_MODELS)
        self._handed_over: dict[str, Model] = {}
        self._locks: dict[int, threading.Lock] = {}
        self._guard = threading.Lock()
        self.shelf = shelf or Shelf()
        self.lenses: dict[str, Path] = {}
        """Name of a model -> file of its tuned lens, from who runs the app."""
        self.corpora: dict[str, Corpus] = {}
        """Name -> opened corpus, from who runs the app."""
        self.texts: TextList | None = None
        """A list of texts for every page, from who runs the app."""
        self.corpus_workers = 0
        """Processes that measure a corpus for a page, from who runs the app; 0: the page's own."""

    def borrow(self, pair: tuple[Any, Any]) -> Model:
        """Make a Model of a model and tokenizer in memory."""
        return self._loader(pair)

    def give(self, model: Model) -> str:
        """Register a model in memory; returns the unique name under which it runs."""
        # The name is made unique, because a tuned model often has its original's name, and models of one class may share one.
        plain = model.name if model.name.endswith(IN_MEMORY) else f"{model.name} {IN_MEMORY}"
        with self._guard:
            names = (plain if number == 1 else f"{plain} ({number})" for number in itertools.count(1))
            name = next(name for name in names if name not in self._handed_over or self._handed_over[name].hf is model.hf)
            self._handed_over[name] = model
        return name

    def was_given(self, name: str) -> bool:
        """Whether a model in memory was registered under this name."""
        return name in self._handed_over

    def has(self, wanted: Request) -> bool:
        """Whether a model is loaded, so that a run need not wait for it."""
        return wanted[0] in self._handed_over or self._models.holds(wanted)

    def model(self, wanted: Request, progress: Progress) -> Model:
        """The model: handed over, cached, or loaded now. Callers that ask while it loads get the same one."""
        name, revision, device, dtype = wanted
        if name in self._handed_over:
            return self._handed_over[name]

        def report(download: Any) -> None:
            share = download.done / download.total if download.total else -1.0
            progress.note("loading", f"Fetching {download.what}", share)

        progress.note("loading", f"Loading {name}")
        how = {"progress": report} | ({} if self.rules is None else {"rules": self.rules})
        return self._models(wanted, lambda: self._with_lens(self._loader(name, revision, device, dtype, **how), name))

    def _with_lens(self, model: Model, name: str) -> Model:
        """Give a model its tuned lens; one that does not fit is a note on every trace, because the model is right without it."""
        path = self.lenses.get(name)
        if path is not None:
            try:
                model.lens(path)
            except AtlasError as error:
                model.notes.append(f"The tuned lens is not offered: {error}")
        return model

    def cost(self, run: Run) -> Cost:
        """What a run takes by its estimates; nothing where its trace is cached, or its model is not there to ask."""
        from atlas.engine.running.capture import DEFAULT_CAPTURE
        from atlas.engine.running.cost import cost_of_text

        model = self._handed_over.get(run.model[0]) or self._models.get(run.model)
        if model is None or self.kept(run) is not None:
            return Cost()
        return cost_of_text(model, run.text, run.pair, run.target, truncate=run.truncate, groups=DEFAULT_CAPTURE)

    def kept(self, run: Run) -> Trace | None:
        """The cached trace of a run, if there is one."""
        return self.shelf.get(run)

    def run(self, run: Run, progress: Progress) -> Trace:
        """The trace of a run: the cached one, or a new one made while no other caller runs the model."""
        found = self.shelf.get(run)
        if found is not None:
            return found
        # `tell` raises if the job was cancelled while it waited, so that it does not load a model.
        progress.tell("loading", f"Loading {run.model[0]}")
        model = self.model(run.model, progress)
        with self._model_lock(model, progress):
            found = self.shelf.get(run)
            if found is not None:  # another caller asked for the same run and was first
                return found
            progress.tell("tracing", f"Running {model.name}", 0.0)
            trace = model.trace(
                None if run.chat else run.text,
                run.pair,
                run.target,
                messages=messages_of(run.text) if run.chat else None,
                answer=run.chat,
                truncate=run.truncate,
                ablate=run.ablate,
                knock_out=run.knock_out,
                regenerate=run.regenerate,
                spans=run.spans,
                progress=lambda done, of: progress.tell("tracing", f"Running {model.name}", done / of),
            )
        if run.model[0] not in self._handed_over:  # a model in memory may change between two runs of one text
            self.shelf.put(run, trace)
        return trace

    def _model_lock(self, model: Model, progress: Progress) -> _CancellableLock:
        with self._guard:
            lock = self._locks.setdefault(id(model.hf), threading.Lock())
        return _CancellableLock(lock, model.name, progress)


@dataclass
class _CancellableLock:
    """Acquires the lock of a model, and checks while it waits whether the caller was cancelled."""

    lock: threading.Lock
    name: str
    progress: Progress

    def __enter__(self) -> None:
        while not self.lock.acquire(timeout=PATIENCE):
            self.progress.tell("tracing", f"Waiting for another run of {self.name}")

    def __exit__(self, *_: object) -> None:
        self.lock.release()


def size_of(trace: Trace) -> int:
    """Bytes of a trace's large arrays: weights or q, k and v, and captured groups, including those captured later."""
    total = 0
    for attention in trace.attentions.values():
        for layer in attention.layers:
            arrays = (layer.weights, layer.query, layer.key, layer.value)
            total += sum(array.nbytes for array in arrays if array is not None)
    return total + sum(array.nbytes for arrays in trace.held_arrays().values() for array in arrays.values())
