"""What the view of counterfactuals over many texts shows: the change of every pair of texts, as they come."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pandas as pd
import param

from atlas.errors import BadData, NotCaptured
from atlas.ids import HeadId
from atlas.numbers import listed, three
from atlas.state.asking import Progress
from atlas.state.counterfactual_words import swapped
from atlas.state.detection import FIELDS, thresholds_of
from atlas.state.lens import counted
from atlas.state.many_texts import LOST, PART_SECONDS, SHOWN_ROWS, ManyTextsLens, TextsChoices
from atlas.state.model_key import model_key
from atlas.state.validate import LONGEST_NAME
from atlas.tracing.chance import BEYOND
from atlas.tracing.many_texts import FEW_SENTENCES, TEMPLATES
from atlas.tracing.swap_audit import (
    CATEGORIES,
    EVERY,
    MEASURES,
    NEUTRAL_EACH,
    PREDICTED,
    SIGNED,
    SWAP_AUDIT,
    SwapAudit,
)


class SwapAuditChoices(TextsChoices):
    """Choices of the view of counterfactuals over many texts."""

    quotes: ClassVar[tuple[str, ...]] = ("own",)
    """Choices that quote the text: a link without the text leaves them out."""

    category = param.Selector[str](objects=[EVERY, *CATEGORIES], default=EVERY, doc="Which identities are exchanged.")
    own = param.String(default="", doc="A swap of the reader's instead: doctor -> nurse; he -> she.")
    measure = param.Selector[str](objects=list(MEASURES), default=PREDICTED, doc="What may change.")


class Row(NamedTuple):
    """One exchange of identities."""

    name: str
    value: float
    lo: float
    hi: float
    beyond: bool
    """Whether it is more than chance, corrected."""
    about: str


class SwapAuditLens(ManyTextsLens):
    """The pairs of the texts chosen, on the model on screen."""

    key: ClassVar = "swap_audit"
    choices_type: ClassVar = SwapAuditChoices
    reads: ClassVar = {"thresholds": tuple(FIELDS.values()), "listed": ("texts",)}
    instead: ClassVar = "atlas bias"

    def __init__(self, workspace: Any, **params: Any) -> None:
        self._picked_of: Hashable = None
        """What it is a pair of: other texts, or another model, have other pairs."""
        self.picked = -1
        """The pair chosen, as a row of `pairs`; -1: none."""
        super().__init__(workspace, **params)

    def depends(self) -> Hashable:
        """On all choices, and the thresholds that say which words are flagged."""
        return self.request(), self.choices.measure, tuple(thresholds_of(self.workspace).items()), len(self._wanted), self.picked

    # -- the texts and the run -----------------------------------------------------------------------------------------

    def other_texts(self) -> None:
        """The pair that was chosen is of other texts."""
        self.picked = -1
        super().other_texts()

    def request(self) -> Hashable:
        """All that the results depend on."""
        return model_key(self.trace), self.of_texts(), self.choices.category, self._own()

    def check(self) -> None:
        """Pairs need a task."""
        if SWAP_AUDIT not in self.workspace.tasks:
            msg = "Texts are compared in the app alone."
            raise NotCaptured(msg)

    def part(self, held: dict[Any, Any]) -> Callable[[Progress], SwapAudit]:
        """The next pairs."""
        task, trace, texts = self.workspace.tasks[SWAP_AUDIT], self.trace, self.texts()
        category, own = self.choices.category, self._own()
        if texts is None:
            raise BadData(LOST)

        def work(progress: Progress) -> SwapAudit:
            made: SwapAudit = task(trace, texts, own, category, held, PART_SECONDS, progress.tell)
            return made

        return work

    def _own(self) -> str:
        return str(self.choices.own).strip()[:LONGEST_NAME]

    def handed_over(self) -> Any:
        """The texts and the results, and the pair chosen."""
        return super().handed_over(), self.picked, self._picked_of

    def take_over(self, handed: Any) -> None:
        """Show the results there; nothing is run."""
        texts, self.picked, self._picked_of = handed
        super().take_over(texts)

    # -- what is shown -------------------------------------------------------------------------------------------------

    @property
    def measure(self) -> str:
        """What may change."""
        return str(self.choices.measure)

    @property
    def signed(self) -> bool:
        """Whether it may go up or down."""
        return self.measure in SIGNED

    def audit(self) -> SwapAudit | None:
        """What is found so far, and the next part asked for."""
        found: SwapAudit | None = self.shown()
        return found

    def pairs(self) -> pd.DataFrame:
        """All pairs, those that change most first; `pair` is the row in the order of the texts."""
        found = self.audit()
        if found is None:
            return pd.DataFrame(columns=["pair", "row", "text", "counterfactual", "category", "one", "other", "swaps"])
        table = found.flagged(thresholds_of(self.workspace))
        table.insert(0, "pair", np.arange(len(table)))
        order = (-table[self.measure].abs().to_numpy(dtype=float)).argsort(kind="stable")  # unknown last
        return table.iloc[order].reset_index(drop=True)

    def changes(self) -> tuple[np.ndarray, np.ndarray]:
        """The changes of all pairs, and of all of their neutral swaps."""
        found = self.audit()
        if found is None:
            return np.empty(0), np.empty(0)
        each = found.pairs[self.measure].to_numpy(dtype=float), found.null[self.measure].to_numpy(dtype=float)
        return each[0][np.isfinite(each[0])], each[1][np.isfinite(each[1])]

    def rows(self) -> list[Row]:
        """Every exchange of identities: the mean change with its interval; of attention, how many times that of neutral swaps."""
        found = self.audit()
        return [] if found is None else self.rows_of(found)

    def _row(self, each: dict[Any, Any]) -> Row:
        name = "all exchanges" if each["category"] == EVERY else exchange(each["one"], each["other"])
        ratio = f"{three(each['ratio'])} times as large as by neutral swaps{_interval(each['ratio_lo'], each['ratio_hi'])}"
        of = f"{counted(int(each['pairs']), 'pair')} of {counted(int(each['texts']), 'text')}"
        if not self.signed:
            beyond = bool(each["ratio_q"] <= BEYOND)
            said = f"{of}\n{ratio}, p {three(each['ratio_p'])}, q {three(each['ratio_q'])}"
            return Row(name, each["ratio"], each["ratio_lo"], each["ratio_hi"], beyond, said)
        of += "" if each["directed"] == each["pairs"] else f", {each['directed']:,} of them in one direction"
        change = f"mean change {three(each['change'])}{_interval(each['lo'], each['hi'])}"
        said = f"{of}\n{change}, p {three(each['p'])}, q {three(each['q'])}\n{ratio}, q {three(each['ratio_q'])}"
        return Row(name, each["change"], each["lo"], each["hi"], bool(each["q"] <= BEYOND), said)

    def heads(self) -> tuple[HeadId, ...]:
        """The heads whose attention moves more than by neutral swaps, over all texts, corrected."""
        found = self.audit()
        if found is None:
            return ()
        table = found.heads[found.heads["q"] <= BEYOND]
        return tuple(
            HeadId(str(kind), int(layer), int(head)) for kind, layer, head in table[["kind", "layer", "head"]].to_numpy()
        )

    def sides(self) -> list[tuple[str, str, str]]:
        """Of the pair chosen: which side, what it is called, its text."""
        found = self.found()
        if found is None or self._picked_of != self.request() or not 0 <= self.picked < len(found.pairs):
            return []
        row = found.pairs.iloc[self.picked]
        return [
            ("old", "Text", row["text"]),
            ("new", f"Counterfactual: {swapped(found.found[self.picked])}", row["counterfactual"]),
        ]

    def notes(self) -> str:
        """What the number is, and the rows that gave no pair."""
        found = self.found()
        if found is None:
            return ""
        lines = [f"Predicts: {found.predicts}. Detector: {found.detector}."]
        lines += [FEW_SENTENCES] if self.choices.source in TEMPLATES else []
        bad = [f"row {row} {reason}".removesuffix(".") for row, reason in found.bad.head(SHOWN_ROWS).itertuples(index=False)]
        if len(found.bad):
            more = f", and {len(found.bad) - SHOWN_ROWS:,} more" if len(found.bad) > SHOWN_ROWS else ""
            lines.append(f"{counted(len(found.bad), 'row')} without a pair: {'; '.join(bad)}{more}.")
        return "\n".join(lines)

    def table(self) -> pd.DataFrame:
        """Every pair; before a run the exchanges that can be asked for."""
        if self.audit() is not None:
            return self.pairs()
        return pd.DataFrame({"texts": list(TEMPLATES), "about": list(TEMPLATES.values())})

    # -- what a reader does --------------------------------------------------------------------------------------------

    def open(self, pair: int, side: str = "old") -> None:
        """Choose a pair, and make one of its texts the text of the Atlas."""
        self.picked, self._picked_of = pair, self.request()
        texts = {name: text for name, _, text in self.sides()}
        given = self.workspace.pipeline.input
        if given is not None and side in texts:
            given.put(texts[side])
            self.workspace.pipeline.run()
        self._redraw()

    def beside(self) -> None:
        """Open the text of the pair chosen, with its counterfactual as side B of Compare."""
        texts = {name: text for name, _, text in self.sides()}
        if texts:
            self.open(self.picked)
            self.workspace.second.put(text=texts["new"])
            self.workspace.display.tab = "compare"

    def select_heads(self, origin: str) -> None:
        """Select the heads that react beyond neutral swaps."""
        heads = self.heads()
        if heads:
            self.workspace.selection.select_heads(heads, origin=origin, label="react beyond neutral swaps in many texts")

    # -- in words ------------------------------------------------------------------------------------------------------

    def describe(self) -> str:
        """How many pairs, and which exchanges are more than chance."""
        texts, found = self.texts(), self.found()
        if texts is None:
            return self.no_texts()
        name = self.name_of_texts(texts)
        if found is None:
            return f"{name}: not run yet; each pair takes {NEUTRAL_EACH + 1} texts through the model"
        off = self.trace.provenance.get("changed", {}).get("ablated", ())
        without = f", {counted(len(off), 'head')} switched off" if off else ""
        count = ("" if found.complete else f"{len(found.pairs):,} of ") + counted(found.of, "pair")
        rows = [row for row in self.rows_of(found) if row.beyond]
        what = "the change has a direction" if self.signed else "attention moves more than by neutral swaps"
        said = listed([row.name for row in rows]) if rows else "no exchange"
        return f"{found.model}{without} on {count} of {name}: {what} (q ≤ {BEYOND}): {said}"

    def rows_of(self, found: SwapAudit) -> list[Row]:
        """The rows of what is found, without asking for more."""
        table = found.groups[found.groups["measure"] == self.measure].to_dict("records")
        # Changes of unlike exchanges have no common direction.
        return [self._row(each) for each in table if not (self.signed and each["category"] == EVERY)]


def exchange(one: str, other: str) -> str:
    """Two identities, or words, and the direction in which a change is told."""
    return f"{one} → {other or 'nothing'}"


def _interval(lo: float, hi: float) -> str:
    return f" ({three(lo)} to {three(hi)})" if np.isfinite(lo) else ""
