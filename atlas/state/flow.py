"""What the flow shows: the strongest links between tokens or words, of some heads together or of layer after layer."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd
import param

from atlas.ids import HeadId
from atlas.state.asking import Progress
from atlas.state.lens import counted
from atlas.state.links import StrongestLinks, percent, sinks_in_words
from atlas.state.words import heads_in_words
from atlas.tracing.links import DRAWN_LINKS, Links, head_links, heads_of_layer, layer_links, unit_categories

HEADS, LAYERS = "heads", "layers"
"""The heads looked at, together; every layer by itself."""

ONE, CATEGORY = "one", "category"
"""All ribbons have one colour; that of what the query is."""


class FlowChoices(param.Parameterized):
    """Choices of the flow."""

    share = param.Number(default=0.6, bounds=(0.05, 0.99), doc="Share of the attention that the drawn links carry.")
    through = param.Selector[str](objects=[HEADS, LAYERS], default=HEADS, doc="Some heads together, or layer by layer.")
    colour = param.Selector[str](objects=[ONE, CATEGORY], default=ONE, doc="One colour, or that of the kind of token.")


@dataclass(frozen=True)
class ShownFlow:
    """The links that are drawn."""

    through: str
    steps: tuple[Links, ...]
    """Each cut to those that are drawn."""
    queries: tuple[str, ...]
    keys: tuple[str, ...]
    categories: tuple[str, ...]
    """Of the queries; empty where they are not shown."""

    @property
    def drawn(self) -> int:
        """Links that are drawn."""
        return sum(len(step.weight) for step in self.steps)

    @property
    def count(self) -> int:
        """Links there are."""
        return sum(step.cells for step in self.steps)

    @property
    def share(self) -> float:
        """The share of the attention that the drawn links carry."""
        mass = sum(step.mass for step in self.steps)
        return sum(float(step.weight.sum(dtype=np.float64)) for step in self.steps) / mass if mass else 0.0

    @property
    def left_out(self) -> float:
        """The share of all attention that goes to keys that are left out."""
        hidden, mass = (sum(getattr(step, name) for step in self.steps) for name in ("left_out", "mass"))
        return hidden / (hidden + mass) if hidden + mass else 0.0


class FlowLens(StrongestLinks[ShownFlow, tuple[Links, ...]]):
    """The flow on screen."""

    key: ClassVar = "flow"
    choices_type: ClassVar = FlowChoices
    reads: ClassVar = {"selection": ("focus", "heads"), "display": ("aggregate", "level", "sinks")}

    def depends(self) -> Hashable:
        """Not on the tokens, which are only marked."""
        choices = self.choices
        chosen = bool(self.workspace.selection.heads_of(self.kind))
        return (*self.ranking(), chosen, choices.share, choices.colour, choices.through)

    @property
    def through(self) -> str:
        """What is shown: cross-attention links two texts anew in every layer, so it has no flow from layer to layer."""
        return HEADS if self.kind == "cross" else str(self.choices.through)

    def heads(self) -> tuple[HeadId, ...]:
        """The heads looked at; layer by layer the selected ones, which stand for their layers, and all heads for the others."""
        return self.shown_heads() if self.through == HEADS else self.workspace.selection.heads_of(self.kind)

    def table(self) -> pd.DataFrame:
        """One row a drawn link."""
        shown, tables = self.known(), []
        for at, step in enumerate(shown.steps):
            found = pd.DataFrame({name: getattr(step, name) for name in ("query", "key", "weight", "chance")})
            found.insert(0, "from", [shown.queries[place] for place in step.query])
            found.insert(1, "to", [shown.keys[place] for place in step.key])
            found["query"], found["key"] = (self.tokens_of(axis, found[axis]) for axis in ("query", "key"))
            if shown.through == LAYERS:
                found.insert(0, "layer", at)
            tables.append(found)
        return pd.concat(tables, ignore_index=True)

    # -- gestures ------------------------------------------------------------------------------------------------------

    def select_link(self, query: int, key: int, origin: str) -> None:
        """Select the ends of a link; the same again lets go of them."""
        selection, level = self.workspace.selection, self.level
        queries, keys = level.tokens("query", query), level.tokens("key", key)
        if (selection.queries, selection.keys) == (queries, keys):
            selection.clear("tokens", origin=origin)
        else:
            selection.select_pairs(queries, keys, origin=origin)

    # -- inside --------------------------------------------------------------------------------------------------------

    def ranking(self) -> tuple[Hashable, ...]:
        """The heads, how they are put together, tokens or words, and whether sinks are left out."""
        display = self.workspace.display
        return self.kind, self.through, self.heads(), display.aggregate, display.level, self.hidden

    def _found(self) -> tuple[Links, ...] | None:
        """The strongest links there are, as many as are ever drawn; None while they are searched in a thread."""
        trace, kind, through, heads = self.trace, self.kind, self.through, self.heads()
        aggregate, hidden, level = self.workspace.display.aggregate, self.hidden, self.level
        attention = trace.attention_of(kind)
        layers = range(len(attention.layers))
        n_heads = len(heads) if through == HEADS else sum(len(heads_of_layer(attention, layer, heads)) for layer in layers)

        def search(progress: Progress | None) -> tuple[Links, ...]:
            if through == HEADS:
                if progress is not None:
                    progress.tell(f"Searching the links of {counted(n_heads, 'head')}")
                return (head_links(trace, heads, aggregate, without_sinks=hidden, level=level),)

            def tell(layer: int) -> None:
                if progress is not None:
                    progress.tell(f"Searching the links of layer {layer}", layer / len(layers))

            return layer_links(trace, kind, heads, aggregate, without_sinks=hidden, level=level, tell=tell)

        return self.searched(n_heads, search)

    def build(self) -> ShownFlow | None:
        """The links that carry the share of the attention that is asked for."""
        found = self._found()
        if found is None:
            return None
        queries, keys = self.names()
        categories = unit_categories(self.trace, self.kind, self.level) if self.choices.colour == CATEGORY else ()
        steps = tuple(each.until(self.choices.share) for each in found)
        shown = ShownFlow(self.through, steps, queries, keys, categories)
        self.line = self._describe(shown)
        return shown

    def _describe(self, shown: ShownFlow) -> str:
        """Whose links, how many of how many, and what share of the attention they carry."""
        whose = self._whose()
        what = "attention" if self.workspace.display.aggregate == "mean" or len(self.heads()) == 1 else "sum of all weights"
        most = f"; at most {DRAWN_LINKS:,} links are drawn, {percent(self.choices.share)} would take more"
        short = shown.share < self.choices.share - 0.001 and shown.drawn < shown.count
        each = " of each layer" if shown.through == LAYERS else ""
        rest = f" to the other {self.workspace.display.level}s" if self.hidden and shown.left_out else ""
        whose += ", words" if self.of_words else ""
        return (
            f"{whose}: the strongest {shown.drawn:,} of {counted(shown.count, 'link')} carry {percent(shown.share)} of the "
            f"{what}{rest}{each}{most if short else ''}{self._without(shown)}"
        )

    def _whose(self) -> str:
        heads, aggregate = self.heads(), self.workspace.display.aggregate
        together = "mean" if aggregate == "mean" else "largest"
        if self.through == LAYERS:
            layers = {head.layer for head in heads}
            if not heads:
                return f"layer by layer, {together} of all heads of each"
            others = "" if len(layers) == self.trace.n_layers(self.kind) else "; the other layers: of all their heads"
            chosen = f"{counted(len(heads), 'selected head')} in {counted(len(layers), 'layer')}"
            return f"layer by layer, {together} of the {chosen}{others}"
        alone = " (cross-attention links two texts anew in every layer: no flow from layer to layer)"
        said = f"{together} of " if len(heads) > 1 else ""
        return f"{said}{heads_in_words(self.workspace)}{alone if self.choices.through == LAYERS else ''}"

    def _without(self, shown: ShownFlow) -> str:
        return sinks_in_words(self.trace, self.kind, shown.left_out, self.level, shown.keys) if self.hidden else ""
