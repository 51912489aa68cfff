from __future__ import annotations

import pandas as pd
import panel as pn
import panel_material_ui as pmui
import pytest
from bokeh.models import ColumnDataSource, Scatter
from bokeh.plotting import figure

from atlas.components.chips import Chips
from atlas.patches.browser import BrowserPatches
from atlas.patches.table import Table
from atlas.views.plain import NO_TITLE
from tests.browser import messages_to_itself, served, wait_until

ROWS = pd.DataFrame({"a": ["x", "y", "yy"], "b": [1.0, float("nan"), 3.0]})

SLOW = 1500
"""Milliseconds that a style sheet takes: longer than it takes to put another one beside it."""


@pytest.mark.ui
def test_a_table_comes_to_rest_whose_style_sheets_change_while_they_are_loaded(page):
    """Without `BrowserPatches` it spins on most runs: whether the links are replaced in time is a race in the browser."""
    table = Table(pd.DataFrame({"a": [1, 2]}), show_index=False, width=300, height=200)
    page.route("**/*.css*", lambda route: (page.wait_for_timeout(SLOW), route.continue_()))
    served(page, pn.Column(table, BrowserPatches(), width=400), ".tabulator")
    table.stylesheets = [":host { color: inherit; }"]
    page.wait_for_timeout(2 * SLOW)
    wait_until(lambda: messages_to_itself(page) < 20, page)


SELECT = """() => {
  const [view] = Bokeh.index.query(({model}) => model.type === "panel.models.tabulator.DataTabulator")
  const {rowManager} = view.tabulator
  let scrolls = 0
  const scroll = rowManager.scrollToRow
  rowManager.scrollToRow = function(...given) { scrolls += 1; return scroll.apply(this, given) }
  view.model.source.selected.indices = [0, 2]
  return scrolls
}"""
"""How often the table scrolls when the server selects two rows."""


@pytest.mark.ui
@pytest.mark.parametrize(("mended", "scrolls"), [(True, 0), (False, 2)])  # if Panel stops to, go without the mend
def test_a_table_does_not_scroll_to_each_row_that_is_selected(page, mended, scrolls):
    table = Table(ROWS, show_index=False, width=300, height=200, selectable="checkbox", disabled=True)
    served(page, pn.Column(table, *([BrowserPatches()] if mended else [])), ".tabulator-row")
    assert page.evaluate(SELECT) == scrolls
    wait_until(lambda: page.locator(".tabulator-row.tabulator-selected").count() == 2, page)
    wait_until(lambda: table.selection == [0, 2], page)


BUILT_AGAIN = """async () => {
  const [view] = Bokeh.index.query(({model}) => model.type === "panel.models.tabulator.DataTabulator")
  view.render()
  const {source} = view.model
  source.setv({data: {...source.data, a: ["new", "newer", "newest"]}}, {sync: false})
  while (view._building || view._initializing) { await new Promise(resolve => setTimeout(resolve, 50)) }
  await new Promise(resolve => setTimeout(resolve, 300))
  return view.tabulator.getData().map(row => row.a)
}"""
"""The rows of a table that gets new ones while it is being built."""


@pytest.mark.ui
@pytest.mark.parametrize("pagination", [None, "local"])
@pytest.mark.parametrize(("mended", "shown"), [(True, ["new", "newer", "newest"]), (False, ["x", "y", "yy"])])
def test_a_table_shows_the_rows_that_come_while_it_is_built(page, mended, shown, pagination):
    """If Panel shows them too, go without the mend."""
    table = Table(ROWS, show_index=False, width=300, height=200, pagination=pagination, disabled=True)
    served(page, pn.Column(table, *([BrowserPatches()] if mended else [])), ".tabulator-row")
    assert page.evaluate(BUILT_AGAIN) == shown


TWICE = """async ([pressed, later]) => {
  const [view] = Bokeh.index.query(({model}) => "options" in (model.data?.attributes ?? {}))
  const {data} = view.model, tell = value => data.setv({value}, {sync: false})
  const told = []
  data.document.on_change(event => { if (event.attr === "value" && event.sync) { told.push(event.value) } })
  const written = Object.getOwnPropertyDescriptor(Node.prototype, "nodeValue")
  Object.defineProperty(Node.prototype, "nodeValue", {...written, set(text) {
    written.set.call(this, text)
    if (text === "b") {
      Object.defineProperty(Node.prototype, "nodeValue", written)
      tell("c")
      const now = performance.now.bind(performance)
      performance.now = () => now() + later
      const [{el}] = pressed ? Bokeh.index.query(({model}) => model.type === pressed) : [{}]
      el?.dispatchEvent(new PointerEvent("pointerdown", {bubbles: true, composed: true}))
    }
  }})
  tell("b")
  await new Promise(resolve => setTimeout(resolve, 500))
  return [data.value, view.container.querySelector("[role=combobox]").textContent, told]
}"""
"""Tell a list two things in a row, the second while the first is put on screen, and perhaps press something then: what React does
after that is still to come, some milliseconds later by the clock."""

MINUTE = 60_000


@pytest.mark.ui
@pytest.mark.parametrize(
    ("mended", "pressed", "later", "told"),
    # If Panel says nothing, go without the mend.
    [
        (True, None, 0, []),
        (True, None, MINUTE, []),
        (True, "Figure", 0, []),
        (True, "panel.models.esm.ReactiveESM", 0, []),
        (False, None, 0, ["b", "c"]),
    ],
)
def test_python_is_not_told_what_it_said_before_the_last(page, mended, pressed, later, told):
    select = pmui.Select(options=["a", "b", "c"], value="a")
    parts = [*([BrowserPatches()] if mended else []), select, pn.pane.Bokeh(_cloud()), Chips(groups=[])]
    served(page, pn.Column(*parts), "[role=combobox]")
    page.locator("canvas").first.wait_for()
    assert page.evaluate(TWICE, [pressed, later]) == ["c", "c", told]


@pytest.mark.ui
def test_what_the_reader_wants_back_is_heard(page):
    select = pmui.Select(options=["a", "b", "c"], value="a")
    served(page, pn.Column(BrowserPatches(), select), "[role=combobox]")
    select.value = "b"
    wait_until(lambda: page.locator("[role=combobox]").inner_text() == "b", page)
    page.locator("[role=combobox]").click()
    page.get_by_role("menuitem", name="a", exact=True).click()
    wait_until(lambda: page.locator("[role=combobox]").inner_text() == "a", page)


@pytest.mark.ui
@pytest.mark.parametrize(
    ("mended", "names"), [(True, ["Layer", "Share"]), (False, [None, None])]
)  # if Bokeh does, go without the mend
def test_the_handle_of_a_slider_has_the_name_that_stands_beside_it(page, mended, names):
    sliders = pn.widgets.IntSlider(label="Head", end=3), pn.widgets.FloatSlider(label="Share", stylesheets=[NO_TITLE])
    served(page, pn.Column(*([BrowserPatches()] if mended else []), *sliders), ".noUi-handle")
    sliders[0].label = "Layer"
    wait_until(lambda: page.locator(".bk-slider-title").first.inner_text().startswith("Layer"), page)
    assert [handle.get_attribute("aria-label") for handle in page.locator(".noUi-handle").all()] == names
    assert not page.locator(".bk-slider-title").last.is_visible()


@pytest.mark.ui
@pytest.mark.parametrize("asked", ["reduce", "no-preference"])
def test_what_libraries_move_stands_still_for_who_asks_for_that(page, asked):
    page.emulate_media(reduced_motion=asked)
    switch, later = pmui.Switch(label="first"), pmui.Switch(label="later")
    column = pn.Column(BrowserPatches(), switch)
    served(page, column, "text=first")
    column.append(later)
    page.get_by_text("later").wait_for()
    moving = page.locator(".MuiSwitch-thumb, .MuiSwitch-switchBase").evaluate_all(
        "all => all.map(each => parseFloat(getComputedStyle(each).transitionDuration) > 0.01)"
    )
    assert (len(moving), any(moving)) == (4, asked == "no-preference")


FILTER = [{"field": "a", "type": "like", "value": "y"}]


def told(table: pn.widgets.Tabulator) -> dict[str, object]:
    """What the browser is told when it says that a reader filters the rows; each of these makes it draw them anew."""
    model = table.get_root()
    found: dict[str, object] = {}
    for owner, name in ((model.source, "data"), (model, "cell_styles")):
        owner.on_change(name, lambda name, _old, new: found.update({name: new}))
    table._process_events({"filters": FILTER})
    assert table.filters == FILTER
    return found


def test_rows_that_the_browser_filtered_are_not_sent_to_it_again():
    assert told(Table(ROWS, pagination="local", header_filters=True)) == {}
    assert told(pn.widgets.Tabulator(ROWS, pagination="local", header_filters=True)), "then go without Table"


def test_rows_that_python_filters_are_sent():
    table = Table(ROWS, pagination="remote", page_size=5, header_filters=True)
    assert list(told(table)["data"]["a"]) == ["y", "yy"]


OVERTAKEN = """async ([first, second, broken]) => {
  let uncaught = 0
  addEventListener("unhandledrejection", event => { event.preventDefault(); uncaught += 1 })
  const [view] = Bokeh.index.query(({model}) => model.type === "GlyphRenderer")
  const source = view.model.data_source
  if (broken) { view.glyph.set_data = async () => { throw new Error("broken") } }
  source.data = first
  source.data = second
  await new Promise(later => setTimeout(later, 300))
  return [uncaught, view.glyph.data_size]
}"""
"""Give a plot its data, and others before it has taken those in: (what it threw, how many points it shows)."""


def points(count: int) -> dict[str, list[int]]:
    """Data of some points."""
    return {"x": list(range(count)), "y": list(range(count))}


@pytest.mark.ui
@pytest.mark.parametrize(
    ("mended", "first", "second", "fails"),
    [
        (True, points(12), points(8), False),
        (False, points(12), points(8), True),  # holds no longer: then go without the mend
        (True, points(8), points(12), False),
    ],
)
def test_data_that_came_before_others_were_taken_in_are_no_error(page, mended, first, second, fails):
    served(page, pn.Column(pn.pane.Bokeh(_cloud()), *([BrowserPatches()] if mended else [])), "canvas")
    uncaught, shown = page.evaluate(OVERTAKEN, [first, second, False])
    assert (uncaught > 0) == fails
    assert shown == len(second["x"])


@pytest.mark.ui
def test_what_is_wrong_with_the_newest_data_is_an_error(page):
    served(page, pn.Column(pn.pane.Bokeh(_cloud()), BrowserPatches()), "canvas")
    assert page.evaluate(OVERTAKEN, [points(12), points(8), True])[0] > 0


LAID_OUT = """async () => {
  const plots = [...Bokeh.index.query(({model}) => model.type === "Figure")]
  let root = plots[0], layouts = 0
  while (root.parent?.compute_layout) { root = root.parent }
  const compute = root.compute_layout
  root.compute_layout = function() { layouts += 1; return compute.call(this) }
  for (const height of [150, 250]) {
    for (const {model} of plots) { model.height = height }
    await new Promise(later => setTimeout(later, 300))
  }
  return [layouts, plots.map(plot => plot.bbox.height)]
}"""
"""Give all plots another height, twice: (how often the page was laid out, how high the plots are)."""


@pytest.mark.ui
@pytest.mark.parametrize("mended", [True, False])
def test_a_page_is_laid_out_once_for_all_sizes_that_change_together(page, mended):
    plots = [pn.pane.Bokeh(_cloud()) for _ in range(4)]
    served(page, pn.Column(*plots, *([BrowserPatches()] if mended else [])), "canvas")
    layouts, heights = page.evaluate(LAID_OUT)
    assert heights == [250] * 4
    if mended:
        assert layouts <= 2 * 2, "once for the property, once for the size that follows from it"
    else:
        assert layouts >= 2 * len(plots), "then go without the mend"


FILLED = """async () => {
  const plots = [...Bokeh.index.query(({model}) => model.type === "Figure")]
  const [column] = [...Bokeh.index.query(({model}) => model.children?.some(child => child === plots[0].model))]
  const {model} = column, all = [...model.children]
  model.children = []
  await new Promise(later => setTimeout(later, 300))
  model.children = all.slice(0, 1)
  for (let step = 0; step < 5; step += 1) { await null }
  model.children = all
  await new Promise(later => setTimeout(later, 1000))
  const inside = [...column.shadow_el.children].filter(el => el.shadowRoot)
  return [inside.length, column.child_views.filter(view => inside.includes(view.el)).length]
}"""
"""Give a column its first child, and all while that one is built: (elements in it, how many of them are its children)."""


@pytest.mark.ui
@pytest.mark.parametrize("mended", [True, False])
def test_a_column_shows_all_its_children_where_two_changes_follow_each_other(page, mended):
    column = pn.Column(*(pn.pane.Bokeh(_cloud()) for _ in range(4)))
    served(page, pn.Column(column, *([BrowserPatches()] if mended else [])), "canvas")
    assert (page.evaluate(FILLED) == [4, 4]) == mended  # without the mend, the first is there twice


GROWN = """async () => {
  const views = type => [...Bokeh.index.query(({model}) => model.children?.some(child => child.type === type))]
  const [inner] = views("Figure").map(({model}) => model)
  const [outer] = [...Bokeh.index.query(({model}) => model.children?.includes(inner))].map(({model}) => model)
  const all = [...inner.children], both = [...outer.children]
  outer.children = both.filter(child => child !== inner)
  await new Promise(later => setTimeout(later, 300))
  inner.children = all.slice(0, 2)
  outer.children = both
  for (let step = 0; step < 5; step += 1) { await null }
  inner.children = all
  await new Promise(later => setTimeout(later, 1000))
  const [column] = [...Bokeh.index.query(({model}) => model === inner)]
  return column.child_views.filter(view => column.shadow_el.contains(view.el)).length
}"""
"""Give a column two more children while it is built itself: how many of them are on the page."""


@pytest.mark.ui
@pytest.mark.parametrize(("mended", "shown"), [(True, 4), (False, 2)])
def test_a_column_shows_the_children_that_come_while_it_is_built(page, mended, shown):
    column = pn.Column(*(pn.pane.Bokeh(_cloud()) for _ in range(4)))
    served(page, pn.Column(column, *([BrowserPatches()] if mended else [])), "canvas")
    assert page.evaluate(GROWN) == shown


@pytest.mark.ui
@pytest.mark.parametrize("mended", [True, False])
def test_the_browser_knows_that_the_server_knows_what_came_from_it(page, mended):
    column = pn.Column(pn.pane.Str("first"))
    served(page, pn.Column(column, *([BrowserPatches()] if mended else [])), "text=first")
    column.append(pn.pane.Str("second"))
    page.locator("text=second").wait_for()
    assert (page.evaluate("Bokeh.documents[0]._new_models.size") == 0) == mended  # without the mend it is taken for new


def _cloud() -> object:
    plot = figure(width=300, height=200)
    drawn = plot.scatter("x", "y", source=ColumnDataSource(points(3)))
    drawn.nonselection_glyph = Scatter(x="x", y="y", size="x")  # looked up after the points themselves
    return plot
