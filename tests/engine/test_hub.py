from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest
import torch

from atlas.engine.loading import catalog, hub
from atlas.engine.loading.construct import construct
from atlas.engine.loading.hub import resolve
from atlas.engine.loading.hub_errors import explain
from atlas.errors import BrokenFiles, HubUnreachable, ModelGated, ModelNotFound, TooLarge, UnsafeModel, UnsupportedModel
from tests.engine import tiny_files
from tests.hub_standin import StandinHub, commit, files_of

REPO = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> dict[str, bytes]:
    """A tiny model with what repositories keep beside it and nobody here may ask for."""
    folder = tiny_files.save(tmp_path_factory.mktemp("saved") / "tiny", tiny_files.bert())
    forbidden = ("pytorch_model.bin", "tf_model.h5", "modeling.py", "model.pkl", "onnx/model.safetensors",
                 "consolidated.safetensors", "README.md")  # fmt: skip
    return files_of(folder) | dict.fromkeys(forbidden, b"never to be fetched")


@pytest.fixture
def standin(tmp_path, monkeypatch):
    """A stand-in hub, an empty cache of its own, and no models shipped in this checkout."""
    for name in ("HF_HUB_CACHE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    with StandinHub() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


def one_line(error) -> str:
    text = str(error.value)
    assert "\n" not in text
    assert text.endswith(".")
    return text


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


# Found


def test_a_model_is_fetched_once_and_computes_what_was_saved(standin, saved):
    standin.add("org/tiny", saved)
    source = resolve("org/tiny")
    assert (source.kind, source.name, source.revision) == ("hub", "org/tiny", commit(saved))
    built = construct(source, device="cpu")
    ids = torch.tensor([[2, 5, 6, 7, 3]])
    assert torch.equal(built.hf(ids).logits, tiny_files.bert().eval()(ids).logits)
    assert built.task == "masked-lm"
    assert built.notes == ()
    standin.asked.clear()
    assert resolve("org/tiny") == source
    assert not standin.names_asked()  # whether there is a newer one was asked, nothing was fetched again


def test_only_what_is_needed_is_asked_for(standin, saved):
    standin.add("org/tiny", saved)
    resolve("org/tiny")
    assert standin.names_asked() == {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}


def test_code_is_fetched_only_for_those_who_trust_it(standin, saved):
    standin.add("org/tiny", saved)
    source = resolve("org/tiny", trust_remote_code=True)
    assert (source.path / "modeling.py").exists()
    assert not {name for name in standin.names_asked() if name.endswith((".bin", ".pkl", ".h5"))}


def test_a_sharded_model(standin, tmp_path):
    folder = tiny_files.save(tmp_path / "sharded", tiny_files.bert(), max_shard_size="8KB")
    shards = {path.name for path in folder.glob("model-*.safetensors")}
    assert len(shards) > 1
    standin.add("org/sharded", folder)
    source = resolve("org/sharded")
    assert shards <= standin.names_asked()
    ids = torch.tensor([[2, 5, 3]])
    assert torch.equal(construct(source, device="cpu").hf(ids).logits, tiny_files.bert().eval()(ids).logits)


def test_a_catalog_name_goes_to_the_repository_it_stands_for(standin, saved):
    standin.add("google-bert/bert-base-uncased", saved)
    source = resolve("BERT-base-uncased")
    assert source.name == "bert-base-uncased"
    assert source.entry is catalog.find("bert-base-uncased")
    assert catalog.on_disk(source.entry) == source.path


def test_a_revision_is_fetched_by_tag_and_by_commit_and_recorded(standin, saved):
    old = saved | {"generation_config.json": b"{}"}
    standin.add("org/tiny", saved, refs={"step1": old})
    assert resolve("org/tiny", "step1").revision == commit(old)
    standin.asked.clear()
    pinned = resolve("org/tiny", commit(old))
    assert (pinned.revision, standin.asked) == (commit(old), [])  # a commit on disk never changes: nobody is asked
    assert resolve("org/tiny").revision == commit(saved)


def test_a_newer_version_on_the_hub_is_fetched(standin, saved):
    standin.add("org/tiny", saved)
    resolve("org/tiny")
    newer = saved | {"special_tokens_map.json": b"{}"}
    standin.add("org/tiny", newer)
    assert resolve("org/tiny").revision == commit(newer)


def test_progress_tells_the_bytes_and_ends_at_the_total(standin, saved, capfd):
    standin.add("org/tiny", saved)
    told = []
    resolve("org/tiny", progress=told.append)
    total = sum(len(saved[name]) for name in standin.names_asked())
    assert [step.done for step in told] == sorted({step.done for step in told})
    assert (told[-1].what, told[-1].done, told[-1].total) == ("org/tiny", total, total)
    assert capfd.readouterr() == ("", "")


def test_pickles_are_replaced_by_the_hubs_own_conversion(standin, saved):
    pickled = {name: data for name, data in saved.items() if name != "model.safetensors"}
    title = "Adding `safetensors` variant of this model"
    stranger = {"title": title, "num": 3, "author": "stranger"}
    repo = standin.add("org/pickled", pickled, refs={"refs/pr/3": {}, "refs/pr/4": saved}, pulls=[stranger])
    with pytest.raises(UnsafeModel, match=r"pytorch_model\.bin.*can run any code") as error:
        resolve("org/pickled")
    assert "save_pretrained" in one_line(error)
    repo.pulls.append({"title": title, "num": 4, "author": hub.CONVERTER})
    source = resolve("org/pickled")
    assert source.revision == commit(saved)
    assert source.notes == ("org/pickled has pickled weights only; these are the hub's own conversion, refs/pr/4.",)
    assert "pytorch_model.bin" not in standin.names_asked()


# Not found, not allowed


def test_not_found_with_a_suggestion(standin):
    with pytest.raises(
        ModelNotFound, match=r"no model 'distilbert-base-uncasedd'.*Did you mean distilbert-base-uncased"
    ) as error:
        resolve("distilbert-base-uncasedd")
    assert standin.url in one_line(error)
    with pytest.raises(ModelNotFound, match="hf auth login") as error:
        resolve("org/private")
    one_line(error)


def test_revision_not_found(standin, saved):
    standin.add("org/tiny", saved)
    resolve("org/tiny")
    with pytest.raises(ModelNotFound, match="no revision 'v9'") as error:
        resolve("org/tiny", "v9")  # the copy of main on disk is not v9
    one_line(error)


def test_gated(standin, saved):
    standin.add("org/gated", saved, gated=True)
    with pytest.raises(ModelGated, match=r"Accept it at .*/org/gated .*hf auth login") as error:
        resolve("org/gated")
    one_line(error)


def test_a_token_without_rights(standin, saved):
    standin.add("org/tiny", saved, status=403)
    with pytest.raises(ModelGated, match=r"access to org/tiny.*403") as error:
        resolve("org/tiny")
    one_line(error)


@pytest.mark.parametrize("name", ["a/b/c", "org/na me", "org/x--y", "x" * 200, "org/name.git", "név"])
def test_what_cannot_be_a_name_on_the_hub_is_not_asked_for(standin, name):
    with pytest.raises(ModelNotFound, match="owner/name") as error:
        resolve(name)
    one_line(error)
    assert standin.asked == []


@pytest.mark.parametrize("name", ["", "  ", "gpt\x002", "gpt2\n", "x" * 5000, "\ud800"])
def test_what_cannot_be_a_name_at_all(standin, name):
    with pytest.raises(ModelNotFound) as error:
        resolve(name)
    assert len(one_line(error)) < 200
    assert standin.asked == []


@pytest.mark.parametrize("name", ["../x", "./x", "/no/such/folder", "~/no-such-folder-of-mine", Path("gpt2")])
def test_a_path_that_is_not_there_is_not_looked_for_on_the_hub(standin, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelNotFound, match="There is no folder") as error:
        resolve(name)
    one_line(error)
    assert standin.asked == []


def test_what_cannot_be_traced_is_not_downloaded(standin):
    with pytest.raises(UnsupportedModel, match="not downloaded") as error:
        resolve("vit-base")
    one_line(error)
    assert standin.asked == []


# Unreachable, broken off


def test_nobody_answers(tmp_path, monkeypatch, standin):
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{unused_port()}")
    with pytest.raises(HubUnreachable, match=r"^org/tiny could not be fetched: there is no connection to 127\.0\.0\.1") as error:
        resolve("org/tiny")
    one_line(error)
    monkeypatch.setenv("HF_ENDPOINT", "not an address")
    with pytest.raises(HubUnreachable, match="no web address"):
        resolve("org/tiny")


def test_without_a_hub_the_models_on_disk_are_named(standin, tmp_path, monkeypatch):
    tiny_files.save(tmp_path / "models" / "bert-tiny", tiny_files.bert())
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{unused_port()}")
    with pytest.raises(HubUnreachable, match="usable without a network: bert-tiny") as error:
        resolve("org/tiny", models=tmp_path / "models")
    one_line(error)


def test_a_hub_too_slow_to_answer(standin, saved, monkeypatch):
    monkeypatch.setattr(hub, "ANSWER_SECONDS", 0.2)
    standin.add("org/slow", saved, delay=1.0)
    with pytest.raises(HubUnreachable, match=r"^org/slow could not be fetched: the hub at .* did not answer in time") as error:
        resolve("org/slow")
    one_line(error)


@pytest.mark.parametrize(("status", "says"), [(500, "in trouble"), (503, "in trouble"), (429, "too many requests")])
def test_a_hub_in_trouble(standin, saved, status, says):
    standin.add("org/tiny", saved, status=status)
    with pytest.raises(HubUnreachable, match=f"^org/tiny could not be fetched: .*{says}") as error:
        resolve("org/tiny")
    one_line(error)


def test_an_address_where_something_else_lives(standin, monkeypatch):
    standin.page = b"<html>Welcome to our router</html>"
    with pytest.raises(HubUnreachable, match=r"^org/tiny could not be fetched: .*not a model hub.*HF_ENDPOINT") as error:
        resolve("org/tiny")
    one_line(error)


def test_a_download_that_breaks_off_leaves_nothing_and_is_told_once(standin, saved, caplog, monkeypatch):
    standin.add("org/cut", saved, cut={"model.safetensors": 1000})
    logger = logging.getLogger("huggingface_hub")
    monkeypatch.setattr(logger, "propagate", True)  # so that caplog would hear of each retry
    level = logger.level
    with pytest.raises(BrokenFiles, match=r"broke off.*try again") as error:
        resolve("org/cut")
    one_line(error)
    assert not caplog.records
    assert logger.level == level
    assert catalog.cached_snapshot("org/cut") is None
    standin.repos["org/cut"].cut.clear()
    assert resolve("org/cut").revision == commit(saved)


def test_a_file_that_is_truncated_on_the_hub_itself(standin, saved):
    standin.add("org/short", saved | {"model.safetensors": saved["model.safetensors"][:-500]})
    source = resolve("org/short")
    with pytest.raises(BrokenFiles, match=r"truncated or damaged.*Delete .*blobs.* load the model again") as error:
        construct(source)
    one_line(error)


def test_no_room_on_the_disk(tmp_path):
    hub.require_room(1000, tmp_path / "not" / "there" / "yet")
    with pytest.raises(TooLarge, match=r"takes 1000000\.00 GB.*HF_HOME") as error:
        hub.require_room(10**15, tmp_path)
    one_line(error)
    full = explain(OSError(28, "No space left on device"), "org/tiny", None, "https://huggingface.co", tmp_path)
    assert isinstance(full, TooLarge)


def test_a_cache_that_cannot_be_written(standin, saved, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "file"))
    standin.add("org/tiny", saved)
    with pytest.raises(BrokenFiles, match=r"could not be kept in .*HF_HOME") as error:
        resolve("org/tiny")
    one_line(error)


# A copy on disk


def test_with_a_copy_on_disk_a_hub_that_cannot_help_is_a_note(standin, saved, monkeypatch):
    standin.add("org/tiny", saved)
    first = resolve("org/tiny")
    standin.add("org/tiny", saved, status=500)
    assert "in trouble" in " ".join(resolve("org/tiny").notes)
    del standin.repos["org/tiny"]
    assert "There is no model" in " ".join(resolve("org/tiny").notes)
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{unused_port()}")
    source = resolve("org/tiny")
    assert (source.path, source.revision) == (first.path, first.revision)
    assert source.notes[0].startswith("Using the copy on disk. org/tiny could not be fetched: there is no connection")
    assert construct(source, device="cpu").notes == source.notes


def test_offline_with_and_without_a_copy(standin, saved, monkeypatch):
    standin.add("org/tiny", saved)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(HubUnreachable, match=r"HF_HUB_OFFLINE.*Unset it") as error:
        resolve("org/tiny")
    one_line(error)
    monkeypatch.delenv("HF_HUB_OFFLINE")
    first = resolve("org/tiny")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    standin.asked.clear()
    source = resolve("org/tiny")
    assert source.path == first.path
    assert "offline" in source.notes[0]
    assert standin.asked == []


def test_half_a_copy_is_no_copy(standin, saved, monkeypatch):
    standin.add("org/tiny", saved)
    first = resolve("org/tiny")
    (first.path / "model.safetensors").unlink()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(HubUnreachable):
        resolve("org/tiny")
    monkeypatch.delenv("HF_HUB_OFFLINE")
    assert (resolve("org/tiny").path / "model.safetensors").exists()


def test_the_environment_at_import_is_honoured_and_nothing_else_is_contacted(standin, saved, tmp_path):
    """The whole way in a fresh process, as a user starts it: online, then offline with and without a copy."""
    standin.add("org/tiny", saved)
    code = textwrap.dedent("""
        import sys
        from atlas.engine.loading.construct import construct
        from atlas.engine.loading.hub import resolve
        from atlas.errors import AtlasError
        for name in sys.argv[1:]:
            try:
                built = construct(resolve(name), device="cpu")
                print(name, type(built.hf).__name__, built.tokenizer("the doctor")["input_ids"], *built.notes)
            except AtlasError as error:
                print(name, type(error).__name__)
    """)

    def run(**environment):
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", code, "org/tiny", "org/other"], capture_output=True, text=True, cwd=REPO,
            env={**os.environ, "OMP_NUM_THREADS": "1", **environment}, check=True,
        )  # fmt: skip
        assert done.stderr == ""
        return done.stdout.splitlines()

    found, other = run()
    assert found == "org/tiny BertForMaskedLM [2, 5, 6, 3]"
    assert other == "org/other ModelNotFound"
    standin.asked.clear()
    found, other = run(HF_HUB_OFFLINE="1")
    assert found.startswith("org/tiny BertForMaskedLM [2, 5, 6, 3] The hub was not asked")
    assert other == "org/other HubUnreachable"
    assert standin.asked == []


# Folders


def test_a_folder_is_named_by_its_contents(standin, tmp_path):
    one = tiny_files.save(tmp_path / "one", tiny_files.bert())
    two = tiny_files.save(tmp_path / "two", tiny_files.bert())
    other = tiny_files.save(tmp_path / "other", tiny_files.bert(num_attention_heads=1))
    sources = [resolve(folder) for folder in (one, str(two), other)]
    assert [source.kind for source in sources] == ["folder"] * 3
    assert sources[0].revision == sources[1].revision
    assert sources[0].revision.startswith("sha256:")
    assert sources[2].revision != sources[0].revision  # the same weights, read with one head instead of two
    with pytest.raises(ModelNotFound, match="leave out revision"):
        resolve(one, "main")


def test_large_weights_are_hashed_by_their_ends(tmp_path, monkeypatch):
    folder = tiny_files.save(tmp_path / "one", tiny_files.bert())
    monkeypatch.setattr("atlas.engine.loading.files.HASH_WHOLE_BYTES", 1000)
    before = resolve(folder).revision
    assert before.startswith("sha256-sampled:")
    data = bytearray((folder / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "model.safetensors").write_bytes(data)
    assert resolve(folder).revision != before


def test_a_folder_in_the_way_of_a_catalog_name(standin, saved, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    standin.add("openai-community/gpt2", saved)
    (tmp_path / "gpt2").mkdir()
    (tmp_path / "gpt2" / "notes.txt").write_text("mine")
    assert resolve("gpt2").kind == "hub"
    tiny_files.save(tmp_path / "gpt2", tiny_files.bert())
    assert resolve("gpt2").kind == "folder"


def test_an_embedded_model_comes_first_and_needs_no_network(standin, tmp_path):
    tiny_files.save(tmp_path / "models" / "gpt2", tiny_files.bert())
    source = resolve("gpt2", models=tmp_path / "models")
    assert (source.kind, source.name, source.path) == ("embedded", "gpt2", tmp_path / "models" / "gpt2")
    assert standin.asked == []


def test_ten_callers_download_at_the_same_time(standin, saved):
    standin.add("org/tiny", saved)
    found = []
    threads = [threading.Thread(target=lambda: found.append(resolve("org/tiny"))) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 10
    assert len({source.revision for source in found}) == 1
