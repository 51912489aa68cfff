"""A lens that reads both sides of a comparison."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import param

from atlas.errors import NotCaptured, NothingYet
from atlas.numbers import three
from atlas.state.asking import ONE_PASS, Takes, of_attributions
from atlas.state.choices import register_choices
from atlas.state.lens import Lens, counted
from atlas.tracing.two_heads import BY_INDEX, BY_PATTERN, Partners

if TYPE_CHECKING:
    from atlas.tracing.two_traces import TwoTraces

NO_SECOND = "There is no side B yet. Choose one in the card “Sides A and B” above."

RUNNING = "Side B is being run"

AUTO = "auto"


class CompareChoices(param.Parameterized):
    """Choices of all views that compare."""

    by = param.Selector[str](objects=[AUTO, BY_INDEX, BY_PATTERN], default=AUTO, doc="How heads of both sides are paired.")


KEY = "compare"
register_choices(KEY, CompareChoices)


class SecondLens(Lens):
    """Both sides, and how their heads are paired."""

    reads: ClassVar = {"second": ("used", "trace", "error")}

    def __init__(self, workspace: Any, **params: Any) -> None:
        super().__init__(workspace, **params)
        workspace.second.read_by(self)
        if self.choices_type is not CompareChoices:
            workspace.choices_of(KEY).param.watch(self._changed, "by")

    def watched_by(self, viewer: object, *, active: bool) -> None:
        """Whether a view looks; the first one that does makes side B catch up too."""
        super().watched_by(viewer, active=active)
        if self.awake:
            self.workspace.second.follow()

    def compared(self) -> Hashable:
        """What every comparison depends on."""
        second = self.workspace.second
        return self.kind, self.by, second.used, second.error, second.trace

    @property
    def by(self) -> str | None:
        """How heads are paired: None, as the shapes allow."""
        choices: Any = self.workspace.choices_of(KEY)
        by: str = choices.by
        return None if by == AUTO else by

    def both(self) -> TwoTraces | None:
        """Both sides; None while the second is being run."""
        second = self.workspace.second
        two: TwoTraces | None = second.two()
        if two is None:
            if not second.used or second.error:
                self.line = ""  # the one before is of a side B that is gone
            if not second.used:
                raise NothingYet(NO_SECOND)
            if second.error:
                msg = f"Side B: {second.error}"
                raise NotCaptured(msg)
            self.line = RUNNING
        elif self.line == RUNNING:
            self.line = ""  # a view that finds a problem writes no line of its own
        return two

    def key_of(self, two: TwoTraces, *parts: object) -> str:
        """Names a result of both sides."""
        return f"{id(two)} {self.kind} {self.by} {' '.join(map(str, parts))}"

    def takes_both(self, two: TwoTraces, methods: Sequence[str] = ()) -> Takes:
        """What a pass of both texts takes, each through its own model; or attributions of both."""
        own, other = (of_attributions(self.workspace, methods, trace) if methods else ONE_PASS for trace in (two.a, two.b))
        return own._replace(beside=(two.b, self.workspace.second.lane, other.passes))


def pairs_in_words(pairs: Partners) -> str:
    """How heads are paired, and how alike the pairs are."""
    alone = int((pairs.head < 0).sum())
    how = "by layer and number" if pairs.by == BY_INDEX else "by similarity of their patterns"
    known = pairs.similarity[pairs.similarity == pairs.similarity]
    mean = float(known.mean()) if len(known) else float("nan")
    without = f", {counted(alone, 'head')} without partner" if alone else ""
    words = f"{pairs.rows:,} of {counted(pairs.all_rows, 'word')}" if pairs.rows < pairs.all_rows else counted(pairs.rows, "word")
    return f"heads paired {how}{without} (similarity {three(mean)} over {words}, random pairs {three(pairs.chance)})"
