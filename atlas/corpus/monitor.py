"""`atlas.Monitor`: statistics of the heads of a model at work in its user's own process, kept as a corpus is."""

from __future__ import annotations

import contextlib
import copy
import inspect
import re
import threading
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, Any, NamedTuple, Self
from weakref import WeakSet

import numpy as np

from atlas.corpus.account import Account
from atlas.corpus.gate import Gate, Hook, call_of
from atlas.corpus.measure import Loaded
from atlas.corpus.monitored import Monitored
from atlas.engine.loading.load import load
from atlas.engine.model import Model
from atlas.engine.running.context import current
from atlas.engine.running.seen import arguments_of, goes_on, plain_pass, probe_call, seen_texts
from atlas.errors import AtlasError, CorpusError, UnknownName, fault

if TYPE_CHECKING:
    from types import FrameType, TracebackType

    from atlas.tracing.corpus import Corpus

SHARE = 0.02
"""Of the model's time that a monitor takes at most, on average."""

ROWS = 8
"""Texts of a call that are measured at most, drawn by the seed: a batch of hundreds would delay the next call for seconds."""

WRITE_AFTER = 256
"""New texts after which the store is written again, where the budget allows."""

WRITING = 0.5
"""Seconds that writing the store is thought to take, until it was written once."""

CLOCK = 1e-6
"""Seconds that a pass takes at least, for clocks that are coarser."""

LATE = 50
"""Calls that find another thread inside, after which the statistics wait for a quiet moment: a busy server has none by itself."""

PATIENCE = 5.0
"""Seconds that statistics wait for the calls under way."""

NO_QUIET = f"Calls were under way for more than {PATIENCE:g} s, so a sample was left out."

PROBLEMS = 50
"""Different problems that are kept."""

KEPT = ("input_ids", "attention_mask", "position_ids", "token_type_ids", "decoder_input_ids", "decoder_attention_mask", "labels")
"""Arguments of a call that its texts are read from."""

_MONITORED: WeakSet[Any] = WeakSet()
"""The models that have a monitor: two would switch one model's attention under each other's passes."""


@dataclass(slots=True)
class _Turn:
    """One call of the model in one thread."""

    frame: FrameType
    began: float = 0.0
    given: Mapping[str, Any] | None = None
    """The arguments of a call whose turn it is."""
    decoding: bool = False


class _Kept(NamedTuple):
    """The inputs of a call that waits for its statistics."""

    given: dict[str, Any]
    seconds: float
    """That the call itself took."""
    estimate: float


class Monitor:
    """Samples what the heads of a model do while its user works with it.

    with atlas.Monitor((hf_model, tokenizer), every=100, out="in-production") as monitor:
        serve(hf_model)
    print(monitor.account, monitor.problems)

    Every `every`-th call of the model is sampled: its inputs are copied, its result is returned as it is, and the statistics are
    taken when the model is called next, before that call, or at `stop`. The model runs once more for them. A sample that would
    take the monitor's time over its share of the model's is left out and counted. `atlas drift` and the views read the store as
    that of `atlas.corpus.run` over the sampled texts; it holds figures and names of tokens, and no text.

    In `generate` the first pass over the prompt counts as a call; the steps from the cache, which read one token, do not. The
    decoder's side of an encoder-decoder's `generate` gets no text, so such calls are left out and said in `problems`.

    Parameters
    ----------
    model
        `(hf_model, tokenizer)`, or a loaded `Model` whose `hf` is used.
    every
        Calls from one sample to the next.
    out
        The folder of the store; by default `monitor-of-NAME` in the working directory. Monitors of several processes may write
        into one; the figures are those of all of them.
    share
        Of the model's time that the monitor may take, on average.
    rows
        Texts of a call that are measured at most.
    seed
        Draws the rows of larger calls, and nothing else.
    clock
        What the account reads time from. On a GPU, where a call returns before it is computed, the account is on the safe side:
        the model's time is counted short, the monitor's whole.
    """

    def __init__(
        self,
        model: Any,
        every: int = 100,
        out: str | PathLike[str] | None = None,
        *,
        share: float = SHARE,
        rows: int = ROWS,
        seed: int = 0,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        if not isinstance(model, Model | tuple):
            msg = f"A monitor takes (model, tokenizer) in memory, or a Model of atlas.load; not {type(model).__name__}."
            raise UnknownName(msg)
        if every < 1 or rows < 1 or not 0 < share < 1:
            msg = f"every={every} and rows={rows} have to be 1 or more, and share={share} between 0 and 1."
            raise CorpusError(msg)
        self.every, self.rows, self.share = every, rows, share
        self.account = Account(share)
        self.problems: list[str] = []
        """What went wrong in the model's calls, where nothing may be raised; the first one is a warning too."""
        self._given, self._out, self._clock, self._seed = model, out, clock, seed
        self._rng = np.random.default_rng(seed)
        self._hf: Any = model.hf if isinstance(model, Model) else model[0]
        self._model: Model | None = None
        self._store: Monitored | None = None
        self._handles: list[Any] = []
        self._gate = Gate()
        self._lock = threading.Lock()
        """Of the account and of what waits."""
        self._storing = threading.Lock()
        """Of the store: writing takes too long for the other one, which every call needs."""
        self._local = threading.local()
        self._waiting: list[_Kept] = []
        self._due = self._late = 0

    # -- from start to stop ------------------------------------------------------------------------------------------

    def start(self) -> Self:
        """Begin to sample. The model is examined for it, so start while no call is under way."""
        if self._handles or self._hf in _MONITORED:
            msg = "This model has a monitor already; stop that first."
            raise CorpusError(msg)
        given = self._given
        # A tokenizer of its own: setting truncation on a tokenizer makes calls of it in other threads fail.
        if isinstance(given, Model):
            model = copy.copy(given)
            model.tokenizer = copy.deepcopy(model.tokenizer)
        else:
            model = load((self._hf, copy.deepcopy(given[1])))
        try:
            out = self._out if self._out is not None else "monitor-of-" + re.sub(r"[^\w.-]+", "-", model.name)
            settings = {"every": self.every, "rows": self.rows, "share": self.share, "seed": self._seed}
            self._store = Monitored(str(out), Loaded.of(model), settings)
            self._model, self.account, self._waiting = model, Account(self.share, writing=WRITING), []
            self._calibrate(model, self._store)
        except Exception:
            if not isinstance(given, Model):
                model.release()
            raise
        self._signature = inspect.signature(self._hf.forward)
        self._file = type(self._hf)._call_impl.__code__.co_filename  # noqa: SLF001 - where torch calls hooks from
        _MONITORED.add(self._hf)
        self._handles = [
            self._hf.register_forward_pre_hook(Hook(self._before), with_kwargs=True),
            self._hf.register_forward_hook(Hook(self._after), with_kwargs=True, always_call=True),
        ]
        return self

    def stop(self) -> Corpus | None:
        """End: take what waits, write the store and return it; None where nothing was sampled. The model is as it was."""
        if not self._handles:
            return None
        try:
            with self._gate.alone(PATIENCE) as alone:
                if alone:
                    self._take_waiting()
                else:
                    self._lose_waiting()
                for handle in self._handles:
                    handle.remove()
                self._handles = []
            return self.write()
        finally:
            _MONITORED.discard(self._hf)
            if self._model is not None and not isinstance(self._given, Model):
                self._model.release()
            self._model = None

    def write(self) -> Corpus | None:
        """Write what was measured so far and return it; None where nothing was."""
        with self._storing:
            return None if self._store is None or not self._store.texts else self._store.write()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None:
            self.stop()
            return
        try:
            self.stop()
        except Exception as own:  # noqa: BLE001 - the error of the user's own work is the one to be seen
            self._report(own)

    def __repr__(self) -> str:
        return f"<Monitor of every {self.every:,}th call{'' if self._handles else ', stopped'}: {self.account}>"

    def _calibrate(self, model: Model, store: Monitored) -> None:
        """Learn how dear statistics are beside a call, so that the first sample is within the budget too."""
        given = probe_call(model)
        for _ in range(2):  # the first time everything is slow
            began = self._clock()
            plain_pass(model, given)
            between = self._clock()
            store.measured(seen_texts(model, given, 1, self._rng))
            ended = self._clock()
            self.account.ratio = (ended - between) / max(between - began, CLOCK)

    # -- in the model's calls: nothing may be raised -----------------------------------------------------------------

    def _before(self, module: Any, args: tuple[Any, ...], options: dict[str, Any]) -> None:
        if module is not self._hf or self._own_pass():
            return
        began = self._clock()
        try:
            frame = call_of(self._file)
            if self._gate.nested():
                return
            turn = self._local.turn = _Turn(frame)
            try:
                self._take_when_quiet()
                self._look(turn, arguments_of(self._signature, args, options))
            finally:
                self._gate.enter(frame)
                turn.began = self._clock()
                self._charge(turn.began - began)
        except Exception as error:  # noqa: BLE001 - a failure here must not end the user's call; it is reported
            self._report(error)

    def _after(self, module: Any, args: tuple[Any, ...], options: dict[str, Any], output: Any) -> None:  # noqa: ARG002 - torch's signature
        turn: _Turn | None = getattr(self._local, "turn", None)
        if module is not self._hf or turn is None or self._own_pass():
            return
        ended = self._clock()
        try:
            if turn.frame is not call_of(self._file):
                return  # a call within the call
            self._local.turn = None
            self._gate.leave()
            if output is None or not turn.began:
                return  # it failed
            with self._lock:
                self.account.calls += 1
                self.account.decoding += turn.decoding
                self.account.model_seconds += ended - turn.began
            if turn.given is not None:
                self._keep(turn.given, ended - turn.began)
            self._charge(self._clock() - ended)
        except Exception as error:  # noqa: BLE001 - as above
            self._report(error)

    def _look(self, turn: _Turn, given: Mapping[str, Any]) -> None:
        """Whether it is the turn of a call."""
        turn.decoding = goes_on(given)
        if turn.decoding:
            return
        with self._lock:
            self._due += 1
            if self._due % self.every == 0:
                turn.given = given

    def _keep(self, given: Mapping[str, Any], seconds: float) -> None:
        """Copy the inputs of a call, if its statistics are within the budget."""
        ids = given.get("input_ids")
        part = 1.0 if ids is None else min(1.0, self.rows / max(1, len(ids)))
        estimate = self.account.ratio * seconds * part
        with self._lock:
            if not self.account.allows(estimate + sum(kept.estimate for kept in self._waiting)):
                self.account.skipped["budget"] += 1
                return
            # Clones, because the caller may write into its tensors; of other inputs only that they were there.
            copied = {
                name: value.detach().clone() if name in KEPT else True for name, value in given.items() if _is_kept(name, value)
            }
            self._waiting.append(_Kept(copied, seconds * part, estimate))

    def _take_when_quiet(self) -> None:
        """Take the statistics that wait, unless another thread is inside the model."""
        store = self._store
        if self._waiting:
            patient = self._late >= LATE
            with self._gate.alone(PATIENCE if patient else 0.0) as alone:
                # After one long wait the next ones are short again: this is a call of the user's.
                self._late = 0 if alone or patient else self._late + 1
                if alone:
                    self._take_waiting()
        # Several threads may come here at once; one of them writes.
        late = store is not None and store.unwritten >= WRITE_AFTER and not self._storing.locked()
        if late and self.account.allows(self.account.writing):
            began = self._clock()
            self.write()
            self.account.writing = self._clock() - began

    def _take_waiting(self) -> None:
        """The statistics of all calls that wait; this thread is alone in the model."""
        self._local.own = True
        try:
            while self._waiting:
                with self._lock:
                    kept = self._waiting.pop(0)
                began = self._clock()
                try:
                    self._take(kept)
                except AtlasError as error:
                    self._leave_out("unfit", error)
                except Exception as error:  # noqa: BLE001 - as above; the next sample may do
                    self._leave_out("failed", error)
                self.account.measured(self._clock() - began, kept.seconds)
        finally:
            self._local.own = False

    def _take(self, kept: _Kept) -> None:
        assert self._model is not None and self._store is not None  # noqa: PT018 - both are set by start
        texts = seen_texts(self._model, kept.given, self.rows, self._rng)
        with self._storing:
            self._store.add(texts)
        with self._lock:
            self.account.sampled += 1
            self.account.texts += len(texts)

    def _lose_waiting(self) -> None:
        with self._lock:
            count = len(self._waiting)
            self._waiting = []
        for _ in range(count):
            self._leave_out("failed", CorpusError(NO_QUIET))

    def _leave_out(self, why: str, error: Exception) -> None:
        with self._lock:
            self.account.skipped[why] += 1
        self._report(error)

    def _charge(self, seconds: float) -> None:
        with self._lock:
            self.account.own_seconds += seconds

    def _report(self, error: Exception) -> None:
        said = " ".join((str(error) if isinstance(error, AtlasError) else fault(error)).split())
        with self._lock:
            first = not self.problems
            if said not in self.problems and len(self.problems) < PROBLEMS:
                self.problems.append(said)
        if first:
            # Where warnings are errors this one would be raised into the user's call.
            with contextlib.suppress(Warning):
                warnings.warn(f"The monitor reports: {said} More is in its .problems.", stacklevel=2)

    def _own_pass(self) -> bool:
        """Whether Atlas itself runs the model."""
        return getattr(self._local, "own", False) or current() is not None


def _is_kept(name: str, value: Any) -> bool:
    return value is not None and (name in ("encoder_outputs", "inputs_embeds") or (name in KEPT and hasattr(value, "detach")))
