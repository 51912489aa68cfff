"""The app for visitors: a link or a name typed at the side loads no folder of the server and fetches nothing without a click."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from atlas.app import AttentionAtlas
from atlas.engine.loading.rules import ModelRules
from atlas.engine.running.service import Service
from atlas.state.link import State
from atlas.state.opening import Opening, begin
from atlas.state.share import encode
from tests.engine import tiny_files
from tests.hub_standin import StandinHub
from tests.waiting import until

TEXT = "the doctor said"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tiny_files.save(tmp_path_factory.mktemp("owner") / "tiny", tiny_files.bert())


@pytest.fixture
def standin(tmp_path, monkeypatch, folder):
    for name in ("HF_HUB_CACHE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    with StandinHub() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        server.add("some/model", folder)
        yield server


def link(model: str) -> str:
    return encode(State(model, text=TEXT)).token


def ended(app: AttentionAtlas) -> bool:
    return not app.workspace.pipeline.busy and app.workspace.pipeline.status != "empty"


def test_a_link_to_a_folder_runs_for_the_owner_and_is_refused_for_visitors(folder):
    async def journey(service: Service) -> tuple[str, str]:
        app = AttentionAtlas(service)
        app.shared.open(link(str(folder)))
        await until(lambda: ended(app))
        return app.workspace.pipeline.status, app.workspace.pipeline.error

    assert asyncio.run(journey(Service())) == ("ready", "")
    status, error = asyncio.run(journey(Service(rules=ModelRules())))
    assert status == "failed"
    assert "cannot be loaded here. Choose a model of the list" in error
    assert asyncio.run(journey(Service(rules=ModelRules((folder.parent,))))) == ("ready", "")


@pytest.mark.parametrize("name", ["/", "/etc", "/etc/no-such-thing", "~root", "../..", "."])
def test_a_name_typed_at_the_side_asks_nothing_of_the_servers_disk(name):
    async def journey() -> None:
        app = AttentionAtlas(Service(rules=ModelRules()))
        app.workspace.pipeline.choose(name)
        app.workspace.pipeline.input.text = TEXT
        app.workspace.pipeline.run()
        await until(lambda: ended(app))
        assert app.workspace.pipeline.error.startswith(f"{name!r} cannot be loaded here.")

    asyncio.run(journey())


@pytest.mark.parametrize("rules", [None, ModelRules()], ids=["the owner", "visitors"])
def test_a_link_fetches_a_hub_model_only_at_a_click_that_knows_the_size(standin, rules):
    async def journey() -> None:
        app = AttentionAtlas(Service(rules=rules))
        app.shared.open(link("some/model"))
        await until(lambda: "The download takes" in app.shared.complaint)
        assert "MB. Run it to fetch the model." in app.shared.complaint
        assert (app.workspace.pipeline.asked, standin.names_asked()) == (0, set())
        app.workspace.pipeline.run()
        await until(lambda: ended(app))
        assert app.workspace.pipeline.status == "ready"
        assert "model.safetensors" in standin.names_asked()
        again = AttentionAtlas(app.service)
        again.shared.open(link("some/model"))  # it is here now
        await until(lambda: ended(again))
        assert again.workspace.pipeline.status == "ready"

    asyncio.run(journey())


def test_a_link_to_what_the_hub_does_not_have_says_so_beside_the_question(standin):
    async def journey() -> None:
        app = AttentionAtlas(Service(rules=ModelRules()))
        app.shared.open(link("nobody/none"))
        await until(lambda: "nobody/none' and" in app.shared.complaint or "no model" in app.shared.complaint)
        assert app.workspace.pipeline.asked == 0

    asyncio.run(journey())


def test_what_the_operator_opens_the_app_with_is_fetched_without_a_question(standin):
    async def journey() -> None:
        app = AttentionAtlas(Service(rules=ModelRules()))
        app.opened_with = "some/model"
        begin(app.shared, Opening("some/model", TEXT))
        await until(lambda: ended(app))
        assert app.workspace.pipeline.status == "ready"

    asyncio.run(journey())


def test_a_link_to_a_model_in_memory_is_restored_where_that_model_is():
    async def journey() -> None:
        app = AttentionAtlas()
        model = tiny_files.bert(), tiny_files.tokenizer()
        name = app.service.give(app.service.borrow(model))
        app.shared.open(encode(State(name, in_memory=True, text=TEXT)).token)
        await until(lambda: ended(app))
        assert (app.workspace.pipeline.status, app.shared.complaint) == ("ready", "")

    asyncio.run(journey())
