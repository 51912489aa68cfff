"""What HoloViews notes of elements, with and without the patch."""

from __future__ import annotations

import holoviews as hv
import pytest
from holoviews.core.data import PipelineMeta
from holoviews.plotting import plot

from atlas.patches.pipelines import patch_pipelines


@pytest.fixture(autouse=True)
def _as_it_was(monkeypatch):
    hv.extension("bokeh", logo=False)
    monkeypatch.setattr(PipelineMeta, "disable", PipelineMeta.disable)
    monkeypatch.setattr(plot, "enable_pipeline", plot.enable_pipeline)


def noted():
    """How many operations are noted of what a function of ours draws."""
    found = []

    def drawn():
        points = hv.Points([(0, 1), (2, 3)]).select(x=0)
        found.append(len(points.pipeline.operations))
        return points

    hv.renderer("bokeh").get_plot(hv.DynamicMap(drawn))
    return max(found)


def test_nothing_is_noted_of_what_was_done_to_an_element():
    patch_pipelines()
    assert noted() == 1, "what every element begins with"


def test_holoviews_by_itself_notes_it(monkeypatch):
    """If it does that no longer, go without the patch."""
    from holoviews.core.data import enable_pipeline

    monkeypatch.setattr(plot, "enable_pipeline", enable_pipeline)
    monkeypatch.setattr(PipelineMeta, "disable", False)
    assert noted() > 1
