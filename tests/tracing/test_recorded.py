"""Recorded attention becomes a trace, or is refused: a wrong matrix looks as convincing as a right one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import atlas
from atlas.errors import BadAttention, NotCaptured
from atlas.ids import HeadId
from atlas.metrics import best_heads
from tests.engine.families import BY_NAME, TEXT, loaded
from tests.places import SHARED_DATA

RECORDED = SHARED_DATA / "recorded"
INDEX = json.loads((RECORDED / "index.json").read_text(encoding="utf-8")) if (RECORDED / "index.json").exists() else []
OPUS = "Helsinki-NLP/opus-mt-en-de"

needs_recordings = pytest.mark.skipif(not INDEX, reason=f"no recorded attention at {RECORDED}")


def weights_of(entry: dict[str, Any]) -> np.ndarray:
    with np.load(RECORDED / entry["file"]) as stored:
        return stored["attn"]


def kind_of(entry: dict[str, Any]) -> str:
    if entry["part"] in ("Encoder", "Decoder", "Cross"):
        return str(entry["part"]).lower()
    return "decoder" if entry["model"].startswith("gpt2") else "encoder"


def trace_of(entry: dict[str, Any]) -> atlas.Trace:
    kind = kind_of(entry)
    keys = entry["right"] if kind == "cross" else None
    return atlas.from_attention(weights_of(entry), entry["left"], kind=kind, key_tokens=keys)


def recordings(model: str) -> list[dict[str, Any]]:
    return [entry for entry in INDEX if entry["model"] == model]


# -- real models -------------------------------------------------------------------------------------------------------


@needs_recordings
def test_there_are_as_many_recordings_as_files() -> None:
    assert len(INDEX) == len(list(RECORDED.glob("*.npz"))) == 27


@needs_recordings
@pytest.mark.parametrize("entry", INDEX, ids=lambda entry: Path(entry["file"]).stem)
def test_every_recording_is_a_trace(entry: dict[str, Any]) -> None:
    trace = trace_of(entry)
    kind, weights = kind_of(entry), weights_of(entry).astype(np.float64)
    assert trace.kinds == (kind,)
    ours = trace.attention().to_numpy()
    assert ours.shape == tuple(entry["shape"])
    # To three decimals the recorded weights, on rows that sum to 1, and masked where a decoder may not look.
    assert np.abs(np.nan_to_num(ours) - weights).max() < 2e-3
    np.testing.assert_allclose(np.nansum(ours, axis=-1), 1, atol=1e-6)
    future = ~np.tri(*ours.shape[2:], dtype=bool)
    assert np.isnan(ours[..., future]).all() if kind == "decoder" else not np.isnan(ours).any()
    assert any("rescaled to 1" in note for note in trace.provenance["notes"])
    table = trace.heads
    assert len(table) == entry["shape"][0] * entry["shape"][1]
    assert table["entropy"].notna().all()
    assert repr(trace).startswith(f"<Trace of recorded attention: {kind} ")
    with pytest.raises(NotCaptured, match="weights only"):
        trace.scores(layer=0, head=0)


@needs_recordings
def test_gpt2s_previous_token_head() -> None:
    for entry in recordings("gpt2"):
        table = trace_of(entry).heads
        best = best_heads(table, "previous", 2)
        assert (best["layer"][0], best["head"][0]) == (4, 11)
        assert best["previous"][0] > 0.99
        assert best["previous"][1] < 0.65
        assert table["next"].isna().all()


@needs_recordings
def test_berts_previous_and_next_token_heads_and_separators() -> None:
    for entry in recordings("bert-base-uncased"):
        trace = trace_of(entry)
        table = trace.heads
        previous = {(row.layer, row.head) for row in best_heads(table, "previous", 6).itertuples()}
        assert {(1, 4), (3, 5), (6, 11), (7, 4)} <= previous
        following = {(row.layer, row.head) for row in best_heads(table, "next", 6).itertuples()}
        assert {(0, 10), (1, 1), (2, 0), (2, 9), (5, 9)} <= following
        assert trace.tokens()["special"].tolist() == [token in ("[CLS]", "[SEP]") for token in entry["left"]]
        separators = [i for i, token in enumerate(entry["left"]) if token == "[SEP]"]
        by_layer = trace.attention(keys=separators).sum("key").mean(("head", "query")).to_numpy()
        assert (by_layer[5:10] > 0.5).all()
        assert (by_layer[:3] < 0.3).all()


@needs_recordings
def test_a_translation_model_with_all_its_kinds(tmp_path: Path) -> None:
    parts = {kind_of(entry): entry for entry in recordings(OPUS) if entry["file"].endswith("_1.npz")}
    sides = {"source": parts["encoder"]["left"], "target": parts["decoder"]["left"]}
    assert parts["cross"]["left"] == sides["target"]
    trace = atlas.from_attention({kind: weights_of(entry) for kind, entry in parts.items()}, sides)
    assert trace.kinds == ("encoder", "decoder", "cross")
    assert trace.attention("cross").shape[2:] == (len(sides["target"]), len(sides["source"]))
    for side, names in sides.items():
        assert trace.tokens(side)["piece"].tolist() == names
    assert trace.side("cross", "key") == "source"
    assert set(trace.heads["kind"]) == {"encoder", "decoder", "cross"}
    assert trace.heads.query("kind == 'cross'")["previous"].isna().all()
    future = ~np.tri(len(sides["target"]), dtype=bool)
    assert np.isnan(trace.attention("decoder").to_numpy()[..., future]).all()
    again = atlas.open(trace.save(tmp_path / "opus.nc"))
    assert np.array_equal(again.attention("cross"), trace.attention("cross"))


# -- forms it may be given in ------------------------------------------------------------------------------------------

TOKENS = ["[CLS]", "the", "cat", "the", "[SEP]"]


def even(n_layers: int = 2, n_heads: int = 3, n: int = 5, m: int | None = None, *, causal: bool = False) -> np.ndarray:
    """Rows that sum to 1, different everywhere."""
    weights = np.random.default_rng(1).dirichlet(np.ones(m or n), size=(n_layers, n_heads, n))
    if causal:
        weights = np.tril(weights)
    return weights / weights.sum(-1, keepdims=True)


def same(trace: atlas.Trace, weights: np.ndarray) -> None:
    np.testing.assert_allclose(np.nan_to_num(trace.attention().to_numpy()), weights, atol=1e-6)


@pytest.mark.parametrize(
    "form",
    [
        lambda w: w,
        lambda w: w.astype(np.float32),
        lambda w: w.tolist(),
        list,
        lambda w: [layer[None] for layer in w],
        torch.tensor,
        lambda w: tuple(torch.tensor(layer)[None] for layer in w),
        lambda w: tuple(torch.tensor(layer, requires_grad=True)[None] * 1.0 for layer in w),
        np.asfortranarray,
    ],
)
def test_forms(form: Callable[[np.ndarray], Any]) -> None:
    same(atlas.from_attention(form(even()), TOKENS), even())


def test_half_precision_is_rescaled() -> None:
    weights = tuple(torch.tensor(layer, dtype=torch.float16)[None] for layer in even(n=4))
    trace = atlas.from_attention(weights, TOKENS[:4])
    np.testing.assert_allclose(trace.attention().sum("key"), 1, atol=1e-6)


def test_what_transformers_returns() -> None:
    family = BY_NAME["GPT-2"]
    hf = family.model()
    hf.set_attn_implementation("eager")
    ids = family.tokenizer()(TEXT, return_tensors="pt")["input_ids"]
    attentions = hf(ids, output_attentions=True).attentions  # with gradients, as a notebook without no_grad has them
    trace = atlas.from_attention(attentions, TEXT.split(), kind="decoder")
    same(trace, torch.cat(attentions).detach().numpy())
    assert trace.attention_of().layers[0].mask.causal


def test_exact_rows_are_left_as_they_are() -> None:
    weights = even().astype(np.float32)
    trace = atlas.from_attention(weights, TOKENS)
    assert np.array_equal(trace.attention().to_numpy(), weights)
    assert trace.provenance["notes"] == []


def test_a_trace_does_not_change_with_the_array_it_was_made_from() -> None:
    weights = even().astype(np.float32)
    trace = atlas.from_attention(weights, TOKENS)
    kept = weights.copy()
    weights[...] = 0
    assert np.array_equal(trace.attention().to_numpy(), kept)


def test_nan_is_masked_and_a_mask_may_be_given() -> None:
    weights = even(causal=True)
    future = ~np.tri(5, dtype=bool)
    marked = np.where(future, np.nan, weights)
    for trace in (
        atlas.from_attention(marked, TOKENS),
        atlas.from_attention(marked, TOKENS, kind="decoder"),
        atlas.from_attention(weights, TOKENS, mask=~future),
        atlas.from_attention(weights, TOKENS, mask=torch.tensor(~future)),
    ):
        assert np.array_equal(np.isnan(trace.attention().to_numpy()), np.broadcast_to(future, weights.shape))
        same(trace, weights)
    padded = np.where([True] * 4 + [False], even(), 0)
    padded /= padded.sum(-1, keepdims=True)
    mask = np.ones((5, 5), dtype=bool)
    mask[:, 4] = mask[4] = False
    padded[..., 4, :] = 0
    trace = atlas.from_attention(padded, TOKENS, mask=mask)
    assert np.isnan(trace.attention(queries=[4])).all()
    assert np.isfinite(trace.heads["entropy"]).all()


def test_a_traces_own_attention_comes_back() -> None:
    from atlas.engine.loading.load import load

    family = BY_NAME["GPT-2"]
    own = load((family.model(), family.tokenizer())).trace(TEXT)
    trace = atlas.from_attention(own.attention().to_numpy(), own.tokens()["token"].tolist(), kind="decoder")
    np.testing.assert_allclose(trace.attention(), own.attention(), atol=1e-6)
    for column in ("entropy", "self", "previous", "induction", "duplicate", "distance"):
        np.testing.assert_allclose(trace.heads[column], own.heads[column], atol=1e-4)


def test_an_unknown_token_is_no_more_special_in_a_recording_than_in_a_live_trace() -> None:
    model = loaded("BERT")
    text = "the doctor xyzzy the cat"
    live = model.trace(text)
    ids = live.tokens()["id"].tolist()
    assert live.tokens()["piece"].tolist() == ["[CLS]", "the", "doctor", "[UNK]", "the", "cat", "[SEP]"]
    recorded = atlas.from_attention(live.attention().to_numpy(), live.tokens()["piece"].tolist())
    ready = model.trace({"input_ids": ids})  # an encoding that somebody made, without its text
    for trace in (live, recorded, ready):
        assert trace.tokens()["special"].tolist() == [True, *[False] * 5, True]
    assert (ready.tokens()["word"] >= 0).tolist() == [False, *[True] * 5, False]
    np.testing.assert_allclose(recorded.heads["special"], live.heads["special"], atol=1e-5)
    np.testing.assert_allclose(ready.heads["special"], live.heads["special"], atol=1e-5)


def test_a_decoder_alone_may_be_named_in_a_mapping() -> None:
    trace = atlas.from_attention({"decoder": even(causal=True)}, {"source": TOKENS})
    assert trace.kinds == ("decoder",)
    assert HeadId("decoder", 1, 2) in trace.head_ids


def test_masks_of_several_kinds() -> None:
    mask = np.ones((4, 5), dtype=bool)
    mask[:, 4] = False
    cross = even(n=4, m=5) * mask
    cross /= cross.sum(-1, keepdims=True)
    sides = {"source": TOKENS, "target": TOKENS[:4]}
    trace = atlas.from_attention({"encoder": even(), "cross": cross}, sides, mask={"cross": mask})
    assert np.isnan(trace.attention("cross", keys=[4])).all()
    assert not np.isnan(trace.attention("encoder")).any()


def test_tokens_may_be_any_sequence() -> None:
    for tokens in (tuple(TOKENS), np.array(TOKENS), (token for token in TOKENS)):
        assert atlas.from_attention(even(), tokens).tokens()["piece"].tolist() == TOKENS
    table = atlas.from_attention(even(), TOKENS, special=["cat"]).tokens()
    assert table["special"].tolist() == [False, False, True, False, False]


# -- what is refused ---------------------------------------------------------------------------------------------------


def with_cell(value: float) -> np.ndarray:
    weights = even()
    weights[1, 2, 3, 0] = value
    return weights


def off_row(by: float) -> np.ndarray:
    weights = even()
    weights[1, 2, 3] *= 1 + by
    return weights


GOOD_MASK = np.ones((5, 5), dtype=bool)


@pytest.mark.parametrize(
    ("weights", "options", "says"),
    [
        (even()[0], {}, r"axes \(layer, head, query, key\); these have shape \(3, 5, 5\)"),
        (even()[None, None], {}, r"axes \(layer, head, query, key\)"),
        (np.zeros((0, 3, 5, 5)), {}, r"axes \(layer, head, query, key\)"),
        ([], {}, r"axes \(layer, head, query, key\)"),
        (even(n=4), {}, "4 x 4 .query x key., but there are 5 query and 5 key tokens"),
        (even(m=4), {}, "5 x 4"),
        (with_cell(np.nan), {}, "NaN or infinite cells that no mask explains"),
        (with_cell(np.inf), {}, "NaN or infinite"),
        (with_cell(-0.25), {}, "lie between -0.25 .*between 0 and 1"),
        (even() * 7 - 3, {}, "Are these scores"),
        (np.ones((2, 3, 5, 5)), {}, r"Row 0 of encoder L0 H0 sums to 5\.0000"),
        (off_row(0.01), {}, r"Row 3 of encoder L1 H2 sums to 1\.0100.*normalise the rows"),
        (np.zeros((2, 3, 5, 5)), {}, "sums to 0.0000"),
        (even(), {"kind": "self"}, "no kind of attention; use one of encoder, decoder, cross"),
        (even(), {"kind": None}, "no kind of attention"),
        (even(), {"kind": "decoder"}, "attends to later tokens"),
        (even(), {"kind": "cross"}, "Cross-attention needs key_tokens="),
        (even(), {"key_tokens": TOKENS}, "Cross-attention needs key_tokens="),
        (even(), {"mask": np.ones((5, 4), dtype=bool)}, r"boolean with shape \(5, 5\)"),
        (even(), {"mask": np.ones((5, 5))}, "has to be boolean .* it is float64"),
        (even(), {"mask": "causal"}, "has to be boolean"),
        (even(), {"mask": [[True], [True, False]]}, "mask is no rectangular array"),
        (even(), {"mask": np.tri(5, dtype=bool)}, "sums to"),
        (even(), {"tokens": "the cat"}, "Tokens are a sequence of strings"),
        (even(), {"tokens": [1, 2, 3, 4, 5]}, "Tokens are a sequence of strings"),
        (even(), {"tokens": None}, "Tokens are a sequence of strings"),
        (even(), {"tokens": {"source": TOKENS}}, "as a sequence, and key_tokens"),
        (np.full((2, 3, 5, 5), "0.2"), {}, "these are of type"),
        ("attention", {}, "these are of type"),
        (None, {}, "these are of type object"),
        (even() > 0.5, {}, "these are of type bool"),
        (even() * 1j, {}, "these are of type complex"),
        ([[[[1.0], [0.5, 0.5]]]], {}, "no rectangular array"),
        ([even()[0], even(n=4)[0]], {}, "differ in shape"),
        ({}, {"tokens": {"source": TOKENS}}, "needed for no kind"),
        ({"encoder": even()}, {}, "give the tokens as {'source'"),
        ({"encoder": even(), "cross": even()}, {"tokens": {"source": TOKENS}}, "tokens of source and target are needed"),
        ({"encoder": even()}, {"tokens": {"source": TOKENS, "sauce": TOKENS}}, "given: source, sauce"),
        ({"self": even()}, {"tokens": {"source": TOKENS}}, "no kind of attention"),
        ({"encoder": even()}, {"tokens": {"source": TOKENS}, "mask": GOOD_MASK}, "mask= is {kind: mask}"),
        ({"encoder": even()}, {"tokens": {"source": TOKENS}, "key_tokens": TOKENS}, "there is no key_tokens="),
    ],
)  # fmt: skip
def test_what_is_refused(weights: Any, options: dict[str, Any], says: str) -> None:
    tokens = options.pop("tokens", TOKENS) if "tokens" in options else TOKENS
    with pytest.raises(BadAttention, match=says):
        atlas.from_attention(weights, tokens, **options)


def test_the_row_that_is_named_is_the_wrong_one_and_not_a_masked_one() -> None:
    weights = off_row(0.01)
    weights[..., 0, :] = 0
    mask = GOOD_MASK.copy()
    mask[0] = False
    with pytest.raises(BadAttention, match=r"Row 3 of encoder L1 H2 sums to 1\.0100"):
        atlas.from_attention(weights, TOKENS, mask=mask)
