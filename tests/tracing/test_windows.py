"""Any window of any reading of the weights, against plain arithmetic on the weights themselves."""

from __future__ import annotations

import functools
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import atlas
from atlas.engine.running.interventions import Output
from atlas.errors import NotCaptured, TooLarge, UnknownName
from atlas.ids import HeadId
from atlas.trace import Trace
from atlas.tracing import levels, windows
from atlas.tracing.record import Attention, Layer, Mask
from atlas.tracing.statistics import block_maxima
from atlas.tracing.windows import overview, rollout, window, words
from tests.engine.families import TARGET, TEXT, loaded

ALL = slice(None)

PIECES = "the doctors said that the cats ran after the dogs because she was tired"
"""Some of its words are two tokens."""

PARTS = (ALL, slice(3, 9), slice(0, 1), slice(-2, None), slice(5, 5), slice(4, 999), slice(7, 2))

FAMILIES = ("BERT", "GPT-2", "Mistral", "Gemma2", "GPT-OSS", "T5")
"""Bidirectional, causal, windows, windows beside none, rows that sum to less than 1, two texts."""


@functools.cache
def traced(name, keep, text=PIECES):
    model = loaded(name)
    return model.trace(text, keep=keep, capture=(), **({"target": TARGET} if "cross" in model.kinds else {}))


def everything(trace, kind):
    """(layer, head, query, key), NaN where a query may not look."""
    return trace.attention(kind).to_numpy().astype(np.float64)


def choices(trace, kind):
    """One head, two of a layer, some of different layers, all."""
    heads = [head for head in trace.head_ids if head.kind == kind]
    return (heads[:1], heads[1:3], [heads[0], heads[-1], heads[len(heads) // 2]], heads)


def together(stack, aggregate):
    """Mean or maximum of the heads that may look, NaN where none may."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # numpy warns of cells that are NaN everywhere
        return (np.nanmean if aggregate == "mean" else np.nanmax)(stack, axis=0)


def cases(names=FAMILIES):
    return [
        pytest.param(name, keep, kind, id=f"{name}-{keep}-{kind}")
        for name in names
        for keep in ("weights", "qk")
        for kind in (("encoder", "decoder", "cross") if name == "T5" else ("encoder",) if name == "BERT" else ("decoder",))
    ]


def check(trace, kind, mode, expected, tolerance):
    """Every choice of heads, both aggregates, all of it and parts of it."""
    for chosen in choices(trace, kind):
        stack = np.stack([expected[head.layer, head.head] for head in chosen])
        for aggregate in ("mean", "max"):
            whole = window(trace, chosen, ALL, ALL, mode=mode, aggregate=aggregate)
            assert whole.dtype == np.float32
            np.testing.assert_allclose(whole, together(stack, aggregate), **tolerance)
            for rows, columns in zip(PARTS, PARTS[::-1], strict=True):
                part = window(trace, chosen, rows, columns, mode=mode, aggregate=aggregate)
                np.testing.assert_allclose(part, whole[rows, columns], **tolerance)


@pytest.mark.parametrize(("name", "keep", "kind"), cases())
def test_weights(name, keep, kind):
    trace = traced(name, keep)
    check(trace, kind, "weight", everything(trace, kind), {"atol": 1e-5, "rtol": 1e-5})


@pytest.mark.parametrize(("name", "keep", "kind"), cases())
def test_a_column_share_is_what_a_row_gives_of_all_that_the_column_gets(name, keep, kind):
    trace = traced(name, keep)
    weights = everything(trace, kind)
    sums = np.nansum(weights, axis=2, keepdims=True)
    shares = np.where(np.isnan(weights), np.nan, np.where(sums > 0, weights / np.where(sums > 0, sums, 1), 0))
    # A share of almost nothing is a ratio of rounding errors; a column that gets something has three digits at least.
    shares = np.where((sums < 1e-4) & ~np.isnan(weights), 0, shares)
    for head in choices(trace, kind)[2]:
        found = window(trace, [head], ALL, ALL, mode="column")
        known = sums[head.layer, head.head, 0] >= 1e-4
        np.testing.assert_allclose(found[:, known], shares[head.layer, head.head][:, known], atol=2e-3)
        np.testing.assert_allclose(np.nansum(found[:, known], axis=0), 1, atol=2e-3)
        np.testing.assert_array_equal(np.isnan(found), np.isnan(weights[head.layer, head.head]))
    chosen = choices(trace, kind)[3]
    alone = np.stack([window(trace, [head], ALL, ALL, mode="column") for head in chosen])
    for aggregate in ("mean", "max"):
        found = window(trace, chosen, slice(2, 8), slice(1, 5), mode="column", aggregate=aggregate)
        np.testing.assert_allclose(found, together(alone, aggregate)[2:8, 1:5], atol=1e-5)


def test_a_column_nobody_looks_at_has_no_shares_and_no_warning():
    weights = np.zeros((1, 1, 3, 3), np.float32)
    weights[..., 0] = 1
    trace = atlas.from_attention(weights, ["a", "b", "c"])
    found = window(trace, trace.head_ids, ALL, ALL, mode="column")
    np.testing.assert_allclose(found, [[1 / 3, 0, 0]] * 3, rtol=1e-6)


def output_of(model, kind, layer):
    """W_O of a layer as (heads x width, hidden)."""
    hf = model.hf
    if hasattr(hf, "bert"):
        return hf.bert.encoder.layer[layer].attention.output.dense.weight.detach().numpy().T
    if kind == "decoder" and hasattr(hf.model if hasattr(hf, "model") else hf, "layers"):
        return hf.model.layers[layer].self_attn.o_proj.weight.detach().numpy().T
    block = (hf.encoder if kind == "encoder" else hf.decoder).block[layer].layer
    attention = block[1].EncDecAttention if kind == "cross" else block[0].SelfAttention
    return attention.o.weight.detach().numpy().T


@pytest.mark.parametrize(("name", "keep", "kind"), cases(("BERT", "Mistral", "T5")))
def test_moved_is_the_weight_times_the_length_of_what_its_value_writes(name, keep, kind):
    trace, model = traced(name, keep), loaded(name)
    values = traced(name, "qk").attention_of(kind)
    weights = everything(trace, kind)
    moved = np.empty_like(weights)
    for layer in range(weights.shape[0]):
        out = output_of(model, kind, layer)
        width = out.shape[0] // weights.shape[1]
        for head in range(weights.shape[1]):
            # A group of heads shares its values.
            value = values.layers[layer].value[head // (weights.shape[1] // len(values.layers[layer].value))]
            written = value.astype(np.float64) @ out[head * width : (head + 1) * width]
            moved[layer, head] = weights[layer, head] * np.linalg.norm(written, axis=1)
    check(trace, kind, "moved", moved, {"rtol": 1e-3, "atol": 1e-5 * np.nanmax(moved)})


def rolled(weights, layer):
    """Rollout by the book: half the mean over heads, half the stream itself and what the heads leave over, layer after layer."""
    own = np.eye(weights.shape[-1])
    made = own
    for each in np.nan_to_num(weights[: layer + 1]).mean(axis=1):
        left = 1 - each.sum(axis=1)
        made = (each + own + np.diag(left)) / 2 @ made
    return made


@pytest.mark.parametrize(("name", "keep", "kind"), [case for case in cases() if case.values[2] != "cross"])
def test_rollout(name, keep, kind):
    trace = traced(name, keep)
    weights = everything(trace, kind)
    for layer in range(weights.shape[0]):
        expected = rolled(weights, layer)
        found = rollout(trace, kind, layer)
        if kind == "decoder":
            # No path leads to a later token: hidden, in layers with a window and without; how far back is reached is known.
            expected[np.triu_indices(len(expected), 1)] = np.nan
        np.testing.assert_allclose(found, expected, atol=1e-5)
        np.testing.assert_allclose(np.nansum(found, axis=1), 1, atol=1e-5)
        some = [HeadId(kind, 0, 0), HeadId(kind, layer, 1)]
        for aggregate in ("mean", "max"):  # it is of whole layers: neither says anything about it
            part = window(trace, some, slice(2, 7), slice(0, 4), mode="rollout", aggregate=aggregate)
            np.testing.assert_array_equal(part, found[2:7, 0:4])
    assert not rollout(trace, kind, 0).flags.writeable
    assert rollout(trace, kind, 0) is rollout(trace, kind, 0)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 4), st.integers(1, 6), st.integers(1, 3), st.integers(0, 10_000), st.booleans())
def test_rollout_of_any_weights_is_a_distribution_and_of_known_ones_is_known(layers, tokens, heads, seed, causal):
    random, shape = np.random.default_rng(seed), (layers, heads, tokens, tokens)
    kind, names = ("decoder" if causal else "encoder"), ["a"] * tokens
    weights = random.dirichlet(np.full(tokens, 0.3), shape[:3])
    even = np.full(shape, 1 / tokens)
    if causal:
        weights, even = (np.tril(each + 1e-9) for each in (weights, even))
        weights, even = (each / each.sum(-1, keepdims=True) for each in (weights, even))
    found, of_even, of_none = (
        rollout(atlas.from_attention(each, names, kind=kind), kind, layers - 1)
        for each in (weights, even, np.broadcast_to(np.eye(tokens), shape))
    )
    np.testing.assert_allclose(np.nansum(found, axis=1), 1, atol=1e-5)
    assert np.nanmin(found) >= 0
    np.testing.assert_allclose(np.nan_to_num(of_none), np.eye(tokens), atol=1e-6)  # a token that looks at itself alone stays
    if causal:
        later = np.triu_indices(tokens, 1)
        assert all(np.nan_to_num(each)[later].sum() == 0 for each in (found, of_even, of_none))
    else:
        # (I + J / n) / 2 to the power of k: J / n is its own square.
        stays = 0.5**layers
        np.testing.assert_allclose(of_even, stays * np.eye(tokens) + (1 - stays) / tokens, atol=1e-5)


@pytest.mark.parametrize("keep", ["weights", "qk"])
@pytest.mark.parametrize("how", ["zero", "mean", "output"])
def test_a_head_that_writes_nothing_of_what_it_sees_moves_nothing(how, keep):
    model = loaded("BERT")
    head = HeadId("encoder", 1, 2)
    read = model.trace(PIECES).vectors("head_read", layer=1, head=2).to_numpy()
    change = {"patch": {head: Output(read[::-1])}} if how == "output" else {"ablate": {head: how}}
    trace, clean = model.trace(PIECES, keep=keep, **change), model.trace(PIECES, keep=keep)
    moved = window(trace, [head], ALL, ALL, mode="moved")
    assert np.nanmax(window(clean, [head], ALL, ALL, mode="moved")) > 0.1
    np.testing.assert_array_equal(moved, np.where(np.isnan(moved), np.nan, 0))
    # It still looks as before, and its neighbours move what they moved.
    np.testing.assert_allclose(window(trace, [head], ALL, ALL), window(clean, [head], ALL, ALL), atol=1e-5)
    beside = [HeadId("encoder", 1, 3)]
    np.testing.assert_allclose(
        window(trace, beside, ALL, ALL, mode="moved"), window(clean, beside, ALL, ALL, mode="moved"), rtol=1e-4
    )
    assert trace.attention_of().layers[1].replaced == (2,)


@pytest.mark.parametrize("keep", ["weights", "qk"])
def test_nothing_rolls_through_a_head_that_writes_nothing_of_what_it_sees(keep, tmp_path):
    model = loaded("BERT")
    trace = model.trace(PIECES, keep=keep, ablate={(0, 1): "zero", (2, 3): "mean"})
    weights = everything(trace, "encoder")
    assert np.abs(rollout(trace, "encoder", 2) - rolled(weights, 2)).max() > 1e-2
    weights[0, 1] = weights[2, 3] = 0
    for layer in range(3):
        found = rollout(trace, "encoder", layer)
        np.testing.assert_allclose(found, rolled(weights, layer), atol=1e-5)
        np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)
    silent = model.trace(PIECES, keep=keep, ablate=[(0, head) for head in range(4)])
    np.testing.assert_allclose(rollout(silent, "encoder", 0), np.eye(weights.shape[-1]), atol=1e-6)
    opened = atlas.open(trace.save(tmp_path / "run.nc"))
    np.testing.assert_array_equal(rollout(opened, "encoder", 2), rollout(trace, "encoder", 2))


def test_a_decoder_that_looks_ahead_reaches_ahead():
    # A prefix that sees all of itself: nothing of it is hidden by rollout either.
    mask = np.tri(4, dtype=bool) | (np.arange(4) < 2)
    weights = np.where(mask, 1.0, 0.0) / mask.sum(1, keepdims=True)
    trace = atlas.from_attention(np.stack([[weights], [weights]]), list("abcd"), kind="decoder", mask=mask)
    np.testing.assert_allclose(rollout(trace, "decoder", 1), rolled(everything(trace, "decoder"), 1), atol=1e-6)


def layered(*masks):
    """A decoder whose layers have masks of their own: all of its weights alike over what is visible."""
    n = masks[0].shape[-1]
    layers = []
    for mask in masks:
        weights = np.where(mask, 1.0, 0.0) / mask.sum(-1, keepdims=True)
        about = Mask(causal=True) if mask.ndim == 2 and np.array_equal(mask, np.tri(n, dtype=bool)) else Mask(cells=mask)
        layers.append(Layer(2, mask=about, weights=np.broadcast_to(weights, (2, n, n)).astype(np.float32)))
    table = pd.DataFrame({"token": list("abcdefgh")[:n], "id": range(n), "special": False})
    return Trace({"decoder": Attention("decoder", 2, n, n, layers=tuple(layers))}, {"source": table}, {})


def test_what_one_layer_could_reach_is_not_hidden_by_the_next():
    ahead, back = np.tri(4, dtype=bool) | (np.arange(4) < 2), np.tri(4, dtype=bool)
    for masks, hidden in (((ahead, back), (0, 0)), ((back, ahead), (6, 0)), ((back, np.tri(4, k=0, dtype=bool)), (6, 6))):
        trace = layered(*masks)
        found = [rollout(trace, "decoder", layer) for layer in range(2)]
        assert tuple(np.isnan(each).sum() for each in found) == hidden
        expected = rolled(everything(trace, "decoder"), 1)
        seen = ~np.isnan(found[1])
        np.testing.assert_allclose(found[1][seen], expected[seen], atol=1e-6)
        assert not expected[~seen].any()


def test_heads_of_one_layer_with_masks_of_their_own():
    near = np.tri(5, dtype=bool) & ~np.tri(5, k=-2, dtype=bool)
    trace = layered(np.stack([np.tri(5, dtype=bool), near]))
    weights = everything(trace, "decoder")
    assert np.isnan(weights[0, 1]).sum() > np.isnan(weights[0, 0]).sum()
    for aggregate in ("mean", "max"):
        found = window(trace, trace.head_ids, ALL, ALL, aggregate=aggregate)
        np.testing.assert_allclose(found, together(weights[0], aggregate), rtol=1e-6)
    assert np.isnan(rollout(trace, "decoder", 0)[np.triu_indices(5, 1)]).all()


def test_a_row_that_may_look_nowhere_stays_where_it_is():
    weights = np.full((2, 1, 3, 3), 0.5, np.float32)
    weights[..., 2] = weights[..., 2, :] = np.nan  # the last token is padding
    trace = atlas.from_attention(weights, ["a", "b", "[PAD]"])
    assert np.isnan(window(trace, trace.head_ids, ALL, ALL)[2]).all()
    np.testing.assert_allclose(rollout(trace, "encoder", 1)[2], [0, 0, 1])


def by_words(weights, ids):
    """To a word: the sum over its tokens; from it: their mean. Tokens of no word by themselves, all in order of appearance."""
    groups, seen = [], {}
    for at, word in enumerate(ids):
        if word >= 0 and word in seen:
            groups[seen[word]].append(at)
        else:
            seen[word] = len(groups)
            groups.append([at])
    return np.array([[np.mean([sum(weights[q, k] for k in keys) for q in queries]) for keys in groups] for queries in groups])


@pytest.mark.parametrize("keep", ["weights", "qk"])
def test_words_are_summed_to_and_averaged_from(keep):
    trace = traced("BERT", keep)
    weights, ids = everything(trace, "encoder"), trace.tokens()["word"].to_numpy()
    assert len(set(ids[ids >= 0])) < (ids >= 0).sum()
    for chosen in choices(trace, "encoder"):
        alone = np.stack([by_words(weights[head.layer, head.head], ids) for head in chosen])
        for aggregate in ("mean", "max"):
            found, queries, keys, *_ = words(trace, chosen, aggregate)
            np.testing.assert_allclose(found, together(alone, aggregate), atol=1e-5)
            assert queries == keys == ["[CLS]", *PIECES.split(), "[SEP]"]


def test_words_of_two_texts():
    trace = traced("T5", "qk")
    found, queries, keys, *_ = words(trace, [HeadId("cross", 1, 1)])
    assert [word for word in queries if not word.startswith("[")] == TARGET.split()
    assert [word for word in keys if not word.startswith("[")] == PIECES.split()
    assert found.shape == (len(queries), len(keys))
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-5)


def test_words_of_a_causal_text_hide_the_words_to_come():
    found, queries, *_ = words(traced("GPT-2", "qk"), [HeadId("decoder", 0, 0), HeadId("decoder", 2, 1)])
    assert queries == PIECES.split()
    ahead = np.triu(np.ones_like(found, dtype=bool), 1)
    assert np.isnan(found[ahead]).all()
    assert not np.isnan(found[~ahead]).any()


@pytest.mark.parametrize("aggregate", ["mean", "max"])
def test_an_overview_is_the_thumbnails_together(aggregate):
    n = 130
    generator = np.random.default_rng(0)
    weights = generator.random((2, 2, n, n)) * np.tri(n)
    weights /= weights.sum(-1, keepdims=True)
    trace = atlas.from_attention(weights, list(map(str, range(n))), kind="decoder")
    small = np.stack([block_maxima(everything(trace, "decoder")[head.layer, head.head]) for head in trace.head_ids])
    found = overview(trace, trace.head_ids, aggregate)
    assert found.shape == (44, 44)
    np.testing.assert_allclose(found, together(small, aggregate), rtol=1e-6)


# -- what is refused, and how ------------------------------------------------------------------------------------------


def test_more_weights_than_can_be_worked_out_are_refused_by_their_number(monkeypatch):
    trace = traced("BERT", "qk")
    n = trace.attention_of().n_queries
    heads = trace.head_ids[:4]
    monkeypatch.setattr(windows, "WINDOW_CELLS", 4 * n * n)
    window(trace, heads, ALL, ALL)
    monkeypatch.setattr(windows, "WINDOW_CELLS", 4 * n * n - 1)
    with pytest.raises(TooLarge, match=r"million weights.*Select fewer heads"):
        window(trace, heads, ALL, ALL)
    window(trace, heads[:3], ALL, ALL)
    window(trace, heads, slice(1, None), ALL)
    monkeypatch.setattr(windows, "WINDOW_CELLS", 2_500_000)
    big = np.broadcast_to(np.float32(1 / 1300), (1, 2, 1300, 1300))
    with pytest.raises(TooLarge, match=r"3 million weights, and 2 million are the most"):
        window(atlas.from_attention(big, ["a"] * 1300), [HeadId("encoder", 0, 0), HeadId("encoder", 0, 1)], ALL, ALL)


def test_rollout_of_a_long_text_is_refused(monkeypatch):
    trace = traced("GPT-2", "qk", TEXT)
    n = trace.attention_of().n_queries
    monkeypatch.setattr(windows, "ROLLOUT_TOKENS", n - 1)
    for ask in (
        lambda: rollout(trace, "decoder", 1),
        lambda: window(trace, trace.head_ids, slice(0, 1), slice(0, 1), mode="rollout"),
    ):
        with pytest.raises(TooLarge, match=rf"{n} tokens are more than {n - 1}\. Show another reading"):
            ask()
    monkeypatch.setattr(windows, "ROLLOUT_TOKENS", n)
    assert rollout(trace, "decoder", 1).shape == (n, n)


def test_words_of_a_long_text_or_of_too_many_heads_are_refused(monkeypatch):
    trace = traced("BERT", "weights")
    n = trace.attention_of().n_queries
    monkeypatch.setattr(levels, "WORD_TOKENS", n - 1)
    with pytest.raises(TooLarge, match=rf"{n} tokens are more than {n - 1}\. Show tokens instead"):
        words(trace, trace.head_ids[:1])
    monkeypatch.setattr(levels, "WORD_TOKENS", n)
    monkeypatch.setattr(windows, "WINDOW_CELLS", 2 * n * n)
    assert words(trace, trace.head_ids[:2])[0].shape == (2 + 14, 2 + 14)
    with pytest.raises(TooLarge, match=rf"3 heads of {n} tokens are too many.*Select fewer heads"):
        words(trace, trace.head_ids[:3])


def test_what_a_recording_does_not_hold_is_said():
    trace = atlas.from_attention(np.full((1, 2, 3, 3), 1 / 3), ["a", "b", "c"])
    with pytest.raises(NotCaptured, match="this trace holds weights only"):
        window(trace, trace.head_ids, ALL, ALL, mode="moved")
    with pytest.raises(NotCaptured, match=r"nobody knows its words\. Show tokens instead"):
        words(trace, trace.head_ids)


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda trace: window(trace, [], ALL, ALL), "not of none"),
        (lambda trace: overview(trace, []), "not of none"),
        (lambda trace: words(trace, []), "not of none"),
        (lambda trace: window(trace, [HeadId("encoder", 0, 0), HeadId("cross", 0, 0)], ALL, ALL), "not of cross, encoder"),
        (lambda trace: rollout(trace, "cross", 0), "cross-attention links two"),
        (lambda trace: window(trace, [HeadId("cross", 0, 0)], ALL, ALL, mode="rollout"), "cross-attention links two"),
        (
            lambda trace: window(trace, [HeadId("cross", 0, 0)], ALL, ALL, mode="sideways"),
            "one of weight, column, rollout, moved",
        ),
        (lambda trace: window(trace, [HeadId("cross", 0, 0)], ALL, ALL, aggregate="median"), "one of mean, max"),
        (lambda trace: rollout(trace, "sideways", 0), "it has encoder, decoder, cross"),
    ],
)
def test_what_makes_no_sense_is_refused_in_words(ask, said):
    with pytest.raises(UnknownName, match=said):
        ask(traced("T5", "qk"))


def test_nobody_can_write_into_a_trace_through_a_window():
    trace = traced("BERT", "weights")
    before = everything(trace, "encoder")
    for mode in ("weight", "column", "moved"):
        for chosen in choices(trace, "encoder")[:2]:
            window(trace, chosen, ALL, ALL, mode=mode)[:] = 9
    overview(trace, trace.head_ids[:1])[:] = 9
    np.testing.assert_array_equal(everything(trace, "encoder"), before)
    assert trace.attention_of().thumbnails.max() <= 1


@pytest.mark.parametrize("kind", ["encoder", "decoder", "cross"])
def test_words_come_with_the_word_of_every_token(kind):
    trace = traced("T5", "qk")
    found = words(trace, [HeadId(kind, 1, 1)])
    weights = everything(trace, kind)[1, 1]
    tables = [trace.tokens(trace.side(kind, axis)) for axis in ("query", "key")]
    for of, names, table, size in zip(
        (found.query_of, found.key_of), (found.queries, found.keys), tables, weights.shape, strict=True
    ):
        assert len(of) == len(table) == size
        assert sorted(set(of)) == list(range(len(names)))
        for token, word in enumerate(of):
            assert table["token"].iloc[token] in names[word]
        for one, other in zip(range(size), range(1, size), strict=False):
            same = table["word"].iloc[one] == table["word"].iloc[other] >= 0
            assert (of[one] == of[other]) == same
    # What a word receives is what its tokens receive, and what it gives the mean of what they give.
    onto = np.stack([np.nansum(weights[:, found.key_of == word], axis=1) for word in range(len(found.keys))], axis=1)
    given = np.stack([onto[found.query_of == word].mean(0) for word in range(len(found.queries))])
    seen = ~np.isnan(found.weights)
    np.testing.assert_allclose(found.weights[seen], given[seen], atol=1e-5)


def test_a_reading_of_too_much_says_how_much_and_what_to_do(monkeypatch):
    trace = atlas.from_attention(np.full((1, 3, 1_300, 1_300), 1 / 1_300, np.float32), ["a"] * 1_300)
    monkeypatch.setattr(windows, "WINDOW_CELLS", 4_000_000)
    with pytest.raises(TooLarge) as told:
        window(trace, trace.head_ids, ALL, ALL, mode="column")
    assert str(told.value) == (
        "This reading would look at 5 million weights, and 4 million are the most. "
        "Select fewer heads, or show the weights themselves."
    )
