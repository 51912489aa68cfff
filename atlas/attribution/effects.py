"""What each head does for a prediction, by switching it off or replacing its output."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from atlas.attribution.methods import METHODS
from atlas.errors import NotCaptured
from atlas.ids import as_heads
from atlas.trace import Trace
from atlas.tracing.explained import HEAD_EFFECTS, LOG_PROBABILITY, Target
from atlas.tracing.predictions import SCORE

if TYPE_CHECKING:
    from atlas.engine.model import Model
    from atlas.ids import Headlike

Report = Callable[[int, int], None]
"""(heads done, all heads)"""


GRADIENT = "gradient"
"""Instead of removing heads, differentiate by a factor on the output of each: all of them in one backward pass."""


INTEGRATED = "integrated_gradients"
"""Instead of removing heads, integrate gradients from a layer whose weights say nothing to its own weights, layer by layer."""

UNIFORM = "uniform"
"""Attention that says nothing: evenly spread over the keys that a query may see."""


def head_effects(
    model: Model,
    text: str | Trace | Any,
    target: Target | None = None,
    how: str = "zero",
    heads: Iterable[Headlike] | None = None,
    *,
    other: str | Trace | Any = None,
    pair: str | None = None,
    decoder: str | None = None,
    seed: int = 0,
    baseline: str = UNIFORM,
    progress: Report | None = None,
) -> pd.DataFrame:
    """The effect of every head on one prediction, each in a run of its own: kind, layer, head, effect, log_probability, kl.

    `effect` is the explained number (the logit of the target) before minus after: above 0, the head speaks for the target.
    `log_probability` is the same of the outcome's log-probability, and `kl` how far the outcomes after are from those before, in
    nats. Results hang on `how`, so compare several.

    Parameters
    ----------
    model
        The model, as `atlas.load` gives it.
    text
        The text, a ready encoding, or a trace of the model.
    target
        What is explained; by default the likeliest outcome at the last position.
    how
        What a head's output is replaced by: 'zero'; 'mean', its mean over the text; 'resample', its output in `other` (of random
        positions beyond the end of a shorter text); 'patch', its output in `other`, which needs as many tokens. Or 'gradient': no
        head is replaced, and the effect of 'zero' is estimated for all heads at once, to the first order (`kl` is then NaN).
    heads
        The heads; by default all.
    other
        Another text or trace, for 'resample' and 'patch'. An encoder-decoder reads it with the same decoder text.
    pair, decoder
        A second segment; the text that the decoder of an encoder-decoder reads.
    seed
        Of the positions that 'resample' draws.
    baseline
        Of 'integrated_gradients': 'uniform', weights spread evenly over the keys that a query may see; or 'zero', no weights.
    progress
        Called with the number of heads done and the number of all heads.
    """
    trace = text if isinstance(text, Trace) else model.trace(text, pair, decoder, capture=("predictions",))
    return head_effects_of_trace(trace, target, how, heads, other, progress, seed, baseline)


def head_effects_of_trace(
    trace: Trace,
    target: Target | None = None,
    how: str = "zero",
    heads: Iterable[Headlike] | None = None,
    other: str | Trace | Any = None,
    report: Report | None = None,
    seed: int = 0,
    baseline: str = UNIFORM,
) -> pd.DataFrame:
    """The same for a trace whose model is here; `attrs` of the table say what was explained and how."""
    from atlas.engine.gradients.heads import head_effects as effects

    if how == GRADIENT:
        return _by_gradient(trace, target, heads, report)
    if how == INTEGRATED:
        return _by_integration(trace, target, heads, report, baseline)
    found = effects(trace, target, how, heads, read(trace, other), report, seed)
    done = [head for (head,) in found.sets]
    table = pd.DataFrame(
        {
            "kind": [head.kind for head in done],
            "layer": [head.layer for head in done],
            "head": [head.head for head in done],
            "effect": found.effect,
            "log_probability": found.log_probability,
            "kl": found.kl,
        }
    )
    table.attrs = {"target": found.target.words, "how": how}
    return table


def read(trace: Trace, other: str | Trace | Any) -> Trace | None:
    """Another text as a trace of the same model, with the same decoder text; a trace as it is."""
    from atlas.engine.gradients.subject import model_of

    if other is None or isinstance(other, Trace):
        return other
    found: Trace = model_of(trace).model.trace(other, None, trace.texts.target, capture=("predictions",))
    return found


def _by_gradient(trace: Trace, target: Target | None, heads: Iterable[Headlike] | None, report: Report | None) -> pd.DataFrame:
    from atlas.engine.gradients.subject import Subject, model_of
    from atlas.engine.gradients.weights import head_gradients

    reason = METHODS["attention_x_gradient"].reason(model_of(trace).model)
    if reason:
        raise NotCaptured(reason)
    subject = Subject(trace, target)
    chosen = as_heads(heads, trace.kinds) if heads is not None else trace.head_ids
    measures = (subject.target.of, *(() if subject.form == SCORE else (LOG_PROBABILITY,)))
    found = head_gradients(subject, tuple(dict.fromkeys(measures)))
    if report is not None:
        report(len(chosen), len(chosen))
    columns = {
        name: [float(found[measure][head.kind, head.layer][head.head]) for head in chosen] if measure in found else np.nan
        for name, measure in (("effect", subject.target.of), ("log_probability", LOG_PROBABILITY))
    }
    names = {name: [getattr(head, name) for head in chosen] for name in ("kind", "layer", "head")}
    table = pd.DataFrame(names | columns).assign(kl=np.nan)
    table.attrs = {"target": subject.target.words, "how": GRADIENT}
    return table


def _by_integration(
    trace: Trace, target: Target | None, heads: Iterable[Headlike] | None, report: Report | None, baseline: str
) -> pd.DataFrame:
    from atlas.engine.gradients.attention_weights import weights_integrated
    from atlas.engine.gradients.subject import Subject, model_of

    reason = METHODS["attention_x_gradient"].reason(model_of(trace).model)
    if reason:
        raise NotCaptured(reason)
    subject = Subject(trace, target)
    chosen = as_heads(heads, trace.kinds) if heads is not None else trace.head_ids
    places = {(head.kind, head.layer) for head in chosen}
    found = weights_integrated(subject, baseline, places, report)
    names = {name: [getattr(head, name) for head in chosen] for name in ("kind", "layer", "head")}
    table = pd.DataFrame(names | {"effect": [float(found[head.kind, head.layer].heads[head.head]) for head in chosen]})
    table = table.assign(log_probability=np.nan, kl=np.nan)
    layers = pd.DataFrame(
        [(kind, layer, each.value - each.without, each.gap, each.steps) for (kind, layer), each in found.items()],
        columns=["kind", "layer", "explained", "gap", "steps"],
    )
    table.attrs = {"target": subject.target.words, "how": INTEGRATED, "baseline": baseline, "layers": layers.to_dict("list")}
    return table


TASKS: Mapping[str, Callable[..., Any]] = {HEAD_EFFECTS: head_effects_of_trace}
"""Work with the model that views may request, by name."""
