"""Gradients, perturbation and ablation, and how far attention agrees with them."""
