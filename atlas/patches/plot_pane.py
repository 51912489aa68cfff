"""A pane of a HoloViews plot that fails alone.

Panel (1.9) passes an error of the first drawing on to whoever puts the pane on the page: no card after it is made, and none of
the page's changes arrives. It has no public place to catch it, so `_get_model` is overridden, as Panel's own panes do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import panel as pn
from bokeh.models import Spacer
from panel.pane.base import RerenderError


class PlotPane(pn.pane.HoloViews):
    """Shows a plot; where that cannot be drawn, calls `report` and leaves its place empty until `try_again`."""

    def __init__(self, plot: Any, report: Callable[[Exception], object], **params: Any) -> None:
        super().__init__(plot, **params)
        self._report = report
        self.failed = False

    def try_again(self) -> None:
        """Draw the plot anew if it could not be drawn before."""
        if self.failed:
            self.param.trigger("object")

    def _get_model(self, doc: Any, root: Any = None, parent: Any = None, comm: Any = None) -> Any:
        try:
            made = super()._get_model(doc, root, parent, comm)
        except RerenderError:  # no error: Panel asks itself to begin again
            raise
        except Exception as error:  # noqa: BLE001  (shown and logged by who is told)
            self.failed = True
            self._report(error)
            made = Spacer()
            if root is not None:
                self._models[root.ref["id"]] = (made, parent)
        else:
            self.failed = False
        return made
