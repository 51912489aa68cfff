"""The contract of Trace: what it answers, in which shape, and what it says where it has no answer."""

from __future__ import annotations

import dataclasses
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import transformers as tr

import atlas
import atlas.trace
from atlas.engine.loading.load import load
from atlas.errors import NotCaptured, TooLarge, UnknownName
from tests.engine.families import _BERT, BY_NAME, TARGET, TEXT, VOCABULARY, loaded, tokenizer

SHORT = "the doctor said that she was tired"


@pytest.fixture(scope="module")
def bert() -> Any:
    return loaded("BERT")


@pytest.fixture(scope="module")
def gpt2() -> Any:
    return loaded("GPT-2")


@pytest.fixture(scope="module")
def bart() -> Any:
    return loaded("BART")


@pytest.fixture(scope="module")
def causal(gpt2: Any) -> Any:
    return gpt2.trace(SHORT)


@pytest.fixture(scope="module")
def both(bart: Any) -> Any:
    return bart.trace(SHORT, target=TARGET)


@pytest.fixture(scope="module")
def opened(causal: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return atlas.open(causal.save(tmp_path_factory.mktemp("trace") / "causal.nc"))


# -- shape -------------------------------------------------------------------------------------------------------------


def test_kinds_layers_and_heads(causal: Any, both: Any) -> None:
    assert causal.kinds == ("decoder",)
    assert (causal.n_layers(), causal.n_heads()) == (3, 4)
    assert both.kinds == ("encoder", "decoder", "cross")
    assert [(both.n_layers(kind), both.n_heads(kind)) for kind in both.kinds] == [(2, 4), (3, 2), (3, 2)]
    assert len(both.head_ids) == 2 * 4 + 2 * 3 * 2
    assert list(both.head_ids) == sorted(both.head_ids)
    assert repr(both).startswith("<Trace of BartForConditionalGeneration in memory: encoder 2x4x9x9, ")


def test_which_side_an_axis_is_on(causal: Any, both: Any) -> None:
    assert [both.side(kind, axis) for kind in both.kinds for axis in ("query", "key")] == [
        "source", "source", "target", "target", "target", "source",
    ]  # fmt: skip
    assert causal.side("decoder", "query") == causal.side("decoder", "key") == "source"
    for kind in both.kinds:
        lengths = tuple(len(both.tokens(both.side(kind, axis))) for axis in ("query", "key"))
        assert both.attention(kind).shape[2:] == lengths


@pytest.mark.parametrize(
    "ask", [lambda t: t.n_layers(), lambda t: t.n_heads(), lambda t: t.attention(), lambda t: t.vectors("query")]
)
def test_the_kind_may_be_left_out_only_where_there_is_one(both: Any, causal: Any, ask: Any) -> None:
    ask(causal)
    with pytest.raises(UnknownName, match="encoder, decoder, cross attention; say which with kind="):
        ask(both)


def test_a_kind_that_is_not_there(causal: Any) -> None:
    with pytest.raises(UnknownName, match="no 'encoder' attention; it has decoder"):
        causal.attention("encoder")


# -- attention ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keep", ["weights", "qk"])
@pytest.mark.parametrize("layer", [None, 1, [2, 0], range(2), np.array([1])])
@pytest.mark.parametrize("head", [None, 3, (1,), [3, 0, 3]])
@pytest.mark.parametrize(("queries", "keys"), [(None, None), ([6, 2], None), (None, [0, 5, 3]), (4, range(3)), ([], [1])])
def test_every_way_of_asking_is_a_slice_of_the_whole(
    gpt2: Any, causal: Any, keep: str, layer: Any, head: Any, queries: Any, keys: Any
) -> None:
    trace = gpt2.trace(SHORT, keep=keep) if not hasattr(gpt2, f"_test_{keep}") else getattr(gpt2, f"_test_{keep}")
    setattr(gpt2, f"_test_{keep}", trace)
    whole = causal.attention().to_numpy()
    answer = trace.attention(layer=layer, head=head, queries=queries, keys=keys)

    def index(given: Any, size: int) -> list[int]:
        return list(range(size)) if given is None else [given] if np.ndim(given) == 0 else list(given)

    picked = [index(given, size) for given, size in zip((layer, head, queries, keys), whole.shape, strict=True)]
    expected = whole[np.ix_(*(np.asarray(each, dtype=int) for each in picked))]
    dims = ["layer", "head", "query", "key"]
    for axis in (1, 0):
        given = (layer, head)[axis]
        if given is not None and np.ndim(given) == 0:
            expected = expected.squeeze(axis)
            dims.pop(axis)
    assert answer.dims == tuple(dims)
    assert answer.dtype == np.float32
    np.testing.assert_allclose(answer.to_numpy(), expected, atol=1e-5)
    assert np.array_equal(np.isnan(answer), np.isnan(expected))
    for name, each in zip(("layer", "head", "query", "key"), picked, strict=True):
        assert np.array_equal(np.atleast_1d(answer[name]), each)
    assert answer.attrs["kind"] == "decoder"


def test_masked_cells_are_nan_and_the_rest_sums_to_one(causal: Any) -> None:
    weights = causal.attention().to_numpy()
    future = ~np.tri(weights.shape[-1], dtype=bool)
    assert np.isnan(weights[..., future]).all()
    assert np.isfinite(weights[..., ~future]).all()
    np.testing.assert_allclose(np.nansum(weights, axis=-1), 1, atol=1e-5)


@pytest.mark.parametrize(
    "wrong",
    [{"layer": 3}, {"layer": -1}, {"head": 4}, {"head": [0, 9]}, {"queries": [7]}, {"keys": -1}],
    ids=str,
)
def test_what_is_not_there_is_refused_by_number(causal: Any, wrong: dict[str, Any]) -> None:
    with pytest.raises(UnknownName, match="counted from 0"):
        causal.attention(**wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        {"layer": 1.5},
        {"layer": "first"},
        {"queries": slice(0, 2)},
        {"queries": np.ones(7, dtype=bool)},
        {"keys": [[0, 1]]},
        {"head": True},
        {"keys": [[0], [1, 2]]},
    ],
    ids=str,
)
def test_what_is_no_number_is_not_read_as_one(causal: Any, wrong: dict[str, Any]) -> None:
    """A boolean mask read as positions would give the weights of tokens 0 and 1, and look right."""
    with pytest.raises(UnknownName, match="named by its number"):
        causal.attention(**wrong)


def test_an_answer_above_the_ceiling_is_refused_with_numbers(causal: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atlas.trace, "ANSWER_BYTES", 3 * 4 * 7 * 7 * 4 - 1)
    with pytest.raises(TooLarge, match=r"GiB of weights.*layer=, head=.*queries=, keys="):
        causal.attention()
    assert causal.attention(layer=[0, 1]).shape == (2, 4, 7, 7)
    assert causal.attention(queries=[1]).shape == (3, 4, 1, 7)


def test_scores_multiply_out_to_the_weight(causal: Any) -> None:
    steps = causal.scores(layer=1, head=2)
    assert list(steps) == ["dot", "scaled", "masked", "weight"]
    powers = np.exp(steps["masked"].to_numpy())
    np.testing.assert_allclose(powers / np.nansum(powers, axis=1, keepdims=True), causal.attention(layer=1, head=2), atol=1e-5)


# -- tokens ------------------------------------------------------------------------------------------------------------


def test_tokens_are_copies(causal: Any, both: Any) -> None:
    first = causal.tokens()
    first["token"] = "changed"
    first.loc[0, "special"] = True
    again = causal.tokens()
    assert again["token"].tolist() == SHORT.split()
    assert both.tokens("target")["token"].tolist()[1:4] == ["[CLS]", "a", "cat"]
    assert both.tokens("target")["special"].tolist()[:3] == [True, True, False]
    for column in ("token", "start", "end", "special", "word"):
        assert column in again.columns


def test_tokens_of_a_side_that_is_not_there(causal: Any) -> None:
    with pytest.raises(UnknownName, match="no 'target' tokens; it has source"):
        causal.tokens("target")


# -- vectors -----------------------------------------------------------------------------------------------------------


def test_vectors_of_heads(causal: Any) -> None:
    for name in ("query", "key", "value"):
        whole = causal.vectors(name)
        assert whole.dims == ("layer", "head", "position", "width")
        assert whole.shape == (3, 4, 7, 8)
        assert causal.vectors(name, layer=1).dims == ("head", "position", "width")
        assert np.array_equal(causal.vectors(name, layer=2, head=3), whole[2, 3])


def test_vectors_of_the_stream(gpt2: Any, causal: Any) -> None:
    ids = torch.as_tensor(causal.tokens()["id"].to_numpy(copy=True))[None]
    with torch.no_grad():
        states = gpt2.hf(ids, output_hidden_states=True).hidden_states
    hidden = causal.vectors("hidden")
    assert hidden.dims == ("layer", "position", "width")
    assert hidden.shape == (4, 7, 32)
    # transformers' own list ends with the state after the final norm; ours with the stream itself.
    for layer in range(3):
        np.testing.assert_allclose(causal.vectors("hidden", layer=layer), states[layer][0], atol=1e-4)
    np.testing.assert_allclose(causal.vectors("final_norm_out", layer=0), states[-1][0], atol=1e-4)


def test_every_name_a_trace_claims_it_can_give(causal: Any, both: Any, opened: Any) -> None:
    for trace in (causal, opened):
        assert len(set(trace.vector_names)) == len(trace.vector_names)
        for name in trace.vector_names:
            assert np.isfinite(trace.vectors(name).to_numpy()).all(), name
    for name in both.vector_names:
        places = both.arrays.get(name)
        for kind in both.kinds if places is None else {place[0] for place in places}:
            assert both.vectors(name, kind).size, (name, kind)


def test_what_a_head_reads_and_writes(gpt2: Any, causal: Any) -> None:
    read = causal.vectors("head_read")
    by_hand = np.nan_to_num(causal.attention().to_numpy()) @ causal.vectors("value").to_numpy()
    np.testing.assert_allclose(read, by_hand, atol=1e-4)
    written = causal.vectors("head_output")
    assert written.shape == (3, 4, 7, 32)
    np.testing.assert_allclose(causal.vectors("head_output", layer=1, head=2), written[1, 2], atol=1e-5)
    bias = gpt2.hf.transformer.h[1].attn.c_proj.bias.detach().numpy()
    total = written[1].sum("head").to_numpy() + bias
    np.testing.assert_allclose(total, causal.vectors("attention_output", layer=1), atol=1e-3)


def test_the_logit_lens_ends_in_the_models_logits(causal: Any) -> None:
    lens = causal.vectors("logit_lens")
    assert lens.dims == ("layer", "position", "outcome")
    assert lens.shape == (4, 7, VOCABULARY)
    outcomes = causal.outcomes
    last = np.take_along_axis(lens[-1].to_numpy(), outcomes.ids, axis=1)
    np.testing.assert_allclose(last, outcomes.logits, atol=1e-3)
    assert np.abs(np.take_along_axis(lens[0].to_numpy(), outcomes.ids, axis=1) - outcomes.logits).max() > 1
    np.testing.assert_allclose(causal.vectors("logit_lens", layer=2), lens[2], atol=1e-5)


def test_the_logit_lens_has_a_ceiling(causal: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("atlas.tracing.vectors.LENS_BYTES", 7 * VOCABULARY * 4)
    with pytest.raises(TooLarge, match="one layer at a time"):
        causal.vectors("logit_lens")
    assert causal.vectors("logit_lens", layer=1).shape == (7, VOCABULARY)


def test_unknown_names_list_the_known(causal: Any, opened: Any) -> None:
    with pytest.raises(UnknownName, match=r"no vector 'quarry'; there are .*attention_output.*hidden.*key.*query"):
        causal.vectors("quarry")
    with pytest.raises(NotCaptured, match=r"holds query, key, value, head_read.*hidden.*not 'quarry', and its model is not here"):
        opened.vectors("quarry")


def test_why_a_model_has_no_such_vector(causal: Any) -> None:
    with pytest.raises(UnknownName, match=r"has no 'segment': ."):
        causal.vectors("segment")


@pytest.mark.parametrize("name", ["hidden", "logit_lens"])
def test_the_stream_has_no_heads(causal: Any, name: str) -> None:
    with pytest.raises(UnknownName, match="leave out head="):
        causal.vectors(name, head=0)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("query", {"layer": 3}),
        ("query", {"head": -1}),
        ("hidden", {"layer": 4}),
        ("head_output", {"head": 4}),
        ("key", {"layer": [0]}),
        ("value", {"head": "0"}),
    ],
)
def test_vectors_out_of_range(causal: Any, name: str, wrong: dict[str, Any]) -> None:
    with pytest.raises(UnknownName, match="There is no"):
        causal.vectors(name, **wrong)


def test_a_missing_group_is_run_again_once(gpt2: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    trace = gpt2.trace(SHORT, capture=())
    assert not trace.arrays
    runs: list[Any] = []
    original = gpt2.run_groups
    monkeypatch.setattr(gpt2, "run_groups", lambda *args, **kwargs: runs.append(args) or original(*args, **kwargs))
    first, again = trace.vectors("ffn_pre"), trace.vectors("ffn_act", layer=1)
    assert first.shape == (3, 7, 128)
    assert again.shape == (7, 128)
    assert len(runs) == 1
    np.testing.assert_array_equal(first, gpt2.trace(SHORT, capture="ffn").vectors("ffn_pre"))
    assert trace.predictions(3).shape[0] == 3 * 7
    assert len(runs) == 2  # and the predictions


def test_once_keeps_one_key_from_waiting_for_another(causal: Any) -> None:
    trace = dataclasses.replace(causal, _cache={})
    begun, gate = threading.Event(), threading.Event()

    def slow() -> object:
        begun.set()
        assert gate.wait(10)
        return object()

    with ThreadPoolExecutor(4) as pool:
        sharing = [pool.submit(trace.once, "slow", slow) for _ in range(3)]
        assert begun.wait(10)
        assert pool.submit(trace.once, "quick", lambda: "quick").result(10) == "quick"
        assert not trace.holds("slow")
        assert not any(future.done() for future in sharing)
        gate.set()
        assert len({id(future.result(10)) for future in sharing}) == 1
    assert trace.once("slow", lambda: "made again") is sharing[0].result()


def test_once_computes_a_key_one_time_however_many_ask(causal: Any) -> None:
    trace = dataclasses.replace(causal, _cache={})
    made: list[int] = []
    for round_ in range(50):
        door = threading.Barrier(4, timeout=10)

        def ask(key: str = f"key {round_}", door: threading.Barrier = door) -> Any:
            door.wait()
            return trace.once(key, lambda: made.append(1) or key)

        with ThreadPoolExecutor(4) as pool:
            assert len({future.result() for future in [pool.submit(ask) for _ in range(4)]}) == 1
    assert len(made) == 50


def test_once_raises_for_a_key_that_asks_for_itself_and_keeps_no_error(causal: Any) -> None:
    trace = dataclasses.replace(causal, _cache={})
    with pytest.raises(RuntimeError, match="itself"):
        trace.once("a", lambda: trace.once("b", lambda: trace.once("a", object)))
    with pytest.raises(ZeroDivisionError):
        trace.once("a", lambda: 1 / 0)
    assert not trace.holds("a")
    assert trace.once("a", lambda: 7) == 7


def test_a_changed_run_is_run_again_as_it_was(gpt2: Any) -> None:
    change = {"ablate": [(0, 1), (1, 2)]}
    later = gpt2.trace(SHORT, capture=(), **change).vectors("hidden").to_numpy()
    np.testing.assert_array_equal(later, gpt2.trace(SHORT, **change).vectors("hidden").to_numpy())
    assert np.abs(later - gpt2.trace(SHORT).vectors("hidden").to_numpy()).max() > 1e-2


def test_a_model_whose_weights_moved_on_is_not_run_again() -> None:
    """Between two steps of a training loop: the numbers of another model must not be passed off as those of this run."""
    family = BY_NAME["BERT"]
    hf = family.model()
    trace = load((hf, family.tokenizer())).trace(SHORT, capture=())
    with torch.no_grad():
        hf.bert.encoder.layer[0].output.dense.bias.add_(1.0)
    for ask in (lambda: trace.vectors("hidden"), trace.predictions, lambda: trace.vectors("head_output")):
        with pytest.raises(NotCaptured, match=r"have changed since this text was traced. Trace it again"):
            ask()
    assert trace.vectors("query").shape == (3, 4, 9, 8)


def test_opened_traces_say_what_they_hold(opened: Any) -> None:
    assert opened.live is None
    for name in ("ffn_in", "head_output", "logit_lens"):
        with pytest.raises(NotCaptured, match=r"model .*is not here"):
            opened.vectors(name)


# -- predictions -------------------------------------------------------------------------------------------------------


def expected_table(logits: torch.Tensor, k: int, *, sigmoid: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(ids, probabilities, logits) of the k likeliest, by plain torch."""
    probabilities = logits.sigmoid() if sigmoid else logits.softmax(-1)
    top = logits.topk(k, dim=-1)
    return top.indices.numpy().ravel(), probabilities.gather(-1, top.indices).numpy().ravel(), top.values.numpy().ravel()


def assert_predictions(table: pd.DataFrame, logits: torch.Tensor, k: int, **how: Any) -> None:
    ids, probabilities, values = expected_table(logits, k, **how)
    assert table["id"].tolist() == ids.tolist()
    np.testing.assert_allclose(table["probability"], probabilities, atol=1e-5, rtol=1e-4)
    np.testing.assert_allclose(table["logit"], values, atol=1e-4)


@pytest.mark.parametrize("name", ["BERT", "GPT-2", "T5"])
def test_predictions_of_language_models(name: str) -> None:
    model = loaded(name)
    trace = model.trace(SHORT, **({"target": TARGET} if name == "T5" else {}))
    inputs = {"input_ids": torch.as_tensor(trace.tokens()["id"].to_numpy(copy=True))[None]}
    if name == "T5":
        inputs["decoder_input_ids"] = torch.as_tensor(trace.tokens("target")["id"].to_numpy(copy=True))[None]
    with torch.no_grad():
        logits = model.hf(**inputs).logits[0]
    for k in (1, 5, 50):
        table = trace.predictions(k)
        assert list(table) == ["position", "rank", "token", "id", "probability", "logit"]
        assert table["position"].tolist() == np.repeat(np.arange(len(logits)), k).tolist()
        assert table["rank"].tolist() == list(range(k)) * len(logits)
        assert_predictions(table, logits, k)
    assert len(trace.predictions()) == 5 * len(logits)
    pieces = model.tokenizer.convert_ids_to_tokens(trace.predictions(1)["id"].tolist())
    assert [piece.removeprefix("##") for piece in pieces] == trace.predictions(1)["token"].tolist()
    for wrong in (0, -1, 51, 96):
        with pytest.raises(NotCaptured, match="ask for k between 1 and 50"):
            trace.predictions(wrong)


def classifier(cls: Any, **config: Any) -> Any:
    torch.manual_seed(0)
    hf = cls(tr.BertConfig(**_BERT, **config)).eval()
    with torch.no_grad():
        hf.classifier.weight.mul_(50)
    return load((hf, tokenizer()))


LABELS = {0: "neutral", 1: "angry", 2: "glad"}


@pytest.mark.parametrize("multi", [False, True])
def test_predictions_of_a_sequence_classifier(multi: bool) -> None:
    problem = {"problem_type": "multi_label_classification"} if multi else {}
    model = classifier(tr.BertForSequenceClassification, id2label=LABELS, **problem)
    trace = model.trace(SHORT, "the cat ran")
    assert model.task == "sequence-classification"
    inputs = model.tokenizer(SHORT, "the cat ran", return_tensors="pt")
    with torch.no_grad():
        logits = model.hf(**inputs).logits
    table = trace.predictions()  # the default k of 5 is more than there are
    assert list(table) == ["rank", "label", "id", "probability", "logit"]
    assert_predictions(table, logits, 3, sigmoid=multi)
    assert table["label"].tolist() == [LABELS[i] for i in table["id"]]
    assert (table["probability"].sum() == pytest.approx(1)) is not multi
    assert trace.predictions(1)["label"].tolist() == [LABELS[int(logits.argmax())]]


def test_predictions_of_a_token_classifier() -> None:
    model = classifier(tr.BertForTokenClassification, id2label=LABELS)
    trace = model.trace(SHORT)
    with torch.no_grad():
        logits = model.hf(**model.tokenizer(SHORT, return_tensors="pt")).logits[0]
    table = trace.predictions(2)
    assert list(table) == ["position", "rank", "label", "id", "probability", "logit"]
    assert_predictions(table, logits, 2)


def test_a_regression_has_a_number_and_no_probability() -> None:
    model = classifier(tr.BertForSequenceClassification, num_labels=1)
    table = model.trace(SHORT).predictions()
    with torch.no_grad():
        value = model.hf(**model.tokenizer(SHORT, return_tensors="pt")).logits.item()
    assert table["logit"].tolist() == pytest.approx([value], abs=1e-4)
    assert table["probability"].isna().all()


def test_next_sentence_prediction_has_labels_not_tokens() -> None:
    torch.manual_seed(0)
    hf = tr.BertForNextSentencePrediction(tr.BertConfig(**_BERT)).eval()
    table = load((hf, tokenizer())).trace(SHORT, "the cat ran").predictions()
    assert sorted(table["label"]) == ["LABEL_0", "LABEL_1"]


def test_a_pretraining_head_predicts_words() -> None:
    torch.manual_seed(0)
    hf = tr.BertForPreTraining(tr.BertConfig(**_BERT)).eval()
    model = load((hf, tokenizer()))
    with torch.no_grad():
        logits = hf(**model.tokenizer(SHORT, return_tensors="pt")).prediction_logits[0]
    assert_predictions(model.trace(SHORT).predictions(4), logits, 4)


@pytest.mark.parametrize("cls", ["BertModel", "BertForQuestionAnswering", "ElectraForPreTraining"])
def test_models_without_ranked_outcomes_say_so(cls: str) -> None:
    """ELECTRA's discriminator has one logit a token: read as outcomes they would be words it never meant."""
    config = tr.ElectraConfig(embedding_size=16, **_BERT) if cls.startswith("Electra") else tr.BertConfig(**_BERT)
    torch.manual_seed(0)
    trace = load((getattr(tr, cls)(config).eval(), tokenizer())).trace(SHORT)
    assert trace.outcomes is None
    with pytest.raises(NotCaptured, match="no output that can be read"):
        trace.predictions()


def test_an_opened_trace_without_predictions(gpt2: Any, tmp_path: Any) -> None:
    trace = atlas.open(gpt2.trace(SHORT, capture=()).save(tmp_path / "bare.nc"))
    with pytest.raises(NotCaptured, match="holds no predictions"):
        trace.predictions()


# -- heads -------------------------------------------------------------------------------------------------------------


def test_heads_has_a_row_for_every_head_and_a_uniform_beside_every_metric(both: Any) -> None:
    table = both.heads
    assert list(zip(table["kind"], table["layer"], table["head"], strict=True)) == [
        (h.kind, h.layer, h.head) for h in both.head_ids
    ]
    metrics = [
        "entropy", "entropy_norm", "confidence_max", "confidence_mean", "sparsity", "uniformity", "median", "balance", "special",
        "punctuation", "self", "previous", "next", "distance", "long_range", "induction", "duplicate", "function_words",
        "content_words", "entities",
    ]  # fmt: skip
    for name in metrics:
        assert name in table.columns
        assert f"{name}_uniform" in table.columns


@pytest.mark.parametrize("keep", ["weights", "qk"])
def test_heads_against_the_definition(gpt2: Any, keep: str) -> None:
    trace = gpt2.trace(SHORT, keep=keep)
    weights = trace.attention().to_numpy().astype(np.float64)
    table = trace.heads
    with np.errstate(divide="ignore", invalid="ignore"):
        entropy = -np.nansum(np.where(weights > 0, weights * np.log(weights), 0), axis=-1)
    # The first token sees itself only; its row has no entropy to speak of.
    np.testing.assert_allclose(table["entropy"], entropy[..., 1:].mean(-1).ravel(), atol=1e-5)
    diagonal = np.diagonal(weights, axis1=2, axis2=3)[..., 1:].mean(-1).ravel()
    np.testing.assert_allclose(table["self"], diagonal, atol=1e-5)
    previous = np.diagonal(weights, offset=-1, axis1=2, axis2=3).mean(-1).ravel()
    np.testing.assert_allclose(table["previous"], previous, atol=1e-5)
    assert table["next"].isna().all()


def test_heads_is_a_copy(causal: Any) -> None:
    table = causal.heads
    table["entropy"] = -1.0
    assert (causal.heads["entropy"] >= 0).all()


# -- immutability ------------------------------------------------------------------------------------------------------


def test_a_trace_cannot_be_changed_through_its_answers(gpt2: Any) -> None:
    trace = gpt2.trace(SHORT)
    before = {name: trace.vectors(name).to_numpy().copy() for name in ("query", "hidden", "head_read")}
    weights, predictions = trace.attention().to_numpy().copy(), trace.predictions()
    for name in before:
        trace.vectors(name).to_numpy()[...] = 7
        trace.vectors(name, layer=0).to_numpy()[...] = 7
    trace.attention().to_numpy()[...] = 7
    trace.attention(layer=0, head=0).to_numpy()[...] = 7
    trace.scores(layer=0, head=0)["dot"].to_numpy()[...] = 7
    table = trace.predictions()
    table["logit"] = 7
    for name, values in before.items():
        assert np.array_equal(trace.vectors(name).to_numpy(), values)
    assert np.array_equal(trace.attention().to_numpy(), weights, equal_nan=True)
    pd.testing.assert_frame_equal(trace.predictions(), predictions)
    with pytest.raises(dataclasses.FrozenInstanceError):
        trace.texts = None


def test_a_later_run_leaves_a_trace_alone(gpt2: Any) -> None:
    trace = gpt2.trace(SHORT)
    kept = {name: trace.vectors(name).to_numpy().copy() for name in ("query", "key", "value", "hidden", "attention_output")}
    weights = trace.attention().to_numpy().copy()
    gpt2.trace(TEXT)
    gpt2.trace("the cat", ablate=[(0, 0)])
    for name, values in kept.items():
        assert np.array_equal(trace.vectors(name).to_numpy(), values), name
    assert np.array_equal(trace.attention().to_numpy(), weights, equal_nan=True)
