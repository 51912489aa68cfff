"""The inputs of somebody else's forward call as texts of the engine: one a row, without padding."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from atlas.engine.loading.examine import reads_its_source
from atlas.engine.loading.probe import probe_of
from atlas.engine.running.encode import Encoded, table_of, tokenize
from atlas.engine.running.targets import target_of, with_target
from atlas.errors import TextError

if TYPE_CHECKING:
    from atlas.engine.model import Model

NO_IDS = "The call has no input_ids{but}; what it read cannot be run again."
NO_TARGET = "The call of this encoder-decoder has neither decoder_input_ids nor labels."
NO_TEXT = "The mask or the positions of the call are not those of one text a row."


def arguments_of(signature: inspect.Signature, args: Sequence[Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a call by name."""
    return dict(signature.bind_partial(*args, **options).arguments) if args else dict(options)


def goes_on(given: Mapping[str, Any]) -> bool:
    """Whether the call goes on from cached keys and values, as the steps of `generate` after the first do."""
    cache, ids = given.get("past_key_values"), given.get("input_ids")
    if cache is None:
        return False
    if ids is not None and ids.shape[-1] == 1:
        return True  # without asking the cache, which some keep on the GPU
    if hasattr(cache, "get_seq_length"):
        return int(cache.get_seq_length()) > 0
    return len(cache) > 0


def seen_texts(model: Model, given: Mapping[str, Any], most: int, rng: np.random.Generator) -> list[Encoded]:
    """At most so many rows of a call, drawn where there are more."""
    ids = given.get("input_ids")
    if ids is None:
        but = next((f", but {name}" for name in ("encoder_outputs", "inputs_embeds") if given.get(name) is not None), "")
        raise TextError(NO_IDS.format(but=but))
    table = _host(ids)
    rows = np.arange(len(table))
    if len(rows) > most:
        rows = np.sort(rng.choice(rows, size=most, replace=False))
    masks, positions, segments = (
        _part(given, name, table.shape) for name in ("attention_mask", "position_ids", "token_type_ids")
    )
    targets = _targets(model, given) if "cross" in model.kinds else None
    found: list[Encoded] = []
    before: tuple[bytes, ...] = ()
    for row in rows:
        kept = slice(None) if masks is None else _stretch(masks[row])
        if positions is not None and (np.diff(positions[row, kept]) != 1).any():
            raise TextError(NO_TEXT)
        parts = {"input_ids": table[row, kept]}
        target = None if targets is None else targets[row]
        own = (parts["input_ids"].tobytes(), b"" if target is None else target.tobytes())
        if own == before:
            continue  # a beam of the text before
        before = own
        if segments is not None:
            parts["token_type_ids"] = segments[row, kept]
        encoded = _named(model, model.encode(parts))
        found.append(encoded if targets is None else _with_target(model, encoded, target))
    return found


def probe_call(model: Model) -> dict[str, torch.Tensor]:
    """The arguments of a call of the model's own kind."""
    return probe_of(model.hf, model.tokenizer, model.limit, same_length=reads_its_source(model.hf, model.task))


def plain_pass(model: Model, given: Mapping[str, torch.Tensor]) -> None:
    """One pass that nothing observes."""
    with model.held(), torch.no_grad():
        model.forward(given)


def _host(tensor: Any) -> np.ndarray:
    """A copy on the host, as whole numbers."""
    return np.array(tensor.detach().cpu().numpy(), dtype=np.int64)


def _part(given: Mapping[str, Any], name: str, shape: tuple[int, ...]) -> np.ndarray | None:
    """A part of a call with a number for every token; positions are often given once for all rows."""
    part = given.get(name)
    if part is None:
        return None
    if part.ndim != 2 or part.shape[1] != shape[1]:
        raise TextError(NO_TEXT)
    return np.broadcast_to(_host(part), shape)


def _stretch(mask: np.ndarray) -> slice:
    """Where a row is not padding."""
    kept = np.flatnonzero(mask)
    if not len(kept) or kept[-1] - kept[0] + 1 != len(kept) or mask.max() > 1:
        raise TextError(NO_TEXT)
    return slice(int(kept[0]), int(kept[-1]) + 1)


def _named(model: Model, encoded: Encoded) -> Encoded:
    """With the tokens of the decoded text where that has the same ids: bare ids do not say what their bytes spell."""
    ids = encoded.inputs["input_ids"]
    text = model.tokenizer.decode(ids, skip_special_tokens=True)
    if not text:
        return encoded
    made = tokenize(model.tokenizer, text, None)
    return replace(encoded, tokens=table_of(model.tokenizer, made, text)) if list(made["input_ids"]) == ids.tolist() else encoded


def _targets(model: Model, given: Mapping[str, Any]) -> list[np.ndarray | None]:
    """What the decoder read, row by row; None: its source again."""
    rows = len(given["input_ids"])
    ids, mask = given.get("decoder_input_ids"), given.get("decoder_attention_mask")
    if ids is None and given.get("labels") is not None and not reads_its_source(model.hf, model.task):
        ids = model.hf.prepare_decoder_input_ids_from_labels(labels=given["labels"])
    if ids is None:
        if reads_its_source(model.hf, model.task):
            return [None] * rows
        raise TextError(NO_TARGET)
    table = _host(ids)
    if mask is not None:
        masks = _part({"mask": mask}, "mask", table.shape)
        assert masks is not None
        return [table[row, _stretch(masks[row])] for row in range(rows)]
    pads = getattr(model.hf.config, "pad_token_id", None)
    # The first is the start token, which is the padding's id in T5.
    ends = [1 + int(np.flatnonzero(np.append(True, row[1:] != pads))[-1]) for row in table]
    return [row[:end] for row, end in zip(table, ends, strict=True)]


def _with_target(model: Model, encoded: Encoded, ids: np.ndarray | None) -> Encoded:
    if ids is None:
        return with_target(model, encoded, None, None, regenerate=False)
    text, table = target_of(model.tokenizer, ids)
    return replace(encoded, decoder_ids=ids, target=text, target_tokens=table)
