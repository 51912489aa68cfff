"""What the first Attention Atlas got wrong about benchmarks and audits of bias, done right: one test a numbered defect.

As in tests/test_first_atlas.py each test computes the defective number too, and holds that it is another one.
"""

from __future__ import annotations

import functools
import json
from types import SimpleNamespace

import holoviews as hv
import numpy as np
import pytest
from scipy.stats import kruskal, mannwhitneyu

import atlas
from atlas.attribution import Attribution, agreement
from atlas.bias import benchmark, head_tradeoff, score_stereoset
from atlas.bias import tradeoff as tradeoffs
from atlas.bias.audits import Pooled
from atlas.bias.heads import received
from atlas.bias.scores import LABELS
from atlas.ids import HeadId
from atlas.state.workspace import Workspace
from atlas.tasks import TASKS
from atlas.tracing.explained import Resolved
from atlas.tracing.tradeoff import LOG_RATIO
from atlas.views.benchmark import BenchmarkView
from tests.bias.prejudiced import examples, prejudiced
from tests.bias.test_benchmarks import causal, ids_of, log_probabilities, triple
from tests.engine.families import TARGET, TEXT, loaded

model = functools.cache(loaded)


@pytest.fixture(autouse=True)
def _bokeh():
    hv.extension("bokeh", logo=False)


def share_between(values, groups):
    """η²: the share of the variance that lies between groups."""
    means = {name: values[groups == name].mean() for name in set(groups)}
    return np.var([means[name] for name in groups]) / np.var(values)


def test_a_head_is_singled_out_by_stereotypes_and_by_no_topic(monkeypatch):
    """Defect 16: a 'sensitive' head told topics apart, not stereotype from anti-stereotype, and pairs were tested as unpaired."""
    of_topic, of_bias = HeadId("encoder", 0, 1), HeadId("encoder", 2, 3)
    made = {}

    def planted(run, sets, how, progress):
        random = np.random.default_rng(1)
        made["category"] = np.array([item.category for item in run.items])
        topic = np.select([made["category"] == "gender", made["category"] == "job"], [1.0, -1.0])[:, None]
        change = random.normal(scale=0.1, size=(len(sets), len(run.items), 3))
        at = {head: sets.index((head,)) for head in (of_topic, of_bias)}
        # The one writes about topics, whichever sentence it is; the other makes every stereotype a little likelier.
        change[at[of_topic]] += topic * [2.1, 1.9, 2.0]
        change[at[of_bias]] += random.normal(size=topic.shape) - [0.1, 0.0, 0.0]
        made.update({head: change[at[head]] for head in at})
        whole = random.normal(-8, 1, size=change.shape[1:])
        return np.exp(np.concatenate([whole[None], whole + change]))

    monkeypatch.setattr(tradeoffs, "_likelihoods", planted)
    found = head_tradeoff(prejudiced(), "stereoset", examples(count=180, terms=60), limit=None, by=LOG_RATIO)
    assert [head for head, q in zip(found.heads, found.table["score_change_q"], strict=True) if q <= 0.05] == [of_bias]
    sensitivity = {head: share_between(made[head][:, 0] - made[head][:, 1], made["category"]) for head in (of_topic, of_bias)}
    assert sensitivity[of_topic] > 0.4
    assert sensitivity[of_bias] < 0.1
    stereotypes = [made[of_topic][made["category"] == name, 0] for name in ("gender", "job", "kind")]
    assert kruskal(*stereotypes).pvalue < 1e-9  # 'significant', and all of it topic
    assert mannwhitneyu(made[of_bias][:, 0], made[of_bias][:, 1]).pvalue > 0.2


def next_sentences(count=20):
    """Examples of StereoSet's second half: a context of many words or of few, and three sentences of unequal length."""
    random = np.random.default_rng(3)
    words = sorted({*TEXT.split(), *TARGET.split()})

    def said(least, most):
        return " ".join(random.choice(words, size=random.integers(least, most)))

    rows = []
    for at in range(count):
        sentences = [{"id": f"n{at}-{label}", "sentence": said(1, 7), "gold_label": label} for label in LABELS]
        rows.append(
            {"id": f"n{at}", "bias_type": "gender", "target": f"term {at // 2}", "context": said(3, 9), "sentences": sentences}
        )
    return {"data": {"intersentence": rows}}


def log_likelihoods(name, text):
    """Of every token of a text: masked by itself, or after those before it."""
    if name == "GPT-2":
        return causal(name, ids_of(name, text), start=2)
    ids = ids_of(name, text)
    at = range(1, len(ids) - 1)
    return np.array([log_probabilities(name, [*ids[:place], 4, *ids[place + 1 :]])[place, ids[place]] for place in at])


@pytest.mark.parametrize("name", ["BERT", "GPT-2"])
def test_no_word_of_the_context_counts_in_a_score_and_every_score_has_an_interval(name):
    """Defect 17: the likelihood of a next sentence was a mean over its context too, and scores near 50 stood without interval."""
    data = next_sentences()
    found = benchmark(model(name), "stereoset_intersentence", data)
    rows, own, diluted = data["data"]["intersentence"], {}, {}
    for row, line in zip(rows, found.examples.to_dict("records"), strict=True):
        before = len(ids_of(name, f"{row['context']}.", add_special_tokens=False))
        for sentence in row["sentences"]:
            logs = log_likelihoods(name, f"{row['context']}. {sentence['sentence']}")
            own[sentence["id"]], diluted[sentence["id"]] = np.exp(logs[before:].mean()), np.exp(logs.mean())
            score = line[f"{sentence['gold_label'].replace('-', '_')}_score"]
            assert score == pytest.approx(own[sentence["id"]], rel=1e-4)
    assert np.median([abs(diluted[name] / own[name] - 1) for name in own]) > 0.1
    scores, of_all = found.scores.set_index("category").loc["overall"], score_stereoset(rows, diluted).iloc[-1]
    assert scores["lms"] == pytest.approx(score_stereoset(rows, own).iloc[-1]["lms"])
    assert scores["lms"] != pytest.approx(of_all["lms"], abs=1)
    for measure in ("lms", "ss", "icat"):
        assert scores[f"{measure}_lo"] <= scores[measure] <= scores[f"{measure}_hi"]
        assert scores[f"{measure}_lo"] < scores[f"{measure}_hi"]


def noise(random, heads=(12, 12), n=24):
    """(layer, head, query, key) attention that means nothing."""
    return random.dirichlet(np.ones(n), size=(*heads, n)).astype(np.float32)


def recorded(weights):
    return atlas.from_attention(weights, [f"w{at}" for at in range(weights.shape[-1])])


def in_order(weights, order):
    """The same heads in other places."""
    return weights.reshape(len(order), *weights.shape[2:])[order].reshape(weights.shape)


def test_a_summary_of_heads_takes_all_of_them_in_any_order_and_chance_finds_none():
    """Defect 18: reports gave the mean of the 20 best heads of 144, counted p uncorrected, and read the first heads only."""
    random = np.random.default_rng(1)
    weights, order = noise(random), random.permutation(144)
    trace, mixed = recorded(weights), recorded(in_order(weights, order))
    scored = trace.tokens().assign(side="source", score=random.normal(size=24))
    table, again = (agreement(each, Attribution("made up", Resolved(-1, "source", "", 0), scored)) for each in (trace, mixed))
    numbers = ["rho", "p", "q", "jaccard", "rbo"]
    assert len(table) == 144
    assert table[numbers].notna().all(axis=None)
    np.testing.assert_allclose(again[numbers], table[numbers].iloc[order])
    assert abs(table["rho"].mean()) < 0.1
    assert table["rho"].abs().nlargest(20).mean() > 0.35  # the mean of the best, of heads that agree by chance
    assert (table["p"] < 0.05).sum() >= 4
    assert table["q"].min() > 0.05
    assert abs(table["jaccard"][:20].mean() - again["jaccard"][:20].mean()) > 0.005  # the first twenty, in either order
    pools, best = (Pooled(), Pooled()), []
    for seed in range(12):
        text = noise(random, heads=(4, 12), n=10)
        flagged, places = random.choice(10, 2, replace=False), np.argsort(order[:48])
        for pool, each in zip(pools, (text, in_order(text, places)), strict=True):
            sums = received(recorded(each), flagged, 199, np.random.default_rng(seed))
            pool.add(sums)
        best.append((sums.mass / sums.even).max())
    heads, others = (pool.table(np.random.default_rng(0)) for pool in pools)
    np.testing.assert_allclose(others["ratio"], heads["ratio"].iloc[places])
    np.testing.assert_allclose(others["q"], heads["q"].iloc[places])
    assert heads["ratio"].mean() == pytest.approx(1, abs=0.05)
    assert np.mean(best) > 1.3
    assert heads["p"].min() < 0.05 < heads["q"].min()


def many_examples(count=130, late=110):
    """Examples of which those of one category come last, and of which four have one context."""
    contexts = [
        f"the {word} said that BLANK was tired" for word in ("doctor", "nurse", "cat", "dog", "w1", "w2", "w3", "w4", "w5")
    ]
    words = [("he", "she", "una"), ("she", "he", "cat"), ("doctor", "nurse", "dog"), ("cat", "dog", "he")]
    return [
        triple(
            f"e{at}", contexts[at % 9] + " away" * (at // 36), words[at // 9 % 4], category="religion" if at >= late else "race"
        )
        for at in range(count)
    ]


def test_every_example_is_in_the_table_and_a_context_that_is_there_twice_opens_its_own():
    """Defect 22: 100 of 2,123 examples were listed, one category had none of them, and examples were found by their context."""
    data = many_examples()
    room = Workspace(lambda job, _: model("GPT-2").trace(job.text), tasks=TASKS)
    room.pipeline.show(model("GPT-2").trace("the cat"))
    view = BenchmarkView(room)
    view.__panel__()
    view.benchmark.choices.benchmark = "stereoset"
    view.benchmark.take("dev.json", json.dumps({"data": {"intrasentence": data}}).encode())
    view.benchmark.run()
    while view.start.label == "Go on" and view.benchmark.can_run:  # a part ends after two seconds
        view.benchmark.run()
    assert list(view.table.value["Id"]) == [row["id"] for row in data]
    assert "religion" not in {row["bias_type"] for row in data[:100]}
    view.category.value = "religion"
    assert list(view.table.value["Id"]) == [row["id"] for row in data[110:]]
    view.category.value = "all"
    by_context = {row["context"]: row for row in data}
    opened = {}
    for at in (3, 12, 21, 30):  # one context, four examples
        view._clicked(SimpleNamespace(row=at))
        (own,) = (each["sentence"] for each in data[at]["sentences"] if each["gold_label"] == LABELS[0])
        assert room.trace.texts.text == own
        opened[at] = own
    assert len({data[at]["context"] for at in opened}) == 1
    assert len(set(opened.values())) == 4
    assert by_context[data[3]["context"]]["id"] == "e30"
