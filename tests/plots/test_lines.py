"""Lines over positions and layers, as they are drawn."""

from __future__ import annotations

import holoviews as hv
import numpy as np
import pytest

from atlas.plots.lines import Line, part_lines


@pytest.mark.parametrize(("at", "apart"), [([0.0, 1.0], 1.0), ([0.0, 0.25, 1.0], 0.0)])
def test_between_two_positions_there_is_no_tick(at, apart):
    hv.extension("bokeh", logo=False)
    line = Line("token", np.array(at), np.ones(len(at)), [""] * len(at))
    drawn = part_lines([line], x_label="position", x_range=(-0.5, 1.5), label="length")
    assert hv.renderer("bokeh").get_plot(drawn).handles["xaxis"].ticker.min_interval == apart
