"""The whole text after a model has written on, as the inputs of one pass, with the table of its tokens."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from atlas.engine.running.draft import lengthened
from atlas.engine.running.encode import Encoded, start_token, table_of, tokenize, unknown_of
from atlas.engine.running.targets import target_of
from atlas.text.align import token_table
from atlas.tracing.spans import NOBODY, SPAN, WRITTEN, prompt_spans, with_column

if TYPE_CHECKING:
    import pandas as pd

    from atlas.engine.running.draft import Draft


def completed(draft: Draft, ids: Sequence[int]) -> Encoded:
    """The whole text, with the tokens that were there already and those that were written."""
    model, prompt = draft.model, draft.prompt
    every = np.asarray([*draft.begun, *ids], dtype=np.int64)
    if draft.two_sides:
        target = np.concatenate([[start_token(model.hf)], every])
        written, table = target_of(model.tokenizer, target)
        spans = [NOBODY, *[WRITTEN] * len(every)]
        return replace(
            prompt, tokens=with_column(prompt.tokens, SPAN, _names(prompt_spans(prompt.tokens), prompt.tokens)),
            decoder_ids=target, target=written, target_tokens=with_column(table, SPAN, _names(spans, table)),
        )  # fmt: skip
    inputs = {name: lengthened(name, array, every) for name, array in prompt.inputs.items()}
    text, table = _joined(model.tokenizer, prompt, [int(token) for token in inputs["input_ids"]])
    spans = [*prompt_spans(prompt.tokens), *[WRITTEN] * len(every)]
    return replace(prompt, inputs=inputs, tokens=with_column(table, SPAN, _names(spans, table)), text=text)


def _names(spans: Sequence[str], table: pd.DataFrame) -> pd.Series:
    import pandas as pd

    return pd.Series(spans, index=table.index, dtype="str")


def _joined(tokenizer: Any, prompt: Encoded, ids: list[int]) -> tuple[str | None, pd.DataFrame]:
    """The text of a prompt that was written on, and the table of all its tokens."""
    n = prompt.n_source
    if len(ids) == n:
        return prompt.text, prompt.tokens
    # Differences of what is decoded, because a token decoded alone loses the space before it in some vocabularies.
    lengths = [len(_decoded(tokenizer, ids[:at])) for at in range(n, len(ids) + 1)]
    before = prompt.text or ""
    text = before + _decoded(tokenizer, ids)[lengths[0] :]
    for options in ({}, {"add_special_tokens": False}):
        made = tokenize(tokenizer, text, None, **options)
        if list(made["input_ids"][: len(ids)]) == ids and all(made["special_tokens_mask"][len(ids) :]):
            table = table_of(tokenizer, made, text).iloc[: len(ids)]
            return (text if prompt.text is not None else None), table
    # What a model writes need not be how its tokenizer would split the same text.
    places = (prompt.tokens[name].to_numpy(dtype=float, na_value=np.nan) for name in ("start", "end"))
    offsets = [(0, 0) if np.isnan(start) else (int(start), int(end)) for start, end in zip(*places, strict=True)]
    offsets += itertools.pairwise([len(before) + max(length - lengths[0], 0) for length in lengths])
    known = set(tokenizer.all_special_ids)
    segments = [None if segment < 0 else int(segment) for segment in prompt.tokens["segment"]]
    whole = prompt.text is not None and prompt.tokens.attrs.get("offsets") == "tokenizer" and lengths == sorted(lengths)
    table = token_table(
        text,
        ids=ids,
        pieces=tokenizer.convert_ids_to_tokens(ids),
        special=[*prompt.tokens["special"], *(token in known for token in ids[n:])],
        offsets=offsets if whole else None,
        segments=[*segments, *[0] * (len(ids) - n)] if whole else None,
        unknown=unknown_of(tokenizer),
    )
    return (text if prompt.text is not None else None), table


def _decoded(tokenizer: Any, ids: Sequence[int]) -> str:
    text: str = tokenizer.decode(list(ids), clean_up_tokenization_spaces=False)
    return text


def places_written(draft: Draft, encoded: Encoded) -> list[int]:
    """Positions of the written tokens, on the side where they are written."""
    n = encoded.n_target if draft.two_sides else encoded.n_source
    return list(range(draft.used - len(draft.begun), n))
