"""Study: a participant's way through consent, tasks and the questionnaire. Nothing is recorded before the consent."""

from __future__ import annotations

import json
import math
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import param

from atlas.errors import AtlasError, UnknownName
from atlas.state.study_plan import CHOICE, NUMBER, StudyPlan, StudyTask
from atlas.state.sus import score

SCHEMA = 1
"""Version of what a result holds."""

STAGES = ("consent", "tasks", "questionnaire", "done", "left")
"""'left': the participant did not agree, or withdrew; nothing is kept."""

LONGEST_ANSWER = 2_000
"""Letters of an answer: what does not fit a few lines is no answer to a task."""

RECORDED = (
    "Recorded are your answers, the seconds that each task took you, and the questionnaire at the end: no name, no address, no "
    "text that you analyse. You can withdraw at any time before you close the page; then what was recorded is deleted. Nothing "
    "is recorded before you agree."
)
"""What a participant is told beside the researcher's own words."""

Record = dict[str, Any]


LARGEST = 1e300
"""Size of a number that is taken as an answer."""


class Study(param.Parameterized):
    """One participant's session of a study. `keep` is given the record after every answer, `drop` its key at a withdrawal."""

    stage = param.Selector[str](objects=list(STAGES), default="consent", doc="How far the participant is.")
    at = param.Integer(default=0, bounds=(0, None), doc="The task, from 0.")
    said = param.String(default="", doc="Why an answer was not taken or could not be kept.")

    def __init__(
        self,
        plan: StudyPlan,
        keep: Callable[[Record], object],
        drop: Callable[[str], object],
        clock: Callable[[], float] = time.monotonic,
        **params: Any,
    ) -> None:
        super().__init__(**params)
        self.plan = plan
        self._keep, self._drop, self._clock = keep, drop, clock
        self._begun = 0.0
        self.record: Record | None = None
        """What is recorded so far; None before the consent and after a withdrawal."""

    @property
    def task(self) -> StudyTask | None:
        """The task to be done now."""
        return self.plan.tasks[self.at] if self.stage == "tasks" else None

    def agree(self) -> None:
        """The participant consents: from here on it is recorded."""
        if self.stage != "consent":
            return
        self.record = {
            "attention-atlas study": SCHEMA, "study": self.plan.title, "session": uuid.uuid4().hex, "consented": _now(),
            "finished": None, "tasks": [], "sus": None,
        }  # fmt: skip
        self._begun = self._clock()
        self.param.update(stage="tasks", at=0, said="")
        self._save()

    def answer(self, value: Any) -> None:
        """Take the answer to the task and go on; one that the task does not take is said, and the clock runs on."""
        task, record = self.task, self.record
        if task is None or record is None:
            return
        try:
            taken = _taken(task, value)
        except UnknownName as problem:
            self.said = str(problem)
            return
        self._finish_task(task, record, taken, skipped=False)

    def skip(self) -> None:
        """Go on without an answer."""
        task, record = self.task, self.record
        if task is not None and record is not None:
            self._finish_task(task, record, None, skipped=True)

    def rate(self, answers: list[int]) -> None:
        """Take the ten answers of the questionnaire; the study is over."""
        if self.stage != "questionnaire" or self.record is None:
            return
        try:
            found = score(answers)
        except UnknownName as problem:
            self.said = str(problem)
            return
        self.record["sus"] = {"answers": list(answers), "score": found}
        self.record["finished"] = _now()
        self.param.update(stage="done", said="")
        self._save()

    def leave(self) -> None:
        """Do not agree, or withdraw: what was recorded is deleted."""
        if self.record is not None:
            try:
                self._drop(self.record["session"])
            except AtlasError as problem:
                # The stage stays, so that this is seen and can be tried again.
                self.said = str(problem)
                return
        self.record = None
        self.param.update(stage="left", said="")

    def as_file(self) -> str:
        """What is recorded, as the participant may take it away."""
        return json.dumps(self.record, indent=1, ensure_ascii=False)

    def _finish_task(self, task: StudyTask, record: Record, answer: Any, *, skipped: bool) -> None:
        now = self._clock()
        record["tasks"].append(
            {"task": task.key, "seconds": round(now - self._begun, 3), "answer": answer, "skipped": skipped}
        )  # fmt: skip
        self._begun = now
        last = self.at + 1 == len(self.plan.tasks)
        self.param.update(said="", **({"stage": "questionnaire"} if last else {"at": self.at + 1}))
        self._save()

    def _save(self) -> None:
        assert self.record is not None
        try:
            self._keep(self.record)
        except AtlasError as problem:
            self.said = str(problem)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _taken(task: StudyTask, value: Any) -> str | float:
    """An answer as it is recorded; it comes from a page, so anything is possible."""
    if task.answer == CHOICE:
        if not isinstance(value, str) or value not in task.options:
            msg = f"Choose one of: {', '.join(task.options)}."
            raise UnknownName(msg)
        return value
    if task.answer == NUMBER:
        # First whether it is too large: Python refuses to say of an integer of 400 digits whether it is finite.
        if type(value) not in (int, float) or not abs(value) <= LARGEST or not math.isfinite(value):
            msg = "Type a number."
            raise UnknownName(msg)
        return float(value)
    if not isinstance(value, str) or not value.strip() or len(value) > LONGEST_ANSWER:
        msg = f"Type an answer of at most {LONGEST_ANSWER:,} letters, or skip the task."
        raise UnknownName(msg)
    # Half of a surrogate pair cannot be written to a file.
    return value.strip().encode("utf-8", "replace").decode()
