"""Detectors, attention held against bias with a null beside it, counterfactuals, benchmark scoring."""

from __future__ import annotations

from atlas.bias.detection import detect
from atlas.bias.heads import attention_bias
from atlas.tracing.labelled import Detection

__all__ = ["Detection", "attention_bias", "detect"]
