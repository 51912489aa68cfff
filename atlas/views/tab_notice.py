"""What a reader is told before a tab: once, until it is closed."""

from __future__ import annotations

from typing import Any

import panel as pn
import panel_material_ui as pmui

from atlas.views.base import gesture
from atlas.views.plain import plain

EDGE = """
:host { border: 1px solid rgb(128 128 128 / 35%); border-inline-start: 4px solid rgb(213 94 0); border-radius: 6px;
  align-items: center; }
"""
"""A line around the words, as a problem has it, but no colour behind them: nothing is wrong."""


class TabNotice(pn.viewable.Viewer):
    """The words of the open tab above its cards. What is closed stays closed as long as the page is open."""

    def __init__(self, words: dict[str, str], **params: Any) -> None:
        super().__init__(**params)
        self.words = words
        """By tab; a tab without any has no notice."""
        self.closed: set[str] = set()
        """Tabs whose notice the reader has closed."""
        self._open = ""
        self.text = plain("", "aa-tab-notice-words", margin=(6, 10))
        self.close = pmui.Button(
            label="Close this notice", variant="outlined", color="default", size="small", margin=(6, 10),
            css_classes=["aa-tab-notice-close"],
        )  # fmt: skip
        self.close.on_click(lambda _: self._close())
        self.box = pn.Row(
            self.text, self.close, sizing_mode="stretch_width", margin=(8, 8, 0, 8), visible=False, stylesheets=[EDGE],
            css_classes=["aa-tab-notice"],
        )  # fmt: skip

    def __panel__(self) -> Any:
        return self.box

    def tell(self, tab: str) -> None:
        """Say what is to be known before the tab that is open now."""
        self._open = tab
        words = "" if tab in self.closed else self.words.get(tab, "")
        if words:
            self.text.object = words
        self.box.visible = bool(words)

    @gesture
    def _close(self) -> None:
        self.closed.add(self._open)
        self.tell(self._open)
