"""A pane of a HoloViews plot whose error does not stop the rest of the page, and which can be drawn before its page needs it.

In Panel (1.9) an error while a plot is first drawn also stops the code that puts the pane on the page: the cards after it are not
model, and no change reaches the page. Panel has no public place to catch it, so `_get_model` is overridden, as in Panel's panes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import panel as pn
from bokeh.models import Spacer
from panel.io.state import state
from panel.pane.base import RerenderError

from atlas.patches.private import private


class Page(NamedTuple):
    """Where plots are drawn."""

    document: Any
    root: Any
    """The model of the whole page."""


def page_of(part: Any) -> Page | None:
    """The page that has a part; None where no page has it. Panel has no public access to it."""
    for name in private(part, "_models", "plot_pane"):
        _, root, document, comm = private(state, "_views", "plot_pane").get(name, (None,) * 4)
        if document is not None and comm is None:
            return Page(document, root)
    return None


class PlotPane(pn.pane.HoloViews):
    """Shows a plot. If the plot cannot be drawn, calls `report` and leaves its place empty until `try_again`."""

    def __init__(self, plot: Any, report: Callable[[Exception], object], **params: Any) -> None:
        super().__init__(plot, **params)
        self._report = report
        self.failed = False
        self._fault: Exception | None = None
        """Why the plot could not be drawn ahead; reported when the page asks for it."""

    def draw_ahead(self, page: Page) -> None:
        """Draw the plot for a page that will ask for it later, as Panel draws it; nothing where it is there already."""
        if page.root.ref["id"] in private(self, "_models", "plot_pane") or self.drawn_ahead is not None:
            return
        try:
            self._restore_plot = private(self, "_render", "plot_pane")(page.document, None, page.root)
        except Exception as error:  # noqa: BLE001  (`report` shows and logs it)
            self._fault = error

    @property
    def drawn_ahead(self) -> Any:
        """The plot that no page has asked for yet; None: there is none."""
        return private(self, "_restore_plot", "plot_pane")

    def leave_ahead(self) -> None:
        """Free what was drawn for a page that did not ask for it: HoloViews lists it for as long as the process lives."""
        plot, self._restore_plot = self.drawn_ahead, None
        if plot is not None:
            plot.cleanup()

    def try_again(self) -> None:
        """Draw the plot again if it could not be drawn before."""
        if self.failed:
            self.param.trigger("object")

    def _get_model(self, doc: Any, root: Any = None, parent: Any = None, comm: Any = None) -> Any:
        if self._fault is not None:
            fault, self._fault = self._fault, None
            return self._left_empty(fault, root, parent)
        try:
            model = super()._get_model(doc, root, parent, comm)
        except RerenderError:  # not a failure: Panel raises it to start the drawing again
            raise
        except Exception as error:  # noqa: BLE001  (`report` shows and logs it)
            return self._left_empty(error, root, parent)
        self.failed = False
        return model

    def _left_empty(self, error: Exception, root: Any, parent: Any) -> Any:
        self.failed = True
        self._report(error)
        model = Spacer()
        if root is not None:
            self._models[root.ref["id"]] = (model, parent)
        return model
