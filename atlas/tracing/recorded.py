"""Attention somebody recorded elsewhere, as a Trace: checked first, since a wrong matrix looks as convincing as a right one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from atlas.errors import BadAttention
from atlas.ids import KINDS, WORD_MARKS
from atlas.metrics.plan import visible_cells
from atlas.trace import Trace
from atlas.tracing.plans import side_of
from atlas.tracing.record import NO_MASK, Attention, Layer, simplified
from atlas.tracing.statistics import statistics_of, thumbnails_of

ROW_SUM_TOLERANCE = 2e-3
"""How far a row's sum may be from 1: attention stored with three or four decimals is off by this much at 100 tokens."""

EXACT_ROW = 1e-5
"""Rows nearer to 1 than this are left as they are."""

AXES = 4

SPECIAL = frozenset({"[CLS]", "[SEP]", "[PAD]", "[MASK]", "<s>", "</s>", "<pad>", "<mask>", "<cls>", "<sep>",
                     "<|endoftext|>", "<bos>", "<eos>", "<|begin_of_text|>", "<|end_of_text|>"})  # fmt: skip
"""Tokens that stand for no text in the vocabularies recordings come from; the caller can say otherwise. Not the unknown token: it
stands for a word, here as in a live trace."""


def from_attention(
    weights: Any,
    tokens: Sequence[str] | Mapping[str, Sequence[str]],
    kind: str = "encoder",
    key_tokens: Sequence[str] | None = None,
    mask: Any = None,
    *,
    special: Sequence[str] | None = None,
) -> Trace:
    """Make a trace of recorded weights.

    Parameters
    ----------
    weights
        (layer, head, query, key), or a sequence of (head, query, key) or (1, head, query, key), one a layer (what
        transformers returns); or a mapping of kind to such for an encoder-decoder.
    tokens
        The tokens of the queries; for a mapping of weights, {'source': ..., 'target': ...}.
    kind
        'encoder', 'decoder' or 'cross', where `weights` is one array.
    key_tokens
        The tokens of the keys, where they are others (cross-attention).
    mask
        (query, key), True where a query may look. Left out: NaN cells are masked, and a decoder's future is.
    special
        Tokens that stand for no text; left out, the well-known ones.

    Returns
    -------
    Trace
        With weights only: no q and k, so no scores. Rows within 2e-3 of 1 are rescaled, and the provenance says so.
    """
    known = SPECIAL if special is None else frozenset(special)
    if isinstance(weights, Mapping):
        if not isinstance(tokens, Mapping):
            msg = "With several kinds of attention give the tokens as {'source': [...], 'target': [...]}."
            raise BadAttention(msg)
        if key_tokens is not None or not (mask is None or isinstance(mask, Mapping)):
            msg = "With several kinds of attention there is no key_tokens=, and mask= is {kind: mask}."
            raise BadAttention(msg)
        return _several(weights, tokens, mask or {}, known)
    if isinstance(tokens, Mapping):
        msg = "For one kind of attention give the tokens as a sequence, and key_tokens where the keys are others."
        raise BadAttention(msg)
    _check_kind(kind)
    if (kind == "cross") != (key_tokens is not None):
        msg = "Cross-attention needs key_tokens=, the tokens that are attended to; the other kinds have one list of tokens."
        raise BadAttention(msg)
    if key_tokens is None:
        return _trace({kind: (weights, mask)}, {"source": tokens}, known)
    return _trace({kind: (weights, mask)}, {"source": key_tokens, "target": tokens}, known)


def _several(
    weights: Mapping[str, Any], tokens: Mapping[str, Sequence[str]], masks: Mapping[str, Any], special: frozenset[str]
) -> Trace:
    for kind in (*weights, *masks):
        _check_kind(kind)
    # A decoder alone reads the one text there is; beside an encoder it reads the target.
    needed = {"source"} if set(weights) in ({"encoder"}, {"decoder"}) else {"source", "target"}
    if not weights or not needed <= set(tokens) <= {"source", "target"}:
        wanted, kinds = " and ".join(sorted(needed)), ", ".join(weights) or "no kind"
        msg = f"The tokens of {wanted} are needed for {kinds}; given: {', '.join(tokens)}."
        raise BadAttention(msg)
    return _trace({kind: (array, masks.get(kind)) for kind, array in weights.items()}, tokens, special)


def _check_kind(kind: str) -> None:
    if not isinstance(kind, str) or kind not in KINDS:
        msg = f"{kind!r} is no kind of attention; use one of {', '.join(KINDS)}."
        raise BadAttention(msg)


def _trace(given: Mapping[str, tuple[Any, Any]], tokens: Mapping[str, Sequence[str]], special: frozenset[str]) -> Trace:
    tables = {side: _table(names, special) for side, names in tokens.items()}
    notes: list[str] = []
    attentions = {}
    for kind, (weights, mask) in given.items():
        attentions[kind] = _attention(kind, weights, mask, tables, notes)
    provenance = {"model": None, "source": "recorded attention", "notes": notes, "lacks": "queries, keys, values and scores"}
    return Trace(attentions=attentions, token_tables=tables, provenance=provenance)


def _table(names: Any, special: frozenset[str]) -> pd.DataFrame:
    names = list(names) if isinstance(names, Iterable) and not isinstance(names, str) else [None]
    if not all(isinstance(name, str) for name in names):
        msg = "Tokens are a sequence of strings, one a position."
        raise BadAttention(msg)
    # Recordings rarely carry ids; equal strings are equal tokens, which is all that the repetition scores need.
    numbers = {name: i for i, name in enumerate(dict.fromkeys(names))}
    marks = [name in special for name in names]
    table = pd.DataFrame({"token": [shown(name) for name in names], "piece": list(names), "id": [numbers[n] for n in names],
                          "special": marks})  # fmt: skip
    table.index.name = "position"
    return table


def shown(piece: str) -> str:
    """A vocabulary piece as a person reads it, without the marks of its tokenizer."""
    plain = piece.removeprefix("##").removesuffix("</w>").lstrip(f"{WORD_MARKS} ")
    return plain or piece


def _attention(kind: str, weights: Any, mask: Any, tables: Mapping[str, pd.DataFrame], notes: list[str]) -> Attention:
    array = _stacked(weights, kind)
    expected = len(tables[side_of(kind, "query", tables)]), len(tables[side_of(kind, "key", tables)])
    if array.shape[2:] != expected:
        msg = (
            f"The {kind} weights are {array.shape[2]} x {array.shape[3]} (query x key), but there are {expected[0]} query "
            f"and {expected[1]} key tokens."
        )
        raise BadAttention(msg)
    visible = _visible(array, mask, kind)
    array = _checked_rows(array, visible, kind, notes)
    the_mask = NO_MASK if visible is None else simplified(visible)
    layers = tuple(Layer(n_heads=array.shape[1], mask=the_mask, weights=layer) for layer in array)
    bare = Attention(kind, array.shape[1], *expected, layers=layers)
    stats = statistics_of(bare, tables)
    return Attention(kind, array.shape[1], *expected, layers=layers, stats=stats, small={"maximum": thumbnails_of(bare)})


def _stacked(weights: Any, kind: str) -> np.ndarray:
    if isinstance(weights, list | tuple):
        parts = [_plain(part) for part in weights]
        parts = [part[0] if part.ndim == AXES and len(part) == 1 else part for part in parts]
        if len({part.shape for part in parts}) > 1:
            msg = f"The layers of the {kind} weights differ in shape: {sorted({part.shape for part in parts})}."
            raise BadAttention(msg)
        array = np.stack(parts) if parts else np.empty(0, dtype=np.float32)
    else:
        array = _plain(weights)
    if array.ndim != AXES or 0 in array.shape:
        msg = f"Attention weights have the axes (layer, head, query, key); these have shape {array.shape}."
        raise BadAttention(msg)
    return np.ascontiguousarray(array, dtype=np.float32)


def _plain(values: Any) -> np.ndarray:
    """An array of numbers from an array, nested lists, or a tensor that may carry a gradient."""
    try:
        array = np.asarray(values.detach().float().cpu() if hasattr(values, "detach") else values)
    except ValueError as error:
        msg = f"These weights are no rectangular array of numbers: {error}."
        raise BadAttention(msg) from error
    if not (np.issubdtype(array.dtype, np.floating) or np.issubdtype(array.dtype, np.integer)):
        msg = f"Attention weights are numbers; these are of type {array.dtype}."
        raise BadAttention(msg)
    return array


def _visible(array: np.ndarray, mask: Any, kind: str) -> np.ndarray | None:
    shape = array.shape[2:]
    if mask is not None:
        visible = _mask_array(mask)
        if visible.shape != shape or visible.dtype != bool:
            is_ = f"it is {visible.dtype} {visible.shape}"
            msg = f"The mask has to be boolean with shape {shape} (True where a query may look); {is_}."
            raise BadAttention(msg)
        return visible
    if kind == "decoder" and not np.isnan(array).any():
        visible = np.tri(*shape, dtype=bool)
        if (array[..., ~visible] > EXACT_ROW).any():
            msg = "This decoder attends to later tokens. Give mask= if that is meant, or kind='encoder'."
            raise BadAttention(msg)
        return visible
    return visible_cells(array)


def _mask_array(mask: Any) -> np.ndarray:
    try:
        return np.asarray(mask.cpu() if hasattr(mask, "cpu") else mask)
    except ValueError as error:
        msg = f"The mask is no rectangular array: {error}."
        raise BadAttention(msg) from error


def _checked_rows(array: np.ndarray, visible: np.ndarray | None, kind: str, notes: list[str]) -> np.ndarray:
    seen = array if visible is None else array[..., visible]
    if not np.isfinite(seen).all():
        msg = (
            f"The {kind} weights have NaN or infinite cells that no mask explains. NaN is allowed where a query may not look in "
            "any head."
        )
        raise BadAttention(msg)
    if (seen < 0).any() or (seen > 1 + ROW_SUM_TOLERANCE).any():
        lowest, highest = seen.min(), seen.max()
        msg = f"The {kind} weights lie between {lowest:.3g} and {highest:.3g}; attention lies between 0 and 1. Are these scores?"
        raise BadAttention(msg)
    clean = array if visible is None else np.where(visible, array, np.float32(0.0))
    sums = clean.sum(axis=-1, dtype=np.float64)
    # A row that sees nothing has no sum to check.
    off = np.abs(sums - 1) * (True if visible is None else visible.any(axis=1))
    if off.max(initial=0.0) > ROW_SUM_TOLERANCE:
        worst = tuple(int(i) for i in np.unravel_index(off.argmax(), off.shape))
        msg = (
            f"Row {worst[2]} of {kind} L{worst[0]} H{worst[1]} sums to {sums[worst]:.4f}; rows of attention sum to 1 "
            f"(within {ROW_SUM_TOLERANCE}). Give mask= for padding, or normalise the rows."
        )
        raise BadAttention(msg)
    if off.max(initial=0.0) <= EXACT_ROW:
        # A trace does not change when the array it was made from does.
        return clean.copy() if clean is array else clean
    notes.append(f"{kind}: rows summed to 1 within {off.max():.1e} and were rescaled to 1")
    return (clean / np.where(sums > 0, sums, 1)[..., None]).astype(np.float32)
