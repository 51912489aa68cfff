"""Light and dark: whatever a view is made of becomes dark with it."""

from __future__ import annotations

from atlas.app import AttentionAtlas
from tests.state.readers import single
from tests.views.test_page import pytestmark  # noqa: F401  (a warning of Panel's)


def parts(shown):
    """Everything under a viewable that is light or dark."""
    return [part for part in shown.select() if "dark" in part.param]


def test_every_part_of_the_page_becomes_dark_and_light_with_it():
    app = AttentionAtlas()
    app.open(single())
    views = [*app.strips, app.bar, *(view for views in app.tabs.values() for view in views)]
    shown = {view: view.__panel__() for view in views}
    for dark in (True, False):
        for view, what in shown.items():
            view.dark = dark
            wrong = [part for part in parts(what if hasattr(what, "select") else what.__panel__()) if part.dark != dark]
            assert not wrong, f"{type(view).__name__}: {wrong}"
