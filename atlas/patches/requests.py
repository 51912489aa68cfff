"""Panel (1.9) and Bokeh (3.9) let a link choose the session, any site frame the page, and anybody guess passwords without end."""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import wraps
from typing import Any

from bokeh.server.views.auth_request_handler import AuthRequestHandler
from bokeh.server.views.session_handler import SessionHandler
from panel.auth import BasicLoginHandler, LogoutHandler, OAuthLoginHandler
from panel.io.resources import CDN_DIST
from panel.io.server import ComponentResourceHandler
from tornado.web import HTTPError, RequestHandler

from atlas.patches.attempts import Attempts
from atlas.patches.private import private, replace_private

CHOOSES_SESSION = frozenset({"bokeh-session-id", "bokeh-token"})
"""What a page is asked with to show another's session. Whoever sends such a link would read and write the victim's page."""

SESSION_HEADER = "Bokeh-Session-Id"

TOO_MANY = 429

log = logging.getLogger(__name__)


@dataclass
class Guard:
    """What the operator of this process has said about its pages."""

    embed: tuple[str, ...] = ()
    """Sites that may show the app in a frame; `*` for all."""
    secure: bool = False
    """Whether browsers reach it over TLS although this process does not see that."""
    attempts: Attempts = field(default_factory=Attempts)


GUARD = Guard()


def patch_requests() -> None:
    """Patch the handlers of pages once for the process."""
    session = SessionHandler.get_session
    if hasattr(session, "atlas"):
        return
    replace_private(SessionHandler, "get_session", _own_session(session), "requests")
    replace_private(
        ComponentResourceHandler, "parse_url_path", _known_component(ComponentResourceHandler.parse_url_path), "requests"
    )
    replace_private(BasicLoginHandler, "post", _with_patience(BasicLoginHandler.post), "requests")
    replace_private(BasicLoginHandler, "_validate", _counted(private(BasicLoginHandler, "_validate", "requests")), "requests")
    for handler in (AuthRequestHandler, BasicLoginHandler, LogoutHandler, OAuthLoginHandler):
        replace_private(handler, "set_default_headers", _headers, "requests")
        replace_private(handler, "set_cookie", _careful_cookie, "requests")


def _own_session(get_session: Callable[..., Any]) -> Callable[..., Any]:
    """A page always gets a new session, whatever its address or headers ask for."""

    @wraps(get_session)
    async def got(self: Any) -> Any:
        if SESSION_HEADER in self.request.headers or CHOOSES_SESSION & set(self.request.arguments):
            raise HTTPError(403, reason="A session cannot be chosen by its address")
        return await get_session(self)

    got.atlas = True  # type: ignore[attr-defined]  # Bokeh's own function is wrapped already, so that __wrapped__ says nothing
    return got


def _known_component(parse: Callable[..., str]) -> Callable[..., str]:
    """Files of components are those of modules that a page uses; no address may make the server import another module."""

    @wraps(parse)
    def parsed(self: Any, path: str) -> str:
        if path.partition("/")[0] not in sys.modules:
            raise HTTPError(404)
        try:
            return parse(self, path)
        except (ValueError, LookupError, TypeError, AttributeError, OSError) as error:
            raise HTTPError(404) from error

    return parsed


def _headers(self: RequestHandler) -> None:
    """Who may show a page in a frame, and that its address, which may hold a text, is told to no other site."""
    self.set_header("Content-Security-Policy", " ".join(["frame-ancestors 'self'", *GUARD.embed]))
    if not GUARD.embed:
        self.set_header("X-Frame-Options", "SAMEORIGIN")
    self.set_header("X-Content-Type-Options", "nosniff")
    self.set_header("Referrer-Policy", "same-origin")


def _careful_cookie(self: RequestHandler, name: str, value: str | bytes, *place: Any, **how: Any) -> None:
    """A cookie that no other site makes a browser send, and that travels over TLS alone where the page does."""
    secure = GUARD.secure or self.request.protocol == "https"
    # In another site's frame a browser sends none but those that say None, and takes these over TLS only.
    how = {"samesite": "None" if GUARD.embed and secure else "Lax"} | ({"secure": True} if secure else {}) | how
    RequestHandler.set_cookie(self, name, value, *place, **how)


def _counted(validate: Callable[..., bool]) -> Callable[..., bool]:
    """Note whether a password was right."""

    @wraps(validate)
    def validated(self: Any, username: str, password: str) -> bool:
        right = bool(validate(self, username, password))
        address = str(self.request.remote_ip)
        if right:
            GUARD.attempts.right(address)
        else:
            GUARD.attempts.wrong(address)
            log.warning("A wrong name or password came from %s.", address)
        return right

    return validated


def _with_patience(post: Callable[..., Any]) -> Callable[..., Any]:
    """Look at no password before its time."""

    @wraps(post)
    def posted(self: Any) -> Any:
        wait = math.ceil(GUARD.attempts.wait(str(self.request.remote_ip)))
        if wait <= 0:
            return post(self)
        self.set_status(TOO_MANY)
        self.set_header("Retry-After", str(wait))
        said = f"Too many wrong passwords. Try again in {wait} second{'s' if wait > 1 else ''}."
        template, endpoint = (private(self, name, "requests") for name in ("_login_template", "_login_endpoint"))
        self.write(template.render(login_endpoint=endpoint, errormessage=said, PANEL_CDN=CDN_DIST))
        return None

    return posted
