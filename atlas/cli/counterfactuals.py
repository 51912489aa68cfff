"""`atlas bias MODEL --counterfactuals TEXTS`: many texts beside their counterfactuals."""

# ruff: noqa: T201 - a command line prints

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atlas.cli.audit import SHOWN, SURE, as_text, print_unused
from atlas.cli.progress import progress_bar
from atlas.tracing.many_texts import FEW_SENTENCES, TEMPLATES
from atlas.tracing.swap_audit import CATEGORIES, EVERY

if TYPE_CHECKING:
    from atlas.tracing.swap_audit import SwapAudit

Write = Callable[[Any, Path], None]


def add_counterfactuals(parser: argparse.ArgumentParser, which: Any) -> None:
    """Add the option to those of which one is needed, and what belongs to it."""
    which.add_argument(
        "--counterfactuals", metavar="TEXTS",
        help="instead: compare texts with their counterfactuals; a .csv, .json, .jsonl or .txt file, or a set that comes with "
        f"Atlas: {', '.join(TEMPLATES)}",
    )  # fmt: skip
    more = parser.add_argument_group("of --counterfactuals")
    more.add_argument("--column", default="text", metavar="NAME", help="the column or key of the text (default: %(default)s)")
    more.add_argument(
        "--category", default=EVERY, choices=(EVERY, *CATEGORIES), metavar="NAME",
        help=f"which identities are exchanged: {', '.join(CATEGORIES)} (default: %(default)s)",
    )  # fmt: skip
    more.add_argument("--swap", metavar="SWAP", help="exchange these words instead, such as 'doctor -> nurse; he <-> she'")


def run_counterfactuals(args: argparse.Namespace, load_model: Callable[[], Any], write: Write) -> None:
    """Compare the texts and print what was found."""
    from atlas.bias import swap_audit
    from atlas.text.files import read_texts

    # A bad file is found before a model is fetched.
    texts = args.counterfactuals if args.counterfactuals in TEMPLATES else read_texts(args.counterfactuals, args.column)
    model = load_model()
    with progress_bar(quiet=args.quiet, name="pairs") as progress:
        found = swap_audit(model, texts, args.swap, args.category, seed=args.seed, progress=progress, ablate=args.ablate)
    print_summary(found)
    if args.counterfactuals in TEMPLATES:
        print(f"note: {FEW_SENTENCES}")
    if args.output is not None:
        tables = {"pairs": found.pairs, "groups": found.groups, "heads": found.heads, "neutral": found.null, "bad": found.bad}
        for name, table in tables.items():
            path = args.output / f"counterfactuals-{name}.csv"
            write(table, path)
            print(f"{name}: {len(table):,} rows -> {path}")


def print_summary(found: SwapAudit) -> None:
    """What was found, in a few lines."""
    print(f"{len(found.pairs):,} pairs of {found.provenance['texts']:,} texts on {found.model}; labels by {found.detector}")
    print(f"predicted: {found.predicts}")
    print(as_text(found.groups))
    beyond = found.heads[found.heads["q"] < SURE]
    print(f"\n{len(beyond)} of {len(found.heads)} heads react beyond neutral swaps (q < {SURE})")
    print(as_text(found.heads.nlargest(SHOWN, "ratio")))
    print_unused([f"row {row} {reason}" for row, reason in found.bad.itertuples(index=False)])
