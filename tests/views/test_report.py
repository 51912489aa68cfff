"""The report of findings: complete, valid, and its calls make its numbers again; what a stranger wrote stays text."""

from __future__ import annotations

import asyncio
import functools
import html
import re
from dataclasses import replace
from html.parser import HTMLParser
from types import SimpleNamespace

import holoviews as hv
import numpy as np
import pandas as pd
import pytest

import atlas
from atlas.cli import main
from atlas.errors import NotCaptured
from atlas.ids import HeadId
from atlas.state.contradictions import HELP
from atlas.state.findings import REASON, Findings, dumps
from atlas.state.link import State
from atlas.state.restore import job_of
from atlas.state.second import SecondSide, side_b
from atlas.state.share import encode
from atlas.state.single import alone
from atlas.tasks import TASKS
from atlas.views.report import ONLY_PINNED, OTHER_NUMBERS, OTHER_WEIGHTS, ROWS, made_again, report
from atlas.views.standalone import POLICY
from tests.state.readers import single, workspace

TEXT = "The old baker gave her daughter a warm loaf."
HOSTILE = "</script></section><img src=x onerror=alert(1)> <b>why</b> & \"quoted\" 'too'\nsecond line"
HEAD = HeadId("decoder", 1, 2)
EMPTY = frozenset({"meta", "br", "hr", "img", "input", "link"})


@pytest.fixture(scope="module", autouse=True)
def _bokeh():
    hv.extension("bokeh", logo=False)


@functools.cache
def mini():
    return atlas.load("gpt-mini").trace(TEXT)


def pinned(view="matrix", state=None, **fields):
    """A finding as the app pins it on gpt-mini."""
    state = state or State(model="gpt-mini", text=TEXT, focus=HEAD, heads=frozenset({HEAD}))
    held, room = Findings(), workspace(mini())
    held.link = lambda: encode(state)
    made = held.pin(room, view, view.title(), "a line", pd.DataFrame())
    return made._replace(**fields)


def again(finding, trace_of):
    """A finding made again, as the command makes it."""

    async def traced(state, _):
        return trace_of(state)

    return asyncio.run(made_again(finding, traced, lambda trace: alone(trace, TASKS), lambda _: None))


class Tags(HTMLParser):
    """The tree of a page: which elements are open, the texts, and what does not fit."""

    def __init__(self, page):
        super().__init__()
        self.open, self.seen, self.wrong, self.words, self.ids = [], [], [], [], []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)

    def handle_data(self, data):
        if not {"script", "style"} & set(self.open):
            self.words.append(data)


def parsed(page):
    tags = Tags(page)
    assert (tags.open, tags.wrong) == ([], [])
    assert len(set(tags.ids)) == len(tags.ids)
    return tags


def codes(page):
    return [html.unescape(each) for each in re.findall(r"<pre><code>(import atlas.*?)</code></pre>", page, re.DOTALL)]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """Two findings of gpt-mini, by the command."""
    folder = tmp_path_factory.mktemp("report")
    found = [pinned("matrix", title="One", hypothesis=HOSTILE, claim=REASON), pinned("heads", title="Two", claim="no reason")]
    (folder / "findings.json").write_text(dumps(found), encoding="utf-8")
    arguments = [str(folder / "findings.json"), "-o", str(folder / "report.html"), "--question", "Why <i>this</i>?", "-q"]
    assert main(["report", *arguments]) == 0
    return (folder / "report.html").read_text(encoding="utf-8")


def test_a_report_is_complete_valid_and_loads_nothing(page):
    tags = parsed(page)
    words = " ".join(tags.words)
    revision = str(mini().provenance["revision"])
    for wanted in ("Why <i>this</i>?", f"gpt-mini {revision}", TEXT, "1. One", "2. Two", "second line", "Limits", HELP):
        assert wanted in words
    assert "the opposite of the same heads, text and outcome. See “Two”." in words
    assert words.count("How to read it") == words.count("Make it again") == 2
    assert page.count("Bokeh.embed.embed_item(") >= 2
    assert [attrs["content"] for tag, attrs in tags.seen if "http-equiv" in attrs] == [POLICY]
    assert not [attrs for tag, attrs in tags.seen if {"src", "srcset"} & set(attrs) or tag in {"link", "img", "iframe", "object"}]
    assert all(attrs["href"].startswith("#") for _, attrs in tags.seen if "href" in attrs)
    assert "@media print" in page
    assert "more rows come from the call below." in words
    assert OTHER_NUMBERS not in words


def test_what_a_reader_wrote_is_text(page):
    tags = parsed(page)
    assert HOSTILE in tags.words
    assert not [tag for tag, _ in tags.seen if tag in {"img", "b", "i"}]


def test_the_call_of_a_finding_makes_its_numbers_again(page):
    calls = codes(page)
    assert len(calls) == 2
    tables = re.findall(r"<h3>Numbers</h3>.*?(<table.*?</table>)", page, re.DOTALL)
    for code, table in zip(calls, tables, strict=True):
        space = {}
        exec(code, space)
        made = space["figure"].table
        shown = re.findall(r"<td>(.*?)</td>", table, re.DOTALL)
        expected = [value for row in made.head(ROWS).to_numpy(object) for value in row]
        assert len(shown) == len(expected)
        numbers = [(one, other) for one, other in zip(shown, expected, strict=True) if _number(one) is not None]
        assert len(numbers) > 20
        assert all(_number(one) == pytest.approx(float(other), rel=1e-5) for one, other in numbers)


def _number(words):
    try:
        return float(words)
    except ValueError:
        return None


def test_other_numbers_and_other_weights_than_those_pinned_are_said():
    made = again(pinned("matrix", numbers=(1.0,) * 48, revision="another"), lambda _: mini())
    assert {OTHER_NUMBERS, OTHER_WEIGHTS} <= {*made.limits}
    assert OTHER_NUMBERS in parsed(report([made])).words


def test_a_finding_that_cannot_be_made_again_keeps_its_notes_and_says_why():
    def refuse(_):
        msg = "Its text was left out."
        raise NotCaptured(msg)

    made = [
        again(pinned(numbers=(0.25, None), hypothesis="kept"), refuse),
        again(pinned("nothing"), lambda _: mini()),
        again(pinned(token="v1.damaged"), lambda _: mini()),
        again(pinned("compare"), lambda _: mini()),
    ]
    words = parsed(report(made)).words
    assert {"0.25, N/A", "kept", ONLY_PINNED.format("Its text was left out.")} <= {*words}
    assert "There is no view 'nothing'" in made[1].limits[0]
    assert "cut off or damaged" in made[2].limits[0]
    assert made[3].limits == (ONLY_PINNED.format("it compares two sides, and has no side B."),)
    assert all(each.table is None for each in made)


def test_the_command_runs_no_model_that_is_not_here_and_says_what_is_missing(tmp_path, capsys):
    state = State(model="someone/else", text=TEXT)
    found = [
        pinned(state=state),
        pinned(state=replace(state, model="gpt-mini", text="")),
        pinned(state=replace(state, in_memory=True)),
    ]
    (tmp_path / "findings.json").write_text(dumps(found), encoding="utf-8")
    assert main(["report", str(tmp_path / "findings.json"), "-o", str(tmp_path / "report.html"), "-q"]) == 0
    assert "3 findings, 3 of them without picture and numbers" in capsys.readouterr().out
    words = " ".join(parsed((tmp_path / "report.html").read_text(encoding="utf-8")).words)
    for wanted in ("is not on this machine; --fetch downloads it.", "Its text was left out.", "in the memory of the session"):
        assert wanted in words


@pytest.mark.parametrize("text", ["", "{}", dumps(()), "\x00"])
def test_what_is_no_file_of_findings_is_refused(tmp_path, capsys, text):
    (tmp_path / "findings.json").write_text(text, encoding="utf-8")
    assert main(["report", str(tmp_path / "findings.json"), "-o", str(tmp_path / "report.html")]) == 1
    assert "findings.json" in capsys.readouterr().err
    assert not (tmp_path / "report.html").exists()


def test_a_comparison_is_made_again_with_both_sides_and_its_call_makes_the_numbers_too():
    second = {"used": True, "ablated": frozenset({HeadId("decoder", 0, 1)})}
    state = State(model="gpt-mini", text=TEXT, focus=HEAD, second=second)
    model = atlas.load("gpt-mini")
    made = again(pinned("compare_heads", state=state), lambda each: model.trace(each.text, ablate=sorted(each.ablated)))
    moved = atlas.compare(mini(), model.trace(TEXT, ablate=["L0 H1"])).heads["moved"].to_numpy()
    np.testing.assert_allclose(made.table.to_numpy(dtype=float).ravel(), moved, atol=1e-6)
    assert made.picture is not None
    names = {}
    exec(made.code.replace("print(figure.table)", ""), names)
    np.testing.assert_allclose(names["figure"].table.to_numpy(dtype=float).ravel(), moved, atol=1e-6)


@pytest.mark.parametrize(
    "second",
    [
        {"ablated": frozenset({HeadId("decoder", 1, 1)})},
        {"model": "bert-mini"},
        {"text": "Other words.", "pair": "And more."},
        {"dtype": "bfloat16", "model": "gpt-mini"},
        {"text": "Other words.", "model": "bert-mini", "dtype": "float16", "ablated": frozenset({HeadId("decoder", 2, 0)})},
    ],
)
def test_side_b_of_a_link_is_what_the_page_would_run(second):
    state = State(
        model="gpt-mini",
        text=TEXT,
        ablated=frozenset({HeadId("decoder", 0, 3)}),
        cut=frozenset({(HeadId("decoder", 0, 2), 3, 1)}),
    )
    first = SimpleNamespace(shown=job_of(state))
    beside = SecondSide(first, None, used=True, **second)
    assert job_of(side_b(replace(state, second={"used": True, **second}))) == beside.job()


def test_a_recording_is_shown_with_what_has_to_be_saved_first():
    made = again(pinned(state=State(model="a recording", text="x")), lambda _: single())
    assert made.table is not None
    assert "trace.save('trace.nc')" in made.limits[0]
