"""The one attention function: it computes what every architecture means by attention, and lets itself be watched and changed.

Registered once with transformers under the name `atlas`. Unwatched it is SDPA with SDPA's mask. Watched (a `Call` is current
and knows the module), it computes softmax(softcap(q k^T scaling) + bias, masked, with sinks) itself, block of heads by block
of heads, and shows every block to the watcher, so that nobody needs all weights at once.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from atlas.engine.running.context import AttentionSite, Call, Terms, current
from atlas.engine.running.interventions import LayerInterventions, RowInterventions

NAME = "atlas"
"""What a model's configuration calls this attention function."""

MASKED_SHARE = 0.5
"""An additive mask entry below this share of the dtype's most negative number means "may not look" (masks get summed)."""


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
        # SDPA refuses a softcap and ignores sinks, so here the exact formula is what keeps the model itself right.
        scores = scores_of(terms, slice(None))
        weights = torch.nn.functional.dropout(softmax(scores, terms, slice(None)), p=dropout, training=module.training)
        return _merged(weights @ _values(terms, slice(None))), weights
    return _watched(call, site, terms)


def mask(*args: Any, **kwargs: Any) -> torch.Tensor | None:
    """SDPA's mask: boolean, or None where `is_causal` or nothing at all says it."""
    return sdpa_mask(*args, **kwargs)


def register() -> None:
    """Make transformers know this function (harmless when repeated)."""
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
    """Bring what the architectures pass, each in its way, into one form."""
    visible, added = _split_mask(attention_mask, call)
    bias = position_bias if added is None else added if position_bias is None else position_bias + added
    causal = is_causal if is_causal is not None else bool(getattr(module, "is_causal", True))
    return Terms(
        query=query,
        key=key,
        value=value,
        scaling=query.shape[-1] ** -0.5 if scaling is None else float(scaling),
        visible=visible,
        # SDPA's own rule: a mask, where there is one, already says what is causal; a single query sees everything before it.
        causal=causal and attention_mask is None and query.shape[2] > 1,
        bias=bias,
        softcap=None if softcap is None else float(softcap),
        sinks=None if sinks is None else sinks.reshape(-1)[: query.shape[1]],
    )


def _split_mask(given: torch.Tensor | None, call: Call | None) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """What may be seen, and what is added to the scores, of a mask that may be boolean or additive."""
    if given is None:
        return None, None
    if given.dtype == torch.bool:
        return given, None
    known = call.masks.get(id(given)) if call is not None else None
    if known is None:
        visible = given > torch.finfo(given.dtype).min * MASKED_SHARE
        added = torch.where(visible, given, torch.zeros((), dtype=given.dtype, device=given.device))
        # The mask object is held beside its split: an id is only good while the object it belongs to is alive.
        known = (visible, added if bool(added.any()) or added.requires_grad else None, given)
        if call is not None:
            call.masks[id(given)] = known
    return known[0], known[1]


def _watched(call: Call, site: AttentionSite, terms: Terms) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Attend in blocks of heads, showing each to the watcher, changed where the call says so."""
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
    """Masked scores of some heads, (batch, head, query, key); what may not be seen has the dtype's most negative number."""
    # Scaled after the product, as the models do and as the steps are shown: before it, large scores round otherwise.
    scores = (terms.query[:, heads] @ _grouped(terms.key, terms.query, heads).transpose(-1, -2)).mul_(terms.scaling)
    if terms.softcap is not None:
        scores = torch.tanh(scores / terms.softcap) * terms.softcap
    if terms.bias is not None:
        scores = scores + (terms.bias[:, heads] if terms.bias.shape[1] > 1 else terms.bias)
    visible = _visible(terms, heads)
    if visible is not None:
        # In place: `scores` is fresh from the product or the sum above, and nothing upstream needs it for its gradient.
        scores = scores.masked_fill_(~visible, torch.finfo(scores.dtype).min)
    return scores


def softmax(scores: torch.Tensor, terms: Terms, heads: slice) -> torch.Tensor:
    """Weights in the model's dtype, from a softmax in float32 at least; a head's sink takes its share and gives nothing."""
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
    """(row, head within the block, what is put there) for one sort of change."""
    found = []
    for row, change in changes.items():
        for head, what in getattr(change, of).items():
            if heads.start <= head < heads.stop:
                found.append((row, head - heads.start, what))
    return found


def _cut_edges(scores: torch.Tensor, changes: LayerInterventions, heads: slice) -> torch.Tensor:
    # While a target is being written, positions it will have are not there yet.
    n_queries, n_keys = scores.shape[-2:]
    edges = [
        (row, head - heads.start, query, key)
        for row, change in changes.items()
        for head, query, key in change.edges
        if heads.start <= head < heads.stop and query < n_queries and key < n_keys
    ]
    if not edges:
        return scores
    index = tuple(torch.tensor(axis, device=scores.device) for axis in zip(*edges, strict=True))
    lowest = torch.tensor(torch.finfo(scores.dtype).min, dtype=scores.dtype, device=scores.device)
    return scores.index_put(index, lowest)


def _without_unseen(weights: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
    """No weight where nothing may be seen: a row that lost its last edge would otherwise spread over the masked keys."""
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
    """Replace what some heads read, in place; `output` is (head, query, width)."""
    for head in change.zero:
        output[head] = 0.0
    for head in change.mean:
        output[head, : change.length] = output[head, : change.length].mean(dim=0)
    for head, values in change.outputs.items():
        output[head, : values.shape[0]] = values.to(output)
