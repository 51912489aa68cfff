"""The second side of a comparison: what it is made of beside the trace on screen, and its trace."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar
from weakref import WeakSet

import param

from atlas.state.changes import NO_EDGES, NO_HEADS
from atlas.state.compact import Unusable, pack_heads, shown, unpack_heads
from atlas.state.inputs import LONGEST_TEXT
from atlas.state.pipeline import model_lane
from atlas.state.validate import flag, name, text
from atlas.trace import Trace
from atlas.tracing.two_traces import TwoTraces

if TYPE_CHECKING:
    from atlas.state.lens import Lens
    from atlas.state.link import State
    from atlas.state.pipeline import Job, Pipeline

BUSY = ("loading", "tracing")

CANCELLED = "The run of side B was cancelled. Run it again."

PRECISIONS = ("", "float32", "bfloat16", "float16")

QUOTES = ("text", "pair", "target")
"""Settings that quote a text."""


class SecondSide(param.Parameterized):
    """Side B. What is empty is as on side A, the trace on screen; where it is not used it costs nothing.

    It runs in a pipeline of its own, on the queue of the first. It runs when the reader says so; after a link, and when side A
    changes, once somebody looks.
    """

    settings: ClassVar[tuple[str, ...]] = ("used", "model", "dtype", "text", "pair", "target", "ablated")

    used = param.Boolean(default=False, doc="Whether there is a second side.")
    model = param.String(default="", doc="Name, folder or hub id of its model; empty: that of side A.")
    dtype = param.Selector[str](objects=list(PRECISIONS), default="", doc="Precision; empty: as side A.")
    text = param.String(default="", doc="Its text; empty: the texts of side A.")
    pair = param.String(default="", doc="Its second text; empty: none, or where it has no text of its own that of side A.")
    target = param.String(default="", doc="What its decoder reads; likewise.")
    ablated = param.ClassSelector(class_=frozenset, default=NO_HEADS, doc="Heads that are switched off on this side alone.")

    trace = param.ClassSelector(
        class_=Trace, default=None, doc="The trace of side B; None until it has run for what is on screen."
    )
    busy = param.Boolean(default=False, doc="Whether it is being run.")
    message = param.String(default="", doc="What is happening meanwhile.")
    error = param.String(default="", doc="Why it could not be run.")

    def __init__(
        self,
        first: Pipeline,
        make: Callable[[], Pipeline],
        one_message: Callable[[], AbstractContextManager[Any]] = nullcontext,
        **params: Any,
    ) -> None:
        super().__init__(**params)
        self._first, self._make, self._one_message = first, make, one_message
        self._pipeline: Pipeline | None = None
        self._readers: WeakSet[Lens] = WeakSet()
        self._asked: Job | None = None
        self._two: TwoTraces | None = None

    def values(self) -> dict[str, Any]:
        """The settings that differ from their defaults."""
        return {name: value for name in self.settings if (value := getattr(self, name)) != self.param[name].default}

    def job(self) -> Job | None:
        """What side B is to be made of; None while there is no side A, or nothing is asked for."""
        base = self._first.shown
        if base is None or not self.used:
            return None
        name, revision, device, dtype = base.model
        own = bool(self.model) and self.model != name
        model = (self.model, None, device, self.dtype or None) if own else (name, revision, device, self.dtype or dtype)
        made = replace(base, model=model, spans=(), regenerate=False)
        if self.text:
            made = replace(made, text=self.text, pair=self.pair or None, target=self.target or None, knock_out=(), chat=False)
        kept = () if own else base.ablate
        return replace(made, ablate=tuple(sorted({*kept, *self.ablated})), knock_out=() if own else made.knock_out)

    @property
    def lane(self) -> Hashable:
        """The lane of work that needs the model of side B."""
        return model_lane((self.job() or self._first.job()).model)

    # -- what happens --------------------------------------------------------------------------------------------------

    def put(self, **settings: Any) -> None:
        """Set side B and run it; what is not given is as on side A."""
        given = {name: self.param[name].default for name in self.settings} | {"used": True} | settings
        with self._one_message():
            self.param.update(**given)
            self._catch_up(anew=True)

    def restore(self, settings: Mapping[str, Any]) -> None:
        """Set side B as a link says; it runs once side A is there and somebody looks."""
        self.param.update(**{name: self.param[name].default for name in self.settings} | dict(settings))

    def clear(self) -> None:
        """No second side."""
        self.put(used=False)

    def show(self, trace: Trace) -> None:
        """Show a trace that is there already as side B, whatever the settings."""
        self._asked = self.job()
        self.param.update(trace=trace, busy=False, message="", error="")

    def cancel(self) -> None:
        """Stop the run under way."""
        if self._pipeline is not None:
            self._pipeline.cancel()

    def read_by(self, lens: Lens) -> None:
        """Note a lens that reads side B."""
        self._readers.add(lens)

    def follow(self, *_: object) -> None:
        """Side A or the settings changed, or somebody looks again: run what is out of date, if somebody looks."""
        if any(lens.awake for lens in self._readers):
            self._catch_up()

    def two(self) -> TwoTraces | None:
        """Both sides; None until side B is there."""
        a, b = self._first.trace, self.trace
        if a is None or b is None or self.job() != self._asked:
            return None
        if self._two is None or self._two.a is not a or self._two.b is not b:
            self._two = TwoTraces(a, b)
        return self._two

    def _catch_up(self, *, anew: bool = False) -> None:
        job = self.job()
        if job == self._asked and not anew:
            return
        self._asked = job
        self.cancel()
        self.param.update(trace=None, error="", message="", busy=False)
        if job is None:
            return
        (self._pipeline or self._begin()).run(job)

    def _begin(self) -> Pipeline:
        made = self._pipeline = self._make()
        made.param.watch(self._hear, ["status", "message", "trace"])
        return made

    def _hear(self, *_: object) -> None:
        pipeline = self._pipeline
        assert pipeline is not None
        why = {"failed": pipeline.error, "cancelled": CANCELLED}.get(pipeline.status, "")
        trace = pipeline.trace if pipeline.status == "ready" else None
        with self._one_message():
            self.param.update(trace=trace, busy=pipeline.status in BUSY, message=pipeline.message, error=why)


# -- in a link ---------------------------------------------------------------------------------------------------------


def _long_text(value: Any) -> str:
    return text(value, LONGEST_TEXT)


def _precision(value: Any) -> str:
    if value not in PRECISIONS:
        msg = f"is {shown(value)}, which is none of {', '.join(PRECISIONS[1:])}"
        raise Unusable(msg)
    return str(value)


TAKE: Mapping[str, Callable[[Any], Any]] = {
    "used": flag, "model": name, "dtype": _precision, "text": _long_text, "pair": _long_text, "target": _long_text,
    "ablated": unpack_heads,
}  # fmt: skip


def pack_second(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of side B as a link holds them."""
    return {key: pack_heads(value) if key == "ablated" else value for key, value in settings.items()}


def unpack_second(given: Any) -> tuple[dict[str, Any], list[str]]:
    """The settings again, each used or left out by itself."""
    if not isinstance(given, Mapping):
        msg = "cannot be read"
        raise Unusable(msg)
    found: dict[str, Any] = {}
    said = []
    for key, value in given.items():
        try:
            if key not in TAKE:
                msg = "is not known here"
                raise Unusable(msg)  # noqa: TRY301  (one place says what was left out, whatever the reason)
            found[key] = TAKE[key](value)
        except Unusable as problem:
            said.append(f"The link's second side: {shown(key)} {problem}; it is left out.")
    return found, said


def side_b(state: State) -> State:
    """What side B of a link is made of, as a link of its own; see `SecondSide.job`."""
    given = state.second
    own = bool(given.get("model")) and given["model"] != state.model
    made = replace(state, second={}, spans=(), written=None, dtype=given.get("dtype") or ("" if own else state.dtype))
    if given.get("text"):
        made = replace(made, text=given["text"], pair=given.get("pair", ""), target=given.get("target", ""), cut=NO_EDGES)
    if own:
        made = replace(made, model=given["model"], revision="", ablated=NO_HEADS, cut=NO_EDGES)
    return replace(made, ablated=made.ablated | given.get("ablated", NO_HEADS), regenerate=False)


def without_texts(settings: Mapping[str, Any]) -> dict[str, Any]:
    """For a link that leaves texts out: a second side with a text of its own is nothing without it."""
    return {} if any(settings.get(key) for key in QUOTES) else dict(settings)
