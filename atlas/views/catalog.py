"""All views in the order of the page, tab by tab; the only list of them. A tab without views is not shown."""

from __future__ import annotations

from typing import NamedTuple

from atlas.views.agreement import AgreementView
from atlas.views.attention_bias import AttentionBiasView
from atlas.views.attention_depth import AttentionDepthView
from atlas.views.attribution import AttributionView
from atlas.views.audit import AuditView
from atlas.views.base import View
from atlas.views.benchmark import BenchmarkView
from atlas.views.calibration import CalibrationView
from atlas.views.causal_test import CausalTestView
from atlas.views.circuit import CircuitView
from atlas.views.compare import CompareView
from atlas.views.compare_attributions import CompareAttributionsView
from atlas.views.compare_lists import CompareMetricsView, ComparePredictionsView
from atlas.views.compare_measured import CompareAgreementView, CompareBiasView
from atlas.views.compare_planes import CompareGroupsView, CompareHeadsView, CompareMatrixView, CompareStreamsView
from atlas.views.composition import CompositionView
from atlas.views.corpus_heads import CorpusCloudView, CorpusMapView, CorpusProfileView, CorpusTableView
from atlas.views.corpus_run import CorpusRunView
from atlas.views.counterfactuals import CounterfactualsView
from atlas.views.detection import DetectionView
from atlas.views.direct_effects import DirectEffectsView
from atlas.views.drift import DriftView
from atlas.views.drills import DrillsView
from atlas.views.embeddings import EmbeddingsView, EmbeddingVectorsView
from atlas.views.faithfulness import FaithfulnessView
from atlas.views.feed_forward import FeedForwardView
from atlas.views.finder import FinderView
from atlas.views.flow import FlowView
from atlas.views.head_effects import HeadEffectsView
from atlas.views.head_page import HeadPageView
from atlas.views.head_readings import HeadReadingsView
from atlas.views.heads import HeadsView
from atlas.views.hidden import HiddenView
from atlas.views.influence import InfluenceView
from atlas.views.knockout import KnockoutView
from atlas.views.lines import LinesView
from atlas.views.logit_lens import LogitLensView
from atlas.views.map import MapView
from atlas.views.matrix import MatrixView
from atlas.views.metric_cards import MetricCardsView
from atlas.views.nearest_tokens import NearestTokensView
from atlas.views.over_time import OverTimeView
from atlas.views.patched_states import PatchedStatesView
from atlas.views.patterns import PatternsView
from atlas.views.pipeline import PipelineView
from atlas.views.positions import PositionsView
from atlas.views.predictions import PredictionsView
from atlas.views.probes import ProbesView
from atlas.views.profile import ProfileView
from atlas.views.pruning import PruningView
from atlas.views.qkv import QKView, VectorsView
from atlas.views.randomised import RandomisedView
from atlas.views.roles import RolesView
from atlas.views.sentences import SentencesView
from atlas.views.shared_traits import SharedTraitsView
from atlas.views.similar_heads import SimilarHeadsView
from atlas.views.steps import StepsView
from atlas.views.stream_writes import StreamWritesView
from atlas.views.swap_audit import SwapAuditView
from atlas.views.table import TableView
from atlas.views.tradeoff import TradeoffView
from atlas.views.unusual import UnusualView
from atlas.views.verdict import VerdictView
from atlas.views.why import WhyView
from atlas.views.writing import WritingView


class Tab(NamedTuple):
    """One tab of the page."""

    key: str
    """As `Display.tab` and a link name it."""
    title: str
    views: tuple[type[View], ...]
    notice: str = ""
    """What a reader is told before its views, until it is closed."""


BIAS_NOTICE = (
    "Words here can hurt: the texts and data sets of this tab quote stereotypes and slurs about people to measure them. "
    "A detector tells how much a word looks like the words that its authors labelled; it does not understand the text. It misses "
    "irony, context and groups that its data has not, and flags harmless sentences. Nothing here says how biased a text, "
    "a person or a model in use is: read every number with its interval, its chance level and the error rates of the detector."
)

TABS: tuple[Tab, ...] = (
    Tab("overview", "Overview", (PredictionsView, RolesView, WritingView, HiddenView, MetricCardsView)),
    Tab(
        "explore",
        "Explore",
        (
            MapView,
            MatrixView,
            HeadsView,
            TableView,
            ProfileView,
            SentencesView,
            FlowView,
            LinesView,
            StepsView,
            InfluenceView,
            PatternsView,
        ),
    ),
    Tab(
        "deep",
        "Deep dive",
        (
            PipelineView,
            EmbeddingsView,
            EmbeddingVectorsView,
            NearestTokensView,
            PositionsView,
            LogitLensView,
            StreamWritesView,
            DirectEffectsView,
            QKView,
            VectorsView,
            SharedTraitsView,
            SimilarHeadsView,
            HeadReadingsView,
            FeedForwardView,
            WhyView,
            CompositionView,
        ),
    ),
    Tab(
        "faithfulness",
        "Faithfulness",
        (
            VerdictView,
            AttributionView,
            FaithfulnessView,
            RandomisedView,
            HeadEffectsView,
            CircuitView,
            PatchedStatesView,
            KnockoutView,
            PruningView,
            AgreementView,
        ),
    ),
    Tab(
        "bias",
        "Bias",
        (
            DetectionView,
            CalibrationView,
            AttentionBiasView,
            AttentionDepthView,
            AuditView,
            ProbesView,
            CausalTestView,
            CounterfactualsView,
            SwapAuditView,
            BenchmarkView,
            TradeoffView,
        ),
        BIAS_NOTICE,
    ),
    Tab(
        "corpus",
        "Corpus",
        (
            HeadPageView,
            CorpusRunView,
            CorpusMapView,
            CorpusTableView,
            CorpusCloudView,
            FinderView,
            CorpusProfileView,
            DrillsView,
            UnusualView,
            DriftView,
            OverTimeView,
        ),
    ),
    Tab(
        "compare",
        "Compare",
        (
            CompareView,
            CompareHeadsView,
            CompareGroupsView,
            CompareMatrixView,
            CompareMetricsView,
            ComparePredictionsView,
            CompareStreamsView,
            CompareBiasView,
            CompareAgreementView,
            CompareAttributionsView,
        ),
    ),
)
