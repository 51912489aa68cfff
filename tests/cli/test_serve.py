"""`atlas serve`: who reaches it, where it listens, how it ends; on real servers in processes of their own."""

from __future__ import annotations

import argparse
import asyncio
import http.client
import http.cookiejar
import importlib
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email.message import Message
from pathlib import Path

import pytest
from bokeh.client import ClientSession
from bokeh.document.events import MessageSentEvent
from bokeh.model import DataModel
from bokeh.util.token import generate_jwt_token, generate_session_id, get_session_id
from tornado.httpclient import HTTPRequest
from tornado.ioloop import IOLoop
from tornado.websocket import WebSocketClosedError, websocket_connect

import atlas
from atlas import serving
from atlas.app import prepare
from atlas.cli import DONE, FAILED, USAGE, build_parser, main
from atlas.cli.logins import authentication
from atlas.cli.serve import free_port, opened_texts, opened_trace, origins, tell, warm_start
from atlas.cli.serve_options import LOOPBACK, USUAL_PORT, for_others
from atlas.components.text_rows import TextRows
from atlas.components.token_strip import TokenStrip
from atlas.errors import AtlasError
from atlas.patches.attempts import FREE
from atlas.state.opening import Opening
from atlas.tracing.listed import ListedText
from atlas.views.text_lists import LISTED
from tests.engine.tiny_files import bert, save
from tests.offline import Offline, offline
from tests.places import REPO

ALSO_HERE = "127.0.0.2"
"""Another address of this machine that needs no network: a server of 127.0.0.1 alone does not answer there."""


@dataclass
class Running:
    """A server in a process of its own."""

    process: subprocess.Popen[str]
    said: list[str]
    url: str
    world: Offline
    log: Path

    def errors(self) -> list[str]:
        """The lines of its standard error so far."""
        return self.log.read_text(encoding="utf-8").splitlines()

    @property
    def port(self) -> int:
        return int(urllib.parse.urlsplit(self.url).port or 0)

    def stop(self, how: int = signal.SIGINT) -> tuple[int, str, str]:
        """Ask it to end; (exit code, the rest it printed, its errors)."""
        self.process.send_signal(how)
        out, _ = self.process.communicate(timeout=20)
        return self.process.returncode, out, "\n".join(self.errors())


@contextmanager
def served(folder: Path, *arguments: str) -> Iterator[Running]:
    """Run `atlas serve` on a machine without a network, and wait for its address."""
    world = offline(folder, REPO)
    log = folder / "errors.txt"
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "atlas", "serve", *arguments], cwd=folder, env=world.environment, text=True,
            stdout=subprocess.PIPE, stderr=errors,
        )  # fmt: skip
    try:
        said: list[str] = []
        assert process.stdout is not None
        while not said or "http://" not in said[-1]:
            line = process.stdout.readline()
            assert line, log.read_text(encoding="utf-8")
            said.append(line)
        yield Running(process, said, re.findall(r"http://\S+", said[-1])[0], world, log)
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save(tmp_path_factory.mktemp("model"), bert()))


@pytest.fixture(scope="module")
def usual(model: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server with nothing said about where, on a machine on which the usual port is taken."""
    with socket.socket() as other:
        if not answers(LOOPBACK, USUAL_PORT):  # somebody else's server takes it as well
            other.bind((LOOPBACK, USUAL_PORT))
            other.listen()
        with served(tmp_path_factory.mktemp("usual"), "--model", model, "--text", "the doctor said", "--no-open") as running:
            yield running


@pytest.fixture(scope="module")
def guarded(model: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server for every address, behind a login."""
    folder = tmp_path_factory.mktemp("guarded")
    users = folder / "users.json"
    users.write_text(json.dumps({"ada": "lovelace"}), encoding="utf-8")
    arguments = ("--model", model, "--text", "she", "--port", "0", "--address", "0.0.0.0", "--basic-auth", str(users))
    with served(folder, *arguments, "--no-open", "--no-warm") as running:
        yield running


def fetch(url: str, browser: urllib.request.OpenerDirector | None = None, **form: str) -> tuple[int, str, str]:
    """(status, where it ended, page)."""
    data = urllib.parse.urlencode(form).encode() if form else None
    try:
        with (browser or urllib.request.build_opener()).open(url, data, timeout=60) as answer:
            return answer.status, answer.url, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, url, error.read().decode()


def answers(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(5)
        return probe.connect_ex((host, port)) == 0


# -- where -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["run.nc", "run.zarr"])
def test_every_page_begins_with_the_saved_trace(name: str, model: str, tmp_path: Path) -> None:
    prepare()
    trace = atlas.load(model).trace("the cat ran away")
    trace.save(tmp_path / name)
    saved = opened_trace(build_parser().parse_args(["serve", "--trace", str(tmp_path / name)]))
    for _ in range(2):
        (strip, *_) = serving.session(Opening(), saved=saved).select(TokenStrip)
        assert [token["text"] for token in strip.tokens] == trace.tokens()["token"].tolist()


def test_every_page_offers_the_texts_of_the_operator_and_none_changes_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare()
    path = tmp_path / "posts.csv"
    path.write_text("text,label\nthe cat ran,a\n,b\nthe dog ran,c\n", encoding="utf-8")
    found = opened_texts(build_parser().parse_args(["serve", "--texts", str(path)]).texts)
    assert "row 2 is empty" in capsys.readouterr().err
    monkeypatch.setattr(serving.shared_service(), "texts", found)
    pages = [serving.session(Opening()) for _ in range(2)]
    lists = [next(rows for rows in page.select(TextRows) if rows.label == LISTED) for page in pages]
    assert [[row.text for row in rows.rows] for rows in lists] == [["the cat ran", "the dog ran"]] * 2
    (upload, *_) = pages[0].select(lambda each: "aa-texts-file" in getattr(each, "css_classes", ()))
    upload.param.update(filename="mine.txt", value=b"my own\n")
    assert [[row.text for row in rows.rows] for rows in lists] == [["my own"], ["the cat ran", "the dog ran"]]
    assert serving.shared_service().texts == found
    path.write_text("text\n", encoding="utf-8")
    with pytest.raises(AtlasError, match="holds no text"):
        opened_texts(str(path))


def test_a_page_begins_with_the_first_text_of_the_operator() -> None:
    text = ListedText(1, "the third of March", "", "3 March")
    for model, target in (("gpt-mini", ""), ("t5-mini", "3 March")):
        first = serving.opening_with(Opening(model, "an example"), text)
        assert (first.model, first.text, first.target) == (model, text.text, target)


def test_it_answers_on_this_machine_alone(usual: Running) -> None:
    assert urllib.parse.urlsplit(usual.url).hostname == LOOPBACK
    status, _, page = fetch(usual.url)
    assert (status, "<title>Attention Atlas</title>" in page) == (200, True)
    others = {ALSO_HERE, *socket.gethostbyname_ex(socket.gethostname())[2]} - {LOOPBACK}
    assert [address for address in others if answers(address, usual.port)] == []


def test_all_addresses_are_served_when_asked_for(guarded: Running) -> None:
    """The counterpart of the test before: the other address can be reached where somebody serves it."""
    assert answers(ALSO_HERE, guarded.port)


def test_the_next_port_is_taken_and_said(usual: Running) -> None:
    assert usual.said[0] == f"Port {USUAL_PORT} is taken.\n"
    assert USUAL_PORT < usual.port < USUAL_PORT + 50


def test_a_page_asks_nobody_beyond_this_machine(usual: Running) -> None:
    links = re.findall(r"""(?:src|href)=["']([^"']+)""", fetch(usual.url)[2])
    assert links
    assert [link for link in links if "://" in link and LOOPBACK not in link] == []
    assert usual.world.asked() == ""


def test_every_visitor_has_a_page_of_their_own(usual: Running) -> None:
    for known in ("atlas.app", "panel.models.tabulator"):  # the client has to know the components it is sent
        importlib.import_module(known)
    # Not in the first thread, where asyncio makes one more loop to come back to, and nobody closes it.
    with ThreadPoolExecutor(1) as aside:
        pages = aside.submit(visits, usual.url, 2).result()
    assert len(pages) == 2
    assert all(len(page) > 50 for page in pages.values())


def token_of(url: str) -> str:
    """The token of the session that a new page gets."""
    return re.findall(r'"token":\s*"([^"]+)"', fetch(url)[2])[0]


def socket_of(url: str) -> str:
    return f"ws{url.removeprefix('http')}ws"


class Visitor(ClientSession):
    """A session that a page was given; Bokeh's own client makes one up, which this server refuses."""

    def __init__(self, url: str, loop: IOLoop) -> None:
        self._token = token_of(url)
        super().__init__(get_session_id(self._token), websocket_url=socket_of(url), io_loop=loop)
        self.pull()

    @property
    def token(self) -> str:
        return self._token


def visits(url: str, count: int) -> dict[str, set[str]]:
    """The models on the pages of so many visitors who are there at the same time, by session."""
    loop = IOLoop()  # left to itself, a session makes one and never closes it
    sessions = [Visitor(url, loop) for _ in range(count)]
    pages = {session.id: {model.id for model in session.document.models} for session in sessions}
    for session in sessions:
        session.close()
    loop.close(all_fds=True)
    return pages


def test_a_page_of_another_name_gets_no_connection(usual: Running) -> None:
    """What a hostile page in the same browser would try: its own name is not among those that are let in."""

    token = token_of(usual.url)
    assert handshake(usual, "http://evil.example", token) == 403
    assert handshake(usual, usual.url.rstrip("/"), token) == 101
    assert handshake(usual, usual.url.rstrip("/").replace(LOOPBACK, "localhost"), token) == 101


def handshake(server: Running, origin: str, token: str) -> int:
    """How the server answers who wants a websocket."""
    wanted = http.client.HTTPConnection(LOOPBACK, server.port, timeout=30)
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Origin": origin,
               "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Protocol": f"bokeh, {token}"}  # fmt: skip
    wanted.request("GET", "/ws", headers=upgrade)
    answer = wanted.getresponse()
    wanted.close()
    return answer.status


# -- what a stranger tries ---------------------------------------------------------------------------------------------


def test_a_session_cannot_be_chosen_by_whoever_sends_the_link(usual: Running) -> None:
    """Not even one of this server, signed by it: its page would be shared with whoever sent the link."""
    url, mine = usual.url, token_of(usual.url)
    own = get_session_id(mine)
    for query in ("bokeh-session-id=chosen", f"bokeh-session-id={own}", f"bokeh-token={mine}", "bokeh-token=abc", "bokeh-token="):
        assert fetch(f"{url}?{query}")[0] == 403, query
        assert fetch(f"{url}autoload.js?bokeh-autoload-element=x&{query}")[0] == 403, query
    asked = urllib.request.Request(url, headers={"Bokeh-Session-Id": own})
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(asked, timeout=30)
    assert fetch(url)[0] == 200


def test_a_token_that_this_server_did_not_sign_opens_no_websocket(usual: Running) -> None:
    origin, real = usual.url.rstrip("/"), token_of(usual.url)
    body, _, signature = real.partition(".")
    session = generate_session_id(b"another key", signed=True)
    foreign = generate_jwt_token(session, b"another key", signed=True, extra_payload={})
    made_up = [foreign, generate_jwt_token(generate_session_id()), body, f"{body[:-2]}.{signature}", "abc", "", "W10", "bnVsbA"]
    assert [handshake(usual, origin, token) for token in made_up] == [403] * len(made_up)
    assert handshake(usual, origin, real) == 101


def test_no_address_makes_the_server_fail(usual: Running) -> None:
    odd = ["components/..%2f", "components/..%2f..%2fetc", "components/", "components/a/b/c/d", "components/.x/b/c/d",
           "components/atlas.__main__/main/css/x", "components/this/s/css/x", "components/panel/pane/__css__/x",
           "components/panel.widgets/Button/_resources/x", "static/..%2f..%2fetc/passwd", "static/extensions/..%2fpanel/x",
           "static/%ff", "%ff", "?s=%ff", "?s[]=1&s[]=2", "?%00=1", "autoload.js", "metadata", "ws", "login", "logout",
           "autoload.js?bokeh-autoload-element=x&bokeh-app-path=//evil.example&bokeh-absolute-url=%00",
           f"?{'a' * 5000}", f"?s={'v1.' + 'A' * 20_000}"]  # fmt: skip
    failed = {path: status for path in odd if (status := fetch(usual.url + path)[0]) >= 500}
    assert failed == {}
    assert fetch(usual.url)[0] == 200


PATCH = '{"msgid": "1", "msgtype": "PATCH-DOC"}'


@pytest.mark.parametrize(
    ("frames", "problem"),
    [
        (["{}", "{}", "{}"], "No 'msgtype' in header"),
        (['{"a": "' + "x" * 1_000_000 + '"}'], "the header of a message has 1,000,009 letters"),
        (["[", "{}", "{}"], "cannot be read"),
        ([b"binary"], "text fragment|cannot be read|binary fragment"),
        ([PATCH, "{}", "[" * 100_000], "cannot be read"),
        (['{"msgid": "1", "msgtype": "PUSH-DOC"}', "{}", '{"doc": {}}'], "may not replace its document"),
        ([PATCH, "{}", '{"events": 5}'], "cannot be read"),
        ([PATCH, "{}", '{"events": [{"kind": "RootAdded", "model": {}}]}'], "may not send"),
        ([PATCH, "{}", json.dumps({"events": [{"kind": "ModelChanged", "new": "x" * 200_001}]})], "200,001 letters"),
        ([PATCH, "{}", '"' + "x" * (5 << 20) + '"'], ""),
    ],
    ids=["no header", "a long header", "no JSON", "bytes", "deep", "another document", "no events", "a new root", "a long text",
         "5 MB"],
)  # fmt: skip
def test_a_message_that_is_no_pages_ends_its_connection_and_is_one_line_of_the_log(
    frames: list[str | bytes], problem: str, usual: Running
) -> None:
    before = len(usual.errors())
    assert asyncio.run(closed_after(usual, frames))
    said = usual.errors()[before:]
    assert re.search(problem, "\n".join(said)), said
    assert not [line for line in said if "Traceback" in line]
    assert max(map(len, said), default=0) < 500
    assert fetch(usual.url)[0] == 200


def test_malformed_messages_of_components_are_a_line_each_and_end_nothing(usual: Running) -> None:
    """What a page's own components send goes on to them; what is wrong in it must not fill the log with tracebacks."""
    before = len(usual.errors())
    with ThreadPoolExecutor(1) as aside:
        assert aside.submit(odd_messages, usual.url).result() > 5
    said = usual.errors()[before:]
    assert not [line for line in said if "Traceback" in line], said
    assert any("malformed message" in line for line in said)


ODD = (None, 5, "x", ["x"], {"mode": ["x"]}, {"key": {}, "positions": [[]], "mode": "replace"}, {"status": "upload_event"})


def odd_messages(url: str) -> int:
    """Send every component of a page what none of them expects; how many components there are."""
    from panel.models.esm import DataEvent

    loop = IOLoop()
    visitor = Visitor(url, loop)
    components = [model for model in visitor.document.models if isinstance(getattr(model, "data", None), DataModel)]
    visitor.document.models.flush_synced()
    for component in components:
        for data in ODD:
            event = MessageSentEvent(visitor.document, "bokeh_event", DataEvent(component, data))
            visitor._document_patched(event)
    visitor.force_roundtrip()
    visitor.close()
    loop.close(all_fds=True)
    return len(components)


async def closed_after(server: Running, frames: list[str | bytes]) -> bool:
    """Whether the server ends a connection that sends these frames."""
    request = HTTPRequest(socket_of(server.url), headers={"Origin": server.url.rstrip("/")})
    connection = await websocket_connect(request, subprotocols=["bokeh", token_of(server.url)], max_message_size=64 << 20)
    assert await connection.read_message() is not None  # it is open
    for _ in range(2):
        await connection.read_message()
    with suppress(WebSocketClosedError):  # it may not wait for all of it
        for frame in frames:
            await connection.write_message(frame, binary=isinstance(frame, bytes))
    while (await asyncio.wait_for(connection.read_message(), 30)) is not None:
        pass
    connection.close()
    return True


def test_pages_are_framed_by_nobody_else_and_tell_nobody_their_address(usual: Running, guarded: Running) -> None:
    for url in (usual.url, f"http://{LOOPBACK}:{guarded.port}/login"):
        with urllib.request.urlopen(url, timeout=30) as answer:
            assert answer.headers["Content-Security-Policy"] == "frame-ancestors 'self'"
            assert answer.headers["X-Frame-Options"] == "SAMEORIGIN"
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.headers["Referrer-Policy"] == "same-origin"


# -- who ---------------------------------------------------------------------------------------------------------------


def test_a_login_is_asked_for_and_works(guarded: Running) -> None:
    url = f"http://{LOOPBACK}:{guarded.port}/"
    status, at, page = fetch(f"{url}?s=v1.x")
    assert (status, urllib.parse.urlsplit(at).path) == (200, "/login")
    assert "://" not in page, "the login page asks somebody else for something"
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))
    wrong = fetch(f"{url}login", browser, username="ada", password="babbage")
    assert "Invalid username or password" in wrong[2]
    assert urllib.parse.urlsplit(fetch(url, browser)[1]).path == "/login"
    fetch(f"{url}login?next=/?s=v1.x", browser)
    right = fetch(f"{url}login", browser, username="ada", password="lovelace")
    assert (right[1], "Attention Atlas" in right[2]) == (f"{url}?s=v1.x", True)
    assert urllib.parse.urlsplit(fetch(url, browser)[1]).path == "/"


def test_after_some_wrong_passwords_an_address_waits_and_others_do_not(guarded: Running) -> None:
    first = [attempt(guarded, "127.0.0.9", f"guess {n}") for n in range(FREE + 1)]
    assert [status for status, _, _ in first] == [302] * (FREE + 1)
    status, headers, page = attempt(guarded, "127.0.0.9", "one more")
    assert (status, headers["Retry-After"]) == (429, "1")
    assert "Too many wrong passwords. Try again in 1 second." in page
    assert attempt(guarded, "127.0.0.9", "lovelace")[0] == 429  # the right one is not looked at either
    assert attempt(guarded, "127.0.0.8", "lovelace")[0] == 302
    assert any("wrong name or password came from 127.0.0.9" in line for line in guarded.errors())
    assert not any("guess" in line for line in guarded.errors())


def test_the_cookies_of_a_login_are_sent_by_no_other_site(guarded: Running) -> None:
    _, headers, _ = attempt(guarded, "127.0.0.8", "lovelace")
    cookies = headers.get_all("Set-Cookie") or []
    assert {cookie.partition("=")[0] for cookie in cookies} >= {"user", "id_token"}
    assert all("SameSite=Lax" in cookie and "HttpOnly" in cookie for cookie in cookies if cookie.startswith(("user", "id_token")))


def attempt(server: Running, address: str, password: str) -> tuple[int, Message, str]:
    """One login from an address of this machine: status, headers, page."""
    wanted = http.client.HTTPConnection(LOOPBACK, server.port, timeout=30, source_address=(address, 0))
    form = urllib.parse.urlencode({"username": "ada", "password": password})
    wanted.request("POST", "/login", form, {"Content-Type": "application/x-www-form-urlencoded"})
    answer = wanted.getresponse()
    page = answer.read().decode()
    wanted.close()
    return answer.status, answer.headers, page


# -- how it ends: these come last, the servers are gone afterwards ------------------------------------------------------


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "kill"])
def test_it_ends_cleanly_and_at_once(how: int, usual: Running, guarded: Running) -> None:
    running = usual if how == signal.SIGINT else guarded
    code, out, err = running.stop(how)
    assert (code, out) == (DONE, "Stopped.\n")
    assert [line for line in err.splitlines() if "Traceback" in line or line.startswith("note: ")] == []
    assert not answers(LOOPBACK, running.port)


# -- how it begins warm -------------------------------------------------------------------------------------------------


def test_a_warm_start_works_beside_the_pages_and_draws_in_their_thread() -> None:
    loop, seen = IOLoop(make_current=False), []

    def begin() -> str:
        seen.append(("begun", threading.get_ident()))
        return "trace"

    def draw(trace: str) -> None:
        seen.append((trace, threading.get_ident()))
        loop.stop()

    beside = threading.Thread(target=warm_start, args=(begin, draw, loop))
    loop.add_callback(beside.start)
    loop.call_later(30, loop.stop)
    loop.start()
    beside.join()
    loop.close()
    assert seen == [("begun", beside.ident), ("trace", threading.get_ident())]


def test_a_warm_start_that_fails_is_said_and_draws_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    def begin() -> None:
        msg = "There is no such\nmodel."
        raise AtlasError(msg)

    warm_start(begin, lambda _: pytest.fail("drawn"), None)
    assert capsys.readouterr().err == "note: no warm start: There is no such model.\n"


# -- what it is told ---------------------------------------------------------------------------------------------------


def parsed(*arguments: str) -> argparse.Namespace:
    return build_parser().parse_args(["serve", *arguments])


def test_what_is_not_said_is_safe() -> None:
    given = parsed()
    assert (given.address, given.port, given.open, given.warm) == (LOOPBACK, None, None, True)
    assert (given.model, given.text, given.basic_auth, given.oauth_provider) == ("", "", None, None)
    assert authentication(given) == {}


def test_what_is_said_is_read() -> None:
    given = parsed(
        "--model", "gpt2", "--text", "a", "--pair", "b", "--target", "c", "--port", "0", "--address", "::1", "--no-open",
        "--allow-websocket-origin", "a:1", "--allow-websocket-origin", "b", "--no-warm", "--prefix", "atlas", "--use-xheaders",
    )  # fmt: skip
    assert (given.model, given.text, given.pair, given.target, given.port) == ("gpt2", "a", "b", "c", 0)
    assert (given.open, given.warm, given.prefix, given.use_xheaders) == (False, False, "atlas", True)
    assert given.allow_websocket_origin == ["a:1", "b"]


@pytest.mark.parametrize(
    ("arguments", "others"),
    [
        ([], False),
        (["--address", "localhost"], False),
        (["--address", "::1", "--port", "0", "--model", "gpt2"], False),
        (["--address", "0.0.0.0"], True),
        (["--basic-auth", "users.json"], True),
        (["--oauth-provider", "github"], True),
        (["--allow-websocket-origin", "atlas.example.org"], True),
        (["--prefix", "atlas"], True),
        (["--use-xheaders"], True),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_login_a_proxy_or_another_address_means_that_others_come(arguments: list[str], others: bool) -> None:
    assert for_others(parsed(*arguments)) == others


@pytest.mark.parametrize(
    "arguments", [["--port", "x"], ["--port", "70000"], ["--port", "-1"], ["gpt2"], ["--loud"]], ids=" ".join
)
def test_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["serve", *arguments])
    assert left.value.code == USAGE
    assert "usage: atlas" in capsys.readouterr().err


def test_a_browser_may_come_by_the_names_of_the_address_alone() -> None:
    assert origins(LOOPBACK, 7) == ["localhost:7", "127.0.0.1:7"]
    assert origins("192.168.0.5", 7) == ["localhost:7", "127.0.0.1:7", "192.168.0.5:7"]
    assert origins("0.0.0.0", 7) == ["localhost:7", "127.0.0.1:7", f"{socket.gethostname()}:7"]
    assert origins("::1", 7)[-1] == "[::1]:7"


@pytest.mark.parametrize(
    ("address", "guarded", "at", "warns"),
    [
        (LOOPBACK, False, "http://127.0.0.1:7/", False),
        ("::1", False, "http://[::1]:7/", False),
        ("192.168.0.5", False, "http://192.168.0.5:7/", True),
        ("192.168.0.5", True, "http://192.168.0.5:7/", False),
        ("0.0.0.0", False, f"http://{socket.gethostname()}:7/", True),
    ],
)
def test_who_can_reach_it_is_said(address: str, guarded: bool, at: str, warns: bool, capsys: pytest.CaptureFixture[str]) -> None:
    tell(parsed("--address", address), 7, "", guarded=guarded)
    printed = capsys.readouterr()
    assert printed.out == f"Attention Atlas is at {at} (Ctrl-C stops it)\n"
    assert ("everybody who reaches this address can use it; --basic-auth FILE" in printed.err) == warns


def test_panel_is_told_what_its_authentication_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    users = tmp_path / "users.json"
    users.write_text('{"ada": "lovelace"}')
    found = authentication(parsed("--basic-auth", str(users)))
    again = authentication(parsed("--basic-auth", str(users)))
    assert found["basic_auth"] == str(users)
    assert len(found["cookie_secret"]) > 30
    assert found["cookie_secret"] != again["cookie_secret"]
    assert authentication(parsed("--basic-auth", str(users), "--cookie-secret", "mine"))["cookie_secret"] == "mine"
    monkeypatch.setenv("PANEL_OAUTH_SECRET", "from outside")
    oauth = parsed("--oauth-provider", "github", "--oauth-key", "key", "--cookie-secret", "mine")
    assert authentication(oauth) == {
        "oauth_provider": "github", "oauth_key": "key", "oauth_secret": "from outside", "cookie_secret": "mine",
        "oauth_redirect_uri": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--basic-auth", "OUT/none.json"], "cannot be read: No such file"),
        (["--basic-auth", "OUT/list.json"], 'names and passwords as JSON: {"name": "password"}'),
        (["--basic-auth", "OUT/empty.json"], "names and passwords"),
        (["--basic-auth", "OUT/blank.json"], "names and passwords"),
        (["--basic-auth", "OUT/plain.txt"], "names and passwords"),
        (["--basic-auth", "OUT/list.json", "--oauth-provider", "github"], "not both"),
        (["--oauth-provider", "nobody"], "'nobody' is no OAuth provider of Panel; there are auth0, "),
        (["--oauth-provider", "github"], "--oauth-key (or PANEL_OAUTH_KEY) and --oauth-secret (or PANEL_OAUTH_SECRET) and"),
        (["--text", "@OUT/none.txt"], "cannot be read: No such file"),
        (["--trace", "OUT/none.nc"], "none.nc"),
        (["--trace", "OUT/run.nc", "--text", "she"], "leave out --model, --text, --pair and --target"),
    ],
)
def test_errors_are_one_line(arguments: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, content in (("list.json", "[1]"), ("empty.json", "{}"), ("blank.json", '{"ada": ""}'), ("plain.txt", "secret")):
        (tmp_path / name).write_text(content)
    assert main(["serve", *(part.replace("OUT", str(tmp_path)) for part in arguments)]) == FAILED
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("atlas: ")
    assert printed.err.count("\n") == 1
    assert says in printed.err
    assert "secret" not in printed.err.replace("cookie-secret", "").replace("oauth-secret", "")


def test_where_it_cannot_listen_is_one_sentence(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(AtlasError, match=r"Cannot listen on 192\.0\.2\.1 port 0: .* Is it one of this machine's\?$"):
        free_port("192.0.2.1", 0)
    with socket.socket() as other:
        other.bind((LOOPBACK, 0))
        other.listen()
        taken = other.getsockname()[1]
        with pytest.raises(AtlasError, match=rf"^Port {taken} is taken\. Choose another with --port\.$"):
            free_port(LOOPBACK, taken)
        assert free_port(LOOPBACK, 0) not in {0, taken}
        monkeypatch.setattr("atlas.cli.serve.USUAL_PORT", taken)
        assert taken < free_port(LOOPBACK, None) < taken + 50
        monkeypatch.setattr("atlas.cli.serve.PORTS", 1)
        with pytest.raises(AtlasError, match=rf"Port {taken} is taken, and so is every one from {taken}\."):
            free_port(LOOPBACK, None)
    assert capsys.readouterr().out.startswith(f"Port {taken} is taken.\n")


def test_help_says_who_can_reach_it_and_how_to_guard_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    with pytest.raises(SystemExit) as left:
        main(["serve", "--help"])
    assert left.value.code == DONE
    printed = " ".join(capsys.readouterr().out.split())
    needs = [
        "this machine alone (127.0.0.1)",
        "authentication is Panel's own",
        '{"name": "password"}',
        "--basic-auth",
        "--oauth-provider",
        "PANEL_OAUTH_SECRET",
        "--allow-websocket-origin",
        "--no-warm",
        "panel serve apps/atlas_app.py",
    ]
    assert [need for need in needs if need not in printed] == []


def test_help_waits_for_neither_panel_nor_torch() -> None:
    code = (
        "import sys, atlas.cli\ntry: atlas.cli.main(['serve', '--help'])\n"
        "finally: print(sorted({'torch', 'panel'} & set(sys.modules)), file=sys.stderr)"
    )
    helped = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPO, check=False)
    assert (helped.returncode, helped.stderr.strip()) == (0, "[]")
