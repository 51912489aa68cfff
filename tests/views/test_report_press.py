"""A report by a press: the file of the command, made through the queue, and nobody else's. Without a browser."""

from __future__ import annotations

import base64
import gzip
import re
import threading
from dataclasses import replace

import holoviews as hv
import numpy as np
import pytest

from atlas.admission import Limits
from atlas.app import AttentionAtlas
from atlas.cli import main
from atlas.engine.running.service import Service
from atlas.errors import fault
from atlas.ids import HeadId
from atlas.jobs import worked_out
from atlas.scheduler import Ticket
from atlas.state.findings import OF_REPORT, REASON, dumps
from atlas.state.link import State
from atlas.state.pipeline import model_lane
from atlas.state.restore import job_of
from atlas.views import report_press
from atlas.views.findings import Notebook
from atlas.views.report_press import NOTHING, STOPPED
from atlas.views.standalone import scripts
from tests.views.test_report import HOSTILE, TEXT, parsed, pinned
from tests.waiting import PATIENCE, run, until

LANE = model_lane(("gpt-mini", None, None, None))
STATE = State(model="gpt-mini", text=TEXT, focus=HeadId("decoder", 1, 2))
QUESTION = "Why <i>this</i>?\nAnd since when?"


@pytest.fixture(scope="module", autouse=True)
def _bokeh():
    hv.extension("bokeh", logo=False)


@pytest.fixture(scope="module")
def service():
    return Service()


class Desk:
    """A reader with findings, and what the server has sent to their browser."""

    def __init__(self, service, *found):
        self.app = AttentionAtlas(service, ())
        self.notebook = Notebook(self.app.workspace.findings, self.app.shared, self.app.param.dark)
        self.book, self.sent = self.notebook.book, []
        self.book._send_msg = self.sent.append
        self.app.workspace.findings.found = tuple(found)

    def press(self, title="", question=""):
        self.book._handle_msg({"ask": "report", "title": title, "question": question})

    async def made(self):
        await until(lambda: not self.book.making)

    def report(self, title="", question=""):
        """The file that a press gives."""

        async def journey():
            self.press(title, question)
            assert self.book.making
            await self.made()

        run(journey())
        return self.file

    @property
    def file(self):
        *parts, last = self.sent
        assert last == {"file": {"name": "report.html", "kind": "text/html"}}
        return "".join(each["part"] for each in parts)


class Busy:
    """Work of another session in the lane of gpt-mini, until the gate opens."""

    def __init__(self, service):
        self.gate = threading.Event()
        service.scheduler.submit(lambda _: self.gate.wait(PATIENCE), lane=LANE, session="another")


NUMBERS = re.compile(r'"data": "(H4sI[^"]*)"\}, "shape": \[[\d, ]*\], "dtype": "(float\d\d)"')
"""Arrays of decimal numbers, as Bokeh packs them into a file."""

CELLS = re.compile(r"<td>(-?\d+\.\d+(?:e-?\d+)?)</td>")
"""Decimal numbers of tables."""


def numbers_of(page):
    """All decimal numbers of a report: two runs of a model may differ in the last digit."""
    found = [np.frombuffer(gzip.decompress(base64.b64decode(data)), dtype) for data, dtype in NUMBERS.findall(page)]
    return np.concatenate([*found, np.array(CELLS.findall(page), float)]).astype(float)


def settled(page):
    """A report without Bokeh, decimal numbers, and what differs between any two: dates, names counted or drawn by chance."""
    assert scripts() in page
    page = page.replace(scripts(), "")  # millions of letters to look for names in
    page = CELLS.sub("NUMBER", NUMBERS.sub("NUMBERS", page))
    page = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+(\+00:00|Z)?", "DATE", page)
    names = {}
    return re.sub(
        r"atlas-[0-9a-f]{32}|\bp\d{4,}\b|\b[A-Z][A-Za-z]+\d{5,}\b|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}",
        lambda found: names.setdefault(found[0], f"name {len(names)}"),
        page,
    )


def test_a_press_gives_the_file_that_the_command_gives(service, tmp_path):
    side_b = {"used": True, "ablated": frozenset({HeadId("decoder", 0, 1)})}
    found = [
        pinned("matrix", STATE, title="One", hypothesis=HOSTILE, claim=REASON),
        pinned("predictions", STATE, title="Asks the model"),
        pinned("writing", STATE, title="Is pressed for"),
        pinned("compare_heads", State(model="gpt-mini", text=TEXT, second=side_b)),
        pinned("heads", State(model="gpt-mini", text=""), title="Without its text"),
    ]
    (tmp_path / "findings.json").write_text(dumps(found), encoding="utf-8")
    arguments = [str(tmp_path / "findings.json"), "-o", str(tmp_path / "report.html"), "-q"]
    assert main(["report", *arguments, "--title", "A <title>", "--question", QUESTION]) == 0
    desk = Desk(service, *found)
    page = desk.report("A <title>", QUESTION)
    assert desk.book.told == "report.html: 5 findings, 1 of them without picture and numbers."
    made = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert settled(page) == settled(made)
    assert len(numbers_of(page)) > 100
    np.testing.assert_allclose(numbers_of(page), numbers_of(made), atol=1e-4)
    words = " ".join(parsed(page).words)
    for wanted in ("A <title>", QUESTION, HOSTILE, "Asks the model", "Its text was left out."):
        assert wanted in words
    assert page.count("Bokeh.embed.embed_item(") == 2  # the other two are no plots
    assert max(len(each.get("part", "")) for each in desk.sent) <= 1_000_000


@pytest.mark.parametrize("kept", [False, True])
def test_a_report_waits_in_the_queue_of_its_model_and_a_second_press_does_nothing(service, kept):
    """Its run waits, and where the trace is kept what its view asks of the model."""
    state = replace(STATE, text=f"It waits, {kept}.")
    if kept:
        worked_out(service, job_of(state), Ticket())
    desk = Desk(service, pinned("writing", state))

    async def journey():
        busy = Busy(service)
        desk.press()
        await until(lambda: desk.book.told == "Finding 1 of 1: 1 run before yours")
        desk.press("another title")
        assert desk.book.told == "Finding 1 of 1: 1 run before yours"
        busy.gate.set()
        await desk.made()

    run(journey())
    assert len([each for each in desk.sent if "file" in each]) == 1
    assert "<title>Report" in desk.file
    assert desk.book.told == "report.html: 1 finding."


@pytest.mark.parametrize("leaves", [False, True])
def test_a_report_that_is_cancelled_or_whose_reader_leaves_ends_and_sends_nothing(service, leaves):
    desk = Desk(service, pinned("matrix", replace(STATE, text="Nobody waits.")), pinned("matrix", STATE))

    async def journey():
        busy = Busy(service)
        desk.press()
        await until(lambda: "before yours" in desk.book.told)
        if leaves:
            desk.notebook.report.cancel()
        else:
            desk.book._handle_msg({"ask": "cancel"})
        await desk.made()
        busy.gate.set()

    run(journey())
    assert desk.book.told == STOPPED
    assert desk.sent == []


def test_what_is_refused_is_said_in_the_file_and_counted_at_the_button():
    service = Service()
    service.scheduler.limit(Limits(memory=1))
    desk = Desk(service, pinned("matrix", STATE), pinned("matrix", State(model="someone/else", text=TEXT)))
    words = " ".join(parsed(desk.report()).words)
    assert desk.book.told == "report.html: 2 findings, 2 of them without picture and numbers."
    assert "and the work of one visitor may take" in words
    assert "The model 'someone/else' is not on this machine; run it once, and it will be." in words


def test_a_failure_is_said_where_the_button_is(service, monkeypatch, caplog):
    desk = Desk(service)

    async def pressed():
        desk.press()
        await desk.made()

    run(pressed())
    assert desk.book.told == NOTHING
    desk.app.workspace.findings.found = (pinned("matrix", STATE),)
    desk.press(question="a" * (OF_REPORT["question"] + 1))
    assert desk.book.told == "The title or the question has 2,001 letters, more than 2,000."
    monkeypatch.setattr(report_press, "MOST", 1)
    run(pressed())
    assert desk.book.told == "There is no report. The plots of the first 1 finding have more than 0 MB. Delete some."
    error = ValueError("planted")

    async def broken(*_):
        raise error

    monkeypatch.setattr(report_press, "report_of", broken)
    run(pressed())
    assert desk.book.told == f"There is no report. {fault(error)}"
    assert "planted" in caplog.text
    assert (desk.book.making, desk.sent) == (False, [])


def test_two_readers_at_once_get_their_own_findings_alone(service):
    desks = [
        Desk(service, pinned("matrix", STATE, title=f"Secret of {name}", hypothesis=f"{name}!"))
        for name in ("Zoraida", "Bartholomew")
    ]

    async def journey():
        for desk in desks:
            desk.press(question=f"Asked by {desk.app.workspace.findings.found[0].hypothesis}")
        for desk in desks:
            await desk.made()

    run(journey())
    one, other = (desk.file for desk in desks)
    assert ("Secret of Zoraida" in one, "Asked by Zoraida" in one, "Bartholomew" in one) == (True, True, False)
    assert ("Secret of Bartholomew" in other, "Asked by Bartholomew" in other, "Zoraida" in other) == (True, True, False)
