"""What the first Attention Atlas got wrong, done right: one test a numbered defect that has a counterpart here.

Those of benchmarks and audits of bias (16, 17, 18, 22) are in tests/bias/test_first_atlas_bias.py.

Most tests compute the defective number too, and hold that it is another one: a test that both would pass pins nothing.
"""

from __future__ import annotations

import base64
import functools
import json
import math
import re
import tempfile
import threading
from io import BytesIO, StringIO
from types import SimpleNamespace

import holoviews as hv
import numpy as np
import pandas as pd
import panel as pn
import pytest
from scipy.special import rel_entr

import atlas
from atlas.attribution import Target, agreement, attribute, head_effects
from atlas.bias import attention_bias, benchmark
from atlas.cli import DONE, main
from atlas.components.bar_list import BarList
from atlas.components.card import Card
from atlas.components.chips import Chips
from atlas.components.selection_chips import SelectionChips
from atlas.components.tab_bar import TabBar
from atlas.components.text_rows import TextRow, TextRows
from atlas.components.token_strip import TokenStrip
from atlas.definitions import DEFINITIONS
from atlas.engine.running.service import Service
from atlas.errors import UnknownName
from atlas.ids import HeadId
from atlas.metrics import METRICS, metrics_of
from atlas.metrics.clusters import cluster_heads
from atlas.state.agreement import AgreementLens
from atlas.state.asking import Asking
from atlas.state.attribution import AttributionLens
from atlas.state.corpora import Corpora, named
from atlas.state.detection import DetectionLens
from atlas.state.head_effects import HeadEffectsLens
from atlas.state.influence_tree import MOST_CHILDREN, MOST_ROWS, branches
from atlas.state.matrix import MatrixLens
from atlas.state.metric_cards import MetricCardsLens
from atlas.state.workspace import Workspace
from atlas.tasks import TASKS
from atlas.tracing.chance import BEYOND
from atlas.tracing.influence import graph, influence
from atlas.tracing.metric_cards import whole_metrics
from atlas.tracing.qkv import COSINE, SCALED, compared, vectors_of
from atlas.tracing.sentences import sentences
from atlas.tracing.steps import row_steps
from atlas.tracing.windows import rollout
from atlas.views.benchmark import BenchmarkView
from atlas.views.catalog import TABS
from atlas.views.corpus_heads import CorpusMapView
from atlas.views.files import KEY, MAKERS, files_of
from atlas.views.lines import LinesView
from atlas.views.matrix import MatrixView
from tests.attribution.own import eager, model, traced
from tests.bias.test_benchmarks import many
from tests.browser import browser, page, served
from tests.engine.families import BY_NAME, TEXT
from tests.metrics.planted import with_names
from tests.state.readers import DECODER, ENCODER, never, rows, single, workspace
from tests.views.test_findings import Desk

__all__ = ["browser", "page"]

SPEECH = "Women are too emotional to lead. The train left at nine."


@pytest.fixture(autouse=True)
def _bokeh():
    hv.extension("bokeh", logo=False)


def tokens(n):
    return [f"w{at}" for at in range(n)]


def even(n, kind, layers=2, heads=2):
    """Attention that spreads evenly over all it may see."""
    weights = np.tri(n) if kind == DECODER else np.ones((n, n))
    return np.tile(weights / weights.sum(1, keepdims=True), (layers, heads, 1, 1)).astype(np.float32)


def softmax(scores):
    powers = np.exp(scores - scores.max())
    return powers / powers.sum()


def all_heads(trace, kind, layer):
    """(query, key) products of the queries and keys of all heads of a layer together."""
    found = [vectors_of(trace, HeadId(kind, layer, head)) for head in range(trace.n_heads(kind))]
    return sum(each.query @ each.key.T for each in found)


def cosines(one, other):
    return (one / np.linalg.norm(one, axis=1, keepdims=True)) @ (other / np.linalg.norm(other, axis=1, keepdims=True)).T


# -- wrong numbers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "kind"), [("BERT", ENCODER), ("GPT-2", DECODER)])
def test_the_product_of_query_and_key_is_that_of_the_head_shown(name, kind):
    """Defect 1 of the first Attention Atlas: q·k was that of all heads together, whichever head was shown."""
    trace, query = traced(name), 9
    everything = all_heads(trace, kind, 1)[query]
    for head in (0, 3):
        row = row_steps(trace, HeadId(kind, 1, head), query)
        weights = trace.attention(kind, 1, head).to_numpy()[query, row.visible]
        np.testing.assert_allclose(softmax(row.steps["scaled"][row.visible]), weights, atol=1e-5)
        assert np.abs(softmax(everything[row.visible] * row.scaling) - weights).max() > 0.02
    first, last = (row_steps(trace, HeadId(kind, 1, head), query).steps["dot"] for head in (0, 3))
    assert np.abs(first - last).max() > 0.1


def test_queries_are_compared_with_keys_and_not_similarities_with_similarities():
    """Defect 2: 'alignment' was the product of two matrices of self-similarity, beyond 1 and far from q·k."""
    trace, head = traced("BERT"), HeadId(ENCODER, 1, 2)
    found = vectors_of(trace, head)
    cosine = cosines(found.query, found.key)
    np.testing.assert_allclose(compared(trace, head, COSINE), cosine, atol=1e-5)
    assert np.abs(compared(trace, head, COSINE)).max() <= 1 + 1e-6
    np.testing.assert_allclose(compared(trace, head, SCALED), found.query @ found.key.T / math.sqrt(8), rtol=1e-4, atol=1e-4)
    aligned = cosines(found.query, found.query) @ cosines(found.key, found.key).T
    assert np.abs(aligned).max() > 1
    assert (aligned.argmax(1) != cosine.argmax(1)).mean() > 0.5


def test_an_encoder_without_its_special_tokens_is_no_causal_model():
    """Defect 3: at word level [CLS] was dropped, BERT was then taken for causal, and even attention had Focus 1.415 of 1."""
    words = traced("BERT").word_attention(layer=1, head=2, special="drop").to_numpy()
    assert np.isfinite(words).all()
    assert words[np.triu_indices(len(words), 1)].min() > 0
    n = 12
    heads = metrics_of(even(n, ENCODER)[0][None], pd.DataFrame({"token": tokens(n), "special": False}))
    np.testing.assert_allclose(heads["entropy_norm"], 1, atol=1e-5)
    np.testing.assert_allclose(heads["entropy_norm"], heads["entropy_norm_uniform"], atol=1e-5)
    assert n * math.log(n) / math.lgamma(n + 1) > 1.4  # entropy over ln n!, as in a causal model


@pytest.mark.parametrize("n", [8, 12, 20, 40])
def test_an_even_causal_head_has_ratio_1_for_a_flagged_first_token(n):
    """Defect 4: the ratio of a head without preferences was 2.7 to 4.3 for the first token, and 0.1 for the last."""
    weights = even(n, DECODER)
    trace = atlas.from_attention(weights, tokens(n), kind=DECODER)
    for flagged in ([0], [1], [n - 1]):
        np.testing.assert_allclose(attention_bias(trace, flagged, permutations=49)["ratio"], 1, atol=1e-5)
    assert weights[0, 0].sum(0)[0] > 2.5  # attention received by the first token, as a multiple of the mean
    assert weights[0, 0].sum(0)[-1] < 0.2


def test_a_classifier_of_tokens_is_judged_by_its_own_labels_and_by_no_random_head():
    """Defect 5: a token classifier was loaded as a masked language model, whose head was then random, for the divergence."""
    detector = atlas.load("gus-mini")
    predictions = detector.trace(SPEECH).predictions()
    assert set(predictions["label"]) <= set(detector.hf.config.id2label.values())
    pd.testing.assert_frame_equal(predictions, atlas.load("gus-mini").trace(SPEECH).predictions())
    name, target, heads = "token labels", Target(3), [(ENCODER, 0, 1), (ENCODER, 2, 0)]
    found = head_effects(model(name), TEXT, target, heads=heads)

    def probabilities(*ablated):
        table = model(name).trace(TEXT, ablate=ablated).predictions(k=3)
        return table[table["position"] == 3].set_index("id")["probability"].sort_index()

    before, *after = (probabilities(), *map(probabilities, heads))
    for kl, changed in zip(found["kl"], after, strict=True):
        expected = rel_entr(before, changed).sum() + rel_entr(1 - before, 1 - changed).sum()
        assert kl == pytest.approx(expected, rel=1e-3, abs=1e-6)
    assert found["kl"].max() > 1e-4


def test_influence_goes_down_the_layers_is_bounded_and_never_shows_the_future():
    """Defect 6: the tree's depth was its breadth (9,331 nodes at 6), it reused one layer and held future tokens of weight 0."""
    weights = rows((6, 2, 48, 48), causal=True)
    trace = atlas.from_attention(weights, tokens(48), kind=DECODER)
    found = influence(trace, 40, "rollout", mass=1, most=50)
    assert found.edges.groupby("layer").size().max() <= 50
    assert sorted(found.edges["layer"].unique()) == list(range(6))  # an edge a layer, each of its own attention
    assert sorted(found.nodes["layer"].unique()) == list(range(7))
    assert (found.edges["from"] <= found.edges["to"]).all()
    assert (found.edges["share"] > 0).all()
    drawn = graph(trace, 40, "rollout", DECODER, 1.0)
    top = ((len(drawn.steps), 40),)
    opened = {top}
    for _ in range(4):  # whatever a reader opens
        tree = branches(drawn, 1.0, opened)
        opened |= {row.path for row in tree}
    assert len(tree) <= MOST_ROWS < 9_331
    assert all(row.node is None or row.node.token <= 40 for row in tree)
    children = [row for row in branches(drawn, 1.0, {top}) if len(row.path) == 2]
    assert [row.weaker for row in children] == [0] * MOST_CHILDREN + [41 - MOST_CHILDREN]  # the others are one leaf
    assert branches(drawn, 0.05, {top})  # one branch is a tree too


def test_agreement_is_over_words_with_signs_kept_and_specials_in_the_baseline():
    """Defect 7: [CLS] and [SEP] were compared too and replaced in the baseline, the sign was lost, and p stood alone."""
    trace = traced("BERT")
    found = attribute(model("BERT"), trace, Target(-3))
    special = trace.tokens()["special"].to_numpy(dtype=bool)
    assert special.sum() == 2
    assert (found.scores[special] == 0).all()
    assert found.scores.min() < 0 < found.scores.max()
    table = agreement(trace, found, permutations=99)
    assert (table["n"] == (~special).sum()).all()
    assert not np.allclose(table["rho"], agreement(trace, found, specials=True, permutations=99)["rho"], atol=0.02)
    assert not np.allclose(table["rho"], agreement(trace, found, signed=True, permutations=99)["rho"], atol=0.02)
    assert (table["lo"] <= table["rho"]).all()
    assert (table["rho"] <= table["hi"]).all()
    assert (table["q"] >= table["p"] - 1e-12).all()


def test_relevance_is_read_where_the_prediction_is():
    """Defect 8: relevance was read from the row of [CLS] although another position was explained."""
    trace = traced("BERT")
    found = attribute(model("BERT"), trace, Target(5), "gradient_rollout")
    relevance = np.eye(len(found.scores))
    for weights, gradients in eager("BERT", found.target)[ENCODER]:
        relevance = relevance + np.maximum(weights * gradients, 0).mean(0) @ relevance
    relevance -= np.eye(len(relevance))
    np.testing.assert_allclose(found.scores, relevance[5], rtol=2e-3, atol=2e-4)
    assert np.abs(found.scores - relevance[0]).max() > 1e-2


def test_gradients_change_no_class_that_others_use_and_wait_their_turn_at_the_model(monkeypatch):
    """Defect 9: relevance patched classes of transformers while other sessions used them."""
    expected = traced("BERT").attention().to_numpy()
    kinds = {type(module) for module in model("BERT").hf.modules()}
    methods = {kind: dict(vars(kind)) for kind in kinds}
    seen = []

    def in_mid_run(*_):
        other = threading.Thread(target=lambda: seen.append(model("BERT").trace(TEXT).attention().to_numpy()))
        other.start()
        other.join()
        assert {kind: dict(vars(kind)) for kind in kinds} == methods

    for method in ("integrated_gradients", "gradient_rollout", "occlusion"):
        attribute(model("BERT"), traced("BERT"), Target(-3), method, progress=in_mid_run)
    assert len(seen) > 2
    for weights in seen:
        np.testing.assert_array_equal(weights, expected)
    waits, real = {}, Asking.ask

    def ask(self, *given, needs_model, **how):
        waits[type(self._lens)] = needs_model
        return real(self, *given, needs_model=needs_model, **how)

    monkeypatch.setattr(Asking, "ask", ask)
    room = Workspace(never, tasks=TASKS)
    room.pipeline.show(traced("BERT"))
    room.lens(AttributionLens).shown()
    room.lens(AgreementLens).plane()
    room.lens(HeadEffectsLens).plane()
    assert waits == {AttributionLens: True, AgreementLens: True, HeadEffectsLens: True}


def test_thresholds_stay_as_the_reader_left_them():
    """Defect 10: every analysis put the thresholds back, and moving one of them changed the rule of all three."""
    room = Workspace(never, tasks=TASKS)
    room.pipeline.show(atlas.load("gus-mini").trace(SPEECH))
    lens = room.lens(DetectionLens)

    def flagged():
        found = lens.found()
        return {label: found.flagged[:, at].tolist() for at, label in enumerate(found.words.labels)}, found.words

    before, words = flagged()
    for at, label in enumerate(words.labels):  # the rule that is written beside the sliders
        assert before[label] == (words.probability[:, at] >= 0.5).tolist()
    room.thresholds.generalisation = 0.01
    after, _ = flagged()
    assert after["GEN"] != before["GEN"]
    assert (after["STEREO"], after["UNFAIR"]) == (before["STEREO"], before["UNFAIR"])
    room.pipeline.show(atlas.load("gus-mini").trace(SPEECH + " They lie."))
    assert [room.thresholds.generalisation, room.thresholds.stereotype, room.thresholds.unfairness] == [0.01, 0.5, 0.5]
    again, words = flagged()
    assert again["GEN"] == (words.probability[:, words.labels.index("GEN")] >= 0.01).tolist()


def test_the_median_of_a_causal_head_leaves_out_what_it_may_not_see():
    """Defect 11: the median of a causal model counted the zeros of the future, and so was 0 or near it."""
    trace = traced("GPT-2")
    weights = trace.attention().to_numpy()
    own = np.nanmedian(weights[..., 1:, :], axis=(2, 3))
    np.testing.assert_allclose(whole_metrics(trace, DECODER).median, own, atol=1e-6)
    np.testing.assert_allclose(trace.medians(), own, atol=1e-6)
    assert (np.median(np.nan_to_num(weights), axis=(2, 3)) < 0.8 * own).all()


def test_change_across_depth_and_long_range_do_not_hang_on_the_length():
    """Defect 12: flow change compared flattened matrices, long range was a mean weight, and both shrank with the text."""
    changes, means = [], []
    for n in (12, 48):
        back, here = np.eye(n, k=-6), np.eye(n)
        back[:6] = here[:6]
        recorded = np.stack([np.tile(here, (2, 1, 1)), np.tile(back, (2, 1, 1))]).astype(np.float32)
        trace = atlas.from_attention(recorded, tokens(n))
        changes.append(whole_metrics(trace, ENCODER, range(6, n)).change[0])
        # As many of the rows look six tokens back, whatever the length; their mean weight would shrink with it.
        np.testing.assert_allclose(trace.heads.query("layer == 1")["long_range"], (n - 6) / n, atol=1e-6)
        far = np.abs(np.subtract.outer(np.arange(n), np.arange(n))) >= 5
        means.append(back[far].mean())
        found = whole_metrics(atlas.from_attention(even(n, ENCODER), tokens(n)), ENCODER)
        np.testing.assert_allclose(found.change, found.change_uniform, atol=1e-6)
    np.testing.assert_allclose(changes, 1, atol=1e-6)  # every row looks elsewhere: 1 bit, whatever the length
    assert means[1] < 0.3 * means[0]
    assert atlas.from_attention(even(4, ENCODER), tokens(4)).heads["long_range"].isna().all()  # no two tokens are that far apart


def test_a_metric_stands_beside_its_value_for_even_attention_of_the_same_length():
    """Defect 13: metrics that shrink with the length were judged by fixed bands; now each has its own yardstick."""
    found = {}
    for n in (8, 64):
        trace = atlas.from_attention(even(n, DECODER), tokens(n), kind=DECODER)
        room = workspace(trace)
        for card in room.lens(MetricCardsLens).cards():
            values, uniform = np.asarray(card.values, float), np.asarray(card.uniform, float)
            np.testing.assert_allclose(values, np.broadcast_to(uniform, values.shape), atol=1e-5, err_msg=card.metric)
            found.setdefault(card.metric, []).append(float(values.ravel()[0]))
    for name in ("confidence_mean", "median", "uniformity"):
        assert found[name][1] < 0.7 * found[name][0], name  # the length alone does that
    assert all(f"{name}_uniform" in trace.heads.columns for name in METRICS)


def test_rollout_is_a_matrix_a_layer_and_no_heads_own():
    """Defect 14: rollout was offered as a reading of every head, all heads of a layer then had rank 0 and one value."""
    trace = traced("BERT")
    room = workspace(trace)
    lens = room.lens(MatrixLens)
    room.display.mode = "rollout"
    shown = []
    for head in (0, 3):
        room.selection.focus_on(HeadId(ENCODER, 1, head))
        shown.append(lens.plane().whole)
        assert lens.line == "rollout from the first layer to layer 1"
        assert lens.whose() == "to layer 1"
    np.testing.assert_array_equal(*shown)
    np.testing.assert_array_equal(shown[0], rollout(trace, ENCODER, 1))
    cards = {card.metric: np.asarray(card.values, float) for card in room.lens(MetricCardsLens).cards()}
    heads = trace.heads.query("layer == 1")
    assert heads["confidence_mean"].nunique() == len(heads)
    assert len(np.unique(cards["confidence_mean"])) == len(trace.heads)


@pytest.mark.parametrize("seed", [0, 1])
def test_even_noise_gets_no_names_of_clusters(seed):
    """Defect 15: seven columns of noise became six to eight 'Entity Specialists' and the like, and no silhouette was shown."""
    noise = np.random.default_rng(seed).random((144, 7))
    found = cluster_heads(with_names(dict(zip(METRICS, noise.T, strict=False))))
    assert all(name.startswith("unnamed") for name in found.names)
    assert "silhouette" in found.note


def test_every_number_is_explained_in_one_place():
    """Defect 19: two explanations of one threshold contradicted each other, and README had formulas of older versions."""
    views = [view for tab in TABS for view in tab.views]
    assert {name for view in views for name in view.defines} <= set(DEFINITIONS)
    # A help text says how to look at a view; a formula in it would be a second truth beside the definition.
    assert [view.key for view in views if re.search(r"[Σ∑√]|\b(?:ln|log|exp)\b", view.help)] == []
    limits = {limit for view in views for limit in re.findall(r"\bq ≤ ([\d.]+)", view.help)}
    assert limits == {f"{BEYOND:g}"}


# -- broken behaviour --------------------------------------------------------------------------------------------------


def test_a_saved_table_has_a_line_a_row():
    """Defect 20: lines of exported files were joined by a backslash and an n, so that each file was one line."""
    view = MatrixView(workspace(single()))
    sent = []
    head = view.__panel__().head
    head._send_msg = sent.append
    head._handle_msg({"export": "csv"})
    table, text = view.export().table, base64.b64decode(sent[0]["files"][0]["data"]).decode()
    assert len(text.splitlines()) == len(table) + 1
    assert pd.read_csv(StringIO(text)).shape[0] == len(table)


def test_a_metric_that_no_text_has_is_unknown_and_the_run_ends(tmp_path, capsys):
    """Defect 21: a batch of GPT-2 ended in an error after its last text, because no text had a [CLS] whose mass to average."""
    texts, out = tmp_path / "texts.txt", tmp_path / "out"
    texts.write_text(f"{TEXT}\nthe cat ran\nhello .", encoding="utf-8")
    assert main(["corpus", "gpt-mini", str(texts), "-o", str(out), "-q", "--workers", "0"]) == DONE
    printed = capsys.readouterr().out
    assert "most previous" in printed
    assert "most balance" not in printed
    found = atlas.open(out)
    assert (found.heads["n"] == 3).all()
    assert found.heads["entropy_norm"].notna().all()
    assert found.heads["balance"].isna().all()
    assert (found.heads["balance_n"] == 0).all()
    room = Workspace(never, corpora=Corpora(opened=named([found])))
    room.pipeline.show(atlas.load("gpt-mini").trace("the cat ran", capture=()))
    room.display.metric = "balance"
    view = CorpusMapView(room)
    view.__panel__()
    assert np.isnan(view.plane.plane().whole).all()
    assert (view.problem, view.faults.note) == ("", "")


def test_a_file_holds_the_numbers_and_the_name_of_the_model_on_screen():
    """Defect 23: the attention of an example was saved under the name of GPT-2 or BERT large, with the numbers of BERT base."""
    pairs = many(4)
    embedded = functools.cache(atlas.load)
    room = Workspace(lambda job, _: embedded(job.model[0]).trace(job.text), tasks=TASKS)
    matrix, benchmarked = MatrixView(room), BenchmarkView(room)
    room.pipeline.input.text = "the cat ran"
    for at, name in enumerate(("bert-mini", "gpt-mini", "bert-mini")):
        room.pipeline.choose(name)
        room.pipeline.run()
        for view in (matrix, benchmarked):
            view.__panel__()
        if not at:
            benchmarked.benchmark.choices.benchmark = "pairs"
            benchmarked.benchmark.take("mine.json", json.dumps(pairs).encode())
        benchmarked.benchmark.run()
        benchmarked._clicked(SimpleNamespace(row=2))
        own, head = embedded(name), room.selection.focus
        weights = own.trace(pairs[2]["more"], capture=()).attention(head.kind, head.layer, head.head).to_numpy()
        scores = benchmark(own, "pairs", pairs).examples["more_score"]
        for view, numbers in ((matrix, weights), (benchmarked, scores)):
            table, about = files_of(view, "csv")
            assert json.loads(about.data)["notes"][0][KEY]["model"] == name
            saved = pd.read_csv(BytesIO(table.data), index_col=0 if view is matrix else None)
            saved = saved if view is matrix else saved["more_score"]
            np.testing.assert_allclose(saved.to_numpy(), numbers, rtol=1e-5)


@functools.cache
def of_two_layers():
    """GPT-2 as the others, without its last layer."""
    hf = BY_NAME["GPT-2"].model()
    hf.transformer.h = hf.transformer.h[:2]
    hf.config.n_layer = 2
    return atlas.load((hf, BY_NAME["GPT-2"].tokenizer()))


def test_a_focus_on_a_layer_that_side_b_lacks_leaves_every_card_standing():
    """Defect 24: with fewer layers on side B its cards broke, because they looked for the layer of side A there."""
    text = "All women are bad drivers, said the old man."
    room = Workspace(never, tasks=TASKS)
    room.pipeline.show(model("GPT-2").trace(text))
    room.second.show(of_two_layers().trace(text))
    views = {view.key: view(room) for tab in TABS if tab.key == "compare" for view in tab.views}
    for view in views.values():
        view.__panel__()
    room.selection.pick(HeadId(DECODER, 2, 1), origin="test")
    problems = {key: view.problem for key, view in views.items() if view.problem}
    assert list(problems) == ["compare_matrix"]
    assert problems["compare_matrix"].startswith("None of these heads has a partner on the second side, which has fewer heads.")
    assert views["compare_matrix"].lens.line == ""
    for key, view in views.items():
        if key not in problems:
            assert len(view.export().table)
    for key in ("compare", "compare_heads", "compare_groups", "compare_metrics", "compare_agreement"):
        assert "4 heads without partner" in views[key].lens.line
    np.testing.assert_array_equal(views["compare_heads"].plane.plane().whole, [[0] * 4, [0] * 4, [np.nan] * 4])
    room.selection.select_heads([HeadId(DECODER, 1, 3), HeadId(DECODER, 2, 1)], origin="test")
    assert views["compare_matrix"].problem == ""
    assert "1 without partner" in views["compare_matrix"].lens.line
    with pytest.raises(UnknownName):
        room.second.trace.attention(layer=2)


def test_an_empty_text_leaves_what_is_on_screen_and_says_what_to_do():
    """Defect 25: an empty text wiped the results, and a run that failed said nothing."""
    room = Workspace(Service(lambda *_, **__: model("BERT")).run)
    room.pipeline.show(traced("BERT"))
    for text, said in (("", "The text is empty"), (" \n ", "nothing but white space"), ("cat " * 90, "Shorten it")):
        room.pipeline.input.text = text
        room.pipeline.run()
        assert (room.pipeline.status, room.pipeline.trace) == ("failed", traced("BERT"))
        assert said in room.pipeline.error


def test_sentences_are_those_of_the_characters_also_of_a_pair_and_no_text_becomes_a_pair():
    """Defect 26: two sentences were encoded as a pair, whose offsets then did not fit, and another tab had other tokens."""
    text, pair = "The cat ran. The dog ran.", "She was tired."
    one, two = (model("BERT").trace(text, second, keep="weights", capture=()) for second in (None, pair))
    assert one.tokens()["token"].tolist().count("[SEP]") == 1
    assert one.tokens()["segment"].max() == 0
    table = two.tokens()
    for row in table[~table["special"]].itertuples():
        part = (text, pair)[row.segment]
        assert part[row.start : row.end] == row.token
        assert row.sentence == row.segment * 2 + part[: row.start].count(".")
    found = sentences(two, two.head_ids)
    assert found.rows == ("1: The cat ran.", "2: The dog ran.", "3: She was tired.")


def test_findings_are_their_readers_own_and_on_no_disk_of_the_server(monkeypatch, tmp_path):
    """Defect 27: the notebook was a file of the server, in which every visitor read and deleted; exports stayed there as well."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    ada, bob = Desk(), Desk()
    ada.card.head._handle_msg("pin")
    key = ada.found[0].key
    ada.ask("edit", key=key, name="hypothesis", value="Ada's own words.")
    bob.ask("restore", key=key)
    bob.ask("remove", key=key)
    bob.ask("export", ending="json")
    assert "Ada's own words." in ada.book.kept  # which her browser keeps
    assert (bob.found, bob.book.kept) == ((), "")
    assert "Ada" not in json.dumps(bob.sent)
    for ending in ("json", "md"):
        ada.ask("export", ending=ending)
    for ending in MAKERS:
        ada.card.head._handle_msg({"export": ending})
    assert "Ada's own words." in json.dumps(ada.sent)
    assert (
        len([each for message in ada.sent for each in message.get("files", ())]) == len(MAKERS) + 1
    )  # and a stamp beside the CSV
    assert list(tmp_path.rglob("*")) == []


FOCUSED = """() => {
  let at = document.activeElement
  const around = [...at.classList]
  while (at.shadowRoot?.activeElement) {
    at = at.shadowRoot.activeElement
    around.push(...at.classList)
  }
  const name = at.getAttribute("aria-label") ?? (at.textContent || at.title)
  return {around, role: at.getAttribute("role") ?? at.tagName.toLowerCase(), name: name.trim()}
}"""
"""Which element has the focus, through all shadow roots."""


@pytest.mark.ui
def test_the_keyboard_reaches_every_component_and_each_stop_has_a_role_and_a_name(page):
    """Defect 28: nothing but the notebook had names for those who do not see it, and no picture could be reached by keyboard."""
    lines = LinesView(workspace(single()))
    lines.__panel__()
    chips = [{"key": "NOUN", "label": "NOUN", "count": 3}]
    bars = [{"key": "1", "label": "him", "shares": [0.5], "number": "50 %"}]
    parts = {
        "tabs": TabBar(tabs=[{"key": "explore", "title": "Explore"}], active="explore"),
        "strip": TokenStrip(tokens=[{"position": 0, "text": "cat"}, {"position": 1, "text": "ran"}], label="The text"),
        "selected": SelectionChips(heads="L1 H2"),
        "card": Card("Which heads look alike?", pn.Spacer(height=20), title="Heads", help="Each dot is a head."),
        "chips": Chips(groups=[{"name": "Part of speech", "chips": chips}]),
        "bars": BarList(groups=[{"name": "After 'gave' (1)", "rows": bars}]),
        "texts": TextRows(rows=[TextRow("0", "1", "the cat ran")], label="Recent texts"),
        "lines": lines.plot,
    }
    column = pn.Column(*(pn.Column(part, css_classes=[f"part-{name}"]) for name, part in parts.items()), width=700)
    served(page, column, ".token")
    stops, missing = [], set(parts)
    for _ in range(40):
        page.keyboard.press("Tab")
        stop = page.evaluate(FOCUSED)
        stops.append(stop)
        missing -= {name for name in missing if f"part-{name}" in stop["around"]}
        if not missing:
            break
    assert missing == set(), stops
    assert [stop for stop in stops if not stop["name"] or stop["role"] in {"div", "span", "canvas", "body"}] == []
