"""What the writing view shows: how the text goes on, token by token, and what else could have stood at each place."""

from __future__ import annotations

import functools
from collections.abc import Hashable
from typing import Any, ClassVar, NamedTuple

import pandas as pd

from atlas.state.asking import Progress
from atlas.state.inputs import SpansOf
from atlas.state.lens import Lens, counted
from atlas.state.outcome_line import percent
from atlas.state.prediction_words import outcome_labels
from atlas.state.words import shown_token
from atlas.state.written import CANCELLED, WritingChoices, Written
from atlas.trace import Trace
from atlas.tracing.conversation import with_answer
from atlas.tracing.spans import WRITTEN, prompt_spans, spans_of, written_positions
from atlas.tracing.writing import (
    END,
    FULL,
    WRITE_ON,
    Continuation,
    WrittenToken,
    prompt_of,
    text_of,
    without_writing,
    written,
)

SIDES = {"source": "Text", "target": "Decoder's text"}

NO_TOKENS: tuple[WrittenToken, ...] = ()


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
    start: int = 0
    """Position of the first of them."""
    picked: int | None = None
    """The token whose alternatives are shown."""
    alternatives: tuple[dict[str, Any], ...] = ()
    """They, as `BarList` takes them."""
    note: str = ""


class WritingLens(Lens):
    """What was written on the text on screen."""

    key: ClassVar = "writing"
    choices_type: ClassVar = WritingChoices
    reads: ClassVar = {"written": ("record",)}
    marked_by: ClassVar = ("focus", "queries", "keys")

    def __init__(self, workspace: Any, **params: Any) -> None:
        self._request: Request | None = None
        self._halted: tuple[WrittenToken, ...] | None = None
        self._picked: int | None = None
        self._before = NO_TOKENS
        self._coming: list[WrittenToken] = []
        self._of: Trace | None = None
        self._noted: Written | None = None
        self._shown: Shown | None = None
        super().__init__(workspace, **params)

    def depends(self) -> Hashable:
        """Not on the choices, which say how the next tokens are written."""
        given = self.workspace.written.record
        # That a link has none is news, too.
        return self._request, self._halted is None, self._picked, None if given is self._noted else (given,)

    def forget(self) -> None:
        """Drop what is shown; with another trace also what was asked for."""
        self._shown = None
        self._fit_trace()

    def _fit_trace(self) -> None:
        """Drop what was asked for of another trace; a lens that slept has not heard that there is a new one."""
        if self._of is not self.workspace.trace:
            self._of, self._request, self._halted, self._picked = self.workspace.trace, None, None, None
            self._before, self._coming, self._shown, self._noted = NO_TOKENS, [], None, None
        given = self.workspace.written.record
        if given is not self._noted:
            self._take(given)

    def _take(self, given: Written | None) -> None:
        """Show a writing that a link holds, or none: its tokens are measured in one pass, and nothing is written."""
        self.drop_asked()
        self._noted, self._halted, self._picked, self._shown = given, None, None, None
        self._before, self._coming = NO_TOKENS, []
        self._request = None if given is None else Request(given.kept, given.ids, 0, given.sampling)

    def _note(self, tokens: tuple[WrittenToken, ...], stopped: str) -> None:
        """Keep what was written for a link."""
        request = self._request
        if request is not None and request.tokens:  # else it came from there
            ids = tuple(token.id for token in tokens)
            self._keep(Written(request.kept, ids, request.tokens, request.sampling, stopped) if ids else None)

    def _keep(self, made: Written | None) -> None:
        """Tell the link of it; the lens itself draws it already."""
        self._noted, self._depended = made, (self._request, self._halted is None, self._picked, None)
        self.workspace.written.record = made

    # -- what is shown -------------------------------------------------------------------------------------------------

    @property
    def reason(self) -> str:
        """Why nothing can be written on; empty: it can."""
        if self.workspace.trace is None:
            return ""
        return without_writing(self.trace) or ("" if WRITE_ON in self.workspace.tasks else "its model is not here to write on.")

    def shown(self) -> Shown:
        """All that is on screen."""
        self._fit_trace()
        if self._shown is None:
            self._shown = self.attempt(self._work_out, Shown())
        return self._shown

    def _work_out(self) -> Shown:
        tokens, found = self._tokens()
        picked = self._picked if self._picked is not None and self._picked < len(tokens) else None
        if found is not None:
            self._note(tokens, found.stopped)
        self.line = self._describe(tokens, found)
        exact = found is None or found.exact or not found.tokens
        return Shown(
            tokens,
            self.start if found is None else found.start,
            picked,
            () if picked is None else (self._alternatives(tokens, picked, self.start if found is None else found.start),),
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

    @property
    def start(self) -> int:
        """Position of the first written token, as far as it is known before the model has written."""
        positions = written_positions(self.trace)[1]
        tables = self.trace.token_tables
        return positions[0] if positions else 1 if "target" in tables else len(tables["source"])

    def coming(self) -> tuple[WrittenToken, ...]:
        """The tokens so far, while the model writes."""
        return (*self._before, *self._coming)

    def _alternatives(self, tokens: tuple[WrittenToken, ...], at: int, start: int) -> dict[str, Any]:
        token = tokens[at]
        rows = [
            {
                "key": f"{at}:{int(number)}",
                "label": name,
                "shares": [float(chance)],
                "number": percent(float(chance)),
                "state": "chosen" if int(number) == token.id else "",
            }
            for number, name, chance in zip(
                token.ids, outcome_labels([str(name) for name in token.names]), token.probabilities, strict=True
            )
        ]
        if token.id not in token.ids:
            rows.append(
                {"label": outcome_labels([token.token])[0], "shares": [token.probability], "number": percent(token.probability),
                 "note": f"less likely than the first {len(token.ids)}"}
            )  # fmt: skip
        return {"name": f"In place of '{shown_token(token.token.strip() or token.token)}' ({start + at})", "rows": rows}

    def spans(self) -> tuple[dict[str, Any], ...]:
        """Chips that select what the reader gave, what the model wrote, and the messages of each role."""
        if self.workspace.trace is None:
            return ()
        groups = []
        for side, title in SIDES.items():
            selection = self.workspace.selection
            held = {
                position
                for axis, chosen in (("query", selection.queries), ("key", selection.keys))
                if selection.side(axis) == side
                for position in chosen
            }
            chips = [
                {"key": f"{side}:{name}", "label": name, "count": len(positions), "active": set(positions) <= held,
                 "title": f"Select the {counted(len(positions), 'token')}"}
                for name, positions in spans_of(self.trace, side).items()
            ]  # fmt: skip
            if chips:
                groups.append({"name": title, "chips": chips})
        return tuple(groups)

    # -- what a reader does --------------------------------------------------------------------------------------------

    def write_on(self) -> None:
        """Write on after all that is shown."""
        self._ask_for(self.shown().tokens)

    def begin(self) -> None:
        """Write on, where nothing is written yet and the model can."""
        if not self.begun and not self.reason:
            self.write_on()

    def pick(self, at: int) -> None:
        """Show the alternatives of a token; picked again, it is let go of."""
        self._picked = None if self._picked == at or not 0 <= at < len(self.shown().tokens) else at
        self._draw_again()

    def choose(self, key: str) -> None:
        """Write on from an alternative in place of the picked token."""
        at, _, number = key.partition(":")
        tokens = self.shown().tokens
        if int(at) >= len(tokens):
            return  # the text changed while the press was on its way
        self._ask_for(tokens[: int(at)], int(number))

    def start_anew(self) -> None:
        """Drop what was written here."""
        self.drop_asked()
        self._take(None)
        self._keep(None)
        self._redraw()

    def cancel(self) -> None:
        """Stop the writing; what is there stays."""
        if self.busy:
            so_far = self.coming()
            self.drop_asked()
            self._halted = so_far
            self._note(so_far, CANCELLED)
            self._redraw()

    def analyse(self) -> None:
        """Make the text with what was written the text of the Atlas, and run it."""
        given, trace = self.workspace.pipeline.input, self.trace
        assert given is not None
        tokens, found = self._tokens()
        two_sides = "target" in trace.token_tables
        kept = None if two_sides or self._request is None else self._request.kept
        text, spans = prompt_of(trace, kept)
        if found is not None:
            whole, spans = found.text, found.spans
        elif two_sides:
            whole = text_of(tokens).strip()
            spans = (*spans, ("target", 0, len(whole), WRITTEN))
        else:
            whole = text + text_of(tokens)
            spans = (*spans, ("source", len(text), len(whole), WRITTEN))
        text, target = (text, whole) if two_sides else (whole, "")
        ran = self.workspace.pipeline.shown
        if ran is not None and ran.chat:
            # The template writes the conversation out again, answer included, so that the model reads what it wrote on.
            answered = {"target": whole} if two_sides else {"text": with_answer(ran.text, text_of(tokens)), "target": ""}
            given.param.update(**answered, chat=True)
        else:
            given.put(text, "", target, SpansOf(text, target, spans))
        self.workspace.pipeline.run()

    @property
    def can_analyse(self) -> bool:
        """Whether there is a text that is not the one on screen."""
        return bool(self.shown().tokens) and not self.busy and (self._request is not None or self._halted is not None)

    @property
    def begun(self) -> bool:
        """Whether something was written here."""
        return self._request is not None

    def _ask_for(self, before: tuple[WrittenToken, ...], more: int | None = None) -> None:
        choices, trace = self.choices, self.trace
        sampling = {"sample": choices.sample}
        if choices.sample:
            sampling |= {"temperature": choices.temperature, "top_p": choices.top_p, "seed": choices.seed}
        _, positions = written_positions(trace)
        ids = (*(token.id for token in before), *(() if more is None else (more,)))
        self.drop_asked()
        self._request = Request(positions[0] if positions else None, ids, choices.tokens, tuple(sampling.items()))
        self._halted, self._picked, self._before, self._coming = None, None, before, []
        self._redraw()

    # -- in words, and to take away ------------------------------------------------------------------------------------

    def _describe(self, tokens: tuple[WrittenToken, ...], found: Continuation | None) -> str:
        if self._request is None:
            here = f"{counted(len(tokens), 'token')} of the text on screen were written by the model" if tokens else ""
            return here or (f"Nothing is written on: {self.reason}" if self.reason else "Nothing is written yet: press Write on")
        how = dict(self._request.sampling)
        by = (
            f"sampled with temperature {how['temperature']:g}, top-p {how['top_p']:g}, seed {how['seed']}"
            if how["sample"]
            else "the likeliest each time"
        )
        restored = self._noted if not self._request.tokens else None
        if found is None and self._halted is None:
            if restored is not None:
                return f"reading {counted(len(restored.ids), 'token')} that were written, {by}"
            return f"writing up to {counted(self._request.tokens, 'token')}, {by}"
        stopped = "" if found is None else found.stopped if restored is None else restored.stopped
        state = "cancelled after " if self._halted is not None or stopped == CANCELLED else ""
        ended = {END: "; then the model ended the text", FULL: "; then all positions of the model were used up"}
        return f"{state}{counted(len(tokens), 'token')}, {by}{ended.get(stopped, '')}"

    def table(self) -> pd.DataFrame:
        """The text and what was written on it: one row a token of the text, one a written token and alternative."""
        trace = self.trace
        side, there = written_positions(trace)
        own = trace.token_tables[side]
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
    progress.tell("Writing" if request.tokens else "Reading what was written", 0.0)
    coming.clear()

    def report(token: WrittenToken) -> None:
        coming.append(token)
        progress.tell(f"Token {len(coming)} of {request.tokens}", len(coming) / request.tokens)  # of 0 none comes

    made: Continuation = task(trace, request.kept, request.begun, request.tokens, dict(request.sampling), report)
    return made
