"""A view that is one list of bars for each token."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import panel as pn

from atlas.components.bar_list import BarList, Press
from atlas.views.base import Export, View, gesture

if TYPE_CHECKING:
    import pandas as pd


class Listed(Protocol):
    """A lens that has such lists."""

    def groups(self) -> list[dict[str, Any]]:
        """The lists, as `BarList` takes them."""

    def press(self, key: str, origin: str) -> None:
        """The heading of a list was pressed."""

    def table(self) -> pd.DataFrame:
        """What is shown, a row a bar."""


class TokenListsView(View):
    """Tokens with a list each; a press on a heading is told to the lens."""

    width_of_group: ClassVar = 215
    """Pixels a token with its list needs: two beside each other in a card of half a window of 1440, four in a wide one."""

    def __init__(self, *given: Any, **params: Any) -> None:
        super().__init__(*given, **params)
        self.bars = BarList(dark=self.param.dark, width_of_group=self.width_of_group)
        self.bars.on_press(self._pressed)

    @property
    def listed(self) -> Listed:
        """What is shown."""
        raise NotImplementedError

    def body(self) -> Any:
        """A list of bars each."""
        self._draw()
        self.visibility.follow_revision(self._draw)
        return pn.Column(self.bars, sizing_mode="stretch_width", margin=0)

    def export(self) -> Export:
        """The lists on screen, as a table."""
        return Export(self.key.replace("_", "-"), self.listed.table(), None)

    def _draw(self) -> None:
        self.bars.groups = self.listed.groups()

    @gesture
    def _pressed(self, press: Press) -> None:
        self.listed.press(press["key"], self.key)
