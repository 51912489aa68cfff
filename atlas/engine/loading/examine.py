"""Examines a model once at load, on a short probe: finds where it attends and what its parts are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from atlas.engine.anatomy import internals
from atlas.engine.anatomy.attention_sites import find_attention_sites, kinds_of
from atlas.engine.anatomy.records import Anatomy
from atlas.engine.loading import verify
from atlas.engine.loading.borrow import Attending, Borrowed
from atlas.engine.loading.measure import measure
from atlas.engine.loading.probe import probe_of
from atlas.engine.running import fallback
from atlas.engine.running.budget import ModelSize
from atlas.engine.running.context import AttentionSites
from atlas.errors import UnsupportedModel
from atlas.tracing.outcomes import CLASSIFIES_TEXT

Forward = Callable[..., Any]
"""(inputs, **options) -> outputs, without a cache of keys and values."""


@dataclass(frozen=True, slots=True)
class Findings:
    """The results of examining a model."""

    kinds: tuple[str, ...]
    """Its kinds of attention: ('encoder',), ('decoder',) or ('encoder', 'decoder', 'cross')."""
    sites: AttentionSites
    """Where it attends; empty for a model outside the attention interface."""
    borrowed: Borrowed
    """Keeps it in the state a run needs."""
    anatomy: Anatomy
    size: ModelSize
    notes: tuple[str, ...]


def examine(hf: Any, tokenizer: Any, forward: Forward, *, task: str, limit: int | None) -> Findings:
    """Examine a model on a short probe."""
    attending = Attending(hf)
    probe = probe_of(hf, tokenizer, limit, same_length=reads_its_source(hf, task))
    sites, why = _attention(hf, tokenizer, forward, attending, probe, task=task, limit=limit)
    kinds, notes = kinds_of(sites), []
    careful = Borrowed(hf, attending, plain=not sites)
    with careful.held(), torch.no_grad():
        outputs = None
        if not sites:
            outputs = forward(probe, output_attentions=True)
            kinds = fallback.kinds_from_outputs(hf, outputs, probe)
            notes.append(
                f"Only the weights the model itself returns are shown, without {fallback.LACKS}: {why}.{remedy(attending)}"
            )
        verify.check_against_cpu(hf, sites, kinds, probe)
        anatomy = _anatomy(hf, sites, probe, alone=alone_in_a_batch(hf, task, kinds))
        size = measure(hf, sites, kinds, anatomy, outputs)
        draws = _draws(forward, probe)
    borrowed = Borrowed(hf, attending, plain=not sites, draws=draws)
    return Findings(kinds, sites, borrowed, anatomy, size, (*notes, *anatomy.notes))


def remedy(attending: Attending) -> str:
    """What to do about a model whose attention can be observed, but not exactly."""
    if not attending.possible:
        return ""
    return " Loading it in float32, or with a newer transformers, may mend that; if not, please report the model's name."


def _draws(forward: Forward, probe: dict[str, torch.Tensor]) -> bool:
    """Whether a pass in evaluation mode draws random numbers.

    A draw of another thread counts as the model's; then the random state is saved at every run without need, which is harmless.
    """
    before = torch.get_rng_state(), [torch.cuda.get_rng_state(i) for i in range(torch.cuda.device_count())]
    forward(probe)
    after = torch.get_rng_state(), [torch.cuda.get_rng_state(i) for i in range(torch.cuda.device_count())]
    return not (torch.equal(before[0], after[0]) and all(map(torch.equal, before[1], after[1])))


def reads_its_source(hf: Any, task: str) -> bool:
    """Whether this is an encoder-decoder that classifies, so its decoder reads the source again, token by token."""
    return task == CLASSIFIES_TEXT and bool(hf.config.is_encoder_decoder)


def alone_in_a_batch(hf: Any, task: str, kinds: tuple[str, ...]) -> bool:
    """Whether this is a causal classifier without a padding id: it finds the last token by that id, so it refuses batches."""
    return task == CLASSIFIES_TEXT and kinds == ("decoder",) and hf.config.pad_token_id is None


def _attention(
    hf: Any,
    tokenizer: Any,
    forward: Forward,
    attending: Attending,
    probe: dict[str, torch.Tensor],
    *,
    task: str,
    limit: int | None,
) -> tuple[AttentionSites, str]:
    """Where the model attends; no sites, with the reason, where its attention cannot be observed exactly."""
    outside = f"{type(hf).__name__} does not use transformers' attention interface"
    if not attending.possible:
        return {}, outside
    with Borrowed(hf, attending, plain=False).held():
        sites = _sites(hf, tokenizer, forward, probe, task=task, limit=limit)
        if not sites:
            return {}, outside
        problem = verify.compare(hf, forward, attending, sites, kinds_of(sites), probe).problem
    return ({}, problem) if problem is not None else (sites, "")


def _sites(
    hf: Any, tokenizer: Any, forward: Forward, probe: dict[str, torch.Tensor], *, task: str, limit: int | None
) -> AttentionSites:
    if reads_its_source(hf, task):
        # Two lengths tell the kinds apart. The classifier needs equal lengths, the base model below it does not.
        probe = probe_of(hf, tokenizer, limit)
        forward = lambda inputs: hf.base_model(**inputs, use_cache=False)  # noqa: E731
    try:
        return find_attention_sites(hf, probe, forward)
    except (RuntimeError, ValueError, TypeError, LookupError, AttributeError, NotImplementedError) as error:
        first = (str(error).splitlines() or [""])[0]
        msg = (
            f"{type(hf).__name__} does not run on one plain text ({type(error).__name__}: {first}), so it cannot be traced. "
            "Load the same weights with a class that does, such as AutoModel's."
        )
        raise UnsupportedModel(msg) from error


def _anatomy(hf: Any, sites: AttentionSites, probe: dict[str, torch.Tensor], *, alone: bool) -> Anatomy:
    if not alone:
        return internals.find_anatomy(hf, sites, probe)
    # The probe has two rows, which a causal classifier refuses without a padding id. Any id does, so the first token's is used.
    hf.config.pad_token_id = int(probe["input_ids"][0, 0])
    try:
        return internals.find_anatomy(hf, sites, probe)
    finally:
        hf.config.pad_token_id = None
