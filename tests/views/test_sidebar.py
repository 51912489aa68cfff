"""The sidebar without a page: what it says of the model chosen, and of one that cannot be had."""

from __future__ import annotations

import pytest

from atlas.engine.running.service import Service
from atlas.jobs import listed_models, worked_out
from atlas.state.library import NOTHING, examples
from atlas.state.opening import Opening, begin, opening_of
from atlas.state.shared import SharedState
from atlas.state.workspace import Workspace
from atlas.views.sidebar import OTHER, WRITE_A_NAME, Sidebar
from tests.engine.test_hub import standin, unused_port  # noqa: F401  (a fixture)
from tests.hub_standin import files_of


def reader():
    service = Service()
    return Workspace(lambda job, ticket: worked_out(service, job, ticket))


def test_the_description_is_that_of_the_model_chosen():
    workspace = reader()
    workspace.pipeline.choose("gpt-mini")
    picker, other, about = Sidebar(workspace, listed_models(), ())._model()
    listed = {model.name: model for model in listed_models()}

    def says(name):
        return f"{listed[name].size}. {listed[name].good_for}"

    assert about.object == says("gpt-mini")
    picker.value = "mood-mini"
    assert about.object == says("mood-mini")
    picker.value = OTHER
    assert about.object == f"{WRITE_A_NAME} Until then mood-mini stays chosen."
    other.value = "org/unlisted"
    assert workspace.pipeline.choice.name_or_path == "org/unlisted"
    assert about.object.startswith("org/unlisted is not in the catalog")
    picker.value = "mood-mini"
    assert about.object == says("mood-mini")
    workspace.pipeline.choose("bert-mini")  # as a link or an example does
    assert (picker.value, about.object) == ("bert-mini", says("bert-mini"))


@pytest.mark.parametrize(
    ("case", "says"),
    [
        ("absent", "There is no model 'org/wanted'"),
        ("gated", "org/wanted is gated"),
        ("down", "org/wanted could not be fetched: there is no connection"),
    ],
)
def test_a_model_that_cannot_be_had_is_named_with_the_reason(case, says, standin, monkeypatch, tmp_path):  # noqa: F811
    (tmp_path / "model").mkdir()
    for name in ("config.json", "model.safetensors"):
        (tmp_path / "model" / name).write_text("{}")
    if case == "gated":
        standin.add("org/wanted", files_of(tmp_path / "model"), gated=True)
    if case == "down":
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{unused_port()}")
    workspace = reader()
    begin(SharedState(workspace), Opening("org/wanted", "A text."))
    assert workspace.pipeline.status == "failed"
    assert says in workspace.pipeline.error


def test_the_hint_of_an_example_is_there_while_its_model_and_text_are_asked_for():
    workspace = reader()
    shared = SharedState(workspace)
    known = {example.name: example for example in examples()}
    sidebar = Sidebar(workspace, listed_models(), examples(), lambda example: begin(shared, opening_of(example)))
    picker, look = sidebar._examples()
    assert (picker.value, look.object) == ("", "")
    picker.value = "A list"
    assert workspace.selection.focus == known["A list"].shows.head
    assert look.object == known["A list"].look
    workspace.pipeline.input.text = "Another text."
    assert (picker.value, look.object) == ("", "")
    picker.value = "Said twice"
    assert look.object == known["Said twice"].look
    workspace.pipeline.choose("bert-mini")
    assert (picker.value, look.object) == ("", "")


def test_an_example_of_a_model_that_is_not_here_is_a_text_for_the_one_that_is():
    shown = []
    workspace = reader()
    workspace.pipeline.choose("gpt-mini")
    here = [model for model in listed_models() if model.name == "gpt-mini"]
    picker, _ = Sidebar(workspace, here, examples(), shown.append)._examples()
    picker.value = "A date in digits"
    (example,) = shown
    assert (example.model, example.shows) == ("gpt-mini", NOTHING)
