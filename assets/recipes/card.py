"""Model cards: the text of cards/NAME.md with the figures of a finished model filled in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import safe_open

from .training import hours_trained, last_checkpoint

TEXTS = Path(__file__).with_name("cards")


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


def parameters(weights: Path) -> int:
    """How many numbers a safetensors file holds."""
    with safe_open(weights, "pt") as file:
        return sum(file.get_tensor(name).numel() for name in file.keys())  # noqa: SIM118 (the file is no mapping)


def card(name: str, model: Path, run: Path, measured: dict[str, Any], per_step: int) -> str:
    """The card of the model in folder `model`, trained in the folder `run`; per_step: tokens or examples a step."""
    weights = model / "model.safetensors"
    checkpoint = last_checkpoint(run / "checkpoints", clean=False)
    steps = json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))["global_step"] if checkpoint else 0
    facts = {
        "parameters": f"{parameters(weights):,}",
        "megabytes": f"{weights.stat().st_size / 1e6:.1f}",
        "steps": f"{steps:,}",
        "batch": f"{per_step:,}",
        "tokens": f"{steps * per_step / 1e6:.1f}",
        "hours": f"{hours_trained(run / 'checkpoints'):.1f}",
        "table": table(measured),
    }
    return (TEXTS / f"{name}.md").read_text(encoding="utf-8").format(**facts)
