"""A sweep: every view of the catalog, in every choice, on ordinary texts, on every embedded model, without a browser.

Planted attention never shows what a real model does with "old one": a category without a mark emptied whole pages while all
other tests were green. Every run takes other texts, `--all-texts` draws all of them, and what fails says how to see it again.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import logging
import re
import tomllib
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import panel as pn
import param
from bokeh.core.serialization import Serializer
from bokeh.models import ColumnDataSource, GlyphRenderer, Plot

from atlas.app import AttentionAtlas, prepare
from atlas.engine.loading.embedded import embedded
from atlas.engine.running.service import Service
from atlas.ids import HeadId
from atlas.plots.colours import BACKGROUND
from atlas.state.display import METRICS, MORE_THAN_METRICS
from atlas.state.pipeline import Job, Ticket
from atlas.trace import Trace
from atlas.views.base import View
from atlas.views.catalog import TABS
from tests.places import REPO
from tests.rounds import ROUND, this_round

TEXTS = {
    f"{kind} {number}": text
    for kind, texts in tomllib.loads((REPO / "tests" / "ordinary_texts.toml").read_text(encoding="utf-8")).items()
    for number, text in enumerate(texts)
}

MODELS = [entry.name for entry in embedded()]

STRIDE = 17
"""Texts between those of two models in one round: models meet different texts, and each meets all of them in as many rounds."""

LOOKS = 2
"""Looks of each kind of attention in a round; the others come in the next rounds. With `--all-texts` every text has one, and each
look comes with some of the texts: all looks of all texts would take a day."""

KNOWN_PROBLEMS = (
    r"Patterns compare positions of one text, and cross-attention links two\. Choose encoder or decoder\.",
    r"Rollout follows one stream of tokens through the layers; cross-attention links two\. Choose encoder or decoder\.",
    r"Attention flow takes a maximum flow for each of [\d,]+ tokens, and 256 are the most\. .*",
    r"(?:Side [AB]: )?No word of this text is flagged(?: with [A-Z]+)?, so there is nothing to hold attention against\. Lower .*",
    r"The text has no word with a letter or a digit, so there is nothing to label\.",
    r"These heads look at the target, and the flagged words are in the source\. Choose encoder or cross\.",
    r"A gradient says how the target changes and not how the whole output does\. .*",
    r"There are no .+ to show: .+ There are: token.*\.",
    r"The (?:en|de)coder has no .+\. It has a .+\.",
    r"No tuned lens was given for this model: .+",
    r"In cross-attention the flagged words are looked at and never look\. Show what they receive\.",
    r"This text has no identity term that could be exchanged\. .*",
    r"None of these tokens sees enough others for any pattern to be told from chance\. .+",
    r"None of these tokens sees two tokens or more, so all heads do the same there\. Select other tokens\.",
    r"What this head writes cannot be read as tokens: .+",
    r"No corpus of [a-z0-9-]+ is open here\. .+",
    r"Select tokens that are looked at, to see how much attention they get on either side, or choose another metric\.",
    r"None of the selected tokens that .+ stands for anything of the second text\. Select other tokens\.",
    r"Nothing of the two texts could be aligned: .+",
    r"Comparing layers takes 3 words that stand for each other; these two texts have \d\.",
    r"No metric tells the heads apart on these tokens\. Select other tokens, or analyse a longer text\.",
    r"Integrated gradients say how the scores of the heads of a layer add up to the logit\. .+",
    r"No head is selected\. Select heads, or test those that look most at flagged words\.",
)
"""Sentences (as regular expressions) a view may show instead of its plot, because the text or the model has nothing to draw."""


def pytest_generate_tests(metafunc):
    if "text_name" in metafunc.fixturenames:
        # Workers side by side must agree on the names of tests: the text of the day is chosen inside.
        names = list(TEXTS) if metafunc.config.getoption("--all-texts") else [""]
        pairs = list(itertools.product(MODELS, names))
        ids = [f"{model} {name}".strip() for model, name in pairs]
        metafunc.parametrize(("model_name", "text_name"), pairs, ids=ids)


@functools.cache
def service() -> Service:
    prepare()
    return Service()


PRESSED = frozenset((
    "audit", "causal_test", "circuit", "compare_attributions", "faithfulness", "knockout", "patching", "randomised", "verdict",
    "writing",
))  # fmt: skip
"""Views that show nothing until a reader presses their button: their own tests press it."""


IN_WORDS = frozenset({"compare", "corpus_run"})
"""Views of words, fields and buttons, without a plot."""


class Selector(NamedTuple):
    """A choice of the reader and what it can be."""

    holder: param.Parameterized
    name: str
    values: tuple[Any, ...]


def selectors(workspace) -> list[Selector]:
    """Every choice of form, those that all views share and those of single views."""
    found = []
    for holder in (workspace.display, *workspace.choices.values()):
        for name in holder.param:
            values = values_of(holder, name)
            if name not in {"name", "tab"} and len(values) > 1:
                found.append(Selector(holder, name, values))
    return found


def values_of(holder, name) -> tuple[Any, ...]:
    parameter = holder.param[name]
    if isinstance(parameter, param.Selector):
        return tuple(parameter.objects)
    if isinstance(parameter, param.Boolean):
        return (False, True)
    if holder.__class__.__name__ == "Display" and name in MORE_THAN_METRICS:
        return (*MORE_THAN_METRICS[name], *METRICS)
    return ()


def ends(workspace) -> list[Selector]:
    """The numbers a reader can choose, with their ends: a threshold at its end hides everything, so no plot is owed there."""
    holders = (workspace.display, *workspace.choices.values())
    named = [(holder, name, holder.param[name]) for holder in holders for name in holder.param]
    bounded = [(holder, name, each.bounds) for holder, name, each in named if isinstance(each, param.Number) and each.bounds]
    return [Selector(holder, name, (holder.param[name].default, *filter(None, bounds))) for holder, name, bounds in bounded]


def looks(found: list[Selector], shift: int) -> Iterator[dict[Selector, Any]]:
    """Values of all selectors, so many times that each value of each selector is there once; `shift` changes what meets what."""
    for step in range(max(len(selector.values) for selector in found)):
        yield {selector: selector.values[(step + shift * (at + 1)) % len(selector.values)] for at, selector in enumerate(found)}


def selections(trace, kind) -> Iterator[dict[str, Any]]:
    """Nothing selected, heads, rows, columns, all of it: as `Selection.restore` takes them, each for a few looks."""
    heads = [HeadId(kind, trace.n_layers(kind) - 1, trace.n_heads(kind) - 1), HeadId(kind, 0, 0)]
    queries, keys = (len(trace.token_tables[trace.side(kind, axis)]) for axis in ("query", "key"))
    nothing = {"focus": heads[0], "heads": [], "queries": [], "keys": [], "label": ""}
    rows, columns = {"queries": [0, queries - 1]}, {"keys": [keys // 2]}
    all_of_it = nothing | {"heads": heads[:1]} | rows | columns
    kept = (nothing, nothing | {"heads": heads}, nothing | rows, nothing | columns, all_of_it)
    return itertools.chain.from_iterable(itertools.repeat(each, LOOKS) for each in itertools.cycle(kept))


OTHER_TEXT = "The old one said that the doctor, who was tired, had gone."
"""The text of side B on every page."""


class Card:
    """A view with the Bokeh models a browser would be sent."""

    def __init__(self, view) -> None:
        self.view = view
        # No document: with one, Bokeh counts all models of the page after every change, which is most of the time.
        self.shown = pn.panel(view)
        self.root = self.shown.get_root()
        self.look_again()

    def look_again(self) -> None:
        """Find the plots, and the sources of what is no plot; to do it after each change would take as long as drawing."""
        models = self.root.references()
        self.plots = [model for model in models if isinstance(model, Plot)]
        self.sources = [model for model in models if isinstance(model, ColumnDataSource)]
        self.bars = [model for model in models if isinstance(getattr(model, "groups", None), list)]
        self.lines = [model for model in models if isinstance(getattr(model, "links", None), dict)]

    def close(self) -> None:
        """Take the plots off the list on which HoloViews keeps them: a sweep makes thousands."""
        for pane in self.shown.select(pn.pane.HoloViews):
            for plot, _ in pane._plots.values():
                plot.cleanup()
        self.shown._cleanup(self.root)

    def is_drawn(self) -> bool:
        """Whether there is anything to see: rows of data or of bars, lines, and in an image a colour beside the background."""
        glyphs = [each for plot in self.plots for each in plot.renderers if isinstance(each, GlyphRenderer) and each.visible]
        seen = [glyph.data_source for glyph in glyphs] if self.plots else self.sources
        listed = any(group.get("rows") for model in self.bars for group in model.groups)
        linked = any(model.links.get("count") for model in self.lines)
        return listed or linked or any(map(has_something, seen))


def has_something(source) -> bool:
    if "image" in source.data:
        return any(np.any(np.asarray(image) != BACKGROUND) for image in source.data["image"])
    return any(len(column) and not pd.isna(np.asarray(column, dtype=object)).all() for column in source.data.values())


class Page:
    """The views of the catalog on one trace, drawn as for a browser."""

    def __init__(self, model: str, text: str) -> None:
        self.app = AttentionAtlas(service())
        self.model = model
        # Side B of the views that compare: another text, which shares some words or none.
        second = self._run(OTHER_TEXT)
        self._open(text)
        self.app.workspace.second.show(second)
        self.cards = [Card(view_type(self.app.workspace)) for view_type in self._types()]
        self.above = [Card(part) for part in (self.app.text, self.app.bar)]

    def _run(self, text: str) -> Trace:
        return self.app.run(Job((self.model, None, None, None), text, None, None, truncate=True), Ticket())

    def _open(self, text: str) -> None:
        self.trace = self._run(text)
        self.app.open(self.trace)

    def _types(self) -> list[type[View]]:
        return [view_type for tab in TABS for view_type in tab.views if not view_type.offered(self.app.workspace)]

    def turn_to(self, text: str) -> bool:
        """Show another text on the same page; False where other views are offered for it."""
        self._open(text)
        for card in (*self.cards, *self.above):
            card.look_again()
        return [type(card.view) for card in self.cards] == self._types()

    def close(self) -> None:
        for card in (*self.cards, *self.above):
            card.close()

    def choose(self, look: dict[Selector, Any]) -> None:
        changes: dict[int, dict[str, Any]] = {}
        for selector, value in look.items():
            changes.setdefault(id(selector.holder), {})[selector.name] = value
        for holder in {id(selector.holder): selector.holder for selector in look}.values():
            holder.param.update(**changes[id(holder)])

    def check(self) -> None:
        """Every card has its plot, or one of the known sentences in its place."""
        problems = {type(lens).__name__: lens.problem for lens in self.app.workspace.lenses}
        problems |= {card.view.key: card.view.problem for card in self.cards}
        unknown = {key: said for key, said in problems.items() if said and not any(re.fullmatch(k, said) for k in KNOWN_PROBLEMS)}
        assert not unknown
        owing = [card for card in self.cards if card.view.key not in PRESSED | IN_WORDS and not problems[card.view.key]]
        undrawn = [card.view.key for card in owing if not card.is_drawn()]
        assert not undrawn, f"nothing is drawn in {undrawn}"

    def check_sent(self) -> None:
        """All of it can be sent, and every token of the text is in its strip."""
        for card in (*self.cards, *self.above):
            Serializer().encode(card.root)
            card.look_again()
        for strip in self.app.text.strips:
            assert len(strip.strip.tokens) == len(self.trace.token_tables.get(strip.lens.side, ()))


_kept: list[Page] = []
"""The page of the text before, with `--all-texts`, unless that text failed."""


def page_of(model: str, text: str, *, keep: bool) -> Page:
    """A page on a text: a new one, or that of the text before, because making all views takes longer than drawing them again."""
    page = _kept.pop() if keep and _kept else None
    if page is not None:
        if page.model == model and page.turn_to(text):
            return page
        page.close()
    return Page(model, text)


@contextlib.contextmanager
def nothing_logged() -> Iterator[None]:
    """What only the log says is a failure too: HoloViews warns of hooks that raise, and lenses log what they catch."""
    records: list[logging.LogRecord] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = records.append
    loggers = [logging.getLogger(name) for name in ("", "param", "atlas", "panel", "bokeh")]
    for logger in loggers:
        logger.addHandler(handler)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
    assert not records, records[0].getMessage()


@contextlib.contextmanager
def told(**circumstances) -> Iterator[None]:
    """Add to whatever fails what was on screen."""
    try:
        yield
    except Exception as error:
        error.add_note("\n".join(f"{name}: {value!r}" for name, value in circumstances.items()))
        raise


def test_the_texts_are_many_and_of_many_kinds():
    assert len(set(TEXTS.values())) == len(TEXTS) >= 60
    assert len(MODELS) == 5


def test_every_view_draws_every_choice_on_an_ordinary_text(model_name, text_name):
    number = this_round()
    names = list(TEXTS)
    name = text_name or names[(number + STRIDE * MODELS.index(model_name)) % len(names)]
    again = f"{ROUND}={number} python -m pytest tests/test_ordinary_texts.py -k {model_name}"
    with told(model=model_name, text=TEXTS[name], again=again), nothing_logged():
        page = page_of(model_name, TEXTS[name], keep=bool(text_name))
        space = page.app.workspace
        for kind in page.trace.kinds:
            space.selection.show_kind(kind)
            found = list(zip(looks(selectors(space), names.index(name)), selections(page.trace, kind), strict=False))
            first = (names.index(name) if text_name else number * LOOKS) % len(found)
            for look, selected in [*found, *found][first : first + (1 if text_name else LOOKS)]:
                shown = {selector.name: value for selector, value in look.items()}
                with told(kind=kind, choices=shown, selected=selected):
                    space.selection.restore(**selected)
                    page.choose(look)
                    page.check()
            page.check_sent()
            numbers = ends(space)
            for at in range(max(len(selector.values) for selector in numbers)):
                page.choose({selector: selector.values[at % len(selector.values)] for selector in numbers})
            page.choose({selector: selector.values[0] for selector in numbers})
        if not text_name:
            page.close()
        else:
            _kept.append(page)
