"""Runs one forward pass of a batch and makes one Trace of each text."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from atlas.engine.anatomy.endings import logits_of
from atlas.engine.anatomy.records import PROJECTIONS
from atlas.engine.running import fallback
from atlas.engine.running.context import Call, running
from atlas.engine.running.encode import INPUTS, Encoded
from atlas.engine.running.interventions import Intervention, Shape, by_layer
from atlas.engine.running.recorder import Keep, Recorder, TextShape, own_array, to_numpy
from atlas.errors import NotCaptured, UnknownName
from atlas.text.pieces import piece_bytes, spelled_bytes, surface
from atlas.trace import Place, Texts, Trace
from atlas.tracing.outcomes import CLASSIFIES_TEXT, Predictions

if TYPE_CHECKING:
    import pandas as pd

    from atlas.engine.model import Model

OUTCOMES_KEPT = 50
"""Likeliest outcomes kept at every position, because a vocabulary of 50,000 at 4,000 tokens would take 800 MB."""

NO_CHARACTER = "\ufffd"
"""What a tokenizer writes for bytes that are no character."""

ROWS_AT_ONCE = 16
"""Rows of logits summed at once: 2 MB for a vocabulary of 30,000, which fits a core's cache."""

GROUPS = ("stream", "ffn", "norms", "head_outputs", "predictions")
DEFAULT_CAPTURE = ("stream", "predictions")


def checked_groups(groups: Any) -> tuple[str, ...]:
    """The capture groups asked for, each once."""
    if groups is not None and not isinstance(groups, Iterable):
        msg = f"capture= is a list of {', '.join(GROUPS)}, not {type(groups).__name__}."
        raise UnknownName(msg)
    wanted = tuple(dict.fromkeys((groups,) if isinstance(groups, str) else groups or ()))
    unknown = [group for group in wanted if group not in GROUPS]
    if unknown:
        msg = f"{unknown[0]!r} is no capture group; there are {', '.join(GROUPS)}."
        raise UnknownName(msg)
    return wanted


def run(
    model: Model,
    batch: Sequence[Encoded],
    changes: Sequence[Intervention | None],
    keep: Keep,
    capture: Sequence[str],
    progress: Callable[[int, int], None] | None = None,
) -> list[Trace]:
    """Run a batch once and make a trace of every text in it."""
    shapes = [TextShape(encoded.n_source, encoded.n_target) for encoded in batch]
    sorted_changes = by_layer(changes, [fitting(model, shape) for shape in shapes], model.device)
    recorder = Recorder(
        shapes,
        keep,
        [tables(encoded) for encoded in batch],
        expected={kind.kind: kind.n_layers for kind in model.size.kinds},
        value_gram=model.value_gram,
        changes=sorted_changes,
        layer_done=_counted(progress, sum(kind.n_layers for kind in model.size.kinds)),
    )
    wanted = frozenset(model.taps_of(capture))
    call = Call(sites=model.sites, watcher=recorder, interventions=sorted_changes, taps={}, wanted_taps=wanted)
    with torch.no_grad(), running(call):
        outputs = model.forward(stacked(model, batch))
    logits = logits_where_known(model, outputs) if "predictions" in capture else None
    version = model.weights_version()
    return [
        Trace(
            attentions=recorder.attentions(row),
            token_tables=tables(encoded),
            provenance=model.provenance(encoded, keep, changes[row]),
            texts=Texts(encoded.text, encoded.pair, encoded.target),
            arrays=_arrays(model, call.taps or {}, row, shapes, capture) | recorder.reads(row),
            outcomes=_outcomes(model, logits, row, shapes[row]),
            live=Rerun(model, encoded, changes[row], version),
        )
        for row, encoded in enumerate(batch)
    ]


Captured = tuple[dict[str, dict[Place, np.ndarray]], Predictions | None]
"""(arrays, outcomes) of some capture groups."""


def run_groups(model: Model, encoded: Encoded, change: Intervention | None, groups: Sequence[str]) -> Captured:
    """Run a text for capture groups alone, so that adding a group to a trace does not make a second copy of its attention."""
    shape = TextShape(encoded.n_source, encoded.n_target)
    changes = by_layer([change], [fitting(model, shape)], model.device) if change else {}
    call = Call(sites=model.sites, interventions=changes, taps={}, wanted_taps=frozenset(model.taps_of(groups)))
    inside, wanted = f"{model.hf.base_model_prefix}.", call.wanted_taps
    inputs, logits = stacked(model, [encoded]), None
    with torch.no_grad(), running(call):
        if "predictions" in groups:
            logits = logits_where_known(model, model.forward(inputs))
        elif wanted and all(tap.module.startswith(inside) for tap in model.anatomy.taps if tap.name in wanted):
            forward_without_outcomes(model, inputs)
        elif wanted:
            model.forward(inputs)
    return _arrays(model, call.taps or {}, 0, [shape], groups), _outcomes(model, logits, 0, shape)


def forward_without_outcomes(model: Model, inputs: Mapping[str, torch.Tensor]) -> None:
    """The forward pass, without the unembedding where it stands apart: it is a third of a small model's time."""
    base = model.hf.base_model
    if base is model.hf or "cross" in model.kinds:
        model.forward(inputs)
        return
    accepted = inspect.signature(base.forward).parameters
    options = {"use_cache": False} if "use_cache" in accepted else {}
    base(**{name: tensor for name, tensor in inputs.items() if name in accepted}, **options)


def _counted(progress: Callable[[int, int], None] | None, n_layers: int) -> Callable[[], None] | None:
    """A callback for every finished layer, which reports the number of layers done."""
    if progress is None:
        return None
    numbers = itertools.count(1)
    return lambda: progress(next(numbers), n_layers)


def run_plain(model: Model, batch: Sequence[Encoded], groups: Sequence[str]) -> list[Trace]:
    """The same for a model outside the attention interface: its own weights, and the states that were found."""
    shapes = [TextShape(encoded.n_source, encoded.n_target) for encoded in batch]
    call = Call(sites={}, taps={}, wanted_taps=frozenset(model.taps_of(groups)))
    with torch.no_grad(), running(call):
        outputs = model.forward(stacked(model, batch), output_attentions=True)
    logits = logits_where_known(model, outputs) if "predictions" in groups else None
    version = model.weights_version()
    return [
        Trace(
            attentions=fallback.attentions(outputs, model.kinds, row, shapes[row], tables(encoded)),
            token_tables=tables(encoded),
            provenance=model.provenance(encoded, "weights", None),
            texts=Texts(encoded.text, encoded.pair, encoded.target),
            arrays=_arrays(model, call.taps or {}, row, shapes, groups),
            outcomes=_outcomes(model, logits, row, shapes[row]),
            live=Rerun(model, encoded, None, version),
        )
        for row, encoded in enumerate(batch)
    ]


def stacked(model: Model, batch: Sequence[Encoded]) -> dict[str, torch.Tensor]:
    """The inputs of a batch, padded on the right for every tokenizer, because padding on the left shifts GPT-2's positions."""
    # Texts and ready encodings may have different parts. Missing segments are 0, as models assume by default.
    names = [name for name in INPUTS if name == "input_ids" or (name in model.accepts and any(name in e.inputs for e in batch))]
    fill = {"input_ids": model.pad_id}
    parts = {name: [e.inputs.get(name, np.zeros_like(e.inputs["input_ids"])) for e in batch] for name in names}
    inputs = {name: _padded(rows, fill.get(name, 0)) for name, rows in parts.items()}
    decoder = [encoded.decoder_ids for encoded in batch if encoded.decoder_ids is not None]
    if decoder:
        inputs["decoder_input_ids"] = _padded(decoder, model.pad_id)
        if len({len(ids) for ids in decoder}) > 1:
            inputs["decoder_attention_mask"] = _padded([np.ones_like(ids) for ids in decoder], 0)
    return {name: torch.as_tensor(array).to(model.device) for name, array in inputs.items()}


def _padded(rows: Sequence[np.ndarray], fill: int) -> np.ndarray:
    longest = max(map(len, rows))
    return np.stack([np.pad(row, (0, longest - len(row)), constant_values=fill) for row in rows])


def tables(encoded: Encoded) -> dict[str, pd.DataFrame]:
    """The token tables of a text by side."""
    found = {"source": encoded.tokens}
    return found if encoded.target_tokens is None else found | {"target": encoded.target_tokens}


def fitting(model: Model, shape: TextShape) -> dict[str, Shape]:
    """The sizes that an intervention must fit, by kind."""
    return {
        kind.kind: Shape(kind.n_layers, kind.n_heads, shape.queries(kind.kind), shape.keys(kind.kind), kind.width)
        for kind in model.size.kinds
    }


def _arrays(
    model: Model,
    taps: Mapping[str, Mapping[tuple[str, int], torch.Tensor]],
    row: int,
    shapes: Sequence[TextShape],
    capture: Sequence[str],
) -> dict[str, dict[Place, np.ndarray]]:
    shape = shapes[row]
    found: dict[str, dict[Place, np.ndarray]] = {}
    for name, places in taps.items():
        found[name] = {}
        for (kind, layer), tensor in places.items():
            # Some models compute position embeddings only once for all texts of a batch.
            own = tensor[row if len(tensor) > 1 else 0] if tensor.ndim > 2 else tensor
            found[name][kind, layer] = own_array(own[: shape.queries(kind)])
    if "head_outputs" in capture or PROJECTIONS in capture:
        found["output_projection"] = {place: to_numpy(matrix).copy() for place, matrix in model.output_projections().items()}
        found["output_bias"] = {place: to_numpy(bias).copy() for place, bias in model.output_biases().items()}
        for name, norms in model.stream_norms().items():
            found[name] = {place: to_numpy(vector).copy() for place, vector in norms.items()}
    return found


def logits_where_known(model: Model, outputs: Any) -> torch.Tensor | None:
    """The logits of a pass; None for a model whose task is not known."""
    # For an unknown task the meaning of the numbers is unknown too: ELECTRA's discriminator has one logit for each token.
    return logits_of(outputs) if model.task != "base" else None


def _outcomes(model: Model, logits: torch.Tensor | None, row: int, shape: TextShape) -> Predictions | None:
    if logits is None:
        return None
    own = logits[row].float()
    own = own[None] if own.ndim == 1 else own[: shape.n_target or shape.n_source]
    task = model.task
    kept = min(OUTCOMES_KEPT, own.shape[-1])
    top, ids = own.topk(kept, dim=-1)
    return Predictions(
        task=task,
        ids=to_numpy(ids),
        logits=to_numpy(top),
        log_sum_exp=to_numpy(_log_sum_exp(own, top[:, :1])),
        names=model.outcome_names(to_numpy(ids)),
        n_outcomes=own.shape[-1],
        multi_label=task in (CLASSIFIES_TEXT, "token-classification") and is_multi_label(model.hf.config),
    )


def _log_sum_exp(logits: torch.Tensor, top: torch.Tensor) -> torch.Tensor:
    """Log-sum-exp of every row, whose top is known; torch's own function takes a twentieth of a BERT pass longer."""
    parts = zip(logits.split(ROWS_AT_ONCE), top.split(ROWS_AT_ONCE), strict=True)
    return torch.cat([(rows - highest).exp_().sum(dim=-1) for rows, highest in parts]).log() + top[:, 0]


def is_multi_label(config: Any) -> bool:
    """Whether each label has a probability of its own."""
    return getattr(config, "problem_type", None) == "multi_label_classification"


def token_names(tokenizer: Any, ids: np.ndarray) -> np.ndarray:
    """Outcomes that are tokens, as text."""
    different, places = np.unique(ids, return_inverse=True)
    pieces = tokenizer.convert_ids_to_tokens([int(i) for i in different])
    # An output matrix may be padded beyond the vocabulary; such an outcome is named by its number.
    names = np.array(
        [f"<{i}>" if piece is None else _named(tokenizer, piece) for i, piece in zip(different, pieces, strict=True)],
        dtype=object,
    )
    return names[places].reshape(ids.shape)


def _named(tokenizer: Any, piece: str) -> str:
    """The text of a piece. A part of a character, such as one byte of a curly quote, has none: its bytes are said."""
    shown = surface(piece)
    if shown == piece and not piece.isascii():
        bare = piece.removeprefix("Ġ")
        made = piece_bytes(bare)
        # In a vocabulary of letters the same piece is a letter.
        if made is not None and NO_CHARACTER in tokenizer.convert_tokens_to_string([piece]):
            return " " * (len(piece) - len(bare)) + spelled_bytes(made)
    return shown


@dataclass(frozen=True)
class Rerun:
    """Runs the text of a trace again for arrays that were not captured."""

    model: Model
    encoded: Encoded
    change: Intervention | None
    weights: int
    """`Model.weights_version` when the text was traced."""

    def run_again(self, group: str) -> Captured:
        """Repeat the run for one capture group."""
        self.check_weights()
        return self.model.run_groups(self.encoded, self.change, (group,))

    @property
    def vocabulary(self) -> int:
        """The number of outcomes of the unembedding."""
        return self.model.size.n_outcomes

    def unembed(self, hidden: np.ndarray) -> np.ndarray:
        """Logits of a state of the residual stream."""
        self.check_weights()
        return self.model.unembed(hidden)

    def check_weights(self) -> None:
        """Raise if the weights changed, because numbers of the changed model must not be mixed with those of this trace."""
        if self.model.weights_version() != self.weights:
            msg = f"The weights of {self.model.name} have changed since this text was traced. Trace it again."
            raise NotCaptured(msg)

    def group_of(self, name: str) -> str | None:
        """The capture group that holds an array."""
        return self.model.group_of(name)

    def reason(self, name: str) -> str:
        """Why the model has no array of that name."""
        return self.model.reason(name)

    def without_zeroing(self) -> str:
        """Why the value vectors of this model cannot be zeroed; empty where they can."""
        from atlas.engine.gradients.zeroing import without_zeroing

        return without_zeroing(self.model)

    def without_twin(self) -> str:
        """Why the weights of this model cannot be drawn anew in a copy; empty where they can."""
        from atlas.engine.running.twin import without_twin

        return without_twin(self.model)

    def without_edges(self) -> str:
        """Why the edges between the heads of this model cannot be followed; empty where they can."""
        from atlas.engine.gradients.edges import without_edges

        return without_edges(self.model)

    def without_cuts(self) -> str:
        """Why the attention of this model cannot be cut; empty where it can."""
        model = self.model
        return "" if model.interface else f"{model.name} does not use transformers' attention interface, so no edge can be cut."

    def without_states(self, kind: str, part: str) -> str:
        """Why what a part of the layers of a stream puts out cannot be exchanged; empty where it can."""
        from atlas.engine.gradients.states import without_states

        return without_states(self.model, kind, part)

    def zeroed(self, kind: str, progress: Callable[[int, int], None] | None = None) -> tuple[np.ndarray, ...]:
        """(query, key) of each layer: how far zero value vectors of a key move the states of a query."""
        from atlas.engine.gradients.zeroing import zeroed

        self.check_weights()
        found = zeroed(self.model, self.encoded, self.change, kind, progress)
        self.check_weights()
        return found
