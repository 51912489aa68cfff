"""What the predictions view shows: the likeliest outcomes at some positions, and which of them is being explained."""

from __future__ import annotations

import functools
from collections.abc import Hashable
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pandas as pd
import param

from atlas.ids import HeadId
from atlas.numbers import listed
from atlas.state.asking import Progress
from atlas.state.lens import Lens, counted
from atlas.state.prediction_words import bars_of, masks_in_words, note_of, outcome_labels, row_of_unlikely, steps_in_words
from atlas.state.words import shown_token
from atlas.trace import Trace
from atlas.tracing.outcomes import CLASSIFIES_TEXT
from atlas.tracing.predictions import (
    LABELS,
    MASKED,
    PREDICT_AGAIN,
    SCORE,
    WHOLE_TEXT,
    Distribution,
    distributions,
    filled,
    masks_of,
    side_of_predictions,
    task_of,
)

POSITIONS_A_PAGE = 6
"""Positions on screen at once: with five outcomes each they fill a window, and as many masked texts are run for a page."""

MOST_OUTCOMES = 20
"""Outcomes of a position that can be asked for: more of them than a column of a card has room for."""

SELECTED, EVERY = "selected", "every position"
"""Positions shown: the selected tokens (without any, what the task asks for), or all of them."""

ONE_BY_ONE, TOGETHER, UNMASKED = "one by one", "together", "not at all"
"""How a masked language model reads a text that has no mask of its own."""


NOTHING: tuple[Distribution, ...] = ()
"""What is found before the model has run."""


class PredictionsChoices(param.Parameterized):
    """Choices of the predictions view."""

    k = param.Integer(default=5, bounds=(1, MOST_OUTCOMES), doc="How many of the likeliest outcomes are shown of a position.")
    shown = param.Selector[str](objects=[SELECTED, EVERY], default=SELECTED, doc="Predictions at selected positions, or at all.")
    page = param.Integer(default=0, bounds=(0, None), doc="Which of the pages of positions is shown; the first is 0.")
    mask = param.Selector[str](
        objects=[ONE_BY_ONE, TOGETHER, UNMASKED], default=ONE_BY_ONE, doc="How tokens are masked where the text has no mask."
    )
    without = param.Boolean(default=False, doc="Whether the text is run again with the selected heads switched off.")


class Plan(NamedTuple):
    """What is to be shown, before anything is run."""

    task: str
    positions: tuple[int, ...]
    """All that can be paged through."""
    page: int
    pages: int
    here: tuple[int, ...]
    """The positions of the page."""
    masks: tuple[tuple[int, ...], ...]
    """Runs with these positions masked; none: the text as it was run."""
    heads: tuple[HeadId, ...]
    """Heads switched off in a second run; none: nothing is compared."""

    @property
    def key(self) -> str:
        """Names the result: everything it depends on beside the trace."""
        heads = ",".join(f"{head.kind} {head.layer}.{head.head}" for head in self.heads)
        return f"masks {self.masks} at {() if self.masks else self.here} without {heads}"


class Shown(NamedTuple):
    """All that is on screen."""

    found: tuple[Distribution, ...] = ()
    groups: tuple[dict[str, Any], ...] = ()
    """Positions and their outcomes, as `BarList` takes them."""
    steps: tuple[dict[str, Any], ...] = ()
    """One outcome step by step, likewise."""
    filled: str = ""
    """The text with its masks filled; empty where none is."""
    compared: bool = False
    """Whether outcomes have a second number, without the selected heads."""
    page: int = 0
    pages: int = 1
    positions: int = 0
    """All that can be paged through."""


class PredictionsLens(Lens):
    """The predictions on screen."""

    key: ClassVar = "predictions"
    choices_type: ClassVar = PredictionsChoices
    reads: ClassVar = {
        "selection": ("focus", "heads", "queries"),
        "target": ("position", "outcome", "against"),
    }

    _plan: Plan | None = None
    _shown: Shown | None = None

    def depends(self) -> Hashable:
        """On the kind in focus for whose tokens are selected; on the heads also where none is switched off: the button counts."""
        selection, target = self.workspace.selection, self.workspace.target
        explained = target.position, target.outcome, target.against
        return self.kind, selection.queries, selection.heads, explained, *self.choices.param.values().values()

    def forget(self) -> None:
        """Drop the plan and what was found by it."""
        self._plan = self._shown = None

    # -- what is asked for ---------------------------------------------------------------------------------------------

    @property
    def can_run(self) -> bool:
        """Whether the model is here to run the text again."""
        trace = self.workspace.trace
        return trace is not None and trace.live is not None and PREDICT_AGAIN in self.workspace.tasks

    @property
    def side(self) -> str:
        """Whose positions the predictions are at."""
        return side_of_predictions(self.trace)

    def can_mask(self) -> bool:
        """Whether it makes a difference how tokens are masked."""
        trace = self.workspace.trace
        return trace is not None and task_of(trace) == MASKED and self.can_run and not masks_of(trace)

    def selected(self) -> tuple[int, ...]:
        """The selected tokens that look, where they are those that predictions are made at."""
        selection = self.workspace.selection
        return tuple(sorted(selection.queries)) if self.trace.side(self.kind, "query") == self.side else ()

    def plan(self) -> Plan:
        """What is to be shown under the selection and the choices."""
        if self._plan is None:
            self._plan = self._planned()
        return self._plan

    def _planned(self) -> Plan:
        trace, choices = self.trace, self.choices
        positions = self._positions()
        pages = max(1, -(-len(positions) // POSITIONS_A_PAGE))
        page = min(choices.page, pages - 1)
        here = positions[page * POSITIONS_A_PAGE : (page + 1) * POSITIONS_A_PAGE]
        masks: tuple[tuple[int, ...], ...] = ()
        if self.can_mask() and choices.mask != UNMASKED:
            masks = (self.selected(),) if self.masks_together() else tuple((at,) for at in here)
        heads = tuple(sorted(self.workspace.selection.heads)) if choices.without and self.can_run else ()
        return Plan(task_of(trace), positions, page, pages, here, masks, heads)

    def masks_together(self) -> bool:
        """Whether the selected tokens are masked in one run; without any, each token is masked by itself."""
        return bool(self.can_mask() and self.choices.mask == TOGETHER and self.selected())

    def _positions(self) -> tuple[int, ...]:
        trace, selected = self.trace, self.selected()
        task = task_of(trace)
        if task == CLASSIFIES_TEXT:
            return (WHOLE_TEXT,)
        special = trace.token_tables[self.side]["special"].to_numpy(dtype=bool)
        if self.choices.shown == EVERY and not self.masks_together():
            return tuple(range(len(special)))
        if selected or (task == MASKED and masks_of(trace)):
            return selected or masks_of(trace)
        if task in (MASKED, LABELS):
            return tuple(int(at) for at in np.flatnonzero(~special)) or tuple(range(len(special)))
        return tuple(range(len(special))) if "target" in trace.token_tables else (len(special) - 1,)

    # -- what is found -------------------------------------------------------------------------------------------------

    def shown(self) -> Shown:
        """All that is on screen; empty until the outcomes are there."""
        if self._shown is None:
            self._shown = self.attempt(self._work_out, Shown())
        return self._shown

    def _work_out(self) -> Shown:
        plan, found = self.plan(), self._outcomes()
        self.line = self._describe(found)
        return Shown(
            found=found,
            groups=tuple(map(self._group, found)),
            steps=self._steps(found),
            filled=self._filled(found),
            compared=bool(plan.heads),
            page=plan.page,
            pages=plan.pages,
            positions=len(plan.positions),
        )

    def _outcomes(self) -> tuple[Distribution, ...]:
        trace, plan = self.trace, self.plan()
        if plan.masks or plan.heads:
            again = functools.partial(_predict_again, self.workspace.tasks[PREDICT_AGAIN], trace, plan)
            found = self.ask(plan.key, again, NOTHING, needs_model=True)
        elif trace.outcomes is not None:
            found = distributions(trace.outcomes, plan.here)
        else:
            # The trace was made without predictions: the first look at them runs its text once more.
            outcomes = self.ask("outcomes", lambda _: trace.kept_outcomes(), None, needs_model=True)
            found = NOTHING if outcomes is None else distributions(outcomes, plan.here)
        here = set(plan.here)
        return tuple(each for each in found if each.position in here)

    def _group(self, found: Distribution) -> dict[str, Any]:
        own = self._own(found.position)
        ranks = found.ranks(self.choices.k, own)
        names = outcome_labels([str(found.names[at]) for at in ranks])
        here = self._is_target(found)
        target = self.workspace.target
        states = {found.place_of(target.against): "against", found.place_of(target.outcome): "chosen"} if here else {}
        rows = [
            {
                "key": f"{found.position}:{int(found.ids[at])}",
                "label": name,
                "state": states.get(at, ""),
                **bars_of(found, at),
                "note": note_of(found, at, own=own, k=self.choices.k),
            }
            for at, name in zip(ranks, names, strict=True)
        ]
        if own is not None and own not in found.ids:
            rows.append(row_of_unlikely(found, self._own_name(found.position)))
        return {
            "key": "" if found.position == WHOLE_TEXT else f"at {found.position}",
            "name": self.place_in_words(found.position),
            "pressed": found.position in self.selected(),
            "rows": rows,
        }

    def place_in_words(self, position: int) -> str:
        """What stands at a position, and what is predicted there."""
        if position == WHOLE_TEXT:
            return "The text"
        name = f"'{shown_token(str(self.trace.token_tables[self.side]['token'].iloc[position]))}' ({position})"
        task = task_of(self.trace)
        if task == MASKED:
            hidden = position in masks_of(self.trace) or any(position in mask for mask in self.plan().masks)
            return f"In place of {name}" if hidden else f"At {name}, which the model sees"
        return name if task == LABELS else f"After {name}"

    def _own(self, position: int) -> int | None:
        """Id of what the text itself has where an outcome is predicted; None where it has nothing there, or a mask."""
        task = task_of(self.trace)
        if task in (CLASSIFIES_TEXT, LABELS) or position in masks_of(self.trace):
            return None
        ids, at = self.trace.token_tables[self.side].get("id"), self._own_place(position)
        return None if ids is None or at >= len(ids) else int(ids.iloc[at])

    def _own_place(self, position: int) -> int:
        """Where the token stands that is predicted at a position."""
        return position if task_of(self.trace) == MASKED else position + 1

    def _own_name(self, position: int) -> str:
        return str(self.trace.token_tables[self.side]["token"].iloc[self._own_place(position)])

    def _filled(self, found: tuple[Distribution, ...]) -> str:
        """The text with its masks filled; empty where none is filled, or each in a run of its own."""
        trace, plan = self.trace, self.plan()
        everywhere = self.selected() if self.masks_together() else masks_of(trace)
        words = {each.position: str(each.names[0]) for each in found}
        if plan.task != MASKED or not everywhere or not set(everywhere) <= set(words):
            return ""
        return f"Filled: {filled(trace, {at: words[at] for at in everywhere})}"

    # -- the one that is explained -------------------------------------------------------------------------------------

    def _is_target(self, found: Distribution) -> bool:
        target = self.workspace.target
        if not target.outcome:
            return False
        if target.position >= 0 or found.position == WHOLE_TEXT:
            return bool(found.position == target.position)
        return found.position == len(self.trace.token_tables[self.side]) - 1  # the last, by the word of `Target`

    def choose(self, key: str, *, against: bool = False) -> None:
        """Make an outcome the target, or what the target is held against; pressed again, it is let go of."""
        position, _, number = key.partition(":")
        found = next((each for each in self.shown().found if str(each.position) == position), None)
        if found is None or int(number) not in found.ids:
            return  # the page was turned while the press was on its way
        name, target = str(found.names[found.ids == int(number)][0]), self.workspace.target
        here = self._is_target(found)
        if not against:
            again = here and target.outcome == name
            held = target.against if here and target.against != name else ""
            if again:
                target.param.update(position=-1, outcome="", against="")
            else:
                target.param.update(position=found.position, outcome=name, against=held)
            return
        outcome = target.outcome if here else str(found.names[0])
        held = "" if name == outcome or (here and target.against == name) else name
        target.param.update(position=found.position, outcome=outcome, against=held)

    def _steps(self, found: tuple[Distribution, ...]) -> tuple[dict[str, Any], ...]:
        """From logit to probability of the chosen outcome; without one, of the likeliest at the first position of the page."""
        if not found:
            return ()
        chosen = next((each for each in found if self._is_target(each)), None)
        place = chosen.place_of(self.workspace.target.outcome) if chosen is not None else None
        shown = chosen or found[0]
        return (steps_in_words(shown, place or 0, self.place_in_words(shown.position)),)

    # -- in words, and to take away ------------------------------------------------------------------------------------

    def _describe(self, found: tuple[Distribution, ...]) -> str:
        plan, choices = self.plan(), self.choices
        several = counted(len(plan.positions), "position")
        what = {
            CLASSIFIES_TEXT: "Classes of the whole text",
            LABELS: f"Labels at {counted(len(plan.positions), 'token')}",
            MASKED: masks_in_words(masks_of(self.trace), plan.masks, plan.positions),
        }.get(plan.task, f"Next token at {several}")
        if found and found[0].form == SCORE:
            return "The score of the whole text; a regression has no probabilities"
        if found and found[0].n_outcomes > choices.k:
            what += f"; the {choices.k} likeliest of {found[0].n_outcomes:,}"
        if plan.heads:
            what += f"; with and without {listed([head.label(self.trace.kinds) for head in plan.heads])}"
        elif choices.without:
            what += "; no head is selected that could be switched off" if self.can_run else "; the model is not here to run again"
        return what

    def table(self) -> pd.DataFrame:
        """Exactly the outcomes on screen, one row each."""
        found: dict[str, list[Any]] = {name: [] for name in ("position", "rank", "outcome", "id", "logit", "probability")}
        changed: list[float] = []
        for each in self.shown().found:
            own = self._own(each.position)
            for at in each.ranks(self.choices.k, own):
                row = (each.position, at, each.names[at], int(each.ids[at]), float(each.logits[at]), each.probabilities()[at])
                for name, value in zip(found, row, strict=True):
                    found[name].append(value)
                changed.append(float(each.changed_probabilities()[at]))
        table = pd.DataFrame(found)
        if self.workspace.trace is not None and self.plan().heads:
            table["without_heads"] = changed
            table["difference"] = table["without_heads"] - table["probability"]
        return table


def _predict_again(task: Any, trace: Trace, plan: Plan, progress: Progress) -> tuple[Distribution, ...]:
    what = "Masking tokens" if plan.masks else f"Running without {counted(len(plan.heads), 'head')}"
    at = () if plan.here == (WHOLE_TEXT,) else plan.here
    found: tuple[Distribution, ...] = task(trace, at, plan.masks, plan.heads, lambda done, of: progress.tell(what, done / of))
    return found
