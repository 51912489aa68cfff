"""Likelihoods of many texts with each of some sets of heads switched off.

One pass a text: the rows of all sets share its way up to the layer in which they differ first.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
import torch

from atlas.engine.gradients.forking import can_fork, forked_logits
from atlas.engine.gradients.heads import ROWS_AT_ONCE, SAME, batches_of
from atlas.engine.gradients.one_position import ALL_AXES
from atlas.engine.loading.examine import alone_in_a_batch
from atlas.engine.running.interventions import Ablation, Intervention
from atlas.engine.running.likelihood import Likelihoods, Query, Reading, asked_of, encoded, readings_of, together
from atlas.engine.running.predict import BATCH_BYTES, logits_at, row_bytes, with_ablated
from atlas.errors import BadIntervention
from atlas.ids import HeadId

Report = Callable[[int, int], object]
"""(texts done, all texts)"""

TIMED = 3
"""Texts that are run to see how long all of them would take."""


class LikelihoodsWithout:
    """Asks one model with sets of heads switched off, each set by itself."""

    def __init__(self, ask: Likelihoods, sets: Sequence[Sequence[HeadId]], how: Ablation = "zero") -> None:
        model = ask.model
        if not model.interface:
            msg = f"{model.name} does not use transformers' attention interface, so its heads cannot be switched off."
            raise BadIntervention(msg)
        self._ask, self._model = ask, model
        changes = [with_ablated(ask.change, heads, model.kinds, how) for heads in sets]
        layers = [min((head.layer for head in heads), default=0) for heads in sets]
        self._order = sorted(range(len(sets)), key=lambda at: layers[at])
        self._changes = [changes[at] for at in self._order]
        self._layers = [layers[at] for at in self._order]
        self._forks = can_fork(model) and not alone_in_a_batch(model.hf, model.task, model.kinds)

    def texts(self, queries: Sequence[Query]) -> list[Reading]:
        """Every text that is run, once a set."""
        start = [] if all(query.first is None for query in queries) else [self._ask.start_reading()]
        return [*start, *readings_of(queries)]

    def ask(self, queries: Sequence[Query], report: Report | None = None) -> np.ndarray:
        """(1 + set, query) the number of each query, first with no head switched off."""
        readings = readings_of(queries)
        self._check_forking(readings)
        first = None
        if any(query.first is not None for query in queries):
            logits = self._logits(self._ask.start_reading())
            first = logits[:, 0].log_softmax(dim=-1).double().cpu().numpy()
        found = {}
        for at, reading in enumerate(readings):
            if report is not None:
                report(at, len(readings))
            found[reading] = asked_of(reading, self._logits(reading))
        if report is not None:
            report(len(readings), len(readings))
        # A query without a text, of two sentences that share no token, has one number for all sets.
        rows = 1 + len(self._changes)
        values = np.stack([np.broadcast_to(together(query, found, first), rows) for query in queries], axis=-1)
        # Back from the order of layers to the order of the sets.
        return values[[0, *(1 + np.argsort(self._order))]]

    def seconds(self, queries: Sequence[Query]) -> float:
        """How long all texts would take, by some of middle length."""
        readings = readings_of(queries)
        if not readings:
            return 0.0
        self._check_forking(readings)
        middle = len(readings) // 2
        timed = readings[middle : middle + TIMED]
        # The first pass of a model sets up what later ones reuse.
        self._logits(timed[0])
        begun = time.perf_counter()
        for reading in timed:
            asked_of(reading, self._logits(reading))
        return (time.perf_counter() - begun) / len(timed) * len(readings)

    def _check_forking(self, readings: Sequence[Reading]) -> None:
        """Fork only where it gives what plain runs give, because a model may mix the rows of a batch."""
        if not self._forks or not readings:
            return
        forked, plain = self._logits(readings[0]), self._plain(readings[0], self._size(readings[0]))
        self._forks = float((forked - plain).abs().max()) <= SAME * float(plain.abs().max())

    def _size(self, reading: Reading) -> int:
        if alone_in_a_batch(self._model.hf, self._model.task, self._model.kinds):
            return 1
        return max(1, min(ROWS_AT_ONCE, BATCH_BYTES // row_bytes(self._model, encoded(reading)) - 1))

    def _logits(self, reading: Reading) -> torch.Tensor:
        """(1 + set, place, outcome) logits, the sets in the order of their layers."""
        size = self._size(reading)
        if not self._forks:
            return self._plain(reading, size)
        at = reading.places[0] if len(reading.places) == 1 else None
        text, batches = encoded(reading), batches_of(self._layers, size) or [[]]
        parts: dict[int, torch.Tensor] = {}
        with self._model.held(), torch.no_grad():
            for rows in batches:
                changes: list[Intervention | None] = [self._ask.change, *(self._changes[row] for row in rows)]
                logits = forked_logits(self._model, text, changes, [self._layers[row] for row in rows], at)
                if logits.ndim == ALL_AXES and logits.shape[1] > 1:
                    logits = logits[:, list(reading.places)]
                parts.setdefault(-1, logits[0])
                parts.update(zip(rows, logits[1:], strict=True))
        return torch.stack([parts[row] for row in range(-1, len(self._changes))]).float()

    def _plain(self, reading: Reading, size: int) -> torch.Tensor:
        changes = [self._ask.change or Intervention(), *self._changes]
        parts: list[torch.Tensor] = []
        for start in range(0, len(changes), size):
            batch = changes[start : start + size]
            parts += logits_at(self._model, [encoded(reading)] * len(batch), [reading.places] * len(batch), batch)
        return torch.stack(parts)
