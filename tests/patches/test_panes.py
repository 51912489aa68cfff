"""Panes and inputs of Panel, with and without the patches."""

from __future__ import annotations

from html import unescape

import holoviews as hv
import panel as pn
import panel_material_ui as pmui
import pytest

from atlas.errors import LibraryChanged
from atlas.patches.inputs import take_at_once
from atlas.patches.panes import Markup, OneLine, PlainText, plots_of
from atlas.patches.private import private, replace_private


@pytest.fixture(autouse=True)
def _bokeh():
    hv.extension("bokeh", logo=False)


def sent(pane, text):
    """The properties of its model that are set when a pane gets another text."""
    model = pane.get_root()
    seen = {}
    update = type(model).update
    object.__setattr__(model, "update", lambda **values: seen.update(values) or update(model, **values))
    pane.object = text
    return set(seen), unescape(model.text)


@pytest.mark.parametrize("kind", [PlainText, Markup])
def test_a_pane_sends_its_text_alone_and_panels_own_sends_style_sheets_too(kind):
    assert sent(kind("a", stylesheets=["p { margin: 0; }"]), "b")[0] == {"text"}
    names, _ = sent(kind.__mro__[2]("a", stylesheets=["p { margin: 0; }"]), "b")
    assert "stylesheets" in names, "then go without _TextAlone"


def test_a_text_with_tags_is_shown_letter_by_letter_and_panels_own_obeys_them():
    assert sent(PlainText("a"), "<b>b</b>")[1] == "<pre>&lt;b&gt;b&lt;/b&gt;</pre>"
    quoted = "&lt;b&gt;&quot;b&quot;&lt;/b&gt;"
    assert sent(OneLine("a"), '<b>"b"</b>')[1] == f'<pre title="{quoted}">{quoted}</pre>'
    assert sent(pn.pane.Str("a"), "<b>b</b>")[1] == "<pre><b>b</b></pre>", "then go without PlainText"


def test_the_plots_of_a_pane_are_those_it_has_drawn():
    pane = pn.pane.HoloViews(hv.Points([(0, 0)]))
    assert plots_of(pane) == []
    root = pn.Row(pane).get_root()
    (plot,) = plots_of(pane)
    assert plot.state in root.references()
    public = [name for name in dir(pane) if not name.startswith("_") and "plot" in name]
    assert public == [], "then use these instead of plots_of"


def test_a_box_takes_what_is_typed_at_once_and_panels_own_waits():
    boxes = pmui.TextAreaInput(), pmui.TextAreaInput()
    take_at_once(boxes[0])
    assert private(boxes[0], "_debounce", "inputs") == 0
    assert private(boxes[1], "_debounce", "inputs") > 0, "then go without take_at_once"


@pytest.mark.parametrize(
    ("owner", "name"),
    [(pn.pane.Str("a"), "panel .* has no Str._gone"), (pn.pane.Str, "Str._gone"), (pn.io.document, "document._gone")],
)
def test_a_private_attribute_that_is_gone_is_named_with_its_patch(owner, name):
    with pytest.raises(LibraryChanged, match=rf"{name}, which atlas/patches/panes.py needs"):
        private(owner, "_gone", "panes")
    with pytest.raises(LibraryChanged, match="adapt the patch"):
        replace_private(owner, "_gone", 1, "panes")
    assert not hasattr(owner, "_gone")
