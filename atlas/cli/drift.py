"""`atlas drift`: whether the heads of two corpora, or of two versions of a model, do the same. The exit code says it too."""

# ruff: noqa: T201 - a command line prints

from __future__ import annotations

import argparse
import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atlas.cli.audit import as_text
from atlas.errors import AtlasError

if TYPE_CHECKING:
    from atlas.tracing.corpus import Corpus
    from atlas.tracing.drift import Drift

Write = Callable[[Any, Path], None]

NONE, FOUND, ERROR = 0, 1, 2

SHOWN = 10
"""Heads printed; the file has every figure."""

EXIT_CODES = """exit codes: 0 no drift, 1 drift, 2 an error (nothing was compared), 130 interrupted

A difference is called drift where its corrected chance (Benjamini-Hochberg over heads x figures) is at most LEVEL: where nothing
differs, `atlas drift` exits with 1 at most that often.
"""


def add_drift(commands: Any, write: Write) -> None:
    """Add the command; `write` writes a table to a file."""
    parser = commands.add_parser(
        "drift",
        help="compare the heads of two corpora, or of two versions of a model",
        description=run.__doc__,
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("a", metavar="A", help="a folder of `atlas corpus`")
    parser.add_argument("b", metavar="B", help="another, of a model with the same layers and heads")
    parser.add_argument("--metrics", default="", metavar="NAMES", help="figures to compare, by commas (default: all)")
    parser.add_argument("--level", type=_share, default=0.05, metavar="Q", help="up to this q it is drift (default: %(default)s)")
    parser.add_argument(
        "--least", type=_size, default=0.0, metavar="D",
        help="from this effect on, in standard deviations between texts (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--groups", nargs=2, default=("", ""), metavar=("GROUP", "GROUP"), help="a group of texts of A and of B")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="write every figure to .csv, .json or .parquet")
    parser.add_argument("--json", action="store_true", help="print what was found as JSON")
    parser.set_defaults(command=functools.partial(run, write=write), failed=ERROR)


def run(args: argparse.Namespace, write: Write) -> int:
    """Compare every head's figures in two corpora by a corrected test, and say which heads drift."""
    from atlas.tracing.drift import drift

    a, b = opened(args.a), opened(args.b)
    names = [name.strip() for name in args.metrics.split(",") if name.strip()]
    found = drift(a, b, names, args.level, args.least, tuple(args.groups))
    if args.output is not None:
        write(found.table, args.output)
    if args.json:
        print(json.dumps(as_data(found), indent=1))
    else:
        print_summary(found)
    return FOUND if found else NONE


def opened(folder: str) -> Corpus:
    """The corpus in a folder."""
    from atlas.tracing.corpus import Corpus
    from atlas.tracing.opening import open_saved

    found = open_saved(folder)
    if not isinstance(found, Corpus):
        msg = f"{folder} holds a trace of one text, not a corpus; `atlas corpus` makes one."
        raise AtlasError(msg)
    return found


def as_data(found: Drift) -> dict[str, Any]:
    """What was found, for a program."""
    rows = found.found.astype(object)
    return {
        "drift": bool(found), "sentence": found.sentence, "level": found.level, "least": found.least,
        "heads": found.heads.to_dict("records"), "figures": rows.where(rows.notna(), None).to_dict("records"),
    }  # fmt: skip


def print_summary(found: Drift) -> None:
    """What was found, in a few lines."""
    for name, about in zip("AB", found.about, strict=True):
        print(f"{name}: {about['model']}, {about['texts']:,} texts")
    print(found.sentence)
    heads = found.heads
    if len(heads):
        print(as_text(heads.head(SHOWN)))
    if len(heads) > SHOWN:
        print(f"and {len(heads) - SHOWN:,} more heads")


def _share(written: str) -> float:
    value = float(written)
    if not 0 < value < 1:
        raise ValueError
    return value


def _size(written: str) -> float:
    value = float(written)
    if not 0 <= value < float("inf"):
        raise ValueError
    return value


_share.__name__, _size.__name__ = "share between 0 and 1", "number from 0"  # argparse says "invalid number from 0 value: 'x'"
