"""Predictions in words: bars and notes of outcomes, and the softmax of one in numbers that lead to each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from atlas.numbers import raised, three
from atlas.state.lens import counted
from atlas.state.outcome_line import percent, points
from atlas.state.words import shown_token
from atlas.tracing.predictions import SCORE, SIGMOID, Distribution


def outcome_labels(names: Sequence[str]) -> list[str]:
    """Outcomes as a reader knows them: without the space before a word, unless another outcome differs by it alone."""
    plain = [shown_token(name.removeprefix(" ") or name) for name in names]
    several = Counter(plain)
    return [
        f"␣{short}" if several[short] > 1 and name.startswith(" ") else short for name, short in zip(names, plain, strict=True)
    ]


def bars_of(found: Distribution, at: int) -> dict[str, Any]:
    """The bars of an outcome and what stands beside them."""
    before, after = float(found.probabilities()[at]), float(found.changed_probabilities()[at])
    if found.form == SCORE:
        changed = "" if found.changed_logits is None else f" → {three(found.changed_logits[at])}"
        return {"shares": [], "number": f"{three(found.logits[at])}{changed}"}
    if found.changed_logits is None:
        return {"shares": [before], "number": percent(before)}
    return {"shares": [before, after], "number": f"{percent(before)} → {percent(after)}"}


def note_of(found: Distribution, at: int, *, own: int | None, k: int) -> str:
    """The difference that switching heads off makes, and what is special about this outcome."""
    parts = []
    if found.changed_logits is not None and found.form != SCORE:
        parts.append(points(float(found.changed_probabilities()[at] - found.probabilities()[at])))
    if own is not None and found.ids[at] == own:
        parts.append("in text" + (f", #{at + 1}" if at >= k else ""))
    return ", ".join(parts)


def row_of_unlikely(found: Distribution, token: str) -> dict[str, Any]:
    """The row of the text's own token where it is not among the outcomes kept: it is less likely than all of them."""
    least = percent(found.least()).removeprefix("under ")
    return {"label": shown_token(token), "number": f"under {least}", "note": "in text"}


def masks_in_words(in_text: Sequence[int], masks: Sequence[Sequence[int]], positions: Sequence[int]) -> str:
    """What is masked where predictions are shown."""
    several = counted(len(positions), "position")
    if masks:
        return f"{several} masked {'together' if len(masks[0]) > 1 else 'one by one'}"
    if in_text:
        return f"{counted(len(in_text), 'mask')} of the text" + ("" if set(positions) == set(in_text) else f", {several} shown")
    return f"{several}, none masked: the model sees the token it predicts"


def steps_in_words(found: Distribution, at: int, place: str) -> dict[str, Any]:
    """One outcome from its logit to its probability, as a group of rows with a number and its formula each."""
    name = f"'{_name(found, at)}'"
    steps = found.steps(at)
    rows = [("Logit z", digits(steps.logit), f"what the model gives {name}")]
    if found.form == SIGMOID:
        rows += [
            ("Exponent", digits(steps.exponent), f"e^(−z) = e^{digits(steps.relative)}"),
            ("Sum", digits(steps.total), "1 + e^(−z): this label has a probability of its own"),
            ("Probability", percent(steps.probability), f"1 / {digits(steps.total)} = {digits(steps.probability)}"),
        ]
    elif found.form != SCORE:
        top = f"'{_name(found, int(found.logits.argmax()))}'"
        rows += [
            ("Relative to the largest", digits(steps.relative), f"z − {digits(steps.largest)}, the largest logit, of {top}"),
            ("Exponent", digits(steps.exponent), f"e^{digits(steps.relative)}"),
            ("Sum", digits(steps.total), f"of the exponents of all {found.n_outcomes:,} outcomes"),
            (
                "Probability",
                percent(steps.probability),
                f"{digits(steps.exponent)} / {digits(steps.total)} = {digits(steps.probability)}",
            ),
        ]
    heading = f"{place}: how {name} gets its probability" if found.form != SCORE else f"{place}: its score"
    return {"name": heading, "rows": [{"label": label, "number": number, "note": note} for label, number, note in rows]}


def _name(found: Distribution, at: int) -> str:
    return outcome_labels([str(found.names[at])])[0]


def digits(value: float) -> str:
    """Six significant digits: the next number can be worked out from this one to the three that are shown elsewhere."""
    return raised(f"{value:.6g}")
