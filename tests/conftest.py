"""What holds for every test: one thread, no network, a hub cache of its own, warnings as errors (pyproject.toml)."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

from tests.again import FAILED
from tests.places import REPO, SHARED_DATA
from tests.planted_work import Planted

# Before anything imports torch or huggingface_hub: both read these once, at import.
_HUB = tempfile.mkdtemp(prefix="atlas-test-hub-")
os.environ["HF_HOME"] = _HUB  # a developer's cache must not decide what is "already on disk"
os.environ["HF_ENDPOINT"] = "http://127.0.0.1:9"  # the discard port: a request nobody meant to make fails at once
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")  # workers side by side: more threads than cores are slower, and sums wander
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # forked servers would warn

# No deadline: the first example of a property pays for imports. In CI the examples are the same every time, so that a red
# build is about the change; at home they differ, so that new ones are found.
settings.register_profile("atlas", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("atlas")


LONGEST = ("tests/test_ordinary_texts.py", "tests/ui/test_sessions.py", "tests/ui/test_lab.py", "tests/ui/test_long_text.py")
"""Files of few tests that take minutes: they come first, or one worker would be busy with the last of them long after the other
has nothing left to do."""


_failed: dict[str, set[str]] = {"browser": set(), "others": set()}


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--all-texts`: the sweep over ordinary texts takes all of them, not those of the day. The others likewise."""
    parser.addoption("--all-texts", action="store_true", help="draw every view on all ordinary texts (an hour on two cores)")
    parser.addoption("--all-tabs", action="store_true", help="let axe-core look at all tabs, not at that of the day (5 minutes)")
    parser.addoption("--all-hostile", action="store_true", help="try all 10,000 hostile inputs, not a sample")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with the files that take longest; the others keep their order."""
    order = {str(REPO / name): at for at, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(str(item.path), len(order)))
    if config.getoption("--all-hostile"):  # a thousand inputs take longer than any honest test
        for item in items:
            item.add_marker(pytest.mark.timeout(0))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note what failed, for `tests.again`; on the controller, which hears of the tests of all workers."""
    if report.failed:
        _failed["browser" if "ui" in report.keywords else "others"].add(report.nodeid)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write down what failed."""
    if not hasattr(session.config, "workerinput"):
        FAILED.parent.mkdir(exist_ok=True)
        FAILED.write_text(json.dumps({where: sorted(names) for where, names in _failed.items()}), encoding="utf-8")


def pytest_unconfigure() -> None:
    """Leave nothing behind."""
    shutil.rmtree(_HUB, ignore_errors=True)


@pytest.fixture(scope="session")
def shared_data() -> Callable[..., Path]:
    """Find a file or folder of the shared data by its parts, or skip the test."""

    def find(*parts: str) -> Path:
        path = SHARED_DATA.joinpath(*parts)
        if not path.exists():
            pytest.skip(f"needs {'/'.join(parts)} in {SHARED_DATA}, which is not there")
        return path

    return find


@pytest.fixture(scope="session")
def chromium():
    """One browser for all files of a process: `tests.browser.browser` lends it to a file."""
    from tests.browser import Chromium

    found = Chromium()
    yield found
    found.stop()


@pytest.fixture
def plant():
    """Makes planted work, and lets all of it end with the test."""
    made = []

    def planted(*args, **kwargs):
        made.append(Planted(*args, **kwargs))
        return made[-1]

    yield planted
    for each in made:
        each.gate.set()
