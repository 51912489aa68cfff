"""A study: what a participant is asked, what is recorded and when, and where it goes."""

from __future__ import annotations

import argparse
import json
import re
import stat

import pytest

from atlas.cli import build_parser
from atlas.cli import study as results_module
from atlas.cli.study import Results, opened_study
from atlas.errors import AtlasError, TextError, UnknownName
from atlas.state.study import LONGEST_ANSWER, RECORDED, Study
from atlas.state.study_plan import MOST_TASKS, StudyTask, read_plan
from atlas.state.sus import ITEMS, score
from atlas.views.study import StudyPanel
from tests.places import REPO

PLAN = {
    "title": "Reading attention",
    "consent": "We study how people read heads.",
    "tasks": [
        {"id": "induction", "text": "Which head finds repetitions?"},
        {"id": "weight", "text": "How much does it give?", "answer": "number"},
        {"id": "reason", "text": "Is it the reason?", "answer": "choice", "options": ["yes", "no"]},
    ],
}


def written(**changes):
    return json.dumps(PLAN | changes)


class Desk:
    """A participant whose seconds pass as a test says."""

    def __init__(self, folder):
        self.now = 100.0
        self.folder = folder
        self.results = Results(folder)
        self.study = Study(read_plan(written()), self.results.keep, self.results.drop, lambda: self.now)

    @property
    def files(self):
        return sorted(self.folder.iterdir())

    def kept(self):
        (path,) = self.files
        return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path / "results")


def test_the_scale_has_its_ten_statements_and_brookes_score():
    assert len(ITEMS) == 10
    hand = {(3,) * 10: 50.0, (5, 1) * 5: 100.0, (1, 5) * 5: 0.0, (4, 2, 5, 1, 4, 2, 3, 3, 4, 1): 77.5, (5,) * 10: 50.0}
    for answers, expected in hand.items():
        assert score(answers) == expected
    for wrong in ((3,) * 9, (3,) * 11, (0,) + (3,) * 9, (6,) + (3,) * 9, (None,) * 10, (True,) * 10, (3.0,) * 10):
        with pytest.raises(UnknownName, match="10 answers from 1 to 5"):
            score(wrong)


def test_nothing_is_recorded_before_the_consent(desk):
    assert desk.study.stage == "consent"
    for act in (lambda: desk.study.answer("L1 H4"), desk.study.skip, lambda: desk.study.rate([3] * 10)):
        act()
    assert (desk.study.record, desk.files, desk.study.stage) == (None, [], "consent")
    desk.study.leave()
    assert (desk.study.record, desk.files, desk.study.stage) == (None, [], "left")
    desk.study.agree()
    assert desk.files == [], "who has said no is not asked again by a stray message"


def test_answers_times_and_the_questionnaire_are_in_one_file(desk):
    study = desk.study
    desk.now = 500.0  # reading the consent takes no time of a task
    study.agree()
    assert desk.kept()["tasks"] == []
    desk.now += 12.5
    study.answer(" L1 H4 ")
    desk.now += 3.25
    study.answer(0.9)
    desk.now += 1
    study.skip()
    assert study.stage == "questionnaire"
    assert desk.kept()["finished"] is None
    study.rate([3] * 10)
    kept = desk.kept()
    assert kept["tasks"] == [
        {"task": "induction", "seconds": 12.5, "answer": "L1 H4", "skipped": False},
        {"task": "weight", "seconds": 3.25, "answer": 0.9, "skipped": False},
        {"task": "reason", "seconds": 1.0, "answer": None, "skipped": True},
    ]
    assert kept["sus"] == {"answers": [3] * 10, "score": 50.0}
    assert kept["finished"] >= kept["consented"]
    assert set(kept) == {"attention-atlas study", "study", "session", "consented", "finished", "tasks", "sus"}
    assert json.loads(study.as_file()) == kept, "the participant takes away what was recorded"
    study.rate([5] * 10)
    assert desk.kept() == kept


def test_answers_that_a_task_does_not_take_are_said_and_the_clock_runs_on(desk):
    study = desk.study
    study.agree()
    desk.now += 2
    for wrong in ("", "  ", None, 5, "a" * (LONGEST_ANSWER + 1)):
        study.answer(wrong)
        assert (study.at, study.said) == (0, "Type an answer of at most 2,000 letters, or skip the task.")
    desk.now += 3
    study.answer("half a \ud800 pair")
    for wrong in (None, "1", True, float("nan"), float("inf")):
        study.answer(wrong)
        assert (study.at, study.said) == (1, "Type a number.")
    study.skip()
    for wrong in (None, "maybe", ["yes"], 0):
        study.answer(wrong)
        assert (study.at, study.said) == (2, "Choose one of: yes, no.")
    study.answer("no")
    study.rate([3] * 9)
    assert (study.stage, study.said) == ("questionnaire", "The questionnaire takes 10 answers from 1 to 5, one a statement.")
    assert [each["answer"] for each in desk.kept()["tasks"]] == ["half a ? pair", None, "no"]
    assert desk.kept()["tasks"][0]["seconds"] == 5


def test_who_withdraws_is_deleted_and_others_stay(desk):
    other = Study(desk.study.plan, desk.results.keep, desk.results.drop, lambda: 0.0)
    desk.study.agree()
    other.agree()
    assert len(desk.files) == 2
    desk.study.answer("L1 H4")
    desk.study.leave()
    assert (desk.study.record, desk.study.stage) == (None, "left")
    assert desk.kept()["session"] == other.record["session"]
    assert desk.study.as_file() == "null"


def test_a_withdrawal_that_could_not_delete_is_said_and_can_be_tried_again(desk):
    refused = []

    def drop(session):
        if not refused:
            refused.append(session)
            msg = "Your answers could not be deleted."
            raise AtlasError(msg)
        desk.results.drop(session)

    study = Study(desk.study.plan, desk.results.keep, drop, lambda: 0.0)
    study.agree()
    study.leave()
    assert (study.stage, study.said, len(desk.files)) == ("tasks", "Your answers could not be deleted.", 1)
    assert study.record is not None
    study.leave()
    assert (study.stage, study.said, study.record, desk.files) == ("left", "", None, [])


def test_a_number_of_any_length_is_no_error(desk):
    desk.study.agree()
    desk.study.skip()
    for value in (10**400, -(10**400), float("nan"), True):
        desk.study.answer(value)
        assert desk.study.said == "Type a number."
    desk.study.answer(-(10**200))
    assert desk.study.record["tasks"][-1]["answer"] == -1e200


def test_files_have_names_that_nobody_guesses_and_only_the_operator_reads_them(desk):
    desk.study.agree()
    (path,) = desk.files
    assert path.name == f"session-{desk.study.record['session']}.json"
    assert len(desk.study.record["session"]) == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for key in ("", "../x", "a" * 31, None, "A" * 32):
        with pytest.raises(AtlasError, match="no session"):
            desk.results.drop(key)


def test_a_file_is_replaced_whole_or_not_at_all(desk, monkeypatch):
    desk.study.agree()
    before = desk.kept()

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(results_module.json, "dump", full)
    desk.study.answer("L1 H4")
    assert "could not be kept on the server" in desk.study.said
    assert (desk.kept(), desk.study.at) == (before, 1), "what was there is whole, and the participant goes on"
    monkeypatch.undo()
    desk.study.answer(0.5)
    assert [each["task"] for each in desk.kept()["tasks"]] == ["induction", "weight"]


def test_sessions_have_an_end_in_a_folder(desk, monkeypatch):
    monkeypatch.setattr(results_module, "MOST_SESSIONS", 1)
    desk.study.agree()
    second = Study(desk.study.plan, desk.results.keep, desk.results.drop)
    second.agree()
    assert len(desk.files) == 1
    assert second.said.startswith("This study has all the participants")
    desk.study.answer("L1 H4")
    assert desk.kept()["tasks"]


def test_a_plan_is_read_field_by_field():
    plan = read_plan(written())
    assert plan.tasks[2] == StudyTask("reason", "Is it the reason?", "choice", ("yes", "no"))
    assert [task.answer for task in plan.tasks] == ["text", "number", "choice"]


def test_the_plan_in_the_readme_is_one():
    (found,) = re.findall(r'^    (\{"title".*?\]\})$', (REPO / "README.md").read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert [task.answer for task in read_plan(found).tasks] == ["text", "choice"]


TASK = {"id": "a", "text": "b"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ("[]", "is no object with the fields title, consent, tasks"),
        (" " * 200_001, "more than 200,000"),
        (written(extra=1), "has the field 'extra', which is not known. Its fields are title, consent, tasks"),
        (json.dumps({"title": "a", "tasks": []}), "has no 'consent'"),
        (written(title=5), "title is no text of 1 to 200 letters, but 5"),
        (written(consent=" "), "consent is no text"),
        (written(tasks=[]), "no list of 1 to 50 tasks, each with the fields id, text, answer, options"),
        (written(tasks=[TASK] * (MOST_TASKS + 1)), "no list of 1 to 50"),
        (written(tasks=[TASK, TASK]), "Two tasks of the study have the id 'a'"),
        (written(tasks=[TASK | {"anser": "text"}]), "Task 1 of the study has the field 'anser'.* id, text, answer, options"),
        (written(tasks=[TASK | {"answer": "essay"}]), "which is none of text, number, choice"),
        (written(tasks=[TASK | {"answer": ["text"]}]), "which is none of text, number, choice"),
        (written(tasks=[TASK | {"answer": "choice"}]), "options are a list of 2 to 12"),
        (written(tasks=[TASK | {"options": ["x", "y"]}]), "options are a list of 2 to 12"),
        (written(tasks=[TASK | {"answer": "choice", "options": ["x", "x"]}]), "two of its options are the same"),
        (written(tasks=[TASK | {"answer": "choice", "options": ["x", ""]}]), "an option is no text"),
        (written(tasks=[TASK | {"text": "a" * 1_001}]), "its text is no text of 1 to 1,000 letters"),
        (written(tasks=["a"]), "Task 1 of the study is no object"),
    ],
)
def test_a_plan_that_cannot_be_used_says_what_would_be_right(text, said):
    with pytest.raises(TextError, match=said) as raised:
        read_plan(text)
    assert len(str(raised.value)) < 400


def test_a_study_is_off_unless_it_is_asked_for(tmp_path):
    def args(*given):
        return build_parser().parse_args(["serve", *given])

    file, folder = tmp_path / "study.json", tmp_path / "results"
    assert opened_study(args()) is None
    file.write_text(written(), encoding="utf-8")
    for half in (("--study", str(file)), ("--study-results", str(folder))):
        with pytest.raises(AtlasError, match="takes both"):
            opened_study(args(*half))
    with pytest.raises(AtlasError, match="cannot be read"):
        opened_study(args("--study", str(tmp_path / "none.json"), "--study-results", str(folder)))
    taken = tmp_path / "file"
    taken.touch()
    with pytest.raises(AtlasError, match="Choose another --study-results"):
        opened_study(args("--study", str(file), "--study-results", str(taken)))
    make = opened_study(args("--study", str(file), "--study-results", str(folder)))
    first, second = make(), make()
    first.agree()
    assert (second.record, second.stage) == (None, "consent"), "every session has its own"
    assert isinstance(args(), argparse.Namespace)
    assert len(list(folder.iterdir())) == 1


def press(panel, label):
    (button,) = [each for each in panel.box.select() if getattr(each, "label", None) == label]
    button.clicks += 1


def words(panel):
    return " ".join(str(each.object) for each in panel.box.select() if isinstance(getattr(each, "object", None), str))


def test_the_panel_leads_from_the_consent_to_the_file(desk):
    panel = StudyPanel(desk.study)
    assert RECORDED in words(panel)
    assert PLAN["consent"] in words(panel)
    press(panel, "I agree")
    assert "Which head finds repetitions?" in words(panel)
    press(panel, "Send answer")
    assert "Type an answer" in words(panel)
    panel.answer.value = "L1 H4"
    press(panel, "Send answer")
    panel.answer.value = 0.9
    press(panel, "Send answer")
    panel.answer.value = "no"
    press(panel, "Send answer")
    assert len(panel.ratings) == 10
    press(panel, "Send")
    assert "10 answers" in words(panel), "a statement without an answer is no score"
    for rating in panel.ratings:
        rating.value = 4
    press(panel, "Send")
    assert json.loads(panel.file.callback().read()) == desk.kept()
    assert desk.kept()["sus"]["score"] == 50.0
    press(panel, "Withdraw")
    assert (panel.shown, panel.box.objects, desk.files) == (False, [], [])
