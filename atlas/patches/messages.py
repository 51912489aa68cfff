"""Panel (1.9) and Bokeh (3.9) take whatever a websocket sends: of any length, any kind of change, malformed or not."""

from __future__ import annotations

import logging
import math
import traceback
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

from bokeh.protocol.exceptions import ProtocolError
from bokeh.server.protocol_handler import ProtocolHandler
from bokeh.util.token import check_token_signature, get_session_id, get_token_payload
from panel.io.server import WSHandler

from atlas.patches.private import private, replace_private

MOST_BYTES = 4 << 20
"""Bytes of a message with all it carries: the longest text in two fields, or a piece of a file. No gesture sends a tenth."""

LONGEST_STRING = 200_000
"""Letters of any text in a message, the same as a text box takes; files come as bytes, in pieces."""

HEADERS, LONGEST_HEADER = frozenset({"_HEADER", "_METADATA", "_BUFFER_HEADER"}), 1_000
"""Parts of a message that Bokeh quotes whole in its log if they are wrong, and their most letters; they have a hundred."""

FROM_PAGES = frozenset({"ModelChanged", "MessageSent", "ColumnDataChanged"})
"""Kinds of changes that a page of ours sends. Others add to the document on the server, without end."""

UNREADABLE = "a message cannot be read"

USER, GUEST = "user", "guest"
"""Panel's cookie of who is logged in, and its name for who need not be."""

SHOWN = 200
"""Letters of a problem that one line of the log quotes."""

log = logging.getLogger(__name__)

READERS = frozenset({"components", "patches"})
"""Folders of ours that read messages and pass them on."""

_OURS = Path(__file__).resolve().parents[1]


def patch_messages() -> None:
    """Patch the websocket once for the process."""
    receive = private(WSHandler, "_receive", "messages")
    if hasattr(receive, "__wrapped__"):
        return
    replace_private(WSHandler, "_receive", _bounded(receive), "messages")
    replace_private(WSHandler, "prepare", _only_with_token(WSHandler.prepare), "messages")
    replace_private(WSHandler, "log_exception", _in_one_line, "messages")
    replace_private(ProtocolHandler, "handle", _handled, "messages")


def _bounded(receive: Callable[..., Any]) -> Callable[..., Any]:
    """Bokeh's own assembly of a message, closed to what is too long or not a page's."""

    @wraps(receive)
    async def received(self: Any, fragment: str | bytes) -> Any:
        if getattr(self, "atlas_refused", False):  # what was on its way when the connection was closed
            return None
        too_much = _too_much(self, fragment)
        if too_much:
            return _refuse(self, too_much)
        try:
            message = await receive(self, fragment)
        except Exception as error:  # noqa: BLE001  (whatever a stranger's JSON makes the reader raise ends the connection)
            return _refuse(self, f"{UNREADABLE} ({type(error).__name__})")
        if message is None:
            return None
        self.atlas_bytes = 0
        problem = problem_of(message.msgtype, message.content)
        return _refuse(self, problem) if problem else message

    return received


def _too_much(handler: Any, fragment: str | bytes) -> str:
    """Why a part of a message is not even read; empty where it is."""
    if handler.receiver is None:
        return "a message came before its session"
    handler.atlas_bytes = getattr(handler, "atlas_bytes", 0) + len(fragment)
    if handler.atlas_bytes > MOST_BYTES:
        return f"a message has more than {MOST_BYTES >> 20} MB"
    part = private(handler.receiver, "_current_consumer", "messages").__name__
    long = part in HEADERS and len(fragment) > LONGEST_HEADER
    return f"the header of a message has {len(fragment):,} letters" if long else ""


def _refuse(handler: Any, problem: str) -> None:
    handler.atlas_refused = True
    private(handler, "_protocol_error", "messages")(problem)


def problem_of(kind: str, content: Any) -> str:
    """Why a message is refused, before anything is made of it; empty where it is not."""
    if kind == "PUSH-DOC":
        return "a page may not replace its document"
    if kind != "PATCH-DOC":
        return ""
    events = content.get("events") if isinstance(content, dict) else None
    if not isinstance(events, list) or not all(isinstance(event, dict) for event in events):
        return UNREADABLE
    strange = [event.get("kind") for event in events if str(event.get("kind")) not in FROM_PAGES]
    if strange:
        return f"a page may not send {shortened(strange[0])}"
    longest = _longest_string(events)
    return f"a text has {longest:,} letters, more than {LONGEST_STRING:,}" if longest > LONGEST_STRING else ""


def _longest_string(content: Any) -> int:
    """Letters of the longest text anywhere in a message, but for those that are bytes of a file in letters."""
    longest, waiting = 0, [content]
    while waiting:
        each = waiting.pop()
        if isinstance(each, str):
            longest = max(longest, len(each))
        elif isinstance(each, dict):
            waiting.extend(each)
            waiting.extend(value for name, value in each.items() if not (name == "data" and each.get("type") == "bytes"))
        elif isinstance(each, list):
            waiting.extend(each)
    return longest


def _only_with_token(prepare: Callable[..., Any]) -> Callable[..., Any]:
    """Refuse a websocket whose token is none of this server's, or that of another user's page, before it is opened."""

    @wraps(prepare)
    async def prepared(self: Any) -> None:
        await prepare(self)
        if not private(self, "_finished", "messages") and not _has_token(self):
            self.set_status(403)
            self.finish()

    return prepared


def _has_token(handler: Any) -> bool:
    asked = handler.request.headers.get("Sec-WebSocket-Protocol", "").split(",")
    application = handler.application
    try:
        token = asked[1].strip()
        get_session_id(token)
        signed = check_token_signature(token, secret_key=application.secret_key, signed=application.sign_sessions)
        return bool(signed) and (not _asks_for_users(application) or _user_of(handler, token) == handler.current_user)
    except (ValueError, LookupError, TypeError, AssertionError, RecursionError):
        return False


def _asks_for_users(application: Any) -> bool:
    """Whether visitors log in."""
    provider = application.auth_provider
    return provider.get_user is not None or provider.get_user_async is not None


def _user_of(handler: Any, token: str) -> str:
    """Who was logged in when a page was made: its token holds the cookies. Bokeh lets whoever knows a token into its session."""
    cookie = get_token_payload(token).get("cookies", {}).get(USER)
    # However old: whether the login still counts is asked of the cookie that came with the websocket.
    user = None if cookie is None else handler.get_signed_cookie(USER, cookie, max_age_days=math.inf)
    return GUEST if user is None else user.decode("utf-8")


async def _handled(self: Any, message: Any, connection: Any) -> Any:
    """Pass a message on to its handler; one that is malformed is one line in the log, a fault of ours keeps its traceback."""
    handler = private(self, "_handlers", "messages").get(message.msgtype)
    if handler is None:
        msg = f"a page may not send {shortened(message.msgtype)}"
        raise ProtocolError(msg)
    try:
        return await handler(message, connection)
    except Exception as error:  # noqa: BLE001  (logged, and the page is told)
        log_problem(error)
        return connection.error(message, type(error).__name__)


def log_problem(error: BaseException) -> None:
    """Log what a message led to: in one line where the message is to blame, with the traceback where we are.

    Panel calls this for errors of its callbacks (`pn.config.exception_handler`).
    """
    if is_ours(error):
        log.error("A message of a page failed in a way that was not foreseen.", exc_info=error)
    else:
        log.warning("A malformed message of a page is left out: %s: %s", type(error).__name__, shortened(error))


def _in_one_line(self: Any, kind: Any, value: Any, where: Any) -> None:
    """Log what ends a websocket: in one line, unless it is a fault of ours."""
    if is_ours(value):
        log.error("A websocket failed in a way that was not foreseen.", exc_info=(kind, value, where))
    else:
        log.warning("A websocket of %s is refused: %s: %s", self.request.remote_ip, kind.__name__, shortened(value))


def is_ours(error: BaseException) -> bool:
    """Whether an error came up in our own code beyond the reading of a message, so that a stranger's message is not to blame."""
    frames = traceback.extract_tb(error.__traceback__)
    inside = [Path(frame.filename).relative_to(_OURS) for frame in frames if Path(frame.filename).is_relative_to(_OURS)]
    return any(path.parts[0] not in READERS for path in inside)


def shortened(value: object) -> str:
    """What is said of a stranger's value: its beginning, on one line, in plain letters."""
    written = ascii(str(value))
    return written if len(written) <= SHOWN else f"{written[:SHOWN]}..."
