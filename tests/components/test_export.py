"""Exports as a browser makes and opens them: pictures of a card, and HTML without a network."""

from __future__ import annotations

import json
import re
from xml.etree import ElementTree as ET

import numpy as np
import panel as pn
import pytest
from PIL import Image

import atlas
from atlas.app import prepare
from atlas.tasks import TASKS
from atlas.views.single import view_types
from tests.browser import faults, served, wait_until
from tests.state.readers import single, workspace

pytestmark = pytest.mark.ui

TOKENS = ("the", "</script>", "<b>cat</b>", "ran")
SVG = "{http://www.w3.org/2000/svg}"


FIGURE = "const find = view => view.model.type === 'Figure' ? view : view.child_views.map(find).find(Boolean)"
BOX = "const {x, y, width, height} = find(Bokeh.index.roots[0]).frame.bbox; return [x, y, width, height]"
FRAME = f"() => {{ {FIGURE}; {BOX} }}"
END = f"() => {{ {FIGURE}; return find(Bokeh.index.roots[0]).model.x_range.end }}"
"""Where the frame of the plot is, and the right end of what it shows."""


def trace():
    return single(tokens=TOKENS)


def ink(picture):
    """How many colours a picture has, and the share of its most frequent one."""
    counts = sorted((count for count, _ in picture.convert("RGB").getcolors(1 << 24)), reverse=True)
    return len(counts), counts[0] / sum(counts)


def check_png(path):
    with Image.open(path) as picture:
        picture.load()
        told = json.loads(picture.text["attention-atlas"])
        colours, ground = ink(picture)
        assert picture.text["Software"].startswith("Attention Atlas")
    assert (told["view"], told["selection"]["head in focus"]) == ("matrix", "L0 H0")
    assert colours > 10
    assert ground < 0.9


def check_svg(path):
    root = ET.parse(path).getroot()
    assert root.tag == f"{SVG}svg"
    assert json.loads(root.findtext(f"{SVG}metadata"))["view"] == "matrix"
    words = " ".join(root.itertext())
    assert all(token in words for token in TOKENS)


def test_a_card_saves_what_it_shows_by_keyboard(page, tmp_path):
    prepare()
    room = workspace(trace())
    room.tasks = TASKS
    view = view_types()["matrix"](room)
    served(page, pn.Column(view, width=700), ".aa-card-matrix .question")
    card = page.locator(".aa-card-matrix")
    card.locator(".bk-Figure canvas").first.wait_for()
    button = card.get_by_role("button", name="Export")

    downloads = []
    page.on("download", lambda each: downloads.append(each))  # noqa: PLW0108  (Playwright takes no method of a list)

    def save(name, files=1):
        button.focus()
        page.keyboard.press("Enter")
        item = card.get_by_role("menuitem", name=name)
        for _ in range(8):
            if item.evaluate("el => el.getRootNode().activeElement === el"):
                break
            page.keyboard.press("ArrowDown")
        before = len(downloads)
        page.keyboard.press("Enter")
        wait_until(lambda: len(downloads) == before + files, page)
        got = downloads[before:]
        for each in got:
            each.save_as(tmp_path / each.suggested_filename)
        return [each.suggested_filename for each in got]

    assert save("PNG") == ["matrix.png"]
    check_png(tmp_path / "matrix.png")
    assert save("SVG") == ["matrix.svg"]
    check_svg(tmp_path / "matrix.svg")
    assert save("CSV", 2) == ["matrix.csv", "matrix.csv-metadata.json"]
    button.focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Escape")
    assert card.get_by_role("menu").is_hidden()
    assert button.evaluate("el => el.getRootNode().activeElement === el")


def test_html_without_a_network_is_drawn_zooms_and_has_the_numbers_under_the_pointer(browser, tmp_path):
    figure = atlas.view(trace(), "matrix")
    path = figure.save(tmp_path / "matrix.html")
    context = browser.new_context(offline=True, viewport={"width": 900, "height": 800})
    page = context.new_page()
    wrong, asked = faults(page), []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(path.as_uri())
    page.wait_for_function("() => Bokeh.documents.length === 1 && Bokeh.documents[0].is_idle")
    box = page.locator(".bk-Figure canvas").first.bounding_box()
    frame = page.evaluate(FRAME)
    at = box["x"] + frame[0] + frame[2] * 2.5 / 4, box["y"] + frame[1] + frame[3] * 1.5 / 4
    page.mouse.move(*at)
    tooltip = page.locator(".bk-Tooltip")
    tooltip.first.wait_for()
    said = tooltip.first.evaluate("el => (el.shadowRoot ?? el).textContent")
    said = said[said.rindex("row:") :]  # after its style sheets
    weight = float(trace().attention(layer=0, head=0)[1, 2])
    assert "</script> (1)" in said
    assert "<b>cat</b> (2)" in said
    assert any(np.isclose(float(number), weight, rtol=5e-3) for number in re.findall(r"\d+\.\d+", said)), said
    before = page.evaluate(END)
    page.mouse.click(*at)
    page.mouse.wheel(0, -400)
    page.wait_for_function(f"before => ({END})() < before", arg=before)
    assert page.locator("footer").inner_text().count("does not follow") == 1
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
    assert wrong == []
    context.close()


def test_a_picture_is_saved_without_a_page(tmp_path):
    check_png(atlas.view(trace(), "matrix").save(tmp_path / "matrix.png", width=500))
