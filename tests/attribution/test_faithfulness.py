"""Faithfulness scores against the same done by hand with plain transformers, and on a model whose best order is known."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
import transformers as tr

from atlas.attribution import Target, attribute, faithfulness
from atlas.attribution.orders import area, bin_sizes, bounds, eraser, first, normalised, search_rows
from atlas.engine.loading.load import load
from atlas.errors import NotCaptured, UnknownName
from tests.attribution.own import model, plain, traced
from tests.engine.families import TARGET, VOCABULARY, gptj, loaded, tokenizer

SHORT = ["the doctor said that she was tired", "a cat ran after the dog and the nurse", "he was [MASK] because the cat ran"]


def table_of(counts=8, seed=0):
    """Any function of sets of tokens."""
    values = np.random.default_rng(seed).random(2**counts)
    return lambda sets: values[np.asarray(sets) @ (1 << np.arange(counts))]


def test_bins_are_rounded_up_to_whole_tokens():
    np.testing.assert_array_equal(bin_sizes((0.01, 0.05, 0.1, 0.2, 0.5), 20), [1, 1, 2, 4, 10])
    np.testing.assert_array_equal(bin_sizes((0.1, 0.34, 1.0), 3), [1, 2, 3])


def test_scores_are_means_over_bins_of_what_is_lost():
    values, order = table_of(4), np.array([2, 0, 3, 1])
    whole, taken = values(np.zeros((1, 4), bool))[0], [{2}, {2, 0}]
    alone = [whole - values(np.array([[at not in top for at in range(4)]]))[0] for top in taken]
    without = [whole - values(np.array([[at in top for at in range(4)]]))[0] for top in taken]
    assert eraser(values, order, [1, 2]) == pytest.approx((np.mean(without), np.mean(alone)))
    np.testing.assert_array_equal(first(order, [1, 2]), [[0, 0, 1, 0], [1, 0, 1, 0]])


@pytest.mark.parametrize("seed", range(3))
def test_bounds_of_few_tokens_are_those_of_all_orders(seed):
    values = table_of(5, seed)
    every = [area(values, np.array(order)) for order in itertools.permutations(range(5))]
    found = bounds(values, 5)
    assert found.exact
    assert area(values, found.highest) == pytest.approx(max(every))
    assert area(values, found.lowest) == pytest.approx(min(every))
    shares = normalised(every, max(every), min(every))
    assert (shares.min(), shares.max()) == (0, 1)
    assert np.isnan(normalised([1.0, 1.0], 1.0, 1.0)).all()


def test_a_search_of_many_tokens_runs_no_more_sets_than_it_says_and_beats_random_orders():
    weights, seen = np.random.default_rng(1).normal(size=16), set()

    def values(sets):
        seen.update(row.tobytes() for row in sets)
        return -(np.asarray(sets) @ weights)

    found = bounds(values, 16)
    assert not found.exact
    assert len(seen) <= search_rows(16)
    # Of weights that add up, the beam cannot miss the best order.
    np.testing.assert_array_equal(found.highest, np.argsort(-weights))
    np.testing.assert_array_equal(found.lowest, np.argsort(weights))


def own_probability(name, trace, target, gone, remove):
    """The probability of the target with places taken out, by plain transformers."""
    sides = {"source": "input_ids", "target": "decoder_input_ids"}
    ids = {side: np.array(trace.tokens(side)["id"].tolist()) for side in trace.token_tables}
    given, position = {}, target.position
    for side, every in ids.items():
        row = every.copy()
        out = [at for where, at in gone if where == side]
        if remove == "mask":
            row[out] = model(name).tokenizer.mask_token_id
        if remove == "delete":
            row = np.delete(every, out)
            position -= sum(at < target.position for at in out) if side == target.side else 0
        if remove == "attention":
            seen = np.ones_like(row)
            seen[out] = 0
            given[{"source": "attention_mask", "target": "decoder_attention_mask"}[side]] = torch.tensor(seen[None])
        given[sides[side]] = torch.tensor(row[None])
    with torch.no_grad():
        logits = plain(name)(**given).logits[0]
    row = logits if logits.ndim == 1 else logits[position]
    chances = row.sigmoid() if plain(name).config.problem_type else row.softmax(-1)
    return float(chances[target.outcome_id])


@pytest.mark.parametrize("remove", ["mask", "delete", "attention"])
@pytest.mark.parametrize("name", ["BERT", "GPT-2", "Llama", "T5", "classifier", "token labels"])
def test_faithfulness_is_what_is_found_by_hand(name, remove):
    made, bins = model(name), (0.1, 0.5)
    predicts = "target" if "cross" in made.kinds else "source"
    position = -1 if name == "classifier" else 5
    traces = [made.trace(text, target=TARGET if "cross" in made.kinds else None) for text in SHORT[:2]]
    found = faithfulness(made, traces, ["occlusion", "raw_attention"], bins, remove, target=Target(position))
    assert list(found.columns) == ["method", "score", "mean", "lo", "hi", "n"]
    assert list(found["method"]) == ["occlusion"] * 2 + ["raw_attention"] * 2 + ["random"] * 2
    scores = []
    for trace in traces:
        scored = attribute(made, trace, Target(position), "occlusion")
        tokens, target = scored.tokens, scored.target
        last = {"GPT-2": 5, "Llama": 5, "T5": 5}.get(name, 99)
        places = [
            (row.side, row.position)
            for row in tokens.itertuples()
            if not row.special
            and not (row.side == predicts and row.position > last)
            and (remove == "mask" or (row.side, row.position) != (target.side, target.position))
        ]
        by_place = tokens.set_index(["side", "position"])["score"]
        ranked = sorted(places, key=lambda place: -by_place[place])
        whole, lost = own_probability(name, trace, target, [], remove), []
        for share in bins:
            top = ranked[: int(np.ceil(share * len(places)))]
            rest = [place for place in places if place not in top]
            lost.append([whole - own_probability(name, trace, target, gone, remove) for gone in (top, rest)])
        scores.append(np.mean(lost, axis=0))
    np.testing.assert_allclose(found["mean"][:2], np.mean(scores, axis=0), atol=2e-4)
    assert np.abs(found["mean"][:2]).max() > 1e-3
    assert (found["n"] == 2).all()
    assert found.attrs["removal"] == {"mask": "replaced by the mask token", "delete": "deleted from the text"}.get(
        remove, "hidden from attention"
    )


def linear():
    """A model that gives one number, linear in its token vectors: no norms, even attention, no feed-forward."""
    torch.manual_seed(3)
    hf = tr.LlamaForSequenceClassification(
        tr.LlamaConfig(vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=40,
                       max_position_embeddings=64, num_labels=1, pad_token_id=0)
    ).eval()  # fmt: skip
    with torch.no_grad():
        for layer in hf.model.layers:
            layer.self_attn.q_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
            layer.input_layernorm = layer.post_attention_layernorm = torch.nn.Identity()
            layer.self_attn.v_proj.weight.mul_(30)
            layer.self_attn.o_proj.weight.mul_(30)
        hf.model.norm = torch.nn.Identity()
    return load((hf, tokenizer(special=False)))


def test_on_a_linear_model_no_order_beats_that_of_integrated_gradients():
    found = faithfulness(linear(), SHORT[:2], ["integrated_gradients", "occlusion", "raw_attention"], normalise=True)
    by = found.set_index(["method", "score"])["mean"]
    for method in ("integrated_gradients", "occlusion"):
        assert by[method, "comprehensiveness_normalised"] == pytest.approx(1, abs=1e-4)
        assert by[method, "sufficiency_normalised"] == pytest.approx(0, abs=1e-4)
    for method in ("raw_attention", "random"):
        assert 0 < by[method, "comprehensiveness_normalised"] < 0.99
        assert by["occlusion", "comprehensiveness"] > by[method, "comprehensiveness"]
        assert by["occlusion", "sufficiency"] < by[method, "sufficiency"]
    assert found.attrs["of"] == "logit"  # the model has no probabilities


def test_normalised_scores_are_within_the_bounds_and_a_method_beyond_a_searched_bound_moves_it():
    found = faithfulness(model("BERT"), [SHORT[2], " ".join(SHORT[:2])], ["saliency", "rollout"], normalise=True)
    shares = found[found["score"].str.endswith("normalised")]
    assert len(shares) == 6
    assert shares["mean"].between(0, 1).all()
    np.testing.assert_array_equal(normalised([2.0, -1.0, 0.5], 1.0, 0.0), [1, 0, 0.5])


def test_intervals_are_those_of_samples_of_texts():
    from atlas.attribution.statistics import mean_intervals

    values = np.random.default_rng(2).normal(size=(2, 60))
    values[1, :30] = np.nan
    found = mean_intervals(values)
    np.testing.assert_allclose(found["mean"], np.nanmean(values, axis=1))
    assert found["n"].tolist() == [60, 30]
    error = np.nanstd(values, axis=1) / np.sqrt(found["n"])
    np.testing.assert_allclose((found["hi"] - found["lo"]) / error, 2 * 1.96, rtol=0.12)
    assert np.isnan(mean_intervals(values[:, -1:])["lo"]).all()


def test_results_do_not_hang_on_batches_and_come_again_with_the_seed(monkeypatch):
    made, options = model("GPT-2"), {"methods": ["rollout"], "seed": 4}
    expected = faithfulness(made, SHORT[:2], **options)
    monkeypatch.setattr("atlas.engine.gradients.subject.row_bytes", lambda *_: 512 << 20)
    one_by_one = faithfulness(made, SHORT[:2], **options)
    np.testing.assert_allclose(one_by_one["mean"], expected["mean"], atol=1e-5)
    other = faithfulness(made, SHORT[:2], ["rollout"], seed=5)
    assert other["mean"][0] == pytest.approx(expected["mean"][0])
    assert other["mean"][2] != pytest.approx(expected["mean"][2])


def test_progress_is_told_and_can_stop_the_work():
    told = []

    class Stopped(Exception):
        pass

    def progress(done, of):
        told.append((done, of))
        if done == 3:
            raise Stopped

    with pytest.raises(Stopped):
        faithfulness(model("BERT"), SHORT, ["raw_attention"], progress=progress)
    assert told == [(1, 6), (2, 6), (3, 6)]


def test_texts_without_an_order_are_left_out_and_counted():
    found = faithfulness(model("GPT-2"), ["cat", *SHORT[:2]], ["rollout"])
    assert found.attrs["too_short"] == 1
    assert (found["n"] == 2).all()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"methods": ["magic"]}, "there are saliency"),
        ({"remove": "burn"}, "mask, delete, attention"),
        ({"bins": (0.5, 2)}, "above 0 and up to 1"),
        ({"bins": ()}, "above 0 and up to 1"),
    ],
)
def test_what_does_not_exist_is_refused(options, said):
    with pytest.raises(UnknownName, match=said):
        faithfulness(model("GPT-2"), SHORT, **{"methods": ["rollout"], **options})


def test_what_a_model_cannot_have_is_refused_with_the_reason():
    made = load((gptj(), tokenizer(special=False)))
    with pytest.raises(NotCaptured, match="attention interface"):
        faithfulness(made, SHORT, ["gradient_rollout"])
    assert np.isfinite(faithfulness(made, SHORT[:2], ["occlusion"])["mean"]).all()
    changed = loaded("GPT-2").trace(SHORT[0], knock_out=[(("decoder", 0, 0), 3, 1)])
    with pytest.raises(NotCaptured, match="a deleted token moves them"):
        faithfulness(model("GPT-2"), changed, ["rollout"], remove="delete")


def test_a_text_with_heads_switched_off_is_judged_as_it_ran():
    made = model("GPT-2")
    every = [("decoder", layer, head) for layer in range(3) for head in range(4)]
    for remove in ("mask", "attention"):
        found = faithfulness(made, made.trace(SHORT[0], ablate=every), ["occlusion"], remove=remove)
        # Without any head the prediction hangs on its own token alone.
        assert found["mean"][0] == pytest.approx(found["mean"][0])
        if remove == "attention":
            assert np.abs(found["mean"]).max() < 1e-6
        else:
            assert found["mean"][0] > 1e-4
    assert traced("GPT-2").provenance["model"] == made.name
