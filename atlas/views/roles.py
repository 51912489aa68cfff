"""The role profile: what the heads looked at are specialised in."""

from __future__ import annotations

import functools
import math
from operator import eq
from typing import Any, ClassVar

import holoviews as hv
import panel as pn
import panel_material_ui as pmui
import param

from atlas.patches.panes import plots_of
from atlas.plots.frame import number
from atlas.plots.roles import RADAR_HEIGHT, Spoke, bar_columns, bar_words, bars_height, radar_width, role_bars, role_radar
from atlas.state.roles import BARS, RADAR, RolesLens
from atlas.state.workspace import Workspace
from atlas.tracing.roles import Role
from atlas.views.base import TIGHT, Export, View, bind_rule, gesture
from atlas.views.events import on_tap
from atlas.views.glyph import Glyph
from atlas.views.plain import plain
from atlas.views.shows import Shows

ORIGIN = "roles"

LOOKS = {"bars": BARS, "radar": RADAR}

N_ROLES = 7


class RolesView(View):
    """Seven roles of the heads looked at, as z-scores against their layer and all heads."""

    key: ClassVar = "roles"
    title: ClassVar = "Roles"
    question: ClassVar = "What is this head specialised in?"
    help: ClassVar = (
        "A bar says how far the head is above (right) or below (left) the mean of all heads of its kind in a role, in standard "
        "deviations; the diamond says the same against the heads of its layer. What is compared is the attention above chance. "
        "At the right: z against all heads and the layer, the share of its attention, what evenly spread attention would give, "
        "and on how many rows it rests. Of several heads all numbers are means. In the radar the centre is the lowest z, the "
        "dark ring z = 0, the dashed outline the layer; a role without a z leaves a gap. Syntax is mass on function words, "
        "semantics mass on content words; a text without special tokens has the first token in their place. Click a row of the "
        "bars to select the five heads that do most of it."
    )
    defines: ClassVar = ("role_z", "excess", "role_chance")
    lens_type: ClassVar = RolesLens
    roles = Shows(RolesLens)

    bars_drawn = param.Integer(default=0, doc="Counts the changes that only a new drawing of the bars can show.")
    radar_drawn = param.Integer(default=0, doc="Counts the drawings of the radar.")

    def __init__(self, workspace: Workspace, **params: Any) -> None:
        super().__init__(workspace, **params)
        self.glyphs = {"bars": Glyph(), "layer": Glyph()}
        self._hears = [on_tap(self._tapped)]
        self._shown: tuple[str, ...] = ()
        self._radar_pane: Any = None
        self._looks = {BARS: self._new_bars, RADAR: self._new_radar}
        """Makes the drawing of each look when it is first chosen."""

    def tools(self) -> list[Any]:
        """Bars or a radar."""
        look = self.roles.choices.param.look
        return [pmui.Select.from_param(look, label="Drawn as", options=LOOKS, size="small", margin=TIGHT, width=100)]

    def body(self) -> Any:
        """The drawing that was chosen, and what it says in words."""
        look, own = self.roles.choices.param.look, self.visibility.param
        self.visibility.follow_revision(self._redraw)
        self.visibility.follow_marks(self._mark)
        # Columns are hidden, not panes: Panel (1.9) raises when a pane of a plot that is on the page gets another `visible`.
        places = {
            name: pn.Column(visible=bind_rule(look, functools.partial(eq, name)), sizing_mode="stretch_width", margin=0)
            for name in self._looks
        }

        def chosen(*_: Any) -> None:
            place = places[self.roles.choices.look]
            if len(place):
                self._redraw()
            else:
                self.put(place, self._looks[self.roles.choices.look]())

        chosen()
        self.roles.choices.param.watch(lambda _: self.visibility.safely(chosen), "look")
        words = self.bound(lambda *_: self.roles.words(), own.revision, own.marks)
        return pn.Column(*places.values(), plain(words, "aa-roles-words"), sizing_mode="stretch_width")

    def _new_bars(self) -> Any:
        return self.plot_pane(
            hv.DynamicMap(self.drawing(self._bars, no_bars), streams=[self.follows(self, ["dark", "bars_drawn"])]),
            sizing_mode="stretch_width", height=bars_height(N_ROLES), css_classes=["aa-roles"],
        )  # fmt: skip

    def _new_radar(self) -> Any:
        self._radar_pane = self.plot_pane(
            hv.DynamicMap(self.drawing(self._radar, no_radar), streams=[self.follows(self, ["dark", "radar_drawn"])]),
            width=radar_width(RADAR_HEIGHT), height=RADAR_HEIGHT, align="center", css_classes=["aa-roles-radar"],
        )  # fmt: skip
        return self._radar_pane

    def export(self) -> Export:
        """The numbers of every role."""
        drawn = self._radar() if self.roles.choices.look == RADAR else self._bars()
        return Export("roles", self.roles.table(), drawn)

    def spokes(self) -> list[Spoke]:
        """The roles as the plots take them."""
        return [
            Spoke(role.role, self.roles.title(role.role), role.z, role.z_layer, in_words(role)) for role in self.roles.roles()
        ]

    def _bars(self, **_: Any) -> hv.Overlay:
        spokes = self.spokes()
        self._shown = tuple(spoke.role for spoke in spokes)
        hooks = {
            name: self.faults.hooks([glyph.hook, *(self._hears if name == "bars" else ())]) for name, glyph in self.glyphs.items()
        }
        return role_bars(spokes, self.roles.reach(), dark=self.dark, hooks=hooks)

    def _radar(self, **_: Any) -> hv.Overlay:
        return role_radar(self.spokes(), self.roles.reach(), dark=self.dark)

    def _redraw(self) -> None:
        """Draw the one that is seen: the axis may be another one."""
        if self.roles.choices.look == RADAR:
            self.radar_drawn += 1
        else:
            self.bars_drawn += 1

    def _mark(self) -> None:
        """Other heads are looked at, on the same axis."""
        spokes = self.spokes()
        if self.roles.choices.look == RADAR or tuple(spoke.role for spoke in spokes) != self._shown:
            self._redraw()
            return
        columns = bar_columns(spokes)
        for name, glyph in self.glyphs.items():
            if not glyph.mark(columns[name], hook=bar_words(spokes, dark=self.dark) if name == "bars" else None):
                self._redraw()
                return

    def _resize(self, heights: Any) -> None:
        """The radar keeps its aspect."""
        super()._resize(heights)
        for pane, height in heights.items():
            if pane is self._radar_pane:
                pane.width = radar_width(height)
                for plot in plots_of(pane):
                    plot.state.width = radar_width(height)

    @gesture
    def _tapped(self, _: float, y: float) -> None:
        row = round(y)
        if not 0 <= row < len(self._shown):
            return
        role, selection = self._shown[row], self.workspace.selection
        heads = self.roles.strongest(role)
        if heads and set(heads) == set(selection.heads):
            selection.clear("heads", origin=ORIGIN)
        elif heads:
            selection.select_heads(heads, origin=ORIGIN, label=f"most {self.roles.title(role).lower()}")


def in_words(role: Role) -> str:
    """'z 2.1 · layer 1.3', below it '0.412, evenly 0.31 · 20 rows'; without a z the reason."""
    layer = number(role.z_layer) if not role.reason_layer else f"N/A ({role.reason_layer})"
    first = f"N/A: {role.reason}" if role.reason else f"z {number(role.z)} · layer {layer}"
    if math.isnan(role.value):
        return first
    rows = f"{role.rows:,} row" if role.rows == 1 else f"{role.rows:,} rows"
    return f"{first}\n{number(role.value)}, evenly {number(role.uniform)} · {rows}"


def no_bars() -> hv.Overlay:
    """No roles at all."""
    return role_bars([], 1.0)


def no_radar() -> hv.Overlay:
    """No roles at all."""
    return role_radar([], 1.0)
