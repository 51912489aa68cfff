"""What the view of attributions on both sides shows: what each prediction rests on, and what changed."""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import pandas as pd
import param

from atlas.definitions import DEFINITIONS
from atlas.errors import NotCaptured, TooLarge
from atlas.numbers import listed, three
from atlas.state.asking import Progress
from atlas.state.attribution import METHODS, explained_target, places_holding, selected_places
from atlas.state.lens import counted
from atlas.state.outcome_line import percent
from atlas.state.pressed import PressedLens
from atlas.state.second_lens import SecondLens
from atlas.state.words import shown_token, visible
from atlas.trace import NO_MODEL
from atlas.tracing.explained import LOGIT, Attribution, Target, without_model
from atlas.tracing.two_attributions import (
    BOTH,
    METHODS_OF_BOTH,
    ONLY_A,
    ONLY_B,
    OWN,
    SAME,
    TWO_ATTRIBUTIONS,
    TwoAttributions,
    has_words,
    not_known,
)

if TYPE_CHECKING:
    from atlas.tracing.two_traces import TwoTraces

MOST_WORDS = 1_000
"""Words with bars: of more, a bar is narrower than a pixel."""

MOST_NAMED = 5
"""Words that are named because their share changed most."""

LEAST_CHANGE = 0.0005
"""Change of a share that is worth a word; less is 0.0 % on screen."""

NOT_PRESSED = "Not run yet: Run attributes the prediction that is explained to the words of both sides"

ALONE = {BOTH: "", ONLY_A: " (A)", ONLY_B: " (B)"}
"""After the name of a word: which side alone has it."""


class CompareAttributionsChoices(param.Parameterized):
    """Choices of the view of attributions on both sides."""

    method = param.Selector[str](objects=list(METHODS), default="integrated_gradients", doc="The method, on both sides.")
    explains = param.Selector[str](
        objects=[SAME, OWN], default=SAME, doc="Whether the outcome of A is explained on B, or the likeliest of B."
    )


class Sides(NamedTuple):
    """All that is on screen."""

    words: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    """Of each word which sides have it, and of two texts in which: words of one group stand together."""
    a: np.ndarray = np.empty(0)
    b: np.ndarray = np.empty(0)
    difference: np.ndarray = np.empty(0)
    sides: tuple[str, ...] = ()
    """'source' or 'target'"""
    tokens: tuple[tuple[int, ...], ...] = ()
    """The tokens of A of each word; empty where only B has it."""
    signed: bool = False
    notes: tuple[str, ...] = ()

    @property
    def top(self) -> float:
        """The largest magnitude of all rows, which are on one scale."""
        known = np.abs(np.concatenate([self.a, self.b, self.difference]))
        known = known[np.isfinite(known)]
        return float(known.max()) if len(known) else 0.0


class CompareAttributionsLens(SecondLens, PressedLens):
    """One decision attributed to the words of both sides. It runs once the reader has pressed, and follows from then on."""

    key: ClassVar = "compare_attributions"
    choices_type: ClassVar = CompareAttributionsChoices
    reads: ClassVar = {**SecondLens.reads, "target": ("position", "outcome", "against")}
    marked_by: ClassVar = ("queries", "keys", "focus")

    _shown: Sides | None = None

    def depends(self) -> Hashable:
        """On both sides, what is explained and how; on no head."""
        second, choices = self.workspace.second, self.choices
        return second.used, second.error, second.trace, self.target(), choices.method, choices.explains

    def request(self) -> Hashable:
        """The text on screen: its comparison with whatever is beside it follows from one press."""
        return self.key

    def forget(self) -> None:
        """Drop what was found, too."""
        super().forget()
        self._shown = None

    @property
    def can_start(self) -> bool:
        """Whether there are two sides to attribute."""
        return self.workspace.second.two() is not None and super().can_start

    def target(self) -> Target:
        """What is explained on A."""
        return explained_target(self.workspace, LOGIT)

    def missing(self) -> dict[str, str]:
        """Method -> why one side cannot run it."""
        two, task = self.workspace.second.two(), self.workspace.tasks.get(METHODS_OF_BOTH)
        if two is None or task is None or two.a.live is None or two.b.live is None:
            return {}
        found: dict[str, str] = two.once("methods", lambda: dict(task(two)))
        return found

    def found(self) -> TwoAttributions | None:
        """Both attributions; None before the press, and while they are worked out."""
        two = self.both()
        if two is None:
            return None
        task, target, choices = self.workspace.tasks.get(TWO_ATTRIBUTIONS), self.target(), self.choices
        if task is None:
            raise NotCaptured(NO_MODEL)
        reason = without_model(two.b)
        if reason:
            msg = f"Side B cannot be explained: {reason}"
            raise NotCaptured(msg)
        method, explains = choices.method, choices.explains
        if method in self.missing():
            raise NotCaptured(self.missing()[method])
        if not self.is_pressed:
            self.drop_asked()
            return None

        def work(progress: Progress) -> TwoAttributions:
            made: TwoAttributions = task(two, target, method, explains, progress.tell)
            return made

        key = f"{id(two)} {method} {explains} {target}"
        return self.ask(key, work, None, needs_model=True, keep=False, takes=self.takes_both(two, [method]))

    def shown(self) -> Sides:
        """All that is on screen; nothing before it is there."""
        if self._shown is None:
            self._shown = self.attempt(self._work_out, Sides())
        return self._shown

    def marked(self) -> tuple[int, ...]:
        """Places of the words shown that have a selected token of A."""
        shown, selection, trace = self.shown(), self.workspace.selection, self.workspace.trace
        if trace is None:
            return ()
        chosen = selected_places(selection, trace, self.kind)
        return places_holding(shown.sides, shown.tokens, chosen)

    def choose(self, at: int, origin: str) -> None:
        """Select the tokens of a word on A, or let go of them; what only B has is no token of A."""
        shown = self.shown()
        if shown.tokens[at]:
            axis = self.workspace.display.axis
            self.workspace.selection.toggle_tokens(shown.tokens[at], axis=axis, side=shown.sides[at], origin=origin)

    def table(self) -> pd.DataFrame:
        """Every word with its scores and shares on both sides; special tokens, which have no share, too."""
        found, two = self.found(), self.workspace.second.two()
        if two is None:
            return pd.DataFrame()
        table = not_known(two) if found is None else found.table.copy()
        for name in ("tokens_a", "tokens_b"):
            table[name] = [" ".join(map(str, tokens)) for tokens in table[name]]
        explained = ["", ""] if found is None else [each.target.words for each in (found.a, found.b)]
        return table.assign(method=self.choices.method, explained_a=explained[0], explained_b=explained[1])

    # -- in words ------------------------------------------------------------------------------------------------------

    def _work_out(self) -> Sides:
        found, two = self.found(), self.workspace.second.two()
        if two is None:
            return Sides()
        if found is None:
            table = not_known(two)
            table = table[has_words(two, table)]
        else:
            table = found.table[found.table[["a", "b"]].notna().any(axis=1)]
        if len(table) > MOST_WORDS:
            msg = f"{len(table):,} words are more than the {MOST_WORDS:,} that have room for bars. Shorten the texts."
            raise TooLarge(msg)
        self.line = self._awaited(two) if found is None else self._describe(found)
        notes = () if found is None else self._notes(found, table)
        words = [_shown(word) + ALONE[where] for word, where in zip(table["word"], table["where"], strict=True)]
        a, b, difference = (table[name].to_numpy(dtype=float) for name in ("a", "b", "difference"))
        return Sides(
            tuple(words), tuple(table["where"] + " " + table["side"]), a, b, difference, tuple(table["side"]),
            tuple(table["tokens_a"]), DEFINITIONS[self.choices.method].range == "any number", notes,
        )  # fmt: skip

    def _awaited(self, two: TwoTraces) -> str:
        """What a press would run, or that it runs."""
        takes = self.takes_both(two, [self.choices.method])
        passes = takes.passes + (takes.beside[2] if takes.beside is not None else 0)
        if self.is_pressed:
            return f"{DEFINITIONS[self.choices.method].title} of both sides"
        return f"{NOT_PRESSED}, in {passes:,} passes at most"

    def _describe(self, found: TwoAttributions) -> str:
        said = [f"{name}: {_explained(each)}" for name, each in (("A", found.a), ("B", found.b))]
        chosen = "" if self.workspace.target.outcome else "; the likeliest outcome of A, because none is chosen"
        return f"{DEFINITIONS[self.choices.method].title} of {'; '.join(said)}{chosen}"

    def _notes(self, found: TwoAttributions, table: pd.DataFrame) -> tuple[str, ...]:
        notes = [found.instead, self._changed_most(table), self._rank(found)]
        notes += [f"Side {name}: {note}" for name, each in (("A", found.a), ("B", found.b)) for note in each.notes]
        if max(found.left_out) > LEAST_CHANGE:
            held = " and ".join(f"{percent(part)} of all on {name}" for name, part in zip("AB", found.left_out, strict=True))
            notes.append(f"Special tokens are left out of the shares; they hold {held}.")
        notes += [_without_shares(table, name) for name in ("a", "b")]
        notes += [f"{DEFINITIONS[name].title} is not offered. {reason}" for name, reason in self.missing().items()]
        return tuple(filter(None, notes))

    @staticmethod
    def _changed_most(table: pd.DataFrame) -> str:
        """The words whose share changed most, and those that only one side has."""
        both = table[table["compared"]]
        most = _by_size(both, "difference")
        most = most[most["difference"].abs() >= LEAST_CHANGE][:MOST_NAMED]
        named = [
            f"'{_shown(word)}' {_percent(a)} → {_percent(b)} ({_percent(change, plus=True)})"
            for word, a, b, change in most[["word", "a", "b", "difference"]].to_numpy().tolist()
        ]
        said = f"Share that changed most, A → B: {', '.join(named)}." if named else ""
        if len(both) and not named:
            said = "No share differs between the two sides."
        for where, name in ((ONLY_A, "a"), (ONLY_B, "b")):
            alone = _by_size(table[(table["where"] == where) & table[name].notna()], name)
            words = [f"'{_shown(word)}' {_percent(share)}" for word, share in alone[["word", name]].to_numpy().tolist()]
            said += f" Only on {name.upper()}: {listed(words, MOST_NAMED)}." if words else ""
        return said.strip()

    @staticmethod
    def _rank(found: TwoAttributions) -> str:
        if not found.n:
            return "No word counts on both sides, so there is no rank correlation."
        if math.isnan(found.rho):
            return "The shares of one side are all equal, so there is no rank correlation."
        interval = "" if math.isnan(found.lo) else f" (95 % interval {three(found.lo)} to {three(found.hi)})"
        return (
            f"Both sides rank {counted(found.n, 'word')} with ρ = {three(found.rho)}{interval}; shuffled words are as far from 0 "
            f"in {percent(found.p)} of cases."
        )


def _by_size(table: pd.DataFrame, name: str) -> pd.DataFrame:
    """Rows by the falling magnitude of a column; equal ones in the order of the text."""
    return table.iloc[np.argsort(-table[name].abs().to_numpy(dtype=float), kind="stable")]


def _without_shares(table: pd.DataFrame, name: str) -> str:
    """Why words of a side have no bar; empty: all have one."""
    side, later = name.upper(), int(table.loc[table["where"] == BOTH, name].isna().sum())
    if not table[name].notna().any():
        return f"On side {side} no word has a score other than 0, so there are no shares."
    come = "comes" if later == 1 else "come"
    return f"On side {side} {counted(later, 'word')} {come} after the explained place, without a share." if later else ""


def _explained(found: Attribution) -> str:
    """What is explained on a side, with its probability."""
    said = "".join(map(visible, found.target.words))
    return said if math.isnan(found.target.probability) else f"{said}, probability {percent(found.target.probability)}"


def _shown(word: Any) -> str:
    return shown_token(str(word))


def _percent(share: float, *, plus: bool = False) -> str:
    """'−12.3 %', of a difference '+12.3'."""
    said = f"{100 * share:+.1f}" if plus else f"{100 * share:.1f}"
    return said.replace("-", "−") + ("" if plus else " %")
