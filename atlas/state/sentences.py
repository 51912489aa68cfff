"""What the sentence matrix shows: how much attention the tokens of one sentence give to another."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, ClassVar

import param

from atlas.ids import HeadId
from atlas.state.asking import QUICK_CELLS, Progress
from atlas.state.lens import counted
from atlas.state.plane import Cell, Thresholded, TokenPlane, TokenPlaneLens
from atlas.state.words import heads_in_words
from atlas.tracing.sentences import PART, SENTENCE, Sentences, has_parts, sentences

MASS, DIFFERENCE = "mass", "difference"
"""Attention as it is; what it is above or below that of uniform attention."""


class SentencesChoices(Thresholded):
    """Choices of the sentence matrix."""

    by = param.Selector[str](
        objects=[SENTENCE, PART], default=SENTENCE, doc="Between sentences; or messages, spans and texts, where there are any."
    )
    show = param.Selector[str](objects=[MASS, DIFFERENCE], default=MASS, doc="Attention mass, or its difference from chance.")


class SentencePlaneLens(TokenPlaneLens):
    """A plane of the heads that are shown, together."""

    @property
    def by(self) -> str:
        """What the tokens are summed to; sentences where there are no parts."""
        choices: Any = self.workspace.choices_of("sentences")
        return PART if choices.by == PART and has_parts(self.trace, self.kind) else SENTENCE

    def whose(self) -> str:
        """Whose numbers they are, in a few words."""
        heads = self.shown_heads()
        return str(heads[0]) if len(heads) == 1 else f"{self.workspace.display.aggregate} of {len(heads)} heads"

    def heads_said(self) -> str:
        """The same with the name of the selection."""
        how = "mean" if self.workspace.display.aggregate == "mean" else "largest"
        return (f"{how} of " if len(self.shown_heads()) > 1 else "") + heads_in_words(self.workspace)


class SentencesLens(SentencePlaneLens):
    """The sentence matrix on screen."""

    key: ClassVar = "sentences"
    choices_type: ClassVar = SentencesChoices
    reads: ClassVar = {"selection": ("focus", "heads"), "display": ("aggregate",)}
    row_title: ClassVar = "from (sentence)"
    column_title: ClassVar = "to (sentence)"

    def depends(self) -> Hashable:
        """Not on the tokens, which are only marked, nor on the threshold, which the browser applies."""
        chosen = bool(self.workspace.selection.heads_of(self.kind))  # the line says where a head is shown because it is in focus
        return self.kind, self.heads(), chosen, self.workspace.display.aggregate, self.choices.show, self.by

    def heads(self) -> tuple[HeadId, ...]:
        """The selected heads of the kind on screen, else the one in focus."""
        return self.shown_heads()

    @property
    def signed(self) -> bool:
        """Whether differences from chance are shown."""
        return bool(self.choices.show == DIFFERENCE)

    def reading(self) -> str:
        """What the value of a cell is called."""
        return "above chance" if self.signed else "mass"

    def _found(self) -> Sentences | None:
        """The masses of the shown heads; None while many weights are still summed in a thread."""
        trace, heads, aggregate, by = self.trace, self.heads(), self.workspace.display.aggregate, self.by
        attention = trace.attention_of(self.kind)
        if attention.n_queries * attention.n_keys * len(heads) <= QUICK_CELLS:
            return sentences(trace, heads, aggregate, by)

        def summed(progress: Progress) -> Sentences:
            progress.tell(f"Summing the weights of {counted(len(heads), 'head')} to {by}s")
            return sentences(trace, heads, aggregate, by)

        return self.ask(f"{by}, {aggregate} of {','.join(map(str, heads))}", summed, None, keep=False)

    def _build_plane(self) -> TokenPlane:
        found = self._found()
        if found is None:
            return TokenPlane()
        self.line = self._describe(found)
        values = found.mass - found.chance if self.signed else found.mass
        return TokenPlane(found.rows, found.columns, values, found.chance, found.row_of, found.column_of)

    def _numbers(self, row: int, column: int) -> Cell:
        """The value, and beside a difference the mass it is of."""
        numbers, found = super()._numbers(row, column), self._found() if self.signed else None
        return numbers if found is None else numbers | {"mass": float(found.mass[row, column])}

    def _describe(self, found: Sentences) -> str:
        shown = "attention mass above uniform attention" if self.signed else "attention mass"
        single = len(found.rows) == len(found.columns) == 1
        size = f"a single {self.by} on each axis" if single else f"{len(found.rows):,} × {counted(len(found.columns), self.by)}"
        alone = f"; all attention stays in it, so it says nothing until there are two {self.by}s" if single else ""
        return f"{self.heads_said()}: {shown} from a token of the row's {self.by}, {size}{alone}"

    def titles(self) -> tuple[str, str]:
        """What rows and columns are."""
        return f"from ({self.by})", f"to ({self.by})"
