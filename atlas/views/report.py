"""The report of findings: one HTML file for who was not there, with the picture, the numbers, the limits and the call of each."""

from __future__ import annotations

import asyncio
import html
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from atlas.errors import AtlasError, NotCaptured, TooLarge
from atlas.resources import asset
from atlas.state.contradictions import HELP, contradictions, differ
from atlas.state.findings import CLAIMS, Finding, numbers_of
from atlas.state.lens import counted
from atlas.state.link import State
from atlas.state.pipeline import TICK
from atlas.state.recipe import beside_code, call, trace_code
from atlas.state.restore import MEMORY, put_inputs, put_selection
from atlas.state.second import side_b
from atlas.state.share import decode
from atlas.state.stamp import Stamp, stamp, version
from atlas.state.workspace import Workspace
from atlas.views.base import help_text
from atlas.views.catalog import TABS
from atlas.views.corpus_choice import CorpusView
from atlas.views.single import shown_alone
from atlas.views.standalone import Fragment, document, footer, fragment, scripts, table_html

if TYPE_CHECKING:
    import pandas as pd

    from atlas.trace import Trace

Tell = Callable[[str], object]
"""Is told what is happening; raises where nobody waits for it any more."""

TraceOf = Callable[[State, Tell], Awaitable["Trace"]]
"""Runs what a state says; raises an AtlasError where that cannot be."""

SpaceOf = Callable[["Trace"], Workspace]
"""Makes the workspace that shows a trace to nobody; what its lenses ask for comes at once, or from the queue."""

COMPARING = frozenset(view.key for tab in TABS if tab.key == "compare" for view in tab.views)
"""Views that hold a second side beside the first."""

ROWS = 20
"""Rows of numbers beside a plot: the call makes all of them."""

REST = "more rows come from the call below."

OTHER_NUMBERS = "The numbers are not those that were pinned: other weights, another version or other hardware made these."
OTHER_WEIGHTS = "The model has another revision now than when this was pinned."
ONLY_PINNED = "This view was not made again, so it has no picture: {}"

LIMITS = (
    "Every finding is about the texts, the selection and the choices that it names; it says nothing of other texts.",
    "What was pinned was chosen by a person.",
    "No p value is corrected for the number of findings, nor for the views that were looked at and not pinned.",
    "Unknown numbers are N/A, and are not counted as zero.",
)


@dataclass(frozen=True)
class Made:
    """A finding, made again."""

    finding: Finding
    picture: Fragment | None = None
    table: pd.DataFrame | None = None
    stamped: Stamp = field(default_factory=dict)
    code: str = ""
    """What makes its numbers in Python."""
    reading: str = ""
    """How the view is read, with its formula and its level of chance."""
    limits: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Letters of its picture."""
        return 0 if self.picture is None else len(self.picture.html) + len(self.picture.script)


class Report(NamedTuple):
    """A report that is made."""

    html: str
    said: str
    """How many findings it has, and how many of them without picture and numbers."""


async def report_of(
    found: Sequence[Finding],
    trace_of: TraceOf,
    space_of: SpaceOf,
    tell: Callable[[int, str], object],
    title: str = "",
    question: str = "",
    most: int | None = None,
) -> Report:
    """The report of findings, each made again. `tell`: how many are made, and what is happening; `most`: letters of all plots."""
    made: list[Made] = []
    for at, finding in enumerate(found):
        tell(at, "Starting")
        made.append(await made_again(finding, trace_of, space_of, partial(tell, at)))
        if most is not None and sum(each.size for each in made) > most:
            msg = f"The plots of the first {counted(at + 1, 'finding')} have more than {most / 1e6:.0f} MB. Delete some."
            raise TooLarge(msg)
    tell(len(found), "Writing the file")
    missing = sum(each.table is None for each in made)
    said = counted(len(made), "finding") + (f", {missing} of them without picture and numbers" if missing else "")
    return Report(report(made, title, question), said)


async def made_again(finding: Finding, trace_of: TraceOf, space_of: SpaceOf, tell: Tell) -> Made:
    """A finding with its picture and its numbers; where they cannot be made, the reason is among its limits."""
    state, said = decode(finding.token)
    try:
        if state == State():
            msg = "its state cannot be read."
            raise NotCaptured(msg)
        compares = finding.view in COMPARING
        if compares and not state.second:
            msg = "it compares two sides, and has no side B."
            raise NotCaptured(msg)
        trace = await trace_of(state, tell)
        beside = await trace_of(side_b(state), tell) if compares else None
        space = space_of(trace)
        try:
            return await _drawn(finding, state, space, beside, said, tell)
        finally:
            space.leave()
    except AtlasError as problem:
        return Made(finding, limits=(*said, ONLY_PINNED.format(problem)))


async def _drawn(finding: Finding, state: State, space: Workspace, beside: Trace | None, said: Sequence[str], tell: Tell) -> Made:
    """A finding drawn in a workspace. Other work of the event loop has its turn between the steps."""
    trace = space.trace
    assert trace is not None
    # A second side would be run by the workspace itself, before anybody has asked whether its model is here.
    put_inputs(state if beside is not None else replace(state, second={}), space, where=lambda *_: MEMORY)
    # Once more, now that it knows the model as the link names it: what is asked for waits in the lane of that model.
    space.pipeline.show(trace)
    if beside is not None:
        space.second.show(beside)
    lost = put_selection(state, space)
    view = shown_alone(space, finding.view)
    while any(lens.busy for lens in space.lenses):
        tell(next(lens.waiting for lens in space.lenses if lens.busy))
        await asyncio.sleep(TICK)
    if view.problem:
        raise NotCaptured(view.problem)
    await asyncio.sleep(0)
    table = view.export().table
    code, why = trace_code(trace)
    limits = [*said, *lost, why, *map(str, trace.provenance.get("notes", ())), view.faults.note]
    if finding.revision != str(trace.provenance.get("revision") or ""):
        limits.append(OTHER_WEIGHTS)
    if differ(finding.numbers, numbers_of(table)):
        limits.append(OTHER_NUMBERS)
    name, other, before = beside_code(space, view.lens_type, of_corpora=isinstance(view, CorpusView))
    limits.append(before)
    other = f"\n{other}" if other else ""
    code = f"import atlas\n\n{code}{other}\n{call(space, finding.view, view.lens_type, name)}\nprint(figure.table)"
    stamped, reading = stamp(space, finding.view), help_text(view.help, view.defines)
    await asyncio.sleep(0)
    return Made(finding, fragment(view), table, stamped, code, reading, tuple(filter(None, limits)))


def report(made: Sequence[Made], title: str = "", question: str = "") -> str:
    """The whole file. It loads nothing, and no text of a reader becomes markup."""
    flags = contradictions([each.finding for each in made])
    parts = [
        f"<style>\n{asset('css', 'report.css').read_text(encoding='utf-8')}</style>\n<main>\n",
        _head(title or "Report", question, made, flags),
        *(_section(at, each, flags.get(each.finding.key, ())) for at, each in enumerate(made, 1)),
        f'<section class="limits">\n<h2>Limits</h2>\n{_list(LIMITS)}<p>{_text(HELP)}</p>\n</section>\n</main>',
    ]
    script = "".join(each.picture.script for each in made if each.picture is not None)
    return document(title or "Report", "".join(parts), scripts() + script if script else "")


def _head(title: str, question: str, made: Sequence[Made], flags: dict[str, tuple[str, ...]]) -> str:
    findings = [each.finding for each in made]
    models = dict.fromkeys(" ".join(filter(None, [each.model, each.revision])) for each in findings)
    texts = dict.fromkeys(str(each.stamped.get("text") or each.finding.text) for each in made)
    rows = "".join(
        f'<tr><td><a href="#finding-{at}">{at}</a></td><td>{_text(each.title or each.about)}</td><td>{_text(each.about)}</td>'
        f"<td>{_text(CLAIMS[each.claim])}</td><td>{len(flags.get(each.key, ()))}</td></tr>\n"
        for at, each in enumerate(findings, 1)
    )
    date = datetime.now(UTC).isoformat(timespec="seconds")
    asked = f'<p class="asked">{_text(question)}</p>\n' if question else ""
    return (
        f"<header>\n<h1>{_text(title)}</h1>\n{asked}"
        f"<p>Made by Attention Atlas {_text(version('attention-atlas'))}, {date}.</p>\n"
        f"<h2>Models</h2>\n{_list(models)}<h2>Texts</h2>\n{_list(each or 'left out' for each in texts)}"
        "<h2>What was looked at</h2>\n<table>\n<thead><tr><th>Finding</th><th>Title</th><th>View</th><th>Claim</th>"
        f"<th>Contradictions</th></tr></thead>\n<tbody>\n{rows}</tbody>\n</table>\n</header>\n"
    )


def _section(at: int, made: Made, flags: Sequence[str]) -> str:
    finding = made.finding
    notes = {
        "Claim": CLAIMS[finding.claim] if finding.claim else "", "Hypothesis": finding.hypothesis,
        "Uncertainty": finding.uncertainty, "Next steps": finding.steps, "Pinned": finding.date,
        "Shown when it was pinned": finding.line,
    }  # fmt: skip
    rows = "".join(f"<dt>{name}</dt><dd>{_text(words)}</dd>" for name, words in notes.items() if words)
    against = f'<div class="against"><h3>Contradictions</h3>\n{_list(flags)}</div>\n' if flags else ""
    numbers = ""
    if made.table is not None and made.picture is not None and made.picture.script:
        numbers = f"<h3>Numbers</h3>\n{table_html(made.table, ROWS, REST)}\n"
    elif made.table is None and finding.numbers:
        pinned = ", ".join("N/A" if value is None else f"{value:.6g}" for value in finding.numbers)
        numbers = f"<h3>First numbers when it was pinned</h3>\n<p>{pinned}</p>\n"
    limits = f"<h3>Limits of this finding</h3>\n{_list(made.limits)}" if made.limits else ""
    reading = f"<details><summary>How to read it</summary>\n{_prose(made.reading)}</details>\n" if made.reading else ""
    code = f"<h3>Make it again</h3>\n<pre><code>{_text(made.code)}</code></pre>\n" if made.code else ""
    link = f'<p class="note">In the app, add to its address: <code>?s={_text(finding.token)}</code></p>\n'
    return (
        f'<section class="finding" id="finding-{at}">\n<h2>{at}. {_text(finding.title or finding.about)}</h2>\n'
        f'<dl class="stamp">{rows}</dl>\n{against}{made.picture.html if made.picture is not None else ""}{numbers}{limits}'
        f"{reading}{code}{link}{footer(made.stamped) if made.stamped else ''}</section>\n"
    )


def _prose(words: str) -> str:
    """Paragraphs, and formulas where lines begin with four spaces."""
    blocks = (block for block in words.split("\n\n") if block.strip())
    return "".join(f"<pre>{_text(each)}</pre>\n" if each.startswith("    ") else f"<p>{_text(each)}</p>\n" for each in blocks)


def _list(words: Iterable[str]) -> str:
    return f"<ul>{''.join(f'<li>{_text(each)}</li>' for each in words)}</ul>\n"


def _text(words: str) -> str:
    return html.escape(str(words))
