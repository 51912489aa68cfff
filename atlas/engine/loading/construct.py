"""Builds a model from a folder of files and checks that it is the model that was trained.

The class is the one the configuration names, so that predictions exist. A head that the files do not hold is left out instead
of being initialised at random, and a trunk with missing weights is refused. Weights are read from safetensors only, and the
model's own code runs only if the caller allows it.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from atlas.engine.loading import files
from atlas.engine.loading.declared import check_parameters, check_settings
from atlas.engine.loading.hub import Source
from atlas.engine.loading.placement import as_device, as_dtype, moved
from atlas.engine.loading.quiet_libraries import quiet_transformers
from atlas.errors import AtlasError, BrokenFiles, UnsafeModel, UnsupportedModel
from atlas.numbers import listed

if TYPE_CHECKING:
    import torch

BASE = "base"
"""The task of a model without a head, which has attention and states but predicts nothing."""

_HEADS = {
    "masked-lm": ("MODEL_FOR_MASKED_LM_MAPPING_NAMES", "AutoModelForMaskedLM"),
    "causal-lm": ("MODEL_FOR_CAUSAL_LM_MAPPING_NAMES", "AutoModelForCausalLM"),
    "seq2seq": ("MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES", "AutoModelForSeq2SeqLM"),
    "token-classification": ("MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES", "AutoModelForTokenClassification"),
    "sequence-classification": ("MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES", "AutoModelForSequenceClassification"),
    "question-answering": ("MODEL_FOR_QUESTION_ANSWERING_MAPPING_NAMES", "AutoModelForQuestionAnswering"),
}
"""Task -> transformers' table of the task's classes by model type, and the Auto class that dispatches on it."""

SHOWN_KEYS = 5
"""How many weight names an error lists: enough to recognise the part that is missing."""

REASON_CHARACTERS = 300
"""Characters of a library's error message that are quoted: its first sentences, because transformers adds pages of advice."""


class _Loaded(NamedTuple):
    hf: Any
    missing: list[str]
    unexpected: list[str]


class Constructed(NamedTuple):
    """A model in evaluation mode, its tokenizer, its task, and notes for the reader."""

    hf: Any
    tokenizer: Any
    task: str
    notes: tuple[str, ...]


def construct(
    source: Source,
    *,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    trust_remote_code: bool = False,
) -> Constructed:
    """Build the model and tokenizer of a source.

    Parameters
    ----------
    source
        What `resolve` found.
    device
        By default a CUDA GPU where there is one, else the CPU.
    dtype
        By default float32, whatever precision the files have, because results are exact to 1e-5 in it.
    trust_remote_code
        Run the model's own Python files.
    """
    folder = source.path
    settings = files.read_config(folder)
    check_settings(folder, settings)
    weights = files.weight_files(folder)
    for path in weights:
        files.check_weights(path)
    place, number = as_device(device), as_dtype(dtype)
    with quiet_transformers():
        config = _config(folder, settings, trust=trust_remote_code)
        with _explained(folder):
            check_parameters(folder, config, weights)
        tokenizer = _tokenizer(folder, config, trust=trust_remote_code)
        hf, task, notes = _model(source, config, number, trust=trust_remote_code)
    _check_vocabulary(folder, hf, tokenizer)
    if not getattr(tokenizer, "is_fast", False):
        notes = (*notes, f"{type(tokenizer).__name__} gives no character offsets; tokens cannot be aligned to words exactly.")
    return Constructed(moved(hf, place), tokenizer, task, (*source.notes, *notes))


def _config(folder: Path, settings: dict[str, Any], *, trust: bool) -> Any:
    from transformers import CONFIG_MAPPING, AutoConfig

    kind = settings.get("model_type")
    if kind not in CONFIG_MAPPING and not (trust and settings.get("auto_map")):
        if settings.get("auto_map"):
            msg = (
                f"{folder} needs Python code of its own to run (model type {kind!r} is not one transformers has). "
                "Read that code, and if you trust it load the model with trust_remote_code=True."
            )
            raise UnsafeModel(msg)
        if (folder / "adapter_config.json").is_file():
            msg = f"{folder} is an adapter, not a whole model. Merge it into its base model, save that, and give the folder."
            raise UnsupportedModel(msg)
        what = f"model type {kind!r}, which this version of transformers does not have" if kind else "no model type"
        msg = f"{folder / files.CONFIG} names {what}. Give a transformers model, or update transformers."
        raise UnsupportedModel(msg)
    with _explained(folder):
        config = AutoConfig.from_pretrained(folder, trust_remote_code=trust, local_files_only=True)
    # A configuration may name an attention kernel, and transformers would fetch that from the hub and run it.
    config._attn_implementation = None  # noqa: SLF001  (the public name is write-only at construction)
    return config


def _tokenizer(folder: Path, config: Any, *, trust: bool) -> Any:
    from transformers import AutoTokenizer

    if not files.has_tokenizer(folder):
        if (folder / files.FOR_IMAGES).is_file():
            msg = f"{folder} is a model of images or sound; only models of text can be traced so far."
            raise UnsupportedModel(msg)
        msg = f"{folder} holds no tokenizer (no tokenizer.json, vocab.txt or the like). Save it there too."
        raise BrokenFiles(msg)
    with _explained(folder):
        return AutoTokenizer.from_pretrained(folder, config=config, trust_remote_code=trust, local_files_only=True)


def _model(source: Source, config: Any, dtype: torch.dtype, *, trust: bool) -> tuple[Any, str, tuple[str, ...]]:
    """Load the class with the head the files hold, or without one."""
    folder, task = source.path, _task(source, config)
    note = "The model is stored without a head: there are no predictions."
    if task != BASE:
        loaded = _load(folder, _HEADS[task][1], config, dtype, trust=trust)
        made_up = _head_keys(loaded, config)
        _refuse_holes(folder, set(loaded.missing) - set(made_up))
        if not made_up:
            return loaded.hf, task, _left_out(loaded, folder)
        note = f"The files hold no trained {task} head ({listed(made_up, SHOWN_KEYS)}), so there are no predictions."
        del loaded
    loaded = _load(folder, _bare_class(config) if task == BASE else "AutoModel", config, dtype, trust=trust)
    poolers = {key for key in loaded.missing if key.startswith("pooler.")}
    if poolers:
        loaded.hf.pooler = None  # it only summarises the last states, and its weights would be random
    _refuse_holes(folder, set(loaded.missing) - poolers)
    return loaded.hf, BASE, (note, *_left_out(loaded, folder))


def _task(source: Source, config: Any) -> str:
    """The task of the class in the configuration; the catalog's task where that is a bare or a pretraining class."""
    from transformers.models.auto import modeling_auto

    names = list(getattr(config, "architectures", None) or [])
    tables = {task: getattr(modeling_auto, table) for task, (table, _) in _HEADS.items()}
    for task, table in tables.items():
        known = table.get(config.model_type, ())
        if any(name in ((known,) if isinstance(known, str) else known) for name in names):
            return task
    if source.entry is not None and source.entry.task in tables and config.model_type in tables[source.entry.task]:
        return source.entry.task
    pretraining = any(name.endswith("ForPreTraining") for name in names)
    if pretraining and config.model_type in tables["masked-lm"]:
        return "masked-lm"  # BERT's and ALBERT's pretraining class contains the masked-LM head; a head not stored is left out
    remote = getattr(config, "auto_map", None) or {}
    return next((task for task, (_, auto) in _HEADS.items() if auto in remote), BASE)


def _bare_class(config: Any) -> str:
    """The class of a model without a head: the configuration's own (`T5EncoderModel` is half of T5), else 'AutoModel'."""
    import transformers

    for name in getattr(config, "architectures", None) or ():
        named = getattr(transformers, name, None)
        if name.endswith("Model") and getattr(named, "config_class", None) is type(config):
            return str(name)
    return "AutoModel"


def _load(folder: Path, auto: str, config: Any, dtype: torch.dtype, *, trust: bool) -> _Loaded:
    """Load a model, with the names of the weights that the files lack and of those that the model does not use."""
    import transformers

    with _explained(folder):
        hf, info = getattr(transformers, auto).from_pretrained(
            folder,
            config=config,
            dtype=dtype,
            use_safetensors=True,
            trust_remote_code=trust,
            local_files_only=True,
            ignore_mismatched_sizes=True,  # so that all are reported below; by default transformers raises a text for terminals
            output_loading_info=True,
        )
    if info["mismatched_keys"]:
        keys = [f"{key} {tuple(held)} instead of {tuple(wanted)}" for key, held, wanted in sorted(info["mismatched_keys"])]
        wrong = listed(keys, SHOWN_KEYS)
        msg = f"The weights in {folder} do not fit its {files.CONFIG}: {wrong}. One of the two is from another model."
        raise BrokenFiles(msg)
    if hf.main_input_name != "input_ids":
        msg = f"{type(hf).__name__} reads {hf.main_input_name}, not text; only models of text can be traced so far."
        raise UnsupportedModel(msg)
    return _Loaded(hf.eval(), sorted(info["missing_keys"]), sorted(info["unexpected_keys"]))


def _head_keys(loaded: _Loaded, config: Any) -> list[str]:
    """The missing weights that belong to the head, poolers included, because random ones would make random predictions."""
    import torch
    from transformers import MODEL_MAPPING, AutoModel

    if not loaded.missing:
        return []
    prefix = f"{loaded.hf.base_model_prefix}."
    if type(config) not in MODEL_MAPPING:  # the model's own code: only the prefix tells which weights are its trunk
        return [key for key in loaded.missing if not key.startswith(prefix)]
    with torch.device("meta"):
        trunk = set(AutoModel.from_config(config).state_dict())
    bare = {key: key.removeprefix(prefix) for key in loaded.missing}
    return [key for key, name in bare.items() if name not in trunk or name.startswith("pooler.")]


def _refuse_holes(folder: Path, missing: Iterable[str]) -> None:
    holes = sorted(missing)
    if holes:
        msg = (
            f"The weights in {folder} lack {len(holes)} parts of the model itself ({listed(holes, SHOWN_KEYS)}), which would be "
            "made up at random. Get the files again; the configuration may belong to another model."
        )
        raise BrokenFiles(msg)


def _left_out(loaded: _Loaded, folder: Path) -> tuple[str, ...]:
    """A note where the files hold more layers than the configuration uses, so the model is shallower than the trained one."""
    shape = {re.sub(r"\.\d+\.", ".*.", key) for key in loaded.hf.state_dict() if re.search(r"\.\d+\.", key)}
    deeper = [key for key in loaded.unexpected if re.search(r"\.\d+\.", key) and re.sub(r"\.\d+\.", ".*.", key) in shape]
    if not deeper:
        return ()
    return (f"{folder / files.CONFIG} declares fewer layers than the files hold; not used: {listed(deeper, SHOWN_KEYS)}.",)


def _check_vocabulary(folder: Path, hf: Any, tokenizer: Any) -> None:
    """Refuse a tokenizer with ids that the model has no embedding for, because they would crash a run or give wrong words."""
    vocabulary = tokenizer.get_vocab()
    rows = hf.get_input_embeddings().weight.shape[0]
    if not vocabulary:
        msg = f"The tokenizer in {folder} has no vocabulary. Save the one the model was trained with there."
        raise BrokenFiles(msg)
    token, highest = max(vocabulary.items(), key=lambda item: item[1])
    if highest >= rows:
        msg = (
            f"The tokenizer in {folder} belongs to another model: its id {highest} ({token!r}) is beyond the model's {rows} "
            "embeddings. Save the tokenizer the model was trained with there."
        )
        raise BrokenFiles(msg)


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    """Turn an exception that transformers raises about the files into one sentence of ours."""
    try:
        yield
    except AtlasError:
        raise
    except ImportError as error:
        msg = f"{folder} needs a package that is not installed: {_one_line(error)}"
        raise UnsupportedModel(msg) from error
    except Exception as error:
        # Of every sort: the library of tokenizers raises Exception itself.
        if "trust_remote_code" in str(error):
            msg = f"{folder} needs Python code of its own. Read it, and if you trust it load with trust_remote_code=True."
            raise UnsafeModel(msg) from error
        msg = f"transformers could not read {folder}: {type(error).__name__}: {_one_line(error)}"
        raise BrokenFiles(msg) from error


def _one_line(error: Exception) -> str:
    return textwrap.shorten(str(error), REASON_CHARACTERS, placeholder=" ...")
