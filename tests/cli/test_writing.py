"""`atlas trace` with --write and --messages."""

from __future__ import annotations

import json

import pytest
import transformers as tr

import atlas
from atlas.cli import DONE, FAILED, main
from tests.engine.tiny_files import WORDS, bert, save

TEXT = "the doctor said she was tired"
TALK = [{"role": "user", "content": "she was tired"}, {"role": "assistant", "content": "the doctor said"}]
TEMPLATE = "{% for message in messages %}{{ message.content }} . {% endfor %}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    config = tr.GPT2Config(vocab_size=len(WORDS), n_embd=16, n_layer=2, n_head=2, n_positions=32, bos_token_id=2, eos_token_id=3)
    return str(save(tmp_path_factory.mktemp("gpt"), tr.GPT2LMHeadModel(config)))


@pytest.fixture(scope="module")
def chat(folder, tmp_path_factory):
    """The same model with a chat template."""
    tokenizer = tr.AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = TEMPLATE
    path = tmp_path_factory.mktemp("chat")
    tr.AutoModelForCausalLM.from_pretrained(folder).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return str(path)


def spans(path):
    return atlas.open(path).tokens()["span"].tolist()


def test_write_saves_prompt_and_written_tokens(folder, tmp_path, capsys):
    path = tmp_path / "on.nc"
    assert main(["trace", folder, TEXT, "--write", "5", "-o", str(path)]) == DONE
    assert "note: The model wrote" in capsys.readouterr().err
    expected = atlas.load(folder).write(TEXT, 5)
    assert atlas.open(path).tokens()["id"].tolist() == expected.tokens()["id"].tolist()
    assert spans(path) == expected.tokens()["span"].tolist()
    drawn = ["--sample", "--temperature", "3", "--top-p", "0.9", "--seed", "4"]
    assert main(["trace", folder, TEXT, "--write", "5", *drawn, "-o", str(path)]) == DONE
    expected = atlas.load(folder).write(TEXT, 5, sample=True, temperature=3.0, top_p=0.9, seed=4)
    assert atlas.open(path).tokens()["id"].tolist() == expected.tokens()["id"].tolist()


def test_messages_go_through_the_template(chat, tmp_path):
    talk, path = tmp_path / "talk.json", tmp_path / "talk.nc"
    talk.write_text(json.dumps(TALK), encoding="utf-8")
    assert main(["trace", chat, "--messages", str(talk), "-o", str(path)]) == DONE
    assert {"user", "assistant"} <= set(spans(path))
    assert main(["trace", chat, "--messages", str(talk), "--write", "3", "-o", str(path)]) == DONE
    assert {"user", "assistant"} <= set(spans(path))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ([], "either a TEXT or --messages"),
        ([TEXT, "--messages", "OUT/talk.json"], "either a TEXT or --messages"),
        ([TEXT, "--seed", "3"], "--seed says how tokens are written; add --write N"),
        ([TEXT, "--write", "3", "--target", "she"], "leave --pair and --target out"),
        ([TEXT, "--write", "0"], "tokens=0 has to be a whole number from 1"),
        ([TEXT, "--write", "3", "--temperature", "0.5"], "need sample=True"),
        ([TEXT, "--write", "3", "--sample", "--top-p", "2"], "top_p=2.0 has to be"),
        (["--messages", "OUT/nowhere.json"], "cannot be read"),
        (["--messages", "OUT/broken.json"], "is no JSON"),
        (["--messages", "OUT/object.json"], "JSON list"),
        (["--messages", "OUT/talk.json"], "has no chat template"),
    ],
)
def test_mistakes_are_one_sentence(options, says, folder, tmp_path, capsys):
    (tmp_path / "talk.json").write_text(json.dumps(TALK), encoding="utf-8")
    (tmp_path / "broken.json").write_text("[{", encoding="utf-8")
    (tmp_path / "object.json").write_text("{}", encoding="utf-8")
    arguments = [option.replace("OUT", str(tmp_path)) for option in options]
    assert main(["trace", folder, *arguments, "-o", str(tmp_path / "run.nc")]) == FAILED
    printed = capsys.readouterr()
    assert len(printed.err.splitlines()) == 1
    assert says in printed.err
    assert not (tmp_path / "run.nc").exists()


def test_a_model_that_does_not_write_says_so(tmp_path, capsys):
    folder = save(tmp_path / "bert", bert())
    assert main(["trace", str(folder), TEXT, "--write", "3", "-o", str(tmp_path / "run.nc")]) == FAILED
    assert "does not write" in capsys.readouterr().err
