"""What a model writes on from, and the steps of writing.

transformers' `generate` runs the steps, because every family caches its keys and values in its own way. Atlas chooses each token
itself: the reader's seed moves no other random numbers, every token is reported as it comes, and the writing can be cancelled.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import transformers

from atlas.engine.loading.examine import reads_its_source
from atlas.engine.loading.quiet_libraries import quiet_transformers
from atlas.engine.running.capture import fitting
from atlas.engine.running.chat import encode_messages
from atlas.engine.running.context import Call, running
from atlas.engine.running.encode import Encoded, start_token, too_long
from atlas.engine.running.interventions import Intervention, by_layer
from atlas.engine.running.recorder import TextShape
from atlas.engine.running.sampling import Chooser, Enough, OnToken, Sampling
from atlas.engine.running.targets import cache_fits
from atlas.errors import BadIntervention, TextTooLong, UnsupportedModel
from atlas.tracing.predictions import MASKED
from atlas.tracing.writing import END, ENOUGH, FULL, WRITES

if TYPE_CHECKING:
    from atlas.engine.model import Model

NO_CHANGE = Intervention()

SETTINGS: Mapping[str, Any] = {
    "repetition_penalty": 1.0, "encoder_repetition_penalty": 1.0, "no_repeat_ngram_size": 0, "encoder_no_repeat_ngram_size": 0,
    "bad_words_ids": None, "min_length": 0, "min_new_tokens": None, "forced_bos_token_id": None, "suppress_tokens": None,
    "begin_suppress_tokens": None, "sequence_bias": None, "exponential_decay_length_penalty": None,
}  # fmt: skip
"""Generation settings that change which token is likeliest, and their values where they do nothing."""


@dataclass(frozen=True, slots=True)
class Draft:
    """What a model writes on from."""

    model: Model
    prompt: Encoded
    """The text; of an encoder-decoder, what its encoder reads."""
    begun: tuple[int, ...] = ()
    """Tokens of the continuation that are there already."""
    change: Intervention = NO_CHANGE

    @property
    def two_sides(self) -> bool:
        """Whether an encoder-decoder writes its target; other models write on in the text itself."""
        return "cross" in self.model.kinds

    @property
    def means(self) -> bool:
        """Whether heads are replaced by their mean over the text."""
        return isinstance(self.change.ablate, Mapping) and "mean" in self.change.ablate.values()

    @property
    def used(self) -> int:
        """Positions that are taken before the first token is written."""
        return len(self.begun) + (1 if self.two_sides else self.prompt.n_source)

    def shape(self, written: int) -> TextShape:
        """The size of the text with so many tokens written."""
        if self.two_sides:
            return TextShape(self.prompt.n_source, self.used + written)
        return TextShape(self.used + written, 0)

    def room(self, wanted: int) -> int:
        """How many tokens can be written: those wanted, or as many as the model has positions for."""
        limit = self.model.limit
        if limit is None or self.used + wanted <= limit:
            return wanted
        if self.used >= limit:
            raise TextTooLong(too_long(self.used + 1, limit, "text with one more token", "Shorten it to have it written on."))
        return limit - self.used


def reason_against(model: Model) -> str:
    """Why a model cannot write; empty: it can."""
    # An encoder-decoder may be listed as one that fills masks (BART); it writes all the same.
    listed = model.task in WRITES or (model.task == MASKED and "cross" in model.kinds)
    if not listed or model.kinds == ("encoder",) or reads_its_source(model.hf, model.task):
        return (
            f"{model.name} ({model.task}) fills in or classifies and does not write. Load a causal model or an encoder-decoder, "
            "such as gpt-mini or t5-mini."
        )
    return "" if model.hf.can_generate() else f"The class {type(model.hf).__name__} of {model.name} cannot generate text."


def draft_of(model: Model, text: Any, begun: Sequence[int], change: Intervention, *, truncate: bool) -> Draft:
    """The prompt of a text, an encoding or messages, checked."""
    reason = reason_against(model)
    if reason:
        raise UnsupportedModel(reason)
    if isinstance(text, list | tuple) and text and isinstance(text[0], Mapping):
        prompt = encode_messages(model, text, truncate=truncate, answer=True)
    else:
        prompt = model.encode(text, truncate=truncate)
    draft = Draft(model, prompt, tuple(int(token) for token in begun), change)
    return draft if draft.two_sides else replace(draft, prompt=open_ended(prompt, ends_of(model)))


def open_ended(prompt: Encoded, ends: Sequence[int]) -> Encoded:
    """A prompt without the end tokens that the tokenizer put after it: nothing is written after an end."""
    n = prompt.n_source
    added = (prompt.tokens["special"] & (prompt.tokens["segment"] < 0)).to_numpy(dtype=bool)
    while n > 1 and added[n - 1] and int(prompt.inputs["input_ids"][n - 1]) in ends:
        n -= 1
    return cut_to(prompt, n)


def cut_to(encoded: Encoded, n: int) -> Encoded:
    """The first n tokens of a text."""
    if n == encoded.n_source:
        return encoded
    inputs = {name: array[:n] for name, array in encoded.inputs.items()}
    table = encoded.tokens.iloc[:n]
    last = table["end"].max()
    text = encoded.text if encoded.text is None or last != last else encoded.text[: int(last)]  # noqa: PLR0124 (NaN alone differs)
    return replace(encoded, inputs=inputs, tokens=table, text=text)


def ends_of(model: Model) -> list[int]:
    """Ids of the tokens with which the model ends a text."""
    for source in (model.hf.generation_config, model.hf.config, model.tokenizer):
        ends = getattr(source, "eos_token_id", None)
        if ends is not None:
            return [int(end) for end in (ends if isinstance(ends, list | tuple) else [ends])]
    return []


def settings_of(model: Model) -> list[str]:
    """Generation settings of the model that keep it from writing its own likeliest token."""
    config = model.hf.generation_config
    return [name for name, neutral in SETTINGS.items() if getattr(config, name, None) not in (neutral, None)]


def steps(draft: Draft, tokens: int, sampling: Sampling, on_token: OnToken) -> tuple[list[int], str]:
    """Let a model write; returns the ids of the written tokens, and why it stopped."""
    model, ends = draft.model, ends_of(draft.model)
    room = draft.room(tokens) if tokens else 0
    if not room:
        return [], ENOUGH
    chooser = Chooser(model.tokenizer, ends, sampling, on_token)
    config = copy.deepcopy(model.hf.generation_config)
    # One more than is written, because some models are made to end their text at the very last token.
    config.update(
        max_new_tokens=room + 1, max_length=None, do_sample=False, num_beams=1, num_return_sequences=1, temperature=None,
        top_p=None, top_k=None, typical_p=None, min_p=None, eos_token_id=ends or None, pad_token_id=model.pad_id,
        use_cache=_cached(draft), return_dict_in_generate=False, output_scores=False, output_logits=False,
    )  # fmt: skip
    call = running(Call(sites=model.sites, interventions=_changes(draft, room))) if draft.change else nullcontext()
    with model.held(), torch.no_grad(), quiet_transformers(), call:
        model.hf.generate(
            **_inputs(draft),
            generation_config=config,
            logits_processor=transformers.LogitsProcessorList([chooser]),
            stopping_criteria=transformers.StoppingCriteriaList([Enough(chooser, room)]),
        )
    return chooser.ids, END if chooser.ended else FULL if room < tokens else ENOUGH


def _cached(draft: Draft) -> bool:
    """Whether a step reads only the newest token. Edges name positions of the whole text, and a mean is over all of it."""
    return cache_fits(draft.model.hf.config) and not draft.change.knock_out and not draft.means


def _inputs(draft: Draft) -> dict[str, torch.Tensor]:
    model, prompt, begun = draft.model, draft.prompt, np.asarray(draft.begun, dtype=np.int64)
    arrays = {name: array for name, array in prompt.inputs.items() if name == "input_ids" or name in model.accepts}
    if draft.two_sides:
        arrays["decoder_input_ids"] = np.concatenate([[start_token(model.hf)], begun])
    else:
        arrays = {name: lengthened(name, array, begun) for name, array in arrays.items()}
    return {name: torch.as_tensor(array)[None].to(model.device) for name, array in arrays.items()}


def lengthened(name: str, array: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """An input of a model with more tokens; they belong to the segment of the last one."""
    return np.concatenate([array, ids if name == "input_ids" else np.full_like(ids, array[-1])])


def _changes(draft: Draft, room: int) -> Any:
    model, change = draft.model, draft.change
    if change.patch:
        msg = "What is patched in is as long as one text, and writing makes the text longer. Leave the patch out."
        raise BadIntervention(msg)
    if not model.interface:
        msg = f"{model.name} does not use transformers' attention interface, so its heads cannot be changed."
        raise BadIntervention(msg)
    return by_layer([change], [fitting(model, draft.shape(room))], model.device)
