"""A model that writes on, against plain forward passes over the text so far."""

from __future__ import annotations

import functools

import numpy as np
import pandas as pd
import pytest
import torch

import atlas
from atlas.engine.loading.load import load
from atlas.engine.running.write import MEANS, write_on
from atlas.errors import AtlasError, BadIntervention, TextError, TextTooLong, UnsupportedModel
from atlas.tracing.writing import END, ENOUGH, FULL, text_of, written
from tests.engine.families import BY_NAME, gptj, loaded, tokenizer

PROMPT = "the doctor said that she was tired"
CAUSAL = ("GPT-2", "GPT-NeoX", "Llama", "Qwen3", "Mistral", "Gemma2", "GPT-OSS")
TWO_SIDES = ("T5", "BART", "Marian")


@functools.cache
def model(name):
    if name == "GPT-J":
        return load((gptj(), tokenizer(special=False)))
    return atlas.load(name) if name.endswith("-mini") else loaded(name)


def prompt_of(name):
    """A text on which the model writes more than its end."""
    return {"gpt-mini": "Anna went to the", "t5-mini": "June 3, 1998", "T5": "the cat ran after the dog"}.get(name, PROMPT)


def side_of(trace):
    return "target" if "target" in trace.token_tables else "source"


def ids_of(trace):
    return trace.tokens(side_of(trace))["id"].tolist()


def logits_of(name, trace):
    """(position, token) of the model itself, one plain pass over the whole text of a trace."""
    source = torch.tensor([trace.tokens()["id"].tolist()])
    more = {"decoder_input_ids": torch.tensor([ids_of(trace)])} if side_of(trace) == "target" else {}
    with torch.no_grad():
        return model(name).hf(input_ids=source, use_cache=False, **more).logits[0].double()


@pytest.mark.parametrize("name", ["GPT-2", "Llama", "T5", "gpt-mini", "t5-mini"])
def test_a_text_that_was_written_has_its_spans_and_probabilities_again_when_it_is_analysed(name):
    made = model(name).write(prompt_of(name), tokens=8, sample=True, temperature=2.0, seed=5)
    found = write_on(model(name).trace(prompt_of(name)), None, ids_of(made)[first_written(made) :], 0)
    assert not found.stopped or [token.id for token in found.tokens] == ids_of(made)[first_written(made) :]
    source = found.text if side_of(made) == "source" else prompt_of(name)
    target = found.text if side_of(made) == "target" else None
    again = model(name).trace(source, target=target, spans=found.spans)
    if not found.exact:
        assert "written" in set(again.tokens(side_of(made))["span"])
        return
    table, expected = (trace.tokens(side_of(made)) for trace in (again, made))
    assert ids_of(again) == ids_of(made)
    visible = expected["end"].notna().to_numpy()  # a token without letters of its own is in no stretch of letters
    assert table["span"][visible].tolist() == expected["span"][visible].tolist()
    both = visible & (expected["span"] == "written").to_numpy()
    assert both.any()
    np.testing.assert_allclose(table["probability"][both], expected["probability"][both], atol=1e-6)
    if side_of(made) == "target":
        assert set(again.tokens()["span"]) == {"prompt", ""}


def test_tokens_of_a_link_that_the_model_does_not_have_or_has_no_room_for_are_refused():
    trace = model("GPT-2").trace(PROMPT)
    n = len(trace.tokens())
    for kept, begun, says in (
        (None, [1_000_000], "outside the model's embedding"),
        (None, [1] * 1_000, "too many"),
        (n + 1, [1], "cannot be kept"),
        (0, [1], "cannot be kept"),
    ):
        with pytest.raises(AtlasError, match=says):
            write_on(trace, kept, begun, 0)
    with pytest.raises(TextError, match="cannot be kept"):
        write_on(model("T5").trace(prompt_of("T5")), 500, [1], 0)


def first_written(trace):
    return int(np.flatnonzero(trace.tokens(side_of(trace))["span"] == "written")[0])


@pytest.mark.parametrize("name", [*CAUSAL, *TWO_SIDES, "GPT-J", "gpt-mini", "t5-mini"])
def test_every_written_token_is_the_likeliest_of_one_plain_pass(name):
    """The steps use the cache; the pass they are held against has none."""
    prompt = prompt_of(name)
    trace = model(name).write(prompt, tokens=10)
    logits, ids, at = logits_of(name, trace), ids_of(trace), first_written(trace)
    assert len(ids) > at
    assert logits[at - 1 : -1].argmax(-1).tolist() == ids[at:]
    table = trace.tokens(side_of(trace))
    chances = logits.softmax(-1)
    assert np.allclose(table["probability"][at:], [float(chances[i - 1, ids[i]]) for i in range(at, len(ids))], atol=1e-5)
    assert table["probability"][:at].isna().all()
    for place, token in enumerate(written(trace, k=4)):
        top = chances[at - 1 + place].topk(4)
        assert token.ids.tolist() == top.indices.tolist()
        assert np.allclose(token.probabilities, top.values, atol=1e-5)
    assert set(trace.tokens()["span"]) <= {"prompt", "written", ""}
    if side_of(trace) == "source":
        assert trace.texts.text.startswith(prompt)
        assert ids[:at] == model(name).trace(prompt).tokens()["id"].tolist()[:at]


@pytest.mark.parametrize("name", ["GPT-2", "Llama", "Mistral", "BART", "T5"])
def test_weights_of_written_tokens_are_those_of_one_pass_over_the_whole_text(name):
    """Against transformers' own eager attention, in a model that Atlas never touched."""
    trace = model(name).write(prompt_of(name), tokens=8)
    hf = BY_NAME[name].model()
    hf.set_attn_implementation("eager")
    inputs = {"input_ids": torch.tensor([trace.tokens()["id"].tolist()])}
    if side_of(trace) == "target":
        inputs["decoder_input_ids"] = torch.tensor([ids_of(trace)])
    with torch.no_grad():
        out = hf(**inputs, use_cache=False, output_attentions=True)
    own = {"decoder": getattr(out, "attentions", None) or out.decoder_attentions}
    own |= {"encoder": out.encoder_attentions, "cross": out.cross_attentions} if "cross" in trace.kinds else {}
    assert set(own) == set(trace.kinds)
    for kind, layers in own.items():
        assert np.allclose(trace.attention(kind).fillna(0.0), torch.stack(layers)[:, 0], atol=2e-6)
        assert trace.attention(kind).sizes["query"] > 7


def plain_sample(name, prompt, tokens, temperature, top_p, seed):
    """Nucleus sampling by hand, one uncached pass a token."""
    generator = torch.Generator().manual_seed(seed)
    ids = model(name).trace(prompt).tokens()["id"].tolist()
    n = len(ids)
    while len(ids) < n + tokens:
        with torch.no_grad():
            logits = model(name).hf(torch.tensor([ids]), use_cache=False).logits[0, -1].double()
        chances = (logits / temperature).softmax(-1)
        order = chances.argsort(descending=True, stable=True)
        nucleus, mass = [], 0.0
        for token in order.tolist():
            if mass >= top_p and nucleus:
                break
            nucleus.append(token)
            mass += float(chances[token])
        weights = torch.zeros(len(chances), dtype=torch.double)
        weights[: len(nucleus)] = chances[nucleus]
        ids.append(int(order[torch.multinomial(weights, 1, generator=generator)]))
    return ids


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (8.0, 1.0), (3.0, 0.6)])
def test_sampling_is_by_the_seed_alone(temperature, top_p):
    how = {"tokens": 8, "sample": True, "temperature": temperature, "top_p": top_p}
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first = model("Llama").write(PROMPT, seed=1, **how)
    assert torch.equal(state, torch.get_rng_state()), "the reader's own random numbers were moved on"
    torch.rand(3)
    assert ids_of(model("Llama").write(PROMPT, seed=1, **how)) == ids_of(first)
    assert ids_of(first) == plain_sample("Llama", PROMPT, 8, temperature, top_p, 1)
    assert any(ids_of(model("Llama").write(PROMPT, seed=seed, **how)) != ids_of(first) for seed in range(2, 6))


def test_an_unlikely_token_has_its_own_probability_without_temperature():
    """At such a temperature most sampled tokens are none of the fifty that a trace keeps."""
    trace = model("Llama").write(PROMPT, tokens=20, sample=True, temperature=1000.0, seed=3)
    ids, at = ids_of(trace), first_written(trace)
    kept = [ids[i] in trace.outcomes.ids[i - 1] for i in range(at, len(ids))]
    assert not all(kept)
    chances = logits_of("Llama", trace).softmax(-1)
    expected = [float(chances[i - 1, ids[i]]) for i in range(at, len(ids))]
    assert np.allclose(trace.tokens()["probability"][at:], expected, rtol=1e-3, atol=1e-12)


EDGES = [(layer, head, key) for layer in range(3) for head in range(4) for key in range(1, 8)]
CHANGES = {
    "decoder heads": {"ablate": [("decoder", 0, 1), ("decoder", 2, 3)]},
    "decoder edges": {"knock_out": [(("decoder", layer, head), 9, key) for layer, head, key in EDGES]},
    "cross heads": {"ablate": [("cross", layer, head) for layer in range(3) for head in range(4)]},
    "cross edges": {"knock_out": [(("cross", layer, head), at, key) for layer, head, key in EDGES for at in range(8)]},
}


@pytest.mark.parametrize(
    ("name", "change"),
    [(name, f"decoder {what}") for name in ("GPT-2", "Llama") for what in ("heads", "edges")]
    + [("T5", "cross heads"), ("t5-mini", "cross edges")],
)
def test_heads_and_edges_are_off_while_the_model_writes(name, change):
    change = CHANGES[change]
    trace = model(name).write(prompt_of(name), tokens=12, **change)
    at = first_written(trace)
    assert trace.outcomes.ids[at - 1 : -1, 0].tolist() == ids_of(trace)[at:], "not what the changed model writes"
    unchanged = model(name).write(prompt_of(name), tokens=12)
    assert ids_of(trace) != ids_of(unchanged), "the change changes nothing, so this proves nothing"
    assert trace.provenance["changed"]["ablated" if "ablate" in change else "knocked out"]


def test_what_cannot_be_switched_off_as_asked_is_said():
    means = model("GPT-2").write(PROMPT, tokens=3, ablate={("decoder", 1, 1): "mean"})
    assert MEANS in means.provenance["notes"]
    with pytest.raises(BadIntervention, match="does not use transformers' attention interface"):
        model("GPT-J").write(PROMPT, tokens=3, ablate=[(0, 0)])
    with pytest.raises(BadIntervention, match="outside this text"):
        model("GPT-2").write(PROMPT, tokens=3, knock_out=[((0, 0), 40, 2)])


def test_the_end_token_ends_the_text_and_is_no_part_of_it():
    found = loaded("GPT-2")
    free = ids_of(found.write(PROMPT, tokens=6))
    at = len(found.trace(PROMPT).tokens())
    end = free[at + 3]
    found.hf.generation_config.eos_token_id = [90, end]
    trace = found.write(PROMPT, tokens=6)
    assert ids_of(trace) == free[: free.index(end, at)]
    assert trace.provenance["writing"]["stopped"] == END
    assert any("the model ended the text" in note for note in trace.provenance["notes"])
    cut = found.write(PROMPT, tokens=6, knock_out=[((0, 0), at - 1, 1), ((0, 0), at + 5, 1)])
    if cut.provenance["writing"]["stopped"] == END:
        assert len(cut.provenance["changed"]["knocked out"]) == 1
        assert "1 of the edges to cut name a position that was not written." in cut.provenance["notes"]
    seen = []
    found.hf.generation_config.eos_token_id = free[at]
    nothing = found.write(PROMPT, tokens=6, on_token=seen.append)
    assert (ids_of(nothing), seen) == (free[:at], [])
    assert "0 tokens" in " ".join(nothing.provenance["notes"])


def test_the_number_of_tokens_and_of_positions_are_limits():
    found, n = model("GPT-2"), len(model("GPT-2").trace(PROMPT).tokens())
    assert found.limit == 64
    few = found.write(PROMPT, tokens=3)
    assert (len(ids_of(few)), few.provenance["writing"]["stopped"]) == (n + 3, ENOUGH)
    full = found.write(PROMPT, tokens=500, sample=True, temperature=50.0, seed=4)
    assert (len(ids_of(full)), full.provenance["writing"]["stopped"]) == (64, FULL)
    assert any("64 positions of the model were used up" in note for note in full.provenance["notes"])
    with pytest.raises(TextTooLong, match="written on"):
        found.write("the " * 64, tokens=1)


def test_an_encoder_decoder_writes_what_it_writes_for_a_trace():
    for name in ("T5", "t5-mini"):
        text = prompt_of(name)
        trace, own = model(name).write(text, tokens=20), model(name).trace(text)
        assert ids_of(trace) == ids_of(own)[: len(ids_of(trace))]
        assert trace.tokens("target")["span"].tolist() == ["", *["written"] * (len(ids_of(trace)) - 1)]
    assert trace.texts.target == own.texts.target


@pytest.mark.parametrize("name", ["GPT-2", "T5"])
def test_writing_on_from_an_alternative(name):
    free = model(name).write(prompt_of(name), tokens=6)
    at = first_written(free)
    other = int(free.outcomes.ids[at + 1, 1])
    trace = model(name).write(prompt_of(name), tokens=4, begun=[*ids_of(free)[at : at + 2], other])
    assert ids_of(trace)[: at + 3] == [*ids_of(free)[: at + 2], other]
    assert len(ids_of(trace)) == at + 7
    assert logits_of(name, trace)[at + 2 : -1].argmax(-1).tolist() == ids_of(trace)[at + 3 :]
    assert trace.tokens(side_of(trace))["probability"].notna().sum() == 7


def test_tokens_come_one_by_one_and_the_writing_can_be_stopped():
    seen, steps = [], []
    trace = model("Llama").write(PROMPT, tokens=5, on_token=seen.append, progress=lambda done, of: steps.append((done, of)))
    assert [token.id for token in seen] == ids_of(trace)[-5:]
    assert steps == [(i, 5) for i in range(1, 6)]
    assert np.allclose([token.probability for token in seen], trace.tokens()["probability"][-5:], atol=1e-5)

    class Stop(BaseException):
        pass

    def stop(token):
        seen.append(token)
        if len(seen) == 8:
            raise Stop

    with pytest.raises(Stop):
        model("Llama").write(PROMPT, tokens=50, on_token=stop)
    assert len(seen) == 8
    assert ids_of(model("Llama").write(PROMPT, tokens=5)) == ids_of(trace), "the model was left in another state"


@pytest.mark.parametrize("name", ["GPT-2", "T5"])
def test_spans_and_probabilities_survive_a_file(name, tmp_path):
    trace = model(name).write(prompt_of(name), tokens=5)
    read = atlas.open(trace.save(tmp_path / "run.nc"))
    for side in trace.token_tables:
        pd.testing.assert_frame_equal(read.tokens(side), trace.tokens(side))
    assert [vars_of(token) for token in written(read)] == [vars_of(token) for token in written(trace)]
    assert read.provenance["writing"] == trace.provenance["writing"]


def vars_of(token):
    return token.id, token.token, token.probability, token.ids.tolist(), token.names.tolist(), token.probabilities.tolist()


def test_offsets_of_a_text_that_its_tokenizer_would_split_otherwise():
    """Sampled pieces of a word: read anew they would be one token, or others."""
    trace = model("gpt-mini").write("Anna went to the", tokens=40, sample=True, temperature=4.0, seed=2)
    again = model("gpt-mini").trace(trace.texts.text)
    assert ids_of(again) != ids_of(trace), "this seed writes canonical tokens, so it proves nothing"
    table = trace.tokens()
    for row in table[table["start"].notna() & ~table["special"]].itertuples():
        slice_ = trace.texts.text[int(row.start) : int(row.end)]
        assert slice_.strip() == row.token.strip() or row.token.startswith("<0x")
    assert table["start"].notna().mean() > 0.8


@pytest.mark.parametrize("name", ["GPT-2", "T5", "gpt-mini", "t5-mini"])
def test_the_page_gets_what_the_trace_would_hold(name):
    text = prompt_of(name)
    traced = model(name).trace(text)
    seen = []
    found = write_on(traced, tokens=6, on_token=seen.append)
    trace = model(name).write(text, tokens=6)
    assert [token.id for token in found.tokens] == ids_of(trace)[first_written(trace) :] == [token.id for token in seen]
    own = written(trace)
    assert np.allclose([token.probability for token in found.tokens], [token.probability for token in own], atol=1e-6)
    assert trace.texts.target is not None or trace.texts.text == traced.texts.text + text_of(own)
    if name.endswith("-mini"):  # pieces of the others are pieces of words, which a decoder without them joins by spaces
        assert [token.text.strip() for token in found.tokens] == [token.text.strip() for token in own]
        assert [token.text for token in seen] == [token.text for token in found.tokens]
    assert [token.names.tolist() for token in found.tokens] == [token.names.tolist() for token in own]
    assert found.text == (trace.texts.target if side_of(trace) == "target" else trace.texts.text)
    if found.exact:
        again = model(name).trace(text, target=found.text) if side_of(trace) == "target" else model(name).trace(found.text)
        assert ids_of(again) == ids_of(trace)[: len(ids_of(again))]
    at = first_written(trace)
    branch = write_on(trace, kept=at + 2, begun=[int(own[2].ids[1])], tokens=2)
    assert branch.tokens[0].id == int(own[2].ids[1])
    expected = model(name).write(text, tokens=2, begun=[token.id for token in own[:2]] + [int(own[2].ids[1])])
    assert [token.id for token in branch.tokens] == ids_of(expected)[at + 2 :]


def test_the_page_writes_under_the_changes_of_its_trace():
    heads = [("decoder", 0, head) for head in range(4)]
    found = write_on(model("GPT-2").trace(PROMPT, ablate=heads), tokens=6)
    expected = model("GPT-2").write(PROMPT, tokens=6, ablate=heads)
    assert [token.id for token in found.tokens] == ids_of(expected)[-6:]
    assert ids_of(expected) != ids_of(model("GPT-2").write(PROMPT, tokens=6))


def test_models_that_do_not_write_and_numbers_that_mean_nothing():
    with pytest.raises(UnsupportedModel, match=r"masked-lm.*does not write"):
        model("BERT").write(PROMPT)
    with pytest.raises(UnsupportedModel, match="does not write"):
        write_on(model("BERT").trace(PROMPT))
    for wrong in (
        {"temperature": 0.5},
        {"sample": True, "temperature": 0.0},
        {"sample": True, "top_p": 0.0},
        {"sample": True, "seed": -1},
        {"tokens": 0},
        {"tokens": 2.5},
    ):
        with pytest.raises(TextError, match=next(reversed(wrong)).replace("top_p", "top_p")):
            model("GPT-2").write(PROMPT, **wrong)


def test_generation_settings_of_the_model_are_said():
    found = load((BY_NAME["GPT-2"].model(), tokenizer(special=False)))
    plain = found.write(PROMPT, tokens=8)
    at = first_written(plain)
    found.hf.generation_config.suppress_tokens = [ids_of(plain)[at]]
    trace = found.write(PROMPT, tokens=8)
    assert ids_of(trace)[at] != ids_of(plain)[at]
    assert any("suppress_tokens" in note for note in trace.provenance["notes"])
    assert trace.outcomes.ids[at - 1, 0] == ids_of(plain)[at], "the probabilities are the model's own"
    assert found.hf.generation_config.max_new_tokens is None
