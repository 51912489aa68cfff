"""Counterfactuals and their numbers as rows with names, bars and notes."""

from __future__ import annotations

from typing import Any

import numpy as np

from atlas.numbers import listed, three
from atlas.state.detection import TITLES
from atlas.state.outcome_line import percent
from atlas.state.prediction_words import outcome_labels
from atlas.tracing.counterfactual import Comparison, Counterfactual, Detections, Outcome

MOST_SWAPS = 3
"""Swaps in the name of a counterfactual; its text shows all of them."""

MOST_WORDS = 8
"""Words of a detector on screen: those whose probability changed most."""


def swapped(found: Counterfactual) -> str:
    """'she → he, her → his', each swap once."""
    named: dict[str, str] = {}
    for swap in found.swaps:
        named.setdefault(f"{swap.old} {swap.new}".lower(), f"{swap.old} → {swap.new or 'nothing'}")
    return listed(list(named.values()), MOST_SWAPS)


def with_marks(found: Counterfactual) -> str:
    """The new text with what changed in angle quotes."""
    parts, end = [], 0
    for start, stop in found.changed:
        parts += [found.text[end:start], f"«{found.text[start:stop]}»"]
        end = stop
    return "".join([*parts, found.text[end:]])


def number_groups(compared: Comparison, flags: Detections) -> list[dict[str, Any]]:
    """The numbers of both texts beside each other."""
    groups = []
    if compared.predictions:
        labels = outcome_labels([each.name for each in compared.predictions])
        rows = [_shares(each, label) for each, label in zip(compared.predictions, labels, strict=True)]
        groups.append({"name": f"Prediction: {compared.place}", "rows": rows})
    logs = list(map(_logs, compared.likelihood)) or [{"label": "N/A"}]
    # Why there is none stands in the heading too: beside a row it would take the room of all bars.
    groups.append({"name": "Log-likelihood", "note": compared.likelihood_note, "rows": logs})
    counts = [
        {"label": TITLES.get(each.name, each.name), "number": f"{each.old:.0f} → {each.new:.0f}", "note": "words flagged"}
        for each in flags.flagged
    ]
    groups.append({"name": f"Flagged by {compared.labels[0].detector}", "rows": counts})
    if flags.words:
        groups.append({"name": "Words whose label changes most", "rows": _words(flags.words)})
    return groups


def _shares(each: Outcome, label: str) -> dict[str, Any]:
    return {"label": label, "shares": [each.old, each.new], "number": f"{_share(each.old)} → {_share(each.new)}"}


def _share(value: float) -> str:
    return percent(value) if np.isfinite(value) else "N/A"


def _logs(each: Outcome) -> dict[str, Any]:
    change = each.new - each.old
    sign = "+" if change > 0 else ""
    return {"label": each.name, "number": f"{three(each.old)} → {three(each.new)}", "note": f"{sign}{three(change)}"}


def _words(words: tuple[Outcome, ...]) -> list[dict[str, Any]]:
    def change(each: Outcome) -> float:
        return abs(float(np.nan_to_num(each.new)) - float(np.nan_to_num(each.old)))

    most = sorted(words, key=change, reverse=True)[:MOST_WORDS]
    return [_shares(each, each.name) | {"note": TITLES.get(each.note, each.note)} for each in most]
