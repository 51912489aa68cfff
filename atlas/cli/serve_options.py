"""The options of `atlas serve`, and the environment variables that stand for those of an operator."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

from atlas.errors import AtlasError

LOOPBACK = "127.0.0.1"

LOOPBACKS = frozenset({LOOPBACK, "localhost", "::1"})

NO_BOUND = "none"

USUAL_PORT = 5006
"""Panel's own default port, so that bookmarks work for both servers."""

ABOUT = """Open the app in a browser. Every visitor has their own state; models are shared.

It is served to this machine alone (127.0.0.1) unless --address names another. Everybody who reaches the address can run texts
through the models below, so an address that others can reach should ask for a login."""

AUTHENTICATION = """authentication is Panel's own, with the options and environment variables of `panel serve`:
  atlas serve --address 0.0.0.0 --basic-auth users.json
      users.json holds {"name": "password"}; the login page asks for both, and waits longer after every wrong password
  PANEL_OAUTH_KEY=... PANEL_OAUTH_SECRET=... PANEL_COOKIE_SECRET=... atlas serve --oauth-provider github
      a secret in the environment, unlike one on the command line, is not seen in the list of processes
Sessions are signed with BOKEH_SECRET_KEY, or with a key made at every start.
All else Panel's server can do (TLS, OAuth in detail): python -m panel serve apps/atlas_app.py
in a checkout, with --setup apps/setup.py to begin warm; it reads the same ATLAS_... variables."""

FOR_OTHERS = """Who opens the app for themselves (127.0.0.1, no login, no proxy) may load every model and folder. Served to
others, or with any option of this group, visitors choose among the models that come with Atlas, the hub's, and the folders named
here. Each option has an environment variable."""


WORK = """What a visitor runs (a text, attributions, heads switched off, benchmarks, a corpus) is weighed by estimates before it
starts. What does not fit just now waits, and says for what; what never fits is refused where its plot would be, with what it
needs and what is allowed. Visitors take turns, so that nobody's queue holds up anybody else's; who is logged in is one visitor in
all their tabs. Who opens the app for themselves has no bounds but those given here. Each option has an environment variable."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add all options of the command."""
    _add_opening(parser.add_argument_group("what it opens with"))
    _add_place(parser.add_argument_group("where"))
    _add_models(parser.add_argument_group("what visitors may load", FOR_OTHERS))
    _add_work(parser.add_argument_group("how much of the machine visitors may take", WORK))
    _add_login(parser.add_argument_group("who may see it"))


def _add_opening(what: Any) -> None:
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
        "--trace", metavar="FILE",
        help="a saved trace (.nc or .zarr), shown at first instead of a run; its model is not loaded",
    )  # fmt: skip
    what.add_argument(
        "--lens",
        action="append",
        default=[],
        metavar="MODEL=FILE",
        help="a tuned lens (safetensors) for a model, offered beside the logit lens; may be given several times",
    )
    what.add_argument(
        "--corpus", action="append", default=[], metavar="FOLDER",
        help="a folder of `atlas corpus`, or of its --revisions, in the tab Corpus of its model; may be given several times",
    )  # fmt: skip
    what.add_argument(
        "--texts", metavar="FILE",
        help="a file of texts (.csv, .json, .jsonl, .txt, .parquet; columns text, pair, target, label) that every visitor can go "
        "through one after another; the page begins with the first of them",
    )  # fmt: skip
    what.add_argument("--no-warm", dest="warm", action="store_false", help="do not load the model before the first visitor comes")


def _add_place(where: Any) -> None:
    where.add_argument(
        "--port", type=port_number, metavar="N", help=f"port, 0 for any (default: {USUAL_PORT}, or the next that is free)"
    )
    where.add_argument(
        "--address",
        default=LOOPBACK,
        metavar="ADDRESS",
        help="address to listen on; 0.0.0.0: all of this machine's (default: %(default)s)",
    )
    where.add_argument(
        "--processes", type=count, default=1, metavar="N",
        help="processes that serve it, each with its own models and traces; no more than there are processor cores "
        "(default: %(default)s)",
    )  # fmt: skip
    where.add_argument(
        "--api", action="store_true",
        help="answer programs too, in JSON: /api/models, /api/analyze, /api/explain, /api/flagged; with the variable "
        "ATLAS_API_KEY only those that show this key, which a server with a login needs",
    )  # fmt: skip
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
    where.add_argument(
        "--embed",
        action="append",
        metavar="SITE",
        help="a site that may show the app in a frame, such as https://example.org, or *; may be given several times "
        "(ATLAS_EMBED, with spaces; default: none but the app's own)",
    )
    where.add_argument(
        "--secure-cookies",
        action=argparse.BooleanOptionalAction,
        help="browsers reach it over TLS, so send cookies over nothing else (ATLAS_SECURE_COOKIES=1; default: where this server "
        "sees TLS itself, or through --use-xheaders)",
    )


def _add_models(models: Any) -> None:
    models.add_argument(
        "--models",
        action="append",
        type=Path,
        metavar="DIR",
        help="visitors may load the models in folders below DIR; may be given several times (ATLAS_MODELS, as in PATH)",
    )
    models.add_argument(
        "--hub",
        action="append",
        metavar="PATTERN",
        help="hub ids that visitors may load, such as 'google-bert/*', or none; may be given several times (ATLAS_HUB, with "
        "commas; default: all, each at a click that is told the size)",
    )
    models.add_argument(
        "--hub-quota",
        type=float,
        metavar="GB",
        help="no download for a visitor if the hub's cache would then hold more (ATLAS_HUB_QUOTA; default: the disk's room)",
    )


def _add_work(work: Any) -> None:
    work.add_argument(
        "--work-at-once",
        type=count,
        metavar="N",
        help="runs at once for all visitors together (ATLAS_WORK_AT_ONCE; default: 8)",
    )
    work.add_argument(
        "--work-memory",
        type=bound,
        metavar="GB",
        help="memory of all runs at once, beside models and pages; none: no bound (ATLAS_WORK_MEMORY; default for others: half "
        "of what is free at the start)",
    )
    work.add_argument(
        "--work-seconds",
        type=bound,
        metavar="S",
        help="longest time of one run; none: no bound (ATLAS_WORK_SECONDS; default for others: 600)",
    )
    work.add_argument(
        "--visitor-share",
        type=share_number,
        metavar="SHARE",
        help="part of these runs and this memory that one visitor may take at a time, up to 1 (ATLAS_VISITOR_SHARE; default for "
        "others: 0.5)",
    )
    work.add_argument(
        "--corpus-workers",
        type=workers,
        metavar="N",
        help="measure a corpus for a page on N processes of this machine, one run at a time, as `atlas corpus --workers N` does: "
        "each holds the model once more, and their ports on 127.0.0.1 are open to all accounts of this machine; 0: in the page's "
        "own process, between other work (ATLAS_CORPUS_WORKERS; default: 0)",
    )


def bound(written: str) -> str:
    """A number above zero, or 'none'."""
    if written != NO_BOUND and not 0 < float(written) < math.inf:
        raise ValueError
    return written


def share_number(written: str) -> float:
    """A share above 0, up to 1."""
    share = float(written)
    if not 0 < share <= 1:
        raise ValueError
    return share


bound.__name__, share_number.__name__ = "bound", "share"  # as argparse names them in errors


def _add_login(who: Any) -> None:
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


def count(written: str) -> int:
    """A number of processes, or of runs."""
    number = int(written)
    if number < 1:
        raise ValueError
    return number


def workers(written: str) -> int:
    """A number of processes; 0: no other than the page's own."""
    number = int(written)
    if number < 0:
        raise ValueError
    return number


workers.__name__ = "number from 0"
count.__name__ = "number from 1"


def for_others(args: argparse.Namespace) -> bool:
    """Whether anybody but the owner of this machine may reach the app: by its address, or through a proxy."""
    proxied = bool(args.allow_websocket_origin or args.prefix or args.use_xheaders)
    guarded = args.basic_auth is not None or args.oauth_provider is not None
    return args.address not in LOOPBACKS or guarded or proxied


def opened_folder(model: str) -> Path | None:
    """The folder that --model names, which visitors may load too; None where it is a name."""
    path = Path(model).expanduser() if model else None
    return path.resolve() if path is not None and path.is_dir() else None


def lens_file(written: str) -> tuple[str, Path]:
    """The model and the file of MODEL=FILE."""
    model, given, path = written.rpartition("=")
    if not given or not model or not Path(path).exists():
        msg = f"--lens takes MODEL=FILE, a model and the file or folder of its tuned lens that is there, not {written!r}."
        raise AtlasError(msg)
    return model, Path(path).resolve()
