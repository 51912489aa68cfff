"""Chooses the next token while a model writes: the likeliest, or one sampled from a seed of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import transformers

from atlas.engine.running.capture import token_names
from atlas.engine.running.recorder import to_numpy
from atlas.errors import TextError
from atlas.tracing.writing import ALTERNATIVES, WrittenToken

OnToken = Callable[[WrittenToken], object]
"""Called with every token as it is written; what it raises ends the writing."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is chosen."""

    sample: bool = False
    """False: always the likeliest token (greedy)."""
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.sample and (self.temperature != 1 or self.top_p != 1):
            msg = "temperature and top_p choose among likely tokens, so they need sample=True; without it the likeliest is taken."
            raise TextError(msg)
        if not 0 < self.temperature < float("inf"):
            msg = f"temperature={self.temperature} has to be above 0; for the likeliest token every time leave sample out."
            raise TextError(msg)
        if not 0 < self.top_p <= 1:
            msg = f"top_p={self.top_p} has to be above 0 and at most 1; 1 leaves no token out."
            raise TextError(msg)
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or not 0 <= self.seed < 1 << 63:
            msg = f"seed={self.seed!r} has to be a whole number from 0."
            raise TextError(msg)

    def generator(self) -> torch.Generator:
        """A source of random numbers of its own, on the CPU so that a seed gives the same text on every device."""
        return torch.Generator().manual_seed(self.seed)

    def choose(self, scores: torch.Tensor, generator: torch.Generator) -> int:
        """The next token by its scores, (vocabulary,)."""
        if not self.sample:
            return int(scores.argmax())
        chances, ids = (scores.double() / self.temperature).softmax(-1).sort(descending=True, stable=True)
        if self.top_p < 1:
            # The smallest set of likeliest tokens that together have at least top_p: a token is out if those before it have.
            chances = chances.masked_fill(chances.cumsum(-1) - chances >= self.top_p, 0.0)
        return int(ids[torch.multinomial(chances, 1, generator=generator)])


class Chooser(transformers.LogitsProcessor):
    """Chooses every token of `generate` and reports it; `generate` then finds only this token possible."""

    def __init__(self, tokenizer: Any, ends: Sequence[int], sampling: Sampling, on_token: OnToken) -> None:
        self.tokenizer, self.ends, self.sampling, self.on_token = tokenizer, ends, sampling, on_token
        self.generator = sampling.generator()
        self.ids: list[int] = []
        self.ended = False

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:  # noqa: ARG002 - generate's own
        """The scores with every token but the chosen one made impossible."""
        row = scores[0].float().cpu()
        chosen = self.sampling.choose(row, self.generator)
        if chosen in self.ends:
            self.ended = True
        else:
            self.ids.append(chosen)
            self.on_token(written_token(self.tokenizer, self.ids, row))
        only = torch.full_like(scores, float("-inf"))
        only[0, chosen] = 0.0
        return only


class Enough(transformers.StoppingCriteria):
    """Stops `generate` once so many tokens are written."""

    def __init__(self, chooser: Chooser, tokens: int) -> None:
        self.chooser, self.tokens = chooser, tokens

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:  # noqa: ARG002 - generate's own
        """Whether the one text of the batch is done."""
        return torch.tensor([len(self.chooser.ids) >= self.tokens], device=input_ids.device)


def written_token(tokenizer: Any, written: Sequence[int], logits: torch.Tensor) -> WrittenToken:
    """The last of some written tokens with its probability and its alternatives, from the logits at its place."""
    chances, token = logits.double().softmax(-1), int(written[-1])
    top = chances.topk(min(ALTERNATIVES, len(chances)))
    ids = to_numpy(top.indices)
    names = token_names(tokenizer, np.append(ids, token))
    # A difference of texts, because a token decoded alone loses the space before it in some vocabularies.
    before, after = (tokenizer.decode(list(part), clean_up_tokenization_spaces=False) for part in (written[:-1], written))
    added = after[len(before) :] if before else (" " if names[-1].startswith(" ") and not after.startswith(" ") else "") + after
    return WrittenToken(token, str(names[-1]), added, float(chances[token]), ids, names[:-1], to_numpy(top.values))
