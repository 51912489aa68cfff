"""`atlas audit`: many texts through a detector of biased language, and the attention to what it flags."""

# ruff: noqa: T201 - a command line prints

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atlas.cli.progress import progress_bar

if TYPE_CHECKING:
    import pandas as pd

    from atlas.tracing.audits import Audit

Write = Callable[[Any, Path], None]

SURE = 0.05
"""A head is counted where its q is below this."""

SHOWN = 5
"""Heads and bad rows printed; the files have all of them."""


def add_audit(commands: Any, write: Write) -> None:
    """Add the command; `write` writes a table to a file."""
    parser = commands.add_parser(
        "audit", help="detect biased language in a file of texts, and the attention to it", description=run.__doc__
    )
    parser.add_argument("detector", metavar="DETECTOR", help="a token classifier: gus-mini, a folder, or a hub id")
    parser.add_argument("file", metavar="FILE", type=Path, help="texts: .csv, .json, .jsonl, or .txt with one text a line")
    parser.add_argument("-o", "--output", metavar="FOLDER", type=Path, help="write all tables there, as CSV")
    parser.add_argument("--column", default="text", metavar="NAME", help="the column or key of the text (default: %(default)s)")
    parser.add_argument("--model", metavar="MODEL", help="whose attention is asked (default: the detector's own)")
    parser.add_argument("--threshold", type=float, metavar="P", help="from where on a label counts (default: the detector's own)")
    parser.add_argument("--permutations", type=int, default=999, metavar="N", help="of the null (default: %(default)s)")
    parser.add_argument("--depth", action="store_true", help="also say how well each label can be read from each layer (probes)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the null and the intervals (default: %(default)s)")
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress bar")
    parser.set_defaults(command=functools.partial(run, write=write))


def run(args: argparse.Namespace, write: Write) -> None:
    """Detect biased language in the texts of a file, and say which heads look at it otherwise than chance, over all of them."""
    from atlas.bias import audit, decodability
    from atlas.text.files import read_texts

    rows = read_texts(args.file, args.column)  # a bad file is found before a model is fetched
    with progress_bar(quiet=args.quiet, name="texts") as progress:
        found = audit(args.detector, rows, args.model, args.threshold, args.permutations, args.seed, progress)
    print_summary(found)
    tables = {"texts": found.texts, "labels": found.labels, "heads": found.heads, "bad": found.bad}
    if args.depth:
        with progress_bar(quiet=args.quiet, name="probes") as progress:
            tables["depth"] = decodability(args.detector, rows, args.model, args.threshold, args.seed, progress)
        print(f"\n{as_text(tables['depth'])}")
        left_out = tables["depth"].attrs["left_out"]
        if left_out:
            row, reason = left_out[0]
            print(f"probes: {len(left_out):,} rows left out, the first one: row {row} {reason}", file=sys.stderr)
    if args.output is not None:
        for name, table in tables.items():
            write(table, args.output / f"{name}.csv")
            print(f"{name}: {len(table):,} rows -> {args.output / f'{name}.csv'}")


def print_summary(found: Audit) -> None:
    """What was found, in a few lines."""
    model = found.provenance["model"]
    print(f"{len(found.texts):,} texts by {found.provenance['detector']}; {len(found.bad):,} rows could not be used")
    print(as_text(found.labels))
    heads = found.heads
    if heads.empty:
        print(f"In no text is some of it flagged, so nothing can be said about the heads of {model}.")
    else:
        beyond = int((heads["q"] < SURE).sum())
        what = f"look at flagged words otherwise than chance (q < {SURE}), of {heads['n'][0]} texts"
        print(f"\n{beyond} of {len(heads)} heads of {model} {what}")
        print(as_text(heads.nlargest(SHOWN, "ratio")))
    print_unused([f"row {row} {reason}" for row, reason in found.bad.itertuples(index=False)])


def print_unused(rows: Sequence[str]) -> None:
    """Say which rows were not used and why: the first of them, and how many more."""
    for row in rows[:SHOWN]:
        print(row, file=sys.stderr)
    if len(rows) > SHOWN:
        print(f"and {len(rows) - SHOWN:,} more rows", file=sys.stderr)


def as_text(table: pd.DataFrame) -> str:
    """A table for a terminal."""
    return table.to_string(index=False, float_format=lambda value: f"{value:.3g}", na_rep="N/A")
