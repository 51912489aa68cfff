"""What the view of attention to flagged words by depth shows: of each layer, how much more of it they get than evenly spread."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, ClassVar

import pandas as pd
import param

from atlas.errors import NotCaptured
from atlas.ids import HeadId
from atlas.numbers import listed
from atlas.state.asking import Progress
from atlas.state.attention_bias import (
    AMONG,
    AMONG_CROSS,
    ANY,
    BEYOND,
    NOTHING_FLAGGED,
    OTHER_SIDE,
    RECEIVED,
    BiasedAttention,
    flagged_tokens,
)
from atlas.state.detection import FIELDS, NO_DETECTOR, thresholds_of
from atlas.state.lens import Lens, counted
from atlas.tracing.labelled import ATTENTION_BIAS_BY_LAYER, DETECT

if TYPE_CHECKING:
    from collections.abc import Iterable


def select_layers(lens: Lens, kind: str, layers: Iterable[int], origin: str) -> None:
    """Select the heads of some layers of a kind; what is selected already is cleared."""
    chosen, selection = sorted(layers), lens.workspace.selection
    heads = {HeadId(kind, layer, head) for layer in chosen for head in range(lens.trace.n_heads(kind))}
    if heads == set(selection.heads):
        selection.clear("heads", origin=origin)
    else:
        selection.select_heads(heads, origin=origin, label=", ".join(f"layer {layer}" for layer in chosen))


class AttentionDepthChoices(param.Parameterized):
    """Choices of the view of attention to flagged words by depth."""

    label = param.Selector[str](objects=[ANY, *FIELDS], default=ANY, doc="Words with this label.")
    direction = param.Selector[str](
        objects=[RECEIVED, AMONG], default=RECEIVED, doc="From all words, or from flagged ones alone."
    )


class AttentionDepthLens(Lens):
    """The layers of the kind on screen."""

    key: ClassVar = "attention_depth"
    choices_type: ClassVar = AttentionDepthChoices
    reads: ClassVar = {"selection": ("focus",), "thresholds": tuple(FIELDS.values())}

    def depends(self) -> Hashable:
        """On the kind, what is flagged, and by whom it is looked at."""
        return self.kind, tuple(thresholds_of(self.workspace).items()), self.choices.label, self.choices.direction

    def layers(self) -> pd.DataFrame | None:
        """The layers of the kind on screen; None while they are being asked."""
        return self.attempt(self._work_out, None)

    def table(self) -> pd.DataFrame:
        """One row a layer."""
        found = self._work_out()
        if found is None:
            raise NotCaptured(self.waiting or self.empty)
        return found

    def select_layers(self, layers: Iterable[int], origin: str) -> None:
        """Select the heads of some layers; what is selected already is cleared."""
        select_layers(self, self.kind, layers, origin)

    # -- what is found -------------------------------------------------------------------------------------------------

    def _found(self) -> BiasedAttention | None:
        trace, choices, tasks = self.trace, self.choices, self.workspace.tasks
        if DETECT not in tasks or ATTENTION_BIAS_BY_LAYER not in tasks:
            raise NotCaptured(NO_DETECTOR)
        thresholds, label, direction = thresholds_of(self.workspace), choices.label, choices.direction

        def work(progress: Progress) -> BiasedAttention:
            tokens, detector = flagged_tokens(trace, tasks[DETECT], thresholds, label, progress)

            def report(done: int, of: int) -> None:
                progress.tell(f"Comparing the layers of {of:,} heads with chance", done / of)

            table = tasks[ATTENTION_BIAS_BY_LAYER](trace, tokens, direction, report=report) if tokens else pd.DataFrame()
            return BiasedAttention(table, tokens, detector)

        return self.ask(f"{thresholds} {label} {direction}", work, None, needs_model=True, keep=False)

    def _work_out(self) -> pd.DataFrame | None:
        if self.trace.side(self.kind, "key") != "source":
            raise NotCaptured(OTHER_SIDE)
        if self.choices.direction == AMONG and self.kind == "cross":
            raise NotCaptured(AMONG_CROSS)
        found = self._found()
        if found is None:
            return None
        if not found.tokens:
            label = self.choices.label
            raise NotCaptured(NOTHING_FLAGGED.format(with_="" if label == ANY else f" with {label}"))
        layers = found.table[found.table["kind"] == self.kind].reset_index(drop=True)
        beyond = [f"layer {layer}" for layer in layers.loc[layers["q"] <= BEYOND, "layer"]]
        said = f"beyond chance (q ≤ {BEYOND} over {counted(len(found.table), 'layer')}): {listed(beyond) if beyond else 'none'}"
        who = "all words" if self.choices.direction == RECEIVED else "flagged words"
        self.line = f"{counted(len(found.tokens), 'token')} flagged by {found.detector}, looked at by {who}; {said}"
        return layers
