"""What the view of a circuit shows: the strongest edges between heads for a prediction, and what their heads keep of it."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, ClassVar, NamedTuple, cast
from weakref import ref

import numpy as np
import param

from atlas.errors import AtlasError, NotCaptured
from atlas.ids import HeadId
from atlas.numbers import three
from atlas.state.asking import Progress, Takes
from atlas.state.attribution import explained_target, target_in_words
from atlas.state.lens import counted
from atlas.state.other_text import other_text, own_text, quoted
from atlas.state.pressed import PressedLens
from atlas.trace import NO_MODEL
from atlas.tracing.circuit import (
    CIRCUIT,
    CIRCUIT_COST,
    CIRCUIT_KEPT,
    INPUTS,
    MOST_SHOWN,
    SETS,
    Circuit,
    KeptByHeads,
)
from atlas.tracing.explained import LOGIT, Target
from atlas.tracing.verdict import two

if TYPE_CHECKING:
    import pandas as pd

    from atlas.trace import Trace

ALL = "all"

LISTED = 8
"""Edges of each input that are listed under the graph, where they stand in three columns."""

INTO = {ALL: "queries, keys and values", "query": "queries", "key": "keys", "value": "values"}

ALIKE = (
    "Every part of the model writes the same in both texts, so no edge does anything. Type another text that differs in what "
    "the prediction needs."
)


class CircuitChoices(param.Parameterized):
    """Choices of the view of a circuit."""

    quotes: ClassVar[tuple[str, ...]] = ("own",)
    """Choices that quote a text: a link without the text leaves them out."""

    edges = param.Integer(default=40, bounds=(5, MOST_SHOWN), step=5, doc="How many of the strongest edges are shown.")
    into = param.Selector[str](objects=[ALL, *INPUTS], default=ALL, doc="Edges into which input of the later head.")
    own = param.String(default="", doc="The other text, of as many tokens; empty: an example, cut or repeated.")


class Request(NamedTuple):
    """What is run."""

    target: Target
    own: str
    """The reader's other text; empty: an example."""


class Part(NamedTuple):
    """A part of the model that writes into the stream or reads from it."""

    what: str
    """'embedding', 'head' or 'feed-forward'."""
    layer: int = -1
    """-1 of the embeddings, which come before all layers."""
    head: int = -1
    """-1 of what is no head."""

    def __str__(self) -> str:
        """'L0 H3', 'feed-forward L0', 'embeddings'."""
        if self.head >= 0:
            return f"L{self.layer} H{self.head}"
        return f"{self.what} L{self.layer}" if self.layer >= 0 else "embeddings"


class ShownEdge(NamedTuple):
    """One edge on screen."""

    start: Part
    end: Part
    into: str
    effect: float
    patched: float
    """NaN where it was not measured."""

    def __str__(self) -> str:
        """'L0 H3 → L1 H1, key'."""
        return f"{self.start} → {self.end}, {self.into}"


class Shown(NamedTuple):
    """All that is on screen."""

    found: Circuit
    edges: tuple[ShownEdge, ...]
    """The strongest first."""
    share: float
    """Of the sum of |effect| over all edges into the chosen input."""
    weaker: int
    """Edges that are not shown."""
    heads: tuple[HeadId, ...]
    """The heads at both ends of the edges."""
    kept: KeptByHeads | str | None
    """None while it is measured; a string says why it is not."""


class CircuitLens(PressedLens):
    """The strongest edges for the chosen prediction."""

    key: ClassVar = "circuit"
    choices_type: ClassVar = CircuitChoices
    reads: ClassVar = {"target": ("position", "outcome", "against")}
    marked_by: ClassVar = ("heads", "focus")

    _shown: Shown | None = None
    _latest: tuple[ref[Trace], Request, Circuit] | None = None
    """The circuit found last: asking for it again would drop what its heads keep, which is asked for after it."""

    def depends(self) -> Hashable:
        """On what is run and how much of it is shown; selected heads are marked only."""
        return self.request(), self.choices.edges, self.choices.into

    def forget(self) -> None:
        """Drop what is shown, too."""
        super().forget()
        self._shown = None

    def request(self) -> Request:
        """What a press would run."""
        return Request(explained_target(self.workspace, LOGIT), own_text(self.choices.own))

    def shown(self) -> Shown | None:
        """What is on screen; None where it was not asked for, or is on its way."""
        if self._shown is None:
            self._shown = self.attempt(self._work_out, None)
        return self._shown

    def table(self) -> pd.DataFrame:
        """The edges on screen. Before the run: what it takes."""
        import pandas as pd

        shown = self.shown()
        if shown is None:
            passes, _ = self._cost()
            return pd.DataFrame({"passes": [passes]})
        rows = shown.found.strongest
        rows = rows if self.choices.into == ALL else rows[rows["input"] == self.choices.into]
        return rows.head(len(shown.edges)).reset_index(drop=True)

    # -- gestures ----------------------------------------------------------------------------------------------------------

    def head_of(self, part: Part) -> HeadId | None:
        """The head that a part is; None where it is none."""
        return HeadId(self.trace.kinds[0], part.layer, part.head) if part.head >= 0 else None

    def pick(self, part: Part, origin: str, *, additive: bool = False) -> None:
        """Show and select a head; with Shift add it, or take it away."""
        head, selection = self.head_of(part), self.workspace.selection
        if head is not None and additive:
            selection.toggle_heads([head], origin=origin)
        elif head is not None:
            selection.pick(head, origin=origin)

    def pick_edge(self, edge: ShownEdge, origin: str) -> None:
        """Show the head that reads, and select both of its ends."""
        reader = self.head_of(edge.end)
        assert reader is not None
        heads = [head for head in (self.head_of(edge.start), reader) if head is not None]
        selection = self.workspace.selection
        selection.focus_on(reader, origin=origin)
        selection.select_heads(heads, origin=origin, label=str(edge))

    def select_circuit(self, origin: str) -> None:
        """Select the heads of all edges on screen; selected ones are cleared."""
        shown, selection = self.shown(), self.workspace.selection
        if shown is None:
            return
        if selection.heads == frozenset(shown.heads):
            selection.clear("heads", origin=origin)
        else:
            label = f"{counted(len(shown.heads), 'head')} of the circuit ({counted(len(shown.edges), 'edge')})"
            selection.select_heads(shown.heads, origin=origin, label=label)

    def stands_out(self, edge: ShownEdge) -> bool:
        """Whether an edge begins or ends at a selected head, or no head is selected."""
        heads = self.workspace.selection.heads
        return not heads or self.head_of(edge.start) in heads or self.head_of(edge.end) in heads

    # -- what is found -----------------------------------------------------------------------------------------------------

    def _work_out(self) -> Shown | None:
        if not self.is_pressed:
            self.drop_asked()
            passes, _ = self._cost()
            self.line = f"About {passes:,} passes of the text, some of them with gradients. Press Run"
            return None
        found = self._circuit()
        if found is None:
            return None
        into = self.choices.into
        rows = found.strongest if into == ALL else found.strongest[found.strongest["input"] == into]
        rows = rows[rows["effect"] != 0].head(self.choices.edges)
        inputs = INPUTS if into == ALL else (into,)
        total = sum(found.sums[name] for name in inputs)
        if not total:
            raise NotCaptured(ALIKE)
        edges = _edges(rows)
        heads = tuple(sorted({head for edge in edges for part in edge[:2] if (head := self.head_of(part)) is not None}))
        share = sum(abs(edge.effect) for edge in edges) / total
        weaker = sum(found.counts[name] for name in inputs) - len(edges)
        shown = Shown(found, edges, share, weaker, heads, self._kept(heads))
        self.line = self._describe(shown)
        return shown

    def _cost(self) -> tuple[int, int]:
        """Passes, and bytes beside them."""
        task = self.workspace.tasks.get(CIRCUIT_COST)
        if task is None or self.trace.live is None:
            raise NotCaptured(NO_MODEL)
        passes, size = task(self.trace)
        return int(passes), int(size)

    def other(self) -> str:
        """The text whose outputs stand in."""
        return self.request().own or other_text(self.trace)

    def _circuit(self) -> Circuit | None:
        trace, request, other, task = self.trace, self.request(), self.other(), self.workspace.tasks.get(CIRCUIT)
        if task is None:
            raise NotCaptured(NO_MODEL)
        if self._latest is not None and self._latest[0]() is trace and self._latest[1] == request:
            return self._latest[2]

        def work(progress: Progress) -> Circuit:
            made: Circuit = task(trace, request.target, other, fit=not request.own, progress=progress.tell)
            return made

        passes, size = self._cost()
        found = self.ask(f"{request}", work, None, needs_model=True, takes=Takes(passes, gradients=True, bytes=size))
        if found is not None:
            self._latest = ref(trace), request, found
        return found

    def _kept(self, heads: tuple[HeadId, ...]) -> KeptByHeads | str | None:
        """What these heads keep of the target, or why that is not known: the circuit is there all the same.

        None while it is measured, and where they are all heads there are.
        """
        trace, request, other, task = self.trace, self.request(), self.other(), self.workspace.tasks.get(CIRCUIT_KEPT)
        if task is None or len(heads) == len(trace.head_ids):
            return None

        def work(progress: Progress) -> KeptByHeads | str:
            try:
                made: KeptByHeads = task(trace, request.target, other, heads, fit=not request.own, progress=progress.tell)
            except AtlasError as error:
                return str(error)
            return made

        names, nothing = " ".join(map(str, heads)), cast("KeptByHeads | str | None", None)
        try:
            return self.ask(f"{request} kept by {names}", work, nothing, needs_model=True, takes=Takes(SETS + 4))
        except AtlasError as error:  # refused before it began
            return str(error)

    # -- in words ----------------------------------------------------------------------------------------------------------

    def _describe(self, shown: Shown) -> str:
        found, own = shown.found, self.request().own
        said = target_in_words(self.workspace, found.target.words)
        whose = quoted(self.other()) + ("" if own else ", an example cut or repeated to as many tokens")
        every = f"{len(shown.edges):,} of {len(shown.edges) + shown.weaker:,} edges into {INTO[self.choices.into]}"
        return (
            f"{said}: {three(found.target.value)} here, {three(found.there)} in {whose}. The strongest {every} have "
            f"{three(100 * shown.share)} % of the sum of |effect|; {shown.weaker:,} weaker ones are not drawn"
        )

    def notes(self) -> tuple[str, ...]:
        """How far the estimates can be believed, and what the heads of the circuit keep."""
        shown = self.shown() if self.workspace.trace is not None else None
        return () if shown is None else (_checked(shown.found), *_kept_in_words(shown))


def _edges(rows: pd.DataFrame) -> tuple[ShownEdge, ...]:
    """Rows of a table of edges."""
    places = rows[["layer", "head"]].astype(float).fillna(-1).astype(int).to_numpy().tolist()
    ends = rows[["to_layer", "to_head"]].to_numpy().tolist()
    columns = (rows[name].tolist() for name in ("writer", "input", "effect", "patched"))
    return tuple(
        ShownEdge(Part(writer, *start), Part("head", *end), into, effect, patched)
        for start, end, writer, into, effect, patched in zip(places, ends, *columns, strict=True)
    )


INSTEAD = "believe measured effects alone, or choose a text closer to this one"


def _checked(found: Circuit) -> str:
    agreement = found.agreement
    patched = f"{counted(int(agreement['n']), 'edge')} drawn at random and patched one by one"
    if not np.isfinite(agreement["pearson"]):
        return f"{patched}: too few, or all alike, for a correlation with the estimates."
    rho, chance = agreement["spearman"], agreement["spearman_chance"]
    if rho < -chance:
        believe = f"estimates run against what was measured, so {INSTEAD}"
    elif rho <= chance:
        believe = f"ranks agree no more than those of shuffled pairs, so {INSTEAD}"
    else:
        believe = "the strongest edges are measured too, because a large effect can be far from its estimate"
    return (
        f"{patched}: estimates and measured effects correlate with ρ {two(rho)} (chance ±{two(chance)}, which one shuffle of the "
        f"pairs in twenty exceeds), r {two(agreement['pearson'])}; {believe}."
    )


def _kept_in_words(shown: Shown) -> tuple[str, ...]:
    kept, heads = shown.kept, counted(len(shown.heads), "head")
    if kept is None:
        return ()
    if isinstance(kept, str):
        return (f"What the {heads} of these edges keep is not known: {kept}",)
    if kept.whole == kept.none:
        return ("With all heads taken from the other text the target stays as it is, so no head keeps anything of it.",)
    share, random = 100 * kept.share(kept.circuit), np.array([100 * kept.share(value) for value in kept.random])
    said = (
        f"With only the {heads} of these edges left to this text, and all others taken from the other text, the target is "
        f"{three(kept.circuit)}: {three(share)} % of the way from none of the heads left ({three(kept.none)}) to all "
        f"({three(kept.whole)})"
    )
    if not len(random):
        return (f"{said}.",)
    where = "of the same layers" if kept.same_layers else "of any layers"
    as_much = int((random >= share).sum())
    chance = (
        f"{counted(len(random), 'random set')} of as many heads {where}: median {three(float(np.median(random)))} %, "
        f"{three(float(random.min()))} to {three(float(random.max()))} %, {as_much} of them as much."
    )
    return (f"{said}; {chance}",)
