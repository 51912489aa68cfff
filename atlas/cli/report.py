"""`atlas report`: one HTML file of what was pinned, with every picture and number made again."""

# ruff: noqa: T201 - a command line prints

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atlas.cli.progress import progress_bar
from atlas.errors import AtlasError, NotCaptured

if TYPE_CHECKING:
    from atlas.engine.running.service import Service
    from atlas.state.link import State
    from atlas.trace import Trace


def add_report(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "report", help="make one HTML file of the findings that were saved from the app", description=run.__doc__
    )
    parser.add_argument("findings", type=Path, metavar="FINDINGS.json", help="what 'Save as JSON' of the findings has saved")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.html", help="where the report is written")
    parser.add_argument("--title", default="", metavar="WORDS", help="what the report is called")
    parser.add_argument("--question", default="", metavar="WORDS", help="the question that the findings are to answer")
    parser.add_argument("--fetch", action="store_true", help="download the models that are not on this machine")
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress bar")
    parser.set_defaults(command=run)


def run(args: argparse.Namespace) -> int:
    """Run every text of the findings again, and write pictures, numbers, notes, limits and calls to one HTML file."""
    from atlas.app import prepare
    from atlas.engine.running.service import Service
    from atlas.state.compact import Unusable
    from atlas.state.findings import loads
    from atlas.tasks import TASKS
    from atlas.views.report import made_again, report

    try:
        found, said = loads(args.findings.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, Unusable) as error:
        msg = f"{args.findings} cannot be read: {error}"
        raise AtlasError(msg) from error
    if not found:
        msg = f"{args.findings} holds no finding. {' '.join(said)}"
        raise AtlasError(msg)
    prepare()
    service, made = Service(), []
    with progress_bar(quiet=args.quiet, name="Findings", unit="finding") as bar:
        for at, finding in enumerate(found, 1):
            made.append(made_again(finding, lambda state: traced(service, state, fetch=args.fetch), TASKS))
            if bar is not None:
                bar(at, len(found))
    try:
        args.output.write_text(report(made, args.title, args.question), encoding="utf-8")
    except OSError as error:
        msg = f"{args.output} cannot be written: {error}"
        raise AtlasError(msg) from error
    for words in said:
        print(words)
    missing = sum(each.table is None for each in made)
    print(f"{args.output}: {len(made)} findings" + (f", {missing} of them without picture and numbers" if missing else ""))
    return 0


def traced(service: Service, state: State, *, fetch: bool) -> Trace:
    """The trace of a state. A file may come from anybody: a model that is not here is fetched where that was asked for."""
    from atlas.jobs import where_is, worked_out
    from atlas.scheduler import Ticket
    from atlas.state.restore import HUB, job_of

    if state.in_memory:
        msg = f"The model {state.model!r} was in the memory of the session that pinned it."
        raise NotCaptured(msg)
    if state.private or not state.text:
        msg = "Its text was left out."
        raise NotCaptured(msg)
    if not fetch and where_is(service, state.model, state.revision) == HUB:
        msg = f"The model {state.model!r} is not on this machine; --fetch downloads it."
        raise NotCaptured(msg)
    return worked_out(service, job_of(state), Ticket())
