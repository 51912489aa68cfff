"""What the influence view shows: the strongest paths into a token through all layers, and the influence of every input token."""

from __future__ import annotations

from collections.abc import Hashable
from typing import ClassVar, NamedTuple

import numpy as np
import pandas as pd
import param

from atlas.errors import NotCaptured, TooLarge, UnknownName
from atlas.ids import HeadId, stream_of
from atlas.state.asking import ONE_PASS, Progress, of_attributions
from atlas.state.influence_tree import Branch, branches
from atlas.state.lens import Lens, counted
from atlas.state.outcome_line import percent
from atlas.state.words import shown_token
from atlas.tracing.influence import (
    CONTRIBUTION,
    METHODS,
    NO_HEAD,
    ROLLOUT,
    Graph,
    NodeKey,
    NodePart,
    Totals,
    edges_table,
    graph,
    head_of_edge,
    node_parts,
    totals,
)
from atlas.tracing.mixing import measured, steps, streams_of
from atlas.tracing.predictions import masks_of
from atlas.tracing.state_parts import block_shares
from atlas.tracing.zeroing import VALUE_ZEROING

GRAPH, TREE = "graph", "tree"
"""All strongest paths at once; one path after the other, opened by the reader."""

EDGES_DRAWN = 900
"""Edges of all layers on screen at most: with words for each, and for their nodes, they are 190 kB, and more of them are a grey
surface."""

LEAST_A_LAYER = 12
"""Edges of a layer on screen at least, however many layers there are."""

PARTS_DRAWN = 200
"""Embeddings and feed-forward blocks on screen at most: with words for each they are 50 kB."""

PARTS = "parts"
"""Stands for them among the reasons why something cannot be had."""


class InfluenceChoices(param.Parameterized):
    """Choices of the influence view."""

    method = param.Selector[str](objects=list(METHODS), default=CONTRIBUTION, doc="How the shares of a layer are measured.")
    mass = param.Number(default=0.8, bounds=(0.05, 1.0), step=0.05, doc="Share of the influence that the shown paths carry.")
    form = param.Selector[str](objects=[GRAPH, TREE], default=GRAPH, doc="All paths at once, or one after the other.")
    parts = param.Boolean(default=True, doc="Whether the graph shows what embeddings and feed-forward blocks wrote.")


class Root(NamedTuple):
    """The token whose influences are shown."""

    stream: str
    token: int
    why: str
    """Why it is this one."""


class Shown(NamedTuple):
    """All that is on screen."""

    graph: Graph
    totals: dict[str, tuple[Totals, ...]]
    """Method -> influence of the input tokens, stream by stream."""
    reasons: dict[str, str]
    """Method -> why it cannot be had."""
    parts: tuple[NodePart, ...]
    """The strongest embeddings and feed-forward blocks of the tokens of the graph."""
    more_parts: int
    """How many are not shown."""


class InfluenceLens(Lens):
    """The influence on one token."""

    key: ClassVar = "influence"
    choices_type: ClassVar = InfluenceChoices
    reads: ClassVar = {"selection": ("focus", "queries")}

    _shown: Shown | None = None
    _opened: tuple[Hashable, set[tuple[tuple[int, int], ...]]] = (None, set())

    def depends(self) -> Hashable:
        """On the token and the choices; the head in focus changes nothing but its kind."""
        return self.root(), *self.choices.param.values().values()

    def forget(self) -> None:
        """Drop the graph."""
        self._shown = None

    def root(self) -> Root:
        """The first selected token that looks; else the last one of a causal text, the mask or the middle of another."""
        trace, kind = self.trace, self.kind
        stream = stream_of(kind)
        attention = trace.attention_of(kind)
        if self.workspace.selection.queries:
            return Root(stream, min(self.workspace.selection.queries), "the first selected token")
        if stream == "decoder":
            return Root(stream, attention.n_queries - 1, "the last token")
        if masks := masks_of(trace):
            return Root(stream, masks[0], "the first mask")
        return Root(stream, attention.n_queries // 2, "the token in the middle")

    def shown(self) -> Shown | None:
        """The graph and the totals; None while they are computed, or where there is no trace."""
        if self._shown is None:
            self._shown = self.attempt(self._found, None)
        return self._shown

    def _found(self) -> Shown | None:
        trace, root = self.trace, self.root()
        # Value zeroing takes a run for every token, so it waits until the reader asks for it.
        wanted = [
            method
            for method in METHODS
            if method in (self.choices.method, CONTRIBUTION, ROLLOUT) or measured(trace, method, root.stream)
        ]

        def mixed(progress: Progress) -> dict[str, str]:
            reasons = {}
            for method in wanted:

                def tell(done: int, every: int, method: str = method) -> None:
                    what = "Zeroing the values of token" if method == VALUE_ZEROING else f"Measuring {method} in layer"
                    progress.tell(f"{what} {done + 1:,} of {every:,}", done / every)

                try:
                    steps(trace, method, root.stream, tell)
                except (NotCaptured, TooLarge, UnknownName) as error:
                    reasons[method] = str(error)
            if CONTRIBUTION not in reasons:
                try:
                    block_shares(trace, streams_of(trace, root.stream))
                except (NotCaptured, TooLarge) as error:
                    reasons[PARTS] = str(error)
            return reasons

        zeroes = VALUE_ZEROING in wanted and not measured(trace, VALUE_ZEROING, root.stream)
        takes = of_attributions(self.workspace, [VALUE_ZEROING], trace) if zeroes else ONE_PASS
        key = f"mixing {root.stream} {wanted}"
        reasons: dict[str, str] | None = self.ask(key, mixed, None, needs_model=True, takes=takes)
        if reasons is None:
            return None
        possible = [method for method in (self.choices.method, *wanted) if method not in reasons]
        if not possible:
            raise NotCaptured(next(iter(reasons.values())))
        n_steps = len(steps(trace, possible[0], root.stream))
        most = max(EDGES_DRAWN // n_steps, LEAST_A_LAYER)
        found = graph(trace, root.token, possible[0], root.stream, self.choices.mass, most)
        known = {method: totals(trace, root.token, method, root.stream) for method in wanted if method not in reasons}
        self.line = self._describe(root, found)
        parts = node_parts(trace, found) if self.choices.parts and PARTS not in reasons else []
        return Shown(found, known, reasons, tuple(parts[:PARTS_DRAWN]), max(0, len(parts) - PARTS_DRAWN))

    def note(self) -> str:
        """What is left out, and what cannot be had."""
        found = self.shown()
        if found is None:
            return ""
        said = [reason for what, reason in found.reasons.items() if what != PARTS or self.choices.parts]
        left_out = int(found.graph.paths.left_out.sum())
        if left_out and self.choices.form == GRAPH:
            said.append(f"… and {left_out:,} weaker edges. The shares of what is shown are rescaled to sum to 1 without them.")
        if found.more_parts and self.choices.form == GRAPH:
            said.append(f"… and {found.more_parts:,} weaker embeddings and feed-forward blocks.")
        return " ".join(said)

    def token_name(self, node: NodeKey) -> str:
        """A token and its position."""
        return f"{self.names(node.kind)[node.token]} ({node.token})"

    def names(self, stream: str) -> tuple[str, ...]:
        """The tokens of a stream."""
        trace, side = self.trace, self.trace.side(stream, "query")

        def shown() -> tuple[str, ...]:
            return tuple(shown_token(str(token)) for token in trace.reading(side).table["token"])

        # A graph of a thousand nodes asks for them at every node.
        made: tuple[str, ...] = trace.once(f"shown tokens {side}", shown)
        return made

    def select(self, node: NodeKey, origin: str) -> None:
        """Select a token; of the source while its decoder is on screen, as what cross-attention looks at."""
        trace, selection = self.trace, self.workspace.selection
        side = trace.side(node.kind, "query")
        if side not in {trace.side(self.kind, axis) for axis in ("query", "key")}:
            selection.show_kind("cross", origin=origin)
        selection.select_tokens([node.token], side=side, origin=origin)

    def focus_edge(self, edge: int, origin: str) -> None:
        """Show the head that makes most of an edge; nothing where the residual stream alone makes it."""
        found = self.shown()
        if found is None:
            return
        kind, layer, head = head_of_edge(self.trace, found.graph, edge)
        if head != NO_HEAD:
            self.workspace.selection.focus_on(HeadId(kind, layer, head), origin=origin)

    # -- tree ----------------------------------------------------------------------------------------------------------

    def tree(self) -> list[Branch]:
        """The rows of the tree, from the root down; empty while there is none."""
        found = self.shown()
        return [] if found is None else branches(found.graph, self.choices.mass, self._open())

    def toggle(self, path: tuple[tuple[int, int], ...]) -> None:
        """Open a row of the tree, or close it and all below it."""
        opened = self._open()
        if path in opened:
            opened -= {each for each in opened if each[: len(path)] == path}
        else:
            opened.add(path)

    def _open(self) -> set[tuple[tuple[int, int], ...]]:
        found = self.shown()
        of = (self.workspace.trace, self.root(), self.choices.method)
        if self._opened[0] != of:
            top = () if found is None else ((len(found.graph.steps), found.graph.starts[of[1].stream] + of[1].token),)
            self._opened = of, {top}
        return self._opened[1]

    # -- words and tables ----------------------------------------------------------------------------------------------

    def table(self) -> pd.DataFrame:
        """The edges of the graph, what blocks wrote of its tokens by themselves, and the influence of every input token."""
        found = self.shown()
        if found is None:
            return pd.DataFrame()
        edges = edges_table(self.trace, found.graph).assign(part="edge")
        written = pd.DataFrame({
            "part": [each.part for each in found.parts], "kind": [each.node.kind for each in found.parts],
            "layer": [each.node.level - 1 if each.node.level else None for each in found.parts],
            "to": [each.node.token for each in found.parts], "share": [each.share for each in found.parts],
            "flow": [each.flow for each in found.parts],
        })  # fmt: skip
        parts = [edges, *([written] if found.parts else [])]
        for method, each in found.totals.items():
            parts += [
                pd.DataFrame({
                    "part": "input token", "method": method, "kind": one.kind, "from": np.arange(len(one.influence)),
                    "token": list(self.names(one.kind)), "influence": one.influence, "influence_uniform": one.even,
                })
                for one in each
            ]  # fmt: skip
        root = found.graph.root
        whole = pd.concat(parts, ignore_index=True).assign(root=root.token, root_token=self.token_name(root))
        whole["method"] = whole["method"].fillna(found.graph.method)
        return whole

    def _describe(self, root: Root, found: Graph) -> str:
        paths, here = found.paths, len({(node.kind, node.token) for node, *_ in found.nodes()})
        every = sum(len(self.names(kind)) for kind in found.starts)
        after = counted(found.root.level, "layer")
        said = f"{method_name(found.method)} into {self.token_name(found.root)}, {root.why}, after {after}"
        if self.choices.form == TREE:
            return said
        few = f"; {here:,} of {every:,} tokens" if here < every else ""
        return f"{said}: {percent(paths.kept)} of the influence is shown in {counted(len(paths.edges.to), 'edge')}{few}"


def method_name(method: str) -> str:
    """A method as the screen calls it."""
    return method.replace("_", " ")
