"""The attribution methods as data: what each computes, how to read it, what it costs, and for which model it exists."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from atlas.definitions import DEFINITIONS
from atlas.tracing.outcomes import CLASSIFIES_TEXT

if TYPE_CHECKING:
    from atlas.engine.model import Model

STREAM = ("hidden", "attention_output")
"""The arrays of a run that what tokens write is held against."""

ROUNDS = 224
"""Texts that integrated gradients run on most texts: rounds of 32, 64 and 128 steps."""


@dataclass(frozen=True, slots=True)
class Method:
    """One attribution method.

    Attributes
    ----------
    name
        What `attribute` calls it.
    title
        What the screen calls it.
    formula
        In plain Unicode; f is the target, x a token's vector, A a head's weights.
    reading
        What a score means, and what to beware of.
    reference
        Whose method it is.
    cost
        Its passes in words.
    passes
        Texts run through the model, from the number of tokens; a backward pass counts as two.
    signed
        Whether a score can speak against the target.
    needs
        What the model must have: 'vectors' (a table of token vectors), 'weights' (weights that gradients pass through), 'values'
        (what a head moves), 'stream' (that, and the states it is added to), 'rows' (the positions it is read from), 'zeroing'
        (values that can be set to zero in one layer).
    """

    name: str
    title: str
    formula: str
    reading: str
    reference: str
    cost: str
    passes: Callable[[int], int]
    signed: bool
    needs: tuple[str, ...] = ()

    def reason(self, model: Model) -> str:
        """Why a model cannot have this method; empty: it can."""
        return next(filter(None, (_lacks(model, need) for need in ("outcomes", *self.needs))), "")


def _lacks(model: Model, need: str) -> str:
    if need == "outcomes":
        known = model.task != "base"
        return "" if known else f"{model.name} has no output that can be read as likelier and less likely outcomes."
    if need in ("vectors", "zeroing"):
        return _without_vectors(model) if need == "vectors" else _without_zeroing(model)
    outside = f"{model.name} does not use transformers' attention interface, so its weights are only known after the run."
    if need == "rows":
        # Which positions a classifier reads is found by gradients of its weights.
        return "" if model.interface or model.task != CLASSIFIES_TEXT else outside
    if not model.interface:
        return outside
    if need in ("values", "stream") and model.group_of("output_projection") is None:
        return f"The output projection of {model.name} was not found, so the length of what a head moves is not known."
    names = STREAM if need == "stream" else ()
    return next((model.reason(name) for name in names if model.group_of(name) is None), "")


def _without_vectors(model: Model) -> str:
    from atlas.engine.gradients.subject import token_taps

    return "" if token_taps(model) else f"In {model.name} no table was found that gives out the vectors of the tokens."


def _without_zeroing(model: Model) -> str:
    from atlas.engine.gradients.zeroing import without_zeroing

    return without_zeroing(model)


def _method(name: str, cost: str, passes: Callable[[int], int], needs: tuple[str, ...]) -> Method:
    words = DEFINITIONS[name]
    signed = words.range == "any number"
    return Method(name, words.title, words.formula, words.reading, words.reference, cost, passes, signed, needs)


ONE_GRADIENT, ONE_RUN = "one forward and one backward pass", "one forward pass"

_ALL = (
    _method("saliency", ONE_GRADIENT, lambda _: 5, ("vectors",)),
    _method("input_x_gradient", ONE_GRADIENT, lambda _: 5, ("vectors",)),
    _method(
        "integrated_gradients",
        "32 forward and backward passes, doubled until the scores add up, 512 at most in one round",
        lambda _: 3 * ROUNDS,
        ("vectors",),
    ),
    _method("attention_x_gradient", ONE_GRADIENT, lambda _: 5, ("vectors", "weights")),
    _method("gradient_rollout", ONE_GRADIENT, lambda _: 5, ("vectors", "weights")),
    _method("raw_attention", ONE_RUN, lambda _: 1, ("rows",)),
    _method("rollout", ONE_RUN, lambda _: 1, ("rows",)),
    _method("contribution_rollout", "two forward passes, and about two more of arithmetic", lambda _: 4, ("rows", "stream")),
    _method("value_zeroing", "one forward pass for each token", lambda tokens: 2 * (2 * tokens + 1), ("rows", "zeroing")),
    _method("attention_flow", "one forward pass, and a maximum flow for each token", lambda _: 1, ("rows",)),
    _method("value_norms", ONE_RUN, lambda _: 1, ("rows", "values")),
    _method("occlusion", "one forward pass for each token", lambda tokens: tokens + 4, ("vectors",)),
)

METHODS: Mapping[str, Method] = MappingProxyType({method.name: method for method in _ALL})
"""Every method, by its name, gradients first."""
