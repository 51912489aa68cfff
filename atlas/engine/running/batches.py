"""Traces many texts in padded batches, one trace at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from atlas.engine.loading.examine import alone_in_a_batch
from atlas.engine.running.targets import with_target

if TYPE_CHECKING:
    from atlas.engine.model import Model
    from atlas.engine.running.interventions import Intervention
    from atlas.trace import Trace


def in_batches(
    model: Model,
    pairs: Sequence[tuple[Any, str | None]],
    targets: Sequence[str | None],
    changes: Sequence[Intervention | None],
    batch_size: int,
    keep: str,
    groups: Sequence[str],
    *,
    truncate: bool,
    regenerate: bool,
) -> Iterator[Trace]:
    """The traces of texts (text, pair), each equal to that of the text alone."""
    size = 1 if alone_in_a_batch(model.hf, model.task, model.kinds) else batch_size
    # All texts are encoded first, so that a bad last text is found before an hour of work, not after it. Targets are
    # generated batch by batch, because that takes time and the first trace should not wait for all of them.
    encoded = [model.encode(text, pair, truncate=truncate) for text, pair in pairs]
    for start in range(0, len(encoded), size):
        chunk = slice(start, start + size)
        batch = [
            with_target(model, text, target, change, regenerate=regenerate)
            for text, target, change in zip(encoded[chunk], targets[chunk], changes[chunk], strict=True)
        ]
        traces = model.traced(batch, changes[chunk], keep, groups)
        while traces:
            # Popped, so that this list keeps no trace alive: a caller that drops a trace frees it before the batch ends.
            yield traces.pop(0)
