"""Pure functions of arrays: what an attention matrix is like, and which role a head plays."""

from __future__ import annotations

from atlas.metrics.exact import median, quantiles
from atlas.metrics.heads import METRICS, head_metrics, metrics_of
from atlas.metrics.pairs import Pairs
from atlas.metrics.plan import RowPlan, causal_mask, visible_cells
from atlas.metrics.relations import ParsedAttention, RelationCounts, best_by_relation, relation_accuracy, wilson_interval
from atlas.metrics.roles import ROLES, bands, best_heads, head_roles, main_role
from atlas.metrics.rows import row_statistics

__all__ = [
    "METRICS",
    "ROLES",
    "Pairs",
    "ParsedAttention",
    "RelationCounts",
    "RowPlan",
    "bands",
    "best_by_relation",
    "best_heads",
    "causal_mask",
    "head_metrics",
    "head_roles",
    "main_role",
    "median",
    "metrics_of",
    "quantiles",
    "relation_accuracy",
    "row_statistics",
    "visible_cells",
    "wilson_interval",
]
