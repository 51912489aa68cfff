"""Reads the files that say what the project needs and what it can be told to do, into the same plain form."""

from __future__ import annotations

import re
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

Packages = dict[str, SpecifierSet]

PIP_NAME = {"pytorch": "torch", "python-build": "build", "playwright-python": "playwright"}
"""Packages that conda-forge calls by another name than PyPI does."""

SET_UP = frozenset({"help", "venv", "browser", "format", "lock", "clean"})
"""Targets of the Makefile that prepare or tidy; conda and anaconda-project do that their own way."""


def pyproject(path: Path) -> dict[str, Any]:
    """The [project] table."""
    return tomllib.loads(path.read_text(encoding="utf-8"))["project"]


def pip_packages(project: dict[str, Any]) -> Packages:
    """What pyproject.toml asks for, all extras included."""
    extras = [line for extra in project["optional-dependencies"].values() for line in extra]
    return dict(_requirement(line) for line in [*project["dependencies"], *extras])


def conda_packages(entries: list[Any]) -> Packages:
    """What a conda file asks for, its pip section included, by PyPI's names."""
    found: Packages = {}
    for entry in entries:
        lines = entry["pip"] if isinstance(entry, dict) else [entry]
        for name, specifiers in map(_requirement, lines):
            found[PIP_NAME.get(name, name)] = specifiers
    return found


def pins(path: Path) -> dict[str, str]:
    """What the lock holds; a line that pins nothing is an error."""
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        text = line.split("#")[0].strip()
        if not text:
            continue
        match = re.fullmatch(r"([A-Za-z0-9._-]+)==([A-Za-z0-9.]+)", text)
        if match is None:
            msg = f"{path.name}: {text!r} does not pin one released version"
            raise ValueError(msg)
        name = canonicalize_name(match[1])
        if name in found:
            msg = f"{path.name}: {name} is pinned twice"
            raise ValueError(msg)
        found[name] = match[2]
    return found


def everything_behind(packages: Packages) -> dict[str, str]:
    """Every package that is installed because one of these is, dependencies of dependencies too, with its version."""
    found: dict[str, str] = {}
    waiting = [Requirement(name) for name in packages]
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        wanted = waiting.pop()
        name, extras = canonicalize_name(wanted.name), frozenset(wanted.extras)
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        here = metadata.distribution(name)
        found[name] = here.version.split("+")[0]
        needed = map(Requirement, here.requires or [])
        waiting += [r for r in needed if r.marker is None or any(r.marker.evaluate({"extra": e}) for e in {"", *extras})]
    return found


def make_targets(path: Path) -> dict[str, list[str]]:
    """The Makefile's documented targets with the programs each calls."""
    text = path.read_text(encoding="utf-8")
    rules = re.findall(r"^([a-z-]+):[^\n]*## [^\n]*\n((?:\t[^\n]*\n)*)", text, flags=re.MULTILINE)
    return {name: _programs(recipe.replace("$(BIN)/", "").replace("\n", "&&")) for name, recipe in rules}


def project_commands(path: Path) -> dict[str, dict[str, list[str]]]:
    """anaconda-project's commands with the programs each calls, by system."""
    commands = yaml.safe_load(path.read_text(encoding="utf-8"))["commands"]
    return {name: {system: _programs(command[system]) for system in ("unix", "windows")} for name, command in commands.items()}


def _programs(shell: str) -> list[str]:
    parts = [re.sub(r"^python -m ", "", part.strip()) for part in shell.split("&&")]
    return [part.split()[0] for part in parts if part]


def _requirement(line: str) -> tuple[str, SpecifierSet]:
    wanted = Requirement(line)
    return canonicalize_name(wanted.name), wanted.specifier
