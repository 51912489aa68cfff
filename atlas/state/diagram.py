"""What the diagram of the model shows: its streams, the layer of the head in focus, and the block that is explained."""

from __future__ import annotations

from collections.abc import Hashable
from typing import ClassVar

import pandas as pd
import param

from atlas.errors import NotCaptured
from atlas.ids import HeadId
from atlas.state.diagram_words import Node, Row, row_of
from atlas.state.lens import Lens, counted
from atlas.tracing.blueprint import MODEL_BLUEPRINT, Blueprint

NOTHING: tuple[Row, ...] = ()
"""What is drawn of a model that cannot be read."""

POINT = "Click a block for its formula, a number above a layer to see that layer."


class DiagramChoices(param.Parameterized):
    """Choices of the diagram."""

    block = param.String(default="", doc="The block whose formula is shown; empty: none.")


class DiagramLens(Lens):
    """The diagram on screen."""

    key: ClassVar = "pipeline"
    choices_type: ClassVar = DiagramChoices
    reads: ClassVar = {"selection": ("focus",)}

    _rows: tuple[Row, ...] | None = None
    _blueprint: tuple[object, Blueprint] | None = None

    def depends(self) -> Hashable:
        """On the layer in focus, whichever of its heads is."""
        focus = self.workspace.selection.focus
        return self.kind, None if focus is None else focus.layer, self.choices.block

    def forget(self) -> None:
        """Drop what was worked out."""
        self._rows = None

    def rows(self) -> tuple[Row, ...]:
        """The streams, in the order in which a text passes them; none where the model cannot be drawn."""
        if self._rows is None:
            self._rows = self.attempt(self._work_out, NOTHING)
        return self._rows

    def _work_out(self) -> tuple[Row, ...]:
        whole, focus = self._read(), self.workspace.selection.focus
        layer = 0 if focus is None else focus.layer
        rows = tuple(row_of(plan, whole, min(layer, len(plan.layers) - 1)) for plan in whole.streams)
        streams = "; ".join(
            f"{plan.kind} of {counted(len(plan.layers), 'layer')}, {plan.width:,} wide, {plan.schema}" for plan in whole.streams
        )
        self.line = f"{whole.name}: {streams}"
        return rows

    def _read(self) -> Blueprint:
        """How the model is built; read once a trace."""
        trace = self.trace
        if self._blueprint is None or self._blueprint[0] is not trace:
            task = self.workspace.tasks.get(MODEL_BLUEPRINT)
            if task is None:
                msg = "The diagram needs the model, which runs in the app alone."
                raise NotCaptured(msg)
            self._blueprint = trace, task(trace)
        return self._blueprint[1]

    def nodes(self) -> list[Node]:
        """Every block drawn."""
        return [node for row in self.rows() for node in (*row.head, *row.layer, *row.tail)]

    def words(self) -> str:
        """The formula of the chosen block; what can be done where none is chosen."""
        if self.workspace.trace is None:
            return ""
        node = next((node for node in self.nodes() if node.key == self.choices.block), None)
        return POINT if node is None else f"{node.text.replace(chr(10), ' ').replace('- ', '-')}:  {node.formula}"

    def choose(self, key: str) -> None:
        """Explain a block; again: none."""
        self.choices.block = "" if self.choices.block == key else key

    def focus_on(self, stream: str, layer: int, origin: str) -> None:
        """Show another layer of a stream: its head of the same number comes into focus, or the last where it has fewer."""
        focus, trace = self.workspace.selection.focus, self.trace
        if focus is None:
            return
        kind = focus.kind if focus.kind == stream or (focus.kind, stream) == ("cross", "decoder") else stream
        if kind in trace.kinds and 0 <= layer < trace.n_layers(kind):
            self.workspace.selection.focus_on(HeadId(kind, layer, min(focus.head, trace.n_heads(kind) - 1)), origin=origin)

    def table(self) -> pd.DataFrame:
        """One row a block: what stands in it, and its formula."""
        rows = self.rows()
        if not rows:
            raise NotCaptured(self.problem or self.empty)
        parts = [
            (row.kind, row.at if node in row.layer else pd.NA, node.text.replace("\n", " "), node.formula)
            for row in rows
            for node in (*row.head, *row.layer, *row.tail)
        ]
        return pd.DataFrame(parts, columns=["stream", "layer", "block", "formula"])
