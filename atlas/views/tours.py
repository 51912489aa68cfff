"""Guided tours on the page: their menu in the header, and their panel above the cards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import panel_material_ui as pmui

from atlas.components.tour_panel import TourPanel
from atlas.state.guide import Guide
from atlas.views.base import gesture

if TYPE_CHECKING:
    import param


class Tours:
    """Joins a guide to what its page shows of it."""

    def __init__(self, guide: Guide, dark: param.Parameter) -> None:
        self.guide = guide
        self.panel = TourPanel(dark=dark, css_classes=["aa-tour"])
        self.panel.on_ask(back=self._back, next=self._next, again=self._again, leave=self._leave)
        self.menu = pmui.MenuButton(
            label="Tours",
            items=[
                {"label": f"{tour.title} {tour.about}" if tour.title.endswith("?") else f"{tour.title}. {tour.about}"}
                for tour in guide.tours.values()
            ],
            variant="text",
            color="light",
            align="center",
            css_classes=["aa-tours"],
            # As the other buttons of the header: the library's light grey is too weak on its blue.
            stylesheets=[".MuiButton-root { color: #fff !important; }"],
        )
        self.menu.on_click(self._chosen)
        guide.param.watch(self._show, ["tour", "at", "words", "note", "away"])

    def _show(self, *_: object) -> None:
        guide = self.guide
        tour, step = guide.tours.get(guide.tour), guide.step
        self.panel.param.update(
            tour=guide.tour, title="" if tour is None else tour.title, step=guide.at + 1 if step else 0, of=len(guide.steps),
            words=guide.words, note=guide.note, away=guide.away, card=f"aa-card-{step.card}" if step else "",
        )  # fmt: skip

    @gesture
    def _chosen(self, item: Any) -> None:
        items, keys = self.menu.items, list(self.guide.tours)
        if item in items:
            self.guide.start(keys[items.index(item)])

    @gesture
    def _back(self) -> None:
        self.guide.back()

    @gesture
    def _next(self) -> None:
        self.guide.next()

    @gesture
    def _again(self) -> None:
        self.guide.again()

    @gesture
    def _leave(self) -> None:
        self.guide.leave()
