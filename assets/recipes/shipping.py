"""Write a finished model in the standard layout: float16 safetensors, config, tokenizer, for any version of transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

# Version 5 writes a class name that version 4 does not know, and where the files lay while they were written.
CLASS_OF_BOTH_VERSIONS = "PreTrainedTokenizerFast"
OF_THE_WRITER = ("backend", "is_local", "local_files_only")
READABLE = 0o644  # weights are written readable by their owner alone, and a shipped file is for everybody


def ship(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Save a copy in half precision; the model given is half precision afterwards."""
    folder.mkdir(parents=True, exist_ok=True)
    model.half().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    place = folder / "tokenizer_config.json"
    settings = json.loads(place.read_text(encoding="utf-8"))
    settings = {key: value for key, value in settings.items() if key not in OF_THE_WRITER} | {
        "tokenizer_class": CLASS_OF_BOTH_VERSIONS
    }
    place.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    for file in folder.iterdir():
        file.chmod(READABLE)
