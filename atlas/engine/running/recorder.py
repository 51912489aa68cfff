"""Records the attention of a pass: the weights or the queries and keys they come from, and statistics of them.

A 4,096-token text has 9.7 GB of weights in a 12 x 12 model. They exist here only a few heads at a time: each block is reduced to
per-row and per-key statistics and a thumbnail, and then freed (unless the weights are to be kept).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from atlas.engine.running.context import AttentionSite, Terms, Watcher
from atlas.errors import BadIntervention, CaptureMismatch, UnsupportedModel
from atlas.metrics.rows import row_statistics
from atlas.trace import Place
from atlas.tracing.lazy import LazyArrays
from atlas.tracing.plans import Plans, plans_of
from atlas.tracing.record import NO_MASK, Attention, Bias, Layer, Mask, simplified
from atlas.tracing.statistics import THUMBNAIL, stacked, statistics_of, thumbnails_of, value_norms

if TYPE_CHECKING:
    import pandas as pd

    from atlas.engine.running.interventions import LayerInterventions
    from atlas.metrics.plan import RowPlan

Keep = Literal["weights", "qk"]

BLOCK_BYTES = 48 << 20
"""Bytes of scores computed at once when the weights are not kept: small enough for the caches, large enough for fast products."""


@dataclass(slots=True)
class _LayerRecord:
    """The record of one layer of one text while its blocks of heads are computed."""

    layer: Layer
    weights: list[np.ndarray] = field(default_factory=list)
    stats: list[dict[str, np.ndarray]] = field(default_factory=list)
    thumbnails: list[np.ndarray] = field(default_factory=list)
    gram: np.ndarray | None = None
    """W_O W_O^T of every head, (head, width, width), with the weights of this run."""


@dataclass(slots=True)
class TextShape:
    """The number of tokens of one text of a batch, in source and target."""

    n_source: int
    n_target: int = 0

    def queries(self, kind: str) -> int:
        """Query positions of a kind."""
        return self.n_target if kind == "cross" or (kind == "decoder" and self.n_target) else self.n_source

    def keys(self, kind: str) -> int:
        """Key positions of a kind."""
        return self.n_source if kind == "cross" else self.queries(kind)


def to_numpy(tensor: torch.Tensor) -> np.ndarray:
    """A tensor as an array, which shares its memory if possible. NumPy has no bfloat16, which becomes float32, exactly."""
    tensor = tensor.detach()
    if tensor.dtype == torch.bfloat16:
        tensor = tensor.float()
    return tensor.cpu().numpy()


def _joined(blocks: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The statistics of all blocks of heads of a layer."""
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}


def own_array(tensor: torch.Tensor) -> np.ndarray:
    """A tensor as an array that keeps no larger tensor alive, such as a padded batch or a fused projection."""
    array = to_numpy(tensor)
    shares = tensor.device.type == "cpu" and tensor.untyped_storage().nbytes() > tensor.numel() * tensor.element_size()
    return array.copy() if shares else array


def _check_patterns(site: AttentionSite, layer: Layer, n_queries: int, n_keys: int) -> None:
    """Refuse a pattern with weight in a masked cell, because the run would use the weight and a reader would see it as masked."""
    for head, pattern in layer.patterns.items():
        visible = layer.visible(head, n_queries, n_keys)
        if visible is not None and pattern[~visible].any():
            query, key = (int(place) for place in np.argwhere((pattern != 0) & ~visible)[0])
            by = "this run knocks out" if [query, key] in layer.cut(head).tolist() else "this model masks"
            msg = (
                f"The pattern for {site.kind} L{site.layer} H{head} has weight from position {query} to {key}, which {by}. "
                "Set it to 0 there."
            )
            raise BadIntervention(msg)


class Recorder(Watcher):
    """The watcher of a call, for all texts of its batch."""

    def __init__(
        self,
        shapes: Sequence[TextShape],
        keep: Keep,
        tables: Sequence[Mapping[str, pd.DataFrame]],
        *,
        expected: Mapping[str, int],
        value_gram: Callable[[str, int], torch.Tensor | None],
        changes: Mapping[tuple[str, int], LayerInterventions],
        layer_done: Callable[[], None] | None = None,
    ) -> None:
        self.shapes = shapes
        self.keep = keep
        self.tables = tables
        self.expected = expected
        self.value_gram = value_gram
        self.changes = changes
        self.layer_done = layer_done
        self.kept: list[dict[tuple[str, int], _LayerRecord]] = [{} for _ in shapes]
        self._reads: list[dict[tuple[str, int], np.ndarray]] = [{} for _ in shapes]
        self._masks: dict[tuple[int, int], tuple[Mask, Any]] = {}
        self._plans: dict[tuple[int, str], Plans] = {}
        self._on_device: dict[int, tuple[RowPlan, RowPlan]] = {}
        self._biases: dict[tuple[int, int], tuple[Bias, Any]] = {}
        self._seen_blocks: dict[tuple[int, int, int, int], tuple[np.ndarray | None, Any]] = {}

    def block_of_heads(self, site: AttentionSite, terms: Terms) -> int:  # noqa: ARG002 - the protocol's signature
        """All heads if weights are kept, else as many as fit into BLOCK_BYTES."""
        if self.keep == "weights":
            return terms.query.shape[1]
        one = terms.query.shape[0] * terms.query.shape[2] * terms.key.shape[2] * terms.query.element_size()
        return max(1, BLOCK_BYTES // one)

    def saw_terms(self, site: AttentionSite, terms: Terms) -> None:
        """Keep queries, keys and values of every text of the batch, without padding."""
        found = self.value_gram(site.kind, site.layer)
        gram = None if found is None else to_numpy(found)
        for row, shape in enumerate(self.shapes):
            n_queries, n_keys = shape.queries(site.kind), shape.keys(site.kind)
            changed = self.changes.get((site.kind, site.layer), {}).get(row)
            layer = Layer(
                n_heads=site.n_heads,
                mask=self._mask(row, terms, n_queries, n_keys),
                query=own_array(terms.query[row, :, :n_queries]),
                key=own_array(terms.key[row, :, :n_keys]),
                value=own_array(terms.value[row, :, :n_keys]),
                scaling=terms.scaling,
                softcap=terms.softcap,
                # A copy, because the sinks are a parameter of the model, and a step of training would change the trace.
                sinks=None if terms.sinks is None else to_numpy(terms.sinks.float()).copy(),
                bias=self._bias(row, terms, n_queries, n_keys),
                edges=np.concatenate(changed.edges).astype(np.int64) if changed and changed.edges else None,
                patterns={head: to_numpy(pattern) for head, pattern in changed.patterns.items()} if changed else {},
                replaced=changed.replaced if changed else (),
            )
            _check_patterns(site, layer, n_queries, n_keys)
            self.kept[row][site.kind, site.layer] = _LayerRecord(layer, gram=gram)

    def saw_weights(self, site: AttentionSite, terms: Terms, heads: slice, scores: torch.Tensor, weights: torch.Tensor) -> None:
        """Keep the weights, or reduce the block of heads to statistics and keep only those."""
        for row, shape in enumerate(self.shapes):
            kept = self.kept[row][site.kind, site.layer]
            n_queries, n_keys = shape.queries(site.kind), shape.keys(site.kind)
            own = weights[row, :, :n_queries, :n_keys].detach()
            if self.keep == "weights":
                kept.weights.append(own_array(own))
                continue
            sinks = None if terms.sinks is None else terms.sinks[heads].detach()
            own_scores = scores[row, :, :n_queries, :n_keys].detach()
            lse = _log_sum_exp(own_scores, own, sinks, patched=bool(kept.layer.patterns))
            kept.stats.append({"log_sum_exp": to_numpy(lse)} | self._row_statistics(row, site.kind, kept.layer, heads, own))
            kept.thumbnails.append(self._thumbnail(row, kept.layer, heads, own))

    def _row_statistics(self, row: int, kind: str, layer: Layer, heads: slice, weights: torch.Tensor) -> dict[str, np.ndarray]:
        wide = weights if weights.dtype in (torch.float32, torch.float64) else weights.float()
        plans = self._plans_of(row, kind)
        whole = self._moved(plans.of(layer.mask), weights)
        found = {name: to_numpy(values) for name, values in row_statistics(wide, whole).items()}
        for head in layer.cut_heads:
            at = head - heads.start
            if 0 <= at < len(wide):
                own = row_statistics(wide[at : at + 1], self._moved(plans.of_head(layer, head), weights))
                for name, values in own.items():
                    found[name][at] = to_numpy(values)[0]
        return found

    def saw_output(self, site: AttentionSite, output: torch.Tensor) -> None:
        """Keep the heads' outputs in layers that the run changes; elsewhere they follow from weights and values."""
        for row in self.changes.get((site.kind, site.layer), {}):
            self._reads[row][site.kind, site.layer] = to_numpy(output[row, :, : self.shapes[row].queries(site.kind)]).copy()
        if self.layer_done is not None:
            self.layer_done()

    def reads(self, row: int) -> dict[str, dict[Place, np.ndarray]]:
        """The heads' outputs in the layers that were changed."""
        return {"head_read": dict[Place, np.ndarray](self._reads[row].items())} if self._reads[row] else {}

    def attentions(self, row: int) -> dict[str, Attention]:
        """Everything kept of one text, by kind."""
        kinds: dict[str, list[_LayerRecord]] = {}
        for (kind, _), kept in sorted(self.kept[row].items(), key=lambda item: item[0][1]):
            kinds.setdefault(kind, []).append(kept)
        seen = {kind: len(layers) for kind, layers in kinds.items()}
        if seen != self.expected:
            msg = (
                f"The pass showed {seen} layers of attention where this model has {self.expected}: something else changed its "
                "attention implementation while it ran. Trace again, and do not switch it in another thread meanwhile."
            )
            raise CaptureMismatch(msg)
        return {kind: self._attention(row, kind, layers) for kind, layers in kinds.items()}

    def _attention(self, row: int, kind: str, layers: list[_LayerRecord]) -> Attention:
        bare = Attention(
            kind=kind,
            n_heads=layers[0].layer.n_heads,
            n_queries=self.shapes[row].queries(kind),
            n_keys=self.shapes[row].keys(kind),
            layers=tuple(_with_weights(kept) for kept in layers),
        )
        grams, tables = [kept.gram for kept in layers], self.tables[row]
        if self.keep == "weights":
            # The weights are kept, so their statistics are computed on first access.
            stats_on_access = LazyArrays(
                {}, lambda: {**statistics_of(bare, tables), "log_sum_exp": bare.log_sum_exp(), **value_norms(bare, grams)}
            )
            return replace(bare, stats=stats_on_access, small=LazyArrays({}, lambda: {"maximum": thumbnails_of(bare)}))
        stats = stacked([kept.stats[0] if len(kept.stats) == 1 else _joined(kept.stats) for kept in layers])
        thumbnails = [np.concatenate(kept.thumbnails) if len(kept.thumbnails) > 1 else kept.thumbnails[0] for kept in layers]
        return replace(bare, stats=LazyArrays(stats, lambda: value_norms(bare, grams)), small={"maximum": np.stack(thumbnails)})

    def _mask(self, row: int, terms: Terms, n_queries: int, n_keys: int) -> Mask:
        """The mask of one text: one object for all layers that share a mask in the model."""
        if terms.visible is None:
            return Mask(causal=True) if terms.causal else NO_MASK
        key = (id(terms.visible), row)
        if key not in self._masks:
            cells = terms.visible.expand(len(self.shapes), -1, terms.query.shape[2], -1)[row, :, :n_queries, :n_keys]
            if cells.shape[0] > 1 and not bool((cells == cells[:1]).all()):
                msg = "The heads of this model see different keys by their mask; that cannot be held exactly yet."
                raise UnsupportedModel(msg)
            self._masks[key] = (simplified(own_array(cells[0])), terms.visible)
        return self._masks[key][0]

    def _plans_of(self, row: int, kind: str) -> Plans:
        """The plans of the row statistics of one text."""
        if (row, kind) not in self._plans:
            self._plans[row, kind] = plans_of(kind, self.tables[row])
        return self._plans[row, kind]

    def _moved(self, plan: RowPlan, like: torch.Tensor) -> RowPlan:
        """The plan with its arrays on the device of the weights."""
        if id(plan) not in self._on_device:
            self._on_device[id(plan)] = plan.to(lambda array: torch.as_tensor(array, device=like.device)), plan
        return self._on_device[id(plan)][0]

    def _bias(self, row: int, terms: Terms, n_queries: int, n_keys: int) -> Bias | None:
        if terms.bias is None:
            return None
        shared = terms.bias.shape[0] == 1
        # A bias that the batch shares is cut to each text's length, so the key includes the length.
        key = (id(terms.bias), n_queries * (terms.key.shape[2] + 1) + n_keys if shared else -1 - row)
        if key not in self._biases:
            own = terms.bias[0 if shared else row].expand(-1, terms.query.shape[2], -1)[:, :n_queries, :n_keys]
            self._biases[key] = (_bias_record(to_numpy(own.float())), terms.bias)
        return self._biases[key][0]

    def _thumbnail(self, row: int, layer: Layer, heads: slice, weights: torch.Tensor) -> np.ndarray:
        """The maximum of each block of cells, NaN where a block has no visible cell."""
        mask = layer.mask
        n_queries, n_keys = weights.shape[-2:]
        small = to_numpy(pooled(weights)).astype(np.float32)
        key = (row, mask.key, n_queries, n_keys)
        if key not in self._seen_blocks:
            self._seen_blocks[key] = (_any_visible(mask.visible(n_queries, n_keys)), mask)
        seen = self._seen_blocks[key][0]
        if seen is not None:
            small[:, ~seen] = np.nan
        for head in layer.cut_heads:
            at = head - heads.start
            own = _any_visible(layer.visible(head, n_queries, n_keys)) if 0 <= at < len(small) else None
            if own is not None:
                small[at, ~own] = np.nan
        return small


def _any_visible(visible: np.ndarray | None) -> np.ndarray | None:
    """For each cell of a thumbnail whether it covers a visible cell; None where all cells are visible."""
    return None if visible is None else to_numpy(pooled(torch.as_tensor(visible)[None].float()))[0] > 0


def pooled(weights: torch.Tensor) -> torch.Tensor:
    """Block maxima of (head, query, key) on a grid of at most THUMBNAIL cells a side; a copy where the weights are that small."""
    for axis in (1, 2):
        size = weights.shape[axis]
        step = -(-size // THUMBNAIL)
        if step == 1:
            continue
        whole = size // step * step
        folded = weights.narrow(axis, 0, whole).unflatten(axis, (whole // step, step)).amax(dim=axis + 1)
        rest = weights.narrow(axis, whole, size - whole)
        weights = torch.cat([folded, rest.amax(dim=axis, keepdim=True)], dim=axis) if size > whole else folded
    return weights.clone()


def _log_sum_exp(scores: torch.Tensor, weights: torch.Tensor, sinks: torch.Tensor | None, *, patched: bool) -> torch.Tensor:
    """For each row, the log of the softmax's denominator, sinks included; float64, because it is subtracted from large scores."""
    top = scores.amax(dim=-1).double()
    nothing = top <= torch.finfo(scores.dtype).min
    if patched or sinks is not None or weights.dtype not in (torch.float32, torch.float64):
        # The shortcut below needs the softmax's own weights in full precision. A patch replaces them, a strong sink leaves none
        # above 0, and a weight in half precision has only three digits.
        lse = torch.logsumexp(scores.double(), dim=-1)
        lse = lse if sinks is None else torch.logaddexp(lse, sinks.double()[:, None].expand_as(lse))
    else:
        # The top score minus the log of its weight, which saves two passes over the row.
        lse = top - weights.amax(dim=-1).double().log()
    return torch.where(nothing, torch.full_like(lse, -torch.inf), lse)


def _bias_record(cells: np.ndarray) -> Bias:
    """A bias by distance if it depends only on the distance (checked in every cell), else cell by cell."""
    if np.array_equal(cells[:, 1:, 1:], cells[:, :-1, :-1]):
        return Bias(diagonals=np.concatenate([cells[:, :0:-1, 0], cells[:, 0, :]], axis=1))
    return Bias(cells=np.ascontiguousarray(cells))


def _with_weights(kept: _LayerRecord) -> Layer:
    if not kept.weights:
        return kept.layer
    return replace(kept.layer, weights=kept.weights[0] if len(kept.weights) == 1 else np.concatenate(kept.weights))
