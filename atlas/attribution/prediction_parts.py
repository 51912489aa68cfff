"""Who writes a prediction: its logit as a sum over what embeddings, heads, feed-forward blocks and biases wrote.

The stream is a sum, and what reads it at its end is linear, as long as every norm (and every activation behind the stream) is
held at what it was in this run. So a logit is a sum over writers, and it is exact (direct logit attribution).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from atlas.attribution.statistics import false_discovery
from atlas.errors import NotCaptured
from atlas.ids import HeadId, as_head
from atlas.metrics.chance import pooled
from atlas.tracing.direct_effects import (
    BIASES,
    BLOCK,
    DIRECT_EFFECTS,
    EMBEDDING,
    FEED_FORWARD,
    HEAD,
    LEAST_OUTCOMES,
    RANDOM_OUTCOMES,
    DirectEffects,
    FinalReaders,
    token_parts,
    without_direct_effects,
)
from atlas.tracing.explained import LOGIT, Target
from atlas.tracing.why import head_of
from atlas.tracing.writers import BIASES as FROM_BIASES
from atlas.tracing.writers import Walk, allowed_error

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from atlas.trace import Trace

Array = np.ndarray

INTERVAL = (0.025, 0.975)
"""Quantiles of what a writer gives to outcomes drawn at random."""

LAYER = re.compile(r"\bL(\d+) (feed-forward|attention|cross)")
"""Names of the blocks of a layer, as a walk names them."""


def direct_effects(
    trace: Trace, target: Target | None = None, against: str | int | None = None, *, second: bool = False, seed: int = 0
) -> pd.DataFrame:
    """What every writer of the stream gives to the logit of an outcome, or to the difference of two.

    Parameters
    ----------
    trace
        One run; its model must be here, and runs again.
    target
        The outcome and where it is predicted; by default the likeliest at the last position.
    against
        The outcome whose logit is subtracted. None: that of the target, if it names one.
    second
        Whether the logit of the likeliest other outcome is subtracted, where none is named.
    seed
        Of the outcomes drawn at random.

    Returns
    -------
    One row a writer, in the order of writing: what ('embedding', 'head', 'feed-forward', 'biases'), kind, layer, head, writer,
    effect, share (of the sum of |effect|), then chance, lo and hi (mean and 95 % range of what it gives to outcomes drawn at
    random), and for heads p and q. `attrs` has the target, the model's own value, the sum of all effects, their gap, and notes.
    """
    found = taken_apart(trace, _target(target, against), second=second, seed=seed)
    table = found.table.copy()
    table.attrs = {"target": found.target, "value": found.value, "sum": found.total, "gap": found.gap, "notes": found.notes}
    return table


def direct_effect_tokens(
    trace: Trace,
    heads: Sequence[HeadId | str],
    target: Target | None = None,
    against: str | int | None = None,
    *,
    second: bool = False,
) -> pd.DataFrame:
    """Which tokens the direct effects of some heads come from: kind, layer, head, side, position, token, effect.

    The effects of the tokens of a head sum to its effect in `direct_effects`.
    """
    import pandas as pd

    found = taken_apart(trace, _target(target, against), second=second)
    rows = []
    for head in (as_head(each, trace.kinds) for each in heads):
        side = trace.side(head.kind, "key")
        names = trace.token_tables[side]["token"]
        for at, effect in enumerate(token_parts(trace, found, head)):
            rows.append((head.kind, head.layer, head.head, side, at, str(names.iloc[at]), float(effect)))
    return pd.DataFrame(rows, columns=["kind", "layer", "head", "side", "position", "token", "effect"])


def _target(target: Target | None, against: str | int | None) -> Target:
    chosen = replace(target or Target(), of=LOGIT)
    return chosen if against is None else replace(chosen, against=against)


def taken_apart(
    trace: Trace,
    target: Target,
    *,
    second: bool = False,
    seed: int = 0,
    tell: Callable[[str], object] = lambda _: None,
) -> DirectEffects:
    """A prediction by its writers; `second`: against the likeliest other outcome, where the target names none."""
    reason = without_direct_effects(trace)
    if reason:
        msg = f"Nobody can say who wrote this prediction: {reason}"
        raise NotCaptured(msg)
    from atlas.engine.gradients.final_readers import final_readers

    tell("Reading the last state as the outcome does")
    found = final_readers(trace, target, RANDOM_OUTCOMES, seed, second=second)
    contrast = found.target.against_id is not None
    readers, constants = _held_against(found.readers.transpose(1, 0, 2), contrast), _held_against(found.constants, contrast)
    tell("Following the stream to its writers")
    layers = trace.n_layers(found.stream)
    walk = Walk(trace, found.stream, found.rows, found.norms, readers.transpose(1, 0, 2), values_read={})
    walk.through_final_norm()
    walk.through_layers(layers)
    parts = {writer: part.sum(0) for writer, part in walk.parts.items()}
    parts[FROM_BIASES] = constants + parts.get(FROM_BIASES, 0.0)
    table = _table(trace, parts)
    value = float(_held_against(found.logits, contrast)[0])
    read, notes = walk.values_read or {}, _notes(found, walk.coarse)
    made = DirectEffects(found.target, found.stream, table, value, len(constants) - 1, found.rows, read, notes)
    return made if made.gap <= allowed_error(trace) else replace(made, notes=(_gap(made), *notes))


def _held_against(values: Array, contrast: bool) -> Array:  # noqa: FBT001  (whether the target is a difference)
    """(reading, ...): the explained outcome and the random ones; of a difference, that and those of random pairs."""
    if not contrast:
        return values
    random = values[2:]
    return np.concatenate([values[:1] - values[1:2], random - np.roll(random, 1, axis=0)])


def _table(trace: Trace, parts: Mapping[str, Array]) -> pd.DataFrame:
    import pandas as pd

    places = {writer: _place(writer, trace.kinds) for writer in parts}
    written = sorted(parts, key=lambda writer: _order(places[writer]))
    every, rows = np.stack([parts[writer] for writer in written]), [places[writer] for writer in written]
    effects, random = every[:, 0], every[:, 1:]
    table = pd.DataFrame(rows, columns=["what", "kind", "layer", "head"]).astype({"layer": "Int64", "head": "Int64"})
    size = np.abs(effects).sum()
    table = table.assign(writer=written, effect=effects, share=effects / size if size else 0.0)
    known = random.shape[1] >= LEAST_OUTCOMES
    nothing = np.full(len(effects), np.nan)
    low, high = np.quantile(random, INTERVAL, axis=1) if known else (nothing, nothing)
    table = table.assign(chance=random.mean(1) if known else nothing, lo=low, hi=high, p=nothing, q=nothing)
    heads = (table["what"] == HEAD).to_numpy()
    if known and heads.any():
        p = _chances(effects[heads], random[heads])
        table.loc[heads, "p"], table.loc[heads, "q"] = p, false_discovery(p)
    return table


def _chances(effects: Array, random: Array) -> Array:
    """(head,) share of what all heads give to random outcomes, each by its own mean and spread, that is as far out."""
    mean, spread = random.mean(1, keepdims=True), random.std(1, keepdims=True)
    spread = np.where(spread > 0, spread, np.nan)
    return pooled(np.abs(effects[:, None] - mean)[:, 0] / spread[:, 0], (np.abs(random - mean) / spread).ravel())


Place = tuple[str, str, int | None, int | None]
"""What writes; of a head its kind; layer and head, where it has them."""


def _order(place: Place) -> tuple[int, ...]:
    """The order of writing: embeddings, then layer by layer the heads, cross heads and the feed-forward block; biases last."""
    what, kind, layer, head = place
    step = {EMBEDDING: 0, BIASES: 2}.get(what, 1)
    return step, layer or 0, what == FEED_FORWARD, kind == "cross", head or 0


def _place(writer: str, kinds: tuple[str, ...]) -> Place:
    head = head_of(writer, kinds)
    if head is not None:
        return HEAD, head.kind, head.layer, head.head
    block = LAYER.search(writer)
    if block is not None:
        return (FEED_FORWARD if block[2] == FEED_FORWARD else BLOCK), "", int(block[1]), None
    return (BIASES if writer == FROM_BIASES else EMBEDDING), "", None, None


def _gap(found: DirectEffects) -> str:
    """What is said of a gap that rounding does not explain."""
    return (
        "behind the stream stands something that is neither linear nor held: the parts and the model's own value differ by "
        f"{found.gap:.1%} of the sum of their sizes"
    )


def _notes(found: FinalReaders, coarse: Sequence[str]) -> tuple[str, ...]:
    held = " and ".join(found.held)
    behind = f"behind the stream stands {held}, held at the factor by which it multiplied in this run"
    several = [f"{coarse[0]}; so it is in {len(coarse) - 1} other places"] if len(coarse) > 1 else list(coarse)
    return (*([behind] if held else []), *several)


TASKS: Mapping[str, Callable[..., Any]] = {DIRECT_EFFECTS: taken_apart}
"""Work with the model that views may request, by name."""
