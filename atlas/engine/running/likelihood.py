"""How likely a model finds a word in its place, or a sentence: by prediction for causal models, by masking for masked ones."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
import torch

from atlas.engine.running.capture import stacked
from atlas.engine.running.encode import INPUTS, Encoded, check_ids, start_token, tokenize, too_long
from atlas.engine.running.interventions import Intervention
from atlas.engine.running.predict import BATCH_BYTES, logits_at, row_bytes
from atlas.errors import NotCaptured, TextError, TextTooLong
from atlas.text.checks import check_text

if TYPE_CHECKING:
    from atlas.engine.model import Model

CAUSAL, MASKED = "causal-lm", "masked-lm"

MOST_AT_ONCE = 64
"""Texts of a pass: more of them are no faster on a processor."""

MEAN_PROBABILITY, GEOMETRIC, SUM, MEAN_LOG = "mean probability", "geometric mean", "sum of logs", "mean log"
"""How the log-probabilities of several tokens become one number."""

NO_TABLE = pd.DataFrame()


class Reading(NamedTuple):
    """One text as the model reads it, and of which outcomes the log-probability is asked at which places."""

    ids: tuple[int, ...]
    places: tuple[int, ...]
    outcomes: tuple[int, ...]


class Query(NamedTuple):
    """One number that is asked for."""

    readings: tuple[Reading, ...]
    by: str
    first: int | None = None
    """A token that is asked after the start token alone, besides the readings."""


class Likelihoods:
    """Asks one model."""

    def __init__(self, model: Model, change: Intervention | None = None) -> None:
        if model.task not in (CAUSAL, MASKED):
            msg = f"{model.name} is no causal and no masked language model (its task is {model.task}), so it has no likelihoods."
            raise NotCaptured(msg)
        self.model, self.change = model, change
        self.masked = model.task == MASKED
        self._mask = getattr(model.tokenizer, "mask_token_id", None)
        if self.masked and self._mask is None:
            msg = f"The tokenizer of {model.name} has no mask token, so no token can be masked."
            raise NotCaptured(msg)
        self._first: np.ndarray | None = None

    # -- what is asked -------------------------------------------------------------------------------------------------

    def word(self, context: str, word: str, blank: str) -> Query:
        """How likely a word is where `blank` stands in a context, as StereoSet's authors ask masked models.

        Piece i of the word is asked at a single mask that follows the pieces before it; those after it are absent. The number is
        the mean of the probabilities. Where a space stands before the blank the word is split with that space, as it is in a
        text; the authors' code splits it without, which differs for vocabularies that write the space into the token.
        """
        before = " " if context[: context.find(blank)].endswith(" ") else ""
        pieces = self._ids(before + word, special=False)
        place = str(self.model.tokenizer.mask_token)
        masked = self._ids(context.replace(blank, place))
        readings = []
        for at, piece in enumerate(pieces):
            ids = [other for token in masked for other in ((*pieces[:at], token) if token == self._mask else (token,))]
            if self._mask not in ids or not pieces:
                msg = f"The tokenizer of {self.model.name} finds no mask in {context!r}."
                raise TextError(msg)
            # The authors look at the first mask where a context has two blanks.
            readings.append(Reading(tuple(ids), (ids.index(self._mask),), (piece,)))
        return self._checked(Query(tuple(readings), MEAN_PROBABILITY), word)

    def sentence(self, text: str, by: str = GEOMETRIC) -> Query:
        """How likely a whole sentence is by a causal model.

        As StereoSet's authors ask: the first token after the start token alone, every other after the tokens of the sentence
        before it. A tokenizer that itself puts a start token before a text has it before all tokens.
        """
        ids, special = self._tokens(text)
        while special and special[-1]:
            ids, special = ids[:-1], special[:-1]
        start = next((at for at, flag in enumerate(special) if not flag), len(ids))
        first = None if start else int(ids[0])
        asked = range(max(start, 1), len(ids))
        reading = Reading(tuple(ids), tuple(at - 1 for at in asked), tuple(ids[at] for at in asked))
        return self._checked(Query((reading,) if reading.places else (), by, first), text)

    def pair(self, one: str, other: str) -> tuple[Query, Query]:
        """How likely two sentences are that differ in some words.

        By a masked model as CrowS-Pairs' authors ask: the tokens that both share are masked one by one, and the logarithms of
        their probabilities summed. By a causal one: the mean logarithm over all tokens of each sentence.
        """
        if not self.masked:
            return self.sentence(one, MEAN_LOG), self.sentence(other, MEAN_LOG)
        ids, special = zip(*map(self._tokens, (one, other)), strict=True)
        blocks = difflib.SequenceMatcher(None, *ids).get_opcodes()
        equal = [block[1:] for block in blocks if block[0] == "equal"]
        places = (
            [at for first, last, _, _ in equal for at in range(first, last)],
            [at for _, _, first, last in equal for at in range(first, last)],
        )
        first, second = (
            self._checked(self._masked_one_by_one(own, [at for at in shared if not flags[at]], SUM), text)
            for own, flags, shared, text in zip(ids, special, places, (one, other), strict=True)
        )
        return first, second

    def after(self, context: str, text: str) -> Query:
        """How likely a sentence is after another one: the geometric mean over its tokens, masked one by one if need be."""
        whole = f"{context} {text}"
        check_text(whole)
        made = tokenize(self.model.tokenizer, whole, None)
        ids, special = list(made["input_ids"]), [bool(flag) for flag in made["special_tokens_mask"]]
        offsets = made.get("offset_mapping")
        own = (
            [at for at, (_, end) in enumerate(offsets) if end > len(context) + 1 and not special[at]]
            if offsets is not None
            else [at for at in range(len(self._ids(context)) - special.count(True), len(ids)) if not special[at]]
        )
        if self.masked:
            return self._checked(self._masked_one_by_one(ids, own, GEOMETRIC), whole)
        own = [at for at in own if at]
        reading = Reading(tuple(ids), tuple(at - 1 for at in own), tuple(ids[at] for at in own))
        return self._checked(Query((reading,), GEOMETRIC), whole)

    # -- answers -------------------------------------------------------------------------------------------------------

    def ask(self, queries: Sequence[Query]) -> list[float]:
        """The numbers of some queries, in passes of texts of like length."""
        found: dict[Reading, np.ndarray] = {}
        ordered = readings_of(queries)
        while ordered:
            size = min(MOST_AT_ONCE, max(1, BATCH_BYTES // row_bytes(self.model, encoded(ordered[0]))))
            batch, ordered = ordered[:size], ordered[size:]
            found.update(zip(batch, self._run(batch), strict=True))
        first = None if all(query.first is None for query in queries) else self._after_start()
        return [float(together(query, found, first)) for query in queries]

    def _run(self, batch: Sequence[Reading]) -> list[np.ndarray]:
        logits = logits_at(self.model, [encoded(reading) for reading in batch], [r.places for r in batch], self.change)
        return [asked_of(reading, rows) for reading, rows in zip(batch, logits, strict=True)]

    def start_reading(self) -> Reading:
        """The start token alone; of what follows it any outcome may be asked."""
        own = self.model.tokenizer.bos_token_id
        start = start_token(self.model.hf) if own is None else own
        return Reading((int(start),), (0,), (0,))

    def _after_start(self) -> np.ndarray:
        """Log-probability of every token after the start token alone."""
        if self._first is None:
            (row,) = logits_at(self.model, [encoded(self.start_reading())], [(0,)], self.change)
            self._first = row[0].log_softmax(dim=-1).double().cpu().numpy()
        return self._first

    def _masked_one_by_one(self, ids: Sequence[int], places: Sequence[int], by: str) -> Query:
        assert self._mask is not None
        own = list(ids)
        return Query(tuple(Reading((*own[:at], self._mask, *own[at + 1 :]), (at,), (own[at],)) for at in places), by)

    def _tokens(self, text: str) -> tuple[list[int], list[bool]]:
        check_text(text)
        made = tokenize(self.model.tokenizer, text, None)
        return list(made["input_ids"]), [bool(flag) for flag in made["special_tokens_mask"]]

    def _ids(self, text: str, *, special: bool = True) -> list[int]:
        check_text(text)
        return list(tokenize(self.model.tokenizer, text, None, add_special_tokens=special)["input_ids"])

    def _checked(self, query: Query, text: str) -> Query:
        """Refuse what the model cannot read before an hour of work, not after it."""
        for reading in query.readings:
            limit = self.model.limit
            if limit is not None and len(reading.ids) > limit:
                raise TextTooLong(too_long(len(reading.ids), limit, f"sentence {text!r}", "Leave it out."))
            check_ids(self.model.hf, np.asarray(reading.ids))
        return query


def encoded(reading: Reading) -> Encoded:
    """A reading as the model takes it."""
    ids = np.asarray(reading.ids, dtype=np.int64)
    return Encoded({"input_ids": ids, "attention_mask": np.ones_like(ids)}, NO_TABLE, None, None)


def readings_of(queries: Sequence[Query]) -> list[Reading]:
    """Every reading once, those of like length together.

    By their ids too: a resumed run then makes the same batches, and so the same numbers to the last digit.
    """
    return sorted({reading for query in queries for reading in query.readings}, key=lambda reading: (len(reading.ids), reading))


def asked_of(reading: Reading, logits: torch.Tensor) -> np.ndarray:
    """(..., place) log-probabilities of the outcomes of a reading; `logits` has its places, (..., place, outcome)."""
    outcomes = torch.as_tensor(reading.outcomes, device=logits.device).expand(logits.shape[:-1])
    asked = logits.gather(-1, outcomes[..., None])[..., 0] - logits.logsumexp(dim=-1)
    found: np.ndarray = asked.double().cpu().numpy()
    return found


def together(query: Query, found: Mapping[Reading, np.ndarray], first: np.ndarray | None) -> np.ndarray:
    """(...) the number of a query from the (..., place) log-probabilities of its readings.

    `first` has those of every outcome after the start token alone, (..., outcome).
    """
    parts = [] if query.first is None or first is None else [first[..., [query.first]]]
    parts += [found[reading] for reading in query.readings]
    logs = np.concatenate(parts, axis=-1) if parts else np.empty(0)
    if query.by == SUM:
        return np.asarray(logs.sum(axis=-1))
    if not logs.shape[-1]:
        return np.full(logs.shape[:-1], np.nan)
    if query.by == MEAN_PROBABILITY:
        return np.asarray(np.exp(logs).mean(axis=-1))
    return np.asarray(logs.mean(axis=-1) if query.by == MEAN_LOG else np.exp(logs.mean(axis=-1)))


def has_next_sentence_head(model: Model) -> bool:
    """Whether the model was given with BERT's trained head for next sentences."""
    return getattr(getattr(model.hf, "cls", None), "seq_relationship", None) is not None


def next_sentence(model: Model, pairs: Sequence[tuple[str, str]]) -> list[float]:
    """The probability that the second text follows the first, by BERT's head for next sentences."""
    batch = []
    for context, text in pairs:
        check_text(context)
        check_text(text)
        made = tokenize(model.tokenizer, context, text)
        inputs = {name: np.asarray(made[name], dtype=np.int64) for name in INPUTS if name in made}
        inputs.setdefault("attention_mask", np.ones_like(inputs["input_ids"]))
        if model.limit is not None and len(inputs["input_ids"]) > model.limit:
            raise TextTooLong(too_long(len(inputs["input_ids"]), model.limit, f"pair {text!r}", "Leave it out."))
        check_ids(model.hf, inputs["input_ids"])
        batch.append(Encoded(inputs, NO_TABLE, None, None))
    with model.held(), torch.no_grad():
        outputs = model.forward(stacked(model, batch))
    logits = getattr(outputs, "seq_relationship_logits", None)
    logits = outputs.logits if logits is None else logits
    return [float(value) for value in logits.float().softmax(dim=-1)[:, 0]]


def weights_fingerprint(model: Model) -> str:
    """What tells the weights of a model from those of another: its version, or a hash of them where it has none."""
    if model.revision is not None:
        return model.revision
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in model.hf.state_dict().items():
        digest.update(name.encode())
        digest.update(memoryview(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy()))
    return digest.hexdigest()


def describe(model: Model) -> dict[str, Any]:
    """Everything about a model that its numbers depend on."""
    return {
        "model": model.name,
        "weights": weights_fingerprint(model),
        "dtype": str(model.hf.dtype).removeprefix("torch."),
        "device": model.device.type,
    }
