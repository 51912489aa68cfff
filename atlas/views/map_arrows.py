"""The arrows of the Map: from the earlier heads that the head in focus reads, where the reader wants them."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

import panel_material_ui as pmui

from atlas.patches.panes import Markup
from atlas.plots.arrows import COLUMNS, SIGNS, MapArrow, arrow_columns, map_arrows, path_colours
from atlas.state.composition import NAMES, CompositionLens
from atlas.state.visibility import Visibility
from atlas.tracing.composition import PATHS
from atlas.views.base import TIGHT, one_message
from atlas.views.glyph import Glyph

if TYPE_CHECKING:
    import holoviews as hv

    from atlas.views.map import MapView

LABEL = "Composition"


class MapArrows:
    """What the head in focus reads, on the Map of a view. Costs nothing while the reader has not asked for it."""

    def __init__(self, view: MapView) -> None:
        self.view = view
        self.lens = view.workspace.lens(CompositionLens)
        self.glyph = Glyph()
        self.key = Markup("", sizing_mode="stretch_width", margin=(0, 8), css_classes=["aa-map-arrows"], visible=False)
        self.visibility = Visibility(self.lens, view.workspace.one_message, seen=False)
        view.visibility.param.watch(self._wake, ["seen", "opened"])
        self.lens.choices.param.watch(self._wake, "arrows")
        self.lens.param.watch(self._say, ["busy", "problem"])
        self.visibility.follow_revision(self.draw)
        view.param.watch(lambda _: self.draw(), "dark")
        self._wake()

    @property
    def wanted(self) -> bool:
        """Whether the reader wants arrows."""
        return bool(self.lens.choices.arrows)

    def switch(self) -> Any:
        """The switch under the Map."""
        return pmui.Switch.from_param(self.lens.choices.param.arrows, label=LABEL, size="small", margin=TIGHT)

    def element(self, **_: Any) -> hv.Path:
        """The arrows as HoloViews draws them."""
        return map_arrows(self._columns(), [self.glyph.hook])

    def draw(self) -> None:
        """Replace all arrows, and say what they are."""
        self.glyph.mark(self._columns())
        self._say()

    def _wake(self, *_: object) -> None:
        with one_message():
            self.visibility.seen = self.wanted and self.view.visibility.active
            self.draw()

    def _columns(self) -> dict[str, list[Any]]:
        nothing: dict[str, list[Any]] = {name: [] for name in COLUMNS}
        shown = self.lens.shown() if self.visibility.active and self.view.workspace.trace is not None else None
        if shown is None:
            return nothing
        layout = self.view.map.layout()
        end = layout.places.get(shown.head)
        if end is None:
            return nothing
        places = [(layout.places.get(arrow.head), arrow) for arrow in self.lens.arrows()]
        arrows = [MapArrow(place[::-1], end[::-1], arrow.path, arrow.share) for place, arrow in places if place is not None]
        squares = layout.n_columns, layout.n_rows
        view, (wide, high) = self.view.window(*squares), self.view.pixels
        pixels = wide / (view.x1 - view.x0), high / (view.y1 - view.y0)
        return arrow_columns(arrows, squares, pixels, dark=self.view.dark)

    def _say(self, *_: object) -> None:
        self.key.param.update(object=self._words(), visible=self.wanted)

    def _words(self) -> str:
        if not self.wanted or self.view.workspace.trace is None:
            return ""
        shown = self.lens.shown() if self.visibility.active else None
        if shown is None:
            return html.escape(self.lens.problem or ("Following what the head in focus reads …" if self.lens.busy else ""))
        colours = path_colours(dark=self.view.dark)
        parts = [
            f'<span style="white-space:nowrap"><span style="color:{colours[path]}" aria-hidden="true">{SIGNS[path]}▸</span> '
            f"{NAMES[path]}: {html.escape(self.lens.strongest(shown, path))}</span>"
            for path in PATHS
        ]
        head = html.escape(shown.head.label(self.lens.trace.kinds))
        words = f"<span>What {head} reads most through its</span>{''.join(parts)}<span>a bar as its end: it takes away</span>"
        return f'<div style="display:flex;flex-wrap:wrap;gap:2px 14px;font-size:0.75rem">{words}</div>'
