"""Trace: what one run of a model left behind. No torch here: a saved trace opens on a machine that has none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

import numpy as np
import xarray as xr

from atlas.errors import NotCaptured, TooLarge, UnknownName
from atlas.ids import KINDS, HeadId
from atlas.resources import assets
from atlas.single_flight import Keeps, SingleFlight
from atlas.tracing.outcomes import Predictions, predictions_table
from atlas.tracing.plans import side_of
from atlas.tracing.record import ALL, Attention
from atlas.tracing.vectors import derived_vectors, head_vectors, stream_vectors

if TYPE_CHECKING:
    import pandas as pd

ANSWER_BYTES = 1 << 30
"""No answer is larger than this: 1 GiB of weights is more than any reader of them uses at once, and less than a laptop has."""

NO_MODEL = "The model of this trace is not here to run its text again."

NO_PREDICTIONS = "This trace holds no predictions, and its model is not here to make them."

EMBEDDED_PIPELINE = "en_atlas"
"""The spaCy pipeline that serves where the reader has installed none."""

HEAD_VECTORS = ("query", "key", "value")
DERIVED = ("head_read", "head_output", "logit_lens")

Place = tuple[str, int] | None
"""(kind, layer) of an array, or None where it belongs to the model as a whole."""


Captured = tuple[dict[str, dict[Place, np.ndarray]], Predictions | None]
"""(arrays, outcomes) of a capture group."""

GROUP = "group "
"""How the keys of groups that were asked for later begin."""

Special = Literal["keep", "drop", "renormalise"]


class Reading(NamedTuple):
    """Tokens, and the words they were read as."""

    table: pd.DataFrame
    parse: pd.DataFrame | None


class Live(Protocol):
    """The model behind a trace, while it is there."""

    def run_again(self, group: str) -> Captured:
        """The same run, for one capture group: (arrays, outcomes)."""

    @property
    def vocabulary(self) -> int:
        """Outcomes of the unembedding."""

    def unembed(self, hidden: np.ndarray) -> np.ndarray:
        """Logits of a state of the residual stream."""

    def group_of(self, name: str) -> str | None:
        """The capture group that holds an array; None where the model has none such."""

    def reason(self, name: str) -> str:
        """Why the model has no such array."""


@dataclass(frozen=True)
class Texts:
    """What was read."""

    text: str | None = None
    pair: str | None = None
    target: str | None = None


@dataclass(frozen=True, eq=False)
class Trace(Keeps):
    """One text through one model. Immutable; what is heavy is worked out when first asked for and kept."""

    attentions: Mapping[str, Attention]
    token_tables: Mapping[str, pd.DataFrame]
    """'source', and 'target' for the decoder of an encoder-decoder."""
    provenance: Mapping[str, Any]
    texts: Texts = field(default_factory=Texts)
    arrays: Mapping[str, Mapping[Place, np.ndarray]] = field(default_factory=dict)
    """Captured groups: name -> place -> (position, width)."""
    outcomes: Predictions | None = None
    live: Live | None = None
    _cache: dict[str, Any] = field(default_factory=dict, repr=False)
    _under_way: SingleFlight = field(default_factory=SingleFlight, init=False, repr=False)

    def __post_init__(self) -> None:
        _protect(self.arrays)
        object.__setattr__(self, "provenance", MappingProxyType(dict(self.provenance)))

    # -- shape ---------------------------------------------------------------------------------------------------------

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of attention this trace holds."""
        return tuple(kind for kind in KINDS if kind in self.attentions)

    def n_layers(self, kind: str | None = None) -> int:
        """Layers of a kind."""
        return len(self.attention_of(kind).layers)

    def n_heads(self, kind: str | None = None) -> int:
        """Heads a layer of a kind."""
        return self.attention_of(kind).n_heads

    def side(self, kind: str, axis: str) -> str:
        """Which tokens a kind's queries or keys are: 'source' or 'target'."""
        return side_of(kind, axis, self.token_tables)

    @property
    def head_ids(self) -> tuple[HeadId, ...]:
        """Every head, in order."""
        return tuple(
            HeadId(kind, layer, head)
            for kind in self.kinds
            for layer in range(self.n_layers(kind))
            for head in range(self.n_heads(kind))
        )

    def __repr__(self) -> str:
        sizes = ", ".join(
            f"{kind} {len(each.layers)}x{each.n_heads}x{each.n_queries}x{each.n_keys}"
            for kind, each in ((kind, self.attentions[kind]) for kind in self.kinds)
        )
        return f"<Trace of {self.provenance.get('model') or 'recorded attention'}: {sizes}>"

    # -- attention -----------------------------------------------------------------------------------------------------

    def attention(
        self,
        kind: str | None = None,
        layer: int | Sequence[int] | None = None,
        head: int | Sequence[int] | None = None,
        queries: int | Sequence[int] | None = None,
        keys: int | Sequence[int] | None = None,
    ) -> xr.DataArray:
        """Weights (layer, head, query, key), exact; NaN where a query may not look.

        A layer or head given as a number loses its axis; given as a sequence it keeps it. Queries and keys always keep theirs.
        """
        chosen = self.attention_of(kind)
        layers, heads = _pick(layer, len(chosen.layers), "layer"), _pick(head, chosen.n_heads, "head")
        rows, columns = _pick(queries, chosen.n_queries, "query"), _pick(keys, chosen.n_keys, "key")
        size = len(layers) * len(heads) * len(rows) * len(columns) * 4
        if size > ANSWER_BYTES:
            msg = (
                f"That is {size / 2**30:.1f} GiB of weights, more than the {ANSWER_BYTES / 2**30:.0f} GiB one answer may have. "
                "Ask for some layers or heads (layer=, head=) or tokens (queries=, keys=) at a time."
            )
            raise TooLarge(msg)
        row_index = ALL if queries is None else rows
        column_index = ALL if keys is None else columns
        values = np.empty((len(layers), len(heads), len(rows), len(columns)), dtype=np.float32)
        for i, at_layer in enumerate(layers):
            for j, at_head in enumerate(heads):
                values[i, j] = chosen.block(int(at_layer), int(at_head), row_index, column_index)
        coords = {"layer": layers, "head": heads, "query": rows, "key": columns}
        answer = xr.DataArray(values, dims=("layer", "head", "query", "key"), coords=coords, name="attention")
        answer.attrs["kind"] = chosen.kind
        single = {"layer": layer, "head": head}
        return answer.isel({axis: 0 for axis, given in single.items() if given is not None and np.ndim(given) == 0})

    def scores(self, kind: str | None = None, *, layer: int, head: int) -> xr.Dataset:
        """The steps from q·k to the weight for one head: `dot`, `scaled`, `masked`, `weight`."""
        chosen = self.attention_of(kind)
        at_layer, at_head = int(_pick(layer, len(chosen.layers), "layer")[0]), int(_pick(head, chosen.n_heads, "head")[0])
        steps = chosen.scores(at_layer, at_head) | {"weight": chosen.block(at_layer, at_head)}
        return xr.Dataset({name: (("query", "key"), values) for name, values in steps.items()})

    def attention_of(self, kind: str | None = None) -> Attention:
        """The record of one kind; `kind` may be left out where there is only one."""
        if kind is None:
            if len(self.attentions) == 1:
                return next(iter(self.attentions.values()))
            msg = f"This trace has {', '.join(self.kinds)} attention; say which with kind=..."
            raise UnknownName(msg)
        if kind not in self.attentions:
            msg = f"This trace has no {kind!r} attention; it has {', '.join(self.kinds)}."
            raise UnknownName(msg)
        return self.attentions[kind]

    # -- tokens --------------------------------------------------------------------------------------------------------

    def tokens(self, side: str = "source") -> pd.DataFrame:
        """One row a token: token, start, end, special, word, and where they are known sentence, pos, entity."""
        if side not in self.token_tables:
            msg = f"This trace has no {side!r} tokens; it has {', '.join(self.token_tables)}."
            raise UnknownName(msg)
        # A copy: whoever adds a column to their table must not change everybody's.
        return self.reading(side).table.copy()

    def reading(self, side: str = "source") -> Reading:
        """The tokens of a side with what is known of their words; `parse` has one row a word where a pipeline parsed them."""
        made: Reading = self.once(f"tokens {side}", lambda: annotated(self.token_tables[side], self.texts, side))
        return made

    # -- vectors -------------------------------------------------------------------------------------------------------

    @property
    def vector_names(self) -> tuple[str, ...]:
        """What `vectors` can give from what is held here."""
        held = [name for name in HEAD_VECTORS if any(a.layers[0].has_ingredients for a in self.attentions.values())]
        derived = [DERIVED[0]] if held else []
        derived += ["head_output"] if held and "output_projection" in self.arrays else []
        return tuple(dict.fromkeys([*held, *derived, *sorted(self.arrays)]))

    def vectors(self, name: str, kind: str | None = None, layer: int | None = None, head: int | None = None) -> xr.DataArray:
        """Vectors of a name: (layer, head, position, width) for those of heads, (layer, position, width) for the others."""
        if name in HEAD_VECTORS:
            return head_vectors(self.attention_of(kind), name, layer, head)
        if name in DERIVED:
            return derived_vectors(self, name, kind, layer, head)
        return stream_vectors(self, name, kind, layer, head)

    def captured(self, name: str) -> Mapping[Place, np.ndarray]:
        """An array of a capture group: from this trace or, while its model is there, from one more run of the text."""
        held = self.held_arrays()
        if name in held:
            return held[name]
        if self.live is None:
            msg = f"This trace holds {', '.join(self.vector_names) or 'no vectors'}, not {name!r}, and its model is not here."
            raise NotCaptured(msg)
        group = self.live.group_of(name)
        found = self._run_for(group)[0] if group is not None else {}
        if name not in found:
            raise UnknownName(self.live.reason(name))
        return found[name]

    def held_arrays(self) -> dict[str, Mapping[Place, np.ndarray]]:
        """Every captured array, also of groups that were asked for later."""
        held: dict[str, Mapping[Place, np.ndarray]] = {}
        for key, value in list(self._cache.items()):
            held |= value[0] if key.startswith(GROUP) else {}
        return held | dict(self.arrays)

    def _run_for(self, group: str) -> Captured:
        """One more run of the text for one capture group: once, however many threads ask."""

        def run() -> Captured:
            if self.live is None:
                raise NotCaptured(NO_MODEL)
            arrays, outcomes = self.live.run_again(group)
            _protect(arrays)
            return arrays, outcomes

        made: Captured = self.once(GROUP + group, run)
        return made

    # -- heads and predictions -----------------------------------------------------------------------------------------

    @property
    def heads(self) -> pd.DataFrame:
        """One row a head: kind, layer, head, every metric, and beside each its value for uniform attention (`NAME_uniform`)."""
        from atlas.tracing.head_table import head_table

        table: pd.DataFrame = self.once("heads", lambda: head_table(self))
        return table.copy()

    def medians(self, kind: str | None = None) -> xr.DataArray:
        """(layer, head) median of the visible weights, from every matrix itself.

        The column `median` of `heads` where the weights are kept. Where they are made from queries and keys, only this gives it,
        because it takes as long as the run.
        """
        from atlas.tracing.head_table import exact_medians

        medians: xr.DataArray = self.once(f"medians {self.attention_of(kind).kind}", lambda: exact_medians(self, kind))
        return medians.copy()

    def word_attention(
        self, kind: str | None = None, *, layer: int, head: int, special: Special = "keep", zero_diagonal: bool = False
    ) -> xr.DataArray:
        """Weights between words: to a split word summed over its pieces, from it averaged.

        `special` tokens are kept as units of their own, dropped, or dropped with the rows rescaled ('renormalise');
        `zero_diagonal` leaves out what a word gives to itself, as Clark et al. (2019) do.
        """
        from atlas.tracing.words import word_attention

        return word_attention(self, kind, layer, head, special=special, zero_diagonal=zero_diagonal)

    def relations(self, kind: str | None = None) -> pd.DataFrame:
        """Per head and dependency relation: how often its strongest word is the syntactic partner (Clark et al. 2019).

        Needs a spaCy pipeline that parses; beside each accuracy the best fixed offset, and how many arcs it rests on.
        """
        from atlas.tracing.words import relations

        table: pd.DataFrame = self.once(f"relations {self.attention_of(kind).kind}", lambda: relations(self, kind))
        return table.copy()

    def predictions(self, k: int = 5) -> pd.DataFrame:
        """The k likeliest outcomes: position, rank, token, probability, logit; a classifier's has label and no position."""
        return predictions_table(self.kept_outcomes(), k)

    def kept_outcomes(self) -> Predictions:
        """All outcomes kept at every position: from this trace or, while its model is there, from one more run of the text."""
        outcomes = self.outcomes
        if outcomes is None and self.live is not None:
            outcomes = self._run_for("predictions")[1]
        if outcomes is None:
            raise NotCaptured(self.live.reason("predictions") if self.live is not None else NO_PREDICTIONS)
        return outcomes

    # -- files ---------------------------------------------------------------------------------------------------------

    def save(self, path: str | Path) -> Path:
        """Write the whole trace to a NetCDF file, a Zarr folder (.zarr), or JSON for other tools (.json, not opened again)."""
        from atlas.tracing.exchange import save_whole

        return save_whole(self, Path(path))


def open_trace(path: str | Path) -> Trace:
    """Open a saved trace; nothing in the file is ever run."""
    from atlas.tracing.storage import load_trace

    return load_trace(Path(path))


def annotated(table: pd.DataFrame, texts: Texts, side: str) -> Reading:
    """The table with sentences, parts of speech and entities, where a text and a pipeline are there."""
    from atlas.text.annotate import annotate, find_pipeline

    text, pair = (texts.target, None) if side == "target" else (texts.text, texts.pair)
    if "sentence" in table.columns or text is None:
        return Reading(table, None)
    read = annotate(table, text, pair, find_pipeline(embedded=assets() / "models" / EMBEDDED_PIPELINE))
    return Reading(read.table, read.parse)


def _protect(arrays: Mapping[str, Mapping[Place, np.ndarray]]) -> None:
    """Make arrays read-only: whoever writes into a trace would change it for all who look at it."""
    for places in arrays.values():
        for array in places.values():
            array.setflags(write=False)


def _pick(given: int | Iterable[int] | None, size: int, what: str) -> np.ndarray:
    """The positions asked for, checked."""
    if given is None:
        return np.arange(size)
    try:
        chosen = np.atleast_1d(np.asarray(list(given) if isinstance(given, Iterable) else given))
    except ValueError:
        chosen = np.empty((0, 0))
    # A boolean mask or a fraction would be read as other positions than the ones that were meant.
    if chosen.ndim != 1 or (len(chosen) and not np.issubdtype(chosen.dtype, np.integer)):
        msg = f"A {what} is named by its number, or several by a sequence of numbers from 0 to {size - 1}; not by {given!r}."
        raise UnknownName(msg)
    chosen = chosen.astype(np.int64)
    wrong = chosen[(chosen < 0) | (chosen >= size)]
    if len(wrong):
        msg = f"There is no {what} {int(wrong[0])}: this trace has {size}, counted from 0."
        raise UnknownName(msg)
    return chosen


__all__ = ["Live", "Predictions", "Texts", "Trace", "annotated", "open_trace"]
