"""`atlas explain --rationales FILE`: how far methods mark what people marked."""

# ruff: noqa: T201 - a command line prints

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from atlas.cli.progress import progress_bar
from atlas.errors import TextError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

BESIDE = {"heads": "--heads", "agreement": "--agreement", "verdict": "--verdict", "outcome": "--outcome", "against": "--against"}
"""Options that are about one text."""

SHOWN_BAD = 5
"""Lines that cannot be used, of which a terminal shows the reason."""


def check_rationales(args: argparse.Namespace) -> None:
    """Refuse what does not go together before a model is loaded."""
    if args.rationales is None:
        if args.text is None:
            msg = "Give a TEXT, or texts with what people marked in them: --rationales FILE."
            raise TextError(msg)
        return
    if args.text is not None:
        msg = "--rationales FILE has its own texts; leave TEXT out."
        raise TextError(msg)
    given = next((option for name, option in BESIDE.items() if getattr(args, name)), None)
    if given is not None:
        msg = f"{given} is about one text; leave it out beside --rationales."
        raise TextError(msg)


def compare_with_people(args: argparse.Namespace, asked: Sequence[str] | None) -> pd.DataFrame:
    """Print how far each method marks what people marked, over the texts of a file."""
    from atlas.attribution import METHODS, plausibility_of_methods, read_rationales
    from atlas.engine.loading.load import load

    read = read_rationales(args.rationales)
    model = load(args.model, args.revision, args.device, args.dtype, trust_remote_code=args.trust_remote_code)
    methods = [name for name, method in METHODS.items() if not method.reason(model)] if asked is None else asked
    with progress_bar(quiet=args.quiet, name="texts") as report:
        found = plausibility_of_methods(model, read.texts, methods, progress=report)
    bad = [*read.bad, *found.attrs["bad"]]
    share = 100 * found.attrs["share"]
    print(f"{model.name}: {found.attrs['texts']:,} texts; people marked {share:.3g} % of their tokens, and so does each method")
    print(found.to_string(index=False, float_format=lambda value: f"{value:.3f}"))
    for row, reason in bad[:SHOWN_BAD]:
        print(f"note: line {row} {reason}")
    if len(bad) > SHOWN_BAD:
        print(f"note: {len(bad) - SHOWN_BAD:,} more lines cannot be used")
    return found
