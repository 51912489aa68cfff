"""The target that the decoder of an encoder-decoder reads: the caller's, the text itself, or what the model generates."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from atlas.engine.loading.examine import reads_its_source
from atlas.engine.running.capture import fitting
from atlas.engine.running.context import Call, running
from atlas.engine.running.encode import Encoded, check_ids, ids_table, start_token, table_of, tokenize, too_long
from atlas.engine.running.interventions import Intervention, by_layer
from atlas.engine.running.recorder import TextShape
from atlas.errors import BadIntervention, TextError, TextTooLong
from atlas.ids import as_heads
from atlas.text.align import check_text

if TYPE_CHECKING:
    import pandas as pd

    from atlas.engine.model import Model

TARGET_TOKENS = 128
"""Most tokens that an encoder-decoder generates where no target is given: a paragraph."""

KEPT = (
    "The target is what the unchanged model writes: it was kept although the run was changed, so that both runs can be compared "
    "token by token. With regenerate=True the changed model writes its own."
)

ANEW = "The target was written by the changed model, so its tokens may not be those of the unchanged one."


def with_target(model: Model, encoded: Encoded, target: str | None, change: Intervention | None, *, regenerate: bool) -> Encoded:
    """The text with its target, for an encoder-decoder; other models get the text as it is.

    A generated target is generated without the changes of the run, or with `regenerate` under them; a note says which.
    """
    if "cross" not in model.kinds:
        if target is not None:
            msg = f"{model.name} has no decoder that reads a target; leave target out."
            raise TextError(msg)
        return encoded
    rereads = reads_its_source(model.hf, model.task)
    if rereads and target is not None:
        msg = f"{model.name} lets its decoder read the text itself; leave target out."
        raise TextError(msg)
    note = ""
    if target is not None:
        ids, table = _from_text(model.tokenizer, model.hf, target, model.limit)
    elif rereads or not model.hf.can_generate():
        ids, table = _shifted(model.tokenizer, model.hf, encoded)
    else:
        note = "" if not change else ANEW if regenerate else KEPT
        with model.held(), _interventions_active(model, encoded, change if regenerate else None):
            ids, target, table = _generated(model.tokenizer, model.hf, encoded, _most_generated(model.limit), cached=note != ANEW)
    return replace(encoded, decoder_ids=ids, target=target, target_tokens=table, target_note=note)


def generates(model: Model) -> bool:
    """Whether a text without a target makes a model generate one."""
    return "cross" in model.kinds and not reads_its_source(model.hf, model.task) and model.hf.can_generate()


def _interventions_active(model: Model, encoded: Encoded, change: Intervention | None) -> AbstractContextManager[Any]:
    """Run the model under the changes while the context is open, for every number of generated tokens."""
    if not change:
        return nullcontext()
    if not model.interface:
        return nullcontext()  # the run itself raises the error about the changes
    fixed = [head for head in as_heads(change.patch or {}, model.kinds) if head.kind != "encoder"]
    if fixed:
        msg = (
            f"What is patched into {fixed[0].label(model.kinds)} is as long as one target, and regenerate=True writes another. "
            "Give the target, or leave regenerate out."
        )
        raise BadIntervention(msg)
    shape = TextShape(encoded.n_source, _most_generated(model.limit) + 1)
    return running(Call(sites=model.sites, interventions=by_layer([change], [fitting(model, shape)], model.device)))


def _most_generated(limit: int | None) -> int:
    """Most tokens that a decoder may generate: one less than its limit, because its start token takes a position too."""
    return TARGET_TOKENS if limit is None else min(TARGET_TOKENS, limit - 1)


def _from_text(tokenizer: Any, hf: torch.nn.Module, target: str, limit: int | None) -> tuple[np.ndarray, pd.DataFrame]:
    """The decoder's input for a caller's target: its start token, then the target without its last token."""
    check_text(target, what="target")
    made = tokenize(tokenizer, target, None, target=True)
    ids = np.asarray([start_token(hf), *made["input_ids"][:-1]], dtype=np.int64)
    if limit is not None and len(ids) > limit:
        raise TextTooLong(too_long(len(ids), limit, "target", "Shorten it."))
    check_ids(hf, ids)
    table = table_of(tokenizer, made, target).iloc[:-1]
    return ids, _with_start(tokenizer, int(ids[0]), table)


def _with_start(tokenizer: Any, start: int, table: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    first = ids_table(tokenizer, np.asarray([start]), start=True)
    joined = pd.concat([first, table], ignore_index=True)
    joined.index.name = table.index.name
    return joined.astype(table.dtypes.to_dict())


def _shifted(tokenizer: Any, hf: torch.nn.Module, encoded: Encoded) -> tuple[np.ndarray, pd.DataFrame]:
    """The decoder's input of a model that does not generate: the text itself, shifted by one position."""
    start = start_token(hf)
    ids = np.concatenate([[start], encoded.inputs["input_ids"][:-1]])
    return ids, _with_start(tokenizer, start, encoded.tokens.iloc[:-1])


def cache_fits(config: Any) -> bool:
    """Whether transformers' cache has room for all decoder layers; it makes T5's as deep as the encoder."""
    deep = getattr(config, "num_decoder_layers", None)
    return deep is None or deep <= getattr(config, "num_layers", deep)


def _generated(tokenizer: Any, hf: Any, encoded: Encoded, limit: int, *, cached: bool) -> tuple[np.ndarray, str, pd.DataFrame]:
    """Generate a target greedily; returns the ids that the decoder read, the text and the token table.

    Without `cached` every step reads all tokens generated before, because interventions name positions of the target, and a
    cached step reads only one token.
    """
    device = hf.get_input_embeddings().weight.device
    inputs = {name: torch.as_tensor(array)[None].to(device) for name, array in encoded.inputs.items() if name != "token_type_ids"}
    with torch.no_grad():
        made = hf.generate(
            **inputs, max_new_tokens=limit, do_sample=False, num_beams=1, use_cache=cached and cache_fits(hf.config)
        )
    ids = made[0].cpu().numpy().astype(np.int64)
    ends = hf.generation_config.eos_token_id
    ends = ends if isinstance(ends, list) else [ends]
    ids = ids[:-1] if len(ids) > 1 and int(ids[-1]) in ends else ids
    return ids, *target_of(tokenizer, ids)


def target_of(tokenizer: Any, ids: np.ndarray) -> tuple[str, pd.DataFrame]:
    """The text and the token table of what a decoder wrote after its start token, which is the first of the ids."""
    text = tokenizer.decode(ids, skip_special_tokens=True)
    again = tokenize(tokenizer, text, None, target=True) if text else {"input_ids": [], "special_tokens_mask": []}
    if list(again["input_ids"][:-1]) == [int(i) for i in ids[1:]] and len(ids) > 1:
        return text, _with_start(tokenizer, int(ids[0]), table_of(tokenizer, again, text).iloc[:-1])
    return text, ids_table(tokenizer, ids, start=True)
