"""How a model is built, in plain values: what the diagram of a model is drawn from."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from atlas.trace import Trace

MODEL_BLUEPRINT = "model blueprint"
"""Name of the task that reads how the model of a trace is built."""

LEARNED, SINUSOIDAL, ADDED, ROTARY, RELATIVE, UNFOUND = "learned", "sinusoidal", "added", "rotary", "relative", "not found"
"""How a model knows positions."""

NOT_HERE = "the diagram is read from the model itself, and this trace was opened without it"


class Heads(NamedTuple):
    """The heads of one attention block."""

    heads: int
    key_heads: int | None
    """None where the attention is not observed."""
    width: int | None
    bias: bool | None
    """Whether the projections to queries, keys and values have a bias; None where they were not found."""
    output_bias: bool | None
    cap: float | None
    """Soft cap of the scores."""
    scale: float | None
    """By which the scores are multiplied; None where the module does not say."""


class Inner(NamedTuple):
    """The inside of one feed-forward block."""

    width: int | None
    """Number of units; None where there is no one inside, for `reason`."""
    function: str
    """Name of the activation function; empty where it was not found."""
    gated: bool | None
    reason: str


class Block(NamedTuple):
    """A block of a layer, and the norms around it, each by the kind of its arithmetic; empty: no norm there."""

    name: str
    """'attention', 'cross' or 'ffn'."""
    before: str
    inside: str
    """After the block and before the addition."""
    after: str
    """After the addition."""
    heads: Heads | None
    inner: Inner | None


class LayerPlan(NamedTuple):
    """One layer, its blocks in order."""

    blocks: tuple[Block, ...]
    parallel: bool
    """Whether attention and feed-forward read the same state and are added at once."""


class StreamPlan(NamedTuple):
    """One residual stream."""

    kind: str
    width: int
    token_width: int | None
    """Numbers of a token's vector in its table; None where the table was not found."""
    tokens: int | None
    positions: str
    n_positions: int | None
    """Rows of the table of positions; None where there is none."""
    segments: int | None
    embedding_norm: str
    layers: tuple[LayerPlan, ...]
    schema: str
    """How its layers add, in words."""
    final_norm: str


class Blueprint(NamedTuple):
    """A whole model."""

    name: str
    task: str
    streams: tuple[StreamPlan, ...]
    outcomes: int | None
    """Outcomes that the last map scores; None where the model has no such head."""
    head_width: int | None
    """Numbers that the last map reads; None where the model has no map to tokens."""
    tied: bool | None
    """Whether the last map is the table of tokens; None where the model has no map to tokens."""
    cap: float | None
    """Soft cap of the logits."""
    scale: float
    """By which the logits are multiplied, before or after the last map."""
    between: bool
    """Whether other maps than the final norm stand between the last state and the last map."""


def without_blueprint(trace: Trace) -> str:
    """Why there is no diagram of the model of a trace; empty: there is one."""
    return "" if trace.live is not None else NOT_HERE
