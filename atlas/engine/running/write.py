"""Lets a model write on, then runs one pass over the whole text, which records everything."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from atlas.engine.running.capture import Rerun, fitting
from atlas.engine.running.completed import completed, places_written
from atlas.engine.running.draft import NO_CHANGE, Draft, cut_to, ends_of, open_ended, reason_against, settings_of, steps
from atlas.engine.running.encode import Encoded, check_ids, tokenize, too_long
from atlas.engine.running.interventions import Intervention
from atlas.engine.running.predict import logits_at
from atlas.engine.running.recorder import TextShape
from atlas.engine.running.sampling import OnToken, Sampling, written_token
from atlas.errors import NotCaptured, TextError, TextTooLong, UnsupportedModel
from atlas.ids import as_head
from atlas.trace import NO_MODEL
from atlas.tracing.spans import SPAN, WRITTEN, Span, ranges_of, with_column, with_spans
from atlas.tracing.writing import END, ENOUGH, FULL, PROBABILITY, WRITE_ON, Continuation, WrittenToken

if TYPE_CHECKING:
    import pandas as pd

    from atlas.engine.model import Model
    from atlas.trace import Trace

MEANS = (
    "Heads are replaced by their mean over the text. While the text was written that was the text so far, so that the "
    "probabilities of this trace are not those by which the tokens were chosen."
)


def write_trace(
    draft: Draft,
    tokens: int,
    sampling: Sampling,
    *,
    keep: str,
    groups: Sequence[str],
    on_token: OnToken | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Trace:
    """Let a model write, then trace the whole text in one pass."""
    if isinstance(tokens, bool) or not isinstance(tokens, int) or tokens < 1:
        msg = f"tokens={tokens!r} has to be a whole number from 1: so many tokens are written at most."
        raise TextError(msg)
    model = draft.model
    room = draft.room(tokens)
    # Refused before an hour of writing, not after it.
    model.sized(draft.shape(room), keep, groups)
    done = 0

    def report(token: WrittenToken) -> None:
        nonlocal done
        done += 1
        if on_token is not None:
            on_token(token)
        if progress is not None:
            progress(done, room)

    ids, stopped = steps(draft, tokens, sampling, report)
    encoded = completed(draft, ids)
    change, notes = _fitting_change(draft, encoded)
    (trace,) = model.traced([encoded], [change or None], keep, groups)
    notes = [*_notes(draft, ids, stopped, sampling), *notes]
    about = {
        "tokens": tokens, "written": len(ids), "begun": len(draft.begun), "stopped": stopped, "sample": sampling.sample,
        "temperature": sampling.temperature, "top_p": sampling.top_p, "seed": sampling.seed,
    }  # fmt: skip
    return replace(
        trace,
        token_tables=_with_probabilities(model, trace, encoded, change, places_written(draft, encoded)),
        provenance={**trace.provenance, "notes": [*trace.provenance["notes"], *notes], "writing": about},
    )


def _fitting_change(draft: Draft, encoded: Encoded) -> tuple[Intervention, list[str]]:
    """The changes of the last pass, without edges of positions that were never written."""
    change = draft.change
    edges = list(change.edges())
    kept = [edge for edge in edges if _exists(edge, draft.model, encoded)]
    lost = len(edges) - len(kept)
    notes = [f"{lost} of the edges to cut name a position that was not written."] if lost else []
    return replace(change, knock_out=kept), [*notes, *([MEANS] if draft.means else [])]


def _exists(edge: Any, model: Model, encoded: Encoded) -> bool:
    kind = as_head(edge[0], model.kinds).kind
    shape = fitting(model, TextShape(encoded.n_source, encoded.n_target))[kind]
    return bool(edge[1] < shape.n_queries and edge[2] < shape.n_keys)


def _notes(draft: Draft, ids: Sequence[int], stopped: str, sampling: Sampling) -> list[str]:
    how = (
        f"sampled with temperature {sampling.temperature:g}, top-p {sampling.top_p:g} and seed {sampling.seed}"
        if sampling.sample
        else "the likeliest each time"
    )
    why = {
        END: " Then the model ended the text.",
        FULL: f" Then the {draft.model.limit:,} positions of the model were used up." if draft.model.limit else "",
        ENOUGH: "",
    }[stopped]
    several = f"{len(ids):,} token" + ("" if len(ids) == 1 else "s")
    notes = [f"The model wrote {several}, {how}.{why}"]
    settings = settings_of(draft.model)
    if settings:
        notes.append(
            f"Its generation settings ({', '.join(settings)}) had a say in the choice; probabilities are the model's own."
        )
    return notes


def spanned(encoded: Encoded, spans: Sequence[Span]) -> Encoded:
    """The inputs of a text with the column `span` in their tables."""
    if not spans:
        return encoded
    of_side = {side: [span[1:] for span in spans if span[0] == side] for side in ("source", "target")}
    target = encoded.target_tokens
    return replace(
        encoded,
        tokens=with_spans(encoded.tokens, of_side["source"]),
        target_tokens=None if target is None else with_spans(target, of_side["target"]),
    )


def with_written(model: Model, trace: Trace, encoded: Encoded, change: Intervention) -> Trace:
    """A trace with the probabilities of the tokens that its spans say were written."""
    side = "target" if "cross" in model.kinds else "source"
    # Nothing predicts the first token; a model that does not write predicts no token from those before it.
    places = [at for at, name in enumerate(trace.token_tables[side][SPAN]) if name == WRITTEN and at]
    if not places or reason_against(model):
        return trace
    return replace(trace, token_tables=_with_probabilities(model, trace, encoded, change, places))


def _with_probabilities(
    model: Model, trace: Trace, encoded: Encoded, change: Intervention, written: Sequence[int]
) -> dict[str, pd.DataFrame]:
    """The token tables with the probability of every written token, from the pass over the whole text."""
    side = "target" if "cross" in model.kinds else "source"
    table = trace.token_tables[side]
    chances = np.full(len(table), np.nan)
    missing = []
    for at in written:
        row, outcomes = at - 1, trace.outcomes
        places = [] if outcomes is None else np.flatnonzero(outcomes.ids[row] == int(table["id"].iloc[at])).tolist()
        if outcomes is not None and places:
            chances[at] = np.exp(float(outcomes.logits[row, places[0]]) - float(outcomes.log_sum_exp[row]))
        else:
            missing.append(at)
    if missing:
        # A sampled token may be none of the likeliest that a trace keeps.
        rows = logits_at(model, [encoded], [[at - 1 for at in missing]], change or None)[0].double().log_softmax(-1)
        for row, at in zip(rows, missing, strict=True):
            chances[at] = float(row[int(table["id"].iloc[at])].exp())
    return {**trace.token_tables, side: with_column(table, PROBABILITY, chances)}


# -- for the page --------------------------------------------------------------------------------------------------------


def write_on(
    trace: Trace,
    kept: int | None = None,
    begun: Sequence[int] = (),
    tokens: int = 50,
    sampling: Mapping[str, Any] | None = None,
    on_token: OnToken | None = None,
) -> Continuation:
    """Let the model of a trace write on.

    Parameters
    ----------
    trace
        The trace whose model writes, under the trace's interventions.
    kept
        So many tokens of the trace stay, on the side that is written; None: all of a text, and none of a decoder's target.
    begun
        Ids of tokens that come next, such as an alternative that the reader chose.
    tokens
        How many tokens are written at most; 0: only those of `begun` are measured.
    sampling
        Fields of `Sampling`; None: greedy.
    on_token
        Called with every token as it is written.
    """
    live = trace.live
    if not isinstance(live, Rerun):
        raise NotCaptured(NO_MODEL)
    live.check_weights()
    model, encoded, change = live.model, live.encoded, live.change or NO_CHANGE
    _check_begun(model, encoded, kept, begun)
    reason = reason_against(model)
    if reason:
        raise UnsupportedModel(reason)
    if encoded.pair is not None:
        msg = "A text with a second segment cannot be written on. Put both into one text."
        raise TextError(msg)
    if "cross" in model.kinds:
        own = [] if encoded.decoder_ids is None or kept is None else [int(token) for token in encoded.decoder_ids[1:kept]]
        prompt = replace(encoded, decoder_ids=None, target=None, target_tokens=None)
        draft = Draft(model, prompt, (*own, *begun), change)
    else:
        prompt = open_ended(encoded, ends_of(model)) if kept is None else cut_to(encoded, kept)
        own = []
        draft = Draft(model, prompt, tuple(begun), change)
    ids, stopped = steps(draft, tokens, Sampling(**(sampling or {})), on_token or (lambda _: None))
    whole = completed(draft, ids)
    change, _ = _fitting_change(draft, whole)
    every = [*draft.begun, *ids]
    found: list[WrittenToken] = []
    if every:
        places = [at - 1 for at in places_written(draft, whole)]
        rows = logits_at(model, [whole], [places], change or None)[0]
        found = [written_token(model.tokenizer, every[: at + 1], row) for at, row in enumerate(rows.cpu())]
    text, exact = _to_read_anew(draft, whole)
    spans = _spans_of(whole, text, two_sides=draft.two_sides)
    return Continuation(tuple(found[len(own) :]), stopped, text, draft.used - len(begun), exact, spans)


def _check_begun(model: Model, encoded: Encoded, kept: int | None, begun: Sequence[int]) -> None:
    """Refuse tokens that the model does not have, or more than it has positions for: they may come from somebody's link."""
    n_there = encoded.n_target if "cross" in model.kinds else encoded.n_source
    if kept is not None and not 1 <= kept <= n_there:
        msg = f"{kept:,} tokens cannot be kept of a text that has {n_there:,}."
        raise TextError(msg)
    if begun:
        check_ids(model.hf, np.asarray(begun, dtype=np.int64))
    used = len(begun) + (n_there if kept is None and "cross" not in model.kinds else kept or 1)
    if model.limit is not None and used > model.limit:
        raise TextTooLong(too_long(used, model.limit, "text with what was written", "Shorten it, or start the writing anew."))


def _spans_of(whole: Encoded, text: str, *, two_sides: bool) -> tuple[Span, ...]:
    """The spans of a text that was written on, in the characters of what another run reads."""
    source = ranges_of(whole.tokens, list(whole.tokens[SPAN]), "source")
    if two_sides:
        return (*source, ("target", 0, len(text), WRITTEN)) if text else source
    # `_to_read_anew` may have taken a BOS from the beginning.
    lost = len(whole.text) - len(text) if whole.text is not None else 0
    return tuple((side, max(start - lost, 0), end - lost, name) for side, start, end, name in source if end > lost)


def _to_read_anew(draft: Draft, whole: Encoded) -> tuple[str, bool]:
    """The text that another run reads, and whether that run will have the same tokens."""
    tokenizer = draft.model.tokenizer
    if draft.two_sides:
        text, ids = whole.target or "", list(whole.decoder_ids if whole.decoder_ids is not None else [])
        again = list(tokenize(tokenizer, text, None, target=True)["input_ids"]) if text else []
        return text, again[:-1] == [int(token) for token in ids[1:]]
    ids = [int(token) for token in whole.inputs["input_ids"]]
    text = whole.text if whole.text is not None else tokenizer.decode(ids, skip_special_tokens=True)
    # A chat template writes the BOS into the text; read anew, the tokenizer would put a second one before it.
    first = str(getattr(tokenizer, "bos_token", None) or "")
    for candidate in dict.fromkeys([text, text.removeprefix(first)]):
        if candidate and list(tokenize(tokenizer, candidate, None)["input_ids"][: len(ids)]) == ids:
            return candidate, True
    return text, False


TASKS: Mapping[str, Callable[..., Any]] = {WRITE_ON: write_on}
"""Work with the model that views may request, by name."""
