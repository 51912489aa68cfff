"""The app in JupyterLab, in a browser: run the notebook, tap the Map, and read the selection back in a cell."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import nbformat
import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser import faults
from tests.offline import Offline, offline
from tests.places import REPO
from tests.ui.stage import SCRIPT

pytestmark = pytest.mark.ui

NOTEBOOK = REPO / "apps" / "atlas_lab.ipynb"

STARTING = 120_000
"""Milliseconds for a kernel to import everything and send the first app, two busy cores given."""

SETTINGS = {
    "@jupyterlab/notebook-extension/tracker": {"autoStartDefaultKernel": True},
    "@jupyterlab/apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False, "doNotDisturbMode": True},
}
"""No question is asked before the notebook can be run, and nothing is asked of the network."""

LARGE = {"width": 1500, "height": 1400}


@dataclass
class Lab:
    """A JupyterLab of this test alone."""

    url: str
    world: Offline


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    home = tmp_path_factory.mktemp("lab")
    world = offline(home, REPO)
    work = home / "work"
    work.mkdir()
    shutil.copy(NOTEBOOK, work)
    for name, values in SETTINGS.items():
        file = home / "settings" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(values), encoding="utf-8")
    places = {"JUPYTER_CONFIG_DIR": "config", "JUPYTER_DATA_DIR": "data", "JUPYTER_RUNTIME_DIR": "runtime", "HOME": "home",
              "JUPYTERLAB_SETTINGS_DIR": "settings", "JUPYTERLAB_WORKSPACES_DIR": "spaces", "IPYTHONDIR": "ipython"}  # fmt: skip
    options = ["--no-browser", "--ip=127.0.0.1", "--port=0", "--IdentityProvider.token=", f"--ServerApp.root_dir={work}",
               "--ServerApp.allow_root=True"]  # fmt: skip
    with subprocess.Popen(
        [sys.executable, "-m", "jupyterlab", *options], cwd=work, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, env=world.environment | {name: str(home / place) for name, place in places.items()},
    ) as process:  # fmt: skip
        assert process.stderr is not None
        try:
            said = ""
            while (found := re.search(r"http://127\.0\.0\.1:\d+/", said)) is None:
                line = process.stderr.readline()
                assert line, said
                said += line
            reader = threading.Thread(target=process.stderr.read)  # a full pipe would stop it
            reader.start()
            yield Lab(found[0], world)
        finally:
            process.terminate()  # it ends its kernels, then itself
            process.wait(timeout=30)
        reader.join()


@pytest.fixture(scope="module")
def notebook(browser, lab) -> Iterator[Page]:
    """The notebook, open and all of it run once for all tests; they fail if the browser reported an error of ours."""
    page = browser.new_page(viewport=LARGE)
    page.add_init_script(SCRIPT)
    found = faults(page)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{lab.url}doc/tree/{NOTEBOOK.name}")
    page.locator(".jp-NotebookPanel .jp-CodeCell").first.wait_for(timeout=STARTING)
    # JupyterLab forgets what it was asked to run before its kernel was there, and a second asking is a second connection.
    page.get_by_role("button", name=re.compile("ipykernel.*Idle")).wait_for(timeout=STARTING)
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    expect(page.locator(".jp-CodeCell .jp-InputPrompt").last).to_have_text(re.compile(r"\[\d+\]"), timeout=STARTING)
    yield page
    page.close()
    # JupyterLab's own troubles with a kernel that is slow to start are on record under its own scripts.
    ours = [fault for fault in found if "/static/lab/" not in fault and "/api/" not in fault]
    assert not ours, "\n".join(ours)
    assert [url for url in asked if not url.startswith((lab.url, lab.url.replace("http", "ws"), "data:", "blob:"))] == []
    assert lab.world.asked() == ""


def cell(page: Page, source: str) -> Locator:
    """The code cell that holds some source."""
    return page.locator(".jp-CodeCell", has=page.locator(".jp-InputArea-editor", has_text=source)).first


def run(page: Page, source: str) -> str:
    """Run a cell again; what it then says."""
    wanted = cell(page, source)
    prompt = wanted.locator(".jp-InputPrompt")
    before = prompt.inner_text()
    wanted.locator(".cm-content").click()
    page.keyboard.press("Control+Enter")
    expect(prompt).not_to_have_text(before)
    expect(prompt).to_have_text(re.compile(r"\[\d+\]"))
    return wanted.locator(".jp-OutputArea-output").last.inner_text()


def tap(page: Page, x: float, y: float) -> None:
    """Click on the Map of the first app."""
    page.locator(".aa-map").first.scroll_into_view_if_needed()
    page.wait_for_function("aa.there('.aa-map')")
    page.mouse.click(*page.evaluate(f"aa.at('.aa-map', {x}, {y})"))


def test_the_app_is_live_in_both_directions(notebook: Page) -> None:
    # What Python selected is on the page ...
    expect(notebook.get_by_text("4 heads of the last layer of cross attention").first).to_be_visible()
    # ... and what is tapped on the page is in Python.
    assert run(notebook, "app.selection.focus").count("HeadId(kind='cross', layer=2, head=") == 5  # the focus, and four selected
    tap(notebook, 2.5 / 4, 1.5 / 3)
    expect(notebook.get_by_text("cross L1 H2").first).to_be_visible()
    said = run(notebook, "app.selection.focus")
    assert said.count("HeadId(kind='cross', layer=1, head=2)") == 2, said  # the focus, and the one selected head
    assert "[1 rows" in said or run(notebook, "app.heads").count("cross") == 1


def test_another_text_runs_on_the_loop_of_the_kernel(notebook: Page) -> None:
    notebook.locator(".aa-text textarea").first.fill("the second of May, two thousand and one")
    notebook.locator(".aa-run button").first.click()
    expect(notebook.locator(".aa-strip-source").first).to_contain_text("thousand", timeout=STARTING)
    assert "11" in run(notebook, "app.trace.attention(")


def test_the_notebook_is_committed_without_what_it_printed() -> None:
    read = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(read)
    code = [each for each in read.cells if each.cell_type == "code"]
    assert [each for each in code if each.outputs or each.execution_count is not None] == []
