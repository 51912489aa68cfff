"""What is changed in a run is what doing it by hand to the model does."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from atlas.engine.loading.load import load
from atlas.engine.running.interventions import Intervention, Output, Pattern
from atlas.errors import BadIntervention, UnknownName
from tests.engine.families import BY_NAME, TARGET, TEXT, gptj, loaded

EXACT = 2e-5
WIDTH, HEADS, LAYERS = 8, 4, 3


@pytest.fixture(scope="module")
def bert() -> Any:
    return loaded("BERT")


@pytest.fixture(scope="module")
def gpt2() -> Any:
    return loaded("GPT-2")


def logits_by_hand(model: Any, change: Callable[[Any], None], **inputs: Any) -> np.ndarray:
    """Logits of a copy of the model that was changed by hand, with its own attention."""
    hf = copy.deepcopy(model.hf)
    hf.set_attn_implementation("eager")
    change(hf)
    ids = torch.tensor(model.trace(TEXT).tokens()["id"].to_numpy(copy=True))[None]
    with torch.no_grad():
        return hf(input_ids=ids, **inputs).logits[0].numpy()


def logits_of(trace: Any) -> np.ndarray:
    """All kept logits in the order of their ids."""
    outcomes = trace.outcomes
    order = np.argsort(outcomes.ids, axis=1)
    return np.take_along_axis(outcomes.logits, order, axis=1), np.take_along_axis(outcomes.ids, order, axis=1)


def assert_same_logits(trace: Any, by_hand: np.ndarray, *, differs_from: Any = None) -> None:
    logits, ids = logits_of(trace)
    assert np.abs(np.take_along_axis(by_hand, ids, axis=1) - logits).max() <= EXACT * max(1, np.abs(by_hand).max())
    if differs_from is not None:
        before = np.sort(differs_from.outcomes.logits, axis=1)
        assert np.abs(np.sort(logits, axis=1) - before).max() > 1e-2, "the change changed nothing, so this proves nothing"


def columns(head: int) -> slice:
    return slice(head * WIDTH, (head + 1) * WIDTH)


def zero_bert_heads(heads: list[tuple[int, int]]) -> Callable[[Any], None]:
    """BERT's output projection without the columns of some heads: they can write nothing."""

    def change(hf: Any) -> None:
        with torch.no_grad():
            for layer, head in heads:
                hf.bert.encoder.layer[layer].attention.output.dense.weight[:, columns(head)] = 0

    return change


def test_zero_all_heads_but_one(bert: Any) -> None:
    others = [(layer, head) for layer in range(LAYERS) for head in range(HEADS) if (layer, head) != (1, 2)]
    assert_same_logits(
        bert.trace(TEXT, ablate=others), logits_by_hand(bert, zero_bert_heads(others)), differs_from=bert.trace(TEXT)
    )


def test_zero_heads_of_gpt2(gpt2: Any) -> None:
    def change(hf: Any) -> None:
        with torch.no_grad():
            hf.transformer.h[0].attn.c_proj.weight[columns(3)] = 0
            hf.transformer.h[2].attn.c_proj.weight[columns(0)] = 0

    trace = gpt2.trace(TEXT, ablate=["L0 H3", (2, 0)])
    assert_same_logits(trace, logits_by_hand(gpt2, change), differs_from=gpt2.trace(TEXT))


def test_mean_ablation(bert: Any) -> None:
    def change(hf: Any) -> None:
        def averaged(module: Any, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
            states = args[0].clone()
            states[..., columns(1)] = states[..., columns(1)].mean(dim=1, keepdim=True)
            return (states,)

        hf.bert.encoder.layer[0].attention.output.dense.register_forward_pre_hook(averaged)

    trace = bert.trace(TEXT, ablate={(0, 1): "mean"})
    assert_same_logits(trace, logits_by_hand(bert, change), differs_from=bert.trace(TEXT))


def test_knocked_out_edges(bert: Any) -> None:
    """Edges cut in every layer, against the same as a mask given to the model's own attention."""
    n = len(bert.trace(TEXT).tokens())
    edges = [(2, 5, 7), (2, 5, 8), (0, 3, 1)]
    mask = torch.zeros(1, HEADS, n, n)
    for head, query, key in edges:
        mask[0, head, query, key] = torch.finfo(torch.float32).min
    cut = [((layer, head), query, key) for layer in range(LAYERS) for head, query, key in edges]
    trace = bert.trace(TEXT, knock_out=cut)
    assert_same_logits(trace, logits_by_hand(bert, lambda _: None, attention_mask=mask), differs_from=bert.trace(TEXT))
    for keep in ("weights", "qk"):
        weights = bert.trace(TEXT, knock_out=cut, keep=keep).attention().to_numpy()
        gone = np.zeros(weights.shape, dtype=bool)
        for head, query, key in edges:
            gone[:, head, query, key] = True
        assert np.array_equal(np.isnan(weights), gone)
        assert np.abs(np.nansum(weights, axis=-1) - 1).max() < 1e-5
        assert np.nanmax(np.abs(weights - trace.attention().to_numpy())) <= 1e-5


def test_a_query_that_lost_every_edge_reads_nothing(gpt2: Any) -> None:
    cut = [((1, 1), 4, key) for key in range(5)]
    for keep in ("weights", "qk"):
        trace = gpt2.trace(TEXT, knock_out=cut, keep=keep)
        row = trace.attention(layer=1, head=1, queries=[4]).to_numpy()[0]
        assert np.isnan(row).all()
        assert np.array_equal(trace.vectors("head_read", layer=1, head=1).to_numpy()[4], np.zeros(WIDTH))


def softmax(scores: np.ndarray) -> np.ndarray:
    """By the book; what may not be seen (NaN) takes no part and stays unknown."""
    powers = np.exp(np.where(np.isnan(scores), -np.inf, scores) - np.nanmax(scores, axis=-1, keepdims=True))
    return np.where(np.isnan(scores), np.nan, powers / powers.sum(-1, keepdims=True))


@pytest.mark.parametrize("name", ["BERT", "GPT-2", "Gemma2", "T5"])
def test_scores_are_minus_infinity_where_an_edge_was_cut_and_give_the_weights_shown(name: str) -> None:
    model = loaded(name)
    texts = {"target": TARGET} if "cross" in model.kinds else {}
    for kind in model.kinds:
        cut = [((kind, 1, 1), 5, 2), ((kind, 1, 1), 5, 4), ((kind, 0, 0), 3, 0)]
        trace = model.trace(TEXT, keep="qk", knock_out=cut, **texts)
        attention, whole = trace.attention_of(kind), model.trace(TEXT, keep="qk", **texts).attention_of(kind)
        edges = {(1, 1): {(5, 2), (5, 4)}, (0, 0): {(3, 0)}}
        for layer, head in ((1, 1), (0, 0), (0, 1), (1, 0)):
            scores, weights = attention.scores(layer, head), attention.block(layer, head)
            masked = scores["masked"]
            assert set(zip(*map(np.ndarray.tolist, np.nonzero(np.isneginf(masked))), strict=True)) == edges.get(
                (layer, head), set()
            )
            assert np.isfinite(scores["dot"]).all()
            assert np.isfinite(scores["scaled"]).all()  # in a model without bias and mask these are the masked ones otherwise
            np.testing.assert_array_equal(np.isnan(masked), np.isnan(whole.scores(layer, head)["masked"]))
            cut_here = np.isneginf(masked)
            np.testing.assert_allclose(np.where(cut_here, np.nan, softmax(masked)), weights, atol=1e-5)
            assert not softmax(masked)[cut_here].any()
            # A part of it, as a cell under the pointer asks for it.
            part = attention.scores(layer, head, slice(4, 7), slice(2, 5))["masked"]
            np.testing.assert_allclose(part, masked[4:7, 2:5], rtol=1e-5)
            rows = np.array([5, 3])
            np.testing.assert_allclose(attention.scores(layer, head, rows)["masked"], masked[rows], rtol=1e-5)


def test_patching_a_pattern(gpt2: Any) -> None:
    n = len(gpt2.trace(TEXT).tokens())
    given = np.tril(np.ones((n, n)))
    given /= given.sum(1, keepdims=True)

    def change(hf: Any) -> None:
        def averaged(module: Any, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
            states = args[0].clone()
            qkv = seen["qkv"]
            value = qkv[..., 2 * HEADS * WIDTH :][..., columns(2)]
            states[..., columns(2)] = torch.as_tensor(given, dtype=torch.float32) @ value
            return (states,)

        seen: dict[str, torch.Tensor] = {}
        attn = hf.transformer.h[1].attn
        attn.c_attn.register_forward_hook(lambda _module, _args, output: seen.update(qkv=output))
        attn.c_proj.register_forward_pre_hook(averaged)

    by_hand = logits_by_hand(gpt2, change)
    for keep in ("weights", "qk"):
        trace = gpt2.trace(TEXT, patch={(1, 2): Pattern(given)}, keep=keep)
        assert_same_logits(trace, by_hand, differs_from=gpt2.trace(TEXT))
        assert np.abs(np.nan_to_num(trace.attention(layer=1, head=2).to_numpy()) - given).max() < 1e-6


def test_patching_another_runs_output(bert: Any) -> None:
    """The classic: one head of one text reads what it read in another text; everything else follows."""
    source = bert.trace(TEXT.replace("doctor", "nurse"))
    read = source.vectors("head_read", layer=0, head=3).to_numpy()

    def change(hf: Any) -> None:
        def patched(module: Any, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
            states = args[0].clone()
            states[0, :, columns(3)] = torch.as_tensor(read)
            return (states,)

        hf.bert.encoder.layer[0].attention.output.dense.register_forward_pre_hook(patched)

    trace = bert.trace(TEXT, patch={"L0 H3": Output(read)})
    assert_same_logits(trace, logits_by_hand(bert, change), differs_from=bert.trace(TEXT))
    same = bert.trace(TEXT, patch={"L0 H3": Output(bert.trace(TEXT).vectors("head_read", layer=0, head=3).to_numpy())})
    assert np.abs(np.sort(same.outcomes.logits) - np.sort(bert.trace(TEXT).outcomes.logits)).max() < 1e-4


@pytest.mark.parametrize("name", ["BERT", "GPT-2", "Llama", "T5"])
def test_a_different_change_for_each_row_of_a_batch(name: str) -> None:
    model = loaded(name)
    kind = model.kinds[-1]
    changes = [
        None,
        Intervention(ablate=[(kind, 0, 1)]),
        Intervention(ablate={(kind, 1, 0): "mean", (kind, 0, 2): "zero"}),
        Intervention(knock_out=[((kind, 1, 3), 2, 1), ((kind, 0, 0), 3, 0)]),
    ]
    texts = [TEXT, TEXT, "the cat ran", "the doctor said hello to the cat"]
    extra = {"targets": [TARGET] * 4} if "cross" in model.kinds else {}
    single = {"target": TARGET} if "cross" in model.kinds else {}
    batch = list(model.traces(texts, interventions=changes, batch_size=4, **extra))
    for text, change, trace in zip(texts, changes, batch, strict=True):
        alone = model.trace(text, **single, **(vars(change) if change else {}))
        for each in model.kinds:
            assert np.nanmax(np.abs(trace.attention(each).to_numpy() - alone.attention(each).to_numpy())) <= 1e-5
        assert np.abs(np.sort(trace.outcomes.logits) - np.sort(alone.outcomes.logits)).max() <= 1e-4
    assert batch[1].provenance["changed"]["ablated"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"ablate": [(3, 0)]}, "layers 0 to 2"),
        ({"ablate": [(0, 4)]}, "heads 0 to 3"),
        ({"ablate": [("decoder", 0, 0)]}, "no 'decoder' attention"),
        ({"ablate": ["third head"]}, "does not name a head"),
        ({"ablate": {(0, 0): "halve"}}, "'zero' or 'mean'"),
        ({"knock_out": [((0, 0), 99, 0)]}, "outside this text"),
        ({"knock_out": [((0, 0), 1)]}, "does not name an edge"),
        ({"patch": {(0, 0): np.ones((3, 3))}}, "neither a pattern"),
        ({"patch": {(0, 0): Pattern(np.ones((3, 3)))}}, "has to be"),
        ({"patch": {(0, 0): np.full((24, 24), np.nan)}}, "finite"),
        ({"patch": {(0, 0): [1, 2, 3]}}, "finite array of shape"),
    ],
)
def test_bad_interventions(bert: Any, change: dict[str, Any], says: str) -> None:
    with pytest.raises((BadIntervention, UnknownName), match=says):
        bert.trace(TEXT, **change)


def test_a_patch_whose_shape_fits_both_has_to_be_named(bert: Any) -> None:
    text = "the cat ran after the dog"
    assert len(bert.trace(text).tokens()) == WIDTH
    with pytest.raises(BadIntervention, match=r"atlas\.Pattern"):
        bert.trace(text, patch={(0, 0): np.eye(WIDTH)})


def test_no_interventions_outside_the_interface() -> None:
    model = load((gptj(), BY_NAME["GPT-2"].tokenizer()))
    with pytest.raises(BadIntervention, match="attention interface"):
        model.trace(TEXT, ablate=[(0, 0)])
