"""What the writing view shows: how the text goes on, token by token, and what else could have stood at each place."""

from __future__ import annotations

import functools
from collections.abc import Hashable
from typing import Any, ClassVar, NamedTuple

import pandas as pd
import param

from atlas.state.asking import Progress
from atlas.state.lens import Lens
from atlas.trace import Trace
from atlas.tracing.spans import WRITTEN
from atlas.tracing.writing import WRITE_ON, Continuation, WrittenToken, without_writing, written

MOST_TOKENS = 200
"""Most tokens written at once: a page of text, of which each token is a button."""

SIDES = {"source": "Text", "target": "Decoder's text"}

NO_TOKENS: tuple[WrittenToken, ...] = ()


class WritingChoices(param.Parameterized):
    """Choices of the writing view; they take effect when the model next writes."""

    tokens = param.Integer(default=20, bounds=(1, MOST_TOKENS), doc="How many tokens are written at most.")
    sample = param.Boolean(default=False, doc="Whether each token is drawn; otherwise the likeliest is taken.")
    temperature = param.Number(default=1.0, bounds=(0.05, 5.0), doc="Below 1 likely tokens become likelier.")
    top_p = param.Number(default=1.0, bounds=(0.01, 1.0), doc="Draw among the likeliest tokens that together have this share.")
    seed = param.Integer(default=0, bounds=(0, 2**31 - 1), doc="The same seed draws the same text.")


class Request(NamedTuple):
    """What the model was asked to write."""

    kept: int | None
    """Tokens of the trace that stay; None: all of a text, and none of a decoder's target."""
    begun: tuple[int, ...]
    """Ids of the tokens that come next."""
    tokens: int
    sampling: tuple[tuple[str, Any], ...]

    @property
    def key(self) -> str:
        """Names the result."""
        return f"after {self.kept} and {self.begun}: {self.tokens} by {self.sampling}"


class Shown(NamedTuple):
    """All that is on screen."""

    tokens: tuple[WrittenToken, ...] = NO_TOKENS
    picked: int | None = None
    """The token whose alternatives are shown."""
    alternatives: tuple[dict[str, Any], ...] = ()
    """They, as `BarList` takes them."""
    note: str = ""


class WritingLens(Lens):
    """What was written on the text on screen."""

    key: ClassVar = "writing"
    choices_type: ClassVar = WritingChoices
    marked_by: ClassVar = ("focus", "queries", "keys")

    def __init__(self, workspace: Any, **params: Any) -> None:
        self._request: Request | None = None
        self._halted: tuple[WrittenToken, ...] | None = None
        self._picked: int | None = None
        self._before = NO_TOKENS
        self._coming: list[WrittenToken] = []
        self._of: Trace | None = None
        self._shown: Shown | None = None
        super().__init__(workspace, **params)

    def depends(self) -> Hashable:
        """Not on the choices, which say how the next tokens are written."""
        return self._request, self._halted is None, self._picked

    def forget(self) -> None:
        """Drop what is shown; with another trace also what was asked for."""
        self._shown = None
        if self._of is not self.workspace.trace:
            self._of, self._request, self._halted, self._picked = self.workspace.trace, None, None, None

    # -- what is shown -------------------------------------------------------------------------------------------------

    @property
    def reason(self) -> str:
        """Why nothing can be written on; empty: it can."""
        if self.workspace.trace is None:
            return ""
        return without_writing(self.trace) or ("" if WRITE_ON in self.workspace.tasks else "its model is not here to write on.")

    def shown(self) -> Shown:
        """All that is on screen."""
        if self._shown is None:
            self._shown = self.attempt(self._work_out, Shown())
        return self._shown

    def _work_out(self) -> Shown:
        tokens, found = self._tokens()
        picked = self._picked if self._picked is not None and self._picked < len(tokens) else None
        self.line = self._describe(tokens, found)
        exact = found is None or found.exact or not found.tokens
        return Shown(
            tokens,
            picked,
            () if picked is None else (self._alternatives(tokens, picked),),
            "" if exact else "Read anew, this text is split into other tokens than those that were written.",
        )

    def _tokens(self) -> tuple[tuple[WrittenToken, ...], Continuation | None]:
        """The tokens, and the finished continuation they are of, if they are of one."""
        if self._halted is not None:
            return self._halted, None
        if self._request is None:
            return written(self.trace), None
        work = functools.partial(_write_on, self.workspace.tasks[WRITE_ON], self.trace, self._request, self._coming)
        nothing: Continuation | None = None
        found = self.ask(self._request.key, work, nothing, needs_model=True)
        return ((*self._before, *self._coming), None) if found is None else (found.tokens, found)

    def coming(self) -> tuple[WrittenToken, ...]:
        """The tokens so far, while the model writes."""
        return (*self._before, *self._coming)

    def _alternatives(self, tokens: tuple[WrittenToken, ...], at: int) -> dict[str, Any]:
        token = tokens[at]
        prompt = own.iloc[: there[0] if there else len(own)]
        rows: list[dict[str, Any]] = [
            {"span": name, "token": str(token)} for name, token in zip(prompt_spans(prompt), prompt["token"], strict=True)
        ]
        for number, token in enumerate(self.shown().tokens, start=1):
            rows += [
                {"span": WRITTEN, "token": token.token, "number": number, "probability": token.probability, "rank": rank,
                 "alternative": str(name), "alternative_probability": float(chance)}
                for rank, (name, chance) in enumerate(zip(token.names, token.probabilities, strict=True), start=1)
            ]  # fmt: skip
        columns = ["span", "token", "number", "probability", "rank", "alternative", "alternative_probability"]
        return pd.DataFrame(rows, columns=columns)


def _write_on(task: Any, trace: Trace, request: Request, coming: list[WrittenToken], progress: Progress) -> Continuation:
    progress.tell("Writing", 0.0)
    coming.clear()

    def report(token: WrittenToken) -> None:
        coming.append(token)
        progress.tell(f"Token {len(coming)} of {request.tokens}", len(coming) / request.tokens)

    made: Continuation = task(trace, request.kept, request.begun, request.tokens, dict(request.sampling), report)
    return made
