"""`atlas bias`: a bias benchmark on a model, or many texts beside their counterfactuals."""

# ruff: noqa: T201 - a command line prints

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from atlas.cli.counterfactuals import add_counterfactuals, run_counterfactuals
from atlas.cli.progress import progress_bar
from atlas.tracing.benchmarks import KINDS, Benchmark
from atlas.tracing.many_texts import TEMPLATES

Write = Callable[[Any, Path], None]
"""Writes a table to a file in the format of its ending."""

ABOUT = """Run a bias benchmark on a model and print its scores with 95 % intervals. The sentences of these data sets hurt: they
quote stereotypes on purpose. Their files are yours; none comes with Atlas.

StereoSet: lms is how often a sensible sentence is likelier than an unrelated one (ideal 100), ss how often the stereotype is
likelier than the anti-stereotype (ideal 50), icat combines both (ideal 100). Pairs: score is how often the more stereotyped
sentence is likelier (ideal 50).

With --counterfactuals texts of yours, or of Atlas, are compared with themselves after an exchange of identities: what the model
predicts, what the detector flags and where the heads attend, beside neutral swaps."""


def add_bias(commands: Any, count: Callable[[str], int], write: Write) -> None:
    """Add the command and its options; `count` reads a number from 1, `write` writes a table to a file."""
    files = "\n".join(f"  {name:<24} {kind.title}: {kind.file}" for name, kind in KINDS.items())
    parser = commands.add_parser(
        "bias",
        help="run a bias benchmark on a model, or compare texts with their counterfactuals",
        description=ABOUT,
        epilog=f"benchmarks and their files:\n{files}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", metavar="MODEL", help="a name of `atlas models`, a folder, or a hub id such as owner/name")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--benchmark", choices=tuple(KINDS), metavar="NAME", help=f"one of {', '.join(KINDS)}")
    parser.add_argument("--data", type=Path, metavar="FILE", help="the file with the examples of the benchmark")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FOLDER",
        help="write the scores and all examples there, and keep likelihoods as they come: the same command goes on after a kill",
    )  # fmt: skip
    parser.add_argument("--restart", action="store_true", help="begin anew instead of going on from what is in FOLDER")
    parser.add_argument("--limit", type=count, metavar="N", help="only N examples, drawn at random")
    parser.add_argument(
        "--ablate", action="append", default=[], metavar="HEAD", help="switch this head off, such as 3.5; repeatable"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the examples drawn and the bootstrap (default: 0)")
    parser.add_argument("--revision", metavar="REV", help="branch, tag or commit on the hub")
    parser.add_argument("--device", metavar="NAME", help="cpu, cuda, mps ... (default: cuda where there is one, else cpu)")
    parser.add_argument("--dtype", metavar="NAME", help="float32 (default), bfloat16, float16")
    parser.add_argument(
        "--trust-remote-code", action="store_true", help="run Python code that comes with the model: only if you read it"
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress bars")
    add_counterfactuals(parser, which)
    parser.set_defaults(command=partial(run, write=write, parser=parser))


def check(args: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """End as wrong usage, before a model is loaded, where an option says nothing about what is asked for."""

    def refuse(asked: str, *others: str) -> None:
        given = [f"--{name}" for name in others if getattr(args, name) != parser.get_default(name)]
        if given:
            says, it = ("says", "it") if len(given) == 1 else ("say", "them")
            parser.error(f"{' and '.join(given)} {says} nothing about {asked}; leave {it} out")

    if args.counterfactuals is None:
        refuse("--benchmark", "column", "category", "swap")
        if args.data is None:
            parser.error("a benchmark is read from a file: name it with --data FILE")
        return
    refuse("--counterfactuals", "data", "restart", "limit")
    if args.counterfactuals in TEMPLATES:
        refuse("texts that come with Atlas", "column")
    if args.swap is not None:
        refuse("a --swap of your own", "category")


def run(args: argparse.Namespace, write: Write, parser: argparse.ArgumentParser) -> None:
    """Run what is asked for and print its tables."""
    from atlas.engine.loading.load import load

    check(args, parser)

    def load_model() -> Any:
        return load(args.model, args.revision, args.device, args.dtype, trust_remote_code=args.trust_remote_code)

    if args.counterfactuals is not None:
        run_counterfactuals(args, load_model, write)
    else:
        run_benchmark(args, load_model, write)


def run_benchmark(args: argparse.Namespace, load_model: Callable[[], Any], write: Write) -> None:
    """Run the benchmark and print its table."""
    from atlas.bias import benchmark
    from atlas.bias.files import read_items

    read_items(args.benchmark, args.data)  # a bad file is found before a model is fetched
    model = load_model()
    with progress_bar(quiet=args.quiet, name="examples", unit="example") as progress:
        found = benchmark(
            model,
            args.benchmark,
            args.data,
            args.output,
            not args.restart,
            args.limit,
            progress,
            ablate=args.ablate,
            seed=args.seed,
        )
    print(f"{KINDS[found.name].title} on {found.model}: {len(found.examples):,} examples")
    print(found.scores.to_string(index=False, float_format=lambda value: f"{value:.2f}", na_rep="N/A"))
    if args.output is not None:
        for name, path in written_tables(found, args.output, write).items():
            print(f"{name} -> {path}")
    for note in found.notes:
        print(f"note: {note}", file=sys.stderr)


def written_tables(found: Benchmark, folder: Path, write: Write) -> dict[str, Path]:
    """Write scores, targets and examples as CSV files."""
    tables = {"scores": found.scores, "targets": found.targets, "examples": found.examples}
    made = {name: folder / f"{found.name}-{name}.csv" for name in tables}
    for name, path in made.items():
        write(tables[name], path)
    return made
