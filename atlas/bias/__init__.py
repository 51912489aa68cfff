"""Detectors, attention held against bias with a null beside it, counterfactuals, benchmark scoring."""

from __future__ import annotations

from atlas.bias.audits import audit
from atlas.bias.benchmarks import benchmark
from atlas.bias.causal import causal_test
from atlas.bias.compare import compare_counterfactual
from atlas.bias.depth import decodability
from atlas.bias.detection import detect
from atlas.bias.heads import attention_bias, attention_bias_by_layer
from atlas.bias.scores import score_crows_pairs, score_stereoset
from atlas.bias.swap_audits import swap_audit
from atlas.bias.swaps import counterfactuals
from atlas.bias.tradeoff import head_tradeoff, held_out, tradeoff_cost
from atlas.tracing.audits import Audit
from atlas.tracing.benchmarks import Benchmark
from atlas.tracing.causal import CausalTest
from atlas.tracing.counterfactual import Counterfactual
from atlas.tracing.labelled import Detection
from atlas.tracing.swap_audit import SwapAudit
from atlas.tracing.tradeoff import HeldOut, Tradeoff, composite

__all__ = [
    "Audit",
    "Benchmark",
    "CausalTest",
    "Counterfactual",
    "Detection",
    "HeldOut",
    "SwapAudit",
    "Tradeoff",
    "attention_bias",
    "attention_bias_by_layer",
    "audit",
    "benchmark",
    "causal_test",
    "compare_counterfactual",
    "composite",
    "counterfactuals",
    "decodability",
    "detect",
    "head_tradeoff",
    "held_out",
    "score_crows_pairs",
    "score_stereoset",
    "swap_audit",
    "tradeoff_cost",
]
