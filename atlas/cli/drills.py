"""`atlas drills`: what every head does on texts that are made for it: repeats, planted facts, ordered lists."""

# ruff: noqa: T201 - a command line prints

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from atlas.cli.audit import as_text
from atlas.cli.progress import progress_bar
from atlas.tracing.drills import DRILLS

Write = Callable[[Any, Path], None]

NAMES = tuple(name.removeprefix("drill_") for name in DRILLS)


def add_drills(commands: Any, write: Write, count: Callable[[str], int]) -> None:
    """Add the command; `write` writes a table to a file, `count` reads a number from 1."""
    parser = commands.add_parser("drills", help="measure every head on texts that are made for it", description=run.__doc__)
    parser.add_argument("model", metavar="MODEL", help="a name of `atlas models`, a folder, or a hub id such as owner/name")
    parser.add_argument("--only", default="", metavar="NAMES", help=f"by commas, of {', '.join(NAMES)} (default: all)")
    parser.add_argument("-n", type=count, default=32, metavar="N", help="drills of each sort (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of all that is drawn (default: %(default)s)")
    parser.add_argument(
        "--corpus", metavar="FOLDER", help="a folder of `atlas corpus` of this model, which then shows the drills"
    )
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="write every score to .csv, .json or .parquet")
    parser.add_argument("--revision", metavar="REV", help="branch, tag or commit on the hub")
    parser.add_argument("--device", metavar="NAME", help="cpu, cuda, mps ... (default: cuda where there is one, else cpu)")
    parser.add_argument("--dtype", metavar="NAME", help="float32 (default), bfloat16, float16")
    parser.add_argument("--trust-remote-code", action="store_true", help="run Python code that comes with the model")
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress bar")
    parser.set_defaults(command=functools.partial(run, write=write))


def run(args: argparse.Namespace, write: Write) -> None:
    """Score every head on drills, beside the same drills shuffled: which heads retrieve, repeat, count on."""
    from atlas.corpus import drills

    names = [name.strip() for name in args.only.split(",") if name.strip()]
    with progress_bar(quiet=args.quiet, name="drills", unit="drill") as progress:
        found = drills(
            args.model, names, args.n, args.seed, args.corpus, revision=args.revision, device=args.device, dtype=args.dtype,
            trust_remote_code=args.trust_remote_code, progress=progress,
        )  # fmt: skip
    if args.output is not None:
        write(found.table, args.output)
    print(found.sentence)
    for drill, kind, reason in found.reasons.itertuples(index=False, name=None):
        print(f"not {drill.removeprefix('drill_')} ({kind}): {reason}")
    shown = found.found[["kind", "layer", "head", "drill", "score", "lo", "hi", "null", "q"]]
    if len(shown):
        print(as_text(shown))
