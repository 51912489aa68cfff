"""Reads source files and says where they break the layout: who imports whom, who may draw, what is swallowed."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

OPEN = frozenset({
    "errors", "ids", "numbers", "definitions", "resources", "single_flight", "scheduler", "admission", "pool", "ticket",
})  # fmt: skip
"""Open to all, and importing nothing but each other."""

TRACE = {"trace": "trace", "tracing": "trace"}
"""Modules at the top of the package that are one room: `trace` is the face of `tracing`."""

PACKAGE = "(atlas)"
"""The package itself: `import atlas` gives everything, so inside it only the outermost rooms may write that."""

ROOMS: dict[str, frozenset[str]] = {
    **dict.fromkeys(OPEN, frozenset()),
    "metrics": frozenset(),
    "text": frozenset(),
    "trace": frozenset({"metrics", "text"}),
    "engine": frozenset({"trace", "text", "metrics"}),
    "attribution": frozenset({"engine", "trace", "metrics"}),
    "bias": frozenset({"engine", "attribution", "trace", "metrics", "text"}),
    "corpus": frozenset({"engine", "trace", "metrics", "text"}),
    "state": frozenset({"trace"}),
    "plots": frozenset(),
    "patches": frozenset(),
    "components": frozenset({"patches"}),
    "views": frozenset({"state", "plots", "components", "patches", "trace"}),
    "tasks": frozenset({"engine", "attribution", "bias", "corpus"}),
    "__main__": frozenset({"cli"}),
    "jobs": frozenset({"engine", "state", "trace"}),
    "figure": frozenset({"app", "tasks", "views", "state", "trace", "components", "plots"}),
    "apps": frozenset({"app", "serving", PACKAGE}),
}
"""Room by room, what it may import besides OPEN and itself. The outermost rooms may import everything."""

EVERYTHING = frozenset({"app", "serving", "http_answers", "http_api", "cli", PACKAGE})

MODELS = frozenset({"torch", "transformers", "tokenizers", "safetensors", "huggingface_hub", "accelerate"})
PAGES = frozenset({"panel", "panel_material_ui"})
PLOTS = frozenset({"holoviews", "bokeh", "datashader"})
PARAM = frozenset({"param"})
COMPUTE = (*sorted(OPEN), "metrics", "text", "trace", "attribution", "bias", "corpus")

FORBIDDEN: dict[str, frozenset[str]] = {
    **dict.fromkeys(COMPUTE, MODELS | PAGES | PLOTS | PARAM),  # compute never draws, and only the engine runs models
    "engine": PAGES | PLOTS | PARAM,
    "state": MODELS | PAGES | PLOTS,
    "plots": MODELS | PAGES | PARAM,  # a plot never sees Param
    "components": MODELS | PLOTS,
    "views": MODELS,
}
"""Room by room, the libraries that have no business there."""

BROAD = frozenset({"Exception", "BaseException"})

MAY_BE_BROAD = re.compile(r"\b(Base)?Exception\b|\bexcept\s*[:\\]")
"""What a file has in it that catches everything: one of their names, or an `except` without any."""


def room_of(module: str) -> str:
    """Name the room of a dotted module of ours."""
    parts = module.split(".")
    if parts[0] == "apps":
        return "apps"
    return TRACE.get(parts[1], parts[1]) if len(parts) > 1 else PACKAGE


def module_of(path: Path, root: Path) -> str:
    """Name the module a file is imported as."""
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path, root: Path) -> Iterator[tuple[int, str]]:
    """Every module a file imports, wherever in the file it does, with the line."""
    module = module_of(path, root)
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*start, *([node.module] if node.module else [])])
            if base == "atlas":  # `from atlas import plots` is atlas.plots; `from atlas import load` is the package itself
                known = {*ROOMS, *EVERYTHING, *TRACE}
                yield from ((node.lineno, f"atlas.{a.name}" if a.name in known else "atlas") for a in node.names)
            else:
                yield node.lineno, base
        elif isinstance(node, ast.Call) and _name(node.func) in {"import_module", "__import__"} and node.args:
            target = node.args[0]
            if isinstance(target, ast.Constant) and isinstance(target.value, str):
                yield node.lineno, target.value


def direction_problems(paths: Iterable[Path], root: Path) -> list[str]:
    """Say which imports go against the direction, or into a room where a library has no business."""
    problems = []
    for path in sorted(paths):
        room = room_of(module_of(path, root))
        where = path.relative_to(root)
        if room not in ROOMS and room not in EVERYTHING:
            problems.append(f"{where}: {room!r} is no room of the layout")
            continue
        for line, target in imports(path, root):
            top = target.split(".")[0]
            if top in FORBIDDEN.get(room, ()):
                problems.append(f"{where}:{line}: {room} may not use {top}")
            if top == "apps" or (top == "atlas" and not _may(room, room_of(target))):
                problems.append(f"{where}:{line}: {room} may not import {target}")
            if top in {"tests", "assets"}:
                problems.append(f"{where}:{line}: nothing that is installed may import {top}")
    return problems


def swallowing_problems(paths: Iterable[Path], root: Path) -> list[str]:
    """Say where every error is caught and none is dealt with."""
    problems = []
    for path in sorted(paths):
        source = path.read_text(encoding="utf-8")
        if not MAY_BE_BROAD.search(source):  # to parse a thousand files takes ten seconds
            continue
        for node in ast.walk(ast.parse(source)):
            silent = isinstance(node, ast.ExceptHandler) and _broad(node.type) and all(map(_nothing, node.body))
            suppressed = isinstance(node, ast.Call) and _name(node.func) == "suppress" and any(map(_broad, node.args))
            if silent or suppressed:
                problems.append(f"{path.relative_to(root)}:{node.lineno}: catches everything and says nothing")
    return problems


def length_problems(paths: Iterable[Path], root: Path, limit: int) -> list[str]:
    """Say which modules have grown beyond one duty."""
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in sorted(paths)}
    return [f"{path.relative_to(root)}: {n} lines, more than {limit}" for path, n in lengths.items() if n > limit]


def _may(room: str, target: str) -> bool:
    return room in EVERYTHING or target == room or target in OPEN or target in ROOMS[room]


def _name(node: ast.expr | None) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _broad(node: ast.expr | None) -> bool:
    if isinstance(node, ast.Tuple):
        return any(map(_broad, node.elts))
    return node is None or _name(node) in BROAD


def _nothing(node: ast.stmt) -> bool:
    constant = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    return constant or isinstance(node, ast.Pass | ast.Continue)
