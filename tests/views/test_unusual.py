"""A text beside a corpus: its figures are those of the trace and of the corpus, and gestures select heads."""

from __future__ import annotations

import functools

import holoviews as hv
import numpy as np
import pytest

import atlas
from atlas.corpus import Settings
from atlas.ids import HeadId
from atlas.metrics.drift import corrected
from atlas.state.corpora import Corpora, named
from atlas.state.workspace import Workspace
from atlas.text.sample import sample_texts
from atlas.tracing.unusual import LEVEL, unusual
from atlas.views.catalog import TABS
from atlas.views.unusual import UnusualView
from tests.state.readers import never
from tests.tracing.corpora import METRICS, corpus, values
from tests.views.test_corpus import PREVIOUS, made_corpus, numbers, trace


@pytest.fixture(autouse=True)
def _bokeh():
    hv.extension("bokeh", logo=False)


def on(*corpora, of=None):
    space = Workspace(never, corpora=Corpora(opened=named(corpora or (made_corpus(),))))
    space.pipeline.show(of or trace())
    return UnusualView(space), space


def test_the_plane_is_the_distance_from_the_mean_in_spreads_of_the_texts():
    view, space = on()
    space.display.metric = "previous"
    held = numbers()[:, :, METRICS.index("previous")]
    here = trace().heads["previous"].to_numpy()
    np.testing.assert_allclose(view.plane.plane().whole.ravel(), (here - held.mean(0)) / held.std(0, ddof=1), rtol=1e-9)
    cell = view.plane.cell(1, 2)
    assert cell["here"] == here[6]
    assert cell["mean over texts"] == pytest.approx(held[:, 6].mean())
    assert cell["by chance here"] == trace().heads["previous_uniform"].to_numpy()[6]
    table = unusual(trace(), made_corpus()).of("previous")
    np.testing.assert_array_equal(table["q"], corrected(table["p"]))
    assert cell["q"] == table["q"][6]
    n = int((table["q"] <= LEVEL).sum())
    assert view.lens.line.startswith("Previous token on this text beside 60 texts of stories: ")
    assert f" {n} head" in view.lens.line
    assert view.dotted() == {divmod(int(at), 4) for at in np.flatnonzero(table["q"] <= LEVEL)}


@functools.cache
def real(name):
    return atlas.load(name)


@pytest.mark.parametrize("name", ["gpt-mini", "bert-mini", "t5-mini"])
def test_a_text_of_the_corpus_has_the_figures_that_the_corpus_counted(name, tmp_path):
    """A corpus of one text alone has that text's figures as its means: both read them in one way."""
    text = "The cat sat on the mat, and the cat slept. A dog saw the cat."
    held = atlas.corpus.run(real(name), [text], tmp_path / "one", workers=0, settings=Settings())
    table = unusual(real(name).trace(text), held).table.dropna(subset=["value", "mean"])
    assert len(table) > 400
    np.testing.assert_allclose(table["value"], table["mean"], atol=2e-6)
    np.testing.assert_allclose(table["uniform"], table["uniform_mean"], atol=2e-6)
    assert (table["p"].dropna() == 1).all()


def test_a_text_like_the_corpus_is_usual_and_a_strange_one_is_not(tmp_path):
    texts = sample_texts(161)
    held = atlas.corpus.run(real("gpt-mini"), texts[:160], tmp_path / "stories", workers=0)
    like = unusual(real("gpt-mini").trace(texts[160]), held).outside
    strange = unusual(real("gpt-mini").trace("na na na na na na na na na na na na na na na na na na na na"), held).outside
    assert like[0] / like[1] < 0.2  # figures of one text go together, so that a usual one may have none or many
    assert strange[0] / strange[1] > 0.5
    view, space = on(held, of=real("gpt-mini").trace("na na na na na na na na na na na na na na na na na na na na"))
    space.display.metric = "previous"
    view.plane.plane()
    n, of = strange
    assert view.unusual.said() == (
        f"Over all metrics: {100 * n / of:.0f} % of {of:,} figures are outside what 95 % of the texts show; of a text like them "
        "it would be about 5 %.\nAmong 160 texts a single head of 48 cannot be told to be unusual (its q is 0.596 at least), "
        "only several together; from 1,919 texts on it can."
    )


@pytest.mark.parametrize(("texts", "possible"), [(478, False), (479, True)])
def test_a_single_head_can_be_unusual_from_the_number_of_texts_that_is_said(texts, possible):
    """Of 12 heads, one far out and eleven in the middle: the q that is said is the one that it has."""
    made = values(texts, heads=12)
    at = METRICS.index("self")
    made[..., at] = np.median(trace().heads["self"]) + np.linspace(-0.5, 0.5, texts)[:, None]
    made[:, 6, at] = 0.99
    held = corpus(made, kinds=(("decoder", 3, 4),), model=trace().provenance["model"], where="/somewhere/stories")
    view, space = on(held)
    space.display.metric = "self"
    view.plane.plane()
    assert ("from 479 texts on it can" in view.unusual.said()) != possible
    assert (view.unusual.beyond() == {PREVIOUS}) == possible


def test_a_chip_selects_the_unusual_heads_and_another_shows_a_head_with_its_figure():
    made = values(400, heads=12)
    made[..., METRICS.index("self")] = 0.9 + made[..., METRICS.index("self")] / 20  # heads here do nothing of the kind
    held = corpus(made, kinds=(("decoder", 3, 4),), model=trace().provenance["model"], where="/somewhere/stories")
    view, space = on(held)
    space.display.metric = "self"
    view.body()
    (every, farthest) = view.chips.groups
    assert every["name"] == "Unusual by self"
    assert every["chips"][0]["count"] == len(view.unusual.beyond()) > 0
    view._pressed({"key": "all", "additive": False})
    assert space.selection.heads == view.unusual.beyond()
    assert space.selection.label == "unusual self"
    assert view.chips.groups[0]["chips"][0]["active"]
    view._pressed({"key": "all", "additive": False})
    assert not space.selection.heads
    table = unusual(trace(), held).table
    outside = table[(table["p"] <= 0.05 + 1e-9) & table["effect"].notna()]
    first = outside.loc[outside["effect"].abs().idxmax()]
    chip = farthest["chips"][0]
    head = HeadId(first["kind"], int(first["layer"]), int(first["head"]))
    assert chip["key"] == f"{head.kind}.{head.layer}.{head.head}.{first['metric']}"
    assert chip["label"].startswith(str(head))
    side = "higher" if first["effect"] > 0 else "lower"
    assert f"{side} than in 100.0 % of 400 texts" in chip["title"]
    space.display.metric = "previous"
    view._pressed({"key": chip["key"], "additive": False})
    assert space.display.metric == first["metric"]
    assert space.selection.focus == head
    assert len({chip["key"].rpartition(".")[0] for chip in farthest["chips"]}) == len(farthest["chips"])  # a head once


def test_without_a_corpus_it_is_not_offered_and_an_unknown_metric_says_so():
    space = Workspace(never)
    space.pipeline.show(trace())
    assert UnusualView.offered(space) == "no corpus of this model is open here"
    assert UnusualView in next(tab.views for tab in TABS if tab.key == "corpus")
    view, space = on()
    assert UnusualView.offered(space) == ""
    space.display.metric = "entities"
    view.plane.plane()
    assert "not known on this text, or over the corpus" in view.lens.problem
    space.display.metric = "previous"
    view.tap(0.6, 0.5)  # the third of four heads, the middle of three layers
    assert space.selection.heads == {PREVIOUS}
    assert len(view.export().table) == len(unusual(trace(), made_corpus()).table)
