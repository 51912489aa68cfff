"""The stamp of everything that is taken away: which model, which text, what was selected, with which versions, and when."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

from atlas.state.share import choices_of
from atlas.state.validate import differing
from atlas.state.workspace import Workspace
from atlas.trace import Trace

LIBRARIES = ("numpy", "pandas", "holoviews", "bokeh", "panel")
"""Libraries that make numbers and plots here; the trace itself says which ones ran its model."""

OF_THE_PAGE = frozenset({"tab", "unfolded", "flagged"})
"""Choices of form that change no view."""

Stamp = dict[str, Any]


def stamp(source: Workspace | Trace, view: str = "") -> Stamp:
    """Where a view or a whole trace comes from, as plain values that JSON can hold. What is not known is left out."""
    trace = source.trace if isinstance(source, Workspace) else source
    provenance: Mapping[str, Any] = {} if trace is None else trace.provenance
    told = {
        "made by": f"Attention Atlas {version('attention-atlas')}",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "view": view,
        "model": provenance.get("model"),
        "revision": provenance.get("revision"),
        "source": provenance.get("source"),
        "precision": provenance.get("dtype"),
        "text": None if trace is None else trace.texts.text,
        "pair": None if trace is None else trace.texts.pair,
        "target": None if trace is None else trace.texts.target,
        "switched off": {name: value for name, value in dict(provenance.get("changed") or {}).items() if value},
        "notes": list(provenance.get("notes", ())),
        "traced": provenance.get("made"),
        **(selected(source) if isinstance(source, Workspace) else {}),
        "versions": {"python": platform.python_version(), **dict(provenance.get("versions") or {})}
        | {name: version(name) for name in LIBRARIES},
    }
    return {name: value for name, value in told.items() if value not in (None, "", {}, [])}


def selected(workspace: Workspace) -> Stamp:
    """What is selected and chosen in a workspace; only what differs from the defaults."""
    selection, trace = workspace.selection, workspace.trace
    kinds = () if trace is None else trace.kinds
    found = {
        "kind": selection.kind,
        "head in focus": selection.focus.label(kinds) if selection.focus is not None else None,
        "heads": [head.label(kinds) for head in sorted(selection.heads)],
        "heads chosen as": selection.label,
        "queries": sorted(selection.queries),
        "keys": sorted(selection.keys),
    }
    display = {name: value for name, value in differing(workspace.display).items() if name not in OF_THE_PAGE}
    chosen = {
        "display": display, "explained": differing(workspace.target), "thresholds": differing(workspace.thresholds),
        **choices_of(workspace),
    }  # fmt: skip
    return {
        "selection": {name: value for name, value in found.items() if value not in (None, "", [])},
        "choices": {name: value for name, value in chosen.items() if value},
    }


def version(package: str) -> str:
    """The version of an installed package."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:  # run from a checkout that nobody installed
        return "unknown"


def in_words(stamped: Stamp) -> list[tuple[str, str]]:
    """A stamp as (name, words), a line each."""
    return [(name, _words(value)) for name, value in stamped.items()]


def on_picture(stamped: Stamp) -> dict[str, str]:
    """A stamp as a picture's metadata hold it; JSON without a letter that XML or PNG could not hold."""
    of = " ".join(str(stamped[name]) for name in ("view", "model", "revision") if name in stamped)
    return {"title": of, "software": str(stamped["made by"]), "date": str(stamped["date"]), "json": json.dumps(stamped)}


def _words(value: Any) -> str:
    if isinstance(value, Mapping):
        return "; ".join(f"{name} {_words(each)}" for name, each in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_words(each) for each in value)
    return str(value)
