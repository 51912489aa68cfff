"""Patched states: where, and how deep, the model holds what the prediction needs."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, ClassVar

import panel as pn
import panel_material_ui as pmui

from atlas.plots.marks import FROM
from atlas.state.patched_states import ALL, SELECTED, PatchedStatesLens
from atlas.state.workspace import Workspace
from atlas.trace import Trace
from atlas.tracing.patched_states import ATTENTION, DISTURB, FEED_FORWARD, RESTORE, STREAM, without_patched_states
from atlas.views.base import TIGHT, gesture
from atlas.views.dotted import DottedPlaneView
from atlas.views.other_text import other_text_input
from atlas.views.plain import plain
from atlas.views.shows import Shows

PARTS = {"residual stream": STREAM, "attention output": ATTENTION, "feed-forward output": FEED_FORWARD}

DIRECTIONS = {"this text": RESTORE, "the other": DISTURB}
"""Whose states are put in; the other text of the two is run."""

WHERE = {"all": ALL, "selected tokens": SELECTED}


class PatchedStatesView(DottedPlaneView):
    """How much of the difference between two texts every state carries."""

    key: ClassVar = "patching"
    title: ClassVar = "Patched states"
    question: ClassVar = "Where, and how deep, is what the prediction needs?"
    help: ClassVar = (
        "Two texts of as many tokens are compared, best ones that differ in one word which the prediction hangs on: type the "
        "other text beside Run. For each cell the other text is run once, and at this one token, after this one layer, the state "
        "that the model had in this text is put in (activation patching, causal tracing). 1: the prediction is then that of this "
        "text, so all it needs passes here; 0: nothing changed; below 0: it moved away. Read from the bottom up: what the "
        "prediction needs begins at the tokens that differ, and ends at the position that predicts; where the colour jumps from "
        "one token to another, attention has moved it. The other direction puts the other text's states into the run of this "
        "text and says how much is taken away: a state may suffice without being needed, so look at both. Instead of the whole "
        "state what attention or the feed-forward block adds can be put in, of several layers together where one alone does "
        "little. A dot: more than a change of the same length in a random direction does. Shares of cells overlap, so they do "
        "not add up. It is one pair of texts and no statement about the model. Click a cell to select its token, a name at the "
        "left to select the heads of a layer. Nothing runs until you press Run."
    )
    defines: ClassVar = ("patched_state", "patched_state_chance")
    lens_type: ClassVar = PatchedStatesLens
    patched = Shows(PatchedStatesLens)
    wide: ClassVar = True
    colours: ClassVar[Mapping[str, str]] = {"columns": FROM}
    hint: ClassVar = (
        "Point at a cell for its numbers; click it to select its token, or a name at the left for the heads of a layer."
    )

    def __init__(self, workspace: Workspace, **params: Any) -> None:
        super().__init__(workspace, **params)
        self.run = pmui.Button(
            label="Run", color="primary", variant="contained", css_classes=["aa-patching-run"], size="small", margin=TIGHT
        )
        self.run.on_click(lambda _: self._run())
        self.results = pn.Column(sizing_mode="stretch_width", margin=0, visible=False)

    @classmethod
    def fits(cls, trace: Trace) -> str:
        """It takes a model here whose states were found."""
        return without_patched_states(trace)

    def tools(self) -> list[Any]:
        """The other text, what is put in where, and the press."""
        choices, look = self.patched.choices.param, {"size": "small", "margin": TIGHT}
        blocks = pn.bind(lambda part: part != STREAM, choices.part)
        return [
            other_text_input(choices.own),
            pmui.Select.from_param(choices.part, label="Put in", options=PARTS, width=206, **look),
            pmui.Select.from_param(choices.direction, label="Taken from", options=DIRECTIONS, width=140, **look),
            pmui.Select.from_param(choices.where, label="Positions", options=WHERE, width=170, **look),
            pmui.IntSlider.from_param(choices.together, label="Layers together", width=190, visible=blocks, **look),
            # Here and not in the body, which is hidden while there is a problem: it is the way out of one.
            self.run,
        ]

    def body(self) -> Any:
        """The way through the model in words, the plane, and what chance is."""
        way, chance = (
            plain(self.bound(lambda _, at=at: self._note(at), self.visibility.param.revision), "aa-patching-notes")
            for at in (0, 1)
        )
        self.results.objects = [way, super().body(), chance]
        self.visibility.follow_revision(self._show)
        self.visibility.follow_marks(self._free)
        self.patched.param.watch(lambda _: self.patched.attempt_drawing(self._free), ["busy", "problem"])
        self._show()
        return self.results

    def dotted(self) -> Collection[tuple[int, int]]:
        """The cells beyond chance."""
        return self.patched.beyond()

    def _note(self, at: int) -> str:
        notes = self.patched.notes()
        return notes[at] if notes else ""

    def _show(self) -> None:
        self.results.visible = self.workspace.trace is not None and bool(self.patched.plane().rows)
        self._free()

    def _free(self) -> None:
        """Whether the button can be pressed."""
        self.run.disabled = not self.patched.can_start

    @gesture
    def _run(self) -> None:
        self.patched.start()
