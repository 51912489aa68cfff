"""Runs other texts as a traced text was run, and how likely a model finds each token of a text in its place."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from atlas.engine.loading.examine import alone_in_a_batch
from atlas.engine.running.likelihood import CAUSAL
from atlas.engine.running.predict import BATCH_BYTES, logits_at, row_bytes
from atlas.engine.running.targets import with_target
from atlas.errors import NotCaptured
from atlas.tracing.predictions import MASKED, SEQ2SEQ

if TYPE_CHECKING:
    import torch

    from atlas.engine.model import Model
    from atlas.engine.running.capture import Rerun
    from atlas.engine.running.encode import Encoded
    from atlas.trace import Trace

MOST_AT_ONCE = 32
"""Texts of a pass: more of them are no faster on a processor, and a batch is as long as its longest text."""

Report = Callable[[int, int], object]
"""(runs done, all runs)"""


def encoded_like(live: Rerun, text: str) -> Encoded:
    """Another text as the model reads it; the decoder of an encoder-decoder reads what it read for the traced text.

    A decoder that reads the text itself reads the other text. What is too long is cut.
    """
    model, own = live.model, live.encoded
    encoded = model.encode(text, truncate=True)
    if own.decoder_ids is None:
        return encoded
    if own.target is None:
        return with_target(model, encoded, None, live.change, regenerate=False)
    return replace(encoded, decoder_ids=own.decoder_ids, target=own.target, target_tokens=own.target_tokens)


def traces_like(live: Rerun, texts: Sequence[Encoded], groups: Sequence[str], report: Report | None = None) -> Iterator[Trace]:
    """Traces of some texts under the interventions of a traced one."""
    for start in range(0, len(texts), size := _at_once(live.model, texts)):
        batch = texts[start : start + size]
        if report is not None:
            report(start, len(texts))
        traces = live.model.traced(batch, [live.change] * len(batch), "auto", groups)
        while traces:
            yield traces.pop(0)


def _at_once(model: Model, texts: Sequence[Encoded]) -> int:
    if not texts or alone_in_a_batch(model.hf, model.task, model.kinds):
        return 1
    longest = max(texts, key=lambda encoded: encoded.n_source)
    # A trace keeps the scores of all layers.
    layers = sum(kind.n_layers for kind in model.size.kinds)
    return min(MOST_AT_ONCE, max(1, BATCH_BYTES // (layers * row_bytes(model, longest))))


def without_likelihood(model: Model) -> str:
    """Why a model has no likelihood of a text; empty: it has."""
    return (
        ""
        if model.task in (CAUSAL, MASKED, SEQ2SEQ)
        else f"{model.name} is no language model, so it has no likelihood of a text."
    )


def own_tokens(live: Rerun, encoded: Encoded, report: Report | None = None) -> np.ndarray:
    """The log-probability of every token in its place; NaN where it is not predicted.

    A masked model is asked with that token alone masked (special tokens are not asked), a causal one after the tokens before it
    (the first is not predicted), an encoder-decoder about what its decoder reads, after the tokens before it.
    """
    model = live.model
    if model.task == MASKED:
        return _masked(live, encoded, report)
    ids = encoded.inputs["input_ids"] if encoded.decoder_ids is None else encoded.decoder_ids
    (logits,) = logits_at(model, [encoded], [()], live.change)
    if report is not None:
        report(0, 1)
    logs = np.full(len(ids), np.nan)
    logs[1:] = _logs(logits[: len(ids) - 1], ids[1:])
    return logs


def _masked(live: Rerun, encoded: Encoded, report: Report | None) -> np.ndarray:
    model, ids = live.model, encoded.inputs["input_ids"]
    mask = getattr(model.tokenizer, "mask_token_id", None)
    if mask is None:
        msg = f"The tokenizer of {model.name} has no mask token, so no token can be masked."
        raise NotCaptured(msg)
    places = np.flatnonzero(~encoded.tokens["special"].to_numpy(dtype=bool)).tolist()
    size = min(MOST_AT_ONCE, max(1, BATCH_BYTES // row_bytes(model, encoded)))
    logs = np.full(len(ids), np.nan)
    for start in range(0, len(places), size):
        here = places[start : start + size]
        if report is not None:
            report(start, len(places))
        texts = []
        for at in here:
            changed = ids.copy()
            changed[at] = mask
            texts.append(replace(encoded, inputs=encoded.inputs | {"input_ids": changed}))
        for at, logits in zip(here, logits_at(model, texts, [(at,) for at in here], live.change), strict=True):
            logs[at] = _logs(logits, ids[[at]])[0]
    return logs


def _logs(logits: torch.Tensor, ids: np.ndarray) -> np.ndarray:
    """Log-probabilities of one outcome a row."""
    import torch

    chosen = torch.as_tensor(ids, device=logits.device)[:, None]
    found: np.ndarray = (logits.gather(1, chosen)[:, 0] - logits.logsumexp(dim=1)).double().cpu().numpy()
    return found
