"""Cutting attention layer by layer: which tokens can be cut from which, in which windows, and what was found; without torch."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

import numpy as np
import pandas as pd

from atlas.errors import UnknownName
from atlas.ids import HeadId
from atlas.text.words import word_units
from atlas.tracing.chance import BEYOND
from atlas.tracing.explained import Resolved, Target, usual_position, without_model
from atlas.tracing.outcomes import CLASSIFIES_TEXT
from atlas.tracing.predictions import masks_of, side_of_predictions, task_of
from atlas.tracing.sentences import sentences_of, without_sentences

if TYPE_CHECKING:
    from atlas.trace import Trace

Array = np.ndarray
Window = tuple[int, int]
"""The first and the last layer that are cut."""

KNOCKOUT = "attention knockout"
"""Name of the task."""

MOST_PARTS = 8
"""Sentences or words that have a curve of their own: more curves cannot be told apart. Of more, neighbours go together."""

DRAWS = 20
"""Random sets of as many tokens for each group: enough for a mean and a spread, and each of them is a run a window."""

FEWEST = 8
"""Different sets of other tokens from which on there is a level of chance: the spread of fewer is hardly known."""

LETTERS = 40
"""Letters of a name that is made of the text."""

TEXT, CHOSEN, FIRST, SPECIAL, ITSELF, REST = "text", "chosen", "first token", "special tokens", "itself", "everything else"
"""What a group is: a part of the text, the selected tokens, the first token, special tokens, the tokens that look, all others."""


class Group(NamedTuple):
    """Tokens that are hidden together."""

    name: str
    keys: tuple[int, ...]
    role: str = TEXT


class Setting(NamedTuple):
    """Who no longer looks, and with which heads."""

    kind: str
    queries: tuple[int, ...]
    heads: tuple[HeadId, ...] = ()
    """None: all heads of the kind."""
    size: int = 0
    """Layers that are cut at once; 0: a third of them."""


class Plan(NamedTuple):
    """All that is run."""

    setting: Setting
    n_layers: int
    windows: tuple[Window, ...]
    """(layer,) the window around each layer, whole also at the ends, so that windows near an end are one."""
    groups: tuple[Group, ...]
    """With the keys alone that some of the queries may see."""
    drawn: tuple[tuple[tuple[int, ...], ...], ...]
    """Of each group the random sets of as many other tokens; none where there are too few others."""
    others: tuple[int, ...]
    """Of each group how many other tokens the queries may see."""

    @property
    def everywhere(self) -> Window:
        """All layers."""
        return 0, self.n_layers - 1

    def run(self, keys: tuple[int, ...], window: Window) -> tuple[tuple[int, ...], Window] | None:
        """What names the run without these keys in a window; None: nothing would be cut."""
        heads = self.setting.heads
        acts = not heads or any(window[0] <= head.layer <= window[1] for head in heads)
        return (keys, window) if keys and acts else None

    def runs(self) -> tuple[tuple[tuple[int, ...], Window], ...]:
        """Every different run once."""
        sets = dict.fromkeys([group.keys for group in self.groups] + list(itertools.chain.from_iterable(self.drawn)))
        windows = dict.fromkeys((*self.windows, self.everywhere))
        found = (self.run(keys, window) for keys in sets for window in windows)
        return tuple(run for run in found if run is not None)


class Knockout(NamedTuple):
    """By how much the outcome changes when nobody looks at a group of tokens in a window of layers."""

    target: Resolved
    of: str
    """What is measured: the log-probability, or the model's number where it has no probabilities."""
    plan: Plan
    change: Array
    """(group, layer) after minus before; the last column: all layers cut."""
    random: tuple[Array, ...]
    """(draw, layer) of each group, the same of its random sets."""
    q: Array
    """(group, layer) corrected for all groups and windows; NaN where there is no level of chance."""

    @property
    def groups(self) -> tuple[Group, ...]:
        """The groups, with the keys that can be seen."""
        return self.plan.groups

    def band(self, at: int) -> tuple[Array, Array, Array]:
        """(low, mean, high) of a group's random sets at each layer, 95 % of them between low and high; NaN without any."""
        random = self.random[at]
        if not len(random):
            unknown = np.full(self.change.shape[1], np.nan)
            return unknown, unknown, unknown
        low, high = np.percentile(random, [2.5, 97.5], axis=0)
        return low, random.mean(axis=0), high

    @property
    def marked(self) -> Array:
        """(group, layer): outside of the band of chance, also after the correction."""
        bands = [self.band(at) for at in range(len(self.groups))]
        low, high = (np.array([band[end] for band in bands]).reshape(self.change.shape) for end in (0, 2))
        with np.errstate(invalid="ignore"):
            return (self.q <= BEYOND) & ((self.change < low) | (self.change > high))

    def window(self, column: int) -> Window:
        """The layers that are cut in a column; the last column is all of them."""
        return self.plan.windows[column] if column < self.plan.n_layers else self.plan.everywhere

    @property
    def table(self) -> pd.DataFrame:
        """One row a group and layer, and one for all layers (layer NaN)."""
        rows = []
        marked = self.marked
        for at, group in enumerate(self.groups):
            low, mean, high = self.band(at)
            for column in range(self.change.shape[1]):
                first, last = self.window(column)
                layer = float(column) if column < self.plan.n_layers else np.nan
                change = float(self.change[at, column])
                after = self.probability_after(change)
                rows.append((
                    group.name, group.role, len(group.keys), layer, first, last, change, after, low[column], mean[column],
                    high[column], len(self.random[at]), self.q[at, column], bool(marked[at, column]),
                ))  # fmt: skip
        columns = [
            "group", "role", "tokens", "layer", "first_layer", "last_layer", "change", "probability", "chance_lo", "chance_mean",
            "chance_hi", "draws", "q", "beyond_chance",
        ]  # fmt: skip
        return pd.DataFrame(rows, columns=columns)

    def probability_after(self, change: float) -> float:
        """Of the outcome, once its log-probability has changed so much; NaN where something else is measured."""
        return self.target.probability * math.exp(change) if self.says_probability else math.nan

    @property
    def says_probability(self) -> bool:
        """Whether the change of the number is that of one outcome's log-probability."""
        return self.target.against_id is None and math.isfinite(self.target.probability)


@runtime_checkable
class Cuttable(Protocol):
    """A model behind a trace whose attention can be cut."""

    def without_cuts(self) -> str:
        """Why it cannot be cut."""


def without_knockout(trace: Trace) -> str:
    """Why attention cannot be cut in a trace's model; empty: it can."""
    reason = without_model(trace)
    if reason:
        return reason
    return trace.live.without_cuts() if isinstance(trace.live, Cuttable) else "the model behind it cannot be cut."


# -- who looks, and at what ------------------------------------------------------------------------------------------------


def queries_of(trace: Trace, kind: str, target: Target) -> tuple[int, ...]:
    """The position that predicts, where it looks in this kind of attention; else every token."""
    side, count = trace.side(kind, "query"), trace.attention_of(kind).n_queries
    if task_of(trace) == CLASSIFIES_TEXT or side != side_of_predictions(trace):
        return tuple(range(count))
    position = target.position if target.position != -1 else usual_position(trace)
    masks = masks_of(trace) if side == "source" else ()
    return (masks[-1] if position == -1 and masks else position % count,)


def groups_of(trace: Trace, kind: str, queries: Sequence[int], chosen: Iterable[int] = ()) -> tuple[Group, ...]:
    """Groups that share no token: the chosen tokens, or else the parts of the text; what stands for itself; and the rest.

    Tokens that none of the queries may look at are in no group, unless they were chosen.
    """
    side = trace.side(kind, "key")
    table = trace.reading(side).table
    places, free = np.arange(len(table)), seen_by(trace, kind, queries)
    found: list[Group] = []

    def take(said: str, where: Array, role: str) -> None:
        keys = np.flatnonzero(where).tolist()
        if keys:
            free[keys] = False
            found.append(Group(said.format(quoted(trace, side, keys)), tuple(keys), role))

    selected = np.isin(places, list(chosen))
    take("{}", selected, CHOSEN)
    own = np.isin(places, queries) & (trace.side(kind, "query") == side)
    if own.sum() <= len(places) / 2:  # of most tokens, nothing would be left for the others
        take("{} itself" if own.sum() == 1 else "{} themselves", own & free, ITSELF)
    take("special tokens", table["special"].to_numpy(dtype=bool) & free, SPECIAL)
    # Where queries look back alone, the first token is where attention goes that finds nothing to look at.
    if _looks_back(trace, kind):
        take("the first token {}", (places == 0) & free, FIRST)
    if not selected.any():
        for said, where in _parts(trace, kind, side, free):
            take(said, where, TEXT)
    take("everything else", free.copy(), REST)
    several = {name for name, count in Counter(group.name for group in found).items() if count > 1}
    named = [group._replace(name=f"{group.name} ({group.keys[0]})") if group.name in several else group for group in found]
    return tuple(sorted(named, key=lambda group: group.role not in (CHOSEN, TEXT)))


def quoted(trace: Trace, side: str, positions: Sequence[int]) -> str:
    """The text of some tokens, in quotes: 'the green cat', 'cat … mat'."""
    return f"'{_written(trace, side, positions)}'"


def _written(trace: Trace, side: str, positions: Sequence[int]) -> str:
    places = np.asarray(positions)
    runs = np.split(places, np.flatnonzero(np.diff(places) > 1) + 1)
    table = trace.reading(side).table
    texts = (trace.texts.target, None) if side == "target" else (trace.texts.text, trace.texts.pair)
    said = " … ".join(_stretch(table.iloc[run], texts) for run in runs)
    return said if len(said) <= LETTERS else f"{said[: LETTERS - 1].rstrip()}…"


def _stretch(rows: pd.DataFrame, texts: tuple[str | None, str | None]) -> str:
    """The text that tokens in a row cover; the tokens themselves where that is not known."""
    segments = set(rows["segment"].tolist()) if "segment" in rows else {0}
    text = texts[1 if segments == {1} else 0]
    if text is not None and len(segments) == 1 and rows["start"].notna().all():
        written = " ".join(text[int(rows["start"].min()) : int(rows["end"].max())].split())
        if written:
            return written
    return " ".join(str(token).lstrip("Ġ▁").removeprefix("##") for token in rows["token"])


def _parts(trace: Trace, kind: str, side: str, free: Array) -> list[tuple[str, Array]]:
    """The sentences where several can be seen, else the words, of the free tokens; of too many, neighbours go together."""
    table = trace.reading(side).table
    if not without_sentences(trace, kind):
        units, _ = sentences_of(trace, side)
        if len(np.unique(units.of_token[free & (units.of_token >= 0)])) > 1:
            return _together(np.where(free, units.of_token, -1), "sentence")
    words = table["word"].to_numpy() if "word" in table else np.arange(len(table))
    grouped = word_units(np.where(table["special"].to_numpy(dtype=bool), -1, words))
    return _together(np.where(free, grouped.of_token, -1), "")


def _together(of_token: Array, noun: str) -> list[tuple[str, Array]]:
    units, found = np.unique(of_token[of_token >= 0]), []
    for some in np.array_split(units, min(len(units), MOST_PARTS)) if len(units) else ():
        first, last = some[0] + 1, some[-1] + 1
        said = f"{noun} {first}" if first == last else f"{noun}s {first} to {last}"
        found.append((f"{said} {{}}" if noun else "{}", np.isin(of_token, some)))
    return found


def _looks_back(trace: Trace, kind: str) -> bool:
    """Whether the first token sees itself alone."""
    if trace.side(kind, "query") != trace.side(kind, "key"):
        return False
    return np.flatnonzero(seen_by(trace, kind, [0])).tolist() == [0] and trace.attention_of(kind).n_keys > 1


def seen_by(trace: Trace, kind: str, queries: Sequence[int]) -> Array:
    """(key,) whether some of the queries may look at it in some layer."""
    attention = trace.attention_of(kind)
    size = attention.n_queries, attention.n_keys
    seen = np.zeros(size[1], dtype=bool)
    for layer in {layer.mask.key: layer for layer in attention.layers}.values():
        cells = layer.mask.visible(*size, np.arange(layer.n_heads), np.asarray(queries, dtype=int))
        seen |= True if cells is None else cells.reshape(-1, size[1]).any(axis=0)
    return seen


# -- what is run -----------------------------------------------------------------------------------------------------------


def windows_of(n_layers: int, size: int) -> tuple[Window, ...]:
    """The window of each layer: that many layers around it, shifted at the ends so that it stays whole."""
    starts = (min(max(layer - size // 2, 0), n_layers - size) for layer in range(n_layers))
    return tuple((start, start + size - 1) for start in starts)


def third(n_layers: int) -> int:
    """How many layers are cut at once where nobody says: a third of them."""
    return max(1, round(n_layers / 3))


def plan_of(trace: Trace, setting: Setting, groups: Sequence[Group], draws: int = DRAWS, seed: int = 0) -> Plan:
    """All that is run for some groups."""
    n_layers = trace.n_layers(setting.kind)
    size = setting.size or third(n_layers)
    if not 1 <= size <= n_layers:
        msg = f"A window has 1 to {n_layers} layers here, not {size}."
        raise UnknownName(msg)
    seen = seen_by(trace, setting.kind, setting.queries)
    kept = [group._replace(keys=tuple(key for key in sorted(group.keys) if seen[key])) for group in groups]
    others = [tuple(key for key in np.flatnonzero(seen).tolist() if key not in set(group.keys)) for group in kept]
    random = np.random.default_rng(seed)
    drawn = tuple(_drawn(other, len(group.keys), draws, random) for other, group in zip(others, kept, strict=True))
    windows = windows_of(n_layers, size)
    return Plan(setting, n_layers, windows, tuple(kept), drawn, tuple(map(len, others)))


def _drawn(others: Sequence[int], count: int, draws: int, random: np.random.Generator) -> tuple[tuple[int, ...], ...]:
    """So many different sets of other tokens, all there are where there are no more; none where they are too few."""
    there = math.comb(len(others), count) if count else 0
    if there < FEWEST or draws < FEWEST:
        return ()
    if there <= draws:
        return tuple(itertools.combinations(others, count))
    found: dict[tuple[int, ...], None] = {}
    while len(found) < draws:
        found[tuple(sorted(random.choice(others, count, replace=False).tolist()))] = None
    return tuple(found)
