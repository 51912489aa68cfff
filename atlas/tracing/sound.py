"""Whether what was read from a file is a trace: arrays that fit each other, texts that are texts, attention that is attention.

What is not would else fail later, inside a view, in words that say nothing about the file.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from atlas.errors import BadTraceFile, UnknownName
from atlas.trace import Texts, Trace
from atlas.tracing.outcomes import Predictions
from atlas.tracing.record import Attention, Layer

if TYPE_CHECKING:
    import pandas as pd

STATISTICS = ("entropy", "maximum", "mass", "square_sum", "below_uniform", "special", "received", "received_informative")
"""Reductions that every pass makes, and that the metrics are made of."""

PER_KEY = ("received", "received_informative", "value_norm")

COLUMNS: Mapping[str, str] = {"token": "str", "piece": "str", "id": "int64", "special": "bool"}
"""Columns of every token table, and their types."""

OPTIONAL: Mapping[str, str] = {"start": "Int64", "end": "Int64", "segment": "int64", "word": "int64"}

DTYPES = frozenset({"str", "string", "object", "bool", "boolean", "int64", "Int64", "float64", "Float64", "float32"})
"""Types of columns that tables are written with."""

ROUNDING = 1e-2
"""How far beyond 0 and 1 a weight may be: half precision rounds."""

WORDS = ("model", "source", "revision", "class", "task", "dtype", "device", "keep", "lacks", "made")
"""Parts of a provenance that are texts, where they are there."""


def check_trace(trace: Trace) -> None:
    """Raise BadTraceFile, without the name of the file, for what is no trace."""
    _require(bool(trace.attentions), "it holds no attention")
    _check_texts(trace.texts)
    _check_provenance(trace.provenance)
    for side, table in trace.token_tables.items():
        _require(side in {"source", "target"}, f"it has tokens of {side!r}")
        _check_table(table, side)
    _require("source" in trace.token_tables, "it has no tokens")
    for kind, attention in trace.attentions.items():
        try:
            sizes = {axis: len(trace.tokens(trace.side(kind, axis))) for axis in ("query", "key")}
        except (UnknownName, KeyError) as error:
            msg = f"the tokens of its {kind} attention are missing"
            raise BadTraceFile(msg) from error
        _check_attention(attention, sizes["query"], sizes["key"])
    for name, places in trace.arrays.items():
        _require(all(array.dtype.kind in "fiub" for array in places.values()), f"its {name} are no numbers")
    if trace.outcomes is not None:
        _check_outcomes(trace.outcomes)


def _require(condition: bool, problem: str) -> None:  # noqa: FBT001  (the condition, as an assertion has one)
    if not condition:
        raise BadTraceFile(problem)


# -- words ---------------------------------------------------------------------------------------------------------------


def check_words(value: Any, what: str) -> None:
    """Refuse text that cannot be shown or saved again: half of a surrogate pair."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        msg = f"{what} has half of a letter (U+{ord(error.object[error.start]):04X})"
        raise BadTraceFile(msg) from error


def _check_texts(texts: Texts) -> None:
    for text in (texts.text, texts.pair, texts.target):
        _require(text is None or isinstance(text, str), "one of its texts is no text")


def _check_provenance(provenance: Mapping[str, Any]) -> None:
    odd = [name for name in WORDS if not isinstance(provenance.get(name), str | None)]
    _require(not odd, f"its {', '.join(odd)} is no text")
    notes = provenance.get("notes", [])
    _require(isinstance(notes, list) and all(isinstance(note, str) for note in notes), "its notes are no texts")
    tables = [provenance.get(name, {}) for name in ("versions", "changed", "thresholds")]
    _require(all(isinstance(table, dict) for table in tables), "its origin is unclear")
    cut = provenance.get("tokens_cut", 0)
    _require(type(cut) is int and cut >= 0, "the number of tokens cut is none")


def _check_table(table: pd.DataFrame, side: str) -> None:
    known = {**COLUMNS, **{name: dtype for name, dtype in OPTIONAL.items() if name in table}}
    wrong = [name for name, dtype in known.items() if not (name in table and _is_column(table[name], dtype))]
    _require(not wrong, f"the column {wrong[0] if wrong else ''!r} of its {side} tokens is missing or of another type")
    _require(list(table.index) == list(range(len(table))), f"its {side} tokens are not numbered")


def _is_column(column: pd.Series, dtype: str) -> bool:
    """Whether a column has a type; texts may be held in several ways."""
    return all(isinstance(word, str) for word in column) if dtype == "str" else str(column.dtype) == dtype


# -- numbers -------------------------------------------------------------------------------------------------------------


def _check_attention(attention: Attention, n_queries: int, n_keys: int) -> None:
    kind = attention.kind
    _require((attention.n_queries, attention.n_keys) == (n_queries, n_keys), f"its {kind} attention is of other tokens")
    _require(attention.n_heads > 0 and len(attention.layers) > 0, f"its {kind} attention has no heads")
    for number, layer in enumerate(attention.layers):
        _check_layer(layer, n_queries, n_keys, f"layer {number} of its {kind} attention")
    per_layer = (len(attention.layers), attention.n_heads)
    missing = [name for name in STATISTICS if name not in attention.stats] if attention.stats else []
    _require(not missing, f"its {kind} attention lacks the statistic {missing[0] if missing else ''!r}")
    for name, values in attention.stats.items():
        shape = (*per_layer, n_keys if name in PER_KEY else n_queries)
        right = values.shape == shape and values.dtype.kind == "f"
        _require(right, f"the statistic {name!r} of its {kind} attention has another shape")
    small = attention.thumbnails
    _require(
        small is None or (small.ndim == 4 and small.shape[:2] == per_layer),
        f"the small pictures of its {kind} attention have another shape",
    )


def _check_layer(layer: Layer, n_queries: int, n_keys: int, what: str) -> None:
    heads = layer.n_heads
    _require(layer.weights is not None or layer.has_ingredients, f"{what} has neither weights nor queries and keys")
    _require(_is_number(layer.scaling) and _is_number(layer.softcap), f"{what} is scaled by no number")
    cells = {"weights": (layer.weights, (heads, n_queries, n_keys))} | {
        f"pattern of head {head}": (pattern, (n_queries, n_keys)) for head, pattern in layer.patterns.items()
    }
    for name, (array, shape) in cells.items():
        _require(array is None or array.shape == shape, f"the {name} of {what} have another shape")
        _require(array is None or _is_attention(array), f"the {name} of {what} are no attention")
    groups = 0 if layer.key is None else layer.key.shape[0]
    _require(layer.key is None or (groups > 0 and heads % groups == 0), f"the heads of {what} share no keys")
    sizes = {"query": (heads, n_queries), "key": (groups, n_keys), "value": (groups or heads, n_keys)}
    for name, size in sizes.items():
        array = getattr(layer, name)
        right = array is None or (array.ndim == 3 and array.shape[:2] == size and array.dtype.kind == "f")
        _require(right, f"the {name} vectors of {what} have another shape")
        _require(array is None or bool(np.isfinite(array).all()), f"the {name} vectors of {what} are no numbers")
    if layer.query is not None and layer.key is not None:
        _require(layer.query.shape[2] == layer.key.shape[2], f"queries and keys of {what} have different widths")
    _require(layer.sinks is None or layer.sinks.shape == (heads,), f"the sinks of {what} have another shape")
    _check_changes(layer, n_queries, n_keys, what)


def _check_changes(layer: Layer, n_queries: int, n_keys: int, what: str) -> None:
    """Masks, biases, and what was switched off."""
    mask, bias, edges = layer.mask.cells, layer.bias, layer.edges
    seen = mask is None or (mask.ndim in {2, 3} and mask.shape[-2:] == (n_queries, n_keys))
    _require(seen, f"the mask of {what} has another shape")
    if bias is not None:
        right = bias.cells is None or (bias.cells.ndim == 3 and bias.cells.shape[1:] == (n_queries, n_keys))
        diagonals = bias.diagonals is None or (bias.diagonals.ndim == 2 and bias.diagonals.shape[1] == n_queries + n_keys - 1)
        _require(right and diagonals, f"the bias of {what} has another shape")
    if edges is not None:
        whole = edges.ndim == 2 and edges.shape[1] == 3 and edges.dtype.kind in "iu"
        inside = whole and bool(((edges >= 0) & (edges < (layer.n_heads, n_queries, n_keys))).all())
        _require(inside, f"the edges cut in {what} are none")
    _require(_are_heads(layer.patterns, layer.n_heads), f"the heads changed in {what} are none")
    _require(_are_heads(layer.replaced, layer.n_heads), f"the heads replaced in {what} are none")


def _check_outcomes(outcomes: Predictions) -> None:
    shape = outcomes.ids.shape
    _require(len(shape) == 2 and outcomes.logits.shape == outcomes.names.shape == shape, "its predictions have different shapes")
    _require(outcomes.log_sum_exp.shape == shape[:1], "its predictions have different shapes")
    _require(isinstance(outcomes.task, str) and type(outcomes.n_outcomes) is int, "its predictions are of nothing known")
    _require(type(outcomes.multi_label) is bool, "its predictions are of nothing known")
    _require(outcomes.ids.dtype.kind in "iu" and outcomes.logits.dtype.kind == "f", "its predictions are no numbers")
    _require(all(isinstance(name, str) for name in outcomes.names.ravel()), "the names of its predictions are no texts")


def _is_attention(weights: np.ndarray) -> bool:
    """Whether weights are shares: numbers from 0 to 1, and in every head some that are not masked."""
    if weights.dtype.kind != "f":
        return False
    if not weights.size:
        return True
    low, high = np.fmin.reduce(weights, axis=None), np.fmax.reduce(weights, axis=None)
    heads = np.isfinite(np.fmax.reduce(weights, axis=(-2, -1)))
    return bool(heads.all()) and float(low) >= -ROUNDING and float(high) <= 1 + ROUNDING


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value))


def _are_heads(numbers: Iterable[Any], heads: int) -> bool:
    return all(type(number) is int and 0 <= number < heads for number in numbers)
