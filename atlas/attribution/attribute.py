"""Attribution of one prediction to the tokens of the text, by any of the methods."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from atlas.attribution import flows, max_flow
from atlas.attribution.methods import METHODS
from atlas.errors import NotCaptured, TooLarge, UnknownName
from atlas.metrics.influence import traced_back
from atlas.trace import Trace
from atlas.tracing.explained import Attribution, Target
from atlas.tracing.mixing import CONTRIBUTION, steps
from atlas.tracing.windows import ROLLOUT_TOKENS
from atlas.tracing.zeroing import VALUE_ZEROING

if TYPE_CHECKING:
    from atlas.engine.gradients.subject import Subject
    from atlas.engine.model import Model

Report = Callable[[int, int], None]
"""(texts run, all texts)"""


class Found(NamedTuple):
    """What a method found, before it becomes a table."""

    values: Mapping[str, np.ndarray]
    delta: float | None = None
    notes: tuple[str, ...] = ()
    facts: Mapping[str, Any] = {}


def attribute(
    model: Model,
    text: str | Trace | Any,
    target: Target | None = None,
    method: str = "integrated_gradients",
    pair: str | None = None,
    decoder: str | None = None,
    *,
    progress: Report | None = None,
    **options: Any,
) -> Attribution:
    """Scores of all tokens for one prediction.

    Parameters
    ----------
    model
        The model, as `atlas.load` gives it.
    text
        The text, a ready encoding, or a trace of the model; of a trace with interventions the changed run is explained.
    target
        What is explained; by default the likeliest outcome at the last position.
    method
        A name in `METHODS`.
    pair, decoder
        A second segment; the text that the decoder of an encoder-decoder reads.
    progress
        Called with the number of texts run and the number of all texts.
    options
        Of the method: `baseline`, `steps`, `most_steps`, `gap`, `keep_specials` of integrated gradients; `replace` and
        `keep_specials` of occlusion; `norm` of saliency.
    """
    if method not in METHODS:
        msg = f"There is no method {method!r}; there are {', '.join(METHODS)}."
        raise UnknownName(msg)
    reason = METHODS[method].reason(model)
    if reason:
        raise NotCaptured(reason)
    trace = text if isinstance(text, Trace) else model.trace(text, pair, decoder, capture=("predictions",))
    return attribute_trace(trace, target, method, progress, **options)


def attribute_trace(
    trace: Trace, target: Target | None, method: str, report: Report | None = None, **options: Any
) -> Attribution:
    """The same for a trace whose model is here."""
    from atlas.engine.gradients.subject import Subject, model_of

    run = _METHODS[method]
    reason = METHODS[method].reason(model_of(trace).model)
    if reason:
        raise NotCaptured(reason)
    known = [name for name, each in inspect.signature(run).parameters.items() if each.kind is each.KEYWORD_ONLY]
    unknown = [name for name in options if name not in known]
    if unknown:
        msg = f"{method} has no option {unknown[0]!r}; " + (f"it has {', '.join(known)}." if known else "it has none.")
        raise UnknownName(msg)
    subject = Subject(trace, target)
    found = run(subject, report, **options)
    provenance = {
        **{name: trace.provenance.get(name) for name in ("model", "revision", "atlas")},
        "method": method,
        "target": asdict(subject.target),
        "passes": subject.passes,
        **found.facts,
    }
    return Attribution(method, subject.target, _table(trace, found.values), found.delta, tuple(found.notes), provenance)


def _table(trace: Trace, values: Mapping[str, np.ndarray]) -> pd.DataFrame:
    parts = [
        pd.DataFrame({
            "side": side,
            "position": np.arange(len(scores)),
            "token": trace.token_tables[side]["token"].to_numpy(),
            "special": trace.token_tables[side]["special"].to_numpy(dtype=bool),
            "score": np.asarray(scores, dtype=float),
            **{name: _place(trace.token_tables[side], name) for name in ("start", "end", "segment")},
        })
        for side, scores in values.items()
    ]  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def _place(table: pd.DataFrame, name: str) -> Any:
    """Where tokens lie in the text; unknown where a text was given as ids."""
    return table[name].astype("Int64").array if name in table else pd.array([pd.NA] * len(table), dtype="Int64")


# -- gradients and occlusion -----------------------------------------------------------------------------------------------


def _saliency(subject: Subject, report: Report | None, *, norm: str = "l2") -> Any:
    from atlas.engine.gradients.inputs import saliency

    return saliency(subject, report, norm=norm)


def _input_x_gradient(subject: Subject, report: Report | None) -> Any:
    from atlas.engine.gradients.inputs import input_x_gradient

    return input_x_gradient(subject, report)


def _integrated_gradients(
    subject: Subject,
    report: Report | None,
    *,
    baseline: str = "auto",
    steps: int = 32,
    most_steps: int = 512,
    gap: float = 0.05,
    keep_specials: bool = True,
) -> Any:
    from atlas.engine.gradients.inputs import integrated_gradients

    return integrated_gradients(
        subject, report, baseline=baseline, steps=steps, most_steps=most_steps, gap=gap, keep_specials=keep_specials
    )


def _occlusion(subject: Subject, report: Report | None, *, replace: str = "auto", keep_specials: bool = True) -> Any:
    from atlas.engine.gradients.inputs import occlusion

    return occlusion(subject, report, replace=replace, keep_specials=keep_specials)


# -- attention -------------------------------------------------------------------------------------------------------------


def _own_kind(trace: Trace) -> str:
    """The kind of self-attention of the stream that predicts."""
    return trace.kinds[0] if len(trace.kinds) == 1 else "decoder"


def _attention_x_gradient(subject: Subject, report: Report | None) -> Found:
    from atlas.engine.gradients.weights import weighted

    trace = subject.trace
    values = {side: np.zeros(size) for side, size in subject.sides.items()}
    for (kind, _), (weights, gradient) in weighted(subject).items():
        values[trace.side(kind, "key")] += flows.received(weights, gradient)
    _done(report)
    return Found(values)


def _gradient_rollout(subject: Subject, report: Report | None) -> Found:
    from atlas.engine.gradients.weights import rows_read, weighted

    _check_tokens(subject)
    layers = weighted(subject)
    kinds = subject.trace.kinds
    steps = {kind: [flows.positive(*layers[at, i]) for at, i in sorted(layers) if at == kind] for kind in kinds}
    own = _own_kind(subject.trace)
    maps = flows.gradient_rolled_out(steps[own], *_other_steps(steps))
    _done(report)
    return Found(_from_rows(rows_read(subject, layers), maps))


def _rollout(subject: Subject, report: Report | None) -> Found:
    from atlas.engine.gradients.weights import rows_read

    _check_tokens(subject)
    steps = _mean_steps(subject.trace)
    maps = flows.rolled_out(steps[_own_kind(subject.trace)], *_other_steps(steps))
    _done(report)
    return Found(_from_rows(rows_read(subject), maps))


def _contribution_rollout(subject: Subject, report: Report | None) -> Found:
    return _by_shares(subject, CONTRIBUTION, report)


def _value_zeroing(subject: Subject, report: Report | None) -> Found:
    return _by_shares(subject, VALUE_ZEROING, report)


def _by_shares(subject: Subject, shares: str, report: Report | None) -> Found:
    """What the positions that the target is read from are made of, through the shares of all layers."""
    from atlas.engine.gradients.weights import rows_read

    made = steps(subject.trace, shares, _own_kind(subject.trace), report)
    last = rows_read(subject)
    start, size = made[-1].start, sum(subject.sides.values())
    after = np.zeros(size)
    after[start : start + len(last)] = last
    found = traced_back(made, after)[0]
    return Found({"source": found[:start], "target": found[start:]} if start else {"source": found})


def _attention_flow(subject: Subject, report: Report | None) -> Found:
    from atlas.engine.gradients.weights import rows_read

    tokens = sum(subject.sides.values())
    if tokens > max_flow.FLOW_TOKENS:
        msg = (
            f"Attention flow takes a maximum flow for each of {tokens:,} tokens, and {max_flow.FLOW_TOKENS} are the most. "
            "Take rollout, which needs one product of the same matrices, or a shorter text."
        )
        raise TooLarge(msg)
    steps = _mean_steps(subject.trace)
    network = max_flow.pipes(rows_read(subject), steps[_own_kind(subject.trace)], *_other_steps(steps))
    found = max_flow.flows_to(network, np.concatenate([network.source, network.own]), report)
    source = len(network.source)
    note = f"Capacities are rounded to whole multiples of {1 / max_flow.RESOLUTION:.1g}."
    values = {"source": found[:source], "target": found[source:]} if source else {"source": found}
    return Found(values, None, (note,), {"resolution": 1 / max_flow.RESOLUTION})


def _raw_attention(subject: Subject, report: Report | None) -> Found:
    from atlas.engine.gradients.weights import rows_read

    trace = subject.trace
    cross = _mean(trace, "cross", -1) if "cross" in trace.kinds else None
    maps = flows.TwoStreams(_mean(trace, _own_kind(trace), -1), cross)
    _done(report)
    return Found(_from_rows(rows_read(subject), maps))


def _value_norms(subject: Subject, report: Report | None) -> Found:
    from atlas.engine.gradients.weights import rows_read

    trace = subject.trace
    cross = _mean(trace, "cross", -1, moved=True) if "cross" in trace.kinds else None
    maps = flows.TwoStreams(_mean(trace, _own_kind(trace), -1, moved=True), cross)
    _done(report)
    return Found(_from_rows(rows_read(subject), maps))


def _mean_steps(trace: Trace) -> dict[str, list[np.ndarray]]:
    """Mean weights of every layer of every kind."""
    return {kind: [_mean(trace, kind, layer) for layer in range(trace.n_layers(kind))] for kind in trace.kinds}


def _mean(trace: Trace, kind: str, layer: int, *, moved: bool = False) -> np.ndarray:
    """Mean weights of a layer's heads, or weights times the length of what is moved; replaced heads count as zero."""
    attention = trace.attention_of(kind)
    layer %= len(attention.layers)
    heads = [head for head in range(attention.n_heads) if head not in attention.layers[layer].replaced]
    blocks = {head: attention.block(layer, head) for head in heads}
    if moved:
        norms = attention.stats.get("value_norm")
        if norms is None:
            msg = "What a weight really moves needs the values and the output projection, and this trace holds weights only."
            raise NotCaptured(msg)
        blocks = {head: block * norms[layer, head] for head, block in blocks.items()}
    if not blocks:
        return np.zeros((attention.n_queries, attention.n_keys))
    return flows.mean_weights(blocks, attention.n_heads)


def _other_steps(steps: Mapping[str, Sequence[np.ndarray]]) -> tuple[Sequence[np.ndarray], Sequence[np.ndarray]]:
    return (steps["cross"], steps["encoder"]) if "cross" in steps else ((), ())


def _check_tokens(subject: Subject) -> None:
    longest = max(subject.sides.values())
    if longest > ROLLOUT_TOKENS:
        msg = (
            f"Rollout multiplies whole matrices, and {longest:,} tokens are more than {ROLLOUT_TOKENS:,}. "
            "Take another method, or a shorter text."
        )
        raise TooLarge(msg)


def _done(report: Report | None) -> None:
    if report is not None:
        report(1, 1)


def _from_rows(rows: np.ndarray, maps: flows.TwoStreams) -> dict[str, np.ndarray]:
    """Scores of the tokens of both sides, at the positions that the target is read from."""
    if maps.source is None:
        return {"source": rows @ maps.own}
    return {"source": rows @ maps.source, "target": rows @ maps.own}


_METHODS: Mapping[str, Callable[..., Any]] = {
    "saliency": _saliency,
    "input_x_gradient": _input_x_gradient,
    "integrated_gradients": _integrated_gradients,
    "attention_x_gradient": _attention_x_gradient,
    "gradient_rollout": _gradient_rollout,
    "raw_attention": _raw_attention,
    "rollout": _rollout,
    "contribution_rollout": _contribution_rollout,
    "value_zeroing": _value_zeroing,
    "attention_flow": _attention_flow,
    "value_norms": _value_norms,
    "occlusion": _occlusion,
}
assert set(_METHODS) == set(METHODS)
