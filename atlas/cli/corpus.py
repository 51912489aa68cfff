"""`atlas corpus`: what every head of a model does over many texts, on this machine or on a cluster."""

# ruff: noqa: T201 - a command line prints

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atlas.cli.audit import print_unused
from atlas.cli.progress import progress_bar

if TYPE_CHECKING:
    from atlas.tracing.corpus import Corpus

ROLES = ("previous", "next", "self", "induction", "duplicate", "first_key", "special")
"""Roles whose strongest head is printed."""


def add_corpus(commands: Any, count: Callable[[str], int]) -> None:
    """Add the command; `count` reads a number from 1."""
    parser = commands.add_parser(
        "corpus", help="measure every head over many texts, on one or many processes", description=run.__doc__
    )
    parser.add_argument("model", metavar="MODEL", help="a name of `atlas models`, a folder, or a hub id such as owner/name")
    parser.add_argument(
        "files", metavar="FILES", nargs="+",
        help="texts: .csv, .json, .jsonl, .parquet, .txt with one text a line, a folder of those, or the id of a data set",
    )  # fmt: skip
    parser.add_argument(
        "-o", "--output", required=True, metavar="OUT", help="the folder of the results, or an address fsspec knows"
    )
    for name, what in (("column", "text"), ("group", "group, by which means are also given apart"),
                       ("pair", "second text"), ("target", "text that a decoder reads")):  # fmt: skip
        default = "text" if name == "column" else None
        parser.add_argument(f"--{name}", metavar="COLUMN", default=default, help=f"the column or key of the {what}")
    parser.add_argument("--limit", type=count, metavar="N", help="only the first N texts")
    parser.add_argument("--sample", type=count, metavar="N", help="only N texts, drawn by the seed")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the sample and the exemplars (default: %(default)s)")
    parser.add_argument("--workers", type=int, metavar="N", help="processes; 0: this one, without Dask (default: one a core)")
    parser.add_argument("--scheduler", metavar="ADDRESS", help="a Dask cluster that is there already: tcp://host:8786")
    parser.add_argument("--shard", type=count, default=256, metavar="N", help="texts of a shard (default: %(default)s)")
    parser.add_argument("--words", action="store_true", help="tag parts of speech and entities too, which takes longer")
    parser.add_argument("--refuse-long", action="store_true", help="list texts that are too long as bad instead of cutting them")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--revision", metavar="REV", help="branch, tag or commit on the hub")
    which.add_argument(
        "--revisions", metavar="A,B,C", default="",
        help="checkpoints, by commas: branches, tags or commits on the hub, or folders below MODEL; each gets a folder below OUT",
    )  # fmt: skip
    parser.add_argument(
        "--drills", action="store_true", help="drill every head too (see `atlas drills`), kept beside the results"
    )
    parser.add_argument("--device", metavar="NAME", help="cpu, cuda, mps ... (default: cuda where there is one, else cpu)")
    parser.add_argument("--dtype", metavar="NAME", help="float32 (default), bfloat16, float16")
    parser.add_argument("--trust-remote-code", action="store_true", help="run Python code that comes with the model")
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress bar")
    parser.set_defaults(command=run)


def run(args: argparse.Namespace) -> None:
    """Measure every head of a model over many texts. Stopped and called again it goes on; atlas.open(OUT) reads the result."""
    from atlas.corpus import Columns, Settings, drills, run_revisions
    from atlas.corpus import run as measure

    given = args.files[0] if len(args.files) == 1 else [Path(name) for name in args.files]
    revisions = [name.strip() for name in args.revisions.split(",") if name.strip()]
    loading = {"device": args.device, "dtype": args.dtype, "trust_remote_code": args.trust_remote_code}

    def drilled(model: str, out: str, revision: str | None) -> None:
        if args.drills:
            with progress_bar(quiet=args.quiet, name="drills", unit="drill") as progress:
                print(drills(model, seed=args.seed, out=out, revision=revision, progress=progress, **loading).sentence)

    with progress_bar(quiet=args.quiet, name="texts") as progress:
        options: dict[str, Any] = {
            "limit": args.limit, "seed": args.seed, "sample": args.sample,
            "columns": Columns(args.column, args.group, args.pair, args.target), "workers": args.workers,
            "scheduler": args.scheduler, "settings": Settings(args.shard, args.words, truncate=not args.refuse_long),
            "progress": progress, "report": lambda line: print(line, file=sys.stderr), **loading,
        }  # fmt: skip
        if not revisions:
            found = measure(args.model, given, args.output, revision=args.revision, **options)
        else:
            series = run_revisions(args.model, given, args.output, revisions, **options)
    if not revisions:
        print_summary(found, args.output)
        drilled(args.model, args.output, args.revision)
        return
    for each in series:
        print_summary(each.corpus, each.corpus.where)
        drilled(each.model, each.corpus.where, each.revision)
    print_appearance([each.corpus for each in series])


def print_appearance(corpora: list[Corpus]) -> None:
    """When roles appear, where there are checkpoints to compare."""
    from atlas.tracing.over_time import LEAST, over_time

    if len(corpora) >= LEAST:
        print(over_time(corpora).sentence)


def print_summary(found: Corpus, output: str) -> None:
    """What was found, in a few lines."""
    about, heads = found.provenance, found.heads
    print(f"{about['texts']:,} texts, {about['tokens']:,} tokens, {len(heads)} heads of {about['model']} -> {output}")
    for role in ROLES:
        if heads[role].notna().any():
            best = heads.iloc[int(heads[role].argmax())]
            interval = f"{best[f'{role}_lo']:.3g} to {best[f'{role}_hi']:.3g}, uniform {best[f'{role}_uniform']:.3g}"
            print(f"  most {role}: {best['kind']} L{best['layer']} H{best['head']} {best[role]:.3g} ({interval})")
    if about["cut"]:
        print(f"{about['cut']:,} texts were cut at the model's limit", file=sys.stderr)
    print_unused([f"{source}, row {row}: {reason}" for source, row, reason in found.bad.itertuples(index=False)])
