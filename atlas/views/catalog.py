"""All views in the order of the page, tab by tab. A tab whose views do not exist yet is not shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from atlas.views.heads import HeadsView
from atlas.views.map import MapView
from atlas.views.matrix import MatrixView
from atlas.views.profile import ProfileView
from atlas.views.table import TableView

TABS: dict[str, tuple[str, tuple[Callable[..., Any], ...]]] = {
    "explore": ("Explore", (MapView, MatrixView, HeadsView, TableView, ProfileView)),
}
"""Key of the tab -> its title and its views."""
