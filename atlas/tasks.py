"""What needs torch and views ask for, by name: the app hands these callables to a Workspace, because state imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from atlas.attribution import (
    circuits,
    compare,
    curves,
    effect_choices,
    effects,
    head_composition,
    importance,
    knockouts,
    patching,
    prediction_parts,
    random_weights,
    score_parts,
    states,
    two_sides,
    verdicts,
    writer_cuts,
)
from atlas.bias import audits, benchmarks, causal, depth, detection, heads, swap_audits, swaps, tradeoff
from atlas.bias import compare as bias_compare
from atlas.corpus import in_app as corpus_in_app
from atlas.engine.loading import names
from atlas.engine.running import (
    blueprint,
    cost,
    feed_forward,
    head_readings,
    logit_lens,
    nearest_tokens,
    positions,
    predict,
    tuned_lens,
    write,
)

TASKS: Mapping[str, Callable[..., Any]] = {
    **names.TASKS,
    **cost.TASKS,
    **blueprint.TASKS,
    **predict.TASKS,
    **logit_lens.TASKS,
    **tuned_lens.TASKS,
    **feed_forward.TASKS,
    **head_readings.TASKS,
    **nearest_tokens.TASKS,
    **positions.TASKS,
    **write.TASKS,
    **compare.TASKS,
    **two_sides.TASKS,
    **curves.TASKS,
    **effects.TASKS,
    **prediction_parts.TASKS,
    **effect_choices.TASKS,
    **patching.TASKS,
    **circuits.TASKS,
    **states.TASKS,
    **importance.TASKS,
    **knockouts.TASKS,
    **random_weights.TASKS,
    **verdicts.TASKS,
    **score_parts.TASKS,
    **writer_cuts.TASKS,
    **head_composition.TASKS,
    **detection.TASKS,
    **heads.TASKS,
    **causal.TASKS,
    **depth.TASKS,
    **benchmarks.TASKS,
    **tradeoff.TASKS,
    **swaps.TASKS,
    **bias_compare.TASKS,
    **corpus_in_app.TASKS,
    **swap_audits.TASKS,
    **audits.TASKS,
}
"""Every module that has such work names it in a TASKS of its own."""
