"""Atlas' attention function, which computes the attention of every architecture and can be observed and changed.

It is registered once with transformers under the name `atlas`. Without a `Call` for the module it runs SDPA with SDPA's mask.
With one it computes softmax(softcap(q k^T scaling) + bias, masked, with sinks) itself, block of heads by block of heads, and
passes every block to the watcher, so that all weights never have to exist at once.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from atlas.engine.running.context import AttentionSite, Call, Terms, current
from atlas.engine.running.interventions import LayerInterventions, RowInterventions

NAME = "atlas"
"""The name of this attention function in a model's configuration."""

MASKED_SHARE = 0.5
"""An additive mask entry below this share of the dtype's most negative number hides the key, because models add up masks."""


def attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,  # noqa: FBT001 - transformers' own calling convention
    **kwargs: Any,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Attend; the signature is transformers'."""
    call = current()
    site = call.site_of(module) if call is not None else None
    sinks = kwargs.get("s_aux", kwargs.get("sinks"))
    softcap = kwargs.get("softcap")
    watched = call is not None and site is not None
    if not watched and sinks is None and softcap is None:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, is_causal=is_causal, **kwargs
        )
    terms = terms_of(
        module, query, key, value, attention_mask, call, scaling, is_causal, kwargs.get("position_bias"), softcap, sinks
    )
    if call is None or site is None:
        # SDPA refuses a softcap and ignores sinks, so the exact formula is needed to run the model correctly.
        scores = scores_of(terms, slice(None))
        weights = torch.nn.functional.dropout(softmax(scores, terms, slice(None)), p=dropout, training=module.training)
        return _merged(weights @ _values(terms, slice(None))), weights
    return _attend_in_blocks(call, site, terms)


def mask(*args: Any, **kwargs: Any) -> torch.Tensor | None:
    """SDPA's mask: boolean, or None where `is_causal` replaces it or everything is visible."""
    return sdpa_mask(*args, **kwargs)


def register() -> None:
    """Register this function with transformers; repeating it does no harm."""
    AttentionInterface.register(NAME, attention)
    AttentionMaskInterface.register(NAME, mask)


def terms_of(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    call: Call | None,
    scaling: float | None,
    is_causal: bool | None,  # noqa: FBT001 - passed through from transformers
    position_bias: torch.Tensor | None,
    softcap: float | None,
    sinks: torch.Tensor | None,
) -> Terms:
    """Bring the arguments, which differ between architectures, into one form."""
    visible, added = _split_mask(attention_mask, call)
    bias = position_bias if added is None else added if position_bias is None else position_bias + added
    causal = is_causal if is_causal is not None else bool(getattr(module, "is_causal", True))
    return Terms(
        query=query,
        key=key,
        value=value,
        scaling=query.shape[-1] ** -0.5 if scaling is None else float(scaling),
        visible=visible,
        # SDPA's own rule: a mask already includes causality, and a single query sees everything before it.
        causal=causal and attention_mask is None and query.shape[2] > 1,
        bias=bias,
        softcap=None if softcap is None else float(softcap),
        sinks=None if sinks is None else sinks.reshape(-1)[: query.shape[1]],
    )


def _split_mask(attention_mask: torch.Tensor | None, call: Call | None) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """Split a boolean or additive mask into the visible cells and the numbers that are added to the scores."""
    if attention_mask is None:
        return None, None
    if attention_mask.dtype == torch.bool:
        return attention_mask, None
    known = call.masks.get(id(attention_mask)) if call is not None else None
    if known is None:
        visible = attention_mask > torch.finfo(attention_mask.dtype).min * MASKED_SHARE
        added = torch.where(visible, attention_mask, torch.zeros((), dtype=attention_mask.dtype, device=attention_mask.device))
        # The mask object is stored with its split, because an id is valid only while its object is alive.
        known = (visible, added if bool(added.any()) or added.requires_grad else None, attention_mask)
        if call is not None:
            call.masks[id(attention_mask)] = known
    return known[0], known[1]


def _attend_in_blocks(call: Call, site: AttentionSite, terms: Terms) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Attend in blocks of heads, with the call's interventions, and pass each block to the watcher."""
    watcher = call.watcher
    changes = call.interventions.get((site.kind, site.layer), {})
    n_heads = terms.query.shape[1]
    size = n_heads if watcher is None or watcher.keep_graph else max(1, min(n_heads, watcher.block_of_heads(site, terms)))
    if watcher is not None:
        watcher.saw_terms(site, terms)
    outputs: list[torch.Tensor] = []
    weights: torch.Tensor | None = None
    for first in range(0, n_heads, size):
        heads = slice(first, min(first + size, n_heads))
        scores = _cut_edges(scores_of(terms, heads), changes, heads)
        weights = softmax(scores, terms, heads)
        if changes:
            weights = _with_patterns(_without_unseen(weights, scores), changes, heads)
        if size == n_heads:
            weights = site.point(weights)
        if watcher is not None:
            watcher.saw_weights(site, terms, heads, scores, weights)
        outputs.append(weights @ _values(terms, heads))
    output = outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=1)
    output = _with_outputs(output, changes)
    if watcher is not None:
        watcher.saw_output(site, output)
    return _merged(output), weights if size == n_heads else None


def scores_of(terms: Terms, heads: slice) -> torch.Tensor:
    """Masked scores of some heads, (batch, head, query, key); masked cells have the dtype's most negative number."""
    # Scaled after the product, as models do and as the page shows it, because scaling before it rounds large scores differently.
    scores = (terms.query[:, heads] @ _grouped(terms.key, terms.query, heads).transpose(-1, -2)).mul_(terms.scaling)
    if terms.softcap is not None:
        scores = torch.tanh(scores / terms.softcap) * terms.softcap
    if terms.bias is not None:
        scores = scores + (terms.bias[:, heads] if terms.bias.shape[1] > 1 else terms.bias)
    visible = _visible(terms, heads)
    if visible is not None:
        # In place, because `scores` is a new tensor of the product or sum above, and no gradient needs its old values.
        scores = scores.masked_fill_(~visible, torch.finfo(scores.dtype).min)
    return scores


def softmax(scores: torch.Tensor, terms: Terms, heads: slice) -> torch.Tensor:
    """Weights in the model's dtype, from a softmax in at least float32. A head's sink takes its share and has no value."""
    wide = torch.promote_types(scores.dtype, torch.float32)
    if terms.sinks is None:
        return torch.softmax(scores, dim=-1, dtype=wide).to(terms.query.dtype)
    sinks = terms.sinks[heads].to(wide).reshape(1, -1, 1, 1).expand(*scores.shape[:-1], 1)
    return torch.softmax(torch.cat([scores.to(wide), sinks], dim=-1), dim=-1)[..., :-1].to(terms.query.dtype)


def _visible(terms: Terms, heads: slice) -> torch.Tensor | None:
    if terms.visible is not None:
        return terms.visible[:, heads] if terms.visible.shape[1] > 1 else terms.visible
    if not terms.causal:
        return None
    shape = terms.query.shape[2], terms.key.shape[2]
    return torch.ones(shape, dtype=torch.bool, device=terms.query.device).tril()


def _grouped(shared: torch.Tensor, query: torch.Tensor, heads: slice) -> torch.Tensor:
    """Keys or values for a block of query heads, repeated where several query heads share one."""
    groups = query.shape[1] // shared.shape[1]
    if groups == 1:
        return shared[:, heads]
    index = torch.arange(query.shape[1], device=shared.device)[heads] // groups
    return shared[:, index]


def _values(terms: Terms, heads: slice) -> torch.Tensor:
    return _grouped(terms.value, terms.query, heads)


def _merged(output: torch.Tensor) -> torch.Tensor:
    return output.transpose(1, 2).contiguous()


def _rows(changes: LayerInterventions, heads: slice, of: str) -> list[tuple[int, int, Any]]:
    """(row, head within the block, replacement) for one kind of change."""
    found = []
    for row, change in changes.items():
        for head, what in getattr(change, of).items():
            if heads.start <= head < heads.stop:
                found.append((row, head - heads.start, what))
    return found


def _cut_edges(scores: torch.Tensor, changes: LayerInterventions, heads: slice) -> torch.Tensor:
    # While a target is being generated, its later positions do not exist yet.
    n_queries, n_keys = scores.shape[-2:]
    edges = []
    for row, change in changes.items():
        for block in change.edges:
            head, query, key = block.T
            there = (heads.start <= head) & (head < heads.stop) & (query < n_queries) & (key < n_keys)
            edges.append(np.stack([np.full(there.sum(), row), head[there] - heads.start, query[there], key[there]]))
    if not sum(block.shape[1] for block in edges):
        return scores
    index = tuple(torch.from_numpy(axis).to(scores.device) for axis in np.concatenate(edges, axis=1))
    lowest = torch.tensor(torch.finfo(scores.dtype).min, dtype=scores.dtype, device=scores.device)
    return scores.index_put(index, lowest)


def _without_unseen(weights: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
    """Set masked weights to 0, because a row whose last edge was knocked out would otherwise spread over the masked keys."""
    return weights.masked_fill(scores == torch.finfo(scores.dtype).min, 0.0)


def _with_patterns(weights: torch.Tensor, changes: LayerInterventions, heads: slice) -> torch.Tensor:
    for row, head, pattern in _rows(changes, heads, "patterns"):
        weights = weights.clone()
        weights[row, head] = 0.0
        weights[row, head, : pattern.shape[0], : pattern.shape[1]] = pattern.to(weights)
    return weights


def _with_outputs(output: torch.Tensor, changes: LayerInterventions) -> torch.Tensor:
    if not any(change.zero or change.mean or change.outputs for change in changes.values()):
        return output
    output = output.clone()
    for row, change in changes.items():
        _change_row(output[row], change)
    return output


def _change_row(output: torch.Tensor, change: RowInterventions) -> None:
    """Replace the outputs of some heads in place; `output` is (head, query, width)."""
    for head in change.zero:
        output[head] = 0.0
    for head in change.mean:
        output[head, : change.length] = output[head, : change.length].mean(dim=0)
    for head, values in change.outputs.items():
        output[head, : values.shape[0]] = values.to(output)
