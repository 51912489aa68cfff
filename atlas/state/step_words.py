"""The steps from q and k to a weight in words: each formula with the run's own numbers in it."""

from __future__ import annotations

from typing import Any

import numpy as np

from atlas.state.lens import counted
from atlas.state.outcome_line import percent
from atlas.state.prediction_words import digits
from atlas.tracing.steps import RowSteps, Written

Array = np.ndarray

SAID_PRODUCTS = 3
"""Dimensions whose products are written out: a line has room for three."""


def columns_of(row: RowSteps) -> dict[str, Array]:
    """Title -> number of every key, for the steps that this model has."""
    found = {"q·k": row.steps["dot"]}
    if row.scaling != 1:
        found["scaled"] = row.steps["scaled"]
    if "capped" in row.steps:
        found["capped"] = row.steps["capped"]
    if "biased" in row.steps:
        found["+ bias"] = row.steps["biased"]
    return found


def steps_in_words(row: RowSteps, key: int, key_name: str, query_name: str, found: Written | None) -> dict[str, Any]:
    """One weight from its q·k to what is written for it, as a group of rows with a number and its formula each."""
    steps = {name: float(values[key]) for name, values in row.steps.items()}
    power, weight = float(row.powers[key]), float(row.weights[key])
    rows = [("q·k", digits(steps["dot"]), _sum_of_products(row.products[key]))]
    score = steps["dot"]
    if row.scaling != 1:
        rows.append(("scaled", digits(steps["scaled"]), f"q·k × scaling = {digits(score)} × {digits(row.scaling)}"))
        score = steps["scaled"]
    if "capped" in steps:
        cap = digits(row.softcap or np.nan)
        rows.append(("capped", digits(steps["capped"]), f"c × tanh(s / c) = {cap} × tanh({digits(score)} / {cap})"))
        score = steps["capped"]
    if "biased" in steps and row.bias is not None:
        rows.append(("+ bias", digits(steps["biased"]), f"s + position bias = {added(score, float(row.bias[key]))}"))
        score = steps["biased"]
    small = ", which is 0 in the precision of the run" if weight == 0 < power else ""
    sink = "" if row.sink is None else f", and e^(sink − largest) = {digits(float(np.exp(row.sink - row.top)))}"
    rows += [
        ("mask", digits(steps["masked"]), "unchanged: the query may look at this key"),
        ("exponent", digits(power), f"e^(s − largest of the row) = e^({added(score, -row.top)})"),
        ("sum", digits(row.total), f"of the exponents of {counted(len(row.visible), 'visible key')}{sink}"),
        ("weight", digits(weight), f"exponent / sum = {digits(power)} / {digits(row.total)}{small}"),
    ]
    return {
        "name": f"{query_name} → {key_name}: how its weight is computed",
        "rows": [{"label": label, "number": value, "note": note} for label, value, note in [*rows, *_mixed(row, key, found)]],
    }


def _mixed(row: RowSteps, key: int, found: Written | None) -> list[tuple[str, str, str]]:
    if row.v is None or row.mix is None:
        return []
    value, weight = float(np.linalg.norm(row.v[key])), float(row.weights[key])
    mix = float(np.linalg.norm(row.mix))
    what = "what this run put in its place" if row.replaced else f"Σ weight × v over {counted(len(row.visible), 'key')}"
    rows = [
        ("weight × v", digits(weight * value), f"weight × ‖v‖ = {digits(weight)} × {digits(value)}"),
        ("mix", digits(mix), f"‖{what}‖: what the head reads"),
    ]
    if found is not None:
        rows.append(("written", digits(found.mix), f"‖mix Wₒ‖; of this key alone ‖weight × v Wₒ‖ = {digits(found.by_key[key])}"))
    return rows


def _sum_of_products(products: Array) -> str:
    """'Σ qᵢ × kᵢ = 0.52 (dimension 3) − 0.4 (dimension 11) + 1.2 (14 others)'."""
    largest = np.argsort(-np.abs(products), kind="stable")[:SAID_PRODUCTS]
    others = len(products) - len(largest)
    parts = [(float(products[at]), f"dimension {at}") for at in largest]
    parts += [(float(np.delete(products, largest).sum()), counted(others, "other"))] if others else []
    said = [
        f"{digits(parts[0][0])} ({parts[0][1]})",
        *[f"{_sign(value)} {digits(abs(value))} ({what})" for value, what in parts[1:]],
    ]
    return f"Σ qᵢ × kᵢ = {' '.join(said)}"


def added(value: float, other: float) -> str:
    """'2 + 3', '2 − 3'."""
    return f"{digits(value)} {_sign(other)} {digits(abs(other))}"


def _sign(value: float) -> str:
    return "−" if value < 0 else "+"


def rest_in_words(weaker: int, weight: float, sink_share: float) -> str:
    """'… and 42 weaker keys with 3.1 % of the weight.', and the share of a learned sink."""
    said = f"… and {counted(weaker, 'weaker key')} with {percent(weight)} of the weight." if weaker else ""
    sink = (
        f"The sink that this head has learned takes {percent(sink_share)}: it is no token and gives nothing."
        if sink_share
        else ""
    )
    return " ".join(filter(None, [said, sink]))


def notes_of(row: RowSteps) -> list[str]:
    """What this attention shares between heads or does not have, and what was not recorded."""
    absent = [
        *(["scaling"] if row.scaling == 1 else []),
        *(["softcap"] if row.softcap is None else []),
        *(["position bias"] if row.bias is None else []),
    ]
    notes = [f"Not in this attention: {', '.join(absent)}."] if absent else []
    if len(row.group) > 1:
        notes.append(f"Heads {', '.join(f'H{head}' for head in row.group)} share these k and v (grouped keys).")
    if row.replaced:
        notes.append("This run replaced the output of this head, so its weights lead nowhere.")
    notes.append(
        "q and k are as the attention reads them: where a model rotates them by position (RoPE) or normalises them, after that. "
        "What they were before is not recorded."
    )
    return notes
