"""Many texts in padded batches: each trace equals the one its text gives alone."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import transformers as tr

from atlas.engine.loading.load import load
from atlas.engine.running.encode import usable_length
from atlas.engine.running.interventions import Intervention
from atlas.errors import BadIntervention, BrokenFiles, TextError, TextTooLong, TooLarge
from atlas.trace import Trace
from tests.engine.families import _BART, _BERT, _T5, BY_NAME, TARGET, TEXT, VOCABULARY, gptj, loaded, tokenizer

EXACT = 1e-5
TEXTS = ["the cat", TEXT, "she was tired because the dog ran after the cat", "the", "a doctor and a nurse said hello to the dog"]
TARGETS = [TARGET, "a cat", "the tired dog said hello", TARGET, "hello"]


def assert_equal(one: Trace, other: Trace) -> None:
    """Everything a reader may ask of two traces of the same text."""
    assert one.kinds == other.kinds
    for kind in one.kinds:
        mine, yours = one.attention(kind).to_numpy(), other.attention(kind).to_numpy()
        assert mine.shape == yours.shape
        assert np.array_equal(np.isnan(mine), np.isnan(yours))
        assert np.nanmax(np.abs(mine - yours)) <= EXACT
        assert set(one.attentions[kind].stats) == set(other.attentions[kind].stats)
        np.testing.assert_allclose(one.attentions[kind].thumbnails, other.attentions[kind].thumbnails, atol=EXACT)
    assert set(one.arrays) == set(other.arrays)
    for name, places in one.arrays.items():
        for place, values in places.items():
            # Relative to the size of the array: with weights scaled up, a stream has values in the hundreds.
            size = max(1.0, float(np.abs(values).max()))
            assert values.shape == other.arrays[name][place].shape
            assert np.abs(values - other.arrays[name][place]).max() <= EXACT * size, (name, place)
    if one.outcomes is not None:
        size = max(1.0, float(np.abs(one.outcomes.logits).max()))
        assert np.abs(one.outcomes.logits - other.outcomes.logits).max() <= EXACT * size
        assert np.array_equal(one.outcomes.ids[:, 0], other.outcomes.ids[:, 0])
    for side in one.token_tables:
        pd.testing.assert_frame_equal(one.tokens(side), other.tokens(side))
    pd.testing.assert_frame_equal(one.heads, other.heads, atol=1e-4)
    assert one.texts == other.texts


@pytest.mark.parametrize("name", ["BERT", "RoBERTa", "GPT-2", "Llama", "T5", "BART", "ModernBERT", "Gemma2", "GPT-OSS"])
def test_each_equals_the_text_alone(name: str) -> None:
    model = loaded(name)
    cross = "cross" in model.kinds
    alone = [model.trace(text, target=target if cross else None) for text, target in zip(TEXTS, TARGETS, strict=True)]
    for batch_size in (1, 3, 8):
        batch = list(model.traces(TEXTS, batch_size=batch_size, targets=TARGETS if cross else None))
        assert len(batch) == len(TEXTS)
        for one, other in zip(batch, alone, strict=True):
            assert_equal(one, other)


@pytest.mark.parametrize("name", ["BERT", "GPT-2", "ModernBERT"])
def test_queries_and_keys_of_a_batch(name: str) -> None:
    model = loaded(name)
    for text, trace in zip(TEXTS, model.traces(TEXTS, keep="qk"), strict=True):
        own = model.trace(text, keep="weights").attention().to_numpy()
        assert np.nanmax(np.abs(trace.attention().to_numpy() - own)) <= EXACT


@pytest.mark.parametrize("name", ["T5", "BART", "Marian"])
def test_generated_targets(name: str) -> None:
    model = loaded(name)
    texts = TEXTS[:2]
    alone = [model.trace(text) for text in texts]
    assert any(len(trace.tokens("target")) > 1 for trace in alone)
    for one, other in zip(model.traces(texts), alone, strict=True):
        assert_equal(one, other)


def test_what_is_generated_fits_the_position_table() -> None:
    """A decoder that never ends stops where its positions do: the start token has one too."""
    model = loaded("BART")
    model.hf.generation_config.eos_token_id = None
    model.hf.config.eos_token_id = None
    assert len(model.trace("the cat").tokens("target")) == model.limit == 64


def with_segments() -> Any:
    own = tokenizer()
    own.model_input_names = ["input_ids", "token_type_ids", "attention_mask"]
    return load((BY_NAME["BERT"].model(), own))


def test_pairs_and_single_texts_in_one_batch() -> None:
    model = with_segments()
    texts = ["the cat ran", ("the cat", "she was tired because the dog ran"), ("she was tired", "the doctor")]
    batch = list(model.traces(texts))
    for text, trace in zip(texts, batch, strict=True):
        assert_equal(trace, model.trace(*((text,) if isinstance(text, str) else text)))
    # The segments matter: without them the pair would be another text.
    bare = model.trace({"input_ids": batch[1].tokens()["id"].tolist()})
    assert np.abs(bare.attention().to_numpy() - batch[1].attention().to_numpy()).max() > 1e-3


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_encodings_and_texts_in_one_batch(order: tuple[int, int]) -> None:
    """Bare ids have no segments, a pair has: neither may lose or lend them."""
    model = with_segments()
    given: list[Any] = [[2, 10, 11, 12, 13, 3], ("the cat ran away", "she was tired")]
    alone = [model.trace(given[0]), model.trace(*given[1])]
    batch = list(model.traces([given[i] for i in order]))
    for place, i in enumerate(order):
        assert_equal(batch[place], alone[i])


def test_a_tokenizer_that_pads_on_the_left() -> None:
    family = BY_NAME["GPT-2"]
    hf, alone = family.model(), loaded("GPT-2")
    left = family.tokenizer()
    left.padding_side = "left"
    for text, trace in zip(TEXTS, load((hf, left)).traces(TEXTS), strict=True):
        assert_equal(trace, alone.trace(text))


def test_a_model_without_a_padding_token() -> None:
    family = BY_NAME["GPT-2"]
    bare = tokenizer(special=False)
    bare.pad_token = None
    hf = family.model()
    assert hf.config.pad_token_id is None
    model, alone = load((hf, bare)), loaded("GPT-2")
    for text, trace in zip(TEXTS, model.traces(TEXTS), strict=True):
        assert_equal(trace, alone.trace(text))


def test_a_tokenizer_that_returns_no_mask() -> None:
    """Without a mask a padded batch would attend to its padding."""
    quiet = tokenizer()
    quiet.model_input_names = ["input_ids"]
    alone = loaded("BERT")
    for text, trace in zip(TEXTS, load((BY_NAME["BERT"].model(), quiet)).traces(TEXTS), strict=True):
        assert_equal(trace, alone.trace(text))


def test_characters_that_the_tokenizer_drops_are_said_to_be_dropped() -> None:
    model = loaded("BERT")
    trace = model.trace("\ufeffthe cat\u200b ran", "the\ufeff dog")
    assert trace.provenance["notes"] == [
        "The tokenizer leaves out 3 characters of the text (U+200B, U+FEFF), so the model does not read them."
    ]
    assert trace.reading().parse["text"].tolist() == ["the", "cat", "ran", "the", "dog"]
    assert not model.trace("the cat ran", "the dog").provenance["notes"]


def test_outside_the_interface() -> None:
    model = load((gptj(), tokenizer(special=False)))
    for text, trace in zip(TEXTS, model.traces(TEXTS), strict=True):
        assert_equal(trace, model.trace(text))
        assert trace.attention().shape[-1] == len(text.split())


# -- classifiers -------------------------------------------------------------------------------------------------------


def causal_classifier(pad: int | None) -> Any:
    torch.manual_seed(0)
    config = tr.GPT2Config(vocab_size=VOCABULARY, n_embd=32, n_layer=2, n_head=4, n_positions=64, bos_token_id=2, eos_token_id=3,
                           pad_token_id=pad, num_labels=3)  # fmt: skip
    hf = tr.GPT2ForSequenceClassification(config).eval()
    with torch.no_grad():
        hf.score.weight.mul_(50)
    return hf


@pytest.mark.parametrize("pad", [None, 0, 4])
def test_a_causal_classifier(pad: int | None) -> None:
    """It finds its last token by the model's padding id, which need not be the tokenizer's (0)."""
    hf = causal_classifier(pad)
    model = load((hf, tokenizer(special=False)))
    assert hf.config.pad_token_id == pad
    for text, trace in zip(TEXTS, model.traces(TEXTS, batch_size=8), strict=True):
        with torch.no_grad():
            logits = hf(model.tokenizer(text, return_tensors="pt")["input_ids"]).logits
        table = trace.predictions(3).sort_values("id")
        np.testing.assert_allclose(table["logit"], logits[0], atol=1e-4)


@pytest.mark.parametrize("name", ["BART", "T5"])
def test_an_encoder_decoder_that_classifies(name: str) -> None:
    """Its decoder reads the source again, one place later, and the text ends where its end token is."""
    torch.manual_seed(0)
    hf = (
        tr.BartForSequenceClassification(tr.BartConfig(num_labels=3, **_BART))
        if name == "BART"
        else tr.T5ForSequenceClassification(tr.T5Config(num_labels=3, **_T5))
    ).eval()
    model = load((hf, tokenizer()))
    assert model.kinds == ("encoder", "decoder", "cross")
    for text, trace in zip(TEXTS, model.traces(TEXTS), strict=True):
        with torch.no_grad():
            own = hf(**{k: v for k, v in model.tokenizer(text, return_tensors="pt").items() if k != "token_type_ids"}).logits
        np.testing.assert_allclose(trace.predictions(3).sort_values("id")["logit"], own[0], atol=1e-4)
        assert len(trace.tokens("target")) == len(trace.tokens())
        assert_equal(trace, model.trace(text))
    with pytest.raises(TextError, match="leave target out"):
        model.trace(TEXT, target="the cat")


# -- one at a time -----------------------------------------------------------------------------------------------------


def test_the_iterator_is_lazy(monkeypatch: pytest.MonkeyPatch) -> None:
    model = loaded("BERT")
    runs: list[int] = []
    original = model.run
    monkeypatch.setattr(model, "run", lambda batch, *args: runs.append(len(batch)) or original(batch, *args))
    traces = model.traces(TEXTS, batch_size=2)
    assert runs == []
    next(traces)
    assert runs == [2]
    next(traces)
    assert runs == [2]
    next(traces)
    assert runs == [2, 2]
    assert len(list(traces)) == 2
    assert runs == [2, 2, 1]


def arrays_of(trace: Trace) -> list[np.ndarray]:
    found = [array for places in trace.arrays.values() for array in places.values()]
    for attention in trace.attentions.values():
        for layer in attention.layers:
            found += [a for a in (layer.query, layer.key, layer.value, layer.weights, layer.mask.cells) if a is not None]
        found += [*attention.stats.values(), attention.thumbnails]
    return [*found, trace.outcomes.logits, trace.outcomes.ids]


def root_bytes(array: Any) -> int:
    """Bytes of whatever an array keeps alive."""
    while getattr(array, "base", None) is not None:
        array = array.base
    return array.untyped_storage().nbytes() if isinstance(array, torch.Tensor) else array.nbytes


@pytest.mark.parametrize("name", ["BERT", "ModernBERT", "Llama"])
@pytest.mark.parametrize("keep", ["weights", "qk"])
def test_a_trace_keeps_only_its_own_text(name: str, keep: str) -> None:
    model = loaded(name)
    short = list(model.traces([TEXT, "the cat", TEXT, TEXT], keep=keep))[1]
    for array in arrays_of(short):
        assert root_bytes(array) <= max(array.nbytes, 64) * 4, (array.shape, root_bytes(array))


def test_a_trace_that_is_let_go_is_freed_before_the_batch_is_through() -> None:
    traces = loaded("BERT").traces(TEXTS)
    first = weakref.ref(next(traces))
    gc.collect()
    assert first() is None
    next(traces)


# -- checked before anything runs --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("texts", "options", "error", "says"),
    [
        ("the cat", {}, TextError, "put one text in a list"),
        ({"input_ids": [2, 3]}, {}, TextError, "put one text in a list"),
        (TEXTS, {"batch_size": 0}, TextError, "at least one text"),
        (TEXTS, {"batch_size": 2.5}, TextError, "batch_size=2.5"),
        (TEXTS, {"targets": ["a"]}, TextError, "5 texts and 1 targets"),
        (TEXTS, {"interventions": [None]}, TextError, "5 texts and 1 interventions"),
        ([("a", "b", "c")], {}, TextError, "two strings; this one has 3 parts"),
    ],
)
def test_wrong_arguments_are_told_at_the_call(texts: Any, options: dict[str, Any], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        loaded("BERT").traces(texts, **options)


def test_a_bad_last_text_is_found_before_the_first_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    model = loaded("BERT")
    monkeypatch.setattr(model, "run", lambda *_: pytest.fail("ran before the texts were checked"))
    for last, error in (("", TextError), (None, TextError), ("cat " * 100, TextTooLong), (("the cat", ""), TextError)):
        with pytest.raises(error):
            next(model.traces([*TEXTS, last], batch_size=1))


def test_a_bad_change_in_a_batch() -> None:
    changes = [None, Intervention(ablate=[(9, 9)]), None, None, None]
    with pytest.raises(BadIntervention, match="layers 0 to 2"):
        next(loaded("BERT").traces(TEXTS, interventions=changes))
    with pytest.raises(BadIntervention, match="an Intervention or None, not dict"):
        next(loaded("BERT").traces(TEXTS, interventions=[{"ablate": [(0, 0)]}] * 5))


def test_no_texts_no_traces() -> None:
    assert list(loaded("BERT").traces([])) == []


def test_the_whole_batch_has_to_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    from atlas.engine.running import budget

    model = loaded("BERT")
    one = sum(budget.estimate(model.size, budget.TextShape(24), "weights", ()).values())
    monkeypatch.setattr(budget, "free_bytes", lambda: int(3 * one / budget.MEMORY_SHARE))
    assert len(list(model.traces([TEXT] * 4, batch_size=2, capture=()))) == 4
    with pytest.raises(TooLarge, match=r"Tracing 4 texts of up to 24 tokens .*smaller batch_size"):
        next(model.traces([TEXT] * 4, batch_size=4, capture=()))


# -- how long a text may be --------------------------------------------------------------------------------------------


def roberta(rows: int) -> Any:
    torch.manual_seed(0)
    config = tr.RobertaConfig(
        **_BERT | {"max_position_embeddings": rows, "bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 1}
    )
    return tr.RobertaForMaskedLM(config).eval()


def test_robertas_table_has_two_rows_that_no_text_can_use() -> None:
    hf = roberta(34)
    model = load((hf, tokenizer()))
    assert model.limit == 32
    assert len(model.trace("cat " * 30).tokens()) == 32
    with pytest.raises(TextTooLong, match="33 tokens and this model takes 32: 1 too many"):
        model.trace("cat " * 31)
    # One token more is one more than the table has rows for.
    with pytest.raises((IndexError, RuntimeError), match="index"), torch.no_grad():
        hf(torch.full((1, 33), 7))


@pytest.mark.parametrize(
    ("make", "own", "usable"),
    [
        (BY_NAME["BERT"].model, 1e30, 64),
        (BY_NAME["BERT"].model, 20, 20),
        (BY_NAME["BERT"].model, 100, 64),
        (BY_NAME["GPT-2"].model, 100, 64),
        (BY_NAME["BART"].model, 1e30, 64),
        (BY_NAME["Marian"].model, 1e30, 64),
        (BY_NAME["DistilBERT"].model, 1e30, 64),
        (BY_NAME["Llama"].model, 100, 64),
        (BY_NAME["T5"].model, 1e30, None),
        (BY_NAME["T5"].model, 50, 50),
    ],
)
def test_the_smaller_limit_counts(make: Any, own: float, usable: int | None) -> None:
    assert usable_length(make(), tokenizer(model_max_length=own)) == usable


@pytest.mark.parametrize("wrong", ["512", [512], {"longest": 512}, 0, -1, None])
def test_a_longest_text_that_is_no_number_of_tokens_is_said(wrong: Any) -> None:
    made = tokenizer()
    made.model_max_length = wrong
    with pytest.raises(BrokenFiles, match="no number of tokens"):
        usable_length(loaded("GPT-2").hf, made)


@pytest.mark.parametrize("name", ["BERT", "GPT-2", "BART"])
def test_a_text_of_the_usable_length_runs(name: str) -> None:
    model = loaded(name)
    special = 2 if BY_NAME[name].special else 0
    target = {"target": "cat " * 62} if name == "BART" else {}
    trace = model.trace("cat " * (64 - special), **target)
    assert len(trace.tokens()) == 64


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_cut_text_says_how_much_was_lost(side: str) -> None:
    """The end is cut, whatever the tokenizer prefers, and the tokenizer is left as it was."""
    own = tokenizer()
    own.truncation_side = side
    own.backend_tokenizer.enable_truncation(max_length=9, stride=1)
    own.backend_tokenizer.enable_padding(length=11, pad_id=0, pad_token="[PAD]")
    before = own.backend_tokenizer.truncation, own.backend_tokenizer.padding
    model = load((BY_NAME["BERT"].model(), own))
    text = "the " + "cat " * 100
    trace = model.trace(text, truncate=True)
    assert len(trace.tokens()) == 64
    assert trace.tokens()["token"].tolist()[1:3] == ["the", "cat"]
    assert trace.provenance["tokens_cut"] == 39
    assert "39 of 103 tokens were left out at its end" in " ".join(trace.provenance["notes"])
    assert (own.backend_tokenizer.truncation, own.backend_tokenizer.padding) == before
    assert own.truncation_side == side
    short = model.trace("the cat", truncate=True)
    assert short.provenance["tokens_cut"] == 0
    assert not any("cut" in note for note in short.provenance["notes"])


def test_cutting_in_one_thread_leaves_the_texts_of_others_whole() -> None:
    from concurrent.futures import ThreadPoolExecutor

    model = loaded("BERT")

    def cut(i: int) -> tuple[int, int]:
        text = "cat " * (100 if i % 2 else 30)
        trace = model.trace(text, truncate=bool(i % 2), capture=())
        return len(trace.tokens()), trace.provenance["tokens_cut"]

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(cut, range(24)))
    assert found == [(32, 0), (64, 38)] * 12
