"""What the lines show: the strongest links of several heads of one layer, each head by itself."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, ClassVar

import pandas as pd
import param

from atlas.ids import HeadId
from atlas.numbers import listed
from atlas.state.asking import Progress
from atlas.state.lens import counted
from atlas.state.links import StrongestLinks, percent, sinks_in_words
from atlas.tracing.links import LINES, HeadLinks, has_pair, several_links

ALL = "all"
BETWEEN = (ALL, "AA", "AB", "BA", "BB")
"""Which links of a pair of texts are drawn: all, or those from one text to one text."""

FOLLOWED = ("url", "trace")
"""Origins of selections that are no gesture: they come with the heads to draw, and do not replace them."""


class LinesChoices(param.Parameterized):
    """Choices of the lines."""

    heads = param.String(default="", doc="Numbers of the heads to draw, '0,3'; empty: the selected ones, or all of the layer.")
    between = param.Selector[str](objects=list(BETWEEN), default=ALL, doc="Of a pair of texts: from which to which.")


@dataclass(frozen=True)
class ShownLines:
    """The links that are drawn."""

    links: HeadLinks
    layer: int
    heads: tuple[int, ...]
    """Numbers of the heads that are drawn."""
    queries: tuple[str, ...]
    keys: tuple[str, ...]


class LinesLens(StrongestLinks[ShownLines, HeadLinks]):
    """The lines on screen."""

    key: ClassVar = "lines"
    choices_type: ClassVar = LinesChoices
    reads: ClassVar = {"selection": ("focus", "heads"), "display": ("level", "sinks")}

    def __init__(self, *given: Any, **params: Any) -> None:
        super().__init__(*given, **params)
        self.workspace.selection.param.watch(self._follow_selection, "heads")

    def depends(self) -> Hashable:
        """Not on the tokens, which are only marked."""
        return (*self.ranking(), self.workspace.selection.heads_of(self.kind))

    # -- what is drawn -------------------------------------------------------------------------------------------------

    @property
    def layers(self) -> int:
        """How many layers there are of the kind on screen."""
        return 1 if self.workspace.trace is None else self.trace.n_layers(self.kind)

    @property
    def n_heads(self) -> int:
        """Heads of a layer."""
        return self.trace.n_heads(self.kind)

    @property
    def pair(self) -> bool:
        """Whether there is a pair of texts to choose from."""
        return self.workspace.trace is not None and has_pair(self.trace, self.kind)

    @property
    def between(self) -> str:
        """From which to which of two texts; empty: everything."""
        return "" if self.choices.between == ALL or not self.pair else str(self.choices.between)

    def selected(self) -> tuple[int, ...]:
        """The selected heads of the layer, by their numbers."""
        return tuple(head.head for head in self.workspace.selection.heads_of(self.kind) if head.layer == self.layer)

    def picked(self) -> tuple[int, ...]:
        """The heads that the reader has picked here; empty: none is, or none of them exists."""
        numbers = {int(part) for part in self.choices.heads.split(",") if part.isascii() and part.isdigit()}
        return tuple(sorted(number for number in numbers if number < self.n_heads))

    def heads(self) -> tuple[int, ...]:
        """The heads that are drawn: those picked here, else the selected ones of the layer, else all of it."""
        return self.picked() or self.selected() or tuple(range(self.n_heads))

    def table(self) -> pd.DataFrame:
        """One row a drawn link."""
        shown = self.known()
        found = pd.DataFrame({name: getattr(shown.links, name) for name in ("head", "query", "key", "weight")})
        found.insert(0, "layer", shown.layer)
        found["query"], found["key"] = (self.tokens_of(axis, found[axis]) for axis in ("query", "key"))
        found.insert(2, "from", [shown.queries[place] for place in shown.links.query])
        found.insert(3, "to", [shown.keys[place] for place in shown.links.key])
        return found

    # -- gestures ------------------------------------------------------------------------------------------------------

    def toggle(self, head: int) -> None:
        """Draw a head, or no longer; without the last one all of them are drawn again."""
        self._pick(set(self.heads()) ^ {head})

    def only(self, head: int) -> None:
        """Draw one head alone."""
        self._pick({head})

    def draw_all(self) -> None:
        """Draw every head of the layer."""
        self._pick(set(range(self.n_heads)))

    def _pick(self, heads: set[int]) -> None:
        usual = set(self.selected() or range(self.n_heads))
        self.choices.heads = "" if heads == usual else ",".join(map(str, sorted(heads)))

    def _follow_selection(self, *_: object) -> None:
        """Heads that the reader selects are drawn, whatever was picked here before."""
        if self.workspace.selection.origin not in FOLLOWED and not self.workspace.settling:
            self.choices.heads = ""

    # -- inside --------------------------------------------------------------------------------------------------------

    def ranking(self) -> tuple[Hashable, ...]:
        """The heads of the layer, between which texts, tokens or words, and whether sinks are left out."""
        return self.kind, self.layer, self.heads(), self.between, self.workspace.display.level, self.hidden

    def _found(self) -> HeadLinks | None:
        """The strongest links; None while they are searched in a thread."""
        heads = [HeadId(self.kind, self.layer, head) for head in self.heads()]
        trace, between, hidden, level = self.trace, self.between, self.hidden, self.level

        def search(progress: Progress | None) -> HeadLinks:
            if progress is not None:
                progress.tell(f"Searching the links of {counted(len(heads), 'head')}")
            return several_links(trace, heads, between, without_sinks=hidden, level=level)

        return self.searched(len(heads), search)

    def build(self) -> ShownLines | None:
        """The links of the heads of the layer."""
        found = self._found()
        if found is None:
            return None
        self.line = self._describe(found)
        return ShownLines(found, self.layer, self.heads(), *self.names())

    def _describe(self, found: HeadLinks) -> str:
        kind = f"{self.kind} " if len(self.trace.kinds) > 1 else ""
        drawn, between = len(found.weight), self.between
        where = f" from text {between[0]} to text {between[1]}, which is {percent(self._of_all(found))} of all" if between else ""
        what = f"the strongest {drawn:,} of {counted(found.cells, 'link')} carry {percent(found.share)} of their attention{where}"
        most = f"; at most {LINES:,} links are drawn" if drawn == LINES < found.cells else ""
        # Between two texts no special token is drawn, hidden or not.
        rest = self.hidden and not between and found.whole > 0
        without = sinks_in_words(self.trace, self.kind, 1 - self._of_all(found), self.level, self.names()[1]) if rest else ""
        other = f" to the other {self.workspace.display.level}s" if without else ""
        words = ", words" if self.of_words else ""
        return f"{kind}layer {self.layer}, {self._which()}{words}: {what}{other}{most}{without}"

    def _of_all(self, found: HeadLinks) -> float:
        return found.mass / found.whole if found.whole else 0.0

    def _which(self) -> str:
        heads = self.heads()
        if len(heads) == self.n_heads:
            return f"all {counted(len(heads), 'head')}" if len(heads) > 1 else "its only head"
        names = listed([f"H{head}" for head in heads], 6)
        return f"selected: {names}" if not self.picked() else f"{counted(len(heads), 'head')}: {names}"
