"""What a server keeps for all its visitors, and how it starts warm."""

from __future__ import annotations

import importlib
import math
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import holoviews as hv
import panel as pn

from atlas.admission import Limits
from atlas.app import AttentionAtlas
from atlas.corpus.workers import has_dask
from atlas.engine.loading.rules import EVERY_HUB_ID, ModelRules
from atlas.engine.running.budget import free_bytes
from atlas.engine.running.service import Service
from atlas.errors import AtlasError, UnknownName
from atlas.jobs import listed_models, takes_target, worked_out
from atlas.patches.requests import GUARD
from atlas.plots import map as map_plot
from atlas.scheduler import Scheduler, Ticket
from atlas.state.library import examples
from atlas.state.opening import Opening, opening
from atlas.state.study import Study
from atlas.trace import Trace
from atlas.tracing.listed import ListedText

MODELS, HUB, QUOTA = "ATLAS_MODELS", "ATLAS_HUB", "ATLAS_HUB_QUOTA"
"""Environment variables of who runs a server: folders of models, patterns of hub ids, gigabytes of the hub's cache."""

EMBED, SECURE = "ATLAS_EMBED", "ATLAS_SECURE_COOKIES"
"""Environment variables about its pages: sites that may frame them, and 1 where a proxy adds TLS."""

AT_ONCE, MEMORY, SECONDS, SHARE = "ATLAS_WORK_AT_ONCE", "ATLAS_WORK_MEMORY", "ATLAS_WORK_SECONDS", "ATLAS_VISITOR_SHARE"
"""Environment variables about the work of visitors: runs at once, gigabytes of them, seconds of one, the share of one visitor."""

CORPUS_WORKERS = "ATLAS_CORPUS_WORKERS"
"""Environment variable: processes that measure a corpus for a page."""

NO_HUB = NO_BOUND = "none"

USUAL_SHARE = 0.5
"""Of the machine for one visitor: half of it is left to all others, and one who is alone waits for nothing."""

USUAL_SECONDS = 600.0
"""A run of a model lets no other one in, so this is also the longest that another visitor of that model waits for it."""

MEMORY_PART = 0.5
"""Of the memory that is free at the start, for work; the rest is for models, cached traces and pages."""


def rules_of(
    roots: Sequence[Path] | None = None,
    hub: Sequence[str] | None = None,
    quota: float | None = None,
    opened: Path | None = None,
    *,
    always: bool = True,
) -> ModelRules | None:
    """The rules for visitors, by options, else by the environment; None where nothing asks for any, unless `always`.

    `opened` is the folder the app opens with, which visitors load as well.
    """
    named = list(roots) if roots is not None else [Path(part) for part in os.environ.get(MODELS, "").split(os.pathsep) if part]
    written = list(hub) if hub is not None else [part.strip() for part in os.environ.get(HUB, "").split(",") if part.strip()]
    most = quota if quota is not None else _number(QUOTA, os.environ.get(QUOTA, ""), "gigabytes")
    if not always and not (named or written or most is not None):
        return None
    missing = [path for path in named if not path.expanduser().is_dir()]
    if missing:
        msg = f"Visitors cannot be offered models in {missing[0]}, which is no folder. Correct --models ({MODELS})."
        raise AtlasError(msg)
    folders = [path.expanduser().resolve() for path in named] + ([] if opened is None else [opened])
    patterns = tuple(pattern for pattern in written if pattern != NO_HUB) if written else EVERY_HUB_ID
    return ModelRules(tuple(folders), patterns, None if most is None else int(most * 1e9))


def limits_of(
    at_once: int | None = None,
    memory: str | None = None,
    seconds: str | None = None,
    share: float | None = None,
    *,
    always: bool = True,
) -> Limits:
    """What the work of visitors may take, by options, else by the environment.

    What neither says is bounded by default for visitors (`always`), and not at all for who runs the app for themselves.
    """
    written = {name: os.environ.get(name, "").strip() for name in (AT_ONCE, MEMORY, SECONDS, SHARE)}
    runs = _number(AT_ONCE, written[AT_ONCE], "runs", least=1) if at_once is None else at_once
    part = _number(SHARE, written[SHARE], "share above 0, up to 1", least=sys.float_info.min, most=1) if share is None else share
    room = _bound(MEMORY, written[MEMORY] if memory is None else memory, "gigabytes")
    longest = _bound(SECONDS, written[SECONDS] if seconds is None else seconds, "seconds")
    if always:
        part = USUAL_SHARE if part is None else part
        longest = USUAL_SECONDS if longest is None else longest
        room = free_bytes() * MEMORY_PART / 1e9 if room is None else room
    return Limits(
        None if runs is None else int(runs),
        None if room in {None, math.inf} else int(room * 1e9),
        None if longest == math.inf else longest,
        1.0 if part is None else part,
    )


def corpus_workers_of(number: int | None = None) -> int:
    """Processes that measure a corpus for a page, by the option, else by the environment; 0: the page's own.

    None by default, also for who runs the app for themselves: each holds the model once more, and whoever has an account on this
    machine can reach Dask's ports.
    """
    written = os.environ.get(CORPUS_WORKERS, "")
    found = int(_number(CORPUS_WORKERS, written, "processes") or 0) if number is None else number
    if found and not has_dask():
        msg = f"--corpus-workers ({CORPUS_WORKERS}) needs the package distributed: pip install 'attention-atlas[corpus]'."
        raise AtlasError(msg)
    return found


def _bound(name: str, written: str, unit: str) -> float | None:
    """A number, infinity for 'none', None where nothing is written."""
    return math.inf if written == NO_BOUND else _number(name, written, unit, least=sys.float_info.min)


def guard_pages(embed: Sequence[str] | None = None, *, secure: bool | None = None) -> None:
    """Set who may show the pages of this process in a frame, and whether they are reached over TLS."""
    GUARD.embed = tuple(os.environ.get(EMBED, "").split() if embed is None else embed)
    GUARD.secure = os.environ.get(SECURE, "") not in {"", "0"} if secure is None else secure


def _number(name: str, written: str, unit: str, least: float = 0, most: float = sys.float_info.max) -> float | None:
    try:
        size = float(written) if written.strip() else None
    except ValueError:
        size = math.nan
    if size is not None and not least <= size <= most:
        msg = f"{name} is {written!r}, which is no number of {unit}."
        raise AtlasError(msg)
    return size


def shared_service() -> Service:
    """The service that all sessions of this server share; it and its cached models and traces survive a reload of the code.

    `atlas serve` puts its own rules into it. Any other server may have visitors, so it follows those of the environment.
    """

    def made() -> Service:
        guard_pages()
        found = Service(rules=rules_of(), scheduler=Scheduler(limits=limits_of()))
        found.corpus_workers = corpus_workers_of()
        return found

    service: Service = pn.state.as_cached("attention atlas service", made)
    return service


def opening_with(first: Opening, text: ListedText) -> Opening:
    """An opening with the first text of a list in place of an example."""
    target = text.target if takes_target(shared_service(), (first.model, None, None, None)) else ""
    return Opening(first.model, text.text, text.pair, target, first.problem)


def session(first: Opening | None = None, study: Callable[[], Study] | None = None, saved: Trace | None = None) -> Any:
    """A page with its own state; `study` makes the study that its visitor is asked to take part in, `saved` is on it at first."""
    service = shared_service()
    app = AttentionAtlas(service, study=study() if study is not None else None)
    if saved is not None:
        app.open(saved)
    return app.page(first or opening(listed_models(service.rules), examples()))


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
    # What the first explanation of a prediction needs: 0.6 s, and 30 MB that a server would not get back later.
    importlib.import_module("atlas.engine.gradients.inputs")
    return trace


def draw_ahead(trace: Trace) -> None:
    """The part of a warm start for the event loop's thread, because HoloViews fails if two threads copy plots at once."""
    app = AttentionAtlas(shared_service())
    app.open(trace)
    (first, *_) = app.tabs.__panel__().select(pn.pane.HoloViews)
    # HoloViews and Bokeh list what it has drawn, and through that the page would stay as long as the process.
    hv.renderer("bokeh").get_plot(first.object).cleanup()
