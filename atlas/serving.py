"""What a server keeps for all its visitors, and how it starts warm."""

from __future__ import annotations

from typing import Any

import holoviews as hv
import panel as pn

from atlas.app import AttentionAtlas
from atlas.engine.running.service import Service
from atlas.errors import UnknownName
from atlas.jobs import listed_models, worked_out
from atlas.plots import map as map_plot
from atlas.scheduler import Ticket
from atlas.state.library import examples
from atlas.state.opening import Opening, opening
from atlas.trace import Trace


def shared_service() -> Service:
    """The service that all sessions of this server share; it and its cached models and traces survive a reload of the code."""
    service: Service = pn.state.as_cached("attention atlas service", Service)
    return service


def session(first: Opening | None = None) -> Any:
    """A page with its own state."""
    return AttentionAtlas(shared_service()).page(first or opening(listed_models(), examples()))


def warm(first: Opening | None = None) -> None:
    """Load the model, run the text and draw the Map once, so that the first visitor need not wait for it."""
    draw_ahead(run_ahead(first))


def run_ahead(first: Opening | None = None) -> Trace:
    """The part of a warm start that any thread may run."""
    first = first or opening(listed_models(), examples())
    if first.problem:
        raise UnknownName(first.problem)
    trace = worked_out(shared_service(), first.job(), Ticket())
    map_plot.compiled()
    return trace


def draw_ahead(trace: Trace) -> None:
    """The part of a warm start for the event loop's thread, because HoloViews fails if two threads copy plots at once."""
    app = AttentionAtlas(shared_service())
    app.open(trace)
    (first, *_) = app.tabs.__panel__().select(pn.pane.HoloViews)
    hv.renderer("bokeh").get_plot(first.object)
