"""How a page opens: with the trace where it is kept, and with the cards in their places."""

from __future__ import annotations

import pytest

from atlas.jobs import worked_out
from atlas.scheduler import Ticket
from atlas.state.link import State
from atlas.state.opening import Opening
from atlas.state.share import encode
from tests.ui.planted import PREVIOUS, TEXT, service
from tests.ui.shown import Wanted, assert_shown, metrics_on_axes
from tests.ui.stage import seated

pytestmark = pytest.mark.ui

FIRST = Opening("planted", TEXT)


@pytest.fixture(scope="module")
def kept(known):
    """A service that has run the text before."""
    worked_out(known, FIRST.job(), Ticket())
    return known


def test_a_page_whose_trace_is_kept_draws_it_once_and_cards_that_come_later_stand_where_they_belong(browser, kept):
    with seated(browser, FIRST, kept) as seat:
        assert (seat.pipeline.begun, seat.app.workspace.revision) == (0, 1)
        names = ("map", "matrix", "heads", "table", "profile")
        place = {name: seat.page.locator(f".aa-card-{name}").bounding_box() for name in names}
        assert place["map"]["x"] == place["heads"]["x"] == place["profile"]["x"]
        assert place["matrix"]["x"] == place["table"]["x"] > place["map"]["x"]
        assert place["map"]["y"] == place["matrix"]["y"] < place["heads"]["y"] == place["table"]["y"] < place["profile"]["y"]
        assert place["profile"]["width"] > 1.9 * place["map"]["width"]
        metrics_on_axes(seat)
        assert_shown(seat, Wanted())
        assert not seat.faults


def test_a_link_to_what_is_kept_opens_with_its_selection(browser, kept):
    token = encode(State(model="planted", text=TEXT, focus=PREVIOUS, heads=frozenset({PREVIOUS}), keys=frozenset({3}))).token
    with seated(browser, FIRST, kept, query=f"/?s={token}") as seat:
        assert (seat.pipeline.begun, seat.app.workspace.revision) == (0, 1)
        assert (seat.selection.heads, seat.selection.keys) == ({PREVIOUS}, {3})
        metrics_on_axes(seat)
        assert_shown(seat, Wanted(frozenset({PREVIOUS}), keys=frozenset({3}), focus=PREVIOUS))
        assert not seat.faults


def test_a_page_whose_trace_is_not_kept_runs_it(browser):
    with seated(browser, FIRST, service()) as seat:
        assert (seat.pipeline.begun, seat.app.workspace.revision) == (1, 1)
        metrics_on_axes(seat)
        assert_shown(seat, Wanted())
        assert not seat.faults
