from __future__ import annotations

import json
import subprocess
import sys

import pytest

import atlas
from tests.places import REPO

HEAVY = {"torch", "transformers", "panel", "holoviews", "bokeh", "datashader", "spacy", "captum", "sklearn"}


def loaded_by(code: str) -> set[str]:
    """What a fresh interpreter has loaded after `code` that it had not loaded before."""
    script = f"import json, sys; before = set(sys.modules)\n{code}\nprint(json.dumps(sorted(set(sys.modules) - before)))"
    done = subprocess.run([sys.executable, "-c", script], cwd=REPO, check=True, capture_output=True, text=True)
    return set(json.loads(done.stdout))


def test_importing_atlas_loads_nothing_but_the_standard_library() -> None:
    # Counted in modules, not in seconds: this holds on a busy machine too. The benchmarks measure the seconds.
    loaded = loaded_by("import atlas")
    ours = {name for name in loaded if name.split(".")[0] == "atlas"}
    foreign = {name for name in loaded - ours if name.split(".")[0] not in sys.stdlib_module_names}
    assert ours == {"atlas"}
    assert foreign == set()


@pytest.mark.parametrize("names", ["HeadId errors", "Trace open from_attention", "metrics text"])
def test_what_needs_no_model_loads_no_model_library(names: str) -> None:
    loaded = loaded_by("import atlas\n" + "\n".join(f"atlas.{name}" for name in names.split()))
    assert "atlas" in loaded
    assert not HEAVY & loaded


def test_the_counting_sees_a_heavy_import() -> None:
    assert "sklearn" in loaded_by("import atlas, sklearn")


@pytest.mark.parametrize("name", atlas.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(atlas, name) is getattr(atlas, name)
    assert name in dir(atlas)


def test_an_unknown_name_lists_the_known() -> None:
    with pytest.raises(AttributeError, match=r"'lode'.* load, "):
        _ = atlas.lode


def test_from_import_of_an_unknown_name_is_an_import_error() -> None:
    with pytest.raises(ImportError):
        from atlas import lode  # noqa: F401
