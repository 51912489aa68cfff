"""Two readers who are logged in, on a real server without a browser: neither reaches anything of the other."""

from __future__ import annotations

import http.client
import json
import re
import threading
import urllib.parse
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import panel as pn
import pytest
from bokeh.util.token import generate_secret_key, get_session_id
from panel.tests.util import serve_and_wait

from atlas.app import AttentionAtlas, prepare
from atlas.engine.loading.rules import ModelRules
from atlas.engine.running.service import Service
from atlas.resources import asset
from atlas.state.benchmark import BenchmarkLens
from atlas.state.findings import dumps
from atlas.state.link import State
from atlas.state.opening import Opening
from atlas.state.share import encode
from atlas.views.benchmark import BenchmarkView
from atlas.views.catalog import Tab
from atlas.views.files import files_of
from atlas.views.matrix import MatrixView
from tests.engine import tiny_files

if TYPE_CHECKING:
    from bokeh.document import Document

PASSWORDS = {"ada": "lovelace", "bob": "ross"}

VIEWS = (Tab("overview", "Overview", (MatrixView, BenchmarkView)),)
"""Few, because the page is made five times."""

SECRET = "zyxomma"
"""A word of Ada's that nobody else ever says."""

PATIENCE = 60.0


@dataclass
class Reader:
    """Somebody at a page: their cookies, and what the server has of them."""

    name: str
    port: int
    apps: dict[str, tuple[AttentionAtlas, Document]]
    cookies: dict[str, str] = field(default_factory=dict)
    token: str = ""

    def ask(self, path: str, form: dict[str, str] | None = None, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
        """(status, body) of a page."""
        wanted = http.client.HTTPConnection("localhost", self.port, timeout=PATIENCE)
        cookies = {"Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())} if self.cookies else {}
        body = urllib.parse.urlencode(form) if form else None
        kind = {"Content-Type": "application/x-www-form-urlencoded"} if form else {}
        wanted.request("POST" if form else "GET", path, body, cookies | kind | (headers or {}))
        answer = wanted.getresponse()
        found = answer.read()
        for each in answer.headers.get_all("Set-Cookie") or []:
            name, _, value = each.partition(";")[0].partition("=")
            self.cookies[name] = value
        wanted.close()
        return answer.status, found

    def arrive(self, query: str = "") -> Reader:
        """Log in and open a page."""
        self.ask("/login", {"username": self.name, "password": PASSWORDS[self.name]})
        status, page = self.ask(f"/{query}")
        assert status == 200
        (self.token,) = re.findall(rb'"token":\s*"([^"]+)"', page)[:1]
        self.token = self.token.decode()
        return self

    def handshake(self, token: str) -> int:
        """How the server answers who wants a websocket with a token."""
        wanted = http.client.HTTPConnection("localhost", self.port, timeout=PATIENCE)
        cookies = {"Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())} if self.cookies else {}
        wanted.request("GET", "/ws", headers=upgrade(self.port, token) | cookies)
        status = wanted.getresponse().status
        wanted.close()
        return status

    def run(self, link: str) -> str:
        """Open a link on the page, and how its run ended."""
        ended = threading.Event()

        def opened() -> None:
            pipeline = self.app.workspace.pipeline
            pipeline.param.watch(lambda event: ended.set() if event.new in {"ready", "failed"} else None, "status")
            self.app.shared.open(link)

        self.do(opened)
        assert ended.wait(PATIENCE)
        return str(self.do(lambda: self.app.workspace.pipeline.status))

    @property
    def app(self) -> AttentionAtlas:
        """The app of the newest page."""
        return self.apps[get_session_id(self.token)][0]

    @property
    def document(self) -> Document:
        """All that the newest page shows."""
        return self.apps[get_session_id(self.token)][1]

    def do(self, work: Any) -> Any:
        """Do something in the thread of the server."""
        done: Future[Any] = Future()

        def inside() -> None:
            try:
                done.set_result(work())
            except BaseException as error:  # noqa: BLE001  (handed to the test)
                done.set_exception(error)

        self.document.add_next_tick_callback(inside)
        return done.result(PATIENCE)


def upgrade(port: int, token: str) -> dict[str, str]:
    return {
        "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Origin": f"http://localhost:{port}",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Protocol": f"bokeh, {token}",
    }  # fmt: skip


@pytest.fixture(scope="module")
def readers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Reader, Reader, Reader]]:
    """Ada, Bob, and somebody who is not logged in."""
    prepare()
    apps: dict[str, tuple[AttentionAtlas, Document]] = {}
    folder = tmp_path_factory.mktemp("server")
    users = folder / "users.json"
    users.write_text(json.dumps(PASSWORDS), encoding="utf-8")
    service = Service(rules=ModelRules((folder / "offered",)))
    before = pn.config.cookie_secret

    def page() -> Any:
        app = AttentionAtlas(service, VIEWS)
        apps[pn.state.curdoc.session_context.id] = app, pn.state.curdoc
        return app.page(Opening())

    port = serve_and_wait(
        {"/": page}, basic_auth=str(users), cookie_secret="ours", login_template=str(asset("login.html")), sign_sessions=True,
        secret_key=generate_secret_key(), unused_session_lifetime_milliseconds=10 * 60_000,
    )  # fmt: skip
    ada, bob = (Reader(name, port, apps).arrive() for name in PASSWORDS)
    told = ada.run(encode(State("gpt-mini", text=f"The doctor told {SECRET} that she was late.")).token)
    assert told == "ready"
    ada.do(lambda: furnish(ada.app))
    yield ada, bob, Reader("", port, apps)
    pn.state.kill_all_servers()
    pn.config.cookie_secret = before


def furnish(app: AttentionAtlas) -> None:
    """Everything else that a reader can have on a page."""
    app.tabs.start()
    workspace = app.workspace
    data = json.dumps({"data": {"intrasentence": [{"context": SECRET}]}}).encode()
    workspace.lens(BenchmarkLens).take(f"{SECRET}.json", data)
    workspace.choices_of("counterfactuals").own = SECRET
    view = app.tabs.views["overview"][0]
    made = workspace.findings.pin(workspace, view.key, view.title, view.lens.line, view.export().table)
    workspace.findings.edit(made.key, "title", SECRET)


def shown(reader: Reader) -> str:
    """All that a page holds."""
    return str(reader.do(lambda: json.dumps(reader.document.to_json(), default=str)))


def files(app: AttentionAtlas) -> bytes:
    """What the views export, and the findings as a file."""
    made = [file.data for view in app.tabs.views["overview"] for file in files_of(view, "csv")]
    return b"".join([*made, dumps(app.workspace.findings.found).encode()])


# -- what is Ada's is on Ada's page ------------------------------------------------------------------------------------------


def test_what_a_reader_has_is_on_their_page_and_on_no_other(readers: tuple[Reader, Reader, Reader]) -> None:
    ada, bob, _ = readers
    bob.run(encode(State("gpt-mini", text="The doctor told the nurse that she was late.")).token)
    bob.do(bob.app.tabs.start)
    assert shown(ada).count(SECRET) > 3
    assert len(shown(bob)) > 10_000
    assert SECRET not in shown(bob)
    other = bob.app.workspace
    assert (other.findings.found, other.lens(BenchmarkLens).data, other.choices_of("counterfactuals").own) == ((), None, "")
    assert SECRET.encode() in ada.do(lambda: files(ada.app))
    assert SECRET.encode() not in bob.do(lambda: files(bob.app))


@pytest.mark.parametrize("who", ["another reader", "nobody"])
def test_no_address_gives_the_page_of_another_reader(readers: tuple[Reader, Reader, Reader], who: str) -> None:
    ada, bob, nobody = readers
    other = bob if who == "another reader" else nobody
    session = get_session_id(ada.token)
    keys = [f"bokeh-session-id={session}", f"bokeh-token={ada.token}"]
    asked = [f"{path}{key}" for path in ("/?", "/autoload.js?bokeh-autoload-element=x&", "/metadata?", "/ws?") for key in keys]
    asked += [
        f"/{name}" for name in ("findings", "files", "exports", "downloads", "uploads", "rest/session_info", f"static/{session}")
    ]
    before = dict(ada.apps)
    for path in asked:
        status, page = other.ask(path)
        assert SECRET.encode() not in page, path
        assert status >= 300 or not page.count(session.encode()), path
    assert other.ask("/", headers={"Bokeh-Session-Id": session})[0] in {302, 403}
    assert ada.apps == before, "a page of another one was made"


def test_a_websocket_opens_for_the_reader_whose_page_gave_the_token_alone(readers: tuple[Reader, Reader, Reader]) -> None:
    ada, bob, nobody = readers
    assert ada.handshake(ada.token) == 101
    assert bob.handshake(bob.token) == 101
    for other in (bob, nobody):
        assert other.handshake(ada.token) == 403
    forged = replace(bob, cookies=bob.cookies | {"user": ada.name, "is_guest": "1"})
    assert forged.handshake(ada.token) == 403
    # Ada's browser after somebody else has logged in with it: the page that stayed open is hers.
    after = replace(ada, cookies=dict(bob.cookies))
    assert after.handshake(ada.token) == 403


def test_a_page_that_another_reader_sends_a_link_to_is_their_own(readers: tuple[Reader, Reader, Reader]) -> None:
    ada, bob, _ = readers
    second = replace(bob, cookies={}).arrive(f"?s={ada.app.shared.token}")
    assert second.token != ada.token
    assert second.app.workspace is not ada.app.workspace
    assert second.app.workspace.findings.found == ()
    # The link says the text, so the text is there; whatever else Ada has is not.
    assert second.app.workspace.pipeline.input.text == ada.app.workspace.pipeline.input.text
    second.do(lambda: second.app.selection.select_tokens([1], axis="from", side="source"))
    assert not ada.app.selection.queries


def test_no_reader_reaches_a_folder_outside_the_named_roots(readers: tuple[Reader, Reader, Reader], tmp_path: Path) -> None:
    _, bob, _ = readers
    outside = tiny_files.save(tmp_path / "outside", tiny_files.bert())
    said = set()
    for name in (str(outside), "/etc", "/", f"{outside}/../outside", str(tmp_path / "none")):
        assert bob.run(encode(State(name, text="the doctor said")).token) == "failed"
        error = bob.app.workspace.pipeline.error
        assert error.startswith(repr(name))
        said.add(error.removeprefix(repr(name)))
    assert len(said) == 1, "the words tell whether a path exists"


def test_a_reader_has_one_share_of_the_machine_in_all_their_tabs(readers: tuple[Reader, Reader, Reader]) -> None:
    ada, bob, _ = readers
    second = replace(ada, cookies={}).arrive()
    pipelines = [reader.app.workspace.pipeline for reader in (ada, second, bob)]
    assert [pipeline.session for pipeline in pipelines] == ["ada", "ada", "bob"]
