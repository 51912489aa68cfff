"""A pane of a HoloViews plot whose error does not stop the rest of the page.

In Panel (1.9) an error while a plot is first drawn also stops the code that puts the pane on the page: the cards after it are not
model, and no change reaches the page. Panel has no public place to catch it, so `_get_model` is overridden, as in Panel's panes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import panel as pn
from bokeh.models import Spacer
from panel.pane.base import RerenderError


class PlotPane(pn.pane.HoloViews):
    """Shows a plot. If the plot cannot be drawn, calls `report` and leaves its place empty until `try_again`."""

    def __init__(self, plot: Any, report: Callable[[Exception], object], **params: Any) -> None:
        super().__init__(plot, **params)
        self._report = report
        self.failed = False

    def try_again(self) -> None:
        """Draw the plot again if it could not be drawn before."""
        if self.failed:
            self.param.trigger("object")

    def _get_model(self, doc: Any, root: Any = None, parent: Any = None, comm: Any = None) -> Any:
        try:
            model = super()._get_model(doc, root, parent, comm)
        except RerenderError:  # not a failure: Panel raises it to start the drawing again
            raise
        except Exception as error:  # noqa: BLE001  (`report` shows and logs it)
            self.failed = True
            self._report(error)
            model = Spacer()
            if root is not None:
                self._models[root.ref["id"]] = (model, parent)
        else:
            self.failed = False
        return model
