"""How faithful methods are: what a model's own decision loses without the tokens that each method puts first, over many texts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from atlas.attribution.attribute import attribute_trace
from atlas.attribution.compare import may_count
from atlas.attribution.methods import METHODS
from atlas.attribution.orders import Floats, Order, area, bin_sizes, bounds, eraser, normalised
from atlas.attribution.statistics import mean_intervals, order_of
from atlas.errors import NotCaptured, UnknownName
from atlas.trace import Trace
from atlas.tracing.explained import Attribution, Target, usual_position
from atlas.tracing.faithfulness import BINS, COMPREHENSIVENESS, MASK, RANDOM, SUFFICIENCY

if TYPE_CHECKING:
    from atlas.engine.gradients.removal import Removal
    from atlas.engine.model import Model

Report = Callable[[int, int], None]
"""(methods judged over all texts, all methods times all texts)"""

DRAWS = 5
"""Random orders of a text whose mean is the score of the method 'random'."""

NORMALISED = {COMPREHENSIVENESS: "comprehensiveness_normalised", SUFFICIENCY: "sufficiency_normalised"}

LEAST = 2
"""Tokens without which there is no order to judge."""


class Judged(NamedTuple):
    """One text, judged."""

    text: int
    """Its number."""
    tokens: int
    """How many can be taken out."""
    orders: Mapping[str, Order]
    """Tokens by each method, the most important first."""
    weights: Mapping[str, Floats]
    """The scores behind them."""
    scores: Mapping[tuple[str, str], float]
    """(method, score) -> value"""
    removal: str
    """What is done with a token that is taken out."""
    of: str
    """What of the target is measured."""


def faithfulness(
    model: Model,
    texts: Iterable[Any],
    methods: Sequence[str],
    bins: Sequence[float] = BINS,
    remove: str = MASK,
    seed: int = 0,
    *,
    target: Target | None = None,
    decoders: Sequence[str | None] | None = None,
    normalise: bool = False,
    progress: Report | None = None,
) -> pd.DataFrame:
    """Comprehensiveness and sufficiency (DeYoung et al. 2020) of methods over texts: method, score, mean, lo, hi, n.

    The target is the model's own decision, the likeliest outcome, by its probability; of a model that gives one number, by that
    number. Comprehensiveness is what it loses without the tokens that a method puts first, sufficiency what it loses with
    nothing but them: a faithful method has a high one and a low one. Tokens count that are not special and that the prediction
    can see. lo and hi are the 95 % interval of the mean, by bootstrap over texts.

    Parameters
    ----------
    model
        The model, as `atlas.load` gives it.
    texts
        Texts, pairs of texts, or traces of the model. Texts of a masked language model should have a mask, which is filled then;
        without one the last word is predicted as it stands.
    methods
        Names in `METHODS`. 'random' is always among the results: the mean of five random orders.
    bins
        Shares of the tokens that are taken out or kept, rounded up to whole tokens; a score is the mean over them.
    remove
        'mask': a token's vector is replaced by that of the mask token, of padding where there is none, or by the mean vector.
        'delete': the token is left out, and what follows moves up. 'attention': no token may attend to it. The last two keep
        the token that the target is read at.
    seed
        Of the random orders and of the bootstrap.
    target
        Which decision; by default the one that the app explains: the last mask, the last word's label, the next token.
    decoders
        Texts that the decoder of an encoder-decoder reads; None: it writes them.
    normalise
        Whether two more scores are given, 'comprehensiveness_normalised' and 'sufficiency_normalised' (NAOPC, Edin et al. 2025):
        the mean over all numbers of tokens, as a share of the way from the worst to the best order of that text and model.
        Up to ten tokens all orders are compared; of longer texts the two are found by beam search, three sets wide, and better
        and worse ones may exist. It takes many more passes.
    progress
        Called with the number of methods judged and that of all, over all texts; may raise to stop.
    """
    names = [name for name in dict.fromkeys(methods) if name != RANDOM]
    check(model, names, bins)
    traces, count = _traced(model, texts, decoders)
    judged = list(judged_texts(traces, count, names, bins, remove, seed, target, normalise=normalise, progress=progress))
    table = summary(judged, [*names, RANDOM], seed)
    table.attrs = {
        "bins": tuple(bins),
        "remove": remove,
        "removal": ", ".join(sorted({each.removal for each in judged})),
        "of": ", ".join(sorted({each.of for each in judged})),
        "too_short": count - len(judged),
        "model": model.name,
    }
    return table


def check(model: Model, methods: Sequence[str], bins: Sequence[float]) -> None:
    """Refuse what cannot be worked out before anything runs."""
    for name in methods:
        if name not in METHODS:
            msg = f"There is no method {name!r}; there are {', '.join(METHODS)} and {RANDOM}."
            raise UnknownName(msg)
        reason = METHODS[name].reason(model)
        if reason:
            raise NotCaptured(reason)
    if not len(bins) or not all(0 < share <= 1 for share in bins):
        msg = f"bins= are shares of the tokens, above 0 and up to 1, not {tuple(bins)}."
        raise UnknownName(msg)


def judged_texts(
    traces: Iterable[Trace],
    count: int,
    methods: Sequence[str],
    bins: Sequence[float] = BINS,
    remove: str = MASK,
    seed: int = 0,
    target: Target | None = None,
    *,
    normalise: bool = False,
    progress: Report | None = None,
) -> Iterator[Judged]:
    """Judge every method on each of `count` traces; a text with fewer than two tokens to take out is left out."""
    done, steps = 0, count * (len(methods) + 1)

    def tell() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(min(done, steps), steps)

    for number, trace in enumerate(traces):
        removal = removal_of(trace, target or Target(usual_position(trace)), remove)
        tokens = len(removal.places)
        if tokens < LEAST:
            done += len(methods) + 1
            continue
        sizes, orders, weights = bin_sizes(bins, tokens), {}, {}
        scores: dict[tuple[str, str], float] = {}
        areas: dict[str, tuple[float, float]] = {}
        for name in methods:
            weights[name] = scores_at(trace, removal, name)
            orders[name] = order_of(weights[name])
            found = eraser(removal.values, orders[name], sizes)
            scores |= dict(zip([(name, COMPREHENSIVENESS), (name, SUFFICIENCY)], found, strict=True))
            areas[name] = _areas(removal, orders[name]) if normalise else (np.nan, np.nan)
            tell()
        drawn = random_orders(tokens, (seed, number))
        means = np.mean([eraser(removal.values, order, sizes) for order in drawn], axis=0)
        scores |= dict(zip([(RANDOM, COMPREHENSIVENESS), (RANDOM, SUFFICIENCY)], means.tolist(), strict=True))
        if normalise:
            scores |= _normalised(removal, areas, [_areas(removal, order) for order in drawn])
        tell()
        yield Judged(number, tokens, orders, weights, scores, removal.said, removal.of)


def removal_of(trace: Trace, target: Target, remove: str) -> Removal:
    """The text of a trace, ready to lose tokens: those that are not special and that the prediction can see."""
    from atlas.engine.gradients.removal import Removal
    from atlas.engine.gradients.subject import Subject

    subject = Subject(trace, target)
    places = [(side, at) for side, table in trace.token_tables.items() for at in range(len(table))]
    chosen = may_count(trace, subject.target)
    return Removal(subject, [place for place, counts in zip(places, chosen, strict=True) if counts], remove)


def scores_at(trace: Trace, removal: Removal, method: str) -> Floats:
    """The scores of a method for the tokens that can be taken out."""
    resolved = removal.subject.target
    target = Target(resolved.position if resolved.position >= 0 else -1, resolved.outcome_id, resolved.against_id)
    return at_places(attribute_trace(trace, target, method), removal)


def at_places(attribution: Attribution, removal: Removal) -> Floats:
    """The scores of an attribution for the tokens that can be taken out."""
    found = attribution.tokens
    starts = {side: int(np.flatnonzero(found["side"] == side)[0]) for side in found["side"].unique()}
    return found["score"].to_numpy(dtype=float)[[starts[side] + at for side, at in removal.places]]


def random_orders(count: int, seed: Any, draws: int = DRAWS) -> list[Order]:
    """Random orders of some tokens."""
    random = np.random.default_rng(seed)
    return [random.permutation(count) for _ in range(draws)]


def summary(judged: Sequence[Judged], methods: Sequence[str], seed: int = 0) -> pd.DataFrame:
    """The mean over texts of every method and score, with its interval; the same samples of texts for all of them."""
    scores = list(dict.fromkeys(score for each in judged for _, score in each.scores)) or [COMPREHENSIVENESS, SUFFICIENCY]
    rows = [(method, score) for method in methods for score in scores]
    values = np.array([[each.scores.get(row, np.nan) for each in judged] for row in rows]).reshape(len(rows), len(judged))
    return pd.DataFrame(rows, columns=["method", "score"]).assign(**mean_intervals(values, seed))


def _areas(removal: Removal, order: Order) -> tuple[float, float]:
    """The areas of an order and of its reverse; what an order keeps, the reverse takes out."""
    return area(removal.values, order), area(removal.values, order[::-1])


def _normalised(
    removal: Removal, areas: Mapping[str, tuple[float, float]], drawn: Sequence[tuple[float, float]]
) -> dict[tuple[str, str], float]:
    found = bounds(removal.values, len(removal.places))
    ends = [area(removal.values, order) for order in (found.highest, found.lowest)]
    table = np.array([*areas.values(), *drawn])
    shares = normalised(table.ravel(), *ends).reshape(table.shape)
    each = np.concatenate([shares[: len(areas)], shares[len(areas) :].mean(axis=0, keepdims=True)])
    return {
        (name, NORMALISED[score]): float(each[at, column])
        for at, name in enumerate([*areas, RANDOM])
        for column, score in enumerate((COMPREHENSIVENESS, SUFFICIENCY))
    }


def _traced(model: Model, texts: Iterable[Any], decoders: Sequence[str | None] | None) -> tuple[Iterator[Trace], int]:
    every: list[Any] = [texts] if isinstance(texts, Trace) else list(texts)
    if any(isinstance(each, Trace) for each in every):
        if not all(isinstance(each, Trace) for each in every) or decoders is not None:
            msg = "Give texts, or traces of them, which have their decoder texts already; not both."
            raise UnknownName(msg)
        return iter(every), len(every)
    return model.traces(every, targets=decoders, capture=("predictions",)), len(every)
