"""What visitors of a server may load: names, allowed hub ids, folders below the roots; and that refusals tell them nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from atlas.engine.loading import catalog
from atlas.engine.loading.fetching import download_size, needs_download
from atlas.engine.loading.hub import resolve
from atlas.engine.loading.load import load
from atlas.engine.loading.rules import ModelRules
from atlas.engine.running.service import Run, Service
from atlas.errors import AtlasError, ModelNotFound, NotAllowed, TooLarge
from atlas.jobs import listed_models, where_is
from atlas.scheduler import Ticket
from atlas.serving import rules_of
from tests.engine import tiny_files
from tests.hub_standin import StandinHub, commit, files_of


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> dict[str, bytes]:
    return files_of(tiny_files.save(tmp_path_factory.mktemp("saved") / "tiny", tiny_files.bert()))


@pytest.fixture
def standin(tmp_path, monkeypatch):
    for name in ("HF_HUB_CACHE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    with StandinHub() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


@pytest.fixture
def places(tmp_path, saved) -> Path:
    """A root with a model and links out of it, beside folders that are nobody's business."""
    for folder in ("root/good", "root/deep/inner", "secret"):
        (tmp_path / folder).mkdir(parents=True)
        for name, data in saved.items():
            (tmp_path / folder / name).write_bytes(data)
    (tmp_path / "secret" / "salaries.ods").touch()
    (tmp_path / "root" / "out").symlink_to(tmp_path / "secret")
    (tmp_path / "root" / "loop").symlink_to(tmp_path / "root" / "loop")
    half = tmp_path / "root" / "half"
    half.mkdir()
    for name in saved:
        (half / name).symlink_to(tmp_path / "secret" / name)
    return tmp_path


def refusal(rules: ModelRules, name: str) -> str:
    with pytest.raises(NotAllowed) as error:
        resolve(name, rules=rules)
    return str(error.value).replace(repr(name), "NAME")


def test_a_folder_below_a_root_is_loaded_by_its_path_and_by_its_name_below_it(places):
    rules = ModelRules((places / "root",))
    inside = places / "root" / "deep" / "inner"
    assert resolve(str(inside), rules=rules).path == inside
    assert resolve("deep/inner", rules=rules).path == inside
    assert load("good", rules=rules).hf.config.num_hidden_layers == 2
    assert sorted(rules.listed()) == ["deep/inner", "good", "half"]
    assert {"good", "deep/inner"} <= {listed.name for listed in listed_models(rules)}


def test_every_other_path_is_refused_in_the_same_words_whether_it_exists_or_not(places, monkeypatch):
    monkeypatch.chdir(places)
    rules = ModelRules((places / "root",))
    there = [places / "secret", places / "secret" / "salaries.ods", Path("/"), Path("/etc"), Path.home()]
    links = [places / "root" / "out", places / "root" / "loop", places / "root" / "half"]
    around = ["../secret", "./secret", ".", "..", "~", "~root", "~nobody-here", f"{places}/root/../secret", "good/../../secret",
              "root/../secret", "C:\\models", "\\\\server\\share"]  # fmt: skip
    missing = ["/no/such/folder", f"{places}/secrets", f"{places}/root-too"]
    said = {refusal(rules, str(name)) for name in [*there, *links, *around, *missing]}
    assert len(said) == 1
    (words,) = said
    assert "salaries" not in words
    assert "config.json" not in words
    with pytest.raises(ModelNotFound, match="is a file"):  # the owner is told what is wrong
        resolve(places / "secret" / "salaries.ods")


def test_no_path_outside_the_roots_is_looked_up_on_the_disk(places, monkeypatch):
    rules, asked = ModelRules((places / "root",)), []
    for name in ("stat", "lstat", "listdir", "scandir", "open", "readlink"):
        real = getattr(os, name)

        def noted(path, *rest, real=real, **more):
            asked.append(str(path))
            return real(path, *rest, **more)

        monkeypatch.setattr(os, name, noted)
    refusal(rules, str(places / "secret"))
    refusal(rules, "/etc/ssl/private")
    assert [path for path in asked if "secret" in path or path.startswith("/etc")] == []


def test_a_folder_of_the_servers_working_directory_is_no_model_of_visitors(places, standin, saved, monkeypatch):
    monkeypatch.chdir(places)
    standin.add("secret", saved)
    assert resolve("secret").kind == "folder"
    assert resolve("secret", rules=ModelRules((places / "root",))).kind == "hub"


def test_the_service_of_a_server_refuses_and_that_of_the_owner_does_not(places):
    folder = str(places / "secret")
    run = Run((folder, None, None, None), "the doctor said")
    assert Service().run(run, Ticket()).provenance["source"] == "folder"
    with pytest.raises(NotAllowed):
        Service(rules=ModelRules()).run(run, Ticket())


# -- the hub --


def test_hub_ids_are_allowed_by_pattern_whatever_their_case(standin, saved):
    standin.add("good/one", saved)
    rules = ModelRules(hub=("Good/*", "gpt2"))
    assert resolve("good/one", rules=rules).kind == "hub"
    asked = len(standin.asked)
    for name in ("bad/one", "bert-base-uncased", "good"):
        with pytest.raises(NotAllowed, match=r"allows only Good/\*, gpt2 from the hub"):
            resolve(name, rules=rules)
    with pytest.raises(NotAllowed, match="allows no models from the hub"):
        resolve("good/one", rules=ModelRules(hub=()))
    assert len(standin.asked) == asked
    names = {listed.name for listed in listed_models(ModelRules(hub=("openai-community/gpt2",)))}
    assert "gpt2" in names
    assert "bert-base-uncased" not in names
    assert "gpt-mini" in names


def test_downloads_for_visitors_end_at_the_quota(standin, saved):
    size = download_size("good/one") if standin.add("good/one", saved) else 0
    standin.add("good/two", saved | {"config.json": saved["config.json"] + b" "})
    rules = ModelRules(quota=size + 100)
    resolve("good/one", rules=rules)
    with pytest.raises(TooLarge, match="Ask its operator to make room"):
        resolve("good/two", rules=rules)
    assert not catalog.cached_snapshot("good/two")
    assert resolve("good/one", rules=rules).kind == "hub"  # what is here needs no room
    assert resolve("good/two", rules=ModelRules(quota=3 * size)).kind == "hub"  # and the room held by the refused is free again


def test_visitors_get_the_copy_that_is_here_and_the_hub_is_not_asked(standin, saved):
    standin.add("good/one", saved)
    before = resolve("good/one").revision
    standin.add("good/one", saved | {"config.json": saved["config.json"] + b" "})
    standin.asked.clear()
    assert resolve("good/one", rules=ModelRules()).revision == before == commit(saved)
    assert standin.asked == []
    assert resolve("good/one").revision != before


def test_whether_a_model_would_be_fetched_is_known_without_the_hub_and_its_size_with_it(standin, saved, places, monkeypatch):
    standin.add("good/one", saved)
    assert needs_download("good/one")
    assert not needs_download("gpt-mini")
    assert not needs_download(str(places / "secret"))
    assert not needs_download("/etc", rules=ModelRules())  # what is refused is not fetched
    assert not needs_download("no such name!")
    assert standin.asked == []
    assert download_size("good/one") == sum(map(len, saved.values()))
    assert where_is(Service(), "good/one", "") == "hub"
    resolve("good/one")
    assert not needs_download("good/one")
    assert needs_download("good/one", "another-revision")
    assert where_is(Service(), "good/one", "") == "here"
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert not needs_download("good/two")


# -- the operator --


def test_rules_are_those_of_the_options_else_of_the_environment(tmp_path, monkeypatch):
    for name in ("ATLAS_MODELS", "ATLAS_HUB", "ATLAS_HUB_QUOTA"):
        monkeypatch.delenv(name, raising=False)
    assert rules_of(always=False) is None
    assert rules_of() == ModelRules()
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    assert rules_of([one], ["none"], 2.5, always=False) == ModelRules((one,), (), 2_500_000_000)
    monkeypatch.setenv("ATLAS_MODELS", f"{one}{os.pathsep}{two}")
    monkeypatch.setenv("ATLAS_HUB", "a/*, b/c")
    monkeypatch.setenv("ATLAS_HUB_QUOTA", "1")
    assert rules_of(always=False) == ModelRules((one, two), ("a/*", "b/c"), 1_000_000_000)
    monkeypatch.setenv("ATLAS_HUB_QUOTA", "much")
    with pytest.raises(AtlasError, match="no number of gigabytes"):
        rules_of()
    with pytest.raises(AtlasError, match="which is no folder"):
        rules_of([tmp_path / "none"], quota=1)
