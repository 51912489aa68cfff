"""The verdict: planted truth, chance on a random model, p by chance, numbers by plain runs, and the sentence of every rule."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from atlas.attribution import Target, attribute, attribution_patching, head_effects, verdict, verdicts
from atlas.attribution.head_sets import alternatives, number_of_alternatives
from atlas.attribution.statistics import chance_of_spearman, share_at_least, spearman
from atlas.attribution.verdicts import agreement_bounds, verdict_cost
from atlas.engine.loading.load import load
from atlas.errors import BadIntervention, UnknownName
from atlas.ids import HeadId
from atlas.tracing.verdict import RULES, judge
from tests.attribution.own import model, traced
from tests.attribution.planted import DECIDES, DECOY, OUTCOME, planted
from tests.attribution.test_effects import logits_of
from tests.engine.families import TEXT, gptj, tokenizer

OTHER = "a cat and a dog said hello to the tired nurse"


def names(found):
    return [rule.name for rule in found.rules]


@pytest.fixture(scope="module")
def planted_trace():
    return planted().trace(TEXT, capture=("predictions",))


@pytest.mark.parametrize("how", ["zero", "mean", "resample", "gradient"])
def test_every_intervention_finds_the_head_that_decides(how, planted_trace):
    found = head_effects(planted(), planted_trace, Target(outcome=OUTCOME), how, other=OTHER)
    sizes = found["effect"].abs().sort_values(ascending=False)
    first = found.loc[sizes.index[0]]
    assert HeadId(first["kind"], first["layer"], first["head"]) == DECIDES
    assert sizes.iloc[0] > 10 * sizes.iloc[1]


def test_patching_measured_and_estimated_finds_it_too(planted_trace):
    there = planted().trace(" ".join(["the"] * len(TEXT.split())), capture=("predictions",))
    found = attribution_patching(planted(), planted_trace, there, Target(outcome=OUTCOME), check=24)
    at = (found["layer"] == DECIDES.layer) & (found["head"] == DECIDES.head)
    for column in ("effect", "patched"):
        assert found.loc[at, column].abs().item() > 10 * found.loc[~at, column].abs().max()


def test_cutting_an_edge_of_each_head_finds_it_too(planted_trace):
    """The heaviest edge from the first token, which alone is read."""
    target, changes = Target(outcome=OUTCOME), {}
    before = logits_of(planted(), TEXT, target)[OUTCOME]
    for head in planted_trace.head_ids:
        key = int(planted_trace.attention(head.kind, head.layer, head.head).to_numpy()[0].argmax())
        after = logits_of(planted(), TEXT, target, knock_out=[((head.layer, head.head), 0, key)])[OUTCOME]
        changes[head] = abs(float(before - after))
    assert changes.pop(DECIDES) > 10 * max(changes.values())


def test_a_decoy_that_attends_as_the_head_that_decides_does_not_fool_the_verdict(planted_trace):
    decides, decoy = (verdict(planted_trace, Target(outcome=OUTCOME), [head]) for head in (DECIDES, DECOY))
    assert decoy.numbers["gradients_rho"] == pytest.approx(decides.numbers["gradients_rho"], abs=1e-6)
    assert decoy.numbers["gradients_rho"] > 0.8
    assert names(decides)[:3] == ["moves with both", "needed", "part of the reason"]
    assert names(decoy)[:3] == ["moves with both", "not needed", "not the reason"]
    assert decoy.sentence.endswith("do not read it as the reason.")
    assert decides.numbers["removal_p"] == pytest.approx(1 / 24)
    assert decoy.numbers["removal_p"] == 1


def test_on_a_random_model_the_verdict_says_chance():
    random, found = np.random.default_rng(0), []
    # Words that differ, because a word that comes twice is not two tokens by chance.
    # In order, because a tokenizer lists its words in another one in every process.
    words = sorted(word for word in model("BERT").tokenizer.get_vocab() if word.startswith("w"))
    for _ in range(15):
        trace = model("BERT").trace(" ".join(random.permutation(words)[:20]), capture=("predictions",))
        heads = [(layer, int(random.integers(4))) for layer in range(3)]
        found.append(verdict(trace, Target(int(random.integers(1, 20))), heads, method="saliency", permutations=199))
    assert all(each.numbers["sets"] == 63 for each in found)
    said = [names(each)[2] for each in found]
    assert said.count("chance") >= 11
    assert said.count("part of the reason") <= 1


@pytest.mark.parametrize(("heads", "every", "draws"), [(1, (1, 30), 199), (2, (2, 6), 199), (3, (4, 8), 60)])
def test_p_of_removal_is_uniform_where_heads_are_chosen_by_chance(heads, every, draws):
    random, found = np.random.default_rng(heads), []
    all_heads = [HeadId("encoder", layer, head) for layer in range(every[0]) for head in range(every[1])]
    for seed in range(400):
        own = dict(zip(all_heads, random.normal(size=len(all_heads)), strict=True))
        chosen = tuple(all_heads[at] for at in random.choice(len(all_heads), heads, replace=False))
        sizes = [abs(sum(own[head] for head in each)) for each in (chosen, *alternatives(chosen, all_heads, draws, seed).sets)]
        found.append(share_at_least(sizes[0], sizes[1:]))
    levels = np.array([0.1, 0.25, 0.5, 0.75])
    below = (np.array(found)[:, None] <= levels).mean(axis=0)
    assert (below < levels + 3 * np.sqrt(levels * (1 - levels) / 400)).all()
    assert (below > levels - 3 * np.sqrt(levels * (1 - levels) / 400) - 1 / 30).all()


def test_sets_are_of_the_same_layers_where_these_have_enough_and_all_of_them_where_they_are_few():
    every = [HeadId("encoder", layer, head) for layer in range(6) for head in range(8)]
    one, two = alternatives(every[:1], every, 199), alternatives([every[3], every[20]], every, 199)
    assert (one.same_layers, {each[0] for each in one.sets}) == (False, set(every[1:]))
    assert (two.same_layers, len(set(two.sets))) == (True, 63)
    assert {tuple(head.layer for head in each) for each in two.sets} == {(0, 2)}
    many = alternatives(every[::5], every, 50)
    assert len(set(many.sets)) == 50
    assert all(sorted(head.layer for head in each) == sorted(head.layer for head in every[::5]) for each in many.sets)
    assert many == alternatives(every[::5], every, 50)
    assert tuple(every[::5]) not in many.sets
    assert alternatives(every, every, 50).sets == ()
    for heads, draws in ((every[:1], 199), ([every[3], every[20]], 199), (every[::5], 50), (every, 50), (every[:7], 199)):
        assert number_of_alternatives(heads, every, draws) == len(alternatives(heads, every, draws).sets)


def test_what_a_verdict_costs_is_told_without_drawing_sets(monkeypatch):
    trace = model("BERT").trace("w1 w2 w3 w4", capture=("predictions",))
    heads = [head for head in trace.head_ids if head.head < 2]
    costs = [verdict_cost(trace, heads, "saliency", draws) for draws in (10, 60)]
    assert costs[1] - costs[0] == 50
    monkeypatch.setattr(verdicts, "alternatives", None)
    assert [verdict_cost(trace, heads, "saliency", draws) for draws in (10, 60)] == costs


@pytest.mark.parametrize(("name", "kind"), [("BERT", "encoder"), ("GPT-2", "decoder"), ("T5", "cross"), ("Llama", "decoder")])
def test_numbers_are_those_of_plain_runs(name, kind):
    trace, made = traced(name), model(name)
    chosen, target = (HeadId(kind, 0, 1), HeadId(kind, 2, 3)), Target(-3)
    found = verdict(trace, target, chosen, method="saliency", draws=15)
    numbers, position = found.numbers, found.target.position
    side = trace.side(kind, "key")
    keys = np.flatnonzero(~trace.token_tables[side]["special"].to_numpy(dtype=bool))
    weights = np.mean([trace.attention(kind, head.layer, head.head).to_numpy() for head in chosen], axis=0)
    if kind != "encoder":
        weights, keys = weights[: position + 1], keys[keys <= position] if kind == "decoder" else keys
    received = np.nanmean(weights[:, keys], axis=0)
    methods = {"gradients": "saliency", "occlusion": "occlusion", "ceiling": "input_x_gradient"}
    scores = {which: np.abs(attribute(made, trace, target, by).side(side)[keys]) for which, by in methods.items()}
    for which in ("gradients", "occlusion"):
        assert numbers[f"{which}_rho"] == pytest.approx(stats.spearmanr(received, scores[which]).statistic)
    assert numbers["ceiling_rho"] == pytest.approx(stats.spearmanr(scores["ceiling"], scores["gradients"]).statistic)
    random = np.random.default_rng(0)
    null = [abs(stats.spearmanr(received, random.permutation(scores["gradients"])).statistic) for _ in range(500)]
    assert numbers["gradients_chance"] == pytest.approx(np.quantile(null, 0.95), abs=0.06)
    outcome = Target(-3, found.target.outcome_id)
    before = logits_of(made, TEXT, outcome)[found.target.outcome_id]
    sets = alternatives(chosen, [head for head in trace.head_ids if head.kind == kind], 15).sets
    after = [float(logits_of(made, TEXT, outcome, ablate=each)[found.target.outcome_id]) for each in (chosen, *sets)]
    effects = float(before) - np.array(after)
    assert numbers["effect"] == pytest.approx(effects[0], abs=5e-3)
    assert numbers["random_effect"] == pytest.approx(np.median(np.abs(effects[1:])), abs=5e-3)
    assert numbers["removal_p"] == pytest.approx((1 + (np.abs(effects[1:]) >= abs(effects[0])).sum()) / 16)
    assert (numbers["sets"], numbers["n"], numbers["heads"]) == (15, len(keys), 2)
    assert verdict_cost(trace, chosen, "saliency", 15) > 15


@pytest.mark.parametrize(("name", "kind"), [("BERT", "encoder"), ("GPT-2", "decoder")])
def test_attention_of_some_queries_alone_can_be_judged(name, kind):
    trace, chosen = traced(name), [HeadId(kind, 1, 1), HeadId(kind, 2, 0)]
    found = verdict(trace, Target(-3), chosen, queries=[3, 9], method="saliency", draws=15)
    weights = np.mean([trace.attention(kind, head.layer, head.head).to_numpy()[[3, 9]] for head in chosen], axis=0)
    keys = np.flatnonzero(~trace.tokens()["special"].to_numpy(dtype=bool))
    keys = keys[np.isfinite(weights[:, keys]).any(axis=0)]
    scores = np.abs(attribute(model(name), trace, Target(-3), "saliency").scores[keys])
    received = np.nanmean(weights[:, keys], axis=0)
    assert found.numbers["n"] == len(keys)
    assert found.numbers["gradients_rho"] == pytest.approx(stats.spearmanr(received, scores).statistic)
    assert found.numbers["effect"] == pytest.approx(
        verdict(trace, Target(-3), chosen, method="saliency", draws=15).numbers["effect"]
    )


NUMBERS = {
    "heads": 3.0, "layers": 2.0, "n": 21.0, "sets": 199.0, "same_layers": 1.0,
    "gradients_rho": 0.61, "gradients_lo": 0.31, "gradients_hi": 0.8, "gradients_p": 0.001, "gradients_chance": 0.35,
    "occlusion_rho": 0.5, "occlusion_lo": 0.2, "occlusion_hi": 0.7, "occlusion_p": 0.01, "occlusion_chance": 0.35,
    "ceiling_rho": 0.8, "ceiling_lo": 0.6, "ceiling_hi": 0.9, "ceiling_p": 0.001, "ceiling_chance": 0.35,
    "floor_rho": 0.1, "floor_lo": -0.2, "floor_hi": 0.4, "floor_p": 0.01,
    "effect": 0.2, "log_probability": 0.1, "kl": 0.01, "random_effect": 0.15, "random_high": 0.5, "removal_p": 0.4,
}  # fmt: skip


def test_the_sentence_follows_from_the_numbers():
    assert judge(NUMBERS).sentence == (
        "The attention of these 3 heads moves with the gradients (ρ = 0.61, 95 % 0.31 to 0.80, chance ±0.35) and with occlusion "
        "(ρ = 0.50, 95 % 0.20 to 0.70, chance ±0.35), but removing them changes the prediction no more than removing as many "
        "random heads of the same layers (p = 0.4): do not read it as the reason."
    )


UNKNOWN = dict.fromkeys(("gradients_rho", "gradients_p", "occlusion_rho", "occlusion_p"), math.nan)
BY_CHANCE = {"gradients_p": 0.5, "occlusion_p": 0.5}

CASES = {
    "no order": (UNKNOWN, "cannot be said from 21 tokens"),
    "moves with both": ({}, "moves with the gradients"),
    "moves with the gradients": ({"occlusion_p": 0.3}, "though not with occlusion"),
    "moves with occlusion": ({"gradients_p": 0.3}, "though not with the gradients"),
    "moves against": ({"gradients_rho": -0.6, "occlusion_p": 0.4}, "goes to the tokens that matter less"),
    "order by chance": (BY_CHANCE, "more than chance does, and removing them"),
    "nothing to compare": ({"sets": 0.0, "removal_p": math.nan}, "no other heads"),
    "needed": ({"removal_p": 0.01}, "occlusion (ρ = 0.50, 95 % 0.20 to 0.70, chance ±0.35), and removing them lowers"),
    "speaks against": ({"removal_p": 0.01, "effect": -0.2}, "raises the target by 0.2"),
    "first of few": ({"removal_p": 0.1, "sets": 9.0, "heads": 1.0}, "any other of 9 heads"),
    "not needed": ({}, "no more than removing as many random heads"),
    "part of the reason": ({"removal_p": 0.01}, "part of the reason."),
    "reason against": ({"removal_p": 0.01, "effect": -0.2}, "speaks against this outcome."),
    "a sign": ({"removal_p": 0.1, "sets": 9.0}, "no proof."),
    "needed for something else": (BY_CHANCE | {"removal_p": 0.01}, "where they attend does not say why."),
    "not the reason": ({}, "do not read it as the reason."),
    "chance": (BY_CHANCE, "both are what chance gives, so read no reason into it."),
    "not shown": (UNKNOWN, "nothing shows that it is the reason."),
    "low ceiling": ({"ceiling_p": 0.3}, "do not agree with each other"),
    "high floor": ({"floor_p": 0.4}, "Of random sets of heads 40 % agree"),
    "other layers": ({"same_layers": 0.0}, "random heads of any layer"),
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_every_rule_fires_where_its_condition_holds(rule):
    changes, said = CASES[rule.name]
    found = judge(NUMBERS | changes)
    assert rule in found.rules
    assert said in "\n".join((found.sentence, *found.notes))
    assert "{" not in found.sentence
    assert len({each.part for each in found.rules[:3]}) == 3


def test_what_cannot_be_compared_is_refused_or_said():
    with pytest.raises(UnknownName, match="several kinds"):
        verdict(traced("T5"), Target(-3))
    with pytest.raises(UnknownName, match="no head"):
        verdict(traced("BERT"), Target(-3), [(7, 1)])
    with pytest.raises(BadIntervention, match="attention interface"):
        verdict(load((gptj(), tokenizer(special=False))).trace(TEXT, capture=("predictions",)), Target(-3), [(0, 1)])
    every = verdict(traced("BERT"), Target(5), method="saliency")
    assert names(every)[1] == "nothing to compare"
    assert math.isnan(every.numbers["removal_p"])


@pytest.mark.parametrize("name", ["BERT", "GPT-2"])
def test_the_bounds_of_agreement_are_those_of_the_verdict(name):
    trace, target, heads = traced(name), Target(-3), [(0, 1), (2, 3)]
    for method, beside in (("saliency", "input_x_gradient"), ("input_x_gradient", "saliency")):
        expected = verdict(trace, target, heads, method=method, beside=beside).numbers
        found = agreement_bounds(trace, target, heads, method=method, pair=(method, beside)).numbers
        for mine in ("rho", "lo", "hi", "p", "chance"):
            assert found[f"scores_{mine}"] == expected[f"gradients_{mine}"]
        same = [each for each in found if not each.startswith("scores_")]
        assert {each: found[each] for each in same} == {each: expected[each] for each in same}


def test_the_bounds_of_any_method_by_plain_ranks():
    trace, target = traced("BERT"), Target(5)
    found = agreement_bounds(trace, target, [(1, 2)], method="occlusion", pair=("input_x_gradient", "saliency")).numbers
    kept = ~trace.tokens()["special"].to_numpy(dtype=bool)
    names = ("occlusion", "input_x_gradient", "saliency")
    occlusion, one, other = (np.abs(attribute(model("BERT"), trace, target, each).scores[kept]) for each in names)
    weights = np.array([trace.attention("encoder", layer).to_numpy() for layer in range(trace.n_layers("encoder"))])
    received = weights.mean(axis=2)[:, :, kept]
    rho = np.array([[stats.spearmanr(head, occlusion).statistic for head in layer] for layer in received])
    others = np.delete(rho.ravel(), 1 * rho.shape[1] + 2)
    assert found["scores_rho"] == pytest.approx(rho[1, 2])
    assert found["ceiling_rho"] == pytest.approx(stats.spearmanr(one, other).statistic)
    assert found["floor_rho"] == pytest.approx(others.mean())
    assert [found["floor_lo"], found["floor_hi"]] == pytest.approx(np.quantile(others, [0.025, 0.975]))
    assert found["floor_p"] == pytest.approx((1 + (others >= rho[1, 2] - 1e-7).sum()) / rho.size)
    assert (found["sets"], found["n"]) == (rho.size - 1, kept.sum())


def test_chance_is_the_correlation_beyond_which_p_is_low():
    random = np.random.default_rng(2)
    for _ in range(20):
        row, vector = random.random(12), random.random(12)
        low = spearman(row[None], vector, permutations=99, seed=4).p[0] <= 0.05
        chance = chance_of_spearman(row, vector, permutations=99, seed=4)
        assert low == (abs(stats.spearmanr(row, vector).statistic) > chance)
