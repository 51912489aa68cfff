"""A text without some of its tokens: the target's number for any sets of tokens that are taken out, in batches."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from atlas.engine.gradients.inputs import baseline_of
from atlas.engine.gradients.subject import Subject
from atlas.engine.running.capture import fitting, logits_where_known, stacked
from atlas.engine.running.context import Call, running
from atlas.engine.running.interventions import Intervention, by_layer
from atlas.engine.running.recorder import TextShape, to_numpy
from atlas.errors import NotCaptured, UnknownName
from atlas.tracing.explained import AUTO, LOGIT, NO_TOKEN, PROBABILITY
from atlas.tracing.faithfulness import ATTENTION, DELETE, MASK, REMOVALS
from atlas.tracing.outcomes import CLASSIFIES_TEXT
from atlas.tracing.predictions import SCORE, WHOLE_TEXT

if TYPE_CHECKING:
    from atlas.engine.running.encode import Encoded

Sets = npt.NDArray[np.bool_]
"""(row, place) which tokens are taken out."""

Place = tuple[str, int]
"""(side, position)"""

Report = Callable[[int, int], None]
"""(texts run, all texts)"""

_MASKS = {"source": "attention_mask", "target": "decoder_attention_mask"}


class Removal:
    """Takes tokens out of the text of a subject by one operator, and remembers every set it has run.

    Many orders begin with the same tokens, so a set is asked for again and again.
    """

    def __init__(self, subject: Subject, places: Sequence[Place], remove: str) -> None:
        if remove not in REMOVALS:
            msg = f"Tokens are taken out by {', '.join(REMOVALS)}, not by {remove!r}."
            raise UnknownName(msg)
        self.subject, self.remove = subject, remove
        self.places = tuple(place for place in places if remove == MASK or place != self._read_at)
        self.of = LOGIT if subject.form == SCORE else PROBABILITY
        """What is measured: the probability of the target, or its number where the model has no probabilities."""
        self._known: dict[bytes, float] = {}
        self._check()
        self._away = baseline_of(subject, AUTO, keep_specials=False) if remove == MASK else None
        self._at = subject.vectors() if remove == MASK else {}

    @property
    def said(self) -> str:
        """What is done with a token that is taken out."""
        if self._away is not None:
            return f"replaced by {NO_TOKEN[self._away.name]}"
        return {DELETE: "deleted from the text", ATTENTION: "hidden from attention"}[self.remove]

    @property
    def passes(self) -> int:
        """Texts run so far for different sets."""
        return len(self._known)

    def values(self, sets: Sets, report: Report | None = None) -> npt.NDArray[np.float64]:
        """(row,) the number of the target without the tokens of each set."""
        sets = np.asarray(sets, dtype=bool).reshape(-1, len(self.places))
        names = [row.tobytes() for row in np.packbits(sets, axis=1)] if sets.shape[1] else [b""] * len(sets)
        fresh = {name: at for at, name in enumerate(names) if name not in self._known}
        rows, size = list(fresh.values()), self.subject.rows_at_once()
        with self.subject.held(gradients=False):
            for start in range(0, len(rows), size):
                if report is not None:
                    report(start, len(rows))
                batch = rows[start : start + size]
                found = to_numpy(self.subject.measured(self._logits(sets[batch]), self.of).double())
                self._known |= dict(zip([names[at] for at in batch], found.tolist(), strict=True))
        return np.array([self._known[name] for name in names], dtype=float)

    # -- operators ---------------------------------------------------------------------------------------------------------

    @property
    def _read_at(self) -> Place | None:
        """The token at which the target is read: without it in the text, or in sight of itself, nothing could be read there."""
        target = self.subject.target
        return None if target.position == WHOLE_TEXT else (target.side, target.position)

    def _check(self) -> None:
        subject, model = self.subject, self.subject.model
        if self.remove == MASK and not subject.taps:
            msg = f"In {model.name} no table was found that gives out the vectors of the tokens. Take remove='delete'."
            raise NotCaptured(msg)
        lacking = [name for side, name in _MASKS.items() if side in subject.sides and name not in model.accepts]
        if self.remove == ATTENTION and lacking:
            msg = f"{model.name} takes no {lacking[0]}, so no token can be hidden from its attention. Take remove='mask'."
            raise NotCaptured(msg)
        change = subject.change or Intervention()
        if self.remove == DELETE and (change.knock_out or change.patch):
            msg = "Edges and outputs that are changed belong to positions, and a deleted token moves them. Take remove='mask'."
            raise NotCaptured(msg)

    def _logits(self, sets: Sets) -> torch.Tensor:
        if self._away is not None:
            rows = {side: vectors.repeat(len(sets), 1, 1) for side, vectors in self._at.items()}
            for at, (side, position) in enumerate(self.places):
                out = torch.as_tensor(sets[:, at], device=rows[side].device)
                rows[side][out, position] = self._away.vectors[side][0, position]
            return self.subject.logits(len(sets), vectors=rows)
        gone = [self._gone(row) for row in sets]
        if self.remove == DELETE:
            return self._run([_shorter(self.subject.encoded, each) for each in gone], [self._moved(each) for each in gone])
        hidden = {_MASKS[side]: np.stack([~each[side] for each in gone]).astype(np.int64) for side in self.subject.sides}
        return self._run([self.subject.encoded] * len(sets), [self.subject.target.position] * len(sets), hidden)

    def _gone(self, row: npt.NDArray[np.bool_]) -> dict[str, npt.NDArray[np.bool_]]:
        """(position,) of each side: whether a token is taken out."""
        gone = {side: np.zeros(size, dtype=bool) for side, size in self.subject.sides.items()}
        for out, (side, position) in zip(row, self.places, strict=True):
            gone[side][position] = out
        return gone

    def _moved(self, gone: Mapping[str, npt.NDArray[np.bool_]]) -> int:
        """Where the target is read once the tokens before it are deleted."""
        target = self.subject.target
        if target.position == WHOLE_TEXT:
            return WHOLE_TEXT
        return target.position - int(gone[target.side][: target.position].sum())

    def _run(
        self, texts: Sequence[Encoded], positions: Sequence[int], masks: Mapping[str, npt.NDArray[np.int64]] | None = None
    ) -> torch.Tensor:
        subject, model = self.subject, self.subject.model
        shapes = [fitting(model, TextShape(text.n_source, text.n_target)) for text in texts]
        changes = by_layer([subject.change] * len(texts), shapes, model.device) if subject.change else {}
        inputs = stacked(model, texts) | {name: torch.as_tensor(rows).to(model.device) for name, rows in (masks or {}).items()}
        with running(Call(sites=model.sites if changes else {}, interventions=changes)):
            logits = logits_where_known(model, model.forward(inputs))
        subject.passes += len(texts)
        if logits is None:
            raise NotCaptured(model.reason("predictions"))
        if model.task != CLASSIFIES_TEXT:
            logits = logits[torch.arange(len(texts)), torch.as_tensor(positions)]
        return logits.float().reshape(len(texts), -1)


def _shorter(encoded: Encoded, gone: Mapping[str, npt.NDArray[np.bool_]]) -> Encoded:
    """The text without deleted tokens; its tables stay those of the whole text, because nothing reads them here."""
    kept = {side: ~out for side, out in gone.items()}
    changed = replace(encoded, inputs={name: values[kept["source"]] for name, values in encoded.inputs.items()})
    ids = encoded.decoder_ids
    return changed if ids is None else replace(changed, decoder_ids=ids[kept["target"]])
