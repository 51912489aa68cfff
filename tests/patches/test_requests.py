"""Cookies and headers of pages, on handlers without a server; tests/cli/test_serve.py asks a real one."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from panel.auth import BasicLoginHandler
from tornado.httputil import HTTPHeaders, HTTPServerRequest, RequestStartLine
from tornado.web import Application

from atlas.patches.requests import GUARD, patch_requests
from atlas.serving import guard_pages


@pytest.fixture(autouse=True)
def restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    patch_requests()
    for name in ("ATLAS_EMBED", "ATLAS_SECURE_COOKIES"):
        monkeypatch.delenv(name, raising=False)
    before = GUARD.embed, GUARD.secure
    yield
    GUARD.embed, GUARD.secure = before


def handler(protocol: str = "http") -> BasicLoginHandler:
    context = SimpleNamespace(protocol=protocol, remote_ip="192.0.2.1")
    connection = SimpleNamespace(context=context, set_close_callback=lambda _: None)
    line = RequestStartLine("GET", "/login", "HTTP/1.1")
    return BasicLoginHandler(
        Application(cookie_secret="x"),
        HTTPServerRequest(start_line=line, headers=HTTPHeaders({"Host": "x"}), connection=connection),
    )


def cookie(made: BasicLoginHandler) -> str:
    made.set_signed_cookie("user", "ada", httponly=True)
    return made._new_cookie["user"].OutputString()


def test_a_cookie_is_secure_where_the_page_came_over_tls_or_the_operator_says_so(monkeypatch):
    assert "SameSite=Lax" in cookie(handler())
    assert "Secure" not in cookie(handler())
    assert "Secure" in cookie(handler("https"))
    guard_pages(secure=True)
    assert "Secure" in cookie(handler())
    monkeypatch.setenv("ATLAS_SECURE_COOKIES", "1")
    guard_pages()
    assert "Secure" in cookie(handler())
    guard_pages(secure=False)
    assert "Secure" not in cookie(handler())


def test_a_site_may_frame_the_app_where_the_operator_names_it(monkeypatch):
    monkeypatch.setenv("ATLAS_EMBED", "https://a.example https://b.example")
    guard_pages()
    headers = handler("https")._headers
    assert headers["Content-Security-Policy"] == "frame-ancestors 'self' https://a.example https://b.example"
    assert "X-Frame-Options" not in headers
    assert "SameSite=None" in cookie(handler("https"))
    guard_pages([])
    assert handler()._headers["X-Frame-Options"] == "SAMEORIGIN"
    assert "SameSite=Lax" in cookie(handler("https"))
