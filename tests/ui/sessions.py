"""A server of the app in a process of its own, and readers of it that are no browser: each a session, each doing its own thing.

`python -m tests.ui.sessions SECONDS` does for so long, twice, what test_sessions.py does shortly, and prints what it saw.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
import urllib.request
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from bokeh.client import pull_session
from bokeh.document.events import MessageSentEvent
from bokeh.events import DocumentReady, Tap
from bokeh.model import DataModel
from tornado.ioloop import IOLoop

from tests.engine.families import TEXT
from tests.places import REPO
from tests.soak.server import alive

LAYERS, HEADS = 3, 4
"""Of the tiny model."""

TINY, SLOW, WIDE, LONG = "tiny", "slow", "wide", "long"

WIDE_LAYERS, WIDE_HEADS = 30, 40
"""1,200 heads: dividing them into clusters takes seconds."""

FORWARD = 1.5
"""Seconds the slow model takes: long enough to ask ten times meanwhile whether anybody answers."""

LONG_FORWARD = 10.0
"""Seconds the long model takes."""

LIFETIME = 1_000
"""Milliseconds a session is kept after its reader has gone."""

PATIENCE = 90.0
"""Seconds in which anything a reader asked for has to have come, on a busy machine too."""

LEAST = 2
"""Texts a reader runs, however long the others take: a reader that nobody hears after its first was once taken for one that had
no time for a second."""

WORDS = tuple(dict.fromkeys(TEXT.split()))


# -- the server ----------------------------------------------------------------------------------------------------------


def serve() -> None:
    """Serve until told to end; the first line printed is the address."""
    import panel as pn
    import torch

    from atlas.app import AttentionAtlas, prepare
    from atlas.engine.running.service import Service
    from atlas.state.opening import Opening
    from tests.engine.families import loaded

    apps: weakref.WeakValueDictionary[str, AttentionAtlas] = weakref.WeakValueDictionary()
    large = torch.ones(400, 400)

    def dawdle(*_: Any) -> None:
        until = time.monotonic() + FORWARD
        while time.monotonic() < until:
            large @ large

    def loader(name: str, *_: Any, **__: Any) -> Any:
        if name == WIDE:
            return wide()
        model = loaded("GPT-2")
        if name == SLOW:
            model.hf.register_forward_pre_hook(dawdle)
        if name == LONG:  # holds its model, and no processor that those who are measured beside it would need
            model.hf.register_forward_pre_hook(lambda *_: time.sleep(LONG_FORWARD))
        return model

    service = Service(loader)

    def page() -> Any:
        app = AttentionAtlas(service)
        apps[pn.state.curdoc.session_context.id] = app
        return app.page(Opening(TINY, TEXT))

    prepare()
    server = pn.serve(
        {"app": page}, port=0, show=False, start=False, verbose=False, extra_patterns=handlers(apps),
        check_unused_sessions_milliseconds=LIFETIME // 2, unused_session_lifetime_milliseconds=LIFETIME,
    )  # fmt: skip
    server.start()
    print(f"http://localhost:{server.port}", flush=True)  # noqa: T201  (whoever started it reads this)
    server.io_loop.start()


def wide() -> Any:
    """A model of many heads."""
    import transformers as tr

    from atlas.engine.loading.load import load
    from tests.engine.families import VOCABULARY, tokenizer

    config = tr.GPT2Config(n_layer=WIDE_LAYERS, n_head=WIDE_HEADS, n_embd=4 * WIDE_HEADS, vocab_size=VOCABULARY, n_positions=64)
    return load((tr.GPT2LMHeadModel(config), tokenizer()))


def handlers(apps: Any) -> list[Any]:
    """What can be asked of the server beside the app itself."""
    from tornado.web import RequestHandler

    class Ping(RequestHandler):
        def get(self) -> None:
            self.finish("pong")

    class Sessions(RequestHandler):
        def get(self) -> None:
            self.finish({name: told(app.workspace) for name, app in list(apps.items())})

    class Alive(RequestHandler):
        def get(self) -> None:
            self.finish(alive())

    return [("/ping", Ping), ("/sessions", Sessions), ("/alive", Alive)]


def told(workspace: Any) -> dict[str, Any]:
    """The state of a session in plain values."""
    selection, pipeline = workspace.selection, workspace.pipeline
    return {
        "text": workspace.trace.texts.text if workspace.trace is not None else "",
        "status": pipeline.status,
        "message": pipeline.message,
        "waiting": [lens.waiting for lens in workspace.lenses if lens.busy],
        "error": pipeline.error,
        "heads": sorted([head.layer, head.head] for head in selection.heads),
        "queries": sorted(selection.queries),
        "keys": sorted(selection.keys),
    }


@contextmanager
def running() -> Iterator[Server]:
    """The server as a process."""
    command = [sys.executable, "-c", "from tests.ui.sessions import serve; serve()"]
    process = subprocess.Popen(command, cwd=REPO, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        assert address.startswith("http"), f"the server ended with {process.wait()}, having said {address!r}"
        yield Server(address)
    finally:
        process.terminate()
        process.communicate()  # ends with the process, and closes the pipe it was read from


@dataclass(frozen=True)
class Server:
    """Where it is, and what it can be asked."""

    address: str

    def ask(self, path: str) -> Any:
        """What it says about itself."""
        with urllib.request.urlopen(f"{self.address}/{path}", timeout=PATIENCE) as answer:
            return json.loads(answer.read())

    def ping(self) -> float:
        """Seconds until it answers."""
        begun = time.perf_counter()
        with urllib.request.urlopen(f"{self.address}/ping", timeout=PATIENCE) as answer:
            answer.read()
        return time.perf_counter() - begun

    def state(self, session: str) -> dict[str, Any]:
        """The state of a session."""
        found: dict[str, Any] = self.ask("sessions")[session]
        return found

    def until(self, session: str, reached: Callable[[dict[str, Any]], bool], what: str) -> dict[str, Any]:
        """Wait for a state of a session."""
        end = time.monotonic() + PATIENCE
        while True:
            state = self.state(session)
            if reached(state):
                return state
            assert time.monotonic() < end, f"{what}: still {state}"
            time.sleep(0.05)

    def emptied(self) -> dict[str, Any]:
        """What is alive once the sessions have ended, or at the end of all patience."""
        end = time.monotonic() + PATIENCE
        while True:
            time.sleep(LIFETIME / 1000)
            found: dict[str, Any] = self.ask("alive")
            if not any(found["objects"].values()) or time.monotonic() > end:
                return found


# -- readers -------------------------------------------------------------------------------------------------------------


class Reader:
    """A session without a browser. It tells the server what a page would tell it, and hears what a page would hear."""

    def __init__(self, server: Server, number: int) -> None:
        import panel.models.tabulator  # noqa: F401  (what it pulls is made of classes that have to be known here)

        import atlas.app  # noqa: F401

        self.server, self.number = server, number
        # Left to itself, `pull_session` makes a loop for every session and never closes it.
        self.loop = IOLoop()
        self.session = pull_session(url=f"{server.address}/app", io_loop=self.loop)
        self.id = self.session.id
        self.random = np.random.default_rng(number)
        self._there()
        self.expected: dict[str, Any] = {}

    def _there(self) -> None:
        """Say that the page is there, and take its first cards, which come one by one. `hear` would let go of them."""

        def complete() -> bool:
            return any("aa-card-matrix" in getattr(model, "css_classes", ()) for model in self.session.document.models)

        for event in (DocumentReady(), self._told("History", {"start": ""})):
            self._tell(event)
        late = self.loop.call_later(PATIENCE, self.loop.stop)
        self.session._connection._loop_until(complete)
        self.loop.remove_timeout(late)
        assert complete(), f"cards are missing on the page of {self.number}"

    # -- what a page does --

    def model(self, name: str, css: str = "") -> Any:
        """The model of a component by its class, or of one with a CSS class."""
        return _model(self.session.document, name, css)

    def _tell(self, event: Any) -> None:
        document = self.session.document
        # A model that is named in an event is sent as its id from now on, not as a new model.
        document.models.flush_synced()
        self.session._document_patched(MessageSentEvent(document, "bokeh_event", event))

    def _send(self, event: Any) -> None:
        self._tell(event)
        self.hear()

    def _told(self, name: str, data: dict[str, Any], css: str = "") -> Any:
        from panel.models.esm import DataEvent

        return DataEvent(self.model(name, css), data)

    def _message(self, name: str, data: dict[str, Any], css: str = "") -> None:
        self._send(self._told(name, data, css))

    def hear(self) -> None:
        """Let go of what the server has sent: a page that reads nothing fills the server's memory."""
        self.session.force_roundtrip()

    def run(self, words: list[str], model: str = TINY) -> None:
        """Type a text and press Run."""
        from panel.models.reactive_html import DOMEvent

        text = " ".join(words)
        if model != TINY:
            self.model("TextInput", "aa-other").data.value = model
        self.model("TextAreaInput", "aa-text").data.value = text
        self.hear()
        time.sleep(0.2)  # Panel takes what is typed 50 ms later, and a person is no faster
        click = DOMEvent(self.model("Button", "aa-run"))
        # Panel's own class knows how to read one, not how to write one.
        click.event_values = lambda: {"model": click.model, "node": "click", "data": {}}
        self._send(click)

    def scroll(self, card: str) -> None:
        """Bring the place of a card on screen, which makes the card."""
        self.model("Places").data.seen = [card]
        self.hear()

    def tap(self, layer: int, head: int) -> None:
        """Tap a head on the Map."""
        figure = self.model("figure", "aa-map")
        made = Tap(figure, sx=1, sy=1, x=(head + 0.5) / HEADS, y=(layer + 0.5) / LAYERS)
        # As above: Bokeh writes of a tap where it was only in JavaScript.
        made.event_values = lambda: {"model": figure, "sx": made.sx, "sy": made.sy, "x": made.x, "y": made.y, "modifiers": {}}
        self._send(made)

    def pick(self, positions: list[int]) -> None:
        """Click tokens of the text."""
        self._message("TokenStrip", {"positions": positions, "mode": "replace"}, "aa-strip-source")

    def seen(self) -> list[str]:
        """The tokens on its page, as somebody who looks over its shoulder is sent them.

        Not by its own session: what that pulls a second time it tells the server as news, and nobody hears it from then on.
        """
        beside = pull_session(session_id=self.id, url=f"{self.server.address}/app", io_loop=self.loop)
        try:
            return [row[1] for row in _model(beside.document, "TokenStrip", "aa-strip-source").data.tokens]
        finally:
            beside.close()

    # -- what a reader does --

    def turn(self) -> list[str]:
        """One text, some heads and tokens of it; after each, the session is as this reader left it. The text's words."""
        words = [str(word) for word in self.random.choice(WORDS, 6 + self.number)]
        self.run(words)
        text = " ".join(words)
        self.server.until(
            self.id, lambda state: state["text"] == text and state["status"] == "ready", f"{self.number} ran {text!r}"
        )
        self.expected = self.server.state(self.id)
        for _ in range(2):
            layer, head = int(self.random.integers(LAYERS)), int(self.random.integers(HEADS))
            if self.expected["heads"] != [[layer, head]]:  # a second tap would let go of it
                self.tap(layer, head)
                self._reached(heads=[[layer, head]])
            positions = sorted({int(at) for at in self.random.integers(0, len(words), 2)})
            self.pick(positions)
            self._reached(queries=positions, keys=positions)
            self.hear()
            time.sleep(0.1 * self.random.random())
            assert self.server.state(self.id) == self.expected, f"session {self.number} was changed by somebody else"
        return words

    def _reached(self, **fields: Any) -> None:
        self.expected |= fields
        self.server.until(self.id, lambda state: state == self.expected, f"{self.number} waited for {self.expected}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.session.close()
        self.loop.close(all_fds=True)


def _model(document: Any, name: str, css: str) -> Any:
    found = [model for model in document.models if _is(model, name) and (not css or css in model.css_classes)]
    assert len(found) == 1, f"{len(found)} of {name}.{css} on the page"
    return found[0]


def _is(model: Any, name: str) -> bool:
    """Whether a model is of a class; a component is of that of its data, which is called after it and numbered."""
    if isinstance(model, DataModel):
        return False
    named = model.data if isinstance(getattr(model, "data", None), DataModel) else model
    return type(named).__name__.rstrip("0123456789") == name


@dataclass
class Crowd:
    """Readers side by side, a thread each."""

    server: Server
    count: int
    turns_of: Counter[int] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    threads: list[threading.Thread] = field(default_factory=list)

    @property
    def turns(self) -> int:
        """Texts run by all of them."""
        return self.turns_of.total()

    def begin(self, seconds: float) -> None:
        """Everybody does their own thing for so long."""
        end = time.monotonic() + seconds
        self.threads = [threading.Thread(target=self._read, args=(number, end), daemon=True) for number in range(self.count)]
        for thread in self.threads:
            thread.start()

    def _read(self, number: int, end: float) -> None:
        try:
            with Reader(self.server, number) as reader:
                while self.turns_of[number] < LEAST or time.monotonic() < end:
                    words = reader.turn()
                    self.turns_of[number] += 1
                # Once, at the end: to be sent a whole page again takes the server as long as a turn.
                assert reader.seen() == words, f"the page of {number} shows another text"
        except Exception as problem:  # noqa: BLE001  (of whatever kind: it ends a thread, and the test has to hear of it)
            self.problems.append(f"{number}: {type(problem).__name__}: {problem}")

    def join(self) -> None:
        """Wait until everybody has left."""
        for thread in self.threads:
            thread.join()


def main() -> None:
    """Two rounds of so many seconds, with a browser among the readers."""
    from tests.browser import launch
    from tests.ui.test_sessions import MOST_GROWTH, OTHERS, together

    seconds = float(sys.argv[1])
    with running() as server, launch() as browser:
        pings: list[float] = []
        over = threading.Event()
        watch = threading.Thread(target=_watch, args=(server, pings, over))
        watch.start()
        first, second = (together(browser, server, OTHERS, seconds) for _ in range(2))
        over.set()
        watch.join()
    grown = second["memory"] - first["memory"]
    print(f"alive after the first round: {first['objects']}, after the second: {second['objects']}")  # noqa: T201
    print(f"grown by {grown / 2**20:.0f} MB from round to round (at most {MOST_GROWTH >> 20})")  # noqa: T201
    print(f"pings while ten read: median {1000 * np.median(pings):.0f} ms, worst {1000 * max(pings):.0f} ms")  # noqa: T201


def _watch(server: Server, pings: list[float], over: threading.Event) -> None:
    while not over.wait(0.25):
        pings.append(server.ping())


if __name__ == "__main__":
    main()
