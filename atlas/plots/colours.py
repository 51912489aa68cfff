"""Every colour on screen, in one place: what it means decides it, never its position in a list.

Magnitude has one ramp and signed difference another, both starting at the paper they are drawn on, in a light and a dark
form. Categories are Okabe & Ito's (2008, Color Universal Design) colours, each with a shape, so that no reader needs colour.
"""

from __future__ import annotations

import functools
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from atlas.plots.oklab import from_hex, linear, mixed, ramp

FONT = "Roboto, Helvetica, Arial, sans-serif"
"""The page's own, in the page's order; nothing is fetched. The page dresses plots like itself once, when it opens: one that is
drawn anew would stand out in other letters."""


@dataclass(frozen=True, slots=True)
class Theme:
    """What is drawn around the data."""

    paper: str
    ink: str
    muted: str
    """Text that steps back; still readable on the paper."""
    rule: str
    """Axis lines and grids."""
    accent: str
    """What is selected."""


LIGHT = Theme(paper="#ffffff", ink="#1a1c20", muted="#5a606b", rule="#d8dce3", accent="#c2410c")
DARK = Theme(paper="#121212", ink="#eceef2", muted="#a3a9b5", rule="#353a44", accent="#ff9d5c")


def theme(*, dark: bool) -> Theme:
    """The colours around the data."""
    return DARK if dark else LIGHT


# -- ramps -------------------------------------------------------------------------------------------------------------

COLOURS = 256
SIGNED_COLOURS = 255
"""Odd, so that one of them stands for 0."""

_MAGNITUDE = {
    False: ((0.905, 0.070, 135.0), (0.735, 0.100, 197.0), (0.520, 0.130, 250.0), (0.280, 0.105, 280.0)),
    True: ((0.370, 0.105, 282.0), (0.540, 0.120, 248.0), (0.715, 0.110, 195.0), (0.860, 0.125, 138.0), (0.970, 0.090, 105.0)),
}
"""Yellow-green, teal, blue, indigo: away from the paper, dark on light and bright on dark."""

_NEGATIVE = {False: ((0.760, 0.090, 302.0), (0.460, 0.170, 302.0)), True: ((0.480, 0.130, 302.0), (0.800, 0.105, 302.0))}
_POSITIVE = {False: ((0.790, 0.100, 65.0), (0.480, 0.115, 52.0)), True: ((0.490, 0.105, 62.0), (0.800, 0.130, 72.0))}
"""Purple and orange: apart for every kind of colour vision, and unlike any magnitude."""


@functools.cache
def sequential(*, dark: bool, n: int = COLOURS) -> tuple[str, ...]:
    """Colours of magnitude, from 0 (the paper) to the most."""
    return ramp(theme(dark=dark).paper, _MAGNITUDE[dark], n)


@functools.cache
def diverging(*, dark: bool, n: int = SIGNED_COLOURS) -> tuple[str, ...]:
    """Colours of signed difference, from the most negative over 0 (the paper) to the most positive; `n` is odd."""
    paper, half = theme(dark=dark).paper, n // 2 + 1
    return (*ramp(paper, _NEGATIVE[dark], half)[::-1], *ramp(paper, _POSITIVE[dark], half)[1:])


def coloured(values: npt.ArrayLike, limits: tuple[float, float], colours: Sequence[str], unknown: str) -> list[str]:
    """The colour of each value on a fixed scale; beyond its ends they are those of the ends, NaN is `unknown`."""
    numbers = np.asarray(values, dtype=float)
    low, high = limits
    share = (numbers - low) / (high - low) if high > low else np.zeros_like(numbers)
    places = np.clip(np.nan_to_num(share, nan=0.0) * len(colours), 0, len(colours) - 1).astype(int)
    return [unknown if np.isnan(number) else colours[place] for number, place in zip(numbers, places, strict=True)]


# -- rasters -----------------------------------------------------------------------------------------------------------

LEVELS = 240
"""Steps of magnitude in a raster of bytes, 0 to 239; the bytes above are the constants below. Drawn with limits (0, 255)."""

SIGNED_LEVELS = LEVELS - 1
"""The same for signed values: odd, so that one of them stands for 0."""

BACKGROUND, MASKED, MASKED_LINE, OUTSIDE, SELECTED_BAND, OUTLINE, FOCUS, UNKNOWN, LABEL = range(LEVELS, LEVELS + 9)
"""Between heads · where a query may not look, and the hatching there · what is not selected · the frame of selected rows and
columns · of selected heads · of the head shown large · what is not known · writing."""


@functools.cache
def raster_palette(*, dark: bool, signed: bool = False) -> tuple[str, ...]:
    """256 colours: magnitude or signed values up to `LEVELS`, then the named ones; those without a name are background."""
    around = theme(dark=dark)
    named = {
        BACKGROUND: around.paper,
        MASKED: mixed(around.paper, around.muted, 0.12),
        MASKED_LINE: mixed(around.paper, around.muted, 0.42),
        OUTSIDE: mixed(around.paper, around.muted, 0.06),
        SELECTED_BAND: around.accent,
        OUTLINE: around.accent,
        FOCUS: around.ink,
        UNKNOWN: mixed(around.paper, around.muted, 0.6),
        LABEL: around.ink,
    }
    values = (*diverging(dark=dark, n=SIGNED_LEVELS), around.paper) if signed else sequential(dark=dark, n=LEVELS)
    return (*values, *(named.get(index, around.paper) for index in range(LEVELS, COLOURS)))


# -- categories --------------------------------------------------------------------------------------------------------

ORANGE, SKY, GREEN, YELLOW = "#e69f00", "#56b4e9", "#009e73", "#f0e442"
BLUE, VERMILION, PURPLE, GREY = "#0072b2", "#d55e00", "#cc79a7", "#8b909a"
"""Okabe & Ito's, but for black, which is the ink of one theme and the paper of the other; grey is for what has no name."""

HUES = (ORANGE, SKY, GREEN, YELLOW, BLUE, VERMILION, PURPLE)
MARKERS = ("circle", "square", "triangle", "diamond", "inverted_triangle", "plus", "star")
"""Filled shapes, so that colour and outline both show."""


@dataclass(frozen=True, slots=True)
class Category:
    """How a category is drawn."""

    colour: str
    marker: str


MIXED = "mixed"

CATEGORIES: Mapping[str, Category] = MappingProxyType({
    "previous token": Category(BLUE, "triangle"),
    "next token": Category(SKY, "inverted_triangle"),
    "same token": Category(PURPLE, "circle"),
    "induction": Category(VERMILION, "star"),
    "duplicate token": Category(BLUE, "square"),
    "[CLS] or BOS": Category(ORANGE, "diamond"),
    "first token": Category(ORANGE, "square"),
    "special tokens": Category(ORANGE, "plus"),
    "learned sink": Category(ORANGE, "star"),
    "punctuation": Category(PURPLE, "diamond"),
    "named entities": Category(GREEN, "star"),
    "function words": Category(GREEN, "inverted_triangle"),
    "content words": Category(GREEN, "circle"),
    "far": Category(YELLOW, "triangle"),
    "near": Category(YELLOW, "circle"),
    "broad": Category(SKY, "circle"),
    "focused": Category(VERMILION, "diamond"),
    "off special tokens": Category(PURPLE, "plus"),
    "off [CLS] or BOS": Category(PURPLE, "square"),
    "off the first token": Category(PURPLE, "star"),
    MIXED: Category(GREY, "circle"),
})  # fmt: skip

_NUMBERED = re.compile(r"^(?P<name>.+) (?P<number>\d+)$")


def category(name: str) -> Category:
    """How a role, a cluster or any other category is drawn: the same in every view, session and theme.

    A second cluster of a name keeps its colour and takes another shape; a name that is not known gets a pair by its letters.
    """
    known = CATEGORIES.get(name)
    if known is not None:
        return known
    numbered = _NUMBERED.match(name)
    if numbered and numbered["name"] in CATEGORIES:
        first = CATEGORIES[numbered["name"]]
        shape = MARKERS.index(first.marker) + int(numbered["number"]) - 1
        return Category(first.colour, MARKERS[shape % len(MARKERS)])
    # Not Python's hash, which differs from process to process.
    letters = zlib.crc32(name.encode("utf-8", "surrogatepass"))
    return Category(HUES[letters % len(HUES)], MARKERS[letters // len(HUES) % len(MARKERS)])


def key_of(names: Iterable[str]) -> dict[str, Category]:
    """Each name once, in order of appearance, with how it is drawn: what a legend shows."""
    return {name: category(name) for name in dict.fromkeys(names)}


# -- contrast ----------------------------------------------------------------------------------------------------------

WEIGHTS = np.array([0.2126, 0.7152, 0.0722])
"""How bright the three lights are to the eye (WCAG 2.2, relative luminance)."""


def contrast(colour: str, other: str) -> float:
    """WCAG's contrast ratio of two colours, 1 to 21."""
    light = sorted(float(linear(from_hex(each)) @ WEIGHTS) for each in (colour, other))
    return (light[1] + 0.05) / (light[0] + 0.05)


def text_on(colour: str) -> str:
    """Black or white, whichever is easier to read on a colour."""
    return max(("#000000", "#ffffff"), key=lambda ink: contrast(ink, colour))
