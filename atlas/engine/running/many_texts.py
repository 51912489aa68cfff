"""What every head does with many texts: a padded batch at a time, reduced while it runs. No weights are kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from atlas.engine.running.capture import forward_without_outcomes, run_plain, stacked, tables
from atlas.engine.running.context import AttentionSite, Call, Terms, Watcher, running
from atlas.engine.running.head_sums import PAIR_NAMES, Rows, SideFacts, Spare, Sums, rows_of, sums_of, uniform_of
from atlas.errors import UnsupportedModel
from atlas.metrics.heads import COUNTED, KEY_SETS
from atlas.metrics.keysets import key_sets
from atlas.metrics.offsets import LOW, bin_of
from atlas.metrics.plan import LONG_RANGE
from atlas.metrics.standard import COMPARED
from atlas.tracing.plans import side_of

if TYPE_CHECKING:
    import pandas as pd

    from atlas.engine.model import Model
    from atlas.engine.running.encode import Encoded

BLOCK_BYTES = 4 << 20
"""Weights reduced at a time on a CPU: they and a scratch array of their size stay in its cache."""


class KindSums(NamedTuple):
    """One kind of attention over the texts of a batch; heads are layer by layer."""

    values: np.ndarray
    """(text, head, metric) in the order of `COMPARED`; NaN where a metric does not apply."""
    uniform: np.ndarray
    """The same for uniform attention."""
    rows: np.ndarray
    """(text, head, counted metric) on how many rows those of `COUNTED` rest."""
    distance: np.ndarray
    """(text, head, bin of `metrics.offsets`) share of a row's attention; NaN for cross-attention."""
    distance_uniform: np.ndarray
    received: np.ndarray
    """(text, head, key), of the rows that may see two keys or more."""
    active: np.ndarray
    """(text, head, query): what a row gives to keys that are neither special nor the first."""
    informative: np.ndarray
    """(text, head, query): rows that may see two keys or more."""


def facts_of(encoded: Encoded, annotated: Mapping[str, pd.DataFrame] | None = None) -> dict[str, SideFacts]:
    """The facts of a text's tokens by side; `annotated` are its token tables with parts of speech and entities."""
    found = {}
    for side, table in (annotated or tables(encoded)).items():
        found[side] = SideFacts(table["id"].to_numpy(), table["special"].to_numpy(dtype=bool), key_sets(table))
    return found


def measured(model: Model, batch: Sequence[Encoded], facts: Sequence[Mapping[str, SideFacts]]) -> dict[str, KindSums]:
    """Run a batch once and reduce the attention of every kind."""
    if not model.interface:
        return _measured_plain(model, batch, facts)
    watcher = HeadSums(facts)
    with model.held(), torch.no_grad(), running(Call(sites=model.sites, watcher=watcher)):
        forward_without_outcomes(model, stacked(model, batch))
    return watcher.finished()


class HeadSums(Watcher):
    """Reduces every layer of a batch."""

    def __init__(self, facts: Sequence[Mapping[str, SideFacts]]) -> None:
        self._facts = facts
        self._rows: dict[tuple[str, Any], tuple[Rows, Any]] = {}
        self._found: dict[tuple[str, int], list[Sums]] = {}
        self._rows_of_layer: dict[tuple[str, int], Rows] = {}
        self._spare: Spare = {}

    def block_of_heads(self, site: AttentionSite, terms: Terms) -> int:
        """As many heads as fit a cache; a GPU takes all."""
        if terms.query.device.type != "cpu":
            return site.n_heads
        one = terms.query.shape[0] * terms.query.shape[2] * terms.key.shape[2] * 4
        return max(1, BLOCK_BYTES // one)

    def saw_weights(self, site: AttentionSite, terms: Terms, heads: slice, scores: torch.Tensor, weights: torch.Tensor) -> None:  # noqa: ARG002 - the protocol's signature
        """Reduce a block of heads."""
        rows = self._rows_for(site.kind, terms, weights)
        self.add(site.kind, site.layer, weights, rows, sinks=terms.sinks is not None)

    def add(self, kind: str, layer: int, weights: torch.Tensor, rows: Rows, *, sinks: bool = False) -> None:
        """Reduce some heads of a layer."""
        wide = weights if weights.dtype in (torch.float32, torch.float64) else weights.float()
        sums = sums_of(wide, rows, same_axis=kind != "cross", sinks=sinks, spare=self._spare)
        self._found.setdefault((kind, layer), []).append(sums)
        self._rows_of_layer[kind, layer] = rows

    def rows_for(self, kind: str, visible: torch.Tensor | None, weights: torch.Tensor) -> Rows:
        """The rows of a mask (text or 1, query, key)."""
        queries, keys = ([each[side_of(kind, axis, each)] for each in self._facts] for axis in ("query", "key"))
        return rows_of(kind, queries, keys, visible, weights)

    def _rows_for(self, kind: str, terms: Terms, weights: torch.Tensor) -> Rows:
        """One object for all layers that share a mask in the model."""
        key = kind, terms.causal if terms.visible is None else id(terms.visible)
        if key not in self._rows:
            self._rows[key] = self.rows_for(kind, _mask(terms, weights), weights), terms.visible
        return self._rows[key][0]

    def finished(self) -> dict[str, KindSums]:
        """The metrics of every kind."""
        by_kind: dict[str, list[tuple[Rows, Sums]]] = {}
        for (kind, layer), blocks in sorted(self._found.items()):
            by_kind.setdefault(kind, []).append((self._rows_of_layer[kind, layer], _joined(blocks)))
        return {kind: self._finished(kind, layers) for kind, layers in by_kind.items()}

    def _finished(self, kind: str, layers: Sequence[tuple[Rows, Sums]]) -> KindSums:
        keys = [each[side_of(kind, "key", each)] for each in self._facts]
        evenly = {
            id(rows): finish(kind, rows, sums_of(uniform_of(rows), rows, same_axis=kind != "cross"), keys)
            for rows in {id(rows): rows for rows, _ in layers}.values()
        }
        own = [finish(kind, rows, sums, keys) for rows, sums in layers]
        n_heads = layers[0][1].largest.shape[1]

        def along(arrays: Sequence[np.ndarray]) -> np.ndarray:
            return np.concatenate([np.repeat(a, n_heads, axis=1) if a.shape[1] == 1 else a for a in arrays], axis=1)

        even = [evenly[id(rows)] for rows, _ in layers]
        counts = [np.stack([rows.counts.get(name, np.zeros(len(keys))) for name in COUNTED], axis=-1) for rows, _ in layers]
        return KindSums(
            values=along([each.values for each in own]),
            uniform=along([each.values for each in even]),
            rows=along([count[:, None] for count in counts]).astype(np.int64),
            distance=along([each.distance for each in own]),
            distance_uniform=along([each.distance for each in even]),
            received=along([_host(sums.received) for _, sums in layers]),
            active=along([_host(sums.active) for _, sums in layers]),
            informative=along([_host(rows.informative)[:, None] for rows, _ in layers]),
        )


class Finished(NamedTuple):
    """One layer."""

    values: np.ndarray
    distance: np.ndarray


def finish(kind: str, rows: Rows, sums: Sums, keys: Sequence[SideFacts]) -> Finished:
    """(text, head, metric) values and (text, head, bin) distances of a layer, from its sums."""
    n_rows = rows.counts[""][:, None]
    n_cells = rows.counts["cells"][:, None]
    n_known = n_rows if sums.known is None else _host(sums.known)
    entropies = _host(sums.entropies)
    received = _host(sums.received)
    mass = received.sum(axis=-1)
    centre = _over(mass, n_cells)
    found = {
        "entropy": _over(entropies[..., 0], n_known),
        "entropy_norm": _over(entropies[..., 1], n_known),
        "confidence_max": np.where(n_rows > 0, _host(sums.largest), np.nan),
        "confidence_mean": _over(_host(sums.row_largest), n_rows),
        "sparsity": _over(_host(sums.below), n_cells),
        "uniformity": np.sqrt(np.maximum(_over(_host(sums.squares), n_cells) - centre**2, 0.0)),
        "learned_sink": np.maximum(1.0 - _over(mass, n_rows), 0.0),
    }
    for name in ("special", *KEY_SETS):
        members = np.zeros((len(keys), received.shape[-1]))
        for row, side in zip(members, keys, strict=True):
            chosen = side.special if name == "special" else side.sets[name]
            row[: len(side.ids)] = 0.0 if chosen is None else chosen
        found[name] = _over(np.einsum("thk,tk->th", received, members), rows.counts[name][:, None])
    bins = np.full((*mass.shape, len(LOW)), np.nan)
    if kind != "cross":
        assert sums.diagonals is not None
        found |= _positional(rows, sums, n_known)
        scaled = sums.diagonals if sums.scaled_diagonals is None else sums.scaled_diagonals
        offsets = _offsets(rows, scaled)
        into = np.zeros((len(offsets), len(LOW)))
        into[np.arange(len(offsets)), bin_of(offsets)] = 1.0
        bins = _over(_host(scaled) @ into, n_known[..., None])
    unknown = np.full(mass.shape, np.nan)
    return Finished(np.stack([found.get(name, unknown) for name in COMPARED], axis=-1), bins)


def _positional(rows: Rows, sums: Sums, n_known: np.ndarray) -> dict[str, np.ndarray]:
    assert sums.diagonals is not None
    diagonals = _host(sums.diagonals)
    offsets = _offsets(rows, sums.diagonals)
    scaled = diagonals if sums.scaled_diagonals is None else _host(sums.scaled_diagonals)
    found = {"distance": _over(scaled @ np.abs(offsets), n_known)}
    for name, offset in (("self", 0), ("previous", -1), ("next", 1)):
        # Modulo the width, as the diagonals are numbered.
        found[name] = _over(diagonals[..., offset], rows.counts[name][:, None])
    found["long_range"] = _over(diagonals[..., np.abs(offsets) >= LONG_RANGE].sum(axis=-1), rows.counts["long_range"][:, None])
    if sums.pairs is not None:
        pairs = _host(sums.pairs)
        found |= {name: _over(pairs[..., at], rows.counts[name][:, None]) for at, name in enumerate(PAIR_NAMES)}
    return found


def _offsets(rows: Rows, diagonals: torch.Tensor) -> np.ndarray:
    """The offset that each column of the diagonals stands for."""
    width, n_keys = diagonals.shape[-1], rows.visible.shape[-1]
    places = np.arange(width)
    return np.where(places < n_keys, places, places - width)


def _over(total: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Total / count, NaN where nothing was counted."""
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _host(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy().astype(np.float64)


def _joined(blocks: Sequence[Sums]) -> Sums:
    """All heads of a layer."""
    if len(blocks) == 1:
        return blocks[0]
    joined: Any = (None if parts[0] is None else torch.cat(parts, dim=1) for parts in zip(*blocks, strict=True))
    return Sums(*joined)


def _mask(terms: Terms, weights: torch.Tensor) -> torch.Tensor | None:
    n_queries, n_keys = weights.shape[-2:]
    if terms.visible is None:
        return torch.ones((1, n_queries, n_keys), dtype=torch.bool).tril() if terms.causal else None
    visible = terms.visible.expand(-1, -1, n_queries, -1)
    if visible.shape[1] > 1 and not bool((visible == visible[:, :1]).all()):
        msg = "The heads of this model see different keys by their mask; that cannot be held exactly yet."
        raise UnsupportedModel(msg)
    return visible[:, 0]


def _measured_plain(model: Model, batch: Sequence[Encoded], facts: Sequence[Mapping[str, SideFacts]]) -> dict[str, KindSums]:
    """The same of a model outside the attention interface, from the weights that it returns; one text at a time."""
    with model.held():
        traces = run_plain(model, batch, ())
    found = []
    for trace, own in zip(traces, facts, strict=True):
        watcher = HeadSums([own])
        for kind in trace.kinds:
            chosen = trace.attention_of(kind)
            for layer, about in enumerate(chosen.layers):
                weights = np.stack([np.nan_to_num(chosen.block(layer, head)) for head in range(chosen.n_heads)])
                seen = about.mask.visible(chosen.n_queries, chosen.n_keys)
                tensor = torch.as_tensor(weights[None])
                mask = None if seen is None else torch.as_tensor(np.asarray(seen)[None])
                watcher.add(kind, layer, tensor, watcher.rows_for(kind, mask, tensor))
        found.append(watcher.finished())
    return {kind: _padded_together([each[kind] for each in found]) for kind in found[0]}


def _padded_together(parts: Sequence[KindSums]) -> KindSums:
    """Texts of different lengths in one batch."""

    def joined(arrays: Sequence[np.ndarray], *, padded: bool) -> np.ndarray:
        if not padded:
            return np.concatenate(arrays)
        longest = max(array.shape[-1] for array in arrays)
        return np.concatenate([np.pad(a, ((0, 0), (0, 0), (0, longest - a.shape[-1]))) for a in arrays])

    return KindSums(*(
        joined([getattr(part, name) for part in parts], padded=name in ("received", "active", "informative"))
        for name in KindSums._fields
    ))  # fmt: skip
