from __future__ import annotations

import panel as pn
import pytest

from atlas.components.history import History
from tests.browser import served, wait_until

OTHERS = "?theme=dark&q=a+b%20c"


@pytest.fixture
def heard():
    """What the browser told: ('start' or 'pop', state)."""
    return []


@pytest.fixture
def history(heard):
    made = History()
    made.on_start(lambda state: heard.append(("start", state)))
    made.on_pop(lambda state: heard.append(("pop", state)))
    return made


def opened(page, history, heard, suffix="/"):
    served(page, pn.Column(history, "Some text"), "text=Some text", suffix=suffix, location=False)
    wait_until(lambda: heard[:1] != [], page)


def search(page):
    return page.evaluate("location.search")


def write(page, history, state, seen=None):
    """Set a state, wait for the address, and let the gesture end."""
    history.state = state
    wait_until(lambda: search(page).endswith(seen if seen is not None else f"s={state}"), page)
    page.wait_for_timeout(250)


def entries(page):
    return page.evaluate("history.length")


@pytest.mark.ui
def test_the_page_reports_what_the_address_says_and_makes_no_entry(page, history, heard):
    opened(page, history, heard, "/?s=v1.abc&x=1")
    assert heard == [("start", "v1.abc")]
    before = entries(page)
    history.state = "v1.abc"
    page.wait_for_timeout(300)
    assert (search(page), entries(page)) == ("?s=v1.abc&x=1", before)


@pytest.mark.ui
def test_the_first_state_overwrites_and_the_next_ones_make_entries(page, history, heard):
    opened(page, history, heard, f"/{OTHERS}#part")
    assert heard == [("start", "")]
    before = entries(page)
    write(page, history, "v1.a")
    assert entries(page) == before
    write(page, history, "v1.b")
    write(page, history, "v1.c")
    assert entries(page) == before + 2
    assert page.evaluate("location.search + location.hash") == f"{OTHERS}&s=v1.c#part"
    history.replace = True
    write(page, history, "v1.d")
    assert entries(page) == before + 2
    write(page, history, "", seen="c")
    assert search(page) == OTHERS
    assert heard == [("start", "")]


@pytest.mark.ui
def test_a_state_that_was_there_before_the_page_is_written_at_once(page, history, heard):
    history.state = "v1.early"
    opened(page, history, heard)
    wait_until(lambda: search(page) == "?s=v1.early", page)


@pytest.mark.ui
def test_back_and_forward_are_told_and_not_echoed(page, history, heard):
    history.on_pop(lambda state: setattr(history, "state", state))
    opened(page, history, heard)
    for state in ("v1.a", "v1.b", "v1.c"):
        write(page, history, state)
    length = entries(page)
    page.go_back()
    wait_until(lambda: heard[-1] == ("pop", "v1.b"), page)
    page.go_back()
    wait_until(lambda: heard[-1] == ("pop", "v1.a"), page)
    assert history.state == "v1.a"
    page.go_forward()
    wait_until(lambda: heard[-1] == ("pop", "v1.b"), page)
    page.wait_for_timeout(300)
    assert (search(page), entries(page), history.state) == ("?s=v1.b", length, "v1.b")
    assert [state for kind, state in heard if kind == "pop"] == ["v1.b", "v1.a", "v1.b"]
    page.go_forward()
    wait_until(lambda: heard[-1] == ("pop", "v1.c"), page)


@pytest.mark.ui
def test_what_python_makes_of_a_step_back_belongs_to_that_entry(page, history, heard):
    history.on_pop(lambda state: setattr(history, "state", f"{state}.mended"))
    opened(page, history, heard)
    for state in ("v1.a", "v1.b", "v1.c"):
        write(page, history, state)
    length = entries(page)
    page.go_back()
    wait_until(lambda: search(page) == "?s=v1.b.mended", page)
    assert entries(page) == length
    page.go_forward()
    wait_until(lambda: heard[-1] == ("pop", "v1.c"), page)
    wait_until(lambda: search(page) == "?s=v1.c.mended", page)
    page.go_back()
    wait_until(lambda: heard[-1] == ("pop", "v1.b.mended"), page)


@pytest.mark.ui
def test_a_state_that_was_on_its_way_when_the_reader_went_back_overwrites_nothing(page, history, heard):
    history.on_pop(lambda state: setattr(history, "state", state))
    opened(page, history, heard)
    write(page, history, "v1.a")
    write(page, history, "v1.b")
    # As a patch comes from the server: after the step, and before the answer to it.
    page.evaluate(
        """() => {
          const models = [...Bokeh.documents[0]._all_models.values()]
          const data = models.find(model => model.attributes.state === "v1.b")
          addEventListener("popstate", () => data.setv({state: "v1.late"}, {sync: false}), {once: true})
        }"""
    )
    page.go_back()
    wait_until(lambda: heard[-1] == ("pop", "v1.a"), page)
    page.wait_for_timeout(300)
    assert (search(page), history.state) == ("?s=v1.a", "v1.a")
    write(page, history, "v1.late")
    page.go_back()
    wait_until(lambda: search(page) == "?s=v1.a", page)


@pytest.mark.ui
def test_after_a_step_back_a_new_state_makes_an_entry_again(page, history, heard):
    history.on_pop(lambda state: setattr(history, "state", state))
    opened(page, history, heard)
    write(page, history, "v1.a")
    write(page, history, "v1.b")
    page.go_back()
    wait_until(lambda: heard[-1] == ("pop", "v1.a"), page)
    page.wait_for_timeout(250)
    write(page, history, "v1.z")
    page.go_back()
    wait_until(lambda: search(page) == "?s=v1.a", page)
    page.go_forward()
    wait_until(lambda: search(page) == "?s=v1.z", page)


@pytest.mark.ui
def test_a_held_key_makes_one_entry_and_ends_where_it_ended(page, history, heard):
    opened(page, history, heard)
    write(page, history, "v1.a")
    before = entries(page)
    page.evaluate(
        """() => {
          const models = [...Bokeh.documents[0]._all_models.values()]
          const data = models.find(model => model.attributes.state === "v1.a")
          for (let step = 0; step < 40; step++) { data.state = `v1.step${step}` }
        }"""
    )
    wait_until(lambda: search(page) == "?s=v1.step39", page)
    assert entries(page) == before + 1
    page.go_back()
    wait_until(lambda: heard[-1] == ("pop", "v1.a"), page)


@pytest.mark.ui
def test_a_jump_inside_the_page_is_no_step_back(page, history, heard):
    opened(page, history, heard)
    write(page, history, "v1.a")
    page.evaluate("location.hash = 'there'")
    page.go_back()
    page.wait_for_timeout(300)
    assert heard == [("start", "")]


@pytest.mark.ui
def test_a_link_that_was_cut_off_is_handed_on(page, history, heard):
    opened(page, history, heard, "/?s=v1.%E2%82")
    assert heard == [("start", "v1.%E2%82")]


def test_what_is_no_text_is_not_handed_on(history, heard):
    history._handle_msg({"start": 3})
    history._handle_msg({"pop": None, "step": 1})
    assert heard == []
