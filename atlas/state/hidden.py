"""What the view of hidden states shows: the tokens of one side as a cloud, layer by layer or all layers together."""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import ClassVar

import numpy as np
import pandas as pd
import param

from atlas.ids import stream_of
from atlas.numbers import component
from atlas.state.asking import Progress
from atlas.state.lens import Lens, counted
from atlas.state.words import shown_token, token_names
from atlas.tracing.hidden import Cloud, are_held, capture, cloud, n_states, nearest, token_classes, work_of

FOLLOWS = -1
"""The layer of the head in focus."""

QUICK_WORK = 30_000_000
"""Multiplications that are done while the page waits, some 20 ms; for more of them the lens asks."""

NEIGHBOURS = 3
"""Tokens named beside one that is selected."""

SHARED, SOME = 0.5, 0.2
"""Mean cosines from which the words say that tokens mostly, or partly, point the same way. Cuts of the words alone: the number
stands beside them."""


class HiddenChoices(param.Parameterized):
    """Choices of the view of hidden states."""

    layer = param.Integer(default=FOLLOWS, bounds=(FOLLOWS, None), doc="Layer the states enter; -1: that of the focused head.")
    joint = param.Boolean(default=False, doc="One projection of all layers, with the paths of tokens through depth.")
    unit = param.Boolean(default=False, doc="States are scaled to length 1 before they are projected.")


class HiddenLens(Lens):
    """The hidden states on screen."""

    key: ClassVar = "hidden"
    choices_type: ClassVar = HiddenChoices
    reads: ClassVar = {"selection": ("focus",)}
    marked_by: ClassVar = ("queries", "keys")

    _found: Cloud | None = None

    def depends(self) -> Hashable:
        """Not on the tokens, which are marked, nor on the head beyond its kind and, where that is followed, its layer."""
        return self.stream, self.side, self.layer, self.choices.joint, self.choices.unit

    def forget(self) -> None:
        """Drop the cloud; it is kept on the trace where it took long."""
        self._found = None

    @property
    def side(self) -> str:
        """Whose tokens they are: those that look."""
        return self.trace.side(self.kind, "query")

    @property
    def last(self) -> int:
        """The last state: the one that leaves the last layer."""
        return n_states(self.trace, self.kind) - 1

    @property
    def own_layer(self) -> int:
        """The layer of the head in focus."""
        return min(super().layer, self.last)

    @property
    def layer(self) -> int:
        """The layer whose incoming states are shown."""
        chosen = int(self.choices.layer)
        return self.own_layer if chosen == FOLLOWS else min(chosen, self.last)

    def show_layer(self, layer: int) -> None:
        """Show another layer; at that of the head in focus the view follows the head again."""
        if layer != self.layer:
            self.choices.layer = FOLLOWS if layer == self.own_layer else layer

    def cloud(self) -> Cloud | None:
        """The tokens' places; None until they are there."""
        if self._found is None:
            self._found = self.attempt(self._work_out, None)
        return self._found

    def points(self) -> pd.DataFrame:
        """One row a token: where it stands at the layer, what it is called, its class, whether it is selected."""
        found = self.cloud()
        if found is None:
            return pd.DataFrame({name: [] for name in ("position", "label", "x", "y", "category", "selected")})
        here = found.positions[self.layer if len(found.positions) > 1 else 0]
        selected = self.selected()
        return pd.DataFrame({
            "position": np.arange(len(here)),
            "label": self.names(),
            "x": here[:, 0],
            "y": here[:, 1],
            "category": token_classes(self.trace, self.side),
            "selected": [at in selected for at in range(len(here))],
        })  # fmt: skip

    def paths(self) -> np.ndarray:
        """(layer, token, 2) places through depth; no layers where each layer has axes of its own."""
        found = self.cloud()
        return np.empty((0, 0, 2)) if found is None or not self.choices.joint else found.positions

    def names(self) -> list[str]:
        """The tokens as a reader knows them."""
        return [shown_token(str(token)) for token in self.trace.reading(self.side).table["token"]]

    def selected(self) -> frozenset[int]:
        """Selected tokens of this side, whether they look or are looked at."""
        selection = self.workspace.selection
        looks = selection.queries if selection.side("query") == self.side else frozenset()
        return looks | (selection.keys if selection.side("key") == self.side else frozenset())

    def axes(self) -> tuple[str, str]:
        """What the axes are."""
        found = self.cloud()
        shares = (math.nan, math.nan) if found is None else found.explained
        return component(1, shares[0]), component(2, shares[1])

    def words(self) -> str:
        """How alike the states are at the layer, and which are nearest to a selected token."""
        return self.attempt(self._in_words, "")

    def table(self) -> pd.DataFrame:
        """The tokens at the layer, and in every layer where all have the same axes."""
        points, paths = self.points(), self.paths()
        if not len(paths):
            return points.assign(layer=self.layer)
        n_tokens = len(points)
        return pd.concat(
            [points.assign(x=paths[layer, :, 0], y=paths[layer, :, 1], layer=layer) for layer in range(len(paths))],
            ignore_index=True,
        ).assign(n_tokens=n_tokens)

    def _work_out(self) -> Cloud | None:
        trace, kind, choices = self.trace, self.kind, self.choices
        if not are_held(trace) and not self.ask("states", lambda _: capture(trace), otherwise=False, needs_model=True):
            return None
        layer, unit = None if choices.joint else self.layer, bool(choices.unit)
        self.line = self._describe()
        if work_of(trace, kind, joint=layer is None) <= QUICK_WORK:
            self.drop_asked()
            return cloud(trace, kind, layer, unit=unit)

        def projected(progress: Progress) -> Cloud:
            progress.tell("Projecting the states of all layers" if layer is None else f"Projecting the states of layer {layer}")
            return cloud(trace, kind, layer, unit=unit)

        return self.ask(f"{stream_of(kind)} {layer} {unit}", projected, None)

    def _describe(self) -> str:
        trace, layer = self.trace, self.layer
        named = f"{self.stream} " if len(trace.kinds) > 1 else ""
        n_tokens = len(trace.token_tables[self.side])
        which = f"that leave the last {named}layer" if layer == self.last else f"that enter {named}layer {layer}"
        if layer == self.own_layer:
            which += ", that of the head in focus"
        axes = "; one PCA for all layers" if self.choices.joint else ""
        scale = ", each scaled to length 1" if self.choices.unit else ""
        return f"States of {counted(n_tokens, 'token')} {which}{axes}{scale}"

    def _in_words(self) -> str:
        found, layer = self.cloud(), self.layer
        if found is None:
            return ""
        raw, centred = float(found.cosine[layer]), float(found.cosine_centred[layer])
        if math.isnan(raw):
            return "One token alone is like nothing: the mean cosine is N/A."
        how = "share no direction" if raw < SOME else f"{'mostly' if raw >= SHARED else 'partly'} point the same way"
        at = "after the last layer" if layer == self.last else f"at layer {layer}"
        said = f"Anisotropy: tokens {how} {at}, with a mean cosine of {raw:.2f}"
        if math.isfinite(centred):
            said += f", and of {centred:.2f} once their mean is taken away"
            count = found.positions.shape[1]
            said += f" ({-1 / (count - 1):.2f} for {count} states with nothing in common)"
        top = int(np.nanargmax(found.cosine))
        said += f". Highest {'after the last layer' if top == self.last else f'at layer {top}'}: {found.cosine[top]:.2f}."
        return said.replace("-", "−") + self._near()

    def _near(self) -> str:
        """What is nearest to a token that alone is selected."""
        chosen = self.selected()
        if len(chosen) != 1:
            return ""
        (token,) = chosen
        found = nearest(self.trace, self.kind, self.layer, token, NEIGHBOURS)
        every = self.trace, self.side
        (name,) = token_names(*every, chosen)
        near = [f"{token_names(*every, frozenset({at}))[0]} {cosine:.2f}".replace(" -", " −") for at, cosine in found]
        return f" Nearest to {name}, by the cosine without the mean: {', '.join(near)}." if near else ""
