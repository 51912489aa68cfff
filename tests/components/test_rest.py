from __future__ import annotations

import pandas as pd
import panel as pn
import pytest

from atlas.components.rest import Rest, Table
from tests.browser import served, wait_until

pytestmark = pytest.mark.filterwarnings(
    "ignore:The inplace keyword in DataFrame.reset_index:pandas.errors.Pandas4Warning"  # Panel's, when a table is made
)

BUSY = """async () => {
  let count = 0
  const post = MessagePort.prototype.postMessage
  MessagePort.prototype.postMessage = function(...said) { count += 1; return post.apply(this, said) }
  await new Promise(later => setTimeout(later, 300))
  MessagePort.prototype.postMessage = post
  return count
}"""
"""How many messages the page sends itself."""

SLOW = 1500
"""Milliseconds that a style sheet takes: longer than it takes to put another one beside it."""


@pytest.mark.ui
def test_a_table_comes_to_rest_whose_style_sheets_change_while_they_are_loaded(page):
    """Without `Rest` it spins on most runs, not on all: whether the links are replaced in time is a race inside the browser."""
    table = Table(pd.DataFrame({"a": [1, 2]}), show_index=False, width=300, height=200)
    page.route("**/*.css*", lambda route: (page.wait_for_timeout(SLOW), route.continue_()))
    served(page, pn.Column(table, Rest(), width=400), ".tabulator")
    table.stylesheets = [":host { color: inherit; }"]
    page.wait_for_timeout(2 * SLOW)
    wait_until(lambda: page.evaluate(BUSY) < 20, page)


ROWS = pd.DataFrame({"a": ["x", "y", "yy"], "b": [1.0, float("nan"), 3.0]})
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
    assert told(pn.widgets.Tabulator(ROWS, pagination="local", header_filters=True)), "Panel no longer does: then go without Table"


def test_rows_that_python_filters_are_sent():
    table = Table(ROWS, pagination="remote", page_size=5, header_filters=True)
    assert list(told(table)["data"]["a"]) == ["y", "yy"]
