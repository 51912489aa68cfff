"""All heads over a corpus: as a table with intervals, as one number of every head, as a cloud of points, and by depth."""

from __future__ import annotations

from typing import Any, ClassVar

import panel_material_ui as pmui
from panel.io import JSCode

from atlas.state.corpus_heads import CorpusCloudLens, CorpusHeadsLens, CorpusMapLens
from atlas.state.display import SELECTED
from atlas.views.base import TIGHT
from atlas.views.corpus_choice import CorpusView
from atlas.views.heads import HeadsView
from atlas.views.plane import HeadPlaneView
from atlas.views.profile import ProfileView
from atlas.views.table import CHANCE, COLUMNS, VALUE, TableView

FROM, TO, TEXTS = "95 % from", "95 % to", "Texts"

WHOLE = JSCode("cell => Number.isNaN(cell.getValue()) ? 'N/A' : cell.getValue().toLocaleString('en')")
"""A count of texts: no digits after the point."""


class CorpusTableView(CorpusView, TableView):
    """Every head of a corpus with intervals."""

    key: ClassVar = "corpus_table"
    title: ClassVar = "Heads of the corpus"
    question: ClassVar = "Which heads rank highest over many texts?"
    help: ClassVar = (
        "Every head measured over the corpus, ranked by the chosen metric: the mean over texts with its 95 % interval, what "
        "attention spread evenly over the same texts gives, and over how many texts it is known. The role is one that is earned "
        "over these texts. Click a column to sort, type under its name to filter, click a row to select the head, tick boxes to "
        "select several."
    )
    defines: ClassVar = ("corpus_mean", "corpus_role")
    lens_type: ClassVar = CorpusHeadsLens
    ranking: ClassVar = {VALUE: "", FROM: "_lo", TO: "_hi", CHANCE: "_uniform", TEXTS: "_n"}
    columns: ClassVar = tuple(name for name in COLUMNS if name != SELECTED)
    named: ClassVar = {"Head": 70, "Role": 104}
    formats: ClassVar = {TEXTS: WHOLE}

    def tools(self) -> list[Any]:
        """Which corpus, and which metric ranks the heads."""
        return [self.corpus, *super().tools()]


class CorpusMapView(CorpusView, HeadPlaneView):
    """One number of every head over a corpus."""

    key: ClassVar = "corpus_map"
    title: ClassVar = "Map of the corpus"
    question: ClassVar = "Where in the model is a metric high over many texts?"
    help: ClassVar = (
        "Each cell is a head of the kind on screen, its colour the mean of the chosen metric over the texts of the corpus. Point "
        "at a head for its interval, what even attention gives, and how many texts it is known of. Click a head to show and "
        "select it, a name to select its layer."
    )
    defines: ClassVar = ("corpus_mean",)
    lens_type: ClassVar = CorpusMapLens

    def tools(self) -> list[Any]:
        """Which corpus, and which metric."""
        metric = self.workspace.display.param.metric
        options = CorpusHeadsLens.metrics()
        return [
            self.corpus,
            pmui.Select.from_param(metric, label="Metric", options=options, size="small", margin=TIGHT, width=216),
        ]


class CorpusCloudView(CorpusView, HeadsView):
    """All heads of a corpus as points, and the groups they fall into."""

    key: ClassVar = "corpus_cloud"
    title: ClassVar = "Cloud of the corpus"
    question: ClassVar = "Which heads behave alike over many texts?"
    help: ClassVar = (
        "A point is a head of the kind on screen, placed by its means over the texts of the corpus. PCA: the two directions in "
        "which the standardised means differ most. t-SNE: near means alike, far means nothing. Point at a head for its "
        "means, with their 95 % intervals over the texts and how many texts they are known of.\n\n"
        "Clusters: k-means over the standardised means, k by the mean silhouette; where one cloud without clusters rarely "
        "divides as well. A cluster has a name only where it comes back when heads are drawn again, and where its largest "
        "difference from the other heads is large, unlikely by chance, and clearly beyond even attention too; else it is "
        "'unnamed'. Roles are earned over these texts. Draw a lasso or a box, or press a group below."
    )
    defines: ClassVar = ("corpus_mean", "corpus_role", "cluster", "stability", "cluster_name")
    lens_type: ClassVar = CorpusCloudLens

    def tools(self) -> list[Any]:
        """Which corpus, and what places, colours and sizes a head."""
        return [self.corpus, *super().tools()]


class CorpusProfileView(CorpusView, ProfileView):
    """A metric by depth over a corpus."""

    key: ClassVar = "corpus_profile"
    title: ClassVar = "Depth over the corpus"
    question: ClassVar = "How does a metric change with depth over many texts?"
    defines: ClassVar = ("corpus_mean",)
    lens_type: ClassVar = CorpusHeadsLens

    def tools(self) -> list[Any]:
        """Which corpus, and which metric."""
        return [self.corpus, *super().tools()]
