"""Every colour and every mark on screen. Its meaning decides a colour, never its position in a list.

Magnitude has one ramp and signed difference another. Both start at the colour of the paper, and have a light and a dark form.
Categories have Okabe & Ito's (2008, Color Universal Design) colours, each with a shape, so that no reader needs colour.
`CATEGORIES` is the only table of categories: a category without a mark or a mark without a letter cannot be written.
"""

from __future__ import annotations

import functools
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from atlas.plots.oklab import from_hex, linear, mixed, ramp

FONT = "Roboto, Helvetica, Arial, sans-serif"
"""The fonts of the page, in its order; nothing is fetched. The page sets the fonts of its plots once, when it opens, so a plot
drawn later needs the same list."""


@dataclass(frozen=True, slots=True)
class Theme:
    """Colours of everything around the data."""

    paper: str
    ink: str
    muted: str
    """Text of less weight; still readable on the paper."""
    rule: str
    """Axis lines and grids."""
    accent: str
    """Selected items."""


LIGHT = Theme(paper="#ffffff", ink="#1a1c20", muted="#5a606b", rule="#d8dce3", accent="#c2410c")
DARK = Theme(paper="#121212", ink="#eceef2", muted="#a3a9b5", rule="#353a44", accent="#ff9d5c")


def theme(*, dark: bool) -> Theme:
    """The colours of everything around the data."""
    return DARK if dark else LIGHT


# -- ramps -------------------------------------------------------------------------------------------------------------

COLOURS = 256
SIGNED_COLOURS = 255
"""Odd, so that the middle one stands for 0."""

_MAGNITUDE = {
    False: ((0.905, 0.070, 135.0), (0.735, 0.100, 197.0), (0.520, 0.130, 250.0), (0.280, 0.105, 280.0)),
    True: ((0.370, 0.105, 282.0), (0.540, 0.120, 248.0), (0.715, 0.110, 195.0), (0.860, 0.125, 138.0), (0.970, 0.090, 105.0)),
}
"""Yellow-green, teal, blue, indigo: further from the paper with every step, dark on light and bright on dark."""

_NEGATIVE = {False: ((0.760, 0.090, 302.0), (0.460, 0.170, 302.0)), True: ((0.480, 0.130, 302.0), (0.800, 0.105, 302.0))}
_POSITIVE = {False: ((0.790, 0.100, 65.0), (0.480, 0.115, 52.0)), True: ((0.490, 0.105, 62.0), (0.800, 0.130, 72.0))}
"""Purple and orange: distinct for every kind of colour vision, and distinct from the ramp of magnitude."""


@functools.cache
def sequential(*, dark: bool, n: int = COLOURS) -> tuple[str, ...]:
    """Colours of magnitude, from 0 (the paper) to the largest value."""
    return ramp(theme(dark=dark).paper, _MAGNITUDE[dark], n)


@functools.cache
def diverging(*, dark: bool, n: int = SIGNED_COLOURS) -> tuple[str, ...]:
    """Colours of signed difference, from the most negative through 0 (the paper) to the most positive; `n` is odd."""
    paper, half = theme(dark=dark).paper, n // 2 + 1
    return (*ramp(paper, _NEGATIVE[dark], half)[::-1], *ramp(paper, _POSITIVE[dark], half)[1:])


def coloured(values: npt.ArrayLike, limits: tuple[float, float], colours: Sequence[str], unknown: str) -> list[str]:
    """The colour of each value on a fixed scale. Values beyond the ends get the colours of the ends, NaN gets `unknown`."""
    numbers = np.asarray(values, dtype=float)
    low, high = limits
    share = (numbers - low) / (high - low) if high > low else np.zeros_like(numbers)
    places = np.clip(np.nan_to_num(share, nan=0.0) * len(colours), 0, len(colours) - 1).astype(int)
    return [unknown if np.isnan(number) else colours[place] for number, place in zip(numbers, places, strict=True)]


# -- rasters -----------------------------------------------------------------------------------------------------------

LEVELS = 240
"""Steps of magnitude in a raster of bytes, 0 to 239; the constants below name the other bytes. Drawn with limits (0, 255)."""

SIGNED_LEVELS = LEVELS - 1
"""The same for signed values: odd, so that one of them stands for 0."""

BACKGROUND, MASKED, MASKED_LINE, OUTSIDE, SELECTED_BAND, OUTLINE, FOCUS, UNKNOWN, LABEL = range(LEVELS, LEVELS + 9)
"""Space between heads · cells a query may not attend to, and the hatching on them · cells outside the selection · frame of
selected rows and columns · frame of selected heads · frame of the focused head · unknown values · text."""


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
"""Okabe & Ito's colours without black, because black is the ink of one theme and the paper of the other. Grey is for clusters
without a name."""

HUES = (ORANGE, SKY, GREEN, YELLOW, BLUE, VERMILION, PURPLE)


class Mark(NamedTuple):
    """A shape of a category: as the plot draws it and as a line of text writes it."""

    marker: str
    """Bokeh's name of the shape. All shapes are filled, so that colour and outline both show."""
    letter: str
    """The same shape as a character, for keys and legends."""


CIRCLE, SQUARE, DIAMOND = Mark("circle", "●"), Mark("square", "■"), Mark("diamond", "◆")
TRIANGLE, INVERTED_TRIANGLE = Mark("triangle", "▲"), Mark("inverted_triangle", "▼")
PLUS, STAR, DASH = Mark("plus", "✚"), Mark("star", "★"), Mark("dash", "▬")

MARKS = (CIRCLE, SQUARE, TRIANGLE, DIAMOND, INVERTED_TRIANGLE, PLUS, STAR)


@dataclass(frozen=True, slots=True)
class Category:
    """How a category is drawn."""

    colour: str
    mark: Mark

    @property
    def marker(self) -> str:
        """Bokeh's name of the shape."""
        return self.mark.marker

    @property
    def letter(self) -> str:
        """The shape as a character."""
        return self.mark.letter


UNNAMED = "unnamed"

CATEGORIES: Mapping[str, Category] = MappingProxyType({
    "previous token": Category(BLUE, TRIANGLE),
    "next token": Category(SKY, INVERTED_TRIANGLE),
    "self": Category(PURPLE, CIRCLE),
    "induction": Category(VERMILION, STAR),
    "duplicate token": Category(BLUE, SQUARE),
    "[CLS] or BOS": Category(ORANGE, DIAMOND),
    "first token": Category(ORANGE, SQUARE),
    "special tokens": Category(ORANGE, PLUS),
    "learned sink": Category(ORANGE, STAR),
    "punctuation": Category(PURPLE, DIAMOND),
    "named entities": Category(GREEN, STAR),
    "function words": Category(GREEN, INVERTED_TRIANGLE),
    "content words": Category(GREEN, CIRCLE),
    "far": Category(YELLOW, TRIANGLE),
    "near": Category(YELLOW, CIRCLE),
    "broad": Category(SKY, CIRCLE),
    "focused": Category(VERMILION, DIAMOND),
    "off special tokens": Category(PURPLE, PLUS),
    "off [CLS] or BOS": Category(PURPLE, SQUARE),
    "off the first token": Category(PURPLE, STAR),
    UNNAMED: Category(GREY, CIRCLE),
    "other tokens": Category(GREY, INVERTED_TRIANGLE),
    "too few rows": Category(GREY, DIAMOND),
    "N/A": Category(GREY, SQUARE),
})  # fmt: skip

_NUMBERED = re.compile(r"^(?P<name>.+) (?P<number>\d+)$")


def category(name: str) -> Category:
    """How a role, a cluster or any other category is drawn: the same in every view, session and theme.

    A second cluster of the same name keeps the colour and takes another shape. A name that is not in the table gets a colour
    and a shape from its checksum.
    """
    known = CATEGORIES.get(name)
    if known is not None:
        return known
    numbered = _NUMBERED.match(name)
    if numbered and numbered["name"] in CATEGORIES:
        first = CATEGORIES[numbered["name"]]
        shape = MARKS.index(first.mark) + int(numbered["number"]) - 1
        return Category(first.colour, MARKS[shape % len(MARKS)])
    # Not Python's `hash`, because that differs from process to process.
    checksum = zlib.crc32(name.encode("utf-8", "surrogatepass"))
    return Category(HUES[checksum % len(HUES)], MARKS[checksum // len(HUES) % len(MARKS)])


def key_of(names: Iterable[str]) -> dict[str, Category]:
    """Each name once, in order of appearance, with how it is drawn: the content of a legend."""
    return {name: category(name) for name in dict.fromkeys(names)}


# -- contrast ----------------------------------------------------------------------------------------------------------

WEIGHTS = np.array([0.2126, 0.7152, 0.0722])
"""Relative luminance of red, green and blue light (WCAG 2.2)."""


def contrast(colour: str, other: str) -> float:
    """Contrast ratio of two colours after WCAG, 1 to 21."""
    light = sorted(float(linear(from_hex(each)) @ WEIGHTS) for each in (colour, other))
    return (light[1] + 0.05) / (light[0] + 0.05)


def text_on(colour: str) -> str:
    """Black or white, whichever is easier to read on a colour."""
    return max(("#000000", "#ffffff"), key=lambda ink: contrast(ink, colour))
