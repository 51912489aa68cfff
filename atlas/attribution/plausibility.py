"""How far an attribution marks what people marked: plausibility, which is not faithfulness, beside the same scores at random."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from atlas.attribution.attribute import attribute
from atlas.attribution.faithfulness import check
from atlas.attribution.rationales import Rationale
from atlas.attribution.statistics import Floats, mean_intervals, order_of, share_at_least
from atlas.errors import AtlasError, TextError
from atlas.tracing.explained import Attribution, Target, usual_position
from atlas.tracing.faithfulness import BINS, RANDOM

if TYPE_CHECKING:
    from atlas.engine.model import Model

Report = Callable[[int, int], None]
"""(texts done, all texts)"""

Truth = npt.NDArray[np.bool_]

AUPRC, IOU_F1, TOKEN_F1 = "auprc", "iou_f1", "token_f1"
SCORES = (AUPRC, IOU_F1, TOKEN_F1)

OVERLAP = 0.5
"""Share that two spans must have in common, of the tokens of both, to count as the same one (DeYoung et al. 2020)."""

DRAWS = 999


class Marked(NamedTuple):
    """The tokens of one text that can be marked."""

    scores: Floats
    truth: Truth
    """Which of them people marked."""
    places: npt.NDArray[np.int64]
    """Their positions in the text."""
    spans: tuple[frozenset[int], ...]
    """The tokens of each span of people, as indices of the others."""


def plausibility(
    attribution: Attribution,
    rationale: Iterable[Sequence[int]],
    *,
    k: int | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> pd.DataFrame:
    """Compare an attribution with what people marked: score, value, chance, chance_lo, chance_hi, p; one row a score.

    'auprc' is the area under precision and recall of the scores as they are. For the others the k tokens with the highest scores
    are marked: 'token_f1' is their F1 against the tokens of people, 'iou_f1' that of unbroken runs of them against the spans of
    people, where two count as one if they share at least half of the tokens of both (DeYoung et al. 2020). A token is marked by
    people where a span holds one of its characters. Tokens that speak against the target rank last. Special tokens, a second
    segment and the decoder's text do not count.

    chance is the mean of the same with the scores put on the tokens at random, chance_lo and chance_hi hold 95 % of these, and p
    is the share that reaches the value. Plausible is not faithful: a model may decide by other tokens than people do.

    Parameters
    ----------
    attribution
        By any method, of the text that the spans belong to.
    rationale
        (start, end) characters of the text, the end not included.
    k
        How many tokens are marked; by default as many as people did, which no explanation knows.
    draws, seed
        Of the random scores.
    """
    marked = marked_tokens(attribution, rationale)
    count = int(marked.truth.sum()) if k is None else min(max(1, k), len(marked.truth))
    values = scores_of(marked, count)
    random = drawn(marked, count, draws, seed)
    rows = [
        (name, values[name], found.mean(), *np.percentile(found, [2.5, 97.5]), share_at_least(values[name], found))
        for name, found in random.items()
    ]
    table = pd.DataFrame(rows, columns=["score", "value", "chance", "chance_lo", "chance_hi", "p"])
    table.attrs = {"k": count, "tokens": len(marked.truth), "marked": int(marked.truth.sum()), "method": attribution.method}
    return table


def plausibility_of_methods(
    model: Model,
    rationales: Sequence[Rationale],
    methods: Sequence[str],
    *,
    draws: int = 20,
    seed: int = 0,
    progress: Report | None = None,
) -> pd.DataFrame:
    """The same of several methods over many texts: method, score, mean, lo, hi (95 %, bootstrap over texts), n.

    k is the share of tokens that people marked in all texts, of the tokens of each text, as no text tells it of itself. The
    target is the label of the line, else the outcome that the model decides on. 'random' is among the methods, the mean of
    `draws` random scores a text. `attrs['bad']` has the lines that could not be compared, with the reason.
    """
    names = [name for name in dict.fromkeys(methods) if name != RANDOM]
    check(model, names, BINS)
    found: list[dict[str, Marked]] = []
    bad: list[tuple[int, str]] = []
    for number, each in enumerate(rationales):
        if progress is not None:
            progress(number, len(rationales))
        try:
            trace = model.trace(each.text, capture=("predictions",))
            target = Target(usual_position(trace), each.label)
            found.append({name: marked_tokens(attribute(model, trace, target, name), each.spans) for name in names})
        except AtlasError as error:
            bad.append((each.row, str(error)))
    if progress is not None:
        progress(len(rationales), len(rationales))
    firsts = [next(iter(text.values())) for text in found]
    share = sum(int(text.truth.sum()) for text in firsts) / max(1, sum(len(text.truth) for text in firsts))
    counts = [max(1, round(share * len(text.truth))) for text in firsts]
    values: dict[tuple[str, str], list[float]] = {(name, score): [] for name in (*names, RANDOM) for score in SCORES}
    for number, (text, first, k) in enumerate(zip(found, firsts, counts, strict=True)):
        for name in names:
            for score, value in scores_of(text[name], k).items():
                values[name, score].append(value)
        for score, many in drawn(first, k, draws, (seed, number)).items():
            values[RANDOM, score].append(float(many.mean()))
    table = pd.DataFrame(list(values), columns=["method", "score"])
    table = table.assign(**mean_intervals(np.array(list(values.values())).reshape(len(values), len(found)), seed))
    table.attrs = {"share": share, "texts": len(found), "bad": tuple(bad), "model": model.name}
    return table


def marked_tokens(attribution: Attribution, rationale: Iterable[Sequence[int]]) -> Marked:
    """The scores of the tokens that count, and which of them people marked."""
    table = attribution.tokens
    if "start" not in table:
        msg = "This attribution does not say where its tokens lie in the text; make it with atlas.attribution.attribute."
        raise TextError(msg)
    own = table[(table["side"] == "source") & ~table["special"].astype(bool) & (table["segment"] <= 0) & table["start"].notna()]
    start, end = (own[name].to_numpy(dtype=np.int64) for name in ("start", "end"))
    spans = [np.flatnonzero((start < last) & (end > first)) for first, last in rationale]
    truth = np.zeros(len(own), dtype=bool)
    for inside in spans:
        truth[inside] = True
    if not truth.any():
        msg = "No token of the text lies in the spans that people marked, so there is nothing to compare."
        raise TextError(msg)
    found = tuple(frozenset(inside.tolist()) for inside in spans if len(inside))
    return Marked(own["score"].to_numpy(dtype=float), truth, own["position"].to_numpy(dtype=np.int64), found)


def scores_of(marked: Marked, k: int) -> dict[str, float]:
    """All scores of a text with its k highest tokens marked."""
    order = order_of(marked.scores)
    top = order[:k]
    return {
        AUPRC: float(area_under(marked.scores, marked.truth[None])[0]),
        IOU_F1: iou_f1(runs(top, marked.places), marked.spans),
        TOKEN_F1: f1(int(marked.truth[top].sum()), len(top), int(marked.truth.sum())),
    }


def drawn(marked: Marked, k: int, draws: int, seed: int | tuple[int, int]) -> Mapping[str, Floats]:
    """The same scores put on the tokens at random."""
    random = np.random.default_rng(seed)
    orders = np.array([random.permutation(len(marked.truth)) for _ in range(draws)])
    tops = orders[:, :k]
    total = int(marked.truth.sum())
    return {
        AUPRC: area_under(np.sort(marked.scores)[::-1], marked.truth[orders]),
        IOU_F1: np.array([iou_f1(runs(top, marked.places), marked.spans) for top in tops]),
        TOKEN_F1: np.array([f1(int(marked.truth[top].sum()), k, total) for top in tops]),
    }


def area_under(scores: Floats, truth: Truth) -> Floats:
    """(row,) area under the curve of precision over recall, by trapezoids, of scores for each row of what is true."""
    order = order_of(scores)
    hits = truth[:, order].cumsum(axis=1)
    # Tokens with the same score are taken together.
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    precision = np.concatenate([np.ones((len(truth), 1)), hits[:, last] / (last + 1)], axis=1)
    recall = np.concatenate([np.zeros((len(truth), 1)), hits[:, last] / hits[:, -1:]], axis=1)
    return np.asarray(np.trapezoid(precision, recall, axis=1))


def runs(top: npt.NDArray[np.int64], places: npt.NDArray[np.int64]) -> list[frozenset[int]]:
    """Marked tokens in unbroken runs."""
    chosen = np.sort(top)
    cuts = np.flatnonzero(np.diff(places[chosen]) > 1) + 1
    return [frozenset(part.tolist()) for part in np.split(chosen, cuts)]


def iou_f1(found: Sequence[frozenset[int]], spans: Sequence[frozenset[int]]) -> float:
    """F1 of spans: two count as one that share at least half of the tokens of both."""
    same = np.array([[len(each & span) / len(each | span) >= OVERLAP for span in spans] for each in found])
    # Two halves of a span are two hits of those found, and one of those wanted.
    return _mean(float(same.any(axis=1).mean()), float(same.any(axis=0).mean()))


def f1(hits: int, found: int, wanted: int) -> float:
    """F1 of so many hits among those found and those wanted."""
    return _mean(hits / found, hits / wanted)


def _mean(precision: float, recall: float) -> float:
    """The harmonic mean; 0 where there is no hit."""
    return 2 * precision * recall / (precision + recall) if precision and recall else 0.0
