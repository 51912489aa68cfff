"""`atlas explain`: what the tokens and the heads do for one prediction."""

# ruff: noqa: T201 - a command line prints

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

from atlas.cli.progress import progress_bar
from atlas.cli.rationales import check_rationales, compare_with_people
from atlas.errors import TextError, UnknownName

if TYPE_CHECKING:
    from atlas.trace import Trace
    from atlas.tracing.explained import Attribution, Target

HOW = ("zero", "mean", "resample")
"""What the output of a head can be replaced by from the command line: 'patch' needs a second text."""

HEAD_COLUMNS = ("method", "kind", "layer", "head", "effect", "log_probability", "kl", "rho", "lo", "hi", "q")
"""Columns of heads that fit a terminal."""

SHOWN_TOKENS, SHOWN_HEADS = 12, 10
"""Rows printed where --top says nothing: as many as a reader takes in; a file gets all of them."""


class Tools(NamedTuple):
    """What the commands share."""

    add_run: Callable[..., None]
    run: Callable[[argparse.Namespace, Sequence[str]], Trace]
    count: Callable[[str], int]
    write_table: Callable[[pd.DataFrame, Path], None]


def add_explain(commands: Any, tools: Tools) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "explain", help="what the tokens, and the heads, do for one prediction", description=explain.__doc__
    )
    tools.add_run(parser, required=False)
    parser.add_argument(
        "--rationales", type=Path, metavar="FILE",
        help='instead of TEXT: say how far the methods mark what people marked; .jsonl with {"text": ..., "rationales": [[start, '
             'end], ...]} a line, in characters, and perhaps "label"',
    )  # fmt: skip
    parser.add_argument(
        "--method", default="integrated_gradients", metavar="NAMES",
        help="methods, by commas; 'all' for every one the model can have (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--position", type=int, default=-1, metavar="N", help="the token whose prediction is explained (last)")
    parser.add_argument("--outcome", metavar="TOKEN", help="the token or label that is explained (default: the likeliest)")
    parser.add_argument("--against", metavar="TOKEN", help="explain why the outcome rather than this one")
    parser.add_argument(
        "--heads", nargs="?", const="zero", choices=HOW, metavar="HOW",
        help="replace the output of each head in turn, by zero, mean or resample, and say what that does to the prediction",
    )  # fmt: skip
    parser.add_argument(
        "--agreement", action="store_true", help="say for each head whether it attends to the tokens that matter by the method"
    )
    parser.add_argument(
        "--verdict", action="append", default=[], metavar="HEAD",
        help="say in a sentence whether the attention of this head, such as 3.5, is the reason; repeated: of all these",
    )  # fmt: skip
    parser.add_argument("--top", type=tools.count, metavar="N", help="print only the N largest")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE",
        help="write the scores of all tokens to a .csv, .json or .parquet file, and those of heads beside it as NAME-heads",
    )  # fmt: skip
    parser.set_defaults(command=functools.partial(explain, tools=tools))


def explain(args: argparse.Namespace, tools: Tools) -> None:
    """Say what the tokens and the heads do for one prediction, by one method or several."""
    from atlas.attribution import Target, agreement
    from atlas.attribution.attribute import attribute_trace

    if args.output is not None and args.output.suffix not in (".csv", ".json", ".parquet"):
        msg = f"A table is written as .csv, .json or .parquet, not {args.output.name!r}."
        raise TextError(msg)
    if not args.method.strip(","):
        msg = "--method takes at least one name."
        raise TextError(msg)
    asked = None if args.method == "all" else [name.strip() for name in args.method.split(",") if name.strip()]
    check_names(asked or ())
    check_rationales(args)
    if args.rationales is not None:
        table = compare_with_people(args, asked)
        if args.output is not None:
            tools.write_table(table, args.output)
            print(f"\n{len(table)} rows -> {args.output}")
        return
    trace = tools.run(args, ("predictions",))
    target = Target(args.position, args.outcome, args.against)
    found = []
    for name in methods_of(trace, asked):
        with progress_bar(quiet=args.quiet, name=name) as report:
            found.append(attribute_trace(trace, target, name, report))
    print(f"explained: {found[0].target.words}")
    for each in found:
        print_tokens(each, args.top or SHOWN_TOKENS)
    tables = [agreement(trace, each).assign(method=each.method) for each in found] if args.agreement else []
    heads = pd.concat(tables, ignore_index=True) if tables else None
    if args.heads is not None:
        heads = with_effects(trace, target, args, heads)
    if heads is not None:
        print_heads(heads, args.top or SHOWN_HEADS)
    if args.verdict:
        print_verdict(trace, target, args)
    if args.output is not None:
        write(found, heads, args.output, tools)


def check_names(names: Iterable[str]) -> None:
    """Refuse an unknown method before a model is loaded."""
    from atlas.attribution import METHODS

    for name in names:
        if name not in METHODS:
            msg = f"There is no method {name!r}; there are {', '.join(METHODS)}, and 'all'."
            raise UnknownName(msg)


def methods_of(trace: Trace, asked: list[str] | None) -> list[str]:
    """The methods asked for; for 'all' those that the model can have."""
    from atlas.attribution import METHODS
    from atlas.engine.gradients.subject import model_of

    if asked is not None:
        return asked
    model = model_of(trace).model
    return [name for name, method in METHODS.items() if not method.reason(model)]


def print_tokens(found: Attribution, top: int) -> None:
    """The tokens that matter most by one method, and how complete it is."""
    table = found.tokens.assign(size=found.tokens["score"].abs()).nlargest(top, "size").sort_index()
    gap = "" if found.delta is None else f" (completeness gap {found.delta:.3g})"
    print(f"\n{found.method}{gap}")
    print(table[["side", "position", "token", "score"]].to_string(index=False, float_format=lambda value: f"{value:.4g}"))
    for note in found.notes:
        print(f"note: {note}")


def with_effects(trace: Trace, target: Target, args: argparse.Namespace, agreements: pd.DataFrame | None) -> pd.DataFrame:
    """What the prediction loses without each head, beside its agreement where that was asked for."""
    from atlas.attribution.effects import head_effects_of_trace

    with progress_bar(quiet=args.quiet, name="heads") as report:
        effects = head_effects_of_trace(trace, target, args.heads, report=report)
    return effects if agreements is None else effects.merge(agreements, on=["kind", "layer", "head"], how="left")


def print_heads(table: pd.DataFrame, top: int) -> None:
    """The heads that do most, or agree most."""
    by = "effect" if "effect" in table else "rho"
    rows = table.assign(size=table[by].abs()).nlargest(top, "size")
    shown = [name for name in HEAD_COLUMNS if name in rows]
    print("\nheads")
    print(rows[shown].to_string(index=False, float_format=lambda value: f"{value:.4g}"))


def print_verdict(trace: Trace, target: Target, args: argparse.Namespace) -> None:
    """What the attention of some heads is worth for the prediction, and the rules that say so."""
    from atlas.attribution import verdict

    with progress_bar(quiet=args.quiet, name="verdict") as report:

        def tell(_: str, share: float) -> None:
            if report is not None:
                report(round(100 * share), 100)

        found = verdict(trace, target, args.verdict, progress=tell)
    print(f"\n{found.sentence}")
    print("rules: " + "; ".join(f"{rule.name} ({rule.condition})" for rule in found.rules))
    for note in found.notes:
        print(f"note: {note}")


def write(found: list[Attribution], heads: pd.DataFrame | None, path: Path, tools: Tools) -> None:
    """All scores of tokens to a file, and those of heads to another one beside it."""
    tokens = pd.concat([each.tokens.assign(method=each.method) for each in found], ignore_index=True)
    tools.write_table(tokens, path)
    print(f"\n{len(tokens)} scores of tokens -> {path}")
    if heads is not None:
        beside = path.with_name(f"{path.stem}-heads{path.suffix}")
        tools.write_table(heads, beside)
        print(f"{len(heads)} rows of heads -> {beside}")
