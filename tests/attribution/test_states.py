"""Patched states against plain forward hooks, what must be so in every model, and how often chance is called more than that."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch

import atlas
from atlas.attribution import Target, patch_states
from atlas.attribution.states import bounds, patched_states
from atlas.engine.gradients import states as engine
from atlas.engine.gradients.subject import Subject
from atlas.errors import BadIntervention, NotCaptured, TooLarge, UnknownName
from atlas.tracing.patched_states import LEAST_DIFFERENCE, PARTS, runs_of, too_many, without_part, without_patched_states
from tests.engine.families import TARGET, TEXT, gptj, loaded
from tests.state.readers import single

OTHER = TEXT.replace("away", "after")

BLOCKS = {
    "BERT": ("bert.encoder.layer", "attention.output.dropout", "output.dropout"),
    "GPT-2": ("transformer.h", "attn", "mlp"),
    "Llama": ("model.layers", "self_attn", "mlp"),
}
"""Family -> its layers, and the modules in each that put out what attention and feed-forward add."""


@functools.cache
def model_of(name):
    return atlas.load(name) if name == "gpt-mini" else loaded(name)


def logits_with(hf, ids, module=None, position=0, value=None):
    """Logits of the last position of a text with a state put in, by a forward hook of PyTorch and nothing else."""

    def put(_, __, output):
        changed = (output[0] if isinstance(output, tuple) else output).clone()
        changed[:, position] = value
        return (changed, *output[1:]) if isinstance(output, tuple) else changed

    handle = None if module is None else module.register_forward_hook(put)
    with torch.no_grad():
        found = hf(input_ids=ids).logits[0]
    if handle is not None:
        handle.remove()
    return found


def state_of(hf, ids, module):
    kept = []
    handle = module.register_forward_hook(lambda _, __, output: kept.append(output[0] if isinstance(output, tuple) else output))
    with torch.no_grad():
        hf(input_ids=ids)
    handle.remove()
    return kept[0][0]


@pytest.mark.parametrize("direction", ["denoising", "noising"])
@pytest.mark.parametrize("part", list(PARTS))
@pytest.mark.parametrize("name", ["BERT", "GPT-2", "Llama", "gpt-mini"])
def test_shares_are_those_of_plain_hooks(name, part, direction):
    model = model_of(name)
    hf, outer = model.hf, BLOCKS["GPT-2" if name == "gpt-mini" else name]
    here, there = (torch.tensor([model.tokenizer(text)["input_ids"]]) for text in (TEXT, OTHER))
    table = patch_states(model, TEXT, OTHER, part, direction, draws=0)
    trace = model.trace(TEXT)
    target = Subject(trace, Target()).target
    run, giver = (there, here) if direction == "denoising" else (here, there)

    def value(*options):
        return float(logits_with(hf, run, *options)[target.position, target.outcome_id])

    base = value()
    aim = float(logits_with(hf, giver)[target.position, target.outcome_id])
    first = int((here != there)[0].nonzero()[0])
    places = [0, 4, first, first + 1, here.shape[1] - 1]
    if abs(aim - base) < LEAST_DIFFERENCE:
        pytest.fail("The two texts do not differ in what is explained.")
    layers = hf.get_submodule(outer[0])
    for layer, block in enumerate(layers):
        module = block if part == "stream" else block.get_submodule(outer[1 if part == "attention" else 2])
        given = state_of(hf, giver, module)
        for position in places:
            found = table[(table["layer"] == layer) & (table["position"] == position)]["share"].item()
            wanted = (value(module, position, given[position]) - base) / (aim - base)
            assert found == pytest.approx(wanted, abs=2e-3)


@pytest.mark.parametrize("name", ["GPT-2", "Llama", "gpt-mini"])
def test_what_a_causal_model_must_do(name):
    """Before the first difference nothing changes, and at the end the state of the last position is all there is."""
    table = patch_states(model_of(name), TEXT, OTHER)
    differs = table["token"] != table["other_token"]
    first = table.loc[differs, "position"].min()
    early = table[table["position"] < first]
    assert len(early)
    assert (early["share"] == 0).all()
    assert not early["beyond"].any()
    last = table[(table["layer"] == table["layer"].max()) & (table["position"] == table["position"].max())]
    assert last["share"].item() == pytest.approx(1, abs=1e-4)
    others = table[(table["layer"] == table["layer"].max()) & (table["position"] < table["position"].max())]
    assert np.abs(others["share"]).max() < 1e-4
    embedding = table[table["layer"].isna() & differs]
    assert embedding["share"].item() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("name", ["BERT", "RoBERTa", "ALBERT", "GPT-2", "GPT-NeoX", "Llama", "T5", "BART"])
def test_all_states_of_a_layer_together_are_the_other_run(name):
    """Whatever the family: with every position of one layer put in, the outcome is that of the giver."""
    model = loaded(name)
    target = TARGET if "cross" in model.kinds else None
    subject, there = (Subject(model.trace(text, target=target)) for text in (TEXT, OTHER))
    there = Subject(there.trace, Target(subject.target.position, subject.target.outcome_id))
    kind = model.kinds[0]
    taps = engine.taps_of(subject, kind, "stream")
    given = engine.states_at(subject, taps)
    for layer in range(len(taps)):
        with there.held(gradients=False):
            every = given[layer]
            logits = there.logits(changed=[(taps[layer], lambda state, every=every: every.expand_as(state).clone())])
        assert float(there.measured(logits)[0]) == pytest.approx(subject.target.value, abs=2e-3)


def test_an_encoder_decoder_is_patched_in_either_stream():
    model = loaded("T5")
    for kind, n in (("encoder", len(model.trace(TEXT, target=TARGET).tokens())), ("decoder", None)):
        for part in PARTS:
            table = patch_states(model, TEXT, OTHER, part, kind=kind, decoder=TARGET)
            assert np.isfinite(table["share"]).all()
            assert n is None or table["position"].nunique() == n
    last = patch_states(model, TEXT, OTHER, kind="decoder", decoder=TARGET)
    last = last[(last["layer"] == last["layer"].max()) & (last["position"] == last["position"].max())]
    assert last["share"].item() == pytest.approx(1, abs=1e-3)


def test_layers_together_and_a_single_layer_all_at_once():
    model = model_of("GPT-2")
    one = patch_states(model, TEXT, OTHER, "ffn", draws=0)
    many = patch_states(model, TEXT, OTHER, "ffn", together=3, draws=0)
    assert not np.allclose(one["share"], many["share"])
    with pytest.raises(BadIntervention, match="of the stream one state is"):
        patch_states(model, TEXT, OTHER, together=2)


def test_only_some_positions_are_run():
    model = model_of("gpt-mini")
    whole, part = patch_states(model, TEXT, OTHER, draws=0), patch_states(model, TEXT, OTHER, positions=[12, 19], draws=0)
    wanted = whole[whole["position"].isin([12, 19])]
    np.testing.assert_allclose(part["share"], wanted["share"], atol=1e-5)
    with pytest.raises(UnknownName, match="no position 99"):
        patch_states(model, TEXT, OTHER, positions=[99])


# -- chance ----------------------------------------------------------------------------------------------------------------


def marked_by_chance(name, draws, seed):
    """Of planes in which every change is a random direction, how many have a marked cell, and how many cells are within 95 %."""
    model = model_of(name)
    subject = Subject(model.trace(TEXT), Target())
    there = Subject(model.trace(OTHER), Target())
    taps = engine.taps_of(subject, model.kinds[0], "stream")
    states, moves = engine.states_at(subject, taps), engine.states_at(there, taps)
    moves = moves.float() - states.float()
    gradients = engine.gradients_at(subject, taps)
    cells = [engine.Cell((layer,), at) for layer in range(len(taps)) for at in range(moves.shape[1])]
    spread = engine.spread_of(gradients, moves, cells)
    live = spread > 1e-4 * spread.max()
    cells = [cell for cell, alive in zip(cells, live, strict=True) if alive]
    spread = spread[live]
    planes = engine.random_values(subject, taps, cells, states, moves, draws, seed) - subject.target.value
    random, hits, within = np.random.default_rng(seed), [], []
    for draw in range(draws):
        sample = random.permutation(len(cells))[:24]
        null = planes[sample][:, [at for at in range(draws) if at != draw][:5]]
        low, bound = bounds(null / spread[sample, None], len(cells))
        hits.append(bool((np.abs(planes[:, draw]) > bound * spread).any()))
        within.append(float((np.abs(planes[:, draw]) < low * spread).mean()))
    return float(np.mean(hits)), float(np.mean(within))


@pytest.mark.parametrize("name", ["GPT-2", "Llama"])
def test_chance_is_called_more_than_chance_as_rarely_as_is_said(name):
    """On random weights: one plane in twenty, and the range of 95 % has about as much."""
    hits, within = marked_by_chance(name, 40, 3)
    assert hits <= 0.15
    assert 0.9 <= within <= 1.0


def test_bounds_of_normal_changes():
    random = np.random.default_rng(0).normal(size=(24, 5))
    low, bound = bounds(random, 300)
    scale = np.sqrt((random**2).mean())
    assert low == pytest.approx(1.96 * scale, rel=1e-3)
    assert bound > 4 * scale
    assert bounds(np.empty((0, 5)), 3)[1] == np.inf


def test_a_planted_truth():
    """gpt-mini repeats by induction: after layer 0 'cat' is held at its first place, after layer 1 where it is predicted."""
    text = "the doctor saw the green cat and the nurse saw the dog. the doctor saw the green"
    table = patch_states(model_of("gpt-mini"), text, text.replace("cat", "dog", 1)).set_index(["layer", "position"])
    n = table.index.get_level_values("position").max()
    assert table.loc[(0, 5), "share"] > 0.9
    assert table.loc[(1, 5), "share"] < 0.1
    assert table.loc[(1, n), "share"] > 0.9
    for cell in ((0, 5), (1, n)):
        assert table.loc[cell, "beyond"]


# -- refused ---------------------------------------------------------------------------------------------------------------


def test_what_is_refused_and_why():
    model = model_of("gpt-mini")
    with pytest.raises(BadIntervention, match="as many tokens"):
        patch_states(model, TEXT, "the cat")
    with pytest.raises(NotCaptured, match="same in both texts"):
        patch_states(model, TEXT, TEXT)
    with pytest.raises(UnknownName, match="no part 'heads'"):
        patch_states(model, TEXT, OTHER, "heads")
    long = " ".join(["cat"] * 420)
    with pytest.raises(TooLarge, match=r"Select up to \d+ tokens"):
        patched_states(model.trace(long), None, long.replace("cat", "dog", 1))


def test_who_is_not_offered_it_is_told_why():
    assert without_patched_states(model_of("gpt-mini").trace(TEXT)) == ""
    assert without_part(model_of("BERT").trace(TEXT), "encoder", "ffn") == ""
    assert without_patched_states(single("decoder"))


def test_a_model_outside_the_attention_interface_is_patched_too():
    table = patch_states(atlas.load((gptj(), model_of("GPT-2").tokenizer)), TEXT, TEXT.replace("cat", "dog"))
    last = table[(table["layer"] == table["layer"].max()) & (table["position"] == table["position"].max())]
    assert last["share"].item() == pytest.approx(1, abs=1e-3)


def test_the_cost_is_said_before():
    trace = model_of("gpt-mini").trace(TEXT)
    n = len(trace.tokens())
    table = patch_states(model_of("gpt-mini"), trace, OTHER)
    assert len(table) <= runs_of(trace, "stream", "decoder", n)
    assert "1,000,000 are the most" in too_many(25, 400, 400)
