"""Bars from zero, with rows and without any."""

from __future__ import annotations

import holoviews as hv
from holoviews.streams import Stream

from atlas.plots.signed_bars import Bar, signed_bars

ROWS = [Bar("first", 0.5, "0.5", "half"), Bar("second", -0.25, "−0.25", "a quarter less")]


def test_bars_can_go_and_come_again():
    stream = Stream.define("Rows", rows=[])(rows=ROWS)
    drawn = hv.DynamicMap(lambda rows: signed_bars(rows, rows=2, largest=1.0, label="part"), streams=[stream])
    plot = hv.renderer("bokeh").get_plot(drawn)
    source = next(each for each in plot.traverse(lambda part: part.handles.get("source")) if each and "colour" in each.data)
    try:
        for rows in ([], ROWS, ROWS[:1], []):
            stream.event(rows=rows)
            assert list(source.data["name"]) == [bar.name for bar in rows]
            assert list(source.data["right"]) == [max(bar.part, 0) for bar in rows]
    finally:
        plot.cleanup()
