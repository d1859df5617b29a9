"""The file of answers: it resumes, the last answer counts, and what is not an answer is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dnr_env import DnRError
from dnr_env.agents.human.log import ChangedLogError
from dnr_env.rating.answers import Answers
from dnr_env.rating.plan import Plan, Screen, make_plan
from dnr_env.rating.study import Study, read, read_labels, settle
from dnr_env.stack import Stack

SCREENS = [Screen(0, False, False), Screen(1, False, True), Screen(0, True, True)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ann.jsonl"


def test_answers_resume_and_the_last_one_counts(path: Path) -> None:
    first = Answers(path, SCREENS)
    first.consent()
    first.rate(0, 4)
    first.rate(2, 1)
    first.rate(0, 5)
    for answers in (first, Answers(path, SCREENS)):
        assert [answers[i] for i in range(3)] == [5, None, 1]
        assert answers.step == 4
        assert answers.consented
        assert [(a.screen, a.rating) for a in answers.given] == [(SCREENS[0], 5), (SCREENS[2], 1)]


def test_two_processes_see_the_answers_of_each_other(path: Path) -> None:
    one, other = Answers(path, SCREENS), Answers(path, SCREENS)
    one.consent()
    with pytest.raises(ChangedLogError):
        other.consent()
    assert other.consented == one.consented
    other.rate(0, 2)
    with pytest.raises(ChangedLogError):
        one.rate(0, 5)
    one.rate(1, 4)
    assert [Answers(path, SCREENS)[i] for i in range(3)] == [2, 4, None]


def test_a_file_that_was_removed_does_not_begin_anew(path: Path) -> None:
    answers = Answers(path, SCREENS)
    answers.consent()
    path.unlink()
    with pytest.raises(DnRError, match=r"ann\.jsonl cannot be written \(No such file or directory\)"):
        answers.rate(0, 3)
    assert not path.exists()


def test_half_a_line_is_removed_and_the_rest_kept(path: Path) -> None:
    answers = Answers(path, SCREENS)
    answers.consent()
    answers.rate(0, 4)
    whole = path.read_bytes()
    for cut in range(len(whole.splitlines(keepends=True)[0]), len(whole)):
        path.write_bytes(whole[:cut])
        again = Answers(path, SCREENS)
        assert again[0] is None
        again.rate(1, 2)
        assert Answers(path, SCREENS)[1] == 2


@pytest.mark.parametrize(
    "line",
    [
        {"rating": 3}, {"item": 0, "again": False, "flipped": False, "rating": 6}, {"consent": True, "time": "noon"},
        {"item": 0, "again": False, "flipped": False, "rating": 3.0}, {"consent": 1},
        {"item": 7, "again": False, "flipped": False, "rating": 3}, {"item": 0, "again": False, "rating": 3},
        {"item": 0, "again": False, "flipped": False, "rating": True}, {"consent": True, "time": 3},
    ],
)  # fmt: skip
def test_a_line_that_is_no_answer_is_named(path: Path, line: dict[str, Any]) -> None:
    Answers(path, SCREENS).consent()
    with path.open("a") as file:
        file.write(json.dumps({"time": "2026-01-01T00:00:00+00:00", **line}) + "\n")
    with pytest.raises(DnRError, match=r"ann\.jsonl: line 2 is not an answer to a screen of ann; set the file aside"):
        Answers(path, SCREENS)


def test_a_pause_counts_as_five_minutes_at_most(path: Path) -> None:
    times = ["10:00:00", "10:00:07", "12:00:00"]
    lines: list[dict[str, Any]] = [{"consent": True}, *({**s._asdict(), "rating": 3} for s in SCREENS[:2])]
    path.write_text(
        "".join(
            json.dumps({**line, "time": f"2026-01-01T{time}+00:00"}) + "\n"
            for line, time in zip(lines, times, strict=True)
        )
    )
    assert [answer.seconds for answer in Answers(path, SCREENS).given] == [7.0, 300.0]


def plan_of(pairs: bool) -> Plan:
    labels = {"a": {"layer4:1": "x", "layer4:2": "y"}, "b": {"layer4:1": "x", "layer4:2": "z"}}
    return make_plan(labels, ["layer4:1", "layer4:2"], items=9, repeats=1, pairs=pairs, control=True, seed=3)


@pytest.mark.parametrize("pairs", [False, True])
def test_a_study_is_read_as_it_was_written(tmp_path: Path, pairs: bool) -> None:
    study = Study("shapes", "print", "consent", plan_of(pairs))
    settle(tmp_path, study)
    settle(tmp_path, study)
    study.answers(tmp_path, "bob").consent()
    study.answers(tmp_path, "ann").consent()
    assert read(tmp_path) == (study, ["ann", "bob"])
    with pytest.raises(DnRError, match=r"which differs in consent\)"):
        settle(tmp_path, study._replace(consent="other"))
    with pytest.raises(DnRError, match=r"which differs in pairs, items"):
        settle(tmp_path, study._replace(plan=plan_of(not pairs)))
    (tmp_path / "rating.json").unlink()
    with pytest.raises(DnRError, match=r"one with a rating\.json"):
        settle(tmp_path, study)


def test_labels_of_files_may_be_any_text(stack: Stack, tmp_path: Path) -> None:
    first, second = tmp_path / "first.csv", tmp_path / "second.csv"
    first.write_text('neuron,label\nlayer4:1,"wheels,  of cars"\nlayer4:2,<b>x</b>\nlayer4:3,\n')
    second.write_text("layer,unit,description\nlayer4,2,dogs\nlayer4,1,cats\nlayer4,4,birds\n")
    found = read_labels([first, second], stack.neurons, None)
    assert found == {
        "first": {"layer4:1": "wheels, of cars", "layer4:2": "<b>x</b>"},
        "second": {"layer4:1": "cats", "layer4:2": "dogs"},
    }


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("neuron,label\nlayer9:1,x\n", "`neuron` must be"),
        ("neuron,label\nlayer4:1,\n", r"at least one label in each file \(got none in .*bad\.csv\)"),
        ("neuron,label\nlayer4:7,x\n", "which share none"),
        ("neuron,label\nlayer4:1,x\nlayer4:1,y\n", "one label per neuron in each file"),
        ("neuron\nlayer4:1\n", "must have a column"),
    ],
)
def test_files_that_cannot_be_rated_are_refused(stack: Stack, tmp_path: Path, text: str, says: str) -> None:
    good, bad = tmp_path / "good.csv", tmp_path / "bad.csv"
    good.write_text("neuron,label\nlayer4:1,x\n")
    bad.write_text(text)
    with pytest.raises(DnRError, match=says):
        read_labels([good, bad], stack.neurons, None)
    with pytest.raises(DnRError, match="at least one file, and each once"):
        read_labels([good, good], stack.neurons, None)
