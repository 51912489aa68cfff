from __future__ import annotations

import pandas as pd
import panel as pn
import pytest

from atlas.components.rest import Rest
from tests.browser import served, wait_until

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
@pytest.mark.filterwarnings("ignore:The inplace keyword in DataFrame.reset_index:pandas.errors.Pandas4Warning")  # Panel's
def test_a_table_comes_to_rest_whose_style_sheets_change_while_they_are_loaded(page):
    """Without `Rest` it spins on most runs, not on all: whether the links are replaced in time is a race inside the browser."""
    table = pn.widgets.Tabulator(pd.DataFrame({"a": [1, 2]}), show_index=False, width=300, height=200)
    page.route("**/*.css*", lambda route: (page.wait_for_timeout(SLOW), route.continue_()))
    served(page, pn.Column(table, Rest(), width=400), ".tabulator")
    table.stylesheets = [":host { color: inherit; }"]
    page.wait_for_timeout(2 * SLOW)
    wait_until(lambda: page.evaluate(BUSY) < 20, page)
