"""The heads as a cloud of points: who is like whom."""

from __future__ import annotations

from typing import Any, ClassVar

import holoviews as hv
import numpy as np
import pandas as pd
import panel as pn
import panel_material_ui as pmui
import param

from atlas.components.chips import Chips
from atlas.patches.panes import Markup
from atlas.plots.frame import Limits, limits, on_axes
from atlas.plots.heads import ScatterConfig, axis_names, chosen_rows, colour_key, focus_columns, head_scatter, point_columns
from atlas.state.heads import CATEGORIES, HeadsLens, title_of
from atlas.state.workspace import Workspace
from atlas.views.base import TIGHT, Export, View, bind_rule, gesture
from atlas.views.cloud import Cloud
from atlas.views.colour_key import key_markup
from atlas.views.events import on_reset, on_select
from atlas.views.plain import plain
from atlas.views.shows import Shows

ORIGIN = "heads"

LAYOUTS = {"components (PCA)": "pca", "neighbourhoods (t-SNE)": "tsne", "two metrics": "metrics"}


class HeadsView(View):
    """Scatter of heads, and the groups they fall into."""

    key: ClassVar = "heads"
    title: ClassVar = "Heads"
    question: ClassVar = "Which heads behave alike?"
    help: ClassVar = (
        "A point is a head. PCA: the two directions in which the standardised metrics differ most; with tokens selected, heads "
        "move in the same axes. t-SNE: near means alike, far means nothing, and the map is of the whole text.\n\n"
        "Clusters: k-means over standardised metrics, k by the mean silhouette. Stability: heads are drawn again with "
        "replacement and divided again, 100 to 300 times; it is the mean Jaccard similarity of a cluster to its likest, with the "
        "95 % interval of that mean. A cluster has a name only where the interval is above 0.75 and its largest difference from "
        "the other heads is large, unlikely by chance, and clearly beyond even attention too; else it is 'unnamed'. 'Broad' says "
        "that heads are near even attention, and the others are not.\n\n"
        "Roles: more than half of the way from chance to everything, on five rows or more, and unlikely by chance, corrected for "
        "the number of heads; else 'unnamed', or 'too few rows'. Importances (by gradient, integrated gradients or removal) say "
        "how much the explained prediction hangs on a head, on the whole text. Draw a lasso or a box, or press a group."
    )

    beside: ClassVar = 230

    redrawn = param.Integer(default=0, doc="Counts the marks that only a whole new drawing can show.")

    lens_type: ClassVar = HeadsLens
    heads = Shows(HeadsLens)

    def __init__(self, workspace: Workspace, **params: Any) -> None:
        super().__init__(workspace, **params)
        self.glyph = Cloud()
        self._hears = [on_select(self._picked), on_reset(self._show_selection)]
        self.chips = Chips(dark=self.param.dark, css_classes=["aa-groups"])
        self.chips.on_chip(self._pressed)

    def tools(self) -> list[Any]:
        """What places, colours and sizes a head."""
        display = self.workspace.display
        two = bind_rule(display.param.layout, "metrics".__eq__)
        metrics = self.heads.metrics()
        coloured = {name: name for name in (*CATEGORIES, "layer")} | metrics
        sized = {"all alike": ""} | metrics
        return [
            pmui.Select.from_param(display.param.layout, label="Places", options=LAYOUTS, size="small", margin=TIGHT, width=209),
            pmui.Select.from_param(
                display.param.x, label="Across", options=metrics, size="small", margin=TIGHT, width=140, visible=two
            ),
            pmui.Select.from_param(
                display.param.y, label="Upwards", options=metrics, size="small", margin=TIGHT, width=140, visible=two
            ),
            pmui.Select.from_param(display.param.colour, label="Colour", options=coloured, size="small", margin=TIGHT, width=130),
            pmui.Select.from_param(display.param.size, label="Size", options=sized, size="small", margin=TIGHT, width=110),
        ]

    def body(self) -> Any:
        """The cloud and its groups."""
        display = self.workspace.display
        self.visibility.follow(self._groups)
        asked = (display.param[name] for name in ("layout", "x", "y"))
        key = self.bound(self._key, self.visibility.param.revision, display.param.colour, display.param.size, self.param.dark)
        return pn.Column(
            self._pane(),
            Markup(key, sizing_mode="stretch_width", margin=(0, 8), css_classes=["aa-key"]),
            self.chips,
            plain(self.bound(self._note, self.visibility.param.revision, *asked), "aa-cluster-note"),
            sizing_mode="stretch_width",
        )

    def export(self) -> Export:
        """Where every head stands, what colours and sizes it."""
        return Export(self.key, self.heads.points(), self._points())

    def config(self) -> ScatterConfig:
        """How the cloud is drawn."""
        display = self.workspace.display
        x_label, y_label = self.heads.axes()
        found = ScatterConfig(dark=self.dark, ticks=display.layout != "tsne", colour_label=title_of(display.colour), height=320)
        if display.layout != "tsne":
            found |= ScatterConfig(x_label=x_label, y_label=y_label)
        if display.size:
            found |= ScatterConfig(size_label=title_of(display.size))
        return found

    def _points(self, **_: Any) -> hv.Points:
        data = self.heads.points()
        config = self.config()
        across, upwards = self._frame(data)
        config |= ScatterConfig(x_range=across, y_range=upwards, hooks=self.faults.hooks([self.glyph.hook, *self._hears]))
        self.glyph.draws(self._plan(), point_columns(data, **config))
        return head_scatter(data, **config)

    def _frame(self, data: pd.DataFrame) -> tuple[Limits, Limits]:
        """Room for the heads on the whole text and for those on screen: selected tokens move heads, and rarely the frame."""
        across, upwards = self.heads.places_of_all()
        return limits(np.append(across, data["x"])), limits(np.append(upwards, data["y"]))

    def _plan(self) -> tuple[Any, ...]:
        """What the look of the axes, the key and the number of points hang on."""
        display = self.workspace.display
        look = (display.layout, display.x, display.y, display.colour, display.size, self.dark)
        return (self.heads.source, len(self.heads.ids()), *look)

    def _move(self) -> None:
        """Points of the same look, maybe those of another kind: other places, other marks."""
        data = self.heads.points()
        config = self.config()
        points, hook = point_columns(data, **config), on_axes(axis_names(**config), *self._frame(data))
        if not self.glyph.move(self._plan(), points, chosen_rows(data), hook):
            self.redrawn += 1

    def _mark(self) -> None:
        """Points where they are: another one in focus, others selected."""
        marked = self.heads.marked()
        if not self.glyph.marked(self._plan(), focus_columns(marked, **self.config()), chosen_rows(marked)):
            self.redrawn += 1

    def _key(self, *_: object) -> str:
        """What the colours mean, as marks and words."""
        if self.workspace.trace is None:
            return ""
        display = self.workspace.display
        title = f"{title_of(display.colour)}:" if display.colour not in CATEGORIES else ""
        size = f"larger: more {title_of(display.size).lower()}" if display.size else ""
        return key_markup(colour_key(pd.DataFrame(self.heads.coloured()), **self.config()), title, size)

    def _note(self, *_: object) -> str:
        display = self.workspace.display
        axes = (display.x, display.y) if display.layout == "metrics" else ()
        selection = self.workspace.selection
        moved = self.heads.moved_by_tokens and display.layout == "tsne" and (selection.queries or selection.keys)
        places = "Places are those of the whole text: t-SNE has none for a head that changed." if moved else ""
        return "\n".join(filter(None, [places, *map(self.heads.unknown, dict.fromkeys(axes)), self.heads.note()]))

    def _groups(self) -> None:
        self.chips.groups = self.heads.groups()

    def _pane(self) -> Any:
        display = self.workspace.display
        points = hv.DynamicMap(
            self.drawing(self._points, no_points),
            streams=[
                self.follows(display, ["layout", "x", "y", "colour", "size"], rename={"x": "x_metric", "y": "y_metric"}),
                self.follows(self, ["dark", "redrawn"]),
            ],
        )
        self.visibility.follow_revision(self._move)
        self.visibility.follow_marks(self._mark)
        return self.plot_pane(points, sizing_mode="stretch_width", height=340, css_classes=["aa-heads-plot"])

    @gesture
    def _picked(self, rows: list[int]) -> None:
        """A tap, a box or a lasso, as rows of the table on screen; an empty one lets go of the heads."""
        chosen = self.heads.at(rows)
        if set(chosen) != set(self.workspace.selection.heads_of(self.heads.kind)):
            self.workspace.selection.select_heads(chosen, origin=ORIGIN, label="a group in the cloud")

    @gesture
    def _show_selection(self) -> None:
        """To reset the plot is to see all of it again, not to let go of heads."""
        self._mark()

    @gesture
    def _pressed(self, press: Any) -> None:
        selection = self.workspace.selection
        members, label = self.heads.members(press["key"])
        if press["additive"]:
            selection.toggle_heads(members, origin=ORIGIN)
        elif set(members) == set(selection.heads):
            selection.clear("heads", origin=ORIGIN)
        else:
            selection.select_heads(members, origin=ORIGIN, label=label)


def no_points() -> hv.Points:
    """No heads at all."""
    return head_scatter(pd.DataFrame({name: [] for name in ("kind", "layer", "head", "x", "y", "selected", "focus")}))
