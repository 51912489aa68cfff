"""4,096 tokens in the browser: zoomed until one head fills the Map, and on until cells are seen, its pixels are the weights."""

from __future__ import annotations

import contextlib
import itertools

import numpy as np
import pytest
import torch
import transformers as tr

from atlas.engine.loading.load import load
from atlas.engine.loading.quiet_libraries import quiet_transformers
from atlas.engine.running.service import Service
from atlas.jobs import worked_out
from atlas.plots.colours import LEVELS, MASKED, MASKED_LINE
from atlas.scheduler import Ticket
from atlas.state.opening import Opening
from tests.browser import wait_until
from tests.engine.families import VOCABULARY, tokenizer
from tests.ui.stage import seated

pytestmark = [pytest.mark.ui, pytest.mark.timeout(600)]

TOKENS, LAYERS, HEADS = 4096, 2, 2

WORDS = ("the", "doctor", "said", "that", "she", "was", "tired", "because", "cat", "ran", "after", "dog", "and", "away", "from")

PATIENCE = 90_000
"""Milliseconds: 4,096 tokens are a long strip for a browser without a graphics card."""

HEAD = (1, 0)
"""(layer, head) that is looked at."""

GAP = 1 / 66
"""Share of a head's square that is left free on each side: one cell of a thumbnail of 64."""

NEAR = 1e-6
"""Cells: an edge of a pixel this near to an edge of a cell may count on either side of it."""


def long_gpt():
    """A narrow GPT-2 for 4,096 tokens, its matrices so large that weights differ."""
    torch.manual_seed(0)
    with quiet_transformers():
        config = tr.GPT2Config(vocab_size=VOCABULARY, n_embd=16, n_layer=LAYERS, n_head=HEADS, n_positions=TOKENS,
                               bos_token_id=2, eos_token_id=3)  # fmt: skip
        model = tr.GPT2LMHeadModel(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1 and "wpe" not in name:
                parameter.mul_(6.0)
    return model


@pytest.fixture(scope="module")
def visit(browser):
    """The page, with the long text on it."""
    service = Service()
    name = service.give(load((long_gpt(), tokenizer(special=False))))
    text = " ".join(np.random.default_rng(0).choice(WORDS, TOKENS))
    first = Opening(name, text)
    worked_out(service, first.job(), Ticket())  # traces are shared: the page then waits for nothing but itself
    with seated(browser, first, service, patience=PATIENCE) as seat:
        yield seat


def cells(low, high, square, count):
    """(narrow, wide) half-open ranges of the cells a pixel from `low` to `high` of the plane shows; None in the gap.

    A pixel that is wider than a cell shows all it touches, a narrower one the cell under its middle. Narrow and wide: without and
    with the cells whose edge is that of the pixel, to the last digit.
    """
    a, b = (((at - square) - GAP) / (1 - 2 * GAP) * count for at in (low, high))
    if a < b - a or b > count - (b - a):
        return None  # the first and the last pixel show what lies under the gap too
    if b - a <= 1:
        middle = (a + b) / 2
        ends = [(int(np.floor(middle + off)), int(np.floor(middle + off)) + 1) for off in (-NEAR, NEAR)]
        return (ends[0], ends[1])
    return (
        (int(np.floor(a + NEAR)), int(np.ceil(b - NEAR))),
        (max(0, int(np.floor(a - NEAR))), min(count, int(np.ceil(b + NEAR)))),
    )


TURN = 5_000
"""Milliseconds in which a turn of the wheel is seen, or was dropped."""

TURNS = 40
"""Turns of the wheel at most; each leaves six tenths of what is across."""


def zoom_to(seat, plot, place, cells_across):
    """Turn the wheel over a place until so many cells are across."""
    for _ in range(TURNS):
        # The server names what is in the window on the axes. Tokens have longer names than layers and push the plot aside, by 37
        # pixels, when they come, and back when they go: a wheel turned meanwhile turns over another place.
        ready(seat, plot)
        plot.rest()
        x0, x1, y0, y1 = plot.ranges()
        if (x1 - x0) * HEADS * TOKENS <= cells_across:
            return
        assert x0 <= place[0] <= x1
        assert min(y0, y1) <= place[1] <= max(y0, y1)
        plot.wheel(*place, -240)
        # Chromium may drop a turn of the wheel while its main thread is busy; it is turned again then.
        with contextlib.suppress(TimeoutError):
            wait_until(lambda before=x1 - x0: plot.ranges()[1] - plot.ranges()[0] < before, seat.page, TURN)
    under = seat.page.evaluate("([x, y]) => document.elementFromPoint(x, y)?.outerHTML.slice(0, 200)", list(plot.at(*place)))
    pytest.fail(f"the wheel does not zoom the Map so far: {plot.ranges()}; under the pointer is {under}")


def expected(trace, scale, found):
    """(low, high) colours each pixel of a raster may have, from `trace.attention` of its window; -1: it is not of the head."""
    layer, head = HEAD
    height, width = found["bytes"].shape
    x = (found["x"] + np.arange(width + 1) / width * found["dw"]) * HEADS
    y = (found["y"] + np.arange(height + 1) / height * found["dh"]) * LAYERS
    columns = [cells(a, b, head, TOKENS) for a, b in itertools.pairwise(x)]
    rows = [cells(a, b, layer, TOKENS) for a, b in itertools.pairwise(y)]
    there = [at for at, part in enumerate(columns) if part is not None]
    narrow, wide = (np.array([columns[at][which] for at in there]) for which in (0, 1))
    first, top = (min(part[1][0] for part in parts if part) for parts in (columns, rows))
    last, bottom = (max(part[1][1] for part in parts if part) for parts in (columns, rows))
    window = trace.attention(layer=layer, head=head, queries=range(top, bottom), keys=range(first, last)).to_numpy()
    window = np.where(np.isnan(window), -1.0, window)
    low, high = (np.full((height, width), -1, int) for _ in range(2))
    for row, part in enumerate(rows):
        if part is None:
            continue
        inner, outer = (window[start - top : stop - top].max(axis=0) for start, stop in part)
        both = np.sort([maxima(inner, narrow - first), maxima(outer, wide - first)], axis=0)
        low[row, there], high[row, there] = colours(both, scale)
    return low, high


def maxima(values, ranges):
    """The largest of the values of each half-open range."""
    return np.maximum.reduceat(np.append(values, -1.0), ranges.ravel())[::2]


def colours(values, top):
    """The steps of the linear scale, or what hatched cells count as."""
    return np.where(values < 0, MASKED, np.clip(np.floor(values / top * (LEVELS - 1)), 0, LEVELS - 1)).astype(int)


def assert_is_the_attention(seat, plot):
    """Every pixel on screen that lies in the head, against the weights of its window."""
    view = seat.app.tabs.view("map")
    found = plot.raster()
    low, high = expected(seat.app.trace, view.scale().ceiling, found)
    pixels = found["bytes"].astype(int)
    pixels[pixels == MASKED_LINE] = MASKED
    inside = low >= 0
    assert inside.mean() > 0.5, "the head is not what fills the plot"
    assert (pixels[inside] >= low[inside] - 1).all()
    assert (pixels[inside] <= high[inside] + 1).all()
    assert len(np.unique(pixels[inside])) > 5, "a picture of one colour proves nothing"
    return found


def ready(seat, plot):
    """Wait until the raster covers what the axes say, twice the same."""

    def covers():
        x0, x1, _, y0 = plot.ranges()
        found = plot.raster()
        assert found["x"] <= max(x0, 0) + 1e-9
        assert found["x"] + found["dw"] >= min(x1, 1) - 1e-9
        assert found["dw"] <= (min(x1, 1) - max(x0, 0)) * 1.01
        assert found["y"] <= max(y0, 0) + 1e-9

    seat.until(covers)


def test_zoomed_until_one_head_fills_it_the_map_is_block_maxima_of_the_attention(seat):
    plot = seat.plot(".aa-map")
    zoom_to(seat, plot, ((HEAD[1] + 0.02) / HEADS, (HEAD[0] + 0.98) / LAYERS), TOKENS)
    found = assert_is_the_attention(seat, plot)
    per_pixel = found["dw"] * HEADS * TOKENS / found["bytes"].shape[1]
    assert per_pixel > 2, "a pixel covers several cells here"


def test_zoomed_until_cells_are_seen_each_of_them_is_its_weight(seat):
    plot = seat.plot(".aa-map")
    zoom_to(seat, plot, ((HEAD[1] + 0.9) / HEADS, (HEAD[0] + 0.95) / LAYERS), 64)
    found = assert_is_the_attention(seat, plot)
    per_cell = found["bytes"].shape[1] / (found["dw"] * HEADS * TOKENS)
    assert per_cell > 4, "a cell is several pixels wide here"
    tokens = seat.app.trace.tokens()["token"].tolist()
    first = round((found["x"] * HEADS - HEAD[1] - GAP) / (1 - 2 * GAP) * TOKENS)
    named = [name for name in plot.labels("x") if name]
    assert named, "the axis names tokens"
    assert all(name in tokens for name in named)
    assert set(named) <= set(tokens[max(0, first - 1) : first + 70])
