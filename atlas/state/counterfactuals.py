"""What the view of counterfactuals shows: texts with identity terms exchanged, and what the model makes of the chosen one."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pandas as pd
import param

from atlas.errors import NotCaptured, TextError
from atlas.state.asking import Progress, Takes
from atlas.state.counterfactual_words import number_groups, swapped, with_marks
from atlas.state.detection import FIELDS, thresholds_of
from atlas.state.head_plane import HeadPlaneLens
from atlas.state.lens import counted
from atlas.state.plane import Cell, Plane, Thresholded
from atlas.state.validate import LONGEST_NAME
from atlas.trace import NO_MODEL, Trace
from atlas.tracing.chance import BEYOND
from atlas.tracing.counterfactual import (
    COMPARE_COUNTERFACTUAL,
    COUNTERFACTUALS,
    OWN,
    Comparison,
    Counterfactual,
    detections,
    passes,
)

RATIO, MOVED = "ratio", "moved"
"""What a cell says: the reaction over that to neutral swaps, or how far attention moved."""

READINGS = {RATIO: "log₂ of it", MOVED: "moved"}


LEAST_RATIO = 1 / 64
"""Ratios under this have the colour of this."""

NO_TERMS = (
    "This text has no identity term that could be exchanged. Type a swap of your own above, such as: doctor -> nurse; or "
    "analyse another text."
)

NO_MAKER = "Counterfactuals are made in the app alone."


class Listed(NamedTuple):
    """The counterfactuals of a text."""

    keys: tuple[str, ...]
    """Each names its counterfactual without a word of the text."""
    found: tuple[Counterfactual, ...]
    note: str
    """What is wrong with the reader's own swap; may be empty."""

    def at(self, key: str) -> int:
        """The place of a key; the first where there is no such."""
        return self.keys.index(key) if key in self.keys else 0


class CounterfactualsChoices(Thresholded):
    """Choices of the view of counterfactuals."""

    quotes: ClassVar[tuple[str, ...]] = ("own",)
    """Choices that quote the text: a link without the text leaves them out."""

    own = param.String(default="", doc="A swap of the reader's: doctor -> nurse; he -> she.")
    chosen = param.String(default="", doc="Which counterfactual is shown; empty: the first.")
    value = param.Selector[str](objects=[RATIO, MOVED], default=RATIO, doc="What a cell says of its head.")


class CounterfactualsLens(HeadPlaneLens):
    """The counterfactuals of the text, and the heads that react to the chosen one."""

    key: ClassVar = "counterfactuals"
    choices_type: ClassVar = CounterfactualsChoices
    reads: ClassVar = {"selection": ("focus",), "target": ("position",), "thresholds": tuple(FIELDS.values())}
    missing: ClassVar = "does not move, or has no neutral swaps"

    _of: Trace | None = None
    _listed: tuple[str, Listed] | None = None

    def __init__(self, workspace: Any, **params: Any) -> None:
        self._wanted: dict[str, int] = {}
        """Texts that the reader wants compared, each with the position whose prediction was explained when they asked."""
        super().__init__(workspace, **params)

    def depends(self) -> Hashable:
        """On the kind, what is chosen, the thresholds and the position that is explained."""
        choices, position = self.choices, self.workspace.target.position
        thresholds = tuple(thresholds_of(self.workspace).items())
        return self.kind, choices.own, choices.chosen, choices.value, thresholds, position, tuple(self._wanted.items())

    # -- the counterfactuals -------------------------------------------------------------------------------------------

    def _fit_trace(self) -> None:
        """Drop what was wanted of another trace; a lens that slept has not heard that there is a new one."""
        if self._of is not self.workspace.trace:
            self._of, self._listed, self._wanted = self.workspace.trace, None, {}

    def listed(self) -> Listed | None:
        """The counterfactuals of the text; None while they are made."""
        self._fit_trace()
        own = self.choices.own.strip()[:LONGEST_NAME]  # the field takes no more in a browser
        # Kept here: a lens waits for one thing, and to ask for the list again would drop the comparison under way.
        if self._listed is None or self._listed[0] != own:
            found: Listed | None = self.ask(f"list {own}", self._maker(own), None)
            self._listed = None if found is None else (own, found)
        return None if self._listed is None else self._listed[1]

    def _maker(self, own: str) -> Any:
        trace, task = self.trace, self.workspace.tasks.get(COUNTERFACTUALS)
        text = trace.texts.text
        if task is None or text is None:
            raise NotCaptured(NO_MAKER)

        def make(progress: Progress) -> Listed:
            progress.tell("Looking for identity terms")
            mine: list[Counterfactual] = []
            note = ""
            if own:
                try:
                    mine = task(text, own)
                    note = "" if mine else f"Nothing of “{own}” is in the text."
                except TextError as error:
                    note = str(error)
            found = [*mine, *task(text)]
            return Listed(_keys(found), tuple(found), note)

        return make

    def chosen(self) -> Counterfactual | None:
        """The counterfactual that is shown; None where there is none, or while they are made."""
        listed = self._some()
        return listed.found[listed.at(self.choices.chosen)] if listed is not None and listed.found else None

    # -- the comparison ------------------------------------------------------------------------------------------------

    def compare(self) -> None:
        """Run the chosen counterfactual."""
        found = self.attempt(self.chosen, None)
        if found is not None:
            self._wanted[found.text] = self.workspace.target.position
            self._redraw()

    def cancel(self) -> None:
        """Stop the comparison; the list stays."""
        if self.busy:
            self.drop_asked()
            found = self.attempt(self.chosen, None)
            if found is not None:
                self._wanted.pop(found.text, None)
            self._redraw()

    def comparison(self) -> Comparison | None:
        """The chosen counterfactual beside the text; None before it is compared, and meanwhile."""
        found, trace = self.chosen(), self.trace
        if found is None:
            return None
        position = self._wanted.get(found.text, self.workspace.target.position)
        key = f"compare {position} {found.text}"
        if found.text not in self._wanted and not trace.holds(f"asked {type(self).__name__} {self.key} {key}"):
            return None
        task = self.workspace.tasks.get(COMPARE_COUNTERFACTUAL)
        if task is None or trace.live is None:
            raise NotCaptured(NO_MODEL)

        def work(progress: Progress) -> Comparison:
            made: Comparison = task(trace, found, position, progress.tell)
            return made

        return self.ask(key, work, None, needs_model=True, takes=Takes(self.cost()))

    def cost(self) -> int:
        """Runs of the model that a comparison takes at most."""
        return passes(self.trace)

    @property
    def can_compare(self) -> bool:
        """Whether there is a model, and something that is not compared yet."""
        trace = self.workspace.trace
        if trace is None or trace.live is None or self.busy or COMPARE_COUNTERFACTUAL not in self.workspace.tasks:
            return False
        found = self.attempt(self.chosen, None)
        if found is None:
            return False
        moved = self._wanted.get(found.text, self.workspace.target.position) != self.workspace.target.position
        return moved or self.attempt(self.comparison, None) is None

    def analyse(self) -> None:
        """Make the chosen counterfactual the text of the Atlas, and run it."""
        found, given = self.attempt(self.chosen, None), self.workspace.pipeline.input
        if found is not None and given is not None:
            given.put(found.text, given.pair, given.target)
            self.workspace.pipeline.run()

    # -- what is shown -------------------------------------------------------------------------------------------------

    def rows(self) -> list[dict[str, Any]]:
        """The counterfactuals as groups of rows, what changed marked in each text."""
        listed = self.attempt(self._some, None)
        if listed is None:
            return []
        groups: dict[str, list[dict[str, Any]]] = {}
        shown = listed.at(self.choices.chosen)
        for at, (key, each) in enumerate(zip(listed.keys, listed.found, strict=True)):
            name = "Your swap" if each.category == OWN else each.category.replace("-", " ").capitalize()
            row = {"key": key, "label": swapped(each), "note": with_marks(each), "state": "chosen" if at == shown else ""}
            groups.setdefault(name, []).append(row)
        return [{"name": f"{name} ({len(rows):,})", "rows": rows} for name, rows in groups.items()]

    def _some(self) -> Listed | None:
        listed = self.listed()
        if listed is not None and not listed.found and not listed.note:
            raise NotCaptured(NO_TERMS)
        return listed

    def choose(self, key: str) -> None:
        """Show another counterfactual."""
        self.choices.chosen = key

    def note(self) -> str:
        """What is to be known of the list or of the chosen counterfactual; may be empty."""
        listed = self.attempt(self._some, None)
        if listed is None:
            return ""
        found, compared = self.attempt(self.chosen, None), self.attempt(self.comparison, None)
        own = () if found is None else found.notes
        reactions = "" if compared is None else compared.reactions.note
        return " ".join(filter(None, [listed.note, *own, reactions]))

    def numbers(self) -> list[dict[str, Any]]:
        """The numbers of the text and of the counterfactual beside each other, as groups of rows."""
        found, compared = self.attempt(self.chosen, None), self.attempt(self.comparison, None)
        if found is None or compared is None:
            return []
        return number_groups(compared, detections(found, compared.labels, thresholds_of(self.workspace)))

    # -- the heads -----------------------------------------------------------------------------------------------------

    @property
    def signed(self) -> bool:
        """More and less than under neutral swaps; where there are none, how far attention moved."""
        compared = self.attempt(self.comparison, None) if self.choices.value == RATIO else None
        return bool(self.choices.value == RATIO and (compared is None or compared.reactions.neutral))

    def reading(self) -> str:
        """What the value of a cell is called."""
        return READINGS[RATIO if self.signed else MOVED]

    def whose(self) -> str:
        """Whose numbers they are."""
        return "reaction / that to neutral swaps" if self.signed else "attention of words"

    def _heads(self) -> pd.DataFrame | None:
        compared = self.comparison()
        if compared is None:
            return None
        table = compared.reactions.table
        return table[table["kind"] == self.kind].reset_index(drop=True)

    def _build_plane(self) -> Plane:
        listed = self._some()
        if listed is None:
            return Plane()
        heads = self._heads()
        self.line = self._describe(listed, heads)
        if heads is None:
            return Plane()
        ratio = np.log2(np.maximum(heads["ratio"].to_numpy(), LEAST_RATIO))
        return self.of_heads(ratio if self.signed else heads["moved"].to_numpy())

    def _numbers(self, row: int, column: int) -> Cell:
        numbers, heads = super()._numbers(row, column), self._heads()
        if heads is None:
            return numbers
        head = heads.iloc[row * self.trace.n_heads(self.kind) + column]
        names = {"moved": "moved", "neutral": "by neutral swaps", "z": "z", "p": "p", "q": "q", "unpaired": "without partner"}
        others = {said: float(head[name]) for name, said in names.items() if self.signed or name != MOVED}
        return numbers | others | {"without partner, new": float(head["unpaired_new"])}

    def beyond(self) -> frozenset[tuple[int, int]]:
        """The heads that react beyond neutral swaps: (layer, head)."""
        heads = self._heads() if self.plane().rows else None
        if heads is None:
            return frozenset()
        return frozenset((int(layer), int(head)) for layer, head in heads.loc[heads["q"] <= BEYOND, ["layer", "head"]].to_numpy())

    def table(self) -> pd.DataFrame:
        """One row a head where the chosen counterfactual is compared, else one row a counterfactual."""
        compared = self.attempt(self.comparison, None)
        if compared is not None:
            return compared.reactions.table
        listed = self.attempt(self._some, None)
        columns = ["category", "one", "other", "swaps", "text"]
        rows = [(each.category, *each.between, swapped(each), each.text) for each in (listed.found if listed is not None else ())]
        return pd.DataFrame(rows, columns=columns)

    def _describe(self, listed: Listed, heads: pd.DataFrame | None) -> str:
        found = self.chosen()
        if found is None:
            return "No identity term of this text can be exchanged"
        several = f"{counted(len(listed.found), 'counterfactual')} of this text; {swapped(found)}"
        if heads is None:
            waits = "is being compared" if found.text in self._wanted else f"not compared yet: up to {self.cost():,} runs of it"
            return f"{several} {waits}"
        n, beyond = int(heads["n"].iloc[0]), int((heads["q"] <= BEYOND).sum())
        if not n:
            return f"{several}: attention moved, with nothing neutral to compare it with"
        return (
            f"{several}: {beyond:,} of {self.of_kind()} react beyond {counted(n, 'neutral swap')} (q ≤ {BEYOND} over all heads)"
        )


def _keys(found: list[Counterfactual]) -> tuple[str, ...]:
    """Names of counterfactuals without words of the text: category, identities, and the number among equal ones."""
    seen: dict[str, int] = {}
    made = []
    for each in found:
        name = " ".join(filter(None, (each.category, *each.between)))
        seen[name] = seen.get(name, 0) + 1
        made.append(name if seen[name] == 1 else f"{name} {seen[name]}")
    return tuple(made)
