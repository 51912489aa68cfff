"""Finds where a model attends by observing one probe pass, not by module names.

ALBERT and DistilBERT have no layer index, and BART and T5 have no flag for cross-attention. So the kind follows from the lengths
(a probe has more source than target tokens), and the layer from the order of the calls.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from atlas.engine.running.context import AttentionSite, AttentionSites, Call, Terms, Watcher, running
from atlas.errors import UnsupportedModel
from atlas.ids import KINDS

Encoding = Mapping[str, torch.Tensor]


@dataclass(slots=True)
class _Use:
    """One use of an attention module during the probe."""

    module: torch.nn.Module
    n_queries: int
    n_keys: int
    n_heads: int
    causal: bool
    point: torch.nn.Module
    key_heads: int = 0
    width: int = 0


class _Listener(Watcher):
    """Records every module that attends, in order."""

    keep_graph = True

    def __init__(self) -> None:
        self.uses: list[_Use] = []

    def saw_weights(self, site: AttentionSite, terms: Terms, heads: slice, scores: torch.Tensor, weights: torch.Tensor) -> None:  # noqa: ARG002
        future = torch.ones(weights.shape[-2:], dtype=torch.bool, device=weights.device).triu(1)
        use = self.uses[-1]
        use.n_heads, use.n_queries, use.n_keys = weights.shape[1], weights.shape[2], weights.shape[3]
        use.key_heads, use.width = terms.value.shape[1], terms.value.shape[-1]
        use.causal = use.n_queries == use.n_keys and not bool(weights[..., future].any())


class _Everything(dict[int, tuple[AttentionSite, ...]]):
    """Sites for the probe pass: every use of every module is a site."""

    def __init__(self, listener: _Listener, by_id: Mapping[int, torch.nn.Module]) -> None:
        super().__init__()
        self.listener = listener
        self.by_id = by_id

    def get(self, key: int, default: Any = None) -> Any:
        module = self.by_id.get(key)
        if module is None:
            return default
        self.listener.uses.append(_Use(module, 0, 0, 0, causal=False, point=torch.nn.Identity()))
        return (AttentionSite("encoder", 0, "", self.listener.uses[-1].point, 0),)


def find_attention_sites(
    model: torch.nn.Module, probe: Encoding, forward: Callable[[Encoding], Any] | None = None
) -> AttentionSites:
    """Run the probe and return every module that attends through the interface, with the kind and layer of each of its uses."""
    listener = _Listener()
    by_id = {id(module): module for module in model.modules()}
    call = Call(sites=_Everything(listener, by_id), watcher=listener)
    with torch.no_grad(), running(call):
        _ = forward(probe) if forward is not None else model(**probe)
    return _sorted(model, listener.uses, probe)


def _sorted(model: torch.nn.Module, uses: list[_Use], probe: Encoding) -> AttentionSites:
    names = {id(module): name for name, module in model.named_modules()}
    counts: dict[str, int] = defaultdict(int)
    heads: dict[str, set[int]] = defaultdict(set)
    sites: dict[int, tuple[AttentionSite, ...]] = {}
    for use in uses:
        kind = _kind(use, probe)
        site = AttentionSite(kind, counts[kind], names.get(id(use.module), ""), use.point, use.n_heads, use.key_heads, use.width)
        counts[kind] += 1
        heads[kind].add(use.n_heads)
        sites[id(use.module)] = (*sites.get(id(use.module), ()), site)
    for kind, numbers in heads.items():
        if len(numbers) > 1:
            msg = (
                f"The {kind} layers of this model have different numbers of heads ({', '.join(map(str, sorted(numbers)))}). "
                "A trace holds one number of heads a kind; load the model before its heads were pruned."
            )
            raise UnsupportedModel(msg)
    return sites


def _kind(use: _Use, probe: Encoding) -> str:
    if "decoder_input_ids" not in probe:
        return "decoder" if use.causal else "encoder"
    n_target = probe["decoder_input_ids"].shape[1]
    if use.n_queries != n_target:
        return "encoder"
    return "decoder" if use.n_keys == n_target else "cross"


def kinds_of(sites: AttentionSites) -> tuple[str, ...]:
    """The kinds of attention of a model, in the order of `atlas.ids.KINDS`."""
    found = {site.kind for uses in sites.values() for site in uses}
    return tuple(kind for kind in KINDS if kind in found)


def layers_of(sites: AttentionSites, kind: str) -> tuple[AttentionSite, ...]:
    """The sites of one kind by layer."""
    found = [site for uses in sites.values() for site in uses if site.kind == kind]
    return tuple(sorted(found, key=lambda site: site.layer))
