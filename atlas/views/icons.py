"""Signs on buttons as drawings: an icon font has to be fetched, and where it cannot be its words stand on the buttons."""

from __future__ import annotations

_FRAME = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24" fill="{fill}" stroke="{stroke}" stroke-width="2.4">{shape}</svg>'
)


def _solid(path: str) -> str:
    return _FRAME.format(fill="#000", stroke="none", shape=f'<path d="{path}"/>')


def _lines(path: str) -> str:
    return _FRAME.format(fill="none", stroke="#000", shape=f'<path d="{path}" stroke-linecap="round"/>')


RUN = _solid("M7 4l13 8-13 8z")
STOP = _solid("M6 6h12v12H6z")
LINK = _lines("M9.5 14.5l5-5M11 7.5l2.5-2.5a3.9 3.9 0 0 1 5.5 5.5L16.5 13M13 16.5L10.5 19a3.9 3.9 0 0 1-5.5-5.5L7.5 11")
