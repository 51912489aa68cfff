"""What stands in the blocks of the diagram of a model, and the formula of each with the model's own numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from atlas.numbers import three
from atlas.tracing.blueprint import ADDED, LEARNED, RELATIVE, ROTARY, SINUSOIDAL, Block, Blueprint, Heads, Inner, StreamPlan

EMBEDDING, QUIET, NORM, QKV, ATTENTION, FFN, ADD, OUT = "embedding", "quiet", "norm", "qkv", "attention", "ffn", "add", "out"
"""What a block is; a quiet one adds nothing to the stream where it stands."""

NORM_FORMULAS = {
    "LayerNorm": "y = γ ⊙ (x − mean(x)) / √(var(x) + ε), plus β where the norm has an offset",
    "RMSNorm": "y = γ ⊙ x / √(mean(x²) + ε)",
}

POSITION_FORMULAS = {
    LEARNED: "x = E[token] + P[position], P learned",
    SINUSOIDAL: "x = E[token] + P[position], P fixed: sines and cosines of the position",
    ADDED: "x = E[token] + P(position)",
    ROTARY: "nothing is added to x; in every attention, pairs of numbers of q and k are turned by position × θᵢ",
    RELATIVE: "nothing is added to x; in every self-attention, a learned number of the distance is added to the score",
}

NAMES = {"attention": "attention", "cross": "cross-attention", "ffn": "feed-forward"}


class Node(NamedTuple):
    """One block of the diagram."""

    key: str
    """Names it in a link."""
    role: str
    text: str
    """Lines of a few letters."""
    formula: str
    track: int = 0
    """1: the second of two blocks that read the same state."""


class Row(NamedTuple):
    """One stream, from left to right."""

    kind: str
    head: tuple[Node, ...]
    """What is added up to the first state."""
    layer: tuple[Node, ...]
    tail: tuple[Node, ...]
    n_layers: int
    at: int
    """The layer that is drawn."""


def row_of(plan: StreamPlan, whole: Blueprint, layer: int) -> Row:
    """One stream of a model, with one of its layers."""
    tail = [_norm(f"{plan.kind}.final", "final\n", plan.final_norm, plan.width)] if plan.final_norm else []
    if plan is whole.streams[-1] and whole.outcomes is not None:
        tail.append(_out(whole))
    head = tuple(_head(plan))
    return Row(plan.kind, head, tuple(_layer(plan, whole, layer)), tuple(tail), len(plan.layers), layer)


def _head(plan: StreamPlan) -> Iterator[Node]:
    kind, width = plan.kind, plan.width
    if plan.tokens is None:
        yield Node(f"{kind}.tokens", EMBEDDING, f"input\n{width:,} wide", f"x: {width:,} numbers a position; no table was found")
    else:
        wider = "" if plan.token_width == width else f", then a linear map to {width:,} numbers"
        size = f"{plan.tokens:,} × {plan.token_width:,}"
        yield Node(f"{kind}.tokens", EMBEDDING, f"tokens\n{size}", f"x = E[token], E: {size}{wider}")
    size = "" if plan.n_positions is None else f"{plan.n_positions:,} × {plan.token_width or width:,}"
    added = plan.positions in (LEARNED, SINUSOIDAL, ADDED)
    formula = POSITION_FORMULAS.get(plan.positions, "how this model knows positions was not found")
    yield Node(
        f"{kind}.positions", EMBEDDING if added else QUIET, f"positions\n{size or plan.positions}",
        f"{formula}{f'; P: {size}, {plan.positions}' if size else ''}",
    )  # fmt: skip
    if plan.segments is not None:
        size = f"{plan.segments:,} × {plan.token_width or width:,}"
        yield Node(f"{kind}.segments", EMBEDDING, f"segments\n{size}", f"x = E[token] + S[segment], S: {size}")
    if plan.embedding_norm:
        yield _norm(f"{kind}.embedding_norm", "", plan.embedding_norm, plan.token_width or width)


def _layer(plan: StreamPlan, whole: Blueprint, layer: int) -> Iterator[Node]:
    found = plan.layers[layer]
    for block in found.blocks:
        track = int(found.parallel and block.name == "ffn")
        key = f"{plan.kind}.{block.name}"
        if block.before:
            yield _norm(f"{key}.before", "", block.before, plan.width, track)
        yield from _attention(key, block.name, block.heads, plan, whole) if block.heads else _ffn(key, block, plan.width, track)
        if block.inside:
            yield _norm(f"{key}.inside", "", block.inside, plan.width, track)
        if not found.parallel:
            yield Node(f"{key}.add", ADD, "+", f"x ← x + {NAMES[block.name]}")
        if block.after:
            yield _norm(f"{key}.after", "", block.after, plan.width, track)
    if found.parallel:
        yield Node(f"{plan.kind}.add", ADD, "+", "x ← x + attention + feed-forward, both from the same x")


def _norm(key: str, which: str, kind: str, width: int, track: int = 0) -> Node:
    return Node(
        key, NORM, f"{which}{kind.removesuffix('Norm')}\nnorm", f"{kind}: {NORM_FORMULAS[kind]}; {width:,} numbers", track
    )


def _attention(key: str, name: str, heads: Heads, plan: StreamPlan, whole: Blueprint) -> Iterator[Node]:
    read = "e" if name == "cross" else "x"
    source = whole.streams[0].width if name == "cross" else plan.width
    shown = "N/A" if heads.width is None else f"{heads.width:,}"
    few = heads.key_heads not in (None, heads.heads)
    lines = [
        f"{'cross ' if name == 'cross' else ''}q, k, v",
        f"{heads.heads:,} × {shown}",
        *([f"k, v: {heads.key_heads:,}"] if few else []),
    ]
    yield Node(f"{key}.qkv", QKV, "\n".join(lines), _projections(heads, read, plan.width, source))
    scale = "s · q kᵀ" if heads.scale is None else "q kᵀ" if heads.scale == 1 else f"{three(heads.scale)} · q kᵀ"
    if plan.positions == RELATIVE and name == "attention":
        scale += " + r(distance)"
    scores = scale if heads.cap is None else f"{heads.cap:g} · tanh({scale} / {heads.cap:g})"
    inside = "" if heads.width is None else f", W_o: {plan.width:,} × {heads.heads * heads.width:,}"
    bias = " + b" if heads.output_bias else ""
    formula = f"z = softmax({scores}) v in each of {heads.heads:,} heads; out = W_o [z₁ … z_n]{bias}{inside}"
    title = "cross-\nattention" if name == "cross" else "attention"
    cap = "" if heads.cap is None else f"\ncap {heads.cap:g}"
    yield Node(f"{key}.attention", ATTENTION, f"{title}{cap}\n→ {plan.width:,}", formula)


def _projections(heads: Heads, read: str, width: int, source: int) -> str:
    if heads.width is None or heads.key_heads is None:
        return f"q, k, v: {heads.heads:,} heads; this model's attention is not observed, so their width is not known"
    bias = " + b" if heads.bias else ""
    keys = heads.key_heads * heads.width
    shared = "" if heads.key_heads == heads.heads else f"; {heads.heads // heads.key_heads:,} heads of queries share one of keys"
    where = "; e: the encoder's last state" if read == "e" else ""
    return (
        f"q = W_q x{bias}, W_q: {heads.heads * heads.width:,} × {width:,}, {heads.heads:,} heads of {heads.width:,}; "
        f"k = W_k {read}{bias}, v = W_v {read}{bias}, each: {keys:,} × {source:,}, {heads.key_heads:,} heads of "
        f"{heads.width:,}{shared}{where}"
    )


def _ffn(key: str, block: Block, width: int, track: int) -> Iterator[Node]:
    inner = block.inner
    assert inner is not None
    yield Node(f"{key}.ffn", FFN, _inner_words(inner), _inner_formula(inner, width), track)


def _inner_words(inner: Inner) -> str:
    if inner.width is None:
        return "feed-\nforward"
    lines = ["feed-forward", f"{inner.width:,} units", inner.function or "function N/A", *(["gated"] if inner.gated else [])]
    return "\n".join(lines)


def _inner_formula(inner: Inner, width: int) -> str:
    if inner.width is None:
        return f"feed-forward: {inner.reason}"
    function = inner.function or "f"
    up, down = f"{inner.width:,} × {width:,}", f"{width:,} × {inner.width:,}"
    if inner.gated:
        return f"y = W_down ({function}(W_gate x) ⊙ W_up x), W_gate, W_up: {up}, W_down: {down} (biases left out)"
    unknown = "" if inner.gated is False else "; whether it is gated was not found"
    return f"y = W_2 {function}(W_1 x), W_1: {up}, W_2: {down} (biases left out){unknown}"


def _out(whole: Blueprint) -> Node:
    n = whole.outcomes or 0
    cap = "" if whole.cap is None else f", then {whole.cap:g} · tanh(logits / {whole.cap:g})"
    if whole.tied is None:
        return Node("out", OUT, f"head\n{n:,} scores", f"a head turns the state into {n:,} scores{cap}")
    tied = "the same tensor as the table of tokens" if whole.tied else "a tensor of its own"
    text = f"unembedding\n{n:,}\n{'tied' if whole.tied else 'not tied'}"
    scale = "" if whole.scale == 1 else f"{three(whole.scale)} · "
    state, other = ("f(x)", "; f: further maps of the head") if whole.between else ("x", "")
    return Node("out", OUT, text, f"logits = {scale}U {state}, U: {n:,} × {whole.head_width:,}, {tied}{cap}{other}")
