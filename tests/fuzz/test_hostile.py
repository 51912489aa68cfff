"""Hostile inputs by the thousand: links, messages, texts, files and folders of models. Nothing but a clear error leaves them.

A sample is part of every run, the same each time; `--all-hostile` takes all 10,000.
"""

from __future__ import annotations

import base64
import csv
import io
import itertools
import json
import shutil
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pandas as pd
import panel as pn
import pytest
from hypothesis import strategies as st

import atlas
from atlas.app import AttentionAtlas, prepare
from atlas.bias.files import KINDS, read_items
from atlas.corpus.store import Store
from atlas.corpus.texts import Columns, read_entries
from atlas.engine.running.service import Service
from atlas.ids import HEAD
from atlas.jobs import run_of
from atlas.metrics.drills import head_scores
from atlas.patches.messages import FROM_PAGES, is_ours, problem_of
from atlas.state.inputs import LONGEST_TEXT
from atlas.state.link import FIELDS
from atlas.state.pipeline import Job, Ticket
from atlas.state.restore import job_of, put_inputs, put_selection
from atlas.state.share import VERSION, decode, encode, state_of
from atlas.state.workspace import Workspace
from atlas.text.files import texts_in
from atlas.tracing.drills import DRILLS, FILE, Drills, read_drills
from atlas.tracing.listed import open_list
from atlas.views.catalog import TABS
from tests.engine import tiny_files
from tests.engine.families import loaded
from tests.fuzz.hostile import anything, as_json, attack, bytes_changed, change, changed, letters, seeds
from tests.tracing.corpora import corpus, values

pytestmark = pytest.mark.filterwarnings("ignore")  # libraries warn of damaged files in many ways

TIMES: dict[str, tuple[int, int]] = {
    "links": (60, 2_700),
    "links of a page": (1, 300),
    "messages": (60, 1_000),
    "gestures": (80, 1_500),
    "texts": (8, 900),
    "traces": (14, 1_000),
    "corpora": (8, 600),
    "text files": (60, 1_400),
    "model folders": (8, 600),
}
"""What -> inputs of every run, and all of them."""

TEXT = "The doctor said that she was tired because the nurse ran."


@pytest.fixture
def times(request: pytest.FixtureRequest) -> Callable[[str], int]:
    """How many inputs of a sort this run takes."""
    return lambda what: TIMES[what][request.config.getoption("--all-hostile")]


def test_all_of_them_are_ten_thousand():
    assert sum(every for _, every in TIMES.values()) == 10_000


@pytest.fixture(scope="module")
def bare() -> Workspace:
    """A workspace with a trace and without a page."""
    made = Workspace(lambda job, ticket: Service().run(run_of(job), ticket))
    made.pipeline.show(loaded("GPT-2").trace("the doctor said that she was tired", keep="weights"))
    return made


@pytest.fixture(scope="module")
def app() -> AttentionAtlas:
    """A page on a trace, with all its views."""
    prepare()
    made = AttentionAtlas(Service())
    made.open(made.run(Job(("gpt-mini", None, None, None), TEXT, None, None, truncate=True), Ticket()))
    made.views = [kind(made.workspace) for tab in TABS for kind in tab.views if not kind.offered(made.workspace)]
    return made


# -- links ---------------------------------------------------------------------------------------------------------------


def packed(content: Any) -> str:
    raw = content if isinstance(content, bytes) else as_json(content)
    return f"{VERSION}.{base64.urlsafe_b64encode(zlib.compress(raw)).decode().rstrip('=')}"


def unpacked(token: str) -> dict[str, Any]:
    return json.loads(zlib.decompress(base64.urlsafe_b64decode(token.partition(".")[2] + "==")))


FULL = {
    "model": "gpt-mini", "revision": "main", "device": "cpu", "dtype": "float32", "text": TEXT, "pair": "And again.",
    "target": "Le docteur", "truncate": True, "chat": True,
    "ablated": {"d": "4:0-3"}, "cut": {"d0.1": [[3, 1], [4, 2]]}, "focus": "d1.2",
    "heads": {"d": "4:1,5"}, "queries": "0-2", "keys": "b5", "label": "previous", "display": {"tab": "deep", "threshold": 0.2},
    "thresholds": {"gen": 0.4}, "explained": {"position": 3}, "choices": {"lines": {"heads": "all"}, "corpus": {"corpus": "x"}},
    "second": {"used": True, "model": "bert-mini", "text": "Another.", "ablated": {"d": "4:2"}},
    "spans": [["source", 0, 3, "prompt"]],
    "written": {"prompt": 2, "ids": [3, 4], "limit": 8, "how": {"sample": False}, "stopped": "limit"},
}  # fmt: skip


def tokens(own: dict[str, Any]) -> st.SearchStrategy[str]:
    """Links of all sorts; `own` is what a good one says."""
    valid = packed(FULL)
    content = st.one_of(
        changed(FULL),
        changed(own),
        st.dictionaries(st.sampled_from([*FIELDS, "findings"]) | letters, anything, max_size=6),
        anything,
    )
    return st.one_of(
        content.map(packed),
        content.map(packed),
        seeds.map(lambda seed: bytes_changed(valid.encode(), Random(seed)).decode("latin-1")),
        seeds.map(lambda seed: packed(bytes_changed(as_json(FULL), Random(seed)))),
        st.binary(max_size=200).map(packed),
        letters.map(lambda tail: f"{VERSION}.{tail}"),
        letters,
    )


def follow(token: str, space: Workspace) -> None:
    """Put a workspace as a link says, without running anything."""
    state, said = decode(token)
    assert all(sentence.endswith(".") and "\n" not in sentence for sentence in said)
    assert job_of(state).text is not None
    assert all(put_inputs(state, space, where=lambda *_: "hub").said)
    put_selection(state, space)
    encode(state)
    encode(space)


def test_a_link_does_no_harm(bare: Workspace, times: Callable[[str], int]) -> None:
    own = unpacked(encode(state_of(bare)).token)
    attack(tokens(own), times("links"), lambda token: follow(token, bare))


def test_a_link_does_no_harm_to_a_page_with_all_its_views(app: AttentionAtlas, times: Callable[[str], int]) -> None:
    own = unpacked(encode(state_of(app.workspace)).token)
    attack(tokens(own), times("links of a page"), lambda token: follow(token, app.workspace))
    problems = [view.problem for view in app.views if "fault of Atlas" in view.problem]
    assert not problems


# -- messages ------------------------------------------------------------------------------------------------------------


def test_the_kind_and_content_of_a_message_may_be_anything(times: Callable[[str], int]) -> None:
    event = {"kind": "ModelChanged", "model": {"id": "p1001"}, "attr": "value", "new": {"type": "map", "entries": [["a", 1]]}}
    content = changed({"events": [event, event | {"kind": "MessageSent", "msg_type": "x", "msg_data": {"key": "a"}}]}) | anything
    kinds = st.sampled_from(["PATCH-DOC", "PATCH-DOC", "PUSH-DOC", *FROM_PAGES]) | letters
    attack(st.tuples(kinds, content), times("messages"), lambda given: problem_of(*given))


def heard(app: AttentionAtlas) -> list[Any]:
    """All parts of a page that take messages of their own."""
    shown = [*app.views, app.text, app.bar, app.tabs]
    found = itertools.chain.from_iterable(pn.panel(view).select(lambda each: hasattr(each, "_handle_msg")) for view in shown)
    return list(dict.fromkeys(found))


WORDS = ("key", "shift", "control", "additive", "export", "start", "pop", "step", "action", "head", "side", "at", "dark", "part",
         "mode", "positions", "clear", "width", "height")  # fmt: skip
"""What the messages of components are made of."""


def test_a_gesture_that_no_page_makes_is_left_out(app: AttentionAtlas, times: Callable[[str], int]) -> None:
    parts = heard(app)
    assert len({type(part) for part in parts}) > 4
    known = st.sampled_from(["all", "replace", "add", "toggle", "select", "queries", "keys", "csv", "png", "escape", "heads"])
    said = st.dictionaries(st.sampled_from(WORDS), known | anything, max_size=5) | anything

    def send(given: tuple[Any, Any]) -> None:
        part, data = given
        try:
            part._handle_msg(data)
        except Exception as error:
            if is_ours(error):
                raise

    attack(st.tuples(st.sampled_from(parts), said), times("gestures"), send)


# -- texts ---------------------------------------------------------------------------------------------------------------


def test_a_text_of_any_letters_is_traced_or_refused(times: Callable[[str], int]) -> None:
    long = st.builds(lambda part, most: (part * most)[:most], letters.filter(bool), st.sampled_from([600, 5_000, LONGEST_TEXT]))
    text = st.one_of(letters, st.text(st.characters(), max_size=300), long, letters.map(lambda odd: f"The {odd} doctor"))
    jobs = st.builds(
        lambda model, text, pair, target, truncate: Job((model, None, None, None), text, pair, target, truncate=truncate),
        st.sampled_from(["gpt-mini", "bert-mini", "t5-mini"]),
        text, st.none() | text, st.none() | text, st.sampled_from([True, True, False]),
    )  # fmt: skip

    service = Service()

    def trace(job: Job) -> None:
        found = service.run(run_of(job), Ticket())
        assert len(found.heads) == len(found.head_ids)
        assert repr(found)
        found.tokens()

    attack(jobs, times("texts"), trace)


# -- saved files ---------------------------------------------------------------------------------------------------------


@contextmanager
def damaged(folder: Path, random: Random) -> Iterator[Path]:
    """A folder with one file changed, a part of its JSON or its bytes; now and then it is missing. Put right afterwards."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    file = random.choice([path for path in files if path.suffix == ".json"] * 3 + files)
    data = file.read_bytes()
    # A new file each time: who still has the old one mapped into memory would be killed if it became shorter.
    file.unlink()
    if random.random() >= 0.05:
        as_content = file.suffix == ".json" and random.random() < 0.8
        file.write_bytes(as_json(change(json.loads(data), random)) if as_content else bytes_changed(data, random))
    try:
        yield folder
    finally:
        file.unlink(missing_ok=True)
        file.write_bytes(data)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trace as both kinds of file, and a corpus."""
    folder = tmp_path_factory.mktemp("good")
    trace = loaded("GPT-2").trace("the doctor said that she was tired", keep="weights")
    for name in ("run.nc", "run.zarr"):
        trace.save(folder / name)
    held = corpus(values(12, 6))
    arrays = {name: np.asarray(array[:]) for name, array in held._group.arrays()}
    root = {"provenance": dict(held.provenance), "complete": list(held.complete)}
    store = Store(folder / "corpus")
    store.publish("0", arrays, dict(held._group.attrs), root)
    scores = head_scores(np.random.default_rng(0).uniform(size=(12, 6)), np.zeros((12, 6)))
    drilled = held.heads[HEAD].assign(drill=DRILLS[0], **scores._asdict())
    store.put(Drills(drilled, pd.DataFrame(columns=["drill", "kind", "reason"]), {}).as_json(), FILE)
    return folder


def read_trace(path: Path) -> None:
    trace = atlas.open(path)
    assert repr(trace)
    assert len(trace.heads) == len(trace.head_ids)
    for kind in trace.kinds:
        trace.attention(kind, layer=0, head=0)


def read_corpus(path: Path) -> None:
    held = atlas.open(path)
    assert repr(held)
    for name in ("heads", "distances", "tokens", "exemplars", "bad"):
        assert isinstance(getattr(held, name), pd.DataFrame)
    for group in held.groups:
        held.heads_of(group)
    for at in range(min(3, len(held.exemplars))):
        held.edges(at)
    drilled = read_drills(held)
    assert drilled is None or drilled.sentence


def test_a_damaged_trace_is_refused(good: Path, tmp_path: Path, times: Callable[[str], int]) -> None:
    data = (good / "run.nc").read_bytes()
    folder = shutil.copytree(good / "run.zarr", tmp_path / "run.zarr")

    def read(seed: int) -> None:
        random = Random(seed)
        if random.random() < 0.5:
            path = tmp_path / "run.nc"
            path.write_bytes(bytes_changed(data, random))
            read_trace(path)
        else:
            with damaged(folder, random) as path:
                read_trace(path)

    attack(seeds, times("traces"), read)


def test_a_damaged_corpus_is_refused(good: Path, tmp_path: Path, times: Callable[[str], int]) -> None:
    folder = shutil.copytree(good / "corpus", tmp_path / "corpus")

    def read(seed: int) -> None:
        with damaged(folder, Random(seed)) as path:
            read_corpus(path)

    attack(seeds, times("corpora"), read)


# -- files of texts ------------------------------------------------------------------------------------------------------


def table(ending: str, rows: list[Any]) -> bytes:
    """Rows as a file of that kind."""
    if ending == ".json":
        return as_json(rows)
    if ending == ".jsonl":
        return b"\n".join(map(as_json, rows))
    buffer = io.BytesIO()
    if ending == ".parquet":
        pd.DataFrame(ROWS).to_parquet(buffer)
        return buffer.getvalue()
    text = io.StringIO()
    if ending == ".csv":
        csv.writer(text).writerows([list(rows[0]) if isinstance(rows[0], dict) else ["text"], *map(_cells, rows)] if rows else [])
    else:
        text.write("\n".join(map(str, rows)))
    return text.getvalue().encode("utf-8", "surrogatepass")


def _cells(row: Any) -> list[Any]:
    return list(row.values()) if isinstance(row, dict) else [row]


ROWS = [{"text": f"Text {at} of the doctor.", "pair": None, "group": "ab"[at % 2], "target": "ziel"} for at in range(6)]

ENDINGS = (".csv", ".json", ".jsonl", ".txt", ".parquet")


def test_a_damaged_file_of_texts_is_refused_or_read_row_by_row(tmp_path: Path, times: Callable[[str], int]) -> None:
    plain = {ending: table(ending, ROWS) for ending in ENDINGS}

    def read(given: tuple[str, Any, int, bool]) -> None:
        ending, rows, seed, broken = given
        random = Random(seed)
        data = plain[ending] if broken or not isinstance(rows, list) else table(ending, rows)
        data = bytes_changed(data, random) if broken else data
        path = tmp_path / f"texts{ending}"
        path.write_bytes(data)
        what = random.randrange(4)
        if what == 0 and ending != ".parquet":
            found = texts_in(path.name, data)
            assert all(row.text.strip() and row.text.encode() for row in found.texts)
        elif what == 1 and ending != ".parquet":
            read_items(random.choice(list(KINDS)), data)
        elif what == 2:
            listed = open_list(path, LONGEST_TEXT)
            assert all("".join(text[1:]).encode() and text.text.strip() for text in listed.texts)
        else:
            entries = read_entries(str(path), Columns(group=random.choice((None, "group")), pair=random.choice((None, "pair"))))
            assert all(entry.text.strip() for entry in entries.texts)

    given = st.tuples(st.sampled_from(ENDINGS), changed(ROWS) | st.lists(anything, max_size=6), seeds, st.booleans())
    attack(given, times("text files"), read)


# -- folders of models ---------------------------------------------------------------------------------------------------


def test_a_damaged_folder_of_a_model_is_refused(tmp_path: Path, times: Callable[[str], int]) -> None:
    folder = tiny_files.save(tmp_path / "bert", tiny_files.bert())

    def load(seed: int) -> None:
        with damaged(folder, Random(seed)) as path:
            atlas.load(path).trace("the doctor said she was tired.")

    attack(seeds, times("model folders"), load)
