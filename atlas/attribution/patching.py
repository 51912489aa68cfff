"""Attribution patching: the effects of patching all heads, or all edges between heads, estimated from gradients and checked."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import pearsonr, spearmanr

from atlas.attribution.effects import head_effects_of_trace, read
from atlas.attribution.methods import METHODS
from atlas.errors import BadIntervention, NotCaptured
from atlas.ids import as_heads
from atlas.trace import Trace
from atlas.tracing.circuit import INPUTS
from atlas.tracing.explained import ATTRIBUTION_PATCHING, LOG_PROBABILITY, Target
from atlas.tracing.predictions import SCORE

if TYPE_CHECKING:
    from atlas.engine.model import Model
    from atlas.ids import Headlike

Report = Callable[[int, int], None]
"""(steps done, all steps)"""

PATCH, RESAMPLE = "patch", "resample"

CHECKED = 24
"""Heads or edges that are patched one by one to say how good the estimates are, unless another number is asked for."""

LEAST = 3
"""Fewest pairs with a correlation that is not 1 or -1 whatever they are."""


def attribution_patching(
    model: Model,
    text: str | Trace | Any,
    other: str | Trace | Any,
    target: Target | None = None,
    steps: int = 1,
    *,
    how: str = PATCH,
    heads: Iterable[Headlike] | None = None,
    check: int = 0,
    pair: str | None = None,
    decoder: str | None = None,
    seed: int = 0,
    progress: Report | None = None,
) -> pd.DataFrame:
    """Estimate what `head_effects(how='patch', other=...)` measures, for all heads at once (Nanda 2023; Hanna et al. 2024).

    Kind, layer, head, effect, log_probability, kl, patched. `effect` is (output in the text - output in the other) times the
    gradient of the target with respect to the output, summed over positions: to the first order, the target before minus after.
    `kl` is unknown, NaN. `patched` is the measured effect of the heads that were checked, NaN for the others; `attrs` say the
    target, `how`, `steps`, and of the checked heads `pearson`, `spearman` and `n`.

    Parameters
    ----------
    model
        The model, as `atlas.load` gives it.
    text
        The text, a ready encoding, or a trace of the model.
    other
        The text or trace that outputs are taken from. An encoder-decoder reads it with the same decoder text.
    target
        What is explained; by default the likeliest outcome at the last position.
    steps
        1: the gradient of the text's own run. More: its mean over this many runs with token vectors on the line from the other
        text to this one, the last of them this text's (EAP-IG), which can help where the target saturates.
    how
        'patch', position by position, which needs texts of as many tokens; or 'resample', as in `head_effects`, for one step.
    heads
        The heads; by default all.
    check
        Heads, drawn at random, that are also patched in a run of their own.
    pair, decoder
        A second segment; the text that the decoder of an encoder-decoder reads.
    seed
        Of the heads that are checked, and of the positions that 'resample' draws.
    progress
        Called with the number of steps done and of all steps.
    """
    trace = text if isinstance(text, Trace) else model.trace(text, pair, decoder, capture=("predictions",))
    return patching_of_trace(trace, target, how, heads, other, progress, seed, steps, check)


def patching_of_trace(
    trace: Trace,
    target: Target | None = None,
    how: str = PATCH,
    heads: Iterable[Headlike] | None = None,
    other: str | Trace | Any = None,
    report: Report | None = None,
    seed: int = 0,
    steps: int = 1,
    check: int = CHECKED,
) -> pd.DataFrame:
    """The same for a trace whose model is here."""
    from atlas.engine.gradients.patching import head_estimates
    from atlas.engine.gradients.subject import Subject

    if how not in (PATCH, RESAMPLE):
        msg = f"Attribution patching estimates {PATCH!r} or {RESAMPLE!r}, not {how!r}."
        raise BadIntervention(msg)
    there = other_of(trace, other)
    subject = Subject(trace, target)
    chosen = as_heads(heads, trace.kinds) if heads is not None else trace.head_ids
    measures = tuple(dict.fromkeys((subject.target.of, *(() if subject.form == SCORE else (LOG_PROBABILITY,)))))
    found = head_estimates(subject, chosen, how, there, steps, measures, report, seed)
    unknown = np.full(len(chosen), np.nan)
    table = pd.DataFrame({name: [getattr(head, name) for head in chosen] for name in ("kind", "layer", "head")})
    table = table.assign(
        effect=found[subject.target.of], log_probability=found.get(LOG_PROBABILITY, unknown), kl=np.nan, patched=np.nan
    )
    drawn = drawn_rows(len(table), check, seed)
    if len(drawn):
        sample = [chosen[at] for at in drawn]
        measured = head_effects_of_trace(trace, target, how, sample, there, seed=seed)
        places = zip(measured["kind"], measured["layer"], measured["head"], strict=True)
        by_head = dict(zip(places, measured["effect"], strict=True))
        table.loc[drawn, "patched"] = [by_head[head.kind, head.layer, head.head] for head in sample]
    table.attrs = {"target": subject.target.words, "how": how, "steps": steps, **agreement_with_patching(table)}
    return table


def edge_attribution_patching(
    model: Model,
    text: str | Trace | Any,
    other: str | Trace | Any,
    target: Target | None = None,
    steps: int = 1,
    *,
    check: int = 0,
    pair: str | None = None,
    seed: int = 0,
    progress: Report | None = None,
) -> pd.DataFrame:
    """Estimate what patching every edge into a head would do (Syed, Rager & Conmy 2023; Hanna et al. 2024).

    Kind, writer, layer, head, to_layer, to_head, input, effect, patched. An edge goes from a writer ('embedding', 'head' or
    'feed-forward'; layer and head are unknown where it has none) to the query, key or value (`input`) of a head in a later layer,
    and not through anything between. `effect` is (what it writes in the text - in the other) times the gradient of the target
    with respect to the state that the later head reads, through this input alone; the norm before the block is differentiated.
    `patched` is the measured effect (path patching) of the edges that were checked.

    For models of one stream with a norm before each block and none after it (GPT-2, Llama); for others it raises
    `NotCaptured` with the reason. Where heads share keys and values, each head's own use of them counts. Parameters are those of
    `attribution_patching`; `progress` is called with parts of the work.
    """
    from atlas.engine.gradients.edges import Edge, edge_estimates, path_effects
    from atlas.engine.gradients.subject import Subject

    trace = text if isinstance(text, Trace) else model.trace(text, pair, None, capture=("predictions",))
    there = Subject(other_of(trace, other))
    subject = Subject(trace, target)
    edges = edge_arrays(edge_estimates(subject, there, steps, progress))
    (kind,) = trace.kinds
    table = edge_rows(edges, np.arange(len(edges.effect)), kind, trace.n_heads(kind), trace.n_layers(kind))
    drawn = drawn_rows(len(table), check, seed)
    if len(drawn):
        reads = table.loc[drawn, ["to_layer", "to_head", "input"]].itertuples(index=False)
        wanted = [Edge(int(writer), *row) for writer, row in zip(edges.writer[drawn], reads, strict=True)]
        table.loc[drawn, "patched"] = path_effects(subject, there, wanted)
    table.attrs = {
        "target": subject.target.words, "how": PATCH, "steps": steps, "norm": "differentiated", **agreement_with_patching(table),
    }  # fmt: skip
    return table


class EdgeArrays(NamedTuple):
    """All edges, one place each."""

    writer: np.ndarray
    """Its place among the writers of the stream."""
    to_layer: np.ndarray
    to_head: np.ndarray
    into: np.ndarray
    """Its place among `INPUTS`."""
    effect: np.ndarray


def edge_arrays(found: Mapping[int, np.ndarray]) -> EdgeArrays:
    """The edges of estimates by layer, (input, head, writer) each, in this order."""
    parts = []
    for layer, effects in found.items():
        into, head, writer = (each.ravel() for each in np.indices(effects.shape))
        parts.append((writer, np.full(effects.size, layer), head, into, effects.ravel()))
    return EdgeArrays(*(np.concatenate(each) for each in zip(*parts, strict=True)))


def edge_rows(edges: EdgeArrays, rows: np.ndarray, kind: str, n_heads: int, n_layers: int) -> pd.DataFrame:
    """Some edges as a table, with nothing measured."""
    from atlas.engine.gradients.edges import writers

    every = pd.DataFrame(writers(n_heads, n_layers - 1), columns=["writer", "layer", "head"])
    table = every.astype({"writer": "category", "layer": "Int64", "head": "Int64"}).iloc[edges.writer[rows]]
    table = table.reset_index(drop=True).assign(
        to_layer=edges.to_layer[rows], to_head=edges.to_head[rows],
        input=pd.Categorical.from_codes(edges.into[rows], pd.Index(INPUTS)), effect=edges.effect[rows], patched=np.nan,
    )  # fmt: skip
    table.insert(0, "kind", kind)
    return table


def agreement_with_patching(table: pd.DataFrame) -> dict[Hashable, float]:
    """Pearson's and Spearman's correlation of the estimates with what was measured, and over how many; NaN where unknown."""
    known = table[table["patched"].notna()]
    effect, patched = known["effect"].to_numpy(dtype=float), known["patched"].to_numpy(dtype=float)
    if len(known) < LEAST or not np.ptp(effect) or not np.ptp(patched):
        return {"pearson": float("nan"), "spearman": float("nan"), "n": len(known)}
    pearson, spearman = (float(correlation(effect, patched).statistic) for correlation in (pearsonr, spearmanr))
    return {"pearson": pearson, "spearman": spearman, "n": len(known)}


def other_of(trace: Trace, other: str | Trace | Any, *, of_heads: bool = True) -> Trace:
    """Another text as a trace of the same model, if outputs (of heads, which need more of the model) can be taken from it."""
    from atlas.engine.gradients.subject import model_of

    model = model_of(trace).model
    reason = METHODS["attention_x_gradient"].reason(model) if of_heads else ""
    if reason:
        raise NotCaptured(reason)
    there = read(trace, other)
    if there is None:
        msg = "Outputs are taken from another text; give it with other=."
        raise BadIntervention(msg)
    if model_of(there).model is not model:
        msg = "The other trace is one of another model, whose parts are others."
        raise BadIntervention(msg)
    return there


def of_as_many_tokens(trace: Trace, text: str) -> dict[str, list[int]]:
    """A text as an encoding of as many tokens as a trace has: cut, or said over and over, its special tokens in their places."""
    from atlas.engine.gradients.subject import model_of

    live, table = model_of(trace), trace.token_tables["source"]
    ids = live.encoded.inputs["input_ids"].reshape(-1).tolist()
    special = {at: ids[at] for at in np.flatnonzero(table["special"]).tolist()}
    times = 1
    while True:
        words = list(live.model.tokenizer(" ".join([text] * times), add_special_tokens=False)["input_ids"])
        if not words:
            msg = f"{text[:40]!r} has no token that {live.model.name} reads, so nothing can be taken from it. Write another text."
            raise BadIntervention(msg)
        if len(words) >= len(ids) - len(special):
            following = iter(words)
            return {"input_ids": [special[at] if at in special else next(following) for at in range(len(ids))]}
        times *= 2


def drawn_rows(count: int, check: int, seed: int) -> np.ndarray:
    """Rows to be checked, in their order."""
    return np.sort(np.random.default_rng(seed).permutation(count)[: max(0, check)])


TASKS: Mapping[str, Callable[..., Any]] = {ATTRIBUTION_PATCHING: patching_of_trace}
"""Work with the model that views may request, by name."""
