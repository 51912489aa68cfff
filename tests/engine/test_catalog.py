from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch
import transformers as tf

from atlas.engine.loading import catalog
from atlas.engine.loading.catalog import CATALOG, Entry
from atlas.engine.loading.embedded import embedded
from atlas.errors import ModelNotFound
from tests.engine import tiny_files

BY_NAME = {entry.name: entry for entry in CATALOG}

FIRST_ATLAS = ["bert-base-uncased", "bert-large-uncased", "bert-base-multilingual-uncased",
               "gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl"]  # fmt: skip


def bert_like(config, **more):
    return lambda e: config(vocab_size=e.vocabulary, num_hidden_layers=e.layers, num_attention_heads=e.heads,
                            hidden_size=e.hidden, intermediate_size=e.ffn, **more)  # fmt: skip


def llama_like(config, **more):
    return bert_like(lambda **known: config(num_key_value_heads=8 if config is not tf.Gemma2Config else 4, **known), **more)


def bart_like(config, **more):
    return lambda e: config(vocab_size=e.vocabulary, encoder_layers=e.layers, decoder_layers=e.decoder_layers,
                            encoder_attention_heads=e.heads, decoder_attention_heads=e.heads, d_model=e.hidden,
                            encoder_ffn_dim=e.ffn, decoder_ffn_dim=e.ffn,
                            max_position_embeddings=e.positions, **more)  # fmt: skip


# Family -> (class, configuration from the entry's own figures plus what the catalog does not list).
BUILD = {
    "BERT": (tf.BertForMaskedLM, bert_like(tf.BertConfig)),
    "GPT-2": (tf.GPT2LMHeadModel, lambda e: tf.GPT2Config(vocab_size=e.vocabulary, n_layer=e.layers, n_head=e.heads,
                                                          n_embd=e.hidden, n_inner=e.ffn, n_positions=e.positions)),
    "RoBERTa": (tf.RobertaForMaskedLM, bert_like(tf.RobertaConfig, max_position_embeddings=514, type_vocab_size=1)),
    "DistilBERT": (tf.DistilBertForMaskedLM, lambda e: tf.DistilBertConfig(vocab_size=e.vocabulary, n_layers=e.layers,
                                                                           n_heads=e.heads, dim=e.hidden, hidden_dim=e.ffn)),
    "ELECTRA": (tf.ElectraModel, bert_like(tf.ElectraConfig, embedding_size=768)),
    "ALBERT": (tf.AlbertForMaskedLM, bert_like(tf.AlbertConfig, embedding_size=128)),
    "ModernBERT": (tf.ModernBertForMaskedLM, bert_like(tf.ModernBertConfig)),
    "T5": (tf.T5ForConditionalGeneration, lambda e: tf.T5Config(vocab_size=e.vocabulary, num_layers=e.layers, d_ff=e.ffn,
                                                                num_decoder_layers=e.decoder_layers, num_heads=e.heads,
                                                                d_model=e.hidden, d_kv=64)),
    "BART": (tf.BartForConditionalGeneration, bart_like(tf.BartConfig)),
    "Marian": (tf.MarianMTModel, bart_like(tf.MarianConfig, pad_token_id=58100)),
    "GPT-NeoX": (tf.GPTNeoXForCausalLM, bert_like(tf.GPTNeoXConfig, tie_word_embeddings=False)),
    "Qwen3": (tf.Qwen3ForCausalLM, llama_like(tf.Qwen3Config, head_dim=128, tie_word_embeddings=True)),
    "Llama": (tf.LlamaForCausalLM, llama_like(tf.LlamaConfig, tie_word_embeddings=True)),
    "Gemma 2": (tf.Gemma2ForCausalLM, llama_like(tf.Gemma2Config, head_dim=256, tie_word_embeddings=True)),
    "ViT": (tf.ViTForImageClassification, lambda e: tf.ViTConfig(num_hidden_layers=e.layers, num_attention_heads=e.heads,
                                                                 hidden_size=e.hidden, intermediate_size=e.ffn,
                                                                 num_labels=1000)),
}  # fmt: skip

PUBLISHED = {
    # Counts given by the models' own papers or cards, in millions: an independent check of our figures.
    "bert-base-uncased": 110, "bert-large-uncased": 336, "gpt2": 124, "gpt2-medium": 355, "gpt2-large": 774, "gpt2-xl": 1558,
    "roberta-base": 125, "distilbert-base-uncased": 67, "electra-base": 110, "albert-base-v2": 12, "modernbert-base": 149,
    "t5-small": 60.5, "bart-base": 140, "pythia-70m": 70.4, "pythia-160m": 162.3, "qwen3-0.6b": 600, "llama-3.2-1b": 1236,
    "gemma-2-2b": 2614, "vit-base-patch16-224": 86.6,
}  # fmt: skip


@pytest.mark.parametrize("entry", CATALOG, ids=lambda entry: entry.name)
def test_the_figures_build_a_model_with_the_parameters_they_promise(entry):
    model_class, config = BUILD[entry.family]
    with torch.device("meta"):
        model = model_class(config(entry))
    model.tie_weights()
    assert sum(parameter.numel() for parameter in model.parameters()) == entry.parameters


@pytest.mark.parametrize(("name", "millions"), PUBLISHED.items())
def test_the_parameters_are_the_published_ones(name, millions):
    # Within 8 %: authors round, and count pretraining heads and poolers that are not loaded (ALBERT's 12 M is 11.7 with them).
    assert BY_NAME[name].parameters / 1e6 == pytest.approx(millions, rel=0.08)


def test_grouped_keys_are_listed_where_the_models_have_them():
    assert {entry.name: entry.kv_heads for entry in CATALOG if entry.kv_heads} == {
        "qwen3-0.6b": 8, "llama-3.2-1b": 8, "gemma-2-2b": 4
    }  # fmt: skip


def test_the_seven_models_of_the_first_atlas_come_first():
    assert [entry.name for entry in CATALOG[:7]] == FIRST_ATLAS


def test_every_entry_says_what_it_is_good_for_and_names_are_unique():
    names = [name.casefold() for entry in CATALOG for name in entry.names]
    assert len(names) == len(set(names))
    assert all(entry.good_for.endswith(".") and len(entry.good_for) < 130 for entry in CATALOG)
    assert all((entry.decoder_layers is None) == ("cross" not in entry.kinds) for entry in CATALOG)


@pytest.mark.parametrize("name", ["gpt2", "GPT2", " openai-community/gpt2 ", "gpt2-small"])
def test_a_model_answers_to_its_name_its_hub_id_and_its_aliases(name):
    assert catalog.find(name) is BY_NAME["gpt2"]


def test_a_misspelt_name_gets_suggestions():
    with pytest.raises(ModelNotFound, match="Did you mean bert-base-uncased"):
        catalog.find("bert-base-uncasd")
    with pytest.raises(ModelNotFound) as error:
        catalog.find("zzzz")
    assert "Did you mean" not in str(error.value)
    assert "atlas models" in str(error.value)


def test_part_of_a_name_is_enough_for_a_suggestion():
    assert catalog.suggestions("pythia") == ("pythia-70m", "pythia-160m")


def test_listing_imports_neither_torch_nor_transformers():
    code = (
        "import sys; from atlas.engine.loading import catalog; print(len(catalog.entries()), [catalog.on_disk(e) for e in "
        "catalog.entries()] and sorted({'torch', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    count, loaded = done.stdout.split(maxsplit=1)
    assert int(count) >= len(CATALOG)
    assert loaded.strip() == "[]"


def test_models_shipped_in_a_folder_become_entries_with_their_own_figures(tmp_path):
    folder = tiny_files.save(tmp_path / "bert-tiny", tiny_files.bert())
    (folder / "MODEL_CARD.md").write_text("---\nlicense: mit\ngood_for: 'Tests: small ones.'\n---\n# bert-tiny\n")
    (entry,) = embedded(tmp_path)
    assert entry == Entry(
        name="bert-tiny", family="bert", kinds=("encoder",), layers=2, heads=2, hidden=16, ffn=32, vocabulary=13,
        parameters=sum(p.numel() for p in tiny_files.bert().parameters()), task="masked-lm", positions=32, licence="mit",
        good_for="Tests: small ones.", embedded=True, path=folder,
    )  # fmt: skip
    assert catalog.entries(tmp_path)[0] is entry
    assert catalog.on_disk(entry) == folder


def test_shipped_models_of_other_shapes(tmp_path):
    torch.manual_seed(0)
    gpt = tf.GPT2LMHeadModel(tf.GPT2Config(vocab_size=13, n_layer=3, n_head=2, n_embd=16, n_positions=24,
                                           bos_token_id=2, eos_token_id=3))  # fmt: skip
    t5 = tf.T5ForConditionalGeneration(tf.T5Config(vocab_size=13, num_layers=2, num_decoder_layers=1, num_heads=2, d_model=16,
                                                   d_kv=8, d_ff=24))  # fmt: skip
    tiny_files.save(tmp_path / "a", gpt)
    tiny_files.save(tmp_path / "b", t5)
    decoder, both = embedded(tmp_path)
    assert (decoder.kinds, decoder.layers, decoder.ffn, decoder.positions, decoder.task) == (("decoder",), 3, 64, 24, "causal-lm")
    assert (both.kinds, both.layers, both.decoder_layers, both.positions) == (("encoder", "decoder", "cross"), 2, 1, None)
    assert decoder.licence == "unknown"


def test_no_folder_of_models_is_no_models(tmp_path):
    assert embedded(tmp_path / "models") == ()


@pytest.mark.parametrize(("name", "text"), [("config.json", "{"), ("model.safetensors", "cut")])
def test_a_shipped_model_that_is_broken_is_heard_of_and_the_others_work(tmp_path, name, text):
    tiny_files.save(tmp_path / "bad", tiny_files.bert())
    tiny_files.save(tmp_path / "good", tiny_files.bert())
    (tmp_path / "bad" / name).write_text(text)
    with pytest.warns(UserWarning, match="bad is left out of the catalog"):
        assert [entry.name for entry in embedded(tmp_path)] == ["good"]


def cached(home, repo_id, files, commit="c" * 40):
    """A copy as huggingface_hub keeps it."""
    root = home / "hub" / f"models--{repo_id.replace('/', '--')}"
    snapshot = root / "snapshots" / commit
    snapshot.mkdir(parents=True)
    for name, text in files.items():
        (snapshot / name).write_text(text)
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text(commit)
    return snapshot


WHOLE = {"config.json": "{}", "model.safetensors": "", "tokenizer.json": "{}"}
SHARDED = {"config.json": "{}", "tokenizer.json": "{}", "model.safetensors.index.json": json.dumps(
    {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}})}  # fmt: skip


def test_on_disk_follows_the_environment_at_the_time_of_the_call(tmp_path, monkeypatch):
    gpt2 = BY_NAME["gpt2"]
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "one"))
    assert catalog.on_disk(gpt2) is None
    snapshot = cached(tmp_path / "one", "openai-community/gpt2", WHOLE)
    assert catalog.on_disk(gpt2) == snapshot
    monkeypatch.setenv("HF_HOME", str(tmp_path / "two"))
    assert catalog.on_disk(gpt2) is None
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "one" / "hub"))
    assert catalog.on_disk(gpt2) == snapshot


def test_a_copy_under_the_old_name_without_owner_counts(tmp_path, monkeypatch):
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    snapshot = cached(tmp_path, "gpt2", WHOLE)
    assert catalog.on_disk(BY_NAME["gpt2"]) == snapshot


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_copy_that_lacks_a_part_is_not_on_disk(tmp_path, monkeypatch, missing):
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    cached(tmp_path, "openai-community/gpt2", {name: text for name, text in WHOLE.items() if name != missing})
    assert catalog.on_disk(BY_NAME["gpt2"]) is None


def test_a_sharded_copy_needs_all_its_shards(tmp_path, monkeypatch):
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    snapshot = cached(tmp_path, "openai-community/gpt2", SHARDED | {"model-00001-of-00002.safetensors": ""})
    assert catalog.on_disk(BY_NAME["gpt2"]) is None
    (snapshot / "model-00002-of-00002.safetensors").write_text("")
    assert catalog.on_disk(BY_NAME["gpt2"]) == snapshot
