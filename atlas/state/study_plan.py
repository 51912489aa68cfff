"""What participants of a study are asked: read from a researcher's file, every field checked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from atlas.errors import TextError
from atlas.state.compact import shown

MOST_LETTERS = 200_000
"""Letters of a file: the longest one that is taken has fewer."""

MOST_TASKS, MOST_OPTIONS = 50, 12

TEXT, NUMBER, CHOICE = "text", "number", "choice"
ANSWERS = (TEXT, NUMBER, CHOICE)

WRITTEN = {"title": 200, "consent": 4_000, "id": 60, "text": 1_000, "option": 200}
"""What a researcher writes -> letters at most."""

PLAN_FIELDS = ("title", "consent", "tasks")
TASK_FIELDS = ("id", "text", "answer", "options")


class StudyTask(NamedTuple):
    """One question to be answered with the app."""

    key: str
    text: str
    answer: str = TEXT
    """One of ANSWERS."""
    options: tuple[str, ...] = ()
    """What can be chosen, where the answer is a choice."""


class StudyPlan(NamedTuple):
    """A study."""

    title: str
    consent: str
    """What a participant agrees to, in the researcher's words; the app adds what it records."""
    tasks: tuple[StudyTask, ...]


def read_plan(text: str) -> StudyPlan:
    """The plan in a file. Raises TextError, which names what is wrong and what would be right."""
    if len(text) > MOST_LETTERS:
        msg = f"The study has {len(text):,} letters, more than {MOST_LETTERS:,}."
        raise TextError(msg)
    try:
        given = json.loads(text)
    except (ValueError, RecursionError) as problem:
        msg = f"The study is no JSON ({problem})."
        raise TextError(msg) from problem
    found = _fields(given, PLAN_FIELDS, "The study")
    tasks = found["tasks"]
    if not isinstance(tasks, list) or not 1 <= len(tasks) <= MOST_TASKS:
        msg = f"The study's tasks are no list of 1 to {MOST_TASKS} tasks, each with the fields {', '.join(TASK_FIELDS)}."
        raise TextError(msg)
    plan = StudyPlan(
        _written(found["title"], "title", "The study's title"),
        _written(found["consent"], "consent", "The study's consent"),
        tuple(_task(task, at) for at, task in enumerate(tasks, 1)),
    )
    keys = [task.key for task in plan.tasks]
    twice = next((key for key in keys if keys.count(key) > 1), None)
    if twice is not None:
        msg = f"Two tasks of the study have the id {shown(twice)}. Give each its own."
        raise TextError(msg)
    return plan


def _task(given: Any, at: int) -> StudyTask:
    who = f"Task {at} of the study"
    found: dict[str, Any] = {"answer": TEXT, "options": []} | _fields(given, TASK_FIELDS, who, optional=("answer", "options"))
    if found["answer"] not in ANSWERS:
        msg = f"{who}: its answer is {shown(found['answer'])}, which is none of {', '.join(ANSWERS)}."
        raise TextError(msg)
    options = found["options"]
    fewest, most = (2, MOST_OPTIONS) if found["answer"] == CHOICE else (0, 0)
    if not isinstance(options, list) or not fewest <= len(options) <= most:
        msg = (
            f"{who}: options are a list of 2 to {MOST_OPTIONS} texts where the answer is a {CHOICE}, and are left out elsewhere."
        )
        raise TextError(msg)
    options = tuple(_written(option, "option", f"{who}: an option") for option in options)
    if len(set(options)) < len(options):
        msg = f"{who}: two of its options are the same."
        raise TextError(msg)
    key, text = _written(found["id"], "id", f"{who}: its id"), _written(found["text"], "text", f"{who}: its text")
    return StudyTask(key, text, found["answer"], options)


def _fields(given: Any, legal: tuple[str, ...], who: str, optional: tuple[str, ...] = ()) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        msg = f"{who} is no object with the fields {', '.join(legal)}."
        raise TextError(msg)
    unknown = next((name for name in given if name not in legal), None)
    if unknown is not None:
        msg = f"{who} has the field {shown(unknown)}, which is not known. Its fields are {', '.join(legal)}."
        raise TextError(msg)
    missing = next((name for name in legal if name not in given and name not in optional), None)
    if missing is not None:
        msg = f"{who} has no {missing!r}. Its fields are {', '.join(legal)}."
        raise TextError(msg)
    return dict(given)


def _written(value: Any, name: str, who: str) -> str:
    if not isinstance(value, str) or not value.strip() or len(value) > WRITTEN[name]:
        msg = f"{who} is no text of 1 to {WRITTEN[name]:,} letters, but {shown(value)}."
        raise TextError(msg)
    return value
