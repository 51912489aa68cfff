from __future__ import annotations

import re
import subprocess
import sys
from itertools import combinations

import numpy as np
import pytest

from atlas.metrics import ROLES
from atlas.metrics.traits import HIGH, LOW
from atlas.plots import colours
from atlas.plots.colours import (
    CATEGORIES,
    COLOURS,
    LEVELS,
    MARKS,
    UNNAMED,
    category,
    coloured,
    contrast,
    diverging,
    key_of,
    raster_palette,
    sequential,
    text_on,
    theme,
)
from atlas.plots.oklab import encoded, from_hex, linear, mixed, to_hex, to_lab
from atlas.tracing.groups import FEW_ROWS, UNTOLD
from atlas.tracing.hidden import OTHER

BOTH = pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])

DEFICIENCIES = {
    "none": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
"""How colours look without one kind of cone: Machado, Oliveira & Fernandes 2009, at full severity, on linear light."""

SEEN = pytest.mark.parametrize("matrix", DEFICIENCIES.values(), ids=DEFICIENCIES)

NAMED = ("BACKGROUND", "MASKED", "MASKED_LINE", "OUTSIDE", "SELECTED_BAND", "OUTLINE", "FOCUS", "UNKNOWN", "LABEL")


def seen(palette, matrix):
    """OKLab of a palette as somebody sees it."""
    light = np.array([linear(from_hex(colour)) for colour in palette]) @ np.array(matrix).T
    return np.array([to_lab(to_hex(encoded(one))) for one in light])


def steps(lab, by=8):
    return np.linalg.norm(lab[by:] - lab[:-by], axis=1)


@BOTH
def test_magnitude_starts_at_the_paper_and_moves_away_from_it_evenly(dark):
    ramp = sequential(dark=dark)
    assert len(ramp) == COLOURS
    assert ramp[0] == theme(dark=dark).paper
    lab = np.array([to_lab(colour) for colour in ramp])
    brighter = np.diff(lab[::4, 0])
    assert (brighter > 0).all() if dark else (brighter < 0).all()
    assert steps(lab).max() < 1.3 * steps(lab).min()
    # Eight steps of 256 can be told apart: the just noticeable difference is about 0.02.
    assert steps(lab).min() > 0.02


@BOTH
@SEEN
def test_magnitude_keeps_its_order_for_every_colour_vision(dark, matrix):
    lightness = seen(sequential(dark=dark), matrix)[:, 0]
    assert (np.diff(lightness[::8]) * (1 if dark else -1) > 0).all()


@BOTH
def test_signed_colours_have_the_paper_in_the_middle_and_equal_arms(dark):
    ramp = diverging(dark=dark)
    middle = len(ramp) // 2
    assert len(ramp) % 2 == 1
    assert ramp[middle] == theme(dark=dark).paper
    lab = np.array([to_lab(colour) for colour in ramp])
    for arm in (lab[: middle + 1][::-1], lab[middle:]):
        assert (np.diff(arm[::4, 0]) * (1 if dark else -1) > 0).all()
        assert steps(arm).max() < 1.3 * steps(arm).min()
    far = [np.linalg.norm(lab[end] - lab[middle]) for end in (0, -1)]
    assert max(far) < 1.25 * min(far)


@BOTH
@SEEN
def test_signs_are_told_apart_by_every_colour_vision(dark, matrix):
    lab = seen(diverging(dark=dark), matrix)
    middle = len(lab) // 2
    for away in (middle // 2, middle):
        assert np.linalg.norm(lab[middle - away] - lab[middle + away]) > 0.1


@BOTH
def test_magnitude_and_sign_share_no_colour_but_the_paper(dark):
    one, other = (np.array([to_lab(c) for c in made(dark=dark)]) for made in (sequential, diverging))
    strong = [ramp[np.linalg.norm(ramp - to_lab(theme(dark=dark).paper), axis=1) > 0.25] for ramp in (one, other)]
    distances = np.linalg.norm(strong[0][:, None] - strong[1][None], axis=-1)
    assert distances.min() > 0.04


@BOTH
def test_text_is_readable_on_every_step(dark):
    for colour in {*sequential(dark=dark), *diverging(dark=dark), *raster_palette(dark=dark), *colours.HUES}:
        assert contrast(text_on(colour), colour) >= 4.5


@BOTH
def test_words_are_readable_on_the_paper_and_marks_have_an_edge(dark):
    around = theme(dark=dark)
    assert contrast(around.ink, around.paper) >= 12
    assert contrast(around.muted, around.paper) >= 4.5
    assert contrast(around.accent, around.paper) >= 4.5
    # Yellow on white has no contrast to speak of; the edge of every mark has.
    edge = mixed(around.ink, around.paper, 0.4)
    assert contrast(edge, around.paper) >= 3


@BOTH
def test_the_raster_palette_has_its_levels_and_its_named_bytes(dark):
    palette = raster_palette(dark=dark)
    assert len(palette) == 256
    assert all(re.fullmatch("#[0-9a-f]{6}", colour) for colour in palette)
    assert palette[:LEVELS] == sequential(dark=dark, n=LEVELS)
    indices = [getattr(colours, name) for name in NAMED]
    assert indices == list(range(LEVELS, LEVELS + len(NAMED)))
    assert palette[colours.BACKGROUND] == theme(dark=dark).paper
    masked = contrast(palette[colours.MASKED], palette[colours.MASKED_LINE])
    # The hatching is seen, and quieter than any strong weight.
    assert 1.3 < masked < 3
    assert palette[colours.MASKED] != palette[0]


def test_bytes_are_drawn_in_the_colour_they_name():
    """Bokeh's mapper divides the range into as many parts as there are colours: 240 of 0 to 255 must be the 240th."""
    for byte in range(256):
        assert min(int(byte / 255 * 256), 255) == byte


def test_every_role_and_every_cluster_name_is_drawn_in_a_way_of_its_own():
    names = {*HIGH.values(), *LOW.values(), UNNAMED, FEW_ROWS, UNTOLD, OTHER}
    assert names <= set(CATEGORIES)
    assert set(CATEGORIES) == names
    pairs = list(CATEGORIES.values())
    assert len(set(pairs)) == len(pairs)
    assert {how.mark for how in pairs} <= set(MARKS)
    assert {HIGH[role] for role in ROLES} <= set(CATEGORIES)


def test_every_mark_is_bokehs_and_has_one_letter_of_its_own():
    from bokeh.core.enums import MarkerType

    assert {mark.marker for mark in MARKS} <= set(MarkerType)
    assert len({mark.marker for mark in MARKS}) == len({mark.letter for mark in MARKS}) == len(MARKS)
    assert all(len(mark.letter) == 1 for mark in MARKS)


def test_what_has_no_name_is_always_grey_and_nothing_else_is():
    for name in ("unnamed", "unnamed 2", "unnamed 5", FEW_ROWS, UNTOLD, OTHER):
        red, green, blue = from_hex(category(name).colour)
        assert max(red, green, blue) - min(red, green, blue) < 0.1
    assert len({category(name).marker for name in ("unnamed", "unnamed 2", "unnamed 3")}) == 3
    assert all(how.colour != colours.GREY for name, how in CATEGORIES.items() if name not in {UNNAMED, FEW_ROWS, UNTOLD, OTHER})


def test_a_second_cluster_of_a_name_keeps_the_colour_and_changes_shape():
    first, second = category("broad"), category("broad 2")
    assert first.colour == second.colour
    assert first.marker != second.marker


def test_unknown_names_are_drawn_the_same_in_every_process():
    names = ["Konjunktion", "L3", "<script>", "", "\ud800", "broad 2nd"]
    code = f"from atlas.plots.colours import category\nprint([(how.colour, how.marker) for how in map(category, {names!r})])"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert other == str([(category(name).colour, category(name).marker) for name in names])
    assert len({category(f"name {chr(97 + at)}") for at in range(26)}) > 10


@SEEN
def test_hues_are_told_apart_by_every_colour_vision(matrix):
    lab = seen(colours.HUES, matrix)
    near = [(np.linalg.norm(lab[i] - lab[j]), i, j) for i, j in combinations(range(len(lab)), 2)]
    assert min(near)[0] > 0.05


def test_a_key_has_each_name_once_in_order():
    assert list(key_of(["broad", "unnamed", "broad", "near"])) == ["broad", "unnamed", "near"]


def test_values_are_coloured_on_a_fixed_scale():
    ramp = ("#000000", "#111111", "#222222", "#333333")
    assert coloured([0, 0.24, 0.25, 0.99, 1, 2, -1, np.nan], (0, 1), ramp, "none") == [
        *("#000000", "#000000", "#111111", "#333333", "#333333", "#333333", "#000000"),
        "none",
    ]
    assert coloured([3.0, np.nan], (3, 3), ramp, "none") == ["#000000", "none"]


def test_contrast_is_wcags():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)
    assert contrast("#ffffff", "#777777") == contrast("#777777", "#ffffff")


def test_oklab_is_ottossons():
    np.testing.assert_allclose(to_lab("#ffffff"), [1, 0, 0], atol=1e-4)
    # His example of a pure red, to three digits.
    np.testing.assert_allclose(to_lab("#ff0000"), [0.628, 0.225, 0.126], atol=1e-3)
    for colour in ("#123456", "#e69f00", "#0072b2"):
        assert mixed(colour, "#ffffff", 0.0) == colour
