"""A whole trace for other tools: JSON in a layout of its own, and lists of tensors as BertViz takes them.

The JSON is one object:

- `format`: "attention-atlas json"; `version`: 1.
- `provenance`: model, revision, versions, notes; `texts`: text, pair, target.
- `tokens`: {side: [{"token", "start", "end", "special", ...} a position]}; sides are "source" and "target".
- `attention`: {kind: {"shape": [layers, heads, queries, keys], "queries": side, "keys": side, "weights": ...}}, the weights as
  lists [layer][head][query][key]; null where a query may not look. Kinds are "encoder", "decoder" and "cross".
- `heads`: [{"kind", "layer", "head", ...} a head], with every metric that is known.
- `predictions`: [{"position", "rank", "token", "probability", "logit"} an outcome], five a position; absent where there are none.

Weights have nine digits, from which the 32-bit number comes back as it was.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from atlas.errors import BadTraceFile, TooLarge
from atlas.tracing.storage import save_trace

if TYPE_CHECKING:
    import pandas as pd

    from atlas.trace import Trace

JSON = ".json"
FORMAT, VERSION = "attention-atlas json", 1

JSON_WEIGHTS = 20_000_000
"""Most weights: 220 MB of text, which other tools still read at once. NetCDF and Zarr have no such limit."""

OUTCOMES = 5
"""Outcomes of a position."""


def save_whole(trace: Trace, path: Path) -> Path:
    """Write a whole trace by the ending of the name."""
    if path.suffix.lower() != JSON:
        return save_trace(trace, path)
    check_weights(trace)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_name(f".{path.name}.new")
        try:
            with new.open("w", encoding="utf-8") as file:
                file.writelines(json_parts(trace))
            new.replace(path)
        finally:
            new.unlink(missing_ok=True)
    except OSError as error:
        msg = f"The trace cannot be written to {path}: {error.strerror or error}. Choose another place."
        raise BadTraceFile(msg) from error
    return path


def check_weights(trace: Trace) -> None:
    """Refuse more weights than JSON is for."""
    count = sum(len(each.layers) * each.n_heads * each.n_queries * each.n_keys for each in trace.attentions.values())
    if count > JSON_WEIGHTS:
        msg = (
            f"This trace has {count:,} weights, and JSON is written of at most {JSON_WEIGHTS:,}. Save it as .nc or .zarr, or "
            "take a part of it: trace.attention(layer=..., head=...)."
        )
        raise TooLarge(msg)


def json_parts(trace: Trace) -> Iterator[str]:
    """The JSON of a trace, a matrix at a time, because Python numbers take eight times the room of what they are."""
    texts = trace.texts
    head = {
        "format": FORMAT,
        "version": VERSION,
        "provenance": dict(trace.provenance),
        "texts": {"text": texts.text, "pair": texts.pair, "target": texts.target},
        "tokens": {side: _rows(trace.tokens(side)) for side in trace.token_tables},
        "heads": _rows(trace.heads),
    }
    if trace.outcomes is not None:  # what was not recorded is not computed to be written
        head["predictions"] = _rows(trace.predictions(OUTCOMES))
    yield f'{json.dumps(head)[:-1]}, "attention": {{'
    for at, kind in enumerate(trace.kinds):
        each = trace.attentions[kind]
        shape = [len(each.layers), each.n_heads, each.n_queries, each.n_keys]
        about = {"shape": shape, "queries": trace.side(kind, "query"), "keys": trace.side(kind, "key")}
        yield f'{", " if at else ""}{json.dumps(kind)}: {json.dumps(about)[:-1]}, "weights": ['
        for layer in range(shape[0]):
            yield ", [" if layer else "["
            for index in range(shape[1]):
                rows = ", ".join(f"[{', '.join(map(_number, row))}]" for row in each.block(layer, index).tolist())
                yield f"{', ' if index else ''}[{rows}]"
            yield "]"
        yield "]}"
    yield "}}\n"


def bertviz_arrays(trace: Trace) -> dict[str, Any]:
    """The arguments of BertViz's `head_view` and `model_view`, with arrays: lists over layers of (1, head, query, key).

    A masked weight is 0, as in what transformers returns. Tokens are the pieces of the vocabulary, whose marks BertViz knows.
    """
    weights = {kind: [_stacked(trace, kind, layer) for layer in range(trace.n_layers(kind))] for kind in trace.kinds}
    if trace.kinds in (("encoder",), ("decoder",)):
        (kind,) = trace.kinds
        return {"attention": weights[kind], "tokens": pieces(trace, trace.side(kind, "query"))}
    names: Mapping[str, str] = {"encoder_attention": "encoder", "decoder_attention": "decoder", "cross_attention": "cross"}
    found: dict[str, Any] = {name: weights[kind] for name, kind in names.items() if kind in weights}
    return found | {"encoder_tokens": pieces(trace, "source"), "decoder_tokens": pieces(trace, "target")}


def pieces(trace: Trace, side: str) -> list[str]:
    """The pieces of the vocabulary on a side; tokens as they are read where the pieces are not known."""
    table = trace.token_tables[side]
    return [str(piece) for piece in table["piece" if "piece" in table else "token"]]


def _stacked(trace: Trace, kind: str, layer: int) -> np.ndarray:
    attention = trace.attentions[kind]
    heads = np.stack([attention.block(layer, head) for head in range(attention.n_heads)])
    return np.nan_to_num(heads.astype(np.float32), nan=0.0)[None]


def _rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """A table as a list of rows; what is not known is null."""
    plain = json.loads(table.to_json(orient="records", double_precision=15))
    return [dict(row) for row in plain]


def _number(value: float) -> str:
    return "null" if value != value else f"{value:.9g}"  # noqa: PLR0124  (NaN alone is not itself)
