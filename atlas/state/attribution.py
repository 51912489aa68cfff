"""What the attribution view shows: which tokens decide the prediction that is explained, by two methods."""

from __future__ import annotations

import math
from collections.abc import Collection, Hashable, Sequence
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np
import pandas as pd
import param

from atlas.definitions import DEFINITIONS
from atlas.errors import TooLarge
from atlas.state.asking import Progress, of_attributions
from atlas.state.lens import Lens, counted
from atlas.state.outcome_line import percent
from atlas.state.words import shown_token, visible
from atlas.trace import NO_MODEL
from atlas.tracing.explained import (
    AUTO,
    BASELINES,
    COMPARE,
    LOGIT,
    NO_TOKEN,
    PROBABILITY,
    Attribution,
    Baselines,
    Comparison,
    Rank,
    Target,
    usual_position,
)
from atlas.tracing.levels import TOKEN, Grouped, grouped
from atlas.tracing.predictions import MASKED, masks_of, task_of

if TYPE_CHECKING:
    from atlas.state.selection import Selection
    from atlas.state.workspace import Workspace
    from atlas.trace import Trace

METHODS = tuple(name for name, item in DEFINITIONS.items() if item.group == "attribution")
"""All methods, by name."""

MOST_TOKENS = 1_000
"""Tokens with bars: of more, a bar is narrower than a pixel, and their numbers are more than a gesture may send."""

NOT_YET = "not there yet"

ONE_AT_A_TIME = {
    "saliency": "the sum of their lengths, not the length of the gradient of all of them",
    "attention_flow": "the sum of their flows, each as if it were alone, not the flow to all of them",
    "value_zeroing": "the sum of their shares, each from zeroing that token alone",
    "occlusion": "the sum of what each changes where it alone is taken out, not what taking out the whole word would change",
}
"""Methods that measure every token alone -> what the score of a word is; of the others the sum is the word's own share."""

INSTEAD = {"integrated_gradients": "baseline", "occlusion": "replace"}
"""Methods that put something in the place of a token -> the choice, and the option of the method, that says what."""


class AttributionChoices(param.Parameterized):
    """Choices of the attribution view."""

    first = param.Selector[str](objects=list(METHODS), default="integrated_gradients", doc="The method in the first row.")
    second = param.Selector[str](objects=list(METHODS), default="rollout", doc="The method in the second row.")
    of = param.Selector[str](
        objects=[LOGIT, PROBABILITY], default=LOGIT, doc="Whether the logit is explained or its probability."
    )
    baseline = param.Selector[str](
        objects=[AUTO, *NO_TOKEN], default=AUTO, doc="What integrated gradients start from; 'auto': what is usual for the model."
    )
    replace = param.Selector[str](
        objects=[AUTO, *NO_TOKEN], default=AUTO, doc="What occlusion puts in the place of a token; 'auto': as above."
    )


class Scored(NamedTuple):
    """The scores of one method."""

    method: str
    title: str
    signed: bool
    values: np.ndarray
    """One for each token or word of `Shown`; NaN where there is none."""
    reason: str
    """Why there are none."""


class Shown(NamedTuple):
    """All that is on screen."""

    names: tuple[str, ...] = ()
    """Of the tokens or words of the source, then of the target."""
    sides: tuple[str, ...] = ()
    tokens: tuple[tuple[int, ...], ...] = ()
    """The positions each stands for."""
    scored: tuple[Scored, ...] = ()
    notes: tuple[str, ...] = ()


def selected_places(selection: Selection, trace: Trace, kind: str) -> frozenset[tuple[str, int]]:
    """(side, position) of the selected tokens, on whichever axis."""
    axes = (("query", selection.queries), ("key", selection.keys))
    return frozenset((trace.side(kind, axis), position) for axis, positions in axes for position in positions)


def places_holding(sides: Sequence[str], tokens: Sequence[Sequence[int]], chosen: Collection[tuple[str, int]]) -> tuple[int, ...]:
    """The places at which one of the chosen tokens (side, position) stands."""
    return tuple(
        at for at, (side, here) in enumerate(zip(sides, tokens, strict=True)) if any((side, token) in chosen for token in here)
    )


class AttributionLens(Lens):
    """The scores of all tokens, or words, for the prediction that is explained."""

    key: ClassVar = "attribution"
    choices_type: ClassVar = AttributionChoices
    reads: ClassVar = {"target": ("position", "outcome", "against"), "display": ("level",)}
    marked_by: ClassVar = ("queries", "keys", "focus")

    _shown: Shown | None = None

    def depends(self) -> Hashable:
        """On the target and the methods; selected tokens are marked only."""
        instead = [getattr(self.choices, name) for method, name in INSTEAD.items() if method in self.methods]
        return self.target(), self.methods, self.level, *instead

    @property
    def level(self) -> str:
        """Tokens or words."""
        return str(self.workspace.display.level)

    def forget(self) -> None:
        """Drop what was found."""
        self._shown = None

    @property
    def methods(self) -> tuple[str, str]:
        """The two methods."""
        return self.choices.first, self.choices.second

    def baselines(self) -> Baselines:
        """What may stand for a token that is not there, in the model on screen."""
        task = self.workspace.tasks.get(BASELINES)
        found: Baselines = Baselines() if task is None or self.workspace.trace is None else task(self.trace)
        return found

    def instead(self, method: str) -> str:
        """What a method on screen puts in the place of a token, of what the model can have; empty: nothing."""
        found = self.baselines() if method in INSTEAD and method in self.methods else Baselines()
        chosen = getattr(self.choices, INSTEAD[method]) if found.usual else ""
        return found.usual if chosen == AUTO or chosen in found.missing else chosen

    def put_instead(self, method: str, name: str) -> None:
        """Choose what a method puts in the place of a token; what is usual for a model is so for the next model, too."""
        self.choices.param.update({INSTEAD[method]: AUTO if name == self.baselines().usual else name})

    def target(self) -> Target:
        """The prediction that is explained."""
        return explained_target(self.workspace, self.choices.of)

    def shown(self) -> Shown:
        """All that is on screen; of unknown scores until they are there."""
        if self._shown is None:
            self._shown = self.attempt(self._work_out, Shown())
        return self._shown

    def marked(self) -> tuple[int, ...]:
        """Places of the selected tokens among those shown."""
        shown, selection, trace = self.shown(), self.workspace.selection, self.workspace.trace
        if trace is None:
            return ()
        chosen = selected_places(selection, trace, self.kind)
        return places_holding(shown.sides, shown.tokens, chosen)

    def choose(self, at: int, origin: str) -> None:
        """Select the tokens of a bar, or let go of them."""
        shown, axis = self.shown(), self.workspace.display.axis
        self.workspace.selection.toggle_tokens(shown.tokens[at], axis=axis, side=shown.sides[at], origin=origin)

    def table(self) -> pd.DataFrame:
        """Every token, or word, with its score by each method."""
        shown = self.shown()
        if self.level == TOKEN:
            table = pd.DataFrame({"side": shown.sides, "position": [at for (at,) in shown.tokens], "token": shown.names})
        else:
            positions = [" ".join(map(str, tokens)) for tokens in shown.tokens]
            table = pd.DataFrame({"side": shown.sides, "positions": positions, "word": shown.names})
        for scored in shown.scored:
            table[scored.method] = scored.values
        for method, option in INSTEAD.items():
            if self.instead(method):
                table[f"{method}_{option}"] = self.instead(method)
        return table

    # -- what is found -------------------------------------------------------------------------------------------------

    def _work_out(self) -> Shown:
        trace = self.trace
        units = grouped(trace, self.level)
        if len(units.names) > MOST_TOKENS:
            msg = (
                f"{len(units.names):,} {self.level}s are more than the {MOST_TOKENS:,} that have room for bars. Shorten the "
                "text, or use atlas.attribution.attribute in Python."
            )
            raise TooLarge(msg)
        found = self._compared()
        scored = tuple(self._scored(*each, units) for each in zip(self.methods, found.found or (NOT_YET, NOT_YET), strict=True))
        self.line = self._describe(found)
        return Shown(tuple(map(shown_token, units.names)), units.sides, units.tokens, scored, self._notes(found, units))

    def _compared(self) -> Comparison:
        tasks = self.workspace.tasks
        if COMPARE not in tasks:
            return Comparison((NO_MODEL,) * len(self.methods))
        task, trace, target, methods = tasks[COMPARE], self.trace, self.target(), self.methods

        usual = self.baselines().usual
        # Without an option where it is the usual one, so that the other views of the same attribution share it.
        options = {each: {INSTEAD[each]: self.instead(each)} for each in methods if self.instead(each) not in ("", usual)}

        def work(progress: Progress) -> Comparison:
            made: Comparison = task(trace, target, methods, progress.tell, options)
            return made

        takes = of_attributions(self.workspace, methods, trace)
        return self.ask(f"{methods} {options} of {target}", work, Comparison(()), needs_model=True, takes=takes)

    @staticmethod
    def _scored(method: str, found: Attribution | str, units: Grouped) -> Scored:
        words = DEFINITIONS[method]
        signed = words.range == "any number"
        if isinstance(found, str):
            return Scored(method, words.title, signed, np.full(len(units.names), np.nan), found)
        return Scored(method, words.title, signed, units.summed(found.tokens["score"].to_numpy(dtype=float)), "")

    # -- in words ------------------------------------------------------------------------------------------------------

    def _describe(self, found: Comparison) -> str:
        made = next((each for each in found.found if isinstance(each, Attribution)), None)
        if made is None:
            return "The prediction that is explained, by two methods"
        said = made.target.words
        if not math.isnan(made.target.probability):
            said += f"; probability {percent(made.target.probability)}"
        instead = [self._against(method) for method in dict.fromkeys(self.methods) if self.instead(method)]
        return ". ".join([target_in_words(self.workspace, said), *instead])

    def _against(self, method: str) -> str:
        """'Integrated gradients against the mask token'."""
        return f"{DEFINITIONS[method].title} against {NO_TOKEN[self.instead(method)]}"

    def _not_offered(self) -> list[str]:
        """Why something may not stand for a token in this model, and what stands in where the reader chose it."""
        chosen = {getattr(self.choices, name) for method, name in INSTEAD.items() if method in self.methods}
        found = self.baselines() if chosen else Baselines()
        in_place = f"{NO_TOKEN.get(found.usual, '')} stands in"
        return [f"{why.rstrip('.')}: {in_place if name in chosen else 'not offered'}." for name, why in found.missing.items()]

    def _notes(self, found: Comparison, units: Grouped) -> tuple[str, ...]:
        notes = []
        for method, each in zip(self.methods, found.found, strict=False):
            title = DEFINITIONS[method].title
            notes += [f"{title}: {each}"] if isinstance(each, str) else [f"{title}: {note}" for note in each.notes]
        notes += self._not_offered()
        if units.several:
            alone = [method for method in self.methods if method in ONE_AT_A_TIME]
            notes += [f"{DEFINITIONS[each].title} of a word of several tokens: {ONE_AT_A_TIME[each]}." for each in alone]
        rank = found.ranks.get(self.level, Rank())
        if rank.n and not math.isnan(rank.rho):
            ranked = "signed scores" if found.signed else "magnitudes"
            interval = "" if math.isnan(rank.lo) else f" (95 % interval {_signed(rank.lo)} to {_signed(rank.hi)})"
            notes.append(
                f"The two methods agree with ρ = {_signed(rank.rho)}{interval} on the {ranked} of "
                f"{counted(rank.n, self.level)} that are not special; permuted scores reach that in {percent(rank.p)} of cases."
            )
        elif rank.n:
            notes.append("The scores of one method are all equal, so there is no rank correlation.")
        return tuple(dict.fromkeys(notes))


def explained_target(workspace: Workspace, of: str) -> Target:
    """The prediction that the reader chose; without one, the likeliest outcome at the usual position."""
    chosen = workspace.target
    position = chosen.position
    if position < 0 and workspace.trace is not None:
        position = usual_position(workspace.trace)
    return Target(position, chosen.outcome or None, chosen.against or None, of)


def target_in_words(workspace: Workspace, words: str) -> str:
    """The words of a target as a sentence begins, and why it is the one explained where the reader chose none."""
    said = words[:1].upper() + "".join(map(visible, words[1:]))
    if workspace.target.outcome:
        return said
    return f"{said}; the likeliest outcome, because none is chosen{_seen(workspace)}"


def _seen(workspace: Workspace) -> str:
    """That a masked language model sees what it says where the text has no mask: that is no guess."""
    trace = workspace.trace
    if trace is None or task_of(trace) != MASKED or masks_of(trace):
        return ""
    return ", at a token that the model sees: put a mask into the text to explain a guess"


def _signed(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")
