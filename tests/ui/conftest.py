"""What the tests of the page share: one browser and one visit a file, everything let go of between two tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from atlas.engine.running.service import Service
from atlas.state.opening import Opening
from tests.browser import browser

pytest.register_assert_rewrite("tests.ui.shown")

from tests.ui.planted import TEXT, service  # noqa: E402  (what it asserts is explained only if it is imported after that)
from tests.ui.stage import Seat, seated  # noqa: E402

__all__ = ["browser"]


@pytest.fixture(scope="module")
def opening() -> Opening:
    """What the page of a file opens with."""
    return Opening("planted", TEXT)


@pytest.fixture(scope="session")
def known() -> Service:
    """The models, and what files before this one have run: the heads of a text are measured once a process."""
    return service()


@pytest.fixture(scope="module")
def visit(browser, opening, known) -> Iterator[Seat]:
    """The page, open for all tests of a file."""
    with seated(browser, opening, known) as seat:
        yield seat


@pytest.fixture
def seat(visit) -> Iterator[Seat]:
    """The page as it was at the beginning; the test fails if the browser reported an error."""
    visit.clear()
    visit.faults.clear()
    yield visit
    assert not visit.faults, "\n".join(visit.faults)
