"""The identity of a model, and the provenance of a trace: which model, which version, and how it was run."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import torch
import transformers

from atlas.errors import UnknownName, UnsupportedModel
from atlas.ids import as_head, as_heads
from atlas.text.align import uncovered

if TYPE_CHECKING:
    from atlas.engine.model import Model
    from atlas.engine.running.encode import Encoded
    from atlas.engine.running.interventions import Intervention


@dataclass(frozen=True, slots=True)
class Identity:
    """A model's name, source and version."""

    name: str
    source: str
    """'embedded', 'folder', 'hub' or 'memory'."""
    revision: str | None = None


def described(model: Model, encoded: Encoded, keep: str, change: Intervention | None) -> dict[str, Any]:
    """Provenance of a trace, in values that every file format can store."""
    lacks = None if model.interface else "queries, keys, values, scores and interventions"
    notes = list(model.notes)
    if encoded.cut:
        notes.append(f"The text was cut: {encoded.cut:,} of {encoded.cut + encoded.n_source:,} tokens were left out at its end.")
    notes.extend(_dropped_characters_note(encoded))
    if encoded.target_note:
        notes.append(encoded.target_note)
    return {
        "model": model.name,
        "source": model.identity.source,
        "revision": model.revision,
        "class": type(model.hf).__name__,
        "task": model.task,
        "thresholds": _thresholds(model),
        "dtype": str(model.hf.dtype).removeprefix("torch."),
        "device": model.device.type,
        "keep": keep,
        "tokens_cut": encoded.cut,
        "changed": _plain_change(change, model.kinds),
        "lacks": lacks,
        "notes": notes,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": library_versions(),
    }


def library_versions() -> dict[str, str]:
    """The versions of what computes."""
    return {"python": platform.python_version(), "torch": torch.__version__, "transformers": transformers.__version__}


NAMED = 5
"""Most characters named in a note, because a text in a script that the vocabulary lacks has hundreds of them."""


def _dropped_characters_note(encoded: Encoded) -> list[str]:
    """A note about characters that no token covers: the page shows them, but the model does not read them."""
    parts = ((encoded.text or "", encoded.tokens, 0), (encoded.pair or "", encoded.tokens, 1))
    lost = "".join(uncovered(*part) for part in parts)
    if not lost:
        return []
    different = sorted(set(lost))
    names = ", ".join(f"U+{ord(letter):04X}" for letter in different[:NAMED]) + (" ..." if len(different) > NAMED else "")
    count = f"{len(lost)} character{'s' if len(lost) > 1 else ''}"
    return [f"The tokenizer leaves out {count} of the text ({names}), so the model does not read them."]


def _thresholds(model: Model) -> dict[str, float]:
    """The decision thresholds of a classifier's labels, where its configuration names them."""
    config = model.hf.config
    named = getattr(config, "thresholds", None)
    if not isinstance(named, Mapping):
        return {}
    labels = set(getattr(config, "id2label", {}).values())
    return {str(label): float(value) for label, value in named.items() if label in labels and isinstance(value, int | float)}


def _plain_change(change: Intervention | None, kinds: tuple[str, ...]) -> dict[str, list[str]]:
    if not change:
        return {}
    ablate = change.ablate
    pairs = ablate.items() if isinstance(ablate, Mapping) else ((head, "zero") for head in ablate)
    modes = {as_head(head, kinds): mode for head, mode in pairs}
    edges = sorted({(as_head(head, kinds), int(query), int(key)) for head, query, key in change.edges()})
    return {
        "ablated": [f"{head.label(kinds)} ({mode})" for head, mode in sorted(modes.items())],
        "knocked out": [f"{head.label(kinds)}: {query} -> {key}" for head, query, key in edges],
        "patched": [head.label(kinds) for head in as_heads(change.patch or {}, kinds)],
    }


def name_in_memory(hf: Any) -> str:
    """The name of a model in memory."""
    path = getattr(hf.config, "_name_or_path", "") or ""
    return path or f"{type(hf).__name__} in memory"


def task_of(hf: Any) -> str:
    """The task of a model in memory, by transformers' tables of classes."""
    from transformers.models.auto import modeling_auto

    for task, table in TASK_TABLES.items():
        if type(hf).__name__ in _class_names(getattr(modeling_auto, table)):
            return task
    # A caller's own class usually keeps the ending of the class it derives from.
    return next((task for ending, task in TASK_ENDINGS.items() if type(hf).__name__.endswith(ending)), "base")


TASK_ENDINGS = {
    "ForCausalLM": "causal-lm",
    "LMHeadModel": "causal-lm",
    "ForMaskedLM": "masked-lm",
    # Not every "ForPreTraining", because ELECTRA's predicts for each token whether it was replaced.
    "BertForPreTraining": "masked-lm",
    "AlbertForPreTraining": "masked-lm",
    "ForNextSentencePrediction": "sequence-classification",
}
"""Ending of the name of a class that is in no table -> its task."""

TASK_TABLES = {
    "masked-lm": "MODEL_FOR_MASKED_LM_MAPPING_NAMES",
    "causal-lm": "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES",
    "seq2seq": "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES",
    "token-classification": "MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES",
    "sequence-classification": "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES",
    "question-answering": "MODEL_FOR_QUESTION_ANSWERING_MAPPING_NAMES",
}
"""Task -> the name of transformers' table of classes. The order decides about a class that is in several tables (BART's is in
those of masked LMs, causal LMs and seq2seq models)."""


def _class_names(table: Mapping[str, Any]) -> set[str]:
    return {name for entry in table.values() for name in ((entry,) if isinstance(entry, str) else entry)}


def check_pair(pair: tuple[Any, ...]) -> tuple[Any, Any]:
    """Check that a tuple is a transformers model and its tokenizer, in this order."""
    if len(pair) != len(("model", "tokenizer")) or not isinstance(pair[0], transformers.PreTrainedModel):
        kinds = ", ".join(type(part).__name__ for part in pair)
        msg = f"To trace a model in memory give atlas.load((model, tokenizer)) with a transformers model; this is ({kinds})."
        raise UnknownName(msg)
    if pair[0].main_input_name != "input_ids":
        takes = pair[0].main_input_name
        msg = f"{type(pair[0]).__name__} takes {takes}, not text. Load a model of text; `atlas models` lists some."
        raise UnsupportedModel(msg)
    if not callable(pair[1]) or not hasattr(pair[1], "convert_ids_to_tokens"):
        msg = f"The second of (model, tokenizer) has to be a transformers tokenizer, not {type(pair[1]).__name__}."
        raise UnknownName(msg)
    return pair[0], pair[1]
