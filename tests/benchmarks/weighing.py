"""Every view on a scale, without a browser: what the server works and what it would send, at 1,200 heads and many tokens.

A view is put into a document of Bokeh's as a page has it, and gestures are made; the changes are put into the message that Bokeh
would send. `python -m tests.benchmarks.weighing` prints the whole table, a test takes some of it every day.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import gc
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any
from unittest.mock import patch

import numpy as np
import panel as pn
import torch
import transformers as tr
from bokeh.document import Document
from bokeh.document.events import DocumentChangedEvent, DocumentPatchedEvent
from bokeh.protocol import Protocol
from panel.io.state import set_curdoc, state

from atlas.app import prepare
from atlas.engine.loading.load import load
from atlas.engine.loading.quiet_libraries import quiet_transformers
from atlas.ids import HeadId
from atlas.patches.garbage import THRESHOLDS
from atlas.scheduler import Cancelled, Ticket
from atlas.serving import warm
from atlas.state.asking import Asking
from atlas.state.corpora import Corpora, named
from atlas.state.workspace import Workspace
from atlas.tasks import TASKS
from atlas.trace import Trace
from atlas.tracing import groups
from atlas.views.base import View, after_paint, one_message
from atlas.views.catalog import TABS
from atlas.views.raster import RasterView
from tests.benchmarks.timing import Row
from tests.engine.families import VOCABULARY, tokenizer
from tests.state.readers import never
from tests.tracing.corpora import corpus, values

LAYERS, HEADS = 30, 40
"""1,200 heads: between GPT-2 XL (48 x 25) and Llama-2-13B (40 x 40)."""

NUMBERS = 4
"""Numbers of a head: what is worked out and sent depends on layers, heads and tokens."""

POSITIONS = 640

LIMIT = 300_000
"""Bytes that a gesture may send."""

SCREEN = (1500, 620)
"""Pixels of a plot that fills the width of a large screen."""

OPENING = "women are too emotional to lead and she"
"""Words that a detector flags and that can be exchanged, so that the views of bias have something to show."""

WORDS = ("the", "doctor", "said", "that", "she", "was", "tired", "because", "cat", "ran", "after", "dog", "and", "away", "from")

SECONDS = 6.0
"""Work that a lens asked for is given up after so long: a page shows until then that it waits, and that is weighed."""


BRIEFLY = 2.0
"""Where all views are weighed: most of what takes longer is weighed as the page that waits for it."""

ASKED = 0.1
"""Seconds of asked work that are told of."""

STILL = "[still at work when given up]"


def text(tokens: int, seed: int = 0) -> str:
    """So many words, each of which is a token."""
    known = OPENING.split()
    more = np.random.default_rng(seed).choice(WORDS, max(0, tokens - len(known)))
    return " ".join([*known, *more][:tokens])


def _gpt2(layers: int, heads: int) -> Any:
    return tr.GPT2LMHeadModel(
        tr.GPT2Config(vocab_size=VOCABULARY, n_embd=NUMBERS * heads, n_layer=layers, n_head=heads, n_positions=POSITIONS,
                      bos_token_id=2, eos_token_id=3)
    )  # fmt: skip


def _bert(layers: int, heads: int) -> Any:
    return tr.BertForMaskedLM(
        tr.BertConfig(vocab_size=VOCABULARY, hidden_size=NUMBERS * heads, num_hidden_layers=layers, num_attention_heads=heads,
                      intermediate_size=NUMBERS * heads, max_position_embeddings=POSITIONS, pad_token_id=0)
    )  # fmt: skip


def _t5(layers: int, heads: int) -> Any:
    return tr.T5ForConditionalGeneration(
        tr.T5Config(vocab_size=VOCABULARY, d_model=NUMBERS * heads, d_kv=NUMBERS, d_ff=NUMBERS * heads, num_layers=layers,
                    num_decoder_layers=layers, num_heads=heads, pad_token_id=0, bos_token_id=2, eos_token_id=3,
                    decoder_start_token_id=0)
    )  # fmt: skip


MODELS: dict[str, tuple[Callable[[int, int], Any], bool]] = {"GPT-2": (_gpt2, False), "BERT": (_bert, True), "T5": (_t5, False)}
"""Name -> how to make it, whether its tokenizer adds special tokens."""

CASES = (*((name, tokens) for name in ("GPT-2", "BERT") for tokens in (8, 64, 512)), ("T5", 64))


@functools.cache
def model(name: str, layers: int = LAYERS, heads: int = HEADS) -> Any:
    """A model of so many heads, with random weights large enough that its attention is not flat."""
    make, special = MODELS[name]
    torch.manual_seed(0)
    with quiet_transformers():
        made = make(layers, heads).eval()
    with torch.no_grad():
        for parameter_name, parameter in made.named_parameters():
            if parameter.ndim > 1 and not any(part in parameter_name for part in ("wpe", "position", "relative")):
                parameter.mul_(3.0)
    return load((made, tokenizer(special=special)))


@dataclass(frozen=True, eq=False)
class Case:
    """What views are weighed on."""

    name: str
    trace: Trace
    second: Trace
    """Side B: another text of the same model."""
    corpora: dict[str, Any]


@functools.lru_cache(maxsize=1)
def case(name: str, tokens: int, layers: int = LAYERS, heads: int = HEADS) -> Case:
    """A model on a text of so many words, another text beside it, and two corpora of the model."""
    of = model(name, layers, heads)
    target = {"target": text(tokens // 2, 2)} if name == "T5" else {}
    trace, second = (of.trace(text(tokens, seed), capture=("predictions",), **target) for seed in (0, 1))
    for each in (trace, second):
        groups.prepare(each)
    sizes = tuple((kind, trace.n_layers(kind), trace.n_heads(kind)) for kind in trace.kinds)
    count = sum(layers * heads for _, layers, heads in sizes)
    held = [corpus(values(12, count, seed), kinds=sizes, model=trace.provenance["model"]) for seed in (0, 1)]
    return Case(f"{name} {tokens}", trace, second, named(held))


@dataclass
class Weight:
    """What one gesture costs."""

    gesture: str
    milliseconds: float
    """Of the server's processor, with putting the message together, without what is worked out beside the page."""
    bytes: int
    asked: float
    """Seconds of what lenses asked for, which a page waits for in a thread."""

    @property
    def waited(self) -> str:
        """What was asked for, in words, if it took long."""
        return f" (+{self.asked:.1f} s)" if self.asked >= ASKED else ""


@dataclass
class Weighed:
    """A view on the scale."""

    view: str
    case: str
    weights: list[Weight] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    """Sentences in the place of its plot: its ceilings, and what it cannot show of this text."""
    failed: list[str] = field(default_factory=list)
    """What nobody foresaw: errors, and what is logged."""

    def worst(self, name: str) -> float:
        """The most of any gesture; drawing the view at first is none."""
        return max((float(getattr(weight, name)) for weight in self.weights[1:]), default=0.0)


class _Limited(Ticket):
    """Ends what has been worked out for too long."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds

    def tell(self, stage: str, message: str, share: float = -1.0) -> None:
        self.cancelled = time.monotonic() - self.started > self.seconds
        super().tell(stage, message, share)


class Scale:
    """A document with one view, as a page has it; says what gestures cost."""

    def __init__(self, of: Case, view_type: type[View], seconds: float = SECONDS) -> None:
        self.seconds = seconds
        self.workspace = Workspace(
            never, one_message, after_paint, tasks=TASKS, corpora=Corpora(opened=dict(of.corpora)), at_once=True
        )
        self.document = Document()
        self.found = Weighed(view_type.key, of.name)
        self.asked = 0.0
        self._events: list[DocumentChangedEvent] = []
        self.shown: Any = None
        with self._counting():
            self.workspace.pipeline.choose(str(of.trace.provenance["model"]), in_memory=True)
            self.workspace.pipeline.input.param.update(text=of.trace.texts.text or "")
            self.workspace.pipeline.show(of.trace)
            self.workspace.second.used = True
            self.workspace.second.show(of.second)
        self.reason = view_type.offered(self.workspace)
        self._make = functools.partial(view_type, self.workspace)

    def open(self) -> View:
        """Draw the view for the first time."""
        begun, asked = time.process_time(), self.asked
        with self._counting():
            self.view = self._make()
            self.shown = pn.panel(self.view)
            self.root = self.shown.get_root(self.document)
            if isinstance(self.view, RasterView):
                self.view.size.event(width=SCREEN[0], height=SCREEN[1])
            self.document.add_root(self.root)
            size = len(str(self.document.to_json()))
        spent = time.process_time() - begun - (self.asked - asked)
        self._weigh("open", spent, size, self.asked - asked)
        self.document.on_change(self._events.append)
        # Panel drops changes while no browser is there, and leaves those of foreign threads for later.
        state._connected[self.document], state._thread_id_[self.document] = True, threading.get_ident()
        return self.view

    def make(self, gesture: str, act: Callable[[], object]) -> None:
        """Make a gesture and weigh it."""
        self._events.clear()
        begun, asked = time.process_time(), self.asked
        with self._counting():
            with one_message():
                act()
            size = message_bytes(self._events)
        spent = time.process_time() - begun - (self.asked - asked)
        self._weigh(gesture, spent, size, self.asked - asked)

    def _weigh(self, gesture: str, spent: float, size: int, asked: float) -> None:
        self.found.weights.append(Weight(gesture, 1000 * spent, size, asked))
        for said in (self.view.problem, self.view.faults.note):
            if said and said not in self.found.said:
                self.found.said.append(said)

    def close(self) -> None:
        """Take the plots off the list on which HoloViews keeps them."""
        if self.shown is None:
            return
        for pane in self.shown.select(pn.pane.HoloViews):
            for plot, _ in pane._plots.values():
                plot.cleanup()
        self.shown._cleanup(self.root)
        state._connected.pop(self.document, None)
        self.view.visibility.opened = False

    @contextlib.contextmanager
    def _counting(self) -> Iterator[None]:
        """What lenses ask for is timed apart."""
        own, scale = Asking._at_once, self

        def at_once(asking: Asking, trace: Trace, key: str, made: Callable[[Ticket], Any], otherwise: Any) -> Any:
            begun = time.process_time()
            try:
                return own(asking, trace, key, lambda _: made(_Limited(scale.seconds)), otherwise)
            except Cancelled:
                asking._failed = trace, key
                if STILL not in scale.found.said:
                    scale.found.said.append(STILL)
                return otherwise
            finally:
                scale.asked += time.process_time() - begun

        with patch.object(Asking, "_at_once", at_once), set_curdoc(self.document), logged(self.found.failed):
            yield


@contextlib.contextmanager
def logged(into: list[str]) -> Iterator[None]:
    """What is only logged is found too."""
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: into.append(record.getMessage() + (f" {record.exc_info[1]!r}" if record.exc_info else ""))
    loggers = [logging.getLogger(name) for name in ("", "param", "atlas", "panel", "bokeh")]
    for each in loggers:
        each.addHandler(handler)
    try:
        yield
    finally:
        for each in loggers:
            each.removeHandler(handler)


ZOOMS = {"zoom": (0.3, 0.7), "zoom in": (0.41, 0.45), "zoom out": (0.0, 1.0)}
"""Parts of a raster that the wheel shows, across and down."""

HIDDEN = ("lasso", "token")
"""Gestures that are made once more while the tab of the view is closed."""

VIEWS = {view.key: view for tab in TABS for view in tab.views}
"""All views by their keys."""


def message_bytes(events: Sequence[DocumentChangedEvent]) -> int:
    """Bytes of the message that tells a browser of some changes; 0 where it is told nothing."""
    told = [event for event in events if isinstance(event, DocumentPatchedEvent)]
    if not told:
        return 0
    message = Protocol().create("PATCH-DOC", told)
    frames = (message.header_json, message.metadata_json, message.content_json)
    return sum(len(frame.encode()) for frame in frames) + sum(len(each.to_bytes()) for each in message.buffers)


def gestures(of: Trace) -> dict[str, Callable[[Workspace], None]]:
    """One head, another one, a lasso around a third of all heads, one token, nothing again."""
    kind = of.kinds[0]
    layers, heads = of.n_layers(kind), of.n_heads(kind)
    many = [HeadId(kind, layer, head) for layer in range(layers) for head in range(heads) if head % 3 == 0]
    return {
        "head": lambda space: space.selection.pick(HeadId(kind, layers // 2, 1)),
        "other head": lambda space: space.selection.pick(HeadId(kind, layers - 1, heads - 1)),
        "lasso": lambda space: space.selection.select_heads(many),
        "token": lambda space: space.selection.select_tokens((3,)),
        "other token": lambda space: space.selection.select_tokens((5,)),
        "clear": lambda space: space.selection.clear(),
        **{f"show {other}": lambda space, other=other: space.selection.show_kind(other) for other in of.kinds[1:]},
    }


def weigh(of: Case, view_type: type[View], seconds: float = SECONDS) -> Weighed:
    """Open a view, press its button where it has one, and make all gestures."""
    scale = Scale(of, view_type, seconds)
    if scale.reason:
        scale.found.said.append(f"not offered: {scale.reason}")
        return scale.found
    try:
        view = scale.open()
        scale.make("press", view.lens.begin)
        made = gestures(of.trace)
        for name, act in made.items():
            scale.make(name, functools.partial(act, scale.workspace))
        for name, part in ZOOMS.items() if isinstance(view, RasterView) else ():
            scale.make(name, functools.partial(view._moved, part, part))
        view.visibility.opened = False
        for name in HIDDEN:
            scale.make(f"hidden {name}", functools.partial(made[name], scale.workspace))
    except Exception as error:  # noqa: BLE001  (all views are weighed, and the table says which failed)
        scale.found.failed.append(repr(error))
    finally:
        scale.close()
    return scale.found


def told(found: Weighed) -> str:
    """A row of the table: each gesture with milliseconds and kilobytes, what takes a page longer, and what the view says."""
    if not found.weights:
        return f"| {found.view} | {found.case} | | | {'; '.join((*found.said, *found.failed))} |"
    each = ", ".join(f"{one.gesture} {one.milliseconds:.0f} / {one.bytes / 1000:.0f}{one.waited}" for one in found.weights)
    most = f"{found.worst('milliseconds'):.0f} | {found.worst('bytes') / 1000:.0f}"
    said = "; ".join((*found.said, *(f"FAILED {each}" for each in found.failed)))
    return f"| {found.view} | {found.case} | {most} | {each}{f'; says: {said}' if said else ''} |"


HEADING = "| view | case | most ms | most kB | each gesture: ms / kB (and what is asked for) |\n|---|---|---|---|---|"


def weighed(views: Sequence[str], cases: Sequence[tuple[str, int]], seconds: float = SECONDS) -> Iterator[Weighed]:
    """All views on all cases."""
    for name, tokens in cases:
        of = case(name, tokens)
        gc.collect()
        for key in views:
            yield weigh(of, VIEWS[key], seconds)


def as_a_server() -> None:
    """Do what a server does before it answers: it searches for garbage between gestures, not within one, which takes 0.6 s."""
    prepare()
    warm()
    gc.set_threshold(*THRESHOLDS)


def every_view() -> Row:
    """Every view, at 8, 64 and 512 tokens."""
    as_a_server()
    found = list(weighed(list(VIEWS), CASES, BRIEFLY))
    heaviest = max(found, key=lambda each: each.worst("bytes"))
    slowest = max(found, key=lambda each: each.worst("milliseconds"))
    failed = [each for each in found if each.failed]
    measured = (
        f"{heaviest.worst('bytes') / 1000:.0f} kB ({heaviest.view}, {heaviest.case}); most of the server's processor "
        f"{slowest.worst('milliseconds'):.0f} ms ({slowest.view}, {slowest.case}); {len(failed)} failed"
    )
    figures = {f"{each.view}, {each.case}": asdict(each) for each in found}
    return Row(
        f"a gesture in each of {len(VIEWS)} views, {LAYERS * HEADS:,} heads, 8 to 512 tokens: the most that is sent",
        measured, f"< {LIMIT // 1000} kB, none fails", not failed and heaviest.worst("bytes") < LIMIT, figures,
        "\n".join([HEADING, *map(told, found)]),
    )  # fmt: skip


ROWS = (every_view,)


def main() -> None:
    """Weigh some views, and print each as soon as it is weighed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("views", nargs="*", help="keys of views; none: all")
    parser.add_argument("--cases", default="", help="such as 'GPT-2 64,T5 512'; none: all of the table")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="after which what a lens asked for is given up")
    given = parser.parse_args()
    as_a_server()
    logging.getLogger("transformers").setLevel(logging.ERROR)
    asked = [each.rsplit(" ", 1) for each in given.cases.split(",") if each]
    wanted = [(name, int(tokens)) for name, tokens in asked] or CASES
    print(HEADING)
    for found in weighed(given.views or list(VIEWS), wanted, given.seconds):
        print(told(found), flush=True)


if __name__ == "__main__":
    main()
