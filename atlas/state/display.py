"""Display: how things are drawn. Nothing here changes a number, only which of them is shown and how."""

from __future__ import annotations

from typing import Any

import param

from atlas.definitions import DEFINITIONS
from atlas.state.selection import AXES
from atlas.tracing.levels import LEVELS, TOKEN
from atlas.tracing.windows import AGGREGATES, MODES

SCALES = ("linear", "log", "equalised")
PAINTS = ("received", "sent")
SINKS = ("auto", "shown", "hidden")
"""'auto' hides the sinks of causal models from the colour scale: there the first token takes most of everything."""
LAYOUTS = ("pca", "tsne", "metrics")
TABS = ("overview", "explore", "deep", "faithfulness", "bias", "corpus", "compare")

METRICS = tuple(name for name, item in DEFINITIONS.items() if item.group == "metric" and not item.costly)
"""What heads can be placed, coloured, sized and ordered by; the costly ones are worked out only when somebody asks for them."""

SELECTED = "selected"
"""The metric that is there while keys are selected: the weight on them. No order of the Map: it would change with every click."""

IMPORTANCE, INTEGRATED, REMOVAL = "importance", "importance_integrated", "importance_removal"
IMPORTANCES = (IMPORTANCE, INTEGRATED, REMOVAL)
"""Numbers that no trace holds: how much the prediction that is explained hangs on a head. Worked out when they are asked for."""

MORE_THAN_METRICS: dict[str, tuple[str, ...]] = {
    "order": ("index", "cluster", *IMPORTANCES),
    "x": (SELECTED, *IMPORTANCES),
    "y": (SELECTED, *IMPORTANCES),
    "colour": ("cluster", "role", "layer", SELECTED, *IMPORTANCES),
    "size": ("", SELECTED, *IMPORTANCES),
    "metric": (SELECTED, *IMPORTANCES),
}
"""Fields that name a metric, and what they may say beside that."""

HIGHEST = 1e6
"""Of a threshold. Weights end at 1, the lengths of what is moved do not; a link may say what it likes."""


class Display(param.Parameterized):
    """The reader's choices of form; all of them are in the URL."""

    tab = param.Selector[str](objects=list(TABS), default="explore", doc="The tab that is open.")
    unfolded = param.Boolean(
        default=False, doc="Whether the whole text is shown above the tabs, with its parts of speech; else one line of it."
    )
    flagged = param.Boolean(
        default=False, doc="Whether words that a detector of biased language flags are underlined in the text above the tabs."
    )
    aggregate = param.Selector[str](
        objects=list(AGGREGATES), default="mean", doc="How several heads become one matrix: their mean, or the largest weight."
    )
    level = param.Selector[str](objects=list(LEVELS), default=TOKEN, doc="Tokens as the model reads them, or whole words.")
    mode = param.Selector[str](objects=list(MODES), default="weight", doc="What the cells of the matrix show.")
    scale = param.Selector[str](objects=list(SCALES), default="linear", doc="How weights become colours.")
    sinks = param.Selector[str](
        objects=list(SINKS), default="auto", doc="Whether special tokens and the first token take part in the colour scale."
    )
    threshold = param.Number(default=0.0, bounds=(0.0, HIGHEST), doc="Values below this are not coloured.")
    axis = param.Selector[str](objects=list(AXES), default="both", doc="What a click on a token selects: rows, columns or both.")
    paint = param.Selector[str](
        objects=list(PAINTS), default="received", doc="Whether the text is painted by attention received or sent."
    )
    order = param.String(default="index", doc="Order of the heads on the Map: 'index', 'cluster', or a metric or an importance.")
    layout = param.Selector[str](objects=list(LAYOUTS), default="pca", doc="What the axes of the head scatter are.")
    x = param.String(default="distance", doc="Metric across, where the axes are metrics.")
    y = param.String(default="entropy_norm", doc="Metric upwards, where the axes are metrics.")
    colour = param.String(default="cluster", doc="What colours a head: 'cluster', 'role', 'layer', or a metric's name.")
    size = param.String(default="", doc="Metric that sizes a head; empty: all alike.")
    metric = param.String(
        default="entropy_norm",
        doc="The metric of the ranking and of the layer profile, and of the Map where it shows one number a head.",
    )

    def choices(self) -> dict[str, Any]:
        """What differs from the defaults, as plain values."""
        values = {name: value for name, value in self.param.values().items() if name != "name"}
        return {name: value for name, value in values.items() if value != self.param[name].default}
