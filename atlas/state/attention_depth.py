"""What the view of attention to flagged words by depth shows: of each layer, how much more of it they get than evenly spread."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from atlas.errors import NotCaptured
from atlas.ids import HeadId
from atlas.numbers import listed
from atlas.state.attention_bias import RECEIVED, FlaggedChoices, FlaggedLens
from atlas.state.lens import Lens, counted
from atlas.tracing.chance import BEYOND
from atlas.tracing.labelled import ATTENTION_BIAS_BY_LAYER

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd


def select_layers(lens: Lens, kind: str, layers: Iterable[int], origin: str) -> None:
    """Select the heads of some layers of a kind; what is selected already is cleared."""
    chosen, selection = sorted(layers), lens.workspace.selection
    heads = {HeadId(kind, layer, head) for layer in chosen for head in range(lens.trace.n_heads(kind))}
    if heads == set(selection.heads):
        selection.clear("heads", origin=origin)
    else:
        selection.select_heads(heads, origin=origin, label=", ".join(f"layer {layer}" for layer in chosen))


class AttentionDepthLens(FlaggedLens):
    """The layers of the kind on screen."""

    key: ClassVar = "attention_depth"
    choices_type: ClassVar = FlaggedChoices
    task: ClassVar = ATTENTION_BIAS_BY_LAYER
    what: ClassVar = "the layers of {of:,} heads"

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

    def _work_out(self) -> pd.DataFrame | None:
        layers, found = self.of_kind(), self.found()
        if layers is None or found is None:
            return None
        beyond = [f"layer {layer}" for layer in layers.loc[layers["q"] <= BEYOND, "layer"]]
        said = f"beyond chance (q ≤ {BEYOND} over {counted(len(found.table), 'layer')}): {listed(beyond) if beyond else 'none'}"
        who = "all words" if self.choices.direction == RECEIVED else "flagged words"
        self.line = f"{counted(len(found.tokens), 'token')} flagged by {found.detector}, looked at by {who}; {said}"
        return layers
