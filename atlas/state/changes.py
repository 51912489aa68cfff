"""What is switched off in a run, what is being explained, and from where on a score counts as bias."""

from __future__ import annotations

from typing import Any

import param

from atlas.ids import HeadId

NO_HEADS: frozenset[HeadId] = frozenset()
NO_EDGES: frozenset[tuple[HeadId, int, int]] = frozenset()


class Interventions(param.Parameterized):
    """Heads and edges that a run is made without."""

    ablated = param.ClassSelector(class_=frozenset, default=NO_HEADS, doc="Heads whose output is replaced by zero.")
    cut = param.ClassSelector(class_=frozenset, default=NO_EDGES, doc="(head, query, key): edges taken away before the softmax.")
    regenerate = param.Boolean(default=False, doc="A target that the model writes is written under these changes.")

    def of_job(self) -> dict[str, Any]:
        """The fields of a job. Where nothing is changed there is nothing to write anew, and the job is that of a plain run."""
        changed = bool(self.ablated or self.cut)
        return {
            "ablate": tuple(sorted(self.ablated)),
            "knock_out": tuple(sorted(self.cut)),
            "regenerate": changed and self.regenerate,
        }

    def clear(self) -> None:
        """Run with everything there is."""
        self.param.update(ablated=NO_HEADS, cut=NO_EDGES)


class Target(param.Parameterized):
    """The decision that is being explained."""

    position = param.Integer(default=-1, bounds=(-1, None), doc="Token position whose prediction is explained; -1: the last.")
    outcome = param.String(default="", doc="The token or label that is explained; empty: the likeliest.")
    against = param.String(default="", doc="What it is held against; empty: nothing.")


class BiasThresholds(param.Parameterized):
    """From where on a token counts as generalising, unfair or stereotyping."""

    generalisation = param.Number(default=0.5, bounds=(0.0, 1.0), doc="Threshold of the label GEN.")
    unfairness = param.Number(default=0.5, bounds=(0.0, 1.0), doc="Threshold of the label UNFAIR.")
    stereotype = param.Number(default=0.5, bounds=(0.0, 1.0), doc="Threshold of the label STEREO.")
