"""What is taken away: every file is opened by something else and holds the numbers that the view shows."""

from __future__ import annotations

import functools
import html
import io
import json
import os
from types import SimpleNamespace

import holoviews as hv
import nbformat
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from nbclient import NotebookClient

import atlas
from atlas.components.card import FORMATS, CardHead
from atlas.errors import NotCaptured, UnknownName
from atlas.ids import HeadId
from atlas.state.recipe import trace_code
from atlas.state.single import copied
from atlas.state.stamp import stamp
from atlas.tasks import TASKS
from atlas.views.base import Files
from atlas.views.corpus_choice import CorpusView
from atlas.views.files import KEY, MAKERS, files_of, parquet_file
from atlas.views.single import copied_alone, view_types
from atlas.views.standalone import fragment
from tests.engine.families import loaded
from tests.places import REPO
from tests.state.readers import CROSS, both, single, workspace
from tests.views.test_tabs import with_corpora

TEXT = "The old baker gave her daughter a warm loaf."
HOSTILE = ["</script>", "<img src=x onerror=alert(1)>", "a", "b"]


@pytest.fixture(scope="module", autouse=True)
def _drawn_with_bokeh():
    hv.extension("bokeh", logo=False)


@functools.cache
def read():
    return loaded("BERT").trace("The cat ran. She was tired.", capture=())


@functools.cache
def on():
    return loaded("GPT-2").trace("the cat ran after the dog", capture=())


@functools.cache
def mini():
    return atlas.load("gpt-mini").trace(TEXT)


def shown(key, trace, **selected):
    """A view as the app has it."""
    room = workspace(trace)
    room.tasks = TASKS
    if selected:
        room.selection.restore(**{"focus": None, "heads": (), "queries": (), "keys": (), "label": ""} | selected)
    view = view_types()[key](room)
    view.__panel__()
    return view


# -- one view in Python ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", view_types())
def test_every_view_has_the_numbers_of_the_app_and_they_come_back_from_parquet(key):
    room = with_corpora()
    if not issubclass(view_types()[key], CorpusView):
        room = workspace(next(trace for trace in (single(), read(), on()) if view_types()[key].fits(trace) == ""))
    room.tasks = TASKS
    room.second.show(room.trace)  # what compares has something to compare
    view = view_types()[key](room)
    view.__panel__()
    view.lens.begin()
    found = atlas.view(room.trace, key, second=room.trace, corpora=room.corpora.opened.values())
    pd.testing.assert_frame_equal(found.table, view.export().table)
    pd.testing.assert_frame_equal(copied_alone(view).export().table, found.table)
    trace = room.trace
    again = pd.read_parquet(io.BytesIO(parquet_file(key, found.table, stamp(trace)).data))
    assert len(again) == len(found.table) > 0
    for at, name in enumerate(found.table.columns):
        ours, theirs = found.table.iloc[:, at], again.iloc[:, at]
        if pd.api.types.is_numeric_dtype(theirs):
            numbers = [pd.to_numeric(each).to_numpy(float, na_value=np.nan) for each in (ours, theirs)]
            np.testing.assert_array_equal(*numbers, err_msg=str(name))
        else:
            assert [str(each) for each in theirs[ours.notna()]] == [str(each) for each in ours[ours.notna()]]
            assert theirs[ours.isna()].isna().all()


def test_a_selection_and_choices_reach_the_view():
    trace = mini()
    figure = atlas.view(trace, "matrix", heads=["L1 H2"], queries=[3], mode="column")
    weights = trace.attention(layer=1, head=2).to_numpy()
    np.testing.assert_allclose(figure.table.to_numpy(float), weights / np.nansum(weights, axis=0), rtol=1e-5)
    assert figure.line.startswith("L1 H2")


def test_a_kind_is_chosen_by_its_heads_or_by_its_name():
    by_head = atlas.view(both(), "matrix", heads=[(CROSS, 1, 1)]).table
    by_name = atlas.view(both(), "matrix", kind=CROSS, focus=(CROSS, 1, 1)).table
    np.testing.assert_array_equal(by_head, both().attention(CROSS, layer=1, head=1))
    np.testing.assert_array_equal(by_head, by_name)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"key": "matrx"}, "matrix"),
        ({"key": "matrix", "mood": 1}, "mode"),
        ({"key": "matrix", "mode": "felt"}, "'weight', 'column'"),
        ({"key": "matrix", "heads": ["L9 H0"]}, "2 layers of 3 heads"),
        ({"key": "matrix", "keys": [99]}, "8 tokens"),
        ({"key": "matrix", "more": {"nowhere": {}}}, "display"),
        ({"key": "matrix", "more": {"display": {"nothing": 1}}}, "threshold"),
    ],
)
def test_what_does_not_exist_is_answered_with_what_does(given, says):
    with pytest.raises(UnknownName, match=says):
        atlas.view(single(), **given)


def test_a_view_that_a_trace_cannot_have_says_why():
    with pytest.raises(NotCaptured, match="Predictions is not offered for this trace"):
        atlas.view(single(), "predictions")


def test_a_view_inside_a_running_event_loop_waits_for_its_numbers():
    import asyncio

    async def cell():
        return atlas.view(read(), "verdict").table

    pd.testing.assert_frame_equal(asyncio.run(cell()), atlas.view(read(), "verdict").table)


def test_a_file_is_of_the_ending_that_was_asked_for(tmp_path):
    figure = atlas.view(single(), "profile")
    with pytest.raises(UnknownName, match=r"\.png, \.svg"):
        figure.save(tmp_path / "a.gif")
    with pytest.raises(UnknownName, match="no plot"):
        atlas.view(single(), "table").save(tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []
    for ending in ("html", "parquet", "ipynb"):
        assert figure.save(tmp_path / f"a.{ending}").exists()


# -- files -----------------------------------------------------------------------------------------------------------------


def test_csv_has_the_same_numbers_and_its_stamp_beside_it(tmp_path):
    figure = atlas.view(mini(), "matrix", heads=["L1 H2"])
    figure.save(tmp_path / "mine.csv")
    again = pd.read_csv(tmp_path / "mine.csv", index_col=0)
    np.testing.assert_allclose(again.to_numpy(), figure.table.to_numpy(), rtol=1e-7)
    assert list(again.columns) == [str(column) for column in figure.table.columns]
    about = json.loads((tmp_path / "mine.csv-metadata.json").read_text("utf-8"))
    assert about["@context"] == "http://www.w3.org/ns/csvw"
    (note,) = about["notes"]
    told = note[KEY]
    assert (told["model"], told["text"], told["selection"]["heads"]) == ("gpt-mini", TEXT, ["L1 H2"])
    assert told["revision"] == mini().provenance["revision"]
    assert {"torch", "transformers", "bokeh", "numpy"} <= set(told["versions"])
    assert told["date"].startswith("20")


def test_parquet_holds_its_stamp():
    (file,) = files_of(shown("profile", mini()), "parquet")
    held = json.loads(pq.read_schema(io.BytesIO(file.data)).metadata[KEY.encode()])
    assert (held["view"], held["model"]) == ("profile", "gpt-mini")


def test_a_word_that_is_there_twice_is_two_columns_of_parquet():
    table = atlas.view(loaded("BERT").trace("the cat ran the cat", capture=()), "matrix", level="word").table
    again = pd.read_parquet(io.BytesIO(parquet_file("matrix", table, {}).data))
    assert list(table.columns).count("cat") == 2
    assert len(set(again.columns)) == len(table.columns)
    np.testing.assert_array_equal(again.to_numpy(np.float32), table.to_numpy(np.float32))


def test_an_unknown_format_is_answered_with_those_there_are():
    with pytest.raises(UnknownName, match="csv, parquet, html, ipynb"):
        files_of(shown("profile", single()), "exe")
    assert set(MAKERS) <= set(FORMATS)


def test_the_copy_of_a_view_has_its_state_and_leaves_the_view_alone():
    view = shown("verdict", read(), focus=HeadId("encoder", 1, 0), heads=[HeadId("encoder", 1, 0)], queries=[2])
    view.lens.start()
    view.workspace.display.scale = "log"
    copy = copied_alone(view)
    pd.testing.assert_frame_equal(copy.export().table, view.export().table)
    assert copy.workspace.selection.queries == {2}
    assert copy.workspace.display.scale == "log"
    copy.workspace.selection.clear()
    assert view.workspace.selection.queries == {2}


def test_html_shows_the_zoom_of_the_page_and_says_what_does_not_follow():
    view = shown("map", single())
    view._moved((0.0, 0.5), (0.0, 0.5))
    part = fragment(copied_alone(view), like=view)
    assert "Bokeh.embed.embed_item" in part.script
    assert any("pixels it had on screen" in words for words in part.said)
    assert "does not follow" in " ".join(part.said)
    assert copied_alone(view).seen == ((0.0, 0.5), (0.0, 0.5))


def test_lines_are_a_plot_in_a_file_with_a_line_a_link():
    figure = atlas.view(single(), "lines")
    (segments, *_) = figure.picture
    assert sorted(segments.data["weight"]) == pytest.approx(sorted(figure.table["weight"]))
    assert "embed_item" in fragment(figure._view).script


def test_names_of_tokens_stay_text_in_html():
    n = len(HOSTILE)
    trace = atlas.from_attention(np.full((1, 1, n, n), 1 / n, np.float32), HOSTILE)
    (file,) = files_of(shown("matrix", trace), "html")
    (listed,) = files_of(shown("table", trace), "html")
    (steps,) = files_of(shown("lines", trace), "html")
    for each in (file, listed, steps):
        text = each.data.decode()
        assert "onerror=alert" not in text.replace(html.escape(HOSTILE[1]), "").replace("\\u003cimg src=x onerror=alert", "")
    assert file.data.decode().count("</script>") == file.data.decode().count("<script>")


# -- the notebook ----------------------------------------------------------------------------------------------------------


def test_the_notebook_runs_and_makes_the_same_numbers():
    trace = mini()
    view = shown("matrix", trace, focus=HeadId("decoder", 2, 1), heads=[HeadId("decoder", 2, 1), HeadId("decoder", 1, 0)])
    view.workspace.display.aggregate = "max"
    (file,) = files_of(view, "ipynb")
    notebook = nbformat.reads(file.data.decode(), as_version=4)
    nbformat.validate(notebook)
    notebook.cells.append(nbformat.v4.new_code_cell("print(figure.table.to_json(orient='values', double_precision=15))"))
    env = {**os.environ, "PYTHONPATH": str(REPO)}
    NotebookClient(notebook, timeout=200, kernel_name="python3").execute(env=env)
    (printed,) = notebook.cells[-1].outputs
    expected = trace.attention(layer=[1, 2], head=[0, 1]).to_numpy()
    expected = np.fmax(expected[0, 0], expected[1, 1])
    np.testing.assert_allclose(np.array(json.loads(printed["text"]), float), expected, atol=1e-6)
    assert any("data" in output for output in notebook.cells[-2].outputs)


def test_the_notebook_names_every_change_of_the_run():
    model = atlas.load("t5-mini")
    cut = [("cross L0 H0", 1, 0)]
    trace = model.trace("the cat's \"mat\"\n'''x", target="a dog", ablate={"encoder L0 H1": "zero"}, knock_out=cut)
    code, why = trace_code(trace)
    found = {}
    exec(code, {"atlas": SimpleNamespace(load=lambda _: model)}, found)
    again = found["trace"]
    assert why == ""
    for kind in trace.kinds:
        np.testing.assert_allclose(again.attention(kind), trace.attention(kind), atol=1e-6)
    assert again.provenance["changed"] == trace.provenance["changed"]


def test_the_notebook_of_a_recording_opens_it_and_says_why():
    code, why = trace_code(single())
    assert code == "trace = atlas.open('trace.nc')"
    assert "is a recording" in why
    assert "trace.save" in why


# -- the menu --------------------------------------------------------------------------------------------------------------


def test_a_file_goes_to_the_session_that_asked_and_to_no_disk(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    sent = {"mine": [], "theirs": []}
    heads = {}
    for name, trace in (("mine", single()), ("theirs", read())):
        heads[name] = CardHead()
        heads[name].on_export(Files(shown("profile", trace)))
        heads[name]._send_msg = sent[name].append
    for ending in FORMATS:
        heads["mine"]._handle_msg({"export": ending})
    heads["mine"]._handle_msg({"export": "../../etc"})
    heads["mine"]._handle_msg("export")
    assert sent["theirs"] == []
    assert len(sent["mine"]) == len(FORMATS)
    assert [file["name"] for message in sent["mine"] for file in message.get("files", ())] == [
        "depth.csv", "depth.csv-metadata.json", "depth.parquet", "profile.html", "profile.ipynb",
    ]  # fmt: skip
    assert list(tmp_path.iterdir()) == []


def test_an_export_that_fails_leaves_the_reason_in_its_card(monkeypatch, caplog):
    view = shown("profile", single())
    head = CardHead()
    sent = []
    head.on_export(Files(view))
    head._send_msg = sent.append
    monkeypatch.setattr(view, "data", lambda: {}["plus"])
    head._handle_msg({"export": "csv"})
    assert sent == [{"files": []}]
    assert "KeyError" in view.faults.note
    assert "KeyError" in caplog.text


def test_what_is_still_computed_or_cannot_be_shown_is_not_exported():
    view = shown("profile", single())
    view.lens.busy = True
    with pytest.raises(NotCaptured, match="still being computed"):
        files_of(view, "html")
    view.lens.param.update(busy=False, problem="Too many heads.")
    with pytest.raises(NotCaptured, match="Too many heads"):
        files_of(view, "csv")


def test_a_copied_workspace_needs_something_to_copy():
    with pytest.raises(UnknownName, match="Nothing is analysed yet"):
        copied(workspace())
