"""`atlas serve`: the app on Panel's own server, reachable only from this machine unless another address is given."""

# ruff: noqa: T201 - a command line prints

from __future__ import annotations

import argparse
import errno
import json
import os
import secrets
import signal
import socket
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from atlas.errors import AtlasError

LOOPBACK = "127.0.0.1"

USUAL_PORT = 5006
"""Panel's own default port, so that bookmarks work for both servers."""

PORTS = 50
"""Ports tried after the usual one, because on a shared machine every user may run a server."""

EVERYWHERE = frozenset({"", "0.0.0.0", "::"})  # noqa: S104 - recognised, not bound
"""Addresses that mean all addresses of a machine."""

ABOUT = """Open the app in a browser. Every visitor has their own state; models are shared.

It is served to this machine alone (127.0.0.1) unless --address names another. Everybody who reaches the address can load any
model by name and run texts through it, so an address that others can reach should ask for a login."""

AUTHENTICATION = """authentication is Panel's own, with the options and environment variables of `panel serve`:
  atlas serve --address 0.0.0.0 --basic-auth users.json
      users.json holds {"name": "password"}; the login page asks for both
  PANEL_OAUTH_KEY=... PANEL_OAUTH_SECRET=... PANEL_COOKIE_SECRET=... atlas serve --oauth-provider github
      a secret in the environment, unlike one on the command line, is not seen in the list of processes
All else Panel's server can do (TLS, several processes, OAuth in detail): python -m panel serve apps/atlas_app.py
in a checkout, with --setup apps/setup.py to begin warm."""


def add_serve(commands: Any, read_text: Callable[[str], str]) -> None:
    """Add the command and its options; `read_text` turns TEXT, @FILE or - into a text."""
    parser = commands.add_parser(
        "serve",
        help="open the app in a browser",
        description=ABOUT,
        epilog=AUTHENTICATION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=partial(serve, read_text=read_text))
    what = parser.add_argument_group("what it opens with")
    what.add_argument(
        "--model",
        default="",
        metavar="MODEL",
        help="a name of `atlas models`, a folder, or a hub id (default: one that comes with it)",
    )
    what.add_argument(
        "--text",
        default="",
        metavar="TEXT",
        help="the text; @FILE reads a file (UTF-8), - reads standard input (default: an example)",
    )
    what.add_argument("--pair", default="", metavar="TEXT", help="a second segment, for models that take pairs")
    what.add_argument("--target", default="", metavar="TEXT", help="what an encoder-decoder's decoder reads")
    what.add_argument(
        "--lens",
        action="append",
        default=[],
        metavar="MODEL=FILE",
        help="a tuned lens (safetensors) for a model, offered beside the logit lens; may be given several times",
    )
    what.add_argument(
        "--corpus", action="append", default=[], metavar="FOLDER",
        help="a folder of `atlas corpus`, offered in the tab Corpus of its model; may be given several times",
    )  # fmt: skip
    what.add_argument("--no-warm", dest="warm", action="store_false", help="do not load the model before the first visitor comes")
    where = parser.add_argument_group("where")
    where.add_argument(
        "--port", type=port_number, metavar="N", help=f"port, 0 for any (default: {USUAL_PORT}, or the next that is free)"
    )
    where.add_argument(
        "--address",
        default=LOOPBACK,
        metavar="ADDRESS",
        help="address to listen on; 0.0.0.0: all of this machine's (default: %(default)s)",
    )
    where.add_argument("--open", action=argparse.BooleanOptionalAction, help="open a browser (default: where there is a screen)")
    where.add_argument(
        "--allow-websocket-origin",
        action="append",
        default=[],
        metavar="HOST[:PORT]",
        help="a name under which browsers reach this server, such as a proxy's or a machine's; may be given several times",
    )
    where.add_argument("--prefix", metavar="PATH", help="path below which a proxy serves it")
    where.add_argument("--use-xheaders", action="store_true", help="believe the proxy about a visitor's address and protocol")
    who = parser.add_argument_group("who may see it")
    who.add_argument("--basic-auth", type=Path, metavar="FILE", help='users and their passwords, as JSON: {"name": "password"}')
    who.add_argument(
        "--cookie-secret", metavar="SECRET", help="signs the cookie of a login (default with --basic-auth: a new one each start)"
    )
    who.add_argument("--oauth-provider", metavar="NAME", help="github, google, gitlab, azure, okta, auth0, generic ...")
    who.add_argument("--oauth-key", metavar="KEY", help="this app's id at the provider")
    who.add_argument("--oauth-secret", metavar="SECRET", help="this app's secret at the provider")
    who.add_argument("--oauth-redirect-uri", metavar="URL", help="where the provider sends people back to")


def port_number(written: str) -> int:
    """A port, or 0."""
    port = int(written)
    if not 0 <= port < 1 << 16:
        raise ValueError
    return port


port_number.__name__ = "port"  # argparse says "invalid port value: '70000'"


def serve(args: argparse.Namespace, read_text: Callable[[str], str]) -> None:
    """Serve the app until it is stopped."""
    wanted = {name: read_text(getattr(args, name)) for name in ("text", "pair", "target") if getattr(args, name)}
    who = authentication(args)
    lenses = dict(map(lens_file, args.lens))
    corpora = opened_corpora(args.corpus)
    from atlas.app import TITLE, prepare
    from atlas.jobs import listed_models
    from atlas.serving import draw_ahead, run_ahead, session, shared_service
    from atlas.state.library import examples
    from atlas.state.opening import opening

    prepare()
    shared_service().lenses.update(lenses)
    shared_service().corpora.update(corpora)
    first = opening(listed_models(), examples(), args.model, **wanted)
    # A lambda, because Panel would show a partial as text.
    server = listening(lambda: session(first), TITLE, args, who)
    tell(args, server.port, server.prefix, guarded=bool(who))
    if args.warm:
        work = partial(run_ahead, first), draw_ahead, server.io_loop
        threading.Thread(target=warm_start, args=work, name="warm start", daemon=True).start()
    run(server, show=has_screen() if args.open is None else args.open)


def lens_file(written: str) -> tuple[str, Path]:
    """The model and the file of MODEL=FILE."""
    model, given, path = written.rpartition("=")
    if not given or not model or not Path(path).exists():
        msg = f"--lens takes MODEL=FILE, a model and the file or folder of its tuned lens that is there, not {written!r}."
        raise AtlasError(msg)
    return model, Path(path).resolve()


def opened_corpora(folders: list[str]) -> dict[str, Any]:
    """The corpora in some folders, by name."""
    if not folders:
        return {}
    from atlas.cli.drift import opened
    from atlas.state.corpora import named

    return named(map(opened, folders))


def authentication(args: argparse.Namespace) -> dict[str, Any]:
    """The options of Panel's server for logins; every mistake in them is an error of one sentence."""
    if args.basic_auth is None and args.oauth_provider is None:
        return {}
    if args.basic_auth is not None and args.oauth_provider is not None:
        msg = "Either --basic-auth or --oauth-provider can ask visitors who they are, not both."
        raise AtlasError(msg)
    from panel.config import config

    if args.basic_auth is not None:
        from atlas.resources import asset

        return {
            "basic_auth": str(users(args.basic_auth)),
            "cookie_secret": args.cookie_secret or config.cookie_secret or secrets.token_urlsafe(32),
            "login_template": str(asset("login.html")),
        }
    from panel.auth import AUTH_PROVIDERS

    if args.oauth_provider not in AUTH_PROVIDERS:
        msg = f"{args.oauth_provider!r} is no OAuth provider of Panel; there are {', '.join(sorted(AUTH_PROVIDERS))}."
        raise AtlasError(msg)
    needed = {
        "oauth_key": args.oauth_key or config.oauth_key,
        "oauth_secret": args.oauth_secret or config.oauth_secret,
        "cookie_secret": args.cookie_secret or config.cookie_secret,
    }
    missing = [f"--{name.replace('_', '-')} (or PANEL_{name.upper()})" for name, value in needed.items() if not value]
    if missing:
        msg = f"OAuth needs {' and '.join(missing)} too."
        raise AtlasError(msg)
    return {"oauth_provider": args.oauth_provider, **needed, "oauth_redirect_uri": args.oauth_redirect_uri}


def users(path: Path) -> Path:
    """Check the file of users and return its path, because Panel would take the path of a missing file as the password."""
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        msg = f"The file of users {path} cannot be read: {error.strerror or error}."
        raise AtlasError(msg) from error
    except ValueError as error:
        listed = error
    if not isinstance(listed, dict) or not listed or not all(isinstance(word, str) and word for word in listed.values()):
        msg = f'The file of users {path} does not hold names and passwords as JSON: {{"name": "password"}}.'
        raise AtlasError(msg)
    return path.resolve()


def listening(page: Callable[[], Any], title: str, args: argparse.Namespace, who: dict[str, Any]) -> Any:
    """Panel's server, bound to its port and not yet running."""
    from panel.io.server import get_server

    port = free_port(args.address, args.port)
    options = {name: value for name in ("prefix", "use_xheaders") if (value := getattr(args, name))}
    names = [*origins(args.address, port), *args.allow_websocket_origin]
    return get_server({"/": page}, port, args.address, names, title={"/": title}, **options, **who)


def free_port(address: str, wanted: int | None) -> int:
    """The requested port (0: any free one); without a request the usual port, or the next free one after a message."""
    ports = range(USUAL_PORT, USUAL_PORT + PORTS) if wanted is None else [wanted]
    for port in ports:
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # like the server: a port left a minute ago is free
            try:
                probe.bind((address, port))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise _unbound(address, port, error) from error
                if wanted is None:
                    print(f"Port {port} is taken.")
            else:
                return int(probe.getsockname()[1])
    all_of_them = "" if wanted else f", and so is every one from {USUAL_PORT}"
    msg = f"Port {ports[-1]} is taken{all_of_them}. Choose another with --port."
    raise AtlasError(msg)


def _unbound(address: str, port: int, error: OSError) -> AtlasError:
    hint = "Ports below 1024 belong to the system." if isinstance(error, PermissionError) else "Is it one of this machine's?"
    return AtlasError(f"Cannot listen on {address} port {port}: {error.strerror or error}. {hint}")


def origins(address: str, port: int) -> list[str]:
    """The host names from which a browser may connect; a request from any other could come from another site's page."""
    names = ["localhost", LOOPBACK]
    if address != LOOPBACK:
        names += [socket.gethostname()] if address in EVERYWHERE else [f"[{address}]" if ":" in address else address]
    return [f"{name}:{port}" for name in names]


def tell(args: argparse.Namespace, port: int, prefix: str, *, guarded: bool) -> None:
    """Print the address of the app, and a warning if everybody can reach it."""
    host = socket.gethostname() if args.address in EVERYWHERE else args.address
    print(f"Attention Atlas is at http://{f'[{host}]' if ':' in host else host}:{port}{prefix}/ (Ctrl-C stops it)", flush=True)
    if args.address not in {LOOPBACK, "localhost", "::1"} and not guarded:
        note = "note: everybody who reaches this address can use it; --basic-auth FILE asks for a name and a password"
        print(note, file=sys.stderr, flush=True)


def has_screen() -> bool:
    """Whether a browser can be shown: not in a container, not over ssh, and not if the output goes to a program."""
    return sys.stdout.isatty() and (
        sys.platform in {"darwin", "win32"} or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    )


def warm_start(begin: Callable[[], Any], draw: Callable[[Any], None], loop: Any) -> None:
    """Run the text in this thread and draw in the event loop's thread, which must not wait for a model.

    An error of a warm start is only printed, because the page shows the same error to a visitor who opens that model.
    """
    try:
        trace = begin()
    except AtlasError as error:
        print(f"note: no warm start: {' '.join(str(error).split())}", file=sys.stderr, flush=True)
    else:
        loop.add_callback(draw, trace)


def run(server: Any, *, show: bool) -> None:
    """Serve until Ctrl-C or SIGTERM, then end the process."""
    loop = server.io_loop
    for stopping in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stopping, lambda *_: loop.asyncio_loop.call_soon_threadsafe(loop.stop))
    if show:
        loop.add_callback(server.show, server.prefix + "/")
    server.start()
    loop.start()
    print("Stopped.", flush=True)
    leave()


def leave() -> None:
    """End the process immediately, because a thread inside a model cannot be interrupted, and Ctrl-C should not wait for it."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
