"""The numbers under the pointer of a raster that no server answers for: an image nobody sees, a value a cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from bokeh.models import ColumnDataSource, CustomJSHover, HoverTool, LinearColorMapper
from bokeh.models.glyphs import Image

from atlas.plots.raster import Array

HOVER_CELLS = 100_000
"""Most cells: their names and values are then a megabyte of the file."""

NUMBER = """
if (!Number.isFinite(value)) { return "N/A" }
return value !== 0 && Math.abs(value) < 1e-3 ? value.toExponential(2) : value.toPrecision(3)
"""
NAME = "return names[value]"


def add_cell_hover(figure: Any, values: Array, names: Mapping[str, Sequence[str]], reading: str) -> None:
    """Let the pointer read a plane of side 1 with y downwards.

    Parameters
    ----------
    figure
        The Bokeh figure.
    values
        Rows x columns; where all of them are NaN only the names are shown.
    names
        Title -> names, of the rows, of the columns, or of all cells one after the other.
    reading
        What a value is called.
    """
    down, across = values.shape
    row, column = np.indices(values.shape, dtype=np.uint32)
    places = {down: row, across: column, down * across: row * across + column}
    data: dict[str, Any] = {"image": [np.asarray(values, np.float32)], "x": [0.0], "y": [0.0], "dw": [1.0], "dh": [1.0]}
    tooltips: list[tuple[str, str]] = []
    formatters: dict[str, Any] = {}
    for at, (title, of) in enumerate(names.items()):
        # A square plane has as many rows as columns: rows come first.
        data[f"name{at}"] = [row if at == 0 and len(of) == down else places[len(of)]]
        tooltips.append((title, f"@name{at}{{custom}}"))
        formatters[f"@name{at}"] = CustomJSHover(args={"names": list(of)}, code=NAME)
    if np.isfinite(values).any():
        tooltips.append((reading, "@image{custom}"))
        formatters["@image"] = CustomJSHover(code=NUMBER)
    mapper = LinearColorMapper(palette=["#ffffff"], low=0.0, high=1.0)
    glyph = Image(image="image", x="x", y="y", dw="dw", dh="dh", color_mapper=mapper, global_alpha=0.0)
    renderer = figure.add_glyph(ColumnDataSource(data), glyph)
    figure.add_tools(HoverTool(renderers=[renderer], tooltips=tooltips, formatters=formatters, description="Numbers"))
