"""pyproject.toml, constraints.txt, environment.yml, anaconda-project.yml and the Makefile say the same thing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

import atlas
from tests import environments as env
from tests.layout import imports
from tests.places import REPO

PROJECT = env.pyproject(REPO / "pyproject.toml")
WANTED = env.pip_packages(PROJECT)
PINS = env.pins(REPO / "constraints.txt")
CONDA = yaml.safe_load((REPO / "environment.yml").read_text(encoding="utf-8"))
ANACONDA = yaml.safe_load((REPO / "anaconda-project.yml").read_text(encoding="utf-8"))
TARGETS = env.make_targets(REPO / "Makefile")

INSTALLED_AS = {"sklearn": "scikit-learn", "yaml": "pyyaml", "PIL": "pillow"}
"""Imports that are called otherwise than the package that brings them."""


@pytest.mark.parametrize(
    "entries", [CONDA["dependencies"], ANACONDA["packages"]], ids=["environment.yml", "anaconda-project.yml"]
)
def test_conda_asks_for_what_pip_asks_for(entries: list) -> None:
    asked = env.conda_packages(entries)
    assert asked.pop("python") == SpecifierSet(PROJECT["requires-python"])
    assert asked.pop("pip") == SpecifierSet()
    assert asked == WANTED


def test_the_two_conda_files_agree() -> None:
    # anaconda-project itself compares these, and refuses to run when they differ.
    assert ANACONDA["packages"] == ANACONDA["dependencies"] == CONDA["dependencies"]
    assert ANACONDA["channels"] == CONDA["channels"] == ["conda-forge", "nodefaults"]
    assert ANACONDA["name"] == CONDA["name"] == PROJECT["name"]
    assert list(ANACONDA["env_specs"]) == [CONDA["name"]]
    assert {command["env_spec"] for command in ANACONDA["commands"].values()} == {CONDA["name"]}


def test_every_requirement_is_pinned_at_a_version_it_allows() -> None:
    assert {name for name in WANTED if name not in PINS} == set()
    assert {name: PINS[name] for name, allowed in WANTED.items() if PINS[name] not in allowed} == {}


def test_every_requirement_has_a_lower_bound() -> None:
    assert {name for name, allowed in WANTED.items() if not any(part.operator == ">=" for part in allowed)} == set()


def test_every_dependency_of_a_dependency_is_pinned() -> None:
    behind = env.everything_behind({**WANTED})
    assert len(behind) > 3 * len(WANTED)
    assert {name for name in behind if name not in PINS} == set()


def test_the_environment_is_the_lock() -> None:
    if not (Path(sys.prefix) / ".made-from-lock").exists():
        pytest.skip("this environment was not made by `make venv`")
    behind = env.everything_behind({**WANTED})
    assert {name: version for name, version in behind.items() if PINS[name] != version} == {}


def test_the_lock_names_released_versions_and_nothing_of_one_machine() -> None:
    assert PINS["torch"] == "2.13.0"  # without +cpu or +cu...: the pin that works with every index
    assert [name for name in PINS if name.startswith("nvidia") or "cuda" in name or name == "triton"] == []
    assert canonicalize_name(PROJECT["name"]) not in PINS


@pytest.mark.parametrize(
    "line",
    [
        "torch==2.13.0+cpu",
        "numpy>=2",
        "numpy",
        "x @ file:///tmp/x.whl",
        "--index-url https://example.org",
        "a==1\na==2",
        "a==1.*",
    ],
)
def test_a_line_that_is_no_pin_is_refused(tmp_path: Path, line: str) -> None:
    lock = tmp_path / "constraints.txt"
    lock.write_text(line)
    with pytest.raises(ValueError, match=r"constraints\.txt"):
        env.pins(lock)


def test_what_is_imported_is_asked_for() -> None:
    by_file = {path: {target.split(".")[0] for _, target in imports(path, REPO)} for path in (REPO / "atlas").rglob("*.py")}
    # The extra of runs over many texts is asked for by name there; `datasets` and a browser are used where somebody has them.
    optional = {"corpus": {line.split(">")[0] for line in PROJECT["optional-dependencies"]["corpus"]} | {"datasets"}}
    optional["headless"] = {"playwright"}
    used = {
        name
        for path, names in by_file.items()
        for name in names - optional.get(path.parent.name, set()) - optional.get(path.stem, set())
    }
    foreign = used - sys.stdlib_module_names - {"atlas"}
    asked = {canonicalize_name(line.split(">")[0]) for line in PROJECT["dependencies"]}
    assert {"numpy", "torch"} <= foreign
    assert {name for name in foreign if canonicalize_name(INSTALLED_AS.get(name, name)) not in asked} == set()


def test_the_same_commands_everywhere_call_the_same_programs() -> None:
    commands = env.project_commands(REPO / "anaconda-project.yml")
    assert set(commands) == set(TARGETS) - env.SET_UP
    assert {"serve", "test", "bench", "lint", "lab", "models", "models-eval"} <= set(commands)
    for name, systems in commands.items():
        assert systems["unix"] == systems["windows"] == TARGETS[name], name


def test_make_installs_every_extra() -> None:
    line = next(line for line in (REPO / "Makefile").read_text(encoding="utf-8").splitlines() if line.startswith("EXTRAS"))
    assert set(line.split(":=")[1].strip().split(",")) == set(PROJECT["optional-dependencies"])


def test_ci_calls_the_targets_a_developer_calls() -> None:
    script = REPO / ".ci" / "run"
    assert script.stat().st_mode & 0o100
    assert "make lint test" in script.read_text(encoding="utf-8")
    assert {"lint", "test"} <= set(TARGETS)


@pytest.mark.parametrize("target", sorted(TARGETS))
def test_every_target_can_be_resolved(target: str, make: Callable[..., str]) -> None:
    assert "No rule" not in make("--dry-run", target)


def test_help_lists_every_target(make: Callable[..., str]) -> None:
    listed = make("help")
    assert [name for name in TARGETS if f"make {name} " not in listed] == []


@pytest.mark.parametrize("python", ["/no/such/python", "false"])
def test_without_a_suitable_python_make_says_what_to_do(tmp_path: Path, make: Callable[..., str], python: str) -> None:
    said = make("venv", f"PYTHON={python}", f"VENV={tmp_path / 'venv'}", fails=True)
    assert "name another: make venv PYTHON=" in said
    assert not (tmp_path / "venv").exists()


def test_version_is_written_once() -> None:
    assert "version" in PROJECT["dynamic"]
    assert atlas.__version__.count(".") == 2


@pytest.fixture
def make() -> Callable[..., str]:
    program = shutil.which("make")
    if program is None:
        pytest.skip("needs make")
    outside = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}  # not the make that runs us

    def run(*arguments: str, fails: bool = False) -> str:
        done = subprocess.run(
            [program, *arguments],
            cwd=REPO,
            env=outside,
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
        )
        assert (done.returncode != 0) == fails, done.stdout
        return done.stdout

    return run
