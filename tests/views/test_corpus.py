"""The tab of corpora: every number on screen is one of the corpus, and gestures select heads."""

from __future__ import annotations

import functools

import holoviews as hv
import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_rand_score, silhouette_score
from sklearn.preprocessing import StandardScaler

from atlas.ids import HeadId
from atlas.metrics.layouts import tsne
from atlas.numbers import component
from atlas.plots.heads import point_columns
from atlas.state.corpora import Corpora, named
from atlas.state.head_page import HeadPageLens
from atlas.state.heads import title_of
from atlas.state.workspace import Workspace
from atlas.views.catalog import TABS
from atlas.views.corpus_heads import CorpusCloudView, CorpusMapView, CorpusProfileView, CorpusTableView
from atlas.views.drift import DriftView
from atlas.views.finder import FinderView
from atlas.views.head_page import HeadPageView
from atlas.views.table import CHANCE, VALUE
from atlas.views.tabs import Tabs
from tests.engine.families import loaded
from tests.state.readers import never
from tests.tracing.corpora import METRICS, TEXTS, corpus, of_head, plain_mean, values


@pytest.fixture(autouse=True)
def _bokeh():
    hv.extension("bokeh", logo=False)


HEADS = [HeadId("decoder", layer, head) for layer in range(3) for head in range(4)]

PREVIOUS, INDUCTION = HEADS[6], HEADS[9]
"""Heads that do something."""

KINDS = (("decoder", 3, 4),)


@functools.cache
def trace():
    return loaded("GPT-2").trace("the doctor said that she ran", keep="weights", capture=())


@functools.cache
def numbers(seed=0):
    made = values(60, heads=12, seed=seed)
    made[:, 6, METRICS.index("previous")] = np.clip(made[:, 6, METRICS.index("previous")] + 0.6, 0, 1)
    made[:, 9, METRICS.index("induction")] = 0.3 + made[:, 9, METRICS.index("induction")] / 10
    return made


def made_corpus(seed=0, **more):
    return corpus(numbers(seed), kinds=KINDS, **({"model": trace().provenance["model"], "where": "/somewhere/stories"} | more))


def room(*corpora):
    """A workspace with a trace on screen and corpora."""
    made = Workspace(never, corpora=Corpora(opened=named(corpora)))
    made.pipeline.show(trace())
    return made


def on(view_type, *corpora, focus=PREVIOUS):
    space = room(*(corpora or (made_corpus(),)))
    space.selection.focus_on(focus)
    return view_type(space), space


# -- the head page -----------------------------------------------------------------------------------------------------


def test_the_head_page_says_what_is_earned_and_only_that():
    view, space = on(HeadPageView)
    mean = plain_mean(numbers(), 6, "previous")
    row = of_head(made_corpus().heads, PREVIOUS).iloc[0]
    excess = (mean - 0.15) / 0.85
    words = view.page.words()
    assert words.startswith(
        f"Previous token: {mean:.3g} of its attention (95 % interval {row['previous_lo']:.3g} to "
        f"{row['previous_hi']:.3g}, 60 texts), where even attention gives 0.15: {excess:.3g} of the way from chance to everything"
    )
    assert "1st of 12 heads." in words
    assert view.lens.line == "L1 H2 over 60 texts of stories"
    assert f"It looks {plain_mean(numbers(), 6, 'distance'):.3g} tokens away" in words
    space.selection.focus_on(INDUCTION)
    words = view.page.words()
    assert words.startswith("It has earned no role: none has its whole interval more than half of the way")
    assert "\nMore than chance gives, but too little for a role: " in words
    assert f"{plain_mean(numbers(), 9, 'induction'):.3g} (chance 0.15)" in words


def test_the_metrics_of_a_head_are_read_once_a_gesture(monkeypatch):
    view, space = on(HeadPageView)
    view.body()
    own, read = HeadPageLens._spreads, []
    monkeypatch.setattr(HeadPageLens, "_spreads", lambda lens: read.append(lens.head) or own(lens))
    space.selection.focus_on(INDUCTION)
    assert [row.mean for row in view.rows()] == [row.mean for row in own(view.page)]
    view._drawn_spreads()
    assert read == [INDUCTION]


def test_the_numbers_of_the_head_page_are_those_of_the_corpus(monkeypatch):
    view, _ = on(HeadPageView)
    held = made_corpus()
    own = of_head(held.heads, PREVIOUS).iloc[0]
    for row in view.page.spreads():
        five = of_head(held.quantiles(row.metric), PREVIOUS).iloc[0]
        assert (row.mean, row.lo, row.hi, row.uniform, row.n) == tuple(
            own[f"{row.metric}{end}"] for end in ("", "_lo", "_hi", "_uniform", "_n")
        )
        assert row.quantiles == tuple(five[name] for name in ("q05", "q25", "q50", "q75", "q95"))
        exact = np.quantile(numbers()[:, 6, METRICS.index(row.metric)], 0.5, method="inverted_cdf")
        assert abs(row.quantiles[2] - exact) <= five["error"] + 1e-12
    assert {row.metric for row in view.page.spreads()} == set(METRICS) - {"distance"}
    drawn = view._drawn_spreads()
    points = next(part for part in drawn if isinstance(part, hv.Points))
    np.testing.assert_array_equal(points.dimension_values("x"), [row.mean for row in view.page.spreads()])
    view.body()
    figures = [hv.render(pane.object) for pane in (view._spreads, view._away)]
    assert figures[0].left[0].major_label_overrides[0] == "Previous token"
    assert list(figures[1].below[0].major_label_overrides.values()) == ["−7 to −3", "−2", "−1", "0"]
    away = of_head(held.distances, PREVIOUS)
    bars = next(part for part in view._drawn_distances() if isinstance(part, hv.Rectangles))
    np.testing.assert_array_equal(bars.dimension_values("y1"), away["mass"])
    assert list(view.page.distances()["name"]) == ["−7 to −3", "−2", "−1", "0"]
    view.body()
    assert view.distances.visible
    monkeypatch.setattr(HeadPageLens, "_distances", lambda _: away.assign(name="", mass=np.nan))
    view.lens.workspace.selection.focus_on(INDUCTION)
    view._draw()
    assert not view.distances.visible
    monkeypatch.undo()
    view.lens.workspace.selection.focus_on(PREVIOUS)
    view._draw()
    assert view.distances.visible
    tokens = of_head(held.tokens, PREVIOUS)
    for side, group in zip(("query", "key"), view.tokens.groups, strict=True):
        top = tokens[tokens["side"] == side].sort_values("mass", ascending=False)
        each = top["mass"] / top["count"]
        assert [row["shares"][0] for row in group["rows"]] == list(top["mass"] / top["mass"].max())
        assert [row["number"] for row in group["rows"]] == [f"{value:.3g}" for value in each]
        assert [row["note"] for row in group["rows"]] == [
            f"{mass:.3g} in {count:,}" for mass, count in zip(top["mass"], top["count"], strict=True)
        ]
    assert {"the", "doctor", "ran", ".", "<b>"} == {row["label"] for row in view.tokens.groups[0]["rows"]}


def test_examples_are_those_of_the_corpus_and_one_opens_with_its_head_in_focus():
    view, space = on(HeadPageView)
    held, runs = made_corpus(), []
    view.body()
    assert view.metric.value == "previous"
    expected = of_head(held.exemplars, PREVIOUS)
    expected = expected[expected["metric"] == "previous"].set_index("decile").loc[[-1, 9, 4, 0]]
    (group,) = view.examples.groups
    assert [row["number"] for row in group["rows"]] == [f"{value:.3g}" for value in expected["value"]]
    assert [row["label"] for row in group["rows"]] == list(expected["text"])
    assert [row["note"].partition(" · ")[0] for row in group["rows"]] == [
        "the highest of all", "tenth 10 of 10", "tenth 5 of 10", "tenth 1 of 10",
    ]  # fmt: skip
    edges = held.edges(int(group["rows"][0]["key"])).edges.sort_values("weight", ascending=False)
    strongest = edges.iloc[1]  # the first row sees one key, which says nothing of the head
    assert f"{strongest['query_token']} → {strongest['key_token']} {strongest['weight']:.2f}" in group["rows"][0]["note"]
    view.metric.value = "induction"
    assert space.choices_of("corpus").exemplars == "induction"
    assert view.examples.groups[0]["name"].startswith("Examples of ")
    space.pipeline.run = lambda: runs.append(space.pipeline.input.text)
    row = view.examples.groups[0]["rows"][1]
    view._pressed({"key": row["key"], "shift": False, "control": False})
    assert runs == [row["label"]]
    assert runs[0] in TEXTS
    assert space.selection.focus == PREVIOUS


def test_without_a_corpus_the_tab_says_how_one_is_made_and_offers_nothing_else():
    (tab,) = (tab for tab in TABS if tab.key == "corpus")
    other = made_corpus(model="another", where="/somewhere/another")
    space = room(other)
    space.display.tab = "corpus"
    tabs = Tabs(space, [tab])
    tabs.__panel__()
    page, *others = tabs.made()
    measured, *others = others
    assert (measured.key, measured.unfit) == ("corpus_run", "")
    assert all("no corpus of this model is open here" in view.unfit for view in others)
    assert page.unfit == ""
    page.body()
    model = trace().provenance["model"]
    assert f"`atlas corpus {model} FILES -o FOLDER`" in page.problem
    assert not page.results.visible
    space.corpora.opened = named([other, made_corpus()])
    assert not any(view.unfit for view in tabs.made())
    assert page.problem == ""
    assert page.results.visible
    assert page.corpus.options == ["stories"]


def test_a_corpus_is_chosen_by_its_name_and_by_no_other_string():
    view, space = on(HeadPageView, made_corpus(), made_corpus(seed=1), made_corpus(where="/else/drafts/"))
    assert view.corpus.options == ["stories", "stories (2)", "drafts"]
    before = view.page.spreads()
    view.corpus.value = "stories (2)"
    assert space.choices_of("corpus").corpus == "stories (2)"
    assert view.page.spreads()[0].mean != before[0].mean
    space.choices_of("corpus").corpus = "/etc/passwd"
    assert view.page.spreads() == before
    assert view.corpus.value == "stories"


# -- all heads ---------------------------------------------------------------------------------------------------------


def test_the_table_has_means_with_intervals_and_ticks_are_the_selection():
    view, space = on(CorpusTableView)
    space.display.metric = "previous"
    view.body()
    held = made_corpus().heads.sort_values("previous", ascending=False, kind="stable")
    shown = view.table.value
    for title, end in ((VALUE, ""), ("95 % from", "_lo"), ("95 % to", "_hi"), (CHANCE, "_uniform"), ("Texts", "_n")):
        np.testing.assert_array_equal(shown[title], held[f"previous{end}"])
    assert shown["Head"].iloc[0] == "L1 H2"
    assert shown["Role"].iloc[0] == "previous token"
    assert "Cluster" not in shown
    view.table.selection = [0, 2]
    rows = held.iloc[[0, 2]]
    assert space.selection.heads == {HeadId("decoder", *ids) for ids in zip(rows["layer"], rows["head"], strict=True)}
    space.selection.select_heads([HEADS[9]])
    (row,) = view.table.selection
    assert shown["Head"].iloc[row] == "L2 H1"


def test_the_map_has_one_number_of_every_head_and_a_click_selects_one():
    view, space = on(CorpusMapView)
    space.display.metric = "previous"
    held = made_corpus().heads
    np.testing.assert_array_equal(view.plane.plane().whole, held["previous"].to_numpy().reshape(3, 4))
    cell = view.plane.cell(1, 2)
    own = of_head(held, PREVIOUS).iloc[0]
    assert cell == {
        "row": "L1 H2", "value": own["previous"], "from": own["previous_lo"], "to": own["previous_hi"], "texts": 60,
        "by chance": own["previous_uniform"],
    }  # fmt: skip
    view.tap(0.3, 0.9)
    assert space.selection.heads == {HeadId("decoder", 2, 1)}
    assert view.plane.marked().cells == {(2, 1)}
    space.display.metric = "selected"
    assert np.isnan(view.plane.plane().whole).all()


def test_depth_is_drawn_from_the_corpus():
    view, space = on(CorpusProfileView)
    space.display.metric = "previous"
    table, metric = view.data()
    np.testing.assert_array_equal(table[metric], made_corpus().heads["previous"])
    view._tapped(1.2, 0.5)
    assert space.selection.heads == set(HEADS[4:8])


# -- the cloud ---------------------------------------------------------------------------------------------------------

TOLD_APART = {"entropy_norm": (0.4, 0.8, 0.03), "previous": (0.8, 0.15, 0.01), "first_key": (0.15, 0.75, 0.03)}
"""Metrics in which the heads of `grouped` differ: of the first half, of the second half, within each."""


def grouped(heads=12):
    """Numbers of heads that do the same but for three metrics: half of them look at the previous token, half at the first."""
    draw = np.random.default_rng(1)
    level = np.full((heads, len(METRICS)), 0.2)
    half = np.arange(heads) < heads // 2
    for metric, (one, other, spread) in TOLD_APART.items():
        level[:, METRICS.index(metric)] = np.where(half, one, other) + spread * draw.standard_normal(heads)
    return np.clip(level + 0.01 * draw.standard_normal((60, heads, len(METRICS))), 0, 1)


def test_the_cloud_stands_where_sklearn_puts_the_means_and_has_its_clusters():
    held = corpus(grouped(), kinds=KINDS, model=trace().provenance["model"], where="/somewhere/stories")
    view, space = on(CorpusCloudView, held)
    view.body()
    means = grouped().mean(0)[:, [METRICS.index(name) for name in TOLD_APART]]
    values = StandardScaler().fit_transform(means)
    fitted = PCA(2).fit(values)
    upwards = np.sign(fitted.components_[[0, 1], np.abs(fitted.components_).argmax(1)])
    points = view.heads.points()
    np.testing.assert_allclose(points[["x", "y"]], fitted.transform(values) * upwards, atol=1e-9)
    assert view.heads.axes()[0] == component(1, fitted.explained_variance_ratio_[0])
    assert view.lens.line == "12 heads, means over 60 texts of stories; a text counts once"
    labels = {k: KMeans(k, n_init=10, random_state=0).fit(values).labels_ for k in range(2, 9)}
    scores = {k: silhouette_score(values, found) for k, found in labels.items()}
    assert max(scores, key=scores.get) == 2
    assert adjusted_rand_score(labels[2], points["category"]) == 1
    assert set(points["category"][:6]) == {"previous token"}
    assert f"2 clusters, mean silhouette {scores[2]:.2f}" in view._note()
    space.display.layout = "tsne"
    np.testing.assert_array_equal(view.heads.points()[["x", "y"]], tsne(held.heads))
    # Heads without groups are one cluster, and it has no name.
    space.corpora.opened = named([made_corpus()])
    assert set(view.heads.points()["category"]) == {"unnamed"}
    assert "No clusters" in view._note()
    assert view.export().name == "corpus_cloud"


def test_the_hover_of_the_cloud_has_means_with_intervals():
    view, space = on(CorpusCloudView)
    space.display.param.update(layout="metrics", x="previous", y="induction", colour="role", size="selected")
    own = of_head(made_corpus().heads, PREVIOUS).iloc[0]
    points = view.heads.points()
    np.testing.assert_array_equal(points[["x", "y"]], made_corpus().heads[["previous", "induction"]])
    said = {
        metric: f"{own[metric]:.3g} (95 % interval {own[f'{metric}_lo']:.3g} to {own[f'{metric}_hi']:.3g}, 60 texts)"
        for metric in ("previous", "induction")
    }
    assert point_columns(points, **view.config())["about"][6].split("\n") == [
        f"Previous token: {said['previous']}", f"{title_of('induction')}: {said['induction']}", "role: previous token",
    ]  # fmt: skip
    space.display.layout = "pca"
    assert point_columns(view.heads.points(), **view.config())["about"][6].endswith(
        f"role: previous token\nPrevious token: {said['previous']}"
    )
    space.display.colour = "selected"
    assert view.heads.points()["value"].isna().all()
    space.display.param.update(layout="metrics", x="selected")
    assert "Weight on selected keys is not known of any head over this corpus." in view._note()


def test_the_cloud_and_the_selection_say_the_same():
    view, space = on(CorpusCloudView)
    view.body()
    before = view.heads.points()[["x", "y"]]
    view._picked([1, 6])
    assert space.selection.heads == {HEADS[1], HEADS[6]}
    assert list(np.flatnonzero(view.heads.points()["selected"])) == [1, 6]
    space.selection.pick(HEADS[9])
    assert list(np.flatnonzero(view.heads.marked()["focus"])) == [9]
    space.selection.select_tokens((1, 2))
    np.testing.assert_array_equal(view.heads.points()[["x", "y"]], before)
    view._pressed({"key": "role:previous token", "additive": False})
    assert space.selection.heads == {PREVIOUS}
    assert space.selection.label == "role 'previous token'"


def test_the_cloud_is_of_the_kind_on_screen():
    of = loaded("T5").trace("the doctor said that she ran", target="she ran", keep="weights", capture=())
    sizes = tuple((kind, of.n_layers(kind), of.n_heads(kind)) for kind in of.kinds)
    made = values(20, heads=sum(layers * heads for _, layers, heads in sizes))
    held = corpus(made, kinds=sizes, model=of.provenance["model"], where="/a/b")
    space = Workspace(never, corpora=Corpora(opened=named([held])))
    space.pipeline.show(of)
    view, first = CorpusCloudView(space), 0
    space.display.param.update(layout="metrics", x="previous", y="next")
    for kind, layers, heads in sizes:
        space.selection.show_kind(kind)
        points = view.heads.points()
        assert set(points["kind"]) == {kind}
        shown = made[:, first : first + layers * heads].mean(0)
        np.testing.assert_allclose(points["x"], shown[:, METRICS.index("previous")])
        view._picked([0])
        assert space.selection.heads_of(kind) == (HeadId(kind, 0, 0),)
        first += layers * heads
    assert [kind for kind, *_ in sizes] == ["encoder", "decoder", "cross"]


# -- the finder --------------------------------------------------------------------------------------------------------


def test_the_finder_selects_the_heads_that_meet_conditions():
    view, space = on(FinderView)
    view.body()
    held = made_corpus().heads
    view.conditions.value = "previous > 0.5 or distance < 2"
    expected = held[(held["previous"] > 0.5) | (held["distance"] < 2)]
    heads = {HeadId("decoder", *ids) for ids in zip(expected["layer"], expected["head"], strict=True)}
    assert 0 < len(heads) < 12
    assert space.selection.heads == heads
    assert space.selection.label == "previous > 0.5 or distance < 2"
    assert view.finder.said() == f"{len(heads)} of 12 heads meet this."
    found = view.bars.groups[0]
    first = expected.iloc[0]
    assert found["rows"][0]["note"] == f"previous {first['previous']:.3g} · distance {first['distance']:.3g}"
    assert len(view.export().table) == len(heads)
    view.conditions.value = "prevous > 0.5"
    assert "Is 'previous' meant?" in view.finder.said()
    assert space.selection.heads == heads
    space.selection.clear("heads")
    view.conditions.value = "previous > 0.5"
    view._pressed({"key": "found", "shift": False, "control": False})
    assert space.selection.heads == {PREVIOUS}


def test_the_nearest_heads_are_those_with_the_most_alike_figures_in_all_corpora():
    twin = numbers().copy()
    twin[:, 2] = twin[:, 6] + 0.001
    own = corpus(twin, kinds=KINDS, model=trace().provenance["model"], where="/a/stories")
    other = made_corpus(seed=3, model="another", where="/a/another")
    view, space = on(FinderView, own, other)
    view.body()
    group = view.bars.groups[-1]
    assert group["name"] == "Most like L1 H2, by all figures"
    assert group["rows"][0]["label"] == "L0 H2"
    elsewhere = [row for row in group["rows"] if row["note"] == "of another (another)"]
    assert elsewhere[0]["label"] == "L1 H2"
    assert "key" not in elsewhere[0]
    every = np.concatenate([each.heads[list(METRICS)].to_numpy() for each in (own, other)])
    scaled = (every - every.mean(0)) / every.std(0)
    distance = np.sqrt(((scaled - scaled[6]) ** 2).mean(1))
    assert [row["number"] for row in group["rows"]] == [f"{value:.3g}" for value in np.sort(distance)[1:9]]
    view._pressed({"key": group["rows"][0]["key"], "shift": False, "control": False})
    assert space.selection.heads == {HEADS[2]}


# -- drift -------------------------------------------------------------------------------------------------------------


def test_drift_is_drawn_as_effects_and_is_offered_for_two_corpora_of_one_shape():
    assert DriftView.offered(room(made_corpus())).startswith("a second corpus")
    after = numbers(seed=1).copy()
    after[:, 9, METRICS.index("induction")] += 0.02
    other = corpus(after, kinds=KINDS, model="tuned", where="/somewhere/tuned")
    view, space = on(DriftView, made_corpus(), other)
    assert DriftView.offered(space) == ""
    space.display.metric = "induction"
    first, second = (each[:, :, METRICS.index("induction")] for each in (numbers(), after))
    pooled = np.sqrt((first.var(0, ddof=1) + second.var(0, ddof=1)) / 2)
    effect = (second.mean(0) - first.mean(0)) / pooled
    np.testing.assert_allclose(view.plane.plane().whole, effect.reshape(3, 4), rtol=1e-9)
    model = trace().provenance["model"]
    assert view.drift.line == (
        f"Induction in tuned (tuned) minus stories ({model}), in standard deviations between texts: 1 head of 12 differs "
        "(q ≤ 0.05)"
    )
    assert view.drift.said().startswith("Drift in 1 of 12 heads (L2 H1)")
    cell = view.plane.cell(2, 1)
    assert (cell["first"], cell["second"]) == (pytest.approx(first[:, 9].mean()), pytest.approx(second[:, 9].mean()))
    view._pane()
    assert len(view.export().table) == 12 * len(METRICS)
    assert view.other.options == ["tuned"]
    space.display.metric = "selected"
    assert "not known over both corpora" in (view.plane.plane() and view.drift.problem)


def test_drift_is_held_against_a_corpus_of_the_same_model_where_there_is_one():
    first, other, again = (
        made_corpus(),
        made_corpus(seed=2, model="tuned", where="/b/tuned"),
        made_corpus(seed=3, where="/c/again"),
    )
    view, _ = on(DriftView, first, other, again)
    assert view.other.options == ["again", "tuned"]
    assert view.other.value == "again"
    view.plane.plane()
    assert " in again minus stories, " in view.drift.line
