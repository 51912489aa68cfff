"""A group of a corpus is what a corpus of its texts alone would be."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from atlas.errors import NotCaptured, UnknownName
from atlas.ids import HeadId
from atlas.state.corpora import Corpora, choices_of, chosen, chosen_whole, name_of, named
from atlas.state.drift import against, others
from atlas.state.finder import FinderLens
from atlas.state.head_page import HeadPageLens
from atlas.state.workspace import Workspace
from atlas.tracing import corpus_groups
from atlas.tracing.corpus_groups import are_disjoint, groups_of, whole_of
from atlas.tracing.corpus_heads import compared, drills, measured
from atlas.tracing.drift import drift
from tests.engine.families import loaded
from tests.state.readers import never
from tests.tracing.corpora import corpus, drilled, values

OF = ["poems"] * 10 + ["news"] * 25 + ["mail"] * 5

KINDS = (("decoder", 3, 4),)


def numbers(n=40, seed=0):
    return values(n, heads=12, seed=seed)


def divided(**more):
    return corpus(numbers(), kinds=KINDS, groups=OF, **more)


def test_a_group_has_the_figures_of_a_corpus_of_its_texts_alone():
    held = divided()
    assert list(groups_of(held)) == ["news", "poems", "mail"]  # the largest first
    for name, group in groups_of(held).items():
        alone = corpus(numbers()[np.array(OF) == name], kinds=KINDS)
        pd.testing.assert_frame_equal(group.heads, alone.heads)
        pd.testing.assert_frame_equal(measured(group), measured(alone))
        pd.testing.assert_frame_equal(compared(group, "decoder"), compared(alone, "decoder"))
        for part, other in zip(group.moments(), alone.moments(), strict=True):
            np.testing.assert_array_equal(part, other)
        assert group.provenance["texts"] == OF.count(name) == group.n_texts[""]
        assert group.groups == ("",)
        assert whole_of(group) is held
        with pytest.raises(UnknownName, match="no group 'news'"):
            group.heads_of("news")
    assert groups_of(held)["news"] is groups_of(held)["news"]  # what was worked out for it is kept with it


def test_what_is_kept_of_all_texts_alone_is_not_told_of_a_group():
    group = groups_of(divided())["news"]
    for ask in (lambda: group.quantiles("self"), lambda: group.distribution("self"), lambda: group.edges(0)):
        with pytest.raises(NotCaptured, match="over all its texts, and not of a group"):
            ask()
    for name in ("distances", "tokens", "exemplars"):
        with pytest.raises(NotCaptured, match="over all its texts, and not of a group"):
            getattr(group, name)


def test_drills_are_of_the_model_and_so_of_every_group():
    held = drilled(divided())
    assert drills(groups_of(held)["mail"]) is drills(held)
    assert "drill_induction" in measured(groups_of(held)["mail"])


def test_one_group_divides_nothing_and_of_many_the_largest_are_offered(monkeypatch):
    assert groups_of(corpus(numbers(), kinds=KINDS)) == {}
    assert groups_of(corpus(numbers(), kinds=KINDS, groups=["all"] * 40)) == {}
    monkeypatch.setattr(corpus_groups, "LARGEST_GROUPS", 2)
    assert list(groups_of(divided())) == ["news", "poems"]


def test_texts_are_disjoint_unless_one_set_holds_the_other():
    held, other = divided(), divided()
    news, poems = groups_of(held)["news"], groups_of(held)["poems"]
    assert are_disjoint(news, poems)
    assert are_disjoint(news, other)
    assert are_disjoint(news, groups_of(other)["news"])
    assert not are_disjoint(news, held)
    assert not are_disjoint(held, news)
    assert not are_disjoint(news, news)


# -- in a workspace ----------------------------------------------------------------------------------------------------


def room(*corpora):
    trace = loaded("GPT-2").trace("the doctor said that she ran", keep="weights", capture=())
    made = Workspace(never, corpora=Corpora(opened=named(corpora)))
    made.pipeline.show(trace)
    return made, trace.provenance["model"]


def of_the_model(**more):
    return divided(model=loaded("GPT-2").name, where="/somewhere/stories") if not more else divided(**more)


def test_groups_are_offered_beside_their_corpus_and_chosen_by_name():
    space, _ = room(of_the_model())
    assert list(space.corpora.of(space.trace)) == ["stories", "stories: news", "stories: poems", "stories: mail"]
    assert name_of(space) == "stories"
    choices_of(space).corpus = "stories: poems"
    name, found = chosen(space)
    assert (name, found.provenance["texts"]) == ("stories: poems", 10)
    assert chosen_whole(space) == ("stories", whole_of(found))
    choices_of(space).corpus = "stories: gone"  # of an old link
    assert name_of(space) == "stories"


def test_a_group_is_compared_with_the_other_groups_and_never_with_the_whole():
    second = corpus(numbers(seed=3), kinds=KINDS, model="tuned", where="/somewhere/tuned")
    space, _ = room(of_the_model(), second)
    assert others(space) == ["tuned"]
    choices_of(space).corpus = "stories: news"
    assert others(space) == ["stories: poems", "stories: mail", "tuned"]
    assert against(space) == "stories: poems"
    groups = groups_of(space.corpora.opened["stories"])
    found = drift(groups["news"], groups["poems"]).table
    alone = [corpus(numbers()[np.array(OF) == name], kinds=KINDS) for name in ("news", "poems")]
    pd.testing.assert_frame_equal(found, drift(*alone).table)


def test_the_head_page_of_a_group_is_of_the_whole_and_says_so():
    space, _ = room(of_the_model())
    space.selection.focus_on(HeadId("decoder", 1, 2))
    choices_of(space).corpus = "stories: mail"
    page = HeadPageLens(space)
    assert page.words()
    assert page.line == "L1 H2 over 40 texts of stories"
    assert page.problem == ""
    assert len(page.distances())


def test_a_head_of_a_group_is_not_said_to_be_most_like_itself_in_the_whole():
    space, _ = room(of_the_model())
    space.selection.focus_on(HeadId("decoder", 1, 2))
    choices_of(space).corpus = "stories: mail"
    finder = FinderLens(space)
    (near,) = [group for group in finder.groups() if group["name"].startswith("Most like")]
    assert "L1 H2" not in [row["label"] for row in near["rows"]]
    assert {row["note"] for row in near["rows"]} == {""}
    assert finder.said()
    assert finder.line == "Figures over 5 texts of stories: mail"
