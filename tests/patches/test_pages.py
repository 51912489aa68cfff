"""What Panel and Bokeh do for every page, with and without the patches."""

from __future__ import annotations

import holoviews as hv
import panel as pn
import panel_material_ui as pmui
import pytest
from bokeh.document import Document
from bokeh.settings import settings
from panel.custom import ReactiveESM
from panel.links import Callback
from panel.viewable import Viewable

from atlas.components.chips import Chips
from atlas.patches.pages import PATHS, once_a_class, patch_pages


@pytest.fixture(autouse=True)
def _patched():
    patch_pages()


def test_a_function_of_a_class_is_called_once_for_each_class(monkeypatch):
    calls = []

    def path(cls, compiled=True):
        calls.append((cls, compiled))
        return cls.__name__

    once = once_a_class(path)
    assert [once(int), once(str), once(int), once(int, compiled=False), once(int)] == ["int", "str", "int", "int", "int"]
    assert calls == [(int, True), (str, True), (int, False)]
    monkeypatch.setattr(pn.config, "autoreload", True)
    once(int)
    assert calls[-1] == (int, True), "a file may have changed"


@pytest.mark.parametrize("kind", [Chips, pmui.Button, pmui.Select])
def test_a_component_has_the_files_it_had_without_the_patch(kind):
    for name in PATHS[:1] + PATHS[2:]:
        patched = vars(ReactiveESM)[name].__func__
        assert patched(kind) == patched.__wrapped__(kind)
    assert kind._bundle_path is kind._bundle_path, "the same object: it was not looked for again"


def walks(monkeypatch, page):
    """How often all of a page is looked at for links."""
    seen, select = [], type(page).select

    def selected(self, *how):
        if self is page and how == (Viewable,):
            seen.append(self)
        return select(self, *how)

    monkeypatch.setattr(type(page), "select", selected)
    return seen


def test_what_is_put_into_a_page_with_links_is_not_searched_for_them_all_over(monkeypatch):
    linked = pn.widgets.Button(label="Copy")
    linked.jscallback(clicks="console.log(1)")
    place, page = pn.Column(), pn.Row()
    page.extend([linked, place])
    root = page.get_root(Document())
    button = root.children[0]
    assert sum(map(len, button.js_property_callbacks.values())) + sum(map(len, button.js_event_callbacks.values())) == 1
    seen = walks(monkeypatch, page)
    place.append(pn.pane.Str("a card"))
    assert seen == []
    # If Panel does no more than that by itself, go without the patch.
    Callback._process_callbacks.__func__.__wrapped__(Callback, page, root, place, [])
    assert seen


def has_link(model):
    return any(callbacks for callbacks in model.js_property_callbacks.values())


def test_a_link_inside_what_is_put_into_a_page_works_and_the_rest_of_the_page_is_not_searched(monkeypatch):
    place = pn.Column()
    page = pn.Row(pn.Spacer(), place)
    root = page.get_root(Document())
    slider, text = pn.widgets.IntSlider(), pn.widgets.StaticText()
    slider.jslink(text, value="value")
    seen = walks(monkeypatch, page)
    place.append(pn.Row(slider, text))
    assert has_link(root.children[1].children[0].children[0])
    assert seen == []


def test_a_link_to_a_plot_inside_what_is_put_into_a_page_works(monkeypatch):
    hv.extension("bokeh", logo=False)
    place = pn.Column()
    page = pn.Row(pn.Spacer(), place)
    root = page.get_root(Document())
    plot, slider = hv.Curve([1, 2]), pn.widgets.IntSlider()
    slider.jslink(plot, code={"value": "glyph.line_width = source.value"})
    seen = walks(monkeypatch, page)
    place.append(pn.Row(slider, pn.pane.HoloViews(plot)))
    assert has_link(root.children[1].children[0].children[0])
    assert seen == []


def test_a_link_from_what_is_put_into_a_page_to_what_is_there_works():
    text, place = pn.widgets.StaticText(), pn.Column()
    root = pn.Row(text, place).get_root(Document())
    slider = pn.widgets.IntSlider()
    slider.jslink(text, value="value")
    place.append(slider)
    assert has_link(root.children[1].children[0])


def test_bokeh_checks_no_model_of_a_page_for_mistakes_of_its_author():
    assert not settings.perform_document_validation()
    assert not settings.perform_error_diagnostics()
