"""The prediction that is explained, as a function that can be run in batches and differentiated.

A pass here changes nothing that another thread could see: gradients are taken with `torch.autograd.grad`, which writes into no
parameter, and the hooks act in their own call alone. So a text can be traced on the same model meanwhile.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
import torch

from atlas.engine.gradients.at_tap import AtTap, Changes, hooked
from atlas.engine.gradients.embeddings import Vectors, replaced
from atlas.engine.gradients.one_position import one_position, row_of
from atlas.engine.loading.examine import alone_in_a_batch
from atlas.engine.running.capture import Rerun, fitting, is_multi_label, logits_where_known, stacked
from atlas.engine.running.context import Call, Watcher, running
from atlas.engine.running.cost import graph_bytes
from atlas.engine.running.interventions import Intervention, by_layer
from atlas.engine.running.predict import BATCH_BYTES, row_bytes
from atlas.engine.running.recorder import TextShape
from atlas.errors import NotCaptured, TooLarge, UnknownName
from atlas.trace import NO_MODEL
from atlas.tracing.explained import LOG_PROBABILITY, LOGIT, PROBABILITY, Resolved, Target
from atlas.tracing.outcomes import CLASSIFIES_TEXT
from atlas.tracing.predictions import LABELS, MASKED, SCORE, SIGMOID, WHOLE_TEXT, form_of, masks_of, side_of_predictions

if TYPE_CHECKING:
    from atlas.engine.anatomy.records import Tap
    from atlas.engine.model import Model
    from atlas.engine.running.encode import Encoded
    from atlas.trace import Trace

GRAPH_BYTES = 6 << 30
"""Most bytes of the activations that one pass with gradients keeps. They stay for all layers, unlike those of a plain pass."""

_NAMES: WeakKeyDictionary[torch.nn.Module, np.ndarray] = WeakKeyDictionary()
"""The names of all outcomes of a model, because naming 50,000 tokens takes a tenth of a second."""


def model_of(trace: Trace) -> Rerun:
    """The model of a trace with the inputs of its run."""
    live = trace.live
    if not isinstance(live, Rerun):
        raise NotCaptured(NO_MODEL)
    live.check_weights()
    return live


class Subject:
    """A traced text and one outcome of it, under the interventions of the trace."""

    def __init__(self, trace: Trace, target: Target | None = None) -> None:
        live = model_of(trace)
        self.trace, self.model = trace, live.model
        self.encoded: Encoded = live.encoded
        self.change: Intervention | None = live.change
        self.passes = 0
        """Texts run through the model so far: one in a batch of 20 counts as 20."""
        multi_label = self.model.task in (CLASSIFIES_TEXT, LABELS) and is_multi_label(self.model.hf.config)
        self._multi_label = multi_label
        self.form = ""
        self.target = self._resolved(target or Target())

    # -- sizes -------------------------------------------------------------------------------------------------------------

    @property
    def sides(self) -> dict[str, int]:
        """The number of tokens of each side."""
        sizes = {"source": self.encoded.n_source, "target": self.encoded.n_target}
        return {side: size for side, size in sizes.items() if size}

    @property
    def read_at(self) -> int | None:
        """The position whose logits are the target's; None where there is one row of logits for the whole text."""
        return None if self.model.task == CLASSIFIES_TEXT else self.target.position

    @functools.cached_property
    def taps(self) -> dict[str, Tap]:
        """Where the token vectors of each side leave the embedding."""
        return token_taps(self.model)

    @property
    def n_layers(self) -> int:
        """Layers of all kinds that have a feed-forward block of their own."""
        return sum(kind.n_layers for kind in self.model.size.kinds if kind.kind != "cross")

    def rows_at_once(self, *, gradients: bool = False) -> int:
        """Texts that fit into one batch."""
        if alone_in_a_batch(self.model.hf, self.model.task, self.model.kinds):
            return 1
        own = self.graph_bytes() if gradients else row_bytes(self.model, self.encoded)
        return max(1, BATCH_BYTES // own)

    def graph_bytes(self) -> int:
        """Bytes of one text in a pass that keeps what its gradients need; refused where that is too much."""
        total = graph_bytes(self.model.size, TextShape(self.encoded.n_source, self.encoded.n_target))
        if total > GRAPH_BYTES:
            msg = (
                f"Gradients of this text need {total / 2**30:.1f} GiB, more than the {GRAPH_BYTES / 2**30:.0f} GiB a pass may "
                "take. Shorten the text, or use a method without gradients (occlusion, an attention method)."
            )
            raise TooLarge(msg)
        return total

    # -- running -----------------------------------------------------------------------------------------------------------

    @contextmanager
    def held(self, *, gradients: bool) -> Iterator[None]:
        """Hold the model ready to run, with or without gradients, whatever the caller's own mode is."""
        with self.model.held(), torch.set_grad_enabled(gradients):
            yield

    def vectors(self, ids: Mapping[str, np.ndarray] | None = None) -> dict[str, torch.Tensor]:
        """(1, position, width) token vectors of every side, of the text or of other ids; without a graph."""
        call = Call(sites={}, taps={}, wanted_taps=frozenset({"token_embedding"}))
        encoded = self.encoded if ids is None else _with_ids(self.encoded, ids)
        with self.held(gradients=False), running(call):
            self.model.forward(stacked(self.model, [encoded]))
        self.passes += 1
        found = (call.taps or {})["token_embedding"]
        # The stored tensors are scaled as the model adds them (Granite), and the hook replaces what the module gives out.
        return {side: (found[tap.kind, 0] / tap.factor).clone() for side, tap in self.taps.items()}

    def logits(
        self,
        count: int = 1,
        *,
        vectors: Vectors | None = None,
        encoded: Sequence[Encoded] | None = None,
        changes: Sequence[Intervention | None] | None = None,
        watcher: Watcher | None = None,
        states: dict[str, Any] | None = None,
        changed: Changes = (),
    ) -> torch.Tensor:
        """(row, outcome) logits at the target's place; call it inside `held`.

        Parameters
        ----------
        count
            Copies of the text in the batch, unless `encoded` or `changes` has its rows.
        vectors
            Token vectors in place of the model's own, by side.
        encoded
            Other texts of the same length, in place of copies of the text.
        changes
            What is changed in each row; by default what the trace's own run changed.
        watcher
            Observes the attention of every layer.
        states
            Filled, for each name of a capture that it has, with the tensors by (kind, layer).
        changed
            Where states are changed, and how.
        """
        texts = list(encoded) if encoded is not None else [self.encoded] * (count if changes is None else len(changes))
        own = list(changes) if changes is not None else [self.change] * len(texts)
        shapes = [fitting(self.model, TextShape(text.n_source, text.n_target)) for text in texts]
        interventions = by_layer(own, shapes, self.model.device) if any(own) else {}
        # Sites are observed only where something is changed or watched: SDPA is faster, and both are compared in tests.
        sites = self.model.sites if interventions or watcher is not None else {}
        call = Call(sites, watcher, interventions, taps=states, wanted_taps=frozenset(states or ()))
        # The product of a single row is rounded otherwise than the same row of a batch, and little would be saved.
        at = self.read_at if len(texts) > 1 else None
        with ExitStack() as stack:
            stack.enter_context(replaced(self.model, call, self.taps, vectors))
            for tap, change in changed:
                stack.enter_context(hooked(self.model, AtTap(call, tap, change)))
            stack.enter_context(one_position(self.model, call, at))
            stack.enter_context(running(call))
            logits = logits_where_known(self.model, self.model.forward(stacked(self.model, texts)))
        self.passes += len(texts)
        if logits is None:
            raise NotCaptured(self.model.reason("predictions"))
        return self.at_target(logits)

    def at_target(self, logits: torch.Tensor) -> torch.Tensor:
        """(row, outcome) of the logits of a batch."""
        rows = logits if self.read_at is None else row_of(logits, self.read_at)
        return rows.float().reshape(len(logits), -1)

    def measured(self, logits: torch.Tensor, of: str | None = None) -> torch.Tensor:
        """(row,) the explained number: of the outcome, minus that of the one it is held against."""
        target, values = self.target, self.measured_all(logits, of or self.target.of)
        found = values[:, target.outcome_id]
        return found if target.against_id is None else found - values[:, target.against_id]

    def measured_all(self, logits: torch.Tensor, of: str) -> torch.Tensor:
        """(row, outcome) logit, probability or log-probability of every outcome."""
        return _measure(logits, of, self.form)

    def value(self, count: int = 1, **options: Any) -> torch.Tensor:
        """(row,) the explained number of each row of a batch."""
        return self.measured(self.logits(count, **options))

    # -- the target --------------------------------------------------------------------------------------------------------

    def _resolved(self, target: Target) -> Resolved:
        trace, model = self.trace, self.model
        side = side_of_predictions(trace)
        size = self.sides.get(side, self.encoded.n_source)
        position = _position(trace, side, target.position, size) if model.task != CLASSIFIES_TEXT else WHOLE_TEXT
        self.target = Resolved(position, side, "", 0)
        with self.held(gradients=False):
            logits = self.logits()
        self.form = form_of(logits.shape[-1], multi_label=self._multi_label)
        if self.form == SCORE and target.of != LOGIT:
            msg = f"{model.name} gives one number and no probabilities; explain its logit."
            raise UnknownName(msg)
        likeliest = int(logits[0].argmax())
        outcome = likeliest if target.outcome is None else _outcome(model, target.outcome, logits[0])
        against = None if target.against is None else _outcome(model, target.against, logits[0])
        if against == outcome:
            msg = f"{target.against!r} is the outcome itself; hold it against another one, or leave against out."
            raise UnknownName(msg)
        names = [str(name) for name in model.outcome_names(np.array([outcome] if against is None else [outcome, against]))]
        held = names[1] if len(names) > 1 else ""
        self.target = Resolved(position, side, names[0], outcome, held, against, target.of)
        probability = float("nan") if self.form == SCORE else float(_measure(logits, PROBABILITY, self.form)[0, outcome])
        self.target = replace(
            self.target,
            value=float(self.measured(logits)[0]),
            probability=probability,
            words=in_words(trace, self.target, model.task),
        )
        return self.target


def token_taps(model: Model) -> dict[str, Tap]:
    """Side -> where its token vectors leave the embedding; empty where one of them was not found."""
    found = model.places_of("token_embedding")
    wanted = {"source": "encoder", "target": "decoder"} if "cross" in model.kinds else {"source": model.kinds[0]}
    taps = {side: found[kind] for side, kind in wanted.items() if kind in found}
    usable = all(tap.place.side == "out" and tap.place.item is None and tap.columns is None for tap in taps.values())
    return taps if len(taps) == len(wanted) and usable else {}


def in_words(trace: Trace, target: Resolved, task: str) -> str:
    """A target as a reader says it: "logit of 'she' minus that of 'he' after 'that' (4)"."""
    what = f"{target.of} of '{target.outcome.strip() or target.outcome}'"
    if target.against_id is not None:
        what += f" minus that of '{target.against.strip() or target.against}'"
    if target.position == WHOLE_TEXT:
        return f"{what} for the whole text"
    token = str(trace.token_tables[target.side]["token"].iloc[target.position]).strip()
    place = "at" if task in (MASKED, LABELS) and target.side == "source" else "after"
    return f"{what} {place} '{token}' ({target.position})"


def _with_ids(encoded: Encoded, ids: Mapping[str, np.ndarray]) -> Encoded:
    """The text with other token ids."""
    changed = replace(encoded, inputs=encoded.inputs | {"input_ids": ids.get("source", encoded.inputs["input_ids"])})
    return replace(changed, decoder_ids=ids["target"]) if "target" in ids else changed


def _position(trace: Trace, side: str, position: int, size: int) -> int:
    masks = masks_of(trace) if side == "source" else ()
    if position == -1 and masks:
        return masks[-1]
    if not isinstance(position, int | np.integer) or not -size <= position < size:
        msg = f"There is no position {position!r} to explain: the text has {size}, counted from 0 (or from -1 at its end)."
        raise UnknownName(msg)
    return int(position) % size


def _outcome(model: Model, name: str | int, logits: torch.Tensor) -> int:
    """The id of an outcome given by its name or its id; of several with that name the likeliest."""
    if isinstance(name, int | np.integer) and not isinstance(name, bool):
        if not 0 <= name < len(logits):
            msg = f"There is no outcome {name}: {model.name} has {len(logits):,}, counted from 0."
            raise UnknownName(msg)
        return int(name)
    names = _NAMES.get(model.hf)
    if names is None or len(names) != len(logits):
        names = _NAMES[model.hf] = model.outcome_names(np.arange(len(logits))).astype(object)
    # 'she' also means ' she': a reader does not type the space that begins a word of most vocabularies.
    for wanted in (str(name), f" {name}"):
        found = np.flatnonzero(names == wanted)
        if len(found):
            return int(found[int(logits[torch.as_tensor(found, device=logits.device)].argmax())])
    if model.task.endswith("classification"):
        msg = f"There is no label {name!r}; there are {', '.join(map(str, names))}."
        raise UnknownName(msg)
    pieces = model.tokenizer.tokenize(str(name))
    said = f"; the tokenizer splits it into {', '.join(map(repr, pieces))}" if len(pieces) > 1 else ""
    msg = f"{name!r} is no single token of {model.name}{said}. Name one of its tokens, or give an id."
    raise UnknownName(msg)


def _measure(logits: torch.Tensor, of: str, form: str) -> torch.Tensor:
    """Every outcome's logit, probability or log-probability, (row, outcome)."""
    if of == LOGIT:
        return logits
    if form == SIGMOID:
        return torch.sigmoid(logits) if of == PROBABILITY else torch.nn.functional.logsigmoid(logits)
    assert of in (PROBABILITY, LOG_PROBABILITY)
    return logits.softmax(dim=-1) if of == PROBABILITY else logits.log_softmax(dim=-1)
