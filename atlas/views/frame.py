"""The frame of the page: a low header that scrolls away, a sidebar that folds, and beside it what scrolls."""

from __future__ import annotations

from typing import Any

from atlas.state.pipeline import Pipeline

NARROW = 1100
"""Pixels of window below which the sidebar folds, and lies over the page where it is opened: beside it the cards would be too
narrow for their plots. The same width makes one column of the cards."""

SIDEBAR = 320
"""Pixels of the sidebar."""

THEME: dict[str, Any] = {
    "components": {
        "MuiMenu": {"defaultProps": {"transitionDuration": 0}},
        "MuiToolbar": {"defaultProps": {"variant": "dense"}},
        "MuiInputAdornment": {"styleOverrides": {"root": {"& .MuiIconButton-root": {"color": "inherit"}}}},
    }
}
"""Lists close at once: a click on one that is fading out opens it again (panel-material-ui 0.16), and it would lie in the way of
whoever chooses an order and then taps a head. The signs beside a number have the colour of words: its own is hardly seen on a
dark page."""

BAR = "40px"
"""Height of the header."""

LOOK: dict[str, Any] = {
    # The page scrolls as a whole, header and all; panel-material-ui would scroll what is under a fixed header.
    "display": "grid",
    "gridTemplateColumns": "auto minmax(0, 1fr)",
    "gridTemplateRows": "auto 1fr",
    "overflow": "hidden auto",
    "& > .header": {"position": "static", "gridColumn": "1 / -1", "gridRow": "1", "boxShadow": "none"},
    "& > .header .MuiToolbar-root": {"minHeight": BAR, "height": BAR},
    "& > .header .title": {"fontSize": "1.15rem", "fontWeight": 600},
    "& > nav": {"gridColumn": "1", "gridRow": "2"},
    # As high as the page: a box as high as the sidebar itself leaves it no room to stay in sight while the page scrolls.
    "& > nav > .MuiDrawer-root": {"height": "100%"},
    "& > nav .sidebar": {
        "position": "sticky",
        "top": 0,
        "height": f"calc(100vh - {BAR})",
        "maxHeight": "100vh",
        "paddingTop": "10px",
    },
    "& > nav .sidebar > .MuiToolbar-root, & > .main > div > .MuiToolbar-root": {"display": "none"},
    "& > .main": {"gridColumn": "2", "gridRow": "2", "overflow": "visible", "minWidth": 0, "maxWidth": "none", "width": "auto"},
    "& > .main > div": {"height": "auto"},
    "& > .main .main-content": {"overflow": "visible"},
    f"@media (max-width: {NARROW - 1}px)": {
        "& > nav": {"width": "0 !important", "zIndex": 1200},
        "& > nav .sidebar": {"boxShadow": 8},
        "& > .main": {"marginLeft": "0 !important"},
    },
}
"""Styles of the page's root."""


class SidebarFold:
    """Folds the sidebar when the window becomes narrow, unfolds it when it becomes wide; between the two its reader decides."""

    def __init__(self, page: Any, pipeline: Pipeline) -> None:
        self.page = page
        self.narrow: bool | None = None
        # What was asked for is to be seen; in a narrow window the sidebar lies over it.
        pipeline.param.watch(lambda _: self._fold(), "asked")

    def fit(self, width: int) -> None:
        """The window has so many pixels."""
        narrow = width < NARROW
        if narrow != self.narrow:
            self.narrow = narrow
            self.page.sidebar_open = not narrow

    def _fold(self) -> None:
        if self.narrow:
            self.page.sidebar_open = False
