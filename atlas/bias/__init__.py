"""Detectors, attention held against bias with a null beside it, counterfactuals, benchmark scoring."""
