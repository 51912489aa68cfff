from __future__ import annotations

import json
import logging
import pickle
import shutil
import time

import pytest
import torch
import transformers as tf
from safetensors.torch import load_file, save_file
from transformers.utils import logging as tf_logging

from atlas.engine.loading import catalog
from atlas.engine.loading.construct import construct
from atlas.engine.loading.hub import Source, resolve
from atlas.errors import BrokenFiles, ModelNotFound, UnknownName, UnsafeModel, UnsupportedModel
from tests.engine import tiny_files

IDS = torch.tensor([[2, 5, 6, 7, 3]])
SIZES = {"vocab_size": 13, **tiny_files.SMALL}
GPT = {"vocab_size": 13, "n_layer": 2, "n_head": 2, "n_embd": 16, "n_positions": 32, "bos_token_id": 2, "eos_token_id": 3}
T5 = {"vocab_size": 13, "num_layers": 2, "num_heads": 2, "d_model": 16, "d_kv": 8, "d_ff": 32}
BART = {"vocab_size": 13, "d_model": 16, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 2,
        "decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "max_position_embeddings": 32,
        "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, "decoder_start_token_id": 3,
        "forced_eos_token_id": 3}  # fmt: skip

HEADS = {
    "masked-lm": lambda: tf.BertForMaskedLM(tf.BertConfig(**SIZES)),
    "causal-lm": lambda: tf.GPT2LMHeadModel(tf.GPT2Config(**GPT)),
    "seq2seq": lambda: tf.T5ForConditionalGeneration(tf.T5Config(**T5)),
    "token-classification": lambda: tf.BertForTokenClassification(tf.BertConfig(**SIZES, num_labels=7)),
    "sequence-classification": lambda: tf.BertForSequenceClassification(tf.BertConfig(**SIZES, num_labels=3)),
    "question-answering": lambda: tf.BertForQuestionAnswering(tf.BertConfig(**SIZES)),
}


def saved(tmp_path, model, name="model", **how):
    return tiny_files.save(tmp_path / name, model.eval(), **how)


def built(folder, **how):
    return construct(resolve(folder), device="cpu", **how)


def refusal(error) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


def change_config(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def change_weights(folder, change):
    weights = load_file(folder / "model.safetensors")
    save_file(change(weights), folder / "model.safetensors", metadata={"format": "pt"})


# The class that fits


@pytest.mark.parametrize("task", HEADS)
def test_the_class_with_the_trained_head_is_used(tmp_path, task):
    torch.manual_seed(0)
    model = HEADS[task]()
    result = built(saved(tmp_path, model))
    assert (result.task, result.notes, type(result.hf)) == (task, (), type(model))
    assert not result.hf.training
    assert result.tokenizer.is_fast
    more = {"decoder_input_ids": IDS} if task == "seq2seq" else {}
    with torch.no_grad():
        ours, theirs = result.hf(IDS, **more), model(IDS, **more)
    assert all(torch.equal(ours[key], theirs[key]) for key in ("logits", "start_logits") if key in theirs)


def test_a_bare_model_has_no_predictions_and_no_random_pooler(tmp_path):
    result = built(saved(tmp_path, tf.BertModel(tf.BertConfig(**SIZES), add_pooling_layer=False)))
    assert result.task == "base"
    assert "no predictions" in result.notes[0]
    assert result.hf(IDS).pooler_output is None
    assert result.hf(IDS).last_hidden_state.shape == (1, 5, 16)


def test_a_bare_model_keeps_the_pooler_it_was_saved_with(tmp_path):
    model = tf.BertModel(tf.BertConfig(**SIZES)).eval()
    assert torch.equal(built(saved(tmp_path, model)).hf(IDS).pooler_output, model(IDS).pooler_output)


def test_a_head_the_files_do_not_hold_is_never_made_up(tmp_path):
    """A token classifier's trunk named as a masked LM: the LM head would be random, different at each load, and shown."""
    folder = saved(tmp_path, HEADS["token-classification"]())
    change_config(folder, architectures=["BertForMaskedLM"])
    result = built(folder)
    assert (result.task, type(result.hf)) == ("base", tf.BertModel)
    assert "cls.predictions" in result.notes[0]
    assert "no predictions" in result.notes[0]


def test_a_classifier_without_its_pooler_does_not_decide_at_random(tmp_path):
    folder = saved(tmp_path, HEADS["sequence-classification"]())
    change_weights(folder, lambda weights: {key: value for key, value in weights.items() if "pooler" not in key})
    result = built(folder)
    assert result.task == "base"
    assert "bert.pooler.dense.bias" in result.notes[0]
    assert result.hf(IDS).pooler_output is None


def test_a_pretraining_class_gives_its_masked_lm_head(tmp_path):
    model = tf.BertForPreTraining(tf.BertConfig(**SIZES)).eval()
    result = built(saved(tmp_path, model))
    assert result.task == "masked-lm"
    assert torch.equal(result.hf(IDS).logits, model(IDS).prediction_logits)


def test_electra_predicts_no_words(tmp_path):
    result = built(saved(tmp_path, tf.ElectraForPreTraining(tf.ElectraConfig(**SIZES, embedding_size=16))))
    assert (result.task, type(result.hf)) == ("base", tf.ElectraModel)
    assert "no trained masked-lm head" in result.notes[0]


def test_the_catalog_knows_the_task_of_a_bare_class_whose_head_is_tied(tmp_path):
    """BART base is published as BartModel, and its language model is that model with its own embeddings."""
    folder = saved(tmp_path, tf.BartModel(tf.BartConfig(**BART)))
    assert built(folder).task == "base"
    known = Source("hub", "bart-base", "x", folder, entry=catalog.find("bart-base"))
    result = construct(known, device="cpu")
    assert (result.task, result.notes) == ("seq2seq", ())
    head, shared = result.hf.lm_head.weight, result.hf.model.shared.weight
    assert head.data_ptr() == shared.data_ptr()
    assert not result.hf.final_logits_bias.any()


def test_half_an_encoder_decoder_is_loaded_as_the_half_it_is(tmp_path):
    model = tf.T5EncoderModel(tf.T5Config(**T5, is_encoder_decoder=False)).eval()
    result = built(saved(tmp_path, model))
    assert (type(result.hf), result.task) == (tf.T5EncoderModel, "base")
    assert torch.equal(result.hf(IDS).last_hidden_state, model(IDS).last_hidden_state)


# Whole or refused


def test_a_trunk_with_holes_is_refused(tmp_path):
    folder = saved(tmp_path, HEADS["masked-lm"]())
    change_weights(folder, lambda weights: {key: value for key, value in weights.items() if "layer.1.attention" not in key})
    with pytest.raises(BrokenFiles, match=r"lack \d+ parts .*bert\.encoder\.layer\.1\.attention.*at random") as error:
        built(folder)
    refusal(error)


def test_a_bare_trunk_with_holes_is_refused(tmp_path):
    folder = saved(tmp_path, tf.BertModel(tf.BertConfig(**SIZES)))
    change_weights(folder, lambda weights: {key: value for key, value in weights.items() if "layer.1" not in key})
    with pytest.raises(BrokenFiles, match="at random"):
        built(folder)


def test_weights_of_another_model_are_refused(tmp_path):
    folder = saved(tmp_path, HEADS["masked-lm"]())
    shutil.copy(saved(tmp_path, HEADS["causal-lm"](), "other") / "model.safetensors", folder)
    with pytest.raises(BrokenFiles, match="may belong to another model") as error:
        built(folder)
    assert "and 3" in refusal(error)


def test_weights_of_another_size_are_refused_by_name(tmp_path):
    folder = saved(tmp_path, HEADS["masked-lm"]())
    change_config(folder, intermediate_size=48)
    with pytest.raises(BrokenFiles, match=r"do not fit .*intermediate.*\(32,\) instead of \(48,\)") as error:
        built(folder)
    refusal(error)


def test_layers_left_out_by_the_configuration_are_told(tmp_path):
    folder = saved(tmp_path, HEADS["masked-lm"]())
    change_config(folder, num_hidden_layers=1)
    result = built(folder)
    assert "declares fewer layers" in result.notes[0]
    assert "layer.1." in result.notes[0]


def test_old_buffers_in_the_files_are_no_missing_layers(tmp_path):
    folder = saved(tmp_path, HEADS["causal-lm"]())
    change_weights(folder, lambda weights: weights | {"transformer.h.0.attn.bias": torch.ones(1)})
    assert built(folder).notes == ()


def test_sharded_weights_with_a_shard_missing(tmp_path):
    folder = saved(tmp_path, HEADS["masked-lm"](), max_shard_size="8KB")
    built(folder)
    gone = sorted(folder.glob("model-*.safetensors"))[1]
    gone.unlink()
    with pytest.raises(BrokenFiles, match=f"lacks 1 of .*{gone.name}") as error:
        resolve(folder)
    refusal(error)


@pytest.mark.parametrize("target", ["../outside.safetensors", "pytorch_model.bin", "/etc/passwd"])
def test_an_index_may_not_lead_out_of_the_folder_or_to_a_pickle(tmp_path, target):
    folder = saved(tmp_path, HEADS["masked-lm"](), max_shard_size="8KB")
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": {"bert.embeddings.word_embeddings.weight": target}}))
    with pytest.raises(UnsafeModel, match="points to"):
        resolve(folder)


# Pickles and code


class Bomb:
    """What a pickle can do: here it would fail the test that reads it."""

    def __reduce__(self):
        return (pytest.fail, ("a pickle was read",))


@pytest.mark.parametrize("kind", ["pickle", "torch"])
def test_a_pickle_under_a_false_name_is_not_read(tmp_path, kind):
    folder = saved(tmp_path, HEADS["masked-lm"]())
    path = folder / "model.safetensors"
    path.unlink()
    if kind == "pickle":
        path.write_bytes(pickle.dumps(Bomb()))
    else:
        torch.save({"x": Bomb()}, path)
    with pytest.raises(UnsafeModel, match="pickle under a false name") as error:
        built(folder)
    refusal(error)


def test_a_folder_with_pickled_weights_only(tmp_path):
    folder = saved(tmp_path, HEADS["masked-lm"]())
    (folder / "model.safetensors").unlink()
    torch.save({"x": Bomb()}, folder / "pytorch_model.bin")
    with pytest.raises(UnsafeModel, match=r"only as pytorch_model\.bin.*use_safetensors=False.*save_pretrained") as error:
        built(folder)
    refusal(error)


CODE = "raise SystemExit('the code of a stranger ran')"


def test_code_beside_a_known_architecture_is_not_run(tmp_path):
    folder = saved(tmp_path, HEADS["masked-lm"]())
    (folder / "modeling.py").write_text(CODE)
    change_config(folder, auto_map={"AutoConfig": "modeling.Odd", "AutoModelForMaskedLM": "modeling.OddModel"})
    assert type(built(folder).hf) is tf.BertForMaskedLM


def test_a_model_that_is_code_is_refused_until_trusted(tmp_path):
    folder = saved(tmp_path, HEADS["masked-lm"]())
    (folder / "modeling.py").write_text(CODE)
    change_config(folder, model_type="odd", auto_map={"AutoConfig": "modeling.Odd", "AutoModelForMaskedLM": "modeling.OddModel"})
    with pytest.raises(UnsafeModel, match="trust_remote_code=True") as error:
        built(folder)
    refusal(error)


TRUSTED = """
from transformers import BertConfig, BertForMaskedLM
class Odd(BertConfig):
    model_type = "odd"
class OddModel(BertForMaskedLM):
    config_class = Odd
"""


def test_a_model_that_is_code_runs_when_trusted(tmp_path, monkeypatch):
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    model = HEADS["masked-lm"]()
    folder = saved(tmp_path, model)
    (folder / "modeling.py").write_text(TRUSTED)
    change_config(folder, model_type="odd", auto_map={"AutoConfig": "modeling.Odd", "AutoModelForMaskedLM": "modeling.OddModel"})
    result = built(folder, trust_remote_code=True)
    assert (type(result.hf).__name__, result.task) == ("OddModel", "masked-lm")
    assert torch.equal(result.hf(IDS).logits, model(IDS).logits)
    change_weights(folder, lambda weights: {key: value for key, value in weights.items() if "layer.1" not in key})
    with pytest.raises(BrokenFiles, match="made up at random"):
        built(folder, trust_remote_code=True)


def test_a_tokenizer_that_is_code_is_not_run(tmp_path):
    folder = saved(tmp_path, HEADS["masked-lm"]())
    (folder / "tok.py").write_text(CODE)
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text()) | {"tokenizer_class": "Odd", "auto_map": {"AutoTokenizer": ["tok.Odd", None]}}
    path.write_text(json.dumps(settings))
    assert built(folder).tokenizer("the doctor")["input_ids"] == [2, 5, 6, 3]  # tokenizer.json says all that is needed
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.txt").write_text("\n".join(tiny_files.WORDS))
    with pytest.raises((BrokenFiles, UnsafeModel)) as error:
        built(folder)
    refusal(error)


def test_a_configuration_cannot_name_an_attention_kernel(tmp_path):
    folder = saved(tmp_path, HEADS["masked-lm"]())
    change_config(folder, attn_implementation="stranger/kernel", _attn_implementation="stranger/kernel")
    assert built(folder).hf.config._attn_implementation == "sdpa"


# Bad folders


def test_an_empty_folder(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(BrokenFiles, match=r"no config\.json: it is empty") as error:
        resolve(tmp_path / "empty")
    refusal(error)


def test_a_folder_of_something_else(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(BrokenFiles, match=r"no config\.json: there is notes\.txt"):
        resolve(tmp_path)


def test_a_file_in_place_of_a_folder(tmp_path):
    folder = saved(tmp_path, HEADS["masked-lm"]())
    with pytest.raises(ModelNotFound, match=r"is a file\. Give the folder") as error:
        resolve(folder / "model.safetensors")
    refusal(error)


@pytest.mark.parametrize(("text", "says"), [("{not json", "not JSON"), ("[1]", "holds a list"), ("\udcff", "not JSON")])
def test_a_configuration_that_is_none(tmp_path, text, says):
    folder = saved(tmp_path, HEADS["masked-lm"]())
    (folder / "config.json").write_text(text, errors="surrogateescape")
    with pytest.raises(BrokenFiles, match=says) as error:
        built(folder)
    refusal(error)


@pytest.mark.parametrize(("change", "says"), [
    ({"model_type": "not-a-model"}, "does not have"), ({"model_type": None}, "names no model type"),
    ({"num_attention_heads": 3}, "could not read"), ({"hidden_size": "wide"}, "no whole number"),
])  # fmt: skip
def test_a_configuration_nobody_can_build(tmp_path, change, says):
    folder = saved(tmp_path, HEADS["masked-lm"]())
    change_config(folder, **change)
    with pytest.raises((BrokenFiles, UnsupportedModel), match=says) as error:
        built(folder)
    assert len(refusal(error)) < 600


@pytest.mark.parametrize("size", [0, 4, 100, 5000])
def test_truncated_weights(tmp_path, size):
    folder = saved(tmp_path, HEADS["masked-lm"]())
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(BrokenFiles, match="truncated or damaged") as error:
        built(folder)
    refusal(error)


def test_a_git_lfs_pointer_is_called_that(tmp_path):
    folder = saved(tmp_path, HEADS["masked-lm"]())
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(BrokenFiles, match="git lfs pull"):
        built(folder)


def test_a_folder_without_a_tokenizer(tmp_path):
    folder = saved(tmp_path, HEADS["masked-lm"](), words=None)
    with pytest.raises(BrokenFiles, match="holds no tokenizer") as error:
        built(folder)
    refusal(error)


def test_a_damaged_tokenizer_is_said_to_be_one(tmp_path):
    folder = saved(tmp_path, HEADS["masked-lm"]())
    path = folder / "tokenizer.json"
    path.write_text(path.read_text(encoding="utf-8").replace("doctor", "doc\\utor"), encoding="utf-8")
    with pytest.raises(BrokenFiles, match="could not read") as error:
        built(folder)
    refusal(error)


def test_a_tokenizer_larger_than_the_model(tmp_path):
    folder = saved(tmp_path, HEADS["masked-lm"](), words=[*tiny_files.WORDS, "one", "more"])
    with pytest.raises(BrokenFiles, match=r"its id 14 \('more'\) is beyond the model's 13 embeddings") as error:
        built(folder)
    refusal(error)


def test_an_adapter_is_no_model(tmp_path):
    folder = saved(tmp_path, HEADS["masked-lm"]())
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "gpt2"}')
    change_config(folder, model_type=None)
    with pytest.raises(UnsupportedModel, match="adapter"):
        built(folder)


def test_a_model_of_images_is_refused(tmp_path):
    vit = tf.ViTForImageClassification(tf.ViTConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
                                                    intermediate_size=32, image_size=8, patch_size=4))  # fmt: skip
    folder = saved(tmp_path, vit, words=None)
    (folder / "preprocessor_config.json").write_text("{}")
    with pytest.raises(UnsupportedModel, match="images"):
        built(folder)
    tiny_files.tokenizer().save_pretrained(folder)
    with pytest.raises(UnsupportedModel, match="reads pixel_values, not text"):
        built(folder)


# Numbers and devices


def test_a_loaded_model_does_not_hang_on_its_files(tmp_path):
    """Mapped weights would turn to zeros here, and kill the process where the file is shortened."""
    folder = saved(tmp_path, HEADS["masked-lm"]())
    result = built(folder)
    before = result.hf(IDS).logits
    with (folder / "model.safetensors").open("r+b") as file:
        file.write(bytes((folder / "model.safetensors").stat().st_size))
    assert torch.equal(result.hf(IDS).logits, before)


def test_half_precision_files_run_in_float32_unless_asked(tmp_path):
    model = HEADS["masked-lm"]()
    folder = saved(tmp_path, model.half())
    assert next(built(folder).hf.parameters()).dtype is torch.float32
    assert next(built(folder, dtype="float16").hf.parameters()).dtype is torch.float16
    assert next(built(folder, dtype=torch.bfloat16).hf.parameters()).dtype is torch.bfloat16


def test_numbers_and_devices_that_do_not_exist(tmp_path):
    source = resolve(saved(tmp_path, HEADS["masked-lm"]()))
    with pytest.raises(UnknownName, match="use one of float32, float16"):
        construct(source, dtype="int8")
    for device in ("gpu", "cuda:99", "meta", 3.5):
        with pytest.raises(UnknownName, match=r"use one of .*cpu"):
            construct(source, device=device)


class Listener(logging.Handler):
    """Collects what a library says, as a user's own handler would."""

    def __init__(self):
        super().__init__()
        self.heard = []

    def emit(self, record):
        self.heard.append(record.getMessage())


def test_transformers_is_quiet_inside_and_as_it_was_afterwards(tmp_path):
    folder = saved(tmp_path, HEADS["token-classification"]())
    change_config(folder, architectures=["BertForMaskedLM"])  # transformers prints a table about the weights it makes up
    listener, bars = Listener(), []
    logging.getLogger("transformers").addHandler(listener)
    previous = tf_logging.set_tqdm_hook(lambda factory, args, kwargs: bars.append(1) or factory(*args, **kwargs))
    level = tf_logging.get_verbosity()
    try:
        tf_logging.set_verbosity_info()
        tf.BertForMaskedLM.from_pretrained(folder)
        assert "cls.predictions" in "".join(listener.heard)  # so it would be heard
        assert bars
        listener.heard.clear()
        bars.clear()
        built(folder)
        (folder / "model.safetensors").write_bytes(b"")
        with pytest.raises(BrokenFiles):
            built(folder)
        assert (listener.heard, bars) == ([], [])
        assert tf_logging.get_verbosity() == logging.INFO
        tf.BertConfig.from_pretrained(folder)
        assert listener.heard
    finally:
        logging.getLogger("transformers").removeHandler(listener)
        hook = tf_logging.set_tqdm_hook(previous)
        tf_logging.set_verbosity(level)
    assert hook(lambda **kwargs: kwargs, (), {"total": 1}) == {"total": 1}  # the user's own, which hides nothing


def test_loading_leaves_the_random_state_alone(tmp_path):
    source = resolve(saved(tmp_path, HEADS["masked-lm"]()))
    before = torch.get_rng_state()
    construct(source, device="cpu")
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"model_type": ["gpt2"]}, "the model type is .*no name"),
        ({"model_type": {"a": 1}}, "the model type is .*no name"),
        ({"architectures": 5}, "no list of names"),
        ({"architectures": [["GPT2LMHeadModel"]]}, "no list of names"),
        ({"n_layer": 1e6}, "n_layer is '1000000.0', which is no whole number"),
        ({"n_layer": 1_000_000}, "declares 1,000,000 layers"),
        ({"n_layer": True}, "no whole number"),
        ({"n_head": "two"}, "no whole number"),
        ({"n_embd": -16}, "no whole number"),
        ({"n_positions": 10**9}, "declares a model of 16,.* parameters, and its files hold"),
        ({"vocab_size": 10**9}, "declares a model of .* parameters, and its files hold"),
        ({"n_inner": 10**9}, "declares a model of .* parameters, and its files hold"),
    ],
)
def test_a_configuration_that_declares_what_its_files_cannot_hold_is_refused_at_once(tmp_path, change, says):
    folder = saved(tmp_path, tf.GPT2LMHeadModel(tf.GPT2Config(**GPT)))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | change))
    begun = time.process_time()
    with pytest.raises(BrokenFiles, match=says) as error:
        construct(resolve(folder))
    assert time.process_time() - begun < 1
    assert "\n" not in str(error.value)
    assert str(folder) in str(error.value)
