from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.layout import direction_problems, length_problems, swallowing_problems
from tests.places import REPO

TOP = {
    *("atlas", "apps", "assets", "tests", "environment.yml", "anaconda-project.yml", "README.md"),  # fixed
    *("pyproject.toml", "Makefile", "LICENSE", "constraints.txt"),  # what tools need beside them; dot-files too
}

LONGEST = 400
"""Lines. A module that needs more has two duties, nearly always."""


def sources(*folders: str) -> list[Path]:
    return [path for folder in folders for path in (REPO / folder).rglob("*.py")]


def test_imports_go_one_way() -> None:
    assert len(sources("atlas")) > 10
    assert direction_problems(sources("atlas", "apps"), REPO) == []


def test_no_error_is_swallowed() -> None:
    assert swallowing_problems(sources("atlas", "apps", "assets", "tests"), REPO) == []


def test_modules_have_one_duty() -> None:
    # Tests are lists of cases: their length is no sign of two duties.
    assert length_problems(sources("atlas", "apps", "assets"), REPO, LONGEST) == []


def test_top_level_holds_what_was_agreed() -> None:
    git = shutil.which("git")
    if git is None or not (REPO / ".git").exists():
        pytest.skip("needs a git checkout to tell the project's files from what tools left behind")
    listed = subprocess.run(
        [git, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPO,
        check=True,
        capture_output=True,
        text=True,
    )
    names = {Path(line).parts[0] for line in listed.stdout.split("\0") if line}
    assert {name for name in names if not name.startswith(".")} <= TOP
    assert {"atlas", "tests", "pyproject.toml", "Makefile", "LICENSE", "constraints.txt"} <= names


WRONG_WAY = {
    "inside a function": (
        "atlas/metrics/bad.py",
        "def f():\n    from atlas.engine import loading\n",
        "may not import atlas.engine",
    ),
    "relative": ("atlas/text/bad.py", "from ..trace import Trace\n", "may not import atlas.trace"),
    "relative, the package": ("atlas/text/bad.py", "from .. import trace\n", "may not import atlas.trace"),
    "a name of the package": ("atlas/views/bad.py", "from atlas import load\n", "may not import atlas"),
    "the whole package": ("atlas/views/bad.py", "import atlas\n", "may not import atlas"),
    "a module of the package": ("atlas/plots/bad.py", "from atlas import state\n", "may not import atlas.state"),
    "for types only": (
        "atlas/trace.py",
        "if TYPE_CHECKING:\n    import atlas.engine.loading.load\n",
        "may not import atlas.engine.loading.load",
    ),
    "from a folder's face": ("atlas/state/__init__.py", "from ..views import x\n", "may not import atlas.views"),
    "by its name as a string": ("atlas/bias/bad.py", "importlib.import_module('atlas.app')\n", "may not import atlas.app"),
    "nothing imports app": ("atlas/views/bad.py", "from atlas.app import AttentionAtlas\n", "may not import atlas.app"),
    "an open module": ("atlas/ids.py", "from atlas.metrics import rows\n", "may not import atlas.metrics"),
    "apps go through app": ("apps/bad.py", "from atlas.engine import loading\n", "may not import atlas.engine"),
    "torch outside the engine": ("atlas/tracing/bad.py", "def f():\n    import torch.nn as nn\n", "may not use torch"),
    "panel in state": ("atlas/state/bad.py", "import panel as pn\n", "may not use panel"),
    "param in a plot": ("atlas/plots/bad.py", "import param\n", "may not use param"),
    "drawing in compute": ("atlas/engine/bad.py", "from bokeh.models import Plot\n", "may not use bokeh"),
    "torch in a view": ("atlas/views/bad.py", "from torch import Tensor\n", "may not use torch"),
    "tests": ("atlas/engine/bad.py", "from tests.places import REPO\n", "may import tests"),
    "a room nobody agreed on": ("atlas/utils.py", "x = 1\n", "is no room"),
}


@pytest.mark.parametrize("case", WRONG_WAY)
def test_a_wrong_import_is_seen(tmp_path: Path, case: str) -> None:
    name, source, complaint = WRONG_WAY[case]
    problems = direction_problems([plant(tmp_path, name, source)], tmp_path)
    assert len(problems) == 1
    assert complaint in problems[0]


RIGHT_WAY = {
    "atlas/engine/good.py": "import torch\nfrom atlas.metrics.rows import x\nfrom ..trace import Trace\nfrom . import sites\n",
    "atlas/views/good.py": "import panel as pn\nfrom atlas.state import Selection\nfrom atlas import plots, errors\n",
    "atlas/trace.py": "from atlas.tracing.record import Mask\nfrom atlas.text import align\n",
    "atlas/cli.py": "import atlas\nfrom atlas import app\nfrom atlas.engine import loading\n",
    "apps/good.py": "import atlas\nfrom atlas.app import AttentionAtlas\n",
}


@pytest.mark.parametrize("name", RIGHT_WAY)
def test_a_right_import_is_let_through(tmp_path: Path, name: str) -> None:
    assert direction_problems([plant(tmp_path, name, RIGHT_WAY[name])], tmp_path) == []


@pytest.mark.parametrize(
    "source",
    [
        "try:\n    f()\nexcept Exception:\n    pass\n",
        "try:\n    f()\nexcept:\n    '''why'''\n",
        "for x in y:\n    try:\n        f()\n    except (ValueError, BaseException):\n        continue\n",
        "with contextlib.suppress(Exception):\n    f()\n",
    ],
)
def test_a_swallowed_error_is_seen(tmp_path: Path, source: str) -> None:
    assert len(swallowing_problems([plant(tmp_path, "bad.py", source)], tmp_path)) == 1


@pytest.mark.parametrize(
    "source",
    [
        "try:\n    f()\nexcept FileNotFoundError:\n    pass\n",
        "try:\n    f()\nexcept Exception:\n    undo()\n    raise\n",
        "with suppress(KeyError):\n    f()\n",
    ],
)
def test_an_error_dealt_with_is_let_through(tmp_path: Path, source: str) -> None:
    assert swallowing_problems([plant(tmp_path, "good.py", source)], tmp_path) == []


def test_a_long_module_is_seen(tmp_path: Path) -> None:
    at, over = (plant(tmp_path, f"{n}.py", "x = 1\n" * n) for n in (LONGEST, LONGEST + 1))
    assert length_problems([at, over], tmp_path, LONGEST) == [f"{over.name}: {LONGEST + 1} lines, more than {LONGEST}"]


def plant(root: Path, name: str, source: str) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source, encoding="utf-8")
    return path
