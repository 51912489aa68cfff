"""What the flow shows: the strongest links between tokens, of some heads together or of layer after layer."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pandas as pd
import param

from atlas.errors import NotCaptured
from atlas.ids import HeadId
from atlas.state.asking import Progress
from atlas.state.ceilings import hides_sinks
from atlas.state.lens import Lens, counted, listed
from atlas.state.words import heads_in_words, shown_token, token_names
from atlas.trace import Trace
from atlas.tracing.links import DRAWN_LINKS, Links, check_size, head_links, heads_of_layer, layer_links, token_categories
from atlas.tracing.token_scores import sinks

if TYPE_CHECKING:
    from atlas.state.selection import Axis
    from atlas.state.workspace import Workspace

HEADS, LAYERS = "heads", "layers"
"""The heads looked at, together; every layer by itself."""

ONE, CATEGORY = "one", "category"
"""All ribbons have one colour; that of what the query is."""

QUICK_CELLS = 1_000_000
"""Weights searched while the page waits, some 20 ms; for more of them the lens asks."""


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


class FlowLens(Lens):
    """The flow on screen."""

    key: ClassVar = "flow"
    choices_type: ClassVar = FlowChoices
    reads: ClassVar = {"selection": ("focus", "heads"), "display": ("aggregate", "sinks")}
    marked_by: ClassVar = ("queries", "keys")

    _shown: ShownFlow | None = None
    _ranked: tuple[Trace, Hashable, tuple[Links, ...]] | None = None

    def depends(self) -> Hashable:
        """Not on the tokens, which are only marked."""
        choices = self.choices
        chosen = bool(self.workspace.selection.heads_of(self.kind))
        return (*self._ranking(), chosen, choices.share, choices.colour, choices.through)

    def forget(self) -> None:
        """The links are cut again; they are searched again only where other heads are looked at."""
        self._shown = None

    @property
    def through(self) -> str:
        """What is shown: cross-attention links two texts anew in every layer, so it has no flow from layer to layer."""
        return HEADS if self.kind == "cross" else str(self.choices.through)

    @property
    def hidden(self) -> bool:
        """Whether sinks are left out."""
        return hides_sinks(self.workspace.display.sinks, self.kind) and not sinks(self.trace, self.kind).all()

    def heads(self) -> tuple[HeadId, ...]:
        """The heads looked at; layer by layer the selected ones, which stand for their layers, and all heads for the others."""
        return self.shown_heads() if self.through == HEADS else self.workspace.selection.heads_of(self.kind)

    def shown(self) -> ShownFlow | None:
        """The links; None until they are there, or where there are none to be had."""
        if self._shown is None:
            self._shown = self.attempt(self._build, None)
        return self._shown

    def table(self) -> pd.DataFrame:
        """One row a drawn link."""
        shown = self.shown()
        if shown is None:
            raise NotCaptured(self.problem or self.empty or "The links are not found yet.")
        tables = []
        for at, step in enumerate(shown.steps):
            found = pd.DataFrame({name: getattr(step, name) for name in ("query", "key", "weight", "chance")})
            found.insert(0, "from", [shown.queries[place] for place in step.query])
            found.insert(1, "to", [shown.keys[place] for place in step.key])
            if shown.through == LAYERS:
                found.insert(0, "layer", at)
            tables.append(found)
        return pd.concat(tables, ignore_index=True)

    # -- gestures ------------------------------------------------------------------------------------------------------

    def select_link(self, query: int, key: int, origin: str) -> None:
        """Select the ends of a link; the same again lets go of them."""
        selection = self.workspace.selection
        if selection.queries == {query} and selection.keys == {key}:
            selection.clear("tokens", origin=origin)
        else:
            selection.select_pairs([query], [key], origin=origin)

    # -- inside --------------------------------------------------------------------------------------------------------

    def _ranking(self) -> tuple[Hashable, ...]:
        """What the order of the links depends on."""
        return self.kind, self.through, self.heads(), self.workspace.display.aggregate, self.hidden

    def _found(self) -> tuple[Links, ...] | None:
        """The strongest links there are, as many as are ever drawn; None while they are searched in a thread."""
        trace, made_for = self.trace, self._ranking()
        if self._ranked is not None and self._ranked[0] is trace and self._ranked[1] == made_for:
            return self._ranked[2]
        kind, through, heads, aggregate, hidden = (
            self.kind,
            self.through,
            self.heads(),
            self.workspace.display.aggregate,
            self.hidden,
        )
        attention = trace.attention_of(kind)
        layers = range(len(attention.layers))
        n_heads = len(heads) if through == HEADS else sum(len(heads_of_layer(attention, layer, heads)) for layer in layers)
        check_size(attention, n_heads)

        def search(progress: Progress | None) -> tuple[Links, ...]:
            if through == HEADS:
                if progress is not None:
                    progress.tell(f"Searching the links of {counted(n_heads, 'head')}")
                return (head_links(trace, heads, aggregate, without_sinks=hidden),)

            def tell(layer: int) -> None:
                if progress is not None:
                    progress.tell(f"Searching the links of layer {layer}", layer / len(layers))

            return layer_links(trace, kind, heads, aggregate, without_sinks=hidden, tell=tell)

        if attention.n_queries * attention.n_keys * n_heads <= QUICK_CELLS:
            found: tuple[Links, ...] | None = search(None)
        else:
            found = self.ask(f"{made_for}", search, None, keep=False)
        if found is not None:
            self._ranked = trace, made_for, found
        return found

    def _build(self) -> ShownFlow | None:
        found = self._found()
        if found is None:
            return None
        trace, kind, share = self.trace, self.kind, self.choices.share
        sides = [trace.side(kind, axis) for axis in ("query", "key")]
        queries, keys = (tuple(shown_token(str(token)) for token in trace.reading(side).table["token"]) for side in sides)
        categories = token_categories(trace, sides[0]) if self.choices.colour == CATEGORY else ()
        steps = tuple(each.until(share) for each in found)
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
        rest = " to the other tokens" if self.hidden and shown.left_out else ""
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
        return sinks_in_words(self.trace, self.kind, shown.left_out) if self.hidden else ""


def sinks_in_words(trace: Trace, kind: str, share: float) -> str:
    """Which keys are left out, and which share of all attention they receive; empty where the text has no sinks."""
    places = frozenset(np.flatnonzero(sinks(trace, kind)).tolist())
    if not places:
        return ""
    names = listed(token_names(trace, trace.side(kind, "key"), places))
    return f"; left out as sinks: {names}, which {'receives' if len(places) == 1 else 'receive'} {percent(share)} of all"


def select_token(workspace: Workspace, at: int, axis: str, origin: str, *, additive: bool = False) -> None:
    """Select a token of a column of queries, of keys, or of both, as the switch of the text says; again: let go of it."""
    selection = workspace.selection
    ways: dict[str, Axis] = {"query": "from", "key": "to", "token": workspace.display.axis}
    way = ways[axis]
    fields = {"from": ("queries",), "to": ("keys",), "both": ("queries", "keys")}[way]
    if additive:
        selection.toggle_tokens([at], axis=way, origin=origin)
    elif all(getattr(selection, name) == {at} for name in fields):
        selection.clear(fields[0] if len(fields) == 1 else "tokens", origin=origin)
    else:
        selection.select_tokens([at], axis=way, origin=origin)


def percent(share: float) -> str:
    """'61.2 %'."""
    return f"{100 * share:.3g} %"
