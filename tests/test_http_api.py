"""The HTTP API: its numbers are those of Python, and nobody gets further by it than by a page."""

from __future__ import annotations

import asyncio
import functools
import json
from collections import Counter

import numpy as np
import pytest
from tornado.httpclient import AsyncHTTPClient, HTTPRequest
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application

import atlas
from atlas.admission import Limits
from atlas.attribution import Target, attribute
from atlas.bias import detect
from atlas.engine.loading.rules import ModelRules
from atlas.engine.running.service import Service
from atlas.errors import AtlasError
from atlas.http_answers import LONGEST_TEXT, MOST_HEADS
from atlas.http_api import KEY, MOST_BYTES, MOST_WAITING, Door, key_of, routes
from atlas.patches.attempts import FREE
from atlas.patches.requests import GUARD, TOO_MANY, Attempts
from atlas.scheduler import Scheduler

TEXT = "The old man walked down to the river."
FLAGGED = "Women are too emotional to lead."


@functools.cache
def service():
    return Service(scheduler=Scheduler())


@functools.cache
def model(name):
    return atlas.load(name)


def asked(*calls, key="", names=(), of=None):
    """(status, answer) of some requests to one server: (path, body or None, headers)."""

    async def everything():
        sockets = bind_sockets(0, "127.0.0.1")
        port = sockets[0].getsockname()[1]
        door = Door(of or service(), (f"127.0.0.1:{port}", *names), key)
        server = HTTPServer(Application(routes(door)), max_buffer_size=2 * MOST_BYTES)
        server.add_sockets(sockets)
        client, found = AsyncHTTPClient(), []
        for path, body, headers in calls:
            data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
            request = HTTPRequest(
                f"http://127.0.0.1:{port}/api/{path}", "GET" if body is None else "POST", body=data, request_timeout=120,
                headers={"Content-Type": "application/json", **headers},
            )  # fmt: skip
            answer = await client.fetch(request, raise_error=False)
            found.append((answer.code, json.loads(answer.body)))
        server.stop()
        await server.close_all_connections()
        assert door.waiting == Counter()
        return found

    return asyncio.run(everything())


def one(path, body=None, headers=None, **server):
    (found,) = asked((path, body, headers or {}), **server)
    return found


def test_the_numbers_of_an_analysis_are_those_of_the_trace():
    status, found = one("analyze", {"model": "gpt-mini", "text": TEXT, "weights": ["L1 H4", [0, 2]], "top": 3})
    assert status == 200
    trace = model("gpt-mini").trace(TEXT)
    assert [each["token"] for each in found["tokens"]["source"]] == trace.tokens("source")["token"].tolist()
    heads = trace.heads
    assert len(found["heads"]) == len(heads)
    for name in ("entropy", "previous", "induction", "balance"):
        answered = np.array([np.nan if each[name] is None else each[name] for each in found["heads"]])
        np.testing.assert_allclose(answered, heads[name].to_numpy(float, na_value=np.nan), rtol=1e-4, atol=1e-7)
    assert [(each["layer"], each["head"]) for each in found["weights"]] == [(0, 2), (1, 4)]
    weights = np.array([[np.nan if each is None else each for each in row] for row in found["weights"][1]["weights"]])
    np.testing.assert_allclose(weights, trace.attention("decoder")[1, 4], rtol=1e-4, atol=1e-7)
    expected = trace.predictions(3)
    assert len(found["predictions"]) == len(expected)
    np.testing.assert_allclose(
        [each["probability"] for each in found["predictions"]], expected["probability"], rtol=1e-4, atol=1e-7
    )


def test_the_scores_of_an_explanation_are_those_of_the_method():
    asks = {"model": "gpt-mini", "text": TEXT, "method": "saliency", "position": 4, "outcome": " down"}
    status, found = one("explain", asks)
    assert status == 200
    expected = attribute(model("gpt-mini"), TEXT, Target(4, " down"), "saliency")
    np.testing.assert_allclose([each["score"] for each in found["tokens"]], expected.tokens["score"], rtol=1e-5)
    assert found["target"] == expected.target.words


def test_flagged_words_are_those_of_the_detector():
    status, found = one("flagged", {"model": "gus-mini", "text": FLAGGED, "thresholds": None})
    assert status == 200
    expected = detect(model("gus-mini"), FLAGGED)
    assert len(found["words"]) == len(expected.words)
    for name in expected.words.columns[3:]:
        np.testing.assert_allclose([each[name] for each in found["words"]], expected.words[name], rtol=1e-4, atol=1e-7)
    assert [each["label"] for each in found["spans"]] == expected.spans["label"].tolist()


def test_it_says_that_it_is_there_and_lists_the_models():
    (health, models) = asked(("health", None, {}), ("models", None, {}))
    assert health[1]["status"] == "ok"
    assert {"gpt-mini", "bert-mini", "t5-mini"} <= {each["name"] for each in models[1]["models"]}


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("analyze", b"{", "no JSON"),
        ("analyze", b"[" * 100_000, "no JSON"),
        ("analyze", [], "JSON object"),
        ("analyze", {}, "model is a text"),
        ("analyze", {"model": "gpt-mini"}, "text is a text that is not empty"),
        ("analyze", {"model": "gpt-mini", "text": 5}, "text is a text"),
        ("analyze", {"model": "gpt-mini", "text": TEXT, "x": 1}, "no field 'x'; there are model, text"),
        ("analyze", {"model": "gpt-mini", "text": "a" * (LONGEST_TEXT + 1)}, "letters, and 200,000 are the most"),
        ("analyze", {"model": "gpt-mini", "text": TEXT, "top": 0}, "from 1 to 20"),
        ("analyze", {"model": "gpt-mini", "text": TEXT, "top": True}, "from 1 to 20"),
        ("analyze", {"model": "gpt-mini", "text": TEXT, "truncate": 1}, "true or false"),
        ("analyze", {"model": "gpt-mini", "text": TEXT, "weights": [[0, 1]] * (MOST_HEADS + 1)}, "at most 16 heads"),
        ("analyze", {"model": "gpt-mini", "text": TEXT, "weights": [[1.5, 2]]}, "at most 16 heads"),
        ("analyze", {"model": "gpt-mini", "text": TEXT, "weights": ["L9 H9"]}, "no head L9 H9"),
        ("analyze", {"model": "gpt-mini", "text": TEXT, "weights": [[-1, 0]]}, "does not exist"),
        ("analyze", {"model": "gpt-mini", "text": "word " * 2_000}, "tokens"),
        ("analyze", {"model": "nobody/has-this", "text": TEXT}, "nobody/has-this"),
        ("explain", {"model": "gpt-mini", "text": TEXT, "method": "magic"}, "no method 'magic'; there are"),
        ("explain", {"model": "gpt-mini", "text": TEXT, "position": 99}, "99"),
        ("explain", {"model": "gpt-mini", "text": TEXT, "position": 10**30}, "position"),
        ("flagged", {"model": "gpt-mini", "text": TEXT}, "gpt-mini"),
        ("flagged", {"model": "gus-mini", "text": TEXT, "thresholds": {"STEREO": 2}}, "from 0 to 1"),
    ],
)
def test_what_cannot_be_answered_is_refused_in_words(path, body, said):
    status, found = one(path, body)
    assert status == 400
    assert said in found["error"]


def test_a_page_of_another_site_cannot_ask():
    asks = {"model": "gpt-mini", "text": TEXT}
    assert one("analyze", asks, {"Origin": "https://evil.example"})[0] == 403
    assert one("models", None, {"Host": "evil.example"})[0] == 403  # a name that was pointed to this machine
    assert one("models", None, {"Host": "atlas.example", "Origin": "https://atlas.example"}, names=["atlas.example"])[0] == 200
    assert one("models", None, {"Host": "any.example"}, names=["*"])[0] == 200
    # What a form of another site can send without asking first.
    status, found = one("analyze", asks, {"Content-Type": "text/plain"})
    assert (status, "Content-Type: application/json" in found["error"]) == (400, True)


@pytest.mark.parametrize("key", ["k" * 20, "Schlüssel für die Tür"])
def test_a_server_with_a_key_answers_those_who_show_it(monkeypatch, key):
    monkeypatch.setattr(GUARD, "attempts", Attempts())
    wrong = {"Authorization": "Bearer nonsense"}
    assert one("models", None, {}, key=key)[0] == 401
    header = f"Bearer {key}".encode().decode("latin-1")  # its bytes, as curl sends them
    assert one("models", None, {"Authorization": header}, key=key)[0] == 200
    found = asked(*[("health", None, wrong)] * (FREE + 2), key=key)
    assert [status for status, _ in found] == [401] * (FREE + 1) + [TOO_MANY]
    assert "Too many wrong keys" in found[-1][1]["error"]


def test_behind_a_login_a_key_is_needed_and_a_short_one_is_refused(monkeypatch):
    monkeypatch.delenv(KEY, raising=False)
    assert key_of(guarded=False) == ""
    with pytest.raises(AtlasError, match=KEY):
        key_of(guarded=True)
    monkeypatch.setenv(KEY, "short")
    with pytest.raises(AtlasError, match="5 letters"):
        key_of(guarded=False)
    monkeypatch.setenv(KEY, "k" * 16)
    assert key_of(guarded=True) == "k" * 16


def test_the_operators_rules_hold_here_too(tmp_path):
    ruled = Service(scheduler=Scheduler())
    ruled.rules = ModelRules((), (), None)
    status, found = one("analyze", {"model": str(tmp_path), "text": TEXT}, of=ruled)
    assert status == 400
    assert "models" in found["error"]
    ruled.scheduler.limit(Limits(memory=1))
    status, found = one("analyze", {"model": "gpt-mini", "text": TEXT}, of=ruled)
    assert status == TOO_MANY
    assert "memory" in found["error"]


def test_one_address_has_so_many_requests_at_a_time(monkeypatch):
    monkeypatch.setattr(Door, "let_in", lambda *_: True)

    async def everything():
        sockets = bind_sockets(0, "127.0.0.1")
        port = sockets[0].getsockname()[1]
        door = Door(service(), ())
        door.waiting["127.0.0.1"] = MOST_WAITING
        server = HTTPServer(Application(routes(door)))
        server.add_sockets(sockets)
        request = HTTPRequest(
            f"http://127.0.0.1:{port}/api/analyze", "POST", body=json.dumps({"model": "gpt-mini", "text": TEXT}),
            headers={"Content-Type": "application/json"},
        )  # fmt: skip
        answer = await AsyncHTTPClient().fetch(request, raise_error=False)
        server.stop()
        return answer.code

    assert asyncio.run(everything()) == TOO_MANY
