"""The recipe of a view: a notebook that makes its trace, its numbers and its plot again."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from atlas.state.lens import Lens
from atlas.state.second_lens import SecondLens
from atlas.state.single import arguments
from atlas.state.stamp import Stamp, in_words
from atlas.state.workspace import Workspace
from atlas.trace import Trace
from atlas.tracing.spans import PROMPT, WRITTEN, spans_of

LOADED = frozenset({"embedded", "folder", "hub"})
"""Sources of models that another session can load by their name."""

FILE, SECOND_FILE = "trace.nc", "second.nc"

HELD = re.compile(r"(?P<head>.+) \((?P<mode>\w+)\)")
EDGE = re.compile(r"(?P<head>.+): (?P<query>\d+) -> (?P<key>\d+)")
"""How the provenance writes heads that are switched off, and edges that are cut."""


def notebook(
    workspace: Workspace, key: str, title: str, lens_type: type[Lens], stamped: Stamp, *, of_corpora: bool = False
) -> str:
    """A notebook in the format of Jupyter (4.5) that shows a view, or one of corpora, as a workspace shows it."""
    trace = workspace.trace
    assert trace is not None
    made, why = trace_code(trace)
    name, beside, others = beside_code(workspace, lens_type, of_corpora=of_corpora)
    why = " ".join(filter(None, [why, others]))
    shown = "\n".join(f"    {field}: {words}" for field, words in _lines(stamped))
    about = f"# {title}\n\nExported from Attention Atlas. Run all cells to make its numbers and its plot again."
    cells = [
        _markdown(f"{about}\n\n{why}\n\n{shown}" if why else f"{about}\n\n{shown}"),
        _code(f"import atlas\n\n{made}"),
        *([_code(beside)] if beside else []),
        _code(call(workspace, key, lens_type, name)),
        _code("figure.table"),
        _code("figure"),
    ]
    written = {
        "cells": [cell | {"id": f"cell-{at}"} for at, cell in enumerate(cells)],
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
            "attention-atlas": stamped,
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return json.dumps(written, ensure_ascii=False, indent=1) + "\n"


def call(workspace: Workspace, key: str, lens_type: type[Lens], beside: str = "") -> str:
    """The call that makes a view: what it is shown beside, and every choice that is not at its default."""
    given = [f"{beside}={beside}"] if beside else []
    given += [f"{name}={value!r}" for name, value in arguments(workspace, lens_type).items()]
    inside = "".join(f",\n    {each}" for each in given)
    return f"figure = atlas.view(\n    trace,\n    {key!r}{inside},\n)"


def beside_code(workspace: Workspace, lens_type: type[Lens], *, of_corpora: bool) -> tuple[str, str, str]:
    """What the trace is shown beside, a second trace or corpora: its name, code that makes it, and what has to be done before."""
    two = workspace.second.two() if issubclass(lens_type, SecondLens) else None
    if two is not None:
        code, why = trace_code(two.b, SECOND_FILE)
        return "second", re.sub(r"^trace = ", "second = ", code, flags=re.MULTILINE), why
    if of_corpora and workspace.corpora.opened:
        opened = ", ".join(f"atlas.open({name!r})" for name in workspace.corpora.opened)
        return "corpora", f"corpora = [{opened}]", "The corpora are opened from their folders, which have to be here."
    return "", "", ""


def trace_code(trace: Trace, file: str = FILE) -> tuple[str, str]:
    """Code that makes a trace, and why it has to be opened from a file where its model cannot make it again."""
    why = why_not_again(trace)
    if why:
        saved = f"It is opened from a file: save it first, in the session that has it, with `trace.save({file!r})`."
        return f"trace = atlas.open({file!r})", f"{why} {saved}"
    told, texts = trace.provenance, trace.texts
    loading = [repr(str(told["model"]))]
    if told["source"] == "hub" and told.get("revision"):
        loading.append(f"revision={told['revision']!r}")
    if told.get("dtype") not in (None, "float32"):
        loading.append(f"dtype={told['dtype']!r}")
    given: dict[str, Any] = {"pair": texts.pair, "target": texts.target, **changes_of(told), "spans": character_spans(trace)}
    if told.get("tokens_cut"):
        given["truncate"] = True
    inside = "".join(f",\n    {name}={value!r}" for name, value in given.items() if value)
    check = ""
    if told.get("revision"):
        check = f"if model.revision != {told['revision']!r}:\n    print('These are other weights than those of the export.')\n"
    return f"model = atlas.load({', '.join(loading)})\n{check}trace = model.trace(\n    {texts.text!r}{inside},\n)", ""


def why_not_again(trace: Trace) -> str:
    """Why the trace cannot be made again from its texts; empty: it can."""
    told = trace.provenance
    if told.get("source") not in LOADED:
        what = "is a recording" if told.get("model") is None else f"comes from a model in memory, {told['model']!r}"
        return f"This trace {what}, which another session cannot make again."
    if (told.get("changed") or {}).get("patched"):
        return "Heads were patched in this run, and the patches are not in the trace."
    roles = {name for side in trace.token_tables for name in spans_of(trace, side)} - {PROMPT, WRITTEN}
    if trace.texts.text is None or roles or "writing" in told:
        return "This trace was made of messages, of a ready encoding, or by a model that wrote on."
    return ""


def changes_of(told: Mapping[str, Any]) -> dict[str, Any]:
    """The heads and edges that were switched off, as `Model.trace` takes them."""
    changed = told.get("changed") or {}
    held = [HELD.fullmatch(each) for each in changed.get("ablated", ())]
    edges = [EDGE.fullmatch(each) for each in changed.get("knocked out", ())]
    return {
        "ablate": {found["head"]: found["mode"] for found in held if found},
        "knock_out": [(found["head"], int(found["query"]), int(found["key"])) for found in edges if found],
    }


def character_spans(trace: Trace) -> list[tuple[str, int, int, str]]:
    """What of the texts was the prompt and what was written, by characters."""
    found = []
    for side, table in trace.token_tables.items():
        for name, positions in spans_of(trace, side).items():
            rows = table.iloc[positions]
            found.append((side, int(rows["start"].min()), int(rows["end"].max()), name))
    return found


def _lines(stamped: Stamp) -> list[tuple[str, str]]:
    """A stamp a line a field: a text with line breaks must not leave the block that shows it as it is."""
    return [(name, " ".join(words.split())) for name, words in in_words(stamped)]


def _markdown(text: str) -> dict[str, Any]:
    return {"cell_type": "markdown", "metadata": {}, "source": text}


def _code(text: str) -> dict[str, Any]:
    return {"cell_type": "code", "metadata": {}, "source": text, "outputs": [], "execution_count": None}
