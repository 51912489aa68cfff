"""The HTTP API of `atlas serve --api`: the app's numbers as JSON, by the same rules, in the same queues and limits."""

from __future__ import annotations

import hmac
import json
import math
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from typing import Any
from urllib.parse import urlsplit

from tornado.web import RequestHandler

from atlas.engine.running.service import Service
from atlas.errors import AtlasError, TooMuch
from atlas.http_answers import ANSWERS, Answer, Json, models, refusal
from atlas.patches.requests import GUARD, TOO_MANY
from atlas.scheduler import Cancelled, Task
from atlas.state.lens import sentence
from atlas.state.pipeline import Arrival, model_lane

KEY = "ATLAS_API_KEY"
"""Environment variable: what a request has to show, as `Authorization: Bearer KEY`."""

SHORTEST_KEY = 16
"""Letters of a key: with fewer it could be guessed."""

MOST_BYTES = 4_000_000
"""Of a request: three texts of the most letters in UTF-8 have fewer."""

MOST_WAITING = 16
"""Requests of one address that wait or run; more would only be a queue that nobody sees."""

EVERY_NAME = "*"

NAMED = "Who runs it gives it others with --allow-websocket-origin."

TICK = 0.5
"""Seconds between looks whether who asked has gone."""


@dataclass
class Door:
    """Who may ask."""

    service: Service
    names: tuple[str, ...]
    """Hosts, with their ports, by which this server is reached. A page of another site could else ask in its reader's name."""
    key: str = ""
    waiting: Counter[str] = field(default_factory=Counter)

    def let_in(self, host: str) -> bool:
        """Whether a host is one of this server's names."""
        return EVERY_NAME in self.names or host in self.names


def key_of(*, guarded: bool) -> str:
    """The key that requests have to show; raises where the pages need a login and there is none."""
    key = os.environ.get(KEY, "")
    if guarded and not key:
        msg = (
            f"The pages of this server need a login, so its API needs a key: set {KEY} to a secret of {SHORTEST_KEY} letters or "
            "more."
        )
        raise AtlasError(msg)
    if key and len(key) < SHORTEST_KEY:
        msg = f"{KEY} has {len(key)} letters; a key that cannot be guessed has {SHORTEST_KEY} or more."
        raise AtlasError(msg)
    return key


def routes(door: Door) -> list[tuple[str, type[RequestHandler], dict[str, Any]]]:
    """What Bokeh's server is to listen for beside the pages, below its prefix."""
    given = {"door": door}
    return [("/api/health", Health, given), ("/api/models", Models, given), (f"/api/({'|'.join(ANSWERS)})", Work, given)]


class Handler(RequestHandler):
    """Answers in JSON, to who is let in."""

    def initialize(self, door: Door) -> None:
        """Keep the door."""
        self.door = door

    def check_xsrf_cookie(self) -> None:
        """No cookie lets anybody in here, so none can be misused."""

    def set_default_headers(self) -> None:
        """Nothing of an answer is a page."""
        self.set_header("Content-Type", "application/json")
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Cache-Control", "no-store")

    def prepare(self) -> None:
        """Refuse other sites' pages, and who has not the key."""
        origin = self.request.headers.get("Origin")
        if not self.door.let_in(self.request.host) or (origin is not None and not self.door.let_in(urlsplit(origin).netloc)):
            self.say(
                403, {"error": "This server is not known by that name. Its operator names it with --allow-websocket-origin."}
            )
        elif self.door.key:
            self._ask_for_key()

    def _ask_for_key(self) -> None:
        address = str(self.request.remote_ip)
        wait = math.ceil(GUARD.attempts.wait(address))
        if wait > 0:
            self.set_header("Retry-After", str(wait))
            self.say(TOO_MANY, {"error": f"Too many wrong keys. Try again in {wait} s."})
            return
        # Tornado takes the bytes of a header for Latin-1, whatever they are.
        shown = self.request.headers.get("Authorization", "").removeprefix("Bearer ").encode("latin-1", "replace")
        if hmac.compare_digest(shown, self.door.key.encode()):
            GUARD.attempts.right(address)
            return
        GUARD.attempts.wrong(address)
        self.set_header("WWW-Authenticate", "Bearer")
        self.say(401, {"error": "The header Authorization: Bearer KEY is missing, or its key is wrong."})

    def say(self, status: int, answer: Mapping[str, Any]) -> None:
        """Answer, and no more."""
        self.set_status(status)
        self.finish(json.dumps(answer, ensure_ascii=False, allow_nan=False).encode("utf-8", "backslashreplace"))

    def write_error(self, status_code: int, **_: Any) -> None:
        """Say what Tornado refuses, such as another method, as everything else is said."""
        self.say(status_code, {"error": f"{self._reason}."})


class Health(Handler):
    """Whether the server is there."""

    def get(self) -> None:
        """Say so, and which version it is."""
        self.say(200, {"status": "ok", "version": version("attention-atlas")})


class Models(Handler):
    """Which models can be asked about."""

    def get(self) -> None:
        """List them."""
        self.say(200, models(self.door.service))


class Work(Handler):
    """Runs a text through a model, in the queues of the app."""

    task: Task[Any] | None = None
    gone = False

    async def post(self, name: str) -> None:
        """Answer one request."""
        try:
            answer = ANSWERS[name](self._given(), self.door.service)
        except AtlasError as error:
            self.say(400, refusal(error))
            return
        address = str(self.request.remote_ip)
        if self.door.waiting[address] >= MOST_WAITING:
            self.set_header("Retry-After", "1")
            self.say(TOO_MANY, {"error": f"{MOST_WAITING} requests of this address are being worked on. Wait for one of them."})
            return
        self.door.waiting[address] += 1
        try:
            await self._work(answer, ("api", address))
        finally:
            self.door.waiting[address] -= 1
            self.door.waiting += Counter()  # forget who waits for nothing

    def on_connection_close(self) -> None:
        """Who asked has gone: nobody needs the work."""
        self.gone = True
        if self.task is not None:
            self.task.leave()

    def _given(self) -> Any:
        if self.request.headers.get("Content-Type", "").partition(";")[0].strip().lower() != "application/json":
            # A form of another site's page cannot say that it is JSON.
            msg = "A request is JSON, with the header Content-Type: application/json."
            raise AtlasError(msg)
        if len(self.request.body) > MOST_BYTES:
            msg = f"A request has at most {MOST_BYTES:,} bytes."
            raise AtlasError(msg)
        try:
            return json.loads(self.request.body)
        except (ValueError, RecursionError) as problem:
            msg = "The body is no JSON."
            raise AtlasError(msg) from problem

    async def _work(self, answer: Answer, session: tuple[str, str]) -> None:
        service, run = self.door.service, answer.run
        submit = partial(service.scheduler.submit, lane=model_lane(run.model), session=session)
        load = None if service.has(run.model) else partial(service.model, run.model)
        first = partial(submit, load=load, weigh=partial(service.cost, run))
        try:
            if answer.of_model is not None:
                make = answer.of_model
                made: Json = await self._ended(first(lambda ticket: make(service.model(run.model, ticket), ticket)))
            else:
                assert answer.of_trace is not None
                trace = await self._ended(first(partial(service.run, run)))
                cost = None if answer.cost is None else answer.cost(trace)
                made = await self._ended(submit(partial(answer.of_trace, trace), cost=cost))
        except Cancelled:
            return
        except TooMuch as error:
            self.say(TOO_MANY, refusal(error))
        except AtlasError as error:
            self.say(400, refusal(error))
        except Exception as error:  # noqa: BLE001  (logged by `sentence`, and said in one line)
            self.say(500, {"error": sentence(error)})
        else:
            self.say(200, made)

    async def _ended(self, task: Task[Any]) -> Any:
        """The result of a task, unless who asked has gone."""
        self.task = task
        if self.gone:
            task.leave()
        arrival = Arrival(task.future)
        while not await arrival.within(TICK):
            pass
        if self.gone:
            raise Cancelled
        return task.future.result()
