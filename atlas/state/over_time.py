"""What the view of checkpoints shows: one figure of every head, or layer, in all corpora of one shape that are open."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np

from atlas.errors import NotCaptured
from atlas.ids import HEAD, HeadId
from atlas.state.corpora import KEY, CorpusChoices, chosen_whole, name_of
from atlas.state.corpus_heads import READS
from atlas.state.drift import others
from atlas.state.heads import title_of
from atlas.state.lens import Lens, counted
from atlas.tracing.over_time import OverTime, over_time

if TYPE_CHECKING:
    import pandas as pd

ONE = (
    "Only one corpus of a model of this shape is open here, so nothing can be followed. `atlas corpus {model} FILES -o FOLDER "
    "--revisions step1000,step2000` measures checkpoints, and `atlas serve --corpus FOLDER` opens them all."
)

STRONG = 6
"""Lines with a colour, a band and marks: more cannot be told apart."""

THIN = 12_000
"""Points of the thin lines at most, 190 kB."""


class Line(NamedTuple):
    """One head or layer over the checkpoints; (checkpoint,) each."""

    name: str
    values: np.ndarray
    lo: np.ndarray
    hi: np.ndarray


class Series(NamedTuple):
    """What is drawn."""

    checkpoints: tuple[str, ...] = ()
    strong: tuple[Line, ...] = ()
    thin: tuple[Line, ...] = ()
    chance: np.ndarray | None = None
    """(checkpoint,) mean over the heads."""


class OverTimeLens(Lens):
    """The chosen figure of the heads of the kind on screen over checkpoints."""

    key: ClassVar = KEY
    choices_type: ClassVar = CorpusChoices
    reads: ClassVar = {"selection": ("focus", "heads"), "display": ("metric",), **READS}

    def depends(self) -> Hashable:
        """On the corpora, the metric, what is followed and which heads are selected."""
        space = self.workspace
        opened = tuple(id(corpus) for corpus in space.corpora.opened.values())
        return self.kind, name_of(space), opened, space.display.metric, self.choices.followed, self.shown_heads()

    def series(self) -> Series:
        """The lines."""
        return self.attempt(self._series, Series())

    def said(self) -> str:
        """When roles appear."""
        return self.attempt(lambda: self.found().sentence, "")

    def table(self) -> pd.DataFrame:
        """The chosen figure of every head at every checkpoint."""
        return self.found().table([self._metric()])

    def found(self) -> OverTime:
        """All checkpoints: the corpus on screen and the others of its shape."""
        if self._kept is None:
            name, corpus = chosen_whole(self.workspace)
            names = [each for each in self.workspace.corpora.opened if each == name or each in others(self.workspace)]
            if len(names) == 1:
                raise NotCaptured(ONE.format(model=corpus.provenance["model"]))
            self._kept = over_time({each: self.workspace.corpora.opened[each] for each in names})
        return self._kept

    _kept: OverTime | None = None
    _kept_for: Hashable = None

    def forget(self) -> None:
        """The series is made anew where other corpora are open or shown."""
        wanted = name_of(self.workspace), tuple(map(id, self.workspace.corpora.opened.values()))
        if wanted != self._kept_for:
            self._kept_for, self._kept = wanted, None

    def nearest(self, x: float, y: float) -> HeadId | None:
        """The head whose line is nearest to a place; None where layers are followed or nothing is there."""
        if self.choices.followed != "heads" or self.workspace.trace is None:
            return None
        lines: list[Line] = self.attempt(lambda: self._lines(self._by_checkpoint()), [])
        at = round(x)
        if not lines or not 0 <= at < len(self.found().checkpoints):
            return None
        away = np.array([abs(line.values[at] - y) for line in lines])
        return None if np.isnan(away).all() else self._heads()[int(np.nanargmin(away))]

    # -- made ----------------------------------------------------------------------------------------------------------

    def _metric(self) -> str:
        metric = self.workspace.display.metric
        if metric not in self.found().metrics:
            msg = f"{title_of(metric)} is not known at every checkpoint. Choose another metric."
            raise NotCaptured(msg)
        return metric

    def _heads(self) -> list[HeadId]:
        n_layers, n_heads = self.trace.n_layers(self.kind), self.trace.n_heads(self.kind)
        return [HeadId(self.kind, layer, head) for layer in range(n_layers) for head in range(n_heads)]

    def _by_checkpoint(self) -> dict[str, np.ndarray]:
        """Column -> (checkpoint, layer, head)."""
        found, metric = self.found(), self._metric()
        table = found.table([metric])
        table = table[table["kind"] == self.kind].sort_values(["step", *HEAD], kind="stable")
        shape = len(found.checkpoints), self.trace.n_layers(self.kind), self.trace.n_heads(self.kind)
        return {name: table[name].to_numpy(float).reshape(shape) for name in ("value", "lo", "hi", "uniform")}

    def _lines(self, numbers: dict[str, np.ndarray]) -> list[Line]:
        value, lo, hi = numbers["value"], numbers["lo"], numbers["hi"]
        if self.choices.followed == "layers":
            # The heads of a layer read the same texts, so their errors go together: the mean of intervals is never too narrow.
            return [Line(f"layer {at}", *(each[:, at].mean(axis=-1) for each in (value, lo, hi))) for at in range(value.shape[1])]
        return [Line(str(head), *(each[:, head.layer, head.head] for each in (value, lo, hi))) for head in self._heads()]

    def _series(self) -> Series:
        found, numbers = self.found(), self._by_checkpoint()
        lines = self._lines(numbers)
        heads, layers = self.shown_heads(), self.choices.followed == "layers"
        wanted = (
            [f"layer {at}" for at in sorted({head.layer for head in heads})] if layers else [str(head) for head in sorted(heads)]
        )
        strong = [line for line in lines if line.name in wanted][:STRONG]
        rest = [line for line in lines if line.name not in {each.name for each in strong}]
        most = max(1, THIN // len(found.checkpoints))
        if len(rest) > most:
            span = [np.nan_to_num(np.ptp(line.values), nan=-1.0) for line in rest]
            rest = [rest[at] for at in sorted(np.argsort(span, kind="stable")[::-1][:most])]
        self.line = self._words(found, len(lines), len(wanted), len(strong), len(rest))
        # Not nanmean: a figure that is unknown for all heads has no chance level, and numpy would warn.
        uniform = numbers["uniform"]
        known = ~np.isnan(uniform)
        count = known.sum(axis=(1, 2))
        chance = np.where(count > 0, np.where(known, uniform, 0.0).sum(axis=(1, 2)) / np.maximum(count, 1), np.nan)
        return Series(found.names, tuple(strong), tuple(rest), chance)

    def _words(self, found: OverTime, n_lines: int, wanted: int, strong: int, thin: int) -> str:
        what = "layer" if self.choices.followed == "layers" else "head"
        order = "by the step in their names" if found.counted else "in the order in which they were opened"
        said = [
            f"{title_of(self._metric())} of {counted(n_lines, what)} at {counted(len(found.checkpoints), 'checkpoint')}, {order}"
        ]
        if wanted > strong:
            said.append(f"the first {strong} of {wanted} selected are marked")
        if thin + strong < n_lines:
            said.append(f"thin: the {thin:,} that change most")
        if not found.same_texts:
            said.append("they did not read the same texts")
        return "; ".join(said)
