"""Encodes a text as the inputs of a model, with a table of the tokens, and checks every length before the model runs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from atlas.errors import CAN_BE_CUT, BrokenFiles, TextError, TextTooLong
from atlas.text.align import check_text, token_table

if TYPE_CHECKING:
    import pandas as pd

TOKENIZER_SAYS_NOTHING = 1_000_000
"""Tokenizers without a limit report 1e30 or the like, so a number above this counts as no limit."""

Encoding = Mapping[str, Any] | Sequence[int]

INPUTS = ("input_ids", "attention_mask", "token_type_ids")
"""The parts of an encoding that are used."""

_TOKENIZING = threading.Lock()
"""Held while a text is tokenized, because a fast tokenizer remembers between calls whether it truncates: a thread that truncates
would otherwise cut the text of a thread that does not."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """One text as the inputs of a model, without a batch axis."""

    inputs: dict[str, np.ndarray]
    tokens: pd.DataFrame
    text: str | None
    pair: str | None
    cut: int = 0
    """Tokens lost to truncation."""
    decoder_ids: np.ndarray | None = None
    target: str | None = None
    target_tokens: pd.DataFrame | None = None
    target_note: str = ""
    """A note for the reader about a target that the model generated; may be empty."""

    @property
    def n_source(self) -> int:
        """Tokens of the source."""
        return len(self.inputs["input_ids"])

    @property
    def n_target(self) -> int:
        """Tokens that the decoder of an encoder-decoder reads; 0 for other models."""
        return 0 if self.decoder_ids is None else len(self.decoder_ids)


def usable_length(hf: torch.nn.Module, tokenizer: Any) -> int | None:
    """The number of tokens that fit: the smaller limit of tokenizer and position table; None where neither has one."""
    said = tokenizer.model_max_length
    if not isinstance(said, int | float) or said < 1:  # as tokenizer_config.json has it, whatever that is
        msg = f"The longest text of the tokenizer is {str(said)[:40]!r}, no number of tokens. Correct its model_max_length."
        raise BrokenFiles(msg)
    limits = [int(said)] if said < TOKENIZER_SAYS_NOTHING else []
    table = _position_table(hf)
    if table is not None:
        limits.append(table)
    elif isinstance(known := getattr(hf.config, "max_position_embeddings", None), int) and known > 0:
        limits.append(known)
    return min(limits, default=None)


def _position_table(hf: torch.nn.Module) -> int | None:
    """Rows of the learned position table that a text can use: RoBERTa's 514 serve 512 tokens, BART's 1026 serve 1024."""
    sizes = []
    for name, module in hf.named_modules():
        leaf = name.rpartition(".")[2].lower()
        weight = getattr(module, "weight", None)
        if ("position" not in leaf and leaf != "wpe") or not isinstance(weight, torch.Tensor) or "relative" in leaf:
            continue
        offset = getattr(module, "offset", None)
        padding = getattr(module, "padding_idx", None)
        lost = offset if isinstance(offset, int) else padding + 1 if isinstance(padding, int) else 0
        sizes.append(int(weight.shape[0]) - lost)
    return min(sizes, default=None)


def encode(
    tokenizer: Any,
    hf: torch.nn.Module,
    text: str | Encoding,
    pair: str | None,
    *,
    truncate: bool,
    limit: int | None,
    check: Callable[[int], object] = lambda _: None,
    **options: Any,
) -> Encoded:
    """Tokenize a text, or take a ready encoding. Too long a text is cut with `truncate`, else refused.

    `check` is called with the number of tokens, and raises if a run of so many does not fit into memory. `options` are the
    tokenizer's own.
    """
    if not isinstance(text, str):
        return _ready(tokenizer, hf, text, pair, limit)
    check_text(text)
    if pair is not None:
        check_text(pair, what="second text")
    made = tokenize(tokenizer, text, pair, **options)
    n_full = len(made["input_ids"])
    cut = 0
    if limit is not None and n_full > limit:
        if not truncate:
            raise TextTooLong(too_long(n_full, limit))
        made = tokenize(tokenizer, *_beginnings(tokenizer, made, text, pair, limit), truncation=True, max_length=limit, **options)
        cut = n_full - len(made["input_ids"])
    if not len(made["input_ids"]):
        msg = "The tokenizer found no token in this text. Type something the model's vocabulary knows."
        raise TextError(msg)
    check(len(made["input_ids"]))
    inputs = {name: np.asarray(made[name], dtype=np.int64) for name in INPUTS if name in made}
    # Not every tokenizer returns a mask, and without a mask a batch would attend to its padding.
    inputs.setdefault("attention_mask", np.ones_like(inputs["input_ids"]))
    check_ids(hf, inputs["input_ids"])
    return Encoded(inputs, table_of(tokenizer, made, text, pair), text, pair, cut)


def _beginnings(tokenizer: Any, made: Any, text: str, pair: str | None, limit: int) -> tuple[str, str | None]:
    """The beginnings of two texts that are cut to `limit` tokens together, with as many tokens again to spare.

    A fast tokenizer also makes every pair of the pieces that it cuts off: of two texts of 200,000 letters these took 22 GB.
    """
    if pair is None or not tokenizer.is_fast:
        return text, pair
    sides = [which for which in made.sequence_ids() if which is not None]
    # The one that is longer stays so, because it gets the odd token.
    most = [2 * limit + (sides.count(0) > sides.count(1)), 2 * limit]
    counts, ends = [0, 0], [0, 0]
    for which, (_, end) in zip(made.sequence_ids(), made["offset_mapping"], strict=True):
        if which is not None and counts[which] < most[which]:
            counts[which] += 1
            ends[which] = max(ends[which], end)
    cut = [end if count == top else None for count, end, top in zip(counts, ends, most, strict=True)]
    return text[: cut[0]], pair[: cut[1]]


def pair_of(text: Any) -> tuple[Any, str | None]:
    """Split off the second segment: a tuple of strings is a pair of texts, a tuple of numbers is one encoding."""
    if not isinstance(text, tuple) or not any(isinstance(part, str) for part in text):
        return text, None
    if len(text) != len(("text", "pair")):
        msg = f"A pair of texts is a tuple of two strings; this one has {len(text)} parts."
        raise TextError(msg)
    return text[0], text[1]


def too_long(n_tokens: int, limit: int, what: str = "text", advice: str = CAN_BE_CUT) -> str:
    """The error message that says by how many tokens a text is too long."""
    return f"The {what} has {n_tokens:,} tokens and this model takes {limit:,}: {n_tokens - limit:,} too many. {advice}"


def tokenize(tokenizer: Any, text: str, pair: str | None, *, target: bool = False, **options: Any) -> Any:
    """Tokenize a text, or with `target` a text for the decoder."""
    options |= {"return_special_tokens_mask": True, "return_offsets_mapping": bool(tokenizer.is_fast), "verbose": False}
    with _settings_restored(tokenizer):
        return tokenizer(text_target=text, **options) if target else tokenizer(text, pair, **options)


@contextmanager
def _settings_restored(tokenizer: Any) -> Iterator[None]:
    """Truncate texts only at their end while the context is open, then restore the tokenizer's truncation and padding."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    with _TOKENIZING:
        side = tokenizer.truncation_side
        kept = None if backend is None else (backend.truncation, backend.padding)
        tokenizer.truncation_side = "right"
        try:
            yield
        finally:
            tokenizer.truncation_side = side
            if backend is not None and kept is not None:
                _ = backend.no_truncation() if kept[0] is None else backend.enable_truncation(**kept[0])
                _ = backend.no_padding() if kept[1] is None else backend.enable_padding(**kept[1])


def table_of(tokenizer: Any, made: Any, text: str, pair: str | None = None) -> pd.DataFrame:
    """The table of a tokenized text."""
    ids = list(made["input_ids"])
    extra = set(tokenizer.all_special_ids)
    special = [bool(flag) or token in extra for flag, token in zip(made["special_tokens_mask"], ids, strict=True)]
    return token_table(
        text,
        ids=ids,
        pieces=tokenizer.convert_ids_to_tokens(ids),
        special=special,
        offsets=made.get("offset_mapping"),
        segments=made.sequence_ids() if tokenizer.is_fast else None,
        pair=pair,
        unknown=unknown_of(tokenizer),
    )


def _ready(tokenizer: Any, hf: torch.nn.Module, encoding: Any, pair: str | None, limit: int | None) -> Encoded:
    """Use a caller's encoding: a mapping with `input_ids`, or the ids themselves."""
    if isinstance(encoding, list | tuple) and any(isinstance(part, str) for part in encoding):
        msg = "One text is a string; for several texts use model.traces(texts)."
        raise TextError(msg)
    if encoding is None or isinstance(encoding, bytes | bool | int | float):
        msg = f"The text has to be a string, or an encoding with 'input_ids', not {type(encoding).__name__}."
        raise TextError(msg)
    if pair is not None:
        msg = "An encoding holds its pair already. Leave pair out, or give both texts as strings."
        raise TextError(msg)
    parts = encoding if isinstance(encoding, Mapping) else {"input_ids": encoding}
    if "input_ids" not in parts:
        msg = f"An encoding needs 'input_ids'; this one has {', '.join(map(repr, parts)) or 'nothing'}."
        raise TextError(msg)
    inputs = {name: _row(name, parts[name]) for name in INPUTS if name in parts}
    lengths = {name: len(array) for name, array in inputs.items()}
    if len(set(lengths.values())) > 1:
        msg = f"The parts of an encoding have to be equally long; these are {lengths}."
        raise TextError(msg)
    if not inputs.get("attention_mask", np.ones(1)).all():
        msg = "This encoding has padding (zeros in 'attention_mask'). Pass it without; model.traces pads by itself."
        raise TextError(msg)
    ids = inputs["input_ids"]
    inputs.setdefault("attention_mask", np.ones_like(ids))
    if limit is not None and len(ids) > limit:
        # An encoding is never cut, even with `truncate`, because only the caller knows which of its tokens can be left out.
        raise TextTooLong(too_long(len(ids), limit, "encoding", "Make it from a shorter text, or with truncation."))
    check_ids(hf, ids)
    _check_segments(hf, inputs.get("token_type_ids"))
    return Encoded(inputs, ids_table(tokenizer, ids), None, None)


def _row(name: str, values: Any) -> np.ndarray:
    """One row of whole numbers, with or without a batch axis of one."""
    try:
        array = np.asarray(values.cpu() if isinstance(values, torch.Tensor) else values)
    except ValueError as error:
        msg = f"{name!r} has to be one row of whole numbers; this is no regular array ({error})."
        raise TextError(msg) from error
    array = array[0] if array.ndim > 1 and len(array) == 1 else array
    if array.ndim != 1 or not len(array) or not np.issubdtype(array.dtype, np.integer):
        msg = f"{name!r} has to be one row of whole numbers, not an array of shape {array.shape} and type {array.dtype}."
        raise TextError(msg)
    return array.astype(np.int64)


def _check_segments(hf: Any, segments: np.ndarray | None) -> None:
    known = getattr(hf.config, "type_vocab_size", None)
    if segments is not None and isinstance(known, int) and known > 0 and (segments.min() < 0 or segments.max() >= known):
        msg = f"'token_type_ids' has {int(segments.max())}, and this model knows the segments 0 to {known - 1}."
        raise TextError(msg)


def ids_table(tokenizer: Any, ids: np.ndarray, *, start: bool = False) -> pd.DataFrame:
    """The token table of bare ids. With `start` the first id is the decoder's start token, which is always special."""
    unknown = unknown_of(tokenizer)
    known = set(tokenizer.all_special_ids) - ({tokenizer.unk_token_id} if unknown else set())
    special = [int(token) in known or (start and i == 0) for i, token in enumerate(ids)]
    # Not by `skip_special_tokens`, which would also leave out unknown tokens, and those stand for words.
    text = tokenizer.decode([int(token) for token, flag in zip(ids, special, strict=True) if not flag])
    pieces = tokenizer.convert_ids_to_tokens([int(i) for i in ids])
    return token_table(text, ids=[int(i) for i in ids], pieces=pieces, special=special, unknown=unknown)


def unknown_of(tokenizer: Any) -> str:
    """The tokenizer's unknown token; '' if it has another use too (GPT-2's also begins and ends texts)."""
    unknown = getattr(tokenizer, "unk_token", None) or ""
    others = ("bos_token", "eos_token", "sep_token", "pad_token", "cls_token", "mask_token")
    return "" if any(getattr(tokenizer, name, None) == unknown for name in others) else str(unknown)


def check_ids(hf: Any, ids: np.ndarray) -> None:
    """Refuse ids for which the model has no embedding."""
    rows = hf.get_input_embeddings().weight.shape[0]
    if ids.min() < 0 or ids.max() >= rows:
        msg = (
            f"Token id {int(ids.max() if ids.max() >= rows else ids.min())} is outside the model's embedding, "
            f"which has {rows:,} rows. Model and tokenizer do not belong together."
        )
        raise TextError(msg)


def start_token(hf: torch.nn.Module) -> int:
    """The id a decoder starts from."""
    for config in (getattr(hf, "generation_config", None), hf.config):
        for name in ("decoder_start_token_id", "bos_token_id", "pad_token_id"):
            value = getattr(config, name, None)
            if isinstance(value, int):
                return value
    msg = "This encoder-decoder's configuration names no decoder_start_token_id; set hf.config.decoder_start_token_id."
    raise TextError(msg)
