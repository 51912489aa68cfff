"""The calibration that lies beside the weights of a detector."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from atlas.errors import BrokenFiles
from atlas.resources import assets
from atlas.tracing.calibration import Calibration, calibration_from

if TYPE_CHECKING:
    from atlas.engine.model import Model

FILE = "calibration.json"

FOLDERS = ("embedded", "folder")
"""Where weights are those of the folder they were read from; a model in memory may have been trained on since."""


def calibration_of(model: Model) -> Calibration | None:
    """The calibration of a detector; None where none is known."""
    if model.identity.source not in FOLDERS or model.borrowed:
        return None
    return _read(Path(str(getattr(model.hf.config, "_name_or_path", ""))) / FILE)


def calibration_of_embedded(name: str) -> Calibration | None:
    """The calibration of a detector that comes with Atlas, by its name, without loading it."""
    return _read(assets() / "models" / Path(name).name / FILE)


def _read(place: Path) -> Calibration | None:
    if not place.is_file():
        return None
    try:
        return calibration_from(json.loads(place.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        msg = f"The calibration {place} cannot be read ({type(error).__name__}: {error}). Remove it, or make it again."
        raise BrokenFiles(msg) from error
