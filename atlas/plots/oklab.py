"""Colour ramps in equal perceptual steps: points at equal distances along paths through OKLab.

OKLab is Ottosson's (2020) colour space, in which equal distances look about equally different. The matrices are the published
ones.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]

TO_CONES = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
"""Linear sRGB to the responses of the three cones."""

TO_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)
"""Cube roots of the cone responses to lightness and the two colour axes."""

STEPS = 2048
"""Points along a path, between which its length is measured: eight for each colour of a ramp."""

Point = tuple[float, float, float]
"""(lightness 0 to 1, chroma, hue in degrees)."""


def linear(rgb: npt.ArrayLike) -> Values:
    """SRGB from 0 to 1 as amounts of light (IEC 61966-2-1)."""
    values = np.asarray(rgb, dtype=float)
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def encoded(light: npt.ArrayLike) -> Values:
    """Amounts of light as sRGB from 0 to 1; amounts outside that range are clipped."""
    values = np.clip(np.asarray(light, dtype=float), 0.0, 1.0)
    return np.where(values <= 0.0031308, values * 12.92, 1.055 * values ** (1 / 2.4) - 0.055)


def to_lab(colour: str) -> Values:
    """OKLab of `#rrggbb`."""
    return np.asarray(np.cbrt(linear(from_hex(colour)) @ TO_CONES.T) @ TO_LAB.T)


def from_hex(colour: str) -> Values:
    """SRGB from 0 to 1 of `#rrggbb`."""
    return np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)]) / 255


def to_hex(rgb: npt.ArrayLike) -> str:
    """`#rrggbb` of sRGB from 0 to 1."""
    return "#" + "".join(f"{part:02x}" for part in (np.asarray(rgb) * 255).round().astype(int))


def mixed(colour: str, other: str, share: float) -> str:
    """A colour mixed with a share of another."""
    return _hex_of((1 - share) * to_lab(colour) + share * to_lab(other))


def ramp(start: str, points: Sequence[Point], n: int) -> tuple[str, ...]:
    """`n` colours from `start` along a smooth path through `points`, with equal differences between neighbours."""
    polar = np.array(points)
    angle = np.radians(polar[:, 2])
    stops = np.vstack([to_lab(start), np.column_stack([polar[:, 0], polar[:, 1] * np.cos(angle), polar[:, 1] * np.sin(angle)])])
    path = _smooth(stops)
    length = np.concatenate([[0.0], np.linalg.norm(np.diff(path, axis=0), axis=1).cumsum()])
    places = np.linspace(0.0, length[-1], n)
    colours = np.column_stack([np.interp(places, length, path[:, axis]) for axis in range(3)])
    return tuple(_hex_of(colour) for colour in colours)


def _smooth(stops: Values) -> Values:
    """A Catmull-Rom curve through the stops, because a reader would see a kink in the ramp as an edge."""
    ends = np.vstack([2 * stops[0] - stops[1], stops, 2 * stops[-1] - stops[-2]])
    t = np.linspace(0.0, 1.0, STEPS // (len(stops) - 1), endpoint=False)[:, None]
    pieces = [_piece(ends[at], ends[at + 1], ends[at + 2], ends[at + 3], t) for at in range(len(stops) - 1)]
    return np.vstack([*pieces, stops[-1:]])


def _piece(before: Values, start: Values, end: Values, after: Values, t: Values) -> Values:
    bend = (2 * before - 5 * start + 4 * end - after) * t**2 + (3 * (start - end) + after - before) * t**3
    return np.asarray(start + 0.5 * ((end - before) * t + bend))


def _hex_of(lab: Values) -> str:
    cones = (lab @ np.linalg.inv(TO_LAB).T) ** 3
    return to_hex(encoded(cones @ np.linalg.inv(TO_CONES).T))
