"""`atlas serve`: the app on Panel's own server, reachable only from this machine unless another address is given."""

# ruff: noqa: T201 - a command line prints

from __future__ import annotations

import argparse
import errno
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from atlas.cli.logins import authentication
from atlas.cli.serve_options import (
    ABOUT,
    AUTHENTICATION,
    LOOPBACK,
    LOOPBACKS,
    USUAL_PORT,
    add_options,
    for_others,
    lens_file,
    opened_folder,
)
from atlas.cli.study import add_study, opened_study
from atlas.errors import AtlasError

ORPHANED = 1_000
"""Milliseconds after which one of several processes ends when the one that started them was ended."""

PORTS = 50
"""Ports tried after the usual one, because on a shared machine every user may run a server."""

EVERYWHERE = frozenset({"", "0.0.0.0", "::"})  # noqa: S104 - recognised, not bound
"""Addresses that mean all addresses of a machine."""


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
    add_options(parser)
    add_study(parser)


def serve(args: argparse.Namespace, read_text: Callable[[str], str]) -> None:
    """Serve the app until it is stopped."""
    wanted = {name: read_text(getattr(args, name)) for name in ("text", "pair", "target") if getattr(args, name)}
    who = authentication(args)
    lenses = dict(map(lens_file, args.lens))
    corpora = opened_corpora(args.corpus)
    saved = opened_trace(args)
    study = opened_study(args)
    texts = opened_texts(args.texts)
    from tornado.process import task_id

    from atlas.app import TITLE, prepare
    from atlas.jobs import listed_models
    from atlas.patches.garbage import settle
    from atlas.serving import (
        corpus_workers_of,
        draw_ahead,
        guard_pages,
        limits_of,
        opening_with,
        rules_of,
        run_ahead,
        session,
        shared_service,
    )
    from atlas.state.library import examples
    from atlas.state.opening import Opening, opening

    prepare()
    service = shared_service()
    service.lenses.update(lenses)
    service.corpora.update(corpora)
    service.texts = texts
    service.corpus_workers = corpus_workers_of(args.corpus_workers)
    folder = opened_folder(args.model)
    guard_pages(args.embed, secure=args.secure_cookies)
    service.rules = rules_of(args.models, args.hub, args.hub_quota, folder, always=for_others(args))
    limits = limits_of(args.work_at_once, args.work_memory, args.work_seconds, args.visitor_share, always=for_others(args))
    service.scheduler.limit(limits.divided(args.processes))
    first = opening(listed_models(), examples(), args.model if folder is None else str(folder), **wanted)
    if saved is not None:
        first = Opening()
    elif texts is not None and not wanted:
        first = opening_with(first, texts.texts[0])
    settle()
    # A lambda, because Panel would show a partial as text. Where there are several processes, all that follows is done in each.
    server = listening(lambda: session(first, study, saved), TITLE, args, who)
    number = task_id()
    if number in {None, 0}:
        tell(args, server.port, server.prefix, guarded=bool(who))
    if args.warm:
        work = partial(run_ahead, first) if saved is None else lambda: saved, draw_ahead, server.io_loop
        threading.Thread(target=warm_start, args=work, name="warm start", daemon=True).start()
    run(server, show=number in {None, 0} and (has_screen() if args.open is None else args.open))


def opened_trace(args: argparse.Namespace) -> Any:
    """The saved trace that every page begins with; None: there is none."""
    if not args.trace:
        return None
    if args.model or args.text or args.pair or args.target:
        msg = "--trace shows a run that was made; leave out --model, --text, --pair and --target, which ask for another one."
        raise AtlasError(msg)
    from atlas.trace import Trace
    from atlas.tracing.opening import open_saved

    found = open_saved(args.trace)
    if not isinstance(found, Trace):
        msg = f"{args.trace} holds a corpus, not a trace of one text; --corpus opens it."
        raise AtlasError(msg)
    return found


def opened_texts(path: str | None) -> Any:
    """The list of texts that every page offers; None: there is none. Rows that cannot be used are named in the terminal."""
    if not path:
        return None
    from atlas.state.inputs import LONGEST_TEXT
    from atlas.tracing.listed import open_list

    found = open_list(path, LONGEST_TEXT)
    if not found.texts:
        msg = f"{path} holds no text that can be used."
        raise AtlasError(msg)
    for row, reason in found.bad:
        print(f"note: {path}: row {row:,} {reason}", file=sys.stderr, flush=True)
    return found


def opened_corpora(folders: list[str]) -> dict[str, Any]:
    """The corpora in some folders, by name."""
    if not folders:
        return {}
    from atlas.cli.drift import opened
    from atlas.state.corpora import named

    return named(opened(each) for folder in folders for each in stores_in(folder))


def stores_in(folder: str) -> list[str]:
    """The folder, or where it holds none itself, the corpora right below it: those of checkpoints."""
    from atlas.tracing.corpus import is_corpus
    from atlas.tracing.over_time import in_steps

    if "://" in folder or is_corpus(folder) or not Path(folder).is_dir():
        return [folder]
    return in_steps([str(each) for each in sorted(Path(folder).iterdir()) if each.is_dir() and is_corpus(each)]) or [folder]


def listening(page: Callable[[], Any], title: str, args: argparse.Namespace, who: dict[str, Any]) -> Any:
    """Panel's server, bound to its port and not yet running."""
    from bokeh.util.token import generate_secret_key
    from panel.io.server import get_server

    from atlas.http_api import Door, key_of, routes
    from atlas.patches.messages import MOST_BYTES
    from atlas.serving import shared_service

    port = free_port(args.address, args.port)
    options = {name: value for name in ("prefix", "use_xheaders") if (value := getattr(args, name))}
    names = [*origins(args.address, port), *args.allow_websocket_origin]
    # Signed, so that nobody can make up a session; whoever runs several servers as one gives them one key.
    options |= {"sign_sessions": True, "secret_key": os.environ.get("BOKEH_SECRET_KEY") or generate_secret_key()}
    options |= {"websocket_max_message_size": MOST_BYTES, "http_server_kwargs": {"max_body_size": MOST_BYTES}}
    if args.api:
        options["extra_patterns"] = routes(Door(shared_service(), tuple(names), key_of(guarded=bool(who))))
    if args.processes > 1:
        # They divide the connections of one port; a page whose socket comes to another process is made there again.
        options["num_procs"] = args.processes
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
    if args.address not in LOOPBACKS and not guarded:
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
    from tornado.ioloop import PeriodicCallback
    from tornado.process import task_id

    from atlas.patches.garbage import search_seldom

    search_seldom()
    loop = server.io_loop
    for stopping in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stopping, lambda *_: loop.asyncio_loop.call_soon_threadsafe(loop.stop))
    if task_id() is not None:
        parent = os.getppid()
        PeriodicCallback(lambda: None if os.getppid() == parent else loop.stop(), ORPHANED).start()
    if show:
        loop.add_callback(server.show, server.prefix + "/")
    server.start()
    loop.start()
    print("Stopped.", flush=True)
    leave()


def leave() -> None:
    """End the process immediately, because a thread inside a model cannot be interrupted, and Ctrl-C should not wait for it."""
    from atlas.state.session_folder import remove_all

    remove_all()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
