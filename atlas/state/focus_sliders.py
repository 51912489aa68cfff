"""LayerModel and HeadModel: `Selection.focus` as two numbers with bounds, for sliders and players."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import param

from atlas.ids import HeadId
from atlas.state.selection import Selection

if TYPE_CHECKING:
    from atlas.trace import Trace

ORIGIN = "slider"


class _FocusSlider(param.Parameterized):
    """One coordinate of the focus, bound to it both ways: the focus alone is the truth."""

    selection: Selection = param.ClassSelector(class_=Selection, constant=True, doc="The selection whose focus it moves.")  # type: ignore[assignment]
    coordinate = ""

    def __init__(self, **params: Any) -> None:
        super().__init__(**params)
        self._follow()

    def _bound(self, last: int) -> None:
        """Set the upper bound: widen it before the value moves up, narrow it after the value has moved down."""
        name = self.coordinate
        top = self.param[name].bounds[1]
        if top is None or top < last:
            self.param[name].bounds = (0, last)
        self._follow()
        if getattr(self, name) > last:
            setattr(self, name, last)
        self.param[name].bounds = (0, last)

    @param.depends("selection.focus", watch=True)
    def _follow(self) -> None:
        focus = self.selection.focus
        if focus is not None:
            value = getattr(focus, self.coordinate)
            bounds = self.param[self.coordinate].bounds
            if bounds[1] is None or value <= bounds[1]:
                setattr(self, self.coordinate, value)

    def _lead(self) -> None:
        focus = self.selection.focus
        value = getattr(self, self.coordinate)
        if focus is not None and getattr(focus, self.coordinate) != value:
            at = {"layer": focus.layer, "head": focus.head} | {self.coordinate: value}
            self.selection.focus_on(HeadId(focus.kind, **at), origin=ORIGIN)


class LayerModel(_FocusSlider):
    """The layer of the focus."""

    layer = param.Integer(default=0, bounds=(0, None), doc="Layer of the head shown large, counted from 0.")
    coordinate = "layer"

    def fit(self, trace: Trace, kind: str) -> None:
        """Let the bounds follow a trace."""
        self._bound(trace.n_layers(kind) - 1)

    @param.depends("layer", watch=True)
    def _layer_moved(self) -> None:
        self._lead()


class HeadModel(_FocusSlider):
    """The head of the focus within its layer."""

    head = param.Integer(default=0, bounds=(0, None), doc="Head shown large within its layer, counted from 0.")
    coordinate = "head"

    def fit(self, trace: Trace, kind: str) -> None:
        """Let the bounds follow a trace."""
        self._bound(trace.n_heads(kind) - 1)

    @param.depends("head", watch=True)
    def _head_moved(self) -> None:
        self._lead()
