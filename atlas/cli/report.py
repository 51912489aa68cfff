"""`atlas report`: one HTML file of what was pinned, with every picture and number made again."""

# ruff: noqa: T201 - a command line prints

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atlas.cli.progress import progress_bar
from atlas.errors import AtlasError, NotCaptured

if TYPE_CHECKING:
    from collections.abc import Callable

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
    from atlas.state.single import alone
    from atlas.tasks import TASKS
    from atlas.views.report import report_of

    try:
        found, said = loads(args.findings.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, Unusable) as error:
        msg = f"{args.findings} cannot be read: {error}"
        raise AtlasError(msg) from error
    if not found:
        msg = f"{args.findings} holds no finding. {' '.join(said)}"
        raise AtlasError(msg)
    prepare()
    service = Service()

    async def trace_of(state: State, _: Callable[[str], object]) -> Trace:
        return traced(service, state, fetch=args.fetch)

    with progress_bar(quiet=args.quiet, name="Findings", unit="finding") as bar:

        def tell(done: int, _: str) -> None:
            if bar is not None:
                bar(done, len(found))

        made = asyncio.run(report_of(found, trace_of, lambda trace: alone(trace, TASKS), tell, args.title, args.question))
    try:
        args.output.write_text(made.html, encoding="utf-8")
    except OSError as error:
        msg = f"{args.output} cannot be written: {error}"
        raise AtlasError(msg) from error
    for words in said:
        print(words)
    print(f"{args.output}: {made.said}")
    return 0


def traced(service: Service, state: State, *, fetch: bool) -> Trace:
    """The trace of a state. A file may come from anybody: a model that is not here is fetched where that was asked for."""
    from atlas.jobs import where_is, worked_out
    from atlas.scheduler import Ticket
    from atlas.state.restore import HUB, job_of, why_not_run

    def where(name: str, revision: str) -> str:
        found = where_is(service, name, revision)
        return "here" if fetch and found == HUB else found

    why = why_not_run(state, where, "--fetch downloads it.")
    if why:
        raise NotCaptured(why)
    return worked_out(service, job_of(state), Ticket())
