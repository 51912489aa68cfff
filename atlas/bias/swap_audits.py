"""Counterfactuals of many texts: what a model predicts, a detector flags and heads attend to, each beside neutral swaps."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from atlas.bias.alignment import equal_tokens
from atlas.bias.detection import labels_of_trace
from atlas.bias.neutral import neutral_swaps
from atlas.bias.page_texts import MOST_TEXTS, numbered, rows_of_page
from atlas.bias.reactions import heads_moved
from atlas.bias.swap_tables import Seen, tables_of
from atlas.bias.swaps import Swaps, counterfactuals, parse_swaps
from atlas.bias.templates import template_texts
from atlas.engine.gradients.subject import model_of
from atlas.engine.loading.load import load
from atlas.engine.model import Model
from atlas.engine.running.other_texts import encoded_like, own_tokens, traces_like, without_likelihood
from atlas.errors import AtlasError, BadData, TooLarge, UnknownName
from atlas.ids import HeadId
from atlas.text.files import BadRow, TextRow, TextRows
from atlas.tracing.labelled import Words, words_of
from atlas.tracing.many_texts import TextsOf
from atlas.tracing.outcomes import CLASSIFIES_TEXT
from atlas.tracing.predictions import LABELS, MASKED, SEQ2SEQ, WHOLE_TEXT, distributions, task_of
from atlas.tracing.swap_audit import CATEGORIES, EVERY, NEUTRAL_EACH, SWAP_AUDIT, SwapAudit

if TYPE_CHECKING:
    from atlas.ids import Headlike
    from atlas.trace import Trace
    from atlas.tracing.counterfactual import Counterfactual
    from atlas.tracing.labelled import Thresholds

MOST_PAIRS = 500
"""Pairs of a page at most: of 1,200 heads the numbers of so many take 40 MB."""

MOST_TOKENS = 200_000_000
"""Tokens through the model at most, over all runs of a page: half an hour of a small model on a processor."""

ELSEWHERE = "`atlas bias MODEL --counterfactuals FILE` takes more."

NO_PROBABILITY = "nothing: its output is no probability"

OWN_LABELS = "nothing more: its predictions are its labels"

Progress = Callable[[int, int], object]
"""(pairs done, all pairs)"""

Tell = Callable[[str, float], object]
"""(message, share done)"""


@dataclass
class Held:
    """What a run has found so far, and what is left."""

    pairs: list[tuple[TextRow, Counterfactual]] | None = None
    """None: not listed yet."""
    bad: list[BadRow] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    done: int = 0
    """Pairs that need no more work."""
    detector: str = ""
    limits: Mapping[str, float] = field(default_factory=dict)
    """Thresholds that the detector brings along."""
    classes: tuple[str, ...] = ()
    """Names of the classes of a classifier of texts."""


def swap_audit(
    model: str | Model | Any,
    texts: TextRows | Sequence[str] | str,
    swaps: Swaps = None,
    category: str = EVERY,
    neutral: int = NEUTRAL_EACH,
    thresholds: Thresholds = None,
    seed: int = 0,
    progress: Progress | None = None,
    *,
    ablate: Sequence[Headlike] = (),
) -> SwapAudit:
    """Compare many texts with their counterfactuals.

    Parameters
    ----------
    model
        A Model, or whatever `atlas.load` takes.
    texts
        What `atlas.text.files.read_texts` read; texts; or the name of a set that comes with Atlas: 'occupations', 'feelings',
        'identities'.
    swaps
        The swap to make instead of those of identity terms, as `counterfactuals` takes it.
    category
        One of the nine categories of identity terms; 'all'.
    neutral
        Neutral swaps that each pair is held against; 0: none, and nothing is known of chance but whether changes have a sign.
    thresholds
        Of `flagged`, as `detect` takes them.
    seed
        Of neutral words, null and intervals.
    progress
        Called with the pairs done and all pairs.
    ablate
        Heads that are switched off.

    Returns
    -------
    `pairs` (with `flagged`, `flagged_new`), `groups`, `heads`, `null`, `bad`.

    Notes
    -----
    Of two identities and several words for one of them the first is taken. `predicted` is, of a language model, the mean change
    of the log-probability of the tokens of the words in both texts (of masked ones each masked by itself); of a classifier of
    texts the change of the probability of the class that is likeliest over all of them.
    """
    asked = model if isinstance(model, Model) else load(model)
    rows = numbered(template_texts(texts) if isinstance(texts, str) else texts)
    held = Held()
    check_category(category)
    held.pairs = _listed(rows, swaps, category, held.bad)
    _go_on(asked, held, neutral, tuple(ablate), seed, progress)
    found = _result(asked, held, neutral, swaps if isinstance(swaps, str) else "", seed)
    if not len(found.pairs):
        msg = _nothing(found.bad)
        raise BadData(msg)
    provenance = {**found.provenance, "category": category, "thresholds": thresholds, "ablated": list(map(str, ablate))}
    return SwapAudit(**(vars(found) | {"pairs": found.flagged(thresholds), "provenance": provenance}))


def check_category(category: str) -> None:
    """Refuse what is no category."""
    if category not in (EVERY, *CATEGORIES):
        msg = f"{category!r} is no category; there are {EVERY}, {', '.join(CATEGORIES)}."
        raise UnknownName(msg)


def _nothing(bad: pd.DataFrame) -> str:
    first = f"; the first one, row {bad['row'].iloc[0]}, {bad['reason'].iloc[0].removesuffix('.')}" if len(bad) else ""
    return f"None of {len(bad):,} rows could be used{first}."


def _listed(
    rows: TextRows, swaps: Swaps, category: str, bad: list[BadRow], report: Progress | None = None
) -> list[tuple[TextRow, Counterfactual]]:
    """The pairs of all texts; rows that give none go to `bad` with the reason."""
    if isinstance(swaps, str):
        parse_swaps(swaps)  # what says no swap is one error, and not one a row
    bad += rows.bad
    pairs: list[tuple[TextRow, Counterfactual]] = []
    for at, row in enumerate(rows.texts):
        if report is not None:
            report(at, len(rows.texts))
        try:
            found = counterfactuals(row.text, swaps)
        except AtlasError as error:
            bad.append(BadRow(row.row, str(error)))
            continue
        # Of several words for one identity the first: the others would count a text more often.
        first = {(each.category, each.between, "" if swaps is None else each.text): each for each in reversed(found)}
        kept = [each for each in reversed(first.values()) if swaps is not None or category in (EVERY, each.category)]
        pairs += [(row, each) for each in kept]
        if not kept:
            what = (
                "of what is to be exchanged" if swaps is not None else "of an identity" if category == EVERY else f"of {category}"
            )
            bad.append(BadRow(row.row, f"has no word {what}"))
    return pairs


# -- one pair --------------------------------------------------------------------------------------------------------------


class Text:
    """A text as a model reads it, with what all of its pairs need."""

    def __init__(self, model: Model, row: TextRow, ablate: Sequence[Headlike]) -> None:
        self.groups = ("predictions",) if model.task in (CLASSIFIES_TEXT, LABELS) else ()
        self.trace = model.trace(row.text, ablate=ablate, capture=self.groups)
        self.live = model_of(self.trace)
        self.logs = None if without_likelihood(model) else own_tokens(self.live, self.live.encoded)
        self.labels = labels_of_trace(self.trace)
        self.words = words_of(self.labels)
        self.row = row

    def pair(self, found: Counterfactual, neutral: int, seed: int) -> Seen:
        """What its counterfactual changes, and what neutral swaps do."""
        live = self.live
        beside = neutral_swaps(self.row.text, found, lambda text: len(encoded_like(live, text).tokens), neutral, seed)
        others = [found, *(beside.found if neutral else ())]
        encoded = [encoded_like(live, each.text) for each in others]
        traces = list(traces_like(live, encoded, self.groups))
        words = [words_of(labels_of_trace(each)) for each in traces]
        base = _level(self.words)
        likelihood = np.array([
            self._likelihood(trace, own_tokens(live, each), swap) if self.logs is not None else np.nan
            for trace, each, swap in zip(traces, encoded, others, strict=True)
        ])  # fmt: skip
        return Seen(
            self.row.row,
            self.row.text,
            found,
            likelihood,
            np.stack([_classes(each) for each in (self.trace, *traces)]),
            np.array([_level(each) - base for each in words]),
            np.stack([each.distance for each in heads_moved(self.trace, zip(traces, others, strict=True))]),
            (self.words, words[0]),
            " ".join(filter(None, (*found.notes, beside.note if neutral else ""))),
        )

    def _likelihood(self, trace: Trace, logs: np.ndarray, found: Counterfactual) -> float:
        """Change of the mean log-probability of the words in both; of an encoder-decoder, of what its decoder reads."""
        assert self.logs is not None
        if self.live.model.task == SEQ2SEQ:
            change = logs - self.logs
        else:
            pairs = equal_tokens(self.trace.token_tables["source"], trace.token_tables["source"], found)
            change = np.array([logs[new] - self.logs[old] for old, new in pairs])
        return float(np.nanmean(change)) if np.isfinite(change).any() else np.nan


def _level(words: Words) -> float:
    """Mean over words of the probability of the likeliest label."""
    return float(words.probability.max(axis=1).mean()) if len(words.table) else np.nan


def _classes(trace: Trace) -> np.ndarray:
    """Probabilities of all classes of a text, by their number; nothing where the model does not classify texts."""
    if task_of(trace) != CLASSIFIES_TEXT:
        return np.empty(0)
    (found,) = distributions(trace.kept_outcomes(), [WHOLE_TEXT])
    made = np.full(found.n_outcomes, np.nan)
    made[found.ids] = found.probabilities()
    return made


def _class_names(trace: Trace) -> tuple[str, ...]:
    if task_of(trace) != CLASSIFIES_TEXT:
        return ()
    (found,) = distributions(trace.kept_outcomes(), [WHOLE_TEXT])
    named = dict(zip(found.ids.tolist(), found.names.tolist(), strict=True))
    return tuple(str(named.get(at, at)) for at in range(found.n_outcomes))


# -- all pairs -------------------------------------------------------------------------------------------------------------


def _go_on(
    model: Model,
    held: Held,
    neutral: int,
    ablate: Sequence[Headlike],
    seed: int,
    progress: Progress | None,
    over: Callable[[], bool] = lambda: False,
) -> None:
    """Work through the pairs that are left until all are done, or it is `over`."""
    assert held.pairs is not None
    text: Text | None = None
    while held.done < len(held.pairs):
        if progress is not None:
            progress(held.done, len(held.pairs))
        row, found = held.pairs[held.done]
        try:
            if text is None or text.row is not row:
                text = Text(model, row, ablate)
                held.detector, held.limits, held.classes = text.labels.detector, text.labels.thresholds, _class_names(text.trace)
            held.seen.append(text.pair(found, neutral, seed))
            held.done += 1
        except AtlasError as error:
            # All pairs of the text go: some of them alone would count it by halves.
            held.bad.append(BadRow(row.row, str(error)))
            held.seen = [each for each in held.seen if each.row != row.row]
            held.pairs = [each for each in held.pairs if each[0] is not row]
            held.done = len(held.seen)
        if over():
            return
    if progress is not None:
        progress(held.done, len(held.pairs))


def _result(model: Model, held: Held, neutral: int, typed: str, seed: int) -> SwapAudit:
    assert held.pairs is not None
    heads = [HeadId(k.kind, layer, head) for k in model.size.kinds for layer in range(k.n_layers) for head in range(k.n_heads)]
    found = tables_of(held.seen, heads, neutral, typed, seed)
    return SwapAudit(
        model.name,
        held.detector,
        found.pairs,
        tuple(each.found for each in held.seen),
        tuple(each.words for each in held.seen),
        found.groups,
        found.heads,
        found.null,
        pd.DataFrame(sorted(held.bad), columns=["row", "reason"]),
        len(held.pairs),
        _predicts(model, held, found.outcome),
        held.limits,
        {"model": model.name, "neutral": neutral, "seed": seed, "texts": len({each.text for each in held.seen})},
    )


def _predicts(model: Model, held: Held, outcome: int) -> str:
    if model.task == CLASSIFIES_TEXT:
        return f"the probability of the class {held.classes[outcome]}" if outcome >= 0 else NO_PROBABILITY
    if without_likelihood(model):
        return OWN_LABELS if model.task == LABELS else without_likelihood(model)
    what = "what the decoder reads" if model.task == SEQ2SEQ else "the words in both texts"
    return f"the mean log-probability of {what}"


# -- for pages -------------------------------------------------------------------------------------------------------------


def part_of_swap_audit(
    trace: Trace, texts: TextsOf, own: str, category: str, kept: dict[str, Any], seconds: float, tell: Tell
) -> SwapAudit:
    """Go on with the pairs of some texts on the model of a trace for some seconds; `kept` holds what is done.

    Heads that are switched off in the trace are off here too. A page works in such parts, because a model serves one task at a
    time and other readers wait for it.
    """
    live = model_of(trace)
    check_category(category)
    held = kept.get("held")
    if held is None:
        held = _held_of_page(live.model, texts, own, category, tell)
        kept["held"] = held
    # Tables take longer with every pair: at least as much time goes into pairs, or the last of them would hardly come on.
    end = time.monotonic() + (max(seconds, kept.get("tables", 0.0)) if seconds else 0.0)

    def report(done: int, of: int) -> None:
        tell(f"Pair {min(done + 1, of):,} of {of:,}", done / max(1, of))

    ablate = () if live.change is None else tuple(live.change.ablate)
    _go_on(live.model, held, NEUTRAL_EACH, ablate, 0, report, lambda: time.monotonic() > end)
    if not held.pairs:
        kept.pop("held")
        msg = _nothing(pd.DataFrame(sorted(held.bad), columns=["row", "reason"]))
        raise BadData(msg)
    begun = time.monotonic()
    found = _result(live.model, held, NEUTRAL_EACH, own, 0)
    kept["tables"] = time.monotonic() - begun
    return found


def _held_of_page(model: Model, texts: TextsOf, own: str, category: str, tell: Tell) -> Held:
    held = Held()
    rows = rows_of_page(texts, MOST_TEXTS, "compares", ELSEWHERE)

    def report(done: int, of: int) -> None:
        tell(f"Exchanging the words of text {done + 1:,} of {of:,}", done / max(1, of))

    pairs = _listed(rows, own or None, category, held.bad, report)
    if len(pairs) > MOST_PAIRS:
        msg = (
            f"These texts have {len(pairs):,} counterfactuals, more than the {MOST_PAIRS:,} that a page compares. Choose one "
            f"category or fewer texts. {ELSEWHERE}"
        )
        raise TooLarge(msg)
    tokens = sum(times * _tokens(model, text) for text, times in Counter(row.text for row, _ in pairs).items())
    if tokens > MOST_TOKENS:
        msg = (
            f"To compare these texts takes {tokens:,} tokens through the model, and a page runs {MOST_TOKENS:,} at most. Give "
            f"fewer or shorter texts. {ELSEWHERE}"
        )
        raise TooLarge(msg)
    held.pairs = pairs
    return held


def _tokens(model: Model, text: str) -> int:
    """Tokens through the model for one pair: once for all heads, and of a masked model once more for each token."""
    encoded = model.encode(text, truncate=True)
    n = encoded.n_source + encoded.n_target
    return (1 + NEUTRAL_EACH) * n * (1 + (n if model.task == MASKED else 0))


TASKS: Mapping[str, Callable[..., Any]] = {SWAP_AUDIT: part_of_swap_audit}
"""Work with the model that views may request, by name."""
