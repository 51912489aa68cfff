"""What holds for attention whatever the text: rows, masks, blocks, and what a change may and may not touch."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from atlas.engine.loading.load import load
from atlas.engine.running.recorder import pooled
from atlas.tracing.statistics import block_maxima
from tests.engine.families import BY_NAME

NAMES = ("BERT", "GPT-2", "Mistral", "GPT-OSS", "ModernBERT", "T5")
WORDS = ("the", "doctor", "said", "she", "cat", "ran", "dog", "tired", "w30", "w44", ",", ".", "xyzzy")

texts = st.lists(st.sampled_from(WORDS), min_size=1, max_size=14).map(" ".join)
names = st.sampled_from(NAMES)
quick = settings(max_examples=25)


@functools.cache
def model_of(name: str) -> Any:
    family = BY_NAME[name]
    return load((family.model(), family.tokenizer()))


def traced(name: str, text: str, **options: Any) -> Any:
    model = model_of(name)
    return model.trace(text, **({"target": "a cat said hello"} if "cross" in model.kinds else {}), **options)


@quick
@given(name=names, text=texts, keep=st.sampled_from(["weights", "qk"]))
def test_rows_are_distributions_over_what_may_be_seen(name: str, text: str, keep: str) -> None:
    trace = traced(name, text, keep=keep, capture=())
    for kind in trace.kinds:
        weights = trace.attention(kind).to_numpy()
        assert np.nanmin(weights) >= 0
        sums = np.nansum(weights, axis=-1)
        if name == "GPT-OSS":
            assert (sums < 1).all()
        else:
            assert np.abs(sums - 1).max() <= 1e-5
        if kind == "decoder":
            assert np.isnan(weights[..., ~np.tri(weights.shape[-1], dtype=bool)]).all()
        if name == "Mistral":
            queries, keys = np.indices(weights.shape[2:])
            assert np.array_equal(np.isnan(weights[0, 0]), (keys > queries) | (queries - keys >= 5))
        stats = trace.attentions[kind].stats
        np.testing.assert_allclose(stats["mass"], sums, atol=1e-5)
        np.testing.assert_allclose(stats["maximum"], np.nanmax(weights, axis=-1), atol=1e-5)


@quick
@given(name=names, text=texts, data=st.data())
def test_any_block_is_the_slice_of_the_whole(name: str, text: str, data: st.DataObject) -> None:
    trace = traced(name, text, keep="qk", capture=())
    kind = data.draw(st.sampled_from(trace.kinds))
    whole = trace.attention(kind).to_numpy()
    axes = [data.draw(st.lists(st.integers(0, size - 1), min_size=1, max_size=4)) for size in whole.shape]
    block = trace.attention(kind, *axes).to_numpy()
    expected = whole[np.ix_(*axes)]
    assert np.array_equal(np.isnan(block), np.isnan(expected))
    assert np.nanmax(np.abs(block - expected), initial=0) <= 1e-5


@quick
@given(name=names, text=texts, data=st.data())
def test_a_cut_edge_gives_its_mass_to_the_others(name: str, text: str, data: st.DataObject) -> None:
    """In its own layer nothing but that row changes: the edge is masked, and every other edge has at least what it had."""
    before = traced(name, text, capture=())
    head = data.draw(st.sampled_from(before.head_ids))
    own = before.attention(head.kind, head.layer, head.head).to_numpy()
    query = data.draw(st.integers(0, own.shape[0] - 1))
    seen = np.flatnonzero(~np.isnan(own[query]))
    key = int(data.draw(st.sampled_from(list(seen))))
    for keep in ("weights", "qk"):
        after = traced(name, text, capture=(), keep=keep, knock_out=[(head, query, key)])
        cut = after.attention(head.kind, head.layer, head.head).to_numpy()
        assert np.isnan(cut[query, key])
        rest = np.delete(np.arange(len(own)), query)
        np.testing.assert_allclose(cut[rest], own[rest], atol=1e-5)
        others = seen[seen != key]
        assert (cut[query, others] >= own[query, others] - 1e-5).all()
        if len(others) and name != "GPT-OSS":
            assert abs(np.nansum(cut[query]) - 1) <= 1e-5
        table = after.heads[["entropy", "confidence_mean", "special"]].to_numpy(dtype=float)
        assert not np.isinf(table).any()


@quick
@given(name=names, text=texts, data=st.data())
def test_what_is_ablated_changes_nothing_before_it(name: str, text: str, data: st.DataObject) -> None:
    """Bit for bit: earlier layers of its stream, and the attention of its own layer."""
    before = traced(name, text)
    head = data.draw(st.sampled_from(before.head_ids))
    after = traced(name, text, ablate={head: data.draw(st.sampled_from(["zero", "mean"]))})
    for layer in range(head.layer + 1):
        assert np.array_equal(
            after.attention(head.kind, layer).to_numpy(), before.attention(head.kind, layer).to_numpy(), equal_nan=True
        )
    stream = "encoder" if head.kind == "encoder" else "decoder"
    for layer in range(head.layer + 1):
        assert np.array_equal(after.vectors("hidden", stream, layer), before.vectors("hidden", stream, layer))
    if stream == "decoder" and "encoder" in before.kinds:
        assert np.array_equal(after.attention("encoder"), before.attention("encoder"), equal_nan=True)


@quick
@given(
    shape=st.tuples(st.integers(1, 200), st.integers(1, 200)),
    cell=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_a_thumbnail_loses_no_peak(shape: tuple[int, int], cell: tuple[float, float]) -> None:
    """One bright cell anywhere in a large matrix is in its thumbnail, in its block."""
    weights = np.zeros(shape, dtype=np.float32)
    row, column = (min(int(share * size), size - 1) for share, size in zip(cell, shape, strict=True))
    weights[row, column] = 0.75
    steps = [-(-size // 64) for size in shape]
    for small in (block_maxima(weights), pooled(torch.tensor(weights)[None])[0].numpy()):
        assert small.shape == tuple(-(-size // step) for size, step in zip(shape, steps, strict=True))
        assert max(small.shape) <= 64
        assert np.argwhere(small == 0.75).tolist() == [[row // steps[0], column // steps[1]]]


def test_beside_a_patched_head_a_block_is_still_the_slice_of_the_whole() -> None:
    """In a layer with sinks: the log-sum-exp that a block goes through has the sink in it, patched neighbour or not."""
    model = model_of("GPT-OSS")
    text = "the cat ran after the dog"
    pattern = model.trace(text).attention(layer=1, head=0)
    trace = model.trace(text, keep="qk", patch={(1, 0): pattern})
    for head in range(4):
        whole = trace.attention(layer=1, head=head).to_numpy()
        block = trace.attention(layer=1, head=head, keys=[1, 2]).to_numpy()
        np.testing.assert_allclose(block, whole[:, 1:3], atol=1e-5)
