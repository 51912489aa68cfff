"""What the view of attention to flagged words shows: of every head, how much more of it they get than evenly spread attention."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import pandas as pd
import param

from atlas.errors import NotCaptured, NothingYet
from atlas.ids import HeadId
from atlas.state.asking import Progress
from atlas.state.detection import FIELDS, NO_DETECTOR, PROGRESS, thresholds_of, under
from atlas.state.lens import Lens, counted
from atlas.state.plane import Axis, Marked, Plane, Thresholded
from atlas.state.ratio_plane import RatioPlaneLens, logarithms
from atlas.tracing.chance import BEYOND
from atlas.tracing.labelled import ATTENTION_BIAS, DETECT, tokens_within

if TYPE_CHECKING:
    from atlas.trace import Trace

ANY = "any"
RECEIVED, AMONG = "received", "among"

NOTHING_FLAGGED = (
    "No word of this text is flagged{with_}, so there is nothing to hold attention against. Lower a threshold in the "
    "card 'Biased words', or analyse another text."
)

OTHER_SIDE = "These heads look at the target, and the flagged words are in the source. Choose encoder or cross."

AMONG_CROSS = "In cross-attention the flagged words are looked at and never look. Show what they receive."


class BiasedAttention(NamedTuple):
    """Every head against some flagged tokens."""

    table: pd.DataFrame
    tokens: frozenset[int]
    detector: str


def flagged_tokens(
    trace: Trace, task: Callable[..., Any], thresholds: dict[str, float], label: str, progress: Progress
) -> tuple[frozenset[int], str]:
    """The tokens of the words that are flagged with a label, or with any; and by whom."""
    labels = trace.once(DETECT, lambda: task(trace, lambda done, of: progress.tell(PROGRESS, done / of)))
    found = under(labels, thresholds)
    chosen = [at for at, name in enumerate(found.words.labels) if label in (ANY, name)]
    words = found.words.table[found.flagged[:, chosen].any(axis=1)]
    places = words[["segment", "start", "end"]].to_numpy()
    return frozenset[int]().union(*(tokens_within(trace, *map(int, place)) for place in places)), found.detector


class FlaggedChoices(param.Parameterized):
    """Which words are flagged, and who looks at them."""

    label = param.Selector[str](objects=[ANY, *FIELDS], default=ANY, doc="Words with this label.")
    direction = param.Selector[str](
        objects=[RECEIVED, AMONG], default=RECEIVED, doc="From all words, or from flagged ones alone."
    )


class FlaggedLens(Lens):
    """Heads, or layers, against the flagged words of the text on screen."""

    reads: ClassVar = {"selection": ("focus",), "thresholds": tuple(FIELDS.values())}
    task: ClassVar = ATTENTION_BIAS
    what: ClassVar = "{of:,} heads"
    """What is compared with chance."""

    def depends(self) -> Hashable:
        """On the kind, what is flagged, and by whom it is looked at."""
        return self.kind, tuple(thresholds_of(self.workspace).items()), self.choices.label, self.choices.direction

    def found(self) -> BiasedAttention | None:
        """All heads; None while they are being asked."""
        trace, choices, tasks = self.trace, self.choices, self.workspace.tasks
        if DETECT not in tasks or self.task not in tasks:
            raise NotCaptured(NO_DETECTOR)
        thresholds, label, direction = thresholds_of(self.workspace), choices.label, choices.direction

        def work(progress: Progress) -> BiasedAttention:
            tokens, detector = flagged_tokens(trace, tasks[DETECT], thresholds, label, progress)

            def report(done: int, of: int) -> None:
                progress.tell(f"Comparing {self.what.format(of=of)} with chance", done / of)

            table = tasks[self.task](trace, tokens, direction, report=report) if tokens else pd.DataFrame()
            return BiasedAttention(table, tokens, detector)

        return self.ask(f"{thresholds} {label} {direction}", work, None, needs_model=True, keep=False)

    def of_kind(self) -> pd.DataFrame | None:
        """Those of the kind on screen; None while they are being asked."""
        if self.trace.side(self.kind, "key") != "source":
            raise NotCaptured(OTHER_SIDE)
        if self.choices.direction == AMONG and self.kind == "cross":
            raise NotCaptured(AMONG_CROSS)
        found = self.found()
        if found is None:
            return None
        if not found.tokens:
            label = self.choices.label
            raise NothingYet(NOTHING_FLAGGED.format(with_="" if label == ANY else f" with {label}"))
        return found.table[found.table["kind"] == self.kind].reset_index(drop=True)


class AttentionBiasChoices(FlaggedChoices, Thresholded):
    """Choices of the view of attention to flagged words."""


class AttentionBiasLens(FlaggedLens, RatioPlaneLens):
    """Layers x heads."""

    key: ClassVar = "attention_bias"
    choices_type: ClassVar = AttentionBiasChoices
    marked_by: ClassVar = ("heads", "focus")
    marking: ClassVar = ("cells",)
    row_title: ClassVar = "layer"
    column_title: ClassVar = "head"

    def ratios(self) -> pd.DataFrame | None:
        """Those of the text on screen."""
        return self.of_kind()

    def _build_plane(self) -> Plane:
        heads = self.of_kind()
        if heads is None:
            return Plane()
        self.line = self._describe(heads)
        shape = self.trace.n_layers(self.kind), self.trace.n_heads(self.kind)
        values = logarithms(heads["ratio"]).reshape(shape)
        return Plane(tuple(f"L{at}" for at in range(shape[0])), tuple(f"H{at}" for at in range(shape[1])), values)

    def table(self) -> pd.DataFrame:
        """One row a head, with all its numbers."""
        heads = self.of_kind() if self.plane().rows else None
        return super().table() if heads is None else heads

    # -- selection -----------------------------------------------------------------------------------------------------

    def marked(self) -> Marked:
        """The selected heads."""
        return Marked(cells=frozenset((head.layer, head.head) for head in self.workspace.selection.heads_of(self.kind)))

    def select_cell(self, row: int, column: int, origin: str) -> None:
        """Focus and select a head."""
        self.workspace.selection.pick(HeadId(self.kind, row, column), origin=origin)

    def select_name(self, axis: Axis, at: int, origin: str) -> None:
        """Select the heads of a layer; a column, heads of one number, means nothing."""
        if axis == "row":
            heads = [HeadId(self.kind, at, head) for head in range(self.trace.n_heads(self.kind))]
            self.workspace.selection.select_heads(heads, origin=origin, label=f"layer {at}")

    def _describe(self, heads: pd.DataFrame) -> str:
        found = self.found()
        assert found is not None
        n, above = int(heads["n"].iloc[0]), heads[heads["q"] <= BEYOND]
        more = int((above["ratio"] > 1).sum())
        label = "" if self.choices.label == ANY else f" ({self.choices.label})"
        kind = f"{self.kind} " if len(self.trace.kinds) > 1 else ""
        who = "all words" if self.choices.direction == RECEIVED else "flagged words"
        survive = f"{len(above):,} of {len(heads):,} {kind}heads are beyond chance (q ≤ {BEYOND} over {len(found.table):,})"
        split = f": {more:,} look more, {len(above) - more:,} less" if len(above) else ""
        return f"{counted(n, 'token')} flagged by {found.detector}{label}, looked at by {who}; {survive}{split}"
