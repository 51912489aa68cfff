"""One decision attributed to the tokens of both sides of a comparison, and both held together word by word."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from atlas.attribution.compare import Tell, kept_attribution, may_count
from atlas.attribution.methods import METHODS
from atlas.attribution.statistics import spearman
from atlas.errors import AtlasError, NotCaptured, UnknownName
from atlas.tracing.explained import Attribution, Resolved, Target, usual_position, without_model
from atlas.tracing.two_attributions import METHODS_OF_BOTH, OWN, SAME, TWO_ATTRIBUTIONS, TwoAttributions, aligned_words
from atlas.tracing.two_predictions import counterpart, without_both

if TYPE_CHECKING:
    import pandas as pd

    from atlas.trace import Trace
    from atlas.tracing.two_traces import TwoTraces

NO_PLACE = "Nothing on side B stands for the place that is explained on side A"
OWN_INSTEAD = "so what side B predicts by itself is explained there"


def two_attributions(
    two: TwoTraces, target: Target, method: str, explains: str = SAME, tell: Tell | None = None
) -> TwoAttributions:
    """The attribution of a target on side A, that of its counterpart on side B, and how far the two are alike.

    `explains` is `SAME` for the outcome of A on both sides, `OWN` for the likeliest of B at the same place. Where B has no such
    place, or not this outcome, what it predicts by itself is explained, and `instead` says why.
    """
    reason = without_model(two.b)
    if reason:
        msg = f"Side B cannot be explained: {reason}"
        raise NotCaptured(msg)
    first = kept_attribution(two.a, target, method, _told(tell, "A"))
    try:
        wanted, instead = target_beside(two, first.target, explains)
        second = kept_attribution(two.b, wanted, method, _told(tell, "B"))
    except AtlasError as error:
        msg = f"Side B: {error}"
        raise type(error)(msg) from error
    table = side_by_side(two, first, second)
    left_out = _left_out(two.a, first), _left_out(two.b, second)
    made = TwoAttributions(first, second, table, instead, left_out=left_out)
    together = table[table["compared"]]
    if not len(together):
        return made
    rank = spearman(together["a"].to_numpy(dtype=float)[None], together["b"].to_numpy(dtype=float))
    rho, low, high, p = (float(value[0]) for value in rank)
    return made._replace(rho=rho, lo=low, hi=high, p=p, n=len(together))


def target_beside(two: TwoTraces, resolved: Resolved, explains: str = SAME) -> tuple[Target, str]:
    """What is explained on B where A explains `resolved`, and why that is not the same decision (empty: it is)."""
    reason = without_both(two)
    at = None if reason else counterpart(two, resolved.position)
    if at is None:
        return Target(usual_position(two.b), of=resolved.of), f"{(reason or NO_PLACE).rstrip('.')}, {OWN_INSTEAD}."
    own = Target(at, of=resolved.of)
    if explains == OWN:
        return own, ""
    try:
        outcome = _named_beside(two, at, resolved.outcome)
        against = _named_beside(two, at, resolved.against) if resolved.against_id is not None else None
    except UnknownName as error:
        return own, f"{error}, {OWN_INSTEAD}."
    return Target(at, outcome, against, resolved.of), ""


def side_by_side(two: TwoTraces, first: Attribution, second: Attribution) -> pd.DataFrame:
    """Both attributions word by word, as `TwoAttributions.table` has them."""
    table = aligned_words(two)
    for name, trace, attribution in (("a", two.a, first), ("b", two.b, second)):
        counts = _by_side(trace, may_count(trace, attribution.target))
        scores = {side: attribution.side(side) for side in trace.token_tables}
        rows = list(zip(table["side"], map(list, table[f"tokens_{name}"]), strict=True))
        raw = np.array([scores[side][at].sum() if at else np.nan for side, at in rows], dtype=float)
        kept = np.array([bool(at) and bool(counts[side][at].any()) for side, at in rows], dtype=bool)
        whole = float(np.abs(raw[kept]).sum())
        table[f"raw_{name}"] = raw
        table[name] = np.where(kept, raw, np.nan) / (whole if whole > 0 else np.nan)
    table["difference"] = table["b"] - table["a"]
    table["compared"] = table["difference"].notna()
    return table


def methods_of_both(two: TwoTraces) -> Mapping[str, str]:
    """Method -> why a side cannot run it, for those that one of them cannot."""
    from atlas.engine.gradients.subject import model_of

    models = [(which, model_of(trace).model) for which, trace in (("A", two.a), ("B", two.b))]
    reasons = [(name, which, method.reason(model)) for name, method in METHODS.items() for which, model in reversed(models)]
    return {name: f"Side {which}: {reason}" for name, which, reason in reasons if reason}


def _named_beside(two: TwoTraces, at: int, outcome: str) -> str:
    """What B calls an outcome of A. Some vocabularies have the space before a word and others have not: the likelier counts."""
    from atlas.engine.gradients.subject import Subject

    if two.a.provenance.get("model") == two.b.provenance.get("model"):
        return outcome
    plain = outcome.strip() or outcome
    probable: dict[str, float] = {}
    for name in (plain, f" {plain}"):
        with suppress(UnknownName):
            found = Subject(two.b, Target(at, name)).target
            probable[found.outcome] = found.probability
    if not probable:
        msg = f"Side B has no outcome '{plain}'"
        raise UnknownName(msg)
    return max(probable, key=lambda name: np.nan_to_num(probable[name]))


def _by_side(trace: Trace, values: np.ndarray) -> dict[str, np.ndarray]:
    """Numbers of the tokens of all sides, each side by itself."""
    sizes = [len(table) for table in trace.token_tables.values()]
    return dict(zip(trace.token_tables, np.split(values, np.cumsum(sizes)[:-1]), strict=True))


def _left_out(trace: Trace, attribution: Attribution) -> float:
    """The share of all magnitudes that special tokens hold."""
    scores = np.abs(np.concatenate([attribution.side(side) for side in trace.token_tables]))
    special = np.concatenate([table["special"].to_numpy(dtype=bool) for table in trace.token_tables.values()])
    return float(scores[special].sum() / scores.sum()) if scores.sum() > 0 else 0.0


def _told(tell: Tell | None, side: str) -> Tell | None:
    return None if tell is None else lambda what, share: tell(f"{what}, side {side}", share)


TASKS: Mapping[str, Callable[..., Any]] = {TWO_ATTRIBUTIONS: two_attributions, METHODS_OF_BOTH: methods_of_both}
"""Work with the models that views may request, by name."""
