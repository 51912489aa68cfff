"""What the HTTP API answers: a request as plain values, checked, and the same numbers as the app's as plain values again."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from atlas.admission import Cost
from atlas.attribution import METHODS, Target
from atlas.attribution.attribute import attribute_trace
from atlas.engine.running.cost import cost_of_passes
from atlas.engine.running.service import Run, Service
from atlas.engine.running.token_labels import token_labels
from atlas.errors import AtlasError, TextError, UnknownName
from atlas.ids import Headlike, as_heads
from atlas.jobs import listed_models, where_is
from atlas.scheduler import Ticket
from atlas.state.inputs import LONGEST_TEXT
from atlas.state.restore import HUB
from atlas.state.validate import LONGEST_NAME
from atlas.tracing.labelled import detection
from atlas.tracing.predictions import without_predictions

if TYPE_CHECKING:
    import pandas as pd

    from atlas.engine.model import Model
    from atlas.trace import Trace

MOST_HEADS = 16
"""Heads whose weights one answer holds."""

MOST_CELLS = 250_000
"""Weights in one answer: 5 MB of JSON, a tenth of a second in which all pages wait; the rows of a text of 500 tokens once."""

MOST_OUTCOMES = 20
"""Outcomes of one prediction, as on the page."""

Json = dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """How a request is answered: the run of its text, and what is made of the trace; or of the model, without a trace."""

    run: Run
    of_trace: Callable[[Trace, Ticket], Json] | None = None
    cost: Callable[[Trace], Cost] | None = None
    """What the making takes beside the run; None: nothing to speak of."""
    of_model: Callable[[Model, Ticket], Json] | None = None


# -- what is asked -----------------------------------------------------------------------------------------------------


class Fields:
    """The fields of a request; what is not known, or of another type, is refused in words."""

    def __init__(self, given: Any, known: Mapping[str, str]) -> None:
        if not isinstance(given, Mapping):
            msg = 'The body is a JSON object, such as {"model": ..., "text": ...}.'
            raise UnknownName(msg)
        unknown = [str(name)[:LONGEST_NAME] for name in given if name not in known]
        if unknown:
            msg = f"There is no field {unknown[0]!r}; there are {', '.join(known)}."
            raise UnknownName(msg)
        self._given = given

    def text(self, name: str, most: int, *, needed: bool = False) -> str | None:
        """A text of at most so many letters; None where there is none."""
        value = self._given.get(name)
        if value is None and not needed:
            return None
        if not isinstance(value, str) or not (value or not needed):
            msg = f"{name} is a text that is not empty." if needed else f"{name} is a text."
            raise TextError(msg)
        if len(value) > most:
            msg = f"{name} has {len(value):,} letters, and {most:,} are the most."
            raise TextError(msg)
        return value

    def number(self, name: str, usual: int, least: float, most: float) -> int:
        """A whole number between two others."""
        value = self._given.get(name, usual)
        if type(value) is not int or not least <= value <= most:
            msg = f"{name} is a whole number" + (f" from {least:g} to {most:g}." if math.isfinite(most) else ".")
            raise UnknownName(msg)
        return value

    def flag(self, name: str) -> bool:
        """True or false."""
        value = self._given.get(name, False)
        if not isinstance(value, bool):
            msg = f"{name} is true or false."
            raise UnknownName(msg)
        return value

    def heads(self, name: str) -> list[Headlike]:
        """Heads as Python takes them: 'L1 H4', [1, 4] or ['cross', 1, 4]."""
        value = self._given.get(name, [])
        if not isinstance(value, list) or len(value) > MOST_HEADS or not all(map(_names_a_head, value)):
            msg = f"{name} is a list of at most {MOST_HEADS} heads, each as 'L1 H4', [1, 4] or ['cross', 1, 4]."
            raise UnknownName(msg)
        return [each if isinstance(each, str) else tuple(each) for each in value]

    def thresholds(self, name: str) -> dict[str, float] | None:
        """Label -> threshold."""
        value = self._given.get(name)
        if value is None:
            return None
        if not isinstance(value, Mapping) or not all(_is_share(each) for each in value.values()):
            msg = f"{name} is an object of labels and numbers from 0 to 1."
            raise UnknownName(msg)
        return {str(label): float(each) for label, each in value.items()}


def _names_a_head(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) <= LONGEST_NAME
    if not isinstance(value, list) or len(value) not in (2, 3):
        return False
    *kind, layer, head = value
    return type(layer) is int and type(head) is int and all(isinstance(each, str) for each in kind)


def _is_share(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value <= 1


RUN = {
    "model": "a name of /api/models",
    "text": "what it reads",
    "pair": "a second segment",
    "target": "what an encoder-decoder's decoder reads",
    "truncate": "cut a text that is too long",
}
"""Fields of every run."""

ANALYZE = {**RUN, "weights": "heads whose weights are wanted", "top": "outcomes of each prediction"}

EXPLAIN = {
    **RUN,
    "method": "one of the attribution methods",
    "position": "the token whose prediction is explained; -1: the last",
    "outcome": "the token or label that is explained",
    "against": "the one it is held against",
}

FLAGGED = {"model": RUN["model"], "text": RUN["text"], "thresholds": "label -> least probability"}


def run_of(fields: Fields, service: Service) -> Run:
    """The run that a request asks for; a model that would have to be fetched is refused."""
    model, text = fields.text("model", LONGEST_NAME, needed=True), fields.text("text", LONGEST_TEXT, needed=True)
    assert model is not None
    assert text is not None
    if where_is(service, model, "") == HUB:
        msg = f"The model {model!r} is not on this machine, and a request fetches none. Open it in the app first."
        raise UnknownName(msg)
    pair, target = (fields.text(name, LONGEST_TEXT) for name in ("pair", "target"))
    return Run((model, None, None, None), text, pair or None, target or None, fields.flag("truncate"))


# -- what is answered ----------------------------------------------------------------------------------------------------


def models(service: Service) -> Json:
    """The models that can be asked about."""
    return {"models": [asdict(each) for each in listed_models(service.rules)]}


def analyze(given: Any, service: Service) -> Answer:
    """Tokens, the metrics of every head beside even attention, the predictions, and the weights of the heads asked for."""
    fields = Fields(given, ANALYZE)
    wanted, top = fields.heads("weights"), fields.number("top", 5, 1, MOST_OUTCOMES)

    def make(trace: Trace, _: Ticket) -> Json:
        heads = as_heads(wanted, trace.kinds)
        missing = [str(head) for head in heads if head not in set(trace.head_ids)]
        if missing:
            msg = f"This model has no head {missing[0]}; /api/analyze without weights lists those it has."
            raise UnknownName(msg)
        sizes = [trace.attention_of(head.kind) for head in heads]
        cells = sum(each.n_queries * each.n_keys for each in sizes)
        if cells > MOST_CELLS:
            msg = f"The weights of these heads are {cells:,} numbers, and an answer holds {MOST_CELLS:,}. Ask for fewer heads."
            raise TextError(msg)
        weights = [
            {
                "kind": head.kind, "layer": head.layer, "head": head.head,
                "weights": plain(trace.attention_of(head.kind).block(head.layer, head.head)),
            }
            for head in heads
        ]  # fmt: skip
        tokens = {side: rows(table[_columns(table)]) for side, table in trace.token_tables.items()}
        return about(trace) | {
            "tokens": tokens, "heads": rows(trace.heads), "weights": weights,
            "predictions": [] if without_predictions(trace) else rows(trace.predictions(top)),
        }  # fmt: skip

    return Answer(run_of(fields, service), make)


def explain(given: Any, service: Service) -> Answer:
    """The score of every token for one prediction."""
    fields = Fields(given, EXPLAIN)
    method = fields.text("method", LONGEST_NAME) or "integrated_gradients"
    if method not in METHODS:
        msg = f"There is no method {method!r}; there are {', '.join(METHODS)}."
        raise UnknownName(msg)
    target = Target(
        fields.number("position", -1, -1, math.inf),
        fields.text("outcome", LONGEST_NAME) or None,
        fields.text("against", LONGEST_NAME) or None,
    )

    def make(trace: Trace, ticket: Ticket) -> Json:
        def report(done: int, of: int) -> None:
            ticket.tell("asked", f"Working out {METHODS[method].title}", done / max(of, 1))

        found = attribute_trace(trace, target, method, report)
        return about(trace) | {
            "method": method, "target": found.target.words, "tokens": rows(found.tokens), "completeness_gap": found.delta,
            "notes": list(found.notes),
        }  # fmt: skip

    def cost(trace: Trace) -> Cost:
        return cost_of_passes(trace, METHODS[method].passes(sum(map(len, trace.token_tables.values()))), gradients=True)

    return Answer(run_of(fields, service), make, cost)


def flagged(given: Any, service: Service) -> Answer:
    """What a token classifier says of every word of a text, and the spans that reach its thresholds."""
    fields = Fields(given, FLAGGED)
    thresholds = fields.thresholds("thresholds")
    run = run_of(fields, service)

    def make(model: Model, ticket: Ticket) -> Json:
        def report(done: int, of: int) -> None:
            ticket.tell("asked", "Labelling words", done / max(of, 1))

        found = detection(token_labels(model, run.text, report), thresholds)
        whose = {"model": model.name, "revision": model.revision, "notes": list(map(str, model.notes))}
        return whose | {"words": rows(found.words), "spans": rows(found.spans)}

    return Answer(run, of_model=make)


ANSWERS: Mapping[str, Callable[[Any, Service], Answer]] = {"analyze": analyze, "explain": explain, "flagged": flagged}
"""Name in the address -> how it is answered."""


def about(trace: Trace) -> Json:
    """Whose numbers they are."""
    told = trace.provenance
    return {"model": told.get("model"), "revision": told.get("revision"), "notes": [str(note) for note in told.get("notes", ())]}


def _columns(table: pd.DataFrame) -> list[str]:
    return [name for name in ("token", "start", "end", "word", "sentence", "special") if name in table]


def rows(table: pd.DataFrame) -> list[Json]:
    """The rows of a table; what is not known is null."""
    return [
        {str(name): number(value) for name, value in zip(table.columns, row, strict=True)}
        for row in table.itertuples(index=False, name=None)
    ]


def plain(values: np.ndarray) -> list[Any]:
    """An array as lists; where a query may not look, null."""
    return [[number(each) for each in row] for row in values.tolist()]


def number(value: Any) -> Any:
    """A value as JSON has it."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | str | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return None if type(value).__name__ == "NAType" else str(value)


def refusal(error: AtlasError) -> Json:
    """What is answered instead."""
    return {"error": " ".join(str(error).split())}
