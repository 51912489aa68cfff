"""HoloViews (1.23) notes of every element what was done to it, to do the same to others in plots linked by their selection.

No plot of ours is linked that way, and the notes of two cards took a tenth of the time of drawing them.
"""

from __future__ import annotations

from contextlib import nullcontext

from holoviews.core.data import PipelineMeta
from holoviews.plotting import plot

from atlas.patches.private import private, replace_private


def patch_pipelines() -> None:
    """Let HoloViews note nothing from now on, in this whole process."""
    private(PipelineMeta, "disable", "pipelines")
    PipelineMeta.disable = True
    # While it draws, HoloViews itself notes nothing, but for what functions of ours do.
    replace_private(plot, "enable_pipeline", nullcontext, "pipelines")
