"""Options of `atlas trace` for conversations and for models that write on."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atlas.errors import TextError

if TYPE_CHECKING:
    from atlas.engine.model import Model
    from atlas.trace import Trace

ReadText = Callable[[str], str]

HOW = ("sample", "temperature", "top_p", "seed")
"""Options that say how each token is chosen; they mean something only with --write."""


def add_writing(parser: argparse.ArgumentParser) -> None:
    """Add the options to a command."""
    parser.add_argument(
        "--messages", metavar="FILE", help='instead of TEXT: a JSON list of {"role": ..., "content": ...}, - for standard input; '
        "the tokenizer's chat template writes it out",
    )  # fmt: skip
    parser.add_argument(
        "--write", type=int, metavar="N", help="let the model write up to N tokens (the target, for an encoder-decoder), and "
        "trace those too",
    )  # fmt: skip
    parser.add_argument("--sample", action="store_true", default=None, help="draw each token instead of taking the likeliest")
    parser.add_argument("--temperature", type=float, metavar="T", help="with --sample: below 1 surer, above 1 freer (default: 1)")
    parser.add_argument("--top-p", type=float, metavar="P", help="with --sample: draw among the likeliest that have P together")
    parser.add_argument("--seed", type=int, metavar="SEED", help="with --sample: the same seed draws the same text (default: 0)")


def check_writing(args: argparse.Namespace) -> None:
    """Refuse options that do not go together, before a model is loaded."""
    if (args.text is None) == (args.messages is None):
        msg = "Give either a TEXT or --messages FILE."
        raise TextError(msg)
    if args.messages is not None and args.pair is not None:
        msg = "--pair belongs to a TEXT; --messages holds all of a conversation."
        raise TextError(msg)
    if args.write is None:
        extra = [name for name in HOW if getattr(args, name) is not None]
        if extra:
            msg = f"--{extra[0].replace('_', '-')} says how tokens are written; add --write N."
            raise TextError(msg)
    elif args.pair is not None or args.target is not None:
        msg = "--write takes one TEXT or --messages; leave --pair and --target out."
        raise TextError(msg)


def read_messages(argument: str, read_text: ReadText) -> list[Any]:
    """The messages of a file, or of standard input for '-'."""
    where = "Standard input" if argument == "-" else f"The messages file {Path(argument)}"
    try:
        found = json.loads(read_text(argument if argument == "-" else f"@{argument}"))
    except ValueError as error:
        if isinstance(error, TextError):
            raise
        msg = f'{where} is no JSON ({error}). It has to hold a list of {{"role": ..., "content": ...}}.'
        raise TextError(msg) from error
    if not isinstance(found, list):
        msg = f'{where} has to hold a JSON list of {{"role": ..., "content": ...}}, not {type(found).__name__}.'
        raise TextError(msg)
    return found


def run_model(
    model: Model,
    args: argparse.Namespace,
    capture: Sequence[str],
    prompt: str | list[Any],
    layers: Callable[[int, int], None] | None,
    tokens: Callable[[int, int], None] | None,
) -> Trace:
    """Trace a text or messages, after the model has written on where that was asked for."""
    kept = {"keep": args.keep, "capture": capture, "truncate": args.truncate}
    if getattr(args, "write", None) is not None:
        how = {name: getattr(args, name) for name in HOW if getattr(args, name) is not None}
        return model.write(prompt, args.write, progress=tokens, **how, **kept)
    if isinstance(prompt, list):
        return model.trace(None, None, args.target, messages=prompt, progress=layers, **kept)
    return model.trace(prompt, args.pair, args.target, progress=layers, **kept)
