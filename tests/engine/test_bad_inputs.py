"""Bad input: each is one clear error that says what to do, quickly, and leaves nothing half done."""

from __future__ import annotations

import functools
import pickle
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as tr

import atlas
from atlas.engine.loading.borrow import configs_of
from atlas.engine.loading.load import load
from atlas.engine.running import budget, encode
from atlas.engine.running.interventions import Output, Pattern
from atlas.errors import (
    AtlasError,
    BadIntervention,
    BadTraceFile,
    ModelNotFound,
    TextError,
    TextTooLong,
    TooLarge,
    UnknownName,
    UnsafeModel,
    UnsupportedModel,
)
from tests.engine import tiny_files
from tests.engine.families import _BERT, BY_NAME, TEXT, tokenizer

ADVICE = (
    "give",
    "use",
    "shorten",
    "leave",
    "pass",
    "put",
    "remove",
    "load",
    "counted from 0",
    "has to be",
    "there are",
    "wrap",
    "make it",
    "trace",
    "set it",
    "ask for",
    "which has",
    "belong together",
    "it has",
    "pip install",
    "ask",
    "knows the segments",
    "repair",
    "no text",
    "`atlas models`",
    "choose",
    "equally long",
    "type something",
    "convert",
    "layers 0 to",
    "'zero' or 'mean'",
    "is a list of",
    "do not use",
)
"""A sentence that says what to do has one of these: a verb for the reader, or what is allowed."""


def flags(hf: Any) -> dict[str, Any]:
    return {
        "training": [module.training for module in hf.modules()],
        "attention": [config._attn_implementation for config in configs_of(hf)],
        "padding": hf.config.pad_token_id,
        "random": torch.get_rng_state().tolist(),
    }


@pytest.fixture(scope="module")
def bert() -> Any:
    hf = BY_NAME["BERT"].model().train()
    hf.set_attn_implementation("sdpa")
    return load((hf, BY_NAME["BERT"].tokenizer()))


@pytest.fixture(scope="module")
def t5() -> Any:
    return load((BY_NAME["T5"].model(), BY_NAME["T5"].tokenizer()))


@pytest.fixture(scope="module")
def gpt2() -> Any:
    return load((BY_NAME["GPT-2"].model(), BY_NAME["GPT-2"].tokenizer()))


def refused(ask: Callable[[], Any], error: type[AtlasError], says: str) -> None:
    with pytest.raises(error, match=says) as caught:
        ask()
    # The class itself, not one that happens to contain it: the reader of an API catches by class.
    assert type(caught.value) is error
    sentence = str(caught.value)
    assert any(advice in sentence.lower() for advice in ADVICE), sentence
    assert len(sentence) < 700


def untouched(model: Any, ask: Callable[[], Any], error: type[AtlasError], says: str) -> None:
    """Refused, and the model is as it was and still traces the same."""
    before, expected = flags(model.hf), model.trace("the cat ran", **({"target": "a"} if "cross" in model.kinds else {}))
    start = time.perf_counter()
    refused(ask, error, says)
    assert time.perf_counter() - start < 10
    assert flags(model.hf) == before
    again = model.trace("the cat ran", **({"target": "a"} if "cross" in model.kinds else {}))
    for kind in model.kinds:
        assert np.array_equal(again.attention(kind), expected.attention(kind), equal_nan=True)
    assert flags(model.hf) == before


# -- texts -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "options", "error", "says"),
    [
        ("", {}, TextError, "The text is empty"),
        ("   \n\t\u00a0 ", {}, TextError, "nothing but white space"),
        ("\x00\x01\x1b", {}, TextError, "control, format or other invisible"),
        ("\u200b\u200d\ufeff", {}, TextError, "control, format or other invisible"),
        ("\n" * 1_000_000, {}, TextError, "nothing but white space"),
        ("the cat " * 125_000, {}, TextTooLong, "250,002 tokens and this model takes 64: 249,938 too many"),
        ("a half \ud83d surrogate", {}, TextError, r"half of a surrogate pair \(U\+D83D\) at character 7"),
        ("cat " * 63, {}, TextTooLong, "65 tokens and this model takes 64: 1 too many. Shorten it, or pass truncate=True"),
        ("cat " * 40, {"pair": "dog " * 40}, TextTooLong, "83 tokens and this model takes 64"),
        ("the cat", {"pair": ""}, TextError, "The second text is empty"),
        ("the cat", {"pair": 3}, TextError, "second text has to be a string, not int"),
        ("the cat", {"target": "the dog"}, TextError, "no decoder that reads a target; leave target out"),
        (7, {}, TextError, "has to be a string, or an encoding with 'input_ids', not int"),
        (None, {}, TextError, "not NoneType"),
        (b"the cat", {}, TextError, "not bytes"),
        (["the cat", "the dog"], {}, TextError, r"for several texts use model\.traces"),
        ({}, {}, TextError, "needs 'input_ids'; this one has nothing"),
        ({"ids": [1]}, {}, TextError, "needs 'input_ids'; this one has 'ids'"),
        ([], {}, TextError, "one row of whole numbers"),
        ({"input_ids": [2.5, 3.0]}, {}, TextError, "one row of whole numbers, not an array of shape .2,. and type float64"),
        ({"input_ids": [[2, 3], [2, 3]]}, {}, TextError, r"one row of whole numbers, not an array of shape \(2, 2\)"),
        ({"input_ids": [[2, 3], [2]]}, {}, TextError, "no regular array"),
        ({"input_ids": None}, {}, TextError, "one row of whole numbers"),
        ({"input_ids": [2, 8, 3, 0], "attention_mask": [1, 1, 1, 0]}, {}, TextError, "has padding.*Pass it without"),
        ({"input_ids": [2, 8, 3], "attention_mask": [1, 1]}, {}, TextError, "equally long"),
        ({"input_ids": [2, 96, 3]}, {}, TextError, "Token id 96 is outside the model's embedding, which has 96 rows"),
        ({"input_ids": [2, -1, 3]}, {}, TextError, "Token id -1 is outside"),
        ({"input_ids": [2, 8, 3], "token_type_ids": [0, 2, 0]}, {}, TextError, "knows the segments 0 to 1"),
        ([5] * 65, {}, TextTooLong, "encoding has 65 tokens .*1 too many. Make it from a shorter text"),
        ([5] * 65, {"truncate": True}, TextTooLong, "Make it from a shorter text, or with truncation"),
        ([5] * 6, {"pair": "the cat"}, TextError, "holds its pair already. Leave pair out"),
        (TEXT, {"capture": ["streams"]}, UnknownName, "'streams' is no capture group; there are stream, ffn, norms"),
        (TEXT, {"capture": 3}, UnknownName, "capture= is a list of stream"),
        (TEXT, {"keep": "all"}, UnknownName, "keep='all' is not known; use 'auto', 'weights' or 'qk'"),
        (TEXT, {"keep": None}, UnknownName, "use 'auto', 'weights' or 'qk'"),
    ],
    ids=lambda value: repr(value)[:40] if not isinstance(value, type) else value.__name__,
)  # fmt: skip
def test_texts(bert: Any, text: Any, options: dict[str, Any], error: type[AtlasError], says: str) -> None:
    untouched(bert, lambda: bert.trace(text, **options), error, says)


@pytest.mark.parametrize(
    ("target", "error", "says"),
    [("", TextError, "target is empty"), (3, TextError, "target has to be a string"), (" ", TextError, "white space")],
)
def test_targets(t5: Any, target: Any, error: type[AtlasError], says: str) -> None:
    untouched(t5, lambda: t5.trace(TEXT, target=target), error, says)


def test_a_target_that_is_too_long() -> None:
    bart = load((BY_NAME["BART"].model(), BY_NAME["BART"].tokenizer()))

    def ask(*, truncate: bool) -> Any:
        return bart.trace(TEXT, target="cat " * 80, truncate=truncate)

    for truncate in (False, True):
        untouched(bart, functools.partial(ask, truncate=truncate), TextTooLong, "The target has 82 .* Shorten it")


def test_a_nul_and_other_odd_characters_work(bert: Any) -> None:
    trace = bert.trace("the\x00 cat\u200b \U0001f642 שלום e\u0301")
    assert "cat" in trace.tokens()["token"].tolist()


def test_a_million_characters_are_cut_within_seconds(bert: Any) -> None:
    start = time.perf_counter()
    trace = bert.trace("the cat " * 125_000, truncate=True)
    assert time.perf_counter() - start < 20
    assert trace.provenance["tokens_cut"] == 249_938
    for one_word in ("a" * 1_000_000, "e" + "\u0301" * 999_999):
        assert len(bert.trace(one_word).tokens()) == 3


def test_of_two_long_texts_the_tokenizer_sees_no_more_than_can_be_kept(bert: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It makes every pair of the pieces that it cuts off: two texts of 200,000 letters took 22 GB."""
    seen = []
    tokenize = encode.tokenize

    def spied(tokenizer: Any, text: str, pair: str | None, **options: Any) -> Any:
        if "max_length" in options:
            seen.append(len(text) + len(pair or ""))
        return tokenize(tokenizer, text, pair, **options)

    for text, pair in (("the cat " * 300, "she ran " * 5), ("the cat " * 5, "she ran " * 300), ("the cat " * 300, "she " * 300)):
        whole = tokenize(bert.tokenizer, text, pair, truncation=True, max_length=bert.limit)
        assert bert.encode(text, pair, truncate=True).inputs["input_ids"].tolist() == whole["input_ids"]
    monkeypatch.setattr(encode, "tokenize", spied)
    found = bert.encode("the cat " * 25_000, "she ran " * 25_000, truncate=True)
    assert (len(found.inputs["input_ids"]), found.cut) == (bert.limit, 100_003 - bert.limit)
    assert max(seen) < 40 * bert.limit


def test_a_text_that_does_not_fit_is_refused_with_numbers(t5: Any, bert: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """T5 has no longest text; what bounds it is memory. It is refused before its decoder writes a word."""
    monkeypatch.setattr(t5.hf, "generate", lambda **_: pytest.fail("wrote before the size was checked"))
    refused(
        lambda: t5.trace("the cat " * 25_000),
        TooLarge,
        r"Tracing 50,002 tokens would take [\d.]+ GiB and [\d.]+ GiB may be used here",
    )
    monkeypatch.setattr(budget, "free_bytes", lambda: 1000)
    untouched_free = budget.free_bytes()
    assert untouched_free == 1000
    refused(lambda: bert.trace("the cat"), TooLarge, r"shorter text, or capture=\(\)")
    refused(lambda: bert.trace("the cat", keep="weights"), TooLarge, "Use keep='qk', or a shorter text")


# -- what is changed ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"ablate": [(3, 0)]}, BadIntervention, "layers 0 to 2"),
        ({"ablate": [(0, 4)]}, BadIntervention, "heads 0 to 3"),
        ({"ablate": [(-1, 0)]}, UnknownName, "counted from 0"),
        ({"ablate": (0, 1)}, BadIntervention, "several of them in a list"),
        ({"ablate": "L0 H1"}, BadIntervention, "put heads in a list"),
        ({"ablate": 5}, BadIntervention, "put heads in a list"),
        ({"ablate": [None]}, BadIntervention, "does not name a head; give"),
        ({"ablate": [("encoder", "x", 0)]}, BadIntervention, "does not name a head; give"),
        ({"ablate": [("cross", 0, 0)]}, UnknownName, "no 'cross' attention; it has encoder"),
        ({"ablate": {(0, 0): "off"}}, BadIntervention, "'zero' or 'mean', not by 'off'"),
        ({"knock_out": [((0, 0), 24, 0)]}, BadIntervention, "24 query and 24 key positions, counted from 0"),
        ({"knock_out": [((0, 0), 1.5, 0)]}, BadIntervention, "does not name an edge; give"),
        ({"knock_out": ((0, 0), 1, 2)}, BadIntervention, "does not name an edge; give"),
        ({"knock_out": 5}, BadIntervention, "knock_out= is a list of"),
        ({"patch": [(0, 0)]}, BadIntervention, "patch= is a mapping"),
        ({"patch": {(0, 0): "all"}}, BadIntervention, "no array of numbers"),
        ({"patch": {(0, 0): [[1.0], [1.0, 2.0]]}}, BadIntervention, "no array of numbers"),
        ({"patch": {(0, 0): np.ones((2, 2))}}, BadIntervention, "neither a pattern .24, 24. nor an output .24, 8."),
        ({"patch": {(0, 0): Output(np.full((24, 8), np.nan))}}, BadIntervention, "finite array"),
        ({"patch": {(0, 0): Pattern(np.full((24, 24), np.inf))}}, BadIntervention, "finite array"),
    ],
    ids=lambda value: repr(value)[:50] if not isinstance(value, type) else value.__name__,
)
def test_changes(bert: Any, options: dict[str, Any], error: type[AtlasError], says: str) -> None:
    untouched(bert, lambda: bert.trace(TEXT, **options), error, says)


def test_a_pattern_may_not_look_where_the_model_does_not(gpt2: Any) -> None:
    """The run would use the weight, and every reader of the trace would find it masked."""
    n = len(gpt2.trace(TEXT).tokens())
    untouched(
        gpt2,
        lambda: gpt2.trace(TEXT, patch={(1, 2): np.full((n, n), 1 / n)}),
        BadIntervention,
        "L1 H2 has weight from position 0 to 1.*Set it to 0",
    )


def test_a_pattern_as_another_trace_gives_it(gpt2: Any) -> None:
    """NaN in it means masked, and is not in the way."""
    other = gpt2.trace(TEXT.replace("doctor", "nurse"))
    pattern = other.attention(layer=1, head=2)
    assert np.isnan(pattern).any()
    for keep in ("weights", "qk"):
        trace = gpt2.trace(TEXT, patch={(1, 2): pattern}, keep=keep)
        np.testing.assert_allclose(trace.attention(layer=1, head=2), pattern, atol=1e-6)
        # What is measured of the head is measured on what was put in.
        mine = trace.heads.query("layer == 1 and head == 2")
        theirs = other.heads.query("layer == 1 and head == 2")
        for name in ("entropy", "self", "previous", "confidence_mean", "distance"):
            assert mine[name].item() == pytest.approx(theirs[name].item(), abs=1e-4)


# -- models ------------------------------------------------------------------------------------------------------------


def tiny() -> Any:
    return BY_NAME["BERT"].model()


@pytest.mark.parametrize(
    ("make", "options", "error", "says"),
    [
        (lambda: None, {}, UnknownName, "Give atlas.load a name of `atlas models`.*not NoneType"),
        (lambda: 7, {}, UnknownName, "not int"),
        (lambda: b"gpt2", {}, UnknownName, "not bytes"),
        (lambda: [tiny(), tokenizer()], {}, UnknownName, r"\(model, tokenizer\) in memory; not list"),
        (tiny, {}, UnknownName, "not BertForMaskedLM"),
        (lambda: "", {}, ModelNotFound, "No model was named. Give"),
        (lambda: (tiny(), tokenizer(), 1), {}, UnknownName, r"give atlas.load\(\(model, tokenizer\)\)"),
        (lambda: (tiny(),), {}, UnknownName, r"give atlas.load\(\(model, tokenizer\)\)"),
        (lambda: (tokenizer(), tiny()), {}, UnknownName, r"give atlas.load\(\(model, tokenizer\)\) with a transformers model"),
        (lambda: (tiny(), None), {}, UnknownName, "has to be a transformers tokenizer, not NoneType"),
        (lambda: (tiny(), "bert-base-uncased"), {}, UnknownName, "has to be a transformers tokenizer, not str"),
        (lambda: (torch.nn.Linear(2, 2), tokenizer()), {}, UnknownName, r"this is \(Linear, "),
        (lambda: (tiny(), tokenizer()), {"revision": "main"}, UnknownName, "leave out revision, device and dtype"),
        (lambda: (tiny(), tokenizer()), {"dtype": "float16"}, UnknownName, "leave out revision, device and dtype"),
        (
            lambda: (
                tr.ViTModel(tr.ViTConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)),
                tokenizer(),
            ),
            {},
            UnsupportedModel,
            "ViTModel takes pixel_values, not text. Load",
        ),
        (
            lambda: (tr.BertForMultipleChoice(tr.BertConfig(**_BERT)), tokenizer()),
            {},
            UnsupportedModel,
            "does not run on one plain text.*Load",
        ),
    ],
    ids=range(16),
)
def test_models(make: Any, options: dict[str, Any], error: type[AtlasError], says: str) -> None:
    refused(lambda: load(make(), **options), error, says)


def test_a_failed_load_gives_the_model_back() -> None:
    torch.manual_seed(0)
    hf = tr.BertForMultipleChoice(tr.BertConfig(**_BERT)).train()
    before = flags(hf)
    refused(lambda: load((hf, tokenizer())), UnsupportedModel, "does not run on one plain text")
    assert flags(hf) == before


def test_a_tokenizer_of_another_model() -> None:
    """Ids the embedding has no row for: an error that names both, not an index error deep in torch."""
    torch.manual_seed(0)
    hf = tr.BertForMaskedLM(tr.BertConfig(**_BERT | {"vocab_size": 40})).eval()
    model = load((hf, tokenizer()))
    refused(
        lambda: model.trace("the w30 cat"),
        TextError,
        "outside the model's embedding, which has 40 rows. Model and tokenizer do not belong",
    )
    assert model.trace("the cat").kinds == ("encoder",)


def test_a_released_model_says_so() -> None:
    model = load((tiny(), tokenizer()))
    trace = model.trace(TEXT, capture=())
    model.release()
    for ask in (
        lambda: model.trace(TEXT),
        lambda: next(model.traces([TEXT])),
        lambda: trace.vectors("hidden"),
        trace.predictions,
    ):
        refused(ask, UnsupportedModel, "was released.*Load it again")
    assert trace.attention().shape == (3, 4, 24, 24)


class Canary:
    """Unpickling this writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_a_pickle_disguised_as_a_model(tmp_path: Path) -> None:
    folder = tiny_files.save(tmp_path / "model", tiny_files.bert())
    (folder / "model.safetensors").write_bytes(pickle.dumps(Canary(tmp_path / "sung")))
    refused(lambda: load(folder), UnsafeModel, "model.safetensors is a Python pickle under a false name")
    assert not (tmp_path / "sung").exists()
    pickle.loads((folder / "model.safetensors").read_bytes())
    assert (tmp_path / "sung").exists(), "the canary does not sing, so its silence proves nothing"


def test_a_folder_with_pickled_weights_only(tmp_path: Path) -> None:
    folder = tiny_files.save(tmp_path / "model", tiny_files.bert())
    (folder / "model.safetensors").unlink()
    torch.save({"weights": Canary(tmp_path / "sung")}, folder / "pytorch_model.bin")
    refused(lambda: load(folder), UnsafeModel, "pytorch_model.bin")
    assert not (tmp_path / "sung").exists()


def test_no_trace_where_a_model_is_and_the_other_way_round(tmp_path: Path, bert: Any) -> None:
    folder = tiny_files.save(tmp_path / "model", tiny_files.bert())
    refused(lambda: atlas.open(folder), BadTraceFile, "cannot be read as a saved trace.*something else")
    refused(lambda: atlas.open(folder / "model.safetensors"), BadTraceFile, "cannot be read as a saved trace")
    with pytest.raises(AtlasError):
        load(bert.trace(TEXT).save(tmp_path / "run.nc"))
