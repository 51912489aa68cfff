"""Attention knockout against a plain recomputation in transformers, invariants, planted heads, and the level of chance."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
import transformers as tr
from scipy.stats import t as student
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import eager_mask

import atlas
from atlas.attribution import Target, knockout, knockouts
from atlas.engine.loading.load import load
from atlas.engine.running.interventions import Cut, Intervention
from atlas.errors import BadIntervention, NotCaptured, UnknownName
from atlas.ids import HeadId
from atlas.tracing.knockout import (
    CHOSEN,
    FEWEST,
    FIRST,
    ITSELF,
    MOST_PARTS,
    REST,
    SPECIAL,
    TEXT,
    groups_of,
    queries_of,
    windows_of,
    without_knockout,
)
from tests.attribution.own import TINY, hf_of, model, traced
from tests.engine.families import TARGET, VOCABULARY, gptj, loaded, tokenizer
from tests.engine.families import TEXT as SAID

SITES = {
    "BERT": {"encoder": "bert.encoder.layer.{}.attention.self"},
    "GPT-2": {"decoder": "transformer.h.{}.attn"},
    "Llama": {"decoder": "model.layers.{}.self_attn"},
    "T5": {
        "encoder": "encoder.block.{}.layer.0.SelfAttention",
        "decoder": "decoder.block.{}.layer.0.SelfAttention",
        "cross": "decoder.block.{}.layer.1.EncDecAttention",
    },
}
CASES = [(name, kind) for name, kinds in SITES.items() for kind in kinds]

CUTS: dict[int, tuple[list[int] | slice, list[int], list[int]]] = {}
"""Of an attention module, by its id: the heads, queries and keys that are cut in it."""


def by_hand(module, query, key, value, attention_mask, scaling=None, dropout=0.0, position_bias=None, **_):
    """Attention from its formula, with some scores at −∞; no code of Atlas."""
    groups = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    scores = query @ key.transpose(-1, -2) * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    for added in (position_bias, attention_mask):
        if added is not None:
            scores = scores + added[..., : key.shape[-2]]
    if id(module) in CUTS:
        heads, queries, keys = CUTS[id(module)]
        block = torch.zeros(scores.shape[-2:], dtype=torch.bool)
        block[np.ix_(queries, keys)] = True
        scores[:, heads] = scores[:, heads].masked_fill(block, -torch.inf)
    weights = scores.softmax(-1).nan_to_num(0.0)
    return (weights @ value).transpose(1, 2).contiguous(), weights


@functools.cache
def plain(name):
    AttentionInterface.register("by_hand", by_hand)
    AttentionMaskInterface.register("by_hand", eager_mask)
    hf = hf_of(name)
    hf.set_attn_implementation("by_hand")
    return hf


def log_probability(name, target, kind, window=(), heads=slice(None), queries=(), keys=()):
    """Of the target's outcome, with attention cut in these layers."""
    hf, trace = plain(name), traced(name)
    CUTS.clear()
    for layer in window:
        CUTS[id(hf.get_submodule(SITES[name][kind].format(layer)))] = (heads, list(queries), list(keys))
    names = {"source": "input_ids", "target": "decoder_input_ids"}
    ids = {names[side]: torch.tensor(table["id"].tolist())[None] for side, table in trace.token_tables.items()}
    with torch.no_grad():
        logits = hf(**ids).logits[0, target.position].double()
    CUTS.clear()
    return float(logits.log_softmax(-1)[target.outcome_id])


def some_groups(trace, kind):
    n_keys = trace.attention_of(kind).n_keys
    return {"one": [1], "two": [0, 3], "others": list(range(2, min(n_keys, 5)))}


@pytest.mark.parametrize(("name", "kind"), CASES)
@pytest.mark.parametrize("size", [1, 2])
def test_the_change_is_that_of_a_plain_run_with_scores_at_minus_infinity(name, kind, size):
    trace = traced(name)
    groups = some_groups(trace, kind)
    found = knockout(trace, Target(-2), groups, size, kind=kind)
    queries = found.plan.setting.queries
    assert (
        queries == tuple(range(trace.attention_of(kind).n_queries)) if kind == "encoder" and name == "T5" else len(queries) == 1
    )
    whole = log_probability(name, found.target, kind)
    assert whole == pytest.approx(np.log(found.target.probability), abs=1e-4)
    n_layers = trace.n_layers(kind)
    for at, keys in enumerate(groups.values()):
        for layer in range(n_layers):
            first, last = windows_of(n_layers, size)[layer]
            assert first <= layer <= last
            expected = log_probability(name, found.target, kind, range(first, last + 1), queries=queries, keys=keys) - whole
            assert found.change[at, layer] == pytest.approx(expected, abs=2e-4)
        everywhere = log_probability(name, found.target, kind, range(n_layers), queries=queries, keys=keys) - whole
        assert found.change[at, -1] == pytest.approx(everywhere, abs=2e-4)
    assert np.abs(found.change).max() > 1e-2


@pytest.mark.parametrize("name", ["BERT", "GPT-2"])
def test_chosen_heads_and_queries_alone_are_cut_on_top_of_what_the_trace_changed(name):
    kind = traced(name).kinds[0]
    heads = [HeadId(kind, 0, 1), HeadId(kind, 2, 0)]
    found = knockout(traced(name), Target(-2), {"one": [1]}, 1, heads, queries=[2, 3])
    whole = log_probability(name, found.target, kind)
    for layer, head in ((0, [1]), (2, [0])):
        expected = log_probability(name, found.target, kind, [layer], head, [2, 3], [1]) - whole
        assert found.change[0, layer] == pytest.approx(expected, abs=2e-4)
    assert found.change[0, 1] == 0  # none of the heads is in this layer
    before = model(name).trace(SAID, knock_out=[((0, head), query, 1) for head in range(4) for query in (2, 3)])
    again = knockout(before, Target(-2, found.target.outcome_id), {"one": [1]}, 1, queries=[2, 3])
    both = log_probability(name, found.target, kind, [0, 2], slice(None), [2, 3], [1])
    alone = log_probability(name, found.target, kind, [0], slice(None), [2, 3], [1])
    assert again.change[0, 0] == pytest.approx(0, abs=1e-5)
    assert again.change[0, 2] == pytest.approx(both - alone, abs=2e-4)


@pytest.mark.parametrize("name", ["GPT-2", "Llama"])
def test_what_cannot_be_seen_changes_nothing_and_all_layers_are_one_window(name):
    trace = traced(name)
    n_layers = trace.n_layers("decoder")
    found = knockout(trace, Target(2), {"later": [4, 5], "seen": [1]}, n_layers)
    assert (found.change[0] == 0).all()
    assert found.groups[0].keys == ()
    assert len(found.random[0]) == 0
    assert np.isnan(found.q[0]).all()
    assert np.ptp(found.change[1]) == 0  # k = all layers: one window, and that of the last column
    one = knockout(trace, Target(2), {"seen": [1]}, 1)
    assert one.change[0, -1] == pytest.approx(found.change[1, -1], abs=1e-6)


def test_the_window_stays_whole_at_the_ends():
    assert windows_of(5, 1) == ((0, 0), (1, 1), (2, 2), (3, 3), (4, 4))
    assert windows_of(5, 3) == ((0, 2), (0, 2), (1, 3), (2, 4), (2, 4))
    assert windows_of(4, 4) == ((0, 3),) * 4
    assert windows_of(5, 2) == ((0, 1), (0, 1), (1, 2), (2, 3), (3, 4))


def planted(layer, place):
    """A model of four layers in which one head of one layer looks at one place, and nothing else is attended to."""
    torch.manual_seed(0)
    hf = tr.GPT2LMHeadModel(tr.GPT2Config(vocab_size=VOCABULARY, n_embd=32, n_layer=4, n_head=4, n_positions=64)).eval()
    with torch.no_grad():
        for parameter in hf.parameters():
            parameter.mul_(4 if parameter.ndim > 1 else 1)
        hf.transformer.wpe.weight[:, 0] = 0
        hf.transformer.wpe.weight[place, 0] = 20  # seen by the norm as one large number
        hf.transformer.wte.weight[:, 0] = 0
        for at, block in enumerate(hf.transformer.h):
            block.attn.c_proj.weight.zero_()
            block.attn.c_proj.bias.zero_()
            block.mlp.c_proj.weight[:, 0] = 0
            if at == layer:
                block.attn.c_proj.weight[:8] = torch.randn(8, 32) * 2
                block.attn.c_attn.weight[:, :8] = 0  # queries of head 0: always the same
                block.attn.c_attn.bias[:8] = 0
                block.attn.c_attn.bias[0] = 30
                block.attn.c_attn.weight[:, 32:40] = 0  # its keys: whether this is the place
                block.attn.c_attn.weight[0, 32] = 3
    return load((hf, tokenizer()))


@pytest.mark.parametrize("layer", [0, 2])
def test_a_planted_head_is_found_in_its_layer_and_at_its_token(layer):
    trace = planted(layer, 3).trace("the doctor said that she was tired because the cat ran away from the dog")
    assert trace.attention(layer=layer, head=0).values[-1, 3] > 0.99
    n = len(trace.tokens())
    found = knockout(trace, groups={str(at): [at] for at in range(n)}, window=1)
    size = np.abs(found.change)
    assert size[3, layer] == size.max() > 0.05
    others = size.copy()
    others[3, [layer, -1]] = 0
    assert others.max() < 0.01 * size[3, layer]
    marked = np.argwhere(found.marked)
    assert marked.tolist() == [[3, layer], [3, 4]]
    wide = knockout(trace, groups={"place": [3]}, window=3)
    windows = [wide.window(at) for at in range(4)]
    assert [bool(abs(value) > 0.05) for value in wide.change[0, :4]] == [first <= layer <= last for first, last in windows]


# -- chance ----------------------------------------------------------------------------------------------------------------


def test_the_band_is_that_of_the_random_sets_and_p_that_of_crawford_and_howell():
    trace = traced("BERT")
    n = trace.attention_of("encoder").n_keys
    found = knockout(trace, Target(-2), {"one": [2], "half": list(range(n // 2 + 1))}, 1)
    assert found.plan.others == (n - 1, n - n // 2 - 1)
    drawn = found.plan.drawn[0]
    assert len(drawn) == min(20, n - 1)
    assert all(2 not in keys for keys in drawn)
    again = knockout(trace, Target(-2), drawn, 1, draws=0)
    np.testing.assert_allclose(found.random[0], again.change, atol=1e-6)
    low, mean, high = found.band(0)
    np.testing.assert_allclose(low, np.percentile(again.change, 2.5, axis=0), atol=1e-6)
    np.testing.assert_allclose(high, np.percentile(again.change, 97.5, axis=0), atol=1e-6)
    draws = found.random[0][:, 0]
    statistic = abs(found.change[0, 0] - mean[0]) / (draws.std(ddof=1) * np.sqrt((n - 1 + 1) / (n - 1 - 1)))
    p = 2 * student.sf(statistic, len(draws) - 1)
    assert knockouts.against_few(found.change[0, :1], draws[:, None], 1, n - 1)[0] == pytest.approx(p)
    assert found.random[1].shape == (0, trace.n_layers("encoder") + 1)  # more tokens than there are others
    assert np.isnan(found.q[1]).all()
    assert not found.marked[1].any()
    assert not again.marked.any()
    table = found.table
    assert len(table) == 2 * (trace.n_layers("encoder") + 1)
    assert table["layer"].isna().sum() == 2
    np.testing.assert_allclose(table["probability"], found.target.probability * np.exp(table["change"]))


def test_a_window_of_several_layers_is_one_test():
    trace = traced("BERT")
    whole = knockout(trace, Target(-2), {"one": [2], "two": [4]}, trace.n_layers("encoder"))
    p = [knockouts.against_few(whole.change[at], whole.random[at], 1, whole.plan.others[at])[0] for at in range(2)]
    expected = [min(2 * min(p), max(p)), max(p)]  # Benjamini & Hochberg of two tests
    assert sorted(whole.q[:, 0]) == pytest.approx(expected)


def test_few_models_of_random_weights_have_anything_beyond_chance():
    words = [word for word in tokenizer().get_vocab() if word.isalpha()]
    random, marked = np.random.default_rng(3), []
    for seed in range(12):
        torch.manual_seed(seed)
        hf = tr.GPT2LMHeadModel(tr.GPT2Config(vocab_size=VOCABULARY, n_embd=32, n_layer=3, n_head=4, n_positions=64)).eval()
        with torch.no_grad():
            for parameter in hf.parameters():
                parameter.mul_(4 if parameter.ndim > 1 else 1)
        trace = load((hf, tokenizer())).trace(" ".join(random.choice(words, size=22)))
        order = random.permutation(len(trace.tokens()))
        groups = [order[:1], order[1:2], order[2:4], order[4:7], order[7:10]]
        marked.append(knockout(trace, groups=groups).marked.any())
    assert sum(marked) <= 2  # 240 such models and texts, of BERT too: 4.6 %


# -- groups ----------------------------------------------------------------------------------------------------------------


def roles(groups):
    return [group.role for group in groups]


def test_groups_are_sentences_else_words_and_share_no_token():
    trace = atlas.load("gpt-mini").trace("The green cat sat on the mat. The dog ran. The green")
    last = len(trace.tokens()) - 1
    assert queries_of(trace, "decoder", Target()) == (last,)
    groups = groups_of(trace, "decoder", [last])
    assert roles(groups) == [TEXT, TEXT, TEXT, ITSELF, FIRST]
    assert [group.name for group in groups][1:] == [
        "sentence 2 'The dog ran.'", "sentence 3 'The'", "'green' itself", "the first token 'The'",
    ]  # fmt: skip
    assert sorted(key for group in groups for key in group.keys) == list(range(last + 1))
    before = groups_of(trace, "decoder", [4])
    assert sorted(key for group in before for key in group.keys) == list(range(5))
    assert [group.name for group in before if group.role == TEXT] == ["'green'", "'cat'", "'sat'"]
    chosen = groups_of(trace, "decoder", [last], [1, 2])
    assert roles(chosen) == [CHOSEN, ITSELF, FIRST, REST]
    assert chosen[0] == ("'green cat'", (1, 2), CHOSEN)


def test_special_tokens_are_a_group_and_many_words_go_together():
    trace = traced("BERT")
    groups = groups_of(trace, "encoder", [3])
    assert SPECIAL in roles(groups)
    assert FIRST not in roles(groups)
    assert roles(groups).count(TEXT) <= MOST_PARTS
    assert queries_of(traced("classifier"), "encoder", Target()) == tuple(range(len(trace.tokens())))
    masked = atlas.load("bert-mini").trace("The doctor said that she was [MASK] because the cat ran.")
    (place,) = queries_of(masked, "encoder", Target())
    assert masked.tokens()["token"].iloc[place] == "[MASK]"


# -- what is refused -------------------------------------------------------------------------------------------------------


def test_what_cannot_be_cut_is_said():
    trace = traced("BERT")
    with pytest.raises(UnknownName, match="1 to 3 layers"):
        knockout(trace, window=4)
    with pytest.raises(UnknownName, match="counted from 0"):
        knockout(trace, groups=[[99]])
    with pytest.raises(UnknownName, match="one kind"):
        knockout(trace, kind="cross")
    recorded = atlas.from_attention(np.full((1, 1, 3, 3), 1 / 3), ["a", "b", "c"])
    assert without_knockout(recorded)
    with pytest.raises(NotCaptured):
        knockout(recorded)
    outside = load((gptj(), tokenizer(special=False))).trace(SAID)
    assert "does not use transformers' attention interface" in without_knockout(outside)
    assert without_knockout(trace) == ""
    assert FEWEST <= 8


def test_a_target_held_against_another_has_the_difference_of_both():
    found = knockout(traced("GPT-2"), Target(-1, "she", "doctor"), {"one": [1]}, 1)
    assert found.table["probability"].isna().all()
    one, two = (knockout(traced("GPT-2"), Target(-1, name), {"one": [1]}, 1).change for name in ("she", "doctor"))
    np.testing.assert_allclose(found.change, one - two, atol=1e-4)


def test_a_block_of_edges_is_those_edges_one_by_one():
    own = loaded("T5")
    cut = Cut("cross", 1, (0, 2), (1, 2), (0, 3))
    edges = [(HeadId("cross", 1, head), query, key) for head in (0, 2) for query in (1, 2) for key in (0, 3)]
    (block,) = own.traces([SAID], targets=[TARGET], interventions=[Intervention(knock_out=[cut])])
    single = own.trace(SAID, target=TARGET, knock_out=edges)
    for kind in single.kinds:
        np.testing.assert_array_equal(block.attention(kind).values, single.attention(kind).values)
    assert block.provenance["changed"] == single.provenance["changed"]
    assert list(Intervention(knock_out=[cut]).edges()) == edges
    with pytest.raises(BadIntervention, match="counted from 0"):
        list(own.traces([SAID], targets=[TARGET], interventions=[Intervention(knock_out=[cut._replace(keys=(99,))])]))
    assert TINY["num_hidden_layers"] == 3
