"""Gradients, perturbation and ablation, how far attention agrees with them, and influence through all layers."""

from __future__ import annotations

from atlas.attribution.agreement import agreement
from atlas.attribution.attribute import attribute
from atlas.attribution.effect_choices import compare_effects
from atlas.attribution.effects import head_effects
from atlas.attribution.faithfulness import faithfulness
from atlas.attribution.head_composition import composition
from atlas.attribution.importance import head_importance, prune
from atlas.attribution.knockouts import knockout
from atlas.attribution.methods import METHODS, Method
from atlas.attribution.patching import attribution_patching, edge_attribution_patching
from atlas.attribution.plausibility import plausibility, plausibility_of_methods
from atlas.attribution.prediction_parts import direct_effect_tokens, direct_effects
from atlas.attribution.random_weights import randomised
from atlas.attribution.rationales import read_rationales
from atlas.attribution.score_parts import why
from atlas.attribution.states import patch_states
from atlas.attribution.verdicts import verdict
from atlas.attribution.writer_cuts import cut_writer
from atlas.tracing.effect_choices import EffectChoices
from atlas.tracing.explained import Attribution, Target
from atlas.tracing.influence import influence
from atlas.tracing.knockout import Knockout
from atlas.tracing.pruning import Pruning
from atlas.tracing.randomised import Randomised
from atlas.tracing.state_parts import state_parts
from atlas.tracing.verdict import Verdict

__all__ = [
    "METHODS",
    "Attribution",
    "EffectChoices",
    "Knockout",
    "Method",
    "Pruning",
    "Randomised",
    "Target",
    "Verdict",
    "agreement",
    "attribute",
    "attribution_patching",
    "compare_effects",
    "composition",
    "cut_writer",
    "direct_effect_tokens",
    "direct_effects",
    "edge_attribution_patching",
    "faithfulness",
    "head_effects",
    "head_importance",
    "influence",
    "knockout",
    "patch_states",
    "plausibility",
    "plausibility_of_methods",
    "prune",
    "randomised",
    "read_rationales",
    "state_parts",
    "verdict",
    "why",
]
