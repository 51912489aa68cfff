"""What the attention of some heads is worth for one prediction: the numbers, the rules over them, the sentence that follows."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from atlas.numbers import three
from atlas.tracing.explained import Resolved

VERDICT, VERDICT_COST, BOUNDS = "verdict", "cost of a verdict", "bounds of agreement"
"""Names of the tasks."""

ALPHA = 0.05
"""Largest p that counts as beyond chance."""

OFTEN = 0.25
"""Share of random sets of heads that agree as well, from which on the agreement is no trait of these heads."""

Numbers = Mapping[str, float]

AGREEMENT, REMOVAL, CONCLUSION, CAUTION = "agreement", "removal", "conclusion", "caution"
"""Parts of a verdict. Of each of the first three the first rule that holds fires; of the cautions all that hold."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of the verdict.

    Attributes
    ----------
    name
        Unique.
    part
        One of 'agreement', 'removal', 'conclusion' and 'caution'.
    condition
        When it holds, in words.
    words
        What it adds to the sentence; in braces stands what the numbers fill in.
    holds
        The condition.
    """

    name: str
    part: str
    condition: str
    words: str
    holds: Callable[[Numbers], bool]


class Verdict(NamedTuple):
    """One sentence, and what it follows from."""

    sentence: str
    rules: tuple[Rule, ...]
    """Those that fired."""
    numbers: Numbers
    notes: tuple[str, ...] = ()
    """Cautions, and why a number is not known."""
    target: Resolved | None = None


class Bounds(NamedTuple):
    """The agreement of some heads with a method, and between which bounds it lies."""

    numbers: Numbers
    notes: tuple[str, ...] = ()
    """Why a number is not known."""


# -- conditions ------------------------------------------------------------------------------------------------------------


def _with(name: str, sign: int) -> Callable[[Numbers], bool]:
    """Whether the attention moves with scores (sign 1) or against them (-1) beyond chance; an unknown number is neither."""
    return lambda numbers: numbers[f"{name}_p"] <= ALPHA and sign * numbers[f"{name}_rho"] > 0


_gradients, _occlusion = _with("gradients", 1), _with("occlusion", 1)


def _agrees(numbers: Numbers) -> bool:
    return _gradients(numbers) or _occlusion(numbers)


def _opposes(numbers: Numbers) -> bool:
    return _with("gradients", -1)(numbers) or _with("occlusion", -1)(numbers)


def _no_order(numbers: Numbers) -> bool:
    return math.isnan(numbers["gradients_rho"]) and math.isnan(numbers["occlusion_rho"])


def _matters(numbers: Numbers) -> bool:
    return numbers["removal_p"] <= ALPHA


def _first_of_few(numbers: Numbers) -> bool:
    lowest = 1 / (1 + numbers["sets"])
    return numbers["sets"] > 0 and lowest > ALPHA and numbers["removal_p"] <= lowest


def _always(_: Numbers) -> bool:
    return True


# -- rules -----------------------------------------------------------------------------------------------------------------

RULES: tuple[Rule, ...] = (
    Rule(
        "no order",
        AGREEMENT,
        "ρ is known neither with the gradients nor with occlusion",
        "whether the attention of {these} goes to the tokens that matter cannot be said from {tokens}",
        _no_order,
    ),
    Rule(
        "moves with both",
        AGREEMENT,
        "ρ > 0 and p ≤ 0.05 with the gradients and with occlusion",
        "the attention of {these} moves with the gradients ({gradients}) and with occlusion ({occlusion})",
        lambda numbers: _gradients(numbers) and _occlusion(numbers),
    ),
    Rule(
        "moves with the gradients",
        AGREEMENT,
        "ρ > 0 and p ≤ 0.05 with the gradients alone",
        "the attention of {these} moves with the gradients ({gradients}), though not with occlusion ({occlusion})",
        _gradients,
    ),
    Rule(
        "moves with occlusion",
        AGREEMENT,
        "ρ > 0 and p ≤ 0.05 with occlusion alone",
        "the attention of {these} moves with occlusion ({occlusion}), though not with the gradients ({gradients})",
        _occlusion,
    ),
    Rule(
        "moves against",
        AGREEMENT,
        "ρ < 0 and p ≤ 0.05 with one of them, and with none ρ > 0",
        "the attention of {these} goes to the tokens that matter less (gradients: {gradients}; occlusion: {occlusion})",
        _opposes,
    ),
    Rule(
        "order by chance",
        AGREEMENT,
        "no other rule holds",
        "the attention of {these} follows neither the gradients ({gradients}) nor occlusion ({occlusion}) more than chance does",
        _always,
    ),
    Rule(
        "nothing to compare",
        REMOVAL,
        "there are no other heads",
        "there are no other heads that could be removed instead",
        lambda numbers: not numbers["sets"],
    ),
    Rule(
        "needed",
        REMOVAL,
        "p ≤ 0.05 among random heads, and the target falls",
        "removing {them} lowers the target by {effect}, more than removing {others} changes it ({random}; p = {p})",
        lambda numbers: _matters(numbers) and numbers["effect"] > 0,
    ),
    Rule(
        "speaks against",
        REMOVAL,
        "p ≤ 0.05 among random heads, and the target rises",
        "removing {them} raises the target by {effect}, more than removing {others} changes it ({random}; p = {p})",
        _matters,
    ),
    Rule(
        "first of few",
        REMOVAL,
        "more than each random set, of which there are fewer than 19",
        "removing {them} changes the prediction more than removing any other {sets}, which are too few for a p under 0.05 "
        "(p = {p})",
        _first_of_few,
    ),
    Rule(
        "not needed",
        REMOVAL,
        "no other rule holds",
        "removing {them} changes the prediction no more than removing {others} (p = {p})",
        _always,
    ),
    Rule(
        "part of the reason",
        CONCLUSION,
        "moves with scores, and is needed",
        "what {they} to can be read as part of the reason",
        lambda numbers: _agrees(numbers) and _matters(numbers) and numbers["effect"] > 0,
    ),
    Rule(
        "reason against",
        CONCLUSION,
        "moves with scores, and speaks against the target",
        "what {they} to can be read as part of what speaks against this outcome",
        lambda numbers: _agrees(numbers) and _matters(numbers),
    ),
    Rule(
        "a sign",
        CONCLUSION,
        "moves with scores, and is the first of few",
        "a sign that what {they} to is part of the reason, no proof",
        lambda numbers: _agrees(numbers) and _first_of_few(numbers),
    ),
    Rule(
        "needed for something else",
        CONCLUSION,
        "does not move with scores, and is needed, speaks against the target, or is the first of few",
        "where {they} does not say why",
        lambda numbers: not _agrees(numbers) and (_matters(numbers) or _first_of_few(numbers)),
    ),
    Rule(
        "not the reason",
        CONCLUSION,
        "moves with scores or against them, and is not needed or cannot be compared",
        "do not read it as the reason",
        lambda numbers: _agrees(numbers) or _opposes(numbers),
    ),
    Rule(
        "chance",
        CONCLUSION,
        "follows scores by chance, and is not needed",
        "both are what chance gives, so read no reason into it",
        lambda numbers: not _no_order(numbers) and numbers["sets"] > 0,
    ),
    Rule(
        "not shown",
        CONCLUSION,
        "no other rule holds",
        "nothing shows that it is the reason",
        _always,
    ),
    Rule(
        "low ceiling",
        CAUTION,
        "p > 0.05 between two gradient methods",
        "Two gradient methods do not agree with each other beyond chance ({ceiling}), so which tokens matter is not known.",
        lambda numbers: not numbers["ceiling_p"] <= ALPHA,
    ),
    Rule(
        "high floor",
        CAUTION,
        "moves with scores, and so do random heads: at least one set in four as much",
        "Of random sets of heads {floor_share} agree with the scores as much (mean {floor}), so the agreement is no trait of "
        "{these}.",
        lambda numbers: _agrees(numbers) and numbers["floor_p"] >= OFTEN,
    ),
    Rule(
        "other layers",
        CAUTION,
        "the same layers have fewer than 19 other sets of as many heads",
        "The same layers have too few other heads, so random heads of any layer of this kind stand in.",
        lambda numbers: numbers["sets"] > 0 and not numbers["same_layers"],
    ),
)
"""Every rule, in the order in which they are tried."""

_BOTH_WAYS = frozenset({
    ("moves with both", "needed"), ("moves with the gradients", "needed"), ("moves with occlusion", "needed"),
    ("order by chance", "not needed"), ("moves against", "not needed"), ("no order", "not needed"),
    ("order by chance", "nothing to compare"), ("moves against", "nothing to compare"), ("no order", "nothing to compare"),
})  # fmt: skip
"""Rules of agreement and removal that point the same way: joined by 'and', all others by 'but'."""


def judge(numbers: Numbers, target: Resolved | None = None, notes: tuple[str, ...] = ()) -> Verdict:
    """The sentence that follows from the numbers."""
    fired = [
        next(rule for rule in RULES if rule.part == part and rule.holds(numbers)) for part in (AGREEMENT, REMOVAL, CONCLUSION)
    ]
    cautions = [rule for rule in RULES if rule.part == CAUTION and rule.holds(numbers)]
    said = _in_words(numbers)
    agreement, removal, conclusion = (rule.words.format(**said) for rule in fired)
    joined = "and" if (fired[0].name, fired[1].name) in _BOTH_WAYS else "but"
    sentence = f"{agreement[0].upper()}{agreement[1:]}, {joined} {removal}: {conclusion}."
    warned = tuple(rule.words.format(**said) for rule in cautions)
    return Verdict(sentence, (*fired, *cautions), MappingProxyType(dict(numbers)), (*warned, *notes), target)


# -- in words --------------------------------------------------------------------------------------------------------------


def _in_words(numbers: Numbers) -> dict[str, str]:
    count, sets = int(numbers["heads"]), int(numbers["sets"])
    alone = count == 1
    layers = ("the same layer" if numbers["layers"] == 1 else "the same layers") if numbers["same_layers"] else "any layer"
    return {
        "these": "this head" if alone else f"these {count:,} heads",
        "them": "it" if alone else "them",
        "they": "it attends" if alone else "they attend",
        "others": f"a random head of {layers}" if alone else f"as many random heads of {layers}",
        "sets": f"of {sets:,} heads" if alone else f"of {sets:,} sets of as many heads",
        "tokens": f"{int(numbers['n']):,} tokens",
        "gradients": correlation(numbers, "gradients"),
        "occlusion": correlation(numbers, "occlusion"),
        "ceiling": correlation(numbers, "ceiling"),
        "floor": f"ρ = {two(numbers['floor_rho'])}",
        "floor_share": f"{100 * numbers['floor_p']:.0f} %" if math.isfinite(numbers["floor_p"]) else "N/A",
        "effect": three(abs(numbers["effect"])),
        "random": f"by {three(numbers['random_effect'])} in the median",
        "p": p_words(numbers["removal_p"]),
    }


def correlation(numbers: Numbers, name: str) -> str:
    """'ρ = 0.61, 95 % 0.31 to 0.80, chance ±0.35', as far as it is known."""
    rho = numbers[f"{name}_rho"]
    if math.isnan(rho):
        return "ρ not known"
    low, high, chance = (numbers.get(f"{name}_{end}", math.nan) for end in ("lo", "hi", "chance"))
    parts = [f"ρ = {two(rho)}"]
    if math.isfinite(low) and math.isfinite(high):
        parts.append(f"95 % {two(low)} to {two(high)}")
    if math.isfinite(chance):
        parts.append(f"chance ±{two(chance)}")
    return ", ".join(parts)


def p_words(p: float) -> str:
    """A p of permutations, which is never 0."""
    return f"{p:.2g}" if math.isfinite(p) else "N/A"


def two(value: float) -> str:
    """Two decimals, as correlations are written."""
    return f"{value:.2f}".replace("-", "−") if math.isfinite(value) else "N/A"


def rho_words(rho: float, low: float, high: float) -> str:
    """A correlation and, where it has one, its interval."""
    return f"{two(rho)} ({two(low)} to {two(high)})" if math.isfinite(low) else two(rho)
