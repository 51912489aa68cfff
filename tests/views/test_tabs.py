"""Tabs: views are made when their tab is first opened, and cost nothing while it is closed."""

from __future__ import annotations

import functools
from typing import ClassVar

import holoviews as hv
import panel as pn
import panel_material_ui as pmui
import param
import pytest

from atlas.ids import HeadId
from atlas.state.corpora import named
from atlas.state.lens import Lens
from atlas.tasks import TASKS
from atlas.views.base import Export, View
from atlas.views.catalog import TABS, Tab
from atlas.views.corpus_choice import CorpusView
from atlas.views.tabs import KEPT_TABS, Tabs
from tests.engine.families import loaded
from tests.state.readers import CROSS, ENCODER, both, single, workspace
from tests.tracing.corpora import corpus, drilled, values


@pytest.fixture(scope="module", autouse=True)
def _drawn_with_bokeh():
    hv.extension("bokeh", logo=False)


class CountingLens(Lens):
    reads: ClassVar = {"selection": ("heads",)}

    def __init__(self, *given, **params):
        self.forgotten = 0
        super().__init__(*given, **params)

    def forget(self):
        self.forgotten += 1


def a_view(name, **more):
    """A view class of its own, with a lens of its own, that counts what it draws."""
    lens = type(f"Lens{name}", (CountingLens,), {})

    def init(self, workspace, **params):
        View.__init__(self, workspace, **params)
        self.drawn = 0
        self.visibility.follow_revision(self.count)

    def count(self):
        self.drawn += 1

    body = {
        "key": name, "title": name.title(), "question": f"{name}?", "lens_type": lens, "__init__": init, "count": count,
        "body": lambda _: pn.Column(), **more,
    }  # fmt: skip
    return type(f"View{name}", (View,), body)


def page(*more_tabs, trace=None):
    room = workspace(trace or single())
    tabs = Tabs(room, [Tab("explore", "Explore", (a_view("one"), a_view("two"))), *more_tabs])
    tabs.__panel__()
    return room, tabs


HIDDEN = tuple(
    Tab(key, key.title(), tuple(a_view(f"{key}{i}") for i in range(5))) for key in ("overview", "deep", "faithfulness", "bias")
)


def test_views_of_a_tab_are_made_when_it_is_opened():
    room, tabs = page(*HIDDEN)
    assert [view.key for view in tabs.made()] == ["one", "two"]
    room.display.tab = "deep"
    assert [view.key for view in tabs.views["deep"]] == [f"deep{i}" for i in range(5)]
    assert "bias" not in tabs.views


def test_a_view_of_a_closed_tab_neither_computes_nor_draws_and_catches_up_once():
    room, tabs = page(*HIDDEN)
    (one, _), seen = tabs.views["explore"], []
    for key in ("overview", "deep", "explore"):
        room.display.tab = key
    hidden = [view for view in tabs.made() if view.key not in ("one", "two")]
    before = [(view.lens.forgotten, view.drawn) for view in hidden]
    for head in (0, 1, 2):
        room.selection.pick(HeadId(ENCODER, 1, head))
        seen.append(one.drawn)
    assert seen == [1, 2, 3]
    assert [(view.lens.forgotten, view.drawn) for view in hidden] == before
    room.display.tab = "deep"
    for view in tabs.views["deep"]:
        assert (view.drawn, view.visibility.revision) == (1, view.lens.revision)
    for view in tabs.views["overview"]:
        assert view.drawn == 0


def test_the_document_keeps_only_the_tabs_used_last():
    room, tabs = page(*HIDDEN)
    for key in ("overview", "deep", "faithfulness", "bias"):
        room.display.tab = key
    assert len(tabs.stage) == KEPT_TABS
    assert len(tabs.made()) == 2 + 4 * 5
    views = tabs.views["explore"]
    room.display.tab = "explore"
    assert tabs.views["explore"] is views
    assert [grid.visible for grid in tabs.stage].count(True) == 1


def test_on_a_page_one_card_is_made_at_a_time_also_of_a_tab_that_comes_back():
    later = []
    room = workspace(single())
    room.after_paint = later.append
    tabs = Tabs(room, HIDDEN)
    tabs.start_later()
    tabs.__panel__()
    tabs.start()

    def cards(key):
        return [card for card in tabs._grids[key].column if card is not tabs._grids[key].places]

    def painted():
        waiting, later[:] = list(later), []
        for work in waiting:
            work()

    assert len(cards("overview")) == 1
    painted()
    assert len(cards("overview")) == 2, "the others wait until their places are on screen"
    tabs._grids["overview"].places.seen = ["overview4"]
    assert [view.key for view in tabs.views["overview"]] == ["overview0", "overview1", "overview4"]
    views, drawn = list(tabs.views["overview"]), cards("overview")
    for key in ("deep", "faithfulness", "bias"):
        tabs.bar.active = key
        assert len(cards(key)) == 1
        painted()
        assert len(cards(key)) == 2
    assert (cards("overview"), tabs._grids["overview"].places.seen) == ([], []), "left the document, and leaves its places"
    tabs.bar.active = "overview"
    assert cards("overview") == drawn[:1], "the card that was made before"
    painted()
    assert cards("overview") == drawn[:2]
    assert tabs.views["overview"] == views
    assert [view.visibility.opened for view in views] == [True, True, False]
    tabs._grids["overview"].places.seen = ["overview4"]
    assert cards("overview") == drawn
    assert all(view.visibility.opened for view in views)


def test_a_tab_that_a_link_names_and_that_has_no_views_is_the_first():
    room, tabs = page()
    room.display.tab = "compare"
    assert tabs.open == tabs.bar.active == "explore"


def test_a_press_on_the_bar_opens_the_tab_and_is_in_the_display():
    room, tabs = page(*HIDDEN)
    tabs.bar.active = "bias"
    assert room.display.tab == "bias"
    assert len(tabs.views["bias"]) == 5


def test_night_reaches_the_views_of_a_closed_tab_when_they_come_back():
    room, tabs = page(*HIDDEN)
    room.display.tab = "deep"
    room.display.tab = "explore"
    tabs.dark = True
    assert [view.dark for view in tabs.views["explore"]] == [True, True]
    assert not any(view.dark for view in tabs.views["deep"])
    room.display.tab = "deep"
    assert all(view.dark for view in tabs.views["deep"])


def test_a_tab_tells_what_is_to_be_known_until_the_reader_closes_it():
    told = Tab("bias", "Bias", (a_view("three"),), "Words here can hurt.")
    room, tabs = page(told)
    box, text = tabs.notice.box, tabs.notice.text
    assert not box.visible
    room.display.tab = "bias"
    assert (box.visible, text.object) == (True, "Words here can hurt.")
    room.display.tab = "explore"
    assert not box.visible
    room.display.tab = "bias"
    assert box.visible, "only the reader closes it"
    tabs.notice.close.clicks += 1
    assert not box.visible
    room.display.tab = "explore"
    room.display.tab = "bias"
    assert not box.visible, "what was closed stays closed"
    _, another = page(told)
    another.workspace.display.tab = "bias"
    assert another.notice.box.visible, "another page is another reader's"
    assert {tab.key: bool(tab.notice) for tab in TABS}["bias"]


def test_a_view_that_a_trace_cannot_have_is_not_offered_and_says_why():
    def fits(cls, trace):
        return "" if CROSS in trace.kinds else "this model has no cross attention"

    built = []
    needy = a_view("needy", fits=classmethod(fits), body=lambda self: (built.append(self.key), pn.Column())[1])
    room, tabs = page(Tab("deep", "Deep", (needy,)))
    room.display.tab = "deep"
    (view,) = tabs.made()[2:]
    assert (view.unfit, view.visibility.active, built) == ("this model has no cross attention", False, [])
    assert tabs.left_out == "Not offered for this trace.\nNeedy: this model has no cross attention"
    room.pipeline.show(both())
    assert (view.unfit, view.visibility.active, built, tabs.left_out) == ("", True, ["needy"], "")


def test_a_view_that_cannot_even_be_built_says_so_and_the_others_stay(caplog):
    def broken(self):
        return {}["plus"]

    room = workspace(single())
    tabs = Tabs(room, [Tab("explore", "Explore", (a_view("bad", body=broken), a_view("good")))])
    tabs.__panel__()
    bad, good = tabs.made()
    assert bad.problem.startswith("This is a fault of Atlas, not yours (KeyError: 'plus').")
    room.selection.pick(HeadId(ENCODER, 1, 1))
    assert good.drawn == 1
    assert "KeyError" in caplog.text


@functools.cache
def read():
    """A trace with a text, for views that a recording of tokens alone cannot have."""
    return loaded("BERT").trace("The cat ran. She was tired.", capture=())


@functools.cache
def on():
    """A trace of a model that writes on."""
    return loaded("GPT-2").trace("the cat ran after the dog", capture=())


def with_corpora():
    """A room with two corpora of the model on screen."""
    room = workspace(on())
    held = [corpus(values(30, 12, seed), kinds=(("decoder", 3, 4),), model=on().provenance["model"]) for seed in (0, 1)]
    room.corpora.opened = named(map(drilled, held))
    return room


@pytest.mark.parametrize("view_type", [view for tab in TABS for view in tab.views], ids=lambda view: view.key)
def test_every_view_keeps_the_contract(view_type):
    assert view_type.key
    assert view_type.title
    assert view_type.question.endswith("?")
    assert issubclass(view_type.lens_type, Lens)
    assert isinstance(view_type.wide, bool)
    rooms = (workspace(single()), workspace(read()), workspace(on()))
    if issubclass(view_type, CorpusView):
        rooms = (with_corpora(),)
    room = next(room for room in rooms if view_type.offered(room) == "")
    room.tasks = TASKS  # as in the app: some views need the model
    room.second.show(room.trace)  # what compares has something to compare
    view = view_type(room)
    view.__panel__()
    assert cut_choices(view) == []
    exported = view.export()
    assert isinstance(exported, Export)
    assert len(exported.table)
    assert exported.name
    assert isinstance(view.param.dark, param.Parameter)


LETTER, AROUND = 7.1, 44
"""Pixels of a letter of a choice, and of what stands around it in its field."""

LONG = {"Order", "Number", "Across", "Upwards", "Colour", "Size", "Texts"}
"""Fields whose longest choices are names of metrics or sentences, in rows without room for them."""


def cut_choices(view):
    """The longest choices of the tools of a view that do not fit in their fields."""
    fields = [field for tool in view.tools() for field in tool.select(pmui.Select) if field.width and field.label not in LONG]
    longest = ((field, max(map(str, field.options), key=len, default="")) for field in fields)
    return [(field.label, name) for field, name in longest if len(name) * LETTER + AROUND > field.width]


def test_keys_of_views_are_unique():
    keys = [view.key for tab in TABS for view in tab.views]
    assert len(keys) == len(set(keys))


def many(*names, **more):
    """A page that is served, with a tab of many views."""
    room = workspace(single())
    tabs = Tabs(room, [Tab("explore", "Explore", tuple(a_view(name, **more.get(name, {})) for name in names)), *HIDDEN])
    tabs.start_later()
    tabs.__panel__()
    return room, tabs


def made(tabs):
    return [view.key for view in tabs.made()]


def test_a_page_makes_the_first_cards_and_those_whose_places_come_on_screen():
    room, tabs = many("one", "two", "three", "four", "five")
    assert made(tabs) == []
    tabs.start()
    assert made(tabs) == ["one", "two"]
    places = tabs._grids["explore"].places
    assert [place["key"] for place in places.places] == ["three", "four", "five"]
    places.seen = ["five", "no such card"]
    assert made(tabs) == ["one", "two", "five"]
    assert not tabs.view("five")._waits, "what is on screen is drawn at once"
    places.seen = ["three"]
    assert made(tabs) == ["one", "two", "three", "five"]
    room.display.tab = "deep"
    assert made(tabs)[4:] == ["deep0", "deep1"]
    places.seen = ["four"]
    assert "four" not in made(tabs), "its tab is closed"
    room.display.tab = "explore"
    assert "four" in made(tabs)


def test_a_card_that_is_scrolled_away_before_its_turn_is_not_made_and_what_is_on_screen_comes_first():
    room, tabs = many("one", "two", "three", "four")
    waiting = []
    room.after_paint = waiting.append
    tabs._grids["explore"].places.seen = ["three", "four"]
    tabs.start()
    assert made(tabs) == ["three"]
    tabs._grids["explore"].places.seen = ["two"]
    while waiting:
        waiting.pop()()
    assert made(tabs) == ["one", "two", "three"]


def test_a_view_that_a_trace_cannot_have_has_no_place_until_another_can():
    def fits(cls, trace):
        return "" if CROSS in trace.kinds else "this model has no cross attention"

    room, tabs = many("one", "two", "needy", needy={"fits": classmethod(fits)})
    tabs.start()
    places = tabs._grids["explore"].places
    assert (places.places, tabs.left_out) == ([], "Not offered for this trace.\nNeedy: this model has no cross attention")
    room.pipeline.show(both())
    assert ([place["key"] for place in places.places], tabs.left_out) == (["needy"], "")
