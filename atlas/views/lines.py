"""The lines: which head links which tokens."""

from __future__ import annotations

from typing import Any, ClassVar

import panel as pn
import panel_material_ui as pmui

from atlas.components.link_lines import LinkLines, Pick, packed
from atlas.ids import HeadId
from atlas.plots.colours import theme
from atlas.plots.head_lines import head_lines
from atlas.plots.head_look import head_look
from atlas.plots.marks import FROM, TO, marks
from atlas.state.lines import BETWEEN, LinesLens
from atlas.state.links import select_end
from atlas.state.workspace import Workspace
from atlas.trace import Trace
from atlas.views.base import TIGHT, Export, View, gesture
from atlas.views.shows import Shows

ORIGIN = "lines"

TEXTS = dict(zip(("all", "A to A", "A to B", "B to A", "B to B"), BETWEEN, strict=True))

LONGEST = 65_535
"""Tokens of a side: their numbers are sent in two bytes."""


class LinesView(View):
    """Lines between tokens, a colour for each head of a layer."""

    key: ClassVar = "lines"
    title: ClassVar = "Lines"
    question: ClassVar = "Which head links which tokens?"
    help: ClassVar = (
        "A line goes from a token that looks, at the left, to one that is looked at, at the right (in cross-attention from the "
        "target to the source); its colour and dash say which head, its opacity grows with the weight. Point at a token for "
        "its lines alone and their weights; click it to select it. Click a head above to draw it or not, double-click for it "
        "alone, click it with Shift to select it; selected heads of the layer are what is drawn. Of two texts, A is the first "
        "and B the second; special tokens are in neither. Only the strongest links of the heads drawn are sent, and said to be "
        "which share of the attention. Between words, as the switch beside the tabs says, the weights are summed over the "
        "tokens of the word that is looked at, and averaged over those of the word that looks."
    )
    defines: ClassVar = ("flow_link", "word_weight")
    lens_type: ClassVar = LinesLens
    lines = Shows(LinesLens)

    def __init__(self, workspace: Workspace, **params: Any) -> None:
        super().__init__(workspace, **params)
        self.plot = LinkLines(dark=self.param.dark, css_classes=["aa-link-lines"])
        self.plot.on_token(self._picked)
        self.plot.on_head(self._pressed)
        self._layer = pmui.Select(label="Layer", options=[0], value=0, size="small", margin=TIGHT, width=90)
        self._layer.param.watch(self._moved, "value")
        self._between = pmui.Select.from_param(
            self.lines.choices.param.between, label="Texts", options=TEXTS, size="small", margin=TIGHT, width=110, visible=False
        )
        self._names: tuple[Trace, str] | None = None

    def tools(self) -> list[Any]:
        """Which layer, and of a pair of texts from which to which."""
        return [self._layer, self._between]

    def body(self) -> Any:
        """Heads, tokens and lines."""
        self._draw()
        self.visibility.follow_revision(self._draw)
        self.visibility.follow_marks(self._mark)
        self.param.watch(lambda _: self._attempt(self._draw), "dark")
        return pn.Column(self.plot, sizing_mode="stretch_width", margin=0)

    def export(self) -> Export:
        """Every drawn link."""
        shown, picture = self.lines.shown(), None
        if shown is not None:
            each, names = shown.links, (shown.queries, shown.keys)
            picture = head_lines(each.query, each.key, each.head, each.weight, names, dark=self.dark)
        return Export("lines", self.lines.table(), picture)

    def _draw(self) -> None:
        lens, shown = self.lines, self.lines.shown()
        layers = list(range(lens.layers))
        if self._layer.options != layers:
            self._layer.options = layers
        self._layer.value = lens.layer
        self._between.visible = lens.pair
        if shown is None:
            self.plot.links = {}
            return
        around, colours = theme(dark=self.dark), marks(dark=self.dark)
        links, level = shown.links, lens.level
        self.plot.param.update(
            left=list(shown.queries[:LONGEST]),
            right=list(shown.keys[:LONGEST]),
            left_at=list(level.positions("query")),
            right_at=list(level.positions("key")),
            links=packed(links.query, links.key, links.head, links.weight),
            heads=self._heads(shown.heads),
            colours={
                "ink": around.ink, "muted": around.muted, "paper": around.paper, "left": colours[FROM], "right": colours[TO],
            },
            **self._marked(),
        )  # fmt: skip

    def _heads(self, drawn: tuple[int, ...]) -> list[dict[str, Any]]:
        chosen = self.lines.selected()
        looks = [head_look(head) for head in range(self.lines.n_heads)]
        return [
            {"head": head, "colour": colour, "dash": list(dash), "drawn": head in drawn, "selected": head in chosen}
            for head, (colour, dash) in enumerate(looks)
        ]

    def _marked(self) -> dict[str, list[int]]:
        left, right = self.lines.marked()
        return {"selected_left": sorted(left), "selected_right": sorted(right)}

    def _mark(self) -> None:
        self.plot.param.update(**self._marked())

    # -- gestures ------------------------------------------------------------------------------------------------------

    @gesture
    def _moved(self, event: Any) -> None:
        """Another layer: the head of the same number there is in focus."""
        focus = self.workspace.selection.focus
        if focus is not None and event.new is not None and event.new != focus.layer:
            self.workspace.selection.focus_on(HeadId(focus.kind, int(event.new), focus.head), origin=ORIGIN)

    @gesture
    def _picked(self, pick: Pick) -> None:
        axis = "query" if pick["side"] == "left" else "key"
        tokens = self.lines.level.tokens(axis, pick["at"])
        select_end(self.workspace, tokens, axis, ORIGIN, additive=pick["additive"])

    @gesture
    def _pressed(self, head: int, action: str) -> None:
        lens = self.lines
        if action == "select":
            self.workspace.selection.toggle_heads([HeadId(lens.kind, lens.layer, head)], origin=ORIGIN)
        elif action == "all":
            lens.draw_all()
        elif action == "only":
            lens.only(head)
        else:
            lens.toggle(head)
