"""The study on the page: consent, one task at a time, the questionnaire, and what the participant takes away."""

from __future__ import annotations

import io
from typing import Any

import panel as pn
import panel_material_ui as pmui
import param

from atlas.state.study import LONGEST_ANSWER, RECORDED, Study
from atlas.state.study_plan import CHOICE, NUMBER
from atlas.state.sus import ENDS, ITEMS, POINTS
from atlas.views.base import gesture
from atlas.views.plain import plain

EDGE = """
:host { box-sizing: border-box; border: 1px solid rgb(128 128 128 / 45%); border-inline-start: 4px solid rgb(0 158 115);
  border-radius: 6px; padding: 4px 8px; max-height: 45vh; overflow: auto; }
"""

THANKS = "Thank you. That was all of it: you can save your answers, and go on looking around."


class StudyPanel(pn.viewable.Viewer):
    """One box above the cards; it is gone once the participant has left the study."""

    shown = param.Boolean(default=True, doc="Whether there is anything to show.")

    def __init__(self, study: Study, **params: Any) -> None:
        super().__init__(**params)
        self.study = study
        self.box = pn.Column(
            sizing_mode="stretch_width",
            margin=(2, 0, 4, 0),
            stylesheets=[EDGE],
            css_classes=["aa-study"],
            visible=self.param.shown,
        )
        self.answer: Any = None
        """The control of the task on screen."""
        self.ratings: list[Any] = []
        """The controls of the questionnaire."""
        self.file: Any = None
        study.param.watch(self._show, ["stage", "at"])
        self._show()

    def __panel__(self) -> Any:
        return self.box

    def _show(self, *_: object) -> None:
        stage = self.study.stage
        made = {"consent": self._consent, "tasks": self._task, "questionnaire": self._questionnaire, "done": self._done}
        self.shown = stage in made
        self.box.objects = [*made[stage](), plain(self.study.param.said, "aa-study-said")] if stage in made else []

    def _consent(self) -> list[Any]:
        plan = self.study.plan
        return [
            _strong(plan.title), plain(plan.consent), plain(RECORDED),
            pn.Row(_button("I agree", self._agree, main=True), _button("No, let me only look", self._leave)),
        ]  # fmt: skip

    def _task(self) -> list[Any]:
        study, task = self.study, self.study.task
        if task is None:
            return []
        label = "Your answer"
        if task.answer == CHOICE:
            self.answer = _unanswered(pmui.RadioBoxGroup(label=label, options=list(task.options), inline=True))
        elif task.answer == NUMBER:
            self.answer = pmui.FloatInput(label=label, value=None, width=160)
        else:
            self.answer = pmui.TextInput(label=label, max_length=LONGEST_ANSWER, sizing_mode="stretch_width")
        return [
            _strong(f"Task {study.at + 1} of {len(study.plan.tasks)}"), plain(task.text), self.answer,
            pn.Row(
                _button("Send answer", self._answer, main=True), _button("Skip", self._skip), _button("Withdraw", self._leave)
            ),
        ]  # fmt: skip

    def _questionnaire(self) -> list[Any]:
        self.ratings = [
            _unanswered(pmui.RadioButtonGroup(label=f"{at}. {item}", options=list(POINTS), size="small", margin=(0, 0, 4, 0)))
            for at, item in enumerate(ITEMS, 1)
        ]
        buttons = pn.Row(_button("Send", self._rate, main=True), _button("Withdraw", self._leave))
        return [_strong("Ten statements about this app"), plain(ENDS), *self.ratings, buttons]

    def _done(self) -> list[Any]:
        self.file = pmui.FileDownload(
            callback=lambda: io.BytesIO(self.study.as_file().encode()), filename="my-answers.json", label="Save my answers"
        )
        return [plain(THANKS), pn.Row(self.file, _button("Withdraw", self._leave))]

    @gesture
    def _agree(self, _: object = None) -> None:
        self.study.agree()

    @gesture
    def _answer(self, _: object = None) -> None:
        self.study.answer(self.answer.value)

    @gesture
    def _skip(self, _: object = None) -> None:
        self.study.skip()

    @gesture
    def _rate(self, _: object = None) -> None:
        self.study.rate([rating.value for rating in self.ratings])

    @gesture
    def _leave(self, _: object = None) -> None:
        self.study.leave()


def _strong(words: str) -> Any:
    return plain(words, "aa-study-title", styles={"font-weight": "700"})


def _unanswered(choice: Any) -> Any:
    """A choice of which nothing is chosen: the first option, which the library would choose, is nobody's answer."""
    choice.value = None
    return choice


def _button(label: str, work: Any, *, main: bool = False) -> Any:
    made = pmui.Button(
        label=label, variant="contained" if main else "outlined", color="primary" if main else "default", size="small"
    )
    made.on_click(work)
    return made
