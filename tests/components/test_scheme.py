from __future__ import annotations

import panel as pn
import pytest

from atlas.components.scheme import Scheme
from tests.browser import served, wait_until

STORED = "localStorage.getItem('attention-atlas-scheme')"

DARK = "[...Bokeh.documents[0]._all_models.values()].some(model => model.data?.dark === true)"
"""Whether the browser knows that the page is dark: a change that comes before would look like its reader's choice."""


@pytest.mark.ui
def test_the_page_is_as_the_system_prefers_until_its_reader_chooses_and_then_as_chosen_after_a_reload_too(page):
    told, made = [], []

    def app():
        scheme = Scheme()
        scheme.on_scheme(lambda dark: (told.append(dark), scheme.param.update(dark=dark)))
        made.append(scheme)
        return pn.Column(scheme, "Some text")

    page.emulate_media(color_scheme="dark")
    served(page, app, "text=Some text")
    wait_until(lambda: told == [True], page)
    wait_until(lambda: page.evaluate(DARK), page)
    page.emulate_media(color_scheme="light")
    wait_until(lambda: told == [True, False], page)
    assert page.evaluate(STORED) is None  # what the system prefers is no choice of the reader's

    made[-1].dark = True
    wait_until(lambda: page.evaluate(STORED) == "dark", page)
    page.reload()
    wait_until(lambda: told == [True, False, True], page)

    made[-1].dark = False
    wait_until(lambda: page.evaluate(STORED) == "light", page)
    page.emulate_media(color_scheme="dark")
    wait_until(lambda: told[3:] == [False], page)
