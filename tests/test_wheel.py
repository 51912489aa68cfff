"""The wheel, built as a stranger would build it, installed in an environment outside the repository, and used there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from email.parser import Parser
from pathlib import Path

import numpy as np
import pytest

import atlas
from tests.places import REPO

TEXT = "the cat sat on the mat because the dog sat there"

USE = """
import json, sys
import atlas
from atlas import resources

trace = atlas.load(sys.argv[1]).trace(sys.argv[2])
weights = trace.attention()
print(json.dumps({
    "file": atlas.__file__,
    "assets": str(resources.assets()),
    "tokens": list(trace.tokens()["token"]),
    "weights": weights.values.tolist(),
}))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    # Without isolation: the build backend is in the lock, and a test needs no network.
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(REPO)]
    subprocess.run(build, check=True, capture_output=True, timeout=120)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of programs of a fresh environment: the wheel inside, its dependencies borrowed from this one."""
    home = tmp_path_factory.mktemp("elsewhere") / "venv"
    venv.create(home, with_pip=True)
    programs = home / ("Scripts" if os.name == "nt" else "bin")
    install = [str(programs / "python"), "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", str(wheel)]
    subprocess.run(install, check=True, capture_output=True, timeout=120)
    # Borrowed by path, so that this environment's own .pth files, the editable install of the checkout among them, do not count.
    (site,) = home.rglob("site-packages")
    borrowed = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (site / "borrowed.pth").write_text("\n".join(sorted(borrowed)))
    return programs


def run(command: list[str], cwd: Path) -> subprocess.CompletedProcess[str]:
    outside = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run(command, cwd=cwd, env=outside, check=False, capture_output=True, text=True, timeout=240)


def test_the_wheel_holds_the_package_and_its_assets_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    code = {path.relative_to(REPO) for path in (REPO / "atlas").rglob("*") if path.suffix == ".py" or path.name == "py.typed"}
    files = {path.relative_to(REPO / "assets") for path in (REPO / "assets").rglob("*") if path.is_file()}
    shipped = {path for path in files if path.parts[0] != "recipes" and path.suffix != ".pyc"}
    assert shipped
    assert {str(path) for path in code} <= held
    assert {str(Path("atlas", "_assets", path)) for path in shipped} <= held
    assert [name for name in held if not name.startswith("atlas/") or "recipes" in name] == []
    assert [name for name in held if name.endswith(".pyc") or Path(name).name.startswith(("test_", "conftest"))] == []


def test_the_wheel_says_what_it_is(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        about = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = Parser().parsestr(archive.read(about).decode())
        programs = archive.read(about.replace("METADATA", "entry_points.txt")).decode()
        assert about.replace("METADATA", "licenses/LICENSE") in archive.namelist()
    assert (metadata["Name"], metadata["Version"], metadata["License-Expression"]) == (
        "attention-atlas",
        atlas.__version__,
        "MIT",
    )
    assert metadata["Requires-Python"] == ">=3.11"
    assert "Attention Atlas" in metadata.get_payload()
    assert "atlas = atlas.cli:main" in programs


def test_the_command_line_introduces_itself(installed: Path, tmp_path: Path) -> None:
    script = run([str(installed / "atlas"), "--help"], tmp_path)
    module = run([str(installed / "python"), "-m", "atlas", "--help"], tmp_path)
    assert (script.returncode, module.returncode) == (0, 0), script.stderr + module.stderr
    assert "trace" in script.stdout
    assert "trace" in module.stdout


def test_a_model_is_traced_outside_the_repository(installed: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tiny-bert"
    eager = save_tiny_bert(folder)
    done = run([str(installed / "python"), "-c", USE, str(folder), TEXT], tmp_path)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert Path(said["file"]).is_relative_to(installed.parent)
    assert Path(said["assets"]).is_relative_to(installed.parent)
    assert said["tokens"] == ["[CLS]", *TEXT.split(), "[SEP]"]
    assert np.abs(np.array(said["weights"]) - eager).max() < 1e-5
    assert np.ptp(eager, axis=-1).max() > 0.05  # far from uniform, so that a wrong matrix would not pass


def save_tiny_bert(folder: Path) -> np.ndarray:
    """Save a small random BERT with a vocabulary of the text's words; return its own attention (layer, head, query, key)."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertForMaskedLM, PreTrainedTokenizerFast

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *sorted(set(TEXT.split()))]
    pieces = Tokenizer(models.WordPiece({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    pieces.pre_tokenizer = pre_tokenizers.Whitespace()
    pieces.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    special = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=pieces, **{f"{name}_token": word for name, word in special.items()})
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = BertForMaskedLM._from_config(config, attn_implementation="eager").eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "query.weight" in name or "key.weight" in name:
                weight.mul_(30)  # random weights attend to everything alike
        attentions = model(**tokenizer(TEXT, return_tensors="pt"), output_attentions=True).attentions
    tokenizer.save_pretrained(folder)
    model.save_pretrained(folder)
    return torch.cat(attentions).numpy()
