"""Model cards: the text of cards/NAME.md with the figures of a finished model filled in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import spacy
from safetensors import safe_open

from .training import TIMES, hours_trained, stretches

TEXTS = Path(__file__).with_name("cards")
CARD = "MODEL_CARD.md"


def table(measured: dict[str, Any]) -> str:
    """Nested measures as a Markdown table of two columns; lists are left to the JSON."""
    lines = ["| measure | value |", "|---|---|"]

    def add(prefix: str, value: object) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                add(f"{prefix} · {key}" if prefix else str(key), inner)
        elif not isinstance(value, list):
            lines.append(f"| {prefix} | {value} |")

    add("", {key: value for key, value in measured.items() if key not in {"name", "measured"}})
    return "\n".join(lines)


def parameters(model: Path) -> int:
    """How many numbers a model in the standard layout, or a spaCy pipeline, holds."""
    weights = model / "model.safetensors"
    if not weights.exists():
        parts = [node for _, pipe in spacy.load(model).pipeline for node in pipe.model.walk()]
        each = {node.id: node for node in parts}.values()  # a part that two components share is one part
        return sum(node.get_param(name).size for node in each for name in node.param_names if node.has_param(name))
    with safe_open(weights, "pt") as file:
        return sum(file.get_tensor(name).numel() for name in file.keys())  # noqa: SIM118 (the file is no mapping)


def megabytes(model: Path) -> float:
    """Size on disk of all files but the card, in millions of bytes."""
    return sum(file.stat().st_size for file in model.rglob("*") if file.is_file() and file.name != CARD) / 1e6


def last_step(checkpoints: Path) -> int:
    """The step of the newest checkpoint, 0 where there is none."""
    place = checkpoints / TIMES
    lines = place.read_text(encoding="utf-8").splitlines() if place.exists() else []
    return int(json.loads(lines[-1])["step"]) if lines else 0


def card(name: str, model: Path, run: Path, measured: dict[str, Any], per_step: int) -> str:
    """The card of the model in folder `model`, trained in the folder `run`; per_step: tokens or examples a step."""
    steps, hours = (sum(map(of, stretches(run))) for of in (last_step, hours_trained))
    facts = {
        "parameters": f"{parameters(model):,}",
        "megabytes": f"{megabytes(model):.1f}",
        "steps": f"{steps:,}",
        "batch": f"{per_step:,}",
        "tokens": f"{steps * per_step / 1e6:.1f}",
        "hours": f"{hours:.1f}",
        "minutes": f"{60 * hours:.0f}",
        "table": table(measured),
    }
    return (TEXTS / f"{name}.md").read_text(encoding="utf-8").format(**facts)
